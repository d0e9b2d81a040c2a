"""The rows to learn from, the order in which an epoch visits them, and their pieces."""

from typing import NamedTuple

import numpy as np

# Rows between two looks at the clock, the keyboard and the finiteness of the loss.
SEGMENT_ROWS = 1 << 16

# Rows up to which every row is placed at random; beyond, rows in a run, and runs dealt out together.
FULL_SHUFFLE_ROWS = 1 << 15
RUN_ROWS = 16
WINDOW_RUNS = 64


class Data(NamedTuple):
    """Rows to learn from.

    ``weight`` is ``s / mean(s)`` or None; ``index`` the rows of non-zero weight, or None for all.
    """

    X: np.ndarray  # (n, d), C-ordered
    Y: np.ndarray  # (n, k), of X's dtype
    weight: np.ndarray | None = None
    index: np.ndarray | None = None

    @property
    def n_rows(self):
        """Rows that count."""
        return self.X.shape[0] if self.index is None else len(self.index)

    def segments(self, order=None, rows=SEGMENT_ROWS):
        """Yield row numbers as the engines take them, piece by piece: of ``order``, or all in their own order."""
        for start in range(0, self.n_rows, rows):
            stop = min(start + rows, self.n_rows)
            if order is not None:
                yield order[start:stop].astype(np.intp)
            elif self.index is not None:
                yield self.index[start:stop].astype(np.intp)
            else:
                yield np.arange(start, stop, dtype=np.intp)


def shuffled(data, rng):
    """Row numbers in a new random order, each exactly once.

    Long data is shuffled by runs of consecutive rows, so that gathering batches reads memory in long stretches: runs
    are permuted, each is turned by a random amount, and the runs of a window are dealt out row by row.  Neighbours in
    the order, hence the rows of a batch, then come from different random runs, as good as independent.
    """
    n = data.n_rows
    order = np.arange(n, dtype=np.int32 if n < 2**31 else np.int64)
    if n <= FULL_SHUFFLE_ROWS:
        rng.shuffle(order)
    else:
        n_windows = n // (WINDOW_RUNS * RUN_ROWS)
        runs = np.arange(n_windows * WINDOW_RUNS, dtype=order.dtype)
        rng.shuffle(runs)
        turns = rng.integers(0, RUN_ROWS, len(runs), dtype=order.dtype)
        runs, turns = (a.reshape(n_windows, WINDOW_RUNS) for a in (runs * RUN_ROWS, turns))
        rest = n - n_windows * WINDOW_RUNS * RUN_ROWS
        dealt = order[rest:].reshape(n_windows, RUN_ROWS, WINDOW_RUNS)
        for i in range(RUN_ROWS):
            dealt[:, i] = runs + (turns + i) % RUN_ROWS
        order[:rest] = rng.permutation(rest) + (n - rest)
        order += rng.integers(n)  # so that it is not always the same rows that fill no window
        np.subtract(order, n, out=order, where=order >= n)
    return order if data.index is None else data.index[order]
