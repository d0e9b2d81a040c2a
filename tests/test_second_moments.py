"""Second moments of rows: the laws by which they are added, taken away and rescaled, against ``numpy.cov``."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_array

from sk_gdlinear._data import second_moments as module
from sk_gdlinear._data.rows import Rows
from sk_gdlinear._data.second_moments import SecondMoments, second_moments
from sk_gdlinear._data.standardize import Standardization


def correlated(rng, n, d=4, offset=0.0):
    return rng.normal(size=(n, d)) + 2.0 * rng.normal(size=(n, 1)) + offset


def moments_of(Z, weight=None):
    """By the definition, in two passes."""
    s = np.ones(len(Z)) if weight is None else weight
    return SecondMoments(float(s.sum()), np.average(Z, axis=0, weights=s), s.sum() * covariance(Z, s))


def covariance(Z, weight=None):
    return np.cov(Z, rowvar=False, aweights=weight, bias=True)


def assert_same(got, want, rtol=1e-12):
    """Up to rounding relative to the spreads of both columns."""
    assert_allclose(got.count, want.count, rtol=rtol)
    spread = np.sqrt(np.diag(want.products))
    assert_allclose(got.mean, want.mean, rtol=rtol, atol=rtol * spread.max() / np.sqrt(want.count))
    assert_allclose(got.products, want.products, rtol=rtol, atol=rtol * np.square(spread).max())


def identity(d):
    return Standardization.identity(d, 1, np.float64)


# --- addition, subtraction, change of units --------------------------------------------------------------------------


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("sizes", [(50,), (1, 49), (7, 3, 40), (25, 0, 25)])
def test_moments_added_part_by_part_are_the_covariances_of_the_whole(rng, sizes, weighted):
    Z, weight = correlated(rng, 50, offset=3.0), rng.uniform(0.1, 5.0, 50) if weighted else None
    got, begin = SecondMoments.empty(4), 0
    for size in sizes:
        rows = slice(begin, begin + size)
        if size:
            got.add(Z[rows], None if weight is None else weight[rows])
        begin += size
    assert_same(got, moments_of(Z, weight))
    assert_allclose(got.about(centre=True), covariance(Z, weight), rtol=1e-11)
    s = np.full(50, 1 / 50) if weight is None else weight / weight.sum()
    assert_allclose(got.about(centre=False), (s[:, None] * Z).T @ Z, rtol=1e-11)


def test_the_order_and_the_pairs_in_which_parts_are_merged_do_not_matter(rng):
    a, b, c = (moments_of(correlated(rng, n, offset=m)) for n, m in ((20, 0.0), (3, 100.0), (700, -5.0)))
    left, right = a.copy(), b.copy()
    left.merge(b)
    left.merge(c)
    right.merge(c)
    right.merge(a)
    assert_same(left, right)


def test_merging_leaves_the_other_part_as_it_was(rng):
    a, b = moments_of(correlated(rng, 20)), moments_of(correlated(rng, 30))
    before = b.copy()
    a.merge(b)
    assert b.count == before.count
    assert_array_equal(b.mean, before.mean)
    assert_array_equal(b.products, before.products)
    nothing = SecondMoments.empty(4)
    a_before = a.copy()
    a.merge(nothing)
    assert_same(a, a_before, rtol=0.0)


def test_weights_times_a_factor_change_the_sums_and_not_the_mean_square(rng):
    moments = moments_of(correlated(rng, 60, offset=2.0))
    lighter = moments.times(0.25)
    assert lighter.count == 15.0
    assert_array_equal(lighter.products, 0.25 * moments.products)
    assert_allclose(lighter.about(centre=False), moments.about(centre=False), rtol=1e-15)


def test_parts_at_an_offset_of_1e8_spreads_are_merged_without_losing_their_spread(rng):
    """Sums of squares about 0 would leave none of it."""
    parts = [correlated(rng, 100) + 1e8 for _ in range(3)]
    got = SecondMoments.empty(4)
    for part in parts:
        got.merge(moments_of(part))
    Z = np.concatenate(parts) - 1e8
    assert_allclose(got.about(centre=True), covariance(Z), rtol=1e-6)


# --- rows ------------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["dense", "sparse"])
def kind(request):
    return csr_array if request.param == "sparse" else np.asarray


def standardizing(X, weight=None):
    mean, square = np.average(X, axis=0, weights=weight), np.average(np.square(X), axis=0, weights=weight)
    return Standardization(mean, 1.0 / np.sqrt(square - mean**2), np.zeros(1), np.ones(1))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("ordered", [False, True])
def test_moments_of_standardized_rows_are_their_weighted_covariances(rng, kind, monkeypatch, weighted, ordered):
    """In blocks, also where rows of weight 0 are left out, and for rows named by their numbers."""
    monkeypatch.setattr(module, "BLOCK_ROWS", 7)
    monkeypatch.setattr(module, "BLOCK_ENTRIES", 1)
    X = correlated(rng, 100) * (rng.random((100, 4)) < 0.6)
    weight = rng.integers(0, 3, 100).astype(float) if weighted else None
    order = rng.permutation(100)[:60] if ordered else None
    rows = Rows(kind(X), X[:, :1], weight, None if weight is None else np.flatnonzero(weight))
    standardization = standardizing(X)
    chosen = slice(None) if order is None else order
    want = moments_of(standardization.rows(X)[chosen], None if weight is None else weight[chosen])
    assert_same(second_moments(rows, standardization, order=order), want)


@pytest.mark.parametrize("offset", [0.0, 1e8])
def test_offsets_of_1e8_spreads_cost_as_many_digits_as_float64_has_beyond_them(rng, kind, offset):
    """The columns have an entry in every row, so that sparse rows can be centred as well."""
    X = correlated(rng, 3000) + offset
    standardization = standardizing(X - offset)
    standardization = standardization._replace(shift=standardization.shift + offset)
    rows = Rows(kind(X), X[:, :1])
    Z = (X - standardization.shift) * standardization.inv_scale  # exact up to the rounding of X itself
    assert_same(second_moments(rows, standardization), moments_of(Z))


def test_float32_rows_are_added_in_float64(rng, kind):
    """The square of 1 + 2**-20 has digits that float32 lacks."""
    X = np.ones((3, 1), dtype=np.float32) + np.float32(2.0**-20)
    moments = second_moments(Rows(kind(X), X), Standardization.identity(1, 1, np.float32))
    assert moments.products.dtype == moments.mean.dtype == np.float64
    assert_allclose(moments.about(centre=False), (1.0 + 2.0**-20) ** 2, rtol=1e-15)


def test_a_constant_column_has_no_moments(rng, kind):
    X = np.column_stack([correlated(rng, 50, 1), np.full(50, 7.0)])
    standardization = Standardization(X.mean(axis=0), np.array([1.0, 0.0]), np.zeros(1), np.ones(1))
    moments = second_moments(Rows(kind(X), X[:, :1]), standardization)
    assert_array_equal(moments.products[1], 0.0)
    assert moments.mean[1] == 0.0


@pytest.mark.parametrize("kind", [np.asarray, csr_array], ids=["dense", "sparse"])
@pytest.mark.parametrize("n_known", [0, 1, 3])
@pytest.mark.parametrize("weighted", [False, True])
def test_columns_added_one_after_the_other_have_the_moments_of_all_at_once(rng, kind, n_known, weighted):
    X = rng.normal(size=(60, 6)) + 3.0
    rows = Rows(kind(X), X, rng.uniform(0.5, 2.0, 60) if weighted else None)
    columns, standardization = np.array([4, 0, 5, 2]), identity(6)
    known = second_moments(rows, standardization, columns=columns[:n_known])
    more = second_moments(rows, standardization, columns=columns, n_last=4 - n_known)
    assert_same(known.with_columns(more), moments_of(X[:, columns], rows.weight))
