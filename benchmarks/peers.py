"""Time, accuracy and memory beside other libraries: how soon each comes near exact least squares on raw data.

``python benchmarks/peers.py`` prints markdown tables and draws ``benchmarks/peers.png``; ``--quick`` takes little data
and scikit-learn alone, and draws nothing.
How each peer is run stands in ``peer_models.py``, and for the sets with an "l1" penalty in ``peer_lassos.py``.

The gap is R² of exact least squares minus R², on the training rows; with a penalty, the objective less its smallest
value, in units of that of the best constant.  "within" is a gap of at most 0.001.  Training is timed checkpoint by
checkpoint, without what the gap costs, until the gap is below 0.00001 or the seconds are spent.  All run in turn in one
process, on one BLAS thread; times are medians, ratios are taken run by run.  Peak extra memory is that of one fit with
default parameters, or of the first epoch, in a process of its own.
"""

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import importlib.util
import sys
import time
import warnings
from pathlib import Path

import numpy as np

import data
import memory
import peers_plot
from accuracy import LOADERS
from peer_lassos import ALPHA, LASSOS
from peer_models import PEERS
from peers_tables import ENOUGH, WITHIN, print_tables
from peers_truth import LeastSquares, WithL1
from report import heading, write_json

LOADERS = LOADERS | {
    "diamonds": lambda: data.shuffled_rows(*data.diamonds()),  # they come nearly sorted, and not all peers shuffle
    "small": lambda: data.gaussian(5_000, 20),
}
L1_LOADERS = {
    "l1, tall": lambda: data.few_coefficients(100_000, 200, 20),
    "l1, wide": lambda: data.few_coefficients(2_000, 5_000, 50),
    "l1, small": lambda: data.few_coefficients(1_000, 50, 10),
}
DATA_SETS = ("diamonds", "gaussian", "correlated", "mixed scales", "tall", "wide", "l1, tall", "l1, wide")
QUICK = ("small", "l1, small")
WARM_UP_ROWS = 1_000


def peers_of(name):
    """All who take part on a data set."""
    return LASSOS if name in L1_LOADERS else PEERS


def load(name):
    """Rows and target of a data set."""
    return (LOADERS | L1_LOADERS)[name]()


def trace(peer, prepared, truth, rate, seconds, *, enough=ENOUGH, n_checkpoints=None):
    """Epochs, seconds since the start and gaps at the checkpoints of one training.

    It ends when the gap is `enough` or the seconds are spent, or at the given number of checkpoints.
    """
    points, spent = [], 0.0
    checkpoints = peer.checkpoints(prepared, rate)
    while not points or len(points) != n_checkpoints:
        start = time.perf_counter()
        try:
            epochs, predict = next(checkpoints)
        except StopIteration:  # a solver without epochs
            break
        except ValueError:  # SGDRegressor has overflowed
            points.append((len(points) + 1, spent + time.perf_counter() - start, np.inf))
            break
        lap = time.perf_counter() - start
        spent = lap if peer.restarts else spent + lap
        if n_checkpoints is None and points and spent > seconds:
            break
        points.append((epochs, spent, truth.gap(predict())))
        if n_checkpoints is None and points[-1][2] <= enough:
            break
    return points


def soonest(points):
    """Sort key of a trace: seconds to come within, then the last gap."""
    within = [seconds for _, seconds, gap in points if gap <= WITHIN]
    last = points[-1][2]
    return min(within, default=np.inf), last if np.isfinite(last) else np.inf


def best_rate(peer, prepared, truth, seconds):
    """Learning rate of `peer.rates` that comes within soonest, or nearest."""
    if len(peer.rates) == 1:
        return peer.rates[0]
    return min(peer.rates, key=lambda rate: soonest(trace(peer, prepared, truth, rate, seconds, enough=WITHIN)))


class Contest:
    """One peer on one data set: its data, its rate, what was measured in every run."""

    def __init__(self, peer, X, y, truth, seconds):
        self.peer, self.truth, self.seconds = peer, truth, seconds
        small = peer.prepare(X[:WARM_UP_ROWS], y[:WARM_UP_ROWS])
        next(peer.checkpoints(small, peer.rates[-1]))  # load the code
        self.X, self.y, self.prepared = X, y, peer.prepare(X, y)
        self.rate = best_rate(peer, self.prepared, truth, seconds / 4)
        self.traces, self.fits, self.fitted = [], [], None

    def run(self):
        """Measure once."""
        n_checkpoints = len(self.traces[0]) if self.traces else None
        self.traces.append(
            trace(self.peer, self.prepared, self.truth, self.rate, self.seconds, n_checkpoints=n_checkpoints)
        )
        if self.peer.model is None:
            return
        if self.traces[-1][0][0] is None:  # without epochs: this was the fit
            self.fits.append(self.traces[-1][0][1])
            return
        model = self.peer.model()
        start = time.perf_counter()
        try:
            self.fitted = model.fit(self.X, self.y)
        except ValueError:  # SGDRegressor has overflowed
            self.fitted = None
        self.fits.append(time.perf_counter() - start)

    def result(self):
        """All figures, in seconds, as plain lists."""
        result = {
            "shape": list(self.X.shape),
            "rate": self.rate,
            "epochs": [epochs for epochs, _, _ in self.traces[0]],
            "seconds": [[seconds for _, seconds, _ in points] for points in self.traces],
            "gap": [gap for _, _, gap in self.traces[0]],
            "fit seconds": self.fits,
        }
        if self.fitted is not None:
            result["fit gap"] = self.truth.gap_of(self.fitted)
        elif self.fits:
            result["fit gap"] = result["gap"][0] if len(result["gap"]) == 1 else np.inf
        return result


def measure(name, peers, n_runs, seconds):
    """All peers on one data set."""
    print(f"measuring on {name}", file=sys.stderr, flush=True)
    X, y = load(name)
    truth = WithL1(X, y, ALPHA) if name in L1_LOADERS else LeastSquares(X, y)
    contests = {peer: Contest(peers_of(name)[peer], X, y, truth, seconds) for peer in peers}
    for _ in range(n_runs):
        for contest in contests.values():
            contest.run()
    results = {peer: contest.result() for peer, contest in contests.items()}
    del X, y, truth, contests
    for peer, result in results.items():
        result["extra bytes"] = memory.in_child(__file__, "--memory-of", peer, name)
    return results


def extra_bytes(peer, name):
    """Peak extra memory of a fit, or of the first epoch, in this process."""
    peer = peers_of(name)[peer]
    X, y = load(name)

    def train(X, y, prepared):
        if peer.model is None:
            next(peer.checkpoints(prepared, peer.rates[-1]))
        else:
            peer.model().fit(X, y)

    few = X[:WARM_UP_ROWS], y[:WARM_UP_ROWS]
    train(*few, peer.prepare(*few))
    prepared = peer.prepare(X, y)
    return memory.peak_extra(lambda: train(X, y, prepared))


def parse_args():
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="little data, scikit-learn's peers, one run")
    names = [*LOADERS, *L1_LOADERS]
    parser.add_argument("--only", nargs="+", choices=names, metavar="DATA", help=f"of {', '.join(names)}")
    everyone = list(PEERS | LASSOS)
    parser.add_argument("--peers", nargs="+", choices=everyone, metavar="PEER", help=f"of {', '.join(everyone)}")
    parser.add_argument("--runs", type=int, help="timed runs (default 3, quick 1)")
    parser.add_argument(
        "--seconds",
        type=float,
        default=5.0,
        help="training seconds after which it is 'never', but for a longer first epoch",
    )
    parser.add_argument("--json", metavar="FILE", help="also write the figures to FILE")
    parser.add_argument("--plot", metavar="FILE", help="draw to FILE (default benchmarks/peers.png, quick none)")
    parser.add_argument("--memory-of", nargs=2, metavar=("PEER", "DATA"), help="print the bytes of one fit, no more")
    return parser.parse_args()


def is_wanted(name, peer, args):
    """Whether a peer takes part, if it can run here."""
    return name in args.peers if args.peers else not (args.quick and peer.package)


def main():
    """Measure, print, draw."""
    args = parse_args()
    warnings.simplefilter("ignore")  # peers that do not converge, or overflow, show it in the table
    if args.memory_of:
        print(extra_bytes(*args.memory_of))
        return
    names = args.only or (QUICK if args.quick else DATA_SETS)
    wanted = {peer: found for name in names for peer, found in peers_of(name).items() if is_wanted(peer, found, args)}
    reasons = {peer: found.why_not() for peer, found in wanted.items()}
    present = {peer: found for peer, found in wanted.items() if reasons[peer] is None}
    print(heading("Beside other libraries", *sorted({found.distribution for found in present.values()} - {None})))
    for peer, reason in reasons.items():
        if reason:
            print(f"{peer}: left out, {reason}\n")
    plot = args.plot or (None if args.quick else Path(__file__).with_suffix(".png"))
    if plot and importlib.util.find_spec("matplotlib") is None:
        print("matplotlib: not installed, so no figure\n")
        plot = None
    n_runs = args.runs or (1 if args.quick else 3)
    results = {
        name: measure(name, [peer for peer in peers_of(name) if peer in present], n_runs, args.seconds)
        for name in names
    }
    print_tables(results, args.seconds)
    if args.json:
        write_json(args.json, results=results)
    if plot:
        peers_plot.draw(results, plot)


if __name__ == "__main__":
    main()
