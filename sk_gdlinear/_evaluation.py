"""How good given weights are: errors and mean loss over rows, or over a part of them between epochs."""

import numpy as np

from ._engine import kernel_for
from ._objective import batch_loss, error, forward
from ._sparse import issparse, product

# Rows at least, and numbers at most, whose objective is computed at once; and blocks of them at least, where there are
# as many rows: those that are watched lie in all parts of the data.
OBJECTIVE_ROWS = 512
OBJECTIVE_NUMBERS = 1 << 19
OBJECTIVE_BLOCKS = 16


def mean_loss(data, conditioning, loss, W, b, every=1):
    """Loss per target over the rows, in conditioned units; over every ``every``-th block of rows only."""
    errors = errors_of(data, conditioning, W, b)
    totals, total_weight = np.zeros(len(b)), 0.0
    block = block_rows(data, every)
    for start in range(0, data.n_rows, every * block):
        stop = min(start + block, data.n_rows)
        rows = np.arange(start, stop, dtype=np.intp) if data.kept is None else data.kept[start:stop]
        E = errors(rows)
        weight = None if data.weight is None else data.weight[rows]
        totals += batch_loss(E, loss, weight) * len(E)
        total_weight += len(E) if weight is None else float(weight.sum(dtype=np.float64))
    return totals / total_weight


def block_rows(data, every):
    """Return how many rows a block has of which every ``every``-th is looked at."""
    most = OBJECTIVE_NUMBERS // max(data.X.shape[1], data.Y.shape[1])
    return max(OBJECTIVE_ROWS, min(most, data.n_rows // (OBJECTIVE_BLOCKS * every)))


def errors_of(data, conditioning, W, b):
    """Return a function from row numbers to the errors of these rows, in conditioned units, of shape (n, k)."""
    X, Y, kernel = data.X, data.Y, kernel_for(data.X)
    if not W.any():  # it takes no rows to know what these weights predict
        return lambda rows: error(b, conditioning.targets(Y[rows]))
    if issparse(X):
        multiply = product if kernel is None else kernel.product
        coef, intercept = conditioning.to_user(W, b)
        B = np.ascontiguousarray(coef.T, dtype=np.float64)
        return lambda rows: error(multiply(X, rows, B) + intercept, Y[rows]) * conditioning.target_inv_scale
    if kernel is None:
        return lambda rows: error(forward(conditioning.rows(X[rows]), W, b), conditioning.targets(Y[rows]))
    return lambda rows: kernel.errors(X, Y, rows, *conditioning, W, b)
