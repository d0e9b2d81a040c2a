"""The minimum of a quadratic model with a penalty, against exact solvers and the conditions of a minimum."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import lsq_linear, nnls
from sklearn.linear_model import ElasticNet, Lasso, Ridge

from own_objects import OwnL2
from sk_gdlinear._descent.kinks import Kinks
from sk_gdlinear._descent.kinks import violation as violation_of_slopes
from sk_gdlinear._descent.quadratic import LinearSystem, QuadraticModel, damped_solution
from sk_gdlinear._descent.rent_or_buy import support_step_cost
from sk_gdlinear._objective.penalties import BoxedElasticNet, RescaledPenalty


@pytest.fixture
def problem(rng):
    """Correlated columns of spread 0.01 to 100, and targets; half of the mean squared error is what is minimised."""
    X = (rng.normal(size=(200, 6)) + 0.8 * rng.normal(size=(200, 1))) * np.geomspace(0.01, 100.0, 6)
    y = X @ (np.array([3.0, 0.0, -2.0, 1.0, 0.0, 0.5]) / np.geomspace(0.01, 100.0, 6)) + rng.normal(size=200)
    return X, y


def boxed(l1=0.0, l2=0.0, lower=None, upper=None, d=6, k=1):
    """A penalty of the family, with numbers for all coefficients or arrays."""
    arrays = (None if a is None else np.array(np.broadcast_to(np.float64(a), (k, d))) for a in (l1, l2, lower, upper))
    return BoxedElasticNet(*arrays)


def minimum(X, Y, penalty, start=None):
    """Of half the mean squared error about a start, by the model alone."""
    Y = Y.reshape(len(Y), -1)
    W = np.zeros((Y.shape[1], X.shape[1])) if start is None else start
    gradient = (X @ W.T - Y).T @ X / len(X)
    return QuadraticModel(X.T @ X / len(X)).minimise(W, gradient, penalty)


def unbounded(d):
    return np.full(d, -np.inf), np.full(d, np.inf)


def objective(X, y, W, penalty):
    return float((np.square(X @ W.T - y.reshape(len(y), -1)).mean(axis=0) / 2 + penalty.value(W)).sum())


def violation(X, y, w, l1, l2, lower, upper):
    """The steepest descent along each coefficient, over the root of its curvature; 0 where nothing depends on it."""
    slope, curvature = (X @ w - y) @ X / len(y) + l2 * w, np.square(X).mean(axis=0) + l2
    right, left = slope + np.where(w >= 0, l1, -l1), slope + np.where(w > 0, l1, -l1)
    room = 1e-14 * np.abs(w)  # a coefficient is at its bound up to rounding
    downhill = np.maximum(np.where(w < upper - room, -right, 0.0), np.where(w > lower + room, left, 0.0))
    return np.maximum(downhill, 0.0) / np.sqrt(np.where(curvature > 0.0, curvature, np.inf))


# --- the minimum -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [1, 3])
def test_without_a_penalty_it_is_least_squares(problem, rng, k):
    X, y = problem
    Y = np.column_stack([y] + [rng.normal(size=200) for _ in range(k - 1)])
    best = np.linalg.lstsq(X, Y, rcond=None)[0].T
    for start in (None, rng.normal(size=(k, 6))):
        W, gain, exact, _ = minimum(X, Y, BoxedElasticNet(), start)
        assert_allclose(W, best, rtol=1e-9)
        begin = np.zeros((k, 6)) if start is None else start
        falls = objective(X, Y, begin, BoxedElasticNet()) - objective(X, Y, best, BoxedElasticNet())
        assert_allclose(gain, falls, rtol=1e-9)
        assert exact


@pytest.mark.parametrize("alpha", [0.5, np.geomspace(1e-6, 10.0, 6)], ids=["one", "per feature"])
def test_squares_give_ridge(problem, alpha):
    X, y = problem
    W, _, exact, _ = minimum(X, y, boxed(l2=alpha))
    root = np.sqrt(np.broadcast_to(alpha, 6))
    oracle = Ridge(alpha=len(y), fit_intercept=False, solver="svd").fit(X / root, y).coef_ / root
    assert_allclose(W[0], oracle, rtol=1e-8)
    assert exact


@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("l1_ratio", [1.0, 0.4])
@pytest.mark.parametrize("alpha", [1e-3, 0.3, 3.0])
def test_absolute_values_give_the_lasso_and_the_elastic_net_with_the_same_zeros(problem, alpha, l1_ratio, positive):
    X, y = problem
    X = X / np.geomspace(0.01, 100.0, 6)  # the oracle's own coordinate descent needs it
    settings = dict(alpha=alpha, fit_intercept=False, positive=positive, tol=1e-14, max_iter=10**6)
    oracle = Lasso(**settings) if l1_ratio == 1.0 else ElasticNet(l1_ratio=l1_ratio, **settings)
    coef = oracle.fit(X, y).coef_
    limits = (0.0, np.inf) if positive else (None, None)
    W, gain, exact, _ = minimum(X, y, boxed(alpha * l1_ratio, alpha * (1 - l1_ratio), *limits))
    assert_allclose(W[0], coef, rtol=1e-6, atol=1e-9)
    assert_array_equal(W[0] == 0.0, coef == 0.0)
    penalty = boxed(alpha * l1_ratio, alpha * (1 - l1_ratio))
    falls = objective(X, y, np.zeros((1, 6)), penalty) - objective(X, y, coef[None], penalty)
    assert_allclose(gain, falls, rtol=1e-9)
    assert exact


def test_coefficients_that_may_not_be_negative_give_nnls(problem):
    X, y = problem
    W, _, exact, _ = minimum(X, y, boxed(lower=0.0, upper=np.inf))
    coef, _ = nnls(X, y)
    assert_allclose(W[0], coef, rtol=1e-8)
    assert_array_equal(W[0] == 0.0, coef == 0.0)
    assert exact


@pytest.mark.parametrize("start", ["zero", "outside"])
def test_bounds_give_bounded_least_squares_and_are_met(problem, start):
    X, y = problem
    X = X / np.geomspace(0.01, 100.0, 6)
    lower, upper = np.array([0.1, -np.inf, -0.5, 0.0, 1.0, -2.0]), np.array([0.4, 0.2, np.inf, 0.0, 1.5, 2.0])
    W, _, exact, _ = minimum(
        X, y, boxed(lower=lower, upper=upper), np.full((1, 6), 9.0) if start == "outside" else None
    )
    open_ = lower < upper
    rest = y - X[:, ~open_] @ lower[~open_]
    settings = dict(bounds=(lower[open_], upper[open_]), method="bvls", tol=1e-15, lsq_solver="exact")
    coef = lower.copy()
    coef[open_] = lsq_linear(X[:, open_], rest, **settings).x
    assert_allclose(W[0], coef, rtol=1e-8)
    for bound in (lower, upper):  # met up to the rounding of a change of units
        assert_array_equal(np.isclose(W[0], bound, rtol=1e-15), coef == bound)
    assert exact


def test_where_the_minimum_is_the_start_it_stays_there(problem):
    X, y = problem
    for penalty in (BoxedElasticNet(), boxed(l2=0.1), boxed(0.05, 0.1), boxed(lower=0.0, upper=1.0)):
        W, *_ = minimum(X, y, penalty)
        again, gain, exact, _ = minimum(X, y, penalty, W)
        assert_allclose(again, W, rtol=1e-9, atol=1e-12)
        assert gain <= 1e-13 and exact


def test_a_penalty_that_makes_all_coefficients_0_leaves_nothing_to_gain(problem):
    X, y = problem
    W, gain, exact, _ = minimum(X, y, boxed(l1=1.0001 * np.abs(y @ X / len(y)).max()))
    assert not W.any() and gain == 0.0 and exact


def test_a_penalty_of_the_users_gives_its_minimum(problem):
    """Half of 0.3 times the sum of squares in the user's units, 0.5 to 3 times the standardized ones: Ridge."""
    X, y = problem
    X = X / np.geomspace(0.01, 100.0, 6)
    scale = np.linspace(0.5, 3.0, 6)
    W, gain, exact, _ = minimum(X, y, RescaledPenalty(OwnL2(0.3), scale[None], np.array([2.0])))
    oracle = minimum(X, y, boxed(l2=0.6 * scale**2))
    assert_allclose(W, oracle.W, rtol=1e-8)
    assert_allclose(gain, oracle.gain, rtol=1e-9)
    assert exact


def test_targets_have_penalties_of_their_own(problem, rng):
    X, y = problem
    Y = np.column_stack([y, rng.normal(size=200)])
    l1, l2 = np.repeat([[0.3], [0.001]], 6, axis=1), np.repeat([[0.0], [2.0]], 6, axis=1)
    both = minimum(X, Y, BoxedElasticNet(l1, l2))
    for t in range(2):
        one = minimum(X, Y[:, t], BoxedElasticNet(l1[t : t + 1], l2[t : t + 1]))
        assert_allclose(both.W[t], one.W[0], rtol=1e-10)


@pytest.mark.parametrize("trial", range(20))
def test_the_conditions_of_a_minimum_hold_on_random_problems(trial):
    """Also for more columns than rows, copies of columns, and columns of zeros."""
    rng = np.random.default_rng(trial)
    n, d = int(rng.integers(3, 60)), 6
    X = rng.normal(size=(n, d)) @ np.diag(10.0 ** rng.uniform(-2, 2, d))
    if trial % 3 == 0:
        X[:, 1] = 2.0 * X[:, 0]
    if trial % 4 == 0:
        X[:, 2] = 0.0
    y, rms = rng.normal(size=n), np.sqrt(np.square(X).mean(axis=0))
    l1 = rng.choice([0.0, 0.05, 0.3], d) * np.where(rms > 0.0, rms, 1.0)
    l2 = rng.choice([0.0, 0.0, 0.2], d) * rms**2
    limits = np.sort(rng.normal(size=(2, d)) / np.where(rms > 0.0, rms, 1.0), axis=0)
    W, _, exact, _ = minimum(X, y, boxed(l1, l2, *(limits if trial % 2 else (None, None))))
    limits = limits if trial % 2 else (np.full(d, -np.inf), np.full(d, np.inf))
    assert exact
    assert violation(X, y, W[0], l1, l2, *limits).max() <= 1e-7


# --- nearly singular -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("exponent", [2, 4, 6])
def test_columns_of_condition_1e6_are_told_apart(rng, exponent):
    """A second moment of 1e-12 times the largest; iterative refinement heals what rounding costs."""
    X, y = rng.normal(size=(500, 1)) + 10.0**-exponent * rng.normal(size=(500, 2)), rng.normal(size=500)
    best = np.linalg.lstsq(X, y, rcond=1e-15)[0]
    W = np.zeros((1, 2))
    for _ in range(3):
        W = minimum(X, y, BoxedElasticNet(), W).W
    least, got = (np.square(X @ w - y).mean() for w in (best, W[0]))
    assert_allclose(got, least, rtol=1e-9)


def test_minima_with_kinks_are_paid_for(problem):
    X, y = problem
    model = QuadraticModel(X.T @ X / len(X))
    start, gradient = np.zeros((1, 6)), -y[None] @ X / len(X)
    model.minimise(start, gradient, boxed(l2=1.0))
    assert model.spent == 0.0
    model.minimise(start, gradient, boxed(l1=0.1))
    once = model.spent
    assert once >= support_step_cost(1, False)
    model.minimise(start, gradient, boxed(l1=0.1))
    assert model.spent == 2.0 * once


@pytest.mark.parametrize("kind", ["l1", "elasticnet", "bounds", "mixed"])
@pytest.mark.parametrize("noise", [1.0, 1e-2, 1e-4])
@pytest.mark.parametrize("seed", range(5))
def test_no_more_is_left_than_what_may_be_hidden(seed, noise, kind):
    """Halves of the squares of the slopes, as of independent columns, are 1e-6 of that along nearly collinear ones."""
    rng = np.random.default_rng(seed)
    n, d = 200, 12
    X = noise * rng.normal(size=(n, d)) + rng.normal(size=(n, 3)) @ rng.normal(size=(3, d))
    X /= np.sqrt(np.square(X).mean(axis=0))
    y = X @ rng.normal(size=d) + rng.normal(size=n)
    l1, lower = np.where(rng.random(d) < 0.5, 0.01, 0.0), np.where(rng.random(d) < 0.5, 0.0, -np.inf)
    kinks = {
        "l1": Kinks(np.full(d, 0.01), np.zeros(d), *unbounded(d)),
        "elasticnet": Kinks(np.full(d, 0.01), np.full(d, 1e-6), *unbounded(d)),
        "bounds": Kinks(np.zeros(d), np.zeros(d), np.zeros(d), np.full(d, 1.0)),
        "mixed": Kinks(l1, np.zeros(d), lower, np.full(d, np.inf)),
    }[kind]
    H = X.T @ X / n
    model = QuadraticModel(H)
    for size in 10.0 ** np.arange(-8.0, 1.0):
        best = minimum(X, y, BoxedElasticNet(*(a[None] for a in kinks))).W[0]
        w = np.clip(best + size * rng.normal(size=d), kinks.lower, kinks.upper)
        q = (X @ w - y) @ X / n
        left = violation_of_slopes(H, w, q, *kinks)
        gain = minimum(X, y, BoxedElasticNet(*(a[None] for a in kinks)), w[None]).gain
        assert model._hidden(w, q, kinks, left, enough=0.0) >= gain * (1.0 - 1e-6) - 1e-14


def test_what_may_be_hidden_is_that_of_the_least_eigenvalue_where_that_is_little():
    H, kinks = np.eye(3), Kinks(np.zeros(3), np.zeros(3), np.zeros(3), np.full(3, np.inf))
    w, q = np.array([0.0, 0.0, 1.0]), np.array([1.0, -2e-13, 0.0])  # only the second can fall
    left = violation_of_slopes(H, w, q, *kinks)
    assert_allclose(left, 2e-26)
    assert_allclose(QuadraticModel(H)._hidden(w, q, kinks, left, enough=1e-12), 2e-13)
    assert_allclose(QuadraticModel(H)._hidden(w, q, kinks, left, enough=0.0), 2e-26)


@pytest.mark.parametrize("penalty", [None, "l1", "bounds"])
def test_copies_of_a_column_share_what_it_explains(rng, penalty):
    """Of minimum norm without a penalty; with one, the objective is what is unique."""
    X, y = np.repeat(rng.normal(size=(100, 2)), 2, axis=1), rng.normal(size=100)
    if penalty is None:
        W, _, exact, _ = minimum(X, y, BoxedElasticNet(), rng.normal(size=(1, 4)))
        assert_allclose(W[0], np.linalg.pinv(X) @ y, rtol=1e-9)
    else:
        kinds = {"l1": (0.02,), "bounds": (0.0, 0.0, 0.0, 9.0)}
        of_four, of_two = (boxed(*kinds[penalty], d=d) for d in (4, 2))
        W, _, exact, _ = minimum(X, y, of_four)
        single, *_ = minimum(X[:, ::2], y, of_two)
        assert_allclose(W[0].reshape(2, 2).sum(axis=1), single[0], rtol=1e-6, atol=1e-9)
    assert exact


def test_more_columns_than_rows_give_the_minimum_norm_in_columns_of_unit_square(rng):
    X, y = rng.normal(size=(5, 12)) * np.geomspace(0.1, 10.0, 12), rng.normal(size=5)
    unit = np.sqrt(np.square(X).mean(axis=0))
    W, gain, exact, _ = minimum(X, y, BoxedElasticNet())
    assert_allclose(W[0] * unit, np.linalg.pinv(X / unit) @ y, rtol=1e-9)
    assert_allclose(gain, np.square(y).mean() / 2, rtol=1e-9)
    assert exact


def test_flat_columns_stay_where_they_are_allowed_to(rng):
    """A column of zeros gets 0 without a penalty, as a flat direction does."""
    X, y = np.column_stack([rng.normal(size=50), np.zeros(50)]), rng.normal(size=50)
    W, _, exact, _ = minimum(X, y, BoxedElasticNet(), np.array([[0.0, 3.0]]))
    assert W[0, 1] == 0.0 and exact
    W, _, exact, _ = minimum(X, y, boxed(l2=0.5, d=2), np.array([[0.0, 3.0]]))
    assert_allclose(W[0, 1], 0.0, atol=1e-15)


@pytest.mark.parametrize(("condition", "rtol"), [(1e2, 1e-13), (1e7, 1e-8), (1e15, 1e-10)])
def test_a_linear_system_is_solved_within_the_directions_that_count(rng, condition, rtol):
    """As far as the rounding of the matrix leaves digits of the smallest eigenvalue that does."""
    Q, _ = np.linalg.qr(rng.normal(size=(5, 5)))
    eigenvalues = np.geomspace(1.0, 1.0 / min(condition, 1e4), 5)
    eigenvalues[-1] = 1.0 / condition
    A, r = Q * eigenvalues @ Q.T, rng.normal(size=5)
    system = LinearSystem(A)
    counts = eigenvalues > 1e-13
    want = Q[:, counts] @ ((Q.T @ r)[counts] / eigenvalues[counts])
    x = system.solve(r)
    assert np.linalg.norm(x - want) <= rtol * np.linalg.norm(want)
    assert_allclose(system.project(want), want, rtol=rtol)
    if not counts.all():
        assert_allclose(system.project(Q[:, -1]), 0.0, atol=1e-10)


@pytest.mark.parametrize(("condition", "rtol"), [(1e2, 1e-12), (1e8, 1e-6), (1e11, 1e-3)])
def test_damping_leaves_the_directions_that_count_as_they_are(rng, condition, rtol):
    Q, _ = np.linalg.qr(rng.normal(size=(5, 5)))
    A, r = Q * np.geomspace(1.0, 1.0 / condition, 5) @ Q.T, rng.normal(size=5)
    want = Q.T @ r * np.geomspace(1.0, condition, 5)
    assert np.linalg.norm(Q.T @ damped_solution(A, r) - want) <= rtol * np.linalg.norm(want)


def test_along_a_flat_direction_a_damped_solution_is_long(rng):
    """Also where the matrix has an eigenvalue below 0, by rounding."""
    Q, _ = np.linalg.qr(rng.normal(size=(5, 5)))
    for last in (0.0, -1e-16):
        A = Q * [1.0, 0.5, 0.3, 0.1, last] @ Q.T
        along = Q.T @ damped_solution(A, Q @ [1.0, 1.0, 1.0, 1.0, 1.0])
        assert_allclose(along[:4], [1.0, 2.0, 1 / 0.3, 10.0], rtol=1e-2)
        assert along[4] > 1e11
        along = Q.T @ damped_solution(A, Q @ [1.0, 1.0, 1.0, 1.0, 1e-14], noise=1e-13)
        assert_allclose(along, [1.0, 2.0, 1 / 0.3, 10.0, 0.0], rtol=1e-10, atol=1e-6)
