"""Losses, penalties and schedules as a user writes them: with NumPy, and nothing of this package."""

import numpy as np
from scipy.optimize import brentq
from sklearn.base import BaseEstimator


class LogCosh(BaseEstimator):
    """``scale**2 * log(cosh(e / scale))``; a scikit-learn estimator, so that searches reach ``scale``."""

    lipschitz = 1.0

    def __init__(self, scale=1.0):
        self.scale = scale

    def value(self, e):
        e = e / self.scale
        return self.scale**2 * (np.logaddexp(e, -e) - np.log(2.0))

    def derivative(self, e):
        return self.scale * np.tanh(e / self.scale)


class Expectile:
    """Asymmetric squares: ``tau * e**2`` where the prediction is too low, ``(1 - tau) * e**2`` where it is too high."""

    def __init__(self, tau=0.5):
        self.tau = tau

    @property
    def lipschitz(self):
        return 2.0 * max(self.tau, 1.0 - self.tau)

    def value(self, e):
        return np.where(e < 0, self.tau, 1.0 - self.tau) * e**2

    def derivative(self, e):
        return 2.0 * np.where(e < 0, self.tau, 1.0 - self.tau) * e


class SquaredTube:
    """Half the square of what an error exceeds ``epsilon`` by."""

    lipschitz = 1.0

    def __init__(self, epsilon=0.1):
        self.epsilon = epsilon

    def value(self, e):
        return 0.5 * np.maximum(np.abs(e) - self.epsilon, 0.0) ** 2

    def derivative(self, e):
        return np.sign(e) * np.maximum(np.abs(e) - self.epsilon, 0.0)


class Tube:
    """What an error exceeds ``epsilon`` by, with kinks at ``-epsilon`` and ``epsilon``."""

    lipschitz = np.inf

    def __init__(self, epsilon=0.1):
        self.epsilon = epsilon

    def value(self, e):
        return np.maximum(np.abs(e) - self.epsilon, 0.0)

    def derivative(self, e):
        return np.sign(e) * (np.abs(e) > self.epsilon)

    def smoothed(self, width):
        return SmoothedTube(self.epsilon, width)


class SmoothedTube:
    """The mean of the absolute errors about ``-epsilon`` and ``epsilon``, less ``epsilon``; quadratic about both."""

    def __init__(self, epsilon, width):
        self.epsilon, self.width, self.lipschitz = epsilon, width, 1.0 / width

    def value(self, e):
        return 0.5 * (self._size(e - self.epsilon) + self._size(e + self.epsilon)) - self.epsilon

    def derivative(self, e):
        return 0.5 * sum(np.clip((e + shift) / self.width, -1.0, 1.0) for shift in (-self.epsilon, self.epsilon))

    def _size(self, u):
        return np.where(np.abs(u) < self.width, 0.5 * (u**2 / self.width + self.width), np.abs(u))


class OwnHuber:
    """The definition of Huber's loss."""

    lipschitz = 1.0

    def __init__(self, epsilon=1.35):
        self.epsilon = epsilon

    def value(self, e):
        size = np.abs(e)
        return np.where(size <= self.epsilon, 0.5 * e**2, self.epsilon * (size - 0.5 * self.epsilon))

    def derivative(self, e):
        return np.where(np.abs(e) <= self.epsilon, e, self.epsilon * np.sign(e))


class Changed:
    """A loss with other attributes or methods than it should have, given as keywords."""

    def __init__(self, loss, **changes):
        self.value, self.derivative, self.lipschitz = loss.value, loss.derivative, loss.lipschitz
        vars(self).update(changes)


class OwnL2:
    """Half of ``alpha`` times the sum of squares."""

    def __init__(self, alpha=1e-4):
        self.alpha = alpha

    def value(self, w):
        return 0.5 * self.alpha * (w @ w)

    def proximal(self, w, step):
        return w / (1.0 + step * self.alpha)


class AbsoluteValues:
    """``alpha`` times the sum of absolute values."""

    def __init__(self, alpha=0.05):
        self.alpha = alpha

    def value(self, w):
        return self.alpha * np.abs(w).sum()

    def proximal(self, w, step):
        return np.sign(w) * np.maximum(np.abs(w) - self.alpha * step, 0.0)


class Towards:
    """Half of ``alpha`` times the squared distance from a guess of the coefficients."""

    def __init__(self, alpha, guess):
        self.alpha, self.guess = alpha, guess

    def value(self, w):
        return 0.5 * self.alpha * ((w - self.guess) ** 2).sum()

    def proximal(self, w, step):
        return (w + step * self.alpha * self.guess) / (1.0 + step * self.alpha)


class MCP(BaseEstimator):
    """The minimax concave penalty: that of the lasso at 0, and constant from ``gamma * alpha`` on."""

    def __init__(self, alpha=0.1, gamma=3.0):
        self.alpha, self.gamma = alpha, gamma

    def value(self, w):
        size = np.minimum(np.abs(w), self.gamma * self.alpha)
        return (self.alpha * size - size**2 / (2.0 * self.gamma)).sum()

    def proximal(self, w, step):
        soft = np.sign(w) * np.maximum(np.abs(w) - step * self.alpha, 0.0)
        kept = self.alpha * np.maximum(self.gamma, np.sqrt(self.gamma * step))
        return np.where(np.abs(w) > kept, w, soft / np.maximum(1.0 - step / self.gamma, 1e-9))


class GroupLasso:
    """``alpha`` times the sum of the norms of groups; ``groups`` holds the number of each feature's group."""

    def __init__(self, alpha, groups):
        self.alpha, self.groups = alpha, np.asarray(groups)

    def value(self, w):
        return self.alpha * sum(np.linalg.norm(w[self.groups == g]) for g in np.unique(self.groups))

    def proximal(self, w, step):
        """With a step for each coefficient the norm left is the root of a decreasing function."""
        v = np.zeros_like(w)
        for g in np.unique(self.groups):
            members = self.groups == g
            u, s = w[members], step[members] * self.alpha
            if np.linalg.norm(u / s) > 1.0:
                norm = np.linalg.norm(u)
                norm = brentq(lambda r, u=u, s=s: np.linalg.norm(u / (r + s)) - 1.0, 0.0, norm, xtol=1e-15 * norm)
                v[members] = u * norm / (norm + s)
        return v


class Cosine:
    """From 1 to 0 along half a wave; it records what it is told."""

    def __init__(self):
        self.told, self.asked = set(), []

    def __call__(self, t, n_updates):
        self.told.add(n_updates)
        self.asked.append(t)
        return np.ones(len(t)) if n_updates is None else 0.5 * (1.0 + np.cos(np.pi * (t - 1) / n_updates))


def _without_address(self):
    """The class alone, so that the names of tests are the same in every process."""
    return f"{type(self).__name__}()"


for _own in (
    Expectile,
    SquaredTube,
    Tube,
    SmoothedTube,
    OwnHuber,
    Changed,
    OwnL2,
    AbsoluteValues,
    Towards,
    GroupLasso,
    Cosine,
):
    _own.__repr__ = _without_address
