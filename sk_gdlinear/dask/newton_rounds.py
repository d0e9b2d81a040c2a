r"""Rounds of local SGD and Newton steps over partitions of the rows on other machines.

1. The first round is *local SGD* (S. Stich, "Local SGD Converges Fast and Communicates Little", ICLR 2019): each
   partition descends over its own rows, where they are many over a random part of them, from the common parameters
   :math:`w`, and the parameters reached are averaged, weighted by rows.  The same task returns the second moments of
   all its rows, :math:`d^2` numbers, which are added over the partitions.  A second task returns loss and gradient at
   the average.  Where partitions differ, for instance if rows are sorted by the target, the average may be worse than
   :math:`w`.  So a quadratic objective is minimised along the line between the two, whose minimum has a closed form; of
   another objective the better of both points is taken.
2. Every further round is a proximal Newton step, ``ProximalNewton``: the new parameters minimise the model of second
   moments, gradient and penalty, and one task returns loss and gradient there, :math:`d` numbers for each target.  For
   squared errors the second moments are those of the first round.  For other losses the task also returns those
   weighted by the second derivative of the loss, :math:`d^2` numbers for each target.  Where the objective does not
   fall enough, one task returns the losses after shares of the step, a few numbers, and one more the point after the
   best of them.

Gradients and second moments are those of all rows, so what is left to gain is known after every round, also the first;
for other losses than the squared error one more task returns the sums of the duality gap, where the model says that
little is left.
For squared errors the second round is at the optimum.  A kink of the loss is smoothed: over the size of the errors
after the first round, and narrower whenever the rounds have converged (``_descent/smoothing.py``).

With a user's own steps, without standardization or with more columns than a matrix is made for, there is
``local_sgd.LocalSGD`` instead, or ``synchronous.SynchronousDescent``.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from .._descent.averaging import Iterate
from .._descent.curvature import Curvature, NewtonState
from .._descent.duality_gap import DualSums
from .._descent.error_sample import SAMPLE_ROWS
from .._descent.evaluation import Evaluation
from .._descent.newton import ProximalNewton
from .._descent.rent_or_buy import MOST_COLUMNS
from .._descent.row_sums import Point
from .._descent.step_size import StepSize
from .._objective.evaluate import typical_loss
from .._objective.losses import SquaredError
from .._objective.objective import Objective
from .._objective.penalties import BoxedElasticNet
from .cluster import Cluster, ClusterMethod
from .tasks import (
    dual_sums,
    excess_and_loss,
    gradient_and_curvature,
    loss_and_gradient,
    losses_between,
    targets_loss_and_gradient,
)


def allows_newton_rounds(hyper, d, k):
    """Whether Newton steps may be made over ``d`` columns and ``k`` targets.

    Each target has a matrix of its own where the second derivative of the loss varies.
    """
    n_matrices = 1 if type(hyper.loss) is SquaredError else k
    return hyper.allows_curvature and n_matrices * d * d <= MOST_COLUMNS**2


@dataclass(frozen=True)
class ClusterSums:
    """The sums over the rows of all partitions that Newton steps need, as ``RowSums`` computes them in memory."""

    cluster: Cluster
    eps: ClassVar[float] = float(np.finfo(np.float64).eps)  # the rounding of the sums, relative to them

    @property
    def n_rows(self):
        """Number of the rows of non-zero weight."""
        return self.cluster.n_rows

    @property
    def total_weight(self):
        """Sum of the weights, whose mean is 1."""
        return float(self.cluster.n_rows)

    def point(self, objective, W, b, on_block=None):
        """Return the ``Point`` at parameters; for losses other than the squared error with the curvature there."""
        cluster, (k, d) = self.cluster.with_objective(objective), W.shape
        if objective.loss.is_quadratic:
            sums = cluster.run(loss_and_gradient, W, b)
        else:
            sums = cluster.run(gradient_and_curvature, W, b, n_bytes=8 * k * d * d)
        grad_W, grad_b, losses, *curved = sums
        total = self.total_weight
        return Point(W.copy(), b.copy(), losses / total, grad_W / total, grad_b / total, tuple(curved) or None)

    def curved_moments(self, objective, point, t):
        """Return the second moments of the rows, weighted by the curvature of target ``t``'s loss at a point."""
        return point.curved[t]

    def losses_between(self, objective, start, end, shares):
        """Return the losses after shares of the way between two points, (len(shares), k), summed over rows."""
        return self.cluster.with_objective(objective).run(losses_between, start[:2], end[:2], shares)[0]

    def dual_sums(self, objective, point, proposal, second_step=None):
        """Return the ``DualSums`` of the derivatives that the model at a point predicts for its minimum."""
        *sums, largest = self.cluster.with_objective(objective).run(dual_sums, *point[:2], proposal, second_step)
        return DualSums(*sums, largest.values)

    def excess_and_loss(self, objective, W, b):
        """Return what the smoothing of a kink costs, and the exact loss, summed over rows."""
        return self.cluster.with_objective(objective).run(excess_and_loss, W, b)


@dataclass
class RoundsState:
    """The state that changes.  Only the iterate is changed in place."""

    iterate: Iterate
    objective: Objective  # replaced when its smoothing is narrowed
    losses: np.ndarray | None = None  # (k,), objective at the start; None if not computed
    newton: NewtonState | None = None  # None before the first round

    def copy(self):
        """Return a copy that later steps do not change."""
        return replace(self, iterate=self.iterate.copy())

    def predict_mean(self, objective):
        """Set the parameters to those that predict the mean of the targets."""
        self.iterate.W[...], self.iterate.b[...] = 0.0, objective.baseline.intercept
        self.losses = self.newton = None


@dataclass
class NewtonRounds(ClusterMethod):
    """A round of local SGD, and Newton steps from the sums over all partitions."""

    cluster: Cluster
    step_size: StepSize
    state: RoundsState
    curvature: Curvature
    targets: tuple | None = None  # a sample of the targets, and their weights; None where not needed
    at_mean: Evaluation | None = None  # of predicting the mean, if the rounds began there

    reduces_variance = True

    @classmethod
    def from_iterate(cls, cluster, iterate):
        """Return the rounds from an iterate."""
        hyper = cluster.hyper
        newton = ProximalNewton(ClusterSums(cluster), hyper.fit_intercept)
        curvature = Curvature(newton, precondition=True, tol=hyper.tol)
        step_size = StepSize(None, hyper.schedule, None, lipschitz=hyper.loss_lipschitz)
        return cls(cluster, step_size, RoundsState(iterate, cluster.objective), curvature)

    @property
    def objective(self):
        """The objective in standardized units."""
        return self.state.objective

    @property
    def is_smoothed(self):
        """Whether a kink of the loss is smoothed, over a width that is narrowed."""
        return self.objective.width is not None

    @property
    def batch_size(self):
        """Rows of a batch."""
        return min(self.cluster.hyper.batch_size or self.cluster.n_rows, self.cluster.n_rows)

    @property
    def current_step(self):
        """Step size of a full batch of the local descents."""
        return self.step_size.in_user_units(max(self.n_updates, 1), self.step_size.base(self.batch_size))

    def start_objective(self):
        """Return the objective at the start."""
        return self.evaluate().standardized

    def evaluate(self):
        """Return the training objective of the newest parameters, over all rows."""
        state, objective = self.state, self.objective
        if state.newton is not None:
            return self.evaluation(state.newton.point.value(objective.penalty))
        if state.losses is None:
            state.losses = self._losses()
        result = self.evaluation(state.losses)
        if self.starts_at_mean:
            self.at_mean = result
        return result

    def _losses(self):
        """Return the objective per target at the newest parameters, from the statistics of y or by a pass."""
        (W, b), objective = self.reported(), self.objective
        if objective.loss.is_quadratic and self.starts_at_mean:
            return self.null_losses() + objective.penalty.at_zero(W.shape)
        cluster = self.cluster.with_objective(objective)
        if objective.loss.is_quadratic or self.targets is not None:
            return cluster.losses_and_gradient(W, b)[0]
        share = min(1.0, SAMPLE_ROWS / cluster.n_rows)
        targets, *sums = cluster.run(targets_loss_and_gradient, W, b, share, per_partition=cluster.numbers())
        Y, weights = zip(*(targets[number] for number in cluster.numbers()), strict=True)
        self.targets = np.concatenate(Y), None if weights[0] is None else np.concatenate(weights)
        return cluster.averaged(W, *sums)[0]

    def evaluate_mean(self):
        """Return the training objective of predicting the mean of the targets; infinite where bounds forbid it."""
        return super().evaluate_mean() if self.at_mean is None or self.is_smoothed else self.at_mean

    def objective_scale(self):
        """Return the objective of the best constant prediction, to which gains are relative.

        For losses other than the squared error outliers are left out, and with a kink it is the loss itself.
        """
        objective, newton = self.objective, self.state.newton
        if self.is_smoothed:
            if newton is None:
                return objective.null_value
            return float(np.maximum(newton.point.losses, objective.left_out + objective.least_loss).sum())
        return objective.null_value if self.targets is None else typical_loss(objective, *self.targets)

    def epoch(self, rng, on_block=None):
        """Make one round; return the mean objective during the local descents, or the one before a Newton step."""
        state, seed = self.state, None if rng is None else int(rng.integers(2**63))
        if state.newton is None:
            return self._local_round(seed)
        before = float(state.newton.point.value(self.objective.penalty).sum())
        state.newton = self.curvature.epoch(self.objective, state.newton)
        self._set_parameters(state.newton.point)
        state.iterate.t += 1
        return before

    def _local_round(self, seed):
        """Make the round of local SGD; return the mean objective during it."""
        state, (W, b) = self.state, self.reported()
        local = self.cluster.local_sgd(W, b, self.n_updates, seed, with_moments=True)
        self.step_size = self.step_size._replace(constants=local.constants)
        self.curvature.newton.hold(local.moments)
        if local.error_size is not None:
            width = self.objective.narrower_width(local.error_size, share=1.0)
            state.objective, state.losses = self.objective.with_width(width), None
        state.newton = self.curvature.state_of(self.objective, self._combine(local.W, local.b))
        self._set_parameters(state.newton.point)
        state.iterate.t = local.n_updates
        return local.loss

    def _combine(self, W, b):
        """Return the best point that is known after the local descents, whose average is ``W, b``."""
        start, objective, newton, before = self.reported(), self.objective, self.curvature.newton, self.state.losses
        W, b = (a.astype(self.cluster.dtype) for a in (W, b))
        if not (np.isfinite(W).all() and np.isfinite(b).all()):
            return newton.point(objective, *start)
        if isinstance(objective.penalty, BoxedElasticNet):
            W = objective.penalty.proximal(W, 0.0)  # within the bounds, also after rounding
        there = newton.point(objective, W, b)
        if self.cluster.hyper.is_quadratic:
            return self._minimise_between(there, *start)
        if before is None or there.value(objective.penalty).sum() <= before.sum():
            return there
        return (
            newton.point_from_moments(there, *start) if objective.loss.is_quadratic else newton.point(objective, *start)
        )

    def _minimise_between(self, there, W, b):
        """Return the minimum of a quadratic objective on the line from ``W, b`` to a point; each target has its own."""
        newton, l2 = self.curvature.newton, self.objective.penalty.l2
        l2 = 0.0 if l2 is None else l2.astype(np.float64)
        by_W, by_b = there.W.astype(np.float64) - W, there.b.astype(np.float64) - b
        here = newton.point_from_moments(there, W, b)
        change_W, change_b = there.grad_W - here.grad_W + l2 * by_W, there.grad_b - here.grad_b
        slope = (by_W * (there.grad_W + l2 * there.W)).sum(axis=1) + by_b * there.grad_b
        curvature = (by_W * change_W).sum(axis=1) + by_b * change_b
        share = -np.divide(slope, curvature, out=np.zeros_like(slope), where=curvature > 0.0)
        W, b = there.W + share[:, None] * by_W, there.b + share * by_b
        return newton.point_from_moments(there, W.astype(there.W.dtype), b.astype(there.b.dtype))

    def _set_parameters(self, point):
        it = self.state.iterate
        it.W[...], it.b[...] = point.W, point.b

    def remaining_gain(self):
        """Return by how much the objective can still fall, over all rows, and True: it is exact."""
        limit = self.curvature.positive_tol * self.objective_scale()
        return self.curvature.remaining_gain(self.objective, self.state.newton, limit), True

    @property
    def is_stuck(self):
        """Whether Newton steps have come to an end that is not known to be the minimum."""
        return self.curvature.is_stuck(self.objective, self.state.newton)

    def adjust(self, before, after):
        """Narrow the smoothing of a kink if rounds have converged; return "rescaled" if the objective was replaced."""
        if not self.is_smoothed:
            return None
        state, is_first = self.state, self.state.newton.n_steps == 0
        narrower = None if is_first else self.curvature.narrower(self.objective, state.newton, self.objective_scale())
        if narrower is not None:
            state.objective, state.newton = narrower
        return "rescaled" if is_first or narrower is not None else None
