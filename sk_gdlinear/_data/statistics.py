"""Statistics of the columns: moments of all rows, and of the newest two generations of a stream."""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import issparse

from .order import cut_in_order
from .rows import Rows
from .threads import map_blocks, n_threads, parts

# Rows handled at once by the reference implementation.
BLOCK_ROWS = 256

# A generation of a stream's statistics is as long as all rows before it, within these bounds.
SHORTEST_GENERATION = 1 << 12
LONGEST_GENERATION = 1 << 20


@dataclass
class Moments:
    """Running weighted statistics of the columns of a matrix, float64 whatever the data."""

    count: float  # sum of weights
    mean: np.ndarray
    square_deviation: np.ndarray  # weighted sum of (x - mean)^2
    low: np.ndarray
    high: np.ndarray

    @classmethod
    def empty(cls, n_columns):
        """Return the statistics of no rows."""
        zeros = np.zeros(n_columns)
        return cls(0.0, zeros, zeros.copy(), zeros + np.inf, zeros - np.inf)

    def copy(self):
        """Return an independent copy."""
        return Moments(self.count, *(a.copy() for a in (self.mean, self.square_deviation, self.low, self.high)))

    def part(self, columns):
        """Return the statistics of some columns."""
        arrays = (self.mean, self.square_deviation, self.low, self.high)
        return Moments(self.count, *(a[columns] for a in arrays))

    def of_all_columns(self, columns):
        """Return the statistics of all columns of the rows, where those not in ``columns`` are zeros."""
        if self.count == 0.0:
            return Moments.empty(columns.n_columns)
        return Moments(self.count, *map(columns.spread, (self.mean, self.square_deviation, self.low, self.high)))

    def merged(self, other):
        """Return the statistics of the rows of both."""
        if self.count == 0.0 or other.count == 0.0:
            return self if other.count == 0.0 else other
        count = self.count + other.count
        delta = other.mean - self.mean
        with np.errstate(over="ignore", invalid="ignore"):  # ``spread`` handles squares out of range
            between = delta**2 * (self.count * other.count / count)
            square_deviation = self.square_deviation + other.square_deviation + between
        mean = self.mean + delta * (other.count / count)
        return Moments(
            count, mean, square_deviation, np.minimum(self.low, other.low), np.maximum(self.high, other.high)
        )

    def add(self, backend, X, order, weight):
        """Add the rows ``order`` of ``X``."""
        with np.errstate(over="ignore", invalid="ignore"):  # ``spread`` handles squares out of range
            self.count = backend.moments(X, order, weight, self)
        # The mean of a constant is that constant, without rounding.
        np.copyto(self.mean, self.low, where=(self.low == self.high) & np.isfinite(self.mean))

    def spread(self, centre):
        """Return the root mean square and the largest absolute value about the mean, or about 0 if not ``centre``."""
        with np.errstate(over="ignore", invalid="ignore"):
            mean_square = self.square_deviation / self.count
            if not centre:
                rms, largest = np.sqrt(mean_square + self.mean * self.mean), np.maximum(self.high, -self.low)
            else:
                rms, largest = np.sqrt(mean_square), np.maximum(self.high - self.mean, self.mean - self.low)
                if (is_constant := self.low == self.high).any():  # no spread, also where rounding has left some
                    rms[is_constant] = largest[is_constant] = 0.0
        # Squares of very large or very small numbers leave the range of float64.
        return np.where((rms > 0.0) & (rms < np.inf), rms, largest), largest


def add_moments(X, order, weight, moments):
    """Add the rows ``order`` to the running moments, in place; return the new sum of weights.

    This is the reference implementation.  Blocks of rows are merged by the pairwise update of Chan, Golub and LeVeque
    (The American Statistician 37, 1983), which is accurate where columns have offsets far larger than their spread.
    """
    count = moments.count
    for start in range(0, len(order), BLOCK_ROWS):
        block_order = order[start : start + BLOCK_ROWS]
        block = X[block_order].astype(np.float64)
        s = np.ones(len(block_order)) if weight is None else weight[block_order].astype(np.float64)
        total = s.sum()
        if issparse(block):
            block_mean, block_square, block_low, block_high = sparse_block_moments(block, s)
        else:
            block_mean, block_low, block_high = s @ block / total, block.min(axis=0), block.max(axis=0)
            block_square = s @ (block - block_mean) ** 2
        delta = block_mean - moments.mean
        moments.mean += delta * (total / (count + total))
        moments.square_deviation += block_square + delta**2 * (count * total / (count + total))
        np.minimum(moments.low, block_low, out=moments.low)
        np.maximum(moments.high, block_high, out=moments.high)
        count += total
    return count


def sparse_block_moments(X, weight):
    """Return the weighted mean and sum of squared deviations, least and largest value of each column of CSR rows."""
    n, d = X.shape
    total, values, s = weight.sum(), X.data.astype(np.float64), np.repeat(weight, np.diff(X.indptr))
    mean = np.bincount(X.indices, s * values, d) / total
    square = np.bincount(X.indices, s * (values - mean[X.indices]) ** 2, d)
    has_zero = np.bincount(X.indices, minlength=d) < n
    weight_of_zero = np.maximum(total - np.bincount(X.indices, s, d), 0.0) * has_zero
    low, high = np.where(has_zero, 0.0, np.inf), np.where(has_zero, 0.0, -np.inf)
    np.minimum.at(low, X.indices, values)
    np.maximum.at(high, X.indices, values)
    return mean, square + weight_of_zero * mean**2, low, high


@dataclass
class StreamStatistics:
    """Moments of features (None if not standardized) and targets, and the rows and weights seen.

    In a stream the moments are those of the newest two generations of rows, each as long as all rows before it.  So an
    outlier or an old unit of measurement is forgotten when about as many rows again, or twice as many, have passed.
    """

    features: Moments | None  # of the newer generation
    targets: Moments
    past_features: Moments | None  # of the generation before
    past_targets: Moments
    n_young: int = 0  # rows in the newer generation
    n_rows: int = 0
    weight_sum: float = 0.0

    @classmethod
    def empty(cls, d, k, standardize):
        """Return the statistics of no rows."""
        features = [Moments.empty(d) if standardize else None for _ in range(2)]
        return cls(features[0], Moments.empty(k), features[1], Moments.empty(k))

    def is_generation_over(self, window):
        """Whether the next rows begin a new generation."""
        return self.n_young >= (window or min(max(self.n_rows // 2, SHORTEST_GENERATION), LONGEST_GENERATION))

    def add(self, backend, X, Y, sample_weight, window=None):
        """Add rows and return them as ``Rows``, their weights over the mean weight of all rows seen.

        ``window`` is the number of rows in a generation; by default it is that of all rows before, within bounds.
        """
        if self.is_generation_over(window):
            self.past_features, self.past_targets, self.n_young = self.features, self.targets, 0
            self.features = None if self.features is None else Moments.empty(X.shape[1])
            self.targets = Moments.empty(Y.shape[1])
        kept = None if sample_weight is None or sample_weight.all() else np.flatnonzero(sample_weight)
        rows, weight = Rows(X, Y, sample_weight, kept), _as_dtype(sample_weight, X)
        if n_threads() == 1:
            _add_blocks(backend, rows, rows.blocks(), weight, self.features, self.targets)
        else:
            self._add_in_threads(backend, rows, weight)
        self.n_young += rows.n_rows
        self.n_rows += rows.n_rows
        self.weight_sum += rows.n_rows if sample_weight is None else float(sample_weight.sum())
        mean_weight = self.weight_sum / self.n_rows
        if sample_weight is None and mean_weight == 1.0:
            return rows
        s = np.ones(X.shape[0]) if sample_weight is None else sample_weight
        return rows._replace(weight=_as_dtype(s / mean_weight, X))

    def _add_in_threads(self, backend, rows, weight):
        """Add the moments of the parts of the rows that each thread computes."""

        def of_part(part):
            features = None if self.features is None else Moments.empty(rows.X.shape[1])
            kept, size = rows.kept, rows.block_rows
            places = (np.arange(s.start, s.stop) for s in cut_in_order(part, size))
            blocks = (order if kept is None else kept[order] for order in places)
            return _add_blocks(backend, rows, blocks, weight, features, Moments.empty(rows.Y.shape[1]))

        for features, targets in map_blocks(of_part, parts(rows.n_rows)):
            self.features = None if features is None else self.features.merged(features)
            self.targets = self.targets.merged(targets)

    @property
    def recent_features(self):
        """Moments of the features over both generations."""
        return self.features.merged(self.past_features)

    @property
    def recent_targets(self):
        """Moments of the targets over both generations."""
        return self.targets.merged(self.past_targets)

    def mean_intercept(self, coef, fit_intercept):
        """Return the intercept with which ``coef`` predicts the mean.

        It is 0 without an intercept, and without standardization, where a descent starts from 0.
        """
        if self.features is not None and fit_intercept:
            return self.recent_targets.mean - coef @ self.recent_features.mean
        return np.zeros(len(coef))


def _add_blocks(backend, rows, blocks, weight, features, targets):
    """Add blocks of rows to moments, in place, and return these; those of the features may be None."""
    for order in blocks:
        if features is not None:
            features.add(backend, rows.X, order, weight)
        targets.add(backend, rows.Y, order, weight)
    return features, targets


def _as_dtype(sample_weight, X):
    return None if sample_weight is None else np.ascontiguousarray(sample_weight, dtype=X.dtype)
