r"""An epoch in threads: each makes mini-batch updates over blocks of its own, and the results are averaged.

Of the first epoch the average over threads of averaged iterates is reported (Y. Zhang, J. Duchi and M. Wainwright,
"Communication-Efficient Algorithms for Statistical Optimization", Journal of Machine Learning Research 14, 2013).
While variance is reduced all threads share the gradient table and its mean gradient, which is updated once an epoch
from the changes of all (S. De and T. Goldstein, "Efficient Distributed SGD with Variance Reduction", ICDM 2016).
"""

from collections import deque
from itertools import chain, islice
from threading import Lock

import numpy as np

from .._data.threads import map_blocks, n_threads

# Rows of a thread per column, at least.  Columns that few of a thread's rows contain would be moved by the mean
# gradient of all rows at every update, and hardly be corrected by its own.
ROWS_PER_COLUMN = 10


def threads_for(n_rows, n_columns):
    """Return the number of threads that an epoch over so many rows and columns is fit for, 1 without threads."""
    return max(1, min(n_threads(), n_rows // (ROWS_PER_COLUMN * n_columns)))


def epoch_in_threads(n, backend, problem, blocks, make_plan, iterate, reduction):
    """Make an epoch over blocks of rows, those of each thread one after the other, in place.

    Parameters
    ----------
    n : int
        Threads.
    backend : Backend
    problem : Problem
    blocks : iterable of ndarray
        Row numbers.
    make_plan : callable
        From row numbers and an iterate to a ``Plan``.
    iterate : Iterate
    reduction : VarianceReduction

    Returns
    -------
    total : float
        Sum over the batches of their loss times their rows.
    """
    dealt = DealtBlocks(blocks, n)

    def descend(thread):
        own, total, n_rows = iterate.copy(), 0.0, 0
        changes = reduction
        if reduction.is_on:
            changes = reduction._replace(
                update_W=np.zeros_like(reduction.update_W), update_b=np.zeros_like(reduction.update_b)
            )
        for order in dealt.of_thread(thread):
            n_rows += len(order)
            plan = make_plan(order, own)
            total += backend.epoch(problem, plan, own, changes)
            own.count(plan.steps, plan.averaging_weights, not problem.penalty.is_zero)
        return own, changes, total, n_rows

    results = [result for result in map_blocks(descend, range(n)) if result[-1] > 0]
    n_rows = np.array([result[-1] for result in results])
    weights = n_rows / n_rows.sum()
    for name in ("W", "b", "mean_W", "mean_b"):
        if getattr(iterate, name) is not None:
            averaged = sum(
                w * getattr(own, name).astype(np.float64) for w, (own, *_) in zip(weights, results, strict=True)
            )
            getattr(iterate, name)[...] = averaged
    iterate.t += sum(own.t - iterate.t for own, *_ in results)
    iterate.n_averaged = max(own.n_averaged for own, *_ in results)
    iterate.mean_step = float(sum(w * own.mean_step for w, (own, *_) in zip(weights, results, strict=True)))
    if reduction.is_on:
        for _, changes, *_ in results:
            reduction.update_W[...] += changes.update_W
            reduction.update_b[...] += changes.update_b
    return sum(total for _, _, total, _ in results)


class DealtBlocks:
    """Blocks of rows, dealt to threads in turn, and made when a thread comes to them or to a later one.

    A whole epoch of row numbers would take 8 bytes a row of new memory, and the time of one thread.  Fewer blocks than
    threads are cut first.
    """

    def __init__(self, blocks, n):
        blocks = iter(blocks)
        first = list(islice(blocks, n))
        if len(first) < n:
            first = [part for block in first for part in np.array_split(block, n)]
        self.blocks, self.n, self.lock = chain(first, blocks), n, Lock()
        self.next_thread, self.waiting = 0, [deque() for _ in range(n)]

    def of_thread(self, thread):
        """Yield the blocks of a thread, whatever the order in which the threads ask for theirs."""
        while (block := self._next(thread)) is not None:
            yield block

    def _next(self, thread):
        with self.lock:
            while not self.waiting[thread]:
                if (block := next(self.blocks, None)) is None:
                    return None
                self.waiting[self.next_thread].append(block)
                self.next_thread = (self.next_thread + 1) % self.n
            return self.waiting[thread].popleft()
