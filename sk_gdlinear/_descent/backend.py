"""The backend, chosen once for a fit: seven functions over rows, compiled or from the reference implementation."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal, NamedTuple

from scipy.sparse import issparse

from .._data.joint_moments import JointMoments
from .._data.standardize import max_row_norm
from .._data.statistics import add_moments
from .._kernels import dense, sparse
from .._objective.losses import ClippedLine
from .._objective.penalties import BoxedElasticNet
from . import epoch as reference

NAMES = ("auto", "reference")


class Backend(NamedTuple):
    """The functions that pass over rows.  Those of a descent take the records of ``epoch.epoch``."""

    epoch: Callable  # (problem, plan, iterate, reduction) -> sum of losses times rows
    gradient: Callable  # (problem, order, W, b) -> grad_W, grad_b, loss, summed over rows; fills ``errors`` in NumPy
    derivatives: Callable  # (problem, order, W, b, table) -> the same, and the table filled
    errors: Callable  # (problem, order, W, b) -> standardized errors
    moments: Callable  # (X, order, weight, moments) -> new sum of weights, the moments updated
    max_row_norm: Callable  # (rows, order, standardization, fit_intercept) -> largest squared norm
    joint_moments: Callable = JointMoments.of  # (X, Y, weight, rows) -> their JointMoments


REFERENCE = Backend(
    reference.epoch, reference.gradient, reference.derivatives, reference.errors, add_moments, max_row_norm
)


def _moments(X, order, weight, moments):
    """Add dense or sparse rows to the moments."""
    return (sparse if issparse(X) else dense).moments(X, order, weight, moments)


DENSE = SPARSE = REFERENCE
if dense is not None:
    DENSE = Backend(dense.epoch, dense.gradient, dense.derivatives, dense.errors, _moments, dense.max_row_norm)
    SPARSE = Backend(sparse.epoch, sparse.gradient, sparse.derivatives, sparse.errors, _moments, sparse.max_row_norm)

_DEFAULT = os.environ.get("SK_GDLINEAR_BACKEND", "auto")
_chosen: ContextVar[str] = ContextVar("sk_gdlinear_backend", default=_DEFAULT)


@contextmanager
def backend(name: Literal["auto", "reference"]) -> Iterator[None]:
    """Choose the implementation for all fits of this thread within a ``with`` block.

    The environment variable ``SK_GDLINEAR_BACKEND`` chooses it for a whole process.

    Parameters
    ----------
    name : {"auto", "reference"}
        "auto" uses the compiled kernels wherever it can; "reference" uses the implementation in NumPy, in which a
        debugger can follow a fit line by line of the derivation. Results are the same up to rounding. Other parts
        of Newton steps stay compiled: coordinate descent on a matrix, loops over errors, and the rows that are
        standardized for their second moments.

    Yields
    ------
    None
        Nothing: the choice is valid until the block ends.

    Raises
    ------
    ValueError
        If the name is not one of these.

    See Also
    --------
    GDLinearRegressor : The estimator whose implementation is chosen.

    Examples
    --------
    >>> import sk_gdlinear
    >>> with sk_gdlinear.backend("reference"):
    ...     model = sk_gdlinear.GDLinearRegressor(random_state=0).fit([[0.0], [1.0]], [1.0, 3.0])
    >>> model.coef_.round(3)
    array([2.])
    """
    token = _chosen.set(_check_name(name))
    try:
        yield
    finally:
        _chosen.reset(token)


def choose_backend(X, loss_is_compiled=True):
    """Return the backend for X; user-defined losses and penalties need the reference implementation.

    Rows on a device, which are neither an array nor sparse, have a ``backend`` of their own.
    """
    if hasattr(X, "backend"):
        return X.backend
    if _check_name(_chosen.get()) == "reference" or not loss_is_compiled:
        return REFERENCE
    return SPARSE if issparse(X) else DENSE


def can_compile(objective):
    """Whether the kernels can compute the loss and the penalty of an objective."""
    return isinstance(objective.loss, ClippedLine) and isinstance(objective.penalty, BoxedElasticNet)


def _check_name(name):
    if name not in NAMES:
        raise ValueError(f"The backend must be one of {NAMES}, got {name!r}.")
    return name
