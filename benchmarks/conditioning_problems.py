"""The problems of ``conditioning.py``, who else solves them, and how a fit is measured.

A problem is data and a penalty.  `Problem.ours` is `GDLinearRegressor` at its default settings, with the penalty
alone; `Problem.peers` are those who minimise the same objective, at their defaults, their ``tol`` too: read the gaps
beside the times.  "Ridge" without a penalty has ``alpha=1``, its default, and another optimum: look at its time alone.
"""

import importlib
import importlib.util
import time
import warnings
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
from scipy.sparse import issparse
from sklearn.linear_model import ElasticNet, Lasso, LinearRegression, Ridge

import exact_optima
from sk_gdlinear import GDLinearRegressor

OURS = "GDLinearRegressor"
OPTIONAL = {"celer": "celer", "skglm": "skglm", "scikit-learn-intelex": "sklearnex"}  # package: module
MANY_COLUMNS = 5_000  # above, nobody would have a matrix of them computed: left out who computes it
MOST_EPOCHS = 1_000  # of celer and skglm on a working set, as Lasso's default; 50,000 of theirs can be hours
SLOW = 0.5  # seconds of a fit after which it is not repeated


def installed(package):
    """Whether an optional peer can run here."""
    return importlib.util.find_spec(OPTIONAL[package]) is not None


@dataclass
class Problem:
    """Squared errors, with a penalty or without."""

    name: str
    X: np.ndarray
    y: np.ndarray
    penalty: str | None = None
    alpha: float = 0.0
    l1_ratio: float = 1.0
    positive: bool = False
    strength: str = ""  # how alpha was chosen, as text

    @property
    def label(self):
        """Penalty and strength as text."""
        parts = ["positive"] * self.positive + [self.penalty] * (self.penalty is not None)
        return " ".join([", ".join(parts) or "none", self.strength]).strip()

    @cached_property
    def null(self):
        """Objective of the best constant: the scale of gaps, and of ``tol``."""
        return 0.5 * float(self.y.var())

    @cached_property
    def rows(self):
        """The rows as the exact solvers need them."""
        return (exact_optima.SparseRows if issparse(self.X) else exact_optima.Triangle)(self.X, self.y)

    @cached_property
    def optimum(self):
        """Smallest value of the objective."""
        if self.penalty in ("l1", "elasticnet"):
            return self.rows.elastic_net(self.alpha, self.l1_ratio, self.positive)
        if self.positive:
            value = self.rows.non_negative()
        else:
            value = self.rows.least_squares() if self.penalty is None else self.rows.ridge(self.alpha)
        return exact_optima.Optimum(value, value)

    def value(self, model):
        """Objective of a fitted model."""
        e = np.ravel(model.predict(self.X)) - self.y
        w = np.ravel(model.coef_)
        share = 0.0 if self.penalty == "l2" else self.l1_ratio
        penalty = self.alpha * (share * np.abs(w).sum() + 0.5 * (1.0 - share) * w @ w) if self.penalty else 0.0
        return float(0.5 * e @ e / len(e) + penalty)

    def gap(self, model):
        """Objective above the smallest value, in units of the null objective."""
        return (self.value(model) - self.optimum.value) / self.null

    @cached_property
    def promised(self):
        """Smallest value that the estimator promises: without a penalty, that of condition numbers up to 1e6."""
        if self.penalty is None and not self.positive:
            return self.rows.least_squares(exact_optima.PROMISED_RANK)
        return self.optimum.value

    def gap_to_promise(self, model):
        """Objective above what is promised, in units of the null objective."""
        return (self.value(model) - self.promised) / self.null

    def with_penalty(self, penalty, strength=None, positive=False, l1_ratio=0.5):
        """Return the same data with a penalty; rows already reduced are used again.

        "l1" and "elasticnet" take `strength` times the smallest alpha at which all coefficients are 0, "l2" as much
        of the median variance of a column.
        """
        l1_ratio = {"l1": 1.0, "elasticnet": l1_ratio}.get(penalty, 0.0)
        alpha = 0.0
        if penalty == "l2":
            alpha = strength * float(np.median(self._variances))
        elif penalty is not None:
            alpha = strength * self._largest_slope / l1_ratio
        told = "" if strength is None else f"{strength:g}"
        other = Problem(self.name, self.X, self.y, penalty, alpha, l1_ratio, positive, told)
        for shared in ("rows", "_largest_slope", "_variances"):
            if shared in self.__dict__:
                other.__dict__[shared] = self.__dict__[shared]
        return other

    @cached_property
    def _largest_slope(self):
        e = self.y - self.y.mean()
        mean = np.asarray(self.X.mean(axis=0)).ravel()
        return float(np.abs(self.X.T @ e - mean * e.sum()).max() / len(e))

    @cached_property
    def _variances(self):
        if not issparse(self.X):
            return self.X.var(axis=0)
        return np.asarray(self.X.power(2).mean(axis=0)).ravel() - np.asarray(self.X.mean(axis=0)).ravel() ** 2

    def ours(self, **params):
        """Return the default settings with this penalty."""
        penalty = {} if self.penalty is None else {"penalty": self.penalty, "alpha": self.alpha}
        if self.penalty == "elasticnet":
            penalty["l1_ratio"] = self.l1_ratio
        return GDLinearRegressor(**penalty, positive=self.positive, random_state=0, **params)

    def peer(self):
        """Name and maker of scikit-learn's estimator of the same objective."""
        if self.penalty == "l2":
            return "Ridge", partial(Ridge, self.alpha * len(self.y))
        if self.penalty is None:
            name = "LinearRegression(positive=True)" if self.positive else "LinearRegression"
            return name, partial(LinearRegression, positive=self.positive)
        if self.penalty == "l1":
            return "Lasso", partial(Lasso, self.alpha, positive=self.positive)
        return "ElasticNet", partial(ElasticNet, self.alpha, l1_ratio=self.l1_ratio, positive=self.positive)

    def peers(self):
        """Names and makers of all who minimise the same objective and are installed."""
        name, make = self.peer()
        peers = {name: make}
        if self.penalty in ("l1", "elasticnet"):
            if not issparse(self.X) and self.X.shape[1] <= MANY_COLUMNS:
                peers[f"{name}, precompute=True"] = partial(make, precompute=True)
            peers |= self._from_modules(name)
        elif self.penalty is None and not self.positive:
            peers["Ridge"] = Ridge
        d = self.X.shape[1]
        if installed("scikit-learn-intelex") and not self.positive and not issparse(self.X) and d <= MANY_COLUMNS:
            from sklearnex import linear_model

            if self.penalty is None:
                peers["LinearRegression, intelex"] = partial(linear_model.LinearRegression, n_jobs=1)
            elif self.penalty == "l2":
                peers["Ridge, intelex"] = partial(linear_model.Ridge, self.alpha * len(self.y), n_jobs=1)
        return peers

    def _from_modules(self, name):
        """Celer's and skglm's estimator of this name."""
        options = {} if name == "Lasso" else {"l1_ratio": self.l1_ratio}
        found = {}
        for package in ("celer", "skglm"):
            if installed(package):
                module = importlib.import_module(package)
                found[f"{name}, {package}"] = partial(
                    getattr(module, name), self.alpha, positive=self.positive, max_epochs=MOST_EPOCHS, **options
                )
        return found


@dataclass
class Fit:
    """What was measured of one estimator on one problem."""

    ms: float
    model: object = None
    warned: str | None = None  # categories of the warnings, or the error


def measure(makers, X, y, n_runs):
    """Fit all estimators in turn, `n_runs` times; slow ones once.  Times are medians."""
    seconds = {name: [] for name in makers}
    fits = {name: Fit(np.nan) for name in makers}
    for _ in range(n_runs):
        for name, make in makers.items():
            if seconds[name] and seconds[name][0] > SLOW:
                continue
            model = make()
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                start = time.perf_counter()
                try:
                    fits[name].model = model.fit(X, y)
                except Exception as error:  # a row of the table says so, and the others are measured
                    fits[name].warned = f"{type(error).__name__}: {error}"[:80]
                seconds[name].append(time.perf_counter() - start)
            if caught:
                fits[name].warned = ", ".join(sorted({w.category.__name__ for w in caught}))
    for name, fit in fits.items():
        fit.ms = 1e3 * float(np.median(seconds[name]))
    return fits


def warm_up():
    """Load and compile the code of everyone, on little data."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((200, 5))
    data = Problem("", X, X.sum(axis=1) + rng.standard_normal(200))
    for penalty in (None, "l2", "l1", "elasticnet"):
        for positive in (False, True):
            problem = data.with_penalty(penalty, None if penalty is None else 0.1, positive and penalty != "l2")
            measure({OURS: problem.ours, **problem.peers()}, X, problem.y, 1)


def figures(problem, fits):
    """Rows of a table: one for every estimator."""
    rows = []
    dense = not issparse(problem.X)
    condition = problem.rows.condition() if dense and problem.penalty is None else None
    for name, fit in fits.items():
        model = fit.model
        rows.append(
            {
                "data": problem.name,
                "rows × columns": f"{problem.X.shape[0]:,} × {problem.X.shape[1]:,}",
                "condition": condition,
                "penalty": problem.label,
                "estimator": name,
                "ms": fit.ms,
                "ours ÷ this": fits[OURS].ms / fit.ms if name != OURS else None,
                "gap": float("inf") if model is None else float(problem.gap(model)),
                "gap to promise": float("inf") if model is None else float(problem.gap_to_promise(model)),
                "warned": fit.warned,
                "epochs": int(model.n_iter_) if name == OURS and model is not None else None,
                "stop": getattr(model, "stop_reason_", None),
            }
        )
    return rows
