"""The compiled kernels for rows, their errors, and quadratic functions, or None if they were not built."""

import warnings

try:
    from . import dense, quadratic, row_loops, sparse  # type: ignore[attr-defined] # compiled
except ImportError:
    dense = quadratic = row_loops = sparse = None
    warnings.warn(
        "sk_gdlinear's compiled kernels are missing, so fitting is slower; results are the same. "
        "Build them with `pip install .` (or `pip install -e .`), which needs a C compiler.",
        RuntimeWarning,
        stacklevel=2,
    )

__all__ = ["dense", "quadratic", "row_loops", "sparse"]
