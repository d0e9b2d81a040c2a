"""Losses other than the squared error: robust where they promise it, and the optimum of the stated objective.

Oracles: the coefficients that made the data, SciPy's minimiser of the objective, and QuantileRegressor.
"""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import minimize
from sklearn.linear_model import QuantileRegressor
from sklearn.metrics import mean_pinball_loss

from sk_gdlinear import GDLinearRegressor


@pytest.fixture
def contaminated(rng):
    """Raw rows, of which a tenth have targets off by 1000 times the noise and more; and the true coefficients."""
    n, d = 5_000, 6
    scale = np.geomspace(1e-3, 1e3, d)
    coef = rng.uniform(0.5, 2.0, d) * rng.choice([-1.0, 1.0], d) / scale
    X = (rng.normal(size=(n, d)) + 2.0) * scale
    y = X @ coef + 0.5 * rng.normal(size=n) + 3.0
    wrong = rng.random(n) < 0.1
    y[wrong] += rng.uniform(500.0, 1000.0, wrong.sum()) * rng.choice([-1.0, 1.0], wrong.sum())
    return X, y, coef


def huber_objective(X, y, epsilon, weight=None):
    """Value and gradient in (coefficients, intercept), from the definition."""

    def f(theta):
        e = X @ theta[:-1] + theta[-1] - y
        near = np.abs(e) <= epsilon
        value = np.where(near, e**2 / 2, epsilon * (np.abs(e) - epsilon / 2))
        slope = np.where(near, e, epsilon * np.sign(e))
        rows = np.column_stack([value, slope[:, None] * X, slope])
        mean = np.average(rows, axis=0, weights=weight)
        return mean[0], mean[1:]

    return f


# --- huber -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, "auto", None])
def test_huber_withstands_outliers_that_ruin_the_squared_error(contaminated, batch_size, seed):
    X, y, coef = contaminated
    settings = dict(batch_size=batch_size, random_state=seed)
    robust = GDLinearRegressor("huber", epsilon=0.5, **settings).fit(X, y)
    squared = GDLinearRegressor(**settings).fit(X, y)
    assert (np.abs(robust.coef_ / coef - 1.0) < 0.05).all()
    assert np.abs(squared.coef_ / coef - 1.0).max() > 0.5


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("epsilon", [0.3, 1.35, 1e3])
def test_huber_reaches_the_minimum_of_its_objective(rng, epsilon, weighted, seed):
    X = rng.normal(size=(300, 4))
    y = X @ [1.0, -2.0, 0.5, 0.0] + rng.standard_t(2, size=300)
    weight = rng.uniform(0.2, 3.0, 300) if weighted else None
    best = minimize(
        huber_objective(X, y, epsilon, weight), np.zeros(5), jac=True, method="BFGS", options={"gtol": 1e-9}
    )
    model = GDLinearRegressor("huber", epsilon=epsilon, tol=1e-12, random_state=seed).fit(X, y, weight)
    assert_allclose([*model.coef_, model.intercept_], best.x, atol=1e-5)
    assert_allclose(model.loss_curve_[-1], best.fun, rtol=1e-9)


def test_huber_epsilon_is_in_units_of_y(rng, seed):
    X = rng.normal(size=(400, 3))
    y = X @ [1.0, -2.0, 0.5] + rng.standard_t(2, size=400)
    settings = dict(tol=1e-12, random_state=seed)
    small = GDLinearRegressor("huber", epsilon=1.0, **settings).fit(X, y)
    large = GDLinearRegressor("huber", epsilon=1000.0, **settings).fit(X, 1000.0 * y)
    assert_allclose(large.coef_, 1000.0 * small.coef_, rtol=1e-6)
    assert_allclose(large.loss_curve_[-1], 1e6 * small.loss_curve_[-1], rtol=1e-9)


def test_huber_targets_in_different_units_are_fitted_side_by_side(contaminated, seed):
    X, y, _ = contaminated
    Y = np.column_stack([y, 7.0 - 2.0 * y, X[:, 0]])
    settings = dict(epsilon=1.0, tol=1e-12, random_state=seed)
    both = GDLinearRegressor("huber", **settings).fit(X, Y)
    for target in range(3):
        alone = GDLinearRegressor("huber", **settings).fit(X, Y[:, target])
        spread = X.std(axis=0)
        largest = np.abs(alone.coef_ * spread).max()
        assert_allclose(both.coef_[target] * spread, alone.coef_ * spread, atol=1e-4 * largest)


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_huber_with_a_large_epsilon_is_the_squared_error(rng, method, seed):
    """In plain mode, update for update."""
    X = rng.normal(size=(100, 3))
    y = X @ [1.0, -2.0, 0.5] + rng.normal(size=100)
    plain = dict(standardize=False, average=False, learning_rate=0.05, max_iter=3, tol=None, random_state=seed)
    huber = getattr(GDLinearRegressor("huber", epsilon=1e6, **plain), method)(X, y)
    squared = getattr(GDLinearRegressor(**plain), method)(X, y)
    assert_array_equal(huber.coef_, squared.coef_)


def test_huber_stream_withstands_outliers(contaminated, seed):
    X, y, coef = contaminated
    model = GDLinearRegressor("huber", epsilon=0.5, random_state=seed)
    for _ in range(5):
        for start in range(0, len(X), 500):
            model.partial_fit(X[start : start + 500], y[start : start + 500])
    assert (np.abs(model.coef_ / coef - 1.0) < 0.05).all()


@pytest.mark.parametrize("loss", ["huber", "quantile"])
@pytest.mark.parametrize("batch_size", [1, "auto", None])
def test_heavy_tails_end_no_worse_than_the_mean(rng, loss, batch_size, seed):
    X, y = rng.standard_cauchy(size=(1_000, 4)), rng.standard_cauchy(size=1_000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a thirtieth of the epochs it may take
        model = GDLinearRegressor(loss, batch_size=batch_size, max_iter=30, random_state=seed).fit(X, y)
    at_mean = np.abs(y - y.mean())
    value = (lambda e: np.where(e < 1.35, e**2 / 2, 1.35 * (e - 1.35 / 2))) if loss == "huber" else (lambda e: e / 2)
    assert value(np.abs(model.predict(X) - y)).mean() <= value(at_mean).mean() * (1 + 1e-2)


# --- quantile --------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["normal", "exponential", "heteroscedastic", "faint"])
def noisy(request, rng):
    """Raw rows whose noise has the shape named; and the same in standard units, for the oracle."""
    n, d = 1_500, 6
    Z = rng.normal(size=(n, d))
    noise = {
        "normal": rng.normal(size=n),
        "exponential": rng.exponential(size=n),
        "heteroscedastic": rng.normal(size=n) * np.exp(0.5 * Z[:, 0]),
        "faint": 1e-3 * rng.normal(size=n),
    }[request.param]
    return (Z + 2.0) * np.geomspace(1e-3, 1e3, d), Z @ rng.normal(size=d) + noise + 3.0, Z


@pytest.mark.parametrize("q", [0.05, 0.5, 0.9])
def test_quantile_equals_quantile_regression_without_tuning(noisy, q, seed):
    X, y, Z = noisy
    oracle = QuantileRegressor(quantile=q, alpha=0.0).fit(Z, y).predict(Z)
    model = GDLinearRegressor("quantile", quantile=q, random_state=seed).fit(X, y)
    prediction = model.predict(X)
    assert model.stop_reason_ == "converged"
    assert abs((y <= prediction).mean() - q) < 0.02
    assert mean_pinball_loss(y, prediction, alpha=q) < 1.01 * mean_pinball_loss(y, oracle, alpha=q)


def test_quantile_covers_every_target_whatever_its_noise(rng, seed):
    X = rng.normal(size=(2_000, 4))
    noise = rng.normal(size=(2_000, 3)) * [1e-2, 1.0, 1e4]
    Y = X @ rng.normal(size=(4, 3)) + noise
    model = GDLinearRegressor("quantile", quantile=0.8, random_state=seed).fit(X, Y)
    assert (np.abs((model.predict(X) >= Y).mean(axis=0) - 0.8) < 0.02).all()


def test_quantile_of_a_stream_is_covered(rng, seed):
    X = rng.normal(size=(20_000, 5)) * np.geomspace(1e-2, 1e2, 5)
    y = X @ np.geomspace(1e2, 1e-2, 5) + rng.exponential(size=20_000)
    model = GDLinearRegressor("quantile", quantile=0.75, random_state=seed)
    for start in range(0, 20_000, 1_000):
        model.partial_fit(X[start : start + 1_000], y[start : start + 1_000])
    assert abs((y <= model.predict(X)).mean() - 0.75) < 0.02


def test_quantile_with_l1_has_the_objective_of_quantile_regression(rng, seed):
    X = rng.normal(size=(1_000, 6))
    y = X @ [1.0, -2.0, 0.0, 0.0, 0.1, 0.0] + rng.normal(size=1_000)
    oracle = QuantileRegressor(quantile=0.7, alpha=0.1).fit(X, y)
    model = GDLinearRegressor("quantile", quantile=0.7, penalty="l1", alpha=0.1, random_state=seed).fit(X, y)

    def value(m):
        return mean_pinball_loss(y, m.predict(X), alpha=0.7) + 0.1 * np.abs(m.coef_).sum()

    assert value(model) <= 1.001 * value(oracle)
    assert_array_equal(model.coef_ != 0.0, oracle.coef_ != 0.0)
    assert_allclose(model.loss_curve_[-1], value(model), rtol=0.05)  # smoothed: lower by a quarter of the width at most


def test_quantile_of_a_constant_is_the_constant(rng):
    model = GDLinearRegressor("quantile", quantile=0.9).fit(rng.normal(size=(100, 2)), np.full(100, 3.0))
    assert_allclose(model.predict(np.zeros((1, 2))), 3.0, rtol=1e-4)


@pytest.mark.parametrize("params", [{"epsilon": 0.0}, {"epsilon": -1.0}, {"quantile": 0.0}, {"quantile": 1.0}], ids=str)
def test_unfit_loss_parameters_are_refused(params):
    with pytest.raises(ValueError, match=next(iter(params))):
        GDLinearRegressor(**params).fit([[0.0], [1.0]], [0.0, 1.0])
