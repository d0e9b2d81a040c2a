"""The change of variables against its formula, and standardized rows against arrays."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy.sparse import csr_array

from builders import standardization_of
from sk_gdlinear._data import standardize
from sk_gdlinear._data.rows import Rows
from sk_gdlinear._data.standardize import Standardization, StandardizedRows, weighted_rows
from sk_gdlinear._descent.backend import DENSE, REFERENCE, SPARSE

# --- the change of variables -----------------------------------------------------------------------------------------


def test_scale_bounds_every_standardized_value_by_the_root_of_the_batch_size():
    X = np.zeros((10_000, 2))
    X[17, 0] = 1.0  # a category seen once
    X[:, 1] = np.random.default_rng(0).standard_cauchy(10_000)
    Z = standardization_of(X, X[:, :1], batch_size=16).rows(X)
    assert np.abs(Z).max() <= np.sqrt(16) * (1 + 1e-12)
    np.testing.assert_allclose(np.abs(Z).max(axis=0), np.sqrt(16))


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_standardized_coefficients_predict_the_same_in_the_users_units(fit_intercept):
    rng = np.random.default_rng(0)
    X, Y = rng.normal([5, -200], [0.1, 30], size=(50, 2)), rng.normal([3, 1e4], [1, 100], size=(50, 2))
    s = standardization_of(X, Y, fit_intercept=fit_intercept)
    W, b = rng.normal(size=(2, 2)), rng.normal(size=2) * fit_intercept
    coef, intercept = s.to_user(W, b)
    expected = (s.rows(X) @ W.T + b) / s.target_inv_scale + s.target_shift
    np.testing.assert_allclose(X @ coef.T + intercept, expected, rtol=1e-12)
    np.testing.assert_allclose(s.targets(Y) / s.target_inv_scale + s.target_shift, Y, rtol=1e-12)
    back_W, back_b = s.from_user(coef, intercept)
    np.testing.assert_allclose(back_W, W, rtol=1e-11)
    np.testing.assert_allclose(back_b, b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("batch_size", [4, None])
def test_standardization_follows_its_formula(batch_size, fit_intercept):
    rng = np.random.default_rng(0)
    X, Y = rng.standard_cauchy(size=(200, 3)) + 2.0, rng.normal(50.0, 2.0, size=(200, 2))
    s = standardization_of(X, Y, batch_size, fit_intercept)
    centre = X.mean(axis=0) if fit_intercept else np.zeros(3)
    spread = np.sqrt(((X - centre) ** 2).mean(axis=0))
    if batch_size is not None:
        spread = np.maximum(spread, np.abs(X - centre).max(axis=0) / np.sqrt(batch_size))
    middle = Y.mean(axis=0) if fit_intercept else np.zeros(2)
    np.testing.assert_allclose(s.shift, centre, rtol=1e-12)
    np.testing.assert_allclose(s.inv_scale, 1.0 / spread, rtol=1e-12)
    np.testing.assert_allclose(s.target_shift, middle, rtol=1e-12)
    np.testing.assert_allclose(s.unit, np.sqrt(((Y - middle) ** 2).mean(axis=0)), rtol=1e-12)
    np.testing.assert_array_equal(s.unit, 1.0 / s.target_inv_scale)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_standardization_has_the_dtype_of_the_rows_and_unit_scales_where_inverses_would_overflow(dtype):
    X = np.column_stack([np.arange(4.0), np.full(4, 7.0), np.arange(4.0) * np.finfo(dtype).smallest_subnormal])
    X = X.astype(dtype)
    s = standardization_of(X, X, batch_size=16)
    assert {a.dtype for a in s} == {np.dtype(dtype)}
    assert (s.inv_scale > 0.0).tolist() == [True, False, False]
    assert s.target_inv_scale[1:].tolist() == [1.0, 1.0]
    identity = Standardization.identity(3, 2, dtype)
    assert [(a.dtype, a.tolist()) for a in identity] == [
        (dtype, values) for values in ([0.0] * 3, [1.0] * 3, [0.0] * 2, [1.0] * 2)
    ]


def test_columns_that_no_longer_vary_keep_their_standardization():
    old = Standardization(np.array([1.0, 2.0, 3.0]), np.array([0.5, 0.0, 4.0]), np.zeros(1), np.ones(1))
    new = Standardization(np.array([5.0, 6.0, 7.0]), np.array([0.0, 0.0, 8.0]), np.full(1, 9.0), np.full(1, 10.0))
    kept = new.keeping(old)
    np.testing.assert_array_equal(kept.shift, [1.0, 6.0, 7.0])
    np.testing.assert_array_equal(kept.inv_scale, [0.5, 0.0, 8.0])
    assert (kept.target_shift, kept.target_inv_scale) == (9.0, 10.0)
    np.testing.assert_array_equal(new.growth(old), [1.0, 1.0, 0.5])
    np.testing.assert_array_equal(kept.growth(new), [1.0, 1.0, 1.0])


def test_growth_that_overflows_is_infinite():
    tiny, huge = (Standardization(np.zeros(1), np.array([a]), np.zeros(1), np.ones(1)) for a in (1e-300, 1e300))
    assert tiny.growth(huge) == np.inf and huge.growth(tiny) == 0.0


def test_coefficient_of_a_column_without_scale_goes_into_the_intercept():
    s = Standardization(
        np.array([3.0, 5.0], "f4"), np.array([0.5, 0.0], "f4"), np.full(1, 7.0, "f4"), np.full(1, 2.0, "f4")
    )
    W, b = s.from_user(np.array([[1.5, 100.0]]), np.array([0.25]))
    np.testing.assert_array_equal(W, [[1.5 * 2.0 * 2.0, 0.0]])
    np.testing.assert_array_equal(b, [(0.25 - 7.0 + 1.5 * 3.0 + 100.0 * 5.0) * 2.0])
    assert W.dtype == b.dtype == np.float32


def test_coefficients_from_the_user_lie_in_memory_as_the_kernels_read_them():
    coef = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    W, b = Standardization.identity(3, 2, np.float64).from_user(coef, np.zeros(2))
    assert W.flags.c_contiguous and b.flags.c_contiguous


def test_intercept_makes_good_what_rounding_the_coefficients_shifts():
    """float32 holds a coefficient to 6e-8, which an offset of 1e6 makes 6e-2; the prediction at the centre stays."""
    s = Standardization(np.full(1, 1e6, "f4"), np.full(1, 0.3, "f4"), np.full(1, 2.0, "f4"), np.full(1, 1.7, "f4"))
    coef, intercept = s.to_user(np.full((1, 1), 0.7, "f4"), np.full(1, 0.1, "f4"))
    assert coef.dtype == np.float32 and intercept.dtype == np.float64
    at_centre = float(coef[0, 0]) * 1e6 + intercept[0]
    np.testing.assert_allclose(at_centre, np.float64(np.float32(0.1)) / np.float32(1.7).astype(float) + 2.0, rtol=1e-9)


def test_identity_changes_no_bit():
    rng = np.random.default_rng(0)
    X, W, b = rng.normal(size=(9, 4)), rng.normal(size=(2, 4)), rng.normal(size=2)
    s = Standardization.identity(4, 2, np.float64)
    np.testing.assert_array_equal(s.rows(X), X)
    for got, want in zip((*s.to_user(W, b), *s.from_user(W, b)), (W, b, W, b), strict=True):
        np.testing.assert_array_equal(got, want)


def test_constant_column_gets_coefficient_zero():
    X = np.column_stack([np.full(20, 0.1), np.arange(20.0)])
    s = standardization_of(X, X[:, 1:])
    assert s.inv_scale[0] == 0.0
    assert s.to_user(np.ones((1, 2)), np.zeros(1))[0][0, 0] == 0.0


# --- standardized rows -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(40, 5), (5, 40)])
def test_sparse_standardized_rows_multiply_like_an_array(shape):
    """Also where a column has an entry in every row and an offset of 1e6 times its spread."""
    rng = np.random.default_rng(0)
    n, d = shape
    X = rng.normal(size=shape) * (rng.random(shape) < 0.4)
    X[:, 1] = 1e6 + rng.normal(size=n)
    shift, inv_scale = X.mean(axis=0), 1.0 / np.where(X.std(axis=0) > 0.0, X.std(axis=0), 1.0)
    Z, got = (X - shift) * inv_scale, StandardizedRows.of(csr_array(X), shift, inv_scale)
    W, v, factor = rng.normal(size=(d, 2)), rng.normal(size=(3, n)), rng.uniform(0.5, 2.0, n)
    assert (got.shape, len(got)) == (shape, n)
    np.testing.assert_allclose(got @ W, Z @ W, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(v @ got, v @ Z, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(got.toarray(), Z, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(got.square_norms(), (Z**2).sum(axis=1), rtol=1e-9)
    np.testing.assert_allclose(got.gram(), Z.T @ Z if n >= d else Z @ Z.T, rtol=1e-8, atol=1e-8)
    weighted = got.with_column_of_ones().times(factor)
    expected = np.column_stack([Z, np.ones(n)]) * factor[:, None]
    np.testing.assert_allclose(weighted.toarray(), expected, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(weighted.square_norms(), (expected**2).sum(axis=1), rtol=1e-9)


@pytest.mark.parametrize("sparse", [True, False])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("weighted", [True, False])
def test_weighted_rows_are_standardized_and_times_the_roots_of_their_weights(weighted, fit_intercept, sparse):
    rng = np.random.default_rng(0)
    X, weight = rng.normal(2.0, 3.0, size=(600, 2)), rng.uniform(0.2, 2.0, 600) if weighted else None
    s = standardization_of(X, X[:, :1], 16, fit_intercept)
    order = rng.permutation(600)[:550]
    A = weighted_rows(Rows(csr_array(X) if sparse else X, X[:, :1], weight), order, s, fit_intercept)
    Z = (X[order] - s.shift) * s.inv_scale
    Z = np.column_stack([Z, np.ones(550)]) if fit_intercept else Z
    Z = Z if weight is None else Z * np.sqrt(weight[order])[:, None]
    np.testing.assert_allclose(A @ np.eye(Z.shape[1]) if sparse else A, Z, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("scale", [2.0, 1e-3])
@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("compiled", [False, True])
def test_the_largest_row_norm_is_that_of_all_rows_wherever_it_is(compiled, sparse, weighted, fit_intercept, scale):
    """In the first row of the order, and in the last, of three blocks."""
    rng = np.random.default_rng(0)
    X = rng.normal(3.0, 1.0, size=(700, 2)).astype(np.float32) * (rng.random((700, 2)) < 0.5)
    weight = rng.uniform(0.5, 2, 700).astype(np.float32) if weighted else None
    s = np.ones(700) if weight is None else weight.astype(float)
    norms = s * (((X.astype(float) - 1.0) * scale) ** 2).sum(axis=1) + s * fit_intercept
    ones = np.ones(1, np.float32)
    standardization = Standardization(np.ones(2, np.float32), np.full(2, scale, np.float32), 0 * ones, ones)
    rows = Rows(csr_array(X) if sparse else X, X[:, :1], weight)
    backend = (SPARSE if sparse else DENSE) if compiled else REFERENCE
    order = np.argsort(-norms)
    for places in (order, order[::-1]):
        got = backend.max_row_norm(rows, np.ascontiguousarray(places), standardization, fit_intercept)
        np.testing.assert_allclose(got, norms.max(), rtol=1e-6)


# --- rows in float64 -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [None, np.array([4, 0, 2])], ids=["all columns", "some"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("d", [5, 40])
def test_rows_are_standardized_in_float64_by_either_implementation(rng, d, dtype, columns):
    """Bit by bit as NumPy does it on the chosen rows; into a part of a larger array, whose rest stays as it was."""
    X = (1e3 + rng.normal(size=(700, d))).astype(dtype)
    order = rng.permutation(700)[:600]
    used = np.arange(d) if columns is None else columns
    shift, inv_scale = X.mean(axis=0, dtype=np.float64)[used], rng.uniform(0.5, 2.0, len(used))
    want = (X[order][:, used].astype(np.float64) - shift) * inv_scale
    for implementation in {standardize._standardized_rows, standardize.standardized_rows}:
        Z = np.full((600, len(used) + 1), 7.0)
        implementation(X, order, columns, shift, inv_scale, Z[:, :-1])
        assert_array_equal(Z[:, :-1], want)
        assert (Z[:, -1] == 7.0).all()


@pytest.mark.skipif(standardize.dense is None, reason="the kernels are not built")
@pytest.mark.parametrize("wrong", ["rows", "columns", "maps", "order of the numbers"])
def test_compiled_rows_refuse_memory_of_another_shape(rng, wrong):
    X, order, Z, maps = rng.normal(size=(9, 3)), np.arange(4), np.empty((4, 3)), [np.zeros(3), np.ones(3)]
    Z = {"rows": Z[:3], "columns": Z[:, :2], "order of the numbers": np.empty((3, 4)).T}.get(wrong, Z)
    maps = [np.zeros(2), np.ones(3)] if wrong == "maps" else maps
    with pytest.raises(ValueError, match="shape of the standardized rows"):
        standardize.dense.standardized_rows(X, order, None, *maps, Z)
