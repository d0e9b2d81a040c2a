"""One pass of ``partial_fit`` over raw rows in several orders, in chunks, beside other learners of streams.

``python benchmarks/streaming.py`` prints markdown tables; ``--quick`` takes a small stream.

- The gap is R² of exact least squares minus R², both on all rows of the stream, at its end; "worst" is the largest at
  a tenth of the stream but for the first.  The limit is 0.005 at the end in any order, and 0.02 for "worst" at random.
- Peers: SGDRegressor behind a running StandardScaler; river's linear regression behind its scaler, row by row; and
  scikit-learn-intelex's incremental least squares, which is exact and refits nothing, as the limit.  Those that are not
  installed are left out.  Chunk by chunk the models take turns; time per call is the total over the calls.
- One row: the median time of calls, in blocks that take turns, and the same within ``sklearn.config_context``.
- Hashed rows: time per call, numbers a column of the pickled model, and R² on rows to come, of streams of words hashed
  to many columns, beside SGDRegressor.
- Many calls: time per call and bytes of the pickled model as a stream of single rows goes on.
"""

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import pickle
import time
import warnings

import numpy as np
import sklearn
from sklearn.linear_model import SGDRegressor
from sklearn.metrics import r2_score
from sklearn.preprocessing import StandardScaler

import data
from accuracy import exact_r2, verdict
from report import heading, table, write_json
from sk_gdlinear import GDLinearRegressor

STREAMS = {
    "diamonds": data.diamonds,
    "correlated": data.correlated,
    "gaussian": data.gaussian,
    "small": lambda: data.gaussian(3_000, 10),
}
CHUNK_ROWS = (1, 7, 100, 10_000)
FINAL_LIMIT, WORST_LIMIT = 5e-3, 2e-2


def orders(name, X, y):
    """Return the orders in which the rows come."""
    found = {"random": np.random.default_rng(0).permutation(len(X))}
    if name == "diamonds":
        found["as in the file"] = np.arange(len(X))
        found["by the last category"] = np.argsort(X[:, -1], kind="stable")
    found["by the first column"] = np.argsort(X[:, 0], kind="stable")
    found["by the target"] = np.argsort(y, kind="stable")
    return found


class ScaledStream:
    """SGDRegressor behind a StandardScaler that learns from the same chunks."""

    def __init__(self):
        self.scaler, self.model = StandardScaler(), SGDRegressor(random_state=0)

    def partial_fit(self, X, y):
        """Take in a chunk."""
        self.model.partial_fit(self.scaler.partial_fit(X).transform(X), y)

    def predict(self, X):
        """Predict by what is known so far."""
        return self.model.predict(self.scaler.transform(X))


class River:
    """River's linear regression behind its running scaler, row by row."""

    def __init__(self):
        from river import linear_model, optim, preprocessing

        self.scaler, self.model = preprocessing.StandardScaler(), linear_model.LinearRegression(optim.SGD(0.01))

    def partial_fit(self, X, y):
        """Take in the rows of a chunk."""
        for row, target in zip(X.tolist(), y.tolist(), strict=True):
            named = dict(enumerate(row))
            self.scaler.learn_one(named)
            self.model.learn_one(self.scaler.transform_one(named), target)

    def predict(self, X):
        """Predict by what is known so far."""
        coef, counts = self.model.weights, self.scaler
        means = np.array([counts.means[j] for j in range(X.shape[1])])
        scale = np.sqrt([counts.vars[j] for j in range(X.shape[1])])
        Z = np.divide(X - means, scale, out=np.zeros_like(X), where=scale > 0)
        return Z @ np.array([coef[j] for j in range(X.shape[1])]) + self.model.intercept


class Incremental:
    """The exact one-pass least squares of scikit-learn-intelex."""

    def __init__(self):
        from sklearnex.linear_model import IncrementalLinearRegression

        self.model = IncrementalLinearRegression()

    def partial_fit(self, X, y):
        """Take in a chunk."""
        self.model.partial_fit(X, y)

    def predict(self, X):
        """Predict by what is known so far."""
        return self.model.predict(X)


PEERS = {"SGD": ScaledStream, "river": River, "intelex": Incremental}


class Follower:
    """A model on its way through a stream: seconds spent, gaps at the tenths."""

    def __init__(self, model):
        self.model, self.seconds, self.calls, self.gaps = model, 0.0, 0, []
        self.alive = True

    def take_in(self, X, y):
        """Learn from a chunk, timed; a model that overflows learns no more."""
        if not self.alive:
            return
        start = time.perf_counter()
        try:
            self.model.partial_fit(X, y)
        except (ValueError, OverflowError):
            self.alive = False
        self.seconds += time.perf_counter() - start
        self.calls += 1

    def look(self, X, y, r2_exact):
        """Note the gap."""
        prediction = self.model.predict(X) if self.alive else np.full(len(X), np.inf)
        finite = np.isfinite(prediction).all()
        self.gaps.append(r2_exact - r2_score(y, prediction) if finite else np.inf)

    def figures(self):
        """Microseconds per call, last gap, worst gap after the first tenth."""
        return 1e6 * self.seconds / self.calls, float(self.gaps[-1]), float(max(self.gaps[1:], default=self.gaps[-1]))


def installed_peers():
    """Return the peers that can be imported."""
    found = {}
    for name, make in PEERS.items():
        try:
            make()
        except ImportError:
            continue
        found[name] = make
    return found


def stream(X, y, chunk_rows, r2_exact, order):
    """Table columns of one pass in chunks."""
    n = len(X)
    followers = {"ours": Follower(GDLinearRegressor(random_state=0))}
    followers |= {name: Follower(make()) for name, make in installed_peers().items()}
    tenth = 0
    for start in range(0, n, chunk_rows):
        stop = min(start + chunk_rows, n)
        for follower in followers.values():
            follower.take_in(X[start:stop], y[start:stop])
        if 10 * stop // n > tenth:
            tenth = 10 * stop // n
            for follower in followers.values():
                follower.look(X, y, r2_exact)
    us, last, worst = followers.pop("ours").figures()
    met = last / FINAL_LIMIT if order != "random" else max(last / FINAL_LIMIT, worst / WORST_LIMIT)
    row = {"µs per call": us, "gap": last, "worst": worst, "within": verdict(met, 1.0)}
    for name, follower in followers.items():
        peer_us, gap, _ = follower.figures()
        row |= {f"{name} µs": peer_us, f"{name} gap": gap}
    return row


def stream_rows(names, most_calls):
    """Rows of the table of streams."""
    rows = []
    for name in names:
        X, y = STREAMS[name]()
        for chunk_rows in CHUNK_ROWS:
            n = min(len(X), most_calls * chunk_rows)
            kept = np.random.default_rng(1).permutation(len(X))[:n] if n < len(X) else np.arange(len(X))
            kept.sort()
            part_X, part_y = X[kept], y[kept]
            r2_exact = exact_r2(part_X, part_y)
            for order, place in orders(name, part_X, part_y).items():
                row = {"data": name, "rows × columns": f"{n:,} × {X.shape[1]:,}", "order": order, "chunk": chunk_rows}
                rows.append(row | stream(part_X[place], part_y[place], chunk_rows, r2_exact, order))
    return rows


def median_times(calls, n_blocks=30, reps=40):
    """Median microseconds of calls with one row, in blocks that take turns."""
    X, y = data.gaussian(n_blocks * reps, 20)
    rows = [(X[i : i + 1], y[i : i + 1]) for i in range(len(X))]
    medians = {name: [] for name in calls}
    for block in range(n_blocks):
        for name, call in calls.items():
            seconds = []
            for row in rows[block * reps : (block + 1) * reps]:
                start = time.perf_counter()
                call(*row)
                seconds.append(time.perf_counter() - start)
            medians[name].append(np.median(seconds))
    return {name: 1e6 * float(np.median(values)) for name, values in medians.items()}


def one_row_rows():
    """Rows of the table of calls with one row of 20 numbers."""
    models = {
        "squared error": GDLinearRegressor(random_state=0),
        "window=1000": GDLinearRegressor(window=1_000, random_state=0),
        "l2": GDLinearRegressor(penalty="l2", random_state=0),
        "l1": GDLinearRegressor(penalty="l1", alpha=0.1, random_state=0),
        "huber": GDLinearRegressor("huber", random_state=0),
        "SGDRegressor": SGDRegressor(random_state=0),
    }
    calls = {
        "partial_fit": {name: model.partial_fit for name, model in models.items()},
        "predict": {name: lambda X, y, model=model: model.predict(X) for name, model in models.items()},
    }
    settings = {"as usual": {}, "without checks": dict(assume_finite=True, skip_parameter_validation=True)}
    rows = []
    for setting, config in settings.items():
        with sklearn.config_context(**config):
            for method, of_models in calls.items():
                times = median_times(of_models)
                peer = times["SGDRegressor"]
                rows += [
                    {"call": method, "setting": setting, "model": name, "µs": us, "of SGDRegressor's time": us / peer}
                    for name, us in times.items()
                ]
    return rows


def hashed_rows(n_columns, chunks, n_rows, most_calls):
    """Rows of the table of streams of hashed words."""
    rows = []
    X, y = data.hashed_words(n_rows, n_columns)
    n_train = n_rows * 4 // 5
    for chunk_rows in chunks:
        n = min(n_train, most_calls * chunk_rows)
        models = {
            "squared error": GDLinearRegressor(random_state=0),
            "average=False": GDLinearRegressor(average=False, random_state=0),
            "huber": GDLinearRegressor("huber", random_state=0),
            "SGDRegressor": SGDRegressor(random_state=0),
            "SGDRegressor, average=True": SGDRegressor(average=True, random_state=0),
        }
        parts = [slice(start, min(start + chunk_rows, n)) for start in range(0, n, chunk_rows)]
        pieces = [(X[part], y[part]) for part in parts]
        for name, model in models.items():
            seconds = []
            for piece in pieces:
                start = time.perf_counter()
                model.partial_fit(*piece)
                seconds.append(time.perf_counter() - start)
            rows.append(
                {
                    "columns": f"{n_columns:,}",
                    "chunk": chunk_rows,
                    "rows": f"{n:,}",
                    "model": name,
                    "µs per call": 1e6 * float(np.median(seconds)),
                    "numbers a column": len(pickle.dumps(model)) / (8 * n_columns),
                    "R² on the rows to come": model.score(X[n_train:], y[n_train:]),
                }
            )
    return rows


def many_calls_rows(n_calls):
    """Rows of the table of a long stream of single rows."""
    X, y = data.gaussian(1_000, 20)
    rows, model, calls = [], GDLinearRegressor(random_state=0), 0
    for stop in (10**power for power in range(3, 1 + int(np.log10(n_calls)))):
        start = time.perf_counter()
        for i in range(calls, stop):
            model.partial_fit(X[i % 1_000 : i % 1_000 + 1], y[i % 1_000 : i % 1_000 + 1])
        us = 1e6 * (time.perf_counter() - start) / (stop - calls)
        calls = stop
        rows.append({"calls": f"{calls:,}", "µs per call since the line above": us, "bytes": len(pickle.dumps(model))})
    return rows


def parse_args():
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one small stream")
    parser.add_argument("--only", nargs="+", choices=STREAMS, help="these streams")
    parser.add_argument("--calls", type=int, default=5_000, help="most calls in a stream: so many rows are drawn")
    parser.add_argument("--many", type=int, default=1_000_000, help="calls of the long stream of single rows")
    parser.add_argument("--json", metavar="FILE", help="also write the figures to FILE")
    return parser.parse_args()


def main():
    """Print the tables."""
    args = parse_args()
    warnings.simplefilter("ignore")  # the peer overflows where its first rows are far apart; the table shows it
    names = args.only or (["small"] if args.quick else ["diamonds", "correlated", "gaussian"])
    print(heading("Streams"))
    one_row, many = one_row_rows(), many_calls_rows(10_000 if args.quick else args.many)
    n_columns, n_rows = (1 << 14, 10_000) if args.quick else (1 << 20, 50_000)
    hashed = hashed_rows(n_columns, (1, 100, 5_000), n_rows, args.calls)
    rows = stream_rows(names, args.calls)
    print(f"## One pass of partial_fit\n\n{table(rows)}")
    print(f"\n## One row of 20 numbers\n\n{table(one_row)}")
    print(f"\n## A long stream of single rows of 20 numbers\n\n{table(many)}")
    print(f"\n## Rows of 20 words, hashed\n\n{table(hashed)}")
    if args.json:
        write_json(args.json, streams=rows, one_row=one_row, many_calls=many, hashed=hashed)


if __name__ == "__main__":
    main()
