"""What is of sparse rows only: products of standardized rows, moments of blocks, the types of indices.

``test_kernel.py`` compares epochs, gradients and statistics of sparse rows with those of dense ones.
"""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_array

from builders import iterate, problem, standardization_of
from sk_gdlinear._data.standardize import StandardizedRows
from sk_gdlinear._data.statistics import sparse_block_moments
from sk_gdlinear._descent.backend import REFERENCE, SPARSE
from test_kernel import Sparse


def standardized(rng, n=30, d=9):
    X = Sparse.rows(rng, n, d)
    shift, inv_scale = X.mean(axis=0), rng.uniform(0.1, 2.0, d)
    return StandardizedRows.of(csr_array(X), shift, inv_scale), (X - shift) * inv_scale


@pytest.mark.parametrize("n", [4, 30])
def test_standardized_rows_multiply_as_arrays_do(rng, n):
    Z, dense = standardized(rng, n)
    factor, A, v = rng.uniform(0.5, 2.0, n), rng.normal(size=(3, n)), rng.normal(size=n)
    for rows, want in (
        (Z, dense),
        (Z.with_column_of_ones(), np.column_stack([dense, np.ones(n)])),
        (Z.with_column_of_ones().times(factor), np.column_stack([dense, np.ones(n)]) * factor[:, None]),
    ):
        assert rows.shape == want.shape and len(rows) == len(want)
        assert_allclose(rows.toarray(), want, atol=1e-12)
        assert_allclose(rows @ np.eye(want.shape[1]), want, atol=1e-12)
        assert_allclose(rows @ want[0], want @ want[0], atol=1e-10)
        assert_allclose(A @ rows, A @ want, atol=1e-10)
        assert_allclose(v @ rows, v @ want, atol=1e-10)
        assert_allclose(rows.square_norms(), (want**2).sum(axis=1), atol=1e-10)
        assert_allclose(rows.gram(), want.T @ want if n > want.shape[1] else want @ want.T, atol=1e-9)


def test_moments_of_a_block_count_its_zeros(rng):
    A, weight = Sparse.rows(rng, 101, 9), rng.uniform(0.5, 2.0, 101)
    mean, square, low, high = sparse_block_moments(csr_array(A), weight)
    assert_allclose(mean, np.average(A, axis=0, weights=weight))
    assert_allclose(square, weight @ (A - mean) ** 2, rtol=1e-11)
    assert_array_equal([low, high], [A.min(axis=0), A.max(axis=0)])


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_indices_may_be_of_either_size(rng, dtype):
    X, Y = Sparse.rows(rng, 101, 9), rng.normal(size=(101, 2))
    A, at, order = csr_array(X), iterate(9, 2, average=False), rng.permutation(101)[:90]
    A.indices, A.indptr = A.indices.astype(dtype), A.indptr.astype(dtype)
    assert A.indices.dtype == dtype
    standardization = standardization_of(X, Y)
    got = SPARSE.gradient(problem(A, Y, standardization=standardization), order, at.W, at.b)
    want = REFERENCE.gradient(problem(X, Y, standardization=standardization), order, at.W, at.b)
    for a, b in zip(got, want, strict=True):
        assert_allclose(a, b, rtol=1e-10, atol=1e-8)
