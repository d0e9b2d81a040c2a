r"""Newton steps for absolute values on many columns: second moments of a working set alone.

Where the penalty leaves few coefficients other than 0, the model is minimised over those and the columns whose
gradients exceed their thresholds by most; the pass over all rows and columns that verifies a step shows which others
to add (M. Massias, A. Gramfort and J. Salmon, "Celer: a Fast Solver for the Lasso with Dual Extrapolation", ICML 2018).
Where many coefficients are not 0, the second moments of their columns cost more than many passes over the rows.  Then
accelerated gradient steps over all columns are made, until they have cost as much: see ``rent_or_buy``.  What is left
to gain is at most the duality gap over all rows and columns, with the scaled errors as the point of the dual problem.
"""

from dataclasses import dataclass

import numpy as np

from .._data.second_moments import second_moments
from .accelerated_gradients import AcceleratedGradients, ProximalStep
from .duality_gap import bounds_of, gap_of_squares
from .kinks import least_subgradient
from .newton import CentredModel, Proposal, ProximalNewton
from .quadratic import QuadraticModel
from .rent_or_buy import MOST_COLUMNS, columns_cost
from .row_sums import Point

# Columns that are added to the working set at once, at most: so many, or so many for each coefficient other than 0.
# The steps start from the largest coefficients of the mini-batch epochs, as many as the first number.
LEAST_ADDED = 30
ADDED_PER_COEFFICIENT = 2

# The part of the duality gap over all columns that the minimum over a working set may leave to gain, if the set has
# more than ``FEW_COLUMNS`` columns and a larger share than ``MANY_ADDED`` of them is new.
ROUGH = 1e-3
FEW_COLUMNS = 1000
MANY_ADDED = 0.1

# Passes over the rows whose cost the minimum over a larger working set may have before an accelerated step is made.
FREE_PASSES = 2.0


@dataclass
class WorkingSetNewton(ProximalNewton):
    """Newton steps over the columns that matter, for squared errors with absolute values of every coefficient."""

    columns: np.ndarray | None = None  # numbers of the columns in the working set
    column_squares: np.ndarray | None = None  # (d,), mean squares of the standardized columns
    gradients: AcceleratedGradients | None = None  # steps that are made while further columns are too dear
    pass_cost: float = 0.0  # of a pass over the rows, in the units of ``rent_or_buy``
    paid: float = 0.0  # for passes of such steps, less what was paid for columns
    before: Point | None = None  # where other epochs ended, until the first minimum is known

    @property
    def is_bought(self):
        """Whether there is a working set."""
        return self.columns is not None

    def buy(self, objective):
        """Begin with an empty working set."""
        self.columns = np.empty(0, dtype=np.intp)

    def first_point(self, objective, W, b, point=None):
        """Return the ``Point`` of the largest coefficients alone, since before convergence too many are not 0.

        That of all of them is kept, if it is known.
        """
        size = (np.abs(W) * np.sqrt(self.column_squares)).max(axis=0)
        dropped = np.argsort(-size, kind="stable")[LEAST_ADDED:]
        start = W.copy()
        start[:, dropped] = 0.0
        self.before = point
        return self.point(objective, start, b)

    def known_gap(self, objective, point):
        """Return the duality gap at a point; infinite in float32, whose sums have too few digits."""
        return gap_of_squares(objective.penalty, point, self.fit_intercept) if point.W.dtype == np.float64 else np.inf

    def proposal(self, objective, point, negligible=0.0):
        """Return the minimum of the model over the working set, and the duality gap at the point as its gain.

        Where second moments of the columns to be added would cost more than accelerated steps have, that is another of
        these steps.
        """
        added = self._missing(objective, point)
        if not self._can_afford(len(added), len(point.b)):
            return self.gradients.proposal(objective, point)
        self._add(objective, added)
        chosen, penalty = self.columns, objective.penalty.of_columns(self.columns)
        part = point._replace(W=point.W[:, chosen], grad_W=point.grad_W[:, chosen])
        gap = gap_of_squares(objective.penalty, point, self.fit_intercept)
        is_rough = len(chosen) > FEW_COLUMNS and len(added) > MANY_ADDED * len(chosen)
        rough, model = ROUGH * gap if is_rough else 0.0, CentredModel(self.model, self.moments)
        minimum = self._minimum(model, penalty, part, slice(None), negligible, rough)
        W = np.zeros(point.W.shape)
        W[:, chosen] = minimum.W
        return Proposal(W, minimum.b, gap, minimum.exact)

    def move(self, objective, point, proposal, on_block=None):
        """Return the point after a step of either kind.

        Where the first minimum is above the objective at which other epochs ended, it is one of too few columns.  The
        step is then an accelerated one from there, so that the objective falls.
        """
        if isinstance(proposal, ProximalStep):
            return self._accelerated(objective, point, proposal, on_block)
        after = super().move(objective, point, proposal, on_block)
        before, self.before = self.before, None
        if before is None or before.value(objective.penalty).sum() >= after.value(objective.penalty).sum():
            return after
        before = super().first_point(objective, before.W, before.b, before)
        return self._accelerated(objective, before, self.gradients.proposal(objective, before))

    def _accelerated(self, objective, point, proposal, on_block=None):
        """Return the point after an accelerated step."""
        self.paid += self.pass_cost
        after = self.gradients.move(objective, point, proposal, on_block)
        self.stalled = self.gradients.stalled
        return after

    def _missing(self, objective, point):
        """Return the columns to add: those of the support, and those that violate the conditions by most."""
        chosen = point.W.any(axis=0)
        scale = np.sqrt(np.where(self.column_squares > 0.0, self.column_squares, np.inf))
        penalty = objective.penalty
        slope = point.grad_W + penalty.l2 * point.W
        subgradient = least_subgradient(point.W, slope, penalty.l1, *bounds_of(penalty))
        violated = (np.abs(subgradient) / scale).max(axis=0)
        violated[self.columns] = violated[chosen] = 0.0
        most = max(LEAST_ADDED, ADDED_PER_COEFFICIENT * np.count_nonzero(chosen))
        added = np.argsort(-violated, kind="stable")[:most]
        chosen[added[violated[added] > 0.0]] = True
        chosen[self.columns] = False
        return np.flatnonzero(chosen)

    def _can_afford(self, n_added, n_targets):
        """Whether accelerated steps have cost as much as a minimum with so many more columns, which is then paid."""
        price = columns_cost(self.sums.n_rows, n_targets, len(self.columns), n_added)
        is_last_resort = self.gradients.stalled and len(self.columns) + n_added <= MOST_COLUMNS
        if price > FREE_PASSES * self.pass_cost + self.paid and not is_last_resort:
            return False
        self.paid = max(self.paid - price, 0.0)
        return True

    def _add(self, objective, added):
        """Add columns to the working set."""
        if not len(added) and self.model is not None:
            return
        self.columns = np.append(self.columns, added)
        more = second_moments(self.sums.rows, objective.standardization, columns=self.columns, n_last=len(added))
        self.moments = more if self.moments is None else self.moments.with_columns(more)
        self.model = QuadraticModel(self.moments.about(self.fit_intercept))
