"""The law of streams: chunks through partial_fit, in any order, give what fit gives on the rows together."""

import pickle
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_array
from sklearn.linear_model import Ridge

from builders import exact_r2
from sk_gdlinear import GDLinearRegressor
from sk_gdlinear.penalties import Box

N = 3_000
CATEGORIES = 6


def rows(rng, n=N, k=None):
    """Raw rows: five numbers of mixed units, two of them correlated, and a category; y is curved in the first."""
    X = rng.normal(size=(n, 5)) * [1e-3, 1.0, 1e3, 1.0, 5.0] + [0.0, 5.0, 1e6, -3.0, 0.0]
    X[:, 3] = X[:, 1] + 0.1 * X[:, 3]
    category = rng.integers(0, CATEGORIES, n)
    signal = np.column_stack([1e3 * X[:, 0], X[:, 1], 1e-3 * X[:, 2], X[:, 4]])
    Y = signal @ rng.normal(size=(4, k or 1)) + rng.normal(size=(CATEGORIES, k or 1))[category] * 5.0
    Y += 1e6 * X[:, :1] ** 2 + rng.normal(size=(n, k or 1))
    return np.column_stack([X, np.eye(CATEGORIES)[category]]), Y if k else Y[:, 0]


def orders(X, y, rng):
    """Orders in which rows come: random, by each column, by the target."""
    yield rng.permutation(len(X))
    yield from (np.argsort(column, kind="stable") for column in X.T)  # a one-hot column: one category after the other
    yield np.argsort(y if y.ndim == 1 else y[:, 0], kind="stable")
    yield np.argsort(X[:, 5:].argmax(axis=1), kind="stable")


def stream(model, X, y, chunk, weight=None):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # no order of the rows is taken for a contradiction
        for start in range(0, X.shape[0], chunk):
            part = slice(start, start + chunk)
            model.partial_fit(X[part], y[part], None if weight is None else weight[part])
    return model


@pytest.mark.parametrize("chunk", [1, 7, 100, 10_000])
def test_one_pass_in_any_order_has_the_r2_of_least_squares(rng, chunk):
    X, y = rows(rng)
    if chunk == 1:
        X, y = X[:600], y[:600]
    exact = exact_r2(X, y)
    assert exact > 0.8
    for order in orders(X, y, rng):
        model = stream(GDLinearRegressor(random_state=0), X[order], y[order], chunk)
        assert abs(model.score(X, y) - exact) <= 1e-9


@pytest.mark.parametrize("chunk", [7, 100])
def test_at_every_tenth_of_the_stream_the_model_is_near_that_of_all_rows(rng, chunk):
    X, y = rows(rng)
    model, exact = GDLinearRegressor(random_state=0), exact_r2(X, y)
    for tenth in range(10):
        part = slice(tenth * N // 10, (tenth + 1) * N // 10)
        stream(model, X[part], y[part], chunk)
        assert model.score(X, y) >= exact - 0.02


PROBLEMS = {
    "plain": {},
    "l2": dict(penalty="l2", alpha=0.3),
    "l2 per column": dict(penalty="l2", alpha=np.geomspace(1e-3, 10.0, 5 + CATEGORIES)),
    "l1": dict(penalty="l1", alpha=0.1),
    "elasticnet": dict(penalty="elasticnet", alpha=0.1, l1_ratio=0.5),
    "positive": dict(positive=True),
    "l1 and positive": dict(penalty="l1", alpha=0.05, positive=True),
    "box": dict(penalty=Box(-1.0, 0.5)),
    "without intercept": dict(fit_intercept=False),
    "without average": dict(average=False),
    "full batch": dict(batch_size=None),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_random_chunks_in_a_random_order_equal_fit_on_the_rows_together(rng, name):
    X, y = rows(rng)
    X[17, 1], y[23] = 50.0, y[23] + 300.0  # outliers, too
    weight = rng.uniform(0.1, 3.0, N) * (rng.random(N) < 0.9)
    fitted = GDLinearRegressor(random_state=0, tol=1e-10, **PROBLEMS[name]).fit(X, y, weight)
    order, model, start = rng.permutation(N), GDLinearRegressor(random_state=0, **PROBLEMS[name]), 0
    while start < N:
        part = order[start : start + int(np.ceil(rng.pareto(0.5) * 10.0 + 1e-9))]
        model.partial_fit(X[part], y[part], weight[part])
        start += len(part)
    assert abs(model.score(X, y, weight) - fitted.score(X, y, weight)) <= 1e-6
    assert_allclose(model.predict(X), fitted.predict(X), atol=1e-3 * y.std())
    if "l1" in name or "positive" in name:
        assert_array_equal(model.coef_ == 0.0, fitted.coef_ == 0.0)


@pytest.mark.parametrize("k", [None, 3])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("sparse", [False, True])
def test_sparse_rows_and_float32_and_several_targets_equal_fit_too(rng, k, dtype, sparse):
    X, y = rows(rng, k=k)
    X, y = X[:, [0, 1, 3, *range(5, 5 + CATEGORIES)]].astype(dtype), y.astype(dtype)
    X = csr_array(X) if sparse else X
    fitted = GDLinearRegressor(random_state=0, tol=1e-10).fit(X, y)
    order = np.argsort(y if k is None else y[:, 0])
    model = stream(GDLinearRegressor(random_state=0), X[order], y[order], 100)
    assert model.coef_.dtype == dtype and model.coef_.shape == fitted.coef_.shape
    assert abs(model.score(X, y) - fitted.score(X, y)) <= 1e-6


def test_rows_of_few_entries_equal_dense_ones(rng):
    X = np.where(rng.random((N, 60)) < 0.02, rng.normal(3.0, 1.0, (N, 60)), 0.0)
    y = X @ rng.normal(size=60) + rng.normal(size=N)
    weight = rng.uniform(0.5, 2.0, N)
    dense, sparse = (stream(GDLinearRegressor(), A, y, 250, weight) for A in (X, csr_array(X)))
    assert_allclose(sparse.coef_, dense.coef_, rtol=1e-9, atol=1e-9)
    assert_allclose(sparse.intercept_, dense.intercept_, rtol=1e-9)


@pytest.mark.parametrize("scale", [1e200, 1e-200, 1e-300])
def test_numbers_whose_squares_do_not_exist_are_remembered(rng, scale):
    X = rng.normal(size=(500, 3))
    y = X @ [1.0, -2.0, 0.5] + 0.1 * rng.normal(size=500)
    plain = stream(GDLinearRegressor(), X, y, 50)
    units = np.array([scale, 1.0, 1.0])
    scaled = stream(GDLinearRegressor(), X * units, y, 50)
    assert_allclose(scaled.predict(X * units), plain.predict(X), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("scale", [1e-200, 1.0, 1e200])
def test_a_column_that_is_zero_at_first_is_learnt_in_any_unit(rng, scale):
    X = rng.normal(size=(400, 3)) * [scale, 1.0, 1.0]
    X[:150, 0] = 0.0
    y = X @ [1.0 / scale, -2.0, 0.5] + 0.1 * rng.normal(size=400)
    for chunk in (1, 50):
        model = stream(GDLinearRegressor(), X, y, chunk)
        assert_allclose(model.coef_ * [scale, 1.0, 1.0], [1.0, -2.0, 0.5], atol=0.05)


@pytest.mark.parametrize("spread", [1e-2, 1e-3, 1e-4, 1e-5])
def test_nearly_collinear_columns_whose_difference_matters_equal_least_squares(rng, spread):
    u, v = rng.normal(size=(2, 1_000))
    X = np.column_stack([u, u + spread * v, rng.normal(size=(1_000, 4))])
    model = stream(GDLinearRegressor(), X, v, 50)
    assert model.score(X, v) >= 1.0 - 1e-6


def test_a_column_that_grows_beyond_all_scales_equals_fit(rng):
    X = rng.normal(size=(400, 2)) * np.geomspace(1e-250, 1e250, 400)[:, None] ** [1, 0]
    y = X[:, 1] + 0.1 * rng.normal(size=400)
    for order in (np.arange(400), np.arange(400)[::-1]):
        model = stream(GDLinearRegressor(), X[order], y[order], 1)
        assert model.score(X, y) > 0.98


def test_offsets_far_beyond_the_spread_cost_no_accuracy(rng):
    """Times in seconds since 1970, start and end: what matters is their small difference."""
    start, lasting = 1.5e9 + rng.uniform(0, 9e7, N), rng.gamma(2.0, 300.0, N)
    X, y = np.column_stack([start, start + lasting]), 2.0 + 0.01 * lasting + rng.normal(size=N)
    Z = np.column_stack([start - 1.5e9, lasting])
    for chunk in (1, 100):
        model = stream(GDLinearRegressor(), X, y, chunk)
        assert abs(model.score(X, y) - exact_r2(Z, y)) <= 1e-6


def test_fit_and_partial_fit_after_it_are_those_of_all_rows(rng):
    """The second moments of few rows are those of all, of many those of a sample: then nearly."""
    for n, near in ((600, 1e-6), (20_000, 1e-3)):
        X, y = rows(rng, n)
        half = n // 2
        for params in ({}, {"penalty": "l2", "alpha": 1e-3}, {"fit_intercept": False}):
            model, together = (GDLinearRegressor(random_state=0, tol=1e-10, **params) for _ in range(2))
            fitted, together = model.fit(X[:half], y[:half]).score(X, y), together.fit(X, y).score(X, y)
            model.partial_fit(X[half : half + 1], y[half : half + 1])
            assert model.score(X, y) >= fitted - 1e-3  # one row more changes little
            stream(model, X[half + 1 :], y[half + 1 :], 500)
            assert abs(model.score(X, y) - together) <= near


def test_coefficients_set_by_hand_are_where_the_remembered_rows_pull_from_then_on(rng):
    X, y = rows(rng)
    model = stream(GDLinearRegressor(random_state=0), X, y, 500)
    model.coef_ = 2.0 * model.coef_
    model.intercept_ = 2.0 * model.intercept_
    set_by_hand = model.predict(X)
    model.partial_fit(X[:1], 2.0 * y[:1])
    assert np.abs(model.predict(X) - set_by_hand).max() < 0.01 * np.abs(set_by_hand).max()
    stream(model, X, 2.0 * y, 500)
    assert model.score(X, 2.0 * y) >= exact_r2(X, y) - 1e-3


def test_a_coefficient_changed_in_place_is_seen(rng):
    X, y = rows(rng)
    model = stream(GDLinearRegressor(random_state=0), X, y, 500)
    model.coef_[1] += 100.0
    model.partial_fit(X[:1], model.predict(X[:1]))
    moved = model.coef_.copy()
    stream(model, X, y, 500)
    assert abs(moved[1] - model.coef_[1]) > 10.0


def test_another_loss_or_penalty_in_mid_stream_goes_on_from_what_is_known(rng):
    X, y = rows(rng)
    model = stream(GDLinearRegressor(random_state=0), X, y, 500)
    model.set_params(loss="huber", epsilon=100.0).partial_fit(X, y)
    assert model.score(X, y) >= exact_r2(X, y) - 0.05
    model.set_params(loss="squared_error", penalty="l2", alpha=1e-6).partial_fit(X, y)
    assert model.score(X, y) >= exact_r2(X, y) - 0.02


def test_one_row_alone_and_in_an_array_of_others_give_the_same_bits(rng):
    """A call with one row makes no checks that the call before has made, and computes the same."""
    X, y = rows(rng, 300)
    quick, checked = GDLinearRegressor(random_state=0), GDLinearRegressor(random_state=0)
    for i in range(300):
        quick.partial_fit(X[i : i + 1], y[i : i + 1])
        checked.partial_fit(X[i : i + 1].tolist(), y[i : i + 1].tolist())
        assert_array_equal(quick.coef_, checked.coef_)
        assert (quick.intercept_, quick.t_) == (checked.intercept_, checked.t_)
    assert quick.loss_curve_ == checked.loss_curve_
    assert pickle.dumps(quick._state["memory"]) == pickle.dumps(checked._state["memory"])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_one_row_that_is_not_finite_raises_and_changes_nothing(rng, bad, state_of):
    X, y = rows(rng, 50)
    model = stream(GDLinearRegressor(random_state=0), X, y, 1)
    before = state_of(model)
    for row, target in ((np.where(np.arange(11) == 3, bad, X[:1]), y[:1]), (X[:1], y[:1] * bad)):
        with pytest.raises(ValueError, match="NaN|infinity"):
            model.partial_fit(row, target)
    assert state_of(model) == before


def test_one_row_with_parameters_that_are_now_invalid_raises(rng):
    X, y = rows(rng, 50)
    model = stream(GDLinearRegressor(random_state=0), X, y, 1)
    for wrong in ({"max_iter": -1}, {"window": 0}, {"alpha": -1.0, "penalty": "l2"}, {"early_stopping": True}):
        before = {name: getattr(model, name) for name in wrong}
        with pytest.raises(ValueError, match=next(iter(wrong))):
            model.set_params(**wrong).partial_fit(X[:1], y[:1])
        model.set_params(**before).partial_fit(X[:1], y[:1])


@pytest.mark.parametrize("k", [None, 2])
@pytest.mark.parametrize(("alpha", "later"), [(0.5, 0.5), (0.5, 0.02), (0.0, 0.5)])
def test_a_stream_that_begins_with_fit_knows_its_rows_also_under_another_penalty(rng, k, alpha, later):
    """The fit has computed the second moments of all rows, and they are few: nothing of them is lost."""
    X, Y = rows(rng, 600, k)
    model = GDLinearRegressor(penalty="l2", alpha=alpha, precondition=True, tol=1e-12, random_state=0)
    model = pickle.loads(pickle.dumps(model.fit(X[:400], Y[:400])))
    model.set_params(alpha=later).partial_fit(X[400:], Y[400:])
    ridge = Ridge(alpha=600 * later).fit(X, Y)
    assert_allclose(model.predict(X), ridge.predict(X), rtol=0.0, atol=1e-6 * Y.std())


@pytest.mark.parametrize("spread", [86_400.0, 1e3, 10.0])
@pytest.mark.parametrize("weighted", [False, True])
def test_sparse_rows_with_times_among_few_entries_equal_dense_ones(rng, spread, weighted):
    """Seconds since 1970, twice, beside many categories: the squares of the seconds hold no digit of their spread."""
    n = 4_000
    start = 1.7e9 + spread * rng.uniform(size=n)
    X = np.column_stack([start, start + 0.2 * spread * rng.gamma(2.0, size=n), np.eye(100)[rng.integers(0, 100, n)]])
    y = (X[:, 1] - X[:, 0]) / spread + 3.0 * (start - 1.7e9) / spread + X[:, 5] + 0.1 * rng.normal(size=n)
    weight = rng.uniform(0.5, 2.0, n) if weighted else None
    dense, sparse = (stream(GDLinearRegressor(), A, y, 1_500, weight) for A in (X, csr_array(X)))
    assert sparse.score(X, y, weight) == pytest.approx(dense.score(X, y, weight), abs=1e-9)
    assert sparse.score(X, y, weight) > exact_r2(X - [1.7e9, 1.7e9, *[0.0] * 100], y) - 1e-3
