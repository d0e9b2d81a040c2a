"""Schedules of the user's own: a factor for each update, which multiplies the step."""

import copy
import functools
import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV

import sk_gdlinear
from own_objects import Cosine
from sk_gdlinear import GDLinearRegressor

PLAIN = dict(standardize=False, average=False, shuffle=False, tol=None)


def decay(t, rate=0.1, floor=0.0):
    """Exponential decay."""
    return np.maximum(np.exp(-rate * t), floor)


def warmup_then_cosine(t, n_updates, warmup=5):
    """Linear, and then half a wave."""
    share = np.clip((t - warmup) / (n_updates - warmup), 0.0, 1.0)
    return np.where(t <= warmup, t / warmup, 0.5 * (1.0 + np.cos(np.pi * share)))


def inverse_root(t):
    return t**-0.5


class Halved:
    """Half as much after every ``every`` updates; an object with ``__call__``."""

    def __init__(self, every):
        self.every = every

    def __call__(self, t):
        return 0.5 ** ((t - 1) // self.every)


SCHEDULES = {
    "lambda": (lambda t: 1.0 / (1.0 + 0.1 * t), lambda t, n: 1.0 / (1.0 + 0.1 * t)),
    "function": (inverse_root, lambda t, n: 1.0 / np.sqrt(t)),
    "partial": (functools.partial(decay, rate=0.05, floor=0.3), lambda t, n: max(np.exp(-0.05 * t), 0.3)),
    "object": (Halved(7), lambda t, n: 0.5 ** ((t - 1) // 7)),
    "bound method": (Halved(4).__call__, lambda t, n: 0.5 ** ((t - 1) // 4)),
    "told": (Cosine(), lambda t, n: 0.5 * (1.0 + np.cos(np.pi * (t - 1) / n))),
    "told, partial": (
        functools.partial(warmup_then_cosine, warmup=2),
        lambda t, n: t / 2 if t <= 2 else 0.5 * (1.0 + np.cos(np.pi * (t - 2) / (n - 2))),
    ),
    "told by the user": (
        functools.partial(warmup_then_cosine, n_updates=1000, warmup=3),
        lambda t, n: t / 3 if t <= 3 else 0.5 * (1.0 + np.cos(np.pi * (t - 3) / 997)),
    ),
    "a constant": (lambda t: 0.3, lambda t, n: 0.3),
    "a table": (np.linspace(1.0, 0.0, 100).__getitem__, lambda t, n: 1.0 - t / 99),
    "switched off": (lambda t: t <= 10, lambda t, n: t <= 10),
}


@pytest.fixture
def data(rng):
    X = rng.normal(size=(105, 3))
    return X, X @ [1.0, -2.0, 0.5] + 3.0 + 0.1 * rng.normal(size=105)


def plain_descent(X, y, factor, eta, batch_size, max_iter, t=0, start=None):
    """The lines of the derivation, with the step ``eta * factor(t, n_updates)`` at update ``t``."""
    w, b = (np.zeros(X.shape[1]), 0.0) if start is None else start
    n_updates = t + max_iter * -(-len(y) // batch_size)
    for _ in range(max_iter):
        for first in range(0, len(y), batch_size):
            rows = slice(first, first + batch_size)
            G, t = (X[rows] @ w + b - y[rows]) / len(y[rows]), t + 1
            step = eta * factor(t, n_updates)
            w, b = w - step * G @ X[rows], b - step * G.sum()
    return w, b


# --- the factor multiplies the step ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("batch_size", [10, 1, None])
@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_plain_descent_is_its_lines_in_numpy(data, name, batch_size, backend):
    (X, y), (schedule, factor) = data, SCHEDULES[name]
    if name == "a table" and batch_size == 1:
        X, y = X[:30], y[:30]
    settings = dict(learning_rate=0.05, batch_size=batch_size, max_iter=3, schedule=schedule, **PLAIN)
    with sk_gdlinear.backend(backend):
        model = GDLinearRegressor(**settings).fit(X, y)
    w, b = plain_descent(X, y, factor, 0.05, batch_size or len(y), 3)
    assert_allclose([*model.coef_, model.intercept_], [*w, b], rtol=1e-12)
    assert_allclose(model.learning_rate_, 0.05 * factor(model.t_, model.t_), rtol=1e-12, atol=1e-18)


def test_sparse_rows_and_single_precision_get_the_same_factors(data):
    X, y = data
    settings = dict(learning_rate=0.05, batch_size=10, max_iter=3, schedule=Cosine(), **PLAIN)
    w, b = plain_descent(X, y, SCHEDULES["told"][1], 0.05, 10, 3)
    for rows, rtol in ((csr_array(X), 1e-12), (X.astype("f4"), 1e-4)):
        model = GDLinearRegressor(**settings).fit(rows, y.astype(rows.dtype))
        assert_allclose([*model.coef_, model.intercept_], [*w, b], rtol=rtol)


def test_a_constant_factor_is_another_step(data, seed):
    """To the bit, with the automatic step's companions, too: the average and the standardization."""
    settings = dict(average=True, max_iter=3, tol=None, random_state=seed)
    scheduled = GDLinearRegressor(learning_rate=0.2, schedule=lambda t: 0.25, **settings).fit(*data)
    constant = GDLinearRegressor(learning_rate=0.05, **settings).fit(*data)
    assert_array_equal(scheduled.coef_, constant.coef_)
    ones = GDLinearRegressor(schedule=lambda t: np.ones(len(t)), **settings).fit(*data)
    assert_array_equal(ones.coef_, GDLinearRegressor(precondition=False, **settings).fit(*data).coef_)


def test_a_schedule_may_be_a_copy_of_invscaling(data, seed):
    settings = dict(power_t=0.5, max_iter=5, tol=None, random_state=seed)
    named = GDLinearRegressor(schedule="invscaling", **settings).fit(*data)
    own = GDLinearRegressor(schedule=inverse_root, **settings).fit(*data)
    assert_allclose(own.coef_, named.coef_, rtol=1e-12)


@pytest.mark.parametrize("loss", ["squared_error", "huber", "quantile"])
def test_the_automatic_step_is_multiplied_as_well(data, loss, seed):
    """A decay to 0 ends where the optimum is near; the kink's width shrinks with the errors as ever."""
    usual = GDLinearRegressor(loss, random_state=seed).fit(*data)
    model = GDLinearRegressor(loss, schedule=Cosine(), max_iter=60, tol=None, random_state=seed).fit(*data)
    assert_allclose(model.predict(data[0]), usual.predict(data[0]), atol=0.1)
    assert model.learning_rate_ < 1e-3 * usual.learning_rate_


@pytest.mark.parametrize("penalty", [None, "l1"])
def test_a_factor_of_0_moves_nothing(data, penalty, seed):
    settings = dict(penalty=penalty, alpha=0.1, max_iter=4, tol=None, random_state=seed)
    model = GDLinearRegressor(schedule=lambda t: np.zeros(len(t)), **settings).fit(*data)
    assert_array_equal(model.coef_, 0.0)
    assert_allclose(model.intercept_, data[1].mean(), rtol=1e-12)


def test_factors_far_above_1_do_not_end_worse_than_the_mean(data, seed):
    X, y = data
    with pytest.warns(ConvergenceWarning, match="predicts the mean"):
        model = GDLinearRegressor(schedule=lambda t: 1e6, max_iter=20, tol=None, random_state=seed).fit(X, y)
    assert model.score(X, y) >= -1e-9
    with pytest.raises(ValueError, match="diverged"):
        GDLinearRegressor(schedule=lambda t: 1e6, learning_rate=0.1, max_iter=20, tol=None).fit(X, y)


# --- what it is told -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "params, n_updates",
    [
        ({"batch_size": 10}, 7 * 11),
        ({"batch_size": "auto"}, 7 * 4),
        ({"batch_size": None}, 7),
        ({"batch_size": 1000}, 7),
        ({"batch_size": 1}, 7 * 105),
        ({"batch_size": 10, "early_stopping": True}, 7 * 10),
    ],
    ids=str,
)
def test_fit_tells_how_many_updates_it_makes(data, params, n_updates):
    """``max_iter * ceil(n / batch_size)``, n the rows to train on."""
    schedule = Cosine()
    model = GDLinearRegressor(schedule=schedule, max_iter=7, tol=None, **params).fit(*data)
    assert schedule.told == {n_updates}
    assert params.get("early_stopping") or model.t_ == n_updates


def test_rows_of_weight_0_make_no_updates(data):
    schedule, weight = Cosine(), np.arange(105) % 5 > 0
    GDLinearRegressor(schedule=schedule, batch_size=10, max_iter=7, tol=None).fit(*data, weight)
    assert schedule.told == {7 * 9}


def test_partial_fit_tells_nothing_and_goes_on_counting(data):
    schedule = Cosine()
    model = GDLinearRegressor(schedule=schedule, batch_size=10)
    for _ in range(3):
        model.partial_fit(*data)
    assert schedule.told == {None}
    assert max(int(t.max()) for t in schedule.asked) == model.t_ == 33


@pytest.mark.parametrize("name", ["lambda", "function", "partial", "object"])
def test_a_stream_has_the_factors_of_one_fit(data, name):
    (X, y), (schedule, factor) = data, SCHEDULES[name]
    model = GDLinearRegressor(learning_rate=0.05, batch_size=5, schedule=schedule, **PLAIN)
    for first in range(0, 105, 35):
        model.partial_fit(X[first : first + 35], y[first : first + 35])
    w, b = plain_descent(X, y, factor, 0.05, 5, 1)
    assert_allclose([*model.coef_, model.intercept_], [*w, b], rtol=1e-12)


def test_warm_start_tells_the_number_of_its_own_last_update(data):
    schedule = Cosine()
    model = GDLinearRegressor(schedule=schedule, batch_size=10, max_iter=2, warm_start=True, **PLAIN)
    model.set_params(learning_rate=0.05).fit(*data)
    start = model.coef_.copy(), model.intercept_
    model.fit(*data)
    assert schedule.told == {22, 44} and model.t_ == 44
    w, b = plain_descent(*data, SCHEDULES["told"][1], 0.05, 10, 2, t=22, start=start)
    assert_allclose([*model.coef_, model.intercept_], [*w, b], rtol=1e-12)


def test_updates_are_told_as_whole_numbers_in_arrays_from_1_on(data):
    seen = []

    def watching(t):
        seen.append(t)
        return np.ones(t.shape)

    GDLinearRegressor(schedule=watching, batch_size=10, max_iter=2, tol=None).fit(*data)
    assert all(t.ndim == 1 and t.dtype.kind == "i" for t in seen)
    assert_array_equal(np.unique(np.concatenate(seen)), np.arange(1, 23))


def test_a_schedule_may_overwrite_the_update_numbers(data, seed):
    def careless(t):
        factor = 1.0 / t
        t[...] = 0
        return factor

    settings = dict(max_iter=3, tol=None, random_state=seed)
    careful = GDLinearRegressor(schedule=lambda t: 1.0 / t, **settings).fit(*data)
    assert_array_equal(GDLinearRegressor(schedule=careless, **settings).fit(*data).coef_, careful.coef_)


def test_functions_without_a_signature_are_asked_with_t_only(data):
    """NumPy's compiled functions may have none."""
    for schedule in (np.reciprocal, np.sign, functools.partial(np.power, 0.99)):
        values = schedule if schedule is not np.reciprocal else (lambda t: np.reciprocal(t.astype(float)))
        assert np.isfinite(GDLinearRegressor(schedule=values, max_iter=5, tol=None).fit(*data).coef_).all()


# --- among scikit-learn's tools --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "schedule", [inverse_root, functools.partial(decay, rate=0.01), Halved(50)], ids=["function", "partial", "object"]
)
def test_a_model_survives_copies_and_goes_on(data, schedule, seed):
    X, y = data
    model = GDLinearRegressor(schedule=schedule, random_state=seed).partial_fit(X[:50], y[:50])
    for twin in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        expected = copy.deepcopy(model).partial_fit(X[50:], y[50:])
        assert_array_equal(twin.partial_fit(X[50:], y[50:]).coef_, expected.coef_)
    assert_array_equal(clone(model).fit(X, y).coef_, copy.deepcopy(model).fit(X, y).coef_)


def test_a_search_chooses_among_schedules(data, seed):
    grid = {"schedule": ["constant", lambda t: 0.0 * t, Halved(50)]}
    search = GridSearchCV(GDLinearRegressor(random_state=seed, max_iter=5, tol=None), grid, cv=3).fit(*data)
    assert np.argmin(search.cv_results_["mean_test_score"]) == 1


# --- what will not do ------------------------------------------------------------------------------------------------

UNFIT = {
    "negative": (lambda t: -1.0 / t, ValueError, "finite factors of at least 0, got -"),
    "NaN": (lambda t: t * np.nan, ValueError, "finite factors of at least 0, got nan"),
    "infinite": (lambda t: t * np.inf, ValueError, "finite factors of at least 0, got inf"),
    "later NaN": (lambda t: np.where(t > 9, np.nan, 1.0), ValueError, "finite factors of at least 0, got nan"),
    "wrong shape": (lambda t: np.ones(len(t) + 1), ValueError, "one factor for each update: got shape"),
    "one too few dimensions": (lambda t: np.ones(1), ValueError, r"one factor for each update: got shape \(1,\)"),
    "one too many dimensions": (lambda t: np.ones((len(t), 1)), ValueError, "one factor for each update: got shape"),
    "text": (lambda t: "slow", ValueError, "failed with ValueError.*could not convert string"),
    "nothing": (lambda t: None, ValueError, "got nan to nan"),
    "for numbers only": (lambda t: 1.0 if t < 10 else 0.1, ValueError, "is called with an array t of update numbers"),
    "too many arguments": (lambda t, rate: 1.0, ValueError, "failed with TypeError"),
    "a class": (Halved, TypeError, "is a class, call it"),
    "a number": (0.5, ValueError, "'schedule' parameter"),
    "an unknown name": ("cosine", ValueError, "'schedule' parameter"),
    "None": (None, ValueError, "'schedule' parameter"),
}


@pytest.mark.parametrize("name", UNFIT)
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_unfit_schedules_are_refused_and_change_nothing(data, name, method, state_of):
    schedule, error, message = UNFIT[name]
    with pytest.raises(error, match=message):
        getattr(GDLinearRegressor(schedule=schedule, batch_size=10), method)(*data)
    model = GDLinearRegressor(batch_size=10, random_state=0).fit(*data).partial_fit(*data)
    before = state_of(model)
    model.schedule = schedule
    with pytest.raises(error, match=message):
        getattr(model, method)(*data)
    model.schedule = "constant"
    assert state_of(model) == before


def test_a_schedule_that_needs_an_end_is_told_so_in_partial_fit(data):
    with pytest.raises(ValueError, match="n_updates=None"):
        GDLinearRegressor(schedule=warmup_then_cosine).partial_fit(*data)
