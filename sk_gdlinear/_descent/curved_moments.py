"""Second moments of rows weighted by the curvature of a loss, from one point to the next.

Between two Newton steps the second derivative of a loss changes at few rows only: those whose errors pass from one
piece of the loss to another.  So the moments at a point are those at the previous point plus the changes of these
rows.
"""

from dataclasses import dataclass, field

import numpy as np

from .._data.rows import Rows
from .._data.second_moments import SecondMoments, second_moments

# Rows that change, as a share of those with curvature, up to which they are added and removed; beyond that, computing
# the moments anew takes no more work.
MOST_CHANGED = 0.75

# Weights of rows that are kept from one point to the next, over all targets, at most: 32 MB.
MOST_WEIGHTS = 1 << 22


@dataclass
class CurvedMoments:
    """The second moments of the rows under the newest weights of each target."""

    rows: Rows
    all_rows: SecondMoments | None = None  # under the sample weights
    newest: dict = field(default_factory=dict)  # from the target to its weights, (n,), and moments

    def at(self, standardization, t, weight):
        """Return the second moments of the rows under the weights ``weight``, (n,), which are kept for target ``t``."""
        before, moments = self.newest.get(t) or (self._own_weights(), self.all_rows)
        changed = np.flatnonzero(weight != before)
        change = weight[changed] - before[changed]
        size = np.zeros(len(weight))
        size[changed] = np.abs(change)
        # With many rows it is less work to begin anew, and the difference of large sums has few digits.
        few = len(changed) <= MOST_CHANGED * np.count_nonzero(weight)
        if moments is None or not few or size[changed].sum() > MOST_CHANGED * weight.sum():
            moments = self._moments(standardization, weight, np.flatnonzero(weight))
        else:
            added, removed = changed[change > 0.0], changed[change < 0.0]
            if len(added):
                moments = moments + self._moments(standardization, size, added)
            if len(removed):
                moments = moments.without(self._moments(standardization, size, removed))
        if (len(self.newest) + 1) * len(weight) <= MOST_WEIGHTS or t in self.newest:
            self.newest[t] = weight, moments
        return moments

    def _moments(self, standardization, weight, kept):
        own = None if (weight[kept] == 1.0).all() else weight  # unit weights need no products
        return second_moments(self.rows._replace(weight=own, kept=kept), standardization)

    def _own_weights(self):
        """Return the sample weights, 0 for rows left out."""
        n, rows = self.rows.X.shape[0], self.rows
        weight = np.zeros(n)
        weight[rows.order] = 1.0 if rows.weight is None else rows.weight[rows.order]
        return weight
