"""Fits in 1, 2 and more threads, beside Ridge and LinearRegression with as many threads of linear algebra.

``python benchmarks/cores.py`` prints a markdown table: milliseconds, how many times faster than one thread of its own,
and how far the training R² is from that of exact least squares.  ``--quick`` takes little data, ``--threads 1 2 8``
these numbers of threads.  Threads help only where cores are idle: the first line says how many there are.
"the sum of X" reads X once: where one thread takes much of the memory's bandwidth, a second gains little in any fit.
"""

import argparse
import os
import time
from concurrent.futures import ThreadPoolExecutor

os.environ.setdefault("OMP_NUM_THREADS", str(os.cpu_count()))

import numpy as np
from scipy.sparse import csr_array, issparse
from sklearn.linear_model import LinearRegression, Ridge
from threadpoolctl import threadpool_limits

from report import heading, write_json
from sk_gdlinear import GDLinearRegressor

DENSE = [(4_000_000, 50, False), (1_000_000, 20, False), (300_000, 100, True), (20_000, 1_000, False)]
SPARSE = (200_000, 100_000, 20)  # rows, columns, entries in a row
RUNS = 3


def median_ms(fit):
    """Return the median time of a fit, after one that is not counted, and what it returned."""
    fitted, times = fit(), []
    for _ in range(RUNS):
        began = time.perf_counter()
        fitted = fit()
        times.append(time.perf_counter() - began)
    return 1e3 * float(np.median(times)), fitted


def dense_data(n, d, mixed, rng):
    """Return normal rows, whose columns are mixed with each other on request, and a noisy linear target."""
    X = rng.normal(size=(n, d))
    if mixed:
        X = X @ rng.normal(size=(d, d))
    return X, X @ rng.normal(size=d) + rng.normal(size=n)


def sparse_data(n, d, entries, rng):
    """Return rows with some entries each, as those of hashed text, and a noisy linear target."""
    columns = np.sort(rng.integers(0, d, (n, entries)), axis=1)
    X = csr_array((np.ones(n * entries), columns.ravel(), np.arange(0, n * entries + 1, entries)), shape=(n, d))
    X.sum_duplicates()
    return X, X @ rng.normal(size=d) + rng.normal(size=n)


def exact_r2(X, y):
    """Return the training R² of least squares, from the normal equations."""
    A = np.column_stack([X - X.mean(axis=0), np.ones(len(X))])
    coef = np.linalg.solve(A.T @ A, A.T @ y)
    return 1.0 - np.mean((A @ coef - y) ** 2) / y.var()


def sum_of(X, n):
    """Return the sum of the numbers of X, by so many threads."""
    numbers = X.data if issparse(X) else X
    with ThreadPoolExecutor(n) as pool:
        return sum(pool.map(np.sum, np.array_split(numbers, n)))


def rows_of(name, X, y, peers, numbers, best):
    """Print the lines of the table for one data set, and return them."""
    lines = []

    def add(label, n, ms, left):
        alone = next((line["ms"] for line in lines if line["estimator"] == label), ms)
        print(f"| {name} | {label} | {n} | {ms:,.0f} | {alone / ms:.2f} | {left} |", flush=True)
        lines.append({"data": name, "estimator": label, "threads": n, "ms": ms, "÷ one thread": alone / ms})

    for label, make in [("GDLinearRegressor", None), *peers]:
        for n in numbers:
            with threadpool_limits(n):
                model = GDLinearRegressor(random_state=0, n_jobs=n) if make is None else make()
                ms, model = median_ms(lambda model=model: model.fit(X, y))
            add(label, n, ms, "–" if best is None else f"{best - model.score(X, y):.1e}")
    for n in numbers:
        add("the sum of X", n, median_ms(lambda n=n: sum_of(X, n))[0], "–")
    return lines


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="little data")
    parser.add_argument("--threads", type=int, nargs="+", help="numbers of threads, 1 and 2 and all cores by default")
    parser.add_argument("--json", metavar="FILE", help="also write the figures to FILE")
    arguments = parser.parse_args()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    numbers = arguments.threads or sorted({1, 2, cores})
    print(heading(f"Fits in threads, on {cores} cores"))
    print("| data | estimator | threads | ms | ÷ one thread | R² to exact |")
    print("|---|---|---|---|---|---|")
    lines = []
    rng, shrink = np.random.default_rng(0), 20 if arguments.quick else 1
    for n, d, mixed in DENSE:
        X, y = dense_data(n // shrink, d, mixed, rng)
        peers = [("Ridge", Ridge), ("LinearRegression", LinearRegression)]
        lines += rows_of(f"{len(X):,} × {d}{', mixed' if mixed else ''}", X, y, peers, numbers, exact_r2(X, y))
    n, d, entries = SPARSE
    X, y = sparse_data(n // shrink, d // shrink, entries, rng)
    lines += rows_of(f"{n // shrink:,} × {d // shrink:,}, sparse", X, y, [], numbers, None)
    if arguments.json:
        write_json(arguments.json, cores=lines)


if __name__ == "__main__":
    main()
