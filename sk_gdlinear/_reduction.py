"""Variance reduction: what ``fit`` adds where the average of the iterates would converge too slowly.

At a constant step the iterates hover about the optimum. Their average is soon near enough to it for the bare square
of the error; for another loss or with a penalty it keeps a bias, and no exact zeros. There every row's derivative
``G`` is kept from its last visit, its ``anchor``, and the mean gradient of those, the ``drift``. A batch moves along
the drift plus what has changed in its own rows since. The noise of the gradient then vanishes at the optimum, which
the last iterate reaches geometrically at the full automatic step, and no pass over the data is added. With zeros to
begin with, the first epoch is plain descent. Should an epoch raise the objective all the same, the step is halved.

Source: B. Ying, K. Yuan and A. H. Sayed, "Variance-Reduced Stochastic Learning Under Random Reshuffling", IEEE
Transactions on Signal Processing 68, 2020 (AVRG); the proximal step as in L. Xiao and T. Zhang, "A Proximal
Stochastic Gradient Method with Progressive Variance Reduction", SIAM Journal on Optimization 24, 2014.
"""

from typing import NamedTuple

import numpy as np


class Reduction(NamedTuple):
    """What is known of the rows' gradients, None where variance is not reduced."""

    anchor: np.ndarray | None = None  # (n, k), weighted derivative of each row's loss when last visited
    drift_W: np.ndarray | None = None  # (k, d) and (k,), mean gradient of the anchors as the epoch began
    drift_b: np.ndarray | None = None
    change_W: np.ndarray | None = None  # sum over rows of how much it has changed in this epoch
    change_b: np.ndarray | None = None

    @classmethod
    def over(cls, data):
        """Zeros for the rows of ``data``: nothing is known yet."""
        (n, d), k, dtype = data.X.shape, data.Y.shape[1], data.X.dtype
        return cls(*(np.zeros(shape, dtype) for shape in ((n, k), (k, d), k, (k, d), k)))

    def rescale(self, factor):
        """Multiply all gradients known by ``factor``, one per target."""
        if self.anchor is not None:
            self.anchor[...] *= factor
            self.drift_W[...] *= factor[:, None]
            self.drift_b[...] *= factor

    def renew(self, n_rows):
        """Take in the changes of an epoch over ``n_rows`` rows."""
        if self.anchor is not None:
            for drift, change in ((self.drift_W, self.change_W), (self.drift_b, self.change_b)):
                drift += change / n_rows
                change[...] = 0.0
