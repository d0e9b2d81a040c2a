"""Loops over the errors of rows that Newton steps need for losses other than the squared error.

The reference implementations are here, with a leading underscore.  The compiled ones in ``_kernels.row_loops`` compute
the same in one pass.  The derivative of the loss is a line within bounds: ``offset``, ``low`` and ``high``, (k,) each,
are those of ``ClippedLine``.
"""

import numpy as np

from .._kernels import row_loops as compiled
from .._objective.losses import ClippedLine
from .duality_gap import dual_terms

# Rows whose losses after shares of a step are computed at once.
LOSS_ROWS = 1 << 12


def _dual_sums(E, way, second_way, weight, offset, low, high, damping):
    """Return sums of ``dual_terms`` over rows, (5, k), the largest derivatives, the rows out of bounds, and by what.

    The second are over their bound, and at least 1; the last are times the weight, which is not 0, if there is one.
    """
    loss, weight = ClippedLine(offset, low, high), None if weight is None else weight[:, None]
    *summed, excess, largest = dual_terms(np, loss, (low, high), E, way, second_way, damping, weight)
    out = np.flatnonzero(excess.any(axis=1))
    return np.stack([a.sum(axis=0) for a in summed]), np.maximum(largest, 1.0), out, excess[out]


def _losses_between(E, way, weight, shares, offset, low, high):
    """Return the losses of errors after shares of a way, summed over rows, (len(shares), k)."""
    return sum_between(ClippedLine(offset, low, high), E, way, weight, shares)


def sum_between(loss, E, way, weight, shares):
    """Return the losses of errors after shares of a way, summed over rows, (len(shares), k), for any loss."""
    total, shares, size = np.zeros((len(shares), E.shape[1])), shares[:, None, None], max(1, LOSS_ROWS // E.shape[1])
    for rows in (slice(start, start + size) for start in range(0, len(E), size)):
        values = loss.value(E[rows] + shares * way[rows])
        total += values.sum(axis=1) if weight is None else weight[rows] @ values
    return total


dual_sums = _dual_sums if compiled is None else compiled.dual_sums
losses_between = _losses_between if compiled is None else compiled.losses_between
