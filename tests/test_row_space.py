"""Newton steps where rows are fewer than columns: the answer of exact solvers, for arrays and for sparse rows alike."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.sparse import csr_array
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Ridge

from sk_gdlinear import GDLinearRegressor
from sk_gdlinear._data.rows import Rows
from sk_gdlinear._descent.rent_or_buy import MOMENTS_ENTRIES, Costs, has_cheap_entries
from sk_gdlinear._descent.row_space import RowSpaceNewton

KINDS = {"dense": np.asarray, "sparse": csr_array}


def few_rows(rng, n=40, d=600, density=0.02):
    """Rows with few entries, a column without any, a constant one, and a full one of large offset."""
    X = np.where(rng.random((n, d)) < density, rng.normal(size=(n, d)), 0.0)
    X[:, 0], X[:, 1], X[:, 2] = 0.0, 3.0, 1e4 + rng.normal(size=n)
    return X, X[:, 3:] @ rng.normal(size=(d - 3, 2)) + X[:, 2:3] + rng.normal(size=(n, 2))


def fit(X, Y, weight=None, **params):
    return GDLinearRegressor(precondition=True, random_state=0, tol=1e-12, **params).fit(X, Y, weight)


@pytest.fixture
def purchases(monkeypatch):
    """The kinds of solutions that were computed."""
    made, solution = [], np.linalg.eigh
    buy = RowSpaceNewton.buy
    monkeypatch.setattr(np.linalg, "eigh", lambda A: made.append("eigenvectors") or solution(A))
    monkeypatch.setattr(RowSpaceNewton, "buy", lambda self, objective: made.append("bought") or buy(self, objective))
    return made


def test_sparse_rows_of_these_tests_are_multiplied_as_such(rng):
    assert has_cheap_entries(csr_array(few_rows(rng)[0]))


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_with_squares_it_is_ridge(rng, purchases, kind, weighted, fit_intercept):
    X, Y = few_rows(rng)
    X[:, 2] -= 1e4 * (not fit_intercept)
    weight = rng.integers(0, 3, len(X)).astype(float) if weighted else np.ones(len(X))
    alpha = rng.uniform(0.01, 0.1, X.shape[1])
    model = fit(KINDS[kind](X), Y, weight, penalty="l2", alpha=alpha, fit_intercept=fit_intercept)
    root = np.sqrt(alpha * weight.sum())
    oracle = Ridge(alpha=1.0, solver="svd", fit_intercept=fit_intercept).fit(X / root, Y, weight)
    assert_allclose(model.coef_, oracle.coef_ / root, rtol=1e-6, atol=1e-8)
    assert purchases == ["bought"]


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("copies", [False, True], ids=["independent", "repeated rows"])
@pytest.mark.parametrize("kind", KINDS)
def test_without_a_penalty_it_has_minimum_norm_in_columns_of_unit_variance(
    rng, purchases, kind, copies, weighted, fit_intercept
):
    X, Y = few_rows(rng)
    X[:, 2] -= 1e4 * (not fit_intercept)
    if copies:
        X, Y = np.vstack((X, X[:5])), np.vstack((Y, Y[:5]))
    weight = rng.uniform(0.5, 2.0, len(X)) if weighted else np.ones(len(X))
    model = fit(KINDS[kind](X), Y, weight, fit_intercept=fit_intercept)
    mean, target_mean = (np.average(A, axis=0, weights=weight) * fit_intercept for A in (X, Y))
    Z = X - mean
    Z[:, 1] *= not fit_intercept  # constant
    scale = np.sqrt(np.average(Z**2, axis=0, weights=weight))
    scale[scale == 0.0] = 1.0
    root = np.sqrt(weight)[:, None]
    exact = (np.linalg.lstsq(root * Z / scale, root * (Y - target_mean), rcond=1e-7)[0] / scale[:, None]).T
    assert_allclose(model.coef_, exact, rtol=1e-6, atol=1e-8 * np.abs(exact).max())
    assert purchases == ["bought"] + ["eigenvectors"] * copies


@pytest.mark.parametrize("kind", KINDS)
def test_rows_that_are_nearly_equal_take_eigenvectors(rng, purchases, kind):
    X, Y = few_rows(rng)
    X, Y = np.vstack((X, X + 1e-6 * X * rng.normal(size=X.shape))), np.vstack((Y, Y))
    fit(KINDS[kind](X), Y)
    assert purchases == ["bought", "eigenvectors"]


def test_sparse_rows_cost_what_pairs_of_entries_in_a_column_cost_and_never_more_than_arrays(rng):
    def price(X):
        return Costs(1.0, 1.0).in_row_space(Rows(X, np.zeros((40, 1)))).curvature

    few, many = csr_array(few_rows(rng, density=0.01)[0]), csr_array(np.ones((40, 600)))
    counts = few.astype(bool).sum(axis=0)
    assert price(few) - price(csr_array(few.shape)) == pytest.approx(MOMENTS_ENTRIES * (counts * counts).sum())
    assert price(few) < price(few.toarray()) == price(many)
    assert has_cheap_entries(few) and not has_cheap_entries(many)


@pytest.mark.parametrize("unit", [1e3, 1e6, 1e7, 1e10])
@pytest.mark.parametrize("own", [False, True])
def test_a_coefficient_that_is_hardly_penalised_leaves_the_others_their_digits(rng, unit, own):
    """That of a column in large units, or one with an alpha of its own."""
    Z, alpha = rng.normal(size=(20, 30)), np.full(30, 1e-2)
    y = Z @ rng.normal(size=30)
    X = Z.copy()
    if own:
        alpha[0] /= unit**2
    else:
        X[:, 0] *= unit
    model = GDLinearRegressor(penalty="l2", alpha=alpha, random_state=0).fit(X, y)
    assert model.stop_reason_ == "converged"
    A = np.vstack([X - X.mean(axis=0), np.diag(np.sqrt(20.0 * alpha))])
    norms = np.linalg.norm(A, axis=0)
    coef = np.linalg.lstsq(A / norms, np.concatenate([y - y.mean(), np.zeros(30)]), rcond=None)[0] / norms

    def objective(coef):
        e = (X - X.mean(axis=0)) @ coef - (y - y.mean())
        return 0.5 * np.mean(e * e) + 0.5 * (alpha * coef) @ coef

    assert objective(model.coef_) - objective(coef) <= 1e-8 * 0.5 * y.var()


@pytest.mark.parametrize("smallest", [1e-6, 3e-7])
@pytest.mark.parametrize("alpha", [1e-15, 1e-18])
@pytest.mark.parametrize("n", [60, 300], ids=["fewer rows", "fewer columns"])
def test_with_squares_no_direction_is_flat_before_its_digits_are(rng, n, alpha, smallest):
    """Ridge in the coordinates of the singular vectors, of which one explains y though its singular value is small."""
    d, rank = 100, 20
    left = np.linalg.qr(np.column_stack([np.ones(n), rng.normal(size=(n, rank))]))[0][:, 1:] * np.sqrt(n)
    right = np.linalg.qr(rng.normal(size=(d, rank)))[0]
    singular = np.append(np.ones(rank - 1), smallest)
    y = left[:, -1] + left[:, 0] + 0.1 * rng.normal(size=n)
    model = GDLinearRegressor(penalty="l2", alpha=alpha, random_state=0).fit((left * singular) @ right.T, y)

    def objective(along):
        e = y - y.mean() - left @ (singular * along)
        return 0.5 * np.mean(e * e) + 0.5 * alpha * along @ along

    exact = objective(singular / (singular**2 + alpha) * (left.T @ y / n))
    assert model.stop_reason_ == "converged"
    assert objective(model.coef_ @ right) - exact <= 1e-4 * 0.5 * y.var()


@pytest.mark.parametrize("alpha", [1e-10, 1e-11, 1e-12])
@pytest.mark.parametrize("seed", range(4))
def test_weak_squares_on_rows_of_low_rank_leave_least_squares(alpha, seed):
    """Along directions without a row the penalty alone would be divided by, and rounding of the rows with it."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(60, 20)) @ rng.normal(size=(20, 120))
    y = X[:, 0] + 3.0 * rng.normal(size=60)
    model = GDLinearRegressor(penalty="l2", alpha=alpha, tol=1e-6, random_state=0).fit(X, y)
    assert model.stop_reason_ == "converged"
    best = np.linalg.lstsq(np.column_stack([np.ones(60), X]), y, rcond=1e-10)[0]
    residual = y - best[0] - X @ best[1:]
    assert np.mean((y - model.predict(X)) ** 2) - np.mean(residual**2) <= 1e-6 * y.var()


def test_a_constant_column_does_not_make_others_flat(rng):
    X = rng.normal(size=(300, 6))
    z = rng.normal(size=300)
    X[:, 5] = X[:, :3].sum(axis=1) + 1e-6 * z
    y = z + X[:, 0] + 0.1 * rng.normal(size=300)
    for columns in (X, np.column_stack([X, np.full(300, 3.0)])):
        model = GDLinearRegressor(penalty="l2", alpha=1e-18, random_state=0).fit(columns, y)
        assert model.stop_reason_ == "converged" and model.score(columns, y) > 0.98


def test_a_minimum_that_no_step_reaches_ends_the_fit_which_says_so(rng, monkeypatch):
    """As where rounding of the inner products makes it seem lower than it is."""
    X, Y = few_rows(rng)
    buy = RowSpaceNewton.buy

    def buy_too_low(self, objective):
        buy(self, objective)
        self.minimum = *self.minimum[:2], self.minimum[2] - 1e-3 * objective.null_value

    monkeypatch.setattr(RowSpaceNewton, "buy", buy_too_low)
    with pytest.warns(ConvergenceWarning, match="0.001 may be left"):
        model = GDLinearRegressor(penalty="l2", alpha=0.1, random_state=0).fit(X, Y)
    assert model.stop_reason_ == "no_change" and model.n_iter_ <= 10
    assert GDLinearRegressor(penalty="l2", alpha=0.1, tol=None, max_iter=15, random_state=0).fit(X, Y).n_iter_ == 15
