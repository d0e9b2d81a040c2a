"""The order of an epoch: a permutation, new each time, whose neighbours are as good as independent."""

import numpy as np
import pytest

from sk_gdlinear._rows import FULL_SHUFFLE_ROWS, RUN_ROWS, Data, shuffled

LENGTHS = [1, 10, FULL_SHUFFLE_ROWS, FULL_SHUFFLE_ROWS + 1, 50_000, 1 << 17, 123_457]


def data(n, index=None):
    return Data(np.zeros((n, 1)), np.zeros((n, 1)), None, index)


@pytest.mark.parametrize("n", LENGTHS)
def test_order_holds_each_row_once(n):
    np.testing.assert_array_equal(np.sort(shuffled(data(n), np.random.default_rng(0))), np.arange(n))


@pytest.mark.parametrize("n", LENGTHS)
def test_order_holds_only_the_rows_that_count(n):
    index = np.flatnonzero(np.arange(n) % 3 == 0)
    np.testing.assert_array_equal(np.sort(shuffled(data(n, index), np.random.default_rng(0))), index)


@pytest.mark.parametrize("n", LENGTHS[2:])
def test_orders_differ_and_follow_the_seed(n):
    first, again = np.random.default_rng(0), np.random.default_rng(0)
    one, two = shuffled(data(n), first), shuffled(data(n), first)
    assert not np.array_equal(one, two)
    np.testing.assert_array_equal(shuffled(data(n), again), one)
    np.testing.assert_array_equal(shuffled(data(n), again), two)


@pytest.mark.parametrize("n", [50_000, 123_457])
def test_batches_of_long_data_are_as_good_as_random_samples(n):
    # The mean row number of a batch of 32 must spread as that of random samples does, within 5 %; batches of whole
    # runs would spread sqrt(RUN_ROWS) = 4 times as much. Many orders, since the batches of a window share its runs.
    rng = np.random.default_rng(0)
    orders = np.stack([shuffled(data(n), rng) for _ in range(30)])
    means = orders[:, : n // 32 * 32].reshape(-1, 32).mean(axis=1)
    assert RUN_ROWS == 16
    np.testing.assert_allclose(means.std(), n / np.sqrt(12 * 32), rtol=0.05)


@pytest.mark.parametrize("n", [50_000, 123_457])
def test_no_place_of_the_order_favours_any_part_of_long_data(n):
    # Rows at the end of an order weigh most in the average, so the ends of the data must not gather there.
    rng = np.random.default_rng(0)
    orders = np.stack([shuffled(data(n), rng) for _ in range(60)])
    for place in np.array_split(orders, n // 1000, axis=1):
        np.testing.assert_allclose(place.mean(), n / 2, rtol=0.05)


@pytest.mark.parametrize("period", [2, 16, 24])
def test_batches_of_periodic_data_are_mixed(period):
    order = shuffled(data(100_000), np.random.default_rng(0))
    phase = np.cos(2 * np.pi * order / period)
    means = phase[: len(order) // 32 * 32].reshape(-1, 32).mean(axis=1)
    np.testing.assert_allclose(means.std(), phase.std() / np.sqrt(32), rtol=0.15)
