"""The descent: one epoch in plain array operations, and the loop of epochs around it.

``run_epoch`` is the array engine.  ``_kernel.run_epoch`` is the same compiled: same arguments, tested equal.  ``fit``
is the loop ``Descent.run``; ``partial_fit`` calls ``Descent.epoch`` once.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from ._conditioning import Conditioning, median, safe_step, second_moments
from ._engine import kernel_for
from ._objective import (
    Loss,
    Penalty,
    batch_loss,
    coef_gradient,
    error,
    forward,
    intercept_gradient,
    output_gradient,
    smoothing_width,
)
from ._reduction import Reduction
from ._rows import Data
from ._schedules import ADAPTIVE_FACTOR, ADAPTIVE_FLOOR, SCHEDULES, automatic_step, averaging_weight
from ._sparse import issparse, product
from ._stopping import StoppingRule, newton_decrement

# A batch whose objective exceeds this many times that of predicting the mean gets the safe step (automatic steps only).
GUARD = 16.0

# Descent with the user's own step has diverged when the objective exceeds this many times that of predicting zero.
DIVERGED = 1e3

# The anchors' share in the noise of a variance-reduced gradient, for which the step allows.  Measured: 1 takes twice
# the epochs where single rows weigh much (20,000 x 1,000), 2 a quarter more where columns are nearly collinear.
ANCHOR_NOISE = 1.5

# Relative rise of the objective that shows variance-reduced descent to have overshot.
OVERSHOT = 1e-4

# Width over which a kink is smoothed, in target spreads, where the loss is only looked at.
SHARPEST = 1e-6

# Besides the iterate, what decides the answer and its step.  All are replaced, never changed in place, but for what the
# reduction holds; whether it holds anything is what matters where the descent has ended.
MARKED = ("step_factor", "slope", "loss", "penalty", "smoothing", "null_objective", "reduction")

# Relative disadvantage at which an average starts anew, and the rows of a stream over which it is judged.
LAG = 0.02
COMPARED_ROWS = 1024

# Size of the median's errors over the width on which their kink is smoothed.
ERRORS_SMOOTHED = 8.0

# Rows whose errors show how far to smooth a kink of the loss.
SAMPLE_ROWS = 1 << 14

# Rows whose objective is computed at once, in cache; and between epochs on data of more numbers than this, only those
# of every fourth such block: what is watched is a difference over the same rows, and that needs no more.
OBJECTIVE_ROWS = 2048
OBJECTIVE_NUMBERS = 1 << 17
WATCH_ALL = 1 << 18
WATCH_EVERY = 4


@dataclass
class Iterate:
    """The moving state, in conditioned variables: weights, their running average (None when off), counters."""

    W: np.ndarray  # (k, d)
    b: np.ndarray  # (k,)
    mean_W: np.ndarray | None  # of the weights before their proximal steps
    mean_b: np.ndarray | None
    t: int = 0  # updates made
    n_averaged: int = 0  # updates in the average
    advantage: float = 0.0  # smoothed relative advantage of the average over the weights on the way
    mean_step: float = 0.0  # with a penalty: the step sizes in the average, averaged alike

    @property
    def lagging(self):
        """Whether the average does worse than the weights it is made of: no noise to average away, only lag."""
        return self.mean_W is not None and self.advantage < -LAG

    @classmethod
    def at(cls, W, b, average, t=0):
        """Start at ``W, b``."""
        return cls(W, b, W.copy() if average else None, b.copy() if average else None, t)

    @property
    def centre(self):
        """The average where there is one, else the newest weights."""
        return (self.W, self.b) if self.mean_W is None else (self.mean_W, self.mean_b)

    def copy(self):
        """Return an independent copy."""
        arrays = {name: getattr(self, name) for name in ("W", "b", "mean_W", "mean_b")}
        return replace(self, **{name: None if a is None else a.copy() for name, a in arrays.items()})

    def restart_average(self):
        """Forget the average and start a new one at the newest weights."""
        self.mean_W[...], self.mean_b[...], self.n_averaged = self.W, self.b, 0
        self.advantage = self.mean_step = 0.0

    def average(self, steps, mixing):
        """Take updates of sizes ``steps``, mixed into the average with weights ``mixing``, into the mean step."""
        self.mean_step += float(mixing[0] * (steps[0] - self.mean_step))
        if (steps != self.mean_step).any():
            for step, mix in zip(steps[1:].tolist(), mixing[1:].tolist(), strict=True):
                self.mean_step += mix * (step - self.mean_step)

    def compare(self, on_the_way, objective, share):
        """Take in the objective of the weights on the way and of their average, smoothed with weight ``share``."""
        total = on_the_way + objective
        relative = (on_the_way - objective) / total if 0.0 < total < np.inf else 0.0
        self.advantage += share * (relative - self.advantage)


class Epoch(NamedTuple):
    """Losses of the weights that would be reported after an epoch."""

    conditioned: float  # training objective in conditioned units
    objective: float  # training objective in the user's units
    validation: float  # loss of the held-out rows in the user's units, NaN where there are none
    judged: float  # what training is judged by


def run_epoch(
    X, Y, order, weight, shift, inv_scale, target_shift, target_inv_scale, offset, low, high, l1, l2, positive,
    anchor, drift_W, drift_b, change_W, change_b, W, b, mean_W, mean_b, steps, mixing, batch_size, ceiling,
    fit_intercept,
):  # fmt: skip
    """Make one update per batch of ``order``, in place.

    Parameters
    ----------
    X : ndarray or csr_array of shape (n, d)
    Y : ndarray of shape (n, k)
    order : ndarray of int
        Row numbers; batch ``i`` holds ``order[i * batch_size : (i + 1) * batch_size]``.
    weight : ndarray of shape (n,) or None
        Sample weights over their mean.
    shift, inv_scale, target_shift, target_inv_scale : ndarray
        See ``Conditioning``.
    offset, low, high : ndarray of shape (k,)
        See ``Loss``.
    l1, l2, positive : ndarray of shape (k, d) or None, and bool
        See ``Penalty``.
    anchor, drift_W, drift_b, change_W, change_b : ndarray or None
        See ``Reduction``; anchor and changes are updated in place.
    W, b : ndarray of shape (k, d) and (k,)
        The iterate, updated in place.
    mean_W, mean_b : ndarray or None
        Its running average before the proximal step, updated in place.
    steps, mixing : ndarray of shape (n_batches,)
        Step size of each update, and the weight of its result in the average.
    batch_size : int
    ceiling : float
        A batch with a larger objective gets at most the safe step.
    fit_intercept : bool

    Returns
    -------
    total : float
        Sum over the batches of loss, before the update, times rows.
    """
    conditioning = Conditioning(shift, inv_scale, target_shift, target_inv_scale)
    loss, penalty = Loss(offset, low, high), Penalty(l1, l2, positive)
    total = 0.0
    for i in range(len(steps)):
        rows = order[i * batch_size : (i + 1) * batch_size]
        s = None if weight is None else weight[rows]
        Z = conditioning.rows(X[rows])
        E = error(forward(Z, W, b), conditioning.targets(Y[rows]))
        G = output_gradient(E, loss, s)
        if anchor is not None:
            G, anchor[rows] = G - anchor[rows] / len(rows), G * len(rows)
        grad_W, grad_b = coef_gradient(G, Z), intercept_gradient(G) * fit_intercept
        if anchor is not None:
            change_W += len(rows) * grad_W
            change_b += len(rows) * grad_b
            grad_W, grad_b = grad_W + drift_W, grad_b + drift_b
        objective = float(batch_loss(E, loss, s).sum())
        step = float(steps[i])
        if not objective <= ceiling:
            step = min(step, safe_step(Z, grad_W, grad_b, s))
        point = W - step * grad_W
        W[...] = penalty.proximal(point, step)
        b -= step * grad_b
        if mean_W is not None:
            mix = float(mixing[i])
            mean_W += mix * (point - mean_W)
            mean_b += mix * (b - mean_b)
        total += objective * len(rows)
    return total


def mean_loss(data, conditioning, loss, W, b, every=1):
    """Loss per target over the rows, in conditioned units; over every ``every``-th block of rows only."""
    # Offsets that dwarf a column's spread leave float32 few digits: there rows are centred first, in cache.
    sparse = issparse(data.X)
    centre = data.X.dtype == np.float32 and not sparse
    coef, intercept = (W, b) if centre else conditioning.to_user(W, b)
    if sparse:
        kernel, B = kernel_for(data.X), np.ascontiguousarray(coef.T, dtype=np.float64)
        multiply = product if kernel is None else kernel.product
    unit = 1.0 if centre else conditioning.target_inv_scale
    totals, total_weight = np.zeros(len(b)), 0.0
    block = max(OBJECTIVE_ROWS, OBJECTIVE_NUMBERS // data.X.shape[1])
    for start in range(0, data.n_rows, every * block):
        rows = slice(start, min(start + block, data.n_rows))
        rows = rows if data.index is None else data.index[rows]
        if sparse:
            order = np.arange(rows.start, rows.stop) if data.index is None else rows
            E = error(multiply(data.X, order, B) + intercept, data.Y[rows])
        else:
            X, Y = data.X[rows], data.Y[rows]
            if centre:
                X, Y = conditioning.rows(X), conditioning.targets(Y)
            E = error(forward(X, coef, intercept), Y)
        E *= unit
        weight = None if data.weight is None else data.weight[rows]
        totals += batch_loss(E, loss, weight) * len(E)
        total_weight += len(E) if weight is None else float(weight.sum(dtype=np.float64))
    return totals / total_weight


@dataclass
class Descent:
    """Gradient descent on one set of rows.

    ``step`` is the user's own step, or None for the automatic one from ``curvature = (beta, lambda_1)``.
    """

    data: Data
    conditioning: Conditioning
    slope: np.ndarray  # (k,), of the loss: loss and penalty are over it
    loss: Loss
    penalty: Penalty
    terms: Callable | None  # from the width over which a kink is smoothed to those three; None without a kink
    smoothing: np.ndarray  # (k,), that width, in units of y
    target_spread: np.ndarray  # (k,), in units of y; 1 for a constant target
    iterate: Iterate
    batch_size: int
    fit_intercept: bool
    schedule: str
    power_t: float
    step: float | None
    curvature: tuple[float, float] | None
    null_objective: float  # of predicting the mean, or a bound of it, in conditioned units
    zero_objective: float  # of predicting 0
    null_b: np.ndarray  # the intercept that predicts the mean
    column_squares: np.ndarray | None = None  # (d,), mean squares in conditioned units; where the loss is quadratic
    one_batch: bool = False  # the only batch there is: no sampling noise, hence the step 1 / lambda_1
    reducible: bool = False  # whether variance is reduced after the first epoch
    step_factor: float = 1.0
    reduction: Reduction = Reduction()
    second_moments: np.ndarray | None = None  # second derivatives of the objective, where they are known
    held_out: object | None = None  # a _held_out.HeldOut: rows to judge by in place of the training rows
    watchers: list = field(default_factory=list)  # of _watchers.Watcher: told of each epoch
    history: list = field(default_factory=list)  # an Epoch for each one that is complete

    def steps(self, n_rows):
        """Step size of each of the coming updates over ``n_rows`` rows."""
        n_batches, last = divmod(n_rows, self.batch_size)
        base = np.full(n_batches + (last > 0), self.base_step(self.batch_size))
        if last:
            base[-1] = self.base_step(last)
        t = self.iterate.t + np.arange(1, len(base) + 1)
        return self.step_factor * SCHEDULES[self.schedule](t, base, self.power_t)

    def base_step(self, n_rows):
        """Step size before the schedule, for batches of ``n_rows`` rows."""
        if self.step is not None:
            return self.step
        norm, eigenvalue = self.curvature
        if self.one_batch:
            return 1.0 / eigenvalue if eigenvalue > 0 else 1.0
        if self.reduction.anchor is not None:
            norm *= ANCHOR_NOISE
        return automatic_step(n_rows, norm, eigenvalue) if norm > 0 else 1.0

    @property
    def current_step(self):
        """Step size of the newest full batch."""
        base = self.base_step(self.batch_size)
        return float(self.step_factor * SCHEDULES[self.schedule](max(self.iterate.t, 1), base, self.power_t))

    @property
    def segment_rows(self):
        """Rows an engine is handed at once: whole batches."""
        return self.batch_size * max(1, self.data.segment_rows // self.batch_size)

    @property
    def n_segments(self):
        """Pieces of an epoch."""
        return -(-self.data.n_rows // self.segment_rows)

    def epoch(self, rng):
        """Pass once over the rows, in random order if ``rng`` is given; return the mean objective on the way."""
        it, data = self.iterate, self.data
        if self.reduction.anchor is not None or (self.step is None and it.lagging):
            it.restart_average()
        total = 0.0
        for rows in data.segments(rng, self.segment_rows):
            steps = self.steps(len(rows))
            mixing = averaging_weight(it.n_averaged + np.arange(1.0, len(steps) + 1.0))
            total += self.visit(rows, steps, mixing, self.batch_size)
            if self.penalty.l1 is not None:
                it.average(steps, mixing)
            it.t += len(steps)
            it.n_averaged += len(steps)
            for watcher in self.watchers:
                watcher.end_segment()
            if not (np.isfinite(total) and np.isfinite(it.W).all()):
                return np.inf
        self.reduction.renew(data.n_rows)
        return total / data.n_rows + float(self.penalty.value(it.W).sum())

    def visit(self, rows, steps, mixing, batch_size):
        """Make one update per batch of ``rows``; return the sum of the losses on the way."""
        it, data, kernel = self.iterate, self.data, kernel_for(self.data.X)
        run = run_epoch if kernel is None else kernel.run_epoch
        ceiling = GUARD * self.null_objective if self.step is None else np.inf
        with np.errstate(over="ignore", invalid="ignore"):  # the caller sees it
            return run(
                data.X, data.Y, rows, data.weight, *self.conditioning, *self.loss, *self.penalty, *self.reduction,
                it.W, it.b, it.mean_W, it.mean_b, steps, mixing, batch_size, ceiling, self.fit_intercept,
            )  # fmt: skip

    def reduce_variance(self):
        """Anchor every row where the reported weights stand, and go on from there: see ``_reduction``."""
        it = self.iterate
        if not it.lagging:
            it.W[...], it.b[...] = self.answer
        self.reduction = Reduction.over(self.data)
        for rows in self.data.segments():
            still = np.zeros(-(-len(rows) // OBJECTIVE_ROWS))  # updates of step 0, which leave the weights alone
            self.visit(rows, still, still, OBJECTIVE_ROWS)
        self.reduction.renew(self.data.n_rows)
        if self.column_squares is not None:
            self.second_moments = second_moments(self.data, self.conditioning, self.fit_intercept, self.column_squares)

    @property
    def answer(self):
        """The weights to report."""
        W, b = self.iterate.centre
        return W if self.iterate.mean_W is None else self.penalty.proximal(W, self.iterate.mean_step), b

    def objective(self, every=1):
        """Objective of the reported weights: in conditioned units, and in the user's."""
        with np.errstate(over="ignore", invalid="ignore"):  # the square of a large y may have no number
            W, b = self.answer
            conditioned = mean_loss(self.data, self.conditioning, self.loss, W, b, every) + self.penalty.value(W)
            unit = 1.0 / self.conditioning.target_inv_scale.astype(np.float64)
            return float(conditioned.sum()), float((conditioned * self.slope * unit**2).sum())

    def objective_scale(self):
        """Return the objective of the best constant prediction, against which gains are judged.

        For losses other than the squared error it leaves outliers out.  With a kink it is the objective of errors of
        the present size instead: how many of them lie on either side is to be right even where they are small.
        """
        if self.loss.is_squared_error:
            return self.null_objective
        if self.terms is not None:
            return float(self.loss.largest(ERRORS_SMOOTHED * self.smoothing * self.conditioning.target_inv_scale).sum())
        rows = self.data.sample(SAMPLE_ROWS)
        targets, weight = self.conditioning.targets(self.data.Y[rows]), self._weight(rows)
        deviation = median(np.abs(targets - median(targets, weight)), weight)
        spread = self.target_spread * self.conditioning.target_inv_scale
        return float(self.loss.largest(np.where(deviation > 0.0, deviation, spread)).sum())

    def scale(self):
        """Return what ``tol`` is relative to: the objective's scale, or the held-out loss of the training mean."""
        return self.objective_scale() if self.held_out is None else self.held_out.scale(self)

    def sharpest_loss(self):
        """Slope and loss over it with a kink, if it has one, as good as unsmoothed."""
        return (self.slope, self.loss) if self.terms is None else self.terms(SHARPEST * self.target_spread)[:2]

    def losses(self, every=1):
        """Losses of the reported weights; the training objective over every ``every``-th block of rows."""
        conditioned, objective = self.objective(every)
        if self.held_out is None:
            return Epoch(conditioned, objective, np.nan, conditioned)
        return Epoch(conditioned, objective, *self.held_out.loss(self.conditioning, *self.answer))

    def check(self, objective, start, epoch):
        """Raise if the user's own step has made the descent diverge from an objective of ``start``."""
        usual = max(start, self.zero_objective)
        if self.step is None or (np.isfinite(objective) and objective <= DIVERGED * usual):
            return
        ratio = objective / usual if usual > 0 else np.inf
        raise ValueError(
            f"Gradient descent diverged in epoch {epoch}, at update {self.iterate.t}, with "
            f"learning_rate={self.step:g}: the training objective is {ratio:.3g} times that of predicting zero, or of "
            "the start. Use a smaller learning_rate, learning_rate='auto', or precondition=True."
        )

    def run(self, max_iter, tol, patience, rng):
        """Run epochs until there is little left to gain; return the reason for stopping.

        The descent then stands where it did after the last complete epoch, or the best one where rows are held out.
        """
        every = 1 if self.reducible or math.prod(self.data.X.shape) <= WATCH_ALL else WATCH_EVERY
        before = start = self.objective(every)[0]
        level = start if self.held_out is None else np.inf
        geometric = self.one_batch or self.reducible
        steady = geometric and self.step is None if self.held_out is None else self.reducible
        rule = StoppingRule(self.scale(), tol, patience, max_iter, geometric, steady)
        reason = None
        try:
            while reason is None:
                n_complete, last, drawn = len(self.history), self.mark(), rng and rng.bit_generator.state
                losses = self.complete_epoch(rng, start, every)
                quiet, losses = self.adapt(rule, before, level, losses, every)
                before = losses.conditioned
                level = losses.judged if self.held_out is None else self.held_out.best_loss
                reason = self.reason_to_stop(quiet, max_iter)
        except KeyboardInterrupt:
            if not self.history:
                raise
            if len(self.history) == n_complete:  # in the middle of an epoch
                self.return_to(last)
                if rng is not None:
                    rng.bit_generator.state = drawn
            elif self.held_out is not None:  # perhaps before it was looked at
                self.held_out.keep_best(self.history[-1].judged, len(self.history), self)
            reason = "interrupted"
        try:
            self.finish(every)
        except KeyboardInterrupt:  # there is nothing left to interrupt
            self.finish(every)
            reason = "interrupted"
        return reason

    def mark(self):
        """Return all that decides the answer, to ``return_to``."""
        return {name: getattr(self, name) for name in MARKED} | {"iterate": self.iterate.copy()}

    def return_to(self, mark):
        """Go back to where the descent stood."""
        vars(self).update(mark)

    def complete_epoch(self, rng, start, every):
        """Make an epoch; return its losses."""
        for watcher in self.watchers:
            watcher.begin_epoch()
        if self.reducible and len(self.history) == 1:
            self.reduce_variance()
        on_the_way = self.epoch(rng)
        losses = self.losses(every)
        self.check(max(losses.conditioned, on_the_way), start, len(self.history) + 1)
        self.iterate.compare(on_the_way, losses.conditioned, 1.0)
        self.history.append(losses)  # from here on the epoch is complete
        if self.held_out is not None:
            self.held_out.keep_best(losses.judged, len(self.history), self)
        return losses

    def adapt(self, rule, before, level, losses, every):
        """Adapt loss and step to how the epoch went; return whether it was the last, and the losses to go on from.

        ``before`` is the training objective to compare with, ``level`` what is judged.
        """
        quiet = False
        if self.sharpen(1.0):
            losses = self.losses(every)
            rule.scale, rule.quiet = self.scale(), 0
        elif self.reduction.anchor is not None and losses.conditioned - before > OVERSHOT * abs(before):
            self.step_factor *= 0.5
            rule.quiet = 0
        else:
            remaining = None if self.held_out is not None else self.remaining_gain()
            quiet = rule.update(len(self.history), level, losses.judged, self.iterate.t, remaining)
        if quiet and self.schedule == "adaptive" and self.step_factor > ADAPTIVE_FLOOR:
            self.step_factor *= ADAPTIVE_FACTOR
            rule.quiet, quiet = 0, False
        return quiet, losses

    def remaining_gain(self):
        """Return what the objective can still fall by, to judge by its derivatives; None where they are not known."""
        if self.second_moments is None:
            return None
        gradient = self.reduction.drift_W
        if self.fit_intercept:
            gradient = np.column_stack([gradient, self.reduction.drift_b])
        return newton_decrement(gradient, self.second_moments)

    def reason_to_stop(self, quiet, max_iter):
        """Tell the watchers of the epoch; return why it is the last one, or None."""
        if any([watcher.end_epoch(self) for watcher in self.watchers]):
            return "callback"
        if quiet:
            return "converged" if self.held_out is None else "early_stopping"
        return "max_iter" if len(self.history) == max_iter else None

    def _weight(self, rows):
        return None if self.data.weight is None else self.data.weight[rows]

    def sharpen(self, share):
        """Smooth a kink of the loss over a fixed part of the errors' scale, taken in with weight ``share``.

        Return whether that narrowed it by much: objectives before and after then do not compare.
        """
        if self.terms is None:
            return False
        X, Y, rows = self.data.X, self.data.Y, self.data.sample(SAMPLE_ROWS)
        E = error(forward(self.conditioning.rows(X[rows]), *self.answer), self.conditioning.targets(Y[rows]))
        error_size = median(np.abs(E), self._weight(rows)) / self.conditioning.target_inv_scale
        width = smoothing_width(self.loss, error_size, self.target_spread)
        self.smoothing = self.smoothing + share * (width - self.smoothing)
        slope, loss, penalty = self.terms(self.smoothing)
        if (slope < 1.2 * self.slope).all():
            return False
        self.slope, self.loss, self.penalty = slope, loss, penalty
        self.null_objective = float(loss.largest(self.target_spread * self.conditioning.target_inv_scale).sum())
        return True

    def finish(self, every):
        """Settle on the answer: of the epoch to keep, and no worse than predicting the mean, over all rows."""
        kept = len(self.history) - 1
        if self.held_out is not None:
            kept = self.held_out.best_epoch - 1
            self.return_to(self.held_out.best)
        exact = self.losses() if every > 1 or self.terms is not None else self.history[kept]
        if every > 1:  # the differences are known well, hence all losses as well as the one computed in full
            shift = exact.objective - self.history[kept].objective
            if np.isfinite(shift):
                self.history = [e._replace(objective=max(e.objective + shift, 0.0)) for e in self.history]
        self.history[kept] = exact
        W, b = self.iterate.centre
        null_objective = self.null_objective
        if not self.loss.is_squared_error:
            with np.errstate(over="ignore", invalid="ignore"):
                null_objective = mean_loss(self.data, self.conditioning, self.loss, np.zeros_like(W), self.null_b).sum()
        if self.step is None and not exact.conditioned <= null_objective * (1.0 + 1e-9):
            W[...], b[...] = 0.0, self.null_b
            self.history[kept] = self.losses()

    def take_in(self, rng, start, call):
        """Pass once over a chunk of a stream, the ``call``-th, and remember its losses afterwards."""
        on_the_way = self.epoch(rng)
        self.check(on_the_way, start, call)
        losses = self.losses()
        n_rows, n_seen = self.data.n_rows, self.iterate.t * self.batch_size
        self.iterate.compare(on_the_way, losses.conditioned, min(1.0, n_rows / COMPARED_ROWS))
        self.sharpen(min(1.0, n_rows / min(n_seen, COMPARED_ROWS)))
        self.history.append(losses)
        for watcher in self.watchers:
            watcher.end_epoch(self)
