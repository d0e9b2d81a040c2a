"""Everything imported from scikit-learn that its documentation does not promise, each with its reason."""

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


__all__ = [
    "CallbackSupportMixin",
    "HasMethods",
    "Interval",
    "StrOptions",
    "callback_context",
    "has_callbacks",
    "validate_parameter_constraints",
    "with_callbacks",
]
