"""Variance reduction against its own laws, and against exact least squares."""

import numpy as np
import pytest

from sk_gdlinear import GDLinearRegressor
from sk_gdlinear._conditioning import Conditioning
from sk_gdlinear._iterate import Iterate
from sk_gdlinear._objective import Loss, Penalty
from sk_gdlinear._rows import Data
from sk_gdlinear._training import Training


def rows(rng, n=300, d=5, k=1, weighted=False):
    X = rng.normal(size=(n, d)) * [1.0, 0.5, 2.0, 1.0, 0.3] + [0.0, 1.0, -2.0, 3.0, 0.5]
    Y = X @ rng.normal(size=(d, k)) + rng.normal(size=(n, k)) + 1.0
    return X, Y, rng.integers(0, 4, n).astype(float) if weighted else None


def exact(X, Y, weight):
    """Weighted least squares with an intercept, by LAPACK: coefficients and mean of half the squared errors."""
    root = np.ones((len(X), 1)) if weight is None else np.sqrt(weight)[:, None]
    A = np.column_stack([X, np.ones(len(X))])
    solution, *_ = np.linalg.lstsq(A * root, Y * root, rcond=None)
    return solution[:-1].T, 0.5 * (((A @ solution - Y) * root) ** 2).sum() / (root**2).sum()


def descent(X, Y, weight=None, batch_size=8):
    """Plain descent in the variables of the data, at its start, as ``make_descent`` builds it."""
    k, d = Y.shape[1], X.shape[1]
    weight = None if weight is None else weight / weight.mean()
    return Training(
        data=Data(X, Y, weight, None if weight is None else np.flatnonzero(weight)),
        conditioning=Conditioning.identity(d, k, X.dtype),
        slope=np.ones(k),
        loss=Loss(np.zeros(k), np.full(k, -np.inf), np.full(k, np.inf)),
        penalty=Penalty(None, None, False),
        terms=None,
        smoothing=np.ones(k),
        target_spread=np.ones(k),
        iterate=Iterate.at(np.zeros((k, d)), np.zeros(k), average=True),
        batch_size=batch_size,
        fit_intercept=True,
        schedule="constant",
        power_t=0.25,
        step=None,
        curvature=(80.0, 20.0),
        null_objective=1e3,
        zero_objective=1e3,
        null_b=np.zeros(k),
        reducible=True,
    )


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("weighted", [False, True])
def test_drift_is_the_gradient_where_the_rows_were_anchored(rng, weighted, k):
    X, Y, weight = rows(rng, k=k, weighted=weighted)
    d = descent(X, Y, weight)
    d.epoch(rng)
    W, b = (a.copy() for a in d.answer)
    d.reduce_variance()
    s = np.ones(len(X)) if weight is None else weight / weight.mean()
    G = s[:, None] * (X @ W.T + b - Y)
    np.testing.assert_allclose(d.reduction.anchor, G, rtol=1e-9, atol=1e-12)
    n = np.count_nonzero(s)
    np.testing.assert_allclose(d.reduction.drift_W, G.T @ X / n, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(d.reduction.drift_b, G.sum(axis=0) / n, rtol=1e-9, atol=1e-12)
    for got, want in zip(d.answer, (W, b), strict=True):
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("batch_size", [1, 8])
def test_drift_stays_the_mean_gradient_of_the_anchors(rng, batch_size):
    X, Y, weight = rows(rng, weighted=True)
    d = descent(X, Y, weight, batch_size)
    d.epoch(rng)
    d.reduce_variance()
    for _ in range(3):
        d.epoch(rng)
        anchor, n = d.reduction.anchor, np.count_nonzero(weight)
        np.testing.assert_allclose(d.reduction.drift_W, anchor.T @ X / n, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(d.reduction.drift_b, anchor.sum(axis=0) / n, rtol=1e-9, atol=1e-12)


def test_first_update_is_the_plain_one_with_the_anchored_gradient_in_place_of_its_own(rng):
    X, Y, _ = rows(rng, n=8)
    d = descent(X, Y, batch_size=4)
    d.reduce_variance()
    d.iterate.W[...], d.iterate.b[...] = W, b = rng.normal(size=(1, 5)), rng.normal(size=1)
    d.visit(np.arange(4), np.array([0.1]), np.array([1.0]), 4)
    own = (X[:4] @ W.T + b - Y[:4]) - (0.0 - Y[:4])  # the anchors were taken at zero weights
    grad_W, grad_b = own.T @ X[:4] / 4 - Y.T @ X / 8, own.mean(axis=0) - Y.mean(axis=0)
    np.testing.assert_allclose(d.iterate.W, W - 0.1 * grad_W, rtol=1e-12)
    np.testing.assert_allclose(d.iterate.b, b - 0.1 * grad_b, rtol=1e-12)


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("batch_size", [1, 7, "auto"])
def test_fit_converges_to_exact_least_squares(rng, batch_size, weighted, k):
    X, Y, weight = rows(rng, k=k, weighted=weighted)
    coef, objective = exact(X, Y, weight)
    model = GDLinearRegressor(batch_size=batch_size, max_iter=60, tol=None, random_state=0)
    model.fit(X, Y, sample_weight=weight)
    np.testing.assert_allclose(model.coef_, coef, rtol=1e-9)
    np.testing.assert_allclose(model.loss_curve_[-1], objective, rtol=1e-12)


def test_float32_converges_to_its_own_precision(rng):
    X, Y, _ = rows(rng, n=3000)
    model = GDLinearRegressor(max_iter=30, tol=None, random_state=0).fit(X.astype("f4"), Y.astype("f4"))
    np.testing.assert_allclose(model.coef_, exact(X, Y, None)[0], rtol=1e-4)


def test_second_epoch_comes_a_hundred_times_nearer_than_the_noise_of_one_epoch_allows(seed):
    rng = np.random.default_rng(seed)
    X, Y, _ = rows(rng, n=20_000)
    _, objective = exact(X, Y, None)
    curve = GDLinearRegressor(max_iter=3, tol=None, random_state=seed).fit(X, Y).loss_curve_
    excess = np.array(curve) - objective
    assert (excess[1:] < 0.01 * excess[0]).all()


@pytest.mark.parametrize("params", [{"average": False}, {"learning_rate": 0.01}, {"batch_size": None}], ids=str)
def test_only_averaged_mini_batches_at_the_automatic_step_reduce_their_variance(rng, params, monkeypatch):
    calls = []
    monkeypatch.setattr(Training, "reduce_variance", lambda self: calls.append(self))
    X, Y, _ = rows(rng)
    GDLinearRegressor(max_iter=3, tol=None, random_state=0, **params).fit(X, Y)
    assert not calls
    GDLinearRegressor(max_iter=3, tol=None, random_state=0).fit(X, Y)
    assert len(calls) == 1


def test_the_step_is_halved_where_descent_overshoots(rng):
    X, Y, _ = rows(rng)
    d = descent(X, Y)
    d.curvature = (1.0, 0.5)  # far too small: the step is far too long
    d.run(max_iter=12, tol=None, patience=1, rng=rng)
    assert d.step_factor < 1.0
    assert d.history[-1].objective < d.history[0].objective
