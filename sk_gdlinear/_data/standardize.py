r"""The change of variables in which the descent runs, and rows under it.

The descent works in :math:`z = (x - \mu) / s` and :math:`y' = (y - \mu_y) / \sigma_y`, with

.. math:: s_j = \max(\sigma_j, a_j / \sqrt m), \qquad a_j = \max_i |x_{ij} - \mu_j|,

``m`` the nominal batch size.  The second term bounds every ``|z|`` by ``sqrt(m)``, so that no single row, a rare
category or an outlier, dominates a batch.  This changes the path of the descent, never its objective.
"""

from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array, issparse

from .._kernels import dense

# Rows standardized at once.
BLOCK_ROWS = 256


class Standardization(NamedTuple):
    """The change of variables ``z = (x - shift) * inv_scale``, ``y' = (y - target_shift) * target_inv_scale``."""

    shift: np.ndarray  # (d,)
    inv_scale: np.ndarray  # (d,), 0 for a constant column
    target_shift: np.ndarray  # (k,)
    target_inv_scale: np.ndarray  # (k,)

    @classmethod
    def identity(cls, d, k, dtype):
        """Return the identity, for plain gradient descent."""
        return cls(np.zeros(d, dtype), np.ones(d, dtype), np.zeros(k, dtype), np.ones(k, dtype))

    @classmethod
    def of(cls, features, targets, batch_size, fit_intercept, dtype):
        """Return the change of variables for moments of features and targets; ``batch_size`` None is a full batch."""
        rms, largest = features.spread(centre=fit_intercept)
        if batch_size is not None:
            rms = np.maximum(rms, largest / np.sqrt(batch_size))
        target_rms, _ = targets.spread(centre=fit_intercept)
        zero = not fit_intercept
        maps = (
            np.zeros_like(rms) if zero else features.mean,
            _inverse(rms, dtype, where_zero=0.0),
            np.zeros_like(target_rms) if zero else targets.mean,
            _inverse(target_rms, dtype, where_zero=1.0),
        )
        return cls(*(a.astype(dtype) for a in maps))

    @property
    def unit(self):
        """Units of the targets, (k,) in float64."""
        return 1.0 / self.target_inv_scale.astype(np.float64)

    def keeping(self, before):
        """Return this one, with columns that have no spread standardized as ``before``: they may vary again."""
        idle = (self.inv_scale == 0.0) & (before.inv_scale > 0.0)
        shift = np.where(idle, before.shift, self.shift)
        return self._replace(shift=shift, inv_scale=np.where(idle, before.inv_scale, self.inv_scale))

    def growth(self, before):
        """Ratio of the scale of each column to that of ``before``; 1 if either is constant."""
        known = (self.inv_scale > 0.0) & (before.inv_scale > 0.0)
        ratio = np.ones(len(known))
        with np.errstate(over="ignore"):
            return np.divide(before.inv_scale, self.inv_scale, out=ratio, where=known)

    def rows(self, X):
        """Return standardized rows ``z``, as an array or as ``StandardizedRows``."""
        if issparse(X):
            return StandardizedRows.of(X, self.shift, self.inv_scale)
        return (X - self.shift) * self.inv_scale

    def targets(self, Y):
        """Return standardized targets ``y'``."""
        return (Y - self.target_shift) * self.target_inv_scale

    def to_user(self, W, b):
        """Return coefficients (k, d), of the dtype of ``W``, and intercept (k,), float64, in the units of the data."""
        scale = self.unit[:, None] * self.inv_scale.astype(np.float64, copy=False)
        with np.errstate(over="ignore", invalid="ignore"):  # ``fit`` raises if a coefficient is not finite
            coef = np.multiply(W, scale, out=scale).astype(W.dtype, copy=False)
            # The intercept belongs to the rounded coefficients, so that their rounding is not multiplied by the shift.
            shift = self.shift.astype(np.float64, copy=False)
            return coef, b * self.unit + self.target_shift - coef.astype(np.float64, copy=False) @ shift

    def from_user(self, coef, intercept):
        """Return the inverse of ``to_user``; a constant column's coefficient goes into the intercept."""
        inv_unit = self.target_inv_scale.astype(np.float64)
        inv_scale = self.inv_scale.astype(np.float64)
        scale = np.divide(1.0, inv_scale, out=np.zeros_like(inv_scale), where=inv_scale > 0)
        coef = np.asarray(coef, dtype=np.float64)
        W = coef * scale * inv_unit[:, None]
        b = (intercept - self.target_shift + coef @ self.shift.astype(np.float64)) * inv_unit
        return W.astype(self.shift.dtype, order="C"), b.astype(self.shift.dtype)


def _inverse(scale, dtype, where_zero):
    """Return ``1 / scale``, and ``where_zero`` where that exceeds the range of ``dtype``."""
    smallest = 1.0 / float(np.finfo(dtype).max)
    return np.divide(1.0, scale, out=np.full_like(scale, where_zero), where=scale > smallest)


class StandardizedRows:
    r"""Sparse rows, standardized: :math:`Z = S - u a^\top` with S sparse, with the products of an array.

    For every row u has 1, or the factor by which the row is multiplied, and for every column a has its offset.

    A column with an entry in every row is centred entry by entry, in S: its offset may exceed its spread by any factor,
    and subtracting it after the product would lose as many digits.  In a column with a zero that factor is at most the
    square root of the number of rows.
    """

    __array_ufunc__ = None  # so that ``array @ rows`` calls ``__rmatmul__``

    def __init__(self, scaled, row_factor, offset):
        self.scaled, self.row_factor, self.offset, self.shape = scaled, row_factor, offset, scaled.shape

    @classmethod
    def of(cls, X, shift, inv_scale):
        """Return the rows ``(X - shift) * inv_scale``."""
        n, d = X.shape
        full = np.bincount(X.indices, minlength=d) == n
        inv_scale = inv_scale.astype(np.float64)
        values = (X.data - np.where(full, shift, 0)[X.indices]) * inv_scale[X.indices]
        scaled = csr_array((values, X.indices, X.indptr), shape=X.shape)
        return cls(scaled, np.ones(n), np.where(full, 0.0, shift * inv_scale))

    def __len__(self):
        return self.shape[0]

    def __matmul__(self, right):
        """``Z @ right``."""
        return self.scaled @ right - np.multiply.outer(self.row_factor, self.offset @ right)

    def __rmatmul__(self, left):
        """``left @ Z``."""
        return left @ self.scaled - np.multiply.outer(left @ self.row_factor, self.offset)

    def with_column_of_ones(self):
        """Return the rows with a last column of ones."""
        n, d = self.shape
        scaled = csr_array((self.scaled.data, self.scaled.indices, self.scaled.indptr), shape=(n, d + 1))
        return StandardizedRows(scaled, self.row_factor, np.append(self.offset, -1.0))

    def times(self, factor):
        """Return the rows, each times its factor."""
        return StandardizedRows(self.scaled * factor[:, None], self.row_factor * factor, self.offset)

    def toarray(self):
        """Return the rows as an array."""
        return self.scaled.toarray() - np.multiply.outer(self.row_factor, self.offset)

    def square_norms(self):
        """Return the squared norm of each row."""
        along = 2.0 * self.row_factor * (self.scaled @ self.offset)
        return self.scaled.power(2).sum(axis=1) - along + self.row_factor**2 * (self.offset @ self.offset)

    def gram(self):
        """Return the smaller of ``Z.T @ Z`` and ``Z @ Z.T``."""
        S, u, a = self.scaled, self.row_factor, self.offset
        if self.shape[0] < self.shape[1]:
            S, u, a = S.T, a, u
        cross = np.multiply.outer(S.T @ u, a)
        return (S.T @ S).toarray() - cross - cross.T + (u @ u) * np.multiply.outer(a, a)


def max_row_norm(rows, order, standardization, fit_intercept):
    """Return the largest weighted squared norm of a standardized row of ``order``, the intercept's 1 included.

    This is the reference implementation.
    """
    largest = 0.0
    for start in range(0, len(order), BLOCK_ROWS):
        block = order[start : start + BLOCK_ROWS]
        Z = standardization.rows(rows.X[block])
        norm = Z.square_norms() if issparse(rows.X) else (Z.astype(np.float64) ** 2).sum(axis=1)
        norm = norm + bool(fit_intercept)
        if rows.weight is not None:
            norm = norm * rows.weight[block]
        largest = max(largest, float(norm.max()))
    return largest


def weighted_rows(rows, order, standardization, fit_intercept):
    """Return the standardized rows ``order`` times the roots of their weights, float64, the intercept's 1 included."""
    if issparse(rows.X):
        Z = standardization.rows(rows.X[order])
        Z = Z.with_column_of_ones() if fit_intercept else Z
        return Z if rows.weight is None else Z.times(np.sqrt(rows.weight[order]))
    d = rows.X.shape[1]
    Z = np.empty((len(order), d + bool(fit_intercept)))
    Z[:, d:] = 1.0
    maps = (a.astype(np.float64) for a in (standardization.shift, standardization.inv_scale))
    standardized_rows(rows.X, order, None, *maps, Z[:, :d])
    if rows.weight is not None:
        Z *= np.sqrt(rows.weight[order])[:, None]
    return Z


def _standardized_rows(X, order, columns, shift, inv_scale, Z):
    """Write the dense rows ``order``, of some columns or of all for None, to ``Z``, standardized.

    ``Z``, the ``shift`` and the ``inv_scale`` of these columns are float64, whatever ``X``.  This is the reference
    implementation.
    """
    rows = X[order]
    np.subtract(rows if columns is None else rows[:, columns], shift, out=Z, dtype=np.float64)
    Z *= inv_scale


def standardized_rows(X, order, columns, shift, inv_scale, Z):
    """Write rows to ``Z`` as ``_standardized_rows`` does, compiled if they are in an array of NumPy."""
    is_compiled = dense is not None and isinstance(X, np.ndarray)
    (dense.standardized_rows if is_compiled else _standardized_rows)(X, order, columns, shift, inv_scale, Z)
