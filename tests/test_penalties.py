"""Penalties and sign constraints: the optimum of the stated objective, in the user's units, with exact zeros.

Oracles: Ridge, Lasso, ElasticNet and LinearRegression(positive=True), on standardised columns where they need that.
"""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import ElasticNet, Lasso, LinearRegression, Ridge

from sk_gdlinear import GDLinearRegressor

BATCH_SIZES = [1, "auto", None]
CLOSE = dict(tol=1e-11, max_iter=5000)


@pytest.fixture
def raw(rng):
    """Raw rows with column scales 1e-3 to 1e3, correlated and with offsets; half of the columns are idle."""
    n, d = 600, 10
    scale = rng.permutation(np.geomspace(1e-3, 1e3, d))
    Z = rng.normal(size=(n, d)) + 0.5 * rng.normal(size=(n, 1)) + rng.normal(size=d)
    coef = np.where(np.arange(d) % 2, 0.0, rng.normal(size=d))
    coef[0] = 1.0  # that not all coefficients are 0 where they must be positive
    y = Z @ coef + 0.5 * rng.normal(size=n) + 3.0
    return Z * scale, y, scale


def assert_same_optimum(model, X, y, prediction, coef, scale):
    """1e-4 of the predictions' spread, and 1e-3 of the largest coefficient in standard units."""
    error = np.linalg.norm(model.predict(X) - prediction) / np.linalg.norm(prediction - prediction.mean())
    assert error < 1e-4
    assert np.abs((model.coef_ - coef) * scale).max() < 1e-3 * np.abs(coef * scale).max()
    assert model.stop_reason_ == "converged"


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("batch_size", BATCH_SIZES)
def test_l2_is_ridge_of_alpha_times_the_number_of_rows(raw, batch_size, weighted, seed, rng):
    """Ridge adds squares where we average them."""
    X, y, _ = raw
    weight = rng.uniform(0.2, 3.0, len(y)) if weighted else None
    total = len(y) if weight is None else weight.sum()
    model = GDLinearRegressor(penalty="l2", alpha=1e-2, batch_size=batch_size, random_state=seed, **CLOSE)
    model.fit(X, y, weight)
    ridge = Ridge(alpha=1e-2 * total, solver="cholesky").fit(X, y, weight)
    assert_same_optimum(model, X, y, ridge.predict(X), ridge.coef_, X.std(axis=0))
    assert_allclose(model.predict(X), ridge.predict(X), atol=1e-6 * y.std())


@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("batch_size", BATCH_SIZES)
@pytest.mark.parametrize("l1_ratio", [1.0, 0.5])
def test_l1_and_elasticnet_are_those_of_scikit_learn(raw, batch_size, l1_ratio, positive, seed):
    """A weight per feature makes the penalty on raw columns that of the oracle on columns in standard units."""
    X, y, scale = raw
    oracle = ElasticNet(alpha=0.05, l1_ratio=l1_ratio, positive=positive, tol=1e-12, max_iter=100_000)
    if l1_ratio == 1.0:
        oracle = Lasso(alpha=0.05, positive=positive, tol=1e-12, max_iter=100_000)
        settings, data, unit = dict(penalty="l1", alpha=0.05 * scale), X, scale
    else:
        settings, data, unit = dict(penalty="elasticnet", alpha=0.05, l1_ratio=l1_ratio), X / scale, 1.0
    oracle.fit(X / scale, y)
    model = GDLinearRegressor(positive=positive, batch_size=batch_size, random_state=seed, **settings, **CLOSE)
    model.fit(data, y)
    coef = oracle.coef_ / unit
    assert_same_optimum(model, data, y, oracle.predict(X / scale), coef, unit)
    assert_array_equal(model.coef_ != 0.0, coef != 0.0)


def test_alpha_per_feature_divides_like_the_columns(raw, seed):
    """alpha / c on a column equals alpha on c times the column: the penalty is one on coefficients in user units."""
    X, y, scale = raw
    settings = dict(penalty="elasticnet", l1_ratio=1.0, random_state=seed, **CLOSE)
    by_feature = GDLinearRegressor(alpha=0.05 * scale, **settings).fit(X, y)
    by_column = GDLinearRegressor(alpha=0.05, **settings).fit(X / scale, y)
    assert_allclose(by_feature.coef_ * scale, by_column.coef_, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("batch_size", BATCH_SIZES)
def test_positive_is_linear_regression_with_positive_coefficients(raw, batch_size, seed):
    X, y, scale = raw
    oracle = LinearRegression(positive=True).fit(X / scale, y)
    model = GDLinearRegressor(positive=True, batch_size=batch_size, random_state=seed, **CLOSE).fit(X, y)
    assert_same_optimum(model, X, y, oracle.predict(X / scale), oracle.coef_ / scale, scale)
    assert_array_equal(model.coef_ > 0.0, oracle.coef_ > 0.0)
    assert (model.coef_ >= 0.0).all()


@pytest.mark.parametrize("params", [{}, {"standardize": False}, {"batch_size": None}], ids=str)
def test_known_support_is_found(rng, params, seed):
    """Orthonormal columns: the lasso is soft thresholding, in closed form."""
    Q = np.linalg.qr(np.column_stack([np.ones(200), rng.normal(size=(200, 8))]))[0][:, 1:] * np.sqrt(200)
    coef = np.array([2.0, 0.0, -1.0, 0.3, 0.0, 0.15, -0.15, 0.0])
    model = GDLinearRegressor(penalty="l1", alpha=0.2, random_state=seed, max_iter=300, **params).fit(Q, Q @ coef + 5.0)
    assert_array_equal(model.coef_ != 0.0, [True, False, True, True, False, False, False, False])
    assert_allclose(model.coef_, np.sign(coef) * np.maximum(np.abs(coef) - 0.2, 0.0), atol=1e-3)
    assert_allclose(model.intercept_, 5.0, rtol=1e-6)


@pytest.mark.parametrize("n_targets", [None, 3])
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize("params", [{}, {"standardize": False, "average": False, "learning_rate": 1e-8}], ids=str)
def test_alpha_zero_is_no_penalty_to_the_bit(raw, method, params, n_targets, seed):
    X, y, scale = raw
    y = y if n_targets is None else np.column_stack([y, -y, y**2])
    settings = dict(max_iter=5, tol=None, random_state=seed, **params)
    none = getattr(GDLinearRegressor(alpha=7.0, **settings), method)(X, y)
    for penalty, alpha in (("l2", 0.0), ("l1", np.zeros(10)), ("elasticnet", [0] * 10)):
        model = getattr(GDLinearRegressor(penalty=penalty, alpha=alpha, **settings), method)(X, y)
        assert_array_equal(model.coef_, none.coef_)
        assert model.loss_curve_ == none.loss_curve_


@pytest.mark.parametrize("penalty", ["l2", "l1", "elasticnet"])
@pytest.mark.parametrize("alpha", [1e6, 1e300])
@pytest.mark.parametrize("params", [{}, {"batch_size": None}, {"standardize": False, "learning_rate": 0.01}], ids=str)
def test_huge_alpha_leaves_the_mean_and_never_overshoots(raw, penalty, alpha, params, seed):
    X, y, scale = raw
    for columns, method in ((X / scale, "fit"), (X / scale, "partial_fit")):
        model = GDLinearRegressor(penalty=penalty, alpha=alpha, random_state=seed, **params)
        for _ in range(50 if method == "partial_fit" else 1):
            getattr(model, method)(columns, y)
        assert np.abs(model.coef_).max() <= 1e-4 * np.abs(LinearRegression().fit(columns, y).coef_).max()
        # a constant step of the user's leaves some noise of the rows in the intercept
        assert_allclose(model.intercept_, y.mean(), atol=(0.2 if "learning_rate" in params else 1e-2) * y.std())


@pytest.mark.parametrize("penalty", ["l2", "l1"])
def test_intercept_is_not_penalised(raw, penalty, seed):
    X, y, scale = raw
    settings = dict(penalty=penalty, alpha=0.05 * scale, random_state=seed, **CLOSE)
    low, high = (GDLinearRegressor(**settings).fit(X, y + shift) for shift in (0.0, 1e4))
    assert_allclose(high.coef_, low.coef_, rtol=1e-5, atol=1e-7 / scale.max())
    assert_allclose(high.intercept_ - low.intercept_, 1e4, rtol=1e-7)


@pytest.mark.parametrize("settings", [dict(penalty="l2"), dict(penalty="l1"), dict(positive=True)], ids=str)
@pytest.mark.parametrize("average", [False, True])
@pytest.mark.parametrize("k", [None, 2])
def test_penalty_acts_in_partial_fit_as_in_fit(raw, settings, average, k, seed):
    """In plain mode, epoch for epoch and to the bit."""
    X, y, scale = raw
    X, y = X / scale, y if k is None else np.column_stack([y, 1.0 - y])
    plain = dict(standardize=False, average=average, learning_rate=0.02, shuffle=False, alpha=0.5, batch_size=30)
    model = GDLinearRegressor(max_iter=4, tol=None, **plain, **settings).fit(X, y)
    stream = GDLinearRegressor(**plain, **settings)
    for _ in range(4):
        for rows in (slice(0, 300), slice(300, 600)):
            stream.partial_fit(X[rows], y[rows])
    assert_array_equal(stream.coef_, model.coef_)
    assert_array_equal(stream.intercept_, model.intercept_)
    if settings != dict(penalty="l2"):
        assert (model.coef_ == 0.0).any()


def test_one_pass_of_a_stream_has_exact_zeros_near_the_lasso(rng, seed):
    """Averaging the points before they are thresholded keeps zeros that averaging answers would smear."""
    X = rng.normal(size=(20_000, 10)) * np.geomspace(0.1, 10, 10) + 1.0
    coef = np.where(np.arange(10) < 4, 1.0, 0.0) / np.geomspace(0.1, 10, 10)
    y = X @ coef + rng.normal(size=20_000)
    alpha = 0.1 * np.geomspace(0.1, 10, 10)
    model = GDLinearRegressor(penalty="l1", alpha=alpha, random_state=seed)
    for start in range(0, 20_000, 1_000):
        model.partial_fit(X[start : start + 1_000], y[start : start + 1_000])
    assert_array_equal(model.coef_ != 0.0, coef != 0.0)
    assert_allclose(model.coef_[:4], 0.9 * coef[:4], rtol=0.05)  # soft thresholding of a coefficient of 1 by 0.1


@pytest.mark.parametrize("k", [None, 2])
@pytest.mark.parametrize("params", [{}, {"standardize": False, "learning_rate": 0.01}], ids=str)
def test_loss_curve_includes_the_penalty_in_user_units(raw, params, k, seed):
    X, y, scale = raw
    X, y = X / scale, y if k is None else np.column_stack([y, 100.0 * y])
    alpha = np.linspace(0.0, 0.2, 10)
    model = GDLinearRegressor(
        penalty="elasticnet", alpha=alpha, l1_ratio=0.3, max_iter=3, tol=None, random_state=seed, **params
    ).fit(X, y)
    coef = np.atleast_2d(model.coef_)
    penalty = (alpha * (0.3 * np.abs(coef) + 0.35 * coef**2)).sum()
    squares = 0.5 * ((model.predict(X) - y).reshape(len(X), -1) ** 2).mean(axis=0).sum()
    assert_allclose(model.loss_curve_[-1], squares + penalty, rtol=1e-10)


def test_targets_are_penalised_side_by_side(raw, seed):
    X, y, scale = raw
    Y = np.column_stack([y, 50.0 * X[:, 0] / scale[0] - y])
    settings = dict(penalty="l1", alpha=0.05 * scale, random_state=seed, **CLOSE)
    both = GDLinearRegressor(**settings).fit(X, Y)
    for target in range(2):
        alone = GDLinearRegressor(**settings).fit(X, Y[:, target])
        assert_allclose(both.coef_[target] * scale, alone.coef_ * scale, atol=1e-4 * np.abs(alone.coef_ * scale).max())


@pytest.mark.parametrize("tol", [1e-4, 0.0])
@pytest.mark.parametrize("settings", [dict(penalty="l2"), dict(penalty="l1"), dict(positive=True)], ids=str)
def test_float32_ends_cleanly_and_agrees_with_float64(raw, settings, tol, seed):
    X, y, scale = raw
    params = dict(alpha=0.05, tol=tol, max_iter=100, random_state=seed, **settings)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a tolerance of 0 may never be met
        double = GDLinearRegressor(**params).fit(X / scale, y)
        single = GDLinearRegressor(**params).fit((X / scale).astype(np.float32), y.astype(np.float32))
    assert single.coef_.dtype == np.float32
    assert_allclose(single.predict(X / scale), double.predict(X / scale), atol=1e-3 * y.std())


def test_unshuffled_rows_converge_all_the_same(raw, seed):
    """Rows in the order of y, where every batch pulls its own way: the step halves until the objective falls."""
    X, y, scale = raw
    order = np.argsort(y)
    model = GDLinearRegressor(penalty="l1", alpha=0.05 * scale, shuffle=False, tol=1e-10).fit(X[order], y[order])
    lasso = Lasso(alpha=0.05, tol=1e-12, max_iter=100_000).fit(X / scale, y)
    assert_same_optimum(model, X, y, lasso.predict(X / scale), lasso.coef_ / scale, scale)


@pytest.mark.parametrize(
    ("alpha", "message"),
    [
        ([1.0, 2.0], r"one number per feature, shape \(10,\)"),
        (np.full(10, -1.0), "finite and >= 0"),
        (np.full(10, np.nan), "finite and >= 0"),
        (np.ones((2, 10)), r"one per target and feature, shape \(1, 10\)"),
    ],
    ids=["length", "negative", "NaN", "2-D"],
)
def test_unfit_alpha_is_refused(raw, alpha, message):
    X, y, _ = raw
    with pytest.raises(ValueError, match=message):
        GDLinearRegressor(penalty="l2", alpha=alpha).fit(X, y)


@pytest.mark.parametrize("loss", ["squared_error", "huber"])
@pytest.mark.parametrize("penalty", ["l2", "l1", "elasticnet"])
def test_arrays_per_target_may_have_any_order_in_memory(rng, penalty, loss):
    X, (alpha, start) = rng.normal(size=(200, 5)), rng.uniform(0.01, 0.1, size=(2, 3, 5))
    Y = X @ rng.normal(size=(5, 3)) + rng.normal(size=(200, 3))
    models = []
    for order in (np.ascontiguousarray, np.asfortranarray):
        model = GDLinearRegressor(loss, penalty=penalty, alpha=order(alpha), random_state=0, warm_start=True)
        model.fit(X, Y, coef_init=order(start))
        model.coef_ = order(model.coef_)
        models.append(model.fit(X, Y).partial_fit(X, Y))
    assert_array_equal(models[0].coef_, models[1].coef_)
