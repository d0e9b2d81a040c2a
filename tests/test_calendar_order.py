"""Unshuffled rows in calendar order: one-hot columns of a year, of which every batch holds a few categories only.

The automatic step is too long for batches of such rows.  What keeps the descent is the line search, whose step a batch
far above the objective of predicting the mean gets: ``method.LARGEST_OBJECTIVE`` is the ratio from which it is taken.
"""

import warnings

import numpy as np
import pytest

from builders import exact_r2
from sk_gdlinear import GDLinearRegressor

HOURS = 365 * 24
PARTS = {"months": 12, "weeks": 52, "days": 365}


def year(n_parts, seed):
    """Raw rows, one per hour: one-hot parts of the year, one-hot hours of the day, and three numbers."""
    rng = np.random.default_rng(seed)
    t = np.arange(HOURS)
    part, hour = t * n_parts // HOURS, t % 24
    numbers = rng.normal([0.0, 50.0, 3.0], [1.0, 10.0, 0.1], size=(HOURS, 3))
    X = np.column_stack([part[:, None] == np.arange(n_parts), hour[:, None] == np.arange(24), numbers]).astype(float)
    y = 5.0 * np.sin(2 * np.pi * t / HOURS) + 5.0 * np.cos(2 * np.pi * hour / 24) + 2.0 * rng.normal(size=n_parts)[part]
    return X, y + numbers @ [1.0, 0.1, 10.0] + 0.5 * rng.normal(size=HOURS)


def r2(model, X, y):
    return 1.0 - np.mean((y - model.predict(X)) ** 2) / y.var()


def stream(X, y, seed, chunk, model=None, **params):
    """Pass once over chunks of the rows in their own order, without second moments unless ``params`` say otherwise."""
    params = dict(precondition=False) | params
    model = GDLinearRegressor(shuffle=False, random_state=seed, **params) if model is None else model
    for start in range(0, len(X), chunk):
        model.partial_fit(X[start : start + chunk], y[start : start + chunk])
    return model


@pytest.fixture
def without_line_search(monkeypatch):
    monkeypatch.setattr("sk_gdlinear._descent.method.LARGEST_OBJECTIVE", np.inf)


@pytest.mark.parametrize("parts", PARTS)
def test_fit_reaches_the_r2_of_least_squares(parts, seed):
    X, y = year(PARTS[parts], seed)
    model = GDLinearRegressor(shuffle=False, random_state=seed).fit(X, y)
    assert model.stop_reason_ == "converged"
    assert r2(model, X, y) >= exact_r2(X, y) - 1e-3
    assert exact_r2(X, y) > 0.97


@pytest.mark.parametrize("parts", ["months", "weeks"])
def test_without_the_line_search_fit_ends_at_the_mean(parts, seed, without_line_search):
    """Of days, with fewer rows than a batch, fit gets there all the same: its step is halved in time."""
    X, y = year(PARTS[parts], seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # max_iter is reached
        model = GDLinearRegressor(precondition=False, shuffle=False, max_iter=100, random_state=seed).fit(X, y)
    assert r2(model, X, y) < 0.1


@pytest.mark.parametrize("chunk", [100, HOURS // 12, HOURS // 3])
@pytest.mark.parametrize("parts", PARTS)
def test_a_stream_in_calendar_order_has_the_r2_of_least_squares(parts, chunk, seed):
    X, y = year(PARTS[parts], seed)
    assert abs(r2(stream(X, y, seed, chunk, precondition="auto"), X, y) - exact_r2(X, y)) <= 1e-6


@pytest.mark.parametrize(("chunk", "least"), [(HOURS // 12, 0.95), (HOURS // 5, 0.85)])
def test_a_stream_of_months_in_calendar_order_has_its_r2_after_one_pass(chunk, least, seed):
    """The fewer categories a chunk holds, the less its last ones pull at the intercept and the hours."""
    X, y = year(12, seed)
    assert r2(stream(X, y, seed, chunk), X, y) >= least


@pytest.mark.parametrize("chunk", [HOURS // 3, HOURS])
@pytest.mark.parametrize("parts", PARTS)
def test_a_stream_that_calendar_order_leads_astray_stays_within_reach_of_one_shuffled_pass(parts, chunk, seed):
    """The newest categories pull at the intercept and the hours: R² may be negative, but within bounds."""
    X, y = year(PARTS[parts], seed)
    model = None
    for _ in range(3):
        model = stream(X, y, seed, chunk, model)
        assert r2(model, X, y) > -100.0
    order = np.random.default_rng(seed).permutation(HOURS)
    assert r2(stream(X[order], y[order], seed, 1_000, model), X, y) >= 0.95


@pytest.mark.parametrize("parts", ["months", "weeks"])
def test_without_the_line_search_a_stream_diverges(parts, seed, without_line_search):
    X, y = year(PARTS[parts], seed)
    assert r2(stream(X, y, seed, HOURS // 3), X, y) < -1e9


def test_without_the_line_search_no_shuffled_pass_brings_a_stream_back(seed, without_line_search):
    X, y = year(52, seed)
    model, order = stream(X, y, seed, HOURS // 3), np.random.default_rng(seed).permutation(HOURS)
    assert r2(stream(X[order], y[order], seed, 1_000, model), X, y) < -1e9
