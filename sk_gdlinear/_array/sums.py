"""Sums over rows on a device that Newton steps need."""

import numpy as np

from .._data.second_moments import SecondMoments
from .._descent.duality_gap import DualSums, dual_terms
from .._descent.row_sums import RowSums
from .._descent.smoothing import SAFETY
from .._objective.derivation import error, forward
from .._objective.losses import Quantile
from .namespace import to_numpy
from .problem import DeviceLoss, DeviceProblem
from .rows import DeviceArray, Totals, blocks


class DeviceSums(RowSums):
    """The sums of ``RowSums`` for ``DeviceArray``s, in float64 where the device has it."""

    @property
    def eps(self):
        """The rounding of the sums, relative to them."""
        return float(np.finfo(np.float64 if self.namespace.has_double else np.float32).eps)

    def second_moments(self, objective):
        """Return the second moments of the standardized rows.

        The same pass adds up the gradient and the losses of predicting the mean, where most descents start.
        """
        device, mean = self._device(objective), objective.baseline.intercept
        xp, totals, b = device.namespace.xp, Totals(device.namespace), device.own(mean)
        for part in blocks(self.rows):
            Z, Y, weight = device.block(part)
            count, weighted = device.weight_sum(weight, Z.shape[0]), Z if weight is None else Z * weight
            totals.add(count, xp.sum(weighted, axis=0), Z.T @ weighted, *self._of_errors(device, Z, b - Y, weight))
        count, total, products, *at_mean = totals.numpy()
        self.cache["at mean"] = objective, mean, at_mean
        return _moments(count, total, products)

    def curved_moments(self, objective, point, t):
        """Return the second moments of the rows, weighted by the curvature of target ``t``'s loss at a point."""
        device = self._device(objective)
        xp, totals, at = device.namespace.xp, Totals(device.namespace), (device.own(point.W), device.own(point.b))
        for part in blocks(self.rows):
            Z, Y, weight = device.block(part)
            curvature = device.loss.curvature(error(forward(Z, *at), Y))[:, t : t + 1]
            weight = curvature if weight is None else curvature * weight
            weighted = Z * weight
            totals.add(xp.sum(weight, axis=0), xp.sum(weighted, axis=0), Z.T @ weighted)
        return _moments(*totals.numpy())

    def _memory_for_errors(self):
        """Return None: on a device errors are computed again where they are needed."""
        return None

    def gradient_and_losses(self, objective, W, b, on_block=None, errors=None):
        """Return the gradient of the loss by ``W`` and ``b``, and the loss per target, summed over rows."""
        known, mean, at_mean = self.cache.get("at mean", (None, None, None))
        if known is objective and not W.any() and np.array_equal(b, mean):
            return tuple(at_mean)
        device = self._device(objective)
        totals, at = Totals(device.namespace), (device.own(W), device.own(b))
        for part in blocks(self.rows):
            Z, Y, weight = device.block(part)
            totals.add(*self._of_errors(device, Z, error(forward(Z, *at), Y), weight))
            if on_block is not None:
                on_block()
        return tuple(totals.numpy())

    def _equal_targets(self, values):
        """Return targets that are the same in every row, like those of the rows."""
        Y = self.rows.Y.array
        return DeviceArray(self.namespace.xp.zeros_like(Y) + self.namespace.asarray(values, Y.dtype), self.namespace)

    def _of_errors(self, device, Z, E, weight):
        """Return the sums of the gradients and of the losses of a block with such errors."""
        xp, psi, value = device.namespace.xp, device.loss.derivative(E), device.loss.value(E)
        if weight is not None:
            psi, value = psi * weight, value * weight
        return psi.T @ Z, xp.sum(psi, axis=0) * float(self.fit_intercept), xp.sum(value, axis=0)

    def losses_between(self, objective, start, end, shares):
        """Return the losses after shares of the way between two points, (len(shares), k), summed over rows."""
        device = self._device(objective)
        xp, totals = device.namespace.xp, Totals(device.namespace)
        start, end = (tuple(device.own(a) for a in point[:2]) for point in (start, end))
        for part in blocks(self.rows):
            Z, Y, weight = device.block(part)
            E = error(forward(Z, *start), Y)
            way = error(forward(Z, *end), Y) - E
            values = [device.loss.value(E + share * way) for share in np.asarray(shares).tolist()]
            totals.add(*(xp.sum(a if weight is None else a * weight, axis=0) for a in values))
        return np.stack(totals.numpy())

    def dual_sums(self, objective, point, proposal, second_step=None):
        """Return the ``DualSums`` of the derivatives that the model at a point predicts for its minimum."""
        device = self._device(objective)
        xp, totals, largest = device.namespace.xp, Totals(device.namespace), None
        start, end = (tuple(device.own(a) for a in parameters[:2]) for parameters in (point, proposal))
        second = None if second_step is None else [device.own(a) for a in second_step]
        bounds, damping = [device.own(a) for a in objective.loss[1:]], device.own(proposal.damping)
        for part in blocks(self.rows):
            Z, Y, weight = device.block(part)
            E = error(forward(Z, *start), Y)
            way = error(forward(Z, *end), Y) - E
            second_way = None if second is None else forward(Z, *second)
            *summed, excess, most = dual_terms(xp, device.loss, bounds, E, way, second_way, damping, weight)
            of_errors, excess_b = (xp.sum(a, axis=0) for a in summed), xp.sum(excess, axis=0)
            totals.add(*of_errors, excess.T @ Z, excess_b * float(self.fit_intercept))
            largest = most if largest is None else xp.maximum(largest, most)
        return DualSums(*totals.numpy(), to_numpy(largest))

    def excess_and_loss(self, objective, W, b):
        """Return what the smoothing of a kink costs, and the exact loss, summed over rows."""
        device, exact = self._device(objective), objective.exact_loss()[0]
        xp, totals, at = device.namespace.xp, Totals(device.namespace), (device.own(W), device.own(b))
        slope = device.own(objective.standardization.unit * objective.lipschitz)
        exact = DeviceLoss(exact, self.namespace, device.dtype)
        is_quantile = type(objective.user_loss) is Quantile
        for part in blocks(self.rows):
            Z, Y, weight = device.block(part)
            E = error(forward(Z, *at), Y)
            value = exact.value(E)
            if is_quantile:
                lost = value - E * device.loss.derivative(E) * slope
            else:
                lost = SAFETY * xp.abs(device.loss.value(E) * slope - value)
            if weight is not None:
                lost, value = lost * weight, value * weight
            totals.add(xp.sum(lost, axis=0), xp.sum(value, axis=0))
        return totals.numpy()

    @property
    def namespace(self):
        """The namespace and the device of the rows."""
        return self.rows.X.namespace

    def _device(self, objective):
        return DeviceProblem(objective.problem(self.rows, self.fit_intercept))


def _moments(count, total, products):
    """Return the ``SecondMoments`` of rows with these weighted sums of 1, ``z`` and ``z z^T``."""
    moments = SecondMoments.empty(len(total))
    moments.add_sums(float(count[0]), total, 0.5 * (products + products.T))
    return moments
