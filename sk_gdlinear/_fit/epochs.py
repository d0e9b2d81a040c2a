"""What is judged between two epochs over chunks: their losses, the best epoch, and whether to go on.

The estimator learns chunk by chunk, so the rows of an epoch are gone when it ends.  If a stream remembers second
moments, these determine the objective of all remembered rows.  Otherwise the objective of an epoch is the mean over
its chunks, each with the parameters just after it was learnt.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from .._data.standardize import Standardization
from .._data.statistics import Moments, StreamStatistics
from .._data.threads import n_numbers, threads
from .._descent.backend import choose_backend
from .._objective.evaluate import typical_loss
from .._objective.losses import SquaredError
from .._objective.penalties import penalty_value
from .build import make_objective, standardize
from .loop import EpochLosses, Result
from .state import is_memory, reported_parameters, snapshot
from .stopping import ExtrapolatedGain, Stopping
from .stream import Memory, objectives_of
from .validation import ValidationSet


@dataclass(frozen=True)
class EpochRecord:
    """The epochs so far and the present one, as plain values that a checkpoint can hold.  It is never changed."""

    standardized: tuple[float, ...] = ()  # ``EpochLosses`` of the complete epochs, each field by itself
    objective: tuple[float, ...] = ()
    validation: tuple[float, ...] = ()
    selection: tuple[float, ...] = ()
    total: float = 0.0  # weighted sum of the objectives of the chunks learnt in this epoch
    targets: dict[str, Any] | None = None  # ``Moments`` of their targets; None before the first chunk
    typical: float | None = None  # scale of the loss, of errors of the median size; for losses that need it
    parameters: tuple[np.ndarray, np.ndarray] | None = None  # coefficients and intercept before this epoch
    agreed: int = 0  # epochs in a row with little left to gain, see ``Stopping``
    best_loss: float = np.inf
    best_epoch: int = 0  # from 1; 0 without a validation set
    best: dict[str, Any] | None = None  # fitted attributes after the best epoch
    stop_reason: str | None = None  # why no further epoch is made; None if there may be one

    @property
    def n_epochs(self) -> int:
        """The number of complete epochs."""
        return len(self.objective)

    @property
    def history(self) -> tuple[EpochLosses, ...]:
        """The losses of the complete epochs."""
        return tuple(map(EpochLosses, self.standardized, self.objective, self.validation, self.selection))

    def packed(self) -> dict[str, Any]:
        """Return the record as a dictionary of plain values."""
        return {name: list(value) if name in EpochLosses._fields else value for name, value in vars(self).items()}

    @classmethod
    def unpacked(cls, packed: dict[str, Any]) -> EpochRecord:
        """Return the record that ``packed`` returned.

        Raises
        ------
        ValueError
            If ``packed`` cannot have returned it.
        """
        if type(packed) is not dict or packed.keys() != vars(EMPTY).keys():
            raise ValueError("it holds another record of the epochs")
        for name, value in packed.items():
            if not _is_valid(name, value) or (name in EpochLosses._fields and len(value) != len(packed["objective"])):
                raise ValueError(f"its record of the epochs has a wrong {name}")
        if not packed["best_epoch"] <= len(packed["objective"]):
            raise ValueError("its record of the epochs has a wrong best_epoch")
        if packed["targets"] is not None:
            Moments(**packed["targets"]).spread(centre=True)  # raises if it is damaged
        curves: dict[str, Any] = {name: tuple(packed[name]) for name in EpochLosses._fields}
        return cls(**packed | curves)


EMPTY = EpochRecord()

# The reasons after which no further epoch is made.
FINAL_REASONS = ("converged", "early_stopping", "no_change")


def _is_valid(name, value):
    """Whether a value has the type of a field of an ``EpochRecord``."""
    if name in EpochLosses._fields:
        return type(value) is list and all(type(item) is float for item in value)
    if name in ("agreed", "best_epoch"):
        return type(value) is int and value >= 0
    if name == "stop_reason":
        return value is None or value in FINAL_REASONS
    if name in ("best", "targets"):
        return value is None or type(value) is dict
    if name == "parameters":
        return value is None or (type(value) is tuple and [type(a) for a in value] == [np.ndarray] * 2)
    return type(value) is float or (name == "typical" and value is None)


class TrainingObjective(NamedTuple):
    """The training objective after an epoch, and what it is compared with."""

    standardized: float  # in the units in which gains are compared
    objective: float  # in the user's units
    scale: float  # of ``tol``, in the units of the first
    r2: float = np.nan
    gain: float | None = None  # by how much the epoch lowered it over the rows remembered; None if that is not known


class EpochJudge:
    """Judges the epochs of a model over chunks by the criteria of ``fit``.

    Parameters
    ----------
    model : GDLinearRegressor
    validation : Rows or None
        Rows whose loss stops training and chooses the best epoch.
    """

    def __init__(self, model, validation):
        self.model, self.validation = model, validation
        self._standardization = None  # of the validation rows

    def first_record(self):
        """Return the record before the first epoch; a model that continues has parameters already."""
        state = vars(self.model).get("_state")
        return replace(EMPTY, parameters=state["reported"]) if state and is_memory(state) else EMPTY

    def with_chunk(self, record, y, weight=None):
        """Return the record after the model has learnt from one more chunk, with targets ``y``."""
        if is_memory(self.model._state):  # the memory has all that is needed to judge an epoch
            return record
        Y = np.asarray(y, dtype=np.float64)
        Y = np.ascontiguousarray(Y.reshape(len(Y), -1))
        weight = None if weight is None else np.full(len(Y), weight, dtype=np.float64)
        targets = Moments.empty(Y.shape[1])
        targets.add(choose_backend(Y), Y, np.arange(len(Y)) if weight is None else np.flatnonzero(weight), weight)
        first = record.targets is None and not record.n_epochs
        typical = self._typical(Y, weight, targets) if first else record.typical
        total = record.total + targets.count * (self.model.loss_curve_ or [np.nan])[-1]
        if record.targets is not None:
            targets = Moments(**record.targets).merged(targets)
        return replace(record, total=float(total), targets=vars(targets), typical=typical)

    def _typical(self, Y, weight, targets):
        """Return the loss of errors of the median size; None where the scale of the loss does not need it."""
        loss = self._hyper().loss
        if type(loss) is SquaredError or np.isinf(loss.lipschitz):
            return None
        objective = self._objective(targets, Standardization.identity(0, Y.shape[1], np.float64))
        return float(typical_loss(objective, Y, weight) * objective.lipschitz.max())

    def _objective(self, targets, standardization):
        """Return the objective without a penalty, with the mean of the targets as its baseline."""
        statistics = StreamStatistics.empty(0, len(targets.mean), standardize=False)
        hyper = replace(self._hyper(), penalty=None)
        return make_objective(replace(statistics, targets=targets), hyper, standardization)

    def end_epoch(self, record):
        """Return the record after the end of an epoch, and the ``Result`` so far."""
        model, epoch = self.model, record.n_epochs + 1
        state, hyper = model._state, self._hyper()
        remembers, parameters = is_memory(state), reported_parameters(model)
        # The squares of very large numbers overflow in float64; training does not stop by losses that are NaN.
        with np.errstate(all="ignore"):
            training = (self._remembered if remembers else self._mean_of_chunks)(record, hyper, parameters)
            validation = np.nan, training.standardized
            before, scale = record.selection[-1] if record.selection else np.inf, training.scale
            if self.validation is not None:
                *validation, scale = self._validate(record, hyper, parameters)
                before = record.best_loss
        losses = EpochLosses(training.standardized, training.objective, *validation)
        gains = ExtrapolatedGain(np.inf, geometric=False, monotone=remembers)
        stopping = Stopping(model.tol, model.n_iter_no_change, gains, scale)
        stopping.agreed = record.agreed
        remaining = None if self.validation is not None or training.gain is None else (training.gain, True)
        finished = stopping.update(epoch, before, losses.selection, model.t_, remaining)
        reason = None
        if finished:
            reason = "early_stopping" if self.validation is not None else "converged" if remaining else "no_change"
        record = replace(
            record,
            **{name: (*getattr(record, name), value) for name, value in losses._asdict().items()},
            total=0.0,
            targets=None,
            parameters=parameters if remembers else None,
            agreed=stopping.agreed,
            stop_reason=reason,
        )
        if self.validation is not None and (record.best is None or losses.selection < record.best_loss):
            record = replace(record, best_loss=losses.selection, best_epoch=epoch, best=snapshot(model))
        left = np.nan if remaining is None else training.gain / max(scale, np.finfo(np.float64).tiny)
        result = Result(
            record.history, None, *parameters, model.learning_rate_, model.batch_size_, model.t_,
            record.best_epoch or None, reason, False, training.r2, left,
        )  # fmt: skip
        return record, result

    def _hyper(self):
        coef = np.atleast_2d(self.model.coef_)
        return self.model._hyperparameters(coef.shape[1], coef.shape[0])

    def _remembered(self, record, hyper, parameters):
        """Return the training objective of a stream that remembers second moments, over all rows that it remembers."""
        moments = Memory.unpacked(self.model._state["memory"]).moments
        over_rows = moments, hyper.penalty, hyper.fit_intercept
        losses, penalties, null = objectives_of(*over_rows, *parameters)
        square, unit = np.where(null > 0.0, 2.0 * null, 1.0), 1.0 / moments.factor[len(moments.factor) - len(null) :]
        standardized, scale = float(((losses + penalties) / square).sum()), float((null / square).sum())
        r2 = 1.0 - float((losses / square).sum()) / scale if scale > 0.0 else np.nan
        gain = None
        if record.parameters is not None:
            before = sum(objectives_of(*over_rows, *record.parameters)[:2])
            gain = max(float((before / square).sum()) - standardized, 0.0)
        objective = float(((losses + penalties) * unit * unit).sum())
        return TrainingObjective(standardized, objective, scale, r2, gain)

    def _targets(self, record, k):
        """Return the moments of the training targets."""
        state = self.model._state
        if is_memory(state):
            return Memory.unpacked(state["memory"]).moments.columns(slice(-k, None))
        return Moments.empty(k) if record.targets is None else Moments(**record.targets)

    def _mean_of_chunks(self, record, hyper, parameters):
        """Return the mean objective of the chunks, each with the parameters just after it was learnt."""
        targets = self._targets(record, len(parameters[1]))
        objective = record.total / float(targets.count) if targets.count else np.nan
        if np.isinf(hyper.loss.lipschitz):  # the loss itself, as in ``fit``
            return TrainingObjective(objective, objective, abs(objective))
        if record.typical is not None:
            return TrainingObjective(objective, objective, record.typical)
        rms, _ = targets.spread(hyper.fit_intercept)
        null, penalty = 0.5 * float(rms @ rms), 0.0
        if hyper.penalty is not None:
            penalty = sum(penalty_value(hyper.penalty, w.astype(np.float64)) for w in parameters[0])
        r2 = 1.0 - (objective - penalty) / null if null > 0.0 else np.nan
        return TrainingObjective(objective, objective, null, float(r2))

    def _validate(self, record, hyper, parameters):
        """Return the validation loss in the user's units, the loss to select by, and that of the training mean."""
        X, Y, weight, _ = self.validation
        (_, d), k, backend = X.shape, Y.shape[1], choose_backend(X)
        if self._standardization is None:  # that of the rows themselves, so that it is the same in all epochs
            statistics = StreamStatistics.empty(d, k, hyper.standardize)
            statistics.add(backend, X, Y, weight)
            self._standardization = standardize(statistics, hyper, d, k, X.dtype)
        objective = self._objective(self._targets(record, k), self._standardization)
        held_out = ValidationSet(backend, self.validation, objective)
        with threads(self.model.n_jobs, n_numbers(X)):
            return *held_out.loss(*self._standardization.from_user(*parameters)), held_out.scale()
