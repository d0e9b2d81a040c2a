"""Stopping: training ends when further epochs have little left to gain."""

from typing import NamedTuple

import numpy as np

# Updates before which training stops only on strong evidence: small data is cheap, and may gain little for some epochs
# before it converges.
MIN_UPDATES = 500

# Shares of the tolerance: below the first one epoch is sufficient evidence, where the objective only falls; below the
# second training ends even after a few updates, where gains are extrapolated.
DECISIVE_SHARE = 0.25
SETTLED_SHARE = 1e-8

# Gain, relative to the scale, that rounding of the objective hides.
ROUNDING = 4.0 * np.finfo(np.float64).eps


class Estimate(NamedTuple):
    """Estimates of the gain that is left."""

    left: float  # an estimate that several epochs should confirm
    certain: float = np.inf  # one for which a single epoch is sufficient evidence; infinite if there is none


class ExtrapolatedGain:
    r"""The sum of the gains to come, extrapolated from the last ones.

    After epoch ``e`` with objectives ``L`` the last gain is ``D = L[e-1] - L[e]``, and the sum of those to come is
    estimated as ``D * max(e, r / (1 - r))``: ``e * D`` is the rest of a power law (the noise of averaged descent
    falls like ``1 / e``), and ``r / (1 - r) * D``, with ``r`` the ratio of the last two gains, the rest of a
    geometric series (Aitken), which full-batch descent follows.  Neither is more than ``max_iter`` times the last gain.

    Parameters
    ----------
    max_iter : int
        Epochs at most.
    geometric : bool
        Whether gains form a geometric series, without the noise of mini-batches.
    monotone : bool
        Whether the objective only falls, by the choice of the step: then almost no gain is the end, and no plateau.
    """

    def __init__(self, max_iter, geometric, monotone):
        self.max_iter, self.geometric, self.monotone = max_iter, geometric, monotone
        self.gain = np.inf

    def estimate(self, epoch, before, after):
        """Return the estimate after epoch ``epoch`` (1 for the first), with the objectives before and after it."""
        gain_before, self.gain = self.gain, before - after
        left = self._extrapolate(epoch, gain_before)
        certain = max(left, -self.gain) if self.monotone and epoch > 1 else np.inf
        return Estimate(left, certain)

    def _extrapolate(self, epoch, gain_before):
        if self.gain <= 0.0:
            return 0.0
        factor = float(epoch)
        if self.geometric:
            ratio = self.gain / gain_before if gain_before > 0.0 else 1.0
            factor = max(factor, ratio / (1.0 - ratio)) if ratio < 1.0 else np.inf
        return self.gain * min(factor, self.max_iter)


def with_newton_decrement(extrapolated, decrement, after):
    """Return the estimate from the gains and a Newton decrement that is not exact.

    Directions in which the objective falls slowly do not show in the gains, so both must be small.  A small decrement
    alone is sufficient evidence.
    """
    decrement = min(decrement, after)  # no objective is below 0
    return Estimate(max(extrapolated.left, decrement), decrement)


class Stopping:
    """Stop when the gain still to be expected is at most ``tol`` times the scale of the objective.

    Parameters
    ----------
    tol : float or None
        None never stops.
    patience : int
        Consecutive epochs after which the estimate must be below the limit.
    gains : ExtrapolatedGain
    scale : float
        Objective of the best constant prediction: with ``tol = 1e-4`` training stops when less than 0.0001 of R^2 is
        left to gain.
    """

    def __init__(self, tol, patience, gains, scale):
        self.tol, self.patience, self.gains, self.scale = tol, patience, gains, scale
        self.agreed = 0  # consecutive epochs so far with an estimate below the limit

    def restart(self, scale=None):
        """Start to count epochs again, with another scale if one is given."""
        self.agreed = 0
        self.scale = self.scale if scale is None else scale

    @property
    def limit(self):
        """The largest gain left at which training stops."""
        return max(self.tol, ROUNDING) * self.scale

    def update(self, epoch, before, after, n_updates, remaining=None):
        """Return whether to stop after epoch ``epoch``, with the objectives before and after it.

        ``remaining`` is the gain that is left and whether it is exact, which then decides alone; or None.
        """
        if self.tol is None:
            return False
        estimate, limit = self.gains.estimate(epoch, before, after), self.limit
        if remaining is not None:
            gain, exact = remaining
            if exact:
                return gain <= limit
            estimate = with_newton_decrement(estimate, gain, after)
        self.agreed = self.agreed + 1 if estimate.left <= limit else 0
        if estimate.certain <= DECISIVE_SHARE * limit:
            self.agreed = self.patience
        enough_updates = n_updates >= MIN_UPDATES or self._is_settled(estimate, after, limit)
        return self.agreed >= self.patience and enough_updates

    def _is_settled(self, estimate, after, limit):
        """Whether the evidence is sufficient also after few updates."""
        if after == 0.0:
            return True
        if self.gains.monotone:
            return estimate.certain <= SETTLED_SHARE * limit
        return self.gains.geometric and self.gains.gain <= 0.0
