"""What is left to gain, as a sample of the rows tells it before Newton steps are made, and the scale of gains.

The gradient of all rows is known from the pass that evaluated the parameters, a ``Point``.  The curvature is that of a
sample, times the mean second derivative of the loss.  After a Newton step ``curvature`` tells what is left.
"""

import numpy as np

from .._objective.evaluate import typical_loss
from .._objective.losses import largest_loss
from .._objective.objective import LEAST_SMOOTHING
from .duality_gap import has_gap
from .error_sample import SAMPLE_ROWS, curved_share
from .newton import ProximalNewton
from .rent_or_buy import sample_cost
from .row_sample import sample_size

# The curvature is bought early if a sample says that so many times the tolerance is left to gain, and either the epochs
# so far, times the second number, have cost as much, or those to come will (M. Purohit, Z. Svitkina and R. Kumar,
# "Improving Online Algorithms via ML Predictions", NeurIPS 2018).
MUCH_LEFT = 10.0
EARLY = 3.0

# Median absolute error over the half-width of the smoothing, for the median.
ERRORS_SMOOTHED = 8.0

# Newton steps at most to find out what is left to gain at a point.
INSPECTING_STEPS = 100

# The reason for buying the curvature where another epoch would not show what is left to gain.
UNKNOWN = "since a sample could not tell what was left to gain"


def objective_scale(objective, rows, newton):
    """Return the objective of the best constant prediction, to which gains are relative.

    For losses other than the squared error, outliers are left out.  With a kink it is the objective of errors of the
    current size instead, so that the share of errors on either side is right even where errors are small.

    Parameters
    ----------
    objective : Objective
    rows : Rows
    newton : NewtonState or None
        None before an epoch with the curvature.
    """
    inv_unit = objective.standardization.target_inv_scale
    if objective.loss.is_quadratic:
        return objective.null_value
    if newton is not None and objective.width is not None:
        least = largest_loss(objective.loss, LEAST_SMOOTHING * objective.baseline.spread * inv_unit)
        least = np.maximum(least, objective.left_out + objective.least_loss)
        return float(np.maximum(newton.point.losses, least)[objective.baseline.counts].sum())
    if objective.width is not None:
        losses = largest_loss(objective.loss, ERRORS_SMOOTHED * objective.width * inv_unit)
        return float(losses[objective.baseline.counts].sum())
    order = rows.sample(SAMPLE_ROWS)
    return typical_loss(objective, rows.Y[order], rows.weights(order))


def estimated_gain(curvature, backend, problem, point, n_epochs, limit):
    """Return what is left to gain by a sample of the rows, and whether all columns count in it.

    It is 0, without any column, while a sample costs too much.  Columns that the sample does not represent may add to
    it; a sample for them is drawn only where the others leave no more than ``limit``.

    Parameters
    ----------
    curvature : Curvature
    backend : Backend
    problem : Problem
    point : Point
        At the parameters in question.
    n_epochs : int
        Epochs so far, which must have cost as much as the sample, or as the minima of its model so far.
    limit : float
    """
    inspection, d = curvature.inspection, problem.rows.X.shape[1]
    price = sample_cost(sample_size(d), d) if inspection.sample is None else inspection.spent
    if not curvature.costs.covers(n_epochs, price):
        return 0.0, False
    return inspection.gain(problem, point, curved_share(backend, problem, point.W, point.b), limit)


def buys_early(curvature, backend, problem, point, n_epochs, scale):
    """Return whether a sample says that so much is left to gain that more epochs would cost more than the curvature."""
    limit, inspection = curvature.positive_tol * scale, curvature.inspection
    gain, _ = estimated_gain(curvature, backend, problem, point, n_epochs, MUCH_LEFT * limit)
    if not gain > MUCH_LEFT * limit > 0.0:  # the limit is 0 for constant targets
        return False
    n_more = inspection.epochs_to_come(n_epochs, gain / scale, curvature.positive_tol)
    return curvature.costs.has_paid(max(EARLY * n_epochs, min(n_more, curvature.most_epochs - n_epochs)))


def is_confirmed(curvature, backend, objective, problem, point, limit):
    """Return whether the duality gap, or a sample of the rows, shows that no more than ``limit`` is left to gain.

    If the sample does not represent all columns, the curvature of all rows is bought for the next epoch; where it must
    not be bought, the columns that the sample does represent decide.  ``point`` is None where it is not known.
    """
    if point is not None and curvature.newton.known_gap(objective, point) <= limit:
        return True
    gain, is_all = 0.0, False
    if point is not None:
        share = curved_share(backend, problem, point.W, point.b)
        if problem.loss.is_quadratic or share > 1.0 / problem.rows.n_rows:  # else all second derivatives are 0
            gain, is_all = curvature.inspection.gain(problem, point, share, limit)
    if not is_all and curvature.precondition is False:
        return gain <= limit
    if not is_all and gain <= limit:
        curvature.buy_next(UNKNOWN)
    return is_all and gain <= limit


def inspected_gain(curvature, objective, problem, point, limit):
    """Return what is left to gain at a point, and whether that is known.

    For squared errors it is computed with the curvature of all rows, or of a sample of many rows.  For other losses
    Newton steps are made from the point until duality gaps show whether it is more than ``limit``; where no gap can be
    computed the model decides.
    """
    rows = problem.rows
    gap = curvature.newton.known_gap(objective, point)
    if gap <= limit:
        return gap, True
    is_plain = type(curvature.newton) is ProximalNewton and objective.loss.is_quadratic
    if is_plain and not curvature.must_buy and rows.n_rows > sample_size(rows.X.shape[1]):
        return curvature.inspection.gain(problem, point, 1.0, limit=np.inf)
    curvature.buy(objective)
    if point.W.dtype != np.float64:
        point = curvature.newton.point(objective, *(a.astype(np.float64) for a in point[:2]))
    state = curvature.state_of(objective, point)
    if has_gap(objective) and state.proposal.exact:
        return _gain_by_steps(curvature, objective, state, limit), True
    gain = curvature.model_gain(objective, state)
    return gain, np.isfinite(gain)


def _gain_by_steps(curvature, objective, state, limit):
    """Return an upper bound of what is left to gain at the point of a step.

    Steps are made from there, and the gap at each point bounds the objective of all parameters from below.  They end
    when what is left is at most ``limit``, or is known to be more than that and at least half of the bound.
    """
    gap, lipschitz, units = curvature.gap(objective, state, limit), objective.lipschitz, 1.0
    value, least, here = gap.least.sum() + gap.exact, gap.least, gap.exact
    for _ in range(INSPECTING_STEPS):
        left = value - float(least.sum())
        is_known = here <= 0.5 * left and left - here > limit
        if left <= limit or is_known or curvature.is_stuck(objective, state):
            break
        state = curvature.epoch(objective, state)
        narrower = curvature.narrower(objective, state, limit / units / curvature.positive_tol)
        objective, state = narrower or (objective, state)
        by_target = objective.lipschitz / lipschitz  # the units of the objective, which another smoothing changes
        units = float(by_target.max())
        gap = curvature.gap(objective, state, limit / units)
        least, here = np.maximum(least, gap.least * by_target), gap.exact * units
    return value - float(least.sum())
