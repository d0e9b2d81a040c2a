r"""Rounds of descent over partitions of the rows that lie on other machines.

In a round every partition is asked twice, and what the partitions answer is added:

1. *Local descent* (local SGD; S. Stich, "Local SGD Converges Fast and Communicates Little", ICLR 2019): each descends
   over its own rows, where they are many over a random part of them, from the common weights :math:`w`; the average of
   where they arrive, by rows, gives the direction :math:`\delta = \sum_i n_i w_i / n - w`.
2. *Synchronous products* :math:`H p = \sum_i G_i^\top Z_i`, :math:`G = Z p / n`, of all rows with directions
   :math:`p`: gradients with the targets left out.

Where partitions differ, sorted by the target say, their average lies apart from the common minimum, and with it every
next round.  So it is not taken as it is.  The objective is quadratic: among all weights that can be reached along the
directions so far and two new ones, :math:`\delta` and the negative gradient :math:`-g`, the best is known exactly.
With directions made conjugate, :math:`p_i^\top H p_j = 0`, it is one step along each,

.. math:: \alpha = -\frac{g^\top p}{p^\top H p}, \qquad w \leftarrow w + \alpha p, \qquad g \leftarrow g + \alpha H p.

On partitions that are alike :math:`\delta` alone nearly is the answer; on any partitions a round gains at least as much
as one of the method of conjugate gradients, and never raises the objective.  Only the first round from predicting the
mean has one direction, :math:`\delta`: the gradient there comes with its product, at no pass over the rows of its own.

The gradient at the newest weights is then known exactly, and up to 160 columns the second derivatives from samples of
all partitions, asked for once: what remains to be gained tells, also after the first round, whether there is to be
another.  With ``l2`` the objective is quadratic still, with :math:`H + \operatorname{diag}(l_2)`; other losses and
penalties are not, and have synchronous full batches only.
"""

from dataclasses import dataclass, field, replace

import numpy as np

from ._iterate import Iterate
from ._modes import Modes, enlarged
from ._questions import Common, begin, descend, look, products, survey
from ._setup import make_descent
from ._training import Training

# Directions kept conjugate to each other, as many as 32 rounds make.
REMEMBERED = 64


@dataclass
class ClusterTraining(Training):
    """A ``Training`` whose rows lie on a cluster; its ``data`` knows their shape and dtype only.

    ``one_batch`` makes an epoch one synchronous step, else it is a round.
    """

    partitions: object = None
    common: Common | None = None
    objectives: np.ndarray | None = None  # (k,), at the newest weights, in conditioned units; None when not known
    # (k, d + 1), the intercept last: of the loss in a synchronous step, else of the objective; None when not known.
    grad: np.ndarray | None = None
    directions: list = field(default_factory=list)  # pairs (p, H p)

    def first_objective(self, every):
        """Objective to begin with; where that is the mean's, what is known of y spares a question."""
        W, b = self.answer
        if self.one_batch or W.any() or not np.array_equal(b, self.null_b):
            return self.objective()[0]
        rms = self.common.knowledge.targets.spread(self.fit_intercept)[0]
        self.objectives = self.loss.largest(rms * self.conditioning.target_inv_scale.astype(np.float64))
        return float(self.objectives.sum())

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
        it = self.iterate
        if self.one_batch:
            before, step = self.objective()[0], float(self.steps(self.data.n_rows)[0])
            self._move(-step * self.grad)
            it.W[...] = self.penalty.proximal(it.W, step)
            self.objectives, it.t = None, it.t + 1
            return before if np.isfinite(it.W).all() else np.inf
        W, b, loss = self._descend(None if rng is None else int(rng.integers(2**63)))
        if not (np.isfinite(loss) and np.isfinite(W).all()):
            return np.inf
        there = np.column_stack([W, b]) - np.column_stack(self.answer)
        self._minimise([there] if self.grad is None else [there, -self.grad])
        return loss

    def _descend(self, seed):
        """Have all partitions descend; return where they arrive and the loss on the way, on average."""
        it, n, here = self.iterate, self.data.n_rows, (self.common, *self.answer, self.iterate.t, seed)
        numbers = range(len(self.partitions))
        if self.foresees and self.modes is None:
            moments, *reached, n_updates, edges = self.partitions.total(begin, *here, own=numbers)
            self.modes = Modes.of(enlarged(moments / n, self.column_squares), self.conditioning.shift.dtype)
        else:
            *reached, n_updates, edges = self.partitions.total(descend, *here, own=numbers)
        it.t += max(n_updates.values())
        if self.step is None:
            self.found_step_on(edges)
        return (a / n for a in reached)

    def found_step_on(self, edges):
        """Take in ``beta`` and ``lambda_1`` of every partition."""
        norms, eigenvalues = zip(*(edges[number] for number in range(len(self.partitions))), strict=True)
        # The mean over partitions is at least the largest eigenvalue of all rows.
        self.curvature = max(norms), float(np.average(eigenvalues, weights=self.partitions.n_rows))

    def remaining_gain(self):
        """Return what the objective can still fall by; None where its second derivatives are not known."""
        before = self.history[-2].conditioned if len(self.history) > 1 else np.inf
        least = np.finfo(self.conditioning.shift.dtype).eps * self.null_objective
        if self.modes is None or before - self.history[-1].conditioned <= least:
            return None  # nor where all that is left is rounding
        return self.modes.remaining(self.grad[:, :-1], self.grad[:, -1])

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
        first = self.grad is None
        asked = [np.column_stack(self.answer), *new] if first else new
        stacked = np.concatenate(asked).astype(dtype)
        answer = self.partitions.total(products, self.common, stacked[:, :-1].copy(), stacked[:, -1].copy(), first)
        new, images = (np.split(a, len(asked)) for a in (stacked.astype(np.float64), np.column_stack(answer) / n))
        if first:
            self.grad, new, images = images[0] + self._ridge(self.answer[0]), new[1:], images[1:]
        for p, Hp in zip(new, images, strict=True):
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
    )
    if one_batch and settings.step is None:
        edges, *answers = partitions.total(survey, common, *descent.answer, own=range(len(partitions)))
        descent.learn(*answers)
        descent.found_step_on(edges)
    return descent
