"""Streams that break running statistics: the model stays finite, ends no worse than stated, and recovers afterwards."""

import numpy as np
import pytest

from sk_gdlinear import GDLinearRegressor

CHUNKS = [60, 2_000]
N, D = 12_000, 8


def rows(seed=0):
    """Raw rows with offsets, and targets whose noise has variance 1."""
    rng = np.random.default_rng(seed)
    X = rng.normal(rng.normal(0, 3, D), rng.uniform(0.1, 5, D), (N, D))
    return X, X @ rng.normal(size=D) + rng.normal(size=N)


def months():
    """Categories that first appear late: a one-hot month, in calendar order."""
    X, y = rows()
    month = np.arange(N) * 12 // N
    return np.c_[X, np.eye(12)[month]], y + 10.0 * (month % 7)


def sorted_by_target():
    X, y = rows()
    order = np.argsort(y)
    return X[order], y[order]


def jump_of_scale():
    X, y = rows()
    X[N // 2 :, :3] *= 1e6
    return X, y


def identical_rows_first():
    X, y = rows()
    X[:2_000], y[:2_000] = X[0], y[0]
    return X, y


def outlier_in_a_feature():
    X, y = rows()
    X[N // 2, 2] = 1e12  # one of every 24th row, too
    return X, y


def outlier_in_the_target():
    X, y = rows()
    y[N // 2] = 1e12
    return X, y


STREAMS = [months, sorted_by_target, jump_of_scale, identical_rows_first, outlier_in_a_feature, outlier_in_the_target]


def stream(X, y, chunk, model=None):
    model = model or GDLinearRegressor(random_state=0)
    for start in range(0, len(X), chunk):
        model.partial_fit(X[start : start + chunk], y[start : start + chunk])
    assert np.isfinite(model.coef_).all() and np.isfinite(model.intercept_)
    return model


def exact_r2(X, y):
    Z = (X - X.mean(axis=0)) / np.where(X.std(axis=0) > 0, X.std(axis=0), 1.0)
    Z = np.c_[Z, np.ones(len(Z))]
    return 1.0 - (y - Z @ np.linalg.lstsq(Z, y, rcond=None)[0]).var() / y.var()


@pytest.mark.parametrize("chunk", CHUNKS)
@pytest.mark.parametrize("make", STREAMS, ids=lambda make: make.__name__)
def test_hard_stream_ends_within_three_variances(make, chunk):
    X, y = make()
    model = stream(X, y, chunk)
    assert np.mean((model.predict(X) - y) ** 2) <= 3.0 * y.var()


@pytest.mark.parametrize("make", STREAMS, ids=lambda make: make.__name__)
def test_hard_stream_row_by_row_ends_within_three_variances(make):
    X, y = (a[::24] for a in make())
    model = stream(X, y, 1)
    assert np.mean((model.predict(X) - y) ** 2) <= 3.0 * y.var()


@pytest.mark.parametrize("chunk", CHUNKS)
@pytest.mark.parametrize("make", STREAMS, ids=lambda make: make.__name__)
def test_model_recovers_on_shuffled_data_after_a_hard_stream(make, chunk):
    X, y = make()
    model = stream(X, y, chunk)
    after_X, after_y = (X, y) if make is months else rows()
    if make is jump_of_scale:
        after_X[:, :3] *= 1e6
    order = np.random.default_rng(1).permutation(N)
    stream(after_X[order], after_y[order], chunk, model)
    stream(after_X[order[::-1]], after_y[order[::-1]], chunk, model)
    assert model.score(after_X, after_y) >= exact_r2(after_X, after_y) - 0.005


@pytest.mark.parametrize("chunk", CHUNKS)
def test_constant_target_is_predicted_exactly(chunk):
    X, _ = rows()
    model = stream(X, np.full(N, 3.25), chunk)
    np.testing.assert_array_equal(model.predict(X), 3.25)


@pytest.mark.parametrize("chunk", CHUNKS)
def test_new_relation_is_learnt_within_ten_passes(chunk):
    X, y = (a[:4_000] for a in rows())
    model = stream(X, y, chunk)
    X = rows(seed=1)[0][:4_000]
    y = X @ np.random.default_rng(7).normal(size=D) + 3.0 + np.random.default_rng(8).normal(size=len(X))
    for _ in range(10):
        stream(X, y, chunk, model)
    assert model.score(X, y) >= exact_r2(X, y) - 0.05
