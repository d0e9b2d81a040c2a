"""One pass of ``partial_fit`` over raw rows in random order, in chunks, beside SGDRegressor behind a running scaler.

``python benchmarks/streaming.py`` prints a markdown table; ``--quick`` takes a small stream.

The gap is R² of exact least squares minus R², both on all rows of the stream.  It is taken at every tenth of the
stream; "worst" is the largest but for the first tenth.  The limits are 0.005 at the end and 0.02 on the way.
Chunk by chunk, ours and the peer take turns; time per call is the total over the calls.
"""

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import time
import warnings

import numpy as np
from sklearn.linear_model import SGDRegressor
from sklearn.metrics import r2_score
from sklearn.preprocessing import StandardScaler

import data
from accuracy import exact_r2, verdict
from report import heading, table, write_json
from sk_gdlinear import GDLinearRegressor

STREAMS = {
    "diamonds": lambda: data.shuffled_rows(*data.diamonds()),
    "correlated": data.correlated,
    "gaussian": data.gaussian,
    "small": lambda: data.gaussian(3_000, 10),
}
CHUNK_ROWS = (1, 7, 100, 10_000)
FINAL_LIMIT, WORST_LIMIT = 5e-3, 2e-2


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
        except ValueError:
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


def stream(X, y, chunk_rows, r2_exact):
    """Table columns of one pass in chunks."""
    n = len(X)
    followers = Follower(GDLinearRegressor(random_state=0)), Follower(ScaledStream())
    tenth = 0
    for start in range(0, n, chunk_rows):
        stop = min(start + chunk_rows, n)
        for follower in followers:
            follower.take_in(X[start:stop], y[start:stop])
        if 10 * stop // n > tenth:
            tenth = 10 * stop // n
            for follower in followers:
                follower.look(X, y, r2_exact)
    (ours_us, last, worst), (peer_us, peer_last, peer_worst) = (follower.figures() for follower in followers)
    return {
        "µs per call": ours_us,
        "gap": last,
        "worst": worst,
        "within": verdict(max(last / FINAL_LIMIT, worst / WORST_LIMIT), 1.0),
        "peer's µs": peer_us,
        "peer's gap": peer_last,
        "peer's worst": peer_worst,
        "time ratio": peer_us / ours_us,
    }


def stream_rows(names, most_calls):
    """Rows of the table."""
    rows = []
    for name in names:
        X, y = STREAMS[name]()
        for chunk_rows in CHUNK_ROWS:
            n = min(len(X), most_calls * chunk_rows)
            r2_exact = exact_r2(X[:n], y[:n])
            row = {"data": name, "rows × columns": f"{n:,} × {X.shape[1]:,}", "chunk": chunk_rows}
            rows.append(row | stream(X[:n], y[:n], chunk_rows, r2_exact))
    return rows


def parse_args():
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one small stream")
    parser.add_argument("--only", nargs="+", choices=STREAMS, help="these streams")
    parser.add_argument("--calls", type=int, default=50_000, help="most calls in a stream: its rows end there")
    parser.add_argument("--json", metavar="FILE", help="also write the figures to FILE")
    return parser.parse_args()


def main():
    """Print the table."""
    args = parse_args()
    warnings.simplefilter("ignore")  # the peer overflows where its first rows are far apart; the table shows it
    names = args.only or (["small"] if args.quick else ["diamonds", "correlated", "gaussian"])
    print(heading("Streams"))
    rows = stream_rows(names, args.calls)
    print(f"## One pass of partial_fit; the peer is StandardScaler + SGDRegressor\n\n{table(rows)}")
    if args.json:
        write_json(args.json, streams=rows)


if __name__ == "__main__":
    main()
