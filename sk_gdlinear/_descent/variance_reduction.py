r"""Variance reduction: what ``fit`` adds after its first epoch.

At a constant step the iterates fluctuate about the optimum.  After one epoch the distance of their average to it is
about the statistical error of the optimum itself.  From there averaging gains only slowly, and with another loss or a
penalty it keeps a bias.  So ``fit`` continues from the average and stores the derivative :math:`\psi_i` of every row's
weighted loss in a table, together with the mean gradient of the table's entries.  A batch moves along

.. math:: \nabla W = \tfrac1m \sum_{i \in \text{batch}} (\psi_i - \psi_i^{\text{table}}) z_i^\top + \bar\nabla W,

and its derivatives replace those in the table.  The noise of this gradient vanishes at the optimum, so that the
averages of the epochs, each started with its epoch, converge to it geometrically at a constant step.  The mean gradient
is updated once an epoch.  If an epoch raises the objective, the step is halved.

Source: the table is SAGA's (A. Defazio, F. Bach and S. Lacoste-Julien, "SAGA: A Fast Incremental Gradient Method With
Support for Non-Strongly Convex Composite Objectives", NeurIPS 2014), here under random reshuffling.  Updating the mean
gradient once an epoch, from derivatives stored on the way, is CentralVR's (S. De and T. Goldstein, "Efficient
Distributed SGD with Variance Reduction", ICDM 2016).  The proximal step is as in L. Xiao and T. Zhang, "A Proximal
Stochastic Gradient Method with Progressive Variance Reduction", SIAM Journal on Optimization 24, 2014.
"""

from typing import NamedTuple

import numpy as np


class VarianceReduction(NamedTuple):
    """The gradient table and its mean gradient; all None if variance is not reduced."""

    table: np.ndarray | None = None  # (n, k), derivative of each row's weighted loss when last visited
    mean_grad_W: np.ndarray | None = None  # (k, d), mean gradient of the table as the epoch began
    mean_grad_b: np.ndarray | None = None  # (k,)
    update_W: np.ndarray | None = None  # sum over rows of the change of their gradients in this epoch
    update_b: np.ndarray | None = None

    @classmethod
    def at(cls, rows, table, mean_grad_W, mean_grad_b):
        """Return the record for a table filled at some parameters, with the mean gradient of all rows there."""
        means = [grad.astype(rows.X.dtype) for grad in (mean_grad_W, mean_grad_b)]
        return cls(table, *means, *(np.zeros_like(grad) for grad in means))

    @property
    def is_on(self):
        """Whether variance is reduced."""
        return self.table is not None

    def commit(self, n_rows):
        """Update the mean gradient after an epoch over ``n_rows`` rows."""
        if self.is_on:
            for mean, update in ((self.mean_grad_W, self.update_W), (self.mean_grad_b, self.update_b)):
                update /= n_rows
                mean += update
                update[...] = 0.0
