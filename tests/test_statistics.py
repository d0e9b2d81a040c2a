"""Moments of the columns, those of a stream, and the weighted median, against direct computation."""

import numpy as np
import pytest
from scipy.sparse import csr_array

from sk_gdlinear._data.statistics import SHORTEST_GENERATION, Moments, StreamStatistics
from sk_gdlinear._descent.backend import DENSE, REFERENCE, SPARSE
from sk_gdlinear._objective.evaluate import weighted_median


@pytest.fixture(params=[REFERENCE, DENSE], ids=["reference", "compiled"])
def backend(request):
    """The reference implementation and the compiled kernel, which is the reference where it was never built."""
    return request.param


def moments(X, weight=None, chunks=1, backend=REFERENCE):
    result = Moments.empty(X.shape[1])
    for order in np.array_split(np.arange(X.shape[0], dtype=np.intp), chunks):
        result.add(backend, X, order, weight)
    return result


# --- moments ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunks", [1, 3, 40])
@pytest.mark.parametrize("weighted", [False, True])
def test_moments_equal_numpys(chunks, weighted, backend):
    rng = np.random.default_rng(0)
    X = rng.normal([0, 1e6, -3], [1, 1, 1e-3], size=(3000, 3))
    weight = rng.uniform(0.5, 2, 3000) if weighted else None
    got = moments(X, weight, chunks, backend)
    mean = np.average(X, axis=0, weights=weight)
    variance = np.average((X - mean) ** 2, axis=0, weights=weight)
    np.testing.assert_allclose(got.mean, mean, rtol=1e-12)
    np.testing.assert_allclose(got.square_deviation / got.count, variance, rtol=1e-9)
    np.testing.assert_array_equal(got.low, X.min(axis=0))
    np.testing.assert_array_equal(got.high, X.max(axis=0))
    np.testing.assert_allclose(got.count, 3000 if weight is None else weight.sum())


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("compiled", [False, True])
def test_float32_rows_are_added_block_after_block(compiled, sparse, weighted):
    """600 rows in blocks of 256, with 100 rows before them."""
    rng = np.random.default_rng(0)
    X = rng.normal(3.0, 1.0, size=(700, 2)).astype(np.float32) * (rng.random((700, 2)) < 0.5)
    weight = rng.uniform(0.5, 2, 700).astype(np.float32) if weighted else None
    backend = (SPARSE if sparse else DENSE) if compiled else REFERENCE
    order, m = rng.permutation(700), Moments.empty(2)
    for part in (order[:100], order[100:]):
        m.add(backend, csr_array(X) if sparse else X, part, weight)
    X, s = X.astype(float), np.ones(700) if weight is None else weight.astype(float)
    mean = np.average(X, axis=0, weights=s)
    np.testing.assert_allclose(m.count, s.sum(), rtol=1e-13)
    np.testing.assert_allclose(m.mean, mean, rtol=1e-12)
    variance = np.average((X - mean) ** 2, axis=0, weights=s)
    np.testing.assert_allclose(m.square_deviation / m.count, variance, rtol=1e-12)
    np.testing.assert_array_equal([m.low, m.high], [X.min(axis=0), X.max(axis=0)])


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


def values_of(m):
    """The statistics of a single column as numbers."""
    return [float(np.squeeze(value)) for value in (m.count, m.mean, m.square_deviation, m.low, m.high)]


def test_merging_no_rows_changes_nothing():
    some, none = moments(np.array([[1.0], [3.0]])), Moments.empty(1)
    for merged in (some.merged(none), none.merged(some)):
        assert values_of(merged) == [2.0, 2.0, 2.0, 1.0, 3.0]
    assert none.merged(none).count == 0.0


def test_merged_moments_of_numbers_whose_squares_overflow_have_their_extremes_for_a_spread(backend):
    left, right = (moments(np.array(rows), backend=backend) for rows in ([[1e200], [3e200]], [[-5e200]]))
    for merged in (left.merged(right), right.merged(left)):
        rms, largest = merged.spread(centre=True)
        mean = -1e200 / 3.0
        np.testing.assert_allclose([merged.mean, rms, largest], [[mean], [5e200 + mean], [5e200 + mean]], rtol=1e-14)


def test_numbers_whose_sum_overflows_have_no_finite_mean_and_give_no_warning(backend):
    """To refuse them is up to the caller."""
    for values in ([1.7e308, 1.7e308], [np.inf, 1.0], [np.inf, -np.inf], [np.nan, 1.0]):
        assert not np.isfinite(moments(np.array(values)[:, None], backend=backend).mean)


def test_a_copy_of_moments_stays_when_rows_are_added():
    m = moments(np.array([[1.0], [3.0]]))
    twin = m.copy()
    m.add(REFERENCE, np.array([[100.0], [-100.0]]), np.arange(2), None)
    assert values_of(twin) == [2.0, 2.0, 2.0, 1.0, 3.0]


@pytest.mark.parametrize("size", [1e-200, 1e200])
@pytest.mark.parametrize("centre", [True, False])
def test_spread_of_numbers_whose_squares_are_out_of_range_is_the_largest(centre, size, backend):
    rms, largest = moments(size * np.array([[1.0], [4.0], [4.0]]), backend=backend).spread(centre)
    expected = [[2.0], [2.0]] if centre else [[4.0], [4.0]]
    np.testing.assert_allclose([rms, largest], size * np.array(expected), rtol=1e-14)


def test_a_constant_column_has_no_spread_whatever_rounding_leaves():
    m = moments(np.full((3, 1), 0.1))
    m.mean += 1e-17
    m.square_deviation += 1e-30
    assert [float(a[0]) for a in m.spread(centre=True)] == [0.0, 0.0]


def test_the_mean_of_a_constant_is_that_constant(backend):
    """Three times 0.1, summed, is more than 0.3."""
    m = moments(np.full((3, 1), 0.1), backend=backend)
    assert m.mean == 0.1
    assert m.merged(moments(np.full((6, 1), 0.1), backend=backend)).mean == 0.1


# --- statistics of a stream ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weighted", [False, True])
def test_statistics_of_one_chunk_are_those_of_its_rows_of_non_zero_weight(weighted, backend):
    rng = np.random.default_rng(0)
    X, Y = rng.normal(3.0, 1.0, size=(200, 2)), rng.normal(size=(200, 1))
    weight = rng.integers(0, 3, 200).astype(float) if weighted else None
    statistics = StreamStatistics.empty(2, 1, standardize=True)
    rows = statistics.add(backend, X, Y, weight)
    s = np.ones(200) if weight is None else weight
    for got, A in ((statistics.recent_features, X), (statistics.recent_targets, Y)):
        np.testing.assert_allclose(got.mean, np.average(A, axis=0, weights=s), rtol=1e-12)
        np.testing.assert_array_equal([got.low, got.high], [A[s > 0].min(axis=0), A[s > 0].max(axis=0)])
    assert (statistics.n_rows, statistics.weight_sum) == (np.count_nonzero(s), s.sum())
    assert rows.n_rows == np.count_nonzero(s)
    np.testing.assert_allclose(rows.total_weight, rows.n_rows, rtol=1e-12)  # weights are over their mean


def test_weights_of_a_chunk_are_over_the_mean_weight_of_all_rows_so_far():
    X, statistics = np.ones((10, 1)), StreamStatistics.empty(1, 1, standardize=True)
    assert statistics.add(REFERENCE, X, X, None).weight is None
    np.testing.assert_allclose(statistics.add(REFERENCE, X, X, np.full(10, 3.0)).weight, 3.0 / 2.0)
    np.testing.assert_allclose(statistics.add(REFERENCE, X, X, None).weight, 1.0 / (50.0 / 30.0))


def test_a_stream_forgets_an_outlier_when_twice_as_many_rows_have_passed():
    n, statistics, rng = SHORTEST_GENERATION, StreamStatistics.empty(1, 1, standardize=True), np.random.default_rng(0)
    largest = []
    for chunk in range(6):
        X = rng.uniform(-1.0, 1.0, size=(n, 1))
        X[0] = 1e6 if chunk == 0 else X[0]
        statistics.add(REFERENCE, X, X, None)
        largest.append((float(statistics.recent_features.high[0]), float(statistics.recent_targets.high[0])))
    assert largest[0] == largest[1] == (1e6, 1e6)
    assert max(largest[-1]) <= 1.0
    assert statistics.n_rows == 6 * n


def test_without_standardizing_there_are_no_statistics_of_features():
    statistics = StreamStatistics.empty(2, 1, standardize=False)
    statistics.add(REFERENCE, np.ones((3, 2)), np.full((3, 1), 5.0), None)
    assert (statistics.features, statistics.past_features) == (None, None)
    assert statistics.recent_targets.mean == 5.0
    np.testing.assert_array_equal(statistics.mean_intercept(np.zeros((1, 2)), fit_intercept=True), [0.0])


def test_the_mean_intercept_makes_coefficients_predict_the_mean():
    rng = np.random.default_rng(0)
    X, Y, coef = rng.normal(3.0, 1.0, size=(50, 2)), rng.normal(7.0, 1.0, size=(50, 2)), rng.normal(size=(2, 2))
    statistics = StreamStatistics.empty(2, 2, standardize=True)
    statistics.add(REFERENCE, X, Y, None)
    prediction = X @ coef.T + statistics.mean_intercept(coef, fit_intercept=True)
    np.testing.assert_allclose(prediction.mean(axis=0), Y.mean(axis=0), rtol=1e-12)
    np.testing.assert_array_equal(statistics.mean_intercept(coef, fit_intercept=False), np.zeros(2))


# --- the weighted median ---------------------------------------------------------------------------------------------


def test_weighted_median_is_that_of_repeated_rows():
    rng = np.random.default_rng(0)
    A, weight = rng.normal(size=(31, 3)), rng.integers(0, 4, 31)
    repeated = np.repeat(A, weight, axis=0)
    np.testing.assert_array_equal(weighted_median(A, weight / weight.mean()), weighted_median(repeated, None))
    np.testing.assert_array_equal(weighted_median(A, None), np.median(A, axis=0))


@pytest.mark.parametrize("n", range(2, 40, 2))
def test_median_of_an_even_number_of_rows_is_the_lower_middle_also_where_sums_of_weights_are_rounded(n):
    A = np.random.default_rng(n).permutation(n).astype(float)[:, None]
    for weight in (None, np.full(n, 0.1), np.full(n, 1.0 / 3.0, dtype=np.float32)):
        assert weighted_median(A, weight) == n // 2 - 1
