r"""Rounds of local SGD over partitions of the rows on other machines.

In a round every partition computes twice, and the results are added:

1. *Local SGD* (S. Stich, "Local SGD Converges Fast and Communicates Little", ICLR 2019): each partition descends over
   its own rows, where they are many over a random part of them, from the common parameters :math:`w`.  The average of
   the resulting parameters, weighted by rows, gives the direction :math:`\delta = \sum_i n_i w_i / n - w`.
2. *Hessian products* :math:`H p = \sum_i G_i^\top Z_i`, :math:`G = Z p / n`, of all rows with directions :math:`p`:
   these are gradients without the targets.

Where partitions differ, for instance if rows are sorted by the target, that average is not the common minimum, and in
every following round it is as far off.  So it only gives a direction.  The objective is quadratic, so the minimum over
all parameters along the directions so far and two new ones, :math:`\delta` and the negative gradient :math:`-g`, has a
closed form.  With directions made conjugate, :math:`p_i^\top H p_j = 0`, it is one step along each,

.. math:: \alpha = -\frac{g^\top p}{p^\top H p}, \qquad w \leftarrow w + \alpha p, \qquad g \leftarrow g + \alpha H p.

On partitions that are alike a step along :math:`\delta` alone is nearly optimal.  On any partitions a round gains at
least as much as an iteration of conjugate gradients, and does not raise the objective.  Only the first round from
predicting the mean has one direction, :math:`\delta`: the gradient there is computed in the same pass as its product.

After a round the gradient at the newest parameters is exact.  With fewer than 160 columns the second moments of samples
of all partitions are computed once.  The Newton decrement then determines, also after the first round, whether another
round is needed.  With ``l2`` the objective is still quadratic, with :math:`H + \operatorname{diag}(l_2)`.
"""

from dataclasses import dataclass, field, replace

import numpy as np

from .._descent.averaging import Iterate
from .._descent.curvature import GRAM_COLUMNS, Spectrum, enlarged
from .._descent.method import Evaluation
from .._descent.step_size import LipschitzConstants, StepSize
from .._fit.loop import Method
from .partitions import Partitions
from .tasks import (
    Broadcast,
    constants_loss_and_gradient,
    hessian_product,
    local_sgd,
    local_sgd_with_moments,
    loss_and_gradient,
)

# Directions that are kept conjugate to each other: those of 32 rounds.
REMEMBERED = 64


@dataclass(frozen=True)
class Cluster:
    """The rows of all partitions as one problem."""

    partitions: Partitions
    broadcast: Broadcast

    @property
    def objective(self):
        """The objective in standardized units."""
        return self.broadcast.objective

    @property
    def hyper(self):
        """The parameters of the descent."""
        return self.broadcast.hyper

    @property
    def n_rows(self):
        """Rows of non-zero weight, of all partitions."""
        return self.broadcast.statistics.n_rows

    @property
    def dtype(self):
        """The dtype of the rows and of the parameters."""
        return self.objective.standardization.shift.dtype

    def run(self, task, *broadcast, per_partition=None):
        """Return the sum over the partitions of the results of a task."""
        return self.partitions.map_reduce(task, self.broadcast, *broadcast, per_partition=per_partition)

    def numbers(self):
        """Return the numbers of the partitions."""
        return range(len(self.partitions))

    def losses_and_gradient(self, W, b):
        """Return the objective per target, and the gradient of the loss, (k, d + 1) with the intercept last."""
        return self.averaged(W, *self.run(loss_and_gradient, W, b))

    def averaged(self, W, grad_W, grad_b, losses):
        """Return the same of the sums over all rows."""
        return losses / self.n_rows + self.objective.penalty.value(W), np.column_stack([grad_W, grad_b]) / self.n_rows

    def constants(self, by_partition):
        """Return the Lipschitz constants of all rows, from those of each partition."""
        norms, eigenvalues = zip(*(by_partition[number] for number in self.numbers()), strict=True)
        # The mean over partitions is at least the largest eigenvalue of all rows.
        return LipschitzConstants(max(norms), float(np.average(eigenvalues, weights=self.partitions.n_rows)))

    def evaluation(self, per_target):
        """Return the ``Evaluation`` of an objective per target, in standardized units."""
        with np.errstate(over="ignore", invalid="ignore"):
            return Evaluation(float(per_target.sum()), self.objective.in_user_units(per_target))

    def evaluate_mean(self):
        """Return the training objective of predicting the mean of the targets; infinite where bounds forbid it."""
        objective, d = self.objective, len(self.objective.standardization.shift)
        penalty = objective.zero_penalty
        if objective.loss.is_quadratic or penalty == np.inf:
            return Evaluation(objective.null_value + penalty, np.nan)
        intercept = objective.baseline.intercept
        W = np.zeros((len(intercept), d), self.dtype)
        return self.evaluation(self.losses_and_gradient(W, intercept)[0])


@dataclass
class ClusterState:
    """The state of a descent on a cluster that changes.  Only the iterate is changed in place."""

    iterate: Iterate
    losses: np.ndarray | None = None  # (k,), objective at the newest parameters; None if not computed
    grad: np.ndarray | None = None  # (k, d + 1), gradient there, the intercept last; None if not computed
    directions: list = field(default_factory=list)  # pairs (p, H p)
    step_factor: float = 1.0
    gain: float = np.inf  # of the objective in the newest round

    def copy(self):
        """Return a copy that later steps do not change."""
        return replace(self, iterate=self.iterate.copy())

    def move(self, step):
        """Add ``step``, (k, d + 1), to the parameters."""
        W, b = self.iterate.W, self.iterate.b
        W += step[:, :-1].astype(W.dtype)
        b += step[:, -1].astype(b.dtype)

    def predict_mean(self, objective):
        """Set the parameters to those that predict the mean of the targets."""
        self.iterate.W[...], self.iterate.b[...] = 0.0, objective.baseline.intercept
        self.losses = self.grad = None


class ClusterMethod(Method):
    """The common base of both methods on a cluster."""

    cluster: Cluster
    step_size: StepSize
    state: ClusterState
    geometric = True  # there is no sampling noise

    @property
    def objective(self):
        """The objective in standardized units."""
        return self.cluster.objective

    @property
    def standardization(self):
        """The change of variables."""
        return self.objective.standardization

    @property
    def user_step(self):
        """The given step, None for the automatic one."""
        return self.step_size.user_step

    @property
    def n_updates(self):
        """Updates made so far, one after the other."""
        return self.state.iterate.t

    @property
    def zero_objective(self):
        """The objective of predicting zero, or an upper bound of it."""
        return self.cluster.objective.zero_value

    def snapshot(self):
        """Return a copy of the state, for ``restore``."""
        return self.state.copy()

    def restore(self, snapshot):
        """Restore the state of a snapshot."""
        self.state = snapshot

    def reported(self):
        """Return the newest parameters, ``W`` and ``b``."""
        return self.state.iterate.W, self.state.iterate.b

    def objective_scale(self):
        """Return the objective of the best constant prediction, or a bound of it."""
        return self.cluster.objective.null_value

    def evaluate_mean(self):
        """Return the training objective of predicting the mean of the targets."""
        return self.cluster.evaluate_mean()

    def predict_mean(self):
        """Set the parameters to those that predict the mean of the targets."""
        self.state.predict_mean(self.cluster.objective)


@dataclass
class SynchronousDescent(ClusterMethod):
    """One step along the exact gradient of all rows per epoch: full batches, for losses without a kink."""

    cluster: Cluster
    step_size: StepSize
    state: ClusterState

    @classmethod
    def from_iterate(cls, cluster, iterate):
        """Return the descent from an iterate; the first pass also computes the constants of the automatic step."""
        state, hyper = ClusterState(iterate), cluster.hyper
        step_size = StepSize(hyper.step, hyper.schedule, None, True, hyper.loss_lipschitz)
        if hyper.step is None:
            W, b = iterate.W, iterate.b
            constants, *sums = cluster.run(constants_loss_and_gradient, W, b, per_partition=cluster.numbers())
            state.losses, state.grad = cluster.averaged(W, *sums)
            step_size = step_size._replace(constants=cluster.constants(constants))
        return cls(cluster, step_size, state)

    @property
    def batch_size(self):
        """Rows of a batch: all."""
        return self.cluster.n_rows

    @property
    def current_step(self):
        """Step size of the newest update."""
        return self.step_size.in_user_units(max(self.n_updates, 1), self._base_step())

    def _base_step(self):
        return self.state.step_factor * self.step_size.base(self.batch_size)

    def epoch(self, rng, on_block=None):
        """Make one step; return the objective before it."""
        it, before = self.state.iterate, self.evaluate().standardized
        step = float(self.step_size.at(it.t + 1, self._base_step()))
        self.state.move(-step * self.state.grad)
        it.W[...] = self.cluster.objective.penalty.proximal(it.W, step)
        self.state.losses, it.t = None, it.t + 1
        return before if np.isfinite(it.W).all() else np.inf

    def evaluate(self):
        """Return the training objective of the newest parameters, over all rows."""
        if self.state.losses is None:
            it = self.state.iterate
            self.state.losses, self.state.grad = self.cluster.losses_and_gradient(it.W, it.b)
        return self.cluster.evaluation(self.state.losses)

    def start_objective(self):
        """Return the objective at the start."""
        return self.evaluate().standardized

    def reduce_step(self):
        """Divide the step, where training would stop, if the schedule is adaptive; return whether it was divided."""
        before, self.state.step_factor = self.state.step_factor, self.step_size.reduce(self.state.step_factor)
        return self.state.step_factor < before


@dataclass
class LocalSGD(ClusterMethod):
    """Rounds of local SGD, combined by an exact minimisation: mini-batches, for quadratic objectives."""

    cluster: Cluster
    step_size: StepSize
    state: ClusterState
    column_squares: np.ndarray | None  # (d,), mean squares of the standardized columns; None where not needed
    spectrum: Spectrum | None = None  # from samples of all partitions

    reduces_variance = True  # a round's minimum is exact

    @classmethod
    def from_iterate(cls, cluster, iterate):
        """Return the rounds from an iterate."""
        hyper, objective, statistics = cluster.hyper, cluster.objective, cluster.broadcast.statistics
        squares = None
        few_columns = len(objective.standardization.shift) < GRAM_COLUMNS
        if statistics.features is not None and objective.penalty.is_zero and few_columns:
            rms = statistics.recent_features.spread(hyper.fit_intercept)[0]
            squares = (rms * objective.standardization.inv_scale.astype(np.float64)) ** 2
        return cls(cluster, StepSize(hyper.step, hyper.schedule, None), ClusterState(iterate), squares)

    @property
    def batch_size(self):
        """Rows of a batch."""
        return min(self.cluster.hyper.batch_size, self.cluster.n_rows)

    @property
    def current_step(self):
        """Step size of the newest update of a full batch."""
        return float(self.step_size.at(max(self.n_updates, 1), self.step_size.base(self.batch_size)))

    def start_objective(self):
        """Return the objective at the start; that of predicting the mean is computed from the statistics of y."""
        (W, b), objective = self.reported(), self.cluster.objective
        if W.any() or not np.array_equal(b, objective.baseline.intercept):
            return self.evaluate().standardized
        inv_unit = objective.standardization.target_inv_scale.astype(np.float64)
        self.state.losses = objective.loss.value(objective.baseline.rms * inv_unit)
        return float(self.state.losses.sum())

    def evaluate(self):
        """Return the training objective of the newest parameters, over all rows."""
        if self.state.losses is None:
            W, b = self.reported()
            self.state.losses, grad = self.cluster.losses_and_gradient(W, b)
            self.state.grad = grad + self._ridge(W)
        return self.cluster.evaluation(self.state.losses)

    def epoch(self, rng, on_block=None):
        """Make one round; return the mean objective during the local descents."""
        W, b, loss = self._descend(None if rng is None else int(rng.integers(2**63)))
        if not (np.isfinite(loss) and np.isfinite(W).all()):
            return np.inf
        there = np.column_stack([W, b]) - np.column_stack(self.reported())
        first, before = self.state.grad is None, float(self.state.losses.sum())
        self._minimise([there] if first else [there, -self.state.grad])
        self.state.gain = np.inf if first else before - float(self.state.losses.sum())
        return loss

    def _descend(self, seed):
        """Run the local descents; return the average of the resulting parameters, and of the loss during them."""
        it, cluster = self.state.iterate, self.cluster
        here, numbers = (*self.reported(), it.t, seed), cluster.numbers()
        if self.column_squares is not None and self.spectrum is None:
            moments, *reached, n_updates, constants = cluster.run(local_sgd_with_moments, *here, per_partition=numbers)
            self.spectrum = Spectrum.of(enlarged(moments / cluster.n_rows, self.column_squares), cluster.dtype)
        else:
            *reached, n_updates, constants = cluster.run(local_sgd, *here, per_partition=numbers)
        it.t += max(n_updates.values())
        if self.user_step is None:
            self.step_size = self.step_size._replace(constants=cluster.constants(constants))
        return (a / cluster.n_rows for a in reached)

    def _minimise(self, new):
        """Move to the minimum over all directions, including those of ``new``; each target has its own."""
        state, dtype, first = self.state, self.cluster.dtype, self.state.grad is None
        stacked = np.concatenate([np.column_stack(self.reported()), *new] if first else new).astype(dtype)
        n_parts = len(new) + first
        products = self.cluster.run(hessian_product, stacked[:, :-1].copy(), stacked[:, -1].copy(), first)
        new, images = (
            np.split(a, n_parts) for a in (stacked.astype(np.float64), np.column_stack(products) / self.cluster.n_rows)
        )
        if first:
            state.grad, new, images = images[0] + self._ridge(state.iterate.W), new[1:], images[1:]
        for p, Hp in zip(new, images, strict=True):
            Hp = Hp + self._ridge(p[:, :-1])
            size = (p * Hp).sum(axis=1)
            for q, Hq in state.directions:
                share = _ratio((p * Hq).sum(axis=1), (q * Hq).sum(axis=1))
                p, Hp = p - share * q, Hp - share * Hq
            # The rest of a direction that hardly differs from the previous ones is rounding.
            useful = ((p * Hp).sum(axis=1) > np.finfo(dtype).eps * size)[:, None]
            step = np.where(useful, -_ratio((p * state.grad).sum(axis=1), (p * Hp).sum(axis=1)), 0.0)
            state.losses = np.maximum(state.losses + 0.5 * (step * p * state.grad).sum(axis=1), 0.0)
            state.move(step * p)
            state.grad = state.grad + step * Hp
            state.directions = [*state.directions, (p * useful, Hp * useful)][-REMEMBERED:]

    def _ridge(self, W):
        """Return the gradient of a quadratic penalty, the intercept's 0 included."""
        l2 = self.cluster.objective.penalty.l2
        return np.column_stack([(0.0 if l2 is None else l2.astype(np.float64)) * W, np.zeros(len(W))])

    def remaining_gain(self):
        """Return an estimate of the gain that is left, and False, since it is not exact; None without second moments.

        It is also None if the last round gained no more than rounding.
        """
        least = np.finfo(self.cluster.dtype).eps * self.cluster.objective.null_value
        if self.spectrum is None or self.state.grad is None or self.state.gain <= least:
            return None
        return self.spectrum.newton_decrement(self.state.grad[:, :-1], self.state.grad[:, -1]), False


def _ratio(a, b):
    """Return ``a / b`` as a column, 0 where ``b`` is not positive."""
    return np.divide(a, b, out=np.zeros_like(a), where=b > 0)[:, None]
