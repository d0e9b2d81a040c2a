"""The layout of rows in memory, one after the other; the arrays of data frames have column after column."""

import numpy as np

from .._kernels import dense
from .threads import map_blocks, parts


def row_by_row(X):
    """Return an array of NumPy with its rows one after the other: itself if they are, else a copy."""
    if X.flags.c_contiguous:
        return X
    copy = np.empty(X.shape, X.dtype)
    has_columns = X.strides[0] == X.itemsize and X.strides[1] % X.itemsize == 0
    is_compiled = dense is not None and has_columns and X.dtype in (np.float64, np.float32)
    write = dense.copy_columns if is_compiled else _copy_columns
    for _ in map_blocks(lambda part: write(X[part], copy[part]), parts(len(X))):
        pass
    return copy


def _copy_columns(X, copy):
    """Write rows whose columns lie in memory one after the other to ``copy``.

    This is the reference implementation; NumPy needs twice the time of the compiled one, since it does not prefetch.
    """
    copy[...] = X
