"""The curvature of all rows: when it is bought, epochs with it, and what it says is left to gain.

To buy it is to compute it, once, at a price in epochs: see ``rent_or_buy``.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .duality_gap import ROUNDING, Gap, has_gap
from .newton import LARGEST_DAMPING, Proposal, ProximalNewton
from .rent_or_buy import Costs
from .row_sample import SampleInspection
from .row_sums import Point
from .smoothing import is_narrowest, measure, narrowed

# For losses with a changing curvature the model's gain is multiplied by this before it counts as what is left.
SAFETY = 4.0

# The part of the tolerance that the model may still fall by for the duality gap to be worth a pass: where it falls by
# more the gap hardly ever is below the tolerance.
WORTH_A_PASS = 0.1

# Duality gap, relative to the objective, that may be rounding, or 16 eps of the parameters if that is more: it is
# linear in the rounding of the gradient.
GAP_ROUNDING = 1e-7

# Largest duality gap of the smoothed loss, relative to that of the exact loss, at which the smoothing is narrowed: it
# costs the difference.  Where the gap is larger another step is made.
SMOOTHED_SHARE = 0.5

# Tolerance of the model's minimum, relative to that of the fit, and the latter where ``tol`` is None or 0.
MODEL_TOL = 1e-3
FALLBACK_TOL = 1e-10


class NewtonState(NamedTuple):
    """The point that the newest step reached, and the minimum of the model there."""

    point: Point | None = None
    proposal: Proposal | None = None
    n_steps: int = 0
    stalled: int = 0  # steps in a row that did not lower the objective


@dataclass
class Curvature:
    """The curvature of all rows, and whether to buy it; before that a sample of the rows is inspected."""

    newton: ProximalNewton
    precondition: bool | str  # True buys before the first epoch, False never, "auto" when its price decides
    tol: float | None
    costs: Costs | None = None  # needed with "auto"
    inspection: SampleInspection | None = None  # None on a cluster, where all rows are inspected
    most_epochs: float = np.inf  # of the fit
    reason: str = "as asked"  # why the curvature was bought, or is to be
    buys_next: bool = False  # whether it has been decided, with "auto", that the next epoch begins by buying it
    newest_gap: tuple[Proposal, Gap] | None = None  # the duality gap computed last, and where

    @property
    def is_bought(self):
        """Whether the second moments of all rows are known."""
        return self.newton.is_bought

    @property
    def must_buy(self):
        """Whether the next epoch is to begin by buying the curvature, unless it is bought already."""
        return self.precondition is True or self.buys_next

    @property
    def positive_tol(self):
        """The tolerance of the fit, or what takes its place where ``tol`` is None or 0."""
        return self.tol or FALLBACK_TOL

    def is_due(self, n_epochs):
        """Whether so many epochs, and minima of a sample's model, have cost as much as the curvature."""
        spent = 0.0 if self.inspection is None else self.inspection.spent
        return self.price_decides and n_epochs > 0 and self.costs.covers(n_epochs, self.costs.curvature - spent)

    @property
    def price_decides(self):
        """Whether the curvature is bought when that is worth its price, and this has not been decided yet."""
        return self.precondition == "auto" and not self.buys_next

    def begins(self, n_epochs):
        """Whether the epoch after so many is one with the curvature, which it begins by buying where it must."""
        if self.is_due(n_epochs):
            self.buy_next("when the epochs had cost as much")
        return self.is_bought or self.must_buy

    def knows_gain(self, objective):
        """Whether a fit does not end before second moments of all rows, or of a sample, tell what is left to gain."""
        if not self.newton.tells_gain:
            return False
        return self.precondition is not False or (objective.loss.is_quadratic and self.inspection.knows_all)

    def buy_next(self, reason):
        """Let the next epoch begin by buying the curvature."""
        self.buys_next, self.reason = True, reason

    def buy(self, objective):
        """Compute the curvature of all rows, if that has not been done."""
        if not self.is_bought:
            self.newton.buy(objective)

    def state_at(self, objective, W, b, point=None):
        """Return the ``NewtonState`` to start from at parameters, whose ``Point`` may be known."""
        return self.state_of(objective, self.newton.first_point(objective, W, b, point))

    def epoch(self, objective, state, on_block=None):
        """Return the ``NewtonState`` after a step."""
        point = self.newton.move(objective, state.point, state.proposal, on_block)
        stalled = state.stalled + 1 if self.newton.stalled else 0
        if point is state.point and objective.loss.is_quadratic:
            return state._replace(n_steps=state.n_steps + 1, stalled=stalled)
        return NewtonState(point, self._proposal(objective, point), state.n_steps + 1, stalled)

    def state_of(self, objective, point):
        """Return the ``NewtonState`` at a point that is known."""
        return NewtonState(point, self._proposal(objective, point))

    def narrower(self, objective, state, scale):
        """Return the objective with its kink smoothed less, where Newton steps have converged, and the state there.

        Return None where they have not, and where the smoothing costs little.  Gains are relative to ``scale``.
        """
        (W, b), limit = state.point[:2], self.positive_tol * scale
        costs_most = self._costs_most_of_gap if has_gap(objective) else self._costs_most_of_loss
        narrower = narrowed(objective) if costs_most(objective, state, limit) else None
        return None if narrower is None else (narrower, self.state_at(narrower, W, b))

    def _costs_most_of_gap(self, objective, state, limit):
        """Whether the duality gap is above ``limit``, and most of it is what the smoothing costs."""
        if not self._is_gap_worth_a_pass(objective, state, limit):
            return False
        gap = self.gap(objective, state, limit)
        return gap.exact > limit and gap.smoothed <= SMOOTHED_SHARE * gap.exact

    def _costs_most_of_loss(self, objective, state, limit):
        """Whether steps have converged, and the smoothing costs more than the tolerance of the exact loss."""
        if self.model_gain(objective, state) > limit:
            return False
        smoothing = measure(self.newton.sums, objective, *state.point[:2])
        return smoothing.excess > self.positive_tol * smoothing.exact_loss

    def remaining_gain(self, objective, state, limit=np.inf):
        """Return by how much the objective can still fall at the point of a step, over all rows.

        It is what the model says, infinite where the minimum of the model was not found.  For other losses than the
        squared error that is only an estimate.  If the conjugates of loss and penalty are known, the duality gap is
        returned where the estimate is well below ``limit``, or the smaller of the two where the gap may be rounding; an
        estimate that is not well below ``limit`` counts as at least twice the limit.  The gap is that of the exact
        loss, but that of the smoothed loss where the smoothing cannot be narrower.
        """
        if not self.newton.tells_gain:
            return self.newton.remaining_gain(state.proposal, limit)
        gain = self.model_gain(objective, state)
        if not has_gap(objective):
            return gain
        if not self._is_gap_worth_a_pass(objective, state, limit):
            return max(gain, 2.0 * limit)
        gap = self.gap(objective, state, limit)
        cannot_narrow = gap.exact > limit and objective.width is not None and is_narrowest(objective)
        left = gap.smoothed if cannot_narrow else gap.exact
        precision = max(np.finfo(state.point.W.dtype).eps, self.newton.sums.eps)
        rounding = max(GAP_ROUNDING, ROUNDING * precision) * float(
            (state.point.value(objective.penalty) + objective.left_out).sum()
        )
        return min(gain, left) if left <= rounding else left

    def _is_gap_worth_a_pass(self, objective, state, limit):
        """Whether the model falls by so little that the duality gap may be below ``limit``."""
        return self.model_gain(objective, state) < np.inf and state.proposal.gain <= max(
            WORTH_A_PASS * limit, self._rounding(objective)
        )

    def model_gain(self, objective, state):
        """Return by how much the objective can still fall according to the model.

        It is 0 where rounding allows no further step.
        """
        if not self.newton.tells_gain:
            return self.newton.remaining_gain(state.proposal, 0.0)
        gain = state.proposal.gain + state.proposal.hidden
        if state.stalled and gain <= self._rounding(objective):
            return 0.0
        if not state.proposal.exact:
            return np.inf
        # The model of other losses is damped, so that it falls by less.
        return gain * (1.0 if objective.loss.is_quadratic else SAFETY * (1.0 + self.newton.damping))

    def is_stuck(self, objective, state):
        """Whether no step lowers the objective any more.

        With squared errors that is so after two in a row that did not, with other losses after one of largest damping.
        """
        if state is None or not self.newton.tells_gain:
            return False
        if objective.loss.is_quadratic:
            return state.stalled > 1
        return state.stalled > 0 and self.newton.damping >= LARGEST_DAMPING

    def _rounding(self, objective):
        """Return the gain of a step that may be rounding."""
        return max(FALLBACK_TOL, self.newton.sums.eps) * objective.null_value

    def gap(self, objective, state, limit):
        """Return the duality ``Gap`` at the point of a step; a second pass may lower one above ``limit``."""
        if self.newest_gap is None or self.newest_gap[0] is not state.proposal:
            self.newest_gap = state.proposal, self.newton.gap(objective, state.point, state.proposal, limit)
        return self.newest_gap[1]

    def _proposal(self, objective, point):
        return self.newton.proposal(objective, point, MODEL_TOL * self.positive_tol * objective.null_value)
