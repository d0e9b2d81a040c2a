"""Joint second moments of features and targets on a device; only these matrices are copied to NumPy."""

import numpy as np

from .._data.joint_moments import BLOCK_ROWS, JointMoments, merged, moments_of_block
from .._data.order import cut_in_order
from .namespace import to_numpy


def joint_moments(X, Y, weight=None, rows=None):
    """Return the ``JointMoments`` of rows; see ``JointMoments.of``.

    Products in float32 would have too few digits: on a device without float64 each block is copied to NumPy.
    """
    namespace, total_columns = X.namespace, X.shape[1] + Y.shape[1]
    size = max(BLOCK_ROWS, namespace.block_rows(total_columns))
    of = _block if namespace.has_double else _block_in_numpy
    parts = cut_in_order(slice(0, X.shape[0]) if rows is None else rows, size)
    return merged(of(X, Y, None if weight is None else weight[part].astype(np.float64), part) for part in parts)


def _block_in_numpy(X, Y, weight, part):
    return JointMoments.of(X[part], Y[part], weight)


def _block(X, Y, weight, part):
    """Return the moments of a block of rows."""
    namespace = X.namespace
    xp, real = namespace.xp, namespace.real
    V = xp.concat((X.take(part, real), Y.take(part, real)), axis=1)
    low, high = to_numpy(xp.stack((xp.min(V, axis=0), xp.max(V, axis=0))))
    weight_sum = float(V.shape[0]) if weight is None else float(weight.sum())

    def products(factor, constant):
        scaled = V * namespace.asarray(factor)
        total = xp.sum(scaled, axis=0) if weight is None else namespace.asarray(weight) @ scaled
        mean = np.where(constant, low * factor, to_numpy(total) / weight_sum)  # a constant is its mean, unrounded
        scaled -= namespace.asarray(mean)
        if weight is not None:
            scaled *= namespace.asarray(np.sqrt(weight))[:, None]
        return mean, to_numpy(scaled.T @ scaled)

    return moments_of_block(low, high, V.shape[0], weight_sum, products)
