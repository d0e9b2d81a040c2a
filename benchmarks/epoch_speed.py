"""Time per epoch, time of a small fit, and memory of a large one, beside scikit-learn's SGDRegressor.

``python benchmarks/epoch_speed.py`` prints three markdown tables; ``--quick`` takes small arrays. The peer
and ours run in turn in one process, on one BLAS thread. An epoch is one after the second, in which variance reduction
visits all rows once more to fill the gradient table. The memory of a fit is that of a process of its own.
"""

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import math
import warnings

import numpy as np
from sklearn.linear_model import LinearRegression, SGDRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import memory
from data import diabetes, gaussian
from report import heading, interleaved, milliseconds, spread, table, write_json
from sk_gdlinear import GDLinearRegressor

SHAPES = [(100_000, 10), (100_000, 100), (20_000, 1_000), (1_000_000, 20)]
QUICK_SHAPES = [(5_000, 10), (1_000, 100)]
MEMORY_SHAPES = [(1_000_000, 20), (1_000_000, 50)]
QUICK_MEMORY_SHAPES = [(200_000, 20)]
BATCH_SIZES = (1, 32, 256)
TIMED_MS = 200.0  # aim for this much measured time per run: the difference of two fits must stand out


def peer(d):
    """SGDRegressor with its defaults, the step small enough to stay finite on `d` columns (same work)."""
    return SGDRegressor(eta0=min(0.01, 0.1 / d), random_state=0)


def ours(batch_size, max_iter=1):
    """Our defaults for a fixed number of epochs."""
    return GDLinearRegressor(batch_size=batch_size, max_iter=max_iter, tol=None, random_state=0)


def epochs_to_time(X, y, batch_size):
    """Epochs that take about `TIMED_MS`, between 2 and 200."""
    two, four = (milliseconds(lambda k=k: ours(batch_size, k).fit(X, y)) for k in (2, 4))
    per_epoch = max((four - two) / 2, 1e-3)
    return min(max(math.ceil(TIMED_MS / per_epoch), 2), 200)


def time_epochs(X, y, batch_size, n_runs):
    """One table row: ms per epoch of ours and of the peer's partial_fit, from paired runs."""
    n, d = X.shape
    extra = epochs_to_time(X, y, batch_size)
    times = interleaved(
        {
            "peer": lambda: peer(d).partial_fit(X, y),
            "one": lambda: ours(batch_size, 1).fit(X, y),
            "two": lambda: ours(batch_size, 2).fit(X, y),
            "long": lambda: ours(batch_size, 2 + extra).fit(X, y),
            "partial": lambda: ours(batch_size).partial_fit(X, y),
            "sum": X.sum,
        },
        n_runs,
    )
    epoch = (times["long"] - times["two"]) / extra
    ratio, partial_ratio = times["peer"] / epoch, times["peer"] / times["partial"]
    return {
        "rows × columns": f"{n:,} × {d:,}",
        "batch": batch_size,
        "SGDRegressor ms": float(np.median(times["peer"])),
        "epoch ms": float(np.median(epoch)),
        "ratio": float(np.median(ratio)),
        "ratio min–max": spread(ratio),
        "partial_fit ms": float(np.median(times["partial"])),
        "its ratio": float(np.median(partial_ratio)),
        "its min–max": spread(partial_ratio),
        "fit of 1 epoch ms": float(np.median(times["one"])),
        "of 2 ms": float(np.median(times["two"])),
        "X.sum() ms": float(np.median(times["sum"])),
    }


def epoch_rows(shapes, n_runs):
    """Rows of the first table; each shape's array is made once."""
    rows = []
    for n, d in shapes:
        X, y = gaussian(n, d, seed=0)
        rows += [time_epochs(X, y, batch_size, n_runs) for batch_size in BATCH_SIZES]
    return rows


def small_fit_rows(n_runs):
    """Rows of the second table: whole fits with default parameters on raw diabetes data."""
    X, y = diabetes()
    models = {
        "GDLinearRegressor()": GDLinearRegressor(random_state=0),
        "SGDRegressor()": SGDRegressor(random_state=0),
        "StandardScaler + SGDRegressor": make_pipeline(StandardScaler(), SGDRegressor(random_state=0)),
        "LinearRegression()": LinearRegression(),
    }
    calls = {name: lambda model=model: model.fit(X, y) for name, model in models.items()}
    times = interleaved(calls, n_runs)
    return [
        {
            "model": name,
            "fit ms": float(np.median(times[name])),
            "min–max": spread(times[name], digits=2),
            "R²": float(model.score(X, y)),
            "epochs": getattr(model[-1] if hasattr(model, "steps") else model, "n_iter_", None),
        }
        for name, model in models.items()
    ]


def parse_args():
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small arrays, few runs")
    parser.add_argument("--runs", type=int, help="paired runs per row (default 7, quick 3)")
    parser.add_argument("--only", choices=["epochs", "small", "memory"], help="one table alone")
    parser.add_argument("--json", metavar="FILE", help="also write the figures to FILE")
    return parser.parse_args()


def main():
    """Print the tables."""
    args = parse_args()
    warnings.simplefilter("ignore")  # peers that do not converge on raw data say so at every fit
    n_runs = args.runs or (3 if args.quick else 7)
    parts = {
        "epochs": (
            "Milliseconds per epoch (median; ratio = SGDRegressor / ours, pair by pair)",
            lambda: epoch_rows(QUICK_SHAPES if args.quick else SHAPES, n_runs),
        ),
        "small": ("Whole fit, 442 × 10 raw diabetes data", lambda: small_fit_rows(5 * n_runs)),
        "memory": (
            "Peak extra memory of fit, default parameters",
            lambda: memory.rows(QUICK_MEMORY_SHAPES if args.quick else MEMORY_SHAPES),
        ),
    }
    print(heading("Speed and memory"))
    results = {}
    for name, (title, measure) in parts.items():
        if args.only in (None, name):
            results[name] = measure()
            print(f"## {title}\n\n{table(results[name])}", flush=True)
    if args.json:
        write_json(args.json, **results)


if __name__ == "__main__":
    main()
