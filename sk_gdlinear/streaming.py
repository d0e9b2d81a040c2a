"""Epochs over data that comes in chunks: the loop around ``partial_fit``, and its progress bar."""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from numbers import Integral
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
from sklearn.base import clone
from sklearn.utils import check_scalar

from ._checkpoint.checkpoint import Checkpoint, Place
from ._compat import has_other_arrays
from ._data.rows import Rows
from ._fit.epochs import EpochJudge, EpochRecord
from ._fit.monitors import VerboseMonitor
from ._fit.report import curves_after
from ._fit.state import fitted_attributes, is_fitted

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from .base import Rows as RowsLike

# Share of the time that may go into writing checkpoints.
CHECKPOINT_SHARE = 0.05


class BatchFitting:
    """Adds ``fit_batches`` to an estimator that has ``partial_fit`` and ``warm_start``."""

    warm_start: bool
    _check_parameters: Callable[[], None]

    def fit_batches(
        self,
        batches: Iterable[Any] | Callable[[], Iterable[Any]],
        *,
        epochs: int,
        X_val: RowsLike | None = None,
        y_val: ArrayLike | None = None,
        sample_weight_val: ArrayLike | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        progress: bool = False,
    ) -> Self:
        """Fit by several passes over data that comes in chunks, such as files larger than memory.

        ``partial_fit`` learns from each chunk. Between two epochs ``tol`` and ``n_iter_no_change`` decide, as in
        ``fit``, whether another epoch is made. The model starts afresh unless ``warm_start``.

        Parameters
        ----------
        batches : iterable or callable
            The chunks of one epoch, ``(X, y)`` or ``(X, y, sample_weight)``: an iterable that can be read once per
            epoch, or a function without arguments that returns one. If it has a method ``set_epoch``, as PyTorch's
            samplers have, that is called with the number of the epoch, from 0, before each epoch, so that it can draw a
            new order of the chunks. If it has an attribute ``columns``, a list of strings, those are the names of the
            features where X is an array: they become ``feature_names_in_``. A chunk without rows is skipped.
            For squared errors on up to 512 columns the chunks may come in any order, and one epoch gives the answer of
            ``fit`` on all rows. Other losses, and wider data, need chunks that mix rows from many places, as
            ``ParquetBatches`` makes them: ``partial_fit`` shuffles the rows within a chunk only.
        epochs : int
            Passes over the chunks at most, those of a resumed checkpoint included; ``max_iter`` has no effect here.
            With ``tol=None`` all of them are made.
        X_val : {array-like, sparse matrix or array} of shape (n_val, n_features), default=None
            Validation set, in memory: its loss stops training and chooses the best epoch. Its rows are never trained
            on. It is used whatever ``early_stopping`` is.
        y_val : array-like of shape (n_val,) or (n_val, n_targets), default=None
            Its target values.
        sample_weight_val : array-like of shape (n_val,) or float, default=None
            Its weights.
        checkpoint : path, default=None
            File to which the model and its place in the data are written, so often that it takes 5 % of the time, at
            the end of every epoch, and when an error or Ctrl-C ends training. If the file exists, training continues
            from it: to the same bits as without a break if an epoch brings the same chunks again, of which those
            already learnt are read and skipped. After ``epochs`` epochs, or if training had stopped before, nothing is
            left to do. The file contains plain values and no code, and is always complete. A relative path is relative
            to the current directory at the call. During training a second file, of the same name and ``.lock``, keeps
            other processes from using it.
        progress : bool, default=False
            Whether to show a progress bar; needs rich.

        Returns
        -------
        self : estimator
            The fitted model, that of the last epoch, or of the best one with a validation set. ``n_iter_`` is the
            number of epochs made, those of the checkpoint included. ``loss_curve_``, and with a validation set
            ``validation_loss_curve_``, have one value per epoch. ``best_iter_`` and ``stop_reason_`` are as after
            ``fit``, with the reason "epochs" in place of "max_iter", see Notes.

        Raises
        ------
        ValueError
            If the chunks are unfit for use, or the checkpoint is damaged, another file, or one of another estimator,
            other parameters (except ``verbose`` and ``n_jobs``) or another validation set. The model then keeps what it
            had learnt from the chunks before, and ``stop_reason_`` is "interrupted"; if there were none, it is as it
            was. The same holds for Ctrl-C and for all other errors.
            If the validation set does not fit the chunks, or if ``early_stopping=True`` and there is none: a chunk may
            bring a row at another place in every epoch, so ``validation_fraction`` of the rows cannot be held out. The
            model is then as it was.
        OSError
            If the checkpoint cannot be written; if its directory is unfit for it, this is raised before any chunk is
            read. If another process is using the checkpoint, a ``BlockingIOError`` that names it, also before any
            chunk.
        TypeError
            If the model contains a value that a checkpoint cannot, as a subclass may: one that is not plain.

        Warns
        -----
        RuntimeWarning
            If the checkpoint is on a file system without locks.

        Notes
        -----
        For squared errors a stream remembers the second moments of all rows (see ``partial_fit``). They determine the
        objective over all rows, which ``loss_curve_`` then contains, and by how much an epoch has lowered it. If that
        is at most ``tol`` of R², another epoch would gain as little, and ``stop_reason_`` is "converged". This is after
        the second epoch, if it brings the rows of the first.

        Where no second moments are remembered, the rows of an epoch are gone when it ends. ``loss_curve_`` then
        contains the mean of the objectives of the chunks, each with the coefficients just learnt from it, and training
        stops when the gain still to be expected, extrapolated from the last epochs as in ``fit``, is at most ``tol``.
        That is no proof of convergence, so ``stop_reason_`` is then "no_change".

        With a validation set training stops by the validation loss, as in ``fit``, and ``stop_reason_`` is
        "early_stopping". If training has not stopped before, it is "epochs" after ``epochs`` epochs.

        Examples
        --------
        >>> import numpy as np
        >>> from sk_gdlinear import GDLinearRegressor
        >>> X = np.arange(12.0).reshape(-1, 1)
        >>> chunks = [(X[rows], 3 * X[rows, 0] + 1) for rows in (slice(0, 12, 2), slice(1, 12, 2))]
        >>> model = GDLinearRegressor(random_state=0).fit_batches(chunks, epochs=200)
        >>> round(float(model.predict([[20.0]])[0]), 1)
        61.0
        >>> model.n_iter_, model.stop_reason_
        (2, 'converged')

        With a validation set:

        >>> model = GDLinearRegressor("huber", random_state=0)
        >>> model = model.fit_batches(chunks, epochs=50, X_val=[[20.0], [30.0]], y_val=[61.0, 91.0])
        >>> len(model.loss_curve_) == len(model.validation_loss_curve_) == model.n_iter_
        True
        """
        check_scalar(epochs, "epochs", Integral, min_val=1)
        if isinstance(batches, Iterator):
            raise TypeError(
                "batches is an iterator, used up after one epoch. Pass a function that returns a fresh one, or an "
                "iterable such as a list."
            )
        self._check_parameters()
        validation = _validation_set(self, X_val, y_val, sample_weight_val)
        file = None if checkpoint is None else Checkpoint(checkpoint, self, validation and validation.rows)
        place = None if file is None else file.load()
        if file is None or (place is not None and place.is_final(epochs)):
            return self._go_on_from(place, batches, epochs, None, progress, validation)
        with file.locked():
            return self._go_on_from(file.load(), batches, epochs, file, progress, validation)

    def _go_on_from(self, place, batches, epochs, file, progress, validation):
        """Learn from the chunks after ``place``, or from all; if nothing is learnt, leave the model as it was."""
        before, run = self.__dict__, None
        fitted = (fitted_attributes(self) if self.warm_start else {}) if place is None else place.fitted
        try:
            # One assignment, so that Ctrl-C never leaves a model half emptied.
            self.__dict__ = {name: value for name, value in before.items() if not is_fitted(name)} | fitted
            judge = EpochJudge(self, validation and validation.rows)
            run = _Run(self, batches, epochs, file, place or Place(0, 0, fitted, judge.first_record()), judge)
            with _chunk_by_chunk(self):
                run.run(validation, progress, before["verbose"])
        finally:
            if not hasattr(self, "coef_") or (place is None and (run is None or not run.has_learnt)):
                self.__dict__ = before
        return self


@contextmanager
def _chunk_by_chunk(model):
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


class _Run:
    """The loop of epochs, and its place in the data.

    Chunks are counted in ``learnt`` after they are learnt.  If Ctrl-C comes in between, the state of the model is
    already another one, and ``newest`` is the record with the chunk.
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
        for monitor in monitors:
            monitor.end(reason, notes)

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
                self.newest = self.judge.with_chunk(self.learnt.record, *_in_numpy(chunk[1:]))
            self._report(self.learnt.record, None)

    def _save(self, interval):
        """Write the checkpoint if the last one is ``interval`` seconds old."""
        began = time.monotonic()
        if self.file is not None and began - self.saved_at >= interval:
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


class _ValidationSet(NamedTuple):
    """A validation set before the first chunk is known."""

    rows: Rows
    flat: bool  # whether y_val is 1-D
    names: Sequence[str] | None  # of its columns

    def check_model(self, model):
        """Raise if it does not fit the data on which the model was fitted."""
        shape = np.shape(model.coef_)
        self._check(shape[-1], shape[:-1], getattr(model, "feature_names_in_", None), "the model was fitted on")

    def check_chunk(self, chunk, names):
        """Raise if it does not fit the first chunk; ``partial_fit`` raises if the chunk is not data."""
        try:
            X_shape, y_shape = np.shape(chunk[0]), np.shape(chunk[1])
        except ValueError:
            return
        if len(X_shape) == 2 and len(y_shape) in (1, 2):
            self._check(X_shape[1], y_shape[1:], getattr(chunk[0], "columns", names), "the chunks have")

    def _check(self, d, targets, names, who):
        (_, d_val), cure = self.rows.X.shape, "Pass X_val with the same columns in the same order."
        if d_val != d:
            raise ValueError(f"X_val has {d_val} features, but {who} {d}. {cure}")
        if self.names is not None and names is not None and list(names) != list(self.names):
            raise ValueError(f"X_val has the columns {list(self.names)}, but {who} {list(names)}. {cure}")
        targets_val = () if self.flat else self.rows.Y.shape[1:]
        if targets_val != targets:
            raise ValueError(
                "y_val must have the dimensions and targets of y: got rows of shapes "
                f"{targets_val} and {tuple(targets)}. Pass y_val as the y of a chunk is, with other rows."
            )


def _validation_set(model, X_val, y_val, sample_weight_val):
    """Return the validation set, checked as far as it can be without a chunk; None if there is none."""
    given = X_val, y_val, sample_weight_val
    if all(a is None for a in given):
        if model.early_stopping:
            raise ValueError(
                f"early_stopping=True lets fit hold out validation_fraction={model.validation_fraction:g} of the rows, "
                "but a chunk may bring a row at another place in every epoch. Pass X_val and y_val to fit_batches, "
                "rows that are in no chunk, or set early_stopping=False."
            )
        return None
    apart = clone(model)  # its features are not yet known
    X, Y, weight, flat = apart._checked_validation(*_in_numpy(given), reset=True)
    return _ValidationSet(Rows(X, Y, weight), flat, getattr(apart, "feature_names_in_", None))


def _in_numpy(arrays):
    """Return arrays of other libraries in NumPy, and anything else as it is."""
    if not has_other_arrays(*arrays):
        return arrays
    from ._array.checks import in_numpy

    return tuple(map(in_numpy, arrays))


def _has_rows(chunk):
    """Whether X or y of a chunk has rows; if they are not data, ``partial_fit`` raises an error."""
    shapes = (getattr(part, "shape", None) or (len(part) if hasattr(part, "__len__") else 1,) for part in chunk[:2])
    return any(shape[0] != 0 for shape in shapes)


@contextmanager
def progress_bar(shown, batches, epochs):
    """Yield a function ``(epoch, position, total=None, r2=nan)`` that moves the bar, or does nothing.

    At the end of an epoch the number of its chunks is known, and for squared errors R².
    """
    if not shown:
        yield lambda *args: None
        return
    try:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
    except ImportError as error:
        raise ImportError("progress=True needs rich: pip install 'sk_gdlinear[files]'.") from error
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("chunks")
    with Progress(*columns, TimeElapsedColumn()) as bar:
        task = bar.add_task("", total=len(batches) if hasattr(batches, "__len__") else None)
        shown_r2 = ""

        def advance(epoch, position, total=None, r2=np.nan):
            nonlocal shown_r2
            shown_r2 = f", R2 {r2:.6f}" if np.isfinite(r2) else shown_r2
            known = {} if total is None else {"total": total}
            bar.update(task, description=f"epoch {epoch + 1}/{epochs}{shown_r2}", completed=position, **known)

        yield advance
