"""Everything taken from scikit-learn that its documentation does not promise, each with its reason."""

# Parameter validation with scikit-learn's own messages.  Underscored, yet unchanged since 1.3 and used by many third
# parties.
from sklearn.utils._param_validation import Interval, StrOptions, validate_parameter_constraints

__all__ = ["Interval", "StrOptions", "validate_parameter_constraints"]
