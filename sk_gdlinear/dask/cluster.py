"""The rows of all partitions as one problem, and what the methods that descend over them have in common."""

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from .._data.second_moments import SecondMoments
from .._descent.evaluation import Evaluation
from .._descent.lipschitz import LipschitzConstants
from .._descent.step_size import StepSize
from .._fit.loop import Method
from .partitions import Partitions
from .tasks import Broadcast, local_sgd, local_sgd_with_moments, loss_and_gradient


class LocalResult(NamedTuple):
    """What one local descent on each partition has reached."""

    W: np.ndarray  # (k, d), average over partitions, weighted by rows, float64
    b: np.ndarray
    loss: float  # mean during the descents
    n_updates: int  # of the longest
    constants: LipschitzConstants
    error_size: np.ndarray | None  # (k,), in units of y, about the median of the absolute errors; with a kink
    moments: SecondMoments | None  # of all rows, if they were to be computed


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

    def run(self, task, *broadcast, per_partition=None, n_bytes=0):
        """Return the sum over the partitions of the results of a task, about ``n_bytes`` each."""
        common = self.broadcast, *broadcast
        return self.partitions.map_reduce(task, *common, per_partition=per_partition, n_bytes=n_bytes)

    def with_objective(self, objective):
        """Return the same rows with another objective."""
        return replace(self, broadcast=replace(self.broadcast, objective=objective))

    def numbers(self):
        """Return the numbers of the partitions."""
        return range(len(self.partitions))

    def losses_and_gradient(self, W, b):
        """Return the objective per target, and the gradient of the loss, (k, d + 1) with the intercept last."""
        return self.averaged(W, *self.run(loss_and_gradient, W, b))

    def averaged(self, W, grad_W, grad_b, losses):
        """Return the same of the sums over all rows."""
        return losses / self.n_rows + self.objective.penalty.value(W), np.column_stack([grad_W, grad_b]) / self.n_rows

    def local_sgd(self, W, b, t, seed, with_moments=False):
        """Return the ``LocalResult`` of a descent on each partition from common parameters."""
        n, task, n_bytes = self.n_rows, local_sgd_with_moments if with_moments else local_sgd, 0
        if with_moments:
            n_bytes = 8 * W.shape[1] ** 2
        sums = self.run(task, W, b, t, seed, per_partition=self.numbers(), n_bytes=n_bytes)
        W, b, loss, n_updates, constants, sizes, *moments = sums
        constants = self.constants(constants) if self.hyper.step is None else None
        size = None
        if sizes:
            size = np.average([sizes[number] for number in self.numbers()], axis=0, weights=self.partitions.n_rows)
        return LocalResult(W / n, b / n, loss / n, max(n_updates.values()), constants, size, *moments or [None])

    def constants(self, by_partition):
        """Return the Lipschitz constants of all rows, from those of each partition."""
        norms, eigenvalues = zip(*(by_partition[number] for number in self.numbers()), strict=True)
        # The mean over partitions is at least the largest eigenvalue of all rows.
        return LipschitzConstants(max(norms), float(np.average(eigenvalues, weights=self.partitions.n_rows)))


class ClusterMethod(Method):
    """The common base of the methods on a cluster."""

    cluster: Cluster
    step_size: StepSize
    state: Any  # has an ``iterate``
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
        return self.objective.zero_value

    @property
    def starts_at_mean(self):
        """Whether the newest parameters predict the mean of the targets."""
        W, b = self.reported()
        return not W.any() and np.array_equal(b, self.objective.baseline.intercept)

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
        return self.objective.null_value

    def evaluation(self, per_target):
        """Return the ``Evaluation`` of an objective per target, in standardized units."""
        with np.errstate(over="ignore", invalid="ignore"):
            return Evaluation(float(per_target.sum()), self.objective.in_user_units(per_target))

    def evaluate_mean(self):
        """Return the training objective of predicting the mean of the targets; infinite where bounds forbid it."""
        objective, d = self.objective, len(self.standardization.shift)
        penalty = objective.zero_penalty
        if objective.loss.is_quadratic or penalty == np.inf:
            return Evaluation(objective.null_value + penalty, np.nan)
        intercept = objective.baseline.intercept
        W = np.zeros((len(intercept), d), self.cluster.dtype)
        cluster = self.cluster.with_objective(objective)
        return self.evaluation(cluster.losses_and_gradient(W, intercept)[0])

    def null_losses(self):
        """Return the squared error per target of predicting the mean, from the statistics of y."""
        objective, inv_unit = self.objective, self.standardization.target_inv_scale.astype(np.float64)
        return objective.loss.value(objective.baseline.rms * inv_unit)

    def predict_mean(self):
        """Set the parameters to those that predict the mean of the targets."""
        self.state.predict_mean(self.objective)
