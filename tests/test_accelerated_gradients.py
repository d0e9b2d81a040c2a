"""Accelerated proximal gradients over all rows: penalties with kinks on more columns than a matrix is made for."""

import numpy as np
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import lsq_linear
from scipy.sparse import csr_array, issparse
from sklearn.linear_model import ElasticNet, Lasso

from builders import name_of
from other_arrays import needs_dispatch
from sk_gdlinear import GDLinearRegressor
from sk_gdlinear._array import method as device_method
from sk_gdlinear._descent import choose_newton, quadratic, working_set
from sk_gdlinear._descent.accelerated_gradients import ProximalStep
from sk_gdlinear._descent.gradient_steps import limits_all
from sk_gdlinear._descent.rent_or_buy import columns_cost
from sk_gdlinear._objective.penalties import BoxedElasticNet
from sk_gdlinear.penalties import L1, Box


@pytest.fixture
def wide(monkeypatch):
    """Data of two columns counts as too wide for a matrix of second moments, and for a working set."""
    for module in (choose_newton, device_method):
        monkeypatch.setattr(module, "MOST_COLUMNS", 1)
    monkeypatch.setattr(choose_newton, "LEAST_COLUMNS", 10**9)


def data(n=400, d=12, k=None, seed=0):
    """Rows with offsets, scales and correlations, and noisy targets of half of the columns."""
    rng = np.random.default_rng(seed)
    X = (rng.normal(size=(n, d)) + 0.5 * rng.normal(size=(n, 1)) + rng.normal(size=d)) * np.logspace(-1, 1, d)
    W = rng.normal(size=(d, k or 1)) * (np.arange(d) % 2)[:, None]
    Y = X @ W + 5.0 + rng.normal(size=(n, k or 1))
    return X, Y if k else Y[:, 0]


def sparse_data(n=2000, d=300, seed=0):
    """Rows of counts, ten of them not 0."""
    rng = np.random.default_rng(seed)
    columns, starts = rng.integers(0, d, 10 * n, dtype=np.int32), np.arange(0, 10 * n + 1, 10, dtype=np.int32)
    X = csr_array((np.ones(10 * n), columns, starts), shape=(n, d))
    X.sum_duplicates()
    return X, X @ rng.normal(size=d) + rng.normal(size=n)


def rows(kind):
    return data() if kind == "dense" else sparse_data()


def largest_alpha(X, y):
    """The least alpha of "l1" at which all coefficients are 0."""
    return np.abs(X.T @ (y - y.mean())).max() / len(y)


def objective(model, X, y, alpha=0.0, l1_ratio=1.0):
    w = model.coef_
    penalty = alpha * (l1_ratio * np.abs(w) + 0.5 * (1.0 - l1_ratio) * w * w).sum()
    return 0.5 * np.mean((y - model.predict(X)) ** 2) + penalty


class OwnL1:
    """Absolute values, as a penalty of the user's."""

    def __init__(self, alpha):
        self.alpha = alpha

    def value(self, w):
        return self.alpha * np.abs(w).sum()

    def proximal(self, w, step):
        return np.sign(w) * np.maximum(np.abs(w) - self.alpha * step, 0.0)


# --- the answer ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [0.02, 0.5])
def test_with_orthogonal_columns_one_step_is_the_lasso(wide, alpha):
    """The soft threshold of the correlations with the targets."""
    X = np.random.default_rng(0).normal(size=(200, 9))
    X = np.sqrt(200.0) * np.linalg.qr(X - X.mean(axis=0))[0]
    y = X @ np.linspace(-1.0, 1.0, 9) + 3.0
    model = GDLinearRegressor(penalty="l1", alpha=alpha, precondition=True, max_iter=1, tol=None).fit(X, y)
    c = X.T @ y / 200.0
    assert_allclose(model.coef_, np.sign(c) * np.maximum(np.abs(c) - alpha, 0.0), atol=1e-12)
    assert model.n_iter_ == model.t_ == 1


def test_steps_are_those_of_fista(wide):
    """With a bound of the second derivative that follows it, and an extrapolation that begins anew where it must."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(500, 8)) + 0.7 * rng.normal(size=(500, 1))
    X -= X.mean(axis=0)
    y = X @ rng.normal(size=8)
    squares = (X**2).mean(axis=0)
    H, c, alpha = X.T @ X / 500.0, X.T @ y / 500.0, 1e-3
    w = before = np.zeros(8)
    bound, record, momentum, value = 1.0, 1.0, 1.0, 0.5 * np.mean(y**2)
    for _ in range(12):
        following = (1.0 + np.sqrt(1.0 + 4.0 * momentum**2)) / 2.0
        v = w + (momentum - 1.0) / following * (w - before)
        step = 1.0 / (bound * squares)
        u = v - step * (H @ v - c)
        after = np.sign(u) * np.maximum(np.abs(u) - alpha * step, 0.0)
        way = after - v
        found = way @ H @ way / (squares * way**2).sum()
        new = 0.5 * np.mean((y - X @ after) ** 2) + alpha * np.abs(after).sum()
        goes_on = new < value and (squares * way * (after - w)).sum() >= 0.0 and not found > 1.2 * record
        momentum = following if goes_on else 1.0
        bound, record = (1.2 * found if found > bound else 0.98 * bound), max(record, found)
        if new < value:
            before, w, value = w, after, new
        else:
            before = w
    model = GDLinearRegressor(penalty="l1", alpha=alpha, precondition=True, max_iter=12, tol=None).fit(X, y)
    assert_allclose(model.coef_, w, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("precondition", [True, "auto"])
@pytest.mark.parametrize("kind", ["dense", "sparse"])
@pytest.mark.parametrize("strength", [0.5, 0.05, 0.005])
@pytest.mark.parametrize("l1_ratio", [1.0, 0.5])
def test_lasso_and_elastic_net_are_called_converged_where_at_most_tol_is_left(
    wide, kind, strength, l1_ratio, precondition
):
    X, y = rows(kind)
    alpha = strength * largest_alpha(X, y) / l1_ratio
    exact = ElasticNet(alpha, l1_ratio=l1_ratio, tol=1e-12, max_iter=100_000).fit(X, y)
    best = objective(exact, X, y, alpha, l1_ratio)
    params = {"penalty": "elasticnet", "l1_ratio": l1_ratio, "precondition": precondition, "random_state": 0}
    for tol in (1e-2, 1e-4, 1e-7):
        model = GDLinearRegressor(alpha=alpha, tol=tol, **params).fit(X, y)
        assert model.stop_reason_ == "converged"
        assert -1e-9 <= (objective(model, X, y, alpha, l1_ratio) - best) / (0.5 * y.var()) <= tol
    assert_array_equal(model.coef_ == 0.0, exact.coef_ == 0.0)


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_positive_coefficients_fulfil_the_conditions_of_a_minimum(wide, kind, fit_intercept):
    """No slope is negative, and it is 0 where the coefficient is not (the sparse columns depend on each other)."""
    X, y = rows(kind)
    y = -y if kind == "dense" else y  # of the other sign the best coefficients are all 0
    A = X.toarray() if issparse(X) else X
    model = GDLinearRegressor(positive=True, fit_intercept=fit_intercept, tol=1e-8, random_state=0).fit(X, y)
    assert model.stop_reason_ == "no_change"  # what is left is not known
    w, errors = model.coef_, model.predict(X) - y
    assert (w >= 0.0).all() and (w > 0.0).any()
    slope = (A - fit_intercept * A.mean(axis=0)).T @ errors / len(y)
    correlation = slope / (A.std(axis=0) * y.std())
    assert correlation.min() >= -1e-5
    assert np.abs(slope * w).sum() <= 1e-4 * y.var()


def test_bounds_on_both_sides_are_kept_and_called_converged(wide):
    X, y = data()
    lower, upper = -0.1 * np.ones(12), np.linspace(0.05, 2.0, 12)
    exact = lsq_linear(X - X.mean(axis=0), y - y.mean(), (lower, upper), tol=1e-14).x
    model = GDLinearRegressor(penalty=Box(lower, upper), tol=1e-8, random_state=0).fit(X, y)
    assert model.stop_reason_ == "converged"
    assert (model.coef_ >= lower).all() and (model.coef_ <= upper).all()
    assert_allclose(X @ (model.coef_ - exact), np.mean(X @ (model.coef_ - exact)), atol=1e-3 * y.std())


def test_some_coefficients_without_a_penalty_are_those_of_the_lasso(wide):
    X, y = data()
    free = np.arange(12) < 4
    alpha = np.where(free, 0.0, 0.1 * largest_alpha(X, y))
    model = GDLinearRegressor(penalty="l1", alpha=alpha, tol=1e-10, random_state=0).fit(X, y)
    assert model.stop_reason_ == "no_change"
    Q = np.linalg.qr((X - X.mean(axis=0))[:, free])[0]  # which least squares takes out of all others

    def rest(a):
        return a - a.mean(axis=0) - Q @ (Q.T @ (a - a.mean(axis=0)))

    exact = Lasso(alpha[-1], fit_intercept=False, tol=1e-12, max_iter=100_000).fit(rest(X[:, ~free]), rest(y))
    assert_allclose(model.coef_[~free], exact.coef_, atol=1e-4 * np.abs(exact.coef_).max())


def test_a_penalty_of_ones_own_has_the_answer_of_the_built_in_one(wide):
    X, y = data()
    alpha = 0.05 * largest_alpha(X, y)
    expected = GDLinearRegressor(penalty=L1(alpha), precondition=True, tol=None, max_iter=20).fit(X, y)
    model = GDLinearRegressor(penalty=OwnL1(alpha), precondition=True, tol=None, max_iter=20).fit(X, y)
    assert_allclose(model.coef_, expected.coef_, rtol=1e-7, atol=1e-10)
    assert GDLinearRegressor(penalty=OwnL1(alpha), random_state=0).fit(X, y).stop_reason_ == "no_change"


def test_what_is_left_is_known_only_if_the_penalty_limits_each_coefficient():
    free, infinite = np.array([[0.0, 1.0]]), np.full((1, 2), np.inf)
    both, none, varies = np.ones((1, 2)), np.zeros((1, 2)), np.ones(2)
    assert limits_all(BoxedElasticNet(both, none), varies) and limits_all(BoxedElasticNet(none, both), varies)
    assert limits_all(BoxedElasticNet(none, none, -both, both), varies)
    assert limits_all(BoxedElasticNet(free, none), np.array([0.0, 1.0]))  # the first column is constant
    assert not limits_all(BoxedElasticNet(free, none), varies)
    assert not limits_all(BoxedElasticNet(none, none, none, infinite), varies)
    assert not limits_all(BoxedElasticNet(), varies)


PARAMS = [{"penalty": "l1", "alpha": 0.05}, {"positive": True}]


@pytest.mark.parametrize("params", PARAMS, ids=name_of)
def test_targets_are_fitted_as_if_alone(wide, params):
    X, Y = data(k=3)
    Y = Y * [1.0, 10.0, 0.1]
    params = {"precondition": True, "max_iter": 15, "tol": None} | params
    model = GDLinearRegressor(**params).fit(X, Y)
    for t in range(3):
        alone = GDLinearRegressor(**params).fit(X, Y[:, t])
        assert_allclose(model.coef_[t], alone.coef_, rtol=1e-8, atol=1e-12)
        assert model.intercept_[t] == pytest.approx(alone.intercept_)


@pytest.mark.parametrize("kind", ["dense", "sparse"])
@pytest.mark.parametrize("params", PARAMS, ids=name_of)
def test_integer_weights_are_repeated_rows(wide, kind, params):
    X, y = rows(kind)
    weight = np.random.default_rng(0).integers(0, 4, len(y))
    params = {"precondition": True, "batch_size": None, "max_iter": 8, "tol": None} | params
    model = GDLinearRegressor(**params).fit(X, y, weight)
    repeated = GDLinearRegressor(**params).fit(X[np.repeat(np.arange(len(y)), weight)], np.repeat(y, weight))
    assert_allclose(model.coef_, repeated.coef_, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("params", PARAMS, ids=name_of)
def test_float32_rows_have_the_answer_of_float64(wide, params):
    X, y = sparse_data()
    expected = GDLinearRegressor(precondition=True, tol=1e-5, **params).fit(X, y)
    model = GDLinearRegressor(precondition=True, tol=1e-5, **params).fit(X.astype(np.float32), y.astype(np.float32))
    assert model.coef_.dtype == np.float32
    assert (model.n_iter_, model.stop_reason_) == (expected.n_iter_, expected.stop_reason_)
    assert_allclose(model.coef_, expected.coef_, atol=1e-5 * np.abs(expected.coef_).max())


@pytest.mark.parametrize("params", PARAMS, ids=name_of)
def test_a_constant_column_has_no_coefficient(wide, params):
    X, y = data()
    X[:, 3] = 7.0
    model = GDLinearRegressor(precondition=True, tol=1e-6, **params).fit(X, y)
    assert model.coef_[3] == 0.0
    others = GDLinearRegressor(precondition=True, tol=1e-6, **params).fit(np.delete(X, 3, axis=1), y)
    assert_allclose(np.delete(model.coef_, 3), others.coef_, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("params", PARAMS, ids=name_of)
def test_where_nothing_can_be_gained_steps_end_at_once(wide, params):
    X, _ = data()
    model = GDLinearRegressor(precondition=True, **params).fit(X, np.full(400, 3.0))
    assert not model.coef_.any() and model.n_iter_ <= 2
    assert model.intercept_ == pytest.approx(3.0)


def test_rounding_ends_the_steps_and_the_objective_reported_is_that_of_the_parameters(wide):
    X, y = data()
    model = GDLinearRegressor(penalty="l1", alpha=0.05, precondition=True, tol=None, max_iter=600).fit(X, y)
    assert model.loss_curve_[-1] == pytest.approx(objective(model, X, y, 0.05), rel=1e-12)
    assert_array_equal(np.minimum.accumulate(model.loss_curve_), model.loss_curve_)  # it never rises
    exact = Lasso(0.05, tol=1e-14, max_iter=100_000).fit(X, y)
    assert_allclose(model.coef_, exact.coef_, atol=1e-6)


def test_the_extrapolation_saves_most_of_the_steps(wide):
    """Nearly collinear columns: gradients alone need a number of steps like the condition number, this its root."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(1000, 20)) + 5.0 * rng.normal(size=(1000, 1))  # condition number about 500
    y = X @ rng.normal(size=20) + rng.normal(size=1000)
    model = GDLinearRegressor(penalty="l1", alpha=1e-2, tol=1e-5, precondition=True).fit(X, y)
    exact = Lasso(1e-2, tol=1e-12, max_iter=100_000).fit(X, y)
    assert objective(model, X, y, 1e-2) - objective(exact, X, y, 1e-2) <= 1e-5 * 0.5 * y.var()
    assert model.n_iter_ <= 300  # 209; without it 1,683


# --- where they are used ----------------------------------------------------------------------------------------------


def many_coefficients(n=800, d=400, seed=0):
    """Rows of independent columns, each of which matters, with a penalty that leaves most of the coefficients."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d))
    y = X @ rng.normal(size=d) + 10.0 * rng.normal(size=n)
    return X, y, 0.02 * largest_alpha(X, y)


@pytest.mark.parametrize("price", [0.0, "as is", np.inf])
def test_a_working_set_has_the_answer_of_lasso_whatever_its_price(price, monkeypatch):
    X, y, alpha = many_coefficients()
    if price != "as is":
        monkeypatch.setattr(working_set, "columns_cost", lambda *args: price)
    model = GDLinearRegressor(penalty="l1", alpha=alpha, tol=1e-8, random_state=0).fit(X, y)
    exact = Lasso(alpha, tol=1e-12, max_iter=100_000).fit(X, y)
    assert model.stop_reason_ == "converged"
    gap = objective(model, X, y, alpha) - objective(exact, X, y, alpha)
    assert gap <= 1e-8 * 0.5 * y.var()


def test_second_moments_of_many_columns_are_left_out_where_passes_over_the_rows_cost_less(monkeypatch):
    """Where the columns are well conditioned; those of few columns are computed at once."""
    computed = []

    def second_moments(*args, n_last, **kwargs):
        computed.append(n_last)
        return original(*args, n_last=n_last, **kwargs)

    original = working_set.second_moments
    monkeypatch.setattr(working_set, "second_moments", second_moments)
    X, y, alpha = many_coefficients(n=4000, d=1000)
    model = GDLinearRegressor(penalty="l1", alpha=alpha, random_state=0).fit(X, y)
    assert np.count_nonzero(model.coef_) > 800
    assert sum(computed) < 200 and model.n_iter_ <= 40
    computed.clear()
    model = GDLinearRegressor(penalty="l1", alpha=30.0 * alpha, random_state=0).fit(X, y)
    assert 20 < np.count_nonzero(model.coef_) <= sum(computed) < 200
    assert model.n_iter_ <= 5


def test_each_minimum_is_paid_for_by_steps_after_two_passes_on_credit(monkeypatch):
    """One that costs as much as five passes follows three accelerated steps, and so does the next."""
    kinds, original = [], working_set.WorkingSetNewton.proposal

    def proposal(self, *args):
        monkeypatch.setattr(working_set, "columns_cost", lambda *args: 5.0 * self.pass_cost)
        made = original(self, *args)
        kinds.append("step" if isinstance(made, ProximalStep) else "minimum")
        return made

    monkeypatch.setattr(working_set.WorkingSetNewton, "proposal", proposal)
    X, y, alpha = many_coefficients()
    params = {"penalty": "l1", "alpha": alpha, "tol": None, "precondition": True}
    GDLinearRegressor(max_iter=7, **params).fit(X, y)
    assert kinds == 2 * [*3 * ["step"], "minimum"]


@pytest.mark.parametrize("seed", range(6))
def test_a_duality_gap_a_little_above_the_tolerance_is_brought_below_it(wide, seed):
    """Rather than to end by the estimate of what is left, which says that it is less."""
    X, y = sparse_data(seed=seed)
    alpha = 0.005 * largest_alpha(X, y)
    model = GDLinearRegressor(penalty="l1", alpha=alpha, tol=1e-7, random_state=0).fit(X, y)
    assert model.stop_reason_ == "converged" and model.n_iter_ < 200
    exact = Lasso(alpha, tol=1e-12, max_iter=100_000).fit(X, y)
    assert objective(model, X, y, alpha) - objective(exact, X, y, alpha) <= 1e-7 * 0.5 * y.var()


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_the_objective_falls_where_the_first_minimum_has_too_few_columns(dtype):
    """The mini-batch epoch before it has all of them: steps then go on from there."""
    X, y, alpha = many_coefficients(n=2000, d=500)
    model = GDLinearRegressor(penalty="l1", alpha=0.1 * alpha, random_state=0).fit(X.astype(dtype), y.astype(dtype))
    assert np.count_nonzero(model.coef_) > 400
    assert model.stop_reason_ == "converged" and model.n_iter_ > 3
    assert (np.diff(model.loss_curve_) <= 1e-6 * model.loss_curve_[0]).all()


@pytest.mark.parametrize("penalty", ["l1", "elasticnet"])
@pytest.mark.parametrize("common", [0.0, 1.0, 3.0])
def test_early_stopping_goes_on_where_the_first_minimum_has_too_few_columns(penalty, common):
    """Also if the first step from all of them is too long, so that the validation loss stays the same for an epoch."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(1000, 300)) + common * rng.normal(size=(1000, 1))
    y = X @ rng.normal(size=300) + 2.0 * rng.normal(size=1000)
    model = GDLinearRegressor(penalty=penalty, alpha=0.02, early_stopping=True, random_state=0).fit(X, y)
    assert model.score(X, y) > 0.98 and model.best_iter_ > 4


def test_few_rows_take_minima_at_once():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 300))
    y = X[:, :30].sum(axis=1) + rng.normal(size=40)
    model = GDLinearRegressor(penalty="l1", alpha=0.05, random_state=0).fit(X, y)
    assert model.stop_reason_ == "converged" and model.n_iter_ <= 10
    assert (np.diff(model.loss_curve_) < 0.0).all()


def test_float32_ends_an_elastic_net_as_early_as_float64():
    """Rounding of the gradient adds to the conjugate of a square no more than its square over that of the penalty."""
    X, y, _ = many_coefficients(n=1500, d=500)
    epochs = []
    for dtype in (np.float64, np.float32):
        model = GDLinearRegressor(penalty="elasticnet", alpha=0.01, l1_ratio=0.5, tol=1e-6, random_state=0)
        model.fit(X.astype(dtype), y.astype(dtype))
        assert model.stop_reason_ == "converged"
        exact = ElasticNet(0.01, tol=1e-12, max_iter=100_000).fit(X, y)
        gap = objective(model, X, y, 0.01, 0.5) - objective(exact, X, y, 0.01, 0.5)
        assert gap <= 1e-6 * 0.5 * y.var()
        epochs.append(model.n_iter_)
    assert epochs[1] <= epochs[0] + 2


def test_the_price_of_a_minimum_is_that_of_new_columns_and_of_factors():
    """Second moments of old columns are known already, and each target has factors of its own."""
    assert columns_cost(1000, 1, 0, 0) == 0.0
    old, new, both = columns_cost(10**9, 1, 0, 50), columns_cost(10**9, 1, 50, 50), columns_cost(10**9, 1, 0, 100)
    assert old + new == pytest.approx(both, rel=1e-6)  # on so many rows factors cost nothing beside them

    def factors(n_targets, n_known, n_added, n_rows=200):
        return columns_cost(n_rows, n_targets, n_known, n_added) - columns_cost(n_rows, 0, n_known, n_added)

    assert factors(3, 20, 30) == pytest.approx(3.0 * factors(1, 20, 30))
    assert factors(1, 100, 1) < 0.2 * factors(1, 0, 101)  # a minimum is not far from the one before
    assert factors(1, 0, 200, n_rows=100) == pytest.approx(factors(1, 0, 200))
    assert factors(1, 0, 300, n_rows=300) == pytest.approx(factors(1, 0, 300, n_rows=400))
    assert factors(1, 0, 300, n_rows=290) > 1.5 * factors(1, 0, 300, n_rows=300)  # ten columns are in excess


def test_with_nearly_as_many_coefficients_as_rows_steps_take_the_place_of_factors(monkeypatch):
    """Along the flat directions of more columns than rows, each coefficient that becomes 0 takes factors of its own."""
    n_factors, cholesky = [], quadratic._cholesky
    monkeypatch.setattr(quadratic, "_cholesky", lambda A: n_factors.append(len(A)) or cholesky(A))
    X, y, _ = many_coefficients(n=200, d=500)
    alpha = 1e-3 * largest_alpha(X, y)
    model = GDLinearRegressor(penalty="l1", alpha=alpha, random_state=0).fit(X, y)
    assert model.stop_reason_ == "converged" and np.count_nonzero(model.coef_) > 150
    assert len(n_factors) < 400  # 757 if all minima had the price of full rank
    exact = Lasso(alpha, tol=1e-8, max_iter=100_000).fit(X, y)
    assert objective(model, X, y, alpha) - objective(exact, X, y, alpha) <= 1e-4 * 0.5 * y.var()


def test_mini_batches_come_first_and_verbose_says_what_steps_are_made(wide, capsys):
    X, y = sparse_data()
    model = GDLinearRegressor(positive=True, random_state=0, verbose=1).fit(X, y)
    assert model.t_ == 63 + model.n_iter_ - 1  # an epoch of batches, and steps of one update
    said = capsys.readouterr().out
    assert "accelerated gradients begun after update 63, when the epochs had cost as much" in said


def test_a_warm_start_goes_on(wide):
    X, y = sparse_data()
    warm = GDLinearRegressor(penalty="l1", alpha=0.01, tol=1e-7, random_state=0, warm_start=True)
    cold = warm.fit(X, y).coef_.copy()
    assert warm.n_iter_ >= 10
    assert warm.fit(X, y).n_iter_ <= 3
    assert_allclose(warm.coef_, cold, atol=1e-3 * np.abs(cold).max())


def test_early_stopping_keeps_the_best_step(wide):
    X, y = data(n=60, d=40)
    model = GDLinearRegressor(positive=True, precondition=True, early_stopping=True, random_state=0).fit(X, y)
    assert model.stop_reason_ == "early_stopping"
    assert model.best_iter_ == 1 + int(np.argmin(model.validation_loss_curve_))


@needs_dispatch
@pytest.mark.parametrize("params", PARAMS, ids=name_of)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_arrays_of_another_library_have_the_answer_of_numpy(wide, params, dtype):
    strict = pytest.importorskip("array_api_strict", reason="array_api_strict is not installed: no arrays of it")
    X, y = (a.astype(dtype) for a in data())
    params = {"precondition": True, "max_iter": 12, "tol": None} | params
    expected = GDLinearRegressor(**params).fit(X, y)
    with sklearn.config_context(array_api_dispatch=True):
        model = GDLinearRegressor(**params).fit(*map(strict.asarray, (X, y)))
    tolerance = 1e-9 if dtype == "float64" else 1e-4
    assert_allclose(np.asarray(model.coef_), expected.coef_, rtol=tolerance, atol=tolerance)
    assert_allclose(model.loss_curve_, expected.loss_curve_, rtol=tolerance)


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_a_large_gain_beside_targets_of_zero_is_no_overflow(wide):
    """The objective of the best constant is 0, and bounds keep the coefficients from it."""
    X = 1e8 * np.random.default_rng(0).normal(size=(50, 3))
    model = GDLinearRegressor(penalty=Box(0.3, 0.3), fit_intercept=False, random_state=0).fit(X, np.zeros(50))
    assert_array_equal(model.coef_, 0.3)
