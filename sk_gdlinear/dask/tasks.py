"""The tasks that run on each partition of the rows.  Their results are sums over rows, so that they can be added."""

from dataclasses import dataclass

import numpy as np

from .._data.statistics import StreamStatistics
from .._descent.averaging import Iterate
from .._descent.backend import can_compile, choose_backend
from .._descent.curvature import dense_rows
from .._descent.step_size import EIGENVALUE_ROWS, lipschitz_constants
from .._fit.build import Hyperparameters, make_stream_method
from .._objective.losses import ClippedLine
from .._objective.objective import Objective

# Updates of a local descent: more rows hardly improve its direction, and only the exact sums need all of them.
LOCAL_UPDATES = 6_000


@dataclass(frozen=True)
class Broadcast:
    """The arguments that every partition gets: the statistics of all rows, the parameters, and the objective."""

    statistics: StreamStatistics
    hyper: Hyperparameters
    objective: Objective


class ByPartition(dict):
    """Results by number of the partition, which are collected instead of added up."""

    def __add__(self, other):
        """Return the results of both."""
        return ByPartition(self | other)


def local_sgd(rows, number, broadcast, W, b, t, seed):
    """Make one epoch over the partition, or over a random part of it if it is long.

    Returns
    -------
    W, b, loss : ndarray
        The resulting parameters and the mean loss during the epoch, each times the rows of the partition.
    n_updates, constants : ByPartition
        The number of updates, and the constants of the step.
    """
    rng, part, n, hyper = None, rows, rows.n_rows, broadcast.hyper
    if seed is not None:
        rng = np.random.default_rng([seed, number])
        part = rows.subsample(LOCAL_UPDATES * hyper.batch_size, rng)
    at = Iterate.at(W.copy(), b.copy(), hyper.average, t)
    method = make_stream_method(part, broadcast.statistics, hyper, lambda standardization: at, None)
    loss = method.epoch(rng)
    n_updates = ByPartition({number: method.n_updates - t})
    constants = ByPartition({number: method.step_size.constants})
    return *(n * a.astype(np.float64) for a in method.reported()), n * loss, n_updates, constants


def local_sgd_with_moments(rows, number, broadcast, W, b, t, seed):
    """Return rows times the second moments of a sample, and ``local_sgd``."""
    Z = dense_rows(rows, rows.sample(EIGENVALUE_ROWS), broadcast.objective.standardization)
    return rows.n_rows * (Z.T @ Z / len(Z)), *local_sgd(rows, number, broadcast, W, b, t, seed)


def loss_and_gradient(rows, broadcast, W, b):
    """Return the gradient of the loss by ``W`` and ``b``, and the loss per target, summed over rows."""
    objective = broadcast.objective
    return _gradient(rows, objective.problem(rows, broadcast.hyper.fit_intercept), can_compile(objective), W, b)


def constants_loss_and_gradient(rows, number, broadcast, W, b):
    """Return the Lipschitz constants of the partition, and ``loss_and_gradient``."""
    hyper, standardization = broadcast.hyper, broadcast.objective.standardization
    constants = lipschitz_constants(choose_backend(rows.X), rows, standardization, hyper.fit_intercept, hyper.shuffle)
    return ByPartition({number: constants}), *loss_and_gradient(rows, broadcast, W, b)


def hessian_product(rows, broadcast, W, b, with_targets):
    """Return ``H p``, summed over rows, for the directions in the rows of ``W`` and ``b``.

    ``with_targets`` the first of them, one for each target, are parameters: there it is the gradient of the squared
    error.
    """
    k, n_directions, dtype = rows.Y.shape[1], len(b), rows.X.dtype
    zeros, Y = np.zeros(n_directions, dtype), np.zeros((len(rows.Y), n_directions), dtype)
    shift, inv_scale = zeros.copy(), zeros + 1
    standardization = broadcast.objective.standardization
    if with_targets:
        Y[:, :k] = rows.Y
        shift[:k], inv_scale[:k] = standardization.target_shift, standardization.target_inv_scale
    quadratic = broadcast.objective.problem(rows._replace(Y=Y), broadcast.hyper.fit_intercept)._replace(
        standardization=standardization._replace(target_shift=shift, target_inv_scale=inv_scale),
        loss=ClippedLine(zeros, zeros - np.inf, zeros + np.inf),
    )
    return _gradient(quadratic.rows, quadratic, True, W, b)[:2]


def _gradient(rows, problem, compiled, W, b):
    """Return the gradients and the losses, summed over all rows of a partition."""
    backend, sums = choose_backend(rows.X, compiled), [np.zeros(a.shape) for a in (W, b, b)]
    for order in rows.blocks():
        for total, part in zip(sums, backend.gradient(problem, order, W, b), strict=True):
            total += part
    return tuple(sums)


def squared_errors(rows, predict):
    """Return the weighted squared errors of the predictions, summed per target, as a tuple of one."""
    error = predict(rows.X).reshape(rows.Y.shape) - rows.Y
    weight = np.ones(len(error)) if rows.weight is None else rows.weight
    return (weight @ error.astype(np.float64) ** 2,)
