"""Conjugate gradients over all rows: least squares of more columns than a matrix is made for."""

import warnings

import numpy as np
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_array, issparse
from scipy.sparse.linalg import LinearOperator, cg
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LinearRegression, Ridge

from builders import name_of
from other_arrays import needs_dispatch
from sk_gdlinear import GDLinearRegressor, GDLinearRegressorCV
from sk_gdlinear._array import method as device_method
from sk_gdlinear._descent import choose_newton


@pytest.fixture(autouse=True)
def few_columns_make_no_matrix(monkeypatch):
    """Data of two columns counts as too wide for a matrix of second moments."""
    for module in (choose_newton, device_method):
        monkeypatch.setattr(module, "MOST_COLUMNS", 1)


def data(n=400, d=12, k=None, seed=0):
    """Rows with offsets, scales and correlations, and noisy targets."""
    rng = np.random.default_rng(seed)
    X = (rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + rng.normal(size=d)) * np.logspace(-1, 1, d)
    noise = rng.normal(size=n if k is None else (n, k))
    return X, X @ rng.normal(size=d if k is None else (d, k)) + 5.0 + noise


def sparse_data(n=3000, d=300, seed=0):
    """Rows of counts, ten of them not 0."""
    rng = np.random.default_rng(seed)
    columns = rng.integers(0, d, (n, 10))
    X = csr_array((np.ones(10 * n), columns.ravel(), np.arange(0, 10 * n + 1, 10)), shape=(n, d))
    X.sum_duplicates()
    return X, X @ rng.normal(size=d) + rng.normal(size=n)


def ridge(X, y, alpha=0.0):
    """Predictions and objective of ridge regression, or of least squares, by NumPy."""
    X = X.toarray() if issparse(X) else X
    Z, t = X - X.mean(axis=0), y - y.mean()
    root = np.sqrt(alpha * len(y)) * np.eye(X.shape[1])
    coef = np.linalg.lstsq(np.vstack([Z, root]), np.append(t, np.zeros(X.shape[1])), rcond=None)[0]
    return Z @ coef + y.mean(), 0.5 * np.mean((t - Z @ coef) ** 2) + 0.5 * alpha * coef @ coef


# --- the answer ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_steps_are_those_of_scipy(fit_intercept):
    """From coefficients 0, in standardized variables and with the diagonal as the preconditioner."""
    X, y = data()
    X[::50] *= 5.0  # some large rows, by which the scale of a column is not its spread
    Z, t = (X - X.mean(axis=0) * fit_intercept, y - y.mean() * fit_intercept)
    scale = np.maximum(np.sqrt((Z**2).mean(axis=0)), np.abs(Z).max(axis=0) / np.sqrt(8.0))
    H, c = (Z / scale).T @ (Z / scale) / len(y), (Z / scale).T @ t / len(y)
    for n_steps in (1, 2, 5):
        expected, _ = cg(H, c, maxiter=n_steps, atol=0.0, M=LinearOperator(H.shape, matvec=lambda v: v / np.diag(H)))
        model = GDLinearRegressor(
            precondition=True, fit_intercept=fit_intercept, max_iter=n_steps, tol=None, batch_size=8
        ).fit(X, y)
        assert_allclose(model.coef_ * scale, expected, rtol=1e-9, atol=1e-12 * np.abs(expected).max())
        assert model.n_iter_ == model.t_ == n_steps


@pytest.mark.parametrize("precondition", [True, "auto"])
@pytest.mark.parametrize("kind", ["dense", "sparse"])
@pytest.mark.parametrize("alpha", [0.0, 1e-6, 1e-2])
def test_the_answer_is_least_squares_or_ridge(kind, alpha, precondition):
    X, y = data() if kind == "dense" else sparse_data()
    params = {"penalty": "l2", "alpha": alpha} if alpha else {}
    model = GDLinearRegressor(precondition=precondition, tol=1e-12, random_state=0, **params).fit(X, y)
    exact = ridge(X, y, alpha)[0]
    assert_allclose(model.predict(X), exact, atol=2e-6 * np.ptp(y))


def test_as_many_steps_as_columns_are_exact():
    X, y = data(d=6)
    model = GDLinearRegressor(precondition=True, max_iter=7, tol=None).fit(X, y)
    assert_allclose(model.predict(X), LinearRegression().fit(X, y).predict(X), atol=1e-9 * np.ptp(y))


@pytest.mark.parametrize("params", [{}, {"penalty": "l2", "alpha": 1e-2}], ids=name_of)
def test_targets_are_fitted_as_if_alone(params):
    X, Y = data(k=3)
    params = {"precondition": True, "max_iter": 5, "tol": None} | params
    model = GDLinearRegressor(**params).fit(X, Y)
    for t in range(3):
        alone = GDLinearRegressor(**params).fit(X, Y[:, t])
        assert_allclose(model.coef_[t], alone.coef_, rtol=1e-9)
        assert model.intercept_[t] == pytest.approx(alone.intercept_)


@pytest.mark.parametrize("kind", ["dense", "sparse"])
@pytest.mark.parametrize("params", [{}, {"penalty": "l2", "alpha": 1e-2}], ids=name_of)
def test_integer_weights_are_repeated_rows(kind, params):
    X, y = data() if kind == "dense" else sparse_data(n=600, d=50)
    weight = np.random.default_rng(0).integers(0, 4, len(y))
    params = {"precondition": True, "batch_size": None, "max_iter": 6, "tol": None} | params
    model = GDLinearRegressor(**params).fit(X, y, weight)
    repeated = GDLinearRegressor(**params).fit(X[np.repeat(np.arange(len(y)), weight)], np.repeat(y, weight))
    assert_allclose(model.coef_, repeated.coef_, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("params", [{}, {"penalty": "l2", "alpha": 1e-4}], ids=name_of)
def test_float32_rows_have_the_answer_of_float64(params):
    X, y = sparse_data()
    expected = GDLinearRegressor(precondition=True, tol=1e-6, **params).fit(X, y)
    model = GDLinearRegressor(precondition=True, tol=1e-6, **params).fit(X.astype(np.float32), y.astype(np.float32))
    assert model.coef_.dtype == np.float32
    assert (model.n_iter_, model.stop_reason_) == (expected.n_iter_, expected.stop_reason_)
    assert_allclose(model.coef_, expected.coef_, atol=1e-5 * np.abs(expected.coef_).max())


@pytest.mark.parametrize("params", [{}, {"penalty": "l2", "alpha": np.linspace(0.01, 1.0, 12)}], ids=name_of)
def test_a_constant_column_has_no_coefficient(params):
    X, y = data()
    X[:, 3] = 7.0
    model = GDLinearRegressor(precondition=True, tol=1e-10, **params).fit(X, y)
    assert model.coef_[3] == 0.0
    assert model.stop_reason_ == ("converged" if params else "no_change")
    alpha = params.get("alpha", np.zeros(12))
    Z = X - X.mean(axis=0)
    expected = np.linalg.lstsq(Z.T @ Z / 400 + np.diag(alpha), Z.T @ (y - y.mean()) / 400, rcond=None)[0]
    assert_allclose(Z @ model.coef_, Z @ expected, atol=1e-6 * np.ptp(y))


@pytest.mark.parametrize("params", [{}, {"penalty": "l2", "alpha": 1e-3}], ids=name_of)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-9), ("float32", 1e-6)])
def test_rounding_does_not_add_up(dtype, tolerance, params):
    """The objective that is reported is that of the parameters, also after hundreds of steps."""
    X, y = (a.astype(dtype) for a in data(d=40))
    alpha = params.get("alpha", 0.0)
    for n_steps in (50, 300):
        model = GDLinearRegressor(precondition=True, tol=None, max_iter=n_steps, **params).fit(X, y)
        coef, error = model.coef_.astype(float), y - model.predict(X.astype(float))
        assert model.loss_curve_[-1] == pytest.approx(
            0.5 * np.mean(error**2) + 0.5 * alpha * coef @ coef, rel=tolerance
        )


def test_where_nothing_can_be_gained_steps_end_at_once():
    X, _ = data()
    model = GDLinearRegressor(precondition=True).fit(X, np.full(400, 3.0))
    assert not model.coef_.any() and model.n_iter_ <= 2


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("params", [{"tol": 1e-7}, {"tol": None, "max_iter": 60}], ids=name_of)
@pytest.mark.parametrize("penalty", [{}, {"penalty": "l2", "alpha": 1e-4}], ids=name_of)
@pytest.mark.parametrize("noise", [0.0, 0.1])
@pytest.mark.parametrize("is_balanced", [True, False])
def test_rows_that_are_alike_along_directions_leave_coefficients_small(dtype, params, penalty, noise, is_balanced):
    """One-hot codes add up to one; few steps reach the minimum, and further ones would be rounding."""
    rng = np.random.default_rng(0)
    codes = np.arange(600) % 200 if is_balanced else rng.integers(0, 200, 600)
    X = csr_array((np.ones(600), (np.arange(600), codes)), shape=(600, 200))
    y = rng.normal(size=200)[codes] + noise * rng.normal(size=600)
    model = GDLinearRegressor(precondition=True, **params, **penalty).fit(X.astype(dtype), y.astype(dtype))
    exact = ridge(X, y, penalty.get("alpha", 0.0))[0]
    assert_allclose(X @ model.coef_.astype(float) + model.intercept_, exact, atol=2e-3)
    assert np.abs(model.coef_).max() < 10.0
    assert model.n_iter_ == params.get("max_iter", model.n_iter_) <= 60


@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_columns_that_are_all_constant_have_no_coefficients(kind):
    X = np.ones((400, 5)) if kind == "dense" else csr_array((400, 5))
    model = GDLinearRegressor(random_state=0).fit(X, data()[1])
    assert not model.coef_.any()


# --- when steps end, and what is said of them -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["dense", "sparse"])
@pytest.mark.parametrize("alpha", [1e-8, 1e-4, 1e-1])
@pytest.mark.parametrize("precondition", [True, "auto"])
def test_ridge_is_called_converged_where_at_most_tol_is_left(kind, alpha, precondition):
    X, y = data() if kind == "dense" else sparse_data()
    n = len(y)

    def objective(model):
        return 0.5 * np.mean((y - model.predict(X)) ** 2) + 0.5 * alpha * model.coef_ @ model.coef_

    best = objective(Ridge(alpha * n, tol=1e-13, solver="sparse_cg", max_iter=10_000).fit(X, y))
    for tol in (1e-2, 1e-4, 1e-6):
        model = GDLinearRegressor(penalty="l2", alpha=alpha, tol=tol, precondition=precondition, random_state=0)
        model.fit(X, y)
        assert model.stop_reason_ == "converged"
        assert objective(model) - best <= tol * 0.5 * y.var()


def test_without_a_penalty_nothing_is_called_converged():
    """What is left to gain is not known without a matrix: rounding could hide it."""
    X, y = sparse_data()
    model = GDLinearRegressor(random_state=0).fit(X, y)
    assert model.stop_reason_ == "no_change"
    assert LinearRegression().fit(X, y).score(X, y) - model.score(X, y) <= 1e-4


def test_steps_that_gain_nothing_more_end_before_the_gap_is_small():
    """With hardly any penalty on columns that depend on each other the gap tells nothing."""
    rng = np.random.default_rng(0)
    X = np.vander(np.linspace(0.0, 1.0, 500), 30)[:, :-1]
    y = np.sin(6.0 * X[:, -1]) + 0.1 * rng.normal(size=500)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # which says how much may be left
        model = GDLinearRegressor(penalty="l2", alpha=1e-14, precondition=True).fit(X, y)
    assert model.stop_reason_ in ("no_change", "converged")
    assert model.n_iter_ < 300
    assert 1.0 - model.score(X, y) <= 1.02 * np.var(y - np.sin(6.0 * X[:, -1])) / y.var()


@pytest.mark.filterwarnings("error")
def test_a_penalty_too_weak_to_tell_what_is_left_warns_of_nothing():
    X, y = sparse_data()
    scale = np.where(np.arange(X.shape[1]) == 0, 1e6, 1.0)
    model = GDLinearRegressor(penalty="l2", alpha=1e-6, random_state=0).fit(csr_array(X.multiply(scale)), y)
    assert model.stop_reason_ in ("converged", "no_change")
    assert LinearRegression().fit(X, y).score(X, y) - model.score(csr_array(X.multiply(scale)), y) <= 1e-3


def test_mini_batches_come_first_and_are_left_out_where_a_penalty_makes_them_dear():
    X, y = sparse_data(n=20_000, d=6000)
    plain = GDLinearRegressor(random_state=0).fit(X, y)
    assert plain.t_ == 625 + plain.n_iter_ - 1  # an epoch of batches, and steps of one update
    ridge = GDLinearRegressor(penalty="l2", alpha=1e-3, random_state=0).fit(X, y)
    assert ridge.t_ == ridge.n_iter_ <= 10
    lasso = GDLinearRegressor(penalty="l1", alpha=0.03, random_state=0).fit(X, y)
    assert lasso.t_ == lasso.n_iter_ <= 10
    never = GDLinearRegressor(penalty="l2", alpha=1e-3, random_state=0, precondition=False, max_iter=2, tol=None)
    assert never.fit(X, y).t_ == 2 * 625


def test_verbose_says_what_steps_are_made(capsys):
    X, y = sparse_data()
    GDLinearRegressor(random_state=0, verbose=1).fit(X, y)
    assert "conjugate gradients begun after update 94, when the epochs had cost as much" in capsys.readouterr().out


def test_early_stopping_keeps_the_best_step():
    X, y = data(n=60, d=40)
    model = GDLinearRegressor(precondition=True, early_stopping=True, random_state=0).fit(X, y)
    assert model.stop_reason_ == "early_stopping"
    assert model.best_iter_ == 1 + int(np.argmin(model.validation_loss_curve_))


def test_a_warm_start_goes_on():
    X, y = sparse_data()
    cold = GDLinearRegressor(penalty="l2", alpha=1e-4, tol=1e-8, random_state=0).fit(X, y)
    warm = GDLinearRegressor(penalty="l2", alpha=1e-4, tol=1e-8, random_state=0, warm_start=True)
    again = warm.fit(X, y).fit(X, y)
    assert_allclose(again.coef_, cold.coef_, atol=1e-4 * np.abs(cold.coef_).max())
    assert len(again.loss_curve_) <= cold.n_iter_ + 3


def test_the_same_threads_give_the_same_bits():
    X, y = sparse_data(n=150_000, d=200)  # so many entries that threads are used
    fits = [GDLinearRegressor(n_jobs=2, random_state=0).fit(X, y) for _ in range(2)]
    assert_array_equal(fits[0].coef_, fits[1].coef_)
    one = GDLinearRegressor(n_jobs=1, random_state=0).fit(X, y)
    assert one.score(X, y) == pytest.approx(fits[0].score(X, y), abs=1e-4)


def test_a_search_over_strengths_is_that_of_ridge():
    X, y = sparse_data(n=1500, d=100)
    alphas = [1e-3, 1e-1, 1.0]
    search = GDLinearRegressorCV(penalty="l2", alphas=alphas, cv=3, tol=1e-8, precondition=True).fit(X, y)
    for alpha, errors in zip(search.alphas_, search.mse_path_, strict=True):
        for fold, error in enumerate(errors):
            held = np.array_split(np.arange(1500), 3)[fold]
            kept = np.setdiff1d(np.arange(1500), held)
            oracle = Ridge(alpha * len(kept), tol=1e-12).fit(X[kept], y[kept])
            assert error == pytest.approx(np.mean((y[held] - oracle.predict(X[held])) ** 2), rel=1e-3)


@needs_dispatch
@pytest.mark.parametrize("params", [{}, {"penalty": "l2", "alpha": 1e-3}], ids=name_of)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_arrays_of_another_library_have_the_answer_of_numpy(params, dtype):
    strict = pytest.importorskip("array_api_strict", reason="array_api_strict is not installed: no arrays of it")
    X, y = (a.astype(dtype) for a in data())
    weight = np.random.default_rng(0).random(len(y)).astype(dtype)
    params = {"precondition": True, "max_iter": 8, "tol": None} | params
    expected = GDLinearRegressor(**params).fit(X, y, weight)
    with sklearn.config_context(array_api_dispatch=True):
        model = GDLinearRegressor(**params).fit(*map(strict.asarray, (X, y, weight)))
    tolerance = 1e-9 if dtype == "float64" else 1e-4
    assert_allclose(np.asarray(model.coef_), expected.coef_, rtol=tolerance, atol=tolerance)
    assert_allclose(model.loss_curve_, expected.loss_curve_, rtol=tolerance)


def test_numbers_without_squares_leave_the_model_finite():
    Z, y = data()
    X = Z * np.where(np.arange(12) == 0, 1e160, np.where(np.arange(12) == 1, 1e-160, 1.0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = GDLinearRegressor(precondition=True).fit(X, y)
    assert np.isfinite(model.coef_).all()
    assert model.score(X, y) >= LinearRegression().fit(Z, y).score(Z, y) - 1e-3
