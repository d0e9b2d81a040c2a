"""Rows held out of training: splitting them off, and the loss on them."""

import math

import numpy as np

from .._data.rows import Rows
from .._objective.evaluate import mean_loss


def split_off(X, Y, sample_weight, fraction, seed):
    """Hold out a random ``fraction`` of the rows of non-zero weight, rounded up.

    Returns
    -------
    held_out : Rows
    sample_weight : ndarray of shape (n,)
        The weights to train with: 0 for the rows held out, which then count as absent.

    Raises
    ------
    ValueError
        If fewer than two rows are left to train on.
    """
    order = np.arange(X.shape[0]) if sample_weight is None else np.flatnonzero(sample_weight)
    n_held_out = math.ceil(fraction * len(order))
    if len(order) - n_held_out < 2:
        raise ValueError(
            f"early_stopping=True needs at least 2 rows to train on: got n_samples={len(order)} of non-zero weight, of "
            f"which validation_fraction={fraction:g} holds out {n_held_out}. Use early_stopping=False or a smaller "
            "validation_fraction, or pass X_val and y_val to fit."
        )
    chosen = np.sort(np.random.default_rng(seed).choice(order, n_held_out, replace=False, shuffle=False))
    training_weight = np.ones(X.shape[0]) if sample_weight is None else sample_weight.copy()
    training_weight[chosen] = 0.0
    return Rows(X, Y, sample_weight, chosen), training_weight


class ValidationSet:
    """Rows that are not trained on; their loss stops training and chooses the best epoch.

    Parameters
    ----------
    backend : Backend
    rows : Rows
    objective : Objective
        Its loss is evaluated without smoothing and without the penalty.
    """

    def __init__(self, backend, rows, objective):
        weight = None if rows.weight is None else rows.weight.astype(rows.X.dtype)
        self.backend, self.rows, self.objective = backend, rows._replace(weight=weight), objective
        self.cache = {}

    def loss(self, W, b):
        """Return the loss of parameters in the user's units, and the selection loss.

        The selection loss is that in the user's units over the square of the largest target's unit: it overflows for
        no y.
        """
        loss, lipschitz = self.objective.exact_loss()
        problem = self.objective.problem(self.rows, True, self.cache)._replace(loss=loss)
        unit = self.objective.standardization.unit
        with np.errstate(over="ignore", invalid="ignore"):  # the square of a large y may not be a number
            per_target = mean_loss(self.backend, problem, W, b)
            return tuple(float(per_target @ (lipschitz * a * a)) for a in (unit, unit / unit.max()))

    def scale(self):
        """Return the selection loss of the constant that predicts the mean of the training rows."""
        intercept = self.objective.baseline.intercept
        W = np.zeros((len(intercept), self.rows.X.shape[1]), intercept.dtype)
        return self.loss(W, intercept)[1]
