"""Penalties, units and targets out of proportion to the others: closed forms, and duality gaps that are small."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose

from sk_gdlinear import GDLinearRegressor


@pytest.mark.parametrize("shape", [(100, 200), (1_000, 200)])
def test_a_penalty_that_leaves_no_coefficient_on_many_columns_leaves_none(shape):
    """Then the working set of the Newton steps is empty."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal(shape)
    y = X[:, 0] + rng.standard_normal(shape[0])
    model = GDLinearRegressor(penalty="l1", alpha=10.0, random_state=0).fit(X, y)
    assert not model.coef_.any()
    assert_allclose(model.intercept_, y.mean(), rtol=1e-12)
    assert model.stop_reason_ == "converged"


@pytest.mark.parametrize("seed", range(3))
def test_the_lasso_of_nearly_collinear_columns_is_found_where_they_are_more_than_the_rows(seed):
    """100 columns of rank 30: coordinate descent makes all coefficients differ from 0, and 70 must return to it."""
    rng = np.random.default_rng(seed)
    X = 1e-3 * rng.standard_normal((30, 100)) + rng.standard_normal((30, 1))
    y, alpha = rng.standard_normal(30), 1e-4
    model = GDLinearRegressor(penalty="l1", alpha=alpha, tol=1e-6, fit_intercept=False, max_iter=3, random_state=0)
    model.fit(X, y)
    assert model.stop_reason_ == "converged"
    errors = y - X @ model.coef_
    dual_point = min(1.0, 30 * alpha / np.abs(X.T @ errors).max()) * errors  # Lasso needs millions of epochs here
    dual = 0.5 * (np.square(y).mean() - np.square(y - dual_point).mean())
    objective = 0.5 * np.square(errors).mean() + alpha * np.abs(model.coef_).sum()
    assert objective - dual <= 1e-6 * 0.5 * np.square(y).mean()


@pytest.mark.parametrize("alpha", [[1e30, 1e-6, 0.0], [1e16, 1e-6, 0.0], [1e-2, 1e-2, 1e-2]])
@pytest.mark.parametrize("unit", [1.0, 1e-8])
def test_a_column_that_is_penalised_out_of_proportion_leaves_the_others_as_they_are(alpha, unit):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((100, 3)) * [unit, 1.0, 1.0]
    y = X / [unit, 1.0, 1.0] @ [1.0, 2.0, 3.0]
    model = GDLinearRegressor(penalty="l2", alpha=alpha, random_state=0).fit(X, y)
    Xc, yc = X - X.mean(axis=0), y - y.mean()
    scale = np.sqrt(np.square(Xc).mean(axis=0) + alpha)  # the normal equations with a diagonal of 1
    H = Xc.T @ Xc / 100 + np.diag(alpha)
    expected = np.linalg.solve(H / np.outer(scale, scale), Xc.T @ yc / 100 / scale) / scale
    assert_allclose(model.coef_[1:], expected[1:], rtol=1e-6)


@pytest.mark.parametrize("alpha", [1e-12, 1e-20, 1e-30, 1e-300])
def test_ridge_with_hardly_a_penalty_interpolates_where_rows_are_fewer_than_columns(alpha):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((20, 40))
    y = X @ rng.standard_normal(40) + 5.0
    assert GDLinearRegressor(penalty="l2", alpha=alpha, random_state=0).fit(X, y).score(X, y) >= 1.0 - 1e-6


@pytest.mark.parametrize("loss", ["huber", "quantile"])
def test_a_constant_target_beside_others_does_not_end_their_training(loss):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((300, 5))
    y = X @ rng.standard_normal(5) + 0.5 * rng.standard_normal(300)
    fits = [
        GDLinearRegressor(loss, epsilon=0.05, random_state=0).fit(X, np.column_stack([y, np.full(300, constant)]))
        for constant in (0.0, 1e2, 1e4, 1e8)
    ]
    for model in fits[1:]:
        assert model.n_iter_ == fits[0].n_iter_
        assert_allclose(model.coef_[0], fits[0].coef_[0], rtol=1e-9)


@pytest.mark.parametrize("params", [{"penalty": "l1", "alpha": 100.0}, {"positive": True}])
def test_coefficients_of_0_in_float32_are_no_reason_to_warn(params):
    """The loss of the mean and the objective of the fit are then sums of the same numbers in another order."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        X = rng.standard_normal((50, 3)).astype(np.float32)
        y = (-X.sum(axis=1) + rng.standard_normal(50)).astype(np.float32)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            model = GDLinearRegressor(random_state=0, **params).fit(X, y, rng.random(50))
        assert not model.coef_.any()


def test_the_unit_of_a_column_does_not_matter_to_the_lasso_of_many():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((1_000, 300))
    y = X[:, :3] @ [1.0, 2.0, 3.0] + rng.standard_normal(1_000)
    settings = dict(penalty="l1", alpha=0.1, random_state=0)
    models = [GDLinearRegressor(**settings).fit(X * np.r_[unit, np.ones(299)], y) for unit in (1e16, 1e18)]
    for model in models:
        assert model.stop_reason_ == "converged"
    assert_allclose(models[0].coef_[1:], models[1].coef_[1:], atol=1e-9)
