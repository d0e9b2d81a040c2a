"""Newton steps: the gradient of all rows by finite differences, objectives that never rise, damping, and fewer columns.

A step is checked against least squares and against SciPy's minimiser of the objective.
"""

from dataclasses import dataclass

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import minimize
from scipy.sparse import csr_array
from sklearn.linear_model import Lasso

import builders
from own_objects import LogCosh, OwnL2
from sk_gdlinear import GDLinearRegressor
from sk_gdlinear._descent import newton as module
from sk_gdlinear._descent.curvature import Curvature
from sk_gdlinear._descent.newton import Proposal, ProximalNewton
from sk_gdlinear._descent.row_sums import Point, RowSums
from sk_gdlinear._objective.losses import Huber, Quantile
from sk_gdlinear._objective.penalties import Box, ElasticNet

LOSSES = {
    "squared_error": {},
    "huber": {"loss": Huber(0.7)},
    "own": {"loss": LogCosh(1.0)},
    "kink": {"loss": Quantile(0.8)},
}


def data_of(rng, n=80, d=3, k=2):
    X = rng.normal([2.0, -1.0, 0.5], [1.0, 3.0, 0.2], size=(n, d)) + 0.5 * rng.normal(size=(n, 1))
    return X, X @ rng.normal(size=(d, k)) + rng.standard_t(3, size=(n, k)) * [1.0, 5.0][:k]


def newton_of(X, Y, weight=None, **changes):
    """Newton steps as ``fit`` makes them, and the objective."""
    method = builders.method(X, Y, weight, standardize=True, precondition=True, **changes)
    newton, objective = method.curvature.newton, method.objective
    newton.buy(objective)
    return newton, objective


def start_of(objective, seed=0, dtype=np.float64):
    rng, (k, d) = np.random.default_rng(seed), (len(objective.lipschitz), len(objective.standardization.shift))
    return rng.normal(size=(k, d)).astype(dtype), rng.normal(size=k).astype(dtype)


def value_at(newton, objective, W, b):
    return float(newton.point(objective, W, b).value(objective.penalty).sum())


# --- a pass over all rows --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [np.asarray, csr_array], ids=["dense", "sparse"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("loss", LOSSES)
def test_the_gradient_of_all_rows_is_that_of_their_mean_loss(rng, loss, weighted, kind):
    X, Y = data_of(rng)
    weight = rng.integers(0, 3, 80).astype(float) if weighted else None
    newton, objective = newton_of(kind(X), Y, weight, **LOSSES[loss])
    W, b = start_of(objective)
    point = newton.point(objective, W, b)
    by_W = builders.central_differences(lambda W: newton.point(objective, W, b).losses.sum(), W)
    by_b = builders.central_differences(lambda b: newton.point(objective, W, b).losses.sum(), b)
    assert_allclose(point.grad_W, by_W, rtol=1e-6, atol=1e-8)
    assert_allclose(point.grad_b, by_b, rtol=1e-6, atol=1e-8)


def test_the_loss_at_a_point_is_the_weighted_mean_over_rows_in_standardized_units(rng):
    X, Y = data_of(rng)
    weight = rng.integers(0, 3, 80).astype(float)
    newton, objective = newton_of(X, Y, weight)
    W, b = start_of(objective)
    E = objective.standardization.rows(X) @ W.T + b - objective.standardization.targets(Y)
    assert_allclose(newton.point(objective, W, b).losses, np.average(E**2, axis=0, weights=weight) / 2, rtol=1e-12)


def test_float32_rows_have_their_sums_in_float64(rng):
    X, Y = (a.astype("f4") for a in data_of(rng, n=20_000))
    newton, objective = newton_of(X, Y)
    point = newton.point(objective, *start_of(objective, dtype=np.float32))
    exact, of_exact = newton_of(X.astype("f8"), Y.astype("f8"))
    assert point.grad_W.dtype == point.losses.dtype == np.float64 and point.W.dtype == np.float32
    same = exact.point(of_exact, *(a.astype("f8") for a in point[:2]))
    assert_allclose(point.losses, same.losses, rtol=1e-5)


@pytest.mark.parametrize("loss", ["huber", "own", "kink"])
def test_curved_moments_are_second_moments_weighted_by_the_second_derivative(rng, loss):
    X, Y = data_of(rng)
    weight = rng.integers(0, 3, 80).astype(float)
    newton, objective = newton_of(X, Y, weight, **LOSSES[loss])
    point = newton.point(objective, *start_of(objective))
    Z = objective.standardization.rows(X)
    E = Z @ point.W.T + point.b - objective.standardization.targets(Y)
    h = 1e-5
    second = (objective.loss.derivative(E + h) - objective.loss.derivative(E - h)) / (2 * h)
    for t in range(2):
        curved = newton.sums.curved_moments(objective, point, t)
        s = weight * second[:, t] / weight[weight > 0.0].mean()
        assert_allclose(curved.count, s.sum(), rtol=1e-3)
        assert_allclose(curved.count * curved.about(centre=False), (s[:, None] * Z).T @ Z, rtol=1e-3, atol=1e-2)


# --- a step ----------------------------------------------------------------------------------------------------------


def uncentred_newton_of(X, Y, weight=None):
    """Newton steps in the variables of the data, whose means are not 0, and the objective."""
    method = builders.method(X, Y, weight, standardize=False)
    newton = ProximalNewton(RowSums.of(method.backend, method.rows, True), True)
    newton.buy(method.objective)
    return newton, method.objective


@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_one_step_goes_to_least_squares_and_gains_what_it_says(rng, weighted, fit_intercept):
    X, Y = data_of(rng)
    weight = rng.integers(0, 3, 80).astype(float) if weighted else None
    newton, objective = newton_of(X, Y, weight, fit_intercept=fit_intercept)
    W, b = start_of(objective)
    point = newton.point(objective, W, b * fit_intercept)
    proposal = newton.proposal(objective, point)
    after = newton.move(objective, point, proposal)
    coef, intercept, _ = builders.least_squares(X, Y, weight, fit_intercept)
    for got, want in zip(objective.standardization.to_user(after.W, after.b), (coef, intercept), strict=True):
        assert_allclose(got, want, rtol=1e-8, atol=1e-10)
    assert_allclose(proposal.gain, point.losses.sum() - after.losses.sum(), rtol=1e-9)
    assert proposal.exact and not newton.stalled
    assert newton.proposal(objective, after).gain <= 1e-15


def test_the_point_of_squared_errors_after_a_move_is_known_without_a_pass(rng):
    X, Y = data_of(rng)
    for newton, objective in (make(X, Y, rng.uniform(0.1, 3.0, 80)) for make in (newton_of, uncentred_newton_of)):
        point, other = (newton.point(objective, *start_of(objective, seed)) for seed in (0, 1))
        for got, want in zip(newton.point_from_moments(point, other.W, other.b)[:5], other[:5], strict=True):
            assert_allclose(got, want, rtol=1e-9)


def test_the_intercept_follows_the_coefficients_where_columns_have_a_mean(rng):
    X, Y = data_of(rng)
    newton, objective = uncentred_newton_of(X, Y)
    point = newton.point(objective, *start_of(objective))
    proposal = newton.proposal(objective, point)
    coef, intercept, _ = builders.least_squares(X, Y)
    assert_allclose(proposal.W, coef, rtol=1e-9)
    assert_allclose(proposal.b, intercept, rtol=1e-9)
    assert_allclose(proposal.gain, point.losses.sum() - value_at(newton, objective, coef, intercept), rtol=1e-9)


def test_the_second_step_removes_what_rounding_of_the_curvature_left(rng):
    """Iterative refinement, on columns of condition 2e5."""
    u, v = rng.normal(size=(2, 1_000))
    X, Y = np.c_[u, u + 1e-5 * v], (v + 0.1 * rng.normal(size=1_000))[:, None]
    newton, objective = newton_of(X, Y)
    point = newton.point(objective, *start_of(objective))
    for _ in range(3):
        point = newton.move(objective, point, newton.proposal(objective, point))
    residual = Y - builders.least_squares(X, Y)[2]
    assert_allclose(point.losses[0], np.square(residual).mean() / 2 / Y.var(), atol=1e-13)


@pytest.mark.parametrize("penalty", [None, ElasticNet(0.1, 0.5), Box(-0.5, 0.5), OwnL2(0.1)], ids=repr)
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("far", [1.0, 1e4])
def test_the_objective_never_rises_and_ends_where_nothing_is_left(rng, loss, penalty, far):
    """From far off, too, where the loss curves about few rows or none."""
    X, Y = data_of(rng)
    newton, objective = newton_of(X, Y, penalty=penalty, **LOSSES[loss])
    W, b = start_of(objective)
    if not isinstance(penalty, OwnL2):
        W = objective.penalty.proximal(far * W, 0.0)
    point = newton.point(objective, W, far * b)
    values, gains = [point.value(objective.penalty).sum()], []
    for _ in range(60):
        proposal = newton.proposal(objective, point)
        gains.append(proposal.gain)
        point = newton.move(objective, point, proposal)
        values.append(point.value(objective.penalty).sum())
    assert (np.diff(values) <= 1e-14 * np.abs(values[:-1])).all()
    assert gains[-1] <= 1e-9 * objective.null_value


@pytest.mark.parametrize("loss", ["huber", "own"])
@pytest.mark.parametrize("k", [1, 2])
def test_steps_end_at_the_minimum_of_the_loss(rng, loss, k):
    X, Y = data_of(rng, k=k)
    newton, objective = newton_of(X, Y, **LOSSES[loss])
    point = newton.point(objective, *start_of(objective))
    for _ in range(30):
        point = newton.move(objective, point, newton.proposal(objective, point))
    coef, intercept = objective.standardization.to_user(point.W, point.b)
    user_loss = LOSSES[loss]["loss"]
    for t in range(k):

        def mean_loss(theta, y=Y[:, t]):
            e = X @ theta[:3] + theta[3] - y
            psi = user_loss.derivative(e)
            return user_loss.value(e).mean(), np.append(psi @ X, psi.sum()) / len(y)

        best = minimize(mean_loss, np.zeros(4), jac=True, method="BFGS", options={"gtol": 1e-11})
        assert_allclose([*coef[t], intercept[t]], best.x, rtol=1e-4, atol=1e-5)


# --- shortened steps and damping -------------------------------------------------------------------------------------


@dataclass
class Line:
    """Sums over rows whose objective along a step is ``f``, and 1 at its start; parameters are the share itself."""

    f: object
    n_rows: int = 1
    total_weight: float = 1.0

    def point(self, objective, W, b, on_block=None):
        return Point(W, b, np.array([self.f(float(W[0, 0]))]), np.zeros((1, 1)), np.zeros(1))

    def losses_between(self, objective, start, end, shares):
        return np.array([[self.f(share * float(end.W[0, 0]))] for share in shares])


def move_along(f, gain, damping=1.0, hidden=0.0):
    """A step from 0 to 1 of which the model says that it gains so much; the point after it, and the Newton steps."""
    _, objective = newton_of(np.arange(6.0)[:, None], np.arange(6.0)[:, None] ** 2, loss=Huber(1.0))
    newton = ProximalNewton(Line(f), True, damping=damping)
    point = newton.sums.point(objective, np.zeros((1, 1)), np.zeros(1))
    return newton.move(objective, point, Proposal(np.ones((1, 1)), np.zeros(1), gain, True, hidden=hidden)), newton


def test_a_step_that_falls_by_a_twentieth_of_what_the_model_says_is_taken_whole_and_damped_less():
    after, newton = move_along(lambda t: 1.0 - 0.051 * t, gain=1.0)
    assert after.W == 1.0 and not newton.stalled
    assert_allclose(newton.damping, 0.1)


def test_a_step_that_rises_is_shortened_to_the_least_objective_and_damped_more():
    after, newton = move_along(lambda t: 1.0 - 0.2 * t + 1.5 * t**2, gain=0.2)  # least at 1/15
    assert after.W == 1 / 16 and not newton.stalled
    assert_allclose(newton.damping, 6.4)  # 16^1.5 / 10
    after, newton = move_along(lambda t: 1.0 - t + t**2, gain=1.0)  # least at 1/2
    assert after.W == 0.5 and not newton.stalled
    assert_allclose(newton.damping, 2.0**1.5 / 10.0)


def test_no_step_is_made_where_none_falls():
    after, newton = move_along(lambda t: 1.0 + t, gain=1.0)
    assert after.W == 0.0 and newton.stalled
    assert_allclose(newton.damping, 10.0)
    after, newton = move_along(lambda t: 1.0 + 1e3 * t, gain=1e-17)  # no more than rounding: nothing is tried
    assert after.W == 0.0 and newton.stalled


def test_steps_come_to_an_end_where_nothing_is_gained_and_something_may_be_left():
    for hidden, stalled in ((0.0, False), (1e-3, True)):
        _, newton = move_along(lambda t: 1.0, gain=0.0, hidden=hidden)
        assert newton.stalled == stalled


@pytest.mark.parametrize("damping", [module.LEAST_DAMPING, 1.0, module.LARGEST_DAMPING])
def test_damping_has_its_bounds(damping):
    for f, factor in ((lambda t: 1.0 - t, 0.1), (lambda t: 1.0 + t, 10.0)):
        _, newton = move_along(f, 1.0, damping)
        assert newton.damping == np.clip(damping * factor, module.LEAST_DAMPING, module.LARGEST_DAMPING)


def test_the_curvature_of_the_squared_error_damps_where_the_loss_curves_about_no_row(rng):
    """The model is that of one row then, and its minimum is finite."""
    X, Y = data_of(rng, k=1)
    newton, objective = newton_of(X, Y, loss=Huber(1e-9))
    point = newton.point(objective, *start_of(objective))
    assert newton.sums.curved_moments(objective, point, 0).count == 0.0
    lengths = []
    for newton.damping in (1e-3, 1.0):
        proposal = newton.proposal(objective, point)
        assert np.isfinite(proposal.W).all() and proposal.gain > 0.0
        lengths.append(np.linalg.norm(proposal.W - point.W))
    assert_allclose(lengths[0] / lengths[1], 1e3, rtol=1e-6)


# --- many columns ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("share", [0.5, 0.05])
def test_absolute_values_on_many_columns_leave_those_of_the_lasso(share, weighted):
    """By second moments of a working set alone, with a duality gap over all rows and columns."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 300)) + rng.normal(size=(400, 1))
    y = X[:, :10] @ rng.normal(size=10) + rng.normal(size=400)
    weight = rng.uniform(0.1, 3.0, 400) if weighted else None
    s = np.full(400, 1 / 400) if weight is None else weight / weight.sum()
    alpha = share * np.abs(((y - s @ y) * s) @ (X - s @ X)).max()
    oracle = Lasso(alpha=alpha, tol=1e-13, max_iter=10**6).fit(X, y, weight)
    method = builders.method(
        X, y[:, None], weight, standardize=True, precondition=True, penalty=ElasticNet(alpha, 1.0), tol=1e-12
    )
    gains, values, best = [], [], None
    for _ in range(20):
        method.epoch()
        gains.append(method.remaining_gain()[0])
        values.append(method.evaluate().standardized)
    coef, _ = method.standardization.to_user(*method.reported())
    assert_allclose(coef[0], oracle.coef_, rtol=1e-6, atol=1e-9)
    assert_array_equal(coef[0] == 0.0, oracle.coef_ == 0.0)
    best = min(values)
    assert all(value - best <= gain + 1e-13 for value, gain in zip(values, gains, strict=True))
    assert gains[-1] <= 1e-12
    assert len(method.curvature.newton.columns) < 300 or share < 0.1


def test_a_state_without_a_step_has_the_whole_gain_left(rng):
    X, Y = data_of(rng)
    method = builders.method(X, Y, standardize=True, precondition=True)
    curvature: Curvature = method.curvature
    curvature.buy(method.objective)
    state = curvature.state_at(method.objective, *method.reported())
    residual = Y - builders.least_squares(X, Y)[2]
    left = (1.0 - np.square(residual).sum(axis=0) / np.square(Y - Y.mean(axis=0)).sum(axis=0)).sum() / 2
    assert_allclose(curvature.remaining_gain(method.objective, state), left, rtol=1e-9)


def test_rounding_of_float32_coefficients_is_no_gap_of_a_lasso(rng):
    """In mixed units some are hardly penalised, by less than the rounding of the others moves the gradient."""
    scale = 10.0 ** rng.uniform(-3.0, 3.0, 300)
    X = rng.normal(size=(200, 300)) * scale
    y = X / scale @ rng.normal(size=300) + rng.standard_t(2, 200)
    values, epochs = [], []
    for dtype in (np.float32, np.float64):
        model = GDLinearRegressor(penalty="l1", alpha=1e-3, random_state=0).fit(X.astype(dtype), y.astype(dtype))
        assert model.stop_reason_ == "converged"
        epochs.append(model.n_iter_)
        coef = model.coef_.astype(float)
        e = X @ coef + float(model.intercept_) - y
        values.append(0.5 * np.mean(e * e) + 1e-3 * np.abs(coef).sum())
    assert values[0] - values[1] <= 1e-6 * 0.5 * y.var()
    assert epochs[0] <= epochs[1] + 5
