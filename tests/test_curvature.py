"""Fits with the curvature of all rows: "converged" is a fact, on the data that people make, for every loss and penalty.

Oracles: least squares by singular values, Ridge, Lasso, bounded least squares, linear programming, and SciPy's bounded
minimiser of the objective written once more from its definition.
"""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import linprog, lsq_linear, minimize
from scipy.sparse import csr_array
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Lasso, QuantileRegressor, Ridge
from sklearn.preprocessing import PolynomialFeatures

from builders import exact_r2, least_squares
from datasets import gaussian
from own_objects import LogCosh
from sk_gdlinear import GDLinearRegressor
from sk_gdlinear._data.rows import Rows
from sk_gdlinear._descent.curvature import Curvature
from sk_gdlinear._descent.newton import ProximalNewton
from sk_gdlinear._descent.remaining_gain import EARLY
from sk_gdlinear._descent.rent_or_buy import Costs
from sk_gdlinear._descent.row_sample import SampleInspection

TOL = 1e-4  # the default


def fitted(X, y, weight=None, **params):
    """A model that says it has converged, without a warning."""
    model = GDLinearRegressor(**{"random_state": 0} | params).fit(X, y, weight)
    assert model.stop_reason_ == "converged"
    return model


def excess(model, X, y, weight=None):
    """How much of the R² of exact least squares is missing."""
    return exact_r2(X, y, weight) - model.score(X, y, weight)


def slanted(n, s, seed=0):
    """Two normal columns that differ by ``s`` times another, condition ``2 / s``; and that other."""
    u, v = np.random.default_rng(seed).normal(size=(2, n))
    return np.c_[u, u + s * v], v


@pytest.fixture
def purchases(monkeypatch):
    """The epochs before each purchase of the curvature."""
    bought, buy = [], Curvature.buy

    def count(self, objective):
        if not self.is_bought:
            bought.append(1)
        buy(self, objective)

    monkeypatch.setattr(Curvature, "buy", count)
    return bought


# --- nearly collinear columns ----------------------------------------------------------------------------------------


def taxi_trips(n=100_000):
    """Start and end in seconds since 1970, and what depends on their difference."""
    rng = np.random.default_rng(0)
    start, duration = 1.5e9 + rng.uniform(0, 9.45e7, n), rng.gamma(2, 300, n)
    return np.c_[start, start + duration], 2 + 0.7 * duration / 60 + rng.normal(size=n)


@pytest.mark.parametrize(
    "params",
    [{}, {"average": False}, {"batch_size": None}, {"shuffle": False}, {"penalty": "l2", "alpha": 1e-12}],
    ids=str,
)
def test_start_and_end_of_trips_explain_what_depends_on_the_time_between(params):
    X, y = taxi_trips()
    model = fitted(X, y, **params)
    assert excess(model, X, y) <= TOL
    assert model.n_iter_ <= 3
    if not params:
        assert_allclose(model.coef_, [-0.7 / 60, 0.7 / 60], rtol=1e-2)


@pytest.mark.parametrize("s", [1e-2, 1e-3, 1e-4, 1e-5, 2e-6])
@pytest.mark.parametrize("n", [100, 1_000, 20_000])
@pytest.mark.parametrize("params", [{}, {"penalty": "l2", "alpha": 1e-20}, {"positive": True}, {"tol": 1e-8}], ids=str)
def test_columns_of_condition_up_to_1e6_are_solved(s, n, params):
    X, y = slanted(n, s)
    y = y + 0.4 * np.random.default_rng(1).normal(size=n)
    X = X * [-1.0, 1.0] if "positive" in params else X
    model = fitted(X, y, **params)
    assert excess(model, X, y) <= params.get("tol", TOL)
    assert model.n_iter_ <= 4


@pytest.mark.parametrize("s", [1e-2, 1e-3])
def test_float32_columns_of_condition_1e3_are_solved(s):
    X, y = slanted(5_000, s)
    X, y = X.astype("f4"), (y + 0.4 * np.random.default_rng(1).normal(size=5_000)).astype("f4")
    model = fitted(X, y)
    assert model.coef_.dtype == np.float32
    assert excess(model, X.astype("f8"), y.astype("f8")) <= TOL


@pytest.mark.parametrize("batch_size", ["auto", None])
def test_columns_of_offset_1e5_spreads_are_solved_without_an_intercept(batch_size):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(3_000, 3)) + 1e5
    y = X @ [1.0, -1.0, 0.5] + rng.normal(size=3_000)
    model = fitted(X, y, fit_intercept=False, batch_size=batch_size, tol=1e-12)
    least = np.square(y - least_squares(X, y, fit_intercept=False)[2][:, 0]).mean()
    assert np.square(y - model.predict(X)).mean() - least <= 1e-4


@pytest.mark.parametrize("n_noise", [0, 160, 300])
def test_the_number_of_columns_beside_two_collinear_ones_does_not_matter(n_noise):
    X, v = slanted(20_000, 1e-4)
    rng = np.random.default_rng(2)
    X, y = np.c_[X, rng.normal(size=(20_000, n_noise))], v + 0.4 * rng.normal(size=20_000)
    assert excess(fitted(X, y), X, y) <= TOL


def test_a_penalty_on_collinear_columns_has_the_optimum_of_ridge_and_of_the_lasso():
    X, v = slanted(20_000, 1e-4)
    y = v + 0.4 * np.random.default_rng(2).normal(size=20_000)
    model, oracle = fitted(X, y, penalty="l2", alpha=1e-10), Ridge(alpha=2e-6, solver="svd").fit(X, y)
    assert_allclose(model.coef_, oracle.coef_, rtol=1e-4)
    X, v = slanted(500, 1e-2)
    model = fitted(X, v, penalty="l1", alpha=1e-5, tol=1e-10)
    oracle = Lasso(alpha=1e-5, tol=1e-12, max_iter=10**6).fit(X, v)
    assert_allclose(model.coef_, oracle.coef_, rtol=1e-4)


def test_coefficients_of_collinear_columns_are_right_at_the_default_tolerance():
    """Not only the predictions."""
    X, v = slanted(20_000, 1e-3)
    y = v + 0.4 * np.random.default_rng(2).normal(size=20_000)
    assert_allclose(fitted(X, y).coef_, least_squares(X, y)[0][0], rtol=1e-6)


@pytest.mark.parametrize("batch_size", ["auto", 1, 300])
def test_the_optimum_is_that_of_weighted_least_squares(batch_size, rng):
    Z, y = gaussian(300, 4, seed=1)
    X, weight = Z[:, :1] + 0.1 * Z, rng.integers(0, 4, 300).astype(float)
    model = GDLinearRegressor(batch_size=batch_size, tol=1e-13, random_state=0).fit(X, y, weight)
    coef, intercept, _ = least_squares(X, y, weight)
    assert_allclose([*model.coef_, model.intercept_], [*coef[0], *intercept], rtol=1e-9)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("n", [300, 20_000])
@pytest.mark.parametrize("k", [None, 2])
def test_several_targets_and_dtypes_take_few_epochs(n, k, dtype):
    Z, y = gaussian(n, 5, k, seed=3)
    X = (Z[:, :1] + 0.02 * Z).astype(dtype)
    model = fitted(X, y)
    assert model.n_iter_ <= 3
    assert excess(model, X.astype(float), y) <= TOL


# --- what people make of columns -------------------------------------------------------------------------------------


@pytest.mark.parametrize("load", [load_diabetes, load_breast_cancer])
@pytest.mark.parametrize("penalty", [None, "l2", "l1", "positive"])
def test_products_of_pairs_of_columns_are_solved(load, penalty):
    """65 and 495 columns."""
    X, y = load(return_X_y=True)
    X = PolynomialFeatures(2, include_bias=False).fit_transform((X - X.mean(axis=0)) / X.std(axis=0))
    X = X / X.std(axis=0)
    Z, t = X - X.mean(axis=0), y - y.mean()
    alpha = 1e-3 * y.std() if penalty == "l1" else 1e-3
    params = {"positive": True} if penalty == "positive" else {"penalty": penalty, "alpha": alpha}
    model, value = fitted(X, y.astype(float), **params), lambda w: 0.0
    if penalty is None:
        coef = np.linalg.lstsq(Z, t, rcond=1e-12)[0]
    elif penalty == "l2":
        coef, value = Ridge(alpha=alpha * len(y), solver="svd").fit(X, y).coef_, lambda w: alpha / 2 * w @ w
    elif penalty == "l1":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            coef = Lasso(alpha=alpha, tol=1e-8, max_iter=2_000).fit(X, y).coef_
        value = lambda w: alpha * np.abs(w).sum()  # noqa: E731
    else:
        coef = lsq_linear(Z, t, (0.0, np.inf), method="bvls", lsq_solver="exact").x
    least = np.square(Z @ coef - t).mean() / 2 + value(coef)
    got = np.square(model.predict(X) - y).mean() / 2 + value(model.coef_)
    assert got - least <= TOL * y.var() / 2


def test_powers_of_a_column_are_solved():
    rng = np.random.default_rng(0)
    x = rng.uniform(0.0, 10.0, 5_000)
    X, y = x[:, None] ** np.arange(1, 8), np.sin(x) + 0.1 * rng.normal(size=5_000)
    assert excess(fitted(X, y), X, y) <= TOL


# --- samples that mislead --------------------------------------------------------------------------------------------


def test_heavy_tails_are_solved_although_a_sample_of_rows_misses_them():
    rng = np.random.default_rng(1)
    g = rng.lognormal(0, 3, 20_000)
    X = np.c_[g, g * (1 + 0.01 * rng.normal(size=20_000))]
    assert fitted(X, X[:, 0] - X[:, 1]).score(X, X[:, 0] - X[:, 1]) >= 1.0 - TOL


@pytest.mark.parametrize("params", [{}, {"penalty": "l2", "alpha": 1e-12}, {"average": False}], ids=str)
def test_a_row_that_matters_among_50_000_is_not_missed(params):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(50_000, 6))
    X[:, 5] = 0.0
    X[3000, 5] = 1.0
    y = X[:, :5].sum(axis=1) + rng.normal(size=50_000) + 1e5 * X[:, 5]
    assert excess(fitted(X, y, **params), X, y) <= TOL


@pytest.mark.parametrize("n", [300, 20_000])
@pytest.mark.parametrize("params", [{}, {"average": False}, {"batch_size": None}], ids=str)
def test_without_curvature_converged_is_a_fact_too(n, params):
    """Where the noise of the mini-batches leaves more than ``tol``, a warning says that it has not converged."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, 10))
    y = X.sum(axis=1) + 3.0 * rng.normal(size=n)
    model = GDLinearRegressor(random_state=0, precondition=False, max_iter=50, **params)
    if "average" in params:
        with pytest.warns(ConvergenceWarning, match="max_iter=50"):
            assert excess(model.fit(X, y), X, y) > TOL
    else:
        assert excess(model.fit(X, y), X, y) <= TOL
        assert model.stop_reason_ == "converged"


def sorted_rows(seed=0, n=5_000):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 5))
    y = X.sum(axis=1) + rng.normal(size=n)
    order = np.argsort(y)
    return X[order], y[order]


@pytest.mark.parametrize("precondition", ["auto", True])
def test_rows_sorted_by_the_target_and_not_shuffled_are_solved(precondition):
    X, y = sorted_rows()
    assert excess(fitted(X, y, shuffle=False, precondition=precondition), X, y) <= TOL


@pytest.mark.parametrize("loss", ["squared_error", "huber", "quantile"])
def test_a_fit_that_the_mean_replaces_says_so(loss):
    """Sorted rows in their own order, whose last batches pull the model away, and only one epoch."""
    X, y = sorted_rows(seed=4, n=20_000)
    settings = dict(precondition=False, average=False, shuffle=False, max_iter=1, random_state=0)
    model = GDLinearRegressor(loss, tol=None, **settings)
    with pytest.warns(ConvergenceWarning, match="so the model predicts the mean. Use precondition=True"):
        model.fit(X, y)
    assert_array_equal(model.coef_, 0.0)
    assert_allclose(model.predict(X), y.mean())
    with pytest.warns(ConvergenceWarning, match="predicts the mean.* max_iter=1 epochs were not enough"):
        GDLinearRegressor(loss, **settings).fit(X, y)


@pytest.mark.parametrize("shape", [(5_000, 20), (20_000, 190)], ids=str)
def test_unaveraged_descent_is_solved_as_well(shape):
    """Its noise does not fall, whatever its gains look like."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=shape)
    y = X[:, :3].sum(axis=1) + 1.3 * rng.normal(size=len(X))
    assert excess(fitted(X, y, average=False), X, y) <= TOL


@pytest.mark.parametrize("loss", ["squared_error", "huber"])
def test_epochs_whose_gains_shrink_are_not_taken_for_the_end(loss):
    """Before the curvature is bought a sample of the rows has to agree."""
    Z, _ = gaussian(20_000, 190)
    X = np.c_[Z[:, 0] + 1e-2 * Z[:, 1], Z[:, 0], Z[:, 2:]]
    y = Z[:, 1] + Z[:, 2] + 0.3 * Z[:, 0]
    model, easy = fitted(X, y, loss=loss), fitted(Z, y, loss=loss)
    assert model.loss_curve_[-1] - easy.loss_curve_[-1] <= 2 * TOL * y.var() / 2


def test_float32_coefficients_beyond_their_range_are_refused():
    rng = np.random.default_rng(0)
    X, y = (1e-30 * rng.normal(size=(100, 2))).astype("f4"), (1e20 * rng.normal(size=100)).astype("f4")
    model = GDLinearRegressor(random_state=0)
    with pytest.raises(ValueError, match="no number in float32.*Pass float64"):
        model.fit(X, y)
    assert not hasattr(model, "coef_")
    assert np.isfinite(fitted(X.astype("f8"), y.astype("f8")).coef_).all()


# --- the end of training ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("loss", ["squared_error", "huber"])
def test_as_many_columns_as_rows_converge(seed, loss):
    """Of uniform numbers, without an intercept; the optimum is 0."""
    rng = np.random.RandomState(seed)
    X, y = rng.rand(100, 100), rng.rand(100)
    model = fitted(X, y, fit_intercept=False, loss=loss)
    assert model.loss_curve_[-1] <= TOL * np.square(y).mean() / 2


@pytest.mark.parametrize("n", [5, 30])
@pytest.mark.parametrize("params", [{}, {"loss": "huber"}, {"loss": "quantile"}, {"penalty": "l1"}], ids=str)
def test_a_hundred_epochs_are_enough_for_few_rows(n, params):
    X, y = gaussian(n, 3)
    assert fitted(X, y, max_iter=100, **params).stop_reason_ == "converged"


@pytest.mark.parametrize(
    "params", [{}, {"penalty": "l2"}, {"penalty": "l1"}, {"loss": "huber"}, {"loss": "quantile"}], ids=str
)
def test_a_tolerance_of_0_ends_where_rounding_does(params):
    X, y = gaussian(500, 3)
    assert fitted(X, y, tol=0, max_iter=100, **params).n_iter_ <= 60


@pytest.mark.parametrize("dtype", ["f8", "f4"])
def test_penalised_fits_at_a_tiny_tolerance_have_ten_digits(dtype):
    X, y = (a.astype(dtype) for a in gaussian(500, 4))
    Z, t = (a.astype("f8") for a in (X, y))
    ridge = Ridge(alpha=0.1 * 500, solver="svd", tol=1e-15).fit(Z, t)
    lasso = Lasso(alpha=0.1, tol=1e-15, max_iter=10**6).fit(Z, t)
    for penalty, oracle in (("l2", ridge), ("l1", lasso)):
        model = fitted(X, y, penalty=penalty, alpha=0.1, tol=1e-20)
        assert_allclose(model.coef_, oracle.coef_, rtol=1e-10 if dtype == "f8" else 1e-5, atol=1e-12)


@pytest.mark.parametrize(
    "params", [{}, {"loss": "huber"}, {"penalty": "l1", "alpha": 0.1}, {"precondition": False}], ids=str
)
def test_a_warm_start_from_the_optimum_never_rises_and_ends_soon(params):
    X, y = gaussian(5_000, 6)
    model = GDLinearRegressor(warm_start=True, random_state=0, **params).fit(X, y)
    reached, n_epochs = model.loss_curve_[-1], len(model.loss_curve_)
    model.fit(X, y)
    assert model.n_iter_ <= 3
    assert max(model.loss_curve_[n_epochs:]) <= reached + 1e-6 * y.var()


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    "params", [{}, {"average": False}, {"penalty": "l1"}, {"positive": True}, {"precondition": False}], ids=str
)
def test_squared_errors_are_balanced(params, weighted):
    """Their mean is 0, up to rounding of a large offset."""
    X, y = gaussian(3_000, 4)
    X, y, weight = X + [1e3, 0.0, -5.0, 1.0], y + 1e3, np.linspace(0.1, 3.0, 3_000) if weighted else None
    model = GDLinearRegressor(random_state=0, **params).fit(X, y, weight)
    assert abs(np.average(model.predict(X) - y, weights=weight)) <= 1e-9


# --- every loss and penalty ------------------------------------------------------------------------------------------


def huber(e):
    psi = np.clip(e, -1.35, 1.35)
    return psi * (e - psi / 2), psi


LOSSES = {
    "squared_error": ({"loss": "squared_error"}, lambda e: (e**2 / 2, e)),
    "huber": ({"loss": "huber"}, huber),
    "own": ({"loss": LogCosh(1.5)}, lambda e: (LogCosh(1.5).value(e), 1.5 * np.tanh(e / 1.5))),
}
EACH = np.array([0.01, 0.0, 0.3, 0.05])
PENALTIES = {
    "none": ({}, 0.0, 0.0),
    "l2": ({"penalty": "l2", "alpha": 0.1}, 0.0, 0.1),
    "l1": ({"penalty": "l1", "alpha": 0.1}, 0.1, 0.0),
    "elasticnet": ({"penalty": "elasticnet", "alpha": 0.2, "l1_ratio": 0.5}, 0.1, 0.1),
    "l1 per feature": ({"penalty": "l1", "alpha": EACH}, EACH, 0.0),
    "l2 per feature": ({"penalty": "l2", "alpha": EACH}, 0.0, EACH),
    "positive": ({"positive": True}, 0.0, 0.0),
    "positive l1": ({"penalty": "l1", "alpha": 0.1, "positive": True}, 0.1, 0.0),
}


def least_objective(definition, X, y, s, l1, l2, positive, fit_intercept):
    """By a bounded minimiser in the positive and negative parts of the coefficients."""
    d, s = X.shape[1], s / s.sum()
    signed = np.column_stack([X, -X, np.ones(len(y))])

    def objective(theta):
        value, psi = definition(signed @ theta - y)
        w = theta[:d] - theta[d : 2 * d]
        penalty = (l1 * (theta[:d] + theta[d : 2 * d])).sum() + (l2 * w**2).sum() / 2
        slope = np.concatenate([l1 + l2 * w, l1 - l2 * w, [0.0]])
        return s @ value + penalty, signed.T @ (s * psi) + slope

    kinks = positive | (l1 > 0.0)  # elsewhere one part is enough, which may have either sign
    bounds = [(0.0 if kink else None, None) for kink in kinks]
    bounds += [(0.0, None if kink and not positive else 0.0) for kink in kinks]
    bounds.append((None, None) if fit_intercept else (0.0, 0.0))
    theta = np.zeros(2 * d + 1)
    for method, options in (("SLSQP", {"ftol": 1e-15, "maxiter": 1_000}), ("L-BFGS-B", {"ftol": 1e-16, "gtol": 1e-10})):
        theta = minimize(objective, theta, jac=True, bounds=bounds, method=method, options=options).x
    return objective(theta)[0]


def value_of(definition, model, X, Y, s, l1, l2):
    """The objective of a model, summed over targets, by its definition."""
    coef, total = np.atleast_2d(model.coef_).astype(float), 0.0
    for t in range(Y.shape[1]):
        e = X @ coef[t] + np.atleast_1d(model.intercept_)[t] - Y[:, t]
        total += s @ definition(e)[0] / s.sum() + (l1 * np.abs(coef[t]) + l2 * coef[t] ** 2 / 2).sum()
    return total


@pytest.mark.parametrize("variant", ["plain", "weighted", "targets", "no intercept", "sparse", "float32"])
@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("loss", LOSSES)
def test_the_optimum_is_reached_with_every_loss_and_penalty(loss, penalty, variant):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 4)) + rng.normal(size=(400, 1)) + (0.0 if variant == "no intercept" else 2.0)
    if variant == "sparse":
        X = X * (rng.random((400, 4)) < 0.5)
    Y = X @ np.array([[1.0, -2.0, 0.5, 0.0], [0.0, 3.0, 3.0, -1.0]]).T + 3.0 + rng.standard_t(3, size=(400, 2))
    Y = Y if variant == "targets" else Y[:, :1]
    s = rng.uniform(0.1, 3.0, 400) if variant == "weighted" else np.ones(400)
    (of_loss, definition), (of_penalty, l1, l2) = LOSSES[loss], PENALTIES[penalty]
    l1, l2 = np.broadcast_to(l1, 4), np.broadcast_to(l2, 4)
    intercept, positive = variant != "no intercept", "positive" in penalty
    given = X.astype("f4") if variant == "float32" else csr_array(X) if variant == "sparse" else X
    targets = Y.astype("f4") if variant == "float32" else Y
    X, Y = (given.astype("f8"), targets.astype("f8")) if variant == "float32" else (X, Y)
    tol = 1e-4 if variant == "float32" else 1e-9
    settings = of_loss | of_penalty | {"fit_intercept": intercept, "tol": tol}
    model = fitted(
        given, targets if variant == "targets" else targets[:, 0], s if variant == "weighted" else None, **settings
    )
    least = sum(least_objective(definition, X, y, s, l1, l2, positive, intercept) for y in Y.T)
    got = value_of(definition, model, X, Y, s, l1, l2)
    assert -1e-7 <= (got - least) / definition(Y - np.median(Y, axis=0))[0].mean() <= max(tol, 1e-8)
    assert not positive or (np.array(model.coef_) >= 0.0).all()
    assert_allclose(model.loss_curve_[-1], got, rtol=1e-4 if variant == "float32" else 1e-9)
    assert model.n_iter_ <= 40


@pytest.mark.parametrize("penalty", ["none", "l1", "l1 per feature", "positive", "positive l1"])
@pytest.mark.parametrize("quantile", [0.5, 0.9])
@pytest.mark.parametrize("weighted", [False, True])
def test_quantiles_reach_the_optimum_of_linear_programming(penalty, quantile, weighted):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 4)) + rng.normal(size=(200, 1)) + 2.0
    y = X @ [1.0, -2.0, 0.5, 0.0] + 3.0 + rng.standard_t(3, size=200)
    s = rng.uniform(0.1, 3.0, 200) if weighted else np.ones(200)
    s, (of_penalty, l1, _) = s / s.sum(), PENALTIES[penalty]
    l1, positive = np.broadcast_to(l1, 4), "positive" in penalty
    model = fitted(X, y, s if weighted else None, loss="quantile", quantile=quantile, **of_penalty)
    cost = np.concatenate([l1, l1, [0.0], quantile * s, (1.0 - quantile) * s])
    equations = np.column_stack([X, -X, np.ones(200), np.eye(200), -np.eye(200)])
    bounds = [(0, None)] * 4 + [(0, 0 if positive else None)] * 4 + [(None, None)] + [(0, None)] * 400
    least = linprog(cost, A_eq=equations, b_eq=y, bounds=bounds).fun
    e = y - model.predict(X)
    got = s @ np.maximum(quantile * e, (quantile - 1.0) * e) + l1 @ np.abs(model.coef_)
    assert got - least <= 5e-4 * least


@pytest.mark.parametrize("quantile", [0.03, 0.1, 0.5, 0.9, 0.97])
@pytest.mark.parametrize("kind", ["0/1", "counts", "prices", "ratings", "signal"])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_quantiles_of_targets_with_ties_are_found(quantile, kind, seed):
    """Within a few ``tol`` of linear programming, and no worse than that than the best constant."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(2_000, 3))
    signal = X @ [0.5, -0.5, 0.0]
    y = {
        "0/1": rng.integers(0, 2, 2_000).astype(float),
        "counts": rng.poisson(np.exp(0.3 * signal)).astype(float),
        "prices": np.round(20.0 + 5.0 * signal + rng.normal(size=2_000)) - 0.01,
        "ratings": np.clip(np.round(3.0 + rng.normal(size=2_000)), 1.0, 5.0),
        "signal": (rng.random(2_000) < 1.0 / (1.0 + np.exp(-3.0 * signal))).astype(float),
    }[kind]

    def loss(prediction):
        return np.maximum(quantile * (y - prediction), (quantile - 1.0) * (y - prediction)).mean()

    model = fitted(X, y, loss="quantile", quantile=quantile)
    oracle = loss(QuantileRegressor(quantile=quantile, alpha=0.0).fit(X, y).predict(X))
    constant = loss(np.quantile(y, quantile, method="inverted_cdf"))
    assert loss(model.predict(X)) <= oracle * (1.0 + 5e-4) + 1e-12
    assert loss(model.predict(X)) <= constant * (1.0 + 5e-4)


@pytest.mark.parametrize("loss", [{"loss": "huber", "epsilon": 1.0}, {"loss": "quantile", "quantile": 0.8}], ids=str)
def test_other_losses_are_solved_on_nearly_collinear_columns(loss):
    """The objective has the minimum of the same space in other columns."""
    Z, _ = gaussian(1_000, 4, seed=4)
    y = Z @ np.arange(1.0, 5.0) + np.random.default_rng(0).standard_t(2, 1_000)
    for s in (0.05, 1e-3, 1e-5):
        slanting, easy = (fitted(A, y, **loss) for A in (Z[:, :1] + s * Z, Z))
        assert slanting.loss_curve_[-1] <= easy.loss_curve_[-1] * (1.0 + 5e-4)


# --- rank deficiency -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("precondition", ["auto", True])
@pytest.mark.parametrize("kind", [np.asarray, csr_array], ids=["dense", "sparse"])
@pytest.mark.parametrize("k", [None, 3])
@pytest.mark.parametrize("shape", ["copies", "categories", "wide"])
def test_rank_deficient_columns_have_the_coefficients_of_minimum_norm_in_unit_variance(shape, k, kind, precondition):
    rng = np.random.default_rng(0)
    if shape == "copies":
        Z = rng.normal(size=(500, 3))
        X = np.c_[Z, 2.0 * Z[:, 0], Z[:, 1] - 3.0 * Z[:, 2]] + 1.0
    elif shape == "categories":  # which add up to a constant
        X = np.c_[np.eye(5)[rng.integers(0, 5, 1_000)], rng.normal(size=1_000)]
    else:
        X = rng.normal(size=(20, 50)) * np.geomspace(0.01, 100.0, 50)
    y = rng.normal(size=len(X)) if k is None else rng.normal(size=(len(X), k))
    unit = X.std(axis=0)
    model = fitted(kind(X), y, tol=1e-12, precondition=precondition)
    Z = (X - X.mean(axis=0)) / unit
    expected = (np.linalg.pinv(Z, rcond=1e-10) @ (y - y.mean(axis=0))).T
    assert_allclose(model.coef_ * unit, expected, rtol=1e-6, atol=1e-8)


def test_columns_closer_than_condition_1e6_count_as_one_and_share_what_they_explain():
    X, _ = slanted(2_000, 1e-8)
    y = X[:, 0] + 0.1 * np.random.default_rng(3).normal(size=2_000)
    model = fitted(X, y)
    assert_allclose(model.coef_, np.polyfit(X[:, 0], y, 1)[0] / 2, rtol=1e-5)


@pytest.mark.parametrize("alpha", [1e-6, 0.1])
@pytest.mark.parametrize("kind", [np.asarray, csr_array], ids=["dense", "sparse"])
def test_fewer_rows_than_columns_have_the_optimum_of_ridge(alpha, kind):
    """Also beside a column that is constant."""
    rng = np.random.default_rng(0)
    X, y = np.c_[rng.normal(size=(15, 40)), np.full(15, 3.0)], rng.normal(size=15)
    weight = rng.integers(0, 3, 15).astype(float)
    model = fitted(kind(X), y, weight, penalty="l2", alpha=alpha, tol=1e-12)
    oracle = Ridge(alpha=alpha * weight.sum(), solver="svd").fit(X, y, weight)
    assert_allclose(model.coef_, oracle.coef_, rtol=1e-7, atol=1e-9)


# --- rent or buy -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tol", [TOL, 1e-8])
def test_large_well_conditioned_data_never_buys(tol, purchases):
    X, y = gaussian(20_000, 400)
    model = fitted(X, y, tol=tol)
    assert purchases == []
    assert model.n_iter_ <= 8 and model.t_ == model.n_iter_ * 625
    assert excess(model, X, y) <= TOL


@pytest.mark.parametrize("tol", [1e-5, 1e-6])
def test_large_well_conditioned_data_that_never_buys_has_at_most_tol_left(tol, purchases):
    """The gradient of all rows and second moments of a sample say so; no pass verifies it."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(50_000, 300))
    y = X @ rng.normal(size=300) / np.sqrt(300) + 0.3 * rng.normal(size=50_000)
    model = fitted(X, y, tol=tol)
    assert purchases == []
    assert excess(model, X, y) <= tol


def test_small_data_buys_after_one_epoch(purchases):
    X, y = load_diabetes(return_X_y=True)
    model = fitted(X, y)
    assert purchases == [1]
    assert model.n_iter_ == 2
    assert model.t_ == 14 + 1  # batches of 32 of 442 rows, and a step with the curvature


def test_badly_conditioned_large_data_buys_once_it_has_paid_for_it(purchases):
    Z, y = gaussian(20_000, 190)
    X = Z[:, :1] + 1e-3 * Z
    model = fitted(X, y)
    assert purchases == [1]
    epochs = model.n_iter_ - (model.t_ - model.n_iter_ * 625) // (1 - 625)
    assert 2 <= epochs <= 6
    assert excess(model, X, y) <= TOL


def test_errors_that_are_all_where_the_loss_does_not_curve_are_no_sign_of_an_optimum():
    """Huber's epsilon of 1e-7 beside errors of 100: mini-batches hardly move, and a sample knows no curvature."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40_000, 60))
    y = 100.0 * X[:, 0] + rng.normal(size=40_000)
    model = fitted(X, y, loss="huber", epsilon=1e-7)
    assert np.abs(model.predict(X) - y).mean() <= 1.001 * np.abs(X[:, 0] * 100.0 - y).mean()


@pytest.mark.parametrize("loss", ["squared_error", "huber"])
def test_true_buys_at_once_and_false_never(loss, purchases):
    """But for losses whose curvature changes what is left to gain is computed with that of all rows, at the end."""
    X, y = gaussian(1_000, 5)
    model = fitted(X, y, loss=loss, precondition=True)
    assert purchases == [1]
    assert model.t_ == model.n_iter_
    model = fitted(X, y, loss=loss, precondition=False)
    assert purchases == ([1] if loss == "squared_error" else [1, 1])
    assert model.t_ == 32 * model.n_iter_


@pytest.mark.parametrize(
    "params", [{"standardize": False}, {"learning_rate": 0.1}, {"schedule": "invscaling"}], ids=str
)
def test_plain_descent_is_left_alone(params, purchases):
    """Neither without standardizing nor at a step or a schedule of the user's own is the curvature bought."""
    Z, y = gaussian(200, 3, seed=2)
    X = Z[:, :1] + 0.01 * Z
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        models = [
            GDLinearRegressor(max_iter=30, random_state=0, precondition=p, **params).fit(X, y) for p in ("auto", False)
        ]
    assert purchases == []
    assert_array_equal(*(model.coef_ for model in models))
    assert excess(models[0], X, y) > 1e-3


def test_one_target_is_fitted_as_part_of_several():
    X, Y = gaussian(800, 4, 3)
    together = fitted(X, Y, tol=1e-12)
    for t in range(3):
        assert_allclose(together.coef_[t], fitted(X, Y[:, t], tol=1e-12).coef_, rtol=1e-9)


@pytest.mark.parametrize("max_iter", [2, 3, 5])
@pytest.mark.parametrize("precondition", [False, True])
def test_sparse_rows_go_the_way_of_dense_ones(max_iter, precondition):
    rng = np.random.default_rng(5)
    Z = rng.normal(size=(3_000, 6)) * (rng.random((3_000, 6)) < 0.3)
    X = Z + 0.9 * np.roll(Z, 1, axis=1)
    y, weight = X @ np.arange(6.0) + rng.normal(size=3_000), rng.integers(0, 3, 3_000).astype(float)
    params = dict(max_iter=max_iter, tol=None, random_state=0, batch_size=7, precondition=precondition)
    dense, sparse = (GDLinearRegressor(**params).fit(A, y, weight) for A in (X, csr_array(X)))
    assert_allclose(sparse.coef_, dense.coef_, rtol=1e-8)
    assert_allclose(sparse.intercept_, dense.intercept_, rtol=1e-8)


# --- epochs with the curvature ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "params", [{}, {"loss": "huber"}, {"penalty": "l1", "alpha": 0.01}, {"positive": True}], ids=str
)
@pytest.mark.parametrize("precondition", ["auto", True])
def test_the_loss_curve_falls_through_a_purchase(params, precondition, purchases):
    Z, y = gaussian(2_000, 6)
    y = y + np.random.default_rng(1).standard_t(2, 2_000)
    model = fitted(Z[:, :1] + 0.01 * Z, y, precondition=precondition, tol=1e-10, **params)
    assert len(purchases) == 1
    assert len(model.loss_curve_) == model.n_iter_
    assert (np.diff(model.loss_curve_) <= 1e-12 * model.loss_curve_[0]).all()


class Recorder:
    """Counts epochs, and stops after some."""

    def __init__(self, stop_after=None):
        self.stop_after, self.n_epochs, self.coefs = stop_after, 0, []

    def setup(self, estimator, context):
        pass

    def teardown(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context):
        pass

    def on_fit_task_end(self, estimator, context, *, X, y, metadata, fitted_estimator):
        if context.task_name == "epoch":
            self.n_epochs += 1
            self.coefs.append(fitted_estimator.coef_)
            return self.n_epochs == self.stop_after
        return None


def test_callbacks_are_called_for_epochs_with_the_curvature_and_may_stop_after_one():
    pytest.importorskip("sklearn.callback", reason="this scikit-learn has no callbacks")
    X, y = gaussian(1_000, 5)
    settings = dict(loss="huber", epsilon=0.2, precondition=True, tol=1e-12, random_state=0)
    recorder = Recorder()
    whole = GDLinearRegressor(**settings).set_callbacks(recorder).fit(X, y)
    assert recorder.n_epochs == whole.n_iter_ > 2
    assert_array_equal(recorder.coefs[-1], whole.coef_)
    stopped = GDLinearRegressor(**settings).set_callbacks(Recorder(stop_after=2)).fit(X, y)
    assert (stopped.stop_reason_, stopped.n_iter_) == ("callback", 2)
    assert_array_equal(stopped.coef_, recorder.coefs[1])


@pytest.mark.parametrize(("precondition", "call"), [("auto", 2), (True, 2), (True, 3)])
def test_ctrl_c_in_an_epoch_with_the_curvature_keeps_the_last_complete_one(monkeypatch, precondition, call):
    X, y = gaussian(1_000, 5)
    y = y + 5.0 * np.random.default_rng(1).standard_t(1.5, 1_000)  # if the loss curves at all errors one step is enough
    settings = dict(loss="huber", precondition=precondition, random_state=0)
    n_complete = call - 1 + (precondition == "auto")
    expected = GDLinearRegressor(max_iter=n_complete, tol=None, **settings).fit(X, y)
    move, calls = ProximalNewton.move, []

    def interrupted(self, *arguments):
        calls.append(1)
        if len(calls) == call:
            raise KeyboardInterrupt
        return move(self, *arguments)

    monkeypatch.setattr(ProximalNewton, "move", interrupted)
    model = GDLinearRegressor(tol=1e-12, **settings)
    with pytest.raises(KeyboardInterrupt, match=f"interrupted after {n_complete} complete epoch"):
        model.fit(X, y)
    assert (model.n_iter_, model.t_, model.stop_reason_) == (n_complete, expected.t_, "interrupted")
    assert_allclose(model.coef_, expected.coef_, rtol=1e-9)


@pytest.mark.parametrize("loss", ["squared_error", "huber"])
@pytest.mark.parametrize("precondition", ["auto", True])
def test_a_validation_set_stops_epochs_with_the_curvature_and_keeps_the_best(loss, precondition, purchases):
    X, y = gaussian(300, 60)
    y = y + 5.0 * np.random.default_rng(1).normal(size=300)
    model = GDLinearRegressor(loss, precondition=precondition, random_state=0)
    model.fit(X[:150], y[:150], X_val=X[150:], y_val=y[150:])
    assert model.stop_reason_ == "early_stopping" and len(purchases) == 1
    curve = model.validation_loss_curve_
    assert curve[model.best_iter_ - 1] == min(curve)
    if loss == "squared_error":
        assert_allclose(np.square(model.predict(X[150:]) - y[150:]).mean() / 2, min(curve), rtol=1e-9)
    held_out = GDLinearRegressor(loss, precondition=precondition, early_stopping=True, random_state=0).fit(X, y)
    assert held_out.stop_reason_ == "early_stopping"


def test_a_warm_start_goes_on_with_the_curvature_after_rows_have_changed():
    X, y = gaussian(1_000, 5)
    model = fitted(X, y, warm_start=True)
    model.fit(X, -2.0 * y)
    assert model.stop_reason_ == "converged" and model.n_iter_ <= 3
    assert excess(model, X, -2.0 * y) <= TOL


# --- converged is a fact ---------------------------------------------------------------------------------------------


def random_data(rng):
    """Rows of a kind that people have, few or many, and targets with or without noise."""
    n, d = int(np.exp(rng.uniform(np.log(5), np.log(20_000)))), int(rng.integers(1, 12))
    kind, X = rng.integers(0, 6), rng.normal(size=(n, d))
    if kind == 1:
        X = X @ rng.normal(size=(d, d)) * 10.0 ** rng.uniform(-3, 3, d)
        X[:, 0] = X[:, -1] * (1.0 + 10.0 ** -rng.uniform(1, 5) * rng.normal(size=n))
    elif kind == 2:
        X = rng.lognormal(0.0, rng.uniform(0.5, 3.0), size=(n, d))
    elif kind == 3:
        X = (rng.random((n, d)) < 10.0 ** rng.uniform(-3, -0.3, d)).astype(float)
    elif kind == 4:
        X = rng.uniform(-1.0, 2.0, (n, 1)) ** np.arange(1, min(d, 6) + 1)
    elif kind == 5:
        X[:, d // 2 :] = X[:, : d - d // 2]
    spread = np.where(X.std(axis=0) > 0.0, X.std(axis=0), 1.0)
    X = X + rng.choice([0.0, 0.0, 10.0, 1e3]) * spread
    signal = (X - X.mean(axis=0)) @ (rng.normal(size=X.shape[1]) / spread)
    if rng.random() < 0.5:  # along the directions in which the columns differ little, too
        U = np.linalg.svd((X - X.mean(axis=0)) / spread, full_matrices=False)[0]
        signal = U @ rng.normal(size=U.shape[1]) * np.sqrt(n)
    noise = rng.choice([0.0, 0.3, 3.0]) * (signal.std() + 0.1) * rng.standard_t(4, size=n)
    return X, signal + noise, rng.uniform(0.1, 3.0, n) if rng.random() < 0.3 else None


def relative_gap(X, y, weight, penalty, alpha, params):
    """How much of the objective of the mean is left, and whether there was a warning.

    It is None where columns have a condition beyond 1e6, or targets do not vary.
    """
    s = np.ones(len(y)) if weight is None else weight
    s = s / s.sum()
    A, t = np.sqrt(s)[:, None] * (X - s @ X), np.sqrt(s) * (y - s @ y)
    A[:, np.ptp(X, axis=0) == 0.0] = 0.0
    size = np.sqrt(np.square(A).sum(axis=0))
    Z, null, d = A / np.where(size > 0.0, size, 1.0), np.square(t).sum() / 2, X.shape[1]
    singular = np.linalg.svd(Z, compute_uv=False)
    if null == 0.0 or ((singular < 1e-6 * singular[0]) & (singular > 1e-12 * singular[0])).any():
        return None
    l1 = alpha * np.sqrt(2.0 * null) if penalty == "l1" else 0.0
    l2 = alpha if penalty == "l2" else 0.0
    if penalty == "l1":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            best = Lasso(alpha=l1 / len(y), fit_intercept=False, tol=1e-13, max_iter=5_000).fit(Z, t).coef_
    elif penalty == "positive":
        best = lsq_linear(Z, t, (0.0, np.inf), method="bvls", lsq_solver="exact", max_iter=1_000).x
    else:
        best = np.linalg.lstsq(np.vstack([Z, np.sqrt(l2) * np.eye(d)]), np.append(t, np.zeros(d)), rcond=1e-13)[0]
    alphas = {"l1": {"alpha": l1 * size}, "l2": {"alpha": l2 * size**2}}.get(penalty, {})
    given = {"positive": True} if penalty == "positive" else {"penalty": penalty} | alphas
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = GDLinearRegressor(random_state=0, **given, **params).fit(X, y, weight)
    assert all(issubclass(w.category, ConvergenceWarning) for w in caught)
    w = model.coef_ * size
    got = s @ np.square(model.predict(X) - y) / 2 + l1 * np.abs(w).sum() + l2 / 2 * w @ w
    least = np.square(Z @ best - t).sum() / 2 + l1 * np.abs(best).sum() + l2 / 2 * best @ best
    return (got - least) / null, bool(caught)


@pytest.mark.parametrize("penalty", [None, "l2", "l1", "positive"])
@pytest.mark.parametrize("params", [{}, {"average": False, "tol": 1e-6}, {"precondition": True}], ids=str)
def test_what_has_converged_has_at_most_tol_left_whatever_the_data(penalty, params, seed):
    """Two hundred fits in all at each of ten seeds: nothing else passes without a warning, and little warns."""
    warned = 0
    for trial in range(50):
        rng = np.random.default_rng([seed, trial])
        result = relative_gap(*random_data(rng), penalty, 10.0 ** rng.uniform(-4, 0), params)
        if result is not None:
            gap, has_warned = result
            assert has_warned or gap <= params.get("tol", TOL), f"trial {trial}"
            warned += has_warned
    assert warned <= 1


def epochs_that_cost_as_much_as_the_curvature(X):
    costs = Costs.of(Rows(X, X[:, :1]), 1, True)
    return costs.curvature / costs.epoch


@pytest.mark.parametrize("rare", [False, True], ids=["all columns", "a column that the sample does not know"])
def test_a_sample_says_that_much_is_left_before_the_epochs_have_cost_as_much_as_the_curvature(rare):
    rng = np.random.default_rng(0)
    X = PolynomialFeatures(3, include_bias=False).fit_transform(rng.uniform(0.0, 3.0, size=(20_000, 8)))
    X[:, 9] = 0.0 if rare else X[:, 9]
    X[7, 9] = 1.0
    y = np.sin(X[:, :8]).sum(axis=1) + 0.01 * rng.normal(size=20_000)
    model = GDLinearRegressor(random_state=0).fit(X, y)
    assert model.stop_reason_ == "converged"
    assert model.n_iter_ == int(np.ceil(epochs_that_cost_as_much_as_the_curvature(X) / EARLY)) + 1
    assert model.n_iter_ < epochs_that_cost_as_much_as_the_curvature(X)


def slow_and_fast_data(falls_slowly):
    """Columns that are mostly sums of twenty others take dozens of epochs, those with long tails take a few."""
    rng = np.random.default_rng(0)
    if falls_slowly:
        X = 0.3 * rng.normal(size=(18_000, 300)) + rng.normal(size=(18_000, 20)) @ rng.normal(size=(20, 300))
    else:
        X = rng.standard_t(3.0, size=(18_000, 300))
    return X, X @ rng.normal(size=300) + 20.0 * rng.normal(size=18_000)


@pytest.mark.parametrize("falls_slowly", [True, False])
def test_where_the_objective_falls_slowly_the_curvature_is_bought_after_the_second_epoch(falls_slowly):
    X, y = slow_and_fast_data(falls_slowly)
    price = epochs_that_cost_as_much_as_the_curvature(X)
    model = GDLinearRegressor(random_state=0).fit(X, y)
    needed = GDLinearRegressor(precondition=False, random_state=0).fit(X, y).n_iter_
    assert needed > 2.0 * price if falls_slowly else needed < 1.5 * price
    assert model.n_iter_ == 1 + (2 if falls_slowly else int(np.ceil(price / EARLY)))
    assert model.stop_reason_ == "converged"
    A = np.column_stack([X, np.ones(len(X))])
    residual = y - A @ np.linalg.lstsq(A, y, rcond=None)[0]
    assert 1.0 - model.score(X, y) <= residual @ residual / np.square(y - y.mean()).sum() + TOL


def test_a_fit_of_few_epochs_is_not_made_longer_by_a_forecast():
    X, y = slow_and_fast_data(falls_slowly=True)
    few = {"max_iter": 3, "tol": None, "random_state": 0}
    model = GDLinearRegressor(**few).fit(X, y)
    assert_array_equal(model.coef_, GDLinearRegressor(precondition=False, **few).fit(X, y).coef_)


@pytest.mark.parametrize("params", [{}, {"penalty": "l2"}, {"positive": True}, {"loss": "huber"}], ids=str)
@pytest.mark.parametrize("value", [0.0, 3.0, 1e-200])
def test_a_constant_target_leaves_nothing_to_forecast(params, value):
    X = np.random.default_rng(0).normal(size=(4_000, 120))
    assert epochs_that_cost_as_much_as_the_curvature(X) > 2.0
    model = GDLinearRegressor(random_state=0, **params).fit(X, np.full(4_000, value))
    assert model.stop_reason_ == "converged"
    assert_array_equal(model.predict(X), value)


def test_the_forecast_is_right_where_every_epoch_leaves_the_same_part():
    inspection = SampleInspection(np.ones(1), True)
    assert inspection.epochs_to_come(1, 0.5, 1e-3) == 0.0
    assert_allclose(inspection.epochs_to_come(2, 0.25, 0.25 * 0.5**7), 7.0)
    assert_allclose(inspection.epochs_to_come(5, 0.25 * 0.9**3, 0.25 * 0.9**7), 4.0)
    assert inspection.epochs_to_come(6, 0.9, 1e-3) == np.inf
    assert inspection.epochs_to_come(7, 1e-4, 1e-3) == 0.0


def test_an_inexact_minimum_over_nearly_collinear_columns_does_not_count_as_converged():
    """The model alone says 1e-6 where 1e-4 is left; oracle: coefficients that fulfil the conditions of a minimum."""
    rng = np.random.default_rng(345)
    n, d = int(10 ** rng.uniform(3.6, 4.4)), int(10 ** rng.uniform(2.0, 2.6))
    noise, _ = rng.normal(size=(n, d)), rng.integers(6)
    X = 10 ** rng.uniform(-3, 0) * noise + rng.normal(size=(n, d // 8)) @ rng.normal(size=(d // 8, d))
    f = (X / X.std(axis=0)) @ rng.normal(size=d)
    y = f + rng.standard_t(3, size=n) * f.std() * 10 ** rng.uniform(-1, 0.5)
    y /= y.std()
    X *= 10.0 ** rng.uniform(-2, 2, d)
    alpha = 3.82381949084379e-05

    def fitted(**params):
        model = GDLinearRegressor(penalty="elasticnet", alpha=alpha, precondition=True, random_state=0, **params).fit(
            X, y
        )
        l1, l2 = alpha * model.l1_ratio, alpha * (1.0 - model.l1_ratio)
        w, error = model.coef_, y - model.predict(X)
        slope = (error - error.mean()) @ (X - X.mean(axis=0)) / n - l2 * w
        violation = np.where(w != 0.0, np.abs(slope - l1 * np.sign(w)), np.maximum(np.abs(slope) - l1, 0.0))
        objective = 0.5 * np.mean(error**2) + l1 * np.abs(w).sum() + 0.5 * l2 * w @ w
        return model, objective, (violation / X.std(axis=0)).max()

    _, least, violation = fitted(tol=1e-9)
    assert violation < 1e-9
    model, objective, _ = fitted()
    assert model.stop_reason_ == "converged"
    assert objective - least <= TOL * 0.5 * y.var()


@pytest.mark.parametrize("share", [0.3, 0.7])
@pytest.mark.parametrize("penalty", ["l1", "elasticnet"])
@pytest.mark.parametrize("seed", range(10))
def test_a_penalty_of_some_coefficients_alone_is_known_to_converge(seed, penalty, share):
    """Rounding of the gradient along coefficients that are free does not count as what is left."""
    rng = np.random.default_rng(seed)
    n, d = int(rng.integers(100, 1_000)), int(rng.integers(2, 40))
    X = 0.01 * rng.normal(size=(n, d)) + rng.normal(size=(n, 2)) @ rng.normal(size=(2, d))
    X *= 10.0 ** rng.uniform(-2.0, 2.0, d)
    y = (X / X.std(axis=0)) @ rng.normal(size=d) + rng.normal(size=n)
    alpha = np.where(rng.random(d) < share, 10.0 ** rng.uniform(-4.0, 0.0), 0.0)
    model = GDLinearRegressor(penalty=penalty, alpha=alpha, tol=1e-6, precondition=True, random_state=0).fit(X, y)
    assert model.stop_reason_ == "converged" and model.n_iter_ <= 3
