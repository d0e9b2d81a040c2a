"""The tasks that run on each partition of the rows.  Their results are sums over rows, so that they can be added."""

from dataclasses import dataclass
from math import ceil

import numpy as np
from dask.sizeof import sizeof

from .._data.second_moments import SecondMoments
from .._data.statistics import StreamStatistics
from .._descent.averaging import Iterate
from .._descent.backend import can_compile, choose_backend
from .._descent.lipschitz import lipschitz_constants
from .._descent.row_sums import Point, RowSums
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


@sizeof.register(SecondMoments)
def _size_of_moments(moments):
    """Return the bytes of second moments, which dask would take for an object without arrays."""
    return moments.mean.nbytes + moments.products.nbytes


class ByPartition(dict):
    """Results by number of the partition, which are collected instead of added up."""

    def __add__(self, other):
        """Return the results of both."""
        return ByPartition(self | other)


@dataclass(frozen=True)
class Largest:
    """Numbers of which the largest are kept when those of two partitions are added."""

    values: np.ndarray

    def __add__(self, other):
        """Return the larger of both."""
        return Largest(np.maximum(self.values, other.values))


def local_sgd(rows, number, broadcast, W, b, t, seed):
    """Make one epoch over the partition, or over a random part of it if it is long.

    Returns
    -------
    W, b, loss : ndarray
        The resulting parameters and the mean loss during the epoch, each times the rows of the partition.
    n_updates, constants, error_size : ByPartition
        The number of the newest update, the constants of the step, and with a kink the size of the errors.
    """
    rng, part, n, hyper = None, rows, rows.n_rows, broadcast.hyper
    if seed is not None:
        rng = np.random.default_rng([seed, number])
        part = rows if hyper.batch_size is None else rows.subsample(LOCAL_UPDATES * hyper.batch_size, rng)
    at = Iterate.at(W.copy(), b.copy(), hyper.average, t)
    method = make_stream_method(part, broadcast.statistics, hyper, lambda standardization: at, None)
    loss = method.epoch(rng)
    error_size = ByPartition({number: method.error_size()} if method.is_smoothed else {})
    by_partition = (ByPartition({number: value}) for value in (method.n_updates, method.step_size.constants))
    return *(n * a.astype(np.float64) for a in method.reported()), n * loss, *by_partition, error_size


def local_sgd_with_moments(rows, number, broadcast, W, b, t, seed):
    """Return ``local_sgd``, and the second moments of all rows."""
    result = local_sgd(rows, number, broadcast, W, b, t, seed)
    return *result, _sums(rows, broadcast).second_moments(broadcast.objective)


def loss_and_gradient(rows, broadcast, W, b):
    """Return the gradient of the loss by ``W`` and ``b``, and the loss per target, summed over rows."""
    return _sums(rows, broadcast).gradient_and_losses(broadcast.objective, W, b)


def targets_loss_and_gradient(rows, number, broadcast, W, b, share):
    """Return a share of the targets, with their weights or None, and ``loss_and_gradient``."""
    order = rows.sample(ceil(share * rows.n_rows))
    return ByPartition({number: (rows.Y[order], rows.weights(order))}), *loss_and_gradient(rows, broadcast, W, b)


def gradient_and_curvature(rows, broadcast, W, b):
    """Return ``loss_and_gradient``, and for each target the second moments weighted by the curvature of its loss."""
    sums, here = _sums(rows, broadcast), Point(W, b, None, None, None)
    curved = [sums.curved_moments(broadcast.objective, here, t) for t in range(len(b))]
    return *sums.gradient_and_losses(broadcast.objective, W, b), *curved


def losses_between(rows, broadcast, start, end, shares):
    """Return the losses after shares of the way between two parameters, summed over rows, as a tuple of one."""
    ends = (Point(*at, None, None, None) for at in (start, end))
    return (_sums(rows, broadcast).losses_between(broadcast.objective, *ends, shares),)


def dual_sums(rows, broadcast, W, b, proposal, second_step):
    """Return ``DualSums``, whose last member is the ``Largest`` of all partitions."""
    here = Point(W, b, None, None, None)
    *sums, largest = _sums(rows, broadcast).dual_sums(broadcast.objective, here, proposal, second_step)
    return *sums, Largest(largest)


def excess_and_loss(rows, broadcast, W, b):
    """Return what the smoothing of a kink costs, and the exact loss per target, summed over rows."""
    return _sums(rows, broadcast).excess_and_loss(broadcast.objective, W, b)


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
    backend, sums = choose_backend(rows.X), [np.zeros(a.shape) for a in (W, b)]
    for order in rows.blocks():
        for total, part in zip(sums, backend.gradient(quadratic, order, W, b), strict=False):
            total += part
    return tuple(sums)


def _sums(rows, broadcast):
    """Return the ``RowSums`` of a partition."""
    backend = choose_backend(rows.X, can_compile(broadcast.objective))
    return RowSums.of(backend, rows, broadcast.hyper.fit_intercept)


def squared_errors(rows, predict):
    """Return the weighted squared errors of the predictions, summed per target, as a tuple of one."""
    error = predict(rows.X).reshape(rows.Y.shape) - rows.Y
    weight = np.ones(len(error)) if rows.weight is None else rows.weight
    return (weight @ error.astype(np.float64) ** 2,)
