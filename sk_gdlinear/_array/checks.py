"""Validation of arrays of other libraries: everything follows X to its namespace and device."""

import numpy as np
from sklearn.utils.validation import validate_data

from .._compat import has_other_arrays, is_other_array, namespace_and_device
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


def check_arrays(model, X, y, reset):
    """Return X and Y, in the dtype of X and 2-D, as ``DeviceArray``s where X is, and whether y is 1-D.

    That X is finite is checked later.
    """
    namespace = namespace_of(X)
    y = None if y is None else readable(y, "y")
    X, y = check_X(model, namespace, X, y=y, reset=reset, multi_output=True, y_numeric=True, ensure_all_finite=False)
    xp, X = namespace.xp, DeviceArray(X, namespace)
    Y = xp.reshape(xp.astype(y, X.array.dtype, copy=False), (X.shape[0], -1))
    if Y.dtype != y.dtype and bool(xp.any(xp.isinf(Y))):
        raise ValueError(f"y holds values too large for {X.dtype}, the dtype of X. Pass X as float64, or scale y down.")
    return X, DeviceArray(Y, namespace), y.ndim == 1


def follow(X, *others):
    """Return y and the like in the namespace and on the device of X."""
    namespace = namespace_of(X)
    if namespace is None:
        return tuple(map(in_numpy, others))
    return tuple(a if a is None else namespace.moved(a if hasattr(a, "shape") else np.asarray(a)) for a in others)


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
