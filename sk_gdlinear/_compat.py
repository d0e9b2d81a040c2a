"""Everything imported from scikit-learn that its documentation does not promise, each with its reason."""

from inspect import Parameter, signature

import numpy as np
from sklearn import get_config

# There is no public function for this, and scikit-learn's own wrappers are what its array API checks compare with.
from sklearn.utils._array_api import get_namespace_and_device

# Parameter validation with scikit-learn's own messages.  Underscored, yet unchanged since 1.3 and used by many third
# parties.
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions, validate_parameter_constraints

# Callbacks are new in 1.9, and experimental there.
try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:

    class CallbackSupportMixin:  # type: ignore[no-redef] # in the place of the one that is missing
        """Without callbacks: this scikit-learn has none."""

    def with_callbacks(method):
        """Return the method as it is."""
        return method


def has_callbacks(estimator):
    """Whether callbacks are set, also by a meta-estimator: scikit-learn has no public function for this."""
    return bool(getattr(estimator, "_skl_callbacks", None))


def callback_context(estimator, task_name, max_subtasks):
    """Open the task of a whole fit: the name is private, but the API reference tells third parties to call it."""
    return estimator._init_callback_context(task_name=task_name, max_subtasks=max_subtasks)


def is_other_array(values):
    """Whether these are an array of another library, such as a tensor, and neither NumPy's nor a table or a column."""
    if isinstance(values, np.ndarray | np.generic) or hasattr(values, "to_pandas"):
        return False
    return hasattr(values, "__dlpack__") or hasattr(values, "__array_namespace__")


def has_other_arrays(*arrays):
    """Whether ``array_api_dispatch`` is on, and an array of another library than NumPy is among these."""
    return get_config()["array_api_dispatch"] and any(map(is_other_array, arrays))


def namespace_and_device(X):
    """Return the array API namespace and the device of an array."""
    xp, _, device = get_namespace_and_device(X)
    return xp, device


def accepts_weights(scorer):
    """Whether a scorer takes ``sample_weight``: with one of make_scorer only the function inside can tell."""
    function = getattr(scorer, "_score_func", scorer)
    try:
        parameters = signature(function).parameters
    except (TypeError, ValueError):  # written in C
        return False
    return "sample_weight" in parameters or any(p.kind is Parameter.VAR_KEYWORD for p in parameters.values())


__all__ = [
    "CallbackSupportMixin",
    "HasMethods",
    "Interval",
    "StrOptions",
    "accepts_weights",
    "callback_context",
    "has_callbacks",
    "has_other_arrays",
    "is_other_array",
    "namespace_and_device",
    "validate_parameter_constraints",
    "with_callbacks",
]
