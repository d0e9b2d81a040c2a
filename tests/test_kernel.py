"""The compiled kernels compute what the reference implementation does on dense rows, batch by batch.

Over sparse rows the reference implementation does so too.
"""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_array

from builders import iterate, plan, problem, standardization_of
from sk_gdlinear._data.standardize import Standardization
from sk_gdlinear._data.statistics import Moments
from sk_gdlinear._descent.backend import DENSE, REFERENCE, SPARSE
from sk_gdlinear._descent.variance_reduction import VarianceReduction
from sk_gdlinear._kernels import dense
from sk_gdlinear._objective.losses import Huber, SmoothedQuantile, SquaredError, clipped_line
from sk_gdlinear._objective.penalties import BoxedElasticNet

needs_kernels = pytest.mark.skipif(dense is None, reason="the compiled kernels were not built")

LOSSES = {
    "squared": clipped_line(SquaredError()),
    "huber": clipped_line(Huber(0.7)),
    "quantile": clipped_line(SmoothedQuantile(0.7, 0.8)),
}


@pytest.fixture(params=[np.float64, np.float32], ids=["float64", "float32"])
def dtype(request):
    return request.param


class Dense:
    """Rows of numbers, and the kernel for them."""

    tolerance = {np.float64: 1e-12, np.float32: 1e-5}

    @staticmethod
    def rows(rng, n, d):
        return rng.normal(rng.normal(0, 3, d), rng.uniform(0.1, 2, d), (n, d))

    @staticmethod
    def candidates(X):
        """Yield each backend to compare with the reference implementation, and the rows as it takes them."""
        yield DENSE, X

    @classmethod
    def assert_equal(cls, got, want, dtype, slack=1.0):
        """Rounding in a number near 0 is relative to the largest number beside it, and to ``slack``."""
        for a, b in zip(got, want, strict=True):
            if b is not None:
                atol = cls.tolerance[dtype] * max(slack, float(np.abs(b).max()))
                assert_allclose(a, b, rtol=cls.tolerance[dtype], atol=atol)


class Sparse(Dense):
    """Rows of which most numbers are 0, and what computes with their entries only."""

    tolerance = {np.float64: 1e-11, np.float32: 2e-5}

    @staticmethod
    def rows(rng, n, d):
        """A fifth of the entries, a column without zeros and of large offset, an empty column, an empty row."""
        X = rng.normal(1.0, 2.0, size=(n, d)) * (rng.random((n, d)) < 0.2)
        X[:, 0] = rng.normal(500.0, 1.0, n)
        X[:, 1:2] = 0.0
        X[n // 3, 1:] = 0.0
        return X

    @staticmethod
    def candidates(X):
        yield SPARSE, csr_array(X)
        yield REFERENCE, csr_array(X)

    @classmethod
    def assert_equal(cls, got, want, dtype, slack=1.0):
        """The order of the sums is another, over all numbers: ``slack`` enlarges what is tolerated of each."""
        tolerance = slack * cls.tolerance[dtype]
        for a, b in zip(got, want, strict=True):
            if b is not None:
                assert_allclose(a, b, rtol=tolerance, atol=tolerance * max(1.0, float(np.abs(b).max())))


@pytest.fixture(params=[pytest.param(Dense, marks=needs_kernels), Sparse], ids=["dense", "sparse"])
def kind(request):
    return request.param


def data(kind, rng, dtype, n=101, d=9, k=1, weighted=True):
    """Rows as an array, targets, weights, an order, and the change of variables."""
    X = kind.rows(rng, n, d).astype(dtype)
    Y = (X @ rng.normal(size=(d, k)) + rng.normal(5, 1, (n, k))).astype(dtype)
    weight = rng.uniform(0.1, 3, n).astype(dtype) if weighted else None
    return X, Y, weight, rng.permutation(n).astype(np.intp), standardization_of(X, Y, weight=weight)


def make_problem(X, Y, weight, standardization, loss="squared", penalty=None, fit_intercept=True):
    """A problem in which each target has a loss of its own width."""
    line = LOSSES[loss].scaled(np.geomspace(0.5, 2.0, Y.shape[1]), np.float64)
    return problem(X, Y, weight, None, standardization, line, penalty, fit_intercept)


def start(rng, d, k, dtype, average=True, fit_intercept=True):
    """Parameters and, if wanted, an average that is not theirs."""
    at = iterate(d, k, dtype, average)
    if average:
        at.mean_W += rng.normal(size=at.W.shape).astype(dtype)
        at.mean_b += rng.normal(size=at.b.shape).astype(dtype)
    if not fit_intercept:
        at.b[:] = 0.0
        if average:
            at.mean_b[:] = 0.0
    return at


def arrays(at):
    return [at.W, at.b, at.mean_W, at.mean_b]


def empty_table(of):
    """Variance reduction before any row was visited."""
    X, Y = of.rows.X, of.rows.Y
    return VarianceReduction.at(
        of.rows, np.zeros(Y.shape, X.dtype), np.zeros((Y.shape[1], X.shape[1])), np.zeros(Y.shape[1])
    )


def uneven(rng, k, d, dtype, bounds=None):
    """A penalty of another strength for every coefficient, some of them free; perhaps bounds, of all or of each."""
    l1, l2 = (rng.choice([0.0, 0.5, 2.0], size=(k, d)).astype(dtype) for _ in range(2))
    l1[0, -1] = 100.0  # this coefficient is 0
    if bounds == "positive":
        return BoxedElasticNet(l1, l2, np.zeros((k, d), dtype), np.full((k, d), np.inf, dtype))
    if bounds == "box":
        lower = rng.uniform(-1.0, 0.2, (k, d)).astype(dtype)
        return BoxedElasticNet(0.1 * l1, l2, lower, lower + rng.uniform(0.0, 1.0, (k, d)).astype(dtype))
    return BoxedElasticNet(l1, l2)


def decaying(n_batches):
    """Averaging weights as of the polynomial-decay average."""
    return 4 / (np.arange(1.0, n_batches + 1) + 3)


# --- epochs ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("average", [True, False], ids=["average", "plain"])
@pytest.mark.parametrize("weighted", [True, False], ids=["weights", "no weights"])
@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize("batch_size", [1, 7, 32, 101])
def test_an_epoch_equals_the_reference_after_every_batch(rng, kind, batch_size, k, weighted, average, dtype):
    X, Y, weight, order, standardization = data(kind, rng, dtype, k=k, weighted=weighted)
    begin = start(rng, 9, k, dtype, average)
    plain, others = begin.copy(), [(backend, A, begin.copy()) for backend, A in kind.candidates(X)]
    of = make_problem(X, Y, weight, standardization)
    for first in range(0, len(order), batch_size):
        updates = plan(order[first : first + batch_size], batch_size)
        want = REFERENCE.epoch(of, updates, plain, VarianceReduction())
        for backend, A, at in others[: 1 if first >= 31 * batch_size else None]:  # the reference takes long
            got = backend.epoch(make_problem(A, Y, weight, standardization), updates, at, VarianceReduction())
            kind.assert_equal([got, *arrays(at)], [want, *arrays(plain)], dtype)


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("largest", [np.inf, 0.0], ids=["free", "line search"])
@pytest.mark.parametrize("weights", ["decaying", "uneven"])
@pytest.mark.parametrize(
    ("n", "d", "k", "batch_size"),
    [(101, 9, 1, 1), (101, 9, 3, 1), (101, 9, 1, 10), (101, 9, 1, 32), (101, 9, 3, 32), (600, 300, 2, 500)],
)
def test_a_whole_epoch_equals_the_reference(rng, kind, n, d, k, batch_size, weights, largest, fit_intercept, dtype):
    """A largest objective of 0 makes every step that of the line search.

    500 rows of 300 columns exceed a tile, so that the batch is computed in parts.  Averaging weights of 1 forget, and
    those of 0.999 fade away.
    """
    X, Y, weight, order, standardization = data(kind, rng, dtype, n, d, k)
    begin = start(rng, d, k, dtype, fit_intercept=fit_intercept)
    n_batches = -(-n // batch_size)
    averaging_weights = (
        decaying(n_batches) if weights == "decaying" else np.resize([0.999, 0.1, 0.999, 1, 0.3], n_batches)
    )
    updates = plan(order, batch_size, 0.02 if largest else 1e9, averaging_weights, largest)

    def result(backend, A):
        at, of = begin.copy(), make_problem(A, Y, weight, standardization, fit_intercept=fit_intercept)
        total = backend.epoch(of, updates, at, VarianceReduction())
        return [total, *arrays(at)]

    want = result(REFERENCE, X)
    # The line search projects single rows one after another, which enlarges rounding.
    slack = 1.0 if largest else 10.0 if kind is Dense else 1e3
    for backend, A in kind.candidates(X):
        kind.assert_equal(result(backend, A), want, dtype, slack)


@pytest.mark.parametrize(
    ("fit_intercept", "average"), [(True, True), (False, True), (True, False)], ids=["", "no intercept", "no average"]
)
@pytest.mark.parametrize("reduced", [False, True], ids=["plain", "reduced"])
@pytest.mark.parametrize("penalised", [None, "free", "positive", "box"])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(("k", "batch_size", "largest"), [(1, 1, 2.0), (1, 32, 2.0), (3, 1, np.inf), (3, 7, 0.0)])
def test_losses_penalties_and_variance_reduction_equal_the_reference(
    rng, kind, k, batch_size, largest, loss, penalised, reduced, fit_intercept, average, dtype
):
    """Over three epochs, so that the gradient table, and its mean gradient, come into play.

    A kernel may use what it learnt of the rows at their first visit, where it is given the same problem again.
    """
    X, Y, weight, order, standardization = data(kind, rng, dtype, k=k)
    penalty = uneven(rng, k, 9, dtype, penalised) if penalised else None
    if kind is Sparse:
        order = order[: 31 * batch_size]  # every update of the reference takes long
    updates = plan(order, batch_size, 0.02, decaying(-(-len(order) // batch_size)), largest)
    begin = start(rng, 9, k, dtype, average, fit_intercept)

    def result(backend, A, remembered=True):
        of, at, totals = make_problem(A, Y, weight, standardization, loss, penalty, fit_intercept), begin.copy(), []
        reduction = empty_table(of) if reduced else VarianceReduction()
        for _ in range(3):
            totals.append(backend.epoch(of, updates, at, reduction))
            reduction.commit(len(order))
            if not remembered:
                of.cache.clear()
        return [np.array(totals), *arrays(at), *reduction]

    want = result(REFERENCE, X)
    W = want[1]
    # Hundreds of updates one after another, and the line search over single rows, enlarge rounding.
    slack = 1e3 if kind is Sparse and largest < np.inf else 10.0
    for backend, A in kind.candidates(X):
        for remembered in (True, False) if backend is SPARSE else (True,):
            got = result(backend, A, remembered)
            kind.assert_equal(got, want, dtype, slack)
            assert_array_equal(got[1] == 0.0, W == 0.0)
    assert (W == 0.0).any() or penalised in (None, "box")
    assert (W >= 0.0).all() or penalised != "positive"
    assert penalised != "box" or ((W >= penalty.lower) & (W <= penalty.upper)).all()


def test_coefficients_keep_to_bounds_of_their_own(rng, kind, dtype):
    X, Y, weight, order, standardization = data(kind, rng, dtype, k=3)
    penalty, begin = uneven(rng, 3, 9, dtype, "box"), start(rng, 9, 3, dtype)
    penalty.upper[:, 0] = penalty.lower[:, 0]  # this coefficient is fixed
    for backend, A in [(REFERENCE, X), *kind.candidates(X)]:
        at = begin.copy()
        of = make_problem(A, Y, weight, standardization, penalty=penalty)
        backend.epoch(of, plan(order, 8), at, VarianceReduction())
        assert (at.W >= penalty.lower).all() and (at.W <= penalty.upper).all()
        assert_array_equal(at.W[:, 0], penalty.lower[:, 0])


@pytest.mark.parametrize("large_offset", [True, False], ids=["large offset", "no large offset"])
@pytest.mark.parametrize(("first_step", "power"), [(0.02, 0.0), (0.02, 1.0), (0.0, 0.0)], ids=["equal", "fall", "none"])
def test_variance_reduction_over_rows_visited_before_equals_the_reference(
    rng, kind, first_step, power, large_offset, dtype
):
    """Equal steps spare the sparse kernel a sum; the last batch is short, with a step of its own; steps may be 0."""
    X, Y, weight, order, standardization = data(kind, rng, dtype)
    if not large_offset:
        X[:, 0] = 0.0
        shift = standardization.shift * (np.arange(9) > 0).astype(dtype)
        standardization = standardization._replace(shift=shift)
    begin = start(rng, 9, 1, dtype)

    def result(backend, A):
        of, at = make_problem(A, Y, weight, standardization), begin.copy()
        reduction = empty_table(of)
        for epoch in range(4):
            # The first visit fills the gradient table.
            steps = np.zeros(15) if epoch == 0 else first_step / np.arange(1.0, 16.0) ** power
            steps[-1] *= 0.3
            backend.epoch(of, plan(order, 7, steps, decaying(15)), at, reduction)
            reduction.commit(101)
        return [*arrays(at), *reduction]

    want = result(REFERENCE, X)
    for backend, A in kind.candidates(X):
        kind.assert_equal(result(backend, A), want, dtype, 10.0 if kind is Dense else 1.0)


def test_averages_that_fade_below_the_range_of_floats_are_kept(rng, kind):
    X, Y, _, order, standardization = data(kind, rng, np.float64, weighted=False)
    begin = start(rng, 9, 1, np.float64)
    updates = plan(order, 1, 0.01, 1.0 - 1e-8)  # together 1e-808 of the old average
    plain = begin.copy()
    REFERENCE.epoch(make_problem(X, Y, None, standardization), updates, plain, VarianceReduction())
    for backend, A in kind.candidates(X):
        at = begin.copy()
        backend.epoch(make_problem(A, Y, None, standardization), updates, at, VarianceReduction())
        kind.assert_equal(arrays(at), arrays(plain), np.float64, 10.0)


def test_overflowing_batches_are_skipped_where_the_line_search_is_on(rng, kind):
    X, Y, _, order, standardization = data(kind, rng, np.float64, weighted=False)
    for backend, A in [(REFERENCE, X), *kind.candidates(X)]:
        at = start(rng, 9, 1, np.float64)
        at.W[:] = 1e200
        before = at.W.copy()
        with np.errstate(over="ignore", invalid="ignore"):
            updates = plan(order, 32, 0.1, 0.1, 8.0)
            backend.epoch(make_problem(A, Y, None, standardization), updates, at, VarianceReduction())
        assert_allclose(at.W, before, rtol=1e-12 if backend is SPARSE else 0.0)


def test_overflowing_batches_are_stepped_on_where_no_line_search_is_on(rng, kind):
    """So that descent with the user's own step is seen to diverge."""
    X, Y, _, order, standardization = data(kind, rng, np.float64, weighted=False)
    for backend, A in [(REFERENCE, X), *kind.candidates(X)]:
        at = start(rng, 9, 1, np.float64, average=False)
        at.W[:] = 1e200
        with np.errstate(over="ignore", invalid="ignore"):
            updates = plan(order, 32, 1e200, 0.1)
            backend.epoch(make_problem(A, Y, None, standardization), updates, at, VarianceReduction())
        assert not np.isfinite(at.W).all()


# --- gradients, errors and statistics --------------------------------------------------------------------------------


@pytest.mark.parametrize("weighted", [True, False], ids=["weights", "no weights"])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("k", [1, 3, 5])
def test_gradients_derivatives_and_errors_equal_the_reference(rng, kind, k, loss, fit_intercept, weighted, dtype):
    X, Y, weight, order, standardization = data(kind, rng, dtype, k=k, weighted=weighted)
    order, at = order[:77], start(rng, 9, k, dtype, average=False)

    def make(A):
        return make_problem(A, Y, weight, standardization, loss, None, fit_intercept), np.zeros((101, k), dtype)

    of, table = make(X)
    want = REFERENCE.derivatives(of, order, at.W, at.b, table)
    errors = REFERENCE.errors(of, order, at.W, at.b)
    for backend, A in kind.candidates(X):
        same, entries = make(A)
        for _ in range(2):  # also when the rows were visited before
            kind.assert_equal(backend.derivatives(same, order, at.W, at.b, entries), want, dtype)
            own_errors = np.zeros((101, k), dtype)
            kind.assert_equal(backend.gradient(same, order, at.W, at.b, own_errors), want, dtype)
            kind.assert_equal([own_errors[order]], [errors], dtype, 10.0)
            assert not own_errors[np.setdiff1d(np.arange(101), order)].any()
            kind.assert_equal([entries], [table], dtype)
            kind.assert_equal([backend.errors(same, order, at.W, at.b)], [errors], dtype, 10.0)
        assert not entries[np.setdiff1d(np.arange(101), order)].any()


@pytest.mark.parametrize("weighted", [True, False], ids=["weights", "no weights"])
@pytest.mark.parametrize("d", [1, 7])
def test_moments_equal_the_reference(rng, kind, d, weighted, dtype):
    X, _, weight, order, _ = data(kind, rng, dtype, n=1500, d=d, weighted=weighted)
    parts = order[:1000], order[1000:1400]
    want = Moments.empty(d)
    for part in parts:
        want.count = REFERENCE.moments(X, part, weight, want)
    for backend, A in kind.candidates(X):
        got = Moments.empty(d)
        for part in parts:
            got.count = backend.moments(A, part, weight, got)
        for name in ("count", "mean", "square_deviation", "low", "high"):
            assert_allclose(getattr(got, name), getattr(want, name), rtol=1e-10, err_msg=name)


@pytest.mark.parametrize("weighted", [True, False], ids=["weights", "no weights"])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("d", [1, 7])
def test_the_largest_norm_of_a_row_equals_the_reference(rng, kind, d, fit_intercept, weighted, dtype):
    X, Y, weight, order, standardization = data(kind, rng, dtype, n=1500, d=d, weighted=weighted)
    for part in (order, order[:700]):
        want = REFERENCE.max_row_norm(problem(X, Y, weight).rows, part, standardization, fit_intercept)
        for backend, A in kind.candidates(X):
            got = backend.max_row_norm(problem(A, Y, weight).rows, part, standardization, fit_intercept)
            assert_allclose(got, want, rtol=kind.tolerance[dtype])


# --- dense columns of any location and scale -------------------------------------------------------------------------

LOCATIONS = ["centred", "offset", "large offset", "huge", "tiny", "constant"]


def columns(location, n, d, dtype, rng):
    """Rows of a location and a scale, and both: some may be multiplied raw, some must be standardized first."""
    largest, tiny = float(np.finfo(dtype).max), float(np.finfo(dtype).tiny)
    shift, scale = {
        "centred": (0.0, 1.0),
        "offset": (5.0, 2.0),
        "large offset": (1e4, 1.0),
        "huge": (0.0, largest / 8.0),
        "tiny": (0.0, tiny * 8.0),
        "constant": (0.9 * largest, 0.0),
    }[location]
    X = (shift + scale * rng.uniform(-3.0, 3.0, (n, d))).astype(dtype)
    X[:, 0] = 1.0 + rng.normal(size=n)
    shift, scale = np.append(1.0, np.full(d - 1, shift)), np.append(1.0, np.full(d - 1, scale))
    inv_scale = np.divide(1.0, scale, out=np.zeros(d), where=scale > 0.0)
    return X, shift.astype(dtype), inv_scale.astype(dtype)


@needs_kernels
@pytest.mark.parametrize("largest", [np.inf, 1.0], ids=["free", "line search"])
@pytest.mark.parametrize("location", LOCATIONS)
@pytest.mark.parametrize(
    ("k", "d", "batch_size"), [(1, 2, 2), (1, 8, 3), (1, 21, 32), (2, 19, 7), (4, 33, 41), (5, 9, 6)]
)
def test_columns_of_any_location_and_scale_equal_the_reference(k, d, batch_size, location, largest, dtype, rng):
    """Also rows in fours and left over, columns in lines and left over, batches of one tile and of several."""
    n = 41
    X, shift, inv_scale = columns(location, n, d, dtype, rng)
    Y, weight = rng.normal(size=(n, k)).astype(dtype), rng.uniform(0.1, 3.0, n).astype(dtype)
    standardization = Standardization(shift, inv_scale, np.zeros(k, dtype), np.ones(k, dtype))
    updates = plan(rng.permutation(n), batch_size, 0.2 / d, decaying(-(-n // batch_size)), largest)
    results = []
    for backend in (DENSE, REFERENCE):
        at = iterate(d, k, dtype)
        for a in arrays(at):
            a *= 100.0
        total = backend.epoch(make_problem(X, Y, weight, standardization), updates, at, VarianceReduction())
        results.append([total, *arrays(at)])
    assert all(np.isfinite(want).all() for want in results[1])
    Dense.assert_equal(*results, dtype, 10.0)  # of some twenty updates one after another


@needs_kernels
@pytest.mark.parametrize("location", LOCATIONS)
@pytest.mark.parametrize(("k", "n_rows"), [(1, 1), (1, 300), (3, 150), (5, 7)])
def test_errors_of_rows_are_those_of_standardized_ones(k, n_rows, location, dtype, rng):
    n, d = 300, 21
    X, shift, inv_scale = columns(location, n, d, dtype, rng)
    Y, at = rng.normal(2.0, 3.0, size=(n, k)).astype(dtype), iterate(d, k, dtype)
    standardization = Standardization(shift, inv_scale, np.full(k, 2.0, dtype), np.full(k, 0.5, dtype))
    order, W, b = rng.permutation(n)[:n_rows], 100.0 * at.W.astype(np.float64), 100.0 * at.b.astype(np.float64)
    Z, targets = (X[order].astype(np.float64) - shift) * inv_scale, (Y[order].astype(np.float64) - 2.0) / 2.0
    of = make_problem(X, Y, None, standardization)
    got = DENSE.errors(of, order, W.astype(dtype), b.astype(dtype))
    assert got.dtype == dtype
    Dense.assert_equal([got], [Z @ W.T + b - targets], dtype, 100.0)  # what is summed is of that size
    at_zero = DENSE.errors(of, order, np.zeros_like(W, dtype), b.astype(dtype))
    Dense.assert_equal([at_zero], [b - targets], dtype)


@needs_kernels
@pytest.mark.parametrize("location", ["centred", "offset", "large offset", "constant"])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(("k", "d"), [(1, 21), (3, 8), (5, 7)])
def test_gradients_over_columns_of_any_location_equal_the_reference(k, d, loss, location, dtype, rng):
    X, shift, inv_scale = columns(location, 300, d, dtype, rng)
    Y, weight = rng.normal(size=(300, k)).astype(dtype), rng.uniform(0.1, 3.0, 300).astype(dtype)
    standardization = Standardization(shift, inv_scale, np.zeros(k, dtype), np.ones(k, dtype))
    of, at, order = make_problem(X, Y, weight, standardization, loss), iterate(d, k, dtype), rng.permutation(300)[:257]
    results = [backend.gradient(of, order, at.W, at.b) for backend in (DENSE, REFERENCE)]
    Dense.assert_equal(*results, dtype)
