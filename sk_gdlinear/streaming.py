"""Epochs over data that comes in chunks: the loop around ``partial_fit``, and its progress bar."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from numbers import Integral
from typing import Any, Self

import numpy as np
from sklearn.utils import check_scalar

from ._checkpoint.checkpoint import Checkpoint, Place, fitted_attributes, is_fitted

# Share of the time that may go into writing checkpoints.
CHECKPOINT_SHARE = 0.05


class BatchFitting:
    """Adds ``fit_batches`` to an estimator that has ``partial_fit`` and ``warm_start``."""

    warm_start: bool

    def fit_batches(
        self,
        batches: Iterable[Any] | Callable[[], Iterable[Any]],
        *,
        epochs: int,
        checkpoint: str | os.PathLike[str] | None = None,
        progress: bool = False,
    ) -> Self:
        """Fit by several passes over data that comes in chunks, such as files larger than memory.

        Each chunk is handed to ``partial_fit``; nothing else is done. The model starts afresh unless ``warm_start``.

        Parameters
        ----------
        batches : iterable or callable
            The chunks of one epoch, ``(X, y)`` or ``(X, y, sample_weight)``: an iterable that can be read once per
            epoch, or a function without arguments that returns one. If it has a method ``set_epoch``, as PyTorch's
            samplers have, that is called with the number of the epoch, from 0, before each: the place to draw a new
            order of the chunks. If it has an attribute ``columns``, a list of strings, those are the names of the
            features where X is an array: they become ``feature_names_in_``. A chunk without rows is skipped.
            For squared errors on up to 512 columns the chunks may come in any order, and one epoch
            has the answer of ``fit`` on all rows. Other losses, and wider data, need chunks that mix rows from many
            places, as ``ParquetBatches`` makes them: ``partial_fit`` shuffles the rows within a chunk only.
        epochs : int
            Passes over the chunks, those of a resumed checkpoint included.
        checkpoint : path, default=None
            File in which the model and its place in the data are kept up to date, written as often as takes 5 % of
            the time, at every end of an epoch and when an error or Ctrl-C ends training. Where the file exists
            training goes on from there: to the same bits as without a break if an epoch brings the same chunks again,
            of which those already learnt are read and skipped. After ``epochs`` epochs nothing is left to do. The file
            holds plain values and no code, and is always whole. A relative path is taken from the current directory
            at the call. While training goes on a second file, of the same name and ``.lock``, keeps other processes
            from it.
        progress : bool, default=False
            Whether to show a progress bar; needs rich.

        Returns
        -------
        self : estimator
            The fitted model; ``n_iter_`` holds the epochs made, ``epochs`` or those of a checkpoint that has more, and
            ``loss_curve_`` one value per chunk, the newest 10,000.

        Raises
        ------
        ValueError
            If the chunks are unfit for use, or the checkpoint is damaged, another file, or one of another estimator or
            other parameters (``verbose`` and ``n_jobs`` aside). The model then holds what it had learnt from the
            chunks before; if there were none, it is as it was. The same holds for Ctrl-C and for all other errors.
        OSError
            If the checkpoint cannot be written; where its directory is unfit for it, before any chunk is read. Also
            before any chunk, as a ``BlockingIOError`` that names the process, if another one is using the checkpoint.
        TypeError
            If the model holds a value that is not plain, as that of a subclass may, which a checkpoint cannot hold.

        Warns
        -----
        RuntimeWarning
            If the checkpoint is on a file system without locks.

        Examples
        --------
        >>> import numpy as np
        >>> from sk_gdlinear import GDLinearRegressor
        >>> X = np.arange(12.0).reshape(-1, 1)
        >>> chunks = [(X[rows], 3 * X[rows, 0] + 1) for rows in (slice(0, 12, 2), slice(1, 12, 2))]
        >>> model = GDLinearRegressor(random_state=0).fit_batches(chunks, epochs=200)
        >>> round(float(model.predict([[20.0]])[0]), 1)
        61.0
        """
        check_scalar(epochs, "epochs", Integral, min_val=1)
        if isinstance(batches, Iterator):
            raise TypeError(
                "batches is an iterator, used up after one epoch. Pass a function that returns a fresh one, or an "
                "iterable such as a list."
            )
        file = None if checkpoint is None else Checkpoint(checkpoint, self)
        place = None if file is None else file.load()
        if file is None or (place is not None and place.epoch >= epochs):
            return self._go_on_from(place, batches, epochs, None, progress)
        with file.locked():
            return self._go_on_from(file.load(), batches, epochs, file, progress)

    def _go_on_from(self, place, batches, epochs, file, progress):
        """Learn from the chunks behind ``place``, or from all; if nothing is learnt stay as before."""
        if place is None:
            place = Place(0, 0, fitted_attributes(self) if self.warm_start else {})
        before = self.__dict__
        try:
            # One assignment, so that Ctrl-C never meets a model half emptied.
            self.__dict__ = {name: value for name, value in before.items() if not is_fitted(name)} | place.fitted
            _Run(self, batches, epochs, file, place).run(progress)
            self.n_iter_ = max(place.epoch, epochs)
        finally:
            if not hasattr(self, "coef_"):  # nothing was learnt
                self.__dict__ = before
        return self


class _Run:
    """The loop of epochs, and its place in the data.

    ``learnt`` is the epoch, the number of its chunks that are learnt, and the model's state then. Chunks are counted
    after they are learnt; where Ctrl-C comes in between, the state is another one already.
    """

    def __init__(self, model, batches, epochs, file, place):
        self.model, self.batches, self.epochs, self.file = model, batches, epochs, file
        self.learnt = (place.epoch, place.position, self._state())
        self.resumed = file is not None and (place.epoch, place.position) != (0, 0)
        self.saved_at, self.save_seconds = -np.inf, 0.0
        self.names = None

    def _state(self):
        return getattr(self.model, "_state", None)

    def place(self):
        """Return the epoch, and the number of its chunks that are learnt."""
        epoch, position, state = self.learnt
        return epoch, position + (self._state() is not state)

    def run(self, progress):
        """Learn from all chunks still to come."""
        self._take_names(self.batches)
        with progress_bar(progress, self.batches, self.epochs) as advance:
            try:
                while self.learnt[0] < self.epochs:
                    self._one_epoch(advance)
                    self._save(0.0)
            except BaseException as error:
                epoch, position = self.place()
                error.add_note(f"In chunk {position + 1} of epoch {epoch + 1} of fit_batches.")
                if self.resumed:
                    error.add_note(f"The model was resumed from the checkpoint {os.fspath(self.file.path)!r}.")
                if hasattr(self.model, "coef_"):
                    self._save_after(error)
                raise

    def _one_epoch(self, advance):
        epoch, position, _ = self.learnt
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
                self._learn(chunk, chunks)
                learnt = True
            position += 1
            self.learnt = (epoch, position, self._state())
            advance(epoch, position)
            self._save(self.save_seconds / CHECKPOINT_SHARE)
        if not learnt:
            raise ValueError("batches yielded no chunk with rows. Pass at least one (X, y) per epoch.")
        self.learnt = (epoch + 1, 0, self._state())

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
        """Hand a chunk to ``partial_fit``, and the names of its features to the model."""
        named = self.names is not None and not hasattr(chunk[0], "columns")
        shape = getattr(chunk[0], "shape", ())
        if named and len(shape) == 2 and shape[1] != len(self.names):
            raise ValueError(f"X has {shape[1]} columns, but batches.columns names {len(self.names)}.")
        try:
            if named:
                vars(self.model).pop("feature_names_in_", None)  # it would warn of an array, which has no names
            self.model.partial_fit(*chunk)
        except ValueError as error:
            if where := getattr(chunks, "locate_missing", lambda chunk: "")(chunk):
                raise ValueError(f"{where} {error}") from error
            raise
        finally:
            if named and hasattr(self.model, "coef_"):
                self.model.feature_names_in_ = self.names

    def _save(self, interval):
        """Write the checkpoint if the last one is ``interval`` seconds old."""
        began = time.monotonic()
        if self.file is not None and began - self.saved_at >= interval:
            self.file.save(self.model, *self.place())
            self.saved_at = time.monotonic()
            self.save_seconds = self.saved_at - began

    def _save_after(self, error):
        """Write the checkpoint; that this fails, too, is only a note on what ended training."""
        try:
            self._save(0.0)
        except Exception as failure:
            error.add_note(f"{self.file} could not be written: {failure!r}.")


def _has_rows(chunk):
    """Whether X or y of a chunk has rows; what is no data at all is left to ``partial_fit``, which says so."""
    shapes = (getattr(part, "shape", None) or (len(part) if hasattr(part, "__len__") else 1,) for part in chunk[:2])
    return any(shape[0] != 0 for shape in shapes)


@contextmanager
def progress_bar(shown, batches, epochs):
    """Yield a function ``(epoch, position)`` that moves the bar, or does nothing."""
    if not shown:
        yield lambda epoch, position: None
        return
    try:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
    except ImportError as error:
        raise ImportError("progress=True needs rich: pip install 'sk_gdlinear[files]'.") from error
    total = len(batches) if hasattr(batches, "__len__") else None
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("chunks")
    with Progress(*columns, TimeElapsedColumn()) as bar:
        task = bar.add_task("", total=total)
        yield lambda epoch, position: bar.update(task, description=f"epoch {epoch + 1}/{epochs}", completed=position)
