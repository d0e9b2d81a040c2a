"""What a sample weight means: so many copies of the row.

Oracles: data with the rows removed or repeated, and scikit-learn's weighted least squares.
"""

import copy

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.linear_model import LinearRegression
from sklearn.metrics import r2_score

from sk_gdlinear import GDLinearRegressor

PLAIN = dict(standardize=False, average=False, learning_rate=1e-4)  # stable for single rows of the data below


@pytest.fixture
def data(rng):
    X = rng.normal(size=(60, 4)) * [1.0, 10.0, 0.1, 2.0] + 5.0
    return X, X @ [1.0, 0.2, -3.0, 0.5] + rng.normal(size=60)


@pytest.fixture
def counts(rng):
    """Integer weights, a third of them zero."""
    return rng.choice([0.0, 1.0, 3.0], size=60)


def assert_same_bits(model, other):
    assert_array_equal(model.coef_, other.coef_)
    assert_array_equal(model.intercept_, other.intercept_)
    assert (model.t_, model.n_iter_) == (other.t_, other.n_iter_)
    assert model.loss_curve_ == other.loss_curve_
    assert model.learning_rate_ == other.learning_rate_


@pytest.mark.parametrize(
    "params", [{}, PLAIN, {"average": False}, {"fit_intercept": False}, {"schedule": "invscaling"}]
)
@pytest.mark.parametrize("batch_size", [1, 7, "auto", None])
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_zero_weight_rows_equal_removed_rows_to_the_bit(data, counts, params, batch_size, method):
    X, y = data
    settings = dict(params, batch_size=batch_size, shuffle=False, max_iter=5, tol=None)
    weighted = getattr(GDLinearRegressor(**settings), method)(X, y, sample_weight=counts)
    kept = counts > 0
    removed = getattr(GDLinearRegressor(**settings), method)(X[kept], y[kept], sample_weight=counts[kept])
    assert_same_bits(weighted, removed)


@pytest.mark.parametrize("value", [1e9, 1e200])
def test_zero_weight_rows_may_hold_any_finite_value(data, counts, value):
    X, y = data
    wild_X, wild_y = X.copy(), y.copy()
    wild_X[counts == 0] = value
    wild_y[counts == 0] = -value
    settings = dict(shuffle=False, max_iter=5, tol=None)
    model = GDLinearRegressor(**settings).fit(wild_X, wild_y, sample_weight=counts)
    assert_same_bits(model, GDLinearRegressor(**settings).fit(X, y, sample_weight=counts))


@pytest.mark.parametrize("params", [PLAIN, {}, {"average": False}, {"fit_intercept": False}])
@pytest.mark.parametrize("n_targets", [1, 3])
def test_integer_weights_equal_repeated_rows_in_full_batches(data, counts, rng, params, n_targets):
    X, y = data
    Y = y if n_targets == 1 else np.column_stack([y, -y, rng.normal(size=60)])
    settings = dict(params, batch_size=None, max_iter=10, tol=None)
    weighted = GDLinearRegressor(**settings).fit(X, Y, sample_weight=counts)
    repeated = GDLinearRegressor(**settings).fit(
        np.repeat(X, counts.astype(int), axis=0), np.repeat(Y, counts.astype(int), axis=0)
    )
    assert_allclose(weighted.predict(X), repeated.predict(X), rtol=1e-9)
    assert_allclose(weighted.loss_curve_, repeated.loss_curve_, rtol=1e-9)


@pytest.mark.parametrize("factor", [1e-6, 0.5, 1e6])
@pytest.mark.parametrize("params", [{}, PLAIN])
def test_only_the_ratios_of_the_weights_matter(data, counts, factor, params):
    X, y = data
    settings = dict(params, random_state=0, max_iter=5, tol=None)
    model = GDLinearRegressor(**settings).fit(X, y, sample_weight=counts)
    scaled = GDLinearRegressor(**settings).fit(X, y, sample_weight=counts * factor)
    assert_allclose(scaled.coef_, model.coef_, rtol=1e-9)


@pytest.mark.parametrize("params", [{}, PLAIN])
@pytest.mark.parametrize("value", [1.0, 7.0])
def test_equal_weights_equal_no_weights(data, params, value):
    X, y = data
    settings = dict(params, random_state=0, max_iter=5, tol=None)
    model = GDLinearRegressor(**settings).fit(X, y, sample_weight=np.full(60, value))
    assert_allclose(model.coef_, GDLinearRegressor(**settings).fit(X, y).coef_, rtol=1e-9)


@pytest.mark.parametrize("batch_size", [4, 32, None])
def test_defaults_reach_weighted_least_squares(rng, batch_size):
    X = rng.normal(size=(3_000, 3)) * [1.0, 100.0, 1e-3] + 10.0
    y = X @ [1.0, 0.01, 500.0] + rng.normal(size=3_000)
    y[:1_000] += 3.0 * X[:1_000, 0]  # two populations, so that the weights decide the answer
    weight = np.where(np.arange(3_000) < 1_000, 0.1, 5.0)
    model = GDLinearRegressor(batch_size=batch_size, random_state=0).fit(X, y, sample_weight=weight)
    exact = LinearRegression().fit(X, y, sample_weight=weight).score(X, y, sample_weight=weight)
    assert model.score(X, y, sample_weight=weight) >= exact - 0.005


@pytest.mark.parametrize("batch_size", [1, 4, 32])
def test_weights_follow_their_rows_through_shuffling(rng, seed, batch_size):
    """Half the rows lie and weigh next to nothing: weights on the wrong rows would let the lies in."""
    X = rng.normal(size=(400, 2))
    lies = rng.random(400) < 0.5
    y = np.where(lies, -50.0, X @ [1.0, -2.0])
    weight = np.where(y == -50.0, 1e-12, 1.0)
    model = GDLinearRegressor(batch_size=batch_size, random_state=seed, tol=None, max_iter=200)
    assert_allclose(model.fit(X, y, sample_weight=weight).coef_, [1.0, -2.0], atol=1e-3)


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_batch_without_weight_is_no_batch(data, method):
    """Rows of weight 0 go before batching: 60 rows less the first 30, in tens, are 3 updates."""
    X, y = data
    weight = np.repeat([0.0, 1.0], 30)
    model = GDLinearRegressor(batch_size=10, precondition=False, shuffle=False, max_iter=1, tol=None)
    assert getattr(model, method)(X, y, sample_weight=weight).t_ == 3


def test_all_zero_weights_raise_in_fit(data):
    with pytest.raises(ValueError, match="weight.*zero"):
        GDLinearRegressor().fit(*data, sample_weight=np.zeros(60))


@pytest.mark.parametrize("params", [{}, PLAIN])
def test_all_zero_weights_change_nothing_in_partial_fit(data, state_of, params):
    X, y = data
    model = GDLinearRegressor(**params, random_state=0).partial_fit(X, y)
    before, twin = state_of(model), copy.deepcopy(model)
    assert model.partial_fit(X + 1e3, y, sample_weight=np.zeros(60)) is model
    assert state_of(model) == before
    assert_same_bits(model.partial_fit(X, y), twin.partial_fit(X, y))


def test_score_uses_the_weights(data, rng):
    X, y = data
    weight = rng.uniform(size=60)
    model = GDLinearRegressor(random_state=0, max_iter=3, tol=None).fit(X, y)
    assert model.score(X, y, sample_weight=weight) == r2_score(y, model.predict(X), sample_weight=weight)
    assert model.score(X, y, sample_weight=weight) != model.score(X, y)


def test_predict_takes_no_weights(data):
    X, y = data
    model = GDLinearRegressor(max_iter=1, tol=None).fit(X, y)
    with pytest.raises(TypeError):
        model.predict(X, sample_weight=np.ones(60))


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize("loss", ["squared_error", "huber"])
@pytest.mark.parametrize("place", ["X", "y"])
def test_missing_values_are_refused_in_rows_of_weight_zero_too(rng, method, loss, place):
    X, y, weight = rng.normal(size=(30, 2)), rng.normal(size=30), np.ones(30)
    weight[5] = 0.0
    (X if place == "X" else y)[5] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        getattr(GDLinearRegressor(loss), method)(X, y, weight)
