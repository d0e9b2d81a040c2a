"""What is asked of each partition of the rows: sums over them, so that the answers can be added; no word of dask."""

from dataclasses import dataclass, replace

import numpy as np

from ._conditioning import EIGENVALUE_ROWS, curvature
from ._evaluation import mean_loss
from ._iterate import Iterate
from ._modes import dense_rows
from ._objective import Loss, Penalty
from ._setup import Settings, make_descent

# Updates of a local descent: more rows would make the direction little better, and only exact sums need all of them.
LOCAL_UPDATES = 6_000


@dataclass
class Common:
    """What every partition is told once: all that is known of the data, and the parameters."""

    knowledge: object
    settings: Settings

    def descent(self, data, W, b, t=0, own_step=False):
        """Return the descent over a partition from ``W, b``, conditioned by what is known of all rows.

        Its step is the automatic one for these rows if ``own_step``, unless one is given; else no step is meant.
        """
        at = Iterate.at(W.copy(), b.copy(), self.settings.average, t)
        settings = self.settings if own_step else replace(self.settings, step=self.settings.step or 1.0)
        return make_descent(data, self.knowledge, settings, lambda conditioning: at, stream=True)


class Apart(dict):
    """Answers by number of the partition, which are not to be added up."""

    def __add__(self, other):
        """Return the answers of both."""
        return Apart(self | other)


def descend(data, number, common, W, b, t, seed):
    """Descend once over the partition, or over a random part of it that is long enough.

    Return rows of the partition times the weights and the intercept reached, times the loss on the way, and of this
    partition alone the number of updates and ``beta`` and ``lambda_1``, on which the step was founded.
    """
    rng, some, n = None, data, data.n_rows
    if seed is not None:
        rng = np.random.default_rng([seed, number])
        some = data.some(LOCAL_UPDATES * common.settings.batch_size, rng)
    descent = common.descent(some, W, b, t, own_step=True)
    loss = descent.epoch(rng)
    apart = (Apart({number: value}) for value in (descent.iterate.t - t, descent.curvature))
    return *(n * a.astype(np.float64) for a in descent.answer), n * loss, *apart


def begin(data, number, common, W, b, t, seed):
    """Return rows times the second moments of a sample, and ``descend``."""
    A = dense_rows(data, data.sample(EIGENVALUE_ROWS), common.descent(data, W, b).conditioning)
    return data.n_rows * (A.T @ A / len(A)), *descend(data, number, common, W, b, t, seed)


def look(data, common, W, b):
    """Return rows times the gradient of the loss by ``W`` and ``b``, and times the loss per target."""
    descent = common.descent(data, W, b)
    grad_W, grad_b, loss = _gradient(descent, W, b)
    if len(b) > 1:  # of the sum over targets, their own shares
        share = mean_loss(data, descent.conditioning, descent.loss, W, b)
        loss = loss * share / max(share.sum(), np.finfo(float).tiny)
    return grad_W, grad_b, np.atleast_1d(loss)


def survey(data, number, common, W, b):
    """Return ``beta`` and ``lambda_1`` of the partition, and ``look``."""
    settings = common.settings
    conditioning = common.descent(data, W, b).conditioning
    own = curvature(data, conditioning, settings.fit_intercept, settings.shuffle)
    return Apart({number: own}), *look(data, common, W, b)


def products(data, common, W, b, with_targets):
    """Return rows times ``H p`` for the directions in the rows of ``W`` and ``b``.

    ``with_targets`` the first of them, one for each target, are weights: there it is the gradient of the squared error.
    """
    k, dtype = data.Y.shape[1], data.X.dtype
    descent = common.descent(data, W[:k], b[:k])
    zeros, targets = np.zeros(len(b), dtype), np.zeros((len(data.Y), len(b)), dtype)
    shift, inv_scale = zeros.copy(), zeros + 1
    if with_targets:
        targets[:, :k] = data.Y
        shift[:k], inv_scale[:k] = descent.conditioning.target_shift, descent.conditioning.target_inv_scale
    conditioning = descent.conditioning._replace(target_shift=shift, target_inv_scale=inv_scale)
    squares = Loss(zeros, zeros - np.inf, zeros + np.inf)
    quadratic = replace(descent, data=data._replace(Y=targets), conditioning=conditioning, loss=squares)
    return _gradient(quadratic, W, b)[:2]


def _gradient(descent, W, b):
    """Return rows times the gradient of the loss at ``W, b``, and times the loss: a full batch, one step of size 1."""
    n, at = descent.data.n_rows, Iterate.at(W.copy(), b.copy(), average=False)
    free = Penalty(None, None, False)
    loss = replace(descent, iterate=at, penalty=free, batch_size=n, step=1.0, schedule="constant").epoch(None)
    return n * (W - at.W).astype(np.float64), n * (b - at.b).astype(np.float64), n * loss
