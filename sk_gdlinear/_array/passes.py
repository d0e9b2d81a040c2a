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

    Sums are about a ``_pivot``, so that offsets cost no digits.
    """
    namespace, count = X.namespace, moments.count
    xp = namespace.xp
    for part in cut_in_order(order, X.block_rows):
        block, s = X.block(part, namespace.real), None if weight is None else weight[part]
        total = float(block.shape[0]) if s is None else float(s.sum(dtype=np.float64))
        pivot = _pivot(namespace, block, s)
        Z = block - pivot  # in float64 where the device has it
        if s is not None:
            s = namespace.asarray(s)
            offset = s @ Z / total
            square = s @ (Z - offset) ** 2
        elif namespace.has_double:
            # The pivot is one of these rows: taking their mean from one sum of squares magnifies rounding by at most
            # the number of rows.
            offset = xp.sum(Z, axis=0) / total
            square = xp.linalg.vector_norm(Z, axis=0) ** 2 - total * offset**2
        else:
            offset = xp.sum(Z, axis=0) / total
            square = xp.linalg.vector_norm(Z - offset, axis=0) ** 2
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


def _pivot(namespace, block, weight):
    """Return numbers near those of a block, (1, d): its heaviest row, or in float32 its mean without weights."""
    xp = namespace.xp
    if not namespace.has_double:
        return xp.sum(block / block.shape[0], axis=0, keepdims=True)
    heaviest = 0 if weight is None else int(weight.argmax())
    return xp.astype(block[heaviest : heaviest + 1, :], namespace.real)


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
