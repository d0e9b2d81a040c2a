"""The objective in standardized units: the given loss and penalty, rescaled, and the problem over rows."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .losses import COMPILED, ClippedLine, RescaledLoss, clipped_line, largest_loss, relative_width
from .penalties import BoxedElasticNet, RescaledPenalty, is_compiled, nearest_to_zero, strengths_and_bounds

# Least and largest half-width over which a kink is smoothed, relative to the spread of the targets.
LEAST_SMOOTHING = 1e-5
LARGEST_SMOOTHING = 10.0


class Problem(NamedTuple):
    """The arguments of a backend for errors, losses and gradients."""

    rows: object  # Rows
    standardization: object  # Standardization
    loss: ClippedLine | RescaledLoss
    penalty: BoxedElasticNet | RescaledPenalty
    fit_intercept: bool
    cache: dict  # results that a backend stores for these rows and this standardization


class Baseline(NamedTuple):
    """Statistics of the targets, for the objectives of predicting the mean and of predicting 0."""

    intercept: np.ndarray  # (k,), predicts the mean of the targets, in standardized units
    rms: np.ndarray  # (k,), root mean square of the targets about their mean, in units of y
    zero_rms: np.ndarray  # (k,), about 0
    mean_row: np.ndarray | None = None  # (d,), mean of the standardized rows; None without standardization

    @property
    def spread(self):
        """Root mean square of the targets about their mean, or the size of a constant target, or 1 if that is 0."""
        return np.where(self.rms > 0.0, self.rms, np.where(self.zero_rms > 0.0, self.zero_rms, 1.0))

    @property
    def counts(self):
        """Whether each target counts in the scale of the objective: a constant one only if all are constant."""
        varies = self.rms > 0.0
        return varies if varies.any() else ~varies


@dataclass(frozen=True)
class Objective:
    """The given loss and penalty, and the same in standardized units.

    A target's objective in the user's units is ``lipschitz * unit**2`` times that in standardized units.
    """

    user_loss: object
    user_penalty: object | None
    standardization: object
    baseline: Baseline
    width: np.ndarray | None  # (k,), half-width over which a kink is smoothed, in units of y; None without a kink
    lipschitz: np.ndarray  # (k,), the largest slope of the derivative of the user's loss
    loss: ClippedLine | RescaledLoss
    penalty: BoxedElasticNet | RescaledPenalty
    null_value: float  # the objective of predicting the mean, or an upper bound of it
    zero_value: float  # the objective of predicting 0, or an upper bound of it

    @classmethod
    def of(cls, user_loss, user_penalty, standardization, baseline, width=None):
        """Rescale loss and penalty; without a ``width`` a kink is smoothed over the spread of the targets."""
        first, has_kink = width is None, np.isinf(user_loss.lipschitz)
        if has_kink:  # targets that were all equal so far had the width of their size
            width = baseline.spread if first else np.minimum(width, LARGEST_SMOOTHING * baseline.spread)
        else:
            width = None
        loss = user_loss.smoothed(width) if has_kink else user_loss
        inv_unit = standardization.target_inv_scale.astype(np.float64)
        lipschitz = np.full(inv_unit.shape, loss.lipschitz, dtype=np.float64)
        if type(loss) in COMPILED:
            line = clipped_line(loss, symmetric=has_kink and (first | (baseline.rms == 0.0)))
            rescaled = line.scaled(inv_unit, standardization.shift.dtype)
        else:
            rescaled = RescaledLoss(loss, 1.0 / inv_unit, lipschitz)
        values = (float(largest_loss(rescaled, size * inv_unit).sum()) for size in (baseline.rms, baseline.zero_rms))
        penalty = rescale_penalty(user_penalty, standardization, lipschitz)
        return cls(user_loss, user_penalty, standardization, baseline, width, lipschitz, rescaled, penalty, *values)

    @property
    def zero_penalty(self):
        """The penalty of coefficients 0 in standardized units, over all targets; infinite where bounds forbid them."""
        return float(self.penalty.at_zero((len(self.lipschitz), len(self.standardization.shift))).sum())

    @property
    def least_loss(self):
        """The least value of the loss, (k,), below 0 for a smoothed quantile, see ``left_out``."""
        if not isinstance(self.loss, ClippedLine):
            return np.zeros(self.lipschitz.shape)
        return np.broadcast_to(-0.5 * np.square(np.asarray(self.loss.offset, dtype=np.float64)), self.lipschitz.shape)

    @property
    def left_out(self):
        """What the loss of a smoothed quantile leaves out, (k,): with it it is never below the exact one, hence 0.

        It is that of the smoothing after the first stage of a fit, in which the derivative goes through 0.
        """
        if not isinstance(self.loss, ClippedLine) or self.width is None:
            return np.zeros(self.lipschitz.shape)
        return 0.5 * np.square(self.width * self.standardization.target_inv_scale.astype(np.float64))

    def with_width(self, width):
        """Return the objective with the kink smoothed over another half-width."""
        return Objective.of(self.user_loss, self.user_penalty, self.standardization, self.baseline, width)

    def exact_loss(self):
        """Return the user's loss itself, kinks and all, in standardized units, and its factor ``lipschitz``."""
        if self.width is None:
            return self.loss, self.lipschitz
        unit = self.standardization.unit
        return RescaledLoss(self.user_loss, unit, 1.0 / unit), 1.0 / unit

    def in_user_units(self, per_target):
        """Return the objective in the user's units, summed over targets, from that of each in standardized units."""
        with np.errstate(over="ignore", invalid="ignore"):  # the square of a large unit may not be a number
            unit = self.standardization.unit
            objective = float(per_target @ (self.lipschitz * unit * unit))
        return objective if self.width is None else max(objective, 0.0)  # a smoothed loss may be below its least value

    def problem(self, rows, fit_intercept, cache=None):
        """Return the problem of minimising this objective over ``rows``."""
        cache = {} if cache is None else cache
        return Problem(rows, self.standardization, self.loss, self.penalty, fit_intercept, cache)

    def narrower_width(self, errors_size, share):
        """Return the half-width, moved with weight ``share`` to that for errors of this size, in units of y."""
        width = np.maximum(relative_width(self.user_loss) * errors_size, LEAST_SMOOTHING * self.baseline.spread)
        return self.width + share * (width - self.width)


def problem_of_loss(rows, loss, standardization):
    """Return the problem of a loss itself, kinks and all, over rows under a change of variables, without a penalty.

    The loss takes the errors in the new variables as they are; for another than the squared error the change must
    therefore keep the units of the targets.
    """
    ones = np.ones(rows.Y.shape[1])
    if type(loss) in COMPILED and np.all(loss.lipschitz == 1.0):
        exact = clipped_line(loss).scaled(ones, np.float64)
    else:
        exact = RescaledLoss(loss, ones, 1.0)
    return Problem(rows, standardization, exact, BoxedElasticNet(), True, {})


def rescale_penalty(penalty, standardization, lipschitz):
    """Return the penalty on standardized coefficients, of the objective over the unit squared and ``lipschitz``."""
    dtype = standardization.shift.dtype
    inv_scale, inv_unit = (a.astype(np.float64) for a in (standardization.inv_scale, standardization.target_inv_scale))
    if not is_compiled(penalty):
        return RescaledPenalty(penalty, inv_scale * standardization.unit[:, None], inv_unit**2 / lipschitz)
    l1, l2, lower, upper = strengths_and_bounds(penalty)
    if lower is None and not (l1.any() or l2.any()):
        return BoxedElasticNet()
    most = np.sqrt(float(np.finfo(dtype).max))  # so that no product with a step overflows; as good as infinite
    with np.errstate(over="ignore"):
        l1 = np.minimum(l1 * inv_scale * (inv_unit / lipschitz)[:, None], most).astype(dtype)
        l2 = np.minimum(l2 * inv_scale * inv_scale / lipschitz[:, None], most).astype(dtype)
    if lower is None:
        return BoxedElasticNet(l1, l2)
    rescaled = (_rescaled_bound(a, inv_scale, inv_unit, dtype) for a in (lower, upper))
    return BoxedElasticNet(l1, l2, *rescaled, _penalty_of_constants(penalty, inv_scale, inv_unit**2 / lipschitz))


def _penalty_of_constants(box, inv_scale, factor):
    """Return the penalty per target of the coefficients of constant columns, at the bounds nearest to 0; None for 0."""
    if inv_scale.all():
        return None
    l1, l2, *_ = strengths_and_bounds(box)
    size = np.abs(nearest_to_zero(box)) * (inv_scale == 0.0)
    return None if not size.any() else factor * (l1 * size + 0.5 * l2 * size * size).sum(axis=-1)


def _rescaled_bound(bound, inv_scale, inv_unit, dtype):
    """Return a bound of standardized coefficients, (k, d); that of a constant column, whose coefficient is 0, is 0."""
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        return np.where(inv_scale > 0.0, bound * inv_unit[:, None] / inv_scale, 0.0).astype(dtype)
