"""What the tests of ParquetBatches share: pyarrow or a skip, a small frame, and the rows of all chunks."""

import numpy as np
import pytest

pa = pytest.importorskip("pyarrow", reason="ParquetBatches reads with pyarrow")
pq = pytest.importorskip("pyarrow.parquet", reason="ParquetBatches reads with pyarrow")
ds = pytest.importorskip("pyarrow.dataset", reason="ParquetBatches reads with pyarrow")


def frame(n=40):
    """Columns x (the row number), z and the target y = 3 x + 1."""
    pd = pytest.importorskip("pandas", reason="the frames are pandas'")
    x = np.arange(float(n))
    return pd.DataFrame({"x": x, "z": x % 7, "y": 3 * x + 1})


def rows_of(batches):
    """All chunks of an epoch as one array, features first."""
    return np.concatenate([np.column_stack(chunk) for chunk in batches])


def first_feature_of(batches):
    """The first column of X of all chunks of an epoch."""
    return np.concatenate([chunk[0][:, 0] for chunk in batches])


def memory_filesystem():
    """The file system of fsspec that lies in memory; skips where pyarrow takes no address of it."""
    import pyarrow.fs

    filesystem = pytest.importorskip("fsspec").filesystem("memory")
    try:
        pyarrow.fs.FileSystem.from_uri("fsspec+memory:///")
    except pa.ArrowInvalid:
        pytest.skip("this pyarrow takes no addresses of fsspec's file systems")
    return filesystem
