r"""Step sizes: the automatic step, and the line search of a batch that is far off.

``t`` counts updates (batches), not samples, and is 1 for the first update of a model.

The automatic step of a batch of ``m`` rows is

.. math:: \eta = \frac{m}{c_\beta \beta + (m - 1) \cdot 1.05 \, \lambda_1} \cdot 2^{-h},

with :math:`\beta` the largest weighted squared norm of a standardized row, :math:`\lambda_1` the largest eigenvalue of
their second moments, estimated on a sample, :math:`c_\beta` 1 in the first epoch and 1.5 while variance is reduced, and
``h`` the number of epochs that raised the objective while variance was reduced.  Where one batch holds all rows it is
:math:`1 / (1.05 \lambda_1)`.  With :math:`c_\beta = 1` and no margin it is the optimal step of S. Ma, R. Bassily and M.
Belkin, "The Power of Interpolation", ICML 2018, theorem 4: :math:`1 / \beta` for single rows, tending to :math:`1 /
\lambda_1` as the batch grows.
"""

from typing import NamedTuple

import numpy as np

from .lipschitz import LipschitzConstants
from .schedule import Schedule

# Factor on beta while variance is reduced: stored derivatives are stale and add variance.  Measured: 1 takes twice the
# epochs where single rows have large norms (20,000 x 1,000), 2 a quarter more where columns are nearly collinear.
STALENESS_FACTOR = 1.5

# Factor of the adaptive schedule, as in SGDRegressor, and the fraction of the first step below which it ends.
ADAPTIVE_FACTOR = 0.2
ADAPTIVE_FLOOR = 1e-6


class StepSize(NamedTuple):
    """The step: a given one or the automatic one, times a schedule."""

    user_step: float | None  # None for the automatic step
    schedule: Schedule
    constants: LipschitzConstants | None  # None where not needed
    full_batch: bool = False  # one batch holds all rows, so that there is no sampling noise
    lipschitz: float = 1.0  # what the user's loss was divided by; 1 with a kink, where it changes

    def base(self, n_rows, staleness=1.0):
        """Return the step before the schedule, for batches of ``n_rows`` rows and the loss over ``lipschitz``."""
        if self.user_step is not None:
            return self.user_step * self.lipschitz
        row_norm, eigenvalue = self.constants
        if self.full_batch:
            return 1.0 / eigenvalue if eigenvalue > 0 else 1.0
        return automatic_step(n_rows, staleness * row_norm, eigenvalue) if row_norm > 0 else 1.0

    def at(self, t, base):
        """Return the step at update ``t``."""
        return base * self.schedule(t)

    def in_user_units(self, t, base):
        """Return the step at update ``t`` for the gradient of the user's loss."""
        return float(self.at(t, base) / self.lipschitz)

    def reduce(self, factor):
        """Return the next factor of the step, where training would stop; the same unless the schedule is adaptive.

        It is divided until it is below ``ADAPTIVE_FLOOR``.
        """
        return factor * ADAPTIVE_FACTOR if self.schedule.adaptive and factor > ADAPTIVE_FLOOR else factor


def automatic_step(n_rows, row_norm, eigenvalue):
    r"""Return the largest step that is safe for random batches, :math:`m / (\beta + (m - 1) \lambda_1)`.

    Parameters
    ----------
    n_rows : int
        Rows in the batch, ``m``.
    row_norm : float
        ``beta``, the largest weighted squared norm of a standardized row, the intercept's 1 included.
    eigenvalue : float
        ``lambda_1``, the largest eigenvalue of ``Z^T Z / n``.
    """
    return n_rows / (row_norm + (n_rows - 1) * eigenvalue)


def line_search_step(Z, grad_W, grad_b, weight):
    r"""Return the step against the gradient that minimises this batch's squared error.

    It is :math:`\|\nabla\|^2 / (\tfrac1m \sum_i s_i \|\nabla W z_i + \nabla b\|^2)`, and 0 where that is not a number.
    While variance is reduced the gradient includes the mean gradient of all rows, and the step is the same expression.
    """
    slope = float((grad_W.astype(np.float64) ** 2).sum() + (grad_b.astype(np.float64) ** 2).sum())
    moved = (Z @ grad_W.T + grad_b).astype(np.float64) ** 2
    if weight is not None:
        moved *= weight[:, None]
    curvature = float(moved.sum()) / len(Z)
    return slope / curvature if np.isfinite(slope) and np.isfinite(curvature) and curvature > 0 else 0.0
