r"""Duality gaps: bounds of what is left to gain, over all rows and columns.

For any numbers :math:`\theta_i` in the domain of the conjugate loss, with :math:`\sum_i s_i \theta_i = 0` if there is
an intercept, no parameters have an objective below

.. math:: -\frac{1}{\sum_i s_i} \sum_i s_i \left(\theta_i y_i + \ell^*(\theta_i)\right) - \mathrm{penalty}^*(-v),
          \qquad v = \frac{1}{\sum_i s_i} \sum_i s_i \theta_i z_i

(Fenchel's inequality; S. Boyd and L. Vandenberghe, "Convex Optimization", 2004, section 5.1.6).  With errors
:math:`e = z w + b - y` the mean of :math:`\theta y` is :math:`w v` less that of :math:`\theta e`.

For squared errors the errors themselves are such numbers, times a share that lets the penalty's conjugate be finite.
For a loss whose derivative is a line between bounds they are what the model of a Newton step predicts of the
derivatives after it: the minimum of the model is where their gradient fulfils the penalty's conditions.  A few of them
may be out of bounds.  They are moved to their bound, a second step in the same model moves the others so that their
gradient is the same as before, and a share of all brings within the bounds what still is not.

Where a coefficient has neither a square in its penalty nor a bound, its part of :math:`v` should not exceed the weight
of its absolute value, but rounding leaves something beyond that, :math:`r`.  It costs at most
:math:`\sqrt{r^\top H^{-1} r}`, with :math:`H` the second moments of all rows, times the root mean square of the change
of predictions on the way to the minimum, which counts as twice that of the errors.  So it is with coefficients that
have a square, where that costs less than the conjugate of the square.
"""

from typing import NamedTuple

import numpy as np

from .._objective.losses import ClippedLine
from .._objective.penalties import BoxedElasticNet

# Rounding of a gradient, in units of the precision, relative to the root mean square of the errors.
ROUNDING = 16.0

# The change of predictions on the way to the minimum, relative to the root mean square of the errors.
CHANGE = 2.0


class DualSums(NamedTuple):
    """What the gap of a line between bounds needs of the rows, per target; all but the last are sums over rows."""

    along: np.ndarray  # theta e, (k,) as all but excess_W
    total: np.ndarray  # theta
    squares: np.ndarray  # theta^2
    exact_losses: np.ndarray  # of the pinball loss, which is the line without its smoothing
    errors: np.ndarray  # e^2
    excess_W: np.ndarray  # z times what theta is out of bounds by, (k, d)
    excess_b: np.ndarray  # what theta is out of bounds by
    largest: np.ndarray  # theta over its bound; 1 or less if all are within


class Gap(NamedTuple):
    """Bounds of what is left to gain, summed over targets."""

    exact: float  # of the loss itself
    smoothed: float  # of the loss with its kink smoothed; the same without a kink
    least: np.ndarray  # (k,), what no parameters have an objective below, with the loss itself


def has_gap(objective):
    """Whether the conjugates of loss and penalty are known, other than for squared errors."""
    is_line = isinstance(objective.loss, ClippedLine) and not objective.loss.is_quadratic
    return is_line and isinstance(objective.penalty, BoxedElasticNet)


def dual_terms(xp, loss, bounds, E, way, second_way, damping, weight):
    """Return what ``DualSums`` adds over a block of rows, (n, k) each, what rows are out of bounds by, and the largest.

    Parameters
    ----------
    xp : module
        The namespace of the arrays.
    loss : ClippedLine or DeviceLoss
    bounds : tuple of two arrays of shape (k,)
        The least and the largest derivative.
    E, way : array of shape (n, k)
        Errors, and by how much the step changes them.
    second_way : array of shape (n, k) or None
        By how much the second step changes them, if there is one.
    damping : array of shape (k,)
        What the model adds to the second derivative of every row's loss.
    weight : array of shape (n, 1) or None
    """
    low, high = bounds
    curvature = loss.curvature(E) + damping
    theta = loss.derivative(E) + curvature * way
    if second_way is not None:
        theta = loss.within_bounds(theta) + curvature * second_way
    summed = [theta * E, theta, theta * theta, 0.5 * (low + high) * E + 0.5 * (high - low) * xp.abs(E), E * E]
    excess = theta - loss.within_bounds(theta)
    if weight is not None:
        summed, excess = [a * weight for a in summed], excess * weight
    largest = xp.maximum(xp.max(theta, axis=0) / high, xp.min(theta, axis=0) / low)
    return *summed, excess, largest


def gap_of_line(objective, point, minimum, slope, sums, total_weight, inverse_norm):
    """Return the ``Gap`` at a point, of a loss whose derivative is a line between bounds.

    Parameters
    ----------
    objective : Objective
        With ``has_gap``.
    point : Point
    minimum : ndarray of shape (k, d)
        The coefficients at the minimum of the model, of whose derivatives the dual point consists.
    slope : ndarray of shape (k, d)
        The gradient of the dual point: the mean of ``theta z``.
    sums : DualSums
    total_weight : float
        The sum of the weights.
    inverse_norm : callable
        From ``r``, (d,), to the root of ``r^T H^-1 r``, with the second moments of all rows.
    """
    penalty, W, losses = objective.penalty, point.W.astype(np.float64), point.losses
    along, total, squares, exact_losses, error_squares = (a / total_weight for a in sums[:5])
    share, value = 1.0 / np.maximum(sums.largest, 1.0), 0.0 if penalty.is_zero else _value(penalty, W)

    def dual_without(rounding):
        lost = CHANGE * np.sqrt(error_squares) * [inverse_norm(r) for r in rounding]
        if penalty.is_zero:
            return share * (along - lost)
        kept = slope - rounding
        conjugate = conjugate_penalty(penalty, -share[:, None] * kept)
        return share * (along - (kept * W).sum(axis=1) - lost) - conjugate

    dual = np.max([dual_without(rounding) for rounding in _roundings(penalty, minimum, slope)], axis=0)
    offset = np.asarray(objective.loss.offset, dtype=np.float64)
    smoothing = 0.5 * (share * share * squares - 2.0 * share * offset * total + offset * offset)
    smoothed = np.maximum(losses + value - (dual - smoothing), 0.0)
    exact = smoothed if objective.width is None else np.maximum(exact_losses + value - dual, 0.0)
    own = losses if objective.width is None else exact_losses
    return Gap(float(exact.sum()), float(smoothed.sum()), own + value - exact)


def _roundings(penalty, minimum, slope):
    """Yield parts of the slope, (k, d), that may be its rounding; without any of them the dual is a bound.

    The first is what no minimum would have.  The second is all by which the slope at the ``minimum`` of the model does
    not fulfil the conditions of coefficients with squares: where these are tiny, the conjugate of that would be large.
    """
    if penalty.is_zero:
        yield slope
        return
    lower, upper = bounds_of(penalty)
    excess = np.sign(slope) * np.maximum(np.abs(slope) - penalty.l1, 0.0)
    unlimited = np.where(_is_unlimited(penalty, -slope, lower, upper), excess, 0.0)
    yield unlimited
    has_square = (penalty.l2 > 0.0) & (lower == -np.inf) & (upper == np.inf)
    if has_square.any():
        of_penalty = penalty.l1 * np.sign(minimum) + penalty.l2 * minimum
        yield np.where(has_square, np.where(minimum != 0.0, slope + of_penalty, excess), unlimited)


def gap_of_squares(penalty, point, fit_intercept):
    """Return the duality gap of squared errors with a penalty at a point, over all targets.

    Every coefficient without a square and a bound on either side needs an absolute value in the penalty.
    """
    W, grad_W = point.W.astype(np.float64), point.grad_W
    losses = point.losses - 0.5 * np.square(point.grad_b) * fit_intercept  # with the intercept that is optimal
    along = (W * grad_W).sum(axis=1)  # mean product of errors and predictions
    # Columns have a mean square of 1 at most.  The gradient is that of rounded coefficients.
    size, of_W = np.sqrt(2.0 * point.losses)[:, None], np.abs(W).sum(axis=1)[:, None]
    rounding = ROUNDING * np.finfo(np.float64).eps * size + 0.5 * np.finfo(point.W.dtype).eps * of_W
    share = np.minimum(feasible_share(penalty, grad_W, rounding), 1.0)
    conjugate = conjugate_penalty(penalty, -share[:, None] * grad_W, rounding)
    dual = -share * (along - 2.0 * losses) - share**2 * losses - conjugate
    # What rounding may hide along a coefficient is its change times what the gradient exceeds its bound by, or the
    # conjugate of its square there, if that is less.
    excess = np.clip(np.abs(grad_W) - penalty.l1.astype(np.float64), 0.0, rounding)
    of_square = np.divide(0.5 * excess**2, penalty.l2, out=np.full(W.shape, np.inf), where=penalty.l2 > 0.0)
    hidden = np.minimum(excess * CHANGE * np.abs(W), of_square).sum(axis=1)
    return float((np.maximum(point.losses + _value(penalty, W) - dual, 0.0) + hidden).sum())


def feasible_share(penalty, slope, rounding):
    """Return the largest share of each target's ``slope``, (k, d), for which the conjugate of the penalty is finite."""
    lower, upper = bounds_of(penalty)
    with np.errstate(divide="ignore", invalid="ignore"):
        room = np.where(slope != 0.0, (penalty.l1.astype(np.float64) + rounding) / np.abs(slope), np.inf)
    return np.where(_is_unlimited(penalty, -slope, lower, upper), room, np.inf).min(axis=1, initial=np.inf)


def conjugate_penalty(penalty, v, rounding=0.0):
    """Return the conjugate of the penalty at ``v``, (k, d), per target; ``v`` is known up to ``rounding``."""
    (lower, upper), l1, l2 = bounds_of(penalty), penalty.l1.astype(np.float64), penalty.l2.astype(np.float64)
    excess = np.sign(v) * np.maximum(np.abs(v) - l1 - rounding, 0.0)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        best = np.where(
            _is_unlimited(penalty, v, lower, upper) | (excess == 0.0), 0.0, np.clip(excess / l2, lower, upper)
        )
    best = np.clip(best, lower, upper)
    return (v * best - l1 * np.abs(best) - 0.5 * l2 * best * best).sum(axis=1)


def bounds_of(penalty):
    """Return the lower and upper bounds of the coefficients, infinite ones without bounds."""
    infinite = np.full(penalty.l1.shape, np.inf)
    return (-infinite, infinite) if penalty.lower is None else (penalty.lower, penalty.upper)


def _is_unlimited(penalty, v, lower, upper):
    """Whether neither a square nor a bound limits a coefficient that ``v`` increases or decreases."""
    return (penalty.l2 == 0.0) & np.where(v > 0.0, upper == np.inf, lower == -np.inf)


def _value(penalty, W):
    """Return the penalty of coefficients per target, without that of constant columns."""
    return (penalty.l1 * np.abs(W) + 0.5 * penalty.l2.astype(np.float64) * W * W).sum(axis=1)
