r"""Rounds of descent over partitions of the rows that lie on other machines.

In a round every partition is asked twice, and what the partitions answer is added:

1. *Local descent* (local SGD; S. Stich, "Local SGD Converges Fast and Communicates Little", ICLR 2019): each descends
   once over its own rows from the common weights :math:`w`; the average of where they arrive, by rows, gives the
   direction :math:`\delta = \sum_i n_i w_i / n - w`.
2. *Synchronous products* :math:`H p = \sum_i G_i^\top Z_i`, :math:`G = Z p / n`, of all rows with directions
   :math:`p`: gradients with the targets left out.

Where partitions differ, sorted by the target say, their average lies apart from the common minimum, and with it every
next round.  So it is not taken as it is.  The objective is quadratic: among all weights that can be reached along the
directions so far and two new ones, :math:`\delta` and the negative gradient :math:`-g`, the best is known exactly.
With directions made conjugate, :math:`p_i^\top H p_j = 0`, it is one step along each,

.. math:: \alpha = -\frac{g^\top p}{p^\top H p}, \qquad w \leftarrow w + \alpha p, \qquad g \leftarrow g + \alpha H p.

On partitions that are alike :math:`\delta` alone nearly is the answer; on any partitions a round gains at least as much
as one of the method of conjugate gradients, and never raises the objective.  With ``l2`` it is quadratic still, with
:math:`H + \operatorname{diag}(l_2)`; other losses and penalties are not, and have synchronous full batches only.
"""

from dataclasses import dataclass, field, replace

import numpy as np

from ._conditioning import curvature
from ._descent import mean_loss
from ._iterate import Iterate
from ._objective import Loss, Penalty
from ._setup import Settings, make_descent
from ._training import Training

# Directions kept conjugate to each other, as many as 32 rounds make.
REMEMBERED = 64


@dataclass
class Common:
    """What every partition is told once: all that is known of the data, and the parameters."""

    knowledge: object
    settings: Settings

    def descent(self, data, W, b, t=0, edges=None):
        """Return the descent over a partition from ``W, b``, conditioned by what is known of all rows."""
        at = Iterate.at(W.copy(), b.copy(), self.settings.average, t)
        settings = replace(self.settings, step=self.settings.step or 1.0)
        descent = make_descent(data, self.knowledge, settings, lambda conditioning: at, stream=True)
        return replace(descent, step=self.settings.step, curvature=edges)


class Apart(dict):
    """Answers by number of the partition, which are not to be added up."""

    def __add__(self, other):
        """Return the answers of both."""
        return Apart(self | other)


# --- asked of each partition: sums over its rows, so that the answers can be added -----------------------------------


def descend(data, own, common, W, b, t, seed):
    """Descend once over the partition; return rows times the weights and the intercept reached, and the loss."""
    number, own_edges = own
    descent = common.descent(data, W, b, t, own_edges)
    loss = descent.epoch(None if seed is None else np.random.default_rng([seed, number]))
    return *(data.n_rows * a.astype(np.float64) for a in descent.answer), data.n_rows * loss


def look(data, common, W, b):
    """Return rows times the gradient of the loss by ``W`` and ``b``, and times the loss per target."""
    descent = common.descent(data, W, b)
    grad_W, grad_b, loss = _gradient(descent, W, b)
    if len(b) > 1:  # of the sum over targets, their own shares
        share = mean_loss(data, descent.conditioning, descent.loss, W, b)
        loss = loss * share / max(share.sum(), np.finfo(float).tiny)
    return grad_W, grad_b, np.atleast_1d(loss)


def survey(data, number, common, W, b):
    """Return ``beta`` and ``lambda_1`` of the partition, whose descent must be stable on its own rows, and ``look``."""
    settings = common.settings
    conditioning = common.descent(data, W, b).conditioning
    own = curvature(data, conditioning, settings.fit_intercept, settings.shuffle)
    return Apart({number: own}), *look(data, common, W, b)


def products(data, common, W, b):
    """Return rows times ``H p`` for the directions in the rows of ``W`` and ``b``."""
    descent = common.descent(data, W[: data.Y.shape[1]], b[: data.Y.shape[1]])
    zeros, targets = np.zeros(len(b), data.X.dtype), np.zeros((len(data.Y), len(b)), data.X.dtype)
    conditioning = descent.conditioning._replace(target_shift=zeros, target_inv_scale=zeros + 1)
    squares = Loss(zeros, zeros - np.inf, zeros + np.inf)
    without_targets = replace(descent, data=data._replace(Y=targets), conditioning=conditioning, loss=squares)
    return _gradient(without_targets, W, b)[:2]


def _gradient(descent, W, b):
    """Return rows times the gradient of the loss at ``W, b``, and times the loss: a full batch, one step of size 1."""
    n, at = descent.data.n_rows, Iterate.at(W.copy(), b.copy(), average=False)
    free = Penalty(None, None, False)
    loss = replace(descent, iterate=at, penalty=free, batch_size=n, step=1.0, schedule="constant").epoch(None)
    return n * (W - at.W).astype(np.float64), n * (b - at.b).astype(np.float64), n * loss


# --- the loop --------------------------------------------------------------------------------------------------------


@dataclass
class ClusterTraining(Training):
    """A ``Training`` whose rows lie on a cluster; its ``data`` knows their shape and dtype only.

    ``one_batch`` makes an epoch one synchronous step, else it is a round.
    """

    partitions: object = None
    common: Common | None = None
    edges: list | None = None  # of each partition
    objectives: np.ndarray | None = None  # (k,), at the newest weights, in conditioned units; None when not known
    # (k, d + 1), the intercept last: of the loss in a synchronous step, else of the objective.
    grad: np.ndarray | None = None
    directions: list = field(default_factory=list)  # pairs (p, H p)

    def objective(self, every=1):
        """Objective of the newest weights, over all rows: in conditioned units, and in the user's."""
        W, b = self.answer
        if self.objectives is None:
            self.learn(*self.partitions.total(look, self.common, W, b))
        unit = 1.0 / self.conditioning.target_inv_scale.astype(np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            return float(self.objectives.sum()), float((self.objectives * self.slope * unit**2).sum())

    def learn(self, grad_W, grad_b, losses):
        """Take in what all partitions answered to ``look``."""
        n, W = self.data.n_rows, self.answer[0]
        self.grad = np.column_stack([grad_W, grad_b]) / n
        self.objectives = losses / n + self.penalty.value(W)
        if not self.one_batch:
            self.grad += self._ridge(W)

    def objective_scale(self):
        """Objective of the best constant prediction, or a bound of it."""
        return self.null_objective

    def epoch(self, rng):
        """Make one synchronous step, or one round; return the objective on the way."""
        before = self.objective()[0]
        it = self.iterate
        if self.one_batch:
            step = float(self.steps(self.data.n_rows)[0])
            self._move(-step * self.grad)
            it.W[...] = self.penalty.proximal(it.W, step)
            self.objectives, it.t = None, it.t + 1
            return before if np.isfinite(it.W).all() else np.inf
        seed = None if rng is None else int(rng.integers(2**63))
        own = list(enumerate(self.edges))
        W, b, loss = self.partitions.total(descend, self.common, *self.answer, it.t, seed, own=own)
        it.t += -(-max(self.partitions.n_rows) // self.batch_size)
        if not (np.isfinite(loss) and np.isfinite(W).all()):
            return np.inf
        average = np.column_stack([W, b]) / self.data.n_rows
        self._minimise([average - np.column_stack(self.answer), -self.grad])
        return loss / self.data.n_rows

    def reduce_variance(self):
        """Do nothing: a round's minimum is exact, and the noise of local descents only makes a direction less good."""

    def finish(self, every):
        """See that the answer is no worse than predicting the mean."""
        W, b = self.answer
        null = self.null_objective
        if not self.loss.is_squared_error:
            null = self.partitions.total(look, self.common, np.zeros_like(W), self.null_b)[2].sum() / self.data.n_rows
        if self.step is None and not self.history[-1].conditioned <= null * (1.0 + 1e-9):
            W[...], b[...], self.objectives = 0.0, self.null_b, None
            self.history[-1] = self.losses()

    @property
    def n_segments(self):
        """Pieces of an epoch that are told of: none."""
        return 0

    def mark(self):
        """Return all that decides the answer, to ``return_to``."""
        return super().mark() | {"objectives": self.objectives, "grad": self.grad, "directions": self.directions}

    def _ridge(self, W):
        """Gradient of a quadratic penalty, the intercept's 0 included."""
        l2 = 0.0 if self.penalty.l2 is None else self.penalty.l2.astype(np.float64)
        return np.column_stack([l2 * W, np.zeros(len(W))])

    def _move(self, step):
        W, b = self.answer
        W += step[:, :-1].astype(W.dtype)
        b += step[:, -1].astype(b.dtype)

    def _minimise(self, new):
        """Go to the minimum over all directions, those of ``new`` included; each target has its own."""
        dtype, n = self.conditioning.shift.dtype, self.data.n_rows
        stacked = np.concatenate(new).astype(dtype)
        answer = self.partitions.total(products, self.common, stacked[:, :-1].copy(), stacked[:, -1].copy())
        for p, Hp in zip(
            np.split(stacked.astype(np.float64), 2), np.split(np.column_stack(answer) / n, 2), strict=True
        ):
            Hp = Hp + self._ridge(p[:, :-1])
            size = (p * Hp).sum(axis=1)
            for q, Hq in self.directions:
                share = _ratio((p * Hq).sum(axis=1), (q * Hq).sum(axis=1))
                p, Hp = p - share * q, Hp - share * Hq
            # What is left of a direction that hardly differs from those before is rounding.
            useful = ((p * Hp).sum(axis=1) > np.finfo(dtype).eps * size)[:, None]
            step = np.where(useful, -_ratio((p * self.grad).sum(axis=1), (p * Hp).sum(axis=1)), 0.0)
            self.objectives = np.maximum(self.objectives + 0.5 * (step * p * self.grad).sum(axis=1), 0.0)
            self._move(step * p)
            self.grad = self.grad + step * Hp
            self.directions = [*self.directions, (p * useful, Hp * useful)][-REMEMBERED:]


def _ratio(a, b):
    """Return ``a / b`` as a column, 0 where ``b`` is not positive."""
    return np.divide(a, b, out=np.zeros_like(a), where=b > 0)[:, None]


def on_cluster(partitions, common, data, place):
    """Return the descent over all ``partitions`` from ``place``, in ``data`` of their shape."""
    settings, one_batch = common.settings, common.settings.batch_size is None
    plain = make_descent(data, common.knowledge, replace(settings, step=settings.step or 1.0), place, stream=False)
    descent = ClusterTraining(
        **{name: getattr(plain, name) for name in plain.__dataclass_fields__}
        | dict(
            iterate=Iterate.at(*plain.iterate.centre, average=False, t=plain.iterate.t),
            step=settings.step,
            one_batch=one_batch,
            reducible=not one_batch,  # as steady as that: no noise
        ),
        partitions=partitions,
        common=common,
        edges=[None] * len(partitions),
    )
    if settings.step is None:
        own, *answers = partitions.total(survey, common, *descent.answer, own=range(len(partitions)))
        descent.learn(*answers)
        descent.edges = [own[i] for i in range(len(partitions))]
        norms, eigenvalues = zip(*descent.edges, strict=True)
        # The mean over partitions is at least the largest eigenvalue of all rows.
        descent.curvature = max(norms), float(np.average(eigenvalues, weights=partitions.n_rows))
    return descent
