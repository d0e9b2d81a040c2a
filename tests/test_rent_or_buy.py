"""Rent or buy: when the costs of epochs add up to that of the curvature, and how both grow with the data."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.sparse import csr_array

from sk_gdlinear._data.rows import Rows
from sk_gdlinear._descent.curvature import Curvature
from sk_gdlinear._descent.rent_or_buy import Costs, interior_cost, sample_cost, support_step_cost


def rows_of(n, d, k=1):
    """Rows of zeros that take no memory."""
    return Rows(np.broadcast_to(0.0, (n, d)), np.broadcast_to(0.0, (n, k)))


def epochs_before(costs):
    """Epochs after which the curvature is bought."""
    return next(n for n in range(1, 10**6) if costs.has_paid(n))


@pytest.mark.parametrize("shape", [(1, 1), (442, 10), (20_000, 1_000), (100_000, 50), (300, 4_000)])
@pytest.mark.parametrize("is_quadratic", [False, True])
@pytest.mark.parametrize("k", [1, 5])
def test_whenever_a_descent_ends_it_has_cost_at_most_twice_the_better_of_the_two_ways_and_an_epoch(
    shape, is_quadratic, k
):
    """The law of the ski rental: rent for every epoch, then the price; an epoch is paid as a whole."""
    costs = Costs.of(rows_of(*shape, k), k, is_quadratic)
    bought_after = epochs_before(costs)
    for needed in (1, bought_after - 1, bought_after, bought_after + 1, 100 * bought_after):
        paid = needed * costs.epoch if needed < bought_after else bought_after * costs.epoch + costs.curvature
        best = min(needed * costs.epoch, costs.curvature)
        assert paid <= 2.0 * best + costs.epoch * (1.0 + 1e-12)


def test_rent_is_paid_until_it_adds_up_to_the_price():
    costs = Costs(epoch=10.0, curvature=35.0)
    assert [costs.has_paid(n) for n in (0, 1, 3, 4, 5)] == [False, False, False, True, True]
    assert Costs(10.0, 30.0).has_paid(3)


def test_small_data_buys_after_one_epoch_and_wide_data_after_many():
    assert epochs_before(Costs.of(rows_of(442, 10), 1, True)) == 1
    assert epochs_before(Costs.of(rows_of(53_940, 26), 1, True)) <= 2
    assert epochs_before(Costs.of(rows_of(20_000, 1_000), 1, True)) >= 10


def test_the_price_grows_with_the_square_of_the_columns_and_the_rent_in_proportion():
    few, many = (Costs.of(rows_of(10**6, d), 1, True) for d in (500, 1_000))
    assert_allclose(many.epoch / few.epoch, 2.0, rtol=0.05)
    assert 3.5 <= many.curvature / few.curvature <= 4.2
    narrow, wide = (Costs.of(rows_of(100, d), 1, True) for d in (2_000, 4_000))
    assert 6.0 <= wide.curvature / narrow.curvature <= 8.0  # few rows: the solution takes the cube


def test_rows_count_in_proportion_in_both():
    few, many = (Costs.of(rows_of(n, 50), 1, True) for n in (10**6, 10**7))
    assert_allclose(many.epoch / few.epoch, 10.0, rtol=0.1)
    assert_allclose(many.curvature / few.curvature, 10.0, rtol=0.1)


def test_one_curvature_serves_all_targets_of_squared_errors_and_other_losses_need_one_each():
    one, squared, other = (Costs.of(rows_of(10**6, 50, k), k, q) for k, q in ((1, True), (4, True), (4, False)))
    assert_allclose(squared.epoch / one.epoch, 4.0, rtol=0.05)
    assert squared.curvature == one.curvature
    assert_allclose(other.curvature / one.curvature, 4.0, rtol=0.05)


def test_a_penalty_on_sparse_rows_costs_a_pass_over_the_columns_in_each_batch():
    rows = Rows(csr_array((1_000, 5_000)), np.zeros((1_000, 2)))
    none = Costs.of(rows, 2, True)
    few, many = (none.with_penalty(rows, 2, n_batches) for n_batches in (10, 20))
    assert many.epoch - few.epoch == few.epoch - none.epoch > 0.0
    assert few.curvature == none.curvature
    dense = rows_of(1_000, 5_000, 2)
    assert Costs.of(dense, 2, True).with_penalty(dense, 2, 10) == Costs.of(dense, 2, True)


def test_sparse_rows_cost_by_their_entries():
    rng, n = np.random.default_rng(0), 1_000
    X = np.zeros((n, 400))
    X[np.arange(n), rng.integers(0, 400, n)] = 1.0
    costs = [Costs.of(Rows(kind(X), X[:, :1]), 1, True) for kind in (csr_array, np.asarray)]
    assert costs[0].epoch < costs[1].epoch and costs[0].curvature < costs[1].curvature
    dense = np.ones((n, 400))
    costs = [Costs.of(Rows(kind(dense), X[:, :1]), 1, True) for kind in (csr_array, np.asarray)]
    assert costs[0].epoch > costs[1].epoch and costs[0].curvature > costs[1].curvature


def test_epochs_pay_for_a_sample_by_their_number():
    cheap, dear, price = Costs(1e3, 1e9), Costs(1e9, 1e9), sample_cost(2_048, 50)
    assert dear.covers(1, price) and not cheap.covers(1, price)
    assert not dear.covers(0, price)
    assert cheap.covers(10**6, price)
    several = Costs(2e6, 1e12)
    assert several.covers(2, price) and not several.covers(2, sample_cost(8_000, 4_000))


@pytest.mark.parametrize("precondition", [True, False, "auto"])
def test_a_purchase_is_never_before_the_first_epoch_unless_asked_for(precondition):
    class NotBought:
        is_bought = False

    curvature = Curvature(NotBought(), precondition, 1e-4, Costs(10.0, 0.0))
    assert curvature.begins(0) == (precondition is True)
    assert curvature.begins(1) == (precondition is not False)
    assert Curvature(NotBought(), precondition, 1e-4, Costs(10.0, 25.0)).begins(2) == (precondition is True)


def test_what_minima_of_a_samples_model_cost_is_rent():
    class Inspection:
        spent = 0.0

    curvature = Curvature(None, "auto", 1e-4, Costs(10.0, 35.0), Inspection())
    assert [curvature.is_due(n) for n in (0, 2, 3, 4)] == [False, False, False, True]
    Inspection.spent = 20.0
    assert [curvature.is_due(n) for n in (0, 1, 2)] == [False, False, True]


def test_a_minimum_by_interior_point_steps_costs_more_than_steps_over_few_variables():
    assert support_step_cost(10, False) < support_step_cost(10, True) < support_step_cost(1_000, False)
    for d in (10, 100, 1_000):
        assert 10.0 < interior_cost(d) / support_step_cost(d, False) < 200.0
        assert interior_cost(d) > 50.0 * support_step_cost(d // 10, True)
