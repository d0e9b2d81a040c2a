"""A problem on a device: the change of variables, the loss and the penalty in its namespace."""

from .._objective.losses import ClippedLine
from .._objective.penalties import BoxedElasticNet
from .namespace import to_numpy


class DeviceProblem:
    """A ``Problem`` with copies of its small arrays on the device of the rows.

    Parameters
    ----------
    problem : Problem
        Its rows are ``DeviceArray``s.
    dtype : object, default=None
        Of the computation, by default that of sums.
    """

    def __init__(self, problem, dtype=None):
        self.rows, self.namespace = problem.rows, problem.rows.X.namespace
        self.dtype = self.namespace.real if dtype is None else dtype
        self.standardization = type(problem.standardization)(*(self.own(a) for a in problem.standardization))
        self.loss = DeviceLoss(problem.loss, self.namespace, self.dtype)
        self.penalty = DevicePenalty(problem.penalty, self.namespace, self.dtype)

    def own(self, values):
        """Return numbers in NumPy as an array on the device."""
        return self.namespace.asarray(values, self.dtype)

    def block(self, order):
        """Return the standardized rows and targets of a block, and its weights as a column or None."""
        weight, (shift, inv_scale, target_shift, target_inv_scale) = self.rows.weights(order), self.standardization
        return (
            standardized(self.rows.X.block(order, self.dtype), shift, inv_scale),
            standardized(self.rows.Y.block(order, self.dtype), target_shift, target_inv_scale),
            None if weight is None else self.own(weight)[:, None],
        )

    def weight_sum(self, weight, n_rows):
        """Return the sum of the weights of a block, (1,)."""
        xp = self.namespace.xp
        if weight is None:
            return self.namespace.asarray([n_rows])
        return xp.sum(xp.astype(weight, self.namespace.real, copy=False), axis=0)


def standardized(rows, shift, inv_scale):
    """Return a block of rows standardized, in the dtype of ``shift``, which is theirs or a wider one."""
    Z = rows - shift
    Z *= inv_scale
    return Z


class DeviceLoss:
    """A loss in standardized units, of errors on a device.

    Built-in losses are computed there; a user's own gets its errors in NumPy, block by block.
    """

    def __init__(self, loss, namespace, dtype):
        self.loss, self.namespace, self.line = loss, namespace, None
        self.is_quadratic = loss.is_quadratic
        if isinstance(loss, ClippedLine):
            self.line = [namespace.asarray(values, dtype) for values in loss]

    def derivative(self, E):
        """Return the derivative of the loss of each error."""
        if self.line is None:
            return self._in_numpy(self.loss.derivative, E)
        return E if self.is_quadratic else self.within_bounds(E + self.line[0])

    def within_bounds(self, derivative):
        """Return derivatives of a built-in loss, moved to the bounds where they are beyond."""
        xp, (_, low, high) = self.namespace.xp, self.line
        return xp.minimum(xp.maximum(derivative, low), high)

    def value(self, E):
        """Return the loss of each error, in the dtype of sums."""
        E = self.namespace.xp.astype(E, self.namespace.real, copy=False)
        if self.line is None:
            return self._in_numpy(self.loss.value, E)
        if self.is_quadratic:
            return 0.5 * E * E
        offset = self.line[0]
        u = self.derivative(E) - offset
        return offset * E + u * (E - 0.5 * u)

    def curvature(self, E):
        """Return the second derivative of the loss of each error."""
        xp = self.namespace.xp
        if self.line is None:
            return self._in_numpy(self.loss.curvature, E)
        offset, low, high = self.line
        line = E + offset
        return xp.astype((line > low) & (line < high), E.dtype)

    def _in_numpy(self, method, E):
        return self.namespace.asarray(method(to_numpy(E)), E.dtype)


class DevicePenalty:
    """A penalty on standardized coefficients on a device; a user's own gets them in NumPy."""

    def __init__(self, penalty, namespace, dtype):
        self.penalty, self.namespace = penalty, namespace
        self.parts = None
        if isinstance(penalty, BoxedElasticNet) and not penalty.is_zero:
            self.parts = [None if a is None else namespace.asarray(a, dtype) for a in penalty[:4]]

    def proximal(self, W, step):
        """Return the coefficients after a proximal step."""
        if self.penalty.is_zero:
            return W
        if self.parts is None:
            return self.namespace.asarray(self.penalty.proximal(to_numpy(W), step), W.dtype)
        xp, (l1, l2, lower, upper) = self.namespace.xp, self.parts
        width = step * l1
        W = (W - xp.minimum(xp.maximum(W, -width), width)) / (1.0 + step * l2)
        return W if lower is None else xp.minimum(xp.maximum(W, lower), upper)
