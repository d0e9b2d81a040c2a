"""A generator of random hard streams: what may go wrong with running statistics, then clean rows."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from builders import exact_r2

CLEAN_ROWS = 6_000
WINDOW = 2_000


@dataclass
class HardStream:
    """Rows in which something is hard at first, and clean rows after them."""

    number: int
    kinds: tuple
    params: dict
    chunk: Any
    X: np.ndarray = field(repr=False)
    y: np.ndarray = field(repr=False)
    window: int = WINDOW

    def chunks(self):
        """Yield chunks of constant or random lengths."""
        rng, start = np.random.default_rng(self.number), 0
        while start < len(self.X):
            n = self.chunk or 1 + int(rng.pareto(0.7) * 20.0)
            yield self.X[start : start + n], self.y[start : start + n]
            start += n

    @property
    def clean_X(self):
        """The rows of which a window of 2,000 remembers at least some, and no others."""
        return self.X[-WINDOW:]

    @property
    def clean_y(self):
        """Their targets."""
        return self.y[-WINDOW:]

    @property
    def is_exact(self):
        """Whether all rows together have the least-squares answer."""
        return self.params.get("loss", "squared_error") == "squared_error" and "penalty" not in self.params

    @property
    def r2(self):
        """R² of least squares over all rows."""
        return exact_r2(self.X, self.y)

    @property
    def clean_r2(self):
        """R² of least squares over the clean rows."""
        return exact_r2(self.clean_X, self.clean_y)


def hard_stream(number):
    """Return the hard stream of a number: the same one for the same number."""
    rng = np.random.default_rng(number)
    d, n = int(rng.integers(2, 20)), int(rng.integers(500, 4_000))
    total = n + CLEAN_ROWS
    X = rng.normal(size=(total, d)) * np.exp(rng.normal(0.0, 2.0, d)) + rng.normal(0.0, 3.0, d)
    if rng.random() < 0.3:  # correlated
        X[:, 1:] = X[:, :1] + 0.2 * (X[:, 1:] - X[:, :1])
    if rng.random() < 0.3:  # rare one-hot columns
        X = np.column_stack([X, np.eye(4)[rng.choice(4, total, p=[0.9, 0.05, 0.04, 0.01])]])
    signal = X @ (rng.normal(size=X.shape[1]) / X.std(axis=0))
    y = signal + rng.choice([0.05, 0.5, 1.0]) * signal.std() * rng.normal(size=total) + rng.normal(0.0, 10.0)
    kinds = tuple(str(kind) for kind in rng.choice(list(KINDS), size=rng.integers(1, 3), replace=False))
    for kind in kinds:
        KINDS[kind](X[:n], y[:n], rng)
    params = [{}, {}, {}, {"penalty": "l2", "alpha": 1e-8}, {"average": False}, {"batch_size": 1}, {"batch_size": None}]
    chunk = [None, 1_000, 100, 10, 5_000][rng.integers(5)]
    return HardStream(number, kinds, params[rng.integers(len(params))], chunk, X, y)


def _outliers_in_a_feature(X, y, rng):
    X[rng.integers(len(X), size=3), rng.integers(X.shape[1])] = 10.0 ** rng.integers(3, 13)


def _outliers_in_the_target(X, y, rng):
    y[rng.integers(len(y), size=3)] = 10.0 ** rng.integers(3, 13)


def _unit_of_a_feature(X, y, rng):
    X[:, rng.integers(X.shape[1])] *= 10.0 ** rng.integers(-6, 7)


def _unit_of_the_target(X, y, rng):
    y *= 10.0 ** rng.integers(-6, 7)


def _offset_of_a_feature(X, y, rng):
    X[:, rng.integers(X.shape[1])] += 10.0 ** rng.integers(1, 7)


def _offset_of_the_target(X, y, rng):
    y += 10.0 ** rng.integers(1, 7)


def _another_relation(X, y, rng):
    y[:] = X @ rng.normal(size=X.shape[1]) + rng.normal(size=len(y))


def _identical_rows(X, y, rng):
    X[:], y[:] = X[0].copy(), y[0]


def _constant_feature(X, y, rng):
    X[:, rng.integers(X.shape[1])] = rng.normal()


def _sorted_by_the_target(X, y, rng):
    order = np.argsort(y)
    X[:], y[:] = X[order].copy(), y[order].copy()


def _sorted_by_a_feature(X, y, rng):
    order = np.argsort(X[:, rng.integers(X.shape[1])])
    X[:], y[:] = X[order].copy(), y[order].copy()


KINDS = {
    function.__name__[1:]: function
    for function in (
        _outliers_in_a_feature,
        _outliers_in_the_target,
        _unit_of_a_feature,
        _unit_of_the_target,
        _offset_of_a_feature,
        _offset_of_the_target,
        _another_relation,
        _identical_rows,
        _constant_feature,
        _sorted_by_the_target,
        _sorted_by_a_feature,
    )
}
