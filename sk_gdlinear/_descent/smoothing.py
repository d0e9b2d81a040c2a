r"""The width over which a kink of the loss is smoothed, once Newton steps have converged.

The derivatives of the smoothed pinball loss are a point of the dual problem of the loss itself, and the duality gap is
what the smoothing costs plus what is left to gain of the smoothed loss (R. Koenker, "Quantile Regression", 2005,
section 6.2, has the dual).  So the width is narrowed until the gap is small, whatever the distribution of the errors:
ties of the targets show in it.  With a user-defined penalty, whose conjugate is not known, only what the smoothing
costs is computed; for a user-defined loss the difference between the smoothed and the exact loss takes its place.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from .._objective.losses import Quantile

# The width is divided by this after Newton steps have converged.
NARROWING = 4.0

# Growth of the largest slope from which objectives before and after a narrower smoothing are not compared.
STEEPER = 1.2

# Factor on the difference of smoothed and exact loss, for losses whose dual is not known.
SAFETY = 4.0


class Smoothing(NamedTuple):
    """What the smoothing of a kink may cost, summed over targets, and the exact loss, in units of y."""

    excess: float
    exact_loss: float


def measure(sums, objective, W, b):
    """Return the ``Smoothing`` at the minimum ``W, b`` of the smoothed loss, over the rows of a ``RowSums``."""
    unit, total = objective.standardization.unit, sums.total_weight
    excess, loss = sums.excess_and_loss(objective, W, b)
    return Smoothing(float(excess @ unit) / total, float(loss @ unit) / total)


def excess_and_loss(backend, problem, objective, W, b):
    """Return what the smoothing costs, and the exact loss, per target in standardized units, summed over rows."""
    unit = objective.standardization.unit
    exact, _ = objective.exact_loss()  # over the unit
    slope, excess, total = unit * objective.lipschitz, np.zeros(len(b)), np.zeros(len(b))
    for order in problem.rows.blocks():
        E = backend.errors(problem, order, W, b).astype(np.float64)
        value = exact.value(E)
        if type(objective.user_loss) is Quantile:
            lost = value - E * objective.loss.derivative(E) * slope
        else:
            lost = SAFETY * np.abs(objective.loss.value(E) * slope - value)
        weight = problem.rows.weights(order)
        s = np.ones(len(E)) if weight is None else weight.astype(np.float64)
        excess += s @ lost
        total += s @ value
    return excess, total


def narrowed(objective):
    """Return the objective with its kink smoothed over a narrower width; None if it cannot be narrower."""
    return None if is_narrowest(objective) else objective.with_width(_narrower_width(objective))


def is_narrowest(objective):
    """Whether the kink of the loss cannot be smoothed over a width that is much narrower."""
    return bool((_narrower_width(objective) > 0.75 * objective.width).all())


def _narrower_width(objective):
    return objective.narrower_width(0.0, 1.0 - 1.0 / NARROWING)


def slightly_narrowed(objective, errors_size, share):
    """Return the objective with the width moved, with weight ``share``, to that for errors of this size.

    Where its largest slope grows by little the loss itself stays the same.  The second value returned is whether it is
    another.
    """
    narrower = objective.with_width(objective.narrower_width(errors_size, share))
    if (narrower.lipschitz < STEEPER * objective.lipschitz).all():
        return replace(objective, width=narrower.width), False
    return narrower, True
