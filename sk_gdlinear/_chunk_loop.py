"""The loop of ``fit_batches`` over epochs and their chunks, which writes the checkpoint on the way."""

from __future__ import annotations

import copy
import os
import time
from contextlib import contextmanager
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from ._checkpoint.checkpoint import Place
from ._compat import has_other_arrays
from ._fit.epochs import EpochRecord
from ._fit.monitors import VerboseMonitor, end_all
from ._fit.report import curves_after
from ._progress_bar import progress_bar

# Share of the time that may go into writing checkpoints.
CHECKPOINT_SHARE = 0.05


@contextmanager
def chunk_by_chunk(model):
    """Hide from ``partial_fit`` the parameters that ``fit_batches`` itself uses."""
    own = {"early_stopping": model.early_stopping, "verbose": model.verbose}
    model.early_stopping, model.verbose = False, 0
    try:
        yield
    finally:
        vars(model).update(own)


class _Progress(NamedTuple):
    """The epoch, the number of its chunks that are learnt, the model's state then, and the record of the epochs."""

    epoch: int
    position: int
    state: dict[str, Any] | None
    record: EpochRecord


class ChunkLoop:
    """The loop of ``fit_batches``: it learns from the chunks of each epoch, and keeps the place in the data.

    Chunks are counted in ``learnt`` after they are learnt. If Ctrl-C comes in between, the state of the model is
    already another one, and ``newest`` is the record with the chunk.

    Parameters
    ----------
    model : estimator with ``partial_fit``
    batches : iterable or callable
        The chunks of one epoch, or a function that returns them.
    epochs : int
        Epochs at most, those before ``place`` included.
    file : Checkpoint or None
        Where the model and the place are written.
    place : Place
        Where in the data the loop begins.
    judge : EpochJudge
        It decides after each epoch whether another one is made.
    """

    def __init__(self, model, batches, epochs, file, place, judge):
        self.model, self.batches, self.epochs, self.file, self.judge = model, batches, epochs, file, judge
        self.began_at = place.epoch, place.position
        self.learnt = _Progress(place.epoch, place.position, self._state(), place.record)
        self.newest = place.record
        self.past = _curves_before(model, place.record.n_epochs)
        self.resumed = file is not None and self.began_at != (0, 0)
        self.saved_at, self.save_seconds = -np.inf, 0.0
        self.names = None
        self.curves = self._curves()

    def _state(self):
        return getattr(self.model, "_state", None)

    def place(self):
        """Return the epoch, the number of its chunks that are learnt, and the record of the epochs."""
        epoch, position, state, record = self.learnt
        return (epoch, position, record) if self._state() is state else (epoch, position + 1, self.newest)

    @property
    def has_learnt(self):
        """Whether anything was learnt in this call."""
        return self.place()[:2] != self.began_at

    def run(self, validation, progress, verbose):
        """Learn from all chunks still to come, until training stops."""
        self._take_names(self.batches)
        if validation is not None and hasattr(self.model, "coef_"):
            validation.check_model(self.model)
        monitors = []
        if verbose and not self._is_over():
            monitors.append(VerboseMonitor("epoch", self.learnt.epoch + 1, has_titles=True))
        with progress_bar(progress, self.batches, self.epochs) as advance:
            try:
                while not self._is_over():
                    self._one_epoch(validation, advance, monitors)
                    self._save(0.0)
            except BaseException as error:
                epoch, position, record = self.place()
                error.add_note(f"In chunk {position + 1} of epoch {epoch + 1} of fit_batches.")
                if self.resumed:
                    error.add_note(f"The model was resumed from the checkpoint {os.fspath(self.file.path)!r}.")
                if self.has_learnt:
                    self._report(record, "interrupted")
                    self._save_after(error)
                raise
        self._finish(monitors)

    def _is_over(self):
        return Place(*self.learnt[:2], {}, self.learnt.record).is_final(self.epochs)

    def _one_epoch(self, validation, advance, monitors):
        epoch, position, _, record = self.learnt
        if hasattr(self.batches, "set_epoch"):
            self.batches.set_epoch(epoch)
        chunks = self.batches() if callable(self.batches) else self.batches
        self._take_names(chunks)
        advance(epoch, position)
        learnt = position > 0
        for chunk in islice(chunks, position, None):
            if not isinstance(chunk, tuple | list) or len(chunk) not in (2, 3):
                raise ValueError(
                    f"Chunks must be tuples (X, y) or (X, y, sample_weight), got {type(chunk).__name__}"
                    f"{f' of length {len(chunk)}' if isinstance(chunk, tuple | list) else ''}."
                )
            if _has_rows(chunk):
                if validation is not None and not hasattr(self.model, "coef_"):
                    validation.check_chunk(chunk, self.names)
                self._learn(chunk, chunks)
                learnt, record = True, self.newest
            position += 1
            self.learnt = _Progress(epoch, position, self._state(), record)
            advance(epoch, position)
            self._save(self.save_seconds / CHECKPOINT_SHARE)
        if not learnt:
            raise ValueError("batches yielded no chunk with rows. Pass at least one (X, y) per epoch.")
        record, result = self.judge.end_epoch(record)
        self.learnt, self.newest = _Progress(epoch + 1, 0, self._state(), record), record
        self.curves = self._curves()
        self._report(record, None)
        advance(epoch, position, position, result.r2)
        for monitor in monitors:
            monitor.end_epoch(result)

    def _curves(self):
        """Return the curves of the complete epochs, and the best one's place in them, as fitted attributes."""
        record = self.learnt.record
        return curves_after(self.past, record.history, record.best_epoch or None)

    def _report(self, record, reason):
        """Set the fitted attributes that are those of all epochs; the coefficients are those of the last chunk."""
        vars(self.model).update(self.curves, best_iter_=None, n_iter_=record.n_epochs, stop_reason_=reason)

    def _finish(self, monitors):
        """Set the model to the one to report, and say why training stopped."""
        record, notes = self.learnt.record, []
        reason = record.stop_reason or "epochs"
        if record.best is not None:
            vars(self.model).update(copy.deepcopy(record.best))
            notes.append(f"epoch {record.best_epoch} had the lowest validation loss")
        vars(self.model).update(self._curves(), n_iter_=record.n_epochs, stop_reason_=reason)
        end_all(monitors, reason, notes)

    def _take_names(self, batches):
        """Take the names of the features from ``batches``, if it has any; raise if they are not the model's."""
        columns = getattr(batches, "columns", None)
        if columns is None or not all(isinstance(name, str) for name in columns):
            return
        names = np.asarray(list(columns), dtype=object)
        if hasattr(self.model, "coef_"):
            known = getattr(self.model, "feature_names_in_", None)
            if known is None:  # as in scikit-learn, a model that began without names goes on without
                return
            if not np.array_equal(known, names):
                raise ValueError(
                    f"The model was trained on the features {list(known)}, but batches has the columns {list(names)}. "
                    "Pass the same ones in the same order, or train anew without warm_start and checkpoint."
                )
        self.names = names

    def _learn(self, chunk, chunks):
        """Learn from a chunk by ``partial_fit``, and set the names of its features."""
        named = self.names is not None and not hasattr(chunk[0], "columns")
        shape = getattr(chunk[0], "shape", ())
        if named and len(shape) == 2 and shape[1] != len(self.names):
            raise ValueError(f"X has {shape[1]} columns, but batches.columns names {len(self.names)}.")
        fitted, state = vars(self.model), self._state()
        try:
            if named:
                fitted.pop("feature_names_in_", None)  # it would warn of an array, which has no names
            fitted.update(loss_curve_=[], validation_loss_curve_=None)
            self.model.partial_fit(*chunk)
        except ValueError as error:
            if where := getattr(chunks, "locate_missing", lambda chunk: "")(chunk):
                raise ValueError(f"{where} {error}") from error
            raise
        finally:
            if named and hasattr(self.model, "coef_"):
                self.model.feature_names_in_ = self.names
            if self._state() is not state:
                self.newest = self.judge.with_chunk(self.learnt.record, *arrays_in_numpy(chunk[1:]))
            self._report(self.learnt.record, None)

    def _save(self, interval):
        """Write the checkpoint if the last one is ``interval`` seconds old, and the model has learnt something."""
        began = time.monotonic()
        if self.file is not None and hasattr(self.model, "coef_") and began - self.saved_at >= interval:
            self.file.save(self.model, *self.place())
            self.saved_at = time.monotonic()
            self.save_seconds = self.saved_at - began

    def _save_after(self, error):
        """Write the checkpoint; if this fails, too, add a note to the error that ended training."""
        try:
            self._save(0.0)
        except Exception as failure:
            error.add_note(f"{self.file} could not be written: {failure!r}.")


def _curves_before(model, n_epochs):
    """Return the curves of a model without their last ``n_epochs`` values."""
    curve, validation_curve = getattr(model, "loss_curve_", []), getattr(model, "validation_loss_curve_", None)
    past = slice(max(len(curve) - n_epochs, 0))
    return curve[past], None if validation_curve is None else validation_curve[past]


def arrays_in_numpy(arrays):
    """Return arrays of other libraries in NumPy, and anything else as it is."""
    if not has_other_arrays(*arrays):
        return arrays
    from ._array.checks import in_numpy

    return tuple(map(in_numpy, arrays))


def _has_rows(chunk):
    """Whether X or y of a chunk has rows; if they are not data, ``partial_fit`` raises an error."""
    shapes = (getattr(part, "shape", None) or (len(part) if hasattr(part, "__len__") else 1,) for part in chunk[:2])
    return any(shape[0] != 0 for shape in shapes)
