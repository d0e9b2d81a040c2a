"""The compiled kernels, or None where they were never built: then the array engine does the same work, slower."""

import warnings

from scipy.sparse import issparse

try:
    from . import _kernel as kernel  # type: ignore[attr-defined] # compiled
    from . import _sparse_kernel as sparse_kernel  # type: ignore[attr-defined] # compiled
except ImportError:
    kernel = sparse_kernel = None
    warnings.warn(
        "sk_gdlinear's compiled kernel is missing, so fitting is slower; results are the same. "
        "Build it with `pip install .` (or `pip install -e .`), which needs a C compiler.",
        RuntimeWarning,
        stacklevel=2,
    )


def kernel_for(X):
    """Return the compiled kernel for rows of X's kind, or None."""
    return sparse_kernel if issparse(X) else kernel
