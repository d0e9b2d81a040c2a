r"""Conjugate gradients over all rows, for squared errors of more columns than a matrix is made for.

An epoch is one pass over the rows.  From the gradient :math:`g` of the objective and the direction :math:`p` of the
epoch before it goes along

.. math:: p \leftarrow -M^{-1} g + \beta p, \qquad \beta = \frac{g^\top M^{-1} g}{g_0^\top M^{-1} g_0}, \qquad
    w \leftarrow w + \frac{g^\top M^{-1} g}{p^\top H p} \, p,

with :math:`g_0` the gradient before, H the second moments of the rows plus the squares' penalty, and M its diagonal (M.
Hestenes and E. Stiefel, "Methods of Conjugate Gradients for Solving Linear Systems", Journal of Research of the
National Bureau of Standards 49, 1952).  The pass computes :math:`H p`, the gradient of the derivation at p for targets
0; from it follow the gradient and the objective at the new point.  A target has no further steps where rounding is all
that is left of its gradient, or of the second derivative along its direction.

"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np

from .._objective.penalties import BoxedElasticNet
from .gradient_steps import GradientSteps
from .row_sums import Point

# Newest falls of the objective of which the largest counts.
FALLS = 8

# Rounding, relative to the root of the first norm of the gradient, and to the largest second derivative along a
# direction: a target whose gradient or second derivative is smaller has no further steps.  They would be rounding,
# along directions in which all rows are alike.
ROUNDING = 64.0 * np.finfo(np.float64).eps


class Direction(NamedTuple):
    """The direction at a point, 0 for targets that have no further step."""

    W: np.ndarray  # (k, d), float64
    b: np.ndarray
    norm: np.ndarray  # (k,), of the gradient there, squared and in the metric of the inverse diagonal
    gain: float  # the duality gap at the point; infinite where it is not known
    exact: bool  # whether it is known


@dataclass
class ConjugateGradients(GradientSteps):
    """Steps along conjugate directions, with the squares of the coefficients penalised or no penalty."""

    newest: tuple[Point, Direction] | None = None  # the point that the newest step reached, and its direction
    first_norm: np.ndarray | None = None  # (k,), that of the first direction
    steepest: float = 0.0  # the largest second derivative along a direction, in the metric of the diagonal

    n_falls: ClassVar[int] = FALLS
    begun: ClassVar[str] = "conjugate gradients begun"

    @np.errstate(over="ignore", invalid="ignore")  # in extreme units squares may not be numbers
    def proposal(self, objective, point, negligible=0.0):
        """Return the ``Direction`` at a point: conjugate to the one before, if the newest step led there."""
        l2, grad_b = squares_penalty(objective.penalty, point.W), point.grad_b
        grad_W, diagonal = point.grad_W + l2 * point.W, self._diagonal(objective, point.W)
        W = -np.divide(grad_W, diagonal, out=np.zeros_like(grad_W), where=diagonal > 0.0)
        b, norm = -grad_b, np.square(grad_b) - (W * grad_W).sum(axis=1)
        if self.newest is not None and self.newest[0] is point:
            before = self.newest[1]
            ratio = np.divide(norm, before.norm, out=np.zeros_like(norm), where=before.norm > 0.0)
            W, b = W + ratio[:, None] * before.W, b + ratio * before.b
        self.first_norm = norm if self.first_norm is None else self.first_norm
        moves = norm > ROUNDING**2 * self.first_norm
        return Direction(W * moves[:, None], b * moves, norm * moves, *self.gap_at(objective, point))

    @np.errstate(over="ignore", invalid="ignore")
    def move(self, objective, point, proposal, on_block=None):
        """Return the point of least objective along a direction; the old one where it cannot be told by rounding."""
        W, b, norm = proposal[:3]
        products = self.sums.curvature_products(objective, W, b, on_block)
        product_W, product_b = (a / self.sums.total_weight for a in products)
        of_loss = (W * product_W).sum(axis=1) + b * product_b
        curvature = of_loss + (squares_penalty(objective.penalty, W) * np.square(W)).sum(axis=1)
        size = (self._diagonal(objective, W) * np.square(W)).sum(axis=1) + np.square(b)
        relative = np.divide(curvature, size, out=np.zeros_like(norm), where=size > 0.0)
        self.steepest = max(self.steepest, float(relative.max()))
        length = np.divide(norm, curvature, out=np.zeros_like(norm), where=relative > ROUNDING * self.steepest)
        slope = (W * point.grad_W).sum(axis=1) + b * point.grad_b
        after = Point(
            point.W + length[:, None] * W,
            point.b + length * b,
            np.maximum(point.losses + length * (slope + 0.5 * length * of_loss), 0.0),
            point.grad_W + length[:, None] * product_W,
            point.grad_b + length * product_b,
        )
        self.count_step(float((0.5 * length * norm).sum()))
        if not (length.any() and np.isfinite(after.losses).all() and np.isfinite(after.W).all()):
            self.stall()
            return point
        self.newest = after, proposal._replace(norm=np.where(length > 0.0, norm, 0.0))
        return after

    def _diagonal(self, objective, W):
        """Return the diagonal of the second derivatives of the objective, (k, d) or (d,)."""
        return self.column_squares + squares_penalty(objective.penalty, W)


def squares_penalty(penalty, W):
    """Return the penalty of the square of each coefficient, (k, d) or a number, in float64."""
    return 0.0 if penalty.is_zero else np.broadcast_to(penalty.l2, W.shape).astype(np.float64)


def has_squares_alone(penalty):
    """Whether there is no penalty, or one of the squares of coefficients alone."""
    if penalty.is_zero:
        return True
    return isinstance(penalty, BoxedElasticNet) and penalty.lower is None and not np.any(penalty.l1)
