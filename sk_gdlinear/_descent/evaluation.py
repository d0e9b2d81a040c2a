"""The training objective of parameters, and what the same pass over all rows computes with it."""

from typing import NamedTuple

import numpy as np

from .._data.threads import map_blocks
from .row_sums import Point
from .variance_reduction import VarianceReduction


class Evaluation(NamedTuple):
    """The training objective of the parameters to report."""

    standardized: float  # in standardized units
    objective: float  # in the user's units

    @classmethod
    def of(cls, objective, losses, W):
        """Return the evaluation of coefficients with these mean losses, (k,), in standardized units."""
        per_target = losses + objective.penalty.value(W)
        return cls(float(per_target.sum()), objective.in_user_units(per_target))


class LastPass(NamedTuple):
    """What the newest evaluation of the reported parameters computed in its pass, other than the objective."""

    reduction: VarianceReduction | None = None  # the gradient table there
    point: Point | None = None  # the losses and the gradient there

    def is_at(self, W, b):
        """Whether the point is known, and at these parameters."""
        return self.point is not None and np.array_equal(self.point.W, W) and np.array_equal(self.point.b, b)


def gradient_pass(backend, problem, W, b):
    """Return the ``LastPass`` with the ``Point`` at parameters."""
    return LastPass(point=_point(problem, W, b, lambda order: backend.gradient(problem, order, W, b)))


def table_pass(backend, problem, W, b):
    """Return the ``LastPass`` with the gradient table at parameters, and the ``Point``."""
    rows = problem.rows
    table = np.zeros(rows.Y.shape, rows.X.dtype)
    point = _point(problem, W, b, lambda order: backend.derivatives(problem, order, W, b, table))
    return LastPass(VarianceReduction.at(rows, table, point.grad_W, point.grad_b), point)


def _point(problem, W, b, gradient):
    """Return the ``Point`` at parameters, by ``gradient(order)`` of each block of rows."""
    rows, sums = problem.rows, [np.zeros(a.shape) for a in (W, b, b)]
    with np.errstate(over="ignore", invalid="ignore"):
        for parts in map_blocks(gradient, rows.blocks()):
            for total, part in zip(sums, parts, strict=True):
                total += part
    grad_W, grad_b, losses = (a / rows.total_weight for a in sums)
    return Point(W.copy(), b.copy(), losses, grad_W, grad_b)
