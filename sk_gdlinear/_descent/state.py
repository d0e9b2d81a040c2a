"""The state of a descent: all that an epoch changes."""

from dataclasses import dataclass, replace

from .._objective.objective import Objective
from .averaging import Iterate
from .curvature import NewtonState
from .variance_reduction import VarianceReduction


@dataclass
class DescentState:
    """The state of a descent.

    The iterate, and the gradient table with its mean gradient, are changed in place; all else is replaced.
    """

    iterate: Iterate
    objective: Objective  # replaced when its smoothing is narrowed
    n_epochs: int = 0  # made so far; a warm start counts as one
    step_factor: float = 1.0  # on every step: epochs that raise the objective and an adaptive schedule reduce it
    reduction: VarianceReduction = VarianceReduction()
    newton: NewtonState | None = None  # None before an epoch with the curvature

    def copy(self):
        """Return the state with a copy of the iterate.

        The gradient table and its mean gradient are shared, and later epochs change them.  So the copy keeps the
        parameters to report, but variance-reduced epochs cannot go on from it.
        """
        return replace(self, iterate=self.iterate.copy())

    def set_parameters(self, W, b):
        """Set the parameters, and start a new average there."""
        it = self.iterate
        it.W[...], it.b[...] = W, b
        if it.mean_W is not None:
            it.restart_average()

    def predict_mean(self):
        """Set the parameters to those that predict the mean of the targets."""
        self.set_parameters(0.0, self.objective.baseline.intercept)
        self.newton = None
