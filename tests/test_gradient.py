"""Gradients of every backend, over dense and over sparse rows, against formulas written out in float64."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_array

from builders import central_differences, iterate, plan, problem, standardization_of
from sk_gdlinear._descent.backend import DENSE, REFERENCE, SPARSE
from sk_gdlinear._descent.variance_reduction import VarianceReduction
from sk_gdlinear._objective.losses import Huber, SmoothedQuantile, SquaredError, clipped_line

LOSSES = {
    "squared error": clipped_line(SquaredError()),
    "huber": clipped_line(Huber(0.7)),
    "quantile": clipped_line(SmoothedQuantile(0.7, 0.8)),
}

# Without the compiled kernels all four are the reference implementation.
BACKENDS = {
    "dense": (DENSE, np.asarray),
    "dense by the reference": (REFERENCE, np.asarray),
    "sparse": (SPARSE, csr_array),
    "sparse by the reference": (REFERENCE, csr_array),
}


@pytest.fixture(params=BACKENDS.values(), ids=BACKENDS.keys())
def backend(request):
    """A backend, and a function that makes an array rows of its kind."""
    return request.param


def data_of(rng, n=60, d=4, k=1, weighted=False, dtype=np.float64):
    """Rows with zeros and without, a column of large offset among them, targets, weights and an order of some rows."""
    X = rng.normal(1.0, 2.0, size=(n, d)) * (rng.random((n, d)) < 0.6)
    X[:, 0] = rng.normal(300.0, 1.0, n)
    X, Y = X.astype(dtype), (X @ rng.normal(size=(d, k)) + rng.normal(size=(n, k))).astype(dtype)
    weight = rng.uniform(0.1, 3.0, n).astype(dtype) if weighted else None
    return X, Y, weight, rng.permutation(n)[: n - 7].astype(np.intp)


def standardized(X, Y, order, standardization):
    """The rows and targets of ``order`` in standardized units."""
    shift, inv_scale, target_shift, target_inv_scale = (a.astype(np.float64) for a in standardization)
    return (X[order] - shift) * inv_scale, (Y[order] - target_shift) * target_inv_scale


def derivative(E, loss):
    """The line ``E + offset`` within its bounds."""
    return np.minimum(np.maximum(E + loss.offset, loss.low), loss.high)


def value(E, loss):
    """The integral of the derivative over the errors, by the trapezoidal rule between its kinks, where it is exact."""
    size = np.abs(E).max() + 10.0
    kinks = [np.clip(bound - loss.offset, -size, size) for bound in (loss.low, loss.high)]
    total = np.zeros_like(E)
    for start, stop in ((-size, kinks[0]), tuple(kinks), (kinks[1], size)):
        for end, sign in ((E, 1.0), (np.zeros_like(E), -1.0)):
            end, begin = np.clip(end, start, stop), np.broadcast_to(start, E.shape)
            total += sign * (end - begin) * (derivative(begin, loss) + derivative(end, loss)) / 2.0
    return total


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("weighted", [True, False], ids=["weights", "no weights"])
@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
def test_the_mean_gradient_is_the_derivative_of_the_mean_loss(rng, backend, loss, k, weighted, fit_intercept):
    verbs, rows = backend
    X, Y, weight, order = data_of(rng, k=k, weighted=weighted)
    standardization = standardization_of(X, Y, fit_intercept=fit_intercept, weight=weight)
    Z, targets = standardized(X, Y, order, standardization)
    s = np.ones(len(X)) if weight is None else weight
    of = problem(rows(X), Y, weight, None, standardization, loss, None, fit_intercept)
    at, m = iterate(4, k, average=False), len(order)

    def mean_loss(W, b):
        return float((s[order, None] * value(Z @ W.T + b - targets, of.loss)).sum()) / m

    grad_W, grad_b, losses = verbs.gradient(of, order, at.W, at.b)
    assert_allclose(losses.sum() / m, mean_loss(at.W, at.b), rtol=1e-10)
    assert_allclose(grad_W / m, central_differences(lambda W: mean_loss(W, at.b), at.W), rtol=1e-6, atol=1e-7)
    by_b = central_differences(lambda b: mean_loss(at.W, b), at.b)
    assert_allclose(grad_b / m, by_b if fit_intercept else 0.0, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("weighted", [True, False], ids=["weights", "no weights"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
def test_derivatives_fill_the_table_with_the_weighted_derivative_of_each_row(rng, backend, loss, k, dtype, weighted):
    """The rows that are not visited keep their entries, and all sums are those of ``gradient``."""
    verbs, rows = backend
    X, Y, weight, order = data_of(rng, k=k, weighted=weighted, dtype=dtype)
    standardization = standardization_of(X, Y, weight=weight)
    Z, targets = standardized(X, Y, order, standardization)
    of = problem(rows(X), Y, weight, None, standardization, loss)
    at, table = iterate(4, k, dtype, average=False), np.full((len(X), k), 7.0, dtype)
    sums = verbs.derivatives(of, order, at.W, at.b, table)
    psi = derivative(Z @ at.W.T.astype(np.float64) + at.b - targets, of.loss)
    want = np.full((len(X), k), 7.0)
    want[order] = psi if weight is None else weight[order, None] * psi
    assert_allclose(
        table, want, rtol=1e-10 if dtype == np.float64 else 1e-3, atol=1e-10 if dtype == np.float64 else 1e-3
    )
    errors = np.full((len(X), k), 7.0, dtype)
    for a, b in zip(sums, verbs.gradient(of, order, at.W, at.b, errors), strict=True):
        assert_array_equal(a, b)
    want[order] = Z @ at.W.T.astype(np.float64) + at.b - targets
    assert_allclose(
        errors, want, rtol=1e-10 if dtype == np.float64 else 1e-3, atol=1e-10 if dtype == np.float64 else 1e-3
    )


def test_sums_of_gradients_of_float32_rows_are_float64(backend):
    """One large gradient, of 2^28, leaves the rows that follow in place: in float32 every one of them would be lost."""
    verbs, rows = backend
    n, large = 100_000, 2.0**28
    X, Y = np.ones((n, 3), np.float32), np.full((n, 1), -1.0, np.float32)
    Y[0] = -large
    W, b = np.zeros((1, 3), np.float32), np.zeros(1, np.float32)
    sums = verbs.gradient(problem(rows(X), Y), np.arange(n), W, b)
    assert [a.dtype for a in sums] == [np.dtype(np.float64)] * 3
    few = 2048  # rows that are summed in float32 before they are added
    for grad in (sums[0], sums[1]):
        assert n - few <= (grad - large).min() <= (grad - large).max() <= n + few


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
def test_an_epoch_of_one_batch_is_a_step_against_the_mean_gradient(rng, backend, loss, fit_intercept, k):
    verbs, rows = backend
    X, Y, weight, order = data_of(rng, k=k, weighted=True)
    standardization = standardization_of(X, Y, weight=weight)
    of = problem(rows(X), Y, weight, None, standardization, loss, None, fit_intercept)
    at, m = iterate(4, k, average=False), len(order)
    grad_W, grad_b, losses = verbs.gradient(of, order, at.W, at.b)
    W, b = at.W - 0.1 * grad_W / m, at.b - 0.1 * grad_b / m
    total = verbs.epoch(of, plan(order, m, step=0.1), at, VarianceReduction())
    assert_allclose(at.W, W, rtol=1e-10, atol=1e-10)
    assert_allclose(at.b, b, rtol=1e-10, atol=1e-10)
    assert_allclose(total, losses.sum(), rtol=1e-10)
