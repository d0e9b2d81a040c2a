"""Steps from gradients of all rows alone, for more columns than a matrix is made for: when they end.

What is left to gain is known only where the penalty limits every coefficient, by the duality gap.  Otherwise it is
estimated by the largest of the newest falls of the objective times the number of steps, which is the rest of a power
law.  The newest fall alone would mislead: it may be small for some steps before the objective falls again.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from .._objective.penalties import BoxedElasticNet
from .duality_gap import bounds_of, gap_of_squares
from .newton import ProximalNewton

# The share of the tolerance up to which the estimate decides though the duality gap is larger, and the share where the
# gap is at most so many times the tolerance: then some more steps mostly prove that the fit has converged.
NEGLIGIBLE = 0.01
NEGLIGIBLE_NEAR = 1e-6
NEAR = 100.0


@dataclass
class GradientSteps(ProximalNewton):
    """Steps for squared errors, each from one pass over the rows; nothing has to be computed before them."""

    column_squares: np.ndarray | None = None  # (d,), mean squares of the standardized columns
    falls: tuple[float, ...] = ()  # of the objective by the newest steps
    n_steps: int = 0
    has_begun: bool = False

    n_falls: ClassVar[int]  # the newest falls of which the largest counts
    tells_gain: ClassVar[bool] = False

    @property
    def is_bought(self):
        """Whether steps have begun; nothing has to be computed for them."""
        return self.has_begun

    def buy(self, objective):
        """Begin to make steps."""
        self.has_begun = True

    def remaining_gain(self, proposal, limit):
        """Return what is left to gain: the duality gap, or the estimate where it is unknown or tells nothing."""
        estimate = self.n_steps * max(self.falls) if len(self.falls) == self.n_falls else np.inf
        share = NEGLIGIBLE_NEAR if proposal.gain <= NEAR * limit else NEGLIGIBLE
        return proposal.gain if proposal.exact and estimate > share * limit else estimate

    def gap_at(self, objective, point):
        """Return the duality gap at a point, and whether it is known; otherwise it is infinite."""
        if not limits_all(objective.penalty, self.column_squares):
            return np.inf, False
        return gap_of_squares(objective.penalty, point, self.fit_intercept), True

    def count_step(self, fall):
        """Count a step, by which the objective fell."""
        self.n_steps += 1
        self.stalled = False
        self.falls = (*self.falls, fall)[-self.n_falls :]

    def stall(self):
        """Count a step as one after which no further step can lower the objective."""
        self.stalled = True
        self.falls = (0.0,) * self.n_falls


def limits_all(penalty, column_squares):
    """Whether a penalty or two bounds limit the coefficient of each column that varies."""
    if not isinstance(penalty, BoxedElasticNet) or penalty.is_zero:
        return False
    lower, upper = bounds_of(penalty)
    is_limited = (penalty.l1 > 0.0) | (penalty.l2 > 0.0) | (np.isfinite(lower) & np.isfinite(upper))
    return bool(is_limited[:, column_squares > 0.0].all())
