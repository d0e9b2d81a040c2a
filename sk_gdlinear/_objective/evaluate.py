"""The mean loss of given parameters over all rows."""

import numpy as np
from scipy.sparse import issparse

from .derivation import batch_loss

# Rows whose errors are computed at once, so that these stay in cache; numbers of X at most, so that the reference
# implementation needs little memory; and rows at least.
BLOCK_ROWS = 1 << 13
BLOCK_NUMBERS = 1 << 19
LEAST_ROWS = 512


def mean_loss(backend, problem, W, b):
    """Return the loss per target over the rows of ``problem``, in standardized units, shape (k,)."""
    rows = problem.rows
    totals, total_weight = np.zeros(len(b)), 0.0
    # The sparse kernel passes over all columns at every call, so it gets as many rows as an epoch does.
    size = None
    if not issparse(rows.X):
        size = min(BLOCK_ROWS, max(LEAST_ROWS, BLOCK_NUMBERS // max(rows.X.shape[1], rows.Y.shape[1])))
    for order in rows.blocks(size=size):
        E = backend.errors(problem, order, W, b)
        weight = None if rows.weight is None else rows.weight[order]
        totals += batch_loss(E, problem.loss, weight) * len(E)
        total_weight += len(E) if weight is None else float(weight.sum(dtype=np.float64))
    return totals / total_weight


def weighted_median(A, weight):
    """Return the weighted median of each column: the smallest value that half of the weight does not exceed."""
    place = np.argsort(A, axis=0)
    share = np.ones(A.shape) if weight is None else weight.astype(np.float64)[place]
    share = np.cumsum(share, axis=0) / share.sum(axis=0)
    middle = (share < 0.5 - 1e-9).sum(axis=0)  # the slack is for rounding: weights must equal repeated rows
    return np.take_along_axis(A, np.take_along_axis(place, middle[None], axis=0), axis=0)[0]
