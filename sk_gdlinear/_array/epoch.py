"""An epoch of mini-batch gradient descent on a device, line by line as in ``_descent.epoch``.

A batch is read in pieces where it is large.  All updates are new arrays, since the standard has no way to write into
chosen rows: the gradient table stays in NumPy, from where the part for these rows is taken and to where it goes back.
"""

from typing import NamedTuple

import numpy as np

from .._objective.derivation import coef_gradient, error, forward
from .namespace import to_numpy
from .problem import DeviceProblem


class Piece(NamedTuple):
    """Some rows of a batch, all of them if it is not large."""

    Z: object  # (m, d), standardized
    Y: object  # (m, k)
    weight: object  # (m, 1), or None
    old: object  # (m, k), their derivatives in the gradient table, or None


def epoch(problem, plan, iterate, reduction):
    """Make one update per batch of ``plan``; see ``_descent.epoch.epoch``."""
    device = DeviceProblem(problem, problem.rows.X.array.dtype)
    xp, real, own = device.namespace.xp, device.namespace.real, device.own
    W, b, averages = own(iterate.W), own(iterate.b), iterate.mean_W is not None
    if averages:
        mean_W, mean_b = own(iterate.mean_W), own(iterate.mean_b)
    if reduction.is_on:
        mean_grad_W, mean_grad_b = own(reduction.mean_grad_W), own(reduction.mean_grad_b)
        update_W, update_b = own(reduction.update_W), own(reduction.update_b)
    visited, total = [], xp.zeros((), dtype=real, device=device.namespace.device)
    for i, (n_rows, pieces) in enumerate(_batches(device, plan, reduction)):
        step, objective, grad_W, grad_b = float(plan.steps[i]), 0.0, 0.0, 0.0
        for piece in pieces():
            E = error(forward(piece.Z, W, b), piece.Y)
            value, psi = device.loss.value(E), device.loss.derivative(E)
            if piece.weight is not None:
                value, psi = value * piece.weight, psi * piece.weight
            if reduction.is_on:
                visited.append(psi)
                psi = psi - piece.old
            G = psi / n_rows
            objective = objective + xp.sum(value) / n_rows
            grad_W, grad_b = grad_W + coef_gradient(G, piece.Z), grad_b + xp.sum(G, axis=0)
        grad_b = grad_b * float(problem.fit_intercept)
        if reduction.is_on:
            update_W, update_b = update_W + n_rows * grad_W, update_b + n_rows * grad_b
            grad_W, grad_b = grad_W + mean_grad_W, grad_b + mean_grad_b
        # Without a limit there is nothing to compare, for which the processor would wait for the device.
        if plan.largest_objective != np.inf and not float(objective) <= plan.largest_objective:
            step = min(step, _line_search_step(device, n_rows, pieces, grad_W, grad_b))
        point = W - step * grad_W
        W, b = device.penalty.proximal(point, step), b - step * grad_b
        if averages:
            share = float(plan.averaging_weights[i])
            mean_W, mean_b = mean_W + share * (point - mean_W), mean_b + share * (b - mean_b)
        total = total + objective * n_rows
    iterate.W[...], iterate.b[...] = to_numpy(W), to_numpy(b)
    if averages:
        iterate.mean_W[...], iterate.mean_b[...] = to_numpy(mean_W), to_numpy(mean_b)
    if reduction.is_on:
        reduction.update_W[...], reduction.update_b[...] = to_numpy(update_W), to_numpy(update_b)
        reduction.table[plan.order] = to_numpy(xp.concat(visited, axis=0))
    return float(total)


def _batches(device, plan, reduction):
    """Yield the rows of each batch, and a function that yields its ``Piece``s.

    Many small batches are gathered and standardized at once.
    """
    n, m = len(plan.order), plan.batch_size
    most = device.namespace.block_rows(device.rows.X.shape[1])
    old = device.own(reduction.table[plan.order]) if reduction.is_on else None
    many = m * max(1, most // m)
    for first in range(0, n, many):
        last = min(first + many, n)
        together = None if m > most else _piece(device, plan, old, first, last)
        for start in range(first, last, m):
            stop = min(start + m, last)
            if together is None:
                yield (
                    stop - start,
                    lambda start=start, stop=stop: (
                        _piece(device, plan, old, at, min(at + most, stop)) for at in range(start, stop, most)
                    ),
                )
            else:
                part = Piece(*(None if a is None else a[start - first : stop - first, ...] for a in together))
                yield stop - start, lambda part=part: (part,)


def _piece(device, plan, old, start, stop):
    """Return the rows ``plan.order[start:stop]``."""
    return Piece(*device.block(plan.order[start:stop]), None if old is None else old[start:stop, ...])


def _line_search_step(device, n_rows, pieces, grad_W, grad_b):
    """Return the step of ``step_size.line_search_step`` for a batch in pieces."""
    xp, real = device.namespace.xp, device.namespace.real
    slope = float(sum(xp.sum(xp.astype(a, real, copy=False) ** 2) for a in (grad_W, grad_b)))
    curvature = 0.0
    for piece in pieces():
        moved = xp.astype(forward(piece.Z, grad_W, grad_b), real, copy=False) ** 2
        curvature += float(xp.sum(moved if piece.weight is None else moved * piece.weight)) / n_rows
    return slope / curvature if np.isfinite(slope) and np.isfinite(curvature) and curvature > 0.0 else 0.0
