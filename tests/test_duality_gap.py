"""Duality gaps, and that "converged" is a fact for the losses with a kink and a flat part."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import linprog, minimize
from sklearn.exceptions import ConvergenceWarning

import builders
from sk_gdlinear import GDLinearRegressor
from sk_gdlinear._descent.duality_gap import conjugate_penalty, feasible_share
from sk_gdlinear._objective.penalties import BoxedElasticNet
from sk_gdlinear.losses import Huber, Quantile
from sk_gdlinear.penalties import L1, L2, Box, ElasticNet


def pinball_value(X, y, weight, q, l1, coef, intercept):
    """The objective of a quantile: with errors of the prediction, as in the estimator."""
    e = X @ coef + intercept - y
    return weight @ np.maximum(-q * e, (1.0 - q) * e) / weight.sum() + l1 * np.abs(coef).sum()


def pinball_optimum(X, y, weight, q, l1=0.0, positive=False, fit_intercept=True):
    """The least objective of a quantile, by linear programming: w = p - m, e = u - v."""
    n, d = X.shape
    s = weight / weight.sum()
    cost = np.concatenate([np.full(2 * d, l1), [0.0], (1.0 - q) * s, q * s])
    equal = np.column_stack([X, -X, np.ones(n), -np.eye(n), np.eye(n)])
    free = (None, None) if fit_intercept else (0.0, 0.0)
    bounds = [(0, None)] * d + [(0, 0.0 if positive else None)] * d + [free] + [(0, None)] * (2 * n)
    return linprog(cost, A_eq=equal, b_eq=y, bounds=bounds, method="highs").fun


def huber_optimum(X, y, weight, epsilon, l2=0.0, positive=False):
    """The least objective of Huber's loss, by a quasi-Newton method."""
    s, d = weight / weight.sum(), X.shape[1]

    def value(w):
        e = X @ w[:d] + w[d] - y
        psi = np.clip(e, -epsilon, epsilon)
        grad = np.append(X.T @ (s * psi) + l2 * w[:d], s @ psi)
        return s @ (psi * (e - 0.5 * psi)) + 0.5 * l2 * w[:d] @ w[:d], grad

    bounds = [(0.0 if positive else None, None)] * d + [(None, None)]
    start = np.append(np.zeros(d), np.median(y))
    best = np.inf
    for _ in range(5):  # again from the end: line searches stop early near kinks
        result = minimize(
            value, start, jac=True, bounds=bounds, method="L-BFGS-B", options={"maxiter": 10**5, "maxfun": 10**6,
            "ftol": 1e-16, "gtol": 1e-13, "maxcor": 50}
        )  # fmt: skip
        start, best = result.x, min(best, result.fun)
    return best


def hard_rows(seed):
    """Few rows a column, noise far beyond the loss's scale, and every third time whole numbers, with ties."""
    rng = np.random.default_rng(seed)
    n, d = [(60, 12), (150, 30), (400, 5), (20, 2)][seed % 4]
    X = rng.normal(size=(n, d))
    if seed % 3 == 0:
        X = (X > 0.5).astype(float)
    y = X @ rng.normal(size=d) + rng.standard_t(1.5, size=n) * [0.1, 1.0][seed % 2]
    y = np.round(y) if seed % 3 == 0 else y
    return X, y, rng.integers(0, 4, n).astype(float) if seed % 5 == 0 else np.ones(n)


# --- the fact --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("quantile", [0.5, 0.1, 0.98])
@pytest.mark.parametrize("params", [{}, {"penalty": "l1", "alpha": 0.01}, {"positive": True}, {"fit_intercept": False}])
def test_a_quantile_that_is_called_converged_has_at_most_tol_left(quantile, params):
    """Tol is relative to the objective itself; smoothing over 1e-5 of the spread may cost more."""
    l1 = params.get("alpha", 0.0)
    for seed in range(12):
        X, y, weight = hard_rows(seed)
        model = GDLinearRegressor("quantile", quantile=quantile, random_state=0, **params).fit(X, y, weight)
        value = pinball_value(X, y, weight, quantile, l1, model.coef_, model.intercept_)
        best = pinball_optimum(X, y, weight, quantile, l1, "positive" in params, params.get("fit_intercept", True))
        assert model.stop_reason_ == "converged"
        assert value - best <= 1.001e-4 * value + 1e-6 * np.std(y)


@pytest.mark.parametrize("share", [1.0, 0.1, 0.01, 0.001])
@pytest.mark.parametrize("params", [{}, {"penalty": "l2", "alpha": 1e-3}, {"positive": True}])
def test_a_huber_fit_that_is_called_converged_has_at_most_tol_left(share, params):
    """Epsilon is this share of the errors' size: the loss curves about ever fewer rows."""
    for seed in range(12):
        X, y, weight = hard_rows(seed)
        epsilon = share * np.median(np.abs(y - np.median(y)) + 0.1)
        model = GDLinearRegressor("huber", epsilon=epsilon, random_state=0, **params).fit(X, y, weight)
        e = X @ model.coef_ + model.intercept_ - y
        psi, l2 = np.clip(e, -epsilon, epsilon), params.get("alpha", 0.0)
        value = weight @ (psi * (e - 0.5 * psi)) / weight.sum() + 0.5 * l2 * model.coef_ @ model.coef_
        typical = np.median(np.abs(y - np.median(y)))
        scale = np.where(typical > epsilon, epsilon * (typical - 0.5 * epsilon), 0.5 * typical**2)
        assert model.stop_reason_ == "converged"
        assert value - huber_optimum(X, y, weight, epsilon, l2, "positive" in params) <= 1.1e-4 * max(scale, 1e-12)


def test_what_cannot_be_known_in_float32_is_not_called_converged():
    """Rounding of the coefficients stops the steps before a gap shows that at most tol is left; in float64 it does."""
    rng = np.random.default_rng(13)
    X = np.cumsum(rng.normal(size=(20, 12)), axis=1) / np.sqrt(np.arange(1, 13)) + 100.0
    y = X @ rng.normal(size=12)
    y += np.std(y) * rng.standard_t(1.5, size=20)
    X, y = X.astype(np.float32), y.astype(np.float32)
    best = pinball_optimum(X.astype(float), y.astype(float), np.ones(20), 0.02)
    with pytest.warns(ConvergenceWarning, match="may be left to gain"):
        model = GDLinearRegressor("quantile", quantile=0.02, random_state=0).fit(X, y)
    assert model.stop_reason_ == "no_change"
    value = pinball_value(X, y, np.ones(20), 0.02, 0.0, model.coef_.astype(float), float(model.intercept_))
    assert value - best > 1e-4 * best
    exact = GDLinearRegressor("quantile", quantile=0.02, random_state=0).fit(X.astype(float), y.astype(float))
    assert exact.stop_reason_ == "converged"


@pytest.mark.parametrize("quantile", [0.1, 0.3, 0.5, 0.9])
def test_a_smoothed_quantile_below_zero_is_not_called_converged(quantile):
    """The smoothed loss leaves out a constant.  Coefficients in float32 fit these targets, and the steps end before."""
    rng = np.random.default_rng(0)
    base = rng.normal(size=200)
    X = (base[:, None] + 1e-3 * rng.normal(size=(200, 3))).astype(np.float32)
    y = ((X[:, 0].astype(float) - X[:, 1]) * 1e3).astype(np.float32)
    with pytest.warns(ConvergenceWarning, match="may be left to gain"):
        model = GDLinearRegressor("quantile", quantile=quantile, random_state=0).fit(X, y)
    assert model.stop_reason_ == "no_change"
    value, null = (
        pinball_value(X.astype(float), y.astype(float), np.ones(200), quantile, 0.0, coef, intercept)
        for coef, intercept in (
            (model.coef_.astype(float), float(model.intercept_)),
            (np.zeros(3), np.quantile(y, quantile)),
        )
    )
    assert value < 2e-3 * null


@pytest.mark.parametrize("penalty", ["l2", "elasticnet"])
def test_coefficients_that_fit_all_rows_at_a_great_penalty_are_not_called_converged(penalty):
    """The step to less penalised ones is no rounding of the slope, though errors of 0 make that cheap."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=2_000)
    X = np.column_stack([x, x + 1e-5 * rng.normal(size=2_000)])
    coef = np.array([501.0, -500.0])
    model = GDLinearRegressor("huber", penalty=penalty, alpha=1e-6, random_state=0, learning_rate=1e-6, max_iter=200)
    with pytest.warns(ConvergenceWarning, match="may be left to gain"):
        model.fit(X, X @ coef, coef_init=coef, intercept_init=0.0)
    assert model.stop_reason_ == "no_change"


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_a_tiny_square_beside_others_does_not_hide_that_a_minimum_is_reached(fit_intercept):
    """That of a coefficient of a time in seconds: rounding of the slope over it is much."""
    for seed in range(4):
        rng = np.random.default_rng(seed)
        time = 1.5e9 + rng.uniform(0.0, 3e7, 3_000)
        X = np.column_stack([time, rng.normal(size=(3_000, 3))])
        y = 5.0 + X[:, 1] + time / 1e9 + rng.standard_t(2, 3_000)
        penalty = dict(penalty="elasticnet", l1_ratio=0.5, alpha=1.0)
        model = GDLinearRegressor("quantile", fit_intercept=fit_intercept, random_state=0, **penalty).fit(X, y)
        assert model.stop_reason_ == "converged"
        assert model.n_iter_ <= 10


@pytest.mark.parametrize("seed", [5, 23, 131, 165, 166])
def test_nearly_collinear_columns_have_the_quantile_of_columns_that_are_not(seed):
    """The model knows few rows of them, and its flat directions are not those of all rows."""
    rng = np.random.default_rng(seed)
    n, d = [(25, 3), (40, 6), (80, 10), (30, 8)][seed % 4]
    B = rng.normal(size=(n, d))
    X = B.copy()
    X[:, 0] = X[:, 1] + 3e-6 * B[:, 0]  # condition 7e5
    y = B @ rng.normal(size=d) + rng.standard_t(1.5, size=n) * [0.1, 1.0][seed % 2]
    model = GDLinearRegressor("quantile", quantile=0.1, random_state=0).fit(X, y)
    value = pinball_value(X, y, np.ones(n), 0.1, 0.0, model.coef_, model.intercept_)
    assert model.stop_reason_ == "converged"
    assert value - pinball_optimum(B, y, np.ones(n), 0.1) <= 1.001e-4 * value + 1e-6 * np.std(y)


class OwnRidge:
    """The penalty l2 as an object of the user's, whose conjugate is not known."""

    def value(self, w):
        return 0.5 * float(w @ w)

    def proximal(self, w, step):
        return w / (1.0 + step)


def test_a_penalty_of_the_users_narrows_a_kink_as_a_built_in_one():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(500, 6))
    y = X @ rng.normal(size=6) + rng.normal(size=500)
    own, built_in = (GDLinearRegressor("quantile", penalty=p, random_state=0).fit(X, y) for p in (OwnRidge(), L2(1.0)))
    assert own.stop_reason_ == built_in.stop_reason_ == "converged"
    assert own.n_iter_ <= built_in.n_iter_ + 2
    assert_allclose(own.loss_curve_[-1], built_in.loss_curve_[-1], rtol=1e-3)


# --- the bound -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    "penalty", [None, L1(0.02), L2(0.01), L2(1e-7), ElasticNet(0.02, 0.5), Box(0.0, np.inf)], ids=str
)
@pytest.mark.parametrize("loss", [Huber(0.5), Quantile(0.3)], ids=str)
def test_the_gap_is_at_least_what_is_left_after_every_step_and_vanishes(loss, penalty, weighted):
    rng = np.random.default_rng(1)
    X = rng.normal(size=(200, 8)) + rng.normal(size=(200, 1))
    y = X @ rng.normal(size=8) + rng.normal(size=200)
    weight = rng.integers(0, 3, 200).astype(float) if weighted else None
    if weight is not None:
        weight /= weight[weight > 0].mean()
    method = builders.method(
        X, y[:, None], weight, standardize=True, precondition=True, loss=loss, penalty=penalty, tol=1e-12
    )
    gaps, values = [], []
    for _ in range(200):
        method.epoch()
        state, objective = method.state.newton, method.objective
        gaps.append(method.curvature.newton.gap(objective, state.point, state.proposal))
        values.append((float(gaps[-1].least[0]) + gaps[-1].exact, objective.width))
        method.adjust(0.0, 0.0)
    last = values[-1][1]
    same = [(gap, value) for gap, (value, width) in zip(gaps, values, strict=True) if width is last or width == last]
    best = min(value for _, value in same)
    assert all(value - best <= gap.exact + 1e-12 for gap, value in same)
    assert same[-1][0].smoothed <= 1e-6 * best
    assert gaps[-1].exact <= 1e-3 * best


def test_a_share_and_the_conjugate_of_a_penalty_by_brute_force():
    """The conjugate is the largest of v w - penalty(w), over a grid."""
    grid = np.linspace(-50.0, 50.0, 200_001)
    l1, l2 = np.array([[0.5, 0.0, 0.5, 0.3, 0.0]]), np.array([[0.0, 2.0, 1.0, 0.0, 0.0]])
    lower, upper = np.array([[-np.inf, -np.inf, -1.0, 0.0, -3.0]]), np.array([[np.inf, np.inf, 2.0, np.inf, 3.0]])
    penalty = BoxedElasticNet(l1, l2, lower, upper)
    v = np.array([[0.4, -3.0, 5.0, -7.0, 0.25]])
    assert feasible_share(penalty, -v, 0.0)[0] >= 1.0
    want = 0.0
    for j in range(5):
        inside = grid[(grid >= lower[0, j]) & (grid <= upper[0, j])]
        want += (v[0, j] * inside - l1[0, j] * np.abs(inside) - 0.5 * l2[0, j] * inside**2).max()
    assert_allclose(conjugate_penalty(penalty, v, 0.0), want, rtol=1e-6)
    assert_allclose(feasible_share(penalty, np.array([[2.0, 0.0, 0.0, -1.2, 0.0]]), 0.0), 0.25)
