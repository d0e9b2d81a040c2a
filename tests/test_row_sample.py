"""The curvature of a sample of the rows: rare large values count as much as in all rows, so that nothing is missed.

Oracles: the second moments of all rows by NumPy, and least squares.
"""

import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_array

from builders import exact_r2
from sk_gdlinear import GDLinearRegressor
from sk_gdlinear._data.order import evenly_spaced
from sk_gdlinear._data.rows import Rows
from sk_gdlinear._data.standardize import Standardization
from sk_gdlinear._descent.curvature import Curvature
from sk_gdlinear._descent.quadratic import QuadraticModel
from sk_gdlinear._descent.row_sample import (
    SAMPLE_DAMPING,
    SAMPLE_ROWS,
    Sample,
    SampleInspection,
    draw_sample,
    draw_stratified_sample,
)
from sk_gdlinear._descent.row_sums import Point
from sk_gdlinear._objective.penalties import BoxedElasticNet

N_ROWS = 6 * SAMPLE_ROWS
RARE = np.setdiff1d(np.arange(N_ROWS), evenly_spaced(N_ROWS, SAMPLE_ROWS))[[1, 3_000, 9_001]]  # not in the sample


def repeated_rows(kind=np.asarray, weight=None, rare=RARE):
    """Six rows of every kind, of which the sample takes about one, and a column of 0 with ones in the ``rare`` rows."""
    rng = np.random.default_rng(0)
    X = np.repeat(rng.normal(size=(SAMPLE_ROWS, 4)) @ rng.normal(size=(4, 4)), 2, axis=0)
    X = np.repeat(X, 3, axis=0)
    X[:, 3] = 0.0
    X[rare, 3] = 1.0
    Y = X[:, :1] + rng.normal(size=(len(X), 1))
    return Rows(kind(X), Y, weight), X


def moments_of(X, weight=None):
    """The mean of ``x x^T`` of all rows."""
    s = np.ones(len(X)) if weight is None else weight
    return (X * s[:, None]).T @ X / s.sum()


@pytest.mark.parametrize("l2", [None, 0.3])
@pytest.mark.parametrize("curved_share", [1.0, 0.4])
def test_what_is_left_to_gain_is_that_of_the_quadratic_model(curved_share, l2):
    """Its closed form: half the squared slope in the metric of the inverse curvature."""
    rng = np.random.default_rng(0)
    Z, W, grad_W, grad_b = rng.normal(size=(9, 3)), rng.normal(size=(2, 3)), rng.normal(size=(2, 3)), rng.normal(size=2)
    H = Z.T @ Z / 9.0
    penalty = BoxedElasticNet() if l2 is None else BoxedElasticNet(np.zeros((2, 3)), np.full((2, 3), l2))
    inspection = SampleInspection(np.diag(H), True, Sample(0.9, np.arange(3), H, QuadraticModel(H), knows_all=True))
    point, problem = Point(W, np.zeros(2), np.ones(2), grad_W, grad_b), SimpleNamespace(penalty=penalty)
    gain, is_all = inspection.gain(problem, point, curved_share, limit=0.0)
    slope, A = grad_W + (l2 or 0.0) * W, curved_share * H + (l2 or 0.0) * np.eye(3)
    expected = 0.9 * 0.5 * (slope * np.linalg.solve(A, slope.T).T).sum() + 0.5 * grad_b @ grad_b / curved_share
    assert is_all
    assert_allclose(gain, expected, rtol=1e-12)


def test_what_the_sample_says_of_a_point_is_computed_once():
    rng = np.random.default_rng(0)
    Z = rng.normal(size=(9, 3))
    H, penalty = Z.T @ Z / 9.0, BoxedElasticNet(np.full((1, 3), 0.1), np.zeros((1, 3)))
    inspection = SampleInspection(np.diag(H), True, Sample(0.9, np.arange(3), H, QuadraticModel(H), knows_all=True))
    problem = SimpleNamespace(penalty=penalty)
    points = [
        Point(rng.normal(size=(1, 3)), np.zeros(1), np.ones(1), rng.normal(size=(1, 3)), np.zeros(1)) for _ in "ab"
    ]
    first, spent = inspection.gain(problem, points[0], 1.0, limit=0.0), inspection.spent
    assert inspection.gain(problem, points[0], 1.0, limit=0.0) == first and inspection.spent == spent > 0.0
    assert inspection.gain(problem, points[1], 1.0, limit=0.0) != first and inspection.spent > spent


@pytest.mark.parametrize("kind", [np.asarray, csr_array], ids=["dense", "sparse"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n_rare", [0, 3])
def test_the_sample_has_the_second_moments_of_all_rows(kind, weighted, n_rare):
    """The other rows repeat, so that a sample of them is like all; of the rare ones none may be left out."""
    weight = np.repeat(np.random.default_rng(1).uniform(0.5, 2.0, SAMPLE_ROWS), 6) if weighted else None
    rows, X = repeated_rows(kind, weight, RARE[:n_rare])
    H = moments_of(X, weight)
    given = rows, Standardization.identity(4, 1, np.float64), SAMPLE_ROWS, np.diag(H)
    sample = draw_sample(*given)
    assert sample.may_miss_values == (n_rare > 0) != sample.knows_all
    if n_rare:
        assert_array_equal(sample.known, np.arange(3))
        sample = draw_stratified_sample(*given, sample.known)
    assert sample.knows_all and not sample.may_miss_values
    assert_allclose(sample.H[:3, :3], H[:3, :3], rtol=3e-3, atol=3e-3)
    assert_allclose(sample.H[3, :3], H[3, :3], rtol=3e-3)
    assert_allclose(sample.H[3, 3], H[3, 3] * (1.0 + SAMPLE_DAMPING), rtol=1e-12)


def test_more_large_values_than_the_sample_has_rows_are_sampled_too():
    """Large values of different sizes, in more rows than are read: each of their columns has its mean square."""
    rng = np.random.default_rng(0)
    n, d = 400_000, 40
    X = np.zeros((n, d))
    for j in range(d):
        X[rng.choice(n, 100, replace=False), j] = rng.uniform(1.0, 2.0, 100)
    H = moments_of(X)
    rows = Rows(X, X[:, :1])
    given = rows, Standardization.identity(d, 1, np.float64), SAMPLE_ROWS, np.diag(H)
    sample = draw_stratified_sample(*given, draw_sample(*given).known)
    assert sample.knows_all
    assert_allclose(np.diag(sample.H), np.diag(H) * (1.0 + SAMPLE_DAMPING), rtol=1e-12)


def test_rare_values_of_sparse_rows_are_looked_for_in_little_memory():
    rng = np.random.default_rng(0)
    n, d = 20_000, 600
    X = csr_array((np.ones(2 * n), (np.repeat(np.arange(n), 2), rng.integers(0, d, 2 * n))), shape=(n, d))
    X.sum_duplicates()
    squares = X.multiply(X).mean(axis=0)
    tracemalloc.start()
    draw_stratified_sample(Rows(X, X[:, [0]].toarray()), Standardization.identity(d, 1, float), 2048, squares, [0])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak <= 60e6  # a dense copy of the rows takes 96 MB


@pytest.mark.parametrize("kind", [np.asarray, csr_array], ids=["dense", "sparse"])
@pytest.mark.parametrize("weighted", [False, True])
def test_rare_categories_are_no_reason_to_buy_the_curvature(kind, weighted, monkeypatch):
    """Twenty categories in three to a hundred of 30,000 rows: a sample knows what is left, and is right."""
    bought = []
    monkeypatch.setattr(Curvature, "buy", lambda self, objective: bought.append(1))
    rng = np.random.default_rng(0)
    n = 30_000
    X = np.c_[rng.normal(size=(n, 180)), np.zeros((n, 20))]
    for j in range(20):
        X[rng.choice(n, 3 + 5 * j, replace=False), 180 + j] = 1.0
    y = X @ np.r_[rng.normal(size=180) / 13, rng.normal(size=20)] + rng.normal(size=n)
    weight = rng.uniform(0.2, 2.0, n) if weighted else None
    model = GDLinearRegressor(random_state=0).fit(kind(X), y, weight)
    assert model.stop_reason_ == "converged" and not bought and model.n_iter_ <= 6
    assert exact_r2(X, y, weight) - model.score(X, y, weight) <= 1e-4


@pytest.mark.parametrize("seed", range(5))
def test_collinear_rare_categories_that_are_not_learnt_yet_do_not_count_as_converged(seed):
    """A category and another in all but one of its rows, with an effect of their difference: epochs learn it slowly."""
    rng = np.random.default_rng(seed)
    n = 50_000
    X = np.c_[rng.normal(size=(n, 30)), np.zeros((n, 2))]
    members = rng.choice(n, 400, replace=False)
    X[members[:399], 30] = X[members[1:], 31] = 1.0
    y = 300.0 * (X[:, 30] - X[:, 31]) + 0.1 * rng.normal(size=n)
    model = GDLinearRegressor(random_state=0).fit(X, y)
    assert model.stop_reason_ == "converged"
    assert exact_r2(X, y) - model.score(X, y) <= 1e-4
