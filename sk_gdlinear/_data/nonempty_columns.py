"""The columns of sparse rows that have entries; a fit needs no others."""

from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array, issparse

from .rows import BLOCK_ENTRIES

# Columns from which it is worth checking whether most of them are empty.
LEAST_COLUMNS = 1 << 10


class NonemptyColumns(NamedTuple):
    """The columns with entries of a matrix with many more columns, as after hashing features."""

    numbers: np.ndarray  # (p,), their numbers in the matrix, ascending
    n_columns: int  # d, the columns of the matrix

    @classmethod
    def of(cls, X):
        """Return the nonempty columns of CSR rows; None if they are most, or passes over all columns are cheap."""
        d = X.shape[1]
        if not issparse(X) or d < LEAST_COLUMNS or X.nnz > BLOCK_ENTRIES * d:
            return None
        has_entry = np.zeros(d, dtype=bool)
        for part in (slice(d), slice(d, None)):  # the first rows may be enough to decide
            has_entry[X.indices[part]] = True
            if np.count_nonzero(has_entry) > d // 2:
                return None
        return cls(np.flatnonzero(has_entry), d) if X.nnz else None

    def take(self, values):
        """Return the part of values of all columns, (..., d), that belongs to these, (..., p)."""
        return np.take(values, self.numbers, axis=-1)

    def contain(self, values):
        """Whether values (..., d), or one for all columns, are 0 in all other columns."""
        values = np.asarray(values)
        return np.count_nonzero(values) == (np.count_nonzero(self.take(values)) if values.ndim else 0)

    def of_rows(self, X):
        """Return the rows with these columns alone; the values are shared if all entries of CSR rows are in them."""
        if not issparse(X):
            return self.take(X)
        place = np.full(self.n_columns, -1, dtype=np.int32 if len(self.numbers) < 2**31 else np.int64)
        place[self.numbers] = np.arange(len(self.numbers))
        indices, values, indptr = place[X.indices], X.data, X.indptr
        if indices.min(initial=0) < 0:  # only rows of a validation set have entries in other columns
            kept = indices >= 0
            indptr = np.concatenate(([0], np.cumsum(kept)))[indptr].astype(indptr.dtype)
            indices, values = indices[kept], values[kept]
        return csr_array((values, indices, indptr), shape=(X.shape[0], len(self.numbers)))

    def spread(self, values):
        """Return the values (..., d) of all columns from those of these, (..., p), with 0 in the empty ones."""
        all_values = np.zeros((*values.shape[:-1], self.n_columns), values.dtype)
        all_values[..., self.numbers] = values
        return all_values
