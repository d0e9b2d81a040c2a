"""Predictions of a fitted model, without checks where these would take longer."""

from math import isfinite

import numpy as np
from scipy.sparse import issparse
from sklearn.utils.validation import check_is_fitted, validate_data

from ._compat import has_other_arrays, is_other_array
from ._data.checks import as_csr, check_indices
from ._data.threads import map_blocks, n_numbers, parts, threads

# Rows predicted at once in float64 where the data is float32.
PREDICT_ROWS = 8192


def predictions(model, X):
    """Return ``X @ coef_.T + intercept_``; X may be an array of another library."""
    prediction = _without_checks(model, X)
    return checked_predictions(model, X, model.n_jobs) if prediction is None else prediction


def checked_predictions(model, X, n_jobs):
    """Return the predictions, in ``n_jobs`` threads; model and X are checked first."""
    check_is_fitted(model)
    if has_other_arrays(X) or is_other_array(model.coef_):
        from ._array.fit import predict

        return predict(model, X)
    if issparse(X):
        check_indices(X)
    X = validate_data(model, X, accept_sparse="csr", reset=False, dtype=[np.float64, np.float32])
    if issparse(X):
        X = as_csr(X)
    coef = np.asarray(model.coef_, dtype=np.float64)
    if X.dtype == np.float64:
        return _in_parts(X, coef, model.intercept_, n_jobs)
    # The offsets of float32 features may exceed their spread by so much that sums in float32 would hold few true
    # digits.
    prediction = np.empty((X.shape[0], *coef.shape[:-1]), dtype=X.dtype)
    for start in range(0, X.shape[0], PREDICT_ROWS):
        rows = slice(start, start + PREDICT_ROWS)
        prediction[rows] = X[rows].astype(np.float64) @ coef.T + model.intercept_
    return prediction


def _without_checks(model, X):
    """Return the prediction for an array of float64 that needs no conversion; None if something is to be checked.

    A finite prediction shows that the numbers of X are finite; to check these first would take longer.
    """
    fitted = vars(model)
    if type(X) is not np.ndarray or X.ndim != 2 or X.dtype != np.float64 or "feature_names_in_" in fitted:
        return None
    coef = fitted.get("coef_")
    if type(coef) is not np.ndarray or coef.dtype != np.float64 or not len(X):
        return None
    if not coef.shape[-1] == X.shape[1] == fitted.get("n_features_in_"):
        return None
    try:
        prediction = _in_parts(X, coef, model.intercept_, model.n_jobs)
        return prediction if isfinite(prediction.sum()) else None
    except (RuntimeWarning, FloatingPointError):  # of infinities, where NumPy's warnings are errors
        return None


def _in_parts(X, coef, intercept, n_jobs):
    """Return ``X @ coef.T + intercept``, of a part of the rows in each thread."""
    if n_jobs is None or n_jobs == 1:
        return X @ coef.T + intercept
    with threads(n_jobs, n_numbers(X)):
        return np.concatenate(list(map_blocks(lambda part: X[part] @ coef.T + intercept, parts(X.shape[0]))))
