r"""Penalties: the built-in ones, written against the public protocol, and the same on standardized coefficients.

A penalty acts on ``coef_`` in the user's units, ``coef = c W`` with ``c`` the scale of each standardized coefficient.
In the objective over the squared unit and the slope of the loss, :math:`f = 1 / (u^2 \, \mathrm{lipschitz})`, its
proximal step on ``W`` is that on ``coef`` with a step of its own for each coefficient:

.. math:: \operatorname{prox}(W, \eta) = \operatorname{prox}_{\text{user}}(c W, \; \eta c^2 f) / c.

A constant column has ``c = 0``: no coefficient of it changes the loss.  It gets 0, or the bound nearest to 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

import numpy as np

from .parameters import Parameters

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

# Coefficients as near to a bound, in units of their precision, are at it.
ROUNDING = 4.0

# A step that does no more than to move coefficients back into a constraint.
NO_STEP = float(np.finfo(np.float64).eps)


@runtime_checkable
class Penalty(Protocol):
    r"""What an object passed as ``penalty`` must offer.

    It acts on the coefficients of one target at a time, in the user's units; the intercept is free.  It contains its
    own strength: the parameters ``alpha`` and ``l1_ratio`` of the estimator are for the penalties that it knows by
    name.  Both methods get arrays of float64, theirs to overwrite.  A constraint is a penalty that is 0 or infinite.

    ``fit`` and the first ``partial_fit`` compare the result of the proximal step with other points, and raise
    ``ValueError`` where one of them has a lower objective.

    See Also
    --------
    sk_gdlinear.GDLinearRegressor : Takes such an object as ``penalty``.
    sk_gdlinear.losses.Loss : The same for losses.

    Examples
    --------
    The minimax concave penalty (C.-H. Zhang, Annals of Statistics 38, 2010) shrinks large coefficients not at all:

    >>> import numpy as np
    >>> from sk_gdlinear import GDLinearRegressor
    >>> class MCP:
    ...     def __init__(self, alpha, gamma=3.0):
    ...         self.alpha, self.gamma = alpha, gamma
    ...
    ...     def value(self, w):
    ...         size = np.minimum(np.abs(w), self.gamma * self.alpha)
    ...         return (self.alpha * size - size**2 / (2.0 * self.gamma)).sum()
    ...
    ...     def proximal(self, w, step):
    ...         soft = np.sign(w) * np.maximum(np.abs(w) - step * self.alpha, 0.0)
    ...         kept = self.alpha * np.maximum(self.gamma, np.sqrt(self.gamma * step))
    ...         return np.where(np.abs(w) > kept, w, soft / np.maximum(1.0 - step / self.gamma, 1e-9))
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(500, 4))
    >>> y = X @ [3.0, 0.0, 0.0, -2.0] + 0.1 * rng.normal(size=500)
    >>> GDLinearRegressor(penalty=MCP(0.1), random_state=0).fit(X, y).coef_.round(1) + 0.0
    array([ 3.,  0.,  0., -2.])
    """

    def value(self, w: NDArray[np.float64], /) -> float:
        """Return the penalty of the coefficients of one target.

        Parameters
        ----------
        w : ndarray of shape (n_features,)
            The coefficients, in the user's units.

        Returns
        -------
        value : float
            Their penalty; infinite where they are not allowed.
        """

    def proximal(self, w: NDArray[np.float64], step: NDArray[np.float64], /) -> NDArray[np.float64]:
        r"""Return the ``v`` that minimises :math:`\sum_j (v_j - w_j)^2 / (2 \, \mathrm{step}_j) + \mathrm{value}(v)`.

        Parameters
        ----------
        w : ndarray of shape (n_features,)
            The coefficients, in the user's units.
        step : ndarray of shape (n_features,)
            Above 0.  In the user's units each coefficient has a step of its own, and they may differ by any factor.

        Returns
        -------
        v : ndarray of shape (n_features,)
            The coefficients after the step.
        """


class ElasticNet(Parameters):
    r"""The elastic net :math:`\sum_j \alpha_j \left(\rho |w_j| + \tfrac{1 - \rho}{2} w_j^2\right)`.

    The object that ``penalty="elasticnet"`` makes of the estimator's own ``alpha`` and ``l1_ratio``.

    Parameters
    ----------
    alpha : float or array-like of shape (n_features,), default=1e-4
        Strength, at least 0, of all coefficients or of each.
    l1_ratio : float, default=0.15
        The share :math:`\rho` of the absolute values, from 0 to 1.

    See Also
    --------
    L1 : Absolute values only.
    L2 : Squares only.

    Examples
    --------
    >>> from sk_gdlinear.penalties import ElasticNet
    >>> ElasticNet(alpha=1.0, l1_ratio=1.0).proximal([3.0, -0.5], 1.0) + 0.0
    array([2., 0.])
    """

    def __init__(self, alpha: ArrayLike = 1e-4, l1_ratio: float = 0.15) -> None:
        self.alpha, self.l1_ratio = alpha, l1_ratio

    def value(self, w: ArrayLike) -> float:
        """Return the penalty of the coefficients of one target.

        Parameters
        ----------
        w : array-like of shape (n_features,)
            The coefficients.

        Returns
        -------
        value : float
            Their penalty.
        """
        l1, l2 = strengths(self)
        w = np.asarray(w, dtype=np.float64)
        return float((l1 * np.abs(w) + 0.5 * l2 * w * w).sum())

    def proximal(self, w: ArrayLike, step: ArrayLike) -> NDArray[np.float64]:
        """Return the soft-thresholded and shrunk coefficients.

        Parameters
        ----------
        w : array-like of shape (n_features,)
            The coefficients.
        step : float or array-like of shape (n_features,)
            Step size.

        Returns
        -------
        v : ndarray of shape (n_features,)
            The coefficients after the step.
        """
        l1, l2 = strengths(self)
        w, step = np.asarray(w, dtype=np.float64), np.asarray(step)
        return (w - np.clip(w, -step * l1, step * l1)) / (1.0 + step * l2)


class L1(ElasticNet):
    """The lasso's penalty, ``alpha`` times the sum of absolute values.

    The object that ``penalty="l1"`` makes of the estimator's own ``alpha``.

    Parameters
    ----------
    alpha : float or array-like of shape (n_features,), default=1e-4
        Strength, at least 0, of all coefficients or of each.

    See Also
    --------
    ElasticNet : Absolute values and squares.

    Examples
    --------
    >>> from sk_gdlinear.penalties import L1
    >>> L1(alpha=0.5).value([1.0, -3.0])
    2.0
    """

    def __init__(self, alpha: ArrayLike = 1e-4) -> None:
        self.alpha = alpha

    l1_ratio = 1.0


class L2(ElasticNet):
    """The ridge penalty, half of ``alpha`` times the sum of squares.

    The object that ``penalty="l2"`` makes of the estimator's own ``alpha``.

    Parameters
    ----------
    alpha : float or array-like of shape (n_features,), default=1e-4
        Strength, at least 0, of all coefficients or of each.

    See Also
    --------
    ElasticNet : Absolute values and squares.

    Examples
    --------
    >>> from sk_gdlinear.penalties import L2
    >>> L2(alpha=0.5).value([1.0, -3.0])
    2.5
    """

    def __init__(self, alpha: ArrayLike = 1e-4) -> None:
        self.alpha = alpha

    l1_ratio = 0.0


class Box(Parameters):
    """Bounds of the coefficients, alone or with another penalty.

    The parameter ``positive`` of the estimator is ``Box(lower=0)``.  A constant column gets the coefficient nearest
    to 0 that the bounds allow, and the intercept makes good for it.

    Parameters
    ----------
    lower : float or array-like of shape (n_features,), default=None
        Least value of all coefficients or of each; None, or -inf for one of them, is none.
    upper : float or array-like of shape (n_features,), default=None
        Largest value; None, or inf for one of them, is none.
    penalty : Penalty, default=None
        A further penalty that is a convex sum over coefficients, such as ``L1`` or ``L2``: moving its proximal step to
        the bounds is then the proximal step of both.

    See Also
    --------
    sk_gdlinear.GDLinearRegressor : Has the parameter ``positive``.

    Examples
    --------
    >>> from sk_gdlinear import GDLinearRegressor
    >>> from sk_gdlinear.penalties import Box
    >>> X, y = [[0.0], [1.0], [2.0]], [0.0, 3.0, 6.0]
    >>> GDLinearRegressor(penalty=Box(lower=0.0, upper=2.0), random_state=0).fit(X, y).coef_
    array([2.])
    """

    def __init__(
        self, lower: ArrayLike | None = None, upper: ArrayLike | None = None, penalty: Penalty | None = None
    ) -> None:
        self.lower, self.upper, self.penalty = lower, upper, penalty

    def value(self, w: ArrayLike) -> float:
        """Return the other penalty of coefficients within the bounds.

        Parameters
        ----------
        w : array-like of shape (n_features,)
            The coefficients.

        Returns
        -------
        value : float
            0 without another penalty; infinite for coefficients outside of the bounds.
        """
        w, (lower, upper) = np.asarray(w, dtype=np.float64), bounds(self)
        if (w < lower).any() or (w > upper).any():
            return np.inf
        return 0.0 if self.penalty is None else self.penalty.value(w)

    def proximal(self, w: ArrayLike, step: ArrayLike) -> NDArray[np.float64]:
        """Return the proximal step of the other penalty, moved to the bounds where it is outside of them.

        Parameters
        ----------
        w : array-like of shape (n_features,)
            The coefficients.
        step : float or array-like of shape (n_features,)
            Step size.

        Returns
        -------
        v : ndarray of shape (n_features,)
            The coefficients after the step.
        """
        w = np.array(w, dtype=np.float64)
        if self.penalty is not None:
            w = self.penalty.proximal(w, np.full(w.shape, step, dtype=np.float64))
        return np.clip(w, *bounds(self))


class BoxedElasticNet(NamedTuple):
    r"""The built-in penalties on standardized coefficients, :math:`l_1 |w| + \tfrac12 l_2 w^2` within bounds.

    The compiled kernels know this family.  Without any penalty all arrays are None; without bounds the last three are.
    """

    l1: np.ndarray | None = None  # (k, d) each
    l2: np.ndarray | None = None
    lower: np.ndarray | None = None
    upper: np.ndarray | None = None
    constant: np.ndarray | None = None  # (k,), penalty of the coefficients of constant columns

    @property
    def is_zero(self):
        """Whether there is no penalty, nor any bound."""
        return self.l1 is None

    def value(self, W):
        """Return the penalty per target, shape (k,); coefficients are within the bounds."""
        if self.is_zero:
            return np.zeros(len(W))
        W = W.astype(np.float64, copy=False)
        with np.errstate(over="ignore"):  # infinite where it is not a number
            size = np.abs(W)
            value = (size * (self.l1 + 0.5 * self.l2 * size)).sum(axis=1)
        return value if self.constant is None else value + self.constant

    def of_target(self, t):
        """Return the penalty of target ``t`` alone."""
        return BoxedElasticNet(*(None if values is None else values[t : t + 1] for values in self))

    def of_columns(self, columns):
        """Return the penalty of some coefficients."""
        return BoxedElasticNet(*(None if values is None else values[:, columns] for values in self[:4]))

    def at_zero(self, shape):
        """Return the penalty of coefficients 0 per target, infinite where they are not allowed."""
        value = np.zeros(shape[0]) if self.constant is None else self.constant
        if self.lower is None:
            return value
        return np.where((self.lower > 0.0).any(axis=1) | (self.upper < 0.0).any(axis=1), np.inf, value)

    def proximal(self, W, step):
        """Return the ``w`` that minimises ``|w - W|^2 / (2 step)`` plus the penalty.

        It is the soft threshold ``soft(W, step l1) / (1 + step l2)``, moved to the nearest bound.  ``W`` before this
        step and the step size are averaged; the parameters reported are the proximal step from the average.  They have
        exact zeros, which an average of results would not have (L. Xiao, "Dual Averaging Methods for Regularized
        Stochastic Learning and Online Optimization", JMLR 11, 2010), and where the descent has converged they are the
        optimum, whatever the step sizes were.  There may be a step for each coefficient, (k, d).
        """
        if self.is_zero or (self.lower is None and isinstance(step, float) and step == 0.0):
            return W
        width = step * self.l1
        W = (W - np.minimum(np.maximum(W, -width), width)) / (1.0 + step * self.l2)
        return W if self.lower is None else np.minimum(np.maximum(W, self.lower), self.upper)


class RescaledPenalty:
    """A penalty of the user's, on standardized coefficients.

    Parameters
    ----------
    penalty : Penalty
    scale : ndarray of shape (k, d)
        Coefficients in the user's units are ``scale`` times these; 0 for a constant column.
    factor : ndarray of shape (k,)
        What the objective is multiplied by: 1 over the squared unit of the target and the slope of the loss.
    """

    is_zero = False

    def __init__(self, penalty, scale, factor):
        self.penalty, self.scale, self.factor = penalty, scale, factor
        self.constant = np.where(scale > 0.0, 0.0, nearest_to_zero(penalty))  # coefficients of constant columns

    def value(self, W):
        """Return the penalty per target, shape (k,).

        Coefficients may violate a constraint by rounding.  Where the penalty is infinite it is that of the nearest
        coefficients that are allowed.
        """
        values = []
        for w in self._coef(W):
            value = penalty_value(self.penalty, w)
            if value == np.inf:
                value = penalty_value(self.penalty, proximal_step(self.penalty, w, np.full(len(w), NO_STEP)))
            values.append(value)
        return self.factor * np.array(values)

    def of_target(self, t):
        """Return the penalty of target ``t`` alone."""
        return RescaledPenalty(self.penalty, self.scale[t : t + 1], self.factor[t : t + 1])

    def at_zero(self, shape):
        """Return the penalty of coefficients 0 per target, infinite where they are not allowed."""
        return self.factor * np.array([penalty_value(self.penalty, w) for w in self.constant])

    def proximal(self, W, step):
        """Return the ``w`` that minimises ``|w - W|^2 / (2 step)`` plus the penalty.

        There may be a step for each coefficient, (k, d).
        """
        if not np.any(step > 0.0):  # no step is in the average yet, or the schedule is at 0
            return W
        coef, varies, limits = self._coef(W), self.scale > 0.0, np.finfo(np.float64)
        with np.errstate(over="ignore", under="ignore"):
            steps = step * self.scale**2 * self.factor[:, None]
        # Any step will do for a constant column: its result is not used.
        steps = np.where(varies, steps, steps.max(axis=1, keepdims=True, initial=0.0))
        steps = np.clip(steps, limits.tiny, limits.max)
        for t in range(len(coef)):
            coef[t] = proximal_step(self.penalty, coef[t], steps[t])
        return np.divide(coef, self.scale, out=np.zeros_like(coef), where=varies).astype(W.dtype)

    def _coef(self, W):
        """Return the coefficients in the user's units."""
        return W.astype(np.float64) * self.scale + self.constant


def penalty_value(penalty, w):
    """Return the penalty of coefficients as a number.

    Raises
    ------
    ValueError
        If it is an array, or NaN for finite coefficients.
    """
    value = np.asarray(penalty.value(w.copy()))
    if value.shape != ():
        raise ValueError(
            f"value(w) must return one number for the coefficients of a target, got an array of shape {value.shape} "
            f"from {penalty!r}. Return the sum."
        )
    value = float(value)
    if np.isnan(value) and np.isfinite(w).all():
        raise ValueError(f"value(w) of {penalty!r} returned NaN for the coefficients {w}.")
    return value


def proximal_step(penalty, w, step):
    """Return the coefficients after a proximal step.

    Raises
    ------
    ValueError
        If there is not one number for each coefficient, or not a finite one for finite coefficients.
    """
    v = np.asarray(penalty.proximal(w.copy(), step.copy()), dtype=np.float64)
    if v.shape != w.shape or (not np.isfinite(v).all() and np.isfinite(w).all()):
        what = f"shape {v.shape}" if v.shape != w.shape else "NaN or infinity"
        raise ValueError(
            f"proximal(w, step) must return a finite number for each coefficient: got {what} from {penalty!r} for "
            f"coefficients of shape {w.shape} between {w.min():g} and {w.max():g} and steps between {step.min():g} and "
            f"{step.max():g}."
        )
    return v


def strengths(penalty):
    """Return the strengths of the absolute values and of the squares in an elastic net."""
    alpha = np.asarray(penalty.alpha, dtype=np.float64)
    return alpha * penalty.l1_ratio, alpha * (1.0 - penalty.l1_ratio)


def bounds(box):
    """Return the lower and the upper bound of all coefficients or of each, infinite without one."""
    lower, upper = (-np.inf if box.lower is None else box.lower), (np.inf if box.upper is None else box.upper)
    return np.asarray(lower, dtype=np.float64), np.asarray(upper, dtype=np.float64)


def nearest_to_zero(penalty):
    """Return the coefficients nearest to 0 that the bounds of a penalty allow, of all features or of each."""
    return np.clip(0.0, *bounds(penalty)) if type(penalty) is Box else 0.0


def positive(penalty):
    """Return the penalty with the constraint, in addition, that no coefficient is negative."""
    if type(penalty) is Box:
        return Box(np.maximum(bounds(penalty)[0], 0.0), penalty.upper, penalty.penalty)
    return Box(lower=0.0, penalty=penalty)


def within_bounds(penalty, coef, intercept, shift):
    """Return coefficients moved to the bounds of a ``Box``, and the intercept that makes good for the change.

    Rounding may have left a coefficient outside of the bounds, or near the bound that it should be at; that of a
    constant column may be outside of them by more.  Predictions stay the same where the features are ``shift``, (d,),
    which has the values of the constant columns.
    """
    if type(penalty) is not Box:
        return coef, intercept
    bounded, rounding = np.clip(coef, *bounds(penalty)), ROUNDING * np.finfo(coef.dtype).eps
    for bound in bounds(penalty):
        bounded = np.where(np.isclose(bounded, bound, rtol=rounding, atol=0.0), bound, bounded)
    bounded = bounded.astype(coef.dtype)
    moved = coef.astype(np.float64) - bounded.astype(np.float64)
    return bounded, intercept + moved @ shift.astype(np.float64)


def penalty_of_columns(penalty, columns):
    """Return a built-in penalty of the coefficients of some columns; a name, or None, is returned as it is."""
    if type(penalty) is Box:
        bound = (None if a is None else _of_columns(a, columns) for a in (penalty.lower, penalty.upper))
        return Box(*bound, penalty_of_columns(penalty.penalty, columns))
    if isinstance(penalty, ElasticNet):
        return ElasticNet(_of_columns(penalty.alpha, columns), penalty.l1_ratio)
    return penalty


def _of_columns(values, columns):
    """Return the part that belongs to some columns, of numbers for each column; a single number belongs to all."""
    values = np.asarray(values, dtype=np.float64)
    return np.take(values, columns, axis=-1) if values.ndim else values


def is_compiled(penalty):
    """Whether the kernels know a penalty: a built-in one, not a subclass that may compute something else."""
    if type(penalty) is Box:
        return penalty.penalty is None or type(penalty.penalty) in (ElasticNet, L1, L2)
    return penalty is None or type(penalty) in (ElasticNet, L1, L2)


def strengths_and_bounds(penalty):
    """Return ``l1, l2, lower, upper`` of a built-in penalty, in the user's units; the bounds None without a box."""
    lower = upper = None
    if type(penalty) is Box:
        (lower, upper), penalty = bounds(penalty), penalty.penalty
    l1, l2 = (np.zeros(()), np.zeros(())) if penalty is None else strengths(penalty)
    return l1, l2, lower, upper


for _public in (Penalty, ElasticNet, L1, L2, Box):
    _public.__module__ = "sk_gdlinear.penalties"  # the public name is the one that pickles hold
