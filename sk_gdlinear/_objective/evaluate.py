"""The mean loss of given parameters over all rows."""

import math

import numpy as np
from scipy.sparse import issparse

from .._data.threads import map_blocks
from .derivation import batch_loss
from .losses import largest_loss

# Rows whose errors are computed at once, so that the errors stay in cache.  They are fewer where X has many columns, so
# that the reference implementation needs little memory: at most so many numbers of X, but at least so many rows.
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

    def of_block(order):
        E = backend.errors(problem, order, W, b)
        weight = rows.weights(order)
        total = batch_loss(E, problem.loss, weight) * len(E)
        return total, len(E) if weight is None else float(weight.sum(dtype=np.float64))

    for of_loss, of_weight in map_blocks(of_block, rows.blocks(size=size)):
        totals += of_loss
        total_weight += of_weight
    return totals / total_weight


def typical_loss(objective, Y, weight):
    """Return the loss of the median deviation of targets ``Y`` from their median, over all targets.

    It is in standardized units.  The medians leave out outliers.
    """
    targets = objective.standardization.targets(Y)
    deviation = weighted_median(np.abs(targets - weighted_median(targets, weight)), weight)
    spread = objective.baseline.spread * objective.standardization.target_inv_scale
    losses = largest_loss(objective.loss, np.where(deviation > 0.0, deviation, spread))
    return float(losses[objective.baseline.counts].sum())


def weighted_median(A, weight):
    """Return the weighted median of each column."""
    return weighted_quantile(A, weight, 0.5)


def weighted_quantile(A, weight, quantile):
    """Return the weighted quantile of each column: the smallest value up to which there is that share of the weight."""
    quantile = quantile - 1e-9  # the slack is for rounding: weights must equal repeated rows
    if weight is None:
        first = max(math.ceil(quantile * len(A)) - 1, 0)
        return np.partition(A, first, axis=0)[first]
    place = np.argsort(A, axis=0)
    share = weight.astype(np.float64)[place]
    share = np.cumsum(share, axis=0) / share.sum(axis=0)
    first = (share < quantile).sum(axis=0)
    return np.take_along_axis(A, np.take_along_axis(place, first[None], axis=0), axis=0)[0]
