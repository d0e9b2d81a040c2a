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

After a round the gradient at the newest parameters is exact.  With ``l2`` the objective is still quadratic, with
:math:`H + \operatorname{diag}(l_2)`.  This is the way where Newton steps are not made, ``newton_rounds.py``.
"""

from dataclasses import dataclass, field, replace

import numpy as np

from .._descent.averaging import Iterate
from .._descent.step_size import StepSize
from .cluster import Cluster, ClusterMethod
from .tasks import hessian_product

# Directions that are kept conjugate to each other: those of 32 rounds.
REMEMBERED = 64


@dataclass
class LocalState:
    """The state that changes.  Only the iterate is changed in place."""

    iterate: Iterate
    losses: np.ndarray | None = None  # (k,), objective at the newest parameters; None if not computed
    grad: np.ndarray | None = None  # (k, d + 1), gradient there, the intercept last; None if not computed
    directions: list = field(default_factory=list)  # pairs (p, H p)

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
class LocalSGD(ClusterMethod):
    """Rounds of local SGD, combined by an exact minimisation: mini-batches, for quadratic objectives."""

    cluster: Cluster
    step_size: StepSize
    state: LocalState

    reduces_variance = True  # a round's minimum is exact

    @classmethod
    def from_iterate(cls, cluster, iterate):
        """Return the rounds from an iterate."""
        return cls(cluster, StepSize(cluster.hyper.step, cluster.hyper.schedule, None), LocalState(iterate))

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
        if not self.starts_at_mean:
            return self.evaluate().standardized
        self.state.losses = self.null_losses()
        return float(self.state.losses.sum())

    def evaluate(self):
        """Return the training objective of the newest parameters, over all rows."""
        if self.state.losses is None:
            W, b = self.reported()
            self.state.losses, grad = self.cluster.losses_and_gradient(W, b)
            self.state.grad = grad + self._ridge(W)
        return self.evaluation(self.state.losses)

    def epoch(self, rng, on_block=None):
        """Make one round; return the mean objective during the local descents."""
        it, seed = self.state.iterate, None if rng is None else int(rng.integers(2**63))
        local = self.cluster.local_sgd(it.W, it.b, it.t, seed)
        it.t = local.n_updates
        if self.user_step is None:
            self.step_size = self.step_size._replace(constants=local.constants)
        if not (np.isfinite(local.loss) and np.isfinite(local.W).all()):
            return np.inf
        there = np.column_stack([local.W, local.b]) - np.column_stack(self.reported())
        self._minimise([there] if self.state.grad is None else [there, -self.state.grad])
        return local.loss

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


def _ratio(a, b):
    """Return ``a / b`` as a column, 0 where ``b`` is not positive."""
    return np.divide(a, b, out=np.zeros_like(a), where=b > 0)[:, None]
