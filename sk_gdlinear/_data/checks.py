"""Checks of data and parameters, with messages that name the remedy; no mathematics."""

import numbers
import sys
from contextlib import contextmanager

import numpy as np
from scipy.sparse import bsr_array, coo_array, csc_array, csr_array
from sklearn import config_context, get_config
from sklearn.utils import assert_all_finite, check_array, check_consistent_length

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


def check_numbers(parameters):
    """Explain SGDRegressor's values, and integers too large, before scikit-learn's messages on what is allowed."""
    check_learning_rate(parameters["learning_rate"])
    for name, value in parameters.items():
        if isinstance(value, numbers.Integral) and abs(value) > sys.float_info.max and name != "random_state":
            raise ValueError(f"{name} must be a number that float64 can represent: got an integer that is too large.")


def check_finite(values, means, estimator_name, name="X"):
    """Raise scikit-learn's own error if there is NaN or infinity, also where ``assume_finite`` is configured.

    A NaN or an infinity anywhere in a column makes its mean NaN or infinite, so finite ``means`` spare a pass over the
    values; None where no mean of all rows is known.  Values on a device are those of their ``array``.
    """
    if means is not None and np.isfinite(means).all():
        return
    if means is not None or not get_config()["assume_finite"]:
        with np.errstate(invalid="ignore"), config_context(assume_finite=False):  # infinities add up to NaN
            assert_all_finite(getattr(values, "array", values), estimator_name=estimator_name, input_name=name)
    if means is not None:
        raise ValueError(
            f"{name} contains values whose sums are too large for float64: beyond about 1e307. Choose larger units."
        )


def as_dtype(X, dtype):
    """Return rows in the given dtype; what is too large for it becomes infinite, which ``check_finite`` sees."""
    with np.errstate(over="ignore"):
        return X.astype(dtype, copy=False)


def as_targets(y, dtype):
    """Return y as a C-ordered array of shape (n_samples, n_targets) and the given dtype."""
    if not isinstance(y, np.ndarray):  # on a device, where it has that shape
        return as_dtype(y, dtype)
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


def check_alpha(alpha, d, k):
    """Return the weight of the penalty, a number or an array of shape (d,) or (k, d), as float64.

    Raises
    ------
    ValueError
        If it is neither, or not finite, or negative.
    """
    alpha = np.asarray(alpha, dtype=np.float64, order="C")
    if alpha.shape not in ((), (d,), (k, d)):
        raise ValueError(
            f"alpha must be a number or contain one number per feature, shape ({d},), or one per target and feature, "
            f"shape ({k}, {d}); got an array of shape {alpha.shape}."
        )
    if not np.isfinite(alpha).all() or (alpha < 0.0).any():
        raise ValueError(f"alpha must be finite and >= 0, got {alpha.min():g} to {alpha.max():g}.")
    return alpha


@contextmanager
def clear_overflow(name):
    """Turn the error of integers that no float can represent into one that names what contains them."""
    try:
        yield
    except OverflowError as error:
        raise ValueError(
            f"{name} contains an integer too large for float64 ({error}). Choose larger units, or leave it out."
        ) from error


def check_fitted(values, name):
    """Return coefficients or an intercept that may have been set by hand, as floats.

    Raises
    ------
    ValueError
        If they are not finite real numbers.
    """
    try:
        values = np.asarray(values, order="C")
        values = values if values.dtype in (np.float32, np.float64) else values.astype(np.float64, casting="same_kind")
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(
            f"{name} must contain real numbers that float64 can represent: got {error}. Set it anew, or call fit."
        ) from error
    if not np.isfinite(values).all():
        raise ValueError(f"{name} must be finite, got NaN or infinity. Set it anew, or call fit without warm_start.")
    return values


def check_start(coef_init, intercept_init, d, k):
    """Return the start as arrays of shape (k, d) and (k,), zeros where not given."""
    start = []
    for name, value, shape in (("coef_init", coef_init, (k, d)), ("intercept_init", intercept_init, (k,))):
        if value is None:
            start.append(np.zeros(shape))
            continue
        if np.iscomplexobj(value):
            raise ValueError(f"{name} must be real, got complex numbers.")
        value = np.asarray(value, dtype=np.float64, order="C")
        if value.shape not in ({shape, shape[1:]} if k == 1 else {shape}):
            raise ValueError(f"{name} must hold {k} target(s) and have shape {shape}; got shape {value.shape}.")
        if not np.isfinite(value).all():
            raise ValueError(f"{name} must be finite, got NaN or infinity.")
        start.append(value.reshape(shape))
    return start


def make_generator(random_state):
    """Return a NumPy Generator seeded from ``random_state``; None takes fresh entropy, never the global generator."""
    if not isinstance(random_state, np.random.RandomState):
        return np.random.default_rng(random_state)
    return np.random.default_rng(random_state.randint(0, 2**31 - 1, size=4))


COMPRESSED = {"csr": csr_array, "csc": csc_array, "bsr": bsr_array}


def check_indices(X):
    """Raise if the arrays of sparse rows are no matrix: what scipy does with them, even to convert their type, crashes.

    Raises
    ------
    ValueError
        For instance where an index points outside of the matrix.
    """
    if X.ndim != 2:
        raise ValueError(
            f"X must be 2-dimensional: got a sparse array of shape {X.shape}. Reshape your data with "
            "X.reshape(-1, 1) if it has a single feature, or X.reshape(1, -1) if it is a single row."
        )
    try:
        if X.format == "coo":
            coo_array((X.data, (X.row, X.col)), shape=X.shape)
        elif X.format in COMPRESSED:  # a new matrix of the same arrays, for the check may set those of its own
            COMPRESSED[X.format]((X.data, X.indices, X.indptr), shape=X.shape).check_format(full_check=True)
            if (np.diff(X.indptr) < 0).any():  # scipy does not check this without entries
                raise ValueError("index pointer values must form a non-decreasing sequence")
    except ValueError as error:
        raise ValueError(
            f"X is no valid {X.format.upper()} matrix of shape {X.shape}: {error}. Was it assembled by hand? Build it "
            "from (data, (rows, columns)) instead: scipy then sees to its indices."
        ) from error


def as_csr(X):
    """Return CSR rows as a ``csr_array`` whose indices are sorted and unique, sharing memory where they were."""
    rows = csr_array((X.data, X.indices, X.indptr), shape=X.shape)
    if not rows.has_canonical_format:
        rows = rows.copy()
        rows.sum_duplicates()
    return rows
