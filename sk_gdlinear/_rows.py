"""The rows to learn from, the order in which an epoch visits them, and their pieces."""

from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array, issparse

# Rows between two looks at the clock, the keyboard and the finiteness of the loss.
SEGMENT_ROWS = 1 << 16

# Entries per column beside which a pass over the columns of sparse rows is cheap; and the entries of about a second.
SEGMENT_ENTRIES = 16
MOST_SEGMENT_ENTRIES = 1 << 26

# Rows up to which every row is placed at random; beyond, rows in a run, and runs dealt out together.
FULL_SHUFFLE_ROWS = 1 << 15
RUN_ROWS = 16  # a power of two
WINDOW_RUNS = 64
STRETCH_RUNS = SEGMENT_ROWS // RUN_ROWS


class Data(NamedTuple):
    """Rows to learn from.

    ``weight`` is ``s / mean(s)`` or None; ``kept`` the rows of non-zero weight, or None for all.
    """

    X: np.ndarray | csr_array  # (n, d), C-ordered
    Y: np.ndarray  # (n, k), of X's dtype
    weight: np.ndarray | None = None
    kept: np.ndarray | None = None

    @property
    def n_rows(self):
        """Rows that count."""
        return self.X.shape[0] if self.kept is None else len(self.kept)

    @property
    def segment_rows(self):
        """Rows worked off between two looks: of sparse rows as many as hold far more entries than there are columns.

        Their engine passes over all columns at every call.
        """
        if not issparse(self.X):
            return SEGMENT_ROWS
        entries = min(SEGMENT_ENTRIES * self.X.shape[1], MOST_SEGMENT_ENTRIES)
        return max(SEGMENT_ROWS, entries * self.X.shape[0] // max(self.X.nnz, 1))

    def segments(self, rng=None, rows=None):
        """Yield row numbers as the engines take them, ``rows`` at a time: in a new random order, or in their own."""
        rows = rows or self.segment_rows
        for places in cut(in_order(self.n_rows) if rng is None else shuffled(self.n_rows, rng), rows):
            yield places if self.kept is None else self.kept[places]

    def dense(self, rows):
        """Return ``rows`` of sparse data as dense data of their own."""
        weight = None if self.weight is None else self.weight[rows]
        return Data(self.X[rows].toarray(), self.Y[rows], weight)

    def some(self, most, rng):
        """Return these rows, or if there are more than ``most`` about so many, in runs drawn at random."""
        n_runs, left = divmod(self.n_rows, RUN_ROWS)
        if self.n_rows <= most:
            return self
        runs = np.sort(rng.permutation(n_runs)[: max(1, most // RUN_ROWS)])
        places = (int(rng.integers(left + 1)) + RUN_ROWS * runs[:, None] + np.arange(RUN_ROWS)).ravel()
        return self._replace(kept=places if self.kept is None else self.kept[places])

    def sample(self, most):
        """Return at most so many of the row numbers, evenly spaced."""
        places = evenly_spaced(self.n_rows, most)
        return places if self.kept is None else self.kept[places]


def evenly_spaced(n, most):
    """At most so many of the numbers 0 to ``n - 1``, evenly spaced."""
    return np.arange(n, dtype=np.intp) if n <= most else np.linspace(0, n - 1, most).astype(np.intp)


def in_order(n):
    """Yield the numbers 0 to ``n - 1``, a stretch at a time."""
    for start in range(0, n, SEGMENT_ROWS):
        yield np.arange(start, min(start + SEGMENT_ROWS, n), dtype=np.intp)


def shuffled(n, rng):
    """Yield the numbers 0 to ``n - 1`` in a new random order, a stretch at a time.

    Many rows are shuffled by runs of consecutive ones, so that gathering batches reads memory in long stretches: runs
    are permuted, each is turned by a random amount, and the runs of a window are dealt out row by row.  Neighbours in
    the order, hence the rows of a batch, then come from different random runs, as good as independent.
    """
    if n <= FULL_SHUFFLE_ROWS:
        yield rng.permutation(n).astype(np.intp, copy=False)
        return
    n_runs, left = divmod(n, RUN_ROWS)
    first = int(rng.integers(left + 1))  # the rows in no run: before the first, behind the last
    rest = np.append(np.arange(first), np.arange(first + n_runs * RUN_ROWS, n)).astype(np.intp, copy=False)
    runs = np.arange(first, first + n_runs * RUN_ROWS, RUN_ROWS, dtype=np.int32 if n < 2**31 else np.int64)
    for part in (rest, runs):
        rng.shuffle(part)
    turns = rng.integers(0, RUN_ROWS, n_runs, dtype=np.uint8)
    place = np.arange(RUN_ROWS, dtype=np.uint8)[:, None]
    for start in range(0, n_runs, STRETCH_RUNS):
        stop = min(start + STRETCH_RUNS, n_runs)
        width = WINDOW_RUNS if (stop - start) % WINDOW_RUNS == 0 else stop - start
        run, turn = (a[start:stop].reshape(-1, 1, width) for a in (runs, turns))
        yield np.add(run, (turn + place) & (RUN_ROWS - 1), dtype=np.intp).ravel()
    yield rest


def cut(stretches, rows):
    """Cut stretches of numbers, one after the other, into pieces of ``rows``, the last one shorter."""
    held, length = [], 0
    for stretch in stretches:
        held.append(stretch)
        length += len(stretch)
        if length >= rows:
            joined, whole = held[0] if len(held) == 1 else np.concatenate(held), length // rows * rows
            for start in range(0, whole, rows):
                yield joined[start : start + rows]
            held, length = [joined[whole:]] if length > whole else [], length - whole
    if length:
        yield np.concatenate(held)
