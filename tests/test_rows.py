"""The order of an epoch: a permutation, new each time, whose neighbours are close to independent."""

import numpy as np
import pytest

from sk_gdlinear._data.order import FULL_SHUFFLE_ROWS, RUN_ROWS
from sk_gdlinear._data.rows import Rows

LENGTHS = [1, 10, FULL_SHUFFLE_ROWS, FULL_SHUFFLE_ROWS + 1, 50_000, 1 << 17, 123_457]


def order_of(n, rng, index=None, rows=1 << 16):
    return np.concatenate(list(Rows(np.zeros((n, 1)), np.zeros((n, 1)), None, index).blocks(rng, rows)))


@pytest.mark.parametrize("n", LENGTHS)
def test_order_holds_each_row_once(n):
    np.testing.assert_array_equal(np.sort(order_of(n, np.random.default_rng(0))), np.arange(n))


@pytest.mark.parametrize("n", LENGTHS)
def test_order_holds_only_the_rows_that_count(n):
    index = np.flatnonzero(np.arange(n) % 3 == 0)
    np.testing.assert_array_equal(np.sort(order_of(n, np.random.default_rng(0), index)), index)


@pytest.mark.parametrize("rng", [None, 0])
@pytest.mark.parametrize("rows", [1000, 32 * 2047, 1 << 20])
def test_blocks_hold_so_many_rows_but_for_the_last(rows, rng):
    rng = rng if rng is None else np.random.default_rng(rng)
    blocks = list(Rows(np.zeros((123_457, 1)), np.zeros((123_457, 1))).blocks(rng, rows))
    assert {len(block) for block in blocks[:-1]} <= {rows}
    np.testing.assert_array_equal(np.sort(np.concatenate(blocks)), np.arange(123_457))


@pytest.mark.parametrize("n", LENGTHS[2:])
def test_orders_differ_and_follow_the_seed(n):
    first, again = np.random.default_rng(0), np.random.default_rng(0)
    one, two = order_of(n, first), order_of(n, first)
    assert not np.array_equal(one, two)
    np.testing.assert_array_equal(order_of(n, again), one)
    np.testing.assert_array_equal(order_of(n, again), two)


@pytest.mark.parametrize("n", [50_000, 123_457])
def test_batches_of_long_data_are_as_good_as_random_samples(n):
    # The mean row number of a batch of 32 must spread as that of random samples does, within 5 %; batches of whole
    # runs would spread sqrt(RUN_ROWS) = 4 times as much. Many orders, since the batches of a window share its runs.
    rng = np.random.default_rng(0)
    orders = np.stack([order_of(n, rng) for _ in range(30)])
    means = orders[:, : n // 32 * 32].reshape(-1, 32).mean(axis=1)
    assert RUN_ROWS == 16
    np.testing.assert_allclose(means.std(), n / np.sqrt(12 * 32), rtol=0.05)


@pytest.mark.parametrize("n", [50_000, 123_457])
def test_no_place_of_the_order_favours_any_part_of_long_data(n):
    # Rows at the end of an order weigh most in the average, so the ends of the data must not gather there.
    rng = np.random.default_rng(0)
    orders = np.stack([order_of(n, rng) for _ in range(60)])
    for place in np.array_split(orders, n // 1000, axis=1):
        np.testing.assert_allclose(place.mean(), n / 2, rtol=0.05)


@pytest.mark.parametrize("period", [2, 16, 24])
def test_batches_of_periodic_data_are_mixed(period):
    order = order_of(100_000, np.random.default_rng(0))
    phase = np.cos(2 * np.pi * order / period)
    means = phase[: len(order) // 32 * 32].reshape(-1, 32).mean(axis=1)
    np.testing.assert_allclose(means.std(), phase.std() / np.sqrt(32), rtol=0.15)


@pytest.mark.parametrize("index", [None, np.flatnonzero(np.arange(100_000) % 3 == 0)])
def test_some_rows_are_distinct_and_drawn_anew_from_all_over(index):
    data, rng = Rows(np.zeros((100_000, 1)), np.zeros((100_000, 1)), None, index), np.random.default_rng(0)
    allowed = np.arange(100_000) if index is None else index
    drawn = np.zeros(100_000)
    for _ in range(200):
        rows = data.subsample(5_000, rng).kept
        assert len(np.unique(rows)) == len(rows) == 5_000 // RUN_ROWS * RUN_ROWS
        drawn[rows] += 1
    assert drawn.sum() == drawn[allowed].sum()
    tenths = [part.mean() for part in np.array_split(drawn[allowed], 10)]
    np.testing.assert_allclose(tenths, 200 * 5_000 / len(allowed), rtol=0.05)


def test_of_few_rows_some_are_all():
    data = Rows(np.zeros((100, 1)), np.zeros((100, 1)))
    assert data.subsample(100, np.random.default_rng(0)) is data
