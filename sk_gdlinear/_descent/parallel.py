r"""An epoch in threads: each makes mini-batch updates over blocks of its own, and the results are averaged.

Of the first epoch the average over threads of averaged iterates is reported (Y. Zhang, J. Duchi and M. Wainwright,
"Communication-Efficient Algorithms for Statistical Optimization", Journal of Machine Learning Research 14, 2013).
While variance is reduced all threads share the gradient table and its mean gradient, which is updated once an epoch
from the changes of all (S. De and T. Goldstein, "Efficient Distributed SGD with Variance Reduction", ICDM 2016).
"""

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
    shares = [of_thread for of_thread in _dealt(blocks, n) if of_thread]

    def descend(of_thread):
        own, total = iterate.copy(), 0.0
        changes = reduction
        if reduction.is_on:
            changes = reduction._replace(
                update_W=np.zeros_like(reduction.update_W), update_b=np.zeros_like(reduction.update_b)
            )
        for order in of_thread:
            plan = make_plan(order, own)
            total += backend.epoch(problem, plan, own, changes)
            own.count(plan.steps, plan.averaging_weights, not problem.penalty.is_zero)
        return own, changes, total

    results, n_rows = list(map_blocks(descend, shares)), [sum(map(len, share)) for share in shares]
    weights = np.array(n_rows) / sum(n_rows)
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
        for _, changes, _ in results:
            reduction.update_W[...] += changes.update_W
            reduction.update_b[...] += changes.update_b
    return sum(total for *_, total in results)


def _dealt(blocks, n):
    """Return the blocks of each thread, dealt in turn; a single block is cut first."""
    blocks = list(blocks)
    if len(blocks) < n:
        blocks = [part for block in blocks for part in np.array_split(block, n)]
    return [blocks[i::n] for i in range(n)]
