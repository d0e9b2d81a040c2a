"""The loop of epochs: its history, its end, and the parameters that it reports."""

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

from .stopping import ExtrapolatedGain, Stopping

# Descent with a given step has diverged when the objective is more than DIVERGED times that of predicting zero, or of
# the start if that is larger; from a start that is so far off itself, when it rises by a factor of RISEN.
DIVERGED = 1e3
RISEN = 1.1

# Relative size of an objective that may be rounding where the targets are constant, and of what is left to gain where
# nothing moves any more.
ROUNDING = 1e-12

# Relative rise above the objective of predicting the mean that may be rounding, or 8 eps of the dtype if that is more.
ROUNDING_OF_MEAN = 1e-9

# With the automatic step, a start whose objective exceeds this many times that of predicting zero is replaced by one
# that predicts the mean.
FAR_START = 1e12


class Method(Protocol):
    """The protocol of a method of descent, which the loop runs.

    The methods are ``MiniBatchDescent``, ``DeviceDescent`` over rows on a device, and ``NewtonRounds``, ``LocalSGD``
    and ``SynchronousDescent`` on a cluster.  Objectives are in standardized units.  The bodies here are those of a
    method that makes no adjustments.
    """

    objective: Any
    standardization: Any
    batch_size: int
    n_updates: int
    current_step: float
    user_step: float | None
    zero_objective: float  # of predicting zero
    geometric: bool = False  # whether successive gains shrink by a constant factor, as without sampling noise
    reduces_variance: bool = False
    is_smoothed: bool = False  # whether a kink of the loss is smoothed, over a width that is narrowed
    is_stuck: bool = False  # whether further epochs change nothing, though the minimum may not be reached
    notes: tuple | list = ()  # what was done on the way, in words: that variance was reduced from an epoch on, and such

    @property
    def monotone(self):
        """Whether the objective only falls, by the choice of the step."""
        return self.geometric and self.user_step is None

    def epoch(self, rng, on_block=None):
        """Pass once over the rows; return the mean objective during the pass, infinite if it diverged."""

    def evaluate(self):
        """Return the ``Evaluation`` of the parameters to report."""

    def remaining_gain(self):
        """Return by how much the objective can still fall, and whether that is exact; None if it cannot be computed."""
        return None

    def confirms(self, limit):
        """Return whether no more than ``limit`` is left to gain, as far as can be told, before training stops."""
        return True

    def model_gain(self):
        """Return by how much a model of all rows can still fall; infinite where there is none."""
        return np.inf

    def snapshot(self):
        """Return the state for ``restore``; later epochs do not change the parameters that it reports."""

    def restore(self, snapshot):
        """Restore the state of a snapshot."""

    def reported(self):
        """Return the parameters to report, ``W`` and ``b``."""

    def start_objective(self):
        """Return the objective at the start."""

    def objective_scale(self):
        """Return the objective to which gains are relative."""

    def evaluate_mean(self):
        """Return the ``Evaluation`` of predicting the mean of the targets."""

    def predict_mean(self):
        """Set the parameters to those that predict the mean of the targets."""

    def compare_average(self, mean_objective, objective):
        """Compare the mean objective during an epoch with that of the parameters reported after it."""

    def adjust(self, before, after):
        """Adjust loss or step after an epoch with these objectives; return "rescaled", "overshot" or None."""
        return None

    def reduce_step(self):
        """Divide the step, where training would stop, if the schedule is adaptive; return whether it was divided."""
        return False


class EpochLosses(NamedTuple):
    """Losses of the parameters that would be reported after an epoch."""

    standardized: float  # training objective in standardized units
    objective: float  # training objective in the user's units
    validation: float = np.nan  # loss of the validation set in the user's units, NaN without one
    selection: float = np.nan  # the loss by which training stops and the best epoch is chosen


@dataclass(frozen=True)
class Result:
    """The state of training after an epoch: monitors get it, and the loop returns it."""

    history: tuple[EpochLosses, ...]
    standardization: object
    W: np.ndarray  # (k, d), parameters to report, in standardized units
    b: np.ndarray
    step: float  # step size of the newest full batch
    batch_size: int
    n_updates: int
    best_epoch: int | None = None  # by the validation loss, from 1; None without a validation set
    stop_reason: str | None = None
    predicts_mean: bool = False  # whether the mean of the targets replaced what was learnt, which was worse
    r2: float = np.nan  # training R² of squared errors
    left: float = np.nan  # gain still to come, relative to the scale of ``tol``; NaN if it is not known


def fit_loop(method, max_iter, tol, patience, rng, validation=None, monitors=()):
    """Run epochs until little is left to gain.

    Parameters
    ----------
    method : Method
    max_iter, patience : int
        Epochs at most, and consecutive epochs that must agree to stop.
    tol : float or None
        See ``Stopping``.
    rng : Generator or None
        For random orders of the rows; None visits them in their own order.
    validation : ValidationSet, default=None
        Rows whose loss stops training and chooses the best epoch, in place of the training rows.
    monitors : sequence of Monitor

    Returns
    -------
    result : Result
        Of the last complete epoch, or of the best one with a validation set.

    Raises
    ------
    ValueError
        If a given step makes training diverge.
    KeyboardInterrupt
        After Ctrl-C before the first epoch is complete.  Later the ``stop_reason`` of the result is "interrupted".
    """
    run = _Run(method, validation, monitors)
    start = method.start_objective()
    if method.user_step is None and not start <= FAR_START * method.zero_objective:
        method.predict_mean()  # differences of numbers so large would be rounding
        start = method.start_objective()
    before = start
    best_selection = start if validation is None else np.inf
    gains = ExtrapolatedGain(max_iter, method.geometric, run.is_monotone())
    stopping = Stopping(tol, patience, gains, run.scale())
    reason = None
    try:
        while reason is None:
            n_complete, state, drawn = len(run.history), method.snapshot(), rng and rng.bit_generator.state
            losses = run.epoch(rng, start, n_complete + 1)
            finished, losses = run.judge(stopping, before, best_selection, losses)
            before = losses.standardized
            best_selection = losses.selection if validation is None else run.best.loss
            reason = run.reason_to_stop(finished, max_iter)
    except KeyboardInterrupt:
        if not run.history:
            raise
        if len(run.history) == n_complete:  # in the middle of an epoch
            method.restore(state)
            if rng is not None:
                rng.bit_generator.state = drawn
        else:
            run.keep_best()
        reason = "interrupted"
    try:
        run.finish()
    except KeyboardInterrupt:  # the epochs are over: finish all the same
        run.finish()
        reason = "interrupted"
    return run.result(reason)


def fit_once(method, rng, start, call, monitors=()):
    """Make the one epoch of ``partial_fit``, which is call number ``call``; return the ``Result``.

    Divergence is judged by the objective of predicting the mean of the targets, not zero: a descent that began in an
    earlier call has come as near as that.
    """
    run = _Run(method, None, monitors)
    run.reference_objective = max(method.objective.null_value, ROUNDING * method.zero_objective)
    losses = run.epoch(rng, start, call)
    method.adjust(losses.standardized, losses.standardized)
    run.reason_to_stop(False, None)
    return run.result(None)


class Best(NamedTuple):
    """The best epoch so far by the validation loss."""

    loss: float
    epoch: int  # from 1
    snapshot: object


class _Run:
    """The state of the loop: the history of the epochs, and the best one."""

    def __init__(self, method, validation, monitors):
        self.method, self.validation, self.monitors = method, validation, monitors
        self.history, self.best = [], Best(np.inf, 0, None)
        self.predicts_mean, self.left = False, np.nan
        self.reference_objective = method.zero_objective  # that of a descent which has not diverged

    def scale(self):
        """Return the scale of ``tol``: that of the objective, or the validation loss of the training mean."""
        return self.method.objective_scale() if self.validation is None else self.validation.scale()

    def is_monotone(self):
        """Whether the selection loss only falls; the validation loss of full batches may rise."""
        return self.method.monotone and (self.validation is None or self.method.reduces_variance)

    def epoch(self, rng, start, number):
        """Make an epoch; return its losses."""
        for monitor in self.monitors:
            monitor.begin_epoch()
        mean_objective = self.method.epoch(rng, self._end_block if self.monitors else None)
        losses = self.losses()
        self._check_divergence(max(losses.standardized, mean_objective), start, number)
        self.method.compare_average(mean_objective, losses.standardized)
        self.history.append(losses)  # from here on the epoch is complete
        self.keep_best()
        return losses

    def _end_block(self):
        for monitor in self.monitors:
            monitor.end_block()

    def losses(self):
        """Return the losses of the reported parameters."""
        standardized, objective = self.method.evaluate()
        if self.validation is None:
            return EpochLosses(standardized, objective, np.nan, standardized)
        return EpochLosses(standardized, objective, *self.validation.loss(*self.method.reported()))

    def keep_best(self):
        """Keep a snapshot if the last epoch is the first, or the best by the validation loss."""
        if self.validation is None:
            return
        selection = self.history[-1].selection
        if self.best.snapshot is None or selection < self.best.loss:
            self.best = Best(selection, len(self.history), self.method.snapshot())

    def _check_divergence(self, objective, start, epoch):
        """Raise if a given step has made the descent diverge from an objective of ``start``."""
        method = self.method
        reference = max(start, self.reference_objective)
        # A start with so large an objective may be the result of a divergence: from there the objective has to fall.
        most = DIVERGED * reference if start <= DIVERGED * self.reference_objective else RISEN * start
        if method.user_step is None or (np.isfinite(objective) and objective <= most):
            return
        ratio = (
            f"{objective / reference:.3g} times that" if reference > 0 and np.isfinite(objective) else "far above that"
        )
        raise ValueError(
            f"Gradient descent diverged in epoch {epoch}, at update {method.n_updates}, with "
            f"learning_rate={method.user_step:g}: the training objective is {ratio} of predicting zero, or of the "
            "start. Use a smaller learning_rate, learning_rate='auto', or standardize=True."
        )

    def judge(self, stopping, before, best_selection, losses):
        """Adjust loss and step after an epoch; return whether it was the last, and its losses.

        ``before`` is the training objective before the epoch, ``best_selection`` the best selection loss so far.
        """
        adjusted = self.method.adjust(before, losses.standardized)
        if adjusted == "rescaled":  # the objective was replaced: start to compare again
            losses = self.losses()
            stopping.restart(self.scale())
            return False, losses
        if adjusted == "overshot":
            stopping.restart()
            return False, losses
        if self.validation is None and self.method.is_smoothed:
            stopping.scale = self.scale()  # that by which the method decides whether to narrow the smoothing
        remaining = None if self.validation is not None else self.method.remaining_gain()
        self.left = np.nan
        if remaining is not None and np.isfinite(remaining[0]):
            most = losses.standardized + float(self.method.objective.left_out.sum())
            scale = max(stopping.scale, np.finfo(np.float64).tiny)
            self.left = float(min(remaining[0], most)) / float(scale)  # may be infinite, without a warning
        finished = stopping.update(
            len(self.history), best_selection, losses.selection, self.method.n_updates, remaining
        )
        if finished and self.validation is None and not (remaining and remaining[1]):
            finished = self.method.confirms(stopping.limit)
        if self.validation is None and self.method.is_stuck and stopping.tol is not None:
            finished = True
        if self.validation is not None and stopping.tol is not None:
            waited, gain = len(self.history) - self.best.epoch >= stopping.patience, self.method.model_gain()
            if not finished:  # further epochs are the same, however few updates there were
                finished = waited and gain <= ROUNDING * self.method.objective_scale()
            elif not waited:  # an epoch may leave the loss as it was though more can be gained
                finished = not stopping.limit < gain < np.inf
        if finished and self.method.reduce_step():
            stopping.restart()
            return False, losses
        return finished, losses

    def reason_to_stop(self, finished, max_iter):
        """Call the monitors after an epoch; return the reason why it is the last one, or None."""
        if self.monitors:
            result = self.result(None)
            if any([monitor.end_epoch(result) for monitor in self.monitors]):
                return "callback"
        if finished:
            return "converged" if self.validation is None else "early_stopping"
        return "max_iter" if len(self.history) == max_iter else None

    def finish(self):
        """Set the parameters to those of the epoch to report, or of predicting the mean if that is better."""
        method, kept = self.method, len(self.history) - 1
        if self.validation is not None:
            kept = self.best.epoch - 1
            method.restore(self.best.snapshot)
        if self.validation is not None or method.is_smoothed:
            self.history[kept] = self.losses()
        if method.user_step is None:
            mean = method.evaluate_mean().standardized
            rounding = max(ROUNDING_OF_MEAN, 8.0 * np.finfo(method.standardization.shift.dtype).eps)
            if not self.history[kept].standardized <= mean * (1.0 + rounding):
                method.predict_mean()
                self.history[kept], self.predicts_mean = self.losses(), True

    def result(self, reason):
        """Return the result so far."""
        method, (W, b) = self.method, self.method.reported()
        return Result(
            tuple(self.history), method.standardization, W, b, method.current_step, method.batch_size,
            method.n_updates, self.best.epoch or None, reason, self.predicts_mean, self._r2(W), self.left,
        )  # fmt: skip

    def _r2(self, W):
        """Return the training R² of the newest epoch, NaN for other losses than the squared error."""
        objective = self.method.objective
        if not objective.loss.is_quadratic or not self.history or not objective.null_value > 0.0:
            return np.nan
        return 1.0 - (self.history[-1].standardized - float(objective.penalty.value(W).sum())) / objective.null_value
