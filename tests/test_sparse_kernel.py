"""The kernel for CSR rows does the arithmetic of the array engine, and that the arithmetic of dense rows."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.sparse import csr_array

from sk_gdlinear import _conditioning, _descent
from sk_gdlinear._conditioning import Conditioning, Moments
from sk_gdlinear._engine import sparse_kernel
from sk_gdlinear._objective import Penalty
from sk_gdlinear._reduction import Reduction
from sk_gdlinear._rows import Data
from sk_gdlinear._sparse import CentredRows, block_moments
from test_kernel import LOSSES, lopsided, terms

needs_kernel = pytest.mark.skipif(sparse_kernel is None, reason="the compiled kernel was not built")

TOLERANCE = {np.float64: 1e-11, np.float32: 2e-5}


@pytest.fixture(params=[np.float64, np.float32], ids=["float64", "float32"])
def dtype(request):
    return request.param


def sparse_rows(rng, dtype, n=101, d=9):
    """A fifth of the entries, a column without zeros and of large offset, an empty column, an empty row."""
    X = rng.normal(1.0, 2.0, size=(n, d)) * (rng.random((n, d)) < 0.2)
    X[:, 0] = rng.normal(500.0, 1.0, n)
    X[:, 1] = 0.0
    X[n // 3, 1:] = 0.0
    return csr_array(X.astype(dtype))


def problem(rng, dtype, k=1, weighted=False):
    X = sparse_rows(rng, dtype)
    Y = (X @ rng.normal(size=(9, k)) + rng.normal(5, 1, (101, k))).astype(dtype)
    weight = rng.uniform(0.1, 3, 101).astype(dtype) if weighted else None
    order = rng.permutation(101).astype(np.intp)
    features, targets = Moments.empty(9), Moments.empty(k)
    for m, A in ((features, X.toarray()), (targets, Y)):
        m.count = _conditioning.column_moments(A, order, weight, m.mean, m.square_deviation, m.low, m.high, m.count)
    return X, Y, order, weight, Conditioning.of(features, targets, 32, True, dtype)


def start(rng, k, dtype, average):
    W, b = rng.normal(size=(k, 9)).astype(dtype), rng.normal(size=k).astype(dtype)
    means = [(a + rng.normal(size=a.shape)).astype(dtype) if average else None for a in (W, b)]
    return [W, b, *means]


def copies(state):
    return [None if a is None else a.copy() for a in state]


def assert_same_state(got, want, tolerance):
    for a, b in zip(got, want, strict=True):
        if b is not None:
            assert_allclose(a, b, rtol=tolerance, atol=tolerance * max(1.0, float(np.abs(b).max())))


@needs_kernel
@pytest.mark.parametrize("average", [True, False], ids=["average", "plain"])
@pytest.mark.parametrize("weighted", [True, False], ids=["weights", "no weights"])
@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("batch_size", [1, 7, 101])
def test_run_epoch_equals_the_array_engine_after_every_batch(rng, batch_size, k, weighted, average, dtype):
    X, Y, order, weight, conditioning = problem(rng, dtype, k, weighted)
    compiled = start(rng, k, dtype, average)
    plain = copies(compiled)
    for first in range(0, 101, batch_size):
        rows = order[first : first + batch_size]
        args = np.array([0.05]), np.array([0.3]), batch_size, np.inf, True
        bare = terms(k, 9, dtype)
        got = sparse_kernel.run_epoch(X, Y, rows, weight, *conditioning, *bare, *compiled, *args)
        want = _descent.run_epoch(X, Y, rows, weight, *conditioning, *bare, *plain, *args)
        assert_allclose(got, want, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])
        assert_same_state(compiled, plain, TOLERANCE[dtype])


@pytest.mark.parametrize("engine", ["array engine", pytest.param("kernel", marks=needs_kernel)])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("ceiling", [np.inf, 0.0], ids=["free", "guarded"])
@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("batch_size", [1, 10])
def test_a_whole_epoch_equals_that_on_dense_rows(rng, batch_size, k, ceiling, fit_intercept, dtype, engine):
    """A ceiling of 0 makes every step the safe one; averaging weights of 1 forget, and those of 0.999 fade away."""
    X, Y, order, weight, conditioning = problem(rng, dtype, k, weighted=True)
    state = start(rng, k, dtype, True)
    if not fit_intercept:
        state[1][:] = state[3][:] = 0.0
    dense = copies(state)
    batches = -(-101 // batch_size)
    mixing = np.resize([0.999, 0.1, 0.999, 1.0, 0.3], batches)
    steps = np.full(batches, 0.02 if ceiling else 1e9)
    args = steps, mixing, batch_size, ceiling, fit_intercept
    run = sparse_kernel.run_epoch if engine == "kernel" else _descent.run_epoch
    bare = terms(k, 9, dtype)
    got = run(X, Y, order, weight, *conditioning, *bare, *state, *args)
    want = _descent.run_epoch(X.toarray(), Y, order, weight, *conditioning, *bare, *dense, *args)
    # Single rows under the safe step are projected one after another, which enlarges rounding.
    tolerance = TOLERANCE[dtype] * (1e3 if ceiling == 0.0 else 1)
    assert_allclose(got, want, rtol=tolerance)
    assert_same_state(state, dense, tolerance)


@pytest.mark.parametrize("average", [True, False], ids=["average", "plain"])
@pytest.mark.parametrize("reduced", [False, True], ids=["", "reduced"])
@pytest.mark.parametrize("penalised", [None, "free", "positive"])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(("k", "batch_size", "ceiling"), [(1, 7, 2.0), (3, 1, np.inf), (3, 7, 0.0)])
def test_losses_penalties_and_variance_reduction_equal_those_on_dense_rows(
    rng, k, batch_size, ceiling, loss, penalised, reduced, average, dtype
):
    """Over three epochs, so that the anchors of the rows, and the mean gradient they make, come into play.

    The kernel knows more of the rows at the second visit, if it is handed them in a form that remembers.
    """
    X, Y, order, weight, conditioning = problem(rng, dtype, k, weighted=True)
    penalty = lopsided(rng, k, 9, dtype, penalised == "positive") if penalised else Penalty(None, None, False)
    order = order[: 31 * batch_size]  # every update costs the array engine
    batches = -(-len(order) // batch_size)
    fit_intercept = bool(rng.integers(2))
    args = np.full(batches, 0.02), 4 / (np.arange(1.0, batches + 1) + 3), batch_size, ceiling, fit_intercept
    begin = start(rng, k, dtype, average)

    def result(run, rows):
        state = copies(begin)
        reduction = Reduction.over(Data(X, Y)) if reduced else Reduction()
        with_terms = terms(k, 9, dtype, LOSSES[loss], penalty, reduction)
        totals = []
        for _ in range(3):
            totals.append(run(rows, Y, order, weight, *conditioning, *with_terms, *state, *args))
            reduction.renew(len(order))
        return [np.array(totals), *state, *reduction]

    want = result(_descent.run_epoch, X.toarray())
    # Safe steps of single rows and of a ceiling of 0 enlarge rounding.
    tolerance = TOLERANCE[dtype] * (1e3 if ceiling < np.inf else 10)
    assert_same_state(result(_descent.run_epoch, X), want, tolerance)
    if sparse_kernel is not None:
        assert_same_state(result(sparse_kernel.run_epoch, X), want, tolerance)
        remembered = sparse_kernel.ConditionedRows(X, order, conditioning.shift, conditioning.inv_scale)
        assert_same_state(result(sparse_kernel.run_epoch, remembered), want, tolerance)


@needs_kernel
@pytest.mark.parametrize("large_offset", [True, False], ids=["large offset", "no large offset"])
@pytest.mark.parametrize(("first_step", "power"), [(0.02, 0.0), (0.02, 1.0), (0.0, 0.0)], ids=["equal", "fall", "none"])
def test_variance_reduction_of_remembered_rows_equals_that_of_dense_ones(rng, first_step, power, large_offset, dtype):
    """Equal steps spare the kernel a sum; the last batch is short, with a step of its own; weights may rest."""
    X, Y, order, weight, conditioning = problem(rng, dtype, weighted=True)
    if not large_offset:
        X = csr_array(X.toarray() * (np.arange(9) > 0))
        conditioning = conditioning._replace(shift=conditioning.shift * (np.arange(9) > 0).astype(dtype))
    rows = sparse_kernel.ConditionedRows(X, order, conditioning.shift, conditioning.inv_scale)
    begin = start(rng, 1, dtype, True)
    results = []
    for run, A in ((sparse_kernel.run_epoch, rows), (_descent.run_epoch, X.toarray())):
        state, reduction = copies(begin), Reduction.over(Data(X, Y))
        for epoch in range(4):
            # The first visit is to learn what the rows' gradients are.
            steps = np.zeros(15) if epoch == 0 else first_step / np.arange(1.0, 16.0) ** power
            steps[-1] *= 0.3
            args = steps, 4 / (np.arange(1.0, 16.0) + 3), 7, np.inf, True
            run(A, Y, order, weight, *conditioning, *terms(1, 9, dtype, reduction=reduction), *state, *args)
            reduction.renew(101)
        results.append([*state, *reduction])
    assert_same_state(*results, TOLERANCE[dtype])


@needs_kernel
def test_averages_that_fade_below_the_range_of_floats_are_kept(rng):
    X, Y, order, _, conditioning = problem(rng, np.float64)
    state = start(rng, 1, np.float64, True)
    plain = copies(state)
    args = np.full(101, 0.01), np.full(101, 1.0 - 1e-8), 1, np.inf, True  # together 1e-808 of the old average
    for run, at in ((sparse_kernel.run_epoch, state), (_descent.run_epoch, plain)):
        run(X, Y, order, None, *conditioning, *terms(1, 9, np.float64), *at, *args)
    assert_same_state(state, plain, 1e-10)


@needs_kernel
def test_overflowing_batches_are_skipped_by_the_guard(rng):
    X, Y, order, _, conditioning = problem(rng, np.float64)
    state = start(rng, 1, np.float64, True)
    state[0][:] = 1e200
    before = state[0].copy()
    with np.errstate(over="ignore", invalid="ignore"):
        args = np.full(4, 0.1), np.full(4, 0.1), 32, 8.0, True
        sparse_kernel.run_epoch(X, Y, order, None, *conditioning, *terms(1, 9, np.float64), *state, *args)
    assert_allclose(state[0], before, rtol=1e-12)


@pytest.mark.parametrize("engine", ["array engine", pytest.param("kernel", marks=needs_kernel)])
@pytest.mark.parametrize("weighted", [True, False])
def test_statistics_equal_those_of_dense_rows(rng, weighted, dtype, engine):
    X = sparse_rows(rng, dtype, n=1500)
    weight = rng.uniform(0.1, 3, 1500).astype(dtype) if weighted else None
    order = rng.permutation(1500)[:1400].astype(np.intp)
    source = sparse_kernel if engine == "kernel" else _conditioning
    got, want = Moments.empty(9), Moments.empty(9)
    for rows in (order[:1000], order[1000:]):
        for add, A, m in ((source.column_moments, X, got), (_conditioning.column_moments, X.toarray(), want)):
            m.count = add(A, rows, weight, m.mean, m.square_deviation, m.low, m.high, m.count)
    for name in ("count", "mean", "square_deviation", "low", "high"):
        assert_allclose(getattr(got, name), getattr(want, name), rtol=1e-10, err_msg=name)
    maps = Conditioning.of(want, want, 32, True, dtype)[:2]
    norms = [
        max_row_norm(A, order, weight, *maps, True)
        for max_row_norm, A in ((source.max_row_norm, X), (_conditioning.max_row_norm, X.toarray()))
    ]
    assert_allclose(*norms, rtol=TOLERANCE[dtype])


def centred(rng, n=30, d=9):
    X = sparse_rows(rng, np.float64, n, d)
    shift, inv_scale = X.toarray().mean(axis=0), rng.uniform(0.1, 2.0, d)
    return CentredRows.of(X, shift, inv_scale), (X.toarray() - shift) * inv_scale


@pytest.mark.parametrize("n", [4, 30])
def test_centred_rows_multiply_as_arrays_do(rng, n):
    Z, dense = centred(rng, n)
    factor, A, v = rng.uniform(0.5, 2.0, n), rng.normal(size=(3, n)), rng.normal(size=n)
    for rows, want in (
        (Z, dense),
        (Z.with_column_of_ones(), np.column_stack([dense, np.ones(n)])),
        (Z.with_column_of_ones().times(factor), np.column_stack([dense, np.ones(n)]) * factor[:, None]),
    ):
        assert rows.shape == want.shape and len(rows) == len(want)
        assert_allclose(rows @ np.eye(want.shape[1]), want, atol=1e-12)
        assert_allclose(rows @ want[0], want @ want[0], atol=1e-10)
        assert_allclose(A @ rows, A @ want, atol=1e-10)
        assert_allclose(v @ rows, v @ want, atol=1e-10)
        assert_allclose(rows.square_norms(), (want**2).sum(axis=1), atol=1e-10)
        assert_allclose(rows.gram(), want.T @ want if n > want.shape[1] else want @ want.T, atol=1e-9)


def test_moments_of_a_block_count_its_zeros(rng):
    X = sparse_rows(rng, np.float64)
    A, weight = X.toarray(), rng.uniform(0.5, 2.0, 101)
    mean, square, low, high = block_moments(X, weight)
    assert_allclose(mean, np.average(A, axis=0, weights=weight))
    assert_allclose(square, weight @ (A - mean) ** 2, rtol=1e-11)
    np.testing.assert_array_equal([low, high], [A.min(axis=0), A.max(axis=0)])
