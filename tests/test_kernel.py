"""The compiled kernel does the arithmetic of the array engine, batch by batch."""

import numpy as np
import pytest

from sk_gdlinear import _conditioning, _descent
from sk_gdlinear._conditioning import Conditioning, Moments
from sk_gdlinear._engine import kernel
from sk_gdlinear._objective import Penalty, huber, quantile, squared_error
from sk_gdlinear._reduction import Reduction
from sk_gdlinear._rows import Data

pytestmark = pytest.mark.skipif(kernel is None, reason="the compiled kernel was not built")

TOLERANCE = {np.float64: 1e-12, np.float32: 1e-5}


@pytest.fixture(params=[np.float64, np.float32], ids=["float64", "float32"])
def dtype(request):
    return request.param


def problem(dtype, n=101, d=7, k=1, weighted=False, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(rng.normal(0, 3, d), rng.uniform(0.1, 2, d), (n, d)).astype(dtype)
    Y = (X @ rng.normal(size=(d, k)) + rng.normal(5, 1, (n, k))).astype(dtype)
    weight = rng.uniform(0.1, 3, n).astype(dtype) if weighted else None
    features, targets = Moments.empty(d), Moments.empty(k)
    order = rng.permutation(n).astype(np.intp)
    for m, A in ((features, X), (targets, Y)):
        m.count = _conditioning.column_moments(A, order, weight, m.mean, m.square_deviation, m.low, m.high, m.count)
    return X, Y, order, weight, Conditioning.of(features, targets, 32, True, dtype)


def start(d, k, dtype, average):
    rng = np.random.default_rng(1)
    W, b = rng.normal(size=(k, d)).astype(dtype), rng.normal(size=k).astype(dtype)
    return [W, b, W.copy() if average else None, b.copy() if average else None]


def terms(k, d, dtype, loss=None, penalty=(), reduction=None):
    """Loss, penalty and variance reduction as the engines take them; by default bare squared error."""
    loss = (loss or squared_error(None)[1]).scaled(np.geomspace(0.5, 2.0, k), dtype)
    return [*loss, *(penalty or Penalty(None, None, False)), *(reduction or Reduction())]


def lopsided(rng, k, d, dtype, positive=False):
    """A penalty of another strength for every weight, some of them free."""
    l1, l2 = (rng.choice([0.0, 0.5, 2.0], size=(k, d)).astype(dtype) for _ in range(2))
    return Penalty(l1, l2, positive)


LOSSES = {
    "squared": squared_error(None)[1],
    "huber": huber(None, 0.7)[1],
    "quantile": quantile(0.8, 0.7)[1],
}


def close(got, want, dtype):
    scale = max(1.0, float(np.abs(want).max()))
    np.testing.assert_allclose(got, want, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype] * scale)


@pytest.mark.parametrize("average", [True, False], ids=["average", "plain"])
@pytest.mark.parametrize("weighted", [True, False], ids=["weights", "no weights"])
@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize("batch_size", [1, 7, 32, 101])
def test_run_epoch_equals_the_array_engine_after_every_batch(batch_size, k, weighted, average, dtype):
    X, Y, order, weight, conditioning = problem(dtype, k=k, weighted=weighted)
    compiled, plain = start(7, k, dtype, average), start(7, k, dtype, average)
    for first in range(0, len(order), batch_size):
        rows = order[first : first + batch_size]
        args = np.array([0.05]), np.array([0.3]), batch_size, np.inf, True
        bare = terms(k, 7, dtype)
        got = kernel.run_epoch(X, Y, rows, weight, *conditioning, *bare, *compiled, *args)
        want = _descent.run_epoch(X, Y, rows, weight, *conditioning, *bare, *plain, *args)
        close(got, want, dtype)
        for a, b in zip(compiled, plain, strict=True):
            if b is not None:
                close(a, b, dtype)


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("ceiling", [np.inf, 0.0], ids=["free", "guarded"])
@pytest.mark.parametrize(
    ("n", "d", "k", "batch_size"), [(101, 7, 1, 1), (101, 7, 1, 32), (101, 7, 3, 32), (600, 300, 2, 500)]
)
def test_a_whole_epoch_equals_the_array_engine(n, d, k, batch_size, ceiling, fit_intercept, dtype):
    # 500 rows of 300 columns exceed a tile, so that the batch is worked off in pieces; a ceiling of 0 makes every
    # step the safe one.
    X, Y, order, weight, conditioning = problem(dtype, n, d, k, weighted=True)
    compiled, plain = start(d, k, dtype, True), start(d, k, dtype, True)
    if not fit_intercept:
        compiled[1][:] = plain[1][:] = compiled[3][:] = plain[3][:] = 0.0
    batches = -(-n // batch_size)
    steps, mixing = np.full(batches, 0.02 if ceiling else 1e9), 4 / (np.arange(1.0, batches + 1) + 3)
    args = steps, mixing, batch_size, ceiling, fit_intercept
    bare = terms(k, d, dtype)
    got = kernel.run_epoch(X, Y, order, weight, *conditioning, *bare, *compiled, *args)
    want = _descent.run_epoch(X, Y, order, weight, *conditioning, *bare, *plain, *args)
    # Single rows under the safe step are projected one after another, which enlarges rounding.
    slack = 10 if ceiling == 0.0 else 1
    np.testing.assert_allclose(got, want, rtol=slack * TOLERANCE[dtype])
    for a, b in zip(compiled, plain, strict=True):
        close(a / slack, b / slack, dtype)


def columns(kind, n, d, dtype, rng):
    """Rows of a location and a scale, and both: some may be multiplied as they lie, some must be conditioned first."""
    largest, tiny = float(np.finfo(dtype).max), float(np.finfo(dtype).tiny)
    shift, scale = {
        "centred": (0.0, 1.0),
        "offset": (5.0, 2.0),
        "large offset": (1e4, 1.0),
        "huge": (0.0, largest / 8.0),
        "tiny": (0.0, tiny * 8.0),
        "constant": (0.9 * largest, 0.0),
    }[kind]
    X = (shift + scale * rng.uniform(-3.0, 3.0, (n, d))).astype(dtype)
    X[:, 0] = 1.0 + rng.normal(size=n)
    shift, scale = np.append(1.0, np.full(d - 1, shift)), np.append(1.0, np.full(d - 1, scale))
    inv_scale = np.divide(1.0, scale, out=np.zeros(d), where=scale > 0.0)
    return X, shift.astype(dtype), inv_scale.astype(dtype)


@pytest.mark.parametrize("ceiling", [np.inf, 1.0], ids=["free", "guarded"])
@pytest.mark.parametrize("kind", ["centred", "offset", "large offset", "huge", "tiny", "constant"])
@pytest.mark.parametrize(
    ("k", "d", "batch_size"), [(1, 2, 2), (1, 8, 3), (1, 21, 32), (2, 19, 7), (4, 33, 41), (5, 9, 6)]
)
def test_columns_of_any_location_and_scale_equal_the_array_engine(k, d, batch_size, kind, ceiling, dtype, rng):
    """Also rows in fours and left over, columns in lines and left over, batches of one piece and of several."""
    n = 41
    X, shift, inv_scale = columns(kind, n, d, dtype, rng)
    Y, weight = rng.normal(size=(n, k)).astype(dtype), rng.uniform(0.1, 3.0, n).astype(dtype)
    conditioning = Conditioning(shift, inv_scale, np.zeros(k, dtype), np.ones(k, dtype))
    batches = -(-n // batch_size)
    args = np.full(batches, 0.2 / d), 4 / (np.arange(1.0, batches + 1) + 3), batch_size, ceiling, True
    order, results = rng.permutation(n), []
    for engine in (kernel, _descent):
        state = start(d, k, dtype, True)
        for a in state:
            a *= 100.0
        total = engine.run_epoch(X, Y, order, weight, *conditioning, *terms(k, d, dtype), *state, *args)
        results.append([np.array(total), *state])
    for got, want in zip(*results, strict=True):
        assert np.isfinite(want).all()
        close(got / 10, want / 10, dtype)  # of some twenty updates one after another


@pytest.mark.parametrize("kind", ["centred", "offset", "large offset", "huge", "tiny", "constant"])
@pytest.mark.parametrize(("k", "n_rows"), [(1, 1), (1, 300), (3, 150), (5, 7)])
def test_errors_of_rows_are_those_of_conditioned_ones(k, n_rows, kind, dtype, rng):
    n, d = 300, 21
    X, shift, inv_scale = columns(kind, n, d, dtype, rng)
    Y, (W, b, _, _) = rng.normal(2.0, 3.0, size=(n, k)).astype(dtype), start(d, k, dtype, True)
    conditioning = Conditioning(shift, inv_scale, np.full(k, 2.0, dtype), np.full(k, 0.5, dtype))
    rows, W = rng.permutation(n)[:n_rows], 100.0 * W.astype(np.float64)
    Z, b = (X[rows].astype(np.float64) - shift) * inv_scale, 100.0 * b.astype(np.float64)
    got = kernel.errors(X, Y, rows, *conditioning, W.astype(dtype), b.astype(dtype))
    assert got.dtype == dtype
    close(got, Z @ W.T + b - (Y[rows].astype(np.float64) - 2.0) / 2.0, dtype)


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("reduced", [False, True], ids=["plain", "reduced"])
@pytest.mark.parametrize("penalised", [None, "free", "positive"])
@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
@pytest.mark.parametrize(("k", "batch_size", "ceiling"), [(1, 1, 2.0), (1, 32, 2.0), (3, 1, np.inf), (3, 32, 0.0)])
def test_losses_penalties_and_variance_reduction_equal_the_array_engine(
    k, batch_size, ceiling, loss, penalised, reduced, fit_intercept, dtype, rng
):
    """Over three epochs, so that the anchors of the rows, and the mean gradient they make, come into play."""
    n, d = 101, 7
    X, Y, order, weight, conditioning = problem(dtype, n, d, k, weighted=True)
    penalty = lopsided(rng, k, d, dtype, penalised == "positive") if penalised else Penalty(None, None, False)
    batches = -(-n // batch_size)
    args = np.full(batches, 0.02), 4 / (np.arange(1.0, batches + 1) + 3), batch_size, ceiling, fit_intercept
    results = []
    for engine in (kernel, _descent):
        state = start(d, k, dtype, True)
        if not fit_intercept:
            state[1][:] = state[3][:] = 0.0
        reduction = Reduction.over(Data(X, Y)) if reduced else Reduction()
        with_terms = terms(k, d, dtype, loss, penalty, reduction)
        totals = []
        for _ in range(3):
            totals.append(engine.run_epoch(X, Y, order, weight, *conditioning, *with_terms, *state, *args))
            reduction.renew(n)
        results.append([np.array(totals), *state, *(reduction if reduced else ())])
    for got, want in zip(*results, strict=True):
        close(got / 10, want / 10, dtype)  # of some hundred updates one after another
    W = results[0][1]
    assert (W == 0.0).any() == (penalised is not None)
    assert (W >= 0.0).all() or penalised != "positive"


def test_overflowing_batches_are_skipped_by_the_guard_in_both_engines():
    X, Y, order, _, conditioning = problem(np.float64)
    for k_run in (kernel.run_epoch, _descent.run_epoch):
        state = start(7, 1, np.float64, True)
        state[0][:] = 1e200
        before = state[0].copy()
        with np.errstate(over="ignore", invalid="ignore"):
            k_run(
                X,
                Y,
                order,
                None,
                *conditioning,
                *terms(1, 7, np.float64),
                *state,
                np.full(4, 0.1),
                np.full(4, 0.1),
                32,
                8.0,
                True,
            )
        np.testing.assert_array_equal(state[0], before)


def test_overflowing_batches_are_stepped_on_where_nothing_guards_them():
    """So that descent with the user's own step is seen to diverge."""
    X, Y, order, _, conditioning = problem(np.float64)
    for run_epoch in (kernel.run_epoch, _descent.run_epoch):
        state = start(7, 1, np.float64, False)
        state[0][:] = 1e200
        args = np.full(4, 1e200), np.full(4, 0.1), 32, np.inf, True
        with np.errstate(over="ignore", invalid="ignore"):
            run_epoch(X, Y, order, None, *conditioning, *terms(1, 7, np.float64), *state, *args)
        assert not np.isfinite(state[0]).all()


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("d", [1, 7])
def test_statistics_equal_the_array_engine(d, weighted, dtype):
    X, _, order, weight, conditioning = problem(dtype, n=1500, d=d, weighted=weighted)
    got, want = Moments.empty(d), Moments.empty(d)
    for engine, m in ((kernel, got), (_conditioning, want)):
        m.count = engine.column_moments(X, order, weight, m.mean, m.square_deviation, m.low, m.high, m.count)
    for name in ("count", "mean", "square_deviation", "low", "high"):
        np.testing.assert_allclose(getattr(got, name), getattr(want, name), rtol=1e-10)
    norms = [
        e.max_row_norm(X, order, weight, conditioning.shift, conditioning.inv_scale, True)
        for e in (kernel, _conditioning)
    ]
    np.testing.assert_allclose(*norms, rtol=TOLERANCE[dtype])


@pytest.mark.parametrize("reduced", [False, True], ids=["plain", "reduced"])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize(("k", "batch_size", "ceiling"), [(1, 1, np.inf), (1, 32, 2.0), (3, 1, 0.0), (3, 32, np.inf)])
def test_a_preconditioned_epoch_equals_the_array_engine(k, batch_size, ceiling, fit_intercept, reduced, dtype, rng):
    n, d = 101, 7
    X, Y, order, weight, conditioning = problem(dtype, n, d, k, weighted=True)
    A = rng.normal(size=(d, 2 * d))
    P = (A @ A.T / d).astype(dtype)
    engines = []
    for run in (kernel.run_epoch, _descent.run_epoch):
        state, reduction = start(d, k, dtype, True), Reduction.over(Data(X, Y)) if reduced else None
        batches = -(-n // batch_size)
        steps, mixing = np.full(batches, 0.01), 4 / (np.arange(1.0, batches + 1) + 3)
        args = steps, mixing, batch_size, ceiling, fit_intercept, P
        total = run(X, Y, order, weight, *conditioning, *terms(k, d, dtype, reduction=reduction), *state, *args)
        engines.append([np.array(total), *state, *(reduction or ())])
    for a, b in zip(*engines, strict=True):
        close(a, b, dtype)
