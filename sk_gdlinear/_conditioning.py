r"""What is known of the data before descending: running column statistics, the change of variables, the safe step.

The descent works in :math:`z = (x - \mu) / s` and :math:`y' = (y - \mu_y) / \sigma_y`, with

.. math:: s_j = \max(\sigma_j, a_j / \sqrt m), \qquad a_j = \max_i |x_{ij} - \mu_j|,

``m`` the nominal batch size.  The second term bounds every ``|z|`` by ``sqrt(m)``, so that no single row, a rare
category or an outlier, dominates a batch.  This changes the path of the descent, never its objective.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ._engine import kernel_for
from ._rows import SEGMENT_ROWS, evenly_spaced
from ._sparse import CentredRows, block_moments, issparse

# Rows from which the largest eigenvalue is estimated, fewer where they are long, and the margin for what they may miss.
EIGENVALUE_ROWS = 2048
EIGENVALUE_NUMBERS = 1 << 20
FEWEST_EIGENVALUE_ROWS = 512
EIGENVALUE_MARGIN = 1.05

# Columns up to which the eigenvalue comes from the Gram matrix, and the most power iterations beyond.
GRAM_COLUMNS = 160
POWER_ITERATIONS = 30

# Rows handled at once by the array functions here.
BLOCK_ROWS = 256


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
        """Statistics of no rows at all."""
        zeros = np.zeros(n_columns)
        return cls(0.0, zeros, zeros.copy(), zeros + np.inf, zeros - np.inf)

    def copy(self):
        """Return an independent copy."""
        return Moments(self.count, *(a.copy() for a in (self.mean, self.square_deviation, self.low, self.high)))

    def merged(self, other):
        """Return the statistics of the rows of both."""
        if self.count == 0.0 or other.count == 0.0:
            return self if other.count == 0.0 else other
        count = self.count + other.count
        delta = other.mean - self.mean
        with np.errstate(over="ignore", invalid="ignore"):  # squares out of range: see spread
            between = delta**2 * (self.count * other.count / count)
            square_deviation = self.square_deviation + other.square_deviation + between
        mean = self.mean + delta * (other.count / count)
        return Moments(
            count, mean, square_deviation, np.minimum(self.low, other.low), np.maximum(self.high, other.high)
        )

    def add(self, X, order, weight):
        """Take in the rows ``order`` of ``X``."""
        kernel = kernel_for(X)
        add = column_moments if kernel is None else kernel.column_moments
        with np.errstate(over="ignore", invalid="ignore"):  # squares out of range: see spread
            self.count = add(X, order, weight, self.mean, self.square_deviation, self.low, self.high, self.count)
        # The mean of a constant is that constant, without rounding.
        np.copyto(self.mean, self.low, where=(self.low == self.high) & np.isfinite(self.mean))

    def spread(self, centre):
        """Root mean square and largest absolute value about the mean, or about 0 if not ``centre``."""
        middle = self.mean if centre else np.zeros_like(self.mean)
        with np.errstate(over="ignore", invalid="ignore"):
            rms = np.sqrt(self.square_deviation / self.count + (self.mean - middle) ** 2)
            largest = np.maximum(self.high - middle, middle - self.low)
        if centre:  # a constant column has no spread, whatever rounding left of it
            rms[self.low == self.high] = largest[self.low == self.high] = 0.0
        # Squares of very large or very small numbers leave the range of float64.
        return np.where(np.isfinite(rms) & (rms > 0.0), rms, largest), largest


def column_moments(X, order, weight, mean, square_deviation, low, high, count):
    """Add the rows of ``order`` to the running moments, in place; return the new sum of weights.

    Blocks of rows are merged by the pairwise update of Chan, Golub and LeVeque (The American Statistician 37, 1983),
    which keeps its precision where columns have offsets far larger than their spread.
    """
    for start in range(0, len(order), BLOCK_ROWS):
        rows = order[start : start + BLOCK_ROWS]
        block = X[rows].astype(np.float64)
        s = np.ones(len(rows)) if weight is None else weight[rows].astype(np.float64)
        total = s.sum()
        if issparse(block):
            block_mean, block_square, block_low, block_high = block_moments(block, s)
        else:
            block_mean, block_low, block_high = s @ block / total, block.min(axis=0), block.max(axis=0)
            block_square = s @ (block - block_mean) ** 2
        delta = block_mean - mean
        mean += delta * (total / (count + total))
        square_deviation += block_square + delta**2 * (count * total / (count + total))
        np.minimum(low, block_low, out=low)
        np.maximum(high, block_high, out=high)
        count += total
    return count


class Conditioning(NamedTuple):
    """The change of variables ``z = (x - shift) * inv_scale``, ``y' = (y - target_shift) * target_inv_scale``."""

    shift: np.ndarray  # (d,)
    inv_scale: np.ndarray  # (d,), 0 for a constant column
    target_shift: np.ndarray  # (k,)
    target_inv_scale: np.ndarray  # (k,)

    @classmethod
    def identity(cls, d, k, dtype):
        """No change at all: plain gradient descent."""
        return cls(np.zeros(d, dtype), np.ones(d, dtype), np.zeros(k, dtype), np.ones(k, dtype))

    @classmethod
    def of(cls, features, targets, batch_size, fit_intercept, dtype):
        """From the moments of the features and of the targets; ``batch_size`` is None for full batches."""
        rms, largest = features.spread(centre=fit_intercept)
        if batch_size is not None:
            rms = np.maximum(rms, largest / np.sqrt(batch_size))
        target_rms, _ = targets.spread(centre=fit_intercept)
        zero = not fit_intercept
        maps = (
            np.zeros_like(rms) if zero else features.mean,
            _inverse(rms, dtype, where_zero=0.0),
            np.zeros_like(target_rms) if zero else targets.mean,
            _inverse(target_rms, dtype, where_zero=1.0),
        )
        return cls(*(a.astype(dtype) for a in maps))

    def keeping(self, before):
        """Return this conditioning with columns of no spread as they were ``before``: they may vary again."""
        idle = (self.inv_scale == 0.0) & (before.inv_scale > 0.0)
        shift = np.where(idle, before.shift, self.shift)
        return self._replace(shift=shift, inv_scale=np.where(idle, before.inv_scale, self.inv_scale))

    def growth(self, before):
        """How many times larger the scale of each column is than ``before``; 1 where either has none."""
        known = (self.inv_scale > 0.0) & (before.inv_scale > 0.0)
        ratio = np.ones(len(known))
        with np.errstate(over="ignore"):
            return np.divide(before.inv_scale, self.inv_scale, out=ratio, where=known)

    def rows(self, X):
        """Conditioned rows ``z``: an array, or what multiplies like one."""
        if issparse(X):
            return CentredRows.of(X, self.shift, self.inv_scale)
        return (X - self.shift) * self.inv_scale

    def targets(self, Y):
        """Conditioned targets ``y'``."""
        return (Y - self.target_shift) * self.target_inv_scale

    def to_user(self, W, b):
        """Coefficients (k, d) in the dtype of ``W`` and intercept (k,) in float64, in the units of the data."""
        unit = 1.0 / self.target_inv_scale.astype(np.float64, copy=False)
        scale = unit[:, None] * self.inv_scale.astype(np.float64, copy=False)
        coef = np.multiply(W, scale, out=scale).astype(W.dtype, copy=False)
        # From the rounded coefficients, so that the intercept makes good what their rounding shifts.
        shift = self.shift.astype(np.float64, copy=False)
        return coef, b * unit + self.target_shift - coef.astype(np.float64, copy=False) @ shift

    def from_user(self, coef, intercept):
        """Inverse of ``to_user``; a constant column's coefficient goes into the intercept."""
        inv_unit = self.target_inv_scale.astype(np.float64)
        inv_scale = self.inv_scale.astype(np.float64)
        scale = np.divide(1.0, inv_scale, out=np.zeros_like(inv_scale), where=inv_scale > 0)
        coef = np.asarray(coef, dtype=np.float64)
        W = coef * scale * inv_unit[:, None]
        b = (intercept - self.target_shift + coef @ self.shift.astype(np.float64)) * inv_unit
        return W.astype(self.shift.dtype, order="C"), b.astype(self.shift.dtype)


def median(A, weight):
    """Weighted median of each column: the smallest value that half of the weight does not exceed."""
    place = np.argsort(A, axis=0)
    share = np.ones(A.shape) if weight is None else weight.astype(np.float64)[place]
    share = np.cumsum(share, axis=0) / share.sum(axis=0)
    middle = (share < 0.5 - 1e-9).sum(axis=0)  # the slack for rounding: weights must equal repeated rows
    return np.take_along_axis(A, np.take_along_axis(place, middle[None], axis=0), axis=0)[0]


def _inverse(scale, dtype, where_zero):
    """``1 / scale``, and ``where_zero`` where that does not exist in ``dtype``."""
    smallest = 1.0 / float(np.finfo(dtype).max)
    return np.divide(1.0, scale, out=np.full_like(scale, where_zero), where=scale > smallest)


def max_row_norm(X, order, weight, shift, inv_scale, fit_intercept):
    """Largest weighted squared norm of a conditioned row of ``order``, the intercept's 1 included."""
    largest = 0.0
    for start in range(0, len(order), BLOCK_ROWS):
        rows = order[start : start + BLOCK_ROWS]
        if issparse(X):
            norm = CentredRows.of(X[rows], shift, inv_scale).square_norms()
        else:
            norm = (((X[rows] - shift) * inv_scale).astype(np.float64) ** 2).sum(axis=1)
        norm += bool(fit_intercept)
        if weight is not None:
            norm *= weight[rows]
        largest = max(largest, float(norm.max()))
    return largest


def max_eigenvalue(A):
    """Largest eigenvalue of ``A^T A / n``.

    Exact from the Gram matrix of the smaller side; by power iteration, to 1 %, where both sides are large.
    """
    n, d = A.shape
    if min(n, d) <= GRAM_COLUMNS:
        gram = A.gram() if isinstance(A, CentredRows) else A.T @ A if d <= n else A @ A.T
        return float(np.linalg.eigvalsh(gram)[-1]) / n
    v = np.ones(n) @ A + np.random.default_rng(0).standard_normal(d)
    value = 0.0
    for _ in range(POWER_ITERATIONS):
        v = (A @ (v / np.linalg.norm(v))) @ A
        before, value = value, float(np.linalg.norm(v))
        if value <= 1.01 * before:
            break
    return value / n


def weighted_rows(data, rows, conditioning, fit_intercept):
    """Conditioned ``rows`` times the roots of their weights, float64, the intercept's 1 included."""
    if issparse(data.X):
        A = conditioning.rows(data.X[rows])
        A = A.with_column_of_ones() if fit_intercept else A
        return A if data.weight is None else A.times(np.sqrt(data.weight[rows]))
    d = data.X.shape[1]
    A = np.ones((len(rows), d + bool(fit_intercept)))
    for start in range(0, len(rows), BLOCK_ROWS):
        A[start : start + BLOCK_ROWS, :d] = conditioning.rows(data.X[rows[start : start + BLOCK_ROWS]])
    if data.weight is not None:
        A *= np.sqrt(data.weight[rows])[:, None]
    return A


def curvature(data, conditioning, fit_intercept, shuffle):
    """Return ``beta`` and ``lambda_1`` of the rows of ``data`` (see ``_schedules.automatic_step``).

    ``lambda_1`` is that of a sample of all rows.  Rows visited in their own order may be alike over long stretches:
    then it is the largest of any stretch.
    """
    kernel = kernel_for(data.X)
    norm = max_row_norm if kernel is None else kernel.max_row_norm
    maps = conditioning.shift, conditioning.inv_scale
    largest_norm = max(norm(data.X, rows, data.weight, *maps, fit_intercept) for rows in data.segments())
    if not np.isfinite(largest_norm):
        raise ValueError(
            "X holds values whose squares have no number in its dtype. Use precondition=True, pass float64, choose "
            "larger units, or give a learning_rate."
        )
    most = max(FEWEST_EIGENVALUE_ROWS, min(EIGENVALUE_ROWS, EIGENVALUE_NUMBERS // data.X.shape[1]))
    if shuffle:
        stretches = [data.sample(most)]
    else:
        stretches = (rows[evenly_spaced(len(rows), most)] for rows in data.segments(rows=SEGMENT_ROWS))
    eigenvalue = max(max_eigenvalue(weighted_rows(data, rows, conditioning, fit_intercept)) for rows in stretches)
    return largest_norm, EIGENVALUE_MARGIN * eigenvalue


def safe_step(Z, grad_W, grad_b, along_W, weight):
    r"""Step along ``along_W, grad_b`` that minimises this batch's squared error, and raises no loss of less curvature.

    It is :math:`\langle \nabla, p \rangle / (\tfrac1m \sum_i s_i \|p_W z_i + p_b\|^2)` for the direction ``p``, and 0
    where that is not a number.
    """
    slope = float((grad_W.astype(np.float64) * along_W).sum() + (grad_b.astype(np.float64) ** 2).sum())
    along = (Z @ along_W.T + grad_b).astype(np.float64) ** 2
    if weight is not None:
        along *= weight[:, None]
    curved = float(along.sum()) / len(Z)
    return slope / curved if np.isfinite(slope) and np.isfinite(curved) and curved > 0 else 0.0
