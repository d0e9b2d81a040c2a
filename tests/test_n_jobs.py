"""Threads over blocks of rows: the optimum of one thread, the same bits every time, and no threads where none help."""

import threading

import numpy as np
import pytest
from joblib import Parallel, delayed, parallel_config
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_array

import sk_gdlinear._data.rows as rows_module
from builders import exact_r2, least_squares
from sk_gdlinear import GDLinearRegressor
from sk_gdlinear._data import joint_moments
from sk_gdlinear._data import threads as threads_module
from sk_gdlinear._data.threads import map_blocks, n_threads, parts, shared_size, threads
from sk_gdlinear._descent.parallel import DealtBlocks, threads_for


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Threads and several blocks also for small data."""
    monkeypatch.setattr(threads_module, "LEAST_NUMBERS", 100)
    monkeypatch.setattr(rows_module, "BLOCK_ROWS", 640)


def data(seed=0, n=4000, d=6, k=None):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d)) * np.logspace(-2, 3, d) + np.logspace(4, -2, d)
    Y = X / np.logspace(-2, 3, d) @ rng.normal(size=(d, k or 1)) + rng.normal(size=(n, k or 1))
    return X, Y if k else Y[:, 0]


VARIANTS = [
    {},
    {"precondition": False, "tol": 1e-8},
    {"precondition": True},
    {"penalty": "l1", "alpha": 0.01},
    {"loss": "huber", "epsilon": 1.0},
    {"loss": "quantile", "quantile": 0.7},
    {"fit_intercept": False},
]


@pytest.mark.parametrize("params", VARIANTS, ids=str)
@pytest.mark.parametrize("k", [None, 2])
def test_two_and_three_threads_reach_the_objective_of_one(params, k):
    X, y = data(k=k)
    objectives = [
        GDLinearRegressor(random_state=0, n_jobs=n_jobs, **params).fit(X, y).loss_curve_[-1] for n_jobs in (1, 2, 3)
    ]
    assert_allclose(objectives[1:], objectives[0], rtol=3e-4)


@pytest.mark.parametrize("params", VARIANTS, ids=str)
def test_the_same_number_of_threads_gives_the_same_bits(params):
    X, y = data()
    first, second = (GDLinearRegressor(random_state=0, n_jobs=3, **params).fit(X, y) for _ in range(2))
    assert_array_equal(first.coef_, second.coef_)
    assert first.loss_curve_ == second.loss_curve_


def test_one_thread_is_the_default_and_gives_its_bits():
    X, y = data()
    coefs = [GDLinearRegressor(random_state=0, n_jobs=n_jobs).fit(X, y).coef_ for n_jobs in (None, 1)]
    assert_array_equal(*coefs)


def test_weighted_least_squares_in_threads():
    X, y = data()
    weight = np.random.default_rng(1).integers(0, 3, len(X)).astype(float)
    coef, intercept, _ = least_squares(X, y, weight)
    model = GDLinearRegressor(random_state=0, n_jobs=2, tol=1e-10).fit(X, y, weight)
    assert_allclose(model.coef_, coef[0], rtol=1e-7)
    assert_allclose(model.intercept_, intercept[0], rtol=1e-7)


@pytest.mark.parametrize("precondition", [True, False])
def test_sparse_rows_in_threads(precondition):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(4000, 8)) * (rng.random((4000, 8)) < 0.4)
    y = X @ np.arange(8.0) + rng.normal(size=4000)
    model, again = (
        GDLinearRegressor(random_state=0, n_jobs=4, precondition=precondition).fit(csr_array(X), y) for _ in range(2)
    )
    assert_array_equal(again.coef_, model.coef_)
    assert model.score(csr_array(X), y) >= exact_r2(X, y) - 1e-4


@pytest.mark.parametrize("sort", [False, True])
def test_an_epoch_in_threads_is_a_good_epoch_whatever_the_order_of_the_rows(sort):
    X, y = data()
    order = np.argsort(y) if sort else np.arange(len(y))
    model = GDLinearRegressor(random_state=0, n_jobs=4, max_iter=1, tol=None).fit(X[order], y[order])
    assert model.score(X, y) >= exact_r2(X, y) - 0.01
    assert model.t_ == sum(-(-len(part) // 32) for part in _blocks(len(y)))


def _blocks(n):
    return [range(start, min(start + 640, n)) for start in range(0, n, 640)]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_predictions_in_threads_are_those_of_one(dtype):
    X, y = data()
    model = GDLinearRegressor(random_state=0).fit(X.astype(dtype), y.astype(dtype))
    alone = model.predict(X.astype(dtype))
    together = model.set_params(n_jobs=3).predict(X.astype(dtype))
    assert together.dtype == alone.dtype
    assert_allclose(together, alone, rtol=1e-12 if dtype == np.float64 else 1e-6)


def test_partial_fit_in_threads_learns():
    X, y = data()
    model = GDLinearRegressor(random_state=0, n_jobs=2, loss="huber", epsilon=2.0)
    for _ in range(3):
        model.partial_fit(X, y)
    assert model.score(X, y) >= exact_r2(X, y) - 0.02


@pytest.mark.parametrize("window", [None, 1500])
def test_the_memory_of_a_stream_has_the_bits_of_one_thread(window, monkeypatch):
    monkeypatch.setattr(joint_moments, "BLOCK_ROWS", 128)
    X, y = data(n=8000)
    used = []
    monkeypatch.setattr(
        joint_moments, "_block", lambda *block, f=joint_moments._block: used.append(threading.get_ident()) or f(*block)
    )
    models = [GDLinearRegressor(random_state=0, window=window, n_jobs=n) for n in (1, 3)]
    for model in models:
        used.clear()
        for _ in range(2):
            model.partial_fit(X, y)
        assert (set(used) == {threading.get_ident()}) == (model.n_jobs == 1)
    assert_array_equal(models[0].coef_, models[1].coef_)


def test_small_data_and_nested_use_stay_on_one_thread(monkeypatch):
    with threads(2, 1_000_000):
        assert n_threads() == 2
        assert list(map_blocks(lambda _: n_threads(), range(3))) == [1, 1, 1]  # threads start no others
    monkeypatch.setattr(threads_module, "LEAST_NUMBERS", 1 << 20)
    with threads(2, 1000):
        assert n_threads() == 1


def _threads_in_use():
    with threads(None, 1 << 30):
        return n_threads()


def test_the_default_follows_joblib():
    assert _threads_in_use() == 1
    with parallel_config(backend="threading", n_jobs=2):
        assert _threads_in_use() == 2
    assert Parallel(n_jobs=2, backend="threading")(delayed(_threads_in_use)() for _ in range(2)) == [1, 1]


def test_results_come_in_the_order_of_the_blocks():
    last, started = threading.Event(), threading.Event()

    def wait_for_the_second(i):
        if i == 0:
            assert last.wait(10)
        else:
            last.set()
        started.set()
        return i

    with threads(2, 1000):
        assert list(map_blocks(wait_for_the_second, range(2))) == [0, 1]


def test_the_caller_is_one_of_the_threads():
    """Two blocks that wait for each other are computed by it and by one other."""
    both = threading.Barrier(2, timeout=10)

    def wait_for_the_other(_):
        both.wait()
        return threading.get_ident()

    with threads(2, 1000):
        used = list(map_blocks(wait_for_the_other, range(10)))
    assert len(set(used)) == 2
    assert used.count(threading.get_ident()) == 5


@pytest.mark.parametrize("n_blocks", [1, 3, 30])
def test_an_error_in_a_thread_is_raised(n_blocks):
    """Whichever thread computes the block, and no block is begun after that."""
    begun = []

    def fail_in(block, failing):
        begun.append(block)
        return 1 // (block != failing)

    for failing in range(n_blocks):
        with threads(2, 1000):
            with pytest.raises(ZeroDivisionError):
                list(map_blocks(fail_in, range(n_blocks), [failing] * n_blocks))
            n_begun = len(begun)
        assert len(begun) <= n_begun + 1  # that of the other thread


def test_parts_cover_all_rows_once():
    with threads(3, 1000):
        covered = np.concatenate([np.arange(10)[part] for part in parts(10)])
    assert_array_equal(covered, np.arange(10))


def test_an_epoch_over_few_rows_per_column_stays_on_one_thread():
    """Columns that hardly any row of a thread contains would be moved too far."""
    rng = np.random.default_rng(0)
    X = csr_array((rng.random((3000, 1000)) < 0.01).astype(float))
    y = X @ rng.normal(size=1000) + 0.1 * rng.normal(size=3000)
    alone, together = (
        GDLinearRegressor(random_state=0, precondition=False, max_iter=30, tol=None, n_jobs=n).fit(X, y) for n in (1, 4)
    )
    assert together.score(X, y) == pytest.approx(alone.score(X, y), abs=1e-6)
    with threads(4, 1 << 30):
        assert [threads_for(n, 10) for n in (99, 200, 399, 400, 10_000)] == [1, 2, 3, 4, 4]


@pytest.mark.parametrize("n_blocks", [1, 2, 3, 7, 10])
@pytest.mark.parametrize("asking", ["in turn", "one after the other", "the last one first"])
def test_a_thread_gets_the_same_blocks_whenever_it_asks_for_them(n_blocks, asking):
    """Every third block; a single block is cut in three."""
    blocks, n = np.array_split(np.arange(100), n_blocks), 3
    dealt = DealtBlocks(iter(blocks), n)
    each = [dealt.of_thread(thread) for thread in range(n)]
    got = [[] for _ in range(n)]
    if asking == "in turn":
        for _ in range(n_blocks * n + 1):
            for thread in range(n):
                got[thread].extend(block for block in [next(each[thread], None)] if block is not None)
    else:
        for thread in range(n) if asking == "one after the other" else reversed(range(n)):
            got[thread].extend(each[thread])
    if n_blocks < n:
        blocks = [part for block in blocks for part in np.array_split(block, n)]
    for thread in range(n):
        assert_array_equal(np.concatenate(got[thread]), np.concatenate(blocks[thread::n]))


def test_blocks_are_made_when_a_thread_asks_for_them():
    made = []
    dealt = DealtBlocks((made.append(i) or np.array([i]) for i in range(20)), 2)
    assert len(made) == 2
    assert next(dealt.of_thread(1)) == [1] and len(made) == 2
    assert next(dealt.of_thread(1)) == [3] and len(made) == 4


@pytest.mark.parametrize("n_rows", [1, 7, 20_000, 65_536, 200_000, 1_000_001])
@pytest.mark.parametrize("n_threads", [1, 2, 3, 8])
def test_every_thread_gets_as_many_blocks_as_the_others(n_rows, n_threads):
    """Of the same size but for the last, where there are few."""
    with threads(n_threads, 100):
        size = shared_size(n_rows, 65_536)
    n_blocks = -(-n_rows // size)
    assert size <= 65_536
    if n_threads == 1 or n_rows > 4 * n_threads * 65_536:
        assert size == 65_536
    else:
        assert n_blocks * size - n_rows < n_blocks
        assert n_rows < n_threads or n_blocks % n_threads == 0
