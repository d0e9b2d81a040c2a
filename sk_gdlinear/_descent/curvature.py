"""The curvature of a fit: when it is bought, epochs with it, and what it says is left to gain."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .._objective.penalties import BoxedElasticNet
from .newton import Proposal, ProximalNewton
from .quadratic import QuadraticModel
from .rent_or_buy import MOST_COLUMNS, Costs
from .row_sample import Sample, draw_sample, draw_stratified_sample, sample_size
from .row_sums import Point
from .smoothing import measure, narrowed

# For losses with a changing curvature the model's gain is multiplied by this before it counts as what is left.
SAFETY = 4.0

# Factor on the cost of the epochs so far where a sample shows that much is left to gain (M. Purohit, Z. Svitkina and R.
# Kumar, "Improving Online Algorithms via ML Predictions", NeurIPS 2018).
EARLY = 3.0

# Tolerance of the model's minimum, relative to that of the fit, and the latter where ``tol`` is None or 0.
MODEL_TOL = 1e-3
FALLBACK_TOL = 1e-10

# The reason for buying it where another epoch would not show what is left to gain.
UNKNOWN = "since a sample could not tell what was left to gain"


class NewtonState(NamedTuple):
    """The point that the newest step reached, and the minimum of the model there."""

    point: Point | None = None
    proposal: Proposal | None = None
    n_steps: int = 0
    stalled: int = 0  # steps in a row that did not lower the objective


@dataclass
class Curvature:
    """The curvature of all rows, once it is bought; before that, the inspection of a sample."""

    newton: ProximalNewton
    costs: Costs
    column_squares: np.ndarray | None  # (d,), mean squares of the standardized columns
    wanted: bool | str  # whether to buy before the next epoch, or never; "auto" if its price decides
    tol: float | None
    reason: str = "as asked"  # why it was bought
    sampled: Sample | None = None  # None before a sample is looked at

    @property
    def is_bought(self):
        """Whether the second moments of all rows are known."""
        return self.newton.is_bought

    def is_due(self, n_epochs):
        """Whether so many epochs have cost as much as the curvature."""
        return self.wanted == "auto" and n_epochs > 0 and self.costs.has_paid(n_epochs)

    def begins(self, n_epochs):
        """Whether an epoch after so many is one with the curvature, which is then bought."""
        if self.is_due(n_epochs):
            self.buy_next("when the epochs had cost as much")
        return self.is_bought or self.wanted is True

    def buy_next(self, reason):
        """Let the next epoch begin by buying it."""
        self.wanted, self.reason = True, reason

    def can_be_sampled(self, objective, rows):
        """Whether a sample of the rows can tell what is left to gain: that of a quadratic loss, by its own matrix."""
        is_plain = type(self.newton) is ProximalNewton and objective.loss.is_quadratic
        return is_plain and self.wanted is not True and rows.n_rows > sample_size(rows.X.shape[1])

    def buy(self, objective):
        """Buy it, if that has not been done."""
        if not self.is_bought:
            self.newton.buy(objective)

    def is_cheap(self, n_epochs):
        """Whether so many epochs have cost the part of the curvature's price at which it is bought early."""
        return self.wanted == "auto" and self.costs.has_paid(EARLY * n_epochs)

    def state_at(self, objective, W, b, point=None):
        """Return the ``NewtonState`` at parameters, whose ``Point`` in float64 may be known."""
        start = self.newton.start(W)
        if point is None or start is not W or W.dtype != np.float64:
            point = self.newton.point(objective, start, b)
        return self.state_of(objective, point)

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

        It is None where they have not, and where the smoothing costs little; ``scale`` is that of the objective.
        """
        tol, (W, b) = self.tol or FALLBACK_TOL, state.point[:2]
        if self.remaining_gain(objective, state) > tol * scale:
            return None
        smoothing = measure(self.newton.sums, objective, W, b)
        narrower = narrowed(objective) if smoothing.excess > tol * smoothing.exact_loss else None
        return None if narrower is None else (narrower, self.state_at(narrower, W, b))

    def remaining_gain(self, objective, state):
        """Return by how much the objective can still fall at the point of a step, over all rows.

        It is 0 where rounding allows no further step, and infinite where the minimum of the model was not found.
        """
        if state.stalled and state.proposal.gain <= FALLBACK_TOL * objective.null_value:
            return 0.0
        if not state.proposal.exact:
            return np.inf
        # The model of other losses is damped, so that it falls by less.
        return state.proposal.gain * (1.0 if objective.loss.is_quadratic else SAFETY * (1.0 + self.newton.damping))

    def estimate(self, problem, n_epochs, point, curved_share, limit):
        """Return what is left to gain at a point by a sample of rows, and whether that is all; 0 if it costs too much.

        Columns that the sample does not represent may add to it.  They are not looked at where the others leave more
        than ``limit``.
        """
        d = problem.rows.X.shape[1]
        if self.sampled is None and not self.costs.allows_sample(n_epochs, sample_size(d), d):
            return 0.0, False
        return self.inspect(problem, point, curved_share, limit)

    def confirms(self, problem, point, curved_share, limit):
        """Return whether a sample of the rows agrees that no more than ``limit`` is left to gain.

        If the sample does not represent all columns, the curvature of all rows is bought for the next epoch; where it
        must not be bought, the columns that the sample does represent decide.
        """
        gain, is_all = (0.0, False) if point is None else self.inspect(problem, point, curved_share, limit)
        if not is_all and self.wanted is False:
            return gain <= limit
        if not is_all and gain <= limit:
            self.buy_next(UNKNOWN)
        return is_all and gain <= limit

    def inspect(self, problem, point, curved_share, limit):
        """Return what is left to gain at a point by a sample of the rows, and whether that is all.

        If the columns that evenly spaced rows represent leave no more than ``limit``, rows with large values in the
        others are looked for.
        """
        if self.sampled is None:
            self.sampled = self._sample(problem)
        gain, is_all = self._gain_by_sample(problem, point, curved_share)
        if self.sampled.may_miss_values and gain <= limit:
            n_sampled, known = sample_size(problem.rows.X.shape[1]), self.sampled.known
            rows, standardization = problem.rows, problem.standardization
            self.sampled = draw_stratified_sample(rows, standardization, n_sampled, self.column_squares, known)
            gain, is_all = self._gain_by_sample(problem, point, curved_share)
        return gain, is_all

    def _gain_by_sample(self, problem, point, curved_share):
        sample, penalty, W, gradient = self.sampled, problem.penalty, point.W.astype(np.float64), point.grad_W
        if not sample.knows_all:
            if not (len(sample.known) and isinstance(penalty, BoxedElasticNet)):
                return 0.0, False
            penalty, W, gradient = penalty.of_columns(sample.known), W[:, sample.known], gradient[:, sample.known]
        model = sample.model if curved_share == 1.0 else QuadraticModel(curved_share * sample.H)
        minimum = model.minimise(W, gradient, penalty)
        gain = sample.factor * minimum.gain + 0.5 * float(np.square(point.grad_b).sum()) / curved_share
        return gain, sample.knows_all and minimum.exact

    def _sample(self, problem):
        """Return the ``Sample`` of evenly spaced rows."""
        rows, d = problem.rows, problem.rows.X.shape[1]
        if d > MOST_COLUMNS:  # their matrix would be too large
            return Sample(0.0, np.empty(0, dtype=np.intp))
        n_sampled = sample_size(d)
        if n_sampled >= rows.n_rows:
            if self.wanted == "auto":  # all rows, and steps with them, cost no more
                return Sample(0.0, np.empty(0, dtype=np.intp))
            n_sampled = rows.n_rows
        return draw_sample(rows, problem.standardization, n_sampled, self.column_squares)

    def _proposal(self, objective, point):
        tol = self.tol or FALLBACK_TOL
        return self.newton.proposal(objective, point, MODEL_TOL * tol * objective.null_value)
