"""Checks of the user's own losses and penalties: what is missing, and what contradicts itself."""

import numbers

import numpy as np

from .losses import Huber, Quantile, SquaredError
from .penalties import Box, ElasticNet, bounds, is_compiled, penalty_value, proximal_step

BUILT_IN = (SquaredError, Huber, Quantile)

# Sizes of the errors at which a loss is checked, in target spreads, and relative steps of the differences by which its
# derivative is checked, and by which the rounding of its value is seen.
SIZES = np.logspace(-3, 3, 49)
STEP = 1e-4
TINY_STEP = 1e-8

# Relative rounding errors of a value and of a derivative, beside those that are seen; and the factor on those that are
# seen, since differences at a few points may miss the largest.
VALUE_ROUNDING = 1e-15
DERIVATIVE_ROUNDING = 1e-9
ROUNDING_MARGIN = 4.0

# Factor on the largest truncation error of a central difference, for the rounding of the step.
TRUNCATION_MARGIN = 1.01

# Further sizes at which the slope of its derivative is checked: a kink at 0 shows between the smallest of them.
SMALL_SIZES = np.logspace(-9, -3.25, 23)

# Relative tolerance of the bound of that slope; and rounding errors of the rise of the derivative from one size to the
# next, relative to the largest derivative of errors up to the target spread, and to the derivative itself.
SLOPE_TOLERANCE = 1e-6
USUAL_ROUNDING = 1e-11
RISE_ROUNDING = 1e-14

# Sizes of the coefficients at which proximal steps are checked; the steps are drawn between 1e-2 and 1e2, uneven and
# equal. Other points must not be better by more than this part of the objective.
SCALES = (1e-2, 1.0, 1e2)
BETTER = 1e-7

# Relative distances from a proximal step at which other points are compared with it.
DISTANCES = (0.3, 1e-2, 1e-3)


def check_loss(loss):
    """Raise if an object cannot be a loss.

    Raises
    ------
    TypeError
        If it lacks a method or an attribute of ``losses.Loss``.
    ValueError
        If its parameter does not fit, or its lipschitz is not a number above 0, or infinite without ``smoothed``.
    """
    if type(loss) in BUILT_IN:
        _check_builtin_loss(loss)
        return
    _check_has(loss, "loss", ("value", "derivative"), "value(e), derivative(e) and lipschitz", ("lipschitz",))
    if not _is_number(loss.lipschitz) or not loss.lipschitz > 0.0:
        raise ValueError(f"lipschitz must be a number above 0, got {loss.lipschitz!r} from {loss!r}.")
    if np.isinf(loss.lipschitz) and not callable(getattr(loss, "smoothed", None)):
        raise ValueError(
            f"{loss!r} has an infinite lipschitz: give it a method smoothed(width) that returns a loss with a finite "
            "one, or smooth its kink."
        )


def check_derivative(loss, spread):
    """Raise if value, derivative and lipschitz of the user's own loss contradict each other.

    Parameters
    ----------
    loss : Loss
    spread : ndarray of shape (k,)
        The sizes that errors may have, one per target.

    Raises
    ------
    TypeError
        If what ``smoothed`` returns lacks a method or an attribute of ``losses.Loss``.
    ValueError
        If they contradict each other, or are not finite numbers, one for each error.
    """
    if type(loss) in BUILT_IN:
        return
    lipschitz = loss.lipschitz
    if np.isinf(lipschitz):
        loss, lipschitz = _smoothed(loss, spread)
    _check_value_and_derivative(loss, lipschitz, spread)
    _check_slope(loss, lipschitz, spread)


def _check_builtin_loss(loss):
    """Raise if the parameter of a built-in loss is not one that the estimator would allow."""
    if type(loss) is Huber and not (_is_number(loss.epsilon) and loss.epsilon > 0.0):
        raise ValueError(f"epsilon must be a number above 0, got {loss!r}.")
    if type(loss) is Quantile and not (_is_number(loss.quantile) and 0.0 < loss.quantile < 1.0):
        raise ValueError(f"quantile must be a number between 0 and 1, got {loss!r}.")


def _is_number(value):
    return isinstance(value, numbers.Real) and not isinstance(value, bool | np.bool_)


def _check_has(given, name, methods, needed, attributes=()):
    """Raise if an object lacks methods or attributes, or is a class."""
    missing = [method for method in methods if not callable(getattr(given, method, None))]
    missing += [attribute for attribute in attributes if not hasattr(given, attribute)]
    if missing or isinstance(given, type):
        lacks = f"has no {' and no '.join(missing)}" if missing else "is a class, not an object: call it"
        raise TypeError(
            f"{name} must be a name or an object with {needed}: {given!r} {lacks}. See sk_gdlinear."
            f"{'losses.Loss' if name == 'loss' else 'penalties.Penalty'}."
        )


def _smoothed(loss, spread):
    """Return the loss without its kink, and its ``lipschitz``; raise if that is not finite."""
    smoothed = loss.smoothed(spread.copy())
    needed = "value(e), derivative(e) and lipschitz, also what smoothed(width) returns"
    _check_has(smoothed, "loss", ("value", "derivative"), needed, ("lipschitz",))
    lipschitz = np.asarray(smoothed.lipschitz, dtype=np.float64)
    if lipschitz.shape not in ((), spread.shape) or not (np.isfinite(lipschitz) & (lipschitz > 0.0)).all():
        raise ValueError(
            f"smoothed(width) of {loss!r} must have a finite lipschitz above 0, a number or one per width: got "
            f"{smoothed.lipschitz!r} for widths of shape {spread.shape}."
        )
    return smoothed, lipschitz


def _numbers(method, name, loss, e):
    """Return what a method of the loss returns for errors, or raise if it is not an array of finite numbers."""
    with np.errstate(all="ignore"):
        result = np.array(method(e.copy()), dtype=np.float64)
    if result.shape != e.shape or not np.isfinite(result).all():
        what = f"shape {result.shape}" if result.shape != e.shape else "NaN or infinity"
        raise ValueError(
            f"{name}(e) must return a finite number for each error: got {what} from {loss!r} for errors of shape "
            f"{e.shape} between {e.min():g} and {e.max():g}."
        )
    return result


def _both_sides(sizes, spread, zero=False):
    """Return errors in increasing order, (n, k)."""
    return np.multiply.outer(np.concatenate([-sizes[::-1], [0.0] * zero, sizes]), spread)


def _check_value_and_derivative(loss, lipschitz, spread):
    """Compare the derivative with differences of the value."""
    e = _both_sides(SIZES, spread)
    h = STEP * np.abs(e)
    moves = (-h, 0.0, h, -TINY_STEP * e, TINY_STEP * e)
    low, value, high, before, after = (_numbers(loss.value, "value", loss, e + move) for move in moves)
    derivative = _numbers(loss.derivative, "derivative", loss, e)
    rounding = _rounding(np.abs(before - 2.0 * value + after), spread, e) + VALUE_ROUNDING * np.abs(value)
    if (negative := value < -ROUNDING_MARGIN * rounding).any():
        i = _worst(negative)
        raise ValueError(
            f"value(e) of {loss!r} is {value[i]:.6g} at an error of {e[i]:.6g}, below 0: subtract its least value, "
            "since tol is relative to the loss."
        )
    differences = (high - low) / (2.0 * h)
    # A central difference is off by at most lipschitz * h, and by rounding.
    allowed = TRUNCATION_MARGIN * lipschitz * h + ROUNDING_MARGIN * rounding / h
    allowed += DERIVATIVE_ROUNDING * np.abs(derivative)
    if (wrong := np.abs(differences - derivative) > allowed).any():
        i = _worst(wrong)
        raise ValueError(
            f"value and derivative of {loss!r} disagree: at an error of {e[i]:.6g} the derivative is "
            f"{derivative[i]:.6g}, but differences of value give {differences[i]:.6g}. Or the slope there is above "
            f"lipschitz={np.max(lipschitz):g}, or value is no more than rounding for errors as small as that."
        )


def _rounding(differences, spread, e):
    """Return the rounding error of values: the largest second difference, over a tiny step, of errors up to that size.

    Terms that cancel, as in ``log(cosh(e))``, leave as much of it near 0 as elsewhere.
    """
    within = np.abs(e) <= spread
    return np.maximum(differences, np.max(differences, axis=0, where=within, initial=0.0))


def _check_slope(loss, lipschitz, spread):
    """Compare the slope of the derivative with its bound."""
    e = _both_sides(np.concatenate([SMALL_SIZES, SIZES]), spread, zero=True)
    derivative = _numbers(loss.derivative, "derivative", loss, e)
    usual = np.max(np.abs(derivative), axis=0, where=np.abs(e) <= spread, initial=0.0)
    rise, run = np.diff(derivative, axis=0), np.diff(e, axis=0)
    allowed = lipschitz * run * (1.0 + SLOPE_TOLERANCE) + USUAL_ROUNDING * usual
    allowed += RISE_ROUNDING * np.abs(derivative[1:])
    steep = np.abs(rise) > allowed
    if steep.any():
        i = _worst(steep)
        raise ValueError(
            f"The derivative of {loss!r} has a slope of {abs(rise[i]) / run[i]:.6g} between errors of {e[i]:.6g} and "
            f"{e[i[0] + 1, i[1]]:.6g}, above lipschitz={np.max(lipschitz):g}. Raise lipschitz to the largest slope; "
            "where there is a kink it is infinite."
        )


def _worst(wrong):
    """Return the place of the first entry that is wrong."""
    return tuple(int(i[0]) for i in np.nonzero(wrong))


def check_penalty(penalty, d):
    """Raise if an object cannot be a penalty of the coefficients of ``d`` features.

    Raises
    ------
    TypeError
        If it lacks a method of ``penalties.Penalty``.
    ValueError
        If its strengths or bounds do not fit.
    """
    _check_has(penalty, "penalty", ("value", "proximal"), "value(w) and proximal(w, step)")
    if isinstance(penalty, Box):
        lower, upper = (_check_numbers(a, name, d) for a, name in zip(bounds(penalty), ("lower", "upper"), strict=True))
        if (lower > upper).any() or (lower == np.inf).any() or (upper == -np.inf).any():
            raise ValueError(f"Bounds must be lower <= upper, with a finite number between: got {penalty!r}.")
        if penalty.penalty is not None:
            check_penalty(penalty.penalty, d)
    elif isinstance(penalty, ElasticNet):
        _check_numbers(penalty.alpha, "alpha", d, least=0.0)
        if not (_is_number(penalty.l1_ratio) and 0.0 <= penalty.l1_ratio <= 1.0):
            raise ValueError(f"l1_ratio must be a number from 0 to 1, got {penalty.l1_ratio!r} in {penalty!r}.")


def _check_numbers(values, name, d, least=-np.inf):
    """Return numbers of all features or of each as an array, or raise."""
    values = np.asarray(values, dtype=np.float64)
    if values.shape not in ((), (d,)):
        raise ValueError(
            f"{name} must be a number or contain one number per feature, shape ({d},); got shape {values.shape}."
        )
    if np.isnan(values).any():
        raise ValueError(f"{name} must not be NaN, got {values}.")
    if least > -np.inf and ((values < least).any() or np.isinf(values).any()):
        raise ValueError(f"{name} must be finite and >= {least:g}, got {values.min():g} to {values.max():g}.")
    return values


def check_proximal(penalty, d):
    """Raise if the proximal step of the user's own penalty does not minimise what it should.

    Its objective is compared with that of other points: nearby, with coefficients left alone, and with some set to 0.

    Raises
    ------
    ValueError
        If one of them is better, or if value or proximal return no numbers.
    """
    if is_compiled(penalty):
        return
    rng = np.random.default_rng(0)
    for scale in SCALES:
        w, uneven = scale * rng.normal(size=d), 10.0 ** rng.uniform(-2.0, 2.0, d)
        for step in (uneven, np.full(d, uneven[0])):
            v = proximal_step(penalty, w, step)
            reached = _proximal_objective(penalty, v, w, step)
            if not np.isfinite(reached):
                raise ValueError(
                    f"value(w) must return a finite number for coefficients that proximal returns, got "
                    f"{penalty_value(penalty, v)!r} from {penalty!r}."
                )
            for other in _others(v, w, rng):
                found = _proximal_objective(penalty, other, w, step)
                if found < reached - BETTER * (abs(reached) + np.finfo(np.float64).tiny):
                    raise ValueError(
                        f"value and proximal of {penalty!r} disagree: proximal(w, step) has the objective "
                        f"{reached:.9g}, but another point has {found:.9g}. It must return the v that minimises "
                        "sum((v - w)**2 / (2 * step)) + value(v), where step holds one number per coefficient, which "
                        "may differ. See sk_gdlinear.penalties.Penalty."
                    )


def _proximal_objective(penalty, v, w, step):
    return float(((v - w) ** 2 / (2.0 * step)).sum()) + penalty_value(penalty, v)


def _others(v, w, rng):
    """Yield points to compare a proximal step with."""
    yield w
    yield np.zeros_like(v)
    for size in DISTANCES:
        yield v + size * (w - v)
        yield v * (1.0 - size)
        yield v * (1.0 + size)
        for _ in range(2):
            yield v + size * np.abs(v) * rng.normal(size=len(v))
    for i in rng.integers(len(v), size=4):
        for value in (0.0, w[i], v[i] + 0.1 * (w[i] - v[i])):
            other = v.copy()
            other[i] = value
            yield other
