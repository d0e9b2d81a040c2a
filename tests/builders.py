"""What tests build: the records of a descent, and the one least-squares oracle."""

import re

import numpy as np

from sk_gdlinear._data.rows import Rows
from sk_gdlinear._data.standardize import Standardization
from sk_gdlinear._data.statistics import StreamStatistics
from sk_gdlinear._descent.averaging import Iterate
from sk_gdlinear._descent.backend import REFERENCE
from sk_gdlinear._descent.epoch import Plan
from sk_gdlinear._descent.schedule import make_schedule
from sk_gdlinear._fit.build import Hyperparameters, from_coef, make_method, make_stream_method
from sk_gdlinear._objective.losses import ClippedLine, SquaredError
from sk_gdlinear._objective.objective import Problem
from sk_gdlinear._objective.penalties import BoxedElasticNet


def name_of(params):
    """The name of parameters in a test's id, without the addresses of objects, which differ between processes."""
    return re.sub(r"(?:[\w.]*<locals>\.)?(\S+) (?:object )?at 0x[0-9a-f]+", r"\1", str(params))


def least_squares(X, Y, weight=None, fit_intercept=True):
    """Exact coefficients (k, d), intercepts (k,) and predictions (n, k) of weighted least squares, whatever the units.

    Columns are standardized first: solvers that cut small singular values would drop columns of small scale.
    """
    X, Y = np.asarray(X, dtype=np.float64), np.asarray(Y, dtype=np.float64).reshape(len(Y), -1)
    s = np.ones(len(X)) if weight is None else np.asarray(weight, dtype=np.float64)
    shift = s @ X / s.sum() if fit_intercept else np.zeros(X.shape[1])
    target_shift = s @ Y / s.sum() if fit_intercept else np.zeros(Y.shape[1])
    Z = X - shift
    if fit_intercept:  # a constant column has no spread, whatever rounding leaves of it
        Z[:, np.ptp(X, axis=0) == 0] = 0.0
    scale = np.abs(Z).max(axis=0, initial=0.0)
    Z = np.divide(Z, scale, out=np.zeros_like(Z), where=scale > 0)
    root = np.sqrt(s)[:, None]
    solution = np.linalg.lstsq(root * Z, root * (Y - target_shift), rcond=1e-12)[0]
    coef = np.divide(solution.T, scale, out=np.zeros(solution.T.shape), where=scale > 0)
    return coef, target_shift - coef @ shift, Z @ solution + target_shift


def exact_r2(X, y, weight=None):
    """Training R² of least squares with an intercept, mean over targets."""
    Y, s = y.reshape(len(y), -1), np.ones(len(y)) if weight is None else weight
    residual = Y - least_squares(X, Y, weight)[2]
    centred = Y - s @ Y / s.sum()
    return float(np.mean(1 - (s @ residual**2) / (s @ centred**2)))


def standardization_of(X, Y, batch_size=32, fit_intercept=True, weight=None):
    """The change of variables that ``fit`` makes for these rows."""
    statistics = StreamStatistics.empty(X.shape[1], Y.shape[1], standardize=True)
    statistics.add(REFERENCE, X, Y, weight)
    return Standardization.of(statistics.recent_features, statistics.recent_targets, batch_size, fit_intercept, X.dtype)


def problem(X, Y, weight=None, kept=None, standardization=None, loss=None, penalty=None, fit_intercept=True):
    """The problem of minimising a loss and a penalty, by default half the squared error and none."""
    dtype, k = X.dtype, Y.shape[1]
    if standardization is None:
        standardization = Standardization.identity(X.shape[1], k, dtype)
    loss = (ClippedLine(0.0, -np.inf, np.inf) if loss is None else loss).scaled(np.ones(k), dtype)
    return Problem(Rows(X, Y, weight, kept), standardization, loss, penalty or BoxedElasticNet(), fit_intercept, {})


def plan(order, batch_size, step=0.05, averaging_weight=0.3, largest_objective=np.inf):
    """Updates over the rows ``order``, all of the same step and averaging weight unless arrays are given."""
    n_batches = -(-len(order) // batch_size)
    steps, weights = (np.broadcast_to(np.float64(a), n_batches).copy() for a in (step, averaging_weight))
    return Plan(np.asarray(order, dtype=np.intp), batch_size, steps, weights, largest_objective)


def iterate(d, k=1, dtype=np.float64, average=True, seed=1):
    """An iterate at random parameters; with ``seed=None`` at zero."""
    rng = np.random.default_rng(seed)
    W, b = np.zeros((k, d), dtype), np.zeros(k, dtype)
    if seed is not None:
        W, b = rng.normal(size=(k, d)).astype(dtype), rng.normal(size=k).astype(dtype)
    return Iterate.at(W, b, average)


def hyperparameters(**changes):
    """The parameters of a default fit, some of them changed."""
    defaults = dict(
        loss=SquaredError(),
        penalty=None,
        batch_size=32,
        step=None,
        schedule=make_schedule("constant", 0.25, None),
        standardize=True,
        precondition=False,
        average=True,
        fit_intercept=True,
        shuffle=True,
        tol=1e-4,
    )
    return Hyperparameters(**defaults | changes)


def method(X, Y, weight=None, *, max_iter=1000, coef=None, intercept=None, stream=False, **changes):
    """The descent over rows as ``fit`` makes it, or as the first ``partial_fit`` does."""
    from sk_gdlinear._descent.backend import choose_backend

    hyper = hyperparameters(**changes)
    d, k = X.shape[1], Y.shape[1]
    statistics = StreamStatistics.empty(d, k, hyper.standardize)
    rows = statistics.add(choose_backend(X), X, Y, weight)
    coef = np.zeros((k, d)) if coef is None else coef
    intercept = statistics.mean_intercept(coef, hyper.fit_intercept) if intercept is None else intercept
    start = from_coef(coef, intercept, hyper.average)
    if stream:
        return make_stream_method(rows, statistics, hyper, start, None)
    return make_method(rows, statistics, hyper, start, max_iter)


def central_differences(f, at, h=1e-6):
    """The gradient of ``f`` at ``at``, by finite differences."""
    grad = np.empty_like(at)
    for i in np.ndindex(at.shape):
        up, down = at.copy(), at.copy()
        up[i] += h
        down[i] -= h
        grad[i] = (f(up) - f(down)) / (2 * h)
    return grad
