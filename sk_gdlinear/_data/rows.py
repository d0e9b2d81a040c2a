"""The rows to learn from."""

from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array, issparse

from .order import BLOCK_ROWS, RUN_ROWS, cut, evenly_spaced, in_order, shuffled
from .threads import shared_size

# Entries per column of a block of sparse rows, beside which a pass over the columns is cheap; and entries of a block at
# most, which take about a second.
BLOCK_ENTRIES = 16
MOST_BLOCK_ENTRIES = 1 << 26


class Rows(NamedTuple):
    """Rows to learn from.

    ``weight`` is ``s / mean(s)`` or None; ``kept`` holds the numbers of the rows of non-zero weight, or None for all.
    """

    X: np.ndarray | csr_array  # (n, d), C-ordered
    Y: np.ndarray  # (n, k), of X's dtype
    weight: np.ndarray | None = None
    kept: np.ndarray | None = None

    @property
    def n_rows(self):
        """Number of the rows of non-zero weight."""
        return self.X.shape[0] if self.kept is None else len(self.kept)

    @property
    def order(self):
        """The numbers of the rows of non-zero weight, in their own order."""
        return np.arange(self.n_rows, dtype=np.intp) if self.kept is None else self.kept

    @property
    def total_weight(self):
        """Sum of the weights."""
        return float(self.n_rows) if self.weight is None else float(self.weight[self.order].sum(dtype=np.float64))

    @property
    def block_rows(self):
        """Rows per kernel call.

        The sparse kernel passes over all columns at every call, so a block of sparse rows has many more entries than
        columns.  A device other than a CPU gets what it handles at once.  With threads the size is such that every
        thread gets the same number of blocks.
        """
        most = max(BLOCK_ROWS, getattr(self.X, "block_rows", 0))
        if issparse(self.X):
            entries = min(BLOCK_ENTRIES * self.X.shape[1], MOST_BLOCK_ENTRIES)
            most = max(BLOCK_ROWS, entries * self.X.shape[0] // max(self.X.nnz, 1))
        return shared_size(self.n_rows, most)

    def blocks(self, rng=None, size=None):
        """Yield row numbers, ``size`` at a time, in a new random order if ``rng`` is given."""
        size = size or self.block_rows
        for places in in_order(self.n_rows, size) if rng is None else cut(shuffled(self.n_rows, rng), size):
            yield places if self.kept is None else self.kept[places]

    def subsample(self, most, rng):
        """Return these rows, or, if they are more than ``most``, about ``most`` of them in runs drawn at random."""
        n_runs, left = divmod(self.n_rows, RUN_ROWS)
        if self.n_rows <= most:
            return self
        runs = np.sort(rng.permutation(n_runs)[: max(1, most // RUN_ROWS)])
        places = (int(rng.integers(left + 1)) + RUN_ROWS * runs[:, None] + np.arange(RUN_ROWS)).ravel()
        return self._replace(kept=places if self.kept is None else self.kept[places])

    def sample(self, most):
        """Return at most ``most`` of the row numbers, evenly spaced."""
        places = evenly_spaced(self.n_rows, most)
        return places if self.kept is None else self.kept[places]

    def weights(self, order):
        """Return the weights of the rows ``order``, None for equal weights."""
        return None if self.weight is None else self.weight[order]
