"""The common base of both regressors: parameters, ``predict``, and the fitted state."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import lru_cache
from inspect import signature
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.exceptions import ConvergenceWarning

from ._compat import (
    CallbackSupportMixin,
    HasMethods,
    Interval,
    StrOptions,
    callback_context,
    has_callbacks,
    has_other_arrays,
    validate_parameter_constraints,
)
from ._data.checks import check_alpha, check_fitted, check_numbers, make_generator
from ._data.threads import n_numbers, threads
from ._descent.schedule import SCHEDULES, make_schedule
from ._fit.build import AUTO_BATCH_SIZE, Hyperparameters
from ._fit.monitors import CallbackMonitor, VerboseMonitor
from ._fit.state import check_state, marked, pack, unmarked
from ._objective.checks import check_derivative, check_loss, check_penalty, check_proximal
from ._objective.losses import LOSSES, Loss
from ._objective.penalties import Box, ElasticNet, Penalty, positive
from ._prediction import predictions

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray
    from scipy.sparse import sparray, spmatrix

    Rows: TypeAlias = ArrayLike | sparray | spmatrix

# From the name of a penalty to the share of its absolute values; None takes the parameter ``l1_ratio``.
PENALTIES = {"l2": 0.0, "l1": 1.0, "elasticnet": None}

# Types of parameter values that need no second check: a value equal to one that was checked is allowed as well.
PLAIN = str, int, float, bool, type(None)


class GDLinearModel(CallbackSupportMixin, MultiOutputMixin, RegressorMixin, BaseEstimator):
    """A linear model with the parameters of ``GDLinearRegressor``, where they are described."""

    coef_: NDArray[np.floating]
    intercept_: np.float64 | NDArray[np.float64]
    n_iter_: int
    t_: int
    learning_rate_: float
    batch_size_: int
    loss_curve_: list[float]
    validation_loss_curve_: list[float] | None
    best_iter_: int | None
    stop_reason_: str | None

    _parameter_constraints = {
        "loss": [StrOptions(set(LOSSES)), HasMethods(["value", "derivative"])],
        "epsilon": [Interval(Real, 0, None, closed="neither")],
        "quantile": [Interval(Real, 0, 1, closed="neither")],
        "penalty": [StrOptions(set(PENALTIES)), None, HasMethods(["value", "proximal"])],
        "alpha": [Interval(Real, 0, None, closed="left"), "array-like"],
        "l1_ratio": [Interval(Real, 0, 1, closed="both")],
        "fit_intercept": ["boolean"],
        "positive": ["boolean"],
        "batch_size": [Interval(Integral, 1, None, closed="left"), None, StrOptions({"auto"})],
        "learning_rate": [Interval(Real, 0, None, closed="neither"), StrOptions({"auto"})],
        "schedule": [StrOptions(set(SCHEDULES)), callable],
        "power_t": [Interval(Real, 0, None, closed="left")],
        "standardize": ["boolean"],
        "precondition": [StrOptions({"auto"}), "boolean"],
        "average": ["boolean"],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left"), None],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
        "shuffle": ["boolean"],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "warm_start": ["boolean"],
        "window": [Interval(Integral, 1, None, closed="left"), None],
        "n_jobs": [Integral, None],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        loss: Literal["squared_error", "huber", "quantile"] | Loss = "squared_error",
        *,
        epsilon: float = 1.35,
        quantile: float = 0.5,
        penalty: Literal["l2", "l1", "elasticnet"] | Penalty | None = None,
        alpha: ArrayLike = 1e-4,
        l1_ratio: float = 0.15,
        fit_intercept: bool = True,
        positive: bool = False,
        batch_size: int | Literal["auto"] | None = "auto",
        learning_rate: float | Literal["auto"] = "auto",
        schedule: Literal["constant", "invscaling", "adaptive"] | Callable[..., Any] = "constant",
        power_t: float = 0.25,
        standardize: bool = True,
        precondition: bool | Literal["auto"] = "auto",
        average: bool = True,
        max_iter: int = 1000,
        tol: float | None = 1e-4,
        n_iter_no_change: int = 2,
        shuffle: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        warm_start: bool = False,
        window: int | None = None,
        n_jobs: int | None = None,
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
    ) -> None:
        self.loss = loss
        self.epsilon = epsilon
        self.quantile = quantile
        self.penalty = penalty
        self.alpha = alpha
        self.l1_ratio = l1_ratio
        self.fit_intercept = fit_intercept
        self.positive = positive
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.schedule = schedule
        self.power_t = power_t
        self.standardize = standardize
        self.precondition = precondition
        self.average = average
        self.max_iter = max_iter
        self.tol = tol
        self.n_iter_no_change = n_iter_no_change
        self.shuffle = shuffle
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.warm_start = warm_start
        self.window = window
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    def predict(self, X: Rows) -> NDArray[np.floating]:
        """Predict targets, ``X @ coef_.T + intercept_``.

        Parameters
        ----------
        X : {array-like, sparse matrix or array} of shape (n_samples, n_features)
            Rows to predict for.

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_targets)
            Predictions, 1-D if the y fitted was; float32 for float32 X.
        """
        return predictions(self, X)

    def __sklearn_tags__(self):
        """Return scikit-learn's tags: sparse X is accepted."""
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def __getstate__(self):
        """Return the state for pickling, with a mark of its format."""
        return marked(super().__getstate__())

    def __setstate__(self, state):
        """Set the state from a pickle."""
        state = unmarked(state)
        for name, parameter in signature(GDLinearModel.__init__).parameters.items():
            if name != "self":  # a parameter that the release which saved the model did not have gets its default
                state.setdefault(name, parameter.default)
        check_state(state)
        super().__setstate__(state)

    def _transact(self, method, *args):
        """Call ``method`` and issue the warning that it returns; if it raises, restore every attribute.

        A warning that is a string is a ``ConvergenceWarning``.
        """
        self._check_parameters()
        attributes = vars(self).copy()
        generator = attributes.get("_state", {}).get("generator")
        position = None if generator is None else generator.bit_generator.state
        users = self.random_state if isinstance(self.random_state, np.random.RandomState) else None
        users_position = None if users is None else users.get_state()
        try:
            # These settings are used whatever the caller chose.
            settings = np.errstate(divide="warn", over="warn", under="ignore", invalid="warn")
            # Arrays of other libraries are computed with those libraries' own threads.
            size = 0 if has_other_arrays(args[0]) else n_numbers(args[0])
            with settings, threads(self.n_jobs, size):
                warning = method(*args)
            if warning is not None:
                warnings.warn(warning, ConvergenceWarning if isinstance(warning, str) else None, stacklevel=3)
            return self
        except BaseException:
            vars(self).clear()
            vars(self).update(attributes)
            if generator is not None:
                generator.bit_generator.state = position
            if users is not None:
                users.set_state(users_position)
            raise

    def _check_parameters(self):
        """Raise if a parameter has a value that is not allowed; plain values that were checked are not checked again.

        Raises
        ------
        ValueError
        """
        values = [getattr(self, name) for name in self._parameter_constraints]
        check = _check_once if all(type(value) in PLAIN for value in values) else _check_once.__wrapped__
        check(type(self), *values)

    def _hyperparameters(self, d, k, n_updates=None):
        """Return the parameters of a descent over ``d`` features and ``k`` targets.

        ``n_updates`` is the number of the last update that it may make, None where that is not known.
        """
        batch_size = AUTO_BATCH_SIZE if self.batch_size == "auto" else self.batch_size
        return Hyperparameters(
            loss=self._loss(),
            penalty=self._penalty(d, k),
            batch_size=batch_size,
            step=None if self.learning_rate == "auto" else float(self.learning_rate),
            schedule=make_schedule(self.schedule, self.power_t, n_updates),
            standardize=self.standardize,
            precondition=self.precondition if isinstance(self.precondition, str) else bool(self.precondition),
            average=self.average,
            fit_intercept=self.fit_intercept,
            shuffle=self.shuffle,
            tol=self.tol,
            window=self.window,
        )

    def _batch_rows(self, n_rows):
        """Return the rows of a full batch of ``n_rows`` rows."""
        return min({"auto": AUTO_BATCH_SIZE, None: n_rows}.get(self.batch_size, self.batch_size), n_rows)

    def _loss(self):
        """Return the loss as an object."""
        if not isinstance(self.loss, str):
            check_loss(self.loss)
            return self.loss
        make, names = LOSSES[self.loss]
        return make(**{name: getattr(self, name) for name in names})

    def _penalty(self, d, k):
        """Return the penalty as an object, None for none."""
        penalty = self.penalty
        if isinstance(penalty, str):
            share = PENALTIES[penalty]
            penalty = ElasticNet(check_alpha(self.alpha, d, k), self.l1_ratio if share is None else share)
        elif penalty is not None:
            check_penalty(penalty, d)
        if self.positive:
            penalty = positive(penalty)
            if type(self.penalty) is Box:  # its upper bounds may be negative
                check_penalty(Box(penalty.lower, penalty.upper), d)
        return penalty

    def _check_own(self, hyper, statistics):
        """Raise if a user-defined loss or penalty contradicts itself."""
        if not isinstance(self.loss, str):
            rms = statistics.recent_targets.spread(centre=True)[0]
            check_derivative(hyper.loss, np.where(rms > 0.0, rms, 1.0))
        if not (self.penalty is None or isinstance(self.penalty, str)):
            check_proximal(hyper.penalty, self.n_features_in_)

    def _check_same_shape(self, flat, d, k):
        """Raise if the shape of targets or features is not that of the previous calls."""
        shape = np.shape(self.coef_)
        if shape != ((d,) if flat else (k, d)):
            raise ValueError(
                f"The model was fitted with coef_ of shape {shape}, but this data has {d} features and y of "
                f"{'1 dimension' if flat else f'2 dimensions with {k} targets'}. Pass data of the same shape, or call "
                "fit with warm_start=False."
            )

    def _fitted_parameters(self):
        """Return coef_ and intercept_ with one row per target; they may have been set by hand."""
        coef = np.atleast_2d(check_fitted(self.coef_, "coef_"))
        intercept = np.atleast_1d(check_fitted(self.intercept_, "intercept_"))
        if intercept.shape != coef.shape[:1]:
            raise ValueError(
                f"intercept_ must contain one number per target, shape ({len(coef)},) for coef_ of shape {coef.shape}; "
                f"got shape {intercept.shape}."
            )
        return coef, intercept

    def _n_calls(self):
        """Return the epochs or calls so far, those included whose losses are no longer in the curves."""
        return self._state["n_calls"] if hasattr(self, "_state") else len(getattr(self, "loss_curve_", []))

    def _carried(self):
        """Return the number of updates and the generator to continue with; a model made by hand has neither."""
        generator = self._state["generator"] if hasattr(self, "_state") else make_generator(self.random_state)
        return getattr(self, "t_", 0), generator

    def _past(self):
        """Return the curves of the previous calls."""
        return getattr(self, "loss_curve_", []), getattr(self, "validation_loss_curve_", None)

    def _monitors(self, attributes, given, task_name, n_past, n_blocks=0):
        """Return the monitors: the lines of ``verbose``, and the callbacks.

        ``attributes`` makes the fitted attributes of a ``Result``; ``n_past`` is the number of previous calls.
        """
        monitors = []
        if self.verbose:
            whole = task_name == "fit"
            monitors.append(VerboseMonitor() if whole else VerboseMonitor("call", n_past + 1))
        if has_callbacks(self):
            max_epochs = self.max_iter if task_name == "fit" else 0
            context = callback_context(self, task_name, max_epochs)
            monitors.append(CallbackMonitor(self, given, attributes, context, max_epochs, n_blocks))
        return monitors

    def _store(self, attributes, method, statistics, generator, memory_of_fit=None, n_calls=None, columns=None):
        """Set the fitted attributes, and the state for later calls."""
        vars(self).update(attributes)
        coef, intercept = self._fitted_parameters()
        reported = coef.copy() if columns is None else columns.take(coef), intercept.copy()
        n_calls = len(self.loss_curve_) if n_calls is None else n_calls
        self._state = pack(method, statistics, generator, reported, n_calls, memory_of_fit, columns)

    def _raise_if_interrupted(self):
        """Raise ``KeyboardInterrupt`` again after a fit that it ended, so that a search or a script ends as well."""
        if self.stop_reason_ == "interrupted":
            raise KeyboardInterrupt(
                f"Training was interrupted after {self.n_iter_} complete epochs. The model is that of the last, or of "
                "the best with a validation set; fit with warm_start=True continues from it."
            )
        return self


@lru_cache(maxsize=256, typed=True)
def _check_once(estimator_class, *values):
    """Raise if a value of a parameter is not allowed; by the cache the same values are checked once."""
    constraints = estimator_class._parameter_constraints
    parameters = dict(zip(constraints, values, strict=True))
    check_numbers(parameters)
    validate_parameter_constraints(constraints, parameters, caller_name=estimator_class.__name__)
