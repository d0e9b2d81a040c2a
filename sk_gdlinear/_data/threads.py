"""Threads over blocks of rows: the kernels, and products of matrices, run without Python's lock.

Results are returned in the order of the blocks, so that sums of them have the same bits whichever thread ends first.
"""

import sys
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from functools import lru_cache, partial
from math import prod

from joblib import effective_n_jobs
from threadpoolctl import ThreadpoolController

# Numbers of X from which threads are used, and blocks per thread whose results may wait.
LEAST_NUMBERS = 1 << 20
WAITING_BLOCKS = 2

# Blocks per thread from which it does not matter that one thread has one more than another.
MANY_BLOCKS = 4

_pool: ContextVar = ContextVar("sk_gdlinear_threads", default=None)


@contextmanager
def threads(n_jobs, n_numbers):
    """Use so many threads in a ``with`` block, for data of ``n_numbers`` numbers: one where they are few.

    ``n_jobs`` is as in joblib: None is one, or what ``joblib.parallel_config`` says; within a worker of joblib it is
    one.  Linear algebra is then limited to one thread of its own.
    """
    n = effective_n_jobs(n_jobs) if n_numbers >= LEAST_NUMBERS else 1
    if n == 1:
        yield
        return
    # The caller's thread is one of them: to wake two others at once may put both on the same core for milliseconds.
    with _linear_algebra(len(sys.modules)).limit(limits=1), ThreadPoolExecutor(n - 1) as pool:
        token = _pool.set((pool, n))
        try:
            yield
        finally:
            _pool.reset(token)


@lru_cache(maxsize=1)
def _linear_algebra(n_modules):
    """Return the loaded libraries of linear algebra; to look for them takes milliseconds.

    Others may come with new modules, of which ``n_modules`` are loaded.
    """
    return ThreadpoolController()


def n_threads():
    """Return the number of threads in use."""
    return 1 if _pool.get() is None else _pool.get()[1]


def n_numbers(X):
    """Return how many numbers an array, a frame or a sparse matrix contains; 0 if that is not known at once."""
    if hasattr(X, "nnz"):
        return X.nnz
    shape = getattr(X, "shape", ())
    return 0 if hasattr(X, "dask") or not all(isinstance(n, int) for n in shape) else prod(shape)


def map_blocks(function, *blocks):
    """Yield the results of a function of each block, in their order, like ``map``."""
    if _pool.get() is None:
        yield from map(function, *blocks)
        return
    pool, n = _pool.get()
    waiting = deque()
    try:
        for arguments in zip(*blocks, strict=False):
            waiting.append(_Task(pool, partial(copy_context().run, _in_thread, function, arguments)))
            if len(waiting) > WAITING_BLOCKS * n:
                yield _first_result(waiting)
        while waiting:
            yield _first_result(waiting)
    finally:
        for task in waiting:
            task.future.cancel()


class _Task:
    """A call that a thread of the pool makes, or the caller's thread if it comes first."""

    def __init__(self, pool, call):
        self.call, self.future, self.made_here = call, pool.submit(call), False

    def make_here(self):
        """Make the call unless a thread has begun it; return whether it was made."""
        if self.made_here or not self.future.cancel():
            return False
        self.made_here, self.future = True, Future()
        self.future.set_result(self.call())
        return True


def _first_result(waiting):
    """Remove the first of the tasks and return its result; until it is there, make calls that no thread has begun."""
    while not waiting[0].future.done() and any(task.make_here() for task in waiting):
        pass
    return waiting.popleft().future.result()


def shared_size(n_rows, most):
    """Return the size of a block with which all threads get as many, at most ``most``; ``most`` if there are many."""
    n = n_threads()
    if n == 1 or n_rows > MANY_BLOCKS * n * most:
        return most
    rounds = max(1, -(-n_rows // (n * most)))
    return max(1, -(-n_rows // (n * rounds)))


def _in_thread(function, arguments):
    """Return the result for a block, with NumPy's settings of the caller; threads do not start others."""
    _pool.set(None)
    return function(*arguments)


def parts(n_rows):
    """Return a slice of the rows for each thread, in order."""
    n = min(n_threads(), max(n_rows, 1))
    ends = [n_rows * i // n for i in range(n + 1)]
    return [slice(a, b) for a, b in zip(ends, ends[1:], strict=False)]
