"""Monitors of a fit while it runs: printed lines, and scikit-learn's callbacks."""

import time

import numpy as np

# Blocks from which an epoch is so long that callbacks are called for each block.
LONG_EPOCH = 16


class Monitor:
    """Base class of objects whose methods are called during a fit; these do nothing."""

    def begin_epoch(self):
        """Handle the beginning of an epoch."""

    def end_block(self):
        """Handle the end of a block of rows."""

    def end_epoch(self, result):
        """Handle the end of an epoch, with the ``Result`` so far; return whether training should stop."""
        return False

    def end(self, stop_reason, notes):
        """Handle the end of the call, when the fitted attributes are set; ``notes`` are those of the method."""


def end_all(monitors, stop_reason, notes):
    """Call ``end`` of every monitor."""
    for monitor in monitors:
        monitor.end(stop_reason, notes)


class VerboseMonitor(Monitor):
    """Prints a line per epoch, or per call of ``partial_fit``, the first of which is number ``number``.

    A line of titles comes first; by default before number 1 only.
    """

    def __init__(self, title="epoch", number=1, has_titles=None):
        self.number = number
        self.began = time.perf_counter()
        if number == 1 if has_titles is None else has_titles:
            print(f"{title:>6} {'objective':>14} {'R2':>9} {'left':>9} {'validation':>14} {'step':>12} {'seconds':>9}")

    def end_epoch(self, result):
        """Print the losses of the epoch, what is left to gain, the step, and the seconds since the call began."""
        losses = result.history[-1]
        r2, left = _number(result.r2, "9.6f"), _number(result.left, "9.1e")
        seconds = time.perf_counter() - self.began
        print(
            f"{self.number:>6} {losses.objective:>14.6g} {r2} {left} {_number(losses.validation, '14.6g')} "
            f"{result.step:>12.4g} {seconds:>9.3f}"
        )
        self.number += 1
        return False

    def end(self, stop_reason, notes):
        """Print why ``fit`` stopped, and what it did on the way."""
        if stop_reason is not None:
            print("; ".join((f"stopped: {stop_reason}", *notes)))


def _number(value, form):
    """Return a number in a format, or a dash of its width for NaN."""
    return "-".rjust(int(form.split(".")[0])) if np.isnan(value) else format(value, form)


class CallbackMonitor(Monitor):
    """Opens a task per epoch for scikit-learn's callbacks, and a subtask per block of a long epoch.

    They get the X and y that the user passed, and the estimator as it would be if training ended there.

    Parameters
    ----------
    estimator : BaseEstimator
    given : tuple
        X and y as given to ``fit`` or ``partial_fit``, and the validated sample weights or None.
    attributes : callable
        From a ``Result`` to the fitted attributes, as a dict.
    context : sklearn.callback.CallbackContext
        The task of the whole fit.
    max_epochs : int
        Epochs at most; 0 for a task without epochs, such as ``partial_fit``.
    n_blocks : int
        Blocks of an epoch, for each of which a long epoch opens a task.
    """

    def __init__(self, estimator, given, attributes, context, max_epochs, n_blocks):
        X, y, sample_weight = given
        metadata = None if sample_weight is None else {"sample_weight": sample_weight}
        self.task = {"estimator": estimator, "X": X, "y": y, "metadata": metadata}
        self.attributes, self.max_epochs, self.epoch = attributes, max_epochs, None
        self.n_blocks = n_blocks if n_blocks >= LONG_EPOCH else 0
        self.fit = context
        self.fit.call_on_fit_task_begin(**self.task)

    def begin_epoch(self):
        """Open the epoch's task."""
        if self.max_epochs:
            self.epoch = self.fit.subcontext(task_name="epoch", max_subtasks=self.n_blocks)
            self.epoch.call_on_fit_task_begin(**self.task)

    def end_block(self):
        """Open and close the task of a block, for progress bars; it has no model."""
        if self.n_blocks and self.epoch is not None:
            block = self.epoch.subcontext(task_name="rows").call_on_fit_task_begin(**self.task)
            block.call_on_fit_task_end(**self.task)

    def end_epoch(self, result):
        """Close the epoch's task; return whether a callback returned True, which stops training."""
        if self.epoch is None:  # a task without epochs
            return False
        return self.epoch.call_on_fit_task_end(**self.task, reconstruction_attributes=lambda: self.attributes(result))

    def end(self, stop_reason, notes):
        """Close the task of the whole fit."""
        self.fit.call_on_fit_task_end(**self.task, reconstruction_attributes={})
