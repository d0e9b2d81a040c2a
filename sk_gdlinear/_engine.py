"""The compiled kernel, or None where it was never built: then the array engine does the same work, slower."""

import warnings

try:
    from . import _kernel as kernel
except ImportError:
    kernel = None
    warnings.warn(
        "sk_gdlinear's compiled kernel is missing, so fitting is slower; results are the same. "
        "Build it with `pip install .` (or `pip install -e .`), which needs a C compiler.",
        RuntimeWarning,
        stacklevel=2,
    )
