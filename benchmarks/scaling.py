"""How the cost of a fit grows, and what it is made of: rows, preparation, memory speed, precision.

``python benchmarks/scaling.py`` prints four markdown tables; ``--quick`` takes small arrays.  One BLAS thread.  An
epoch's time is the difference of a long and a short fit over the number of epochs between them, run by run.
"""

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"

import argparse

import numpy as np

from data import gaussian
from epoch_speed import epochs_to_time, ours
from report import heading, interleaved, spread, table, write_json
from sk_gdlinear import GDLinearRegressor

EPOCHS = 5  # of the fits whose time must grow in proportion to the rows
LEAST_EXTRA = 10  # epochs that the long fit makes beyond the short one
BATCH_AGAINST_SUM = 128


def shape_of(X):
    """Rows and columns as text."""
    return f"{X.shape[0]:,} × {X.shape[1]:,}"


def with_spread(values):
    """Median, smallest and largest value as text."""
    return f"{np.median(values):.3g} ({spread(values, digits=2)})"


def enough_epochs(X, y, batch_size):
    """Epochs whose time stands out of the noise of a fit."""
    return max(LEAST_EXTRA, epochs_to_time(X, y, batch_size))


def epoch_calls(X, y, batch_size, extra):
    """A fit of two epochs, after which all others are alike, and one of `extra` more."""
    return {
        "short": lambda: ours(batch_size, 2).fit(X, y),
        "long": lambda: ours(batch_size, 2 + extra).fit(X, y),
    }


def linear_rows(sizes, n_columns, n_runs):
    """Time of `EPOCHS` epochs by number of rows, over what the fewest rows would lead one to expect."""
    arrays = {n: gaussian(n, n_columns) for n in sizes}
    calls = {n: lambda X=X, y=y: ours("auto", EPOCHS).fit(X, y) for n, (X, y) in arrays.items()}
    times = interleaved(calls, n_runs)
    return [
        {
            "rows × columns": shape_of(X),
            f"{EPOCHS} epochs ms": float(np.median(times[n])),
            "ns per row and epoch": float(np.median(times[n]) * 1e6 / (n * EPOCHS)),
            "over proportional": with_spread(times[n] / times[sizes[0]] * sizes[0] / n),
        }
        for n, (X, _) in arrays.items()
    ]


def preparation_rows(shape, n_runs):
    """What a fit costs beside its epochs, in epochs."""
    X, y = gaussian(*shape)
    extra = enough_epochs(X, y, "auto")
    default = GDLinearRegressor(random_state=0)
    fits = {"one": lambda: ours("auto", 1).fit(X, y), "default": lambda: default.fit(X, y)}
    times = interleaved(epoch_calls(X, y, "auto", extra) | fits, n_runs)
    epoch = (times["long"] - times["short"]) / extra
    return [
        {
            "rows × columns": shape_of(X),
            "fit": label,
            "ms": float(np.median(whole)),
            "epochs": n_epochs,
            "one epoch ms": float(np.median(epoch)),
            "beside them, in epochs": with_spread(whole / epoch - n_epochs),
        }
        for label, whole, n_epochs in (("1 epoch", times["one"], 1), ("default", times["default"], default.n_iter_))
    ]


def sum_rows(shapes, n_runs):
    """One epoch beside the sum of X, which reads memory once."""
    rows = []
    for shape in shapes:
        X, y = gaussian(*shape)
        extra = enough_epochs(X, y, BATCH_AGAINST_SUM)
        times = interleaved(epoch_calls(X, y, BATCH_AGAINST_SUM, extra) | {"sum": X.sum}, n_runs)
        epoch = (times["long"] - times["short"]) / extra
        rows.append(
            {
                "rows × columns": shape_of(X),
                "batch": BATCH_AGAINST_SUM,
                "epoch ms": float(np.median(epoch)),
                "X.sum() ms": float(np.median(times["sum"])),
                "ratio": with_spread(epoch / times["sum"]),
            }
        )
    return rows


def precision_rows(shape, n_runs):
    """float32 beside float64: an epoch and a whole default fit."""
    X, y = gaussian(*shape)
    arrays = {"float64": (X, y), "float32": (X.astype(np.float32), y.astype(np.float32))}
    extra = enough_epochs(X, y, "auto")
    calls = {}
    for dtype, pair in arrays.items():
        calls |= {(dtype, name): call for name, call in epoch_calls(*pair, "auto", extra).items()}
        calls[dtype, "default"] = lambda pair=pair: GDLinearRegressor(random_state=0).fit(*pair)
    times = interleaved(calls, n_runs)
    epoch = {dtype: (times[dtype, "long"] - times[dtype, "short"]) / extra for dtype in arrays}
    return [
        {
            "rows × columns": shape_of(X),
            "dtype": dtype,
            "epoch ms": float(np.median(epoch[dtype])),
            "times as fast": with_spread(epoch["float64"] / epoch[dtype]),
            "default fit ms": float(np.median(times[dtype, "default"])),
            "its times as fast": with_spread(times["float64", "default"] / times[dtype, "default"]),
        }
        for dtype in arrays
    ]


def parse_args():
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a hundredth of the rows, few runs")
    parser.add_argument("--runs", type=int, help="paired runs per row (default 5, quick 3)")
    parser.add_argument("--json", metavar="FILE", help="also write the figures to FILE")
    return parser.parse_args()


def main():
    """Print the tables."""
    args = parse_args()
    n_runs = args.runs or (3 if args.quick else 5)
    unit = 10_000 if args.quick else 1_000_000
    parts = {
        "Time grows with the rows": lambda: linear_rows([unit // 10, unit, 4 * unit], 20, n_runs),
        "What a fit costs beside its epochs": lambda: preparation_rows((unit, 20), n_runs),
        "One epoch beside X.sum()": lambda: sum_rows([(unit, 20), (unit // 50, 1_000)], n_runs),
        "float32 beside float64": lambda: precision_rows((unit, 100), n_runs),
    }
    print(heading("Scaling"))
    results = {}
    for title, measure in parts.items():
        results[title] = measure()
        print(f"## {title}\n\n{table(results[title])}", flush=True)
    if args.json:
        write_json(args.json, **results)


if __name__ == "__main__":
    main()
