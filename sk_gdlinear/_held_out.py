"""Rows held out of training: splitting them off, the loss on them, and the best weights seen there."""

import math

import numpy as np

from ._evaluation import mean_loss
from ._rows import Data


def split_off(X, Y, sample_weight, fraction, seed):
    """Hold out a random ``fraction`` of the rows of non-zero weight, rounded up, but leave one to train on.

    Returns
    -------
    held_out : Data
    sample_weight : ndarray of shape (n,)
        The weights to train with: 0 for the rows held out, which is to say that they are not there.

    Raises
    ------
    ValueError
        If there are not two rows.
    """
    rows = np.arange(X.shape[0]) if sample_weight is None else np.flatnonzero(sample_weight)
    if len(rows) < 2:
        raise ValueError(
            "early_stopping=True needs at least 2 rows, one to train on and one to validate on: got n_samples=1 of "
            "non-zero weight. Use early_stopping=False, or pass X_val and y_val to fit."
        )
    n_held_out = min(math.ceil(fraction * len(rows)), len(rows) - 1)
    chosen = np.sort(np.random.default_rng(seed).choice(rows, n_held_out, replace=False, shuffle=False))
    training_weight = np.ones(X.shape[0]) if sample_weight is None else sample_weight.copy()
    training_weight[chosen] = 0.0
    return Data(X, Y, sample_weight, chosen), training_weight


class HeldOut:
    """Rows that training never sees, and where the descent stood when it was best on them.

    Losses are judged in the user's units over the square of the largest target's unit: then they overflow for no y.

    Parameters
    ----------
    data : Data
    slope : ndarray of shape (k,)
    loss : Loss
        What to judge by is ``slope`` times ``loss``, of conditioned errors.
    """

    def __init__(self, data, slope, loss):
        self.data, self.slope, self.measure = data, slope, loss
        self.best_loss = np.inf
        self.best_epoch = 0
        self.best = None  # a mark of the descent

    def loss(self, conditioning, W, b):
        """Loss of the weights: in the user's units, and as it is judged."""
        unit = 1.0 / conditioning.target_inv_scale.astype(np.float64)
        with np.errstate(over="ignore", invalid="ignore"):  # the square of a large y may have no number
            per_target = mean_loss(self.data, conditioning, self.measure, W, b) * self.slope
            return float(per_target @ unit**2), float(per_target @ (unit / unit.max()) ** 2)

    def scale(self, descent):
        """Loss, as judged, of the constant that predicts the mean of the training rows."""
        return self.loss(descent.conditioning, np.zeros_like(descent.iterate.W), descent.null_b)[1]

    def keep_best(self, judged, epoch, descent):
        """Mark where the descent stands after epoch ``epoch`` if that is the first or the best."""
        if self.best is None or judged < self.best_loss:
            self.best_loss, self.best_epoch, self.best = judged, epoch, descent.mark()
