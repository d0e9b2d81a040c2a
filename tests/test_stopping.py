"""The criteria for stopping on sequences whose limit is known."""

import numpy as np
import pytest

from builders import exact_r2
from sk_gdlinear import GDLinearRegressor
from sk_gdlinear._fit.stopping import MIN_UPDATES, SETTLED_SHARE, ExtrapolatedGain, Stopping


def run(objective, tol, *, scale=1.0, patience=2, max_iter=10_000, geometric=False, monotone=False, n_updates=10**6):
    rule = Stopping(tol, patience, ExtrapolatedGain(max_iter, geometric, monotone), scale)
    for epoch in range(1, max_iter + 1):
        if rule.update(epoch, objective(epoch - 1), objective(epoch), n_updates):
            return epoch
    return None


@pytest.mark.parametrize("tol", [1e-2, 1e-4])
@pytest.mark.parametrize("power", [1, 2, 4])
def test_power_laws_stop_within_tol_of_their_limit(power, tol):
    def objective(e):
        return 0.3 + 1 / (1 + e) ** power

    epoch = run(objective, tol)
    assert objective(epoch) - 0.3 <= 1.1 * tol


@pytest.mark.parametrize("ratio", [0.5, 0.99, 0.9999])
@pytest.mark.parametrize("monotone", [True, False])
def test_slow_geometric_sequences_stop_within_tol_of_their_limit(ratio, monotone):
    def objective(e):
        return 0.3 + ratio**e

    epoch = run(objective, 1e-3, max_iter=200_000, geometric=True, monotone=monotone)
    assert objective(epoch) - 0.3 <= 1.1e-3


def test_scale_of_the_objective_changes_nothing():
    epochs = {run(lambda e, c=c: c * (0.3 + 0.9**e), 1e-4, scale=c) for c in (1e-12, 1.0, 1e12)}
    assert len(epochs) == 1


def test_patience_counts_consecutive_epochs():
    flat = [run(lambda e: 0.3, 1e-4, patience=p) for p in (1, 2, 5)]
    assert flat == [1, 2, 5]


def test_monotone_descent_stops_at_once_where_next_to_nothing_is_left():
    fast = [run(lambda e: 0.3 + 1e-3**e, 1e-4, patience=5, geometric=True, monotone=m) for m in (True, False)]
    assert fast == [3, 7]


@pytest.mark.parametrize("n_updates", [10, 10**6])
def test_a_rise_is_no_rest_for_monotone_descent(n_updates):
    def objective(e):
        return 1.0 + 0.1 * e

    assert run(objective, 1e-4, patience=5, max_iter=4, geometric=True, monotone=True, n_updates=n_updates) is None


def test_small_data_stops_once_monotone_descent_has_settled():
    epochs = run(lambda e: 0.3 + 0.1**e, 1e-4, geometric=True, monotone=True, n_updates=10)
    assert 0.1**epochs <= SETTLED_SHARE * 1e-4 < 0.1 ** (epochs - 3)


def test_columns_that_add_up_to_the_intercept_cost_no_epochs():
    """Of a category with a column for each level nothing but their sum is undetermined."""
    rng = np.random.default_rng(0)
    level = rng.integers(0, 5, 20_000)
    X = np.column_stack([level[:, None] == np.arange(5), rng.normal(size=20_000)]).astype(float)
    y = X @ [1.0, 2.0, 3.0, 4.0, 5.0, 1.0] + rng.normal(size=20_000)
    assert (
        GDLinearRegressor(random_state=0).fit(X, y).n_iter_
        <= GDLinearRegressor(random_state=0).fit(X[:, 1:], y).n_iter_ + 1
    )


@pytest.mark.parametrize("spread", [0.01, 0.02])
@pytest.mark.parametrize("data_seed", range(4))
def test_nearly_equal_columns_are_not_taken_for_converged(data_seed, spread):
    rng = np.random.default_rng(data_seed)
    a, e = rng.normal(size=(2, 20_000))
    X, y = np.column_stack([a + spread * e, a - spread * e]), e + 0.3 * rng.normal(size=20_000)
    model = GDLinearRegressor(random_state=0).fit(X, y)
    assert model.stop_reason_ == "converged"
    assert exact_r2(X, y) - model.score(X, y) <= 1e-4


@pytest.mark.parametrize(("remaining", "epoch"), [(None, 3), (2e-4, None), (9e-5, 3), (1e-5, 1)])
def test_the_newton_decrement_decides_where_it_is_known(remaining, epoch):
    """Gains that suggest an end from the second epoch on, with a patience of 2."""
    rule = Stopping(1e-4, 2, ExtrapolatedGain(1000, True, True), 1.0)
    levels = [1.0, 0.3, 0.3 - 4e-5, 0.3 - 6e-5, 0.3 - 8e-5]
    decrement = None if remaining is None else (remaining, False)
    stops = [e for e in range(1, 5) if rule.update(e, levels[e - 1], levels[e], 10**6, decrement)]
    assert stops[:1] == ([] if epoch is None else [epoch])


def test_no_tol_never_stops():
    assert run(lambda e: 0.3, None, max_iter=50) is None


def test_no_early_stop_while_updates_are_few_and_something_is_gained():
    creeping = {n: run(lambda e: 0.3 - 1e-12 * e, 1e-4, max_iter=20, n_updates=n) for n in (10, MIN_UPDATES)}
    assert creeping == {10: None, MIN_UPDATES: 2}


def test_unfinished_training_is_not_called_converged_at_the_last_epoch():
    assert run(lambda e: 1.0 - 0.01 * e, 1e-4, max_iter=30) is None
