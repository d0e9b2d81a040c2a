"""Throughput of ``fit_batches`` over Parquet files, reading included, beside the same arrays in memory.

``python benchmarks/batches.py`` writes 2,000,000 × 50 float64 to a temporary directory, in a fast format and in
pyarrow's default one, and reads them before timing, so that the system has them cached.
"""

import argparse
import tempfile
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
            calls = {
                key: lambda source=source: GDLinearRegressor(random_state=0).fit_batches(source, epochs=epochs)
                for key, source in sources.items()
            }
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
    if args.json:
        write_json(args.json, batches=rows)


if __name__ == "__main__":
    main()
