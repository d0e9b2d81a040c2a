r"""The minimum of a quadratic function with absolute values and bounds, by an interior-point method.

The function :math:`\langle c, w \rangle + \tfrac12 w^\top A w + \sum_j l_j |w_j|` has its minimum between
:math:`\mathrm{low}` and :math:`\mathrm{high}` where

.. math::

   v = c + A w - \lambda + \mu, \quad w = p - m, \quad
   p \, (l + v) = m \, (l - v) = \lambda \, (w - \mathrm{low}) = \mu \, (\mathrm{high} - w) = 0,

with :math:`p, m, \lambda, \mu` and what they are multiplied by at least 0; without an absolute value, :math:`v = 0`.
Newton steps on these equations, whose products shrink towards 0 instead of being 0 at once, keep all factors above 0
(S. Mehrotra, "On the Implementation of a Primal-Dual Interior Point Method", SIAM Journal on Optimization 2, 1992).
Each step solves a linear system of all variables.  The number of steps hardly depends on how nearly collinear columns
are, while that of steps which take one variable after the other to 0 or to a bound grows with it.
"""

import numpy as np
from scipy.linalg.lapack import dpotrf, dpotrs

# Steps at most, and the sum of the products, relative to that at the start, at which they end.
STEPS = 40
PRODUCTS = 1e-10

# The least factor at the start, relative to the largest variable and slope.  These have the same units where the
# diagonal of the matrix is 1.
FIRST_FACTOR = 0.1

# The part of the way to where the first factor is 0 that a step makes.
SHARE = 0.99

# The least damping of a matrix that is not positive definite, relative to its largest element.
DAMPING = 1e-15

# How the inequalities ``l1 + v``, ``l1 - v``, ``w - lower`` and ``upper - w`` change with ``v`` and ``w``.
SIGN = np.array([[1.0], [-1.0], [1.0], [-1.0]])


def interior_minimum(A, c, w, l1, lower, upper):
    """Return variables near the minimum, some of them exactly 0 or at a bound.

    Parameters
    ----------
    A : ndarray of shape (d, d)
        Positive semi-definite, with a diagonal near 1.
    c : ndarray of shape (d,)
        The slope at 0.
    w : ndarray of shape (d,)
        Variables to start from.
    l1, lower, upper : ndarray of shape (d,)
        Weights of the absolute values, and bounds, of which the lower is below the upper.
    """
    iterate = _Iterate(A, c, w, l1, lower, upper)
    first = iterate.total
    for _ in range(STEPS):
        if not (iterate.total > PRODUCTS * first and iterate.step()):
            break
    return iterate.rounded()


class _Iterate:
    """Variables, and for each inequality, (4, d), its slack and its multiplier, all above 0.

    The slack and the multiplier of an inequality that does not exist are 1 and 0.
    """

    def __init__(self, A, c, w, l1, lower, upper):
        self.A, self.c, self.l1, self.lower, self.upper = A, c, l1, lower, upper
        self.kink = l1 > 0.0
        self.exists = np.array([self.kink, self.kink, np.isfinite(lower), np.isfinite(upper)])
        v = A @ w + c
        least = FIRST_FACTOR * max(np.abs(w).max(), np.abs(v).max())
        room = np.minimum(least, 0.5 * (upper - lower))
        slack = [*np.maximum(l1 + SIGN[:2] * v, least), np.maximum(w - lower, room), np.maximum(upper - w, room)]
        multiplier = [*np.maximum(SIGN[:2] * w, 0.0) + least, *np.full((2, len(w)), least)]
        self.slack, self.multiplier = np.where(self.exists, slack, 1.0), np.where(self.exists, multiplier, 0.0)
        self._set_variables(w)

    @property
    def total(self):
        """The sum of the products of slacks and multipliers."""
        return float((self.slack * self.multiplier).sum())

    def step(self):
        """Make a step; return whether its linear system has a solution."""
        A, w, kink, slack, multiplier = self.A, self.w, self.kink, self.slack, self.multiplier
        v = A @ w + self.c - multiplier[2] + multiplier[3]
        values = np.where(self.exists, [self.l1 + v, self.l1 - v, w - self.lower, self.upper - w], 0.0)
        ratio = multiplier / slack
        inverse = np.divide(1.0, ratio[0] + ratio[1], out=np.zeros(len(w)), where=kink)
        factor = _factor(A + np.diag(ratio[2] + ratio[3] + inverse))
        if factor is None:
            return False

        def direction(products):
            """Return the changes of variables, slacks and multipliers that make the products, if all were linear."""
            by_products = np.where(self.exists, (products - multiplier * values) / slack, 0.0)
            target = np.where(kink, inverse * (by_products[0] - by_products[1]), -v)
            by_w = dpotrs(factor, target + by_products[2] - by_products[3], lower=True)[0]
            by_v = np.where(kink, target - inverse * by_w, target)
            change = SIGN * [by_v, by_v, by_w, by_w]
            return by_w, np.where(self.exists, values - slack + change, 0.0), by_products - ratio * change

        total, (_, by_slack, by_multiplier) = self.total, direction(0.0)
        t = self._longest(by_slack, by_multiplier)
        left = float(((slack + t * by_slack) * (multiplier + t * by_multiplier)).sum())
        centre = (left / total) ** 3 * total / np.count_nonzero(self.exists)
        by_w, by_slack, by_multiplier = direction(centre - by_slack * by_multiplier)
        t = SHARE * self._longest(by_slack, by_multiplier)
        self.slack, self.multiplier = slack + t * by_slack, multiplier + t * by_multiplier
        self._set_variables(w + t * by_w)
        return True

    def rounded(self):
        """Return the variables, those at 0 or at a bound whose slack there is below its multiplier."""
        is_active = self.exists & (self.multiplier > self.slack)
        w = np.clip(np.where(self.kink & ~is_active[:2].any(axis=0), 0.0, self.w), self.lower, self.upper)
        return np.where(is_active[2], self.lower, np.where(is_active[3], self.upper, w))

    def _set_variables(self, w):
        self.w = np.where(self.kink, self.multiplier[0] - self.multiplier[1], w)

    def _longest(self, by_slack, by_multiplier):
        """Return the share of a step, 1 at most, up to which slacks and multipliers are at least 0."""
        factors, changes = np.array([self.slack, self.multiplier]), np.array([by_slack, by_multiplier])
        falls = changes < 0.0
        return min(1.0, float((-factors[falls] / changes[falls]).min(initial=1.0)))


def _factor(A):
    """Return the factor of Cholesky's method, of a damped matrix where rounding requires it; None if that fails too."""
    factor, failed = dpotrf(A, lower=True, clean=False)
    damping = DAMPING
    while failed and damping < 1.0:
        damping *= 10.0
        factor, failed = dpotrf(A + damping * np.diag(A).max() * np.eye(len(A)), lower=True, clean=False)
    return None if failed else factor
