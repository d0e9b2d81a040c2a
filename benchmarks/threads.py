"""A grid search in two threads, which share X, beside one and beside two processes, which need copies of it.

``python benchmarks/threads.py`` prints a markdown table; ``--quick`` takes little data.  The speed-up over n_jobs=1 in
processes shows what the machine allows (two busy cores share memory and caches); that in threads also shows what
Python's global lock costs, which is held only between calls of the compiled kernels and of NumPy.
"""

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"

import argparse

import numpy as np
from joblib import parallel_config
from sklearn.model_selection import GridSearchCV

import data
from report import heading, interleaved, spread, table, write_json
from sk_gdlinear import GDLinearRegressor

SHAPES = ((200_000, 20), (100_000, 100), (20_000, 1_000))
QUICK_SHAPES = ((5_000, 20),)
GRID = {"alpha": [1e-4, 1e-3, 1e-2, 1e-1]}


def search(X, y, n_jobs, backend):
    """Function that runs the grid search."""

    def run():
        with parallel_config(backend=backend):
            GridSearchCV(GDLinearRegressor(penalty="l2", random_state=0), GRID, n_jobs=n_jobs, cv=3).fit(X, y)

    return run


def row(n, d, n_runs):
    """One line of the table; speed-ups are medians of runs that took turns."""
    X, y = data.gaussian(n, d)
    calls = {"one": search(X, y, 1, "threading"), "threads": search(X, y, 2, "threading")}
    times = interleaved(calls | {"processes": search(X, y, 2, "loky")}, n_runs)
    speedups = {name: times["one"] / times[name] for name in ("threads", "processes")}
    return {
        "rows × columns": f"{n:,} × {d:,}",
        "n_jobs=1 ms": float(np.median(times["one"])),
        "2 threads ms": float(np.median(times["threads"])),
        "2 processes ms": float(np.median(times["processes"])),
        "speed-up in threads": float(np.median(speedups["threads"])),
        "min–max": spread(speedups["threads"]),
        "in processes": float(np.median(speedups["processes"])),
    }


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="little data")
    parser.add_argument("--runs", type=int, default=5, help="interleaved runs, default 5")
    parser.add_argument("--json", help="write the figures to this file too")
    arguments = parser.parse_args()
    rows = [row(n, d, arguments.runs) for n, d in (QUICK_SHAPES if arguments.quick else SHAPES)]
    print(heading("A grid search of 12 fits in threads"))
    print(table(rows))
    if arguments.json:
        write_json(arguments.json, threads=rows)


if __name__ == "__main__":
    main()
