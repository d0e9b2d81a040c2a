"""Two processes with one checkpoint: one learns, the other is told who does; a killed one is in nobody's way."""

import errno
import os
import platform
import signal
import subprocess
import sys
import textwrap
import threading
from contextlib import ExitStack

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from sk_gdlinear import GDLinearRegressor
from sk_gdlinear._checkpoint import file_lock

posix = pytest.mark.skipif(os.name != "posix", reason="signals and forks")

CHUNKS = [(np.arange(12.0).reshape(4, 3) ** 1.5 + i, np.arange(4.0) - i) for i in range(3)]

HOLDER = """
    import os, sys, time
    import numpy as np
    from sk_gdlinear import GDLinearRegressor

    path, how = sys.argv[1:]
    CHUNKS = [(np.arange(12.0).reshape(4, 3) ** 1.5 + i, np.arange(4.0) - i) for i in range(3)]

    def chunks():
        if how == "fork" and os.fork() == 0:
            os.closerange(0, 3)
            time.sleep(30)
            os._exit(0)
        print("reading", flush=True)
        if how != "go":
            sys.stdin.readline()  # until told to go on
        for chunk in CHUNKS:
            time.sleep(0.02)
            yield chunk

    model = GDLinearRegressor(random_state=0).fit_batches(chunks, epochs=2, checkpoint=path)
    print(model.coef_.tobytes().hex(), flush=True)
"""


def start(path, how):
    command = [sys.executable, "-c", textwrap.dedent(HOLDER), path, how]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture
def holder(path):
    """A process that holds the lock and waits for a line."""
    process = start(path, "wait")
    assert process.stdout.readline() == "reading\n", process.stderr.read()
    yield process
    process.kill()
    process.communicate()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.checkpoint"


def no_chunks():
    raise AssertionError("a chunk was asked for")


def names(folder):
    return sorted(entry.name for entry in folder.iterdir())


def learn(path, chunks=CHUNKS):
    return GDLinearRegressor(random_state=0).fit_batches(chunks, epochs=2, checkpoint=path)


def test_the_second_process_is_told_who_holds_the_checkpoint(path, holder):
    for _ in range(2):
        with pytest.raises(BlockingIOError) as caught:
            learn(path, no_chunks)
    message = str(caught.value)
    assert f"in use by process {holder.pid} on host {platform.node()}" in message
    assert str(path) in message
    out, err = holder.communicate("\n\n", timeout=100)
    assert out.split()[-1] == learn(path).coef_.tobytes().hex(), err
    assert names(path.parent) == [path.name]


@posix
@pytest.mark.parametrize("how", ["wait", "fork"])
def test_a_killed_holder_is_in_nobody_s_way(path, how):
    """Nor is its child, which lives on."""
    process = start(path, how)
    assert process.stdout.readline() == "reading\n", process.stderr.read()
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert_array_equal(learn(path).coef_, learn(None).coef_)
    assert names(path.parent) == [path.name]
    process.communicate()


def test_many_that_start_at_once_do_no_harm(path):
    processes = [start(path, "go") for _ in range(4)]
    ends = [(*process.communicate(timeout=200), process.returncode) for process in processes]
    right = learn(None).coef_.tobytes().hex()
    finished = [out for out, err, code in ends if code == 0]
    assert finished and {out.split()[-1] for out in finished} == {right}, ends
    for _, err, code in ends:
        assert code == 0 or err.splitlines()[-1].startswith("BlockingIOError: The checkpoint"), err
    assert names(path.parent) == [path.name]


@posix
def test_a_lock_on_a_file_that_was_removed_is_none(path, monkeypatch):
    """Between opening the file and locking it, its holder ends and a third process begins."""
    opened, others = file_lock._open, ExitStack()

    def slow(*args):
        monkeypatch.undo()
        file = opened(*args)
        path.unlink()
        others.enter_context(file_lock.locked(path, "It"))
        return file

    monkeypatch.setattr(file_lock, "_open", slow)
    with others, pytest.raises(BlockingIOError, match="It is in use by process"), file_lock.locked(path, "It"):
        pass
    assert names(path.parent) == []


def test_two_calls_in_one_process_are_two(path):
    """In the same thread or in another."""
    errors = []

    def inner():
        with pytest.raises(BlockingIOError, match=f"process {os.getpid()}") as caught:
            learn(path, no_chunks)
        errors.append(caught.value)

    def chunks():
        inner()
        thread = threading.Thread(target=inner)
        thread.start()
        thread.join()
        return CHUNKS

    assert_array_equal(learn(path, chunks).coef_, learn(None).coef_)
    assert len(errors) == 4
    assert names(path.parent) == [path.name]


@posix
def test_a_forked_child_that_leaves_does_not_free_the_checkpoint(path):
    def chunks():
        if (child := os.fork()) == 0:
            try:
                raise KeyError
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        assert f"{path.name}.lock" in names(path.parent)
        with pytest.raises(BlockingIOError):
            learn(path, no_chunks)
        return CHUNKS

    learn(path, chunks)


def test_an_error_frees_the_checkpoint(path):
    with pytest.raises(AssertionError, match="a chunk was asked for"):
        learn(path, no_chunks)
    assert names(path.parent) == []
    learn(path)


def test_what_a_dead_process_left_locks_nobody_out(path):
    path.with_name(f"{path.name}.lock").write_text("sk_gdlinear lock: process 1 on host elsewhere\n")
    learn(path)
    assert names(path.parent) == [path.name]


@posix
@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_warned_of(path, monkeypatch, code):
    import fcntl

    def flock(*args):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.warns(RuntimeWarning, match="file system without locks.*Start one at a time") as caught:
        model = GDLinearRegressor(random_state=0).fit_batches(CHUNKS, epochs=2, checkpoint=path)
    assert caught[0].filename == __file__
    assert_array_equal(model.coef_, learn(None).coef_)
    assert names(path.parent) == [path.name]


@posix
def test_a_lock_that_fails_otherwise_is_an_error(path, monkeypatch):
    import fcntl

    def flock(*args):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        learn(path, no_chunks)


def test_a_finished_checkpoint_needs_no_lock(path, holder):
    """So it can be read from where nothing can be written."""
    finished = path.with_name("finished.checkpoint")
    model = learn(finished)
    finished.rename(path)
    assert_array_equal(learn(path, no_chunks).coef_, model.coef_)
