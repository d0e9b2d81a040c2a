"""Throughput of ``fit_batches`` over Parquet files, and of reading alone, beside memory and beside pyarrow.

``python benchmarks/batches.py`` writes 2,000,000 × 50 float64 to a temporary directory, in a fast format and in
pyarrow's default one, and reads them before timing, so that the system has them cached. It then reads 1,000,000 × 20
in 1 to 3,200 row groups, with ``ParquetBatches`` and with ``pyarrow.parquet.read_table``. The columns that
``read_table`` returns are no rows yet: whoever needs a row-major array has to copy them, which the column "read_table,
then rows" includes. ``ParquetBatches`` makes the same copy, so that column is the lower bound of its time.
"""

import argparse
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.metrics import r2_score

from data import gaussian
from report import heading, interleaved, table, write_json
from sk_gdlinear import GDLinearRegressor, ParquetBatches

FORMATS = {
    "plain (no dictionary, no compression)": {"use_dictionary": False, "compression": "none"},
    "pyarrow's default (dictionary, snappy)": {},
}


def write(folder, X, y, n_files=10, **options):
    """Write the rows in files with row groups of 50,000."""
    for i, rows in enumerate(np.array_split(np.arange(len(X)), n_files)):
        columns = {f"x{j}": X[rows, j] for j in range(X.shape[1])} | {"y": y[rows]}
        pq.write_table(pa.table(columns), folder / f"{i}.parquet", row_group_size=50_000, **options)


def fit(source, epochs):
    """Learn from all chunks so many times."""
    return GDLinearRegressor(tol=None, random_state=0).fit_batches(source, epochs=epochs)


def measure(n, d, epochs, n_runs):
    """One row per format."""
    X, y = gaussian(n, d)
    rows = []
    for name, options in FORMATS.items():
        with tempfile.TemporaryDirectory() as folder:
            write(Path(folder), X, y, **options)
            batches = ParquetBatches(folder, "y")
            chunks = list(batches)
            sources = {"memory": chunks, "files": batches}
            calls = {key: lambda source=source: fit(source, epochs) for key, source in sources.items()}
            calls["reading"] = lambda batches=batches: sum(len(chunk[0]) for chunk in batches)
            times = interleaved(calls, n_runs)
            model, in_memory = calls["files"](), GDLinearRegressor(random_state=0).fit(X, y)
        ratio = times["memory"] / times["files"]
        rows.append(
            {
                "files": name,
                "rows × columns": f"{n:,} × {d}",
                "epochs": epochs,
                "memory, million rows/s": epochs * n / np.median(times["memory"]) / 1e3,
                "files, million rows/s": epochs * n / np.median(times["files"]) / 1e3,
                "ratio": float(np.median(ratio)),
                "ratio min–max": f"{ratio.min():.2f}–{ratio.max():.2f}",
                "reading alone, million rows/s": n / np.median(times["reading"]) / 1e3,
                "R² below that of fit": in_memory.score(X, y) - r2_score(y, X @ model.coef_ + model.intercept_),
            }
        )
    return rows


def row_major(table):
    """Copy a table into a row-major float64 array, in the blocks that take the least time."""
    array, start = np.empty((table.num_rows, table.num_columns)), 0
    for batch in table.to_batches(max_chunksize=4_000):
        stop = start + batch.num_rows
        array[start:stop] = batch.to_tensor(null_to_nan=True, row_major=False).to_numpy()
        start = stop
    return array


def measure_reading(n, d, n_runs, row_groups=(1, 3, 10, 100, 1_000, 3_200)):
    """One row per number of row groups and of pyarrow's threads."""
    X, y = gaussian(n, d - 1)
    columns = pa.table({f"x{j}": X[:, j] for j in range(d - 1)} | {"y": y})
    rows = []
    for n_groups in row_groups:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "0.parquet"
            pq.write_table(columns, path, row_group_size=-(-n // n_groups))
            batches = ParquetBatches(path, "y")
            calls = {"batches": lambda batches=batches: sum(len(chunk[0]) for chunk in batches)}
            for threads in (True, False):
                read = partial(pq.read_table, path, use_threads=threads)
                calls[f"columns {threads}"], calls[f"rows {threads}"] = read, lambda read=read: row_major(read())
            times = interleaved(calls, n_runs)
        for threads in (True, False):
            rows.append(
                {
                    "row groups": n_groups,
                    "pyarrow's threads": "default" if threads else "one",
                    "ParquetBatches, ms": float(np.median(times["batches"])),
                    "read_table, ms": float(np.median(times[f"columns {threads}"])),
                    "read_table, then rows, ms": float(np.median(times[f"rows {threads}"])),
                    "time beside read_table": float(np.median(times["batches"] / times[f"columns {threads}"])),
                    "time beside rows": float(np.median(times["batches"] / times[f"rows {threads}"])),
                }
            )
    return rows


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--columns", type=int, default=50)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", metavar="FILE", help="also write the figures to FILE")
    parser.add_argument("--quick", action="store_true", help="200,000 rows, one run")
    args = parser.parse_args()
    if args.quick:
        args.rows, args.runs = 200_000, 1
    print(heading("Files beside memory"))
    rows = measure(args.rows, args.columns, args.epochs, args.runs)
    print(table(rows))
    print(heading("Reading beside pyarrow"))
    reading = measure_reading(args.rows // 2, 20, 3 * args.runs)
    print(table(reading))
    if args.json:
        write_json(args.json, batches=rows, reading=reading)


if __name__ == "__main__":
    main()
