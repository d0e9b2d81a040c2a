"""The descent: one epoch in plain array operations, and what an epoch over a set of rows needs.

``run_epoch`` is the array engine.  ``_kernel.run_epoch`` is the same compiled: same arguments, tested equal.  The loop
of epochs is in ``_training``.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from ._conditioning import GRAM_COLUMNS, Conditioning, median, safe_step
from ._engine import kernel_for
from ._evaluation import mean_loss
from ._iterate import Iterate
from ._modes import Modes, Preconditioner
from ._objective import (
    Loss,
    Penalty,
    batch_loss,
    coef_gradient,
    error,
    forward,
    intercept_gradient,
    output_gradient,
    row_derivative,
    smoothing_width,
)
from ._reduction import Reduction
from ._rows import Data
from ._schedules import SCHEDULES, automatic_step, averaging_weight
from ._sparse import issparse
from ._stopping import CLEAR

# A batch whose objective exceeds this many times that of predicting the mean gets the safe step (automatic steps only).
GUARD = 16.0

# The anchors' share in the noise of a variance-reduced gradient, for which the step allows.  Measured: 1 takes twice
# the epochs where single rows weigh much (20,000 x 1,000), 2 a quarter more where columns are nearly collinear.
ANCHOR_NOISE = 1.5

# Width over which a kink is smoothed, in target spreads, where the loss is only looked at.
SHARPEST = 1e-6

# Size of the median's errors over the width on which their kink is smoothed.
ERRORS_SMOOTHED = 8.0

# Rows whose errors show how far to smooth a kink of the loss.
SAMPLE_ROWS = 1 << 14

# Rows handled at once where the engine is called for a block of them.
BLOCK_ROWS = 2048


def run_epoch(
    X, Y, order, weight, shift, inv_scale, target_shift, target_inv_scale, offset, low, high, l1, l2, positive,
    anchor, drift_W, drift_b, change_W, change_b, W, b, mean_W, mean_b, steps, mixing, batch_size, ceiling,
    fit_intercept, preconditioner=None,
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
    preconditioner : ndarray of shape (d, d) or None
        Symmetric matrix that the gradient of the coefficients is multiplied by; not with a penalty.

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
        if anchor is None:
            G = output_gradient(E, loss, s)
        else:
            derivative = row_derivative(E, loss, s)
            G, anchor[rows] = (derivative - anchor[rows]) / len(rows), derivative
        grad_W, grad_b = coef_gradient(G, Z), intercept_gradient(G) * fit_intercept
        if anchor is not None:
            change_W += len(rows) * grad_W
            change_b += len(rows) * grad_b
            grad_W, grad_b = grad_W + drift_W, grad_b + drift_b
        along_W = grad_W if preconditioner is None else grad_W @ preconditioner
        objective = float(batch_loss(E, loss, s).sum())
        step = float(steps[i])
        if not objective <= ceiling:
            step = min(step, safe_step(Z, grad_W, grad_b, along_W, s))
        point = W - step * along_W
        W[...] = penalty.proximal(point, step)
        b -= step * grad_b
        if mean_W is not None:
            mix = float(mixing[i])
            mean_W += mix * (point - mean_W)
            mean_b += mix * (b - mean_b)
        total += objective * len(rows)
    return total


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
    column_squares: np.ndarray | None = None  # (d,), mean squares in conditioned units; None where not needed
    one_batch: bool = False  # the only batch there is: no sampling noise, hence the step 1 / lambda_1
    reducible: bool = False  # whether variance is reduced after the first epoch
    step_factor: float = 1.0
    reduction: Reduction = Reduction()
    modes: Modes | None = None  # of the objective, where they are known
    preconditioner: Preconditioner | None = None
    watchers: list = field(default_factory=list)  # of _watchers.Watcher: told of each epoch and its pieces

    def steps(self, n_rows):
        """Step size of each of the coming updates over ``n_rows`` rows."""
        n_batches, last = divmod(n_rows, self.batch_size)
        base = np.full(n_batches + (last > 0), self.step_factor * self.base_step(self.batch_size))
        if last:
            base[-1] = self.step_factor * self.base_step(last)
        t = np.arange(self.iterate.t + 1, self.iterate.t + len(base) + 1)
        return SCHEDULES[self.schedule](t, base, self.power_t)

    def base_step(self, n_rows):
        """Step size before the schedule, for batches of ``n_rows`` rows."""
        if self.step is not None:
            return self.step
        return self._automatic_step(n_rows, *(self.preconditioner or self.curvature)[-2:])

    def _automatic_step(self, n_rows, norm, eigenvalue):
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
        if it.mean_W is not None and (self.reduction.anchor is not None or (self.step is None and it.lagging)):
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
        if self.preconditioner is None or not issparse(self.data.X):
            return self._run(self.data, rows, self.reduction, steps, mixing, batch_size)
        # A preconditioner moves all columns at every update; they are few, so that blocks of rows may be made dense.
        total, n_batches = 0.0, max(1, BLOCK_ROWS // batch_size)
        for i in range(0, len(steps), n_batches):
            block = rows[i * batch_size : (i + n_batches) * batch_size]
            anchor = self.reduction.anchor[block]
            total += self._run(
                self.data.dense(block), np.arange(len(block), dtype=np.intp), self.reduction._replace(anchor=anchor),
                steps[i : i + n_batches], mixing[i : i + n_batches], batch_size,
            )  # fmt: skip
            self.reduction.anchor[block] = anchor
        return total

    def _run(self, data, order, reduction, steps, mixing, batch_size):
        it, kernel = self.iterate, kernel_for(data.X)
        X = self.rows if data is self.data else data.X
        run = run_epoch if kernel is None else kernel.run_epoch
        ceiling = GUARD * self.null_objective if self.step is None else np.inf
        through = () if self.preconditioner is None else (self.preconditioner.matrix,)
        with np.errstate(over="ignore", invalid="ignore"):  # the caller sees it
            return run(
                X, data.Y, order, data.weight, *self.conditioning, *self.loss, *self.penalty, *reduction,
                it.W, it.b, it.mean_W, it.mean_b, steps, mixing, batch_size, ceiling, self.fit_intercept, *through,
            )  # fmt: skip

    @cached_property
    def rows(self):
        """The rows as their engine takes them."""
        kernel, data = kernel_for(self.data.X), self.data
        if kernel is None or not issparse(data.X):
            return data.X
        order = np.arange(data.n_rows, dtype=np.intp) if data.kept is None else data.kept
        return kernel.ConditionedRows(data.X, order, self.conditioning.shift, self.conditioning.inv_scale)

    def reduce_variance(self):
        """Anchor every row where the reported weights stand, and go on from there: see ``_reduction``."""
        it = self.iterate
        if not it.lagging:
            it.W[...], it.b[...] = self.answer
        self.reduction = Reduction.over(self.data)
        # Sparse rows touch far more memory than they hold: there as few as the descent takes stay in cache.
        batch_size = min(self.batch_size, BLOCK_ROWS) if issparse(self.data.X) else BLOCK_ROWS
        for rows in self.data.segments():
            still = np.zeros(-(-len(rows) // batch_size))  # updates of step 0, which leave the weights alone
            self.visit(rows, still, still, batch_size)
        self.reduction.renew(self.data.n_rows)
        if self.column_squares is not None:
            self.modes = Modes.of_sample(self.data, self.conditioning, self.fit_intercept, self.column_squares)

    @property
    def foresees(self):
        """Whether the modes, once there, tell what remains to be gained: of other losses it would be a guess."""
        return self.column_squares is not None and self.data.X.shape[1] < GRAM_COLUMNS and self.loss.is_squared_error

    def curved_share(self):
        """Return the share of the weight about which the loss curves: else the derivative is at its bounds."""
        if self.loss.is_squared_error:
            return 1.0
        rows = slice(None) if self.data.kept is None else self.data.kept
        weight = 1.0 if self.data.weight is None else self.data.weight[rows, None]
        anchor = self.reduction.anchor[rows]
        within = (anchor > self.loss.low * weight) & (anchor < self.loss.high * weight)
        return max(float((within * weight).mean()), 1.0 / self.data.n_rows)

    def choose_preconditioner(self, tolerated):
        """Choose the one that leaves least after the next epoch, or none where without it little more is left.

        All rows are looked at only if more would be left than is ``tolerated``.
        """
        n, share = self.data.n_rows, self.curved_share()

        def progress(norm, eigenvalue):
            """Return the sum of the step sizes of an epoch, to be taken times the curvature."""
            step = self.step_factor * self._automatic_step(self.batch_size, norm, eigenvalue)
            return share * step * n / self.batch_size

        def best():
            gains = self.modes.gains(self.reduction.drift_W) / share
            negligible = CLEAR * tolerated if self.modes.exact else tolerated
            without = progress(*self.curvature) * self.modes.times_longer(n, self.batch_size)
            return self.modes.best(gains, negligible, progress, without, self.data.X.dtype)

        self.preconditioner = best()
        if self.preconditioner is not None and not self.modes.exact:
            self.modes = Modes.of_all_rows(self.data, self.conditioning, self.fit_intercept)
            self.preconditioner = best()

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
            return float(conditioned.sum()), float(conditioned @ (self.slope * self.unit**2))

    @cached_property
    def unit(self):
        """Units of the targets, (k,)."""
        return 1.0 / self.conditioning.target_inv_scale.astype(np.float64)

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

    def sharpest_loss(self):
        """Slope and loss over it with a kink, if it has one, as good as unsmoothed."""
        return (self.slope, self.loss) if self.terms is None else self.terms(SHARPEST * self.target_spread)[:2]

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
