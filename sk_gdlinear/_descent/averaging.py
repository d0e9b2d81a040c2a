"""The moving parameters of a descent and their running average."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

# Exponent of the polynomial-decay average.  0 is the plain mean of all iterates; 3 forgets the start fast enough for
# one pass.
AVERAGING_DECAY = 3.0

# Relative loss of the average against the newest parameters at which it starts anew.
RESTART_THRESHOLD = 0.02


def averaging_weight(t):
    r"""Return the weight of the newest of ``t`` averaged iterates, :math:`(\kappa + 1) / (t + \kappa)`.

    :math:`\kappa` is ``AVERAGING_DECAY``.  The first iterate gets weight 1.

    Source: O. Shamir and T. Zhang, "Stochastic Gradient Descent for Non-smooth Optimization", ICML 2013, section 4
    (polynomial-decay averaging).
    """
    return (AVERAGING_DECAY + 1.0) / (t + AVERAGING_DECAY)


def kept_share(before, after):
    """Return the share that an average over ``before`` updates keeps of itself until there are ``after`` of them.

    It is the product of 1 less the weights of the updates between.
    """
    before, after = np.asarray(before, dtype=np.float64), np.asarray(after, dtype=np.float64)
    numbers = np.arange(AVERAGING_DECAY + 1.0)
    terms = np.add.outer(before, numbers) / np.maximum(np.add.outer(after, numbers), 1.0)
    return np.where(after > before, terms.prod(axis=-1), 1.0)


@dataclass
class Iterate:
    """The parameters in standardized variables, their running average (None without averaging), and counters."""

    W: np.ndarray  # (k, d)
    b: np.ndarray  # (k,)
    mean_W: np.ndarray | None  # average of the coefficients before their proximal steps
    mean_b: np.ndarray | None
    t: int = 0  # updates made
    n_averaged: int = 0  # updates in the average
    gain: float = 0.0  # smoothed relative gain of the average over the parameters that it averages
    mean_step: float = 0.0  # with a penalty: the average of the step sizes, with the weights of the average

    @classmethod
    def at(cls, W, b, average, t=0):
        """Return an iterate that starts at ``W, b``."""
        return cls(W, b, W.copy() if average else None, b.copy() if average else None, t)

    @property
    def average_lags(self):
        """Whether the average has a higher objective than the parameters it averages, because it lags behind them."""
        return self.mean_W is not None and self.gain < -RESTART_THRESHOLD

    @property
    def average(self):
        """The average, or the newest parameters without averaging."""
        return (self.W, self.b) if self.mean_W is None else (self.mean_W, self.mean_b)

    def copy(self):
        """Return an independent copy."""
        means = (None, None) if self.mean_W is None else (self.mean_W.copy(), self.mean_b.copy())
        return Iterate(self.W.copy(), self.b.copy(), *means, self.t, self.n_averaged, self.gain, self.mean_step)

    def mapped(self, move):
        """Return the iterate with other parameters, ``move(W, b)`` of the newest ones and of the average."""
        means = (None, None) if self.mean_W is None else move(self.mean_W, self.mean_b)
        return Iterate(*move(self.W, self.b), *means, self.t, self.n_averaged, self.gain, self.mean_step)

    def reported(self, penalty):
        """Return the parameters to report: the proximal step from the average, or the newest parameters."""
        W, b = self.average
        return (W if self.mean_W is None else penalty.proximal(W, self.mean_step)), b

    def restart_average(self):
        """Start a new average at the newest parameters."""
        self.mean_W[...], self.mean_b[...], self.n_averaged = self.W, self.b, 0
        self.gain = self.mean_step = 0.0

    def count(self, steps, averaging_weights, with_penalty):
        """Count the updates made with these steps, and with a penalty average the steps."""
        self.t += len(steps)
        self.n_averaged += len(steps)
        if not with_penalty:
            return
        self.mean_step += float(averaging_weights[0] * (steps[0] - self.mean_step))
        others = np.flatnonzero(steps[1:] != self.mean_step)  # the average stays while steps equal it
        if len(others):
            part = slice(1 + others[0], None)
            for step, weight in zip(steps[part].tolist(), averaging_weights[part].tolist(), strict=True):
                self.mean_step += weight * (step - self.mean_step)

    def compare(self, mean_objective, objective, share):
        """Compare the mean objective of an epoch with that of the average; smooth the gain with weight ``share``."""
        total = mean_objective + objective
        relative = (mean_objective - objective) / total if 0.0 < total < np.inf else 0.0
        self.gain += share * (relative - self.gain)


class CarriedAverage(NamedTuple):
    """The average of the calls before, and the share of it that each coefficient keeps in that of this call."""

    W: np.ndarray  # (k, p)
    b: np.ndarray  # (k,)
    share: np.ndarray  # (p,)
    share_b: float

    def add_to(self, iterate):
        """Add these averages to those of this call, in place."""
        iterate.mean_W += self.share * (self.W - iterate.mean_W)
        iterate.mean_b += self.share_b * (self.b - iterate.mean_b)
