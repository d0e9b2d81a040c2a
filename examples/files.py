"""
Files larger than memory
========================

Learning from Parquet files that are larger than the memory of this process, and continuing from a checkpoint.

The files are sorted by the target, the worst order for learning chunk by chunk.  `ParquetBatches` reads every chunk
from many places of the files at once, so that each looks like the whole.
"""

# sphinx_gallery_thumbnail_path = '_static/files.svg'

import os
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")  # others reserve a gigabyte, which the limit would count

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from sk_gdlinear import GDLinearRegressor, ParquetBatches

# %%
# The data, and a limit of the memory, for the sake of the example:


def write_files(folder, n_files=10, n_rows=300_000, d=16):
    """Files sorted by the target: each holds a tenth of its range, the worst order for learning chunk by chunk."""
    rng = np.random.default_rng(0)
    for i in range(n_files):
        y = i + np.sort(rng.random(n_rows))
        X = (y[:, None] + rng.normal(scale=5.0, size=(n_rows, d))) * np.geomspace(1e-3, 1e3, d)
        columns = {f"x{j}": X[:, j] for j in range(d)} | {"price": y}
        pq.write_table(pa.table(columns), folder / f"{i}.parquet", row_group_size=10_000, use_dictionary=False)
    return sum(file.stat().st_size for file in folder.iterdir())


def limit_memory(n_bytes):
    """Allow this process ``n_bytes`` more than it holds now, where the system can."""
    if sys.platform.startswith("linux"):
        import resource

        lines = Path("/proc/self/status").read_text().splitlines()
        held = next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmData:"))
        resource.setrlimit(resource.RLIMIT_DATA, (held + n_bytes, held + n_bytes))


# %%
# The first call makes one epoch.  The second could be in another process, later: it finds the checkpoint and goes on
# from it.  Of the three epochs that it may make in all it needs two: the second changes nothing, as its last line says.

with tempfile.TemporaryDirectory() as name:
    folder = Path(name)
    (folder / "data").mkdir()
    n_bytes = write_files(folder / "data")
    limit_memory(n_bytes * 3 // 4)
    batches = ParquetBatches(folder / "data", target="price", batch_rows=16_384)
    print(f"{batches.n_rows:,} rows, {n_bytes / 1e6:.0f} MB, of which memory may take three quarters")
    for epochs in (1, 3):
        model = GDLinearRegressor(random_state=0, verbose=1)
        model.fit_batches(batches, epochs=epochs, checkpoint=folder / "model.checkpoint", progress=True)
    R2 = np.average([model.score(pd.DataFrame(X, columns=batches.columns), y) for X, y in batches])
    print(f"R2 = {R2:.4f} after {model.n_iter_} epochs ({model.stop_reason_})")
