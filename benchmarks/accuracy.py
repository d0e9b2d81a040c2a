"""How near the defaults come to exact least squares on raw features, and how soon.

``python benchmarks/accuracy.py`` prints a markdown table; ``--batch-sizes 16 64 1024`` adds one for each.

excess = (MSE − MSE_ols) / Var(y) on the training rows, which is R²_ols − R² (mean over targets);
noise = (1 − R²_ols) · d / n, the statistical error that exact least squares itself carries;
limit = max(0.001, noise) from 1,000 rows up, 0.005 below; after one epoch over 50,000 rows or more
max(0.001, 4 · noise).
"""

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import warnings

import numpy as np
from sklearn.linear_model import LinearRegression
from sklearn.metrics import r2_score

import data
from report import heading, interleaved, table, write_json
from sk_gdlinear import GDLinearRegressor

LOADERS = {
    "diabetes": data.diabetes,
    "linnerud": data.linnerud,
    "boston": data.boston,
    "mtcars": data.mtcars,
    "diamonds": data.diamonds,
    "gaussian": data.gaussian,
    "correlated": data.correlated,
    "mixed scales": data.mixed_scales,
    "tall": lambda: data.gaussian(1_000_000, 20),
    "wide": lambda: data.gaussian(20_000, 1_000),
}
QUICK = ("diabetes", "linnerud", "boston", "mtcars", "diamonds")


def exact_r2(X, y):
    """R² of least squares, solved on standardised columns: no singular value is lost to a column's unit."""
    varies = np.ptp(X, axis=0) > 0
    Z = X[:, varies] - X[:, varies].mean(axis=0)
    Z /= Z.std(axis=0)
    Z -= Z.mean(axis=0)
    centred = y - y.mean(axis=0)
    coef, *_ = np.linalg.lstsq(Z, centred, rcond=1e-12)
    return r2_score(centred, Z @ coef)


def limits(n, noise):
    """Largest excess to accept of a whole fit and of one epoch (None: no claim)."""
    whole = max(1e-3, noise) if n >= 1_000 else 5e-3
    return whole, max(1e-3, 4 * noise) if n >= 50_000 else None


def verdict(excess, limit):
    """Whether the excess is within its limit, as text."""
    return None if limit is None else "yes" if excess <= limit else "NO"


def measure(X, y, r2_exact, n_runs, seed, **params):
    """Figures of a default fit (with `params`), of one epoch and of LinearRegression."""
    model = GDLinearRegressor(random_state=seed, **params)
    one = GDLinearRegressor(random_state=seed, max_iter=1, tol=None, **params)
    calls = {"ours": model, "one": one, "exact": LinearRegression()}
    times = interleaved({name: lambda m=m: m.fit(X, y) for name, m in calls.items()}, n_runs)
    noise = (1 - r2_exact) * X.shape[1] / X.shape[0]
    whole, first = limits(len(X), noise)
    r2 = model.score(X, y)
    excess, excess_one = r2_exact - r2, r2_exact - one.score(X, y)
    return {
        "R² exact": f"{r2_exact:.6f}",
        "R²": f"{r2:.6f}",
        "excess": float(excess),
        "noise": float(noise),
        "within": verdict(excess, whole),
        "excess, 1 epoch": float(excess_one),
        "within, 1 epoch": verdict(excess_one, first),
        "epochs": int(model.n_iter_),
        "stop": model.stop_reason_,
        "batch": int(model.batch_size_),
        "fit ms": float(np.median(times["ours"])),
        "1 epoch ms": float(np.median(times["one"])),
        "LinearRegression ms": float(np.median(times["exact"])),
    }


def measure_all(names, batch_sizes, n_runs, seed):
    """Table rows by batch size; every data set is loaded, and solved exactly, once."""
    tables = {size: [] for size in batch_sizes}
    for name in names:
        X, y = LOADERS[name]()
        r2_exact = exact_r2(X, y)
        shape = {"data": name, "rows × columns": f"{X.shape[0]:,} × {X.shape[1]:,}"}
        for size in batch_sizes:
            params = {} if size == "default" else {"batch_size": size}
            tables[size].append(shape | measure(X, y, r2_exact, n_runs, seed, **params))
    return tables


def parse_args():
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="the real data alone, one run")
    parser.add_argument("--only", nargs="+", choices=LOADERS, help="these data sets")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[], help="besides the default")
    parser.add_argument("--seed", type=int, default=0, help="random_state of the fits")
    parser.add_argument("--runs", type=int, help="timed runs per fit (default 3, quick 1)")
    parser.add_argument("--json", metavar="FILE", help="also write the figures to FILE")
    return parser.parse_args()


def main():
    """Print the tables."""
    args = parse_args()
    warnings.simplefilter("ignore")  # the stop reason stands in the table
    names = args.only or (QUICK if args.quick else tuple(LOADERS))
    n_runs = args.runs or (1 if args.quick else 3)
    print(heading("Accuracy on raw features"))
    tables = measure_all(names, ["default", *args.batch_sizes], n_runs, args.seed)
    for size, rows in tables.items():
        print(f"## batch_size {size}\n\n{table(rows)}")
    if args.json:
        write_json(args.json, **{str(size): rows for size, rows in tables.items()})


if __name__ == "__main__":
    main()
