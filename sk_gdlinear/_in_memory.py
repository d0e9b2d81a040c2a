"""What the regressors on data in memory share: validation of rows, and arrays of other libraries."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import issparse
from sklearn.base import MultiOutputMixin, RegressorMixin, clone
from sklearn.utils.validation import validate_data

from ._compat import has_other_arrays
from ._data.checks import as_csr, as_dtype, as_targets, check_finite, check_indices, check_weights, clear_overflow
from ._data.layout import row_by_row
from ._data.rows import Rows
from ._descent.backend import choose_backend

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from .base import Rows as RowsLike


class InMemoryMixin(MultiOutputMixin, RegressorMixin):
    """Adds to a regressor checks of rows, ``score``, and what scikit-learn needs for arrays of other libraries."""

    def score(self, X: RowsLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Return the coefficient of determination of the predictions, its mean over targets.

        Parameters
        ----------
        X : {array-like, sparse matrix or array} of shape (n_samples, n_features)
            Rows to predict for.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Their target values.
        sample_weight : array-like of shape (n_samples,), default=None
            Weight of each row.

        Returns
        -------
        score : float
            1 less the squared error over that of predicting the mean of y.
        """
        if has_other_arrays(X, y, sample_weight):
            from ._array.checks import follow

            y, sample_weight = follow(X, y, sample_weight)
        return super().score(X, y, sample_weight)

    def __sklearn_tags__(self):
        """Return scikit-learn's tags: sparse X and arrays of other libraries are accepted."""
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.array_api_support = True
        return tags

    def __sklearn_array_api_convert__(self, convert):
        """Return a copy whose fitted arrays are converted, for scikit-learn's ``move_estimator_to``."""
        from ._array.parameters import converted

        return converted(self, clone(self), convert)

    def _validate(self, X, y, sample_weight, reset):
        """Return ``X, Y, sample_weight``, Y 2-D, and whether y is 1-D; it is checked later that X is finite.

        For arrays of other libraries X and Y become ``DeviceArray``s on the device of X; the weights are in NumPy.
        """
        if issparse(y):
            raise TypeError("y must be dense, got a sparse matrix or array. Pass y.toarray().")
        if has_other_arrays(X, y, sample_weight):
            from ._array.checks import check_arrays, follow, in_numpy

            (y,), sample_weight = follow(X, y), in_numpy(sample_weight)
        X, Y, flat = (check_arrays if has_other_arrays(X) else _check_numpy)(self, X, y, reset)
        sample_weight = check_weights(sample_weight, X)
        if sample_weight is not None and not sample_weight.any() and reset:
            raise ValueError("All sample weights are zero: at least one weight must be non-zero.")
        return X, Y, sample_weight, flat

    def _validation_rows(self, X, Y, flat, X_val, y_val, sample_weight_val):
        """Return the validation set, validated, as rows like those of ``X, Y``."""
        V, Y_val, weight, flat_val = self._checked_validation(X_val, y_val, sample_weight_val, X.dtype)
        if flat_val != flat or Y_val.shape[1] != Y.shape[1]:
            raise ValueError(
                f"y_val must have the dimensions and targets of y: got shapes {tuple(np.shape(y_val))} and "
                f"{Y.shape[:1] if flat else Y.shape}."
            )
        return Rows(V, Y_val, weight)

    def _checked_validation(self, X_val, y_val, sample_weight_val, dtype=None, reset=False):
        """Return a validation set as ``_validate`` does, X and Y in ``dtype``; raise if it cannot be used."""
        if X_val is None or y_val is None:
            missing = "X_val" if X_val is None else "y_val"
            raise ValueError(f"A validation set needs both X_val and y_val: {missing} was not given.")
        try:
            V, Y_val, weight, flat_val = self._validate(X_val, y_val, sample_weight_val, reset)
            V, Y_val = (as_dtype(a, dtype or a.dtype) for a in (V, Y_val))
            check_finite(V, None, type(self).__name__)
            check_finite(Y_val, None, type(self).__name__, "y")
            if weight is not None and not weight.any():
                raise ValueError("all sample_weight_val are zero; at least one must not be.")
        except ValueError as error:
            raise ValueError(f"The validation set (X_val, y_val, sample_weight_val) cannot be used: {error}") from error
        return V, Y_val, weight, flat_val

    def _add_rows(self, statistics, X, Y, sample_weight, window=None):
        """Add the rows to the statistics and return them as ``Rows``; raise if X is not finite."""
        rows = statistics.add(choose_backend(X), X, Y, sample_weight, window)
        known = statistics.features is not None and rows.kept is None
        check_finite(X, statistics.features.mean if known else None, type(self).__name__)
        check_finite(Y, statistics.targets.mean, type(self).__name__, "y")
        return rows


def _check_numpy(model, X, y, reset):
    """Return X, the 2-D Y in the dtype of X, and whether y is 1-D."""
    if _needs_no_conversion(X, y) and "feature_names_in_" not in vars(model):
        if reset:
            model.n_features_in_ = X.shape[1]
        if vars(model).get("n_features_in_") == X.shape[1]:
            return X, as_targets(y, X.dtype), y.ndim == 1
    if issparse(X):
        check_indices(X)
    has_floats = _has_floats(X)
    with clear_overflow("X or y"):
        X, y = validate_data(
            model,
            X,
            y,
            accept_sparse="csr",
            reset=reset,
            dtype=[np.float64, np.float32],
            order=None if has_floats else "C",  # other numbers are converted and laid out in one pass, floats below
            multi_output=True,
            y_numeric=True,
            ensure_all_finite=False,
        )
    return as_csr(X) if issparse(X) else row_by_row(X), as_targets(y, X.dtype), y.ndim == 1


def _needs_no_conversion(X, y):
    """Whether ``validate_data`` would return these arrays as they are, for a tenth of the time of a small fit."""
    if not (type(X) is type(y) is np.ndarray and X.dtype == y.dtype and X.dtype in (np.float64, np.float32)):
        return False
    if not (X.ndim == 2 and y.ndim in (1, 2) and len(X) == len(y) and X.size > 0 < y.size and X.flags.c_contiguous):
        return False
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(y.sum()))  # also of rows that are left out or held out


def _has_floats(X):
    """Whether all columns of an array or a frame are floats."""
    dtypes = [X.dtype] if hasattr(X, "dtype") else getattr(X, "dtypes", ())
    return {getattr(dtype, "kind", None) for dtype in dtypes} == {"f"}
