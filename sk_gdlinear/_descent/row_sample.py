"""The curvature of a sample of the rows, by which what is left to gain is estimated.

Evenly spaced rows represent most columns.  In a column with few large values, such as a rare category, they may miss
these values, which are most of its mean square.  Rows with such values are then a stratum of their own (W. Cochran,
"Sampling Techniques", 1977, chapter 5): all of them are taken, or as many as others, and the mean over the rows weights
each stratum by its size.
"""

from typing import NamedTuple

import numpy as np
from scipy.sparse import issparse

from .._data.order import as_slice, evenly_spaced
from .._data.second_moments import second_moments
from .._data.threads import map_blocks
from .quadratic import QuadraticModel

# Rows of a sample, at least, and per column.
SAMPLE_ROWS = 2048
SAMPLE_ROWS_PER_COLUMN = 2

# If the mean square of a column exceeds that in the sample by more than this factor, the sample does not represent it.
MAX_SAMPLE_RATIO = 4.0

# The square of a value, relative to the mean square of its column, from which its row belongs to the other stratum.  So
# does at most one row of a hundred for each column.
LARGE = 100.0

# Numbers that are looked at at once, and rows of a block at least.
BLOCK_NUMBERS = 1 << 20
FEWEST_BLOCK_ROWS = 256

# Damping of the second moments of a sample, relative to their diagonal.  Columns that are collinear in it may not be so
# in all rows, whose gradient along them then counts.
SAMPLE_DAMPING = 1e-9


class Sample(NamedTuple):
    """The curvature by a sample of the rows."""

    factor: float  # of gains by the model
    known: np.ndarray  # numbers of the columns that it represents
    H: np.ndarray | None = None  # second moments of these columns
    model: QuadraticModel | None = None
    knows_all: bool = False
    may_miss_values: bool = False  # whether rare large values have not been looked for


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
