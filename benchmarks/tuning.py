"""The choice of a penalty's strength: time, choice and score beside those who make a fit for each.

``python benchmarks/tuning.py`` prints markdown tables, ``--quick`` of little data; 15 minutes.

- ``l1 and elasticnet``: 100 strengths, beside ``LassoCV`` and ``ElasticNetCV`` at their defaults;
- ``l2``: 20 strengths, beside ``RidgeCV(cv=5)``, which gets ``alpha`` times the rows that a fold trains on;
- ``grid``: ``GridSearchCV(GDLinearRegressor)`` over the same strengths, by R² in both;
- ``one path``: beside one fit of the path on all rows, by ``lasso_path`` with the Gram matrix and adelie's ``grpnet``;
- ``memory``: peak beside X, in a process of its own.

All run in turn in one process on one thread; times are medians, a search of more than two seconds is made once.  The
choice of ``LassoCV`` and ``ElasticNetCV`` is that at ``tol=1e-8``, where that is affordable.  ``score gap`` is the
difference of the best mean scores over that of the constant prediction, ``places`` by how many places of the grid the
choices differ.
"""

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["MKL_NUM_THREADS"] = "1"

import argparse
import sys
import time
import warnings
from functools import partial

import numpy as np
from scipy.sparse import csr_array, issparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import ElasticNetCV, LassoCV, RidgeCV, lasso_path
from sklearn.model_selection import GridSearchCV
from sklearn.preprocessing import StandardScaler

import conditioning_data
import data
from memory import in_child, peak_extra
from report import heading, table, write_json
from sk_gdlinear import GDLinearRegressor, GDLinearRegressorCV

N_SPLITS = 5
SLOW = 2000.0  # milliseconds
L1_RATIOS = [0.1, 0.5, 0.9]
MEMORY_ROWS, MEMORY_COLUMNS = 1_000_000, 50


def scaled(load, sparse=False):
    """Columns of variance 1, shuffled rows."""
    X, y = load()
    if issparse(X):
        return csr_array(StandardScaler(with_mean=False).fit_transform(X)), y
    return data.shuffled_rows(conditioning_data.standardized(X), y)


def sparse_text(n=20_000, d=2_000, per_row=40):
    """Counts of words with the frequencies of a language (Zipf's law), as rows of a CSR matrix."""
    rng = np.random.default_rng(0)
    frequency = 1.0 / np.arange(2, d + 2)
    columns = rng.choice(d, size=n * per_row, p=frequency / frequency.sum()).astype(np.int32)
    X = csr_array((np.ones(n * per_row), columns, np.arange(0, n * per_row + 1, per_row, dtype=np.int32)), shape=(n, d))
    X.sum_duplicates()
    coef = rng.normal(size=d) * (rng.random(d) < 0.1)
    signal = X @ coef
    return X, signal + rng.normal(scale=0.5 * signal.std(), size=n)


DATA = {
    "diabetes": data.diabetes,
    "boston": data.boston,
    "diamonds, numbers": conditioning_data.diamonds_numbers,
    "diamonds, one-hot": data.diamonds,
    "diamonds, products": conditioning_data.diamonds_products,
    "gaussian": partial(data.gaussian, 100_000, 100),
    "sparse text": sparse_text,
}
QUICK = ("diabetes", "boston")


def progress(text):
    """Say on stderr what is measured."""
    print(text, file=sys.stderr, flush=True)


def measure(makers, n_runs):
    """Median milliseconds and the last result of every call, taken in turn."""
    times, results = {name: [] for name in makers}, {}
    for run in range(n_runs):
        for name, make in makers.items():
            if not run or times[name][0] <= SLOW:
                began = time.perf_counter()
                results[name] = make()
                times[name].append(1e3 * (time.perf_counter() - began))
    return {name: float(np.median(found)) for name, found in times.items()}, results


def fit_all(models, X, y, n_runs):
    """The same of fits."""
    return measure({name: partial(model.fit, X, y) for name, model in models.items()}, n_runs)


def row(name, X, penalty, peer_name, times, gap, places, choice):
    """One line of a table."""
    ours, peer = times.values()
    return {
        "data": name, "rows": X.shape[0], "columns": X.shape[1], "penalty": penalty, "ms": ours, "peer": peer_name,
        "peer ms": peer, "ours ÷ peer": ours / peer, "score gap": float(gap), "places": int(places),
        "alpha": float(choice),
    }  # fmt: skip


def paths(name, X, y, n_runs):
    """Beside LassoCV and ElasticNetCV."""
    found = []
    for penalty, peer, params in (("l1", LassoCV, {}), ("elasticnet", ElasticNetCV, {"l1_ratio": L1_RATIOS})):
        progress(f"{name}, {penalty}")
        searches = {"ours": GDLinearRegressorCV(penalty=penalty, **params), "peer": peer(**params)}
        times, models = fit_all(searches, X, y, n_runs)
        if times["peer"] <= SLOW:  # the choice is compared with that of a peer that converges
            models["peer"] = peer(tol=1e-8, max_iter=100_000, **params).fit(X, y)
        errors = [model.mse_path_.mean(axis=-1).ravel() for model in models.values()]
        gap = abs(errors[0].min() - errors[1].min()) / y.var()
        places = abs(int(errors[0].argmin()) - int(errors[1].argmin()))
        found.append(row(name, X, penalty, peer.__name__, times, gap, places, models["ours"].alpha_))
    return found


def ridge(name, X, y, n_runs):
    """Beside RidgeCV(cv=5)."""
    progress(f"{name}, l2")
    alphas, n_train = np.geomspace(1e-4, 10.0, 20), len(y) * (N_SPLITS - 1) // N_SPLITS
    ours = GDLinearRegressorCV(alphas, scoring="r2", cv=N_SPLITS)
    peer = RidgeCV(alphas * n_train, scoring="r2", cv=N_SPLITS)
    times, _ = fit_all({"ours": ours, "peer": peer}, X, y, n_runs)
    gap = abs(ours.best_score_ - peer.best_score_)
    places = abs(np.abs(alphas - ours.alpha_).argmin() - np.abs(alphas * n_train - peer.alpha_).argmin())
    return [row(name, X, "l2", "RidgeCV(cv=5)", times, gap, places, ours.alpha_)]


def grid(name, X, y, n_runs):
    """Beside GridSearchCV(GDLinearRegressor)."""
    found = []
    for penalty in ("l2", "l1"):
        progress(f"{name}, {penalty}, grid search")
        ours = GDLinearRegressorCV(n_alphas=20, penalty=penalty, scoring="r2", eps=1e-4)
        alphas = ours.fit(X, y).alphas_
        regressor = GDLinearRegressor(penalty=penalty, random_state=0)
        peer = GridSearchCV(regressor, {"alpha": alphas}, scoring="r2")
        times, _ = fit_all({"ours": ours, "peer": peer}, X, y, n_runs)
        gap, places = abs(ours.best_score_ - peer.best_score_), abs(ours.best_index_ - peer.best_index_)
        found.append(row(name, X, penalty, "GridSearchCV", times, gap, places, ours.alpha_))
    return found


def one_path(name, X, y, n_runs):
    """All folds beside one path on all rows, with the Gram matrix and by adelie."""
    if issparse(X):
        return []
    progress(f"{name}, one path")
    ours, peers = GDLinearRegressorCV(penalty="l1").fit(X, y), {}
    Z, target = X - X.mean(axis=0), y - y.mean()
    peers["lasso_path, Gram"] = lambda: lasso_path(Z, target, precompute=True, alphas=ours.alphas_)
    try:
        import adelie
    except ImportError:
        progress("adelie is not installed: left out")
    else:
        F = np.asfortranarray(X)
        options = {"early_exit": False, "progress_bar": False, "min_ratio": 1e-3, "lmda_path_size": 100}
        peers["adelie, grpnet"] = lambda: adelie.grpnet(F, adelie.glm.gaussian(y), **options)
        peers["adelie, cv_grpnet"] = lambda: adelie.cv_grpnet(
            F, adelie.glm.gaussian(y), n_folds=N_SPLITS, **{k: v for k, v in options.items() if k != "early_exit"}
        )
    times, _ = measure({"ours": partial(ours.fit, X, y)} | peers, n_runs)
    return [{"data": name} | {f"{key}, ms": times.get(key) for key in times}]


def memory(args):
    """Peak beside X of a search, each in a process of its own."""
    n = MEMORY_ROWS // 20 if args.quick else MEMORY_ROWS
    found = []
    for penalty in ("l2", "l1"):
        extra = in_child(__file__, "--child", n, MEMORY_COLUMNS, penalty)
        found.append({"rows": n, "columns": MEMORY_COLUMNS, "penalty": penalty, "MB beside X": extra / 1e6})
    return found


def child(n, d, penalty):
    """Print the bytes of one search."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((int(n), int(d)))
    y = X @ rng.standard_normal(int(d)) + rng.standard_normal(int(n))
    GDLinearRegressorCV(penalty=penalty).fit(X[:100], y[:100])
    print(peak_extra(lambda: GDLinearRegressorCV(penalty=penalty).fit(X, y)))


SECTIONS = {"l1 and elasticnet": paths, "l2": ridge, "grid": grid, "one path": one_path}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="little data, one run")
    parser.add_argument("--runs", type=int, default=3, help="runs of which times are medians")
    parser.add_argument("--only", nargs="+", choices=[*SECTIONS, "memory"], help="these sections")
    parser.add_argument("--data", nargs="+", choices=list(DATA), help="these data sets")
    parser.add_argument("--json", help="file for the figures")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    if args.child:
        child(*args.child)
        return
    print(heading("Choosing the strength of a penalty"))
    n_runs = 1 if args.quick else args.runs
    names = args.data or (QUICK if args.quick else DATA)
    loaded = {name: scaled(DATA[name]) for name in names}
    tables = {}
    for section, make in SECTIONS.items():
        if args.only is None or section in args.only:
            tables[section] = [line for name in names for line in make(name, *loaded[name], n_runs)]
            print(f"## {section}\n\n{table(tables[section])}", flush=True)
    if args.only is None or "memory" in args.only:
        tables["memory"] = memory(args)
        print(f"## memory\n\n{table(tables['memory'])}")
    if args.json:
        write_json(args.json, **tables)


if __name__ == "__main__":
    main()
