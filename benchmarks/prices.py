"""What a mini-batch epoch and the curvature cost, beside the formula of "rent or buy".

``python benchmarks/prices.py`` prints the table of CONTRIBUTING.md.  An epoch is a fifth of what a fit of six epochs
takes longer than one of a single epoch, its objective included.  The curvature is the second moments of all rows, the
model and its minimum.  All is on one BLAS thread.
"""

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import time
import warnings

import numpy as np

import data
from report import heading, table, write_json
from sk_gdlinear import GDLinearRegressor
from sk_gdlinear._data.rows import Rows
from sk_gdlinear._data.second_moments import second_moments
from sk_gdlinear._data.standardize import Standardization
from sk_gdlinear._descent.quadratic import QuadraticModel
from sk_gdlinear._descent.rent_or_buy import Costs
from sk_gdlinear._objective.penalties import BoxedElasticNet

SHAPES = [(1_000, 10), (200_000, 20), (100_000, 50), (20_000, 200), (20_000, 1_000), (2_000, 1_000)]
MORE_EPOCHS = 5


def median_ms(function, runs):
    """Median milliseconds of a call, after one that is not counted."""
    function()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return 1e3 * float(np.median(times))


def prices(n, d, runs):
    """The row of the table for one shape."""
    X, y = data.gaussian(n, d)[:2]
    zeros, ones = np.zeros(1), np.ones(1)
    standardization = Standardization(X.mean(axis=0), 1.0 / X.std(axis=0), zeros, ones)
    rows, W = Rows(X, y[:, None]), np.zeros((1, d))
    slope = -((y - y.mean()) @ standardization.rows(X) / n)[None]

    def fit(max_iter):
        GDLinearRegressor(precondition=False, tol=None, max_iter=max_iter, random_state=0).fit(X, y)

    def curvature():
        model = QuadraticModel(second_moments(rows, standardization).about(True))
        model.minimise(W, slope, BoxedElasticNet())

    epoch = (median_ms(lambda: fit(1 + MORE_EPOCHS), runs) - median_ms(lambda: fit(1), runs)) / MORE_EPOCHS
    bought, costs = median_ms(curvature, runs), Costs.of(rows, 1, True)
    return {
        "rows × columns": f"{n:,} × {d:,}",
        "epoch, ms": epoch,
        "epoch by the formula": 1e-6 * costs.epoch,
        "curvature, ms": bought,
        "curvature by the formula": 1e-6 * costs.curvature,
        "epochs until bought, measured": bought / epoch,
        "epochs until bought, by the formula": costs.curvature / costs.epoch,
    }


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="little data")
    parser.add_argument("--json", metavar="FILE", help="also write the figures to FILE")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    print(heading("Rent or buy"))
    shapes = [(n // 10, d) for n, d in SHAPES[:3]] if arguments.quick else SHAPES
    found = [prices(n, d, 3 if arguments.quick else 9) for n, d in shapes]
    print(table(found))
    if arguments.json:
        write_json(arguments.json, prices=found)


if __name__ == "__main__":
    main()
