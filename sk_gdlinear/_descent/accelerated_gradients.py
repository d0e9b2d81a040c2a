r"""Accelerated proximal gradients over all rows, for penalties with kinks and more columns than a matrix is made for.

From the two newest points a step extrapolates, and makes a proximal step of the penalty from there:

.. math:: v = w + m (w - w_0), \qquad w \leftarrow \operatorname{prox}\left(v - D^{-1} \nabla L(v) / \lambda\right),

with D the mean squares of the columns and :math:`m` growing towards 1 (A. Beck and M. Teboulle, "A Fast Iterative
Shrinkage-Thresholding Algorithm", SIAM Journal on Imaging Sciences 2, 2009).  Gradients of squared errors are linear,
so that :math:`\nabla L(v)` follows from those of the derivation at the two points, and a step takes one pass over the
rows.  :math:`\lambda` is to be an upper bound of the second derivative along the step, relative to D, which the pass
tells; where it was too small it grows, and otherwise it shrinks slowly.  The extrapolation begins anew where it points
uphill (B. O'Donoghue and E. Candes, Foundations of Computational Mathematics 15, 2015), and a target whose objective
did not fall keeps its parameters.  The intercept is always the best one for the coefficients.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np

from .gradient_steps import GradientSteps
from .row_sums import Point

# Newest falls of the objective of which the largest counts: they are small for some steps after an extrapolation begins
# anew.
FALLS = 16

# Factors on the bound of the second derivative: after a step along which it was larger, on what was found there, and
# after any other step.  Where it is larger than all before by more than the first factor the extrapolation begins anew.
GROWTH = 1.2
DECAY = 0.98


class ProximalStep(NamedTuple):
    """A proximal step from an extrapolated point."""

    W: np.ndarray  # (k, d), float64, after the step
    b: np.ndarray
    gain: float  # the duality gap at the point before; infinite where it is not known
    exact: bool  # whether it is known
    start: np.ndarray  # (k, d), the extrapolated coefficients
    slope: np.ndarray  # (k, d), the gradient of the loss there, with the best intercept
    hidden: float = 0.0  # beside the gap nothing may be left


@dataclass
class AcceleratedGradients(GradientSteps):
    """Accelerated proximal gradient steps, for penalties of any kind."""

    newest: tuple[Point, Point] | None = None  # the points after and before the newest step
    momentum: np.ndarray | None = None  # (k,), 1 where the extrapolation begins anew
    bound: np.ndarray | None = None  # (k,), of the second derivative, relative to the squares of the columns
    largest: np.ndarray | None = None  # (k,), the largest one found

    n_falls: ClassVar[int] = FALLS
    begun: ClassVar[str] = "accelerated gradients begun"

    @np.errstate(over="ignore", invalid="ignore")  # in extreme units squares may not be numbers
    def proposal(self, objective, point, negligible=0.0):
        """Return the ``ProximalStep`` from a point, extrapolated if the newest step led there."""
        W, slope, k = point.W.astype(np.float64), self._centred_slope(objective, point), len(point.b)
        if self.bound is None:
            self.bound = self.largest = np.ones(k)
        start, before = W, point
        if self.newest is not None and self.newest[0] is point:
            before = self.newest[1]
        else:
            self.momentum = np.ones(k)
        if (self.momentum > 1.0).any():
            share = ((self.momentum - 1.0) / _next(self.momentum))[:, None]
            start = W + share * (W - before.W)
            slope = slope + share * (slope - self._centred_slope(objective, before))
        step = 1.0 / (self.bound[:, None] * self._squares)
        after, b = objective.penalty.proximal(start - step * slope, step), point.b
        if self.fit_intercept:
            b = b - point.grad_b - (after - W) @ objective.baseline.mean_row
        return ProximalStep(after, b, *self.gap_at(objective, point), start, slope)

    @np.errstate(over="ignore", invalid="ignore")
    def move(self, objective, point, proposal, on_block=None):
        """Return the point after a step; targets whose objective does not fall keep their parameters."""
        W, b = (new.astype(old.dtype) for new, old in zip(proposal[:2], point[:2], strict=True))
        after = self.point(objective, W, b, on_block)
        falls = point.value(objective.penalty) - after.value(objective.penalty)
        way, is_lower = W - proposal.start, falls > 0.0
        size = (self._squares * np.square(way)).sum(axis=1)
        curvature = (way * (self._centred_slope(objective, after) - proposal.slope)).sum(axis=1)
        curvature = np.divide(curvature, size, out=np.zeros_like(size), where=size > 0.0)
        is_above, is_far_above = curvature > self.bound, curvature > GROWTH * self.largest
        is_downhill = (self._squares * way * (W.astype(np.float64) - point.W)).sum(axis=1) >= 0.0
        had_begun_anew = self.momentum == 1.0
        self.momentum = np.where(is_lower & is_downhill & ~is_far_above, _next(self.momentum), 1.0)
        self.bound = np.where(is_above, GROWTH * curvature, DECAY * self.bound)
        self.largest = np.fmax(self.largest, curvature)
        self.count_step(float(falls[is_lower].sum()))
        if not is_lower.any() and not (is_above & np.isfinite(curvature)).any() and had_begun_anew.all():
            self.stall()
        reached = Point(*(np.where(is_lower, new.T, old.T).T for new, old in zip(after[:5], point[:5], strict=True)))
        self.newest = reached, point
        return reached

    @property
    def _squares(self):
        """Mean squares of the columns; 1 for constant ones, whose gradients are 0."""
        return np.where(self.column_squares > 0.0, self.column_squares, 1.0)

    def _centred_slope(self, objective, point):
        """Return the gradient of the loss by the coefficients, with the intercept that is best for them."""
        if not self.fit_intercept:
            return point.grad_W
        return point.grad_W - np.multiply.outer(point.grad_b, objective.baseline.mean_row)


def _next(momentum):
    """Return the momentum after a step."""
    return 0.5 * (1.0 + np.sqrt(1.0 + 4.0 * momentum * momentum))
