"""Variance reduction against its own laws, and against exact least squares."""

import numpy as np
import pytest

import builders
from builders import least_squares
from sk_gdlinear import GDLinearRegressor
from sk_gdlinear._descent.lipschitz import LipschitzConstants
from sk_gdlinear._descent.method import MiniBatchDescent
from sk_gdlinear._fit.loop import fit_loop


def data(rng, n=300, d=5, k=1, weighted=False):
    X = rng.normal(size=(n, d)) * [1.0, 0.5, 2.0, 1.0, 0.3] + [0.0, 1.0, -2.0, 3.0, 0.5]
    Y = X @ rng.normal(size=(d, k)) + rng.normal(size=(n, k)) + 1.0
    return X, Y, rng.integers(0, 4, n).astype(float) if weighted else None


def exact(X, Y, weight):
    """Exact coefficients, and the mean of half the squared errors."""
    coef, _, prediction = least_squares(X, Y, weight)
    return coef, 0.5 * np.average((prediction - Y) ** 2, axis=0, weights=weight).sum()


def descent(X, Y, weight=None, batch_size=8, constants=(80.0, 20.0)):
    """Descent in the variables of the data from 0."""
    start = dict(coef=np.zeros((Y.shape[1], X.shape[1])), intercept=np.zeros(Y.shape[1]))
    method = builders.method(X, Y, weight, **start, batch_size=batch_size, standardize=False)
    method.step_size = method.step_size._replace(constants=LipschitzConstants(*constants))
    return method


def reduced(method):
    """The descent after an epoch, with variance reduction at the parameters that it reports."""
    method.evaluate()
    method._reduce_variance()
    return method.state.reduction


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_mean_gradient_is_that_where_the_table_was_filled(rng, weighted, k):
    X, Y, weight = data(rng, k=k, weighted=weighted)
    d = descent(X, Y, weight)
    d.epoch(rng)
    W, b = (a.copy() for a in d.reported())
    reduction = reduced(d)
    s = np.ones(len(X)) if weight is None else weight / weight[weight > 0].mean()
    psi = s[:, None] * (X @ W.T + b - Y)
    np.testing.assert_allclose(reduction.table, psi, rtol=1e-9, atol=1e-12)
    n = np.count_nonzero(s)
    np.testing.assert_allclose(reduction.mean_grad_W, psi.T @ X / n, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(reduction.mean_grad_b, psi.sum(axis=0) / n, rtol=1e-9, atol=1e-12)
    for got, want in zip(d.reported(), (W, b), strict=True):
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("batch_size", [1, 8])
def test_the_mean_gradient_stays_that_of_the_table(rng, batch_size):
    X, Y, weight = data(rng, weighted=True)
    d = descent(X, Y, weight, batch_size)
    d.epoch(rng)
    reduction = reduced(d)
    for _ in range(3):
        d.epoch(rng)
        n = np.count_nonzero(weight)
        np.testing.assert_allclose(reduction.mean_grad_W, reduction.table.T @ X / n, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(reduction.mean_grad_b, reduction.table.sum(axis=0) / n, rtol=1e-9, atol=1e-12)


def test_an_update_moves_along_the_change_of_its_rows_and_the_mean_gradient(rng):
    X, Y, _ = data(rng, n=8)
    d = descent(X, Y, batch_size=4)
    d._reduce_variance()
    d.state.iterate.W[...], d.state.iterate.b[...] = W, b = rng.normal(size=(1, 5)), rng.normal(size=1)
    updates = builders.plan(np.arange(4), 4, 0.1, 1.0)
    d.backend.epoch(d._problem(), updates, d.state.iterate, d.state.reduction)
    own = (X[:4] @ W.T + b - Y[:4]) - (0.0 - Y[:4])  # the table was filled at zero
    grad_W, grad_b = own.T @ X[:4] / 4 - Y.T @ X / 8, own.mean(axis=0) - Y.mean(axis=0)
    np.testing.assert_allclose(d.state.iterate.W, W - 0.1 * grad_W, rtol=1e-12)
    np.testing.assert_allclose(d.state.iterate.b, b - 0.1 * grad_b, rtol=1e-12)


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("batch_size", [1, 7, "auto"])
def test_fit_converges_to_exact_least_squares(rng, batch_size, weighted, k):
    X, Y, weight = data(rng, k=k, weighted=weighted)
    coef, objective = exact(X, Y, weight)
    model = GDLinearRegressor(batch_size=batch_size, max_iter=60, tol=None, precondition=False, random_state=0)
    model.fit(X, Y, sample_weight=weight)
    np.testing.assert_allclose(model.coef_, coef, rtol=1e-9)
    np.testing.assert_allclose(model.loss_curve_[-1], objective, rtol=1e-12)


def test_float32_converges_to_its_own_precision(rng):
    X, Y, _ = data(rng, n=3000)
    model = GDLinearRegressor(max_iter=30, tol=None, precondition=False, random_state=0).fit(
        X.astype("f4"), Y.astype("f4")
    )
    np.testing.assert_allclose(model.coef_, exact(X, Y, None)[0], rtol=1e-4)


def test_second_epoch_comes_a_hundred_times_nearer_than_the_noise_of_one_epoch_allows(seed):
    rng = np.random.default_rng(seed)
    X, Y, _ = data(rng, n=20_000)
    _, objective = exact(X, Y, None)
    curve = GDLinearRegressor(max_iter=3, tol=None, precondition=False, random_state=seed).fit(X, Y).loss_curve_
    excess = np.array(curve) - objective
    assert (excess[1:] < 0.01 * excess[0]).all()


@pytest.mark.parametrize(
    "params", [{"average": False}, {"learning_rate": 0.01}, {"batch_size": None}, {"precondition": True}], ids=str
)
def test_only_averaged_mini_batches_at_the_automatic_step_reduce_their_variance(rng, params, monkeypatch):
    calls = []
    reduce_variance = MiniBatchDescent._reduce_variance
    monkeypatch.setattr(MiniBatchDescent, "_reduce_variance", lambda self: calls.append(1) or reduce_variance(self))
    X, Y, _ = data(rng)
    params = dict(max_iter=3, tol=None, random_state=0, precondition=False) | params
    GDLinearRegressor(**params).fit(X, Y)
    assert not calls
    GDLinearRegressor(max_iter=3, tol=None, precondition=False, random_state=0).fit(X, Y)
    assert len(calls) == 1


def test_the_step_is_halved_where_descent_overshoots(rng):
    X, Y, _ = data(rng)
    d = descent(X, Y, constants=(1.0, 0.5))  # far too small: the step is far too long
    result = fit_loop(d, 12, None, 1, rng)
    assert d.state.step_factor < 1.0
    assert result.history[-1].objective < result.history[0].objective
