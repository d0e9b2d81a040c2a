"""With steps of the user's own, or raw columns, "converged" is a fact as well, and "no_change" says that it is not.

Oracles: least squares, and SciPy's minimiser of the objective written once more.
"""

import tracemalloc
import warnings

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.sparse import csr_array, random
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Lasso, Ridge

from builders import exact_r2
from own_objects import LogCosh
from sk_gdlinear import GDLinearRegressor, estimator
from sk_gdlinear._descent import working_set
from sk_gdlinear._descent.method import MiniBatchDescent
from sk_gdlinear._fit import certificate

TOL = 1e-4  # the default

OWN = [
    {"learning_rate": 0.1},
    {"learning_rate": 0.02, "average": False},
    {"learning_rate": 1e-4},
    {"schedule": "invscaling"},
    {"schedule": "adaptive"},
    {"standardize": False},
    {"standardize": False, "average": False},
    {"learning_rate": 0.05, "batch_size": None},
]


def fitted(X, y, weight=None, **params):
    """A model, and the messages of its warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = GDLinearRegressor(**{"random_state": 0, "max_iter": 60} | params).fit(X, y, weight)
    assert all(issubclass(w.category, ConvergenceWarning) for w in caught)
    return model, [str(w.message) for w in caught]


def rows(seed):
    """Columns of one of four kinds, a target, and weights or None."""
    rng = np.random.default_rng(seed)
    n, d, kind = int(rng.choice([200, 1_000, 6_000])), int(rng.integers(2, 8)), rng.integers(4)
    X = rng.normal(size=(n, d))
    if kind == 1:
        X[:, 0] = X[:, 1] + 0.1 * X[:, 0]
    elif kind == 2:
        X = (rng.random((n, d)) < np.geomspace(0.5, 0.01, d)).astype(float)
    elif kind == 3:
        X = X @ rng.normal(size=(d, d)) + 2.0
    y = (X - X.mean(axis=0)) @ rng.normal(size=d) + rng.choice([0.1, 1.0]) * rng.normal(size=n)
    return X, y, rng.uniform(0.2, 2.0, n) if rng.random() < 0.5 else None


@pytest.mark.parametrize("params", OWN, ids=str)
def test_converged_is_a_fact_with_steps_of_ones_own(params):
    """Of twenty fits each: converged is within tol, and so is what does not warn where least squares say more."""
    for seed in range(20):
        X, y, weight = rows(seed)
        model, messages = fitted(X, y, weight, **params)
        gap = exact_r2(X, y, weight) - model.score(X, y, weight)
        if model.stop_reason_ == "converged":
            assert gap <= TOL and not messages
        else:
            assert model.stop_reason_ in ("no_change", "max_iter") and len(messages) == 1
            if model.stop_reason_ == "no_change":
                left = float(messages[0].split(" may be left to gain")[0].rsplit(" ", 1)[1])
                assert TOL <= left < 2.0 * gap + TOL and gap < 2.0 * left


def test_most_descents_that_stop_have_converged():
    """The check is no reason to say "no_change" where little is left."""
    reasons = [fitted(*rows(seed), **params)[0].stop_reason_ for seed in range(6) for params in OWN]
    assert reasons.count("converged") >= 10
    assert reasons.count("no_change") >= 3


@pytest.mark.parametrize("learning_rate", [0.05, 1e-5])
@pytest.mark.parametrize("loss", ["huber", LogCosh()], ids=["huber", "log-cosh"])
def test_other_losses_are_judged_as_well(loss, learning_rate):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(2_000, 4))
    y = X @ rng.normal(size=4) + rng.standard_t(2, size=2_000)
    params = {"loss": loss, "epsilon": 1.0, "learning_rate": learning_rate, "tol": 1e-3}
    model, messages = fitted(X, y, **params)
    value = model._loss().value
    best = minimize(lambda w: value((X @ w[:4] + w[4] - y)[:, None]).mean(), np.zeros(5)).fun
    null = min(value((c - y)[:, None]).mean() for c in np.linspace(-1.0, 1.0, 201))
    share = (value((model.predict(X) - y)[:, None]).mean() - best) / null
    assert (model.stop_reason_ == "converged") == (learning_rate == 0.05)
    assert share <= 2e-3 if learning_rate == 0.05 else (share > 0.1 and messages)


@pytest.mark.parametrize("epsilon", [1e-4, 0.1])
def test_errors_on_the_straight_part_of_huber_do_not_look_like_little_to_gain(epsilon):
    """There the loss has no curvature: a quadratic model of the rows says nothing."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 2))
    y = 100.0 * X @ [1.0, 2.0] + rng.normal(size=300)
    model, messages = fitted(X, y, loss="huber", epsilon=epsilon, learning_rate=1e-9, batch_size=None, max_iter=600)
    assert model.stop_reason_ == "no_change" and len(messages) == 1


@pytest.mark.parametrize("quantile", [0.5, 0.9])
def test_a_quantile_that_steps_of_ones_own_have_not_reached_is_not_called_converged(quantile):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(2_000, 3))
    y = X @ [3.0, 2.0, 1.0] + rng.normal(size=2_000)
    model, messages = fitted(X, y, loss="quantile", quantile=quantile, learning_rate=1e-7, max_iter=600)
    assert model.stop_reason_ == "no_change" and len(messages) == 1


@pytest.mark.parametrize("penalty", ["l2", "l1"])
def test_the_penalty_of_a_constant_column_is_not_forgotten(penalty):
    """Raw columns: the coefficient of ones learns the mean of y, which the intercept would have for free."""
    rng = np.random.default_rng(0)
    X = np.c_[np.ones(100), rng.normal(size=100)]
    y = 1000.0 + X[:, 1] + 0.5 * rng.normal(size=100)
    given = {"alpha": 1e-6, "learning_rate": 0.3, "batch_size": None, "average": False, "max_iter": 800}
    model, _ = fitted(X, y, penalty=penalty, standardize=False, **given)
    assert abs(model.coef_[0]) > 100.0
    assert model.stop_reason_ == "no_change"


@pytest.mark.parametrize("params", [{}, {"penalty": "l2", "alpha": 0.1}, {"penalty": "l1", "alpha": 0.3}], ids=str)
@pytest.mark.parametrize("own", [{"learning_rate": 1e-9, "batch_size": None}, {"precondition": False}], ids=str)
def test_more_columns_than_rows_need_no_matrix_of_all_columns(params, own):
    """The inner products of the rows, or a working set of columns, tell what is left: 5,000 columns in 50 MB."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 5_000))
    y = X[:, :5].sum(axis=1) + 0.1 * rng.normal(size=60)
    tracemalloc.start()
    model, messages = fitted(X, y, tol=0.1, average=False, max_iter=2_000, **params, **own)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak <= 50e6  # the matrix has 200 MB
    if "learning_rate" in own:
        assert model.stop_reason_ == "no_change" and len(messages) == 1
    elif model.stop_reason_ == "converged" and "penalty" not in params:
        assert 1.0 - model.score(X, y) <= 0.1


@pytest.mark.parametrize("place", [(MiniBatchDescent, "inspected_gain"), (certificate.StreamStatistics, "empty")])
def test_ctrl_c_at_the_end_keeps_the_model(place, monkeypatch):
    """While the rows are read for what is left to gain, or for the moments of raw columns, which the fit has not."""
    ended, fit_loop, function = [], estimator.fit_loop, getattr(*place)

    def end(*args):
        ended.append(fit_loop(*args))
        return ended[-1]

    def interrupt(*args, **kwargs):
        if ended:
            raise KeyboardInterrupt
        return function(*args, **kwargs)

    monkeypatch.setattr(estimator, "fit_loop", end)
    monkeypatch.setattr(*place, interrupt)
    X, y, _ = rows(0)
    model = GDLinearRegressor(standardize=False, random_state=0, tol=0.1)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, y)
    assert model.stop_reason_ == "interrupted"
    assert model.score(X, y) > 0.0


@pytest.mark.parametrize("kind", [np.asarray, csr_array], ids=["dense", "sparse"])
def test_sparse_rows_are_judged_as_dense_ones(kind):
    rng = np.random.default_rng(0)
    X = np.where(rng.random((3_000, 20)) < 0.1, rng.normal(size=(3_000, 20)), 0.0)
    y = X @ rng.normal(size=20) + 0.1 * rng.normal(size=3_000)
    for params in ({"learning_rate": 0.05}, {"learning_rate": 1e-4}, {"standardize": False}):
        model, messages = fitted(kind(X), y, **params)
        gap = exact_r2(X, y) - model.score(X, y)
        assert (model.stop_reason_ == "converged") == (gap <= TOL)
        assert bool(messages) == (gap > TOL)


def test_more_columns_than_second_moments_allow_are_not_called_converged_without_proof():
    """There is none for them without squares: "no_change", and no warning since nothing is known."""
    X = csr_array(random(9_000, 4_200, density=0.002, random_state=0))
    y = X @ np.random.default_rng(0).normal(size=4_200) + np.random.default_rng(1).normal(size=9_000)
    for params in ({}, {"loss": "huber", "max_iter": 1000}):
        model, messages = fitted(X, y, **params)
        assert model.stop_reason_ == "no_change" and not messages
    model, messages = fitted(X, y, penalty="l2", alpha=1.0)
    exact = Ridge(9_000.0, tol=1e-12).fit(X, y).score(X, y)
    assert model.stop_reason_ == "converged" and not messages
    assert model.score(X, y) == pytest.approx(exact, abs=1e-3)


def test_a_small_duality_gap_proves_convergence_without_second_moments(monkeypatch):
    """That of absolute values on many columns, computed from the gradient of all rows."""
    monkeypatch.setattr(working_set, "second_moments", None)
    rng = np.random.default_rng(0)
    X = rng.normal(size=(2000, 250))
    y = X[:, :20] @ rng.normal(size=20) + rng.normal(size=2000)
    model, messages = fitted(X, y, penalty="l1", alpha=0.1, precondition=False)
    exact = Lasso(0.1, tol=1e-10).fit(X, y)
    left = [0.5 * np.mean((y - m.predict(X)) ** 2) + 0.1 * np.abs(m.coef_).sum() for m in (model, exact)]
    assert model.stop_reason_ == "converged" and not messages
    assert left[0] - left[1] <= 1e-4 * 0.5 * y.var()


def test_an_objective_of_nearly_0_is_proof_for_any_number_of_columns():
    X = csr_array(random(4_200, 5_000, density=0.002, random_state=0))
    y = X @ np.random.default_rng(0).normal(size=5_000)
    model, messages = fitted(X, y, tol=0.3)
    assert model.stop_reason_ == "converged" and not messages
    assert 1.0 - model.score(X, y) <= 0.3


def test_what_stopped_early_is_said_where_the_fit_is_watched(capsys):
    X, y, _ = rows(1)
    fitted(X, y, learning_rate=1e-9, batch_size=None, max_iter=600, verbose=1)
    assert "stopped: no_change" in capsys.readouterr().out
