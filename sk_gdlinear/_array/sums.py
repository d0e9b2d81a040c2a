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
from .rows import Totals, blocks


class DeviceSums(RowSums):
    """The sums of ``RowSums`` for ``DeviceArray``s, in float64 where the device has it."""

    @property
    def eps(self):
        """The rounding of the sums, relative to them."""
        return float(np.finfo(np.float64 if self.namespace.has_double else np.float32).eps)

    def second_moments(self, objective):
        """Return the second moments of the standardized rows."""
        return self._weighted_moments(objective, lambda E, weight: weight)

    def curved_moments(self, objective, point, t):
        """Return the second moments of the rows, weighted by the curvature of target ``t``'s loss at a point."""

        def curved(E, weight):
            curvature = DeviceLoss(objective.loss, self.namespace, E.dtype).curvature(E)[:, t : t + 1]
            return curvature if weight is None else curvature * weight

        return self._weighted_moments(objective, curved, (point.W, point.b))

    def _weighted_moments(self, objective, weigh, at=None):
        """Return the second moments of rows whose weights are a function of their errors and of ``Rows.weight``."""
        device, E = self._device(objective), None
        xp, totals = device.namespace.xp, Totals(device.namespace)
        parameters = None if at is None else tuple(device.own(a) for a in at)
        for part in blocks(self.rows):
            Z, Y, weight = device.block(part)
            if parameters is not None:
                E = error(forward(Z, *parameters), Y)
            weight = weigh(E, weight)
            count = device.weight_sum(weight, Z.shape[0])
            weighted = Z if weight is None else Z * weight
            totals.add(count, xp.sum(weighted, axis=0), weighted.T @ Z)
        count, total, products = totals.numpy()
        moments = SecondMoments.empty(self.rows.X.shape[1])
        moments.add_sums(float(count[0]), total, 0.5 * (products + products.T))
        return moments

    def _memory_for_errors(self):
        """Return None: on a device errors are computed again where they are needed."""
        return None

    def gradient_and_losses(self, objective, W, b, on_block=None, errors=None):
        """Return the gradient of the loss by ``W`` and ``b``, and the loss per target, summed over rows."""
        device = self._device(objective)
        xp, totals, at = device.namespace.xp, Totals(device.namespace), (device.own(W), device.own(b))
        for part in blocks(self.rows):
            Z, Y, weight = device.block(part)
            E = error(forward(Z, *at), Y)
            psi, value = device.loss.derivative(E), device.loss.value(E)
            if weight is not None:
                psi, value = psi * weight, value * weight
            totals.add(psi.T @ Z, xp.sum(psi, axis=0) * float(self.fit_intercept), xp.sum(value, axis=0))
            if on_block is not None:
                on_block()
        return tuple(totals.numpy())

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
