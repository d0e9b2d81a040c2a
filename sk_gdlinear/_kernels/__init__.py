"""The compiled kernels for dense and sparse rows and for quadratic functions, or None if they were not built."""

import warnings

try:
    from . import dense, quadratic, sparse  # type: ignore[attr-defined] # compiled
except ImportError:
    dense = quadratic = sparse = None
    warnings.warn(
        "sk_gdlinear's compiled kernels are missing, so fitting is slower; results are the same. "
        "Build them with `pip install .` (or `pip install -e .`), which needs a C compiler.",
        RuntimeWarning,
        stacklevel=2,
    )

__all__ = ["dense", "quadratic", "sparse"]
