"""The curvature of a sample of the rows, by which what is left to gain is estimated.

Evenly spaced rows represent most columns.  In a column with few large values, such as a rare category, they may miss
these values, which are most of its mean square.  Rows with such values are then a stratum of their own (W. Cochran,
"Sampling Techniques", 1977, chapter 5): all of them are taken, or as many as others, and the mean over the rows weights
each stratum by its size.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.sparse import issparse

from .._data.order import as_slice, evenly_spaced
from .._data.second_moments import second_moments
from .._data.threads import map_blocks
from .._objective.penalties import BoxedElasticNet
from .quadratic import QuadraticModel
from .rent_or_buy import MOST_COLUMNS

# Rows of a sample, at least, and per column.
SAMPLE_ROWS = 2048
SAMPLE_ROWS_PER_COLUMN = 2

# If the mean square of a column exceeds that in the sample by more than this factor, the sample does not represent it.
MAX_SAMPLE_RATIO = 4.0

# The square of a value, relative to the mean square of its column, from which its row belongs to the other stratum.
# That holds at most one row in a hundred for each column.
LARGE = 100.0

# Numbers of X in a block of rows whose large values are looked for, and rows of a block at least.
BLOCK_NUMBERS = 1 << 20
FEWEST_BLOCK_ROWS = 256

# Damping of the second moments of a sample, relative to their diagonal.  Columns that are collinear in it may not be so
# in all rows, whose gradient along them then counts.
SAMPLE_DAMPING = 1e-9


class Sample(NamedTuple):
    """The curvature by a sample of the rows."""

    factor: float  # by which gains of the model are multiplied
    known: np.ndarray  # numbers of the columns that it represents
    H: np.ndarray | None = None  # second moments of these columns
    model: QuadraticModel | None = None
    knows_all: bool = False
    may_miss_values: bool = False  # whether rare large values have not been looked for


@dataclass
class SampleInspection:
    """What is left to gain at a point, by a sample of the rows, which is drawn when it is first needed."""

    column_squares: np.ndarray  # (d,), mean squares of the standardized columns over all rows
    may_be_all: bool  # whether the sample may be all rows; they cost as much as buying their curvature
    sample: Sample | None = None  # None before it is drawn
    newest: tuple[int, float] | None = None  # the number of epochs at the newest forecast, and what this sample said
    answer: tuple | None = None  # the newest point, the sample, and what it said there

    @property
    def knows_all(self):
        """Whether a sample has been drawn that represents all columns."""
        return self.sample is not None and self.sample.knows_all

    @property
    def spent(self):
        """What minima of the model with kinks have cost so far, in the units of ``rent_or_buy``."""
        return 0.0 if self.sample is None or self.sample.model is None else self.sample.model.spent

    def gain(self, problem, point, curved_share, limit):
        """Return what is left to gain at a point, and whether all columns count in it.

        If the columns that evenly spaced rows represent leave no more than ``limit``, rows with large values in the
        others are looked for.

        Parameters
        ----------
        problem : Problem
        point : Point
            Parameters, with the gradient of all rows there.
        curved_share : float
            Mean second derivative of the loss.
        limit : float
        """
        if self.sample is None:
            self.sample = self._evenly_spaced(problem)
        gain, is_all = self._gain_by_sample(problem, point, curved_share)
        if self.sample.may_miss_values and gain <= limit:
            n_sampled, known = sample_size(problem.rows.X.shape[1]), self.sample.known
            rows, standardization = problem.rows, problem.standardization
            self.sample = draw_stratified_sample(rows, standardization, n_sampled, self.column_squares, known)
            self.newest = None  # what other columns leave is no part of it
            gain, is_all = self._gain_by_sample(problem, point, curved_share)
        return gain, is_all

    def epochs_to_come(self, n_epochs, left, tol):
        """Return how many more epochs will leave ``tol`` if each leaves the same part of what the one before left.

        Most leave a larger part than the one before, since along some directions the objective falls slowly.  So their
        number is rather larger.  It is 0 at the first call: the part is known from two.
        """
        before, self.newest = self.newest, (n_epochs, left)
        if before is None or n_epochs <= before[0] or left <= tol or before[1] == 0.0:
            return 0.0
        fall = np.log(before[1] / left) / (n_epochs - before[0])
        return float(np.log(left / tol) / fall) if fall > 0.0 else np.inf

    def _gain_by_sample(self, problem, point, curved_share):
        if self.answer is None or self.answer[0] is not point or self.answer[1] is not self.sample:
            self.answer = point, self.sample, self._computed_gain(problem, point, curved_share)
        return self.answer[2]

    def _computed_gain(self, problem, point, curved_share):
        sample, penalty, W, gradient = self.sample, problem.penalty, point.W.astype(np.float64), point.grad_W
        if not sample.knows_all:
            if not (len(sample.known) and isinstance(penalty, BoxedElasticNet)):
                return 0.0, False
            penalty, W, gradient = penalty.of_columns(sample.known), W[:, sample.known], gradient[:, sample.known]
        if penalty.is_zero or curved_share == 1.0:  # without a penalty gains are in inverse proportion to the curvature
            model, units = sample.model, curved_share
        else:
            model, units = QuadraticModel(curved_share * sample.H), 1.0
        minimum = model.minimise(W, gradient, penalty)
        gain = sample.factor * (minimum.gain + minimum.hidden) / units
        gain += 0.5 * float(np.square(point.grad_b).sum()) / curved_share
        return gain, sample.knows_all and minimum.exact

    def _evenly_spaced(self, problem):
        """Return the ``Sample`` of evenly spaced rows; it represents no column where it would cost too much."""
        rows, d = problem.rows, problem.rows.X.shape[1]
        n_sampled = min(sample_size(d), rows.n_rows)
        is_too_large = d > MOST_COLUMNS  # the matrix of its second moments
        if is_too_large or (n_sampled == rows.n_rows and not self.may_be_all):
            return Sample(0.0, np.empty(0, dtype=np.intp))
        return draw_sample(rows, problem.standardization, n_sampled, self.column_squares)


def sample_size(n_columns):
    """Return the number of rows of a sample."""
    return max(SAMPLE_ROWS, SAMPLE_ROWS_PER_COLUMN * n_columns)


def draw_sample(rows, standardization, n_sampled, column_squares):
    """Return the ``Sample`` of so many evenly spaced rows.

    Parameters
    ----------
    rows : Rows
    standardization : Standardization
    n_sampled : int
    column_squares : ndarray of shape (d,)
        Mean squares of the standardized columns over all rows.
    """
    moments = second_moments(rows, standardization, order=rows.sample(n_sampled))
    return _sample_of(moments, rows, n_sampled, column_squares, may_miss_values=True)


def draw_stratified_sample(rows, standardization, n_sampled, column_squares, known):
    """Return the ``Sample`` of evenly spaced rows and of those with large values in columns other than ``known``."""
    missed = np.setdiff1d(np.arange(len(column_squares)), known)
    stratum = _rows_with_large_values(rows, standardization, column_squares, missed)
    others = np.setdiff1d(rows.sample(n_sampled), stratum)
    weight = rows.weights(stratum)
    of_stratum = float(len(stratum)) if weight is None else float(weight.sum(dtype=np.float64))
    moments = second_moments(rows, standardization, order=stratum[evenly_spaced(len(stratum), n_sampled)])
    if moments.count > 0.0:
        moments = moments.times(of_stratum / moments.count)
    rest = second_moments(rows, standardization, order=others)
    if rest.count > 0.0:
        moments.merge(rest.times((rows.total_weight - of_stratum) / rest.count))
    return _sample_of(moments, rows, n_sampled, column_squares, may_miss_values=False)


def _sample_of(moments, rows, n_sampled, column_squares, may_miss_values):
    """Return the ``Sample`` of the columns whose mean square is not far above that in these moments."""
    H = moments.about(centre=False)
    known = np.flatnonzero(column_squares <= MAX_SAMPLE_RATIO * np.diag(H))
    knows_all = len(known) == len(column_squares)
    if not knows_all:
        H, column_squares = H[np.ix_(known, known)], column_squares[known]
    sampled = np.diag(H)
    enlarge = np.sqrt(np.divide(column_squares, sampled, out=np.ones(len(known)), where=sampled > 0.0))
    H *= np.multiply.outer(enlarge, enlarge)
    H.flat[:: len(known) + 1] *= 1.0 + SAMPLE_DAMPING
    # The inverse of the second moments of m rows of d directions is m / (m - d) times too large, on average.
    factor = 1.0 if n_sampled == rows.n_rows else 1.0 - len(known) / n_sampled
    return Sample(factor, known, H, QuadraticModel(H), knows_all, may_miss_values and not knows_all)


def _rows_with_large_values(rows, standardization, column_squares, columns):
    """Return the numbers of the rows with a large value in one of the ``columns``, in increasing order."""
    shift, inv_scale = (a[columns].astype(np.float64) for a in standardization[:2])
    size = np.sqrt(LARGE * column_squares[columns]) / inv_scale  # constant columns are known
    low, high = shift - size, shift + size

    def of_block(order):
        X, weight = rows.X[as_slice(order)][:, columns], rows.weights(order)
        X = X.toarray() if issparse(X) else X
        if weight is None:
            is_large = (X > high) | (X < low)
        else:
            is_large = np.abs(X - shift) * np.sqrt(weight)[:, None] > size
        return order[is_large.any(axis=1)]

    block_rows = max(FEWEST_BLOCK_ROWS, BLOCK_NUMBERS // len(columns))
    return np.concatenate(list(map_blocks(of_block, rows.blocks(size=block_rows))))
