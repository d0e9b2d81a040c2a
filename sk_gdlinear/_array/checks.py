"""Validation of arrays of other libraries: everything follows X to its namespace and device."""

import numpy as np
from scipy.sparse import issparse
from sklearn.utils.validation import validate_data

from .._compat import has_other_arrays, is_other_array, namespace_and_device
from .._data.checks import check_finite, check_weights
from .._data.rows import Rows
from .namespace import Namespace, to_numpy, without_gradient
from .rows import DeviceArray


def namespace_of(X):
    """Return the ``Namespace`` of an array; None for NumPy's, and for all that is converted to it."""
    if not is_other_array(X):
        return None
    xp, device = namespace_and_device(X)
    return None if xp.__name__.split(".")[-1] == "numpy" else Namespace(xp, device)


def in_numpy(values):
    """Return an array of another library in NumPy, and anything else as it is."""
    return to_numpy(values) if is_other_array(values) else values


def readable(array, name):
    """Return an array without its gradient.

    Raises
    ------
    ValueError
        If it is complex, or not dense.
    """
    layout = str(getattr(array, "layout", "torch.strided"))
    if layout != "torch.strided":
        raise ValueError(
            f"{name} must be a dense tensor: got one with layout {layout}. Pass {name}.to_dense(), or sparse rows as a "
            "SciPy array, which are fitted on the CPU."
        )
    if "complex" in str(getattr(array, "dtype", "")):
        raise ValueError(f"Complex data not supported: {name} must be real, got dtype {array.dtype}.")
    return without_gradient(array)


def check_X(model, namespace, X, **options):
    """Return X as ``validate_data`` does, in float64 or float32; anything else becomes the first that there is."""
    return validate_data(model, readable(X, "X"), dtype=namespace.dtypes, **options)


def check_rows(model, namespace, X, y, sample_weight, reset):
    """Return ``X, Y, sample_weight`` and whether y is 1-D; X and Y are ``DeviceArray``s, the weights are in NumPy.

    That X is finite is checked later.
    """
    if issparse(y):
        raise TypeError("y must be dense, got a sparse matrix or array. Pass y.toarray().")
    if y is not None:
        y = namespace.moved(y if hasattr(y, "shape") else np.asarray(y))
        y = readable(y, "y")
    X, y = check_X(model, namespace, X, y=y, reset=reset, multi_output=True, y_numeric=True, ensure_all_finite=False)
    xp, flat = namespace.xp, y.ndim == 1
    X = DeviceArray(X, namespace)
    sample_weight = check_weights(in_numpy(sample_weight), X)
    if sample_weight is not None and not sample_weight.any() and reset:
        raise ValueError("All sample weights are zero: at least one weight must be non-zero.")
    Y = xp.reshape(xp.astype(y, X.array.dtype, copy=False), (X.shape[0], -1))
    if Y.dtype != y.dtype and bool(xp.any(xp.isinf(Y))):
        raise ValueError(f"y holds values too large for {X.dtype}, the dtype of X. Pass X as float64, or scale y down.")
    return X, DeviceArray(Y, namespace), sample_weight, flat


def check_rows_finite(model, rows, statistics):
    """Raise if X or Y is not finite, with the means of the statistics as far as they are of all rows."""
    known, name = statistics.features is not None and rows.kept is None, type(model).__name__
    check_finite(rows.X.array, statistics.features.mean if known else None, name)
    check_finite(rows.Y.array, statistics.targets.mean, name, "y")


def check_validation_rows(model, namespace, X, Y, flat, X_val, y_val, sample_weight_val):
    """Return a validation set as ``Rows``, like those of ``X, Y``."""
    if X_val is None or y_val is None:
        missing = "X_val" if X_val is None else "y_val"
        raise ValueError(f"A validation set needs both X_val and y_val: {missing} was not given.")
    try:
        X_val = namespace.moved(X_val if hasattr(X_val, "shape") else np.asarray(X_val))
        V, Y_val, weight, flat_val = check_rows(model, namespace, X_val, y_val, sample_weight_val, reset=False)
        dtype, xp = X.array.dtype, namespace.xp
        V, Y_val = (DeviceArray(xp.astype(a.array, dtype, copy=False), namespace) for a in (V, Y_val))
        check_finite(V.array, None, type(model).__name__)
        check_finite(Y_val.array, None, type(model).__name__, "y")
        if weight is not None and not weight.any():
            raise ValueError("all sample_weight_val are zero; at least one must not be.")
    except ValueError as error:
        raise ValueError(f"The validation set (X_val, y_val, sample_weight_val) cannot be used: {error}") from error
    if flat_val != flat or Y_val.shape[1] != Y.shape[1]:
        raise ValueError(
            f"y_val must have the dimensions and targets of y: got shapes {tuple(np.shape(y_val))} and "
            f"{Y.shape[:1] if flat else Y.shape}."
        )
    return Rows(V, Y_val, weight)


def check_same_namespace(model, X, method):
    """Raise if a fitted model is of another namespace or on another device than X."""
    if is_other_array(model.coef_) and not has_other_arrays(model.coef_):
        raise ValueError(
            f"The model was fitted on arrays of another library than NumPy, and {method} was called without array API "
            "dispatch. Call it within 'with sklearn.config_context(array_api_dispatch=True)', or move the model to "
            "NumPy: 'from sklearn.utils._array_api import move_estimator_to; move_estimator_to(model, numpy, \"cpu\")'."
        )
    own, other = namespace_of(model.coef_), namespace_of(X)
    if own is None and other is None:
        return
    if own is not None and other is not None and own.xp is other.xp and own.device == other.device:
        return
    name = type(model).__name__
    raise ValueError(
        f"Inputs passed to {name}.{method}() must use the same namespace and the same device as those passed to fit(): "
        f"the model was fitted on {_described(own)}, and X is on {_described(other)}. Move X there, or move the model: "
        "'from sklearn.utils._array_api import get_namespace_and_device, move_estimator_to; xp, _, device = "
        "get_namespace_and_device(X); model = move_estimator_to(model, xp, device)'."
    )


def _described(namespace):
    return "NumPy" if namespace is None else f"{namespace.xp.__name__.split('.')[-1]}, device {namespace.device}"
