"""When to stop: as soon as further epochs have little left to gain."""

import numpy as np

# Updates before which an automatic stop is not considered: small data is cheap, and may creep before it converges.
MIN_UPDATES = 500

# Where descent is steady: the share of ``tol`` that makes one epoch evidence enough, and that which ends small data.
CLEAR = 0.25
SETTLED = 1e-8


class StoppingRule:
    r"""Stop when the gain still to be expected is at most ``tol`` times the scale of the objective.

    After epoch ``e`` with objectives ``L`` the last gain is ``D = L[e-1] - L[e]``, and what is still to come is
    estimated as ``D * max(e, r / (1 - r))``: ``e * D`` is the rest of a power law (the noise of averaged descent
    falls like ``1 / e``), and ``r / (1 - r) * D``, with ``r`` the ratio of the last two gains, the rest of a
    geometric series (Aitken), which full-batch descent follows.  Neither is taken to exceed ``max_iter`` times the
    last gain.  Where the second derivatives are known as well the Newton decrement must agree, and suffices.

    Parameters
    ----------
    scale : float
        Objective of the best constant prediction: with ``tol = 1e-4`` training stops when less than 0.0001 of R^2 is
        to be had.
    tol : float or None
        None never stops.
    patience : int
        Consecutive epochs that must agree.
    max_iter : int
        Epochs at most.
    geometric : bool
        Whether ``r`` is meaningful, which the noise of mini-batches prevents.
    steady : bool
        Whether besides the step is such that the objective only ever falls: then an epoch of next to no gain is no
        passing plateau.
    """

    def __init__(self, scale, tol, patience, max_iter, geometric, steady):
        self.scale, self.tol, self.patience, self.max_iter = scale, tol, patience, max_iter
        self.geometric, self.steady = geometric, steady
        self.quiet = 0
        self.gain = np.inf

    def update(self, epoch, before, after, n_updates, remaining=None, exact=False, fast=False):
        """Take in the objective before and after epoch ``epoch`` (1 for the first); return whether to stop.

        Where known, ``remaining`` is what the objective can still fall by: then the gains alone, which say nothing of
        directions in which it falls too slowly to show, do not suffice, and next to nothing remaining does; after a
        few updates, too, if it is ``exact``, computed from all rows.  Where descent is ``fast`` the noise on its way
        may be more than what remains at its centre: there the gains must be small, too.
        """
        if self.tol is None:
            return False
        gain_before, self.gain = self.gain, before - after
        expected, limit = self._expected(epoch, gain_before), self.tol * self.scale
        movement = max(expected, -self.gain) if self.steady and epoch > 1 else np.inf
        if remaining is not None:
            remaining = min(remaining, after)  # no objective is below 0
            expected = max(expected, remaining)
            movement = expected if fast else remaining
        self.quiet = self.quiet + 1 if expected <= limit else 0
        if movement <= CLEAR * limit:
            self.quiet = self.patience
        if self.steady:
            settled = after == 0.0 or movement <= (CLEAR if exact else SETTLED) * limit
        else:
            settled = after == 0.0 or (self.geometric and self.gain <= 0.0)
        return self.quiet >= self.patience and (settled or n_updates >= MIN_UPDATES)

    def _expected(self, epoch, gain_before):
        if self.gain <= 0.0:
            return 0.0
        factor = float(epoch)
        if self.geometric:
            ratio = self.gain / gain_before if gain_before > 0.0 else 1.0
            factor = max(factor, ratio / (1.0 - ratio)) if ratio < 1.0 else np.inf
        return self.gain * min(factor, self.max_iter)
