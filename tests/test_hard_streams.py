"""Streams that break running statistics: with a window they are wholly forgotten, without one no row is.

``SK_GDLINEAR_HARD_STREAMS`` is the number of random hard streams, 30 by default; a long run has 1,000.
"""

import os
import pickle
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose

from builders import exact_r2
from hard_streams import hard_stream
from sk_gdlinear import GDLinearRegressor

WINDOW = 1_000
CHUNKS = [1, 60, 1_000, 5_000]
N_STREAMS = int(os.environ.get("SK_GDLINEAR_HARD_STREAMS", "30"))

quietly = pytest.mark.filterwarnings("ignore:The newest rows contradict")


def stream(model, X, y, chunk):
    for start in range(0, len(X), chunk):
        model.partial_fit(X[start : start + chunk], y[start : start + chunk])
        assert np.isfinite(model.coef_).all() and np.isfinite(model.intercept_)
    return model


def correlated(rng, n, d=8):
    X = rng.normal(size=(n, d)) @ np.linalg.cholesky(0.95 + 0.05 * np.eye(d)).T
    return X, X @ rng.normal(size=d) + 0.3 * rng.normal(size=n)


def old_unit_of_the_target(rng):
    X, y = correlated(rng, 6_000)
    y[:1_500] *= 1e6
    return X, y


def outlier_in_a_feature(rng):
    X, y = correlated(rng, 6_000)
    X[1_500, 0] = 1e9
    return X, y


def outlier_in_the_target(rng):
    X, y = correlated(rng, 6_000)
    y[1_500] = 1e12
    return X, y


def old_units_of_the_features(rng):
    X, y = correlated(rng, 6_000)
    X[:1_500, :3] = X[:1_500, :3] * 1e6 + 1e7
    return X, y


def old_relation(rng):
    X, y = correlated(rng, 6_000)
    y[:1_500] *= -1.0
    return X, y


def identical_rows_first(rng):
    X, y = correlated(rng, 6_000)
    X[:1_500], y[:1_500] = X[0], y[0]
    return X, y


def late_category(rng):
    X, y = correlated(rng, 6_000)
    late = np.arange(6_000) >= 1_500
    return np.column_stack([X, late, ~late]), y + 1e3 * late


STREAMS = [
    old_unit_of_the_target,
    outlier_in_a_feature,
    outlier_in_the_target,
    old_units_of_the_features,
    old_relation,
    identical_rows_first,
    late_category,
]


# --- a window --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", CHUNKS)
@pytest.mark.parametrize("make", STREAMS, ids=lambda make: make.__name__)
def test_with_a_window_older_rows_are_wholly_forgotten(rng, make, chunk):
    """The model is that of a stream that never saw them, as far as rounding shows."""
    X, y = make(rng)
    if chunk == 1:
        X, y = X[: 1_500 + 2 * WINDOW + 500], y[: 1_500 + 2 * WINDOW + 500]
    model = stream(GDLinearRegressor(window=WINDOW, random_state=0), X, y, chunk)
    begin = (len(X) // WINDOW - 1) * WINDOW  # the generation before the newest
    fresh = stream(GDLinearRegressor(window=WINDOW, random_state=0), X[begin:], y[begin:], 500)
    assert_allclose(model.predict(X[begin:]), fresh.predict(X[begin:]), rtol=1e-9, atol=1e-9)
    assert model.score(X[begin:], y[begin:]) >= exact_r2(X[begin:], y[begin:]) - 1e-6


@pytest.mark.parametrize("chunk", [1, 7, 333, 1_000, 10_000])
def test_a_window_remembers_at_least_the_newest_rows_and_at_most_twice_as_many(rng, chunk):
    """What is remembered depends on how many rows there were, and not on the chunks in which they came."""
    n, window = 1_234, 100
    X = rng.normal(size=(n, 2))
    y = rng.normal(size=n)
    model = stream(GDLinearRegressor(window=window), X, y, chunk)
    begin = n - n % window - window
    assert window <= n - begin <= 2 * window
    exact = np.linalg.lstsq(np.c_[X[begin:], np.ones(n - begin)], y[begin:], rcond=None)[0]
    assert_allclose([*model.coef_, model.intercept_], exact, rtol=1e-9)


def test_rows_of_weight_zero_do_not_count_for_the_window(rng):
    X, y = rng.normal(size=(500, 2)), rng.normal(size=500)
    weight = (np.arange(500) % 2).astype(float)
    weighted, without = GDLinearRegressor(window=60), GDLinearRegressor(window=60)
    for start in range(0, 500, 50):
        part = slice(start, start + 50)
        kept = np.flatnonzero(weight[part]) + start
        weighted.partial_fit(X[part], y[part], weight[part])
        without.partial_fit(X[kept], y[kept])
    assert_allclose(weighted.coef_, without.coef_, rtol=1e-12)


def test_a_window_may_be_set_or_taken_away_in_mid_stream(rng):
    X, y = old_relation(rng)
    model = stream(GDLinearRegressor(), X[:1_500], y[:1_500], 100)
    stream(model.set_params(window=500), X[1_500:3_000], y[1_500:3_000], 100)
    assert model.score(X[1_500:], y[1_500:]) >= exact_r2(X[1_500:], y[1_500:]) - 0.01
    stream(model.set_params(window=None), X[3_000:], y[3_000:], 100)
    exact = np.linalg.lstsq(np.c_[X[2_500:], np.ones(3_500)], y[2_500:], rcond=None)[0]
    assert_allclose([*model.coef_, model.intercept_], exact, rtol=1e-9)


@pytest.mark.parametrize("window", [None, WINDOW])
@pytest.mark.parametrize("loss", ["huber", "quantile"])
def test_a_huge_outlier_in_the_first_chunk_does_not_send_a_robust_stream_away(rng, loss, window):
    X = rng.normal(size=(12_000, 8))
    y = X @ rng.normal(size=8) + 0.3 * rng.normal(size=12_000)
    y[0] = 1e6
    model = stream(GDLinearRegressor(loss, window=window, random_state=0), X, y, 100)
    assert model.score(X[1:], y[1:]) >= exact_r2(X[1:], y[1:]) - 0.03


@pytest.mark.parametrize("loss", ["huber", "quantile"])
def test_a_robust_stream_starts_at_the_weighted_quantile_of_its_first_chunk(rng, loss):
    y = rng.gamma(1.0, 10.0, size=400)
    weight = rng.integers(1, 4, 400).astype(float)
    params = dict(quantile=0.8) if loss == "quantile" else dict(epsilon=1e-9)
    model = GDLinearRegressor(loss, batch_size=None, **params).partial_fit(np.zeros((400, 1)), y, weight)
    expected = np.quantile(np.repeat(y, weight.astype(int)), params.get("quantile", 0.5), method="inverted_cdf")
    assert abs(model.intercept_ - expected) <= 0.3 * y.std()
    assert abs(expected - y.mean()) > 0.2 * y.std()  # where it would be otherwise


# --- all rows --------------------------------------------------------------------------------------------------------


@quietly
@pytest.mark.parametrize("chunk", [60, 5_000])
@pytest.mark.parametrize("make", STREAMS, ids=lambda make: make.__name__)
def test_without_a_window_the_model_is_least_squares_over_all_rows(rng, make, chunk):
    X, y = make(rng)
    model = stream(GDLinearRegressor(random_state=0), X, y, chunk)
    assert model.score(X, y) >= exact_r2(X, y) - 1e-6


@pytest.mark.parametrize("chunk", [1, 60, 2_000])
def test_constant_target_is_predicted_exactly(rng, chunk):
    X, _ = correlated(rng, 2_000)
    model = stream(GDLinearRegressor(), X, np.full(2_000, 3.3), chunk)
    np.testing.assert_array_equal(model.predict(X), 3.3)


@pytest.mark.parametrize("q", [0.1, 0.5, 0.9])
def test_the_quantile_of_a_constant_target_is_met_relative_to_its_size(rng, q):
    model = GDLinearRegressor("quantile", quantile=q, random_state=0)
    for _ in range(30):
        model.partial_fit(rng.normal(size=(100, 3)), np.full(100, 1e-3))
    assert_allclose(model.predict(np.zeros((1, 3))), 1e-3, rtol=0.02)
    assert min(model.loss_curve_) >= 0.0


# --- the warning -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make", [old_unit_of_the_target, outlier_in_the_target, old_relation], ids=lambda f: f.__name__
)
def test_rows_that_contradict_those_before_are_told_once(rng, make):
    X, y = make(rng)
    if make is old_relation:
        y -= 0.29 * np.random.default_rng(0).normal(size=len(y))
        y = np.sign(np.arange(len(y)) - 1_499.5) * (X @ np.ones(8))  # without noise
    model = GDLinearRegressor()
    with pytest.warns(UserWarning, match="pass window=m") as caught:
        stream(model, X, y, 50)
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        stream(pickle.loads(pickle.dumps(model)), X, y, 50)


@pytest.mark.parametrize("noise", [0.0, 0.3, 3.0, None])
def test_sorted_rows_are_not_told_as_a_contradiction(rng, noise):
    """Of numbers, skewed ones, counts and categories; in the orders of a column and of the target, up and down."""
    n = 4_096
    X = np.column_stack([rng.normal(size=n), rng.lognormal(0.0, 1.5, n), rng.poisson(2.0, n), rng.integers(0, 2, n)])
    y = X @ [1.0, 0.5, -1.0, 3.0] + (noise or 0.0) * rng.normal(size=n)
    if noise is None:  # the columns say next to nothing
        y = np.exp(1.7 * rng.normal(size=n))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for key in (*X.T, y, np.arange(n)):
            order = np.argsort(key, kind="stable")
            for chunk in (64, 500):
                stream(GDLinearRegressor(), X[order], y[order], chunk)
                stream(GDLinearRegressor(), X[order[::-1]], y[order[::-1]], chunk)


def test_counts_sorted_by_size_are_not_told_as_a_contradiction(rng):
    """Most are 0: the newest half of the stream then has constant targets, which any model of its own fits exactly."""
    X = rng.normal(size=(8_000, 3))
    y = rng.poisson(np.exp(-1.5 + 0.5 * X[:, 0])).astype(float)
    order = np.argsort(-y, kind="stable")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = stream(GDLinearRegressor(), X[order], y[order], 80)
    assert model.score(X, y) == pytest.approx(exact_r2(X, y), abs=1e-9)


# --- constant cost ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("params", [{}, {"window": 50}, {"loss": "huber"}, {"penalty": "l1"}], ids=str)
def test_a_model_does_not_grow_with_the_calls(rng, params, monkeypatch):
    for module in ("sk_gdlinear._partial_fit", "sk_gdlinear._fit.quick"):
        monkeypatch.setattr(f"{module}.LONGEST_CURVE", 100)
    X, y = correlated(rng, 500)
    model = GDLinearRegressor(random_state=0, **params)
    stream(model, X[:120], y[:120], 1)
    size = len(pickle.dumps(model))
    stream(model, X[120:], y[120:], 1)
    assert len(pickle.dumps(model)) <= size + 64  # digits of counters
    assert len(model.loss_curve_) == 100
    assert model._state["n_calls"] == 500


# --- random hard streams ---------------------------------------------------------------------------------------------


@quietly
@pytest.mark.parametrize("number", range(N_STREAMS))
def test_random_hard_streams(number):
    """Without a window no worse than least squares over all rows, with one not far from clean rows' own."""
    hard = hard_stream(number)
    for window in (None, hard.window):
        model = GDLinearRegressor(window=window, random_state=0, **hard.params)
        for X, y in hard.chunks():
            model.partial_fit(X, y)
            assert np.isfinite(model.coef_).all() and np.isfinite(model.intercept_)
        if window is not None:
            assert model.score(hard.clean_X, hard.clean_y) >= hard.clean_r2 - 0.02, hard
        elif hard.is_exact:
            assert model.score(hard.X, hard.y) >= hard.r2 - 0.02, hard
