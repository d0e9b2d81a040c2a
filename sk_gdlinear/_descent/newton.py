r"""Descent in the metric of the data: proximal Newton steps from the exact gradient of all rows.

With the second moments of the rows about which the loss curves,

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
Optimization", 2004, section 9.5.1, if there is no penalty.
"""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from .._data.second_moments import SecondMoments
from .._objective.penalties import BoxedElasticNet
from .quadratic import Minimum, QuadraticModel
from .row_sums import Point

# Damping by the curvature of the squared error, times the shares of rows about which the loss curves and does not: at
# first, its least and its largest, and the factors by which it changes after a step that was too long, or was not.
FIRST_DAMPING = 0.5
LEAST_DAMPING = 1e-10
LARGEST_DAMPING = 1e4
MORE_DAMPING = 10.0
LESS_DAMPING = 0.1

# Halvings of a step until the objective falls, and the part of the model's gain that it must fall by.
HALVINGS = 12
LEAST_FALL = 0.05

# Rise of the objective, relative to it, that may be rounding.
ROUNDING = 8.0 * np.finfo(np.float64).eps


class Proposal(NamedTuple):
    """The minimum of the model at a point."""

    W: np.ndarray  # (k, d), float64
    b: np.ndarray
    gain: float  # by how much the objective falls according to the model
    exact: bool  # whether that minimum was found up to rounding


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
    stalled: bool = field(default=False)  # whether the last step did not lower the objective

    @property
    def is_bought(self):
        """Whether the curvature of all rows is known."""
        return self.moments is not None

    def buy(self, objective):
        """Compute the second moments of all rows."""
        self.hold(self.sums.second_moments(objective))

    def hold(self, moments):
        """Hold the second moments of all rows."""
        self.moments = moments
        self.model = QuadraticModel(moments.about(self.fit_intercept))

    def start(self, W):
        """Return coefficients to start from."""
        return W

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
            return self._minimum(self.model, self.moments, 1.0, objective.penalty, point, slice(None), negligible)
        parts = [self._target_minimum(objective, point, t, negligible) for t in range(len(point.b))]
        return Proposal(
            np.concatenate([part.W for part in parts]),
            np.concatenate([part.b for part in parts]),
            sum(part.gain for part in parts),
            all(part.exact for part in parts),
        )

    def move(self, objective, point, proposal, on_block=None):
        """Return the point after a step to the minimum of the model, or the old one if the objective does not fall."""
        penalty, share = objective.penalty, 1.0
        before = point.value(penalty).sum()

        def at(W, b, on_block=None):
            after = self.point(objective, W.astype(point.W.dtype), b.astype(point.b.dtype), on_block)
            return after, before - after.value(penalty).sum()

        def suffices():
            return fall >= LEAST_FALL * share * proposal.gain or (objective.loss.is_quadratic and fall > 0.0)

        after, fall = at(proposal.W, proposal.b, on_block)
        if not suffices() and proposal.gain > ROUNDING * abs(before):
            share, *parameters = self._best_share(objective, point, proposal)
            after, fall = at(*parameters)
        self.stalled = not suffices()
        self._adapt_damping(0.0 if self.stalled else share)
        return point if self.stalled and not fall >= 0.0 else after

    def _best_share(self, objective, point, proposal):
        """Return the share of a step with the least objective, among its halvings, and the parameters there."""
        start = point.W.astype(np.float64), point.b.astype(np.float64)
        end, shares = (proposal.W, proposal.b), 0.5 ** np.arange(1.0, HALVINGS)
        with np.errstate(over="ignore", invalid="ignore"):
            losses = self.sums.losses_between(objective, start, end, shares).sum(axis=1) / self.sums.total_weight
        steps = [tuple(a + share * (z - a) for a, z in zip(start, end, strict=True)) for share in shares]
        if isinstance(objective.penalty, BoxedElasticNet):  # within the bounds, also after rounding
            steps = [(objective.penalty.proximal(W, 0.0), b) for W, b in steps]
        values = losses + [objective.penalty.value(W).sum() for W, _ in steps]
        best = int(np.where(np.isnan(values), np.inf, values).argmin())
        return shares[best], *steps[best]

    def _adapt_damping(self, share):
        """Damp more after a step that was shortened, and less after one that was not."""
        factor = LESS_DAMPING if share == 1.0 else MORE_DAMPING
        self.damping = min(max(self.damping * factor, LEAST_DAMPING), LARGEST_DAMPING)

    def _target_minimum(self, objective, point, t, negligible):
        """Return the minimum of the model for one target, with the curvature of its loss at the point."""
        curved, total = self.sums.curved_moments(objective, point, t), self.sums.total_weight
        share = max(curved.count / total, 1.0 / self.sums.n_rows)
        # A row that curves the loss after the step, and not before it, is missing in the model.
        moments = self.moments.times(max(self.damping * (1.0 - share), LEAST_DAMPING) * share)
        moments.merge(curved)
        h = moments.count / total
        model = QuadraticModel(h * moments.about(self.fit_intercept))
        return self._minimum(model, moments, h, objective.penalty.of_target(t), point, slice(t, t + 1), negligible)

    def _minimum(self, model, moments, h, penalty, point, targets, negligible, rough=0.0):
        """Return the minimum of a model in which the intercept is optimal; ``h`` is the curvature along it."""
        W, b = point.W[targets].astype(np.float64), point.b[targets].astype(np.float64)
        grad_W, grad_b = point.grad_W[targets], point.grad_b[targets]
        gain_b = 0.0
        if self.fit_intercept:
            grad_W = grad_W - np.multiply.outer(grad_b, moments.mean)
            gain_b = 0.5 * float(np.square(grad_b).sum()) / h
        minimum: Minimum = model.minimise(W, grad_W, penalty, negligible, rough)
        if self.fit_intercept:
            b = b - grad_b / h - (minimum.W - W) @ moments.mean
        return Proposal(minimum.W, b, minimum.gain + gain_b, minimum.exact)
