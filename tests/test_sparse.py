"""Sparse rows are the same data: every law here compares them with the dense array of the same numbers."""

import tracemalloc

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse

from sk_gdlinear import GDLinearRegressor

VARIANTS = [
    {},
    {"shuffle": False},
    {"average": False},
    {"fit_intercept": False},
    {"batch_size": 1},
    {"batch_size": 7},
    {"batch_size": None},
    {"schedule": "invscaling"},
    {"loss": "huber", "epsilon": 0.5},
    {"loss": "quantile", "quantile": 0.7},
    {"penalty": "l1", "alpha": 0.05},
    {"penalty": "elasticnet", "alpha": 0.05, "l1_ratio": 0.5, "batch_size": 7},
    {"penalty": "l2", "alpha": 0.05, "average": False},
    {"positive": True},
    {"standardize": False, "average": False, "learning_rate": 1e-3},
    {"standardize": False, "learning_rate": 1e-3, "fit_intercept": False},
]


def make_data(rng, n=300, k=1, wild=True):
    """Mostly zeros, some rows all zero; if ``wild``, in raw units, with dense, constant, rare and empty columns."""
    X = rng.normal(size=(n, 12)) * (rng.random((n, 12)) < 0.2)
    X[n // 2 :: 50] = 0.0
    coef = rng.normal(size=(12, k))
    if wild:
        X[:, 0] = rng.normal(size=n) + 1e6  # an offset a million times the spread, no zero anywhere
        X[:, 1] *= 1e4
        X[:, 2] = rng.normal(size=n)
        X[:, 3] = 7.0
        X[:, 4] = 0.0
        X[:, 5] = np.arange(n) == 17  # a category seen once
        coef[1] *= 1e-4
    Y = X @ coef + rng.normal(size=(n, k))
    return X, Y[:, 0] if k == 1 else Y


# An offset of 1e6 spreads leaves a float64 column 10 digits, and its mean and spread fewer.
TOLERANCE = {True: 1e-8, False: 1e-10}


def quick(seed, **params):
    return GDLinearRegressor(**(dict(max_iter=3, tol=None, random_state=seed) | params))


def assert_same_model(got, want, X, rtol):
    """The coefficients, each beside the spread of its column, and the intercept agree to ``rtol`` of y's range.

    Or of the coefficient itself: without an intercept columns that hardly vary may cancel, each far beyond that range.
    """
    reach = max(1.0, np.ptp(want.predict(X)))
    mean = X.mean(axis=0)
    spread = np.where(X.std(axis=0) > 0.0, X.std(axis=0), np.abs(mean))
    assert_allclose(got.coef_ * spread, want.coef_ * spread, rtol=rtol, atol=rtol * reach)
    # What the coefficients may differ by, times the offsets of the columns, the intercept makes good.
    offset = 1.0 + np.max(np.abs(mean[spread > 0.0]) / spread[spread > 0.0])
    assert_allclose(got.intercept_, want.intercept_, rtol=0, atol=rtol * reach * offset)
    assert_allclose(got.loss_curve_, want.loss_curve_, rtol=100 * rtol)


CASES = [(params, wild) for params in VARIANTS for wild in (False, True) if not wild or "standardize" not in params]


@pytest.mark.parametrize("weighted", [False, True], ids=["", "weights"])
@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize(("params", "wild"), CASES, ids=str)
def test_csr_and_dense_give_the_same_model_after_every_epoch(rng, seed, params, wild, k, weighted):
    X, y = make_data(rng, k=k, wild=wild)
    weight = rng.integers(0, 4, len(X)).astype(float) if weighted else None
    for epochs, precondition in ((1, False), (2, False), (5, False), (4, True)):
        if precondition and wild and not params.get("fit_intercept", True):
            continue  # of columns of condition 1e6 rounding of second moments leaves six digits of a coefficient
        params = params | dict(max_iter=epochs, precondition=precondition)  # else the price decides, which is another
        models = [quick(seed, **params).fit(A, y, weight) for A in (sparse.csr_array(X), X)]
        assert_same_model(*models, X, TOLERANCE[wild])
        assert_allclose(models[0].learning_rate_, models[1].learning_rate_, rtol=TOLERANCE[wild])
        assert models[0].t_ == models[1].t_


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("params", VARIANTS, ids=str)
def test_csr_and_dense_agree_to_the_precision_of_float32(rng, seed, params, k):
    X, y = make_data(rng, k=k, wild=False)
    X = X.astype(np.float32)
    models = [quick(seed, **params).fit(A, y) for A in (sparse.csr_array(X), X)]
    assert models[0].coef_.dtype == np.float32
    assert_same_model(*models, X, 1e-5)


def test_csr_and_dense_stop_in_the_same_epoch(rng, seed):
    X, y = make_data(rng, n=2000)
    models = [GDLinearRegressor(random_state=seed).fit(A, y) for A in (sparse.csr_array(X), X)]
    assert models[0].n_iter_ == models[1].n_iter_
    assert_same_model(*models, X, TOLERANCE[True])


def test_long_data_is_the_same_in_csr_too(rng, seed):
    """Rows enough for several segments, eigenvalues from a sample, and an objective watched in part."""
    n = 150_000
    X = np.zeros((n, 6))
    X[np.arange(n), rng.integers(0, 6, n)] = rng.normal(3.0, 1.0, n)
    y = X @ rng.normal(size=6) + rng.normal(size=n)
    for params in ({"batch_size": 1000}, {"batch_size": 1000, "shuffle": False}):
        models = [quick(seed, max_iter=2, **params).fit(A, y) for A in (sparse.csr_array(X), X)]
        assert_same_model(*models, X, 1e-9)


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize(("params", "wild"), CASES, ids=str)
def test_stream_may_change_between_sparse_and_dense_chunks(rng, seed, params, wild, k):
    X, y = make_data(rng, k=k, wild=wild)
    mixed, dense = quick(seed, **params), quick(seed, **params)
    for call, rows in enumerate(np.array_split(np.arange(len(X)), 6)):
        chunk = sparse.csr_array(X[rows]) if call % 3 != 1 else X[rows]
        mixed.partial_fit(chunk, y[rows])
        dense.partial_fit(X[rows], y[rows])
        assert_same_model(mixed, dense, X, TOLERANCE[wild])


def test_guarded_steps_are_the_same(rng, seed):
    """After a sudden change of units the first batches get the safe step: it is that of the dense rows."""
    X, y = make_data(rng, n=400, wild=False)
    models = [quick(seed), quick(seed)]
    for factor in (1.0, 1e6):
        for model, A in zip(models, (sparse.csr_array(factor * X), factor * X), strict=True):
            model.partial_fit(A, y)
        assert_same_model(*models, factor * X, 1e-7)  # safe steps enlarge rounding


@pytest.mark.filterwarnings("ignore:Constructing a DIA matrix")
@pytest.mark.parametrize("kind", ["matrix", "array"])
@pytest.mark.parametrize("layout", ["csr", "csc", "coo", "lil", "dok", "bsr", "dia"])
def test_every_scipy_format_is_taken(rng, seed, layout, kind):
    X, y = make_data(rng)
    want = quick(seed).fit(sparse.csr_array(X), y)
    A = getattr(sparse.coo_array(X) if kind == "array" else sparse.coo_matrix(X), f"to{layout}")()
    got = quick(seed).fit(A, y)
    assert_allclose(got.coef_, want.coef_, rtol=1e-9)
    assert_array_equal(got.predict(A), got.predict(sparse.csr_array(X)))
    assert got.score(A, y) == pytest.approx(want.score(X, y))


def with_index_dtype(A, dtype):
    A.indices, A.indptr = A.indices.astype(dtype), A.indptr.astype(dtype)
    return A


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_indices_may_be_of_32_or_64_bits(rng, seed, method, dtype):
    X, y = make_data(rng, wild=False)
    A = sparse.csr_array(X.astype(dtype))
    models = [getattr(quick(seed), method)(with_index_dtype(A.copy(), index), y) for index in (np.int32, np.int64)]
    assert_array_equal(models[0].coef_, models[1].coef_)


def with_explicit_zeros(A):
    rows, columns = np.nonzero(np.ones(A.shape))
    return sparse.csr_array((A.toarray().ravel(), (rows, columns)), shape=A.shape)


def with_unsorted_indices(A):
    rows = np.repeat(np.arange(A.shape[0]), np.diff(A.indptr))
    reverse = np.lexsort((-A.indices, rows))
    return sparse.csr_array((A.data[reverse], A.indices[reverse], A.indptr), shape=A.shape)


def with_duplicates(A):
    twice = np.repeat(np.arange(A.nnz), 2)
    return sparse.csr_array((0.5 * A.data[twice], A.indices[twice], 2 * A.indptr), shape=A.shape)


@pytest.mark.parametrize("spoil", [with_explicit_zeros, with_unsorted_indices, with_duplicates])
@pytest.mark.parametrize("wrap", [sparse.csr_array, sparse.csr_matrix])
def test_the_way_entries_are_stored_changes_nothing(rng, seed, spoil, wrap):
    X, y = make_data(rng)
    want = quick(seed).fit(X, y).partial_fit(X, y)
    A = wrap(spoil(sparse.csr_array(X)))
    before = [a.copy() for a in (A.data, A.indices, A.indptr)]
    got = quick(seed).fit(A, y)
    got.partial_fit(A, y)
    got.predict(A)
    assert_same_model(got, want, X, TOLERANCE[True])
    for now, was in zip((A.data, A.indices, A.indptr), before, strict=True):
        assert_array_equal(now, was)


def test_read_only_arrays_are_taken(rng, seed):
    X, y = make_data(rng)
    A = sparse.csr_array(X)
    want = quick(seed).fit(A, y).coef_
    for a in (A.data, A.indices, A.indptr):
        a.flags.writeable = False
    assert_array_equal(quick(seed).fit(A, y).coef_, want)


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_matrix_without_any_entry_predicts_the_mean(fit_intercept):
    y = np.arange(6.0)
    model = GDLinearRegressor(fit_intercept=fit_intercept).fit(sparse.csr_array((6, 3)), y)
    assert_array_equal(model.coef_, 0.0)
    assert_allclose(model.intercept_, 2.5 * fit_intercept)
    model.partial_fit(sparse.csr_array((1, 3)), [2.5])
    assert np.isfinite(model.predict(sparse.csr_array((2, 3)))).all()


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_predictions_equal_those_of_dense_rows(rng, seed, dtype, k):
    X, y = make_data(rng, k=k)
    X = X.astype(dtype)
    model = quick(seed).fit(X, y)
    prediction = model.predict(sparse.csr_array(X))
    assert prediction.dtype == X.dtype and prediction.shape == y.shape and isinstance(prediction, np.ndarray)
    assert_allclose(prediction, model.predict(X), rtol=1e-6 if dtype == "f4" else 1e-12)


@pytest.mark.parametrize("k", [1, 2])
def test_rows_are_never_made_dense(rng, seed, k):
    """Peak memory is that of some vectors of one number per feature: 2000 rows of them would make a dense copy."""
    n, d = 2000, 100_000
    places = rng.integers(n, size=n * d // 10_000), rng.integers(d, size=n * d // 10_000)
    X = sparse.csr_array(sparse.coo_array((rng.random(len(places[0])), places), shape=(n, d)))
    y = rng.normal(size=(n, k))
    model = quick(seed, max_iter=2).fit(X[:100], y[:100])  # loads all code
    tracemalloc.start()
    try:
        model.fit(X, y)
        model.partial_fit(X, y)
        model.predict(X)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 60 * k * d * 8


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize("params", [{}, {"standardize": False, "learning_rate": 1e-3}], ids=str)
def test_entries_that_are_not_finite_are_refused(rng, seed, state_of, method, params, bad):
    X, y = make_data(rng, wild=False)
    A = sparse.csr_array(X)
    model = quick(seed, **params).fit(A, y)
    before = state_of(model)
    A.data[3] = bad
    with pytest.raises(ValueError, match="NaN|infinity"):
        getattr(model, method)(A, y)
    assert state_of(model) == before


@pytest.mark.parametrize("index", [-1, 12, 10**6])
@pytest.mark.parametrize("method", ["fit", "partial_fit", "predict"])
def test_indices_outside_of_the_matrix_are_refused(rng, seed, state_of, method, index):
    X, y = make_data(rng, wild=False)
    A = sparse.csr_array(X)
    model = quick(seed).fit(A, y)
    before = state_of(model)
    A.indices[5] = index
    with pytest.raises(ValueError, match="valid CSR"):
        getattr(model, method)(*((A,) if method == "predict" else (A, y)))
    assert state_of(model) == before
