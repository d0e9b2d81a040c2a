"""The errors of a sample of the rows: their size, and the mean second derivative of the loss."""

import numpy as np

from .._objective.evaluate import weighted_median

# Rows whose errors determine the half-width over which a kink of the loss is smoothed.
SAMPLE_ROWS = 1 << 14


def sample_errors(backend, problem, W, b):
    """Return the errors of evenly spaced rows, in standardized units, and the weights of these rows, None if equal."""
    order = problem.rows.sample(SAMPLE_ROWS)
    return backend.errors(problem, order, W, b), problem.rows.weights(order)


def median_error(backend, problem, W, b):
    """Return the median absolute error, (k,), in units of y."""
    errors, weights = sample_errors(backend, problem, W, b)
    return weighted_median(np.abs(errors), weights) * problem.standardization.unit


def curved_share(backend, problem, W, b):
    """Return the mean second derivative of the loss, at least that of one row; 1 for squared errors."""
    loss = problem.loss
    if loss.is_quadratic:
        return 1.0
    errors, weights = sample_errors(backend, problem, W, b)
    share = np.average(loss.curvature(errors).mean(axis=1), weights=weights)
    return max(float(share), 1.0 / problem.rows.n_rows)
