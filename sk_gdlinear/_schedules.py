r"""Step sizes and averaging weights: plain functions of the update number.

``t`` counts updates (batches), not samples, and is 1 for the first update of a model.  ``t`` and ``eta`` may be arrays
of one entry per update.
"""

import numpy as np

# Exponent of the polynomial-decay average.  0 is the plain mean of all iterates; 3 forgets the start fast enough for
# one pass.
AVERAGING_DECAY = 3.0

# SGDRegressor's factor for the adaptive schedule, and the fraction of the first step at which there is nothing left
# to divide.
ADAPTIVE_FACTOR = 0.2
ADAPTIVE_FLOOR = 1e-6


def constant(t, eta, power_t):
    """Step size ``eta``, whatever ``t``."""
    return eta


def inverse_scaling(t, eta, power_t):
    r"""Step size :math:`\eta / t^{p}`, ``p = power_t``."""
    return eta / np.asarray(t, dtype=np.float64) ** power_t


# "adaptive" is constant within an epoch; the training loop divides the step between epochs.
SCHEDULES = {"constant": constant, "invscaling": inverse_scaling, "adaptive": constant}


def averaging_weight(t):
    r"""Weight of the newest of ``t`` averaged iterates, :math:`(\kappa + 1) / (t + \kappa)`.

    The first iterate gets weight 1.  Source: O. Shamir and T. Zhang, "Stochastic Gradient Descent for Non-smooth
    Optimization", ICML 2013, section 4 (polynomial-decay averaging).
    """
    return (AVERAGING_DECAY + 1.0) / (t + AVERAGING_DECAY)


def automatic_step(n_rows, max_row_norm, max_eigenvalue):
    r"""Largest step that is safe for random batches of ``n_rows`` rows, :math:`m / (\beta + (m - 1) \lambda_1)`.

    Parameters
    ----------
    n_rows : int or ndarray of int
        Rows in the batch, ``m``.
    max_row_norm : float
        ``beta``, the largest weighted squared norm of a conditioned row, the intercept's 1 included.
    max_eigenvalue : float
        ``lambda_1``, the largest eigenvalue of ``Z^T Z / n``.

    Notes
    -----
    It is ``1 / beta`` for single rows and tends to ``1 / lambda_1`` as the batch grows.  Source: S. Ma, R. Bassily and
    M. Belkin, "The Power of Interpolation", ICML 2018, theorem 4.
    """
    return n_rows / (max_row_norm + (n_rows - 1) * max_eigenvalue)
