"""Whatever finite data the defaults are given: a finite model, and for fit one no worse than predicting the mean."""

import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from sk_gdlinear import GDLinearRegressor

hypothesis = pytest.importorskip("hypothesis", reason="hypothesis is not installed")
given, settings, st = hypothesis.given, hypothesis.settings, hypothesis.strategies


@st.composite
def problems(draw):
    """Rows with any scales, offsets, duplicates and constants; targets with or without signal; weights or none."""
    n, d, k = draw(st.integers(1, 60)), draw(st.integers(1, 8)), draw(st.integers(1, 3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    scale = 10.0 ** np.array(draw(st.lists(st.integers(-6, 6), min_size=d, max_size=d)))
    offset = scale * 10.0 ** np.array(draw(st.lists(st.integers(-3, 6), min_size=d, max_size=d)))
    X = rng.normal(size=(n, d)) * scale + offset
    kinds = draw(
        st.lists(st.sampled_from(["normal", "constant", "duplicate", "rare", "heavy"]), min_size=d, max_size=d)
    )
    for j, kind in enumerate(kinds):
        if kind == "constant":
            X[:, j] = offset[j]
        elif kind == "duplicate":
            X[:, j] = X[:, 0]
        elif kind == "rare":
            X[:, j] = np.arange(n) == n // 2
        elif kind == "heavy":
            X[:, j] = rng.standard_cauchy(n) * scale[j]
    unit = 10.0 ** draw(st.integers(-6, 6))
    Y = ((X / scale) @ rng.normal(size=(d, k)) * draw(st.sampled_from([0, 1])) + rng.normal(size=(n, k))) * unit
    dtype = draw(st.sampled_from([np.float64, np.float32]))
    weight = rng.integers(0, 4, n) + (np.arange(n) == 0) if draw(st.booleans()) else None
    batch_size = draw(st.sampled_from(["auto", None, 1, 7, 64]))
    return X.astype(dtype), (Y[:, 0] if k == 1 else Y).astype(dtype), weight, batch_size


def assert_finite(model, X):
    for value in (model.coef_, model.intercept_, model.predict(X), model.loss_curve_, model.learning_rate_):
        assert np.isfinite(value).all()


@settings(max_examples=150, deadline=None, derandomize=True)
@given(problems())
def test_fit_is_finite_and_no_worse_than_the_mean(problem):
    X, y, weight, batch_size = problem
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = GDLinearRegressor(batch_size=batch_size, max_iter=50, random_state=0).fit(X, y, weight)
    assert_finite(model, X)
    y, prediction = (a.astype(np.float64).reshape(len(X), -1) for a in (y, model.predict(X)))
    error = np.average((prediction - y) ** 2, axis=0, weights=weight)
    variance = np.average((y - np.average(y, axis=0, weights=weight)) ** 2, axis=0, weights=weight)
    # Predictions are rounded to the dtype of X; float32 coefficients times offsets of 1e6 spreads leave less still.
    rounding = (np.finfo(X.dtype).eps * np.abs(y).max(axis=0, initial=0.0)) ** 2
    spread = np.where(variance > 0, variance, 1.0)
    assert (error / spread).sum() <= (variance / spread).sum() * (1 + 1e-6) + 100 * (rounding / spread).sum()


SETTINGS = st.fixed_dictionaries(
    {
        "loss": st.sampled_from(["squared_error", "huber", "quantile"]),
        "epsilon": st.sampled_from([1e-3, 1.35, 1e6]),
        "quantile": st.sampled_from([0.02, 0.5, 0.9]),
        "penalty": st.sampled_from([None, "l2", "l1", "elasticnet"]),
        "alpha": st.sampled_from([0.0, 1e-6, 1.0, 1e6, 1e300]),
        "positive": st.booleans(),
        "standardize": st.booleans(),
    }
)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(problems(), SETTINGS)
def test_any_loss_and_penalty_is_finite_and_its_objective_no_worse_than_the_mean_s(problem, params):
    X, y, weight, batch_size = problem
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        settings = dict(batch_size=batch_size, max_iter=30, random_state=0)
        model = GDLinearRegressor(**params, **settings).fit(X, y, weight)
        assert_finite(model, X)
        assert (model.coef_ >= 0.0).all() or not params["positive"]
        model.partial_fit(X, y, weight)
        assert_finite(model, X)
    if params["loss"] == "squared_error" and params["standardize"] and y.ndim == 1 and X.dtype == np.float64:
        at_mean = np.average((y - np.average(y, weights=weight)) ** 2, weights=weight) / 2
        assert model.loss_curve_[-2] <= at_mean * (1 + 1e-6) + 1e-12 * (y**2).sum()


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(problems(), min_size=1, max_size=4), st.data())
def test_any_sequence_of_partial_fits_stays_finite(chunks, data):
    d = min(X.shape[1] for X, *_ in chunks)
    model = GDLinearRegressor(random_state=0)
    for X, y, weight, _ in chunks:
        model.partial_fit(X[:, :d], y if y.ndim == 1 else y[:, 0], weight)
        assert_finite(model, X[:, :d])
