"""Minima of quadratic functions with absolute values and bounds by interior-point steps.

Oracles: ``lsq_linear``, a tight Lasso, and the conditions of a minimum.
"""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import lsq_linear
from sklearn.linear_model import Lasso

from sk_gdlinear import GDLinearRegressor
from sk_gdlinear._descent import interior_point, quadratic
from sk_gdlinear._descent.interior_point import STEPS, interior_minimum
from sk_gdlinear._descent.kinks import least_subgradient


def moments(seed, n=200, d=12, noise=1.0):
    """Return A, (d, d) with a diagonal of 1, and c of a least-squares problem; X and y, of which these are."""
    rng = np.random.default_rng(seed)
    X = noise * rng.normal(size=(n, d)) + rng.normal(size=(n, 3)) @ rng.normal(size=(3, d))
    X /= np.sqrt(np.square(X).mean(axis=0))
    y = X @ rng.normal(size=d) + rng.normal(size=n)
    return X.T @ X / n, -X.T @ y / n, X, y


def unbounded(d):
    return np.full(d, -np.inf), np.full(d, np.inf)


@pytest.mark.parametrize("noise", [1.0, 1e-2])
@pytest.mark.parametrize("upper", [0.3, np.inf])
@pytest.mark.parametrize("seed", range(5))
def test_bounds_have_the_minimum_of_lsq_linear(seed, upper, noise):
    A, c, X, y = moments(seed, noise=noise)
    lower, upper = np.zeros(len(c)), np.full(len(c), upper)
    w = interior_minimum(A, c, np.full(len(c), 0.1), np.zeros(len(c)), lower, upper)
    want = lsq_linear(X, y, (lower, upper), method="bvls", tol=1e-14).x
    assert_array_equal(w == lower, np.abs(want - lower) < 1e-12)
    assert_array_equal(w == upper, np.abs(want - upper) < 1e-12)
    assert_allclose(w, want, atol=1e-4 if noise < 1.0 else 1e-7)


@pytest.mark.parametrize("seed", range(5))
def test_absolute_values_have_the_minimum_of_the_lasso(seed):
    A, c, X, y = moments(seed)
    alpha = 0.3
    w = interior_minimum(A, c, np.zeros(len(c)), np.full(len(c), alpha), *unbounded(len(c)))
    want = Lasso(alpha=alpha, fit_intercept=False, tol=1e-14, max_iter=10**6).fit(X, y).coef_
    assert 0 < np.count_nonzero(want) < len(want)
    assert_array_equal(w == 0.0, want == 0.0)
    assert_allclose(w, want, atol=1e-7)


@pytest.mark.parametrize("noise", [1.0, 1e-1, 1e-2, 1e-4])
@pytest.mark.parametrize("seed", range(8))
def test_mixtures_of_kinks_bounds_and_free_variables_fulfil_the_conditions_of_a_minimum(seed, noise):
    A, c, _, _ = moments(seed, d=30, noise=noise)
    rng = np.random.default_rng(seed)
    d = len(c)
    l1 = np.where(rng.random(d) < 0.5, 10.0 ** rng.uniform(-4.0, -1.0, d), 0.0)
    lower = np.where(rng.random(d) < 0.5, -rng.exponential(size=d), -np.inf)
    upper = np.where(rng.random(d) < 0.5, rng.exponential(size=d), np.inf)
    w = interior_minimum(A, c, np.clip(rng.normal(size=d), lower, upper), l1, lower, upper)
    assert (w >= lower).all() and (w <= upper).all()
    r = least_subgradient(w, A @ w + c, l1, lower, upper)
    assert_allclose(r, 0.0, atol=1e-5 * np.abs(c).max())


@pytest.mark.parametrize("start", [1e3, -1e6])
def test_from_far_away_nearly_all_is_gained(start):
    A, c, _, _ = moments(0)
    l1, bounds = np.full(len(c), 0.3), unbounded(len(c))

    def value(w):
        return c @ w + 0.5 * w @ A @ w + l1 @ np.abs(w)

    least = value(interior_minimum(A, c, np.zeros(len(c)), l1, *bounds))
    w = np.full(len(c), start)
    assert value(interior_minimum(A, c, w, l1, *bounds)) - least <= 1e-9 * (value(w) - least)


def test_copies_of_a_column_are_no_obstacle():
    A, c, X, y = moments(0)
    A, c = np.tile(A, (2, 2)), np.tile(c, 2)
    w = interior_minimum(A, c, np.zeros(len(c)), np.full(len(c), 0.3), *unbounded(len(c)))
    want = Lasso(alpha=0.3, fit_intercept=False, tol=1e-14, max_iter=10**6).fit(X, y).coef_
    assert_allclose(w[: len(w) // 2] + w[len(w) // 2 :], want, atol=1e-6)


def test_without_kinks_and_bounds_and_where_a_matrix_has_no_factor_the_start_is_returned():
    A, c, _, _ = moments(0)
    zero, start = np.zeros(len(c)), np.arange(float(len(c)))
    assert_array_equal(interior_minimum(A, c, start, zero, *unbounded(len(c))), start)
    assert_array_equal(interior_minimum(A, zero, zero, zero + 0.3, *unbounded(len(c))), zero)
    assert_array_equal(interior_minimum(np.full_like(A, np.nan), c, zero, zero, zero, zero + 1.0), zero)


def counted(monkeypatch, module, name):
    """Return a list that grows by one at each call of a function."""
    calls, function = [], getattr(module, name)
    monkeypatch.setattr(module, name, lambda *args: calls.append(1) or function(*args))
    return calls


@pytest.mark.parametrize("params", [{"penalty": "elasticnet", "alpha": 4e-5}, {"positive": True}], ids=str)
def test_nearly_collinear_columns_take_few_factors(params, monkeypatch):
    """With a step for each variable that meets 0 or a bound it is some 1,000."""
    rng = np.random.default_rng(345)
    n, d = 2_000, 170
    X = 1e-3 * rng.normal(size=(n, d)) + rng.normal(size=(n, d // 8)) @ rng.normal(size=(d // 8, d))
    y = X @ rng.normal(size=d) + 10.0 * rng.normal(size=n)
    y /= y.std()
    on_support = counted(monkeypatch, quadratic, "_cholesky")
    interior = counted(monkeypatch, interior_point, "_factor")
    model = GDLinearRegressor(precondition=True, random_state=0, **params).fit(X, y)
    assert model.stop_reason_ == "converged"
    assert 0 < len(interior) <= STEPS
    assert len(on_support) <= 150
