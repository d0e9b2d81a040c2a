"""Fitting by epochs over data that comes in chunks: ``fit_batches``, and the check of its arguments."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from numbers import Integral
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
from sklearn.base import clone
from sklearn.utils import check_scalar

from ._checkpoint.checkpoint import Checkpoint, Place
from ._chunk_loop import ChunkLoop, arrays_in_numpy, chunk_by_chunk
from ._data.rows import Rows
from ._fit.epochs import EpochJudge
from ._fit.state import fitted_attributes, is_fitted

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from .base import Rows as RowsLike


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
        before, loop = self.__dict__, None
        fitted = (fitted_attributes(self) if self.warm_start else {}) if place is None else place.fitted
        try:
            # One assignment, so that Ctrl-C never leaves a model half emptied.
            self.__dict__ = {name: value for name, value in before.items() if not is_fitted(name)} | fitted
            judge = EpochJudge(self, validation and validation.rows)
            loop = ChunkLoop(self, batches, epochs, file, place or Place(0, 0, fitted, judge.first_record()), judge)
            with chunk_by_chunk(self):
                loop.run(validation, progress, before["verbose"])
        finally:
            if not hasattr(self, "coef_") or (place is None and (loop is None or not loop.has_learnt)):
                self.__dict__ = before
        return self


class _UncheckedValidationSet(NamedTuple):
    """The validation set of ``fit_batches``, of which it is not yet known whether it fits the chunks.

    It is checked against the model if that is fitted, and otherwise against the first chunk.
    """

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
    X, Y, weight, flat = apart._checked_validation(*arrays_in_numpy(given), reset=True)
    return _UncheckedValidationSet(Rows(X, Y, weight), flat, getattr(apart, "feature_names_in_", None))
