"""The reference implementation: an epoch of mini-batch gradient descent, line by line of the derivation.

``epoch``, ``gradient``, ``derivatives`` and ``errors`` take the same records as the compiled kernels of the same name,
which tests hold equal to these, batch by batch.
"""

from typing import NamedTuple

import numpy as np

from .._objective.derivation import (
    batch_loss,
    coef_gradient,
    error,
    forward,
    intercept_gradient,
    loss_derivative,
    output_gradient,
)
from .step_size import line_search_step

# Rows whose gradient is computed at once.
BLOCK_ROWS = 2048


class Plan(NamedTuple):
    """The updates to make: batch ``i`` holds the rows ``order[i * batch_size : (i + 1) * batch_size]``."""

    order: np.ndarray  # row numbers
    batch_size: int
    steps: np.ndarray  # (n_batches,), step size of each update
    averaging_weights: np.ndarray  # (n_batches,), weight of its result in the average
    largest_objective: float  # a batch with a larger one gets at most the step of the line search


def epoch(problem, plan, iterate, reduction):
    """Make one update per batch of ``plan``, in place.

    Parameters
    ----------
    problem : Problem
        Rows, change of variables, loss and penalty.
    plan : Plan
        The batches and their steps.
    iterate : Iterate
        ``W``, ``b`` and their average are updated in place; the counters are not.
    reduction : VarianceReduction
        The table and the updates of its mean gradient are written in place.

    Returns
    -------
    total : float
        Sum over the batches of their loss, before the update, times their rows.
    """
    X, Y, weight, _ = problem.rows
    W, b, total = iterate.W, iterate.b, 0.0
    for i, step in enumerate(plan.steps.tolist()):
        order = plan.order[i * plan.batch_size : (i + 1) * plan.batch_size]
        s = None if weight is None else weight[order]
        Z = problem.standardization.rows(X[order])
        E = error(forward(Z, W, b), problem.standardization.targets(Y[order]))
        objective = float(batch_loss(E, problem.loss, s).sum())
        if reduction.is_on:
            G = _replace_in_table(reduction.table, order, loss_derivative(E, problem.loss, s))
        else:
            G = output_gradient(E, problem.loss, s)
        grad_W, grad_b = coef_gradient(G, Z), intercept_gradient(G) * problem.fit_intercept
        if reduction.is_on:
            grad_W, grad_b = _add_mean_gradient(reduction, grad_W, grad_b, len(order))
        if not objective <= plan.largest_objective:
            step = min(step, line_search_step(Z, grad_W, grad_b, s))
        point = W - step * grad_W
        W[...] = problem.penalty.proximal(point, step)
        b -= step * grad_b
        if iterate.mean_W is not None:
            share = float(plan.averaging_weights[i])
            iterate.mean_W += share * (point - iterate.mean_W)
            iterate.mean_b += share * (b - iterate.mean_b)
        total += objective * len(order)
    return total


def _replace_in_table(table, order, psi):
    """Write the derivatives of the batch into the table; return ``G``, their difference from the old ones over m."""
    G = (psi - table[order]) / len(order)
    table[order] = psi
    return G


def _add_mean_gradient(reduction, grad_W, grad_b, n_rows):
    """Add a batch's change of gradient to the update of the mean gradient; return it plus the mean gradient."""
    reduction.update_W[...] += n_rows * grad_W
    reduction.update_b[...] += n_rows * grad_b
    return grad_W + reduction.mean_grad_W, grad_b + reduction.mean_grad_b


def gradient(problem, order, W, b, errors=None):
    """Return the sums over the rows ``order`` of their gradients by ``W`` and ``b``, and of their losses.

    Parameters
    ----------
    problem : Problem
    order : ndarray of shape (n_rows,)
        Row numbers.
    W : ndarray of shape (k, d)
    b : ndarray of shape (k,)
    errors : ndarray of shape (n, k), default=None
        Takes the errors of these rows, in standardized units.

    Returns
    -------
    grad_W : ndarray of shape (k, d)
    grad_b : ndarray of shape (k,)
        0 without an intercept.
    loss : ndarray of shape (k,)
        All three are weighted sums over rows, in float64.
    """
    return _derivatives(problem, order, W, b, None, errors)


def derivatives(problem, order, W, b, table):
    """Write the derivative of each row's weighted loss into ``table``, (n, k); return what ``gradient`` does."""
    return _derivatives(problem, order, W, b, table, None)


def _derivatives(problem, order, W, b, table, errors):
    X, Y, weight, _ = problem.rows
    grad_W, grad_b, loss = np.zeros(W.shape), np.zeros(b.shape), np.zeros(b.shape)
    for start in range(0, len(order), BLOCK_ROWS):
        block = order[start : start + BLOCK_ROWS]
        s = None if weight is None else weight[block]
        Z = problem.standardization.rows(X[block])
        E = error(forward(Z, W, b), problem.standardization.targets(Y[block]))
        psi = loss_derivative(E, problem.loss, s)
        if errors is not None:
            errors[block] = E
        if table is not None:
            table[block] = psi
        loss += batch_loss(E, problem.loss, s) * len(block)
        grad_W += coef_gradient(psi, Z)
        grad_b += intercept_gradient(psi) * problem.fit_intercept
    return grad_W, grad_b, loss


def errors(problem, order, W, b):
    """Return the errors of the rows ``order``, in standardized units, shape (len(order), k)."""
    Z = problem.standardization.rows(problem.rows.X[order])
    return error(forward(Z, W, b), problem.standardization.targets(problem.rows.Y[order]))
