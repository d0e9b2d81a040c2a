"""The moving state of a descent."""

from copy import copy
from dataclasses import dataclass

import numpy as np

# Relative disadvantage at which an average starts anew.
LAG = 0.02


@dataclass
class Iterate:
    """The moving state, in conditioned variables: weights, their running average (None when off), counters."""

    W: np.ndarray  # (k, d)
    b: np.ndarray  # (k,)
    mean_W: np.ndarray | None  # of the weights before their proximal steps
    mean_b: np.ndarray | None
    t: int = 0  # updates made
    n_averaged: int = 0  # updates in the average
    advantage: float = 0.0  # smoothed relative advantage of the average over the weights on the way
    mean_step: float = 0.0  # with a penalty: the step sizes in the average, averaged alike

    @property
    def lagging(self):
        """Whether the average does worse than the weights it is made of: no noise to average away, only lag."""
        return self.mean_W is not None and self.advantage < -LAG

    @classmethod
    def at(cls, W, b, average, t=0):
        """Start at ``W, b``."""
        return cls(W, b, W.copy() if average else None, b.copy() if average else None, t)

    @property
    def centre(self):
        """The average where there is one, else the newest weights."""
        return (self.W, self.b) if self.mean_W is None else (self.mean_W, self.mean_b)

    def copy(self):
        """Return an independent copy."""
        twin = copy(self)
        twin.W, twin.b = self.W.copy(), self.b.copy()
        if self.mean_W is not None:
            twin.mean_W, twin.mean_b = self.mean_W.copy(), self.mean_b.copy()
        return twin

    def restart_average(self):
        """Forget the average and start a new one at the newest weights."""
        self.mean_W[...], self.mean_b[...], self.n_averaged = self.W, self.b, 0
        self.advantage = self.mean_step = 0.0

    def average(self, steps, mixing):
        """Take updates of sizes ``steps``, mixed into the average with weights ``mixing``, into the mean step."""
        self.mean_step += float(mixing[0] * (steps[0] - self.mean_step))
        if (steps != self.mean_step).any():
            for step, mix in zip(steps[1:].tolist(), mixing[1:].tolist(), strict=True):
                self.mean_step += mix * (step - self.mean_step)

    def compare(self, on_the_way, objective, share):
        """Take in the objective of the weights on the way and of their average, smoothed with weight ``share``."""
        total = on_the_way + objective
        relative = (on_the_way - objective) / total if 0.0 < total < np.inf else 0.0
        self.advantage += share * (relative - self.advantage)
