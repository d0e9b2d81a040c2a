r"""Descent in the metric of the data: proximal Newton steps from the exact gradient of all rows.

With the second moments of the rows, weighted by the second derivative of the loss,

.. math:: H = \frac{1}{\sum_i s_i} \sum_i s_i \, \psi'(e_i) \, z_i z_i^\top,

a step goes to the minimum of the model :math:`\langle \nabla L, w - w_0 \rangle + \tfrac12 (w - w_0)^\top H (w - w_0) +
\mathrm{penalty}(w)` (J. Lee, Y. Sun and M. Saunders, "Proximal Newton-type Methods for Minimizing Composite Functions",
SIAM Journal on Optimization 24, 2014).  The gradient is that of the derivation, :math:`\nabla W = G^\top X` over all
rows.  For squared errors H is the same everywhere: one step goes to the optimum, and the pass that verifies it gives
the gradient for the next step, which removes what rounding of H left (iterative refinement).  For other losses H is
computed at every step, damped by the curvature of the squared error, and the step is shortened where the objective
would rise.

The intercept is eliminated: it is optimal for whatever coefficients, so H is about the mean of the rows.  By how much
the model falls is the gain still to come, half the squared Newton decrement of S. Boyd and L. Vandenberghe, "Convex
Optimization", 2004, section 9.5.1, if there is no penalty.  For losses other than the squared error that is an
estimate, and ``duality_gap`` bounds what is left.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

from .._data.second_moments import SecondMoments
from .._objective.penalties import BoxedElasticNet
from .duality_gap import gap_of_line
from .quadratic import QuadraticModel
from .row_sums import Point

# Damping for losses other than the squared error: this multiple of the curvature of the squared error is added to the
# model, times c (1 - c) with c the mean second derivative of the loss.  It begins with the first and stays between the
# next two; after a step of a share t of the full one it is multiplied by t to the power of -SHARE_POWER, divided by
# MORE_DAMPING, and by MORE_DAMPING at most.
FIRST_DAMPING = 0.5
LEAST_DAMPING = 1e-10
LARGEST_DAMPING = 1e4
MORE_DAMPING = 10.0
SHARE_POWER = 1.5

# A full step is accepted where the objective falls by at least this part of what the model says.  Otherwise the best of
# these shares of the step is made; it counts as stalled where the objective falls by less than LEAST_FALL of the share
# times what the model says.
EXPECTED_FALL = 0.5
SHARES = np.append(np.arange(10.0, 1.0, -1.0) / 10.0, 0.125 * 0.5 ** np.arange(9.0))
LEAST_FALL = 0.05

# Largest ratio of a derivative to its bound at which a second step in the model is worth a pass.
SECOND_STEP = 1.01

# Rise of the objective, relative to it, that may be rounding.
ROUNDING = 8.0 * np.finfo(np.float64).eps


class Proposal(NamedTuple):
    """The minimum of the model at a point."""

    W: np.ndarray  # (k, d), float64
    b: np.ndarray
    gain: float  # by how much the objective falls according to the model
    exact: bool  # whether that minimum was found up to rounding
    slope: np.ndarray | None = None  # (k, d), gradient of the loss by the model there; not for squared errors
    damping: np.ndarray | None = None  # (k,), what the model adds to the second derivative of every row's loss
    hidden: float = 0.0  # by how much the model may still fall at that minimum


class CentredModel(NamedTuple):
    """A quadratic model of the loss in the coefficients, with the intercept that is optimal for them."""

    quadratic: QuadraticModel
    moments: SecondMoments  # of the rows, under the weights of the quadratic model
    intercept_curvature: float = 1.0  # second derivative by the intercept


@dataclass
class ProximalNewton:
    """Proximal Newton steps, from sums over the rows: those in memory, or those of all partitions on a cluster.

    ``moments`` are the second moments of all rows, None until they are bought.
    """

    sums: Any  # a RowSums, or an object with the same methods
    fit_intercept: bool
    moments: SecondMoments | None = None
    model: QuadraticModel | None = None  # of the squared error
    damping: float = FIRST_DAMPING
    stalled: bool = False  # whether the last step did not lower the objective

    tells_gain: ClassVar[bool] = True  # whether it is always known what is left to gain after a step
    begun: ClassVar[str] = "curvature bought"  # what is said when steps begin

    @property
    def is_bought(self):
        """Whether the curvature of all rows is known."""
        return self.moments is not None

    def buy(self, objective):
        """Compute the second moments of all rows."""
        self.hold(self.sums.second_moments(objective))

    def hold(self, moments):
        """Take the second moments of all rows."""
        self.moments = moments
        self.model = QuadraticModel(moments.about(self.fit_intercept))

    def first_point(self, objective, W, b, point=None):
        """Return the ``Point`` to start from after other epochs, which ended at ``W`` and ``b``; it may be known."""
        return self.point(objective, W, b) if point is None or W.dtype != np.float64 else point

    def known_gap(self, objective, point):
        """Return an upper bound of what is left to gain at a point, before the first step; infinite without one."""
        return np.inf

    def point(self, objective, W, b, on_block=None):
        """Return the ``Point`` at parameters, by a pass over all rows; ``on_block`` is called after each block."""
        return self.sums.point(objective, W, b, on_block)

    def point_from_moments(self, point, W, b):
        """Return the point at other parameters, for squared errors, from the second moments instead of a pass."""
        moments = self.moments
        by_W, by_b = (new.astype(np.float64) - old for new, old in zip((W, b), point[:2], strict=True))
        along_b = by_W @ moments.mean + by_b
        change_W = by_W @ (moments.products / moments.count) + np.multiply.outer(along_b, moments.mean)
        losses = point.losses + (by_W * (point.grad_W + 0.5 * change_W)).sum(axis=1)
        losses = losses + by_b * (point.grad_b + 0.5 * along_b)
        return Point(W, b, np.maximum(losses, 0.0), point.grad_W + change_W, point.grad_b + along_b)

    def proposal(self, objective, point, negligible=0.0):
        """Return the minimum of the model at a point."""
        if objective.loss.is_quadratic:
            model = CentredModel(self.model, self.moments)
            return self._minimum(model, objective.penalty, point, slice(None), negligible)
        parts = [self._target_minimum(objective, point, t, negligible) for t in range(len(point.b))]
        joined = (np.concatenate([getattr(part, name) for part in parts]) for name in ("W", "b", "slope", "damping"))
        W, b, slope, damping = joined
        gain, hidden = (sum(getattr(part, name) for part in parts) for name in ("gain", "hidden"))
        return Proposal(W, b, gain, all(part.exact for part in parts), slope, damping, hidden)

    def gap(self, objective, point, proposal, limit=0.0):
        """Return the duality ``Gap`` at a point, by a pass, and by one more if that may bring it below ``limit``.

        The model at the point has its minimum at the ``proposal``.
        """

        def gap_of(slope, sums):
            minimum, inverse_norm = proposal.W, self.model.inverse_norm
            return gap_of_line(objective, point, minimum, slope, sums, self.sums.total_weight, inverse_norm)

        sums = self.sums.dual_sums(objective, point, proposal)
        gap = gap_of(proposal.slope, sums)
        if gap.exact > limit and 1.0 < sums.largest.max() <= SECOND_STEP:
            *step, slope = self._second_step(objective, point, proposal, sums)
            second = gap_of(slope, self.sums.dual_sums(objective, point, proposal, step))
            gap = second if second.exact < gap.exact else gap
        return gap

    def _second_step(self, objective, point, proposal, sums):
        """Return the step in the model that makes up for derivatives moved to their bounds, and the slope after it."""
        excess = (-a / self.sums.total_weight for a in (sums.excess_W, sums.excess_b))
        here = Point(np.zeros(point.W.shape), np.zeros(point.b.shape), point.losses, *excess)
        steps, slope = [], proposal.slope.copy()
        for t, damping in enumerate(proposal.damping):
            target = slice(t, t + 1)
            model = self._target_model(self.sums.curved_moments(objective, point, t), damping)
            steps.append(self._minimum(model, BoxedElasticNet(), here, target, negligible=0.0))
            slope[target] += self._centred_gradient(here, model.moments, target) + model.quadratic.product(steps[-1].W)
        return np.concatenate([step.W for step in steps]), np.concatenate([step.b for step in steps]), slope

    def move(self, objective, point, proposal, on_block=None):
        """Return the point after a step to the minimum of the model, or the old one if the objective does not fall."""
        penalty, share = objective.penalty, 1.0
        before = point.value(penalty).sum()

        def at(W, b, on_block=None):
            after = self.point(objective, W.astype(point.W.dtype), b.astype(point.b.dtype), on_block)
            return after, before - after.value(penalty).sum()

        def falls_by(part):
            return fall >= part * share * proposal.gain or (objective.loss.is_quadratic and fall > 0.0)

        after, fall = at(proposal.W, proposal.b, on_block)
        if not falls_by(EXPECTED_FALL) and proposal.gain > ROUNDING * abs(before):
            share, *parameters = self._best_share(objective, point, proposal, after)
            if share < 1.0:
                after, fall = at(*parameters)
        is_still = proposal.gain == 0.0 < proposal.hidden and not fall > 0.0
        was_stalled, self.stalled = self.stalled, is_still or not falls_by(LEAST_FALL)
        if not objective.loss.is_quadratic:
            self._adapt_damping(0.0 if self.stalled else share, was_stalled)
        return point if self.stalled and not fall >= 0.0 else after

    def _best_share(self, objective, point, proposal, after):
        """Return the share of a step with the least objective, and the parameters there; ``after`` is all of it."""
        start, penalty = (point.W.astype(np.float64), point.b.astype(np.float64)), objective.penalty

        def parameters(share):
            W, b = (a + share * (z - a) for a, z in zip(start, proposal[:2], strict=True))
            if isinstance(penalty, BoxedElasticNet):  # within the bounds, also after rounding
                W = penalty.proximal(W, 0.0)
            return W, b

        with np.errstate(over="ignore", invalid="ignore"):
            values = self.sums.losses_between(objective, point, after, SHARES).sum(axis=1) / self.sums.total_weight
        if not penalty.is_zero:
            values = values + [penalty.value(parameters(share)[0]).sum() for share in SHARES]
        best = int(np.where(np.isnan(values), np.inf, values).argmin())
        return SHARES[best], *parameters(SHARES[best])

    def _adapt_damping(self, share, was_stalled):
        """Damp more after a step of a small share, or none for 0, and less after one of a large share.

        The first step after one that stalled does not damp less: the next would stall again.
        """
        factor = MORE_DAMPING if share == 0.0 else min(share**-SHARE_POWER / MORE_DAMPING, MORE_DAMPING)
        factor = max(factor, 1.0) if was_stalled else factor
        self.damping = min(max(self.damping * factor, LEAST_DAMPING), LARGEST_DAMPING)

    def _target_minimum(self, objective, point, t, negligible):
        """Return the minimum of the model for one target, with the curvature of its loss at the point."""
        curved = self.sums.curved_moments(objective, point, t)
        share = max(curved.count / self.sums.total_weight, 1.0 / self.sums.n_rows)
        # The damping stands for rows at which the second derivative is 0 before the step, but not after it.
        damping, targets = max(self.damping * (1.0 - share), LEAST_DAMPING) * share, slice(t, t + 1)
        model = self._target_model(curved, damping)
        minimum = self._minimum(model, objective.penalty.of_target(t), point, targets, negligible)
        change = model.quadratic.product(minimum.W - point.W[targets])
        slope = self._centred_gradient(point, model.moments, targets) + change
        return minimum._replace(slope=slope, damping=np.array([damping]))

    def _target_model(self, curved, damping):
        """Return the model for one target: the second moments under the curvature of its loss, and a damping."""
        moments = self.moments.times(damping)
        moments.merge(curved)
        h = moments.count / self.sums.total_weight
        return CentredModel(QuadraticModel(h * moments.about(self.fit_intercept), self.model), moments, h)

    def _minimum(self, model, penalty, point, targets, negligible, rough=0.0):
        """Return the minimum of a model with a penalty, for some targets."""
        quadratic, moments, h = model
        W, b, grad_b = point.W[targets].astype(np.float64), point.b[targets].astype(np.float64), point.grad_b[targets]
        grad_W = self._centred_gradient(point, moments, targets)
        after, gain, exact, hidden = quadratic.minimise(W, grad_W, penalty, negligible, rough)
        if self.fit_intercept:
            b = b - grad_b / h - (after - W) @ moments.mean
            gain += 0.5 * float(np.square(grad_b).sum()) / h
        return Proposal(after, b, gain, exact, hidden=hidden)

    def _centred_gradient(self, point, moments, targets):
        """Return the gradient by the coefficients with the intercept that is optimal for them."""
        grad_W = point.grad_W[targets]
        return grad_W - np.multiply.outer(point.grad_b[targets], moments.mean) if self.fit_intercept else grad_W
