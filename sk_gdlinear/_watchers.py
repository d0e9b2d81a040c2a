"""What the world is told of a fit while it runs: printed lines, and scikit-learn's callbacks."""

import time

import numpy as np

from ._compat import callback_context

# Pieces of 65,536 rows from which an epoch is so long that callbacks hear of each.
LONG_EPOCH = 16


class Watcher:
    """Is told of each epoch; the base class does nothing."""

    def begin_epoch(self):
        """Take note that an epoch begins."""

    def end_segment(self):
        """Take note that a piece of a long epoch is done."""

    def end_epoch(self, descent):
        """Take note that an epoch is complete; return whether it shall be the last one."""
        return False

    def end(self):
        """Take note that the fitted attributes are set."""


class Printer(Watcher):
    """Prints a line per epoch, or per call of ``partial_fit``, the first of which is number ``number``."""

    def __init__(self, title="epoch", number=1):
        self.number = number
        self.began = time.perf_counter()
        if number == 1:
            print(f"{title:>6} {'objective':>14} {'validation':>14} {'step':>12} {'seconds':>9}")

    def end_epoch(self, descent):
        """Print the losses of the epoch, the step, and the seconds since the start of the call."""
        losses = descent.history[-1]
        validation = "-" if np.isnan(losses.validation) else f"{losses.validation:.6g}"
        seconds = time.perf_counter() - self.began
        step = descent.current_step
        print(f"{self.number:>6} {losses.objective:>14.6g} {validation:>14} {step:>12.4g} {seconds:>9.3f}")
        self.number += 1
        return False


class Callbacks(Watcher):
    """Hands scikit-learn's callbacks a task per epoch, and a subtask per piece of a long epoch.

    They see the X and y that the user gave, with the estimator as it would be if training ended there.

    Parameters
    ----------
    estimator : GDLinearRegressor
    X, y : array-like
        As given to ``fit`` or ``partial_fit``.
    sample_weight : ndarray or None
    attributes : callable
        From nothing to the fitted attributes of the moment, as a dict.
    task_name : str
    max_epochs : int
        Epochs at most; 0 for a task without, such as ``partial_fit``.
    n_pieces : int
        Pieces of an epoch, for each of which a long epoch opens a task.
    """

    def __init__(self, estimator, X, y, sample_weight, attributes, task_name, max_epochs, n_pieces):
        metadata = None if sample_weight is None else {"sample_weight": sample_weight}
        self.task = {"estimator": estimator, "X": X, "y": y, "metadata": metadata}
        self.attributes, self.epoch = attributes, None
        self.pieces = n_pieces if n_pieces >= LONG_EPOCH else 0
        self.fit = callback_context(estimator, task_name, max_epochs)
        self.fit.call_on_fit_task_begin(**self.task)

    def begin_epoch(self):
        """Open the epoch's task."""
        self.epoch = self.fit.subcontext(task_name="epoch", max_subtasks=self.pieces)
        self.epoch.call_on_fit_task_begin(**self.task)

    def end_segment(self):
        """Open and close the task of a piece, for progress bars; it has no model to show."""
        if self.pieces:
            piece = self.epoch.subcontext(task_name="rows").call_on_fit_task_begin(**self.task)
            piece.call_on_fit_task_end(**self.task)

    def end_epoch(self, descent):
        """Close the epoch's task; return whether a callback asks to stop."""
        if self.epoch is None:  # a task of no epochs
            return False
        return self.epoch.call_on_fit_task_end(**self.task, reconstruction_attributes=self.attributes)

    def end(self):
        """Close the task of the whole fit."""
        self.fit.call_on_fit_task_end(**self.task, reconstruction_attributes={})
