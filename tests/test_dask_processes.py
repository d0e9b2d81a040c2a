"""DaskGDLinearRegressor on processes of their own: what travels, and what fails in the middle of a fit."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from numpy.testing import assert_allclose

dask = pytest.importorskip("dask", reason="the cluster is Dask's")
da = pytest.importorskip("dask.array", reason="the cluster is Dask's")
distributed = pytest.importorskip("distributed", reason="the cluster is Dask's")
DaskGDLinearRegressor = pytest.importorskip("sk_gdlinear.dask").DaskGDLinearRegressor

ROWS, COLUMNS, BLOCKS = 500, 4, 6


def make_block(block_info, fatal=None):
    """Rows of one block, always the same; the last of X's and y's columns is y. ``fatal`` kills this process once."""
    number = block_info[None]["chunk-location"][0]
    if fatal is not None and number == 4:
        calls, seen = fatal + ".calls", 0
        if os.path.exists(calls):
            seen = os.path.getsize(calls)
        with open(calls, "ab") as file:
            file.write(b"x")
        if seen == 4:  # after the statistics and the two tasks of the first round: in a Newton step
            os.kill(os.getpid(), signal.SIGKILL)
    rng = np.random.default_rng(number)
    X = rng.normal(size=(ROWS, COLUMNS)) * np.geomspace(0.1, 100, COLUMNS)
    return np.column_stack([X, X @ np.geomspace(10, 0.01, COLUMNS) + number + rng.normal(size=ROWS)])


def rows(fatal=None):
    """X and y from a source that can be computed anew."""
    table = da.map_blocks(
        make_block, fatal=fatal, chunks=((ROWS,) * BLOCKS, (COLUMNS + 1,)), dtype=float, meta=np.empty((0, 0))
    )
    return table[:, :-1], table[:, -1]


@pytest.fixture(scope="module")
def client():
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


def bytes_sent(dask_worker):
    return dask_worker.transfer_outgoing_bytes_total


def test_what_travels_does_not_grow_with_the_rows(client):
    """Bytes the workers send in a fit, by their own counters: rows stay where they are."""

    def sent(n):
        X = client.persist(da.random.default_rng(0).normal(size=(n, 10), chunks=(n // 8, 10)))
        y = client.persist(X.sum(axis=1))
        distributed.wait([X, y])
        before = sum(client.run(bytes_sent).values())
        DaskGDLinearRegressor(random_state=0, max_iter=3, tol=None).fit(X, y)
        return sum(client.run(bytes_sent).values()) - before

    small, large = sent(8_000), sent(160_000)
    assert large < 160_000 * 8  # less than y alone
    assert large <= small + 20_000


@pytest.mark.parametrize("loss", ["squared_error", "huber"])
def test_a_matrix_travels_once_for_squared_errors_and_in_every_round_for_other_losses(client, loss):
    """Bytes that the workers send in fits of one round and of two; all rows, which Dask may move, have few."""
    n, n_parts, d = 160, 8, 160
    X = client.persist(da.random.default_rng(0).normal(size=(n, d), chunks=(n // n_parts, d)))
    y = client.persist(X.sum(axis=1))
    distributed.wait([X, y])

    def sent(n_rounds):
        before = sum(client.run(bytes_sent).values())
        model = DaskGDLinearRegressor(loss, penalty="l2", alpha=10.0, random_state=0, max_iter=n_rounds, tol=None)
        model.fit(X, y)
        assert model.n_iter_ == n_rounds
        return sum(client.run(bytes_sent).values()) - before

    matrix = n_parts * 8 * d * d
    at_first, later = {"squared_error": (1, 0), "huber": (2, 1)}[loss]
    first, two = sent(1), sent(2)
    assert at_first * matrix <= first <= (at_first + 0.25) * matrix
    assert (later - 0.25) * matrix <= two - first <= (later + 0.25) * matrix


@pytest.mark.parametrize("loss", ["squared_error", "huber"])
def test_a_killed_worker_does_not_change_the_answer(client, tmp_path, loss):
    fatal = str(tmp_path / "fatal")
    pids = set(client.run(os.getpid).values())
    undisturbed = DaskGDLinearRegressor(loss, random_state=0, max_iter=4, tol=None).fit(*rows())
    model = DaskGDLinearRegressor(loss, random_state=0, max_iter=4, tol=None).fit(*rows(fatal))
    client.wait_for_workers(2, timeout=30)
    assert set(client.run(os.getpid).values()) != pids  # one did die
    assert_allclose(model.coef_, undisturbed.coef_, rtol=1e-10)
    assert model.n_iter_ == undisturbed.n_iter_ == 4


def kill(block, pid):
    os.kill(pid, signal.SIGKILL)
    time.sleep(0.5)
    return block


@pytest.fixture
def commands(tmp_path):
    """The scheduler's file and its process: scheduler and worker run as commands, as on a real cluster."""
    file, running = tmp_path / "scheduler.json", []

    def start(name, *options):
        command = [sys.executable, "-m", f"distributed.cli.{name}", "--no-dashboard", f"--scheduler-file={file}"]
        running.append(subprocess.Popen([*command, *options], stderr=subprocess.DEVNULL))

    start("dask_scheduler", "--port=0", "--host=127.0.0.1")
    start("dask_worker", "--no-nanny", f"--local-directory={tmp_path}")
    yield file, running[0]
    for process in running:
        process.kill()
        process.wait()


def test_a_lost_scheduler_is_a_clear_error_and_no_hang(commands, state_of):
    file, scheduler = commands
    model = DaskGDLinearRegressor(random_state=0)
    before = state_of(model)
    with dask.config.set({"distributed.comm.timeouts.connect": "20s"}):
        client = distributed.Client(scheduler_file=str(file))
    with client, dask.config.set({"distributed.comm.timeouts.connect": "2s"}):
        client.wait_for_workers(1, timeout=30)
        X, y = rows()
        fatal = X.map_blocks(kill, scheduler.pid, dtype=float, meta=np.empty((0, 0)))
        with pytest.raises(RuntimeError, match="connection to the Dask scheduler was lost.*new distributed.Client"):
            model.fit(fatal, y)
    assert state_of(model) == before
