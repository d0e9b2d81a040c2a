"""Checks of what ``fit`` and ``partial_fit`` are given beyond X; no mathematics."""

import numbers
import sys

import numpy as np
from sklearn.utils import assert_all_finite, check_array, check_consistent_length, check_random_state

SGD_SCHEDULES = {
    "constant": "learning_rate=<float>, schedule='constant'",
    "optimal": "learning_rate='auto'",
    "invscaling": "learning_rate=<float>, schedule='invscaling'",
    "adaptive": "learning_rate=<float>, schedule='adaptive'",
    "pa1": "learning_rate='auto'",
    "pa2": "learning_rate='auto'",
}


def check_learning_rate(learning_rate):
    """Explain SGDRegressor's ``learning_rate`` strings, which name schedules here, and refuse what is no float."""
    if isinstance(learning_rate, numbers.Integral) and learning_rate > sys.float_info.max:
        raise ValueError(
            "learning_rate must be a float: got an integer too large for one. Use a smaller one, or 'auto'."
        )
    if isinstance(learning_rate, str) and learning_rate in SGD_SCHEDULES:
        raise ValueError(
            f"learning_rate={learning_rate!r} names one of SGDRegressor's schedules; here learning_rate is the step "
            f"itself (SGDRegressor's eta0), a positive float or 'auto'. Write {SGD_SCHEDULES[learning_rate]} instead."
        )


def check_finite(X, means, estimator_name):
    """Raise scikit-learn's own error if X holds NaN or infinity.

    A NaN or an infinity anywhere in a column shows in its mean, so finite ``means`` spare a pass over X; None where no
    mean of all rows is known.
    """
    if means is None or not np.isfinite(means).all():
        with np.errstate(invalid="ignore"):  # infinities of both signs add up to NaN
            assert_all_finite(X, estimator_name=estimator_name, input_name="X")
    check_range(means, "X")


def check_range(means, name):
    """Raise if finite values were so large that their mean has no number."""
    if means is not None and not np.isfinite(means).all():
        raise ValueError(
            f"{name} holds values whose sums have no number in float64: beyond about 1e307. Choose larger units."
        )


def as_dtype(X, dtype):
    """Return rows in the given dtype; what is too large for it becomes infinite, which ``check_finite`` sees."""
    with np.errstate(over="ignore"):
        return X.astype(dtype, copy=False)


def as_targets(y, dtype):
    """Return y as a C-ordered array of shape (n_samples, n_targets) and the given dtype."""
    with np.errstate(over="ignore"):
        Y = np.ascontiguousarray(y.reshape(len(y), -1), dtype=dtype)
    if Y.dtype != y.dtype and not np.isfinite(Y).all():
        raise ValueError(f"y holds values too large for {Y.dtype}, the dtype of X. Pass X as float64, or scale y down.")
    return Y


def check_weights(sample_weight, X):
    """Return the sample weights as float64 of shape (n_samples,), or None for equal weights.

    Raises
    ------
    ValueError
        If they are not finite, negative, not one per row, or out of the range of X's dtype.
    """
    if sample_weight is None:
        return None
    if isinstance(sample_weight, numbers.Real):
        sample_weight = np.full(X.shape[0], float(sample_weight))
    s = check_array(sample_weight, ensure_2d=False, dtype=np.float64, input_name="sample_weight")
    if s.ndim != 1:
        raise ValueError(f"Sample weights must be a 1D array or a scalar, got an array of shape {s.shape}.")
    check_consistent_length(X, s)
    if (s < 0).any():
        raise ValueError(f"Negative values in data passed to `sample_weight`: weights must be >= 0, got {s.min():g}.")
    with np.errstate(over="ignore"):
        held = s.astype(X.dtype)
        if not np.isfinite(np.square(held).sum()) or (held == 0.0).sum() > (s == 0.0).sum():
            raise ValueError(
                f"sample_weight holds values from {s.min():g} to {s.max():g}, too small or too large for sums in "
                f"{X.dtype}, the dtype of X. Only their ratios matter: divide them by their mean."
            )
    return s


def check_alpha(alpha, d):
    """Return the weight of the penalty, a number or an array of shape (n_features,), as float64.

    Raises
    ------
    ValueError
        If it is neither, or not finite, or negative.
    """
    alpha = np.asarray(alpha, dtype=np.float64)
    if alpha.shape not in ((), (d,)):
        raise ValueError(
            f"alpha must be a number or hold one number per feature, shape ({d},); got an array of shape {alpha.shape}."
        )
    if not np.isfinite(alpha).all() or (alpha < 0.0).any():
        raise ValueError(f"alpha must be finite and >= 0, got {alpha.min():g} to {alpha.max():g}.")
    return alpha


def check_start(coef_init, intercept_init, d, k):
    """Return the start as arrays of shape (k, d) and (k,), zeros where not given."""
    start = []
    for name, value, shape in (("coef_init", coef_init, (k, d)), ("intercept_init", intercept_init, (k,))):
        if np.iscomplexobj(value):
            raise ValueError(f"{name} must be real, got complex numbers.")
        value = np.zeros(shape) if value is None else np.asarray(value, dtype=np.float64)
        if value.shape not in ({shape, shape[1:]} if k == 1 else {shape}):
            raise ValueError(f"{name} must hold {k} target(s) and have shape {shape}; got shape {value.shape}.")
        if not np.isfinite(value).all():
            raise ValueError(f"{name} must be finite, got NaN or infinity.")
        start.append(value.reshape(shape))
    return start


def make_generator(random_state):
    """NumPy Generator seeded from ``random_state``; None takes fresh entropy, never the global generator."""
    if random_state is None:
        return np.random.default_rng()
    return np.random.default_rng(check_random_state(random_state).randint(0, 2**31 - 1, size=4))
