"""Statistics, change of variables and safe step against direct computation."""

import numpy as np
import pytest
from scipy.sparse import csr_array

from sk_gdlinear._conditioning import (
    EIGENVALUE_MARGIN,
    Conditioning,
    Moments,
    column_moments,
    curvature,
    max_eigenvalue,
    max_row_norm,
    median,
    safe_step,
    weighted_rows,
)
from sk_gdlinear._rows import SEGMENT_ROWS, Data


def moments(X, weight=None, chunks=1):
    result = Moments.empty(X.shape[1])
    for rows in np.array_split(np.arange(len(X)), chunks):
        result.add(np.ascontiguousarray(X), rows.astype(np.intp), weight)
    return result


@pytest.fixture(params=["compiled", "arrays"])
def engine(request, monkeypatch):
    """Statistics by the compiled kernel, where it was built, and by array operations."""
    if request.param == "arrays":
        monkeypatch.setattr("sk_gdlinear._conditioning.kernel_for", lambda X: None)


@pytest.mark.parametrize("chunks", [1, 3, 40])
@pytest.mark.parametrize("weighted", [False, True])
def test_moments_equal_numpys(chunks, weighted, engine):
    rng = np.random.default_rng(0)
    X = rng.normal([0, 1e6, -3], [1, 1, 1e-3], size=(3000, 3))
    weight = rng.uniform(0.5, 2, 3000) if weighted else None
    got = moments(X, weight, chunks)
    mean = np.average(X, axis=0, weights=weight)
    variance = np.average((X - mean) ** 2, axis=0, weights=weight)
    np.testing.assert_allclose(got.mean, mean, rtol=1e-12)
    np.testing.assert_allclose(got.square_deviation / got.count, variance, rtol=1e-9)
    np.testing.assert_array_equal(got.low, X.min(axis=0))
    np.testing.assert_array_equal(got.high, X.max(axis=0))
    np.testing.assert_allclose(got.count, 3000 if weight is None else weight.sum())


def test_spread_about_the_mean_and_about_zero():
    X = np.array([[1.0, 5.0], [3.0, 5.0], [8.0, 5.0]])
    rms, largest = moments(X).spread(centre=True)
    np.testing.assert_allclose(rms, [X[:, 0].std(), 0.0])
    np.testing.assert_allclose(largest, [4.0, 0.0])
    rms, largest = moments(X).spread(centre=False)
    np.testing.assert_allclose(rms, np.sqrt((X**2).mean(axis=0)))
    np.testing.assert_allclose(largest, [8.0, 5.0])


@pytest.mark.parametrize("weighted", [False, True])
def test_merged_moments_are_those_of_the_rows_of_both(weighted):
    rng = np.random.default_rng(0)
    X = rng.normal([0, 1e6, -3], [1, 1, 1e-3], size=(300, 3))
    weight = rng.uniform(0.5, 2, 300) if weighted else None
    parts = [moments(X[rows], None if weight is None else weight[rows]) for rows in (slice(0, 80), slice(80, 300))]
    whole, merged = moments(X, weight), parts[0].merged(parts[1])
    for name, rtol in (("count", 1e-14), ("mean", 1e-14), ("square_deviation", 1e-9), ("low", 0), ("high", 0)):
        np.testing.assert_allclose(getattr(merged, name), getattr(whole, name), rtol=rtol)


def test_merging_no_rows_changes_nothing():
    some, none = moments(np.array([[1.0], [3.0]])), Moments.empty(1)
    for merged in (some.merged(none), none.merged(some)):
        assert (merged.count, merged.mean, merged.square_deviation, merged.low, merged.high) == (
            2.0,
            2.0,
            2.0,
            1.0,
            3.0,
        )
    assert none.merged(none).count == 0.0


def test_merged_moments_of_numbers_without_squares_have_their_extremes_for_a_spread(engine):
    left, right = moments(np.array([[1e200], [3e200]])), moments(np.array([[-5e200]]))
    for merged in (left.merged(right), right.merged(left)):
        rms, largest = merged.spread(centre=True)
        mean = -1e200 / 3.0
        np.testing.assert_allclose([merged.mean, rms, largest], [[mean], [5e200 + mean], [5e200 + mean]], rtol=1e-14)


def test_numbers_without_sums_have_no_mean_and_give_no_warning(engine):
    """That they are refused is for the caller to say."""
    for values in ([1.7e308, 1.7e308], [np.inf, 1.0], [np.inf, -np.inf], [np.nan, 1.0]):
        assert not np.isfinite(moments(np.array(values)[:, None]).mean)


def test_a_copy_of_moments_stays_when_rows_are_added():
    m = moments(np.array([[1.0], [3.0]]))
    twin = m.copy()
    m.add(np.array([[100.0], [-100.0]]), np.arange(2), None)
    assert (twin.count, twin.mean, twin.square_deviation, twin.low, twin.high) == (2.0, 2.0, 2.0, 1.0, 3.0)


@pytest.mark.parametrize("size", [1e-200, 1e200])
@pytest.mark.parametrize("centre", [True, False])
def test_spread_of_numbers_without_squares_is_the_largest(centre, size, engine):
    rms, largest = moments(size * np.array([[1.0], [4.0], [4.0]])).spread(centre)
    np.testing.assert_allclose(
        [rms, largest], size * np.array([[2.0], [2.0]] if centre else [[4.0], [4.0]]), rtol=1e-14
    )


def test_a_constant_column_has_no_spread_whatever_rounding_leaves():
    m = moments(np.full((3, 1), 0.1))
    m.mean += 1e-17
    m.square_deviation += 1e-30
    assert [float(a[0]) for a in m.spread(centre=True)] == [0.0, 0.0]


def test_the_mean_of_a_constant_is_that_constant(engine):
    """Three times 0.1, summed, are more than 0.3."""
    m = moments(np.full((3, 1), 0.1))
    assert m.mean == 0.1
    assert m.merged(moments(np.full((6, 1), 0.1))).mean == 0.1


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("sparse", [False, True])
def test_array_functions_take_in_block_after_block(sparse, weighted):
    """Of 600 rows, in blocks of 256, with rows before them."""
    rng = np.random.default_rng(0)
    X = rng.normal(3.0, 1.0, size=(700, 2)).astype(np.float32) * (rng.random((700, 2)) < 0.5)
    weight = rng.uniform(0.5, 2, 700) if weighted else None
    rows, order = csr_array(X) if sparse else X, rng.permutation(700)
    m = Moments.empty(2)
    for part in (order[:100], order[100:]):
        m.count = column_moments(rows, part, weight, m.mean, m.square_deviation, m.low, m.high, m.count)
    mean = np.average(X.astype(float), axis=0, weights=weight)
    np.testing.assert_allclose(m.count, 700 if weight is None else weight.sum(), rtol=1e-13)
    np.testing.assert_allclose(m.mean, mean, rtol=1e-12)
    np.testing.assert_allclose(
        m.square_deviation / m.count, np.average((X - mean) ** 2, axis=0, weights=weight), rtol=1e-12
    )
    np.testing.assert_array_equal([m.low, m.high], [X.min(axis=0), X.max(axis=0)])
    s = np.ones(700) if weight is None else weight
    for scale in (2.0, 1e-3):
        norms = s * (((X - 1.0) * scale) ** 2).sum(axis=1)
        order = np.argsort(-norms)  # the first row and the last one are looked at too
        maps = np.ones(2, np.float32), np.full(2, scale, np.float32)
        for fit_intercept in (False, True):
            expected = norms + s * fit_intercept
            for rows_in_order in (order, order[::-1]):
                got = max_row_norm(rows, rows_in_order, weight, *maps, fit_intercept)
                np.testing.assert_allclose(got, expected.max(), rtol=1e-6)


def condition(X, Y, batch_size=16, fit_intercept=True, dtype=np.float64):
    return Conditioning.of(moments(X), moments(Y), batch_size, fit_intercept, dtype)


def test_scale_bounds_every_conditioned_value_by_the_root_of_the_batch_size():
    X = np.zeros((10_000, 2))
    X[17, 0] = 1.0  # a category seen once
    X[:, 1] = np.random.default_rng(0).standard_cauchy(10_000)
    Z = condition(X, X[:, :1]).rows(X)
    assert np.abs(Z).max() <= np.sqrt(16) * (1 + 1e-12)
    np.testing.assert_allclose(np.abs(Z).max(axis=0), np.sqrt(16))


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_conditioned_weights_predict_the_same_in_the_users_units(fit_intercept):
    rng = np.random.default_rng(0)
    X, Y = rng.normal([5, -200], [0.1, 30], size=(50, 2)), rng.normal([3, 1e4], [1, 100], size=(50, 2))
    c = condition(X, Y, fit_intercept=fit_intercept)
    W, b = rng.normal(size=(2, 2)), rng.normal(size=2) * fit_intercept
    coef, intercept = c.to_user(W, b)
    expected = (c.rows(X) @ W.T + b) / c.target_inv_scale + c.target_shift
    np.testing.assert_allclose(X @ coef.T + intercept, expected, rtol=1e-12)
    back_W, back_b = c.from_user(coef, intercept)
    np.testing.assert_allclose(back_W, W, rtol=1e-11)
    np.testing.assert_allclose(back_b, b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("batch_size", [4, None])
def test_conditioning_follows_its_formula(batch_size, fit_intercept):
    rng = np.random.default_rng(0)
    X, Y = rng.standard_cauchy(size=(200, 3)) + 2.0, rng.normal(50.0, 2.0, size=(200, 2))
    c = condition(X, Y, batch_size, fit_intercept)
    centre = X.mean(axis=0) if fit_intercept else np.zeros(3)
    spread = np.sqrt(((X - centre) ** 2).mean(axis=0))
    if batch_size is not None:
        spread = np.maximum(spread, np.abs(X - centre).max(axis=0) / np.sqrt(batch_size))
    middle = Y.mean(axis=0) if fit_intercept else np.zeros(2)
    np.testing.assert_allclose(c.shift, centre, rtol=1e-12)
    np.testing.assert_allclose(c.inv_scale, 1.0 / spread, rtol=1e-12)
    np.testing.assert_allclose(c.target_shift, middle, rtol=1e-12)
    np.testing.assert_allclose(c.target_inv_scale, 1.0 / np.sqrt(((Y - middle) ** 2).mean(axis=0)), rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_conditioning_has_the_dtype_of_the_rows_and_units_where_inverses_would_overflow(dtype):
    X = np.column_stack([np.arange(4.0), np.full(4, 7.0), np.arange(4.0) * np.finfo(dtype).smallest_subnormal])
    c = condition(X, X, dtype=dtype)
    assert {a.dtype for a in c} == {np.dtype(dtype)}
    assert (c.inv_scale > 0.0).tolist() == [True, False, False]
    assert c.target_inv_scale[1:].tolist() == [1.0, 1.0]
    identity = Conditioning.identity(3, 2, dtype)
    assert [(a.dtype, a.tolist()) for a in identity] == [
        (dtype, values) for values in ([0.0] * 3, [1.0] * 3, [0.0] * 2, [1.0] * 2)
    ]


def test_columns_that_no_longer_vary_keep_their_conditioning():
    old = Conditioning(np.array([1.0, 2.0, 3.0]), np.array([0.5, 0.0, 4.0]), np.zeros(1), np.ones(1))
    new = Conditioning(np.array([5.0, 6.0, 7.0]), np.array([0.0, 0.0, 8.0]), np.full(1, 9.0), np.full(1, 10.0))
    kept = new.keeping(old)
    np.testing.assert_array_equal(kept.shift, [1.0, 6.0, 7.0])
    np.testing.assert_array_equal(kept.inv_scale, [0.5, 0.0, 8.0])
    assert (kept.target_shift, kept.target_inv_scale) == (9.0, 10.0)
    np.testing.assert_array_equal(new.growth(old), [1.0, 1.0, 0.5])
    np.testing.assert_array_equal(kept.growth(new), [1.0, 1.0, 1.0])


def test_growth_without_a_number_is_infinite():
    tiny, huge = (Conditioning(np.zeros(1), np.array([a]), np.zeros(1), np.ones(1)) for a in (1e-300, 1e300))
    assert tiny.growth(huge) == np.inf and huge.growth(tiny) == 0.0


def test_coefficient_of_a_column_without_scale_goes_into_the_intercept():
    c = Conditioning(
        np.array([3.0, 5.0], "f4"), np.array([0.5, 0.0], "f4"), np.full(1, 7.0, "f4"), np.full(1, 2.0, "f4")
    )
    W, b = c.from_user(np.array([[1.5, 100.0]]), np.array([0.25]))
    np.testing.assert_array_equal(W, [[1.5 * 2.0 * 2.0, 0.0]])
    np.testing.assert_array_equal(b, [(0.25 - 7.0 + 1.5 * 3.0 + 100.0 * 5.0) * 2.0])
    assert W.dtype == b.dtype == np.float32


def test_weights_from_the_user_lie_in_memory_as_the_kernels_read_them():
    coef = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    W, b = Conditioning.identity(3, 2, np.float64).from_user(coef, np.zeros(2))
    assert W.flags.c_contiguous and b.flags.c_contiguous


def test_intercept_makes_good_what_rounding_the_coefficients_shifts():
    """float32 knows a coefficient to 6e-8, which an offset of 1e6 makes 6e-2; the prediction at the centre stays."""
    c = Conditioning(np.full(1, 1e6, "f4"), np.full(1, 0.3, "f4"), np.full(1, 2.0, "f4"), np.full(1, 1.7, "f4"))
    coef, intercept = c.to_user(np.full((1, 1), 0.7, "f4"), np.full(1, 0.1, "f4"))
    assert coef.dtype == np.float32 and intercept.dtype == np.float64
    at_centre = float(coef[0, 0]) * 1e6 + intercept[0]
    np.testing.assert_allclose(at_centre, np.float64(np.float32(0.1)) / np.float32(1.7).astype(float) + 2.0, rtol=1e-9)


def test_identity_changes_no_bit():
    rng = np.random.default_rng(0)
    X, W, b = rng.normal(size=(9, 4)), rng.normal(size=(2, 4)), rng.normal(size=2)
    c = Conditioning.identity(4, 2, np.float64)
    np.testing.assert_array_equal(c.rows(X), X)
    for got, want in zip((*c.to_user(W, b), *c.from_user(W, b)), (W, b, W, b), strict=True):
        np.testing.assert_array_equal(got, want)


def test_constant_column_gets_coefficient_zero():
    X = np.column_stack([np.full(20, 0.1), np.arange(20.0)])
    c = condition(X, X[:, 1:])
    assert c.inv_scale[0] == 0.0
    assert c.to_user(np.ones((1, 2)), np.zeros(1))[0][0, 0] == 0.0


@pytest.mark.parametrize("shape", [(30, 5), (5, 30), (400, 300)])
@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_max_eigenvalue_is_that_of_the_augmented_second_moments(shape, fit_intercept, weighted):
    rng = np.random.default_rng(0)
    X = rng.normal(size=shape) * rng.uniform(0.2, 2, shape[1])
    weight = rng.uniform(0.2, 2, shape[0]) if weighted else None
    plain = Conditioning.identity(shape[1], 1, np.float64)
    Z = np.column_stack([X, np.ones(len(X))]) if fit_intercept else X
    s = np.ones(len(X)) if weight is None else weight
    exact = np.linalg.eigvalsh((Z * s[:, None]).T @ Z / len(Z))[-1]
    A = weighted_rows(Data(X, X[:, :1], weight), np.arange(len(X)), plain, fit_intercept)
    # Where both sides are large the power iteration may stop some percent below: the step's margin and the guard
    # allow for it.
    rtol = 1e-10 if min(shape) < 200 else 0.1
    np.testing.assert_allclose(max_eigenvalue(A), exact, rtol=rtol)


@pytest.mark.parametrize("shuffle", [True, False])
def test_rows_in_their_own_order_are_as_steep_as_their_steepest_stretch(shuffle):
    X = np.zeros((3 * SEGMENT_ROWS, 2))
    X[:SEGMENT_ROWS, 0] = 1.0
    X[SEGMENT_ROWS:, 1] = np.tile([1.0, -1.0], SEGMENT_ROWS)
    _, top = curvature(Data(X, X[:, :1]), Conditioning.identity(2, 1, np.float64), False, shuffle)
    np.testing.assert_allclose(top, EIGENVALUE_MARGIN * (2 / 3 if shuffle else 1.0), rtol=1e-2)


@pytest.mark.parametrize("sparse", [True, False])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("weighted", [True, False])
def test_weighted_rows_are_conditioned_and_times_the_roots_of_their_weights(weighted, fit_intercept, sparse):
    rng = np.random.default_rng(0)
    X, weight = rng.normal(2.0, 3.0, size=(600, 2)), rng.uniform(0.2, 2.0, 600) if weighted else None
    c, rows = condition(X, X[:, :1], fit_intercept=fit_intercept), rng.permutation(600)[:550]
    A = weighted_rows(Data(csr_array(X) if sparse else X, X[:, :1], weight), rows, c, fit_intercept)
    Z = (X[rows] - c.shift) * c.inv_scale
    Z = np.column_stack([Z, np.ones(550)]) if fit_intercept else Z
    Z = Z if weight is None else Z * np.sqrt(weight[rows])[:, None]
    np.testing.assert_allclose(A @ np.eye(Z.shape[1]) if sparse else A, Z, rtol=1e-10, atol=1e-12)


def test_max_eigenvalue_of_large_sides_is_that_of_a_leading_direction():
    """Power iteration, where a direction leads by far: exact to the 1 % at which it stops."""
    rng = np.random.default_rng(0)
    A = rng.normal(size=(400, 300)) + 3.0
    np.testing.assert_allclose(max_eigenvalue(A), np.linalg.norm(A, 2) ** 2 / 400, rtol=1e-3)


def test_long_rows_are_sampled_for_the_eigenvalue_as_few_as_512(monkeypatch):
    counts = []

    def counted(A):
        counts.append(len(A))
        return 1.0

    monkeypatch.setattr("sk_gdlinear._conditioning.max_eigenvalue", counted)
    for shape, shuffle in (((3_000, 4), True), ((3_000, 1_000), True), ((600, 4_000), True), ((3_000, 1_000), False)):
        X = np.ones(shape)
        curvature(Data(X, X[:, :1]), Conditioning.identity(shape[1], 1, np.float64), False, shuffle)
    assert counts == [2048, 1048, 512, 1048]


def test_curvature_takes_the_largest_weighted_row_norm(engine):
    rng = np.random.default_rng(0)
    X, weight = rng.normal(size=(40, 3)), rng.uniform(0, 3, 40)
    c = condition(X, X[:, :1])
    beta, _ = curvature(Data(X, X[:, :1], weight), c, True, True)
    np.testing.assert_allclose(beta, (weight * ((c.rows(X) ** 2).sum(axis=1) + 1)).max(), rtol=1e-12)


@pytest.mark.parametrize("preconditioned", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_safe_step_minimises_the_batch_objective_along_its_direction(weighted, preconditioned):
    rng = np.random.default_rng(0)
    Z, Y, W, b = rng.normal(size=(8, 3)), rng.normal(size=(8, 2)), rng.normal(size=(2, 3)), rng.normal(size=2)
    weight = rng.uniform(0.1, 3, 8) if weighted else None
    s = np.ones(8) if weight is None else weight
    E = Z @ W.T + b - Y
    grad_W, grad_b = (s[:, None] * E).T @ Z / 8, (s[:, None] * E).sum(axis=0) / 8
    along_W = grad_W @ np.array([[3.0, 1.0, 0.0], [1.0, 2.0, 0.0], [0.0, 0.0, 0.1]]) if preconditioned else grad_W

    def objective(eta):
        return (s[:, None] * (Z @ (W - eta * along_W).T + b - eta * grad_b - Y) ** 2).sum()

    best = safe_step(Z, grad_W, grad_b, along_W, weight)
    slope = (objective(best + 1e-5) - objective(best - 1e-5)) / 2e-5
    assert abs(slope) < 1e-6 * objective(0.0)
    assert objective(best) < objective(0.0)


def test_safe_step_of_no_gradient_or_of_rows_of_zeros_is_zero():
    assert safe_step(np.ones((2, 1)), np.zeros((1, 1)), np.zeros(1), np.zeros((1, 1)), None) == 0.0
    assert safe_step(np.zeros((2, 1)), np.ones((1, 1)), np.zeros(1), np.ones((1, 1)), None) == 0.0


def test_safe_step_of_float32_is_computed_in_float64():
    Z, grad_W, grad_b = np.full((2, 1), 1e15, "f4"), np.full((1, 1), 1e20, "f4"), np.zeros(1, "f4")
    np.testing.assert_allclose(safe_step(Z, grad_W, grad_b, grad_W, None), 1e-30, rtol=1e-6)
    np.testing.assert_allclose(safe_step(Z, 0 * grad_W, grad_b + np.float32(1e25), 0 * grad_W, None), 1.0, rtol=1e-6)


def test_safe_step_of_numbers_out_of_range_is_zero():
    with np.errstate(over="ignore"):
        assert (
            safe_step(np.full((2, 1), 1e200), np.full((1, 1), 1e200), np.zeros(1), np.full((1, 1), 1e200), None) == 0.0
        )


def test_weighted_median_is_that_of_repeated_rows():
    rng = np.random.default_rng(0)
    A, weight = rng.normal(size=(31, 3)), rng.integers(0, 4, 31)
    repeated = np.repeat(A, weight, axis=0)
    np.testing.assert_array_equal(median(A, weight / weight.mean()), median(repeated, None))
    np.testing.assert_array_equal(median(A, None), np.median(A, axis=0))


@pytest.mark.parametrize("n", range(2, 40, 2))
def test_median_of_an_even_number_of_rows_is_the_lower_middle_also_where_sums_of_weights_are_rounded(n):
    A = np.random.default_rng(n).permutation(n).astype(float)[:, None]
    for weight in (None, np.full(n, 0.1), np.full(n, 1.0 / 3.0, dtype=np.float32)):
        assert median(A, weight) == n // 2 - 1
