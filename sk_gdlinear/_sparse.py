"""Sparse rows, centred without storing what centring fills in."""

import numpy as np
from scipy.sparse import bsr_array, coo_array, csc_array, csr_array, issparse

COMPRESSED = {"csr": csr_array, "csc": csc_array, "bsr": bsr_array}


def check_indices(X):
    """Raise if the arrays of sparse rows are no matrix: what scipy does with them, even to convert their type, crashes.

    Raises
    ------
    ValueError
        For instance where an index points outside of the matrix.
    """
    try:
        if X.format == "coo":
            coo_array((X.data, (X.row, X.col)), shape=X.shape)
        elif X.format in COMPRESSED:  # a new matrix of the same arrays, for the check may set those of its own
            COMPRESSED[X.format]((X.data, X.indices, X.indptr), shape=X.shape).check_format(full_check=True)
            if (np.diff(X.indptr) < 0).any():  # scipy does not look where there are no entries
                raise ValueError("index pointer values must form a non-decreasing sequence")
    except ValueError as error:
        raise ValueError(
            f"X is no valid {X.format.upper()} matrix of shape {X.shape}: {error}. Was it assembled by hand? Build it "
            "from (data, (rows, columns)) instead: scipy then sees to its indices."
        ) from error


def as_csr(X):
    """Return CSR rows as a ``csr_array`` whose indices are sorted and unique, sharing memory where they were."""
    rows = csr_array((X.data, X.indices, X.indptr), shape=X.shape)
    if not rows.has_canonical_format:
        rows = rows.copy()
        rows.sum_duplicates()
    return rows


def product(X, order, B):
    """``X[order] @ B`` in float64."""
    return X[order].astype(np.float64) @ B


class CentredRows:
    r"""Rows :math:`Z = S - u a^\top`, with S sparse: products as of an array, in float64.

    A column with an entry in every row is centred entry by entry, in S: its offset may exceed its spread by any factor,
    and products that subtract it afterwards would lose as many digits. In a column with a zero that factor is at most
    the square root of the number of rows.
    """

    __array_ufunc__ = None  # so that ``array @ rows`` comes here

    def __init__(self, scaled, ones, offset):
        self.scaled, self.ones, self.offset, self.shape = scaled, ones, offset, scaled.shape

    @classmethod
    def of(cls, X, shift, inv_scale):
        """Rows ``(X - shift) * inv_scale``."""
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
        return self.scaled @ right - np.multiply.outer(self.ones, self.offset @ right)

    def __rmatmul__(self, left):
        """``left @ Z``."""
        return left @ self.scaled - np.multiply.outer(left @ self.ones, self.offset)

    def with_column_of_ones(self):
        """Rows with a last column of ones."""
        n, d = self.shape
        scaled = csr_array((self.scaled.data, self.scaled.indices, self.scaled.indptr), shape=(n, d + 1))
        return CentredRows(scaled, self.ones, np.append(self.offset, -1.0))

    def times(self, factor):
        """Rows, each times its factor."""
        return CentredRows(self.scaled * factor[:, None], self.ones * factor, self.offset)

    def square_norms(self):
        """Squared norm of each row."""
        along = 2.0 * self.ones * (self.scaled @ self.offset)
        return self.scaled.power(2).sum(axis=1) - along + self.ones**2 * (self.offset @ self.offset)

    def gram(self):
        """Return the smaller of ``Z.T @ Z`` and ``Z @ Z.T``."""
        S, u, a = self.scaled, self.ones, self.offset
        if self.shape[0] < self.shape[1]:
            S, u, a = S.T, a, u
        cross = np.multiply.outer(S.T @ u, a)
        return (S.T @ S).toarray() - cross - cross.T + (u @ u) * np.multiply.outer(a, a)


def block_moments(X, weight):
    """Weighted mean and sum of squared deviations, least and largest value of each column of CSR rows."""
    n, d = X.shape
    total, values, s = weight.sum(), X.data.astype(np.float64), np.repeat(weight, np.diff(X.indptr))
    mean = np.bincount(X.indices, s * values, d) / total
    square = np.bincount(X.indices, s * (values - mean[X.indices]) ** 2, d)
    has_zero = np.bincount(X.indices, minlength=d) < n
    weight_of_zero = np.maximum(total - np.bincount(X.indices, s, d), 0.0) * has_zero
    low, high = np.where(has_zero, 0.0, np.inf), np.where(has_zero, 0.0, -np.inf)
    np.minimum.at(low, X.indices, values)
    np.maximum.at(high, X.indices, values)
    return mean, square + weight_of_zero * mean**2, low, high


__all__ = ["CentredRows", "as_csr", "block_moments", "check_indices", "issparse", "product"]
