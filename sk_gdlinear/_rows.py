"""The rows to learn from, the order in which an epoch visits them, and their pieces."""

from typing import NamedTuple

import numpy as np

# Rows between two looks at the clock, the keyboard and the finiteness of the loss.
SEGMENT_ROWS = 1 << 16

# Rows up to which every row is placed at random; beyond, rows in a run, and runs dealt out together.
FULL_SHUFFLE_ROWS = 1 << 15
RUN_ROWS = 16  # a power of two
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

    def sample(self, most):
        """Return at most so many of the row numbers, evenly spaced."""
        places = evenly_spaced(self.n_rows, most)
        return places if self.index is None else self.index[places]


def evenly_spaced(n, most):
    """At most so many of the numbers 0 to ``n - 1``, evenly spaced."""
    return np.arange(n, dtype=np.intp) if n <= most else np.linspace(0, n - 1, most).astype(np.intp)


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
        n_runs, left = divmod(n, RUN_ROWS)
        first = int(rng.integers(left + 1))
        dealt, rest = order[: n - left], order[n - left :]
        rest[...] = np.append(rest[: left - first] + first, np.arange(first)) if first else rest
        rng.shuffle(rest)
        _deal(dealt, first, n_runs, rng)
    return order if data.index is None else data.index[order]


def _deal(order, first, n_runs, rng):
    """Fill ``order`` with the rows of the runs from row ``first`` on."""
    runs = np.arange(first, first + n_runs * RUN_ROWS, RUN_ROWS, dtype=order.dtype)
    rng.shuffle(runs)
    turns = rng.integers(0, RUN_ROWS, n_runs, dtype=np.uint8)
    place = np.arange(RUN_ROWS, dtype=np.uint8)[:, None]
    whole = n_runs // WINDOW_RUNS * WINDOW_RUNS
    for part, width in ((slice(0, whole), WINDOW_RUNS), (slice(whole, n_runs), n_runs - whole)):
        if width:
            run, turn = (a[part].reshape(-1, 1, width) for a in (runs, turns))
            window = order[part.start * RUN_ROWS : part.stop * RUN_ROWS].reshape(-1, RUN_ROWS, width)
            np.add(run, (turn + place) & (RUN_ROWS - 1), out=window)
