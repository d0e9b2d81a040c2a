"""The cases of ``regression.py``, timed in this process with the package that ``PYTHONPATH`` leads to.

``python benchmarks/regression_cases.py`` prints a JSON object: where the package is, whether its kernels are compiled,
and for every case the shortest processor time of its repeats in seconds, or an error as text: what this version of the
package lacks.  Each case is called once before it is timed.  ``--counter LIBRARY`` has callgrind count instructions.
"""

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import ctypes
import importlib.util
import json
import time
import warnings

import numpy as np
from sklearn.model_selection import GridSearchCV

import data
import sk_gdlinear
from sk_gdlinear import GDLinearRegressor

FEWEST, MOST, SECONDS = 5, 200, 0.15  # repeats of a case in one process: so many, or as many as fit the time


def fits(load, **params):
    """Case: a fit, with the defaults but for `params`."""

    def prepare():
        X, y = load()
        model = GDLinearRegressor(random_state=0, **params)
        return lambda: model.fit(X, y)

    return prepare


def few_diamonds():
    """10,000 rows of diamonds."""
    X, y = data.shuffled_rows(*data.diamonds())
    return X[:10_000], y[:10_000]


def middling():
    """The data of penalties and losses."""
    return data.gaussian(20_000, 50)


def streams(chunk_rows, n_calls):
    """Case: so many calls of ``partial_fit`` of a new model."""

    def prepare():
        X, y = data.gaussian(chunk_rows * n_calls, 20)
        chunks = [slice(i, i + chunk_rows) for i in range(0, len(X), chunk_rows)]

        def call():
            model = GDLinearRegressor(random_state=0)
            for rows in chunks:
                model.partial_fit(X[rows], y[rows])

        return call

    return prepare


def predicts(rows, n_calls):
    """Case: so many predictions of as many rows."""

    def prepare():
        X, y = data.gaussian(max(rows, 1_000), 20)
        model, wanted = GDLinearRegressor(random_state=0).fit(X, y), X[:rows]

        def call():
            for _ in range(n_calls):
                model.predict(wanted)

        return call

    return prepare


def grid_search():
    """Case: scikit-learn's search over ten strengths."""
    X, y = data.diabetes()
    search = GridSearchCV(GDLinearRegressor(penalty="l2", random_state=0), {"alpha": np.geomspace(1e-4, 1, 10)}, cv=3)
    return lambda: search.fit(X, y)


def path_search():
    """Case: the package's own search over its path."""
    X, y = data.correlated(5_000, 50)
    search = sk_gdlinear.GDLinearRegressorCV(penalty="l1")
    return lambda: search.fit(X, y)


CASES = {
    "small fit": fits(data.diabetes),
    "diamonds": fits(few_diamonds),
    "gaussian": fits(middling),
    "correlated": fits(lambda: data.correlated(10_000, 100)),
    "mixed scales": fits(lambda: data.mixed_scales(20_000)),
    "tall": fits(lambda: data.gaussian(200_000, 20)),
    "wide": fits(lambda: data.gaussian(2_000, 500)),
    "l2": fits(middling, penalty="l2", alpha=0.01),
    "l1": fits(middling, penalty="l1", alpha=0.1),
    "elasticnet": fits(middling, penalty="elasticnet", alpha=0.1),
    "huber": fits(middling, loss="huber"),
    "quantile": fits(lambda: data.gaussian(5_000, 20), loss="quantile"),
    "sparse": fits(lambda: data.sparse_rows(10_000, 20_000, 20), max_iter=4, tol=None),
    "one-row partial_fit": streams(1, 300),
    "100-row partial_fit": streams(100, 50),
    "one-row predict": predicts(1, 1_000),
    "predict": predicts(20_000, 20),
    "grid search": grid_search,
    "path search": path_search,
}
QUICK = ("small fit", "l1", "one-row predict")


def seconds_of(call):
    """Shortest processor time of a call: whatever else runs on the machine only adds to it."""
    times = []
    while len(times) < FEWEST or (len(times) < MOST and sum(times) < SECONDS):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return min(times)


def count(counter, name, call):
    """Have callgrind count the instructions of one call, under the name."""
    counter.start_counting()
    call()
    counter.stop_counting(name.encode())


def main():
    """Print the figures of all cases."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES), metavar="CASE")
    parser.add_argument(
        "--counter", metavar="LIBRARY", help="count instructions by this library, see regression_counts.py"
    )
    args = parser.parse_args()
    warnings.simplefilter("ignore")  # of epochs that are too few on purpose
    counter = ctypes.CDLL(args.counter) if args.counter else None
    figures = {}
    for name in args.only:
        try:
            call = CASES[name]()
            call()  # loads all code
            figures[name] = count(counter, name, call) if counter else seconds_of(call)
        except Exception as error:  # the other cases are measured
            figures[name] = f"{type(error).__name__}: {error}"
    compiled = importlib.util.find_spec("sk_gdlinear._kernels.dense") is not None
    print(json.dumps({"package": sk_gdlinear.__file__, "compiled": compiled, "figures": figures}))


if __name__ == "__main__":
    main()
