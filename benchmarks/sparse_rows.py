"""Sparse rows beside SGDRegressor on the same CSR matrix: time per epoch, and time to its training R².

``python benchmarks/sparse_rows.py`` prints three markdown tables; ``--quick`` takes small matrices. Every matrix has 50
entries a row in random columns; the last columns of the first table say what ten times as many columns cost, us and a
bare product ``X @ w``, which reads every entry's weight just once: more columns stay in no cache. The last table is of
few rows in 4,194,304 columns, as after hashing features: time and peak memory of a fit. All runs in one thread, so that
``--cpu`` counts processor time, where other work takes turns on the machine.
"""

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import time
import warnings

import numpy as np
from sklearn.linear_model import SGDRegressor

from data import sparse_rows
from memory import peak_extra
from report import heading, interleaved, milliseconds, spread, table, write_json
from sk_gdlinear import GDLinearRegressor

SHAPES = [(200_000, 100_000), (200_000, 1_000_000)]
QUICK_SHAPES = [(10_000, 5_000), (10_000, 50_000)]
HASHED = {"n": 2_000, "d": 1 << 22, "per_row": 20}
PENALTIES = {None: 1e-4, "l2": 1e-4, "l1": 1e-2}  # and their strengths
BATCH_SIZES = (32, 256)
EPOCHS = 4  # timed together, beyond the second, in which the gradient table of variance reduction is filled
MOST_EPOCHS = 100  # tried, to come as far as SGDRegressor


def ours(batch_size, max_iter, **params):
    """Our defaults for a fixed number of epochs."""
    return GDLinearRegressor(batch_size=batch_size, max_iter=max_iter, tol=None, random_state=0, **params)


def time_epochs(X, y, n_runs, clock):
    """Return ms of the peer's epoch, of ``X @ w``, and for every batch size of a later epoch and of ``partial_fit``.

    Our epochs are those of mini-batches.
    """
    w = np.ones(X.shape[1])
    calls = {"peer": lambda: SGDRegressor(random_state=0).partial_fit(X, y), "product": lambda: X @ w}
    for batch_size in BATCH_SIZES:
        calls[batch_size, "stream"] = lambda m=batch_size: GDLinearRegressor(batch_size=m).partial_fit(X, y)
        for epochs in (2, 2 + EPOCHS):
            calls[batch_size, epochs] = lambda m=batch_size, e=epochs: ours(m, e, precondition=False).fit(X, y)
    times = interleaved(calls, n_runs, clock)
    ours_ms = {m: ((times[m, 2 + EPOCHS] - times[m, 2]) / EPOCHS, times[m, "stream"]) for m in BATCH_SIZES}
    return times["peer"], times["product"], ours_ms


def epoch_rows(problems, n_runs, clock):
    """Rows of the first table."""
    rows, narrow = [], {}
    for (n, d), (X, y) in problems.items():
        peer, product, measured = time_epochs(X, y, n_runs, clock)
        for m, (epoch, stream) in measured.items():
            rows.append(
                {
                    "rows × columns": f"{n:,} × {d:,}",
                    "batch": m,
                    "SGDRegressor ms": float(np.median(peer)),
                    "epoch ms": float(np.median(epoch)),
                    "ratio": float(np.median(peer / epoch)),
                    "ratio min–max": spread(peer / epoch),
                    "partial_fit ms": float(np.median(stream)),
                    "X @ w ms": float(np.median(product)),
                }
            )
            medians = np.array([np.median(epoch), np.median(product)])
            growth = medians / narrow[m] if m in narrow else (None, None)
            rows[-1] |= {"ten times the columns": growth[0], "X @ w then": growth[1]}
            narrow.setdefault(m, medians)
    return rows


def shortest_fit(X, y, target, clock):
    """Milliseconds and epochs of our shortest fit whose training R² is at least `target`."""
    for epochs in range(1, MOST_EPOCHS + 1):
        model = ours("auto", epochs)
        elapsed = milliseconds(lambda model=model: model.fit(X, y), clock)
        if model.score(X, y) >= target:
            return elapsed, epochs
    return None, None


def accuracy_rows(problems, clock):
    """Rows of the second table."""
    rows = []
    for (n, d), (X, y) in problems.items():
        peer, default = SGDRegressor(random_state=0), GDLinearRegressor(random_state=0)
        peer_ms = milliseconds(lambda peer=peer, X=X, y=y: peer.fit(X, y), clock)
        target = peer.score(X, y)
        shortest, epochs = shortest_fit(X, y, target, clock)
        default_ms = milliseconds(lambda model=default, X=X, y=y: model.fit(X, y), clock)
        rows.append(
            {
                "rows × columns": f"{n:,} × {d:,}",
                "SGDRegressor ms": peer_ms,
                "its epochs": peer.n_iter_,
                "its R²": target,
                "ms to that R²": shortest,
                "epochs": epochs,
                "times sooner": peer_ms / shortest if shortest else None,
                "default fit ms": default_ms,
                "its  R²": default.score(X, y),
                "its  epochs": default.n_iter_,
            }
        )
    return rows


def hashed_rows(n_runs, clock):
    """Rows of the third table: as many epochs of both, and our fit by default, with its end."""
    X, y = sparse_rows(**HASHED)
    small = sparse_rows(n=200, d=2_000, per_row=20)
    epochs = {"max_iter": EPOCHS, "tol": None}
    rows = []
    for penalty, alpha in PENALTIES.items():
        params = {"penalty": penalty, "alpha": alpha, "random_state": 0}
        calls = {
            "peer": lambda X, y, p=params: SGDRegressor(**p, **epochs).fit(X, y),
            "ours": lambda X, y, p=params: GDLinearRegressor(**p, **epochs).fit(X, y),
            "default": lambda X, y, p=params: GDLinearRegressor(**p).fit(X, y),
        }
        for call in calls.values():
            call(*small)  # loads all code
        times = interleaved({name: lambda call=call: call(X, y) for name, call in calls.items()}, n_runs, clock)
        peaks = {name: peak_extra(lambda call=call: call(X, y)) / 1e6 for name, call in calls.items()}
        rows.append(
            {
                "penalty": str(penalty),
                f"SGDRegressor ms, {EPOCHS} epochs": float(np.median(times["peer"])),
                "ours ms": float(np.median(times["ours"])),
                "ratio": float(np.median(times["peer"] / times["ours"])),
                "default fit ms": float(np.median(times["default"])),
                "SGDRegressor MB": peaks["peer"],
                "ours MB": peaks["ours"],
                "default fit MB": peaks["default"],
            }
        )
    return rows


def parse_args():
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small matrices, few runs")
    parser.add_argument("--runs", type=int, help="paired runs per row (default 5, quick 3)")
    parser.add_argument("--only", choices=["epochs", "accuracy", "hashed"], help="one table alone")
    parser.add_argument("--cpu", action="store_true", help="processor time in place of time on the wall")
    parser.add_argument("--json", metavar="FILE", help="also write the figures to FILE")
    return parser.parse_args()


def main():
    """Print the tables."""
    args = parse_args()
    clock = time.process_time if args.cpu else time.perf_counter
    warnings.simplefilter("ignore")  # peers that do not converge say so at every fit
    problems = {shape: sparse_rows(*shape) for shape in (QUICK_SHAPES if args.quick else SHAPES)}
    parts = {
        "epochs": (
            "Milliseconds per epoch (median; ratio = SGDRegressor / ours, pair by pair)",
            lambda: epoch_rows(problems, args.runs or (3 if args.quick else 5), clock),
        ),
        "accuracy": ("Milliseconds to SGDRegressor's training R²", lambda: accuracy_rows(problems, clock)),
        "hashed": (
            "A fit to {n:,} × {d:,}, {per_row} entries a row (ratio = SGDRegressor / ours)".format_map(HASHED),
            lambda: hashed_rows(args.runs or (3 if args.quick else 5), clock),
        ),
    }
    print(heading("Sparse rows"))
    results = {}
    for name, (title, measure) in parts.items():
        if args.only in (None, name):
            results[name] = measure()
            print(f"## {title}\n\n{table(results[name])}", flush=True)
    if args.json:
        write_json(args.json, **results)


if __name__ == "__main__":
    main()
