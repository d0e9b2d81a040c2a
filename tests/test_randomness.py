"""Randomness: seeded to the bit, each row once an epoch, new orders every time, NumPy's global generator left alone.

The order of the rows is read from one coefficient.  With x = 1, no intercept, single-row batches and a step of
1 - 1/B each update is ``w <- w / B + (1 - 1/B) y``: starting at 0, the base-B digits of ``w B^(n-1) / (1 - 1/B)`` are
the y of the rows in the order of their visits, the last one first.
"""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from sk_gdlinear import GDLinearRegressor

BASE = 8  # digits of 3 bits: 8 rows and the step fit into the 53 bits of a float64 exactly


@pytest.fixture
def make_reader():
    """Function of parameters: an estimator that makes its row order legible to ``read_order``."""

    def make(**params):
        settings = dict(standardize=False, average=False, fit_intercept=False, learning_rate=1 - 1 / BASE, batch_size=1)
        return GDLinearRegressor(**(settings | dict(max_iter=1, tol=None) | params))

    return make


@pytest.fixture
def rows():
    """Rows (X, y), y numbering them."""
    return np.ones((BASE, 1)), np.arange(float(BASE))


def read_order(model, before=0.0):
    """Rows in the order of the latest epoch's visits; ``before`` is the coefficient it started at."""
    code = (model.coef_[0] - before / BASE**BASE) / (1 - 1 / BASE) * BASE ** (BASE - 1)
    code = round(code)
    return [code // BASE**place % BASE for place in range(BASE)]


# --- the permutation -------------------------------------------------------------------------------------------------


def test_unshuffled_order_is_the_order_of_the_rows(rows, make_reader):
    assert read_order(make_reader(shuffle=False).fit(*rows)) == list(range(BASE))


def test_shuffled_order_is_a_permutation_and_not_the_identity(rows, make_reader, seed):
    order = read_order(make_reader(random_state=seed).fit(*rows))
    assert sorted(order) == list(range(BASE))
    assert order != list(range(BASE))  # by chance once in 40,320 seeds


def test_every_epoch_of_fit_has_a_new_order(rows, make_reader, seed):
    orders, before = [], 0.0
    for max_iter in (1, 2, 3):
        model = make_reader(random_state=seed, max_iter=max_iter).fit(*rows)
        orders.append(read_order(model, before))
        before = model.coef_[0]
    assert all(sorted(order) == list(range(BASE)) for order in orders)
    assert len(set(map(tuple, orders))) == 3


@pytest.mark.parametrize("given", [int, np.random.RandomState])
def test_successive_partial_fits_use_new_orders_and_repeat_as_a_sequence(rows, make_reader, seed, given):
    def orders():
        model, found, before = make_reader(random_state=given(seed)), [], 0.0
        for _ in range(3):
            found.append(read_order(model.partial_fit(*rows), before))
            before = model.coef_[0]
        return found

    first = orders()
    assert len(set(map(tuple, first))) == 3
    assert orders() == first


def test_orders_are_uniform(rows, make_reader):
    """Every row comes first in about an eighth of 400 orders."""
    model, before, first = make_reader(random_state=0), 0.0, np.zeros(BASE)
    for _ in range(400):
        first[read_order(model.partial_fit(*rows), before)[0]] += 1
        before = model.coef_[0]
    # mean 50, standard deviation 6.6: 4 of them
    assert np.abs(first - 50).max() < 27


@pytest.mark.parametrize("n", [1, 50, 1_500, 9_001])
@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("absent", [False, True])
def test_every_epoch_visits_each_row_exactly_once(seed, n, shuffle, absent):
    """Row i has a single 1, in column i % 500, and y = 4^(i // 500), next to which no prediction is seen.

    So each visit adds eta y to the row's coefficient, whose base-4 digits in units of eta count the visits of its rows.
    """
    eta = 2.0**-200
    i = np.arange(n)
    X = np.zeros((n, 500))
    X[i, i % 500] = 1.0
    y = 4.0 ** (i // 500)
    weight = (i % 3 != 1).astype(float) if absent else np.ones(n)
    settings = dict(standardize=False, average=False, fit_intercept=False, learning_rate=eta, batch_size=1)
    model = GDLinearRegressor(**settings, max_iter=1, tol=None, shuffle=shuffle, random_state=seed)
    model.fit(X, y, sample_weight=weight if absent else None)
    assert_array_equal(model.coef_ / eta, X.T @ (weight * y))


# --- reproducibility -------------------------------------------------------------------------------------------------


@pytest.fixture
def data(rng):
    X = rng.normal(size=(200, 4)) * [1.0, 10.0, 0.1, 2.0] + 5.0
    return X, X @ [1.0, 0.2, -3.0, 0.5] + rng.normal(size=200)


def assert_same_bits(model, other):
    assert_array_equal(model.coef_, other.coef_)
    assert model.intercept_ == other.intercept_
    assert model.loss_curve_ == other.loss_curve_


@pytest.mark.parametrize("params", [{}, {"average": False}, {"standardize": False}, {"batch_size": 1}])
def test_same_seed_gives_the_same_bits(data, seed, params):
    settings = dict(params, random_state=seed, max_iter=3, tol=None)
    assert_same_bits(GDLinearRegressor(**settings).fit(*data), GDLinearRegressor(**settings).fit(*data))


def test_refitting_with_an_int_seed_gives_the_same_bits(data, seed):
    model = GDLinearRegressor(random_state=seed, max_iter=3, tol=None).fit(*data)
    first = model.coef_.copy()
    assert_array_equal(model.fit(*data).coef_, first)


def test_different_seeds_give_different_orders(data):
    models = [GDLinearRegressor(random_state=seed, max_iter=1, tol=None).fit(*data) for seed in range(3)]
    assert len({model.coef_.tobytes() for model in models}) == 3


def test_a_random_state_instance_moves_on(data, seed):
    """As in scikit-learn: two fits that share an instance differ, and the pair repeats."""

    def pair():
        shared = np.random.RandomState(seed)
        return [GDLinearRegressor(random_state=shared, max_iter=1, tol=None).fit(*data).coef_ for _ in range(2)]

    first, second = pair()
    assert not np.array_equal(first, second)
    assert_array_equal(pair(), [first, second])


@pytest.mark.parametrize("random_state", [None, 0])
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_global_generator_is_not_moved(data, random_state, method):
    before = np.random.get_state(legacy=False)  # noqa: NPY002 - the generator under test
    model = GDLinearRegressor(random_state=random_state, max_iter=2, tol=None)
    getattr(getattr(model, method)(*data), method)(*data)
    after = np.random.get_state(legacy=False)  # noqa: NPY002
    assert_array_equal(after["state"]["key"], before["state"]["key"])
    assert after["state"]["pos"] == before["state"]["pos"]


@pytest.fixture
def restore_global_generator():
    before = np.random.get_state()  # noqa: NPY002
    yield
    np.random.set_state(before)  # noqa: NPY002


@pytest.mark.usefixtures("restore_global_generator")
@pytest.mark.parametrize(("random_state", "n_distinct"), [(0, 1), (None, 3)])
def test_global_generator_is_not_read(data, random_state, n_distinct):
    """Seeding it does not seed an unseeded fit, and does not change a seeded one."""
    coefs = set()
    for _ in range(3):
        np.random.seed(0)  # noqa: NPY002
        model = GDLinearRegressor(random_state=random_state, max_iter=1, tol=None).fit(*data)
        coefs.add(model.coef_.tobytes())
    assert len(coefs) == n_distinct


def test_constructor_parameter_is_left_alone(data):
    shared = np.random.RandomState(3)
    model = GDLinearRegressor(random_state=shared, max_iter=1, tol=None).fit(*data)
    assert model.random_state is shared
