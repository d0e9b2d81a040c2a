"""Epochs over data that comes in chunks: the loop around ``partial_fit``, its progress bar and its checkpoint."""

from __future__ import annotations

import os
import pickle
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from numbers import Integral
from pathlib import Path
from typing import Any, Self

import numpy as np
from sklearn.utils import check_scalar

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
            order of the chunks. ``partial_fit`` shuffles the rows within a chunk; rows sorted by the target need
            chunks that mix rows from many places, as ``ParquetBatches`` makes them.
        epochs : int
            Passes over the chunks, those of a resumed checkpoint included.
        checkpoint : path, default=None
            File in which the model and its place in the data are kept up to date, written as often as takes 5 % of
            the time, at every end of an epoch and when an error or Ctrl-C ends training. Where the file exists
            training goes on from there: to the same bits as without a break if an epoch brings the same chunks again,
            of which those already learnt are read and skipped. After ``epochs`` epochs nothing is left to do. It is a
            pickle: load only your own.
        progress : bool, default=False
            Whether to show a progress bar; needs rich.

        Returns
        -------
        self : estimator
            The fitted model; ``n_iter_`` holds the epochs made, ``epochs`` or those of a checkpoint that has more, and
            ``loss_curve_`` one value per chunk.

        Raises
        ------
        ValueError
            If the chunks are unfit for use, or the checkpoint is not one of this model. The model then holds what it
            had learnt from the chunks before; if there were none, it is as it was.
        OSError
            If the checkpoint cannot be written; where its directory is unfit for it, before any chunk is read.

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
        before = vars(self).copy()
        epoch, position = 0, 0
        if checkpoint is not None and os.path.exists(checkpoint):
            epoch, position, fitted = load_checkpoint(checkpoint, self)
        else:
            fitted = _fitted(self) if self.warm_start else {}
        if checkpoint is not None and epoch < epochs:
            check_directory(checkpoint)
        for name in _fitted(self):
            delattr(self, name)
        vars(self).update(fitted)
        try:
            _Run(self, batches, epochs, checkpoint, epoch, position).run(progress)
        finally:
            if not hasattr(self, "coef_"):  # nothing was learnt
                vars(self).clear()
                vars(self).update(before)
        self.n_iter_ = max(epoch, epochs)
        return self


class _Run:
    """The loop of epochs, and its place in the data: ``position`` chunks of epoch ``epoch`` are learnt."""

    def __init__(self, model, batches, epochs, checkpoint, epoch, position):
        self.model, self.batches, self.epochs, self.checkpoint = model, batches, epochs, checkpoint
        self.epoch, self.position = epoch, position
        self.saved_at, self.save_seconds = -np.inf, 0.0

    def run(self, progress):
        """Learn from all chunks still to come."""
        resumed = (self.epoch, self.position) != (0, 0)
        with progress_bar(progress, self.batches, self.epochs) as advance:
            try:
                while self.epoch < self.epochs:
                    self._one_epoch(resumed, advance)
                    self.epoch, self.position = self.epoch + 1, 0
                    self._save(0.0)
            except BaseException as error:
                error.add_note(f"In chunk {self.position + 1} of epoch {self.epoch + 1} of fit_batches.")
                if resumed:
                    error.add_note(f"The model was resumed from the checkpoint {os.fspath(self.checkpoint)!r}.")
                if hasattr(self.model, "coef_"):
                    self._save_after(error)
                raise

    def _one_epoch(self, resumed, advance):
        if hasattr(self.batches, "set_epoch"):
            self.batches.set_epoch(self.epoch)
        chunks = self.batches() if callable(self.batches) else self.batches
        advance(self.epoch, self.position)
        for chunk in islice(chunks, self.position, None):
            if not isinstance(chunk, tuple | list) or len(chunk) not in (2, 3):
                raise ValueError(
                    f"Chunks must be tuples (X, y) or (X, y, sample_weight), got {type(chunk).__name__}"
                    f"{f' of length {len(chunk)}' if isinstance(chunk, tuple | list) else ''}."
                )
            self.model.partial_fit(*chunk)
            self.position += 1
            advance(self.epoch, self.position)
            self._save(self.save_seconds / CHECKPOINT_SHARE)
        if self.position == 0:
            raise ValueError("batches yielded no chunk. Pass at least one (X, y) per epoch.")

    def _save(self, interval):
        """Write the checkpoint if the last one is ``interval`` seconds old."""
        began = time.monotonic()
        if self.checkpoint is not None and began - self.saved_at >= interval:
            save_checkpoint(self.checkpoint, self.model, self.epoch, self.position)
            self.saved_at = time.monotonic()
            self.save_seconds = self.saved_at - began

    def _save_after(self, error):
        """Write the checkpoint; that this fails, too, is only a note on what ended training."""
        try:
            self._save(0.0)
        except Exception as failure:
            error.add_note(f"The checkpoint {os.fspath(self.checkpoint)!r} could not be written: {failure!r}.")


def check_directory(path):
    """Raise if no checkpoint can be written at ``path``."""
    directory = Path(path).parent
    if not (directory.is_dir() and os.access(directory, os.W_OK)):
        raise OSError(
            f"The checkpoint {os.fspath(path)!r} cannot be written: {os.fspath(directory)!r} is not a directory in "
            "which files can be made. Make it, or name a file elsewhere."
        )


def save_checkpoint(path, model, epoch, position):
    """Write the fitted model and its place in the data; the file is always whole, whenever the process ends."""
    content = {
        "parameters": model.get_params(),
        "fitted": _fitted(model),
        "epoch": epoch,
        "position": position,
    }
    path = Path(path)
    fresh = path.with_name(f"{path.name}.tmp")
    try:
        with open(fresh, "wb") as file:
            pickle.dump(content, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)


def load_checkpoint(path, model):
    """Return the epoch, the position in it and the fitted attributes that ``save_checkpoint`` wrote for ``model``."""
    try:
        content = pickle.loads(Path(path).read_bytes())
        epoch, position, fitted = content["epoch"], content["position"], content["fitted"]
        then = content["parameters"]
    except (pickle.UnpicklingError, EOFError, LookupError, TypeError, ValueError, AttributeError, ImportError) as error:
        raise ValueError(f"{os.fspath(path)!r} is not a checkpoint of fit_batches. Name another file.") from error
    now = model.get_params()
    changed = [
        f"{name}={then.get(name)!r}, now {now.get(name)!r}"
        for name in sorted(then.keys() | now.keys())
        if not _same(then.get(name), now.get(name))
    ]
    if changed:
        raise ValueError(
            f"The checkpoint {os.fspath(path)!r} is one of other parameters: {'; '.join(changed)}. Set them as they "
            "were, or name another file to start anew."
        )
    return epoch, position, fitted


def _same(value, other):
    """Whether two values of a parameter are the same; a RandomState moves on when used, so any equals any."""
    if isinstance(value, np.random.RandomState):
        return isinstance(other, np.random.RandomState)
    return type(value) is type(other) and np.array_equal(value, other)


def _fitted(model):
    """Return what training has set, by scikit-learn's naming, and the state that carries on."""
    return {name: value for name, value in vars(model).items() if name.endswith("_") or name == "_state"}


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
