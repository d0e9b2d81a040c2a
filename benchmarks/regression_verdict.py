"""How ``regression.py`` judges: ratios of medians, their intervals, and what is too slow."""

from typing import NamedTuple

import numpy as np

LEVELS = ("ok", "warn", "fail")
N_RESAMPLES = 2_000
COVERAGE = 0.95  # of an interval


class Verdict(NamedTuple):
    """One case, or all of them together."""

    ratio: float  # head over base, of medians
    low: float  # interval of the ratio
    high: float
    level: str  # of `LEVELS`


def mean_ratio(base, head):
    """Geometric mean over cases of the ratios of medians over rounds: the last axis is that of rounds."""
    logs = np.log(np.median(head, axis=-1)) - np.log(np.median(base, axis=-1))
    return np.exp(logs.mean(axis=0))


def interval(base, head):
    """Interval of `mean_ratio` by the bootstrap over rounds, base and head together; always the same one."""
    n_rounds = base.shape[-1]
    rounds = np.random.default_rng(0).integers(0, n_rounds, (N_RESAMPLES, n_rounds))
    ratios = mean_ratio(base[..., rounds], head[..., rounds])
    return tuple(float(end) for end in np.quantile(ratios, [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2]))


def level_of(ratio, low, warn, fail):
    """The level of a ratio.

    A failure is certain: even the lower end of the interval would be a warning.  A warning is no noise: the lower end
    is above 1.
    """
    if ratio >= fail and low >= warn:
        return "fail"
    return "warn" if ratio >= warn and low > 1.0 else "ok"


def judge(base, head, warn, fail):
    """Verdict on figures, shape (cases, rounds) each, or (rounds,) of one case: a round is a process of each tree."""
    base, head = (np.atleast_2d(np.asarray(figures, dtype=float)) for figures in (base, head))
    ratio = float(mean_ratio(base, head))
    low, high = interval(base, head)
    return Verdict(ratio, low, high, level_of(ratio, low, warn, fail))


def worst(levels):
    """The worst of several levels."""
    return max(levels, key=LEVELS.index, default="ok")
