"""Variance reduction: what ``fit`` adds after its first epoch.

At a constant step the iterates hover about the optimum. After one epoch their average is nearer to it than to the
optimum of the population, the noise of the data itself; from there it gains but slowly, and with another loss or a
penalty it keeps a bias and smears exact zeros. So ``fit`` then starts anew from the average and keeps of every row its
derivative ``G``, the row's ``anchor``, taken there and renewed at each visit, and the mean gradient of the anchors, the
``drift``. A batch moves along the drift plus what has changed in its own rows since. The noise of the gradient vanishes
at the optimum, which each epoch's average, begun with the epoch, reaches geometrically at a constant step; anchors and
drift are renewed on the way, so only taking the first ones needs a pass over the data. Should an epoch raise the
objective all the same, the step is halved.

Source: B. Ying, K. Yuan and A. H. Sayed, "Variance-Reduced Stochastic Learning Under Random Reshuffling", IEEE
Transactions on Signal Processing 68, 2020 (AVRG), there begun with zeros and without averages, which takes several
epochs more; the proximal step as in L. Xiao and T. Zhang, "A Proximal Stochastic Gradient Method with Progressive
Variance Reduction", SIAM Journal on Optimization 24, 2014.
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
        """Zeros for the rows of ``data``: nothing is known yet, and the first visit takes all of it in."""
        (n, d), k, dtype = data.X.shape, data.Y.shape[1], data.X.dtype
        return cls(*(np.zeros(shape, dtype) for shape in ((n, k), (k, d), k, (k, d), k)))

    def renew(self, n_rows):
        """Take in the changes of an epoch over ``n_rows`` rows."""
        if self.anchor is not None:
            for drift, change in ((self.drift_W, self.change_W), (self.drift_b, self.change_b)):
                change /= n_rows
                drift += change
                change[...] = 0.0
