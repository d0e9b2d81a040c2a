"""Mean loss of given parameters against its formula, and the blocks of rows over which it is taken."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_array

from builders import problem
from sk_gdlinear._data.standardize import Standardization
from sk_gdlinear._descent.backend import REFERENCE, choose_backend
from sk_gdlinear._objective.evaluate import BLOCK_NUMBERS, BLOCK_ROWS, LEAST_ROWS, mean_loss
from sk_gdlinear._objective.losses import Huber, clipped_line


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("kind", ["dense", "dense by the reference", "sparse", "sparse by the reference"])
@pytest.mark.parametrize("weighted", [False, True, "zeros"])
def test_mean_loss_is_the_weighted_mean_over_the_rows_that_count(rng, weighted, kind, dtype, monkeypatch):
    n, d, k = 4_400, 3, 2  # of more than two blocks
    monkeypatch.setattr("sk_gdlinear._objective.evaluate.BLOCK_NUMBERS", 1)
    monkeypatch.setattr("sk_gdlinear._data.rows.BLOCK_ROWS", 2_000)  # of sparse rows
    monkeypatch.setattr("sk_gdlinear._data.rows.BLOCK_ENTRIES", 0)
    X = rng.normal([2.0, -1.0, 0.5], [1.0, 3.0, 0.2], size=(n, d)).astype(dtype)
    Y = (X @ rng.normal(size=(d, k)) + rng.normal([5.0, -300.0], [1.0, 40.0], size=(n, k))).astype(dtype)
    weight = None
    if weighted:
        weight = rng.integers(0 if weighted == "zeros" else 1, 4, n).astype(dtype)
    c = Standardization(
        *(a.astype(dtype) for a in (X.mean(axis=0), 1 / X.std(axis=0), Y.mean(axis=0), 1 / Y.std(axis=0)))
    )
    W, b = (rng.normal(size=shape).astype(dtype) for shape in ((k, d), k))
    index = np.flatnonzero(weight) if weighted == "zeros" else None
    A = csr_array(X) if kind.startswith("sparse") else X
    backend = REFERENCE if "reference" in kind else choose_backend(A)
    got = mean_loss(backend, problem(A, Y, weight, index, c, clipped_line(Huber(0.5))), W, b)
    X, Y, W, b, shift, scale, middle, unit = (a.astype(np.float64) for a in (X, Y, W, b, *c))
    e = np.abs((X - shift) * scale @ W.T + b - (Y - middle) * unit)
    value = np.where(e < 0.5, e**2 / 2, 0.5 * (e - 0.25))
    assert_allclose(got, np.average(value, axis=0, weights=weight), rtol=1e-12 if dtype == np.float64 else 1e-5)


@pytest.mark.parametrize("sparse", [False, True])
def test_mean_loss_of_float32_rows_keeps_its_digits_where_offsets_dwarf_the_spread(rng, sparse):
    """Of offsets 1e5 times the spread, products in float32 would leave two digits of a small error."""
    X = (1e5 + rng.normal(size=(500, 3))).astype(np.float32)
    shift = X.mean(axis=0, dtype=np.float64).astype(np.float32)
    Z, W = X.astype(np.float64) - shift, np.array([[1.1, -2.3, 0.7]], np.float32)
    Y = (Z @ W.T + 0.01 * rng.normal(size=(500, 1))).astype(np.float32)
    c = Standardization(shift, np.ones(3, np.float32), np.zeros(1, np.float32), np.ones(1, np.float32))
    A = csr_array(X) if sparse else X
    got = mean_loss(choose_backend(A), problem(A, Y, standardization=c), W, np.zeros(1, np.float32))
    assert_allclose(got, ((Z @ W.T - Y) ** 2).mean() / 2, rtol=1e-3)


@pytest.mark.parametrize(("n", "d", "k"), [(2_000_000, 50, 1), (2_000_000, 1, 70), (100_000, 10, 1), (3_000, 4_000, 1)])
@pytest.mark.parametrize("some", [False, True], ids=["all rows", "every second row"])
def test_errors_are_computed_of_each_row_once_in_blocks_that_fit_in_cache(n, d, k, some):
    blocks = []

    def errors(problem, order, W, b):
        blocks.append(order)
        return np.broadcast_to(b, (len(order), k))

    X, Y = (np.broadcast_to(0.0, (n, columns)) for columns in (d, k))
    kept = np.arange(0, n, 2) if some else None
    b = np.arange(1.0, k + 1.0)
    got = mean_loss(REFERENCE._replace(errors=errors), problem(X, Y, None, kept), np.zeros((k, d)), b)
    assert_allclose(got, b**2 / 2, rtol=1e-12)
    assert_array_equal(np.concatenate(blocks), np.arange(0, n, 2 if some else 1))
    length = len(blocks[0])
    assert length <= BLOCK_ROWS
    assert length <= LEAST_ROWS or length * max(d, k) <= BLOCK_NUMBERS
