"""Variables of a quadratic model under a penalty with kinks: absolute values, squares and bounds.

The reference implementations are here, with a leading underscore.  The compiled ones in ``_kernels.quadratic`` compute
the same.  Their arguments are the matrix ``H`` of the model, (d, d) with 1 or 0 on its diagonal, the variables ``w``,
(d,), the gradient ``q`` of the quadratic function there, and the four arrays of ``Kinks``.
"""

from typing import NamedTuple

import numpy as np

from .._kernels import quadratic as compiled


class Kinks(NamedTuple):
    """Absolute values, squares and bounds of scaled coefficients of one target, each of shape (d,)."""

    l1: np.ndarray
    l2: np.ndarray
    lower: np.ndarray
    upper: np.ndarray

    def value(self, w):
        """Return the penalty of coefficients within the bounds."""
        return float(self.l1 @ np.abs(w) + 0.5 * (self.l2 * w) @ w)


def _coordinate_descent(H, w, q, l1, l2, lower, upper, sweeps, tolerance):
    """Minimise along one variable after the other, in place; return the gain of the last sweep.

    There are at most ``sweeps`` of them, and none after one whose gain is at most ``tolerance``.
    """
    for _ in range(sweeps):
        gain = 0.0
        for j in range(len(w)):
            curvature = H[j, j] + l2[j]
            if not curvature > 0.0:
                continue
            point = H[j, j] * w[j] - q[j]
            point = (point - max(-l1[j], min(l1[j], point))) / curvature
            change = max(lower[j], min(upper[j], point)) - w[j]
            if change != 0.0:
                w[j] += change
                gain += 0.5 * curvature * change * change
                q += change * H[j]
        if not gain > tolerance:
            break
    return gain


def _violation(H, w, q, l1, l2, lower, upper):
    """Return half the sum of squares of the least subgradient, which is 0 at the minimum."""
    r = least_subgradient(w, q + l2 * w, l1, lower, upper)
    return 0.5 * float(np.square(r[np.diag(H) + l2 > 0.0]).sum())


def least_subgradient(w, slope, l1, lower, upper):
    """Return the subgradient of least size, with that of the bounds; where it is 0, ``w`` is the minimum.

    ``slope`` is that of the quadratic function and the squares.
    """
    right = slope + np.where(w >= 0.0, l1, -l1)
    left = slope + np.where(w > 0.0, l1, -l1)
    return np.where(w < upper, np.minimum(right, 0.0), 0.0) + np.where(w > lower, np.maximum(left, 0.0), 0.0)


def _free_system(H, w, q, l1, l2, lower, upper):
    """Return the variables neither at a kink nor at a bound, the model's matrix among them, and its slope there.

    The matrix contains the curvature of the squares, and the slope is that of the model with its penalty.  Variables on
    which the model does not depend are left out.
    """
    moves = np.diag(H) + l2 > 0.0
    free = np.flatnonzero(moves & ((w != 0.0) | (l1 == 0.0)) & (w > lower) & (w < upper))
    A = H[np.ix_(free, free)]
    A.flat[:: len(free) + 1] += l2[free]
    return free, A, q[free] + l2[free] * w[free] + l1[free] * np.sign(w[free])


def _share_to_kink(w, step, free, l1, lower, upper):
    """Return the share of a step of free variables until one meets 0 or a bound, which one, and its value there.

    ``step`` is of shape (len(free),).  If none does, the share is 1 and the variable -1.
    """
    v, low, high, has_kink = w[free], lower[free], upper[free], l1[free] > 0.0
    low = np.where((v > 0.0) & has_kink, np.maximum(low, 0.0), low)
    high = np.where((v < 0.0) & has_kink, np.minimum(high, 0.0), high)
    ends = np.where(step < 0.0, low, high)
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = np.where(step != 0.0, (ends - v) / step, np.inf)
    hit = int(shares.argmin())
    return (1.0, -1, 0.0) if shares[hit] >= 1.0 else (float(shares[hit]), int(free[hit]), float(ends[hit]))


coordinate_descent = _coordinate_descent if compiled is None else compiled.coordinate_descent
violation = _violation if compiled is None else compiled.violation
free_system = _free_system if compiled is None else compiled.free_system
share_to_kink = _share_to_kink if compiled is None else compiled.share_to_kink
