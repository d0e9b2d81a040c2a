"""Synchronous gradient descent: one step along the exact gradient of all rows per epoch."""

from dataclasses import dataclass, replace

import numpy as np

from .._descent.averaging import Iterate
from .._descent.step_size import StepSize
from .cluster import Cluster, ClusterMethod
from .tasks import constants_loss_and_gradient


@dataclass
class SynchronousState:
    """The state that changes.  Only the iterate is changed in place."""

    iterate: Iterate
    losses: np.ndarray | None = None  # (k,), objective at the newest parameters; None if not computed
    grad: np.ndarray | None = None  # (k, d + 1), gradient there, the intercept last; None if not computed
    step_factor: float = 1.0

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


@dataclass
class SynchronousDescent(ClusterMethod):
    """One step along the exact gradient of all rows per epoch: full batches, for losses without a kink."""

    cluster: Cluster
    step_size: StepSize
    state: SynchronousState

    @classmethod
    def from_iterate(cls, cluster, iterate):
        """Return the descent from an iterate; the first pass also computes the constants of the automatic step."""
        state, hyper = SynchronousState(iterate), cluster.hyper
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
        return self.evaluation(self.state.losses)

    def start_objective(self):
        """Return the objective at the start."""
        return self.evaluate().standardized

    def reduce_step(self):
        """Divide the step, where training would stop, if the schedule is adaptive; return whether it was divided."""
        before, self.state.step_factor = self.state.step_factor, self.step_size.reduce(self.state.step_factor)
        return self.state.step_factor < before
