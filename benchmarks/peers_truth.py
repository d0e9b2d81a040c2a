"""What the gaps of ``peers.py`` are measured from: exact least squares, or the exact optimum with an "l1" penalty.

A gap is the objective less its smallest value, in units of the objective of the best constant.  Without a penalty that
is R² of exact least squares minus R².  ``look`` is what a checkpoint hands out: predictions of the training rows, or a
fitted model where the gap also needs its coefficients.
"""

import numpy as np

import exact_optima
from accuracy import exact_r2


class LeastSquares:
    """Gaps to the R² of exact least squares."""

    def __init__(self, X, y):
        self.X, self.y, self.variance, self.r2 = X, y, y.var(), exact_r2(X, y)

    def gap(self, look):
        """Gap of predictions of the training rows."""
        return float(self.r2 - 1.0 + np.mean((self.y - look) ** 2) / self.variance)

    def gap_of(self, model):
        """Gap of a fitted model."""
        return self.gap(model.predict(self.X))


class WithL1:
    """Gaps to the smallest objective with an "l1" penalty."""

    def __init__(self, X, y, alpha):
        self.X, self.y, self.alpha = X, y, alpha
        self.null = 0.5 * y.var()
        self.best = exact_optima.Triangle(X, y).elastic_net(alpha, 1.0, False).value

    def gap(self, look):
        """Gap of a fitted model."""
        return self.gap_of(look)

    def gap_of(self, model):
        """Gap of a fitted model."""
        e, coef = self.y - np.ravel(model.predict(self.X)), np.ravel(model.coef_)
        return float((0.5 * e @ e / len(e) + self.alpha * np.abs(coef).sum() - self.best) / self.null)
