"""Passes over rows on a device: the functions of a ``Backend`` for ``DeviceArray``s."""

import numpy as np

from .._data.order import cut_in_order
from .._descent.backend import Backend
from .._objective.derivation import coef_gradient, error, forward
from .epoch import epoch
from .joint_moments import joint_moments
from .namespace import to_numpy
from .problem import DeviceProblem, standardized
from .rows import Totals, blocks


def moments(X, order, weight, moments):
    """Add the rows ``order``, in increasing order, to the running moments, in place; return the new sum of weights.

    In float64 sums are about a row of the block, that of the largest weight, so that offsets cost no digits.  Without
    weights one sum of squares suffices: since that row is one of those whose spread is computed, taking their mean from
    it magnifies rounding by at most the number of rows.  In float32 sums are about the mean as far as it is known.
    """
    namespace, count = X.namespace, moments.count
    xp = namespace.xp
    for part in cut_in_order(order, X.block_rows):
        block, is_double = X.block(part, namespace.real), namespace.has_double
        largest = 0 if weight is None else int(weight[part].argmax())
        if is_double:
            pivot = xp.astype(block[largest : largest + 1, :], namespace.real)
        else:
            pivot = xp.sum(block / block.shape[0], axis=0, keepdims=True)
        Z = block - pivot  # in float64 where the device has it
        if weight is None:
            total = float(block.shape[0])
            offset = xp.sum(Z, axis=0) / total
            size = Z if is_double else Z - offset
            square = xp.linalg.vector_norm(size, axis=0) ** 2 - (total * offset**2 if is_double else 0.0)
        else:
            s, total = namespace.asarray(weight[part]), float(weight[part].sum(dtype=np.float64))
            offset = s @ Z / total
            square = s @ (Z - offset) ** 2
        low, high = (xp.astype(a, namespace.real) for a in (xp.min(block, axis=0), xp.max(block, axis=0)))
        parts = xp.stack((pivot[0, :], offset, square, low, high))
        pivot, offset, square, low, high = to_numpy(parts).astype(np.float64)
        delta = pivot + offset - moments.mean
        moments.mean += delta * (total / (count + total))
        moments.square_deviation += np.maximum(square, 0.0) + delta**2 * (count * total / (count + total))
        np.minimum(moments.low, low, out=moments.low)
        np.maximum(moments.high, high, out=moments.high)
        count += total
    return count


def max_row_norm(rows, order, standardization, fit_intercept):
    """Return the largest weighted squared norm of a standardized row, the intercept's 1 included.

    It is that of the rows ``order``, which are in increasing order.
    """
    namespace, largest = rows.X.namespace, 0.0
    xp = namespace.xp
    shift, inv_scale = (namespace.asarray(a) for a in standardization[:2])
    for part in cut_in_order(order, rows.X.block_rows):
        Z = standardized(rows.X.block(part, namespace.real), shift, inv_scale)
        norm = xp.linalg.vector_norm(Z, axis=1) ** 2 + float(fit_intercept)
        weight = rows.weights(part)
        norm = norm if weight is None else norm * namespace.asarray(weight)
        largest = max(largest, float(xp.max(norm)))
    return largest


def gradient(problem, order, W, b):
    """Return the sums over the rows ``order`` of their gradients by ``W`` and ``b``, and of their losses."""
    return derivatives(problem, order, W, b, None)


def derivatives(problem, order, W, b, table):
    """Write the derivative of each row's weighted loss into ``table``, in NumPy; return what ``gradient`` does."""
    device = DeviceProblem(problem)
    xp, totals = device.namespace.xp, Totals(device.namespace)
    at = device.own(W), device.own(b)
    for part in blocks(problem.rows, order):
        Z, Y, weight = device.block(part)
        E = error(forward(Z, *at), Y)
        value, psi = device.loss.value(E), device.loss.derivative(E)
        if weight is not None:
            value, psi = value * weight, psi * weight
        if table is not None:
            table[part] = to_numpy(psi)
        totals.add(coef_gradient(psi, Z), xp.sum(psi, axis=0) * float(problem.fit_intercept), xp.sum(value, axis=0))
    return totals.numpy()


def losses(problem, W, b):
    """Return the loss per target over all rows, (k,)."""
    device = DeviceProblem(problem)
    xp, totals, at = device.namespace.xp, Totals(device.namespace), (device.own(W), device.own(b))
    for part in blocks(problem.rows):
        Z, Y, weight = device.block(part)
        value = device.loss.value(error(forward(Z, *at), Y))
        totals.add(xp.sum(value if weight is None else value * weight, axis=0))
    return totals.numpy()[0] / problem.rows.total_weight


def errors(problem, order, W, b):
    """Return the errors of the rows ``order``, in standardized units, in NumPy."""
    device, parts = DeviceProblem(problem), []
    at = device.own(W), device.own(b)
    for part in blocks(problem.rows, order):
        Z, Y, _ = device.block(part)
        parts.append(to_numpy(error(forward(Z, *at), Y)))
    return np.concatenate(parts).astype(np.float64)


DEVICE = Backend(epoch, gradient, derivatives, errors, moments, max_row_norm, joint_moments)
