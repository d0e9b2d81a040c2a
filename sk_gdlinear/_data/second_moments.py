r"""Second moments of rows about their mean: the curvature of a squared error, and what it leaves to gain.

Of rows :math:`z_i` with weights :math:`s_i` a ``SecondMoments`` contains :math:`\sum s_i`, the mean :math:`\bar z`, and
:math:`\sum s_i (z_i - \bar z)(z_i - \bar z)^\top`, in float64.  Those of two sets of rows are merged by the pairwise
update of T. Chan, G. Golub and R. LeVeque (The American Statistician 37, 1983), about their common mean, so that
offsets cost no digits.
"""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import issparse

from .threads import map_blocks, parts

# Rows whose products are computed at once, and entries of sparse rows.
BLOCK_ROWS = 2048
BLOCK_ENTRIES = 1 << 22


@dataclass
class SecondMoments:
    """Weighted second moments of the columns about their mean, float64."""

    count: float  # sum of weights
    mean: np.ndarray  # (p,)
    products: np.ndarray  # (p, p), weighted sum of (z - mean)(z - mean)^T

    @classmethod
    def empty(cls, n_columns):
        """Return the moments of no rows."""
        return cls(0.0, np.zeros(n_columns), np.zeros((n_columns, n_columns)))

    def copy(self):
        """Return an independent copy."""
        return SecondMoments(self.count, self.mean.copy(), self.products.copy())

    def add_sums(self, count, total, products):
        """Add rows, in place, by their weighted sums of 1, ``z`` and ``z z^T``.

        The last is about 0 and is changed: let offsets be moderate beside the spread of the rows.
        """
        if not count > 0.0:
            return
        mean = total / count
        products -= np.multiply.outer(total, mean)
        self.merge(SecondMoments(count, mean, products))

    def add(self, Z, weight=None):
        """Add dense rows ``Z``, in place."""
        if weight is None:
            self.add_sums(float(len(Z)), Z.sum(axis=0), Z.T @ Z)
        else:
            rooted = Z * np.sqrt(weight)[:, None]
            self.add_sums(float(weight.sum()), weight @ Z, rooted.T @ rooted)

    def merge(self, other):
        """Add the rows of ``other``, in place."""
        if other.count == 0.0:
            return
        count = self.count + other.count
        delta = other.mean - self.mean
        self.products += other.products
        self.products += np.multiply.outer(delta, delta * (self.count * other.count / count))
        self.mean = self.mean + delta * (other.count / count)
        self.count = count

    def __add__(self, other):
        """Return the moments of the rows of both."""
        merged = self.copy()
        merged.merge(other)
        return merged

    def times(self, factor):
        """Return the moments of rows whose weights are ``factor`` times these."""
        return SecondMoments(factor * self.count, self.mean.copy(), factor * self.products)

    def about(self, centre):
        """Return the mean of ``z z^T``, (p, p), about the mean, or about 0 if not ``centre``."""
        second = self.products / self.count
        if not centre:
            second += np.multiply.outer(self.mean, self.mean)
        return second


def second_moments(rows, standardization, weight=None, order=None, columns=None):
    """Return the second moments of the standardized rows.

    Parameters
    ----------
    rows : Rows
    standardization : Standardization
    weight : ndarray of shape (n,), default=None
        Weights of the rows, those of ``rows`` by default; rows of weight 0 are left out.
    order : ndarray, default=None
        Row numbers, those of ``rows`` by default.
    columns : ndarray, default=None
        Column numbers, all by default.
    """
    shift, inv_scale = standardization.shift, standardization.inv_scale
    if columns is not None:
        shift, inv_scale = shift[columns], inv_scale[columns]
        standardization = standardization._replace(shift=shift, inv_scale=inv_scale)
    weight = rows.weight if weight is None else weight

    def of_blocks(blocks):
        moments = SecondMoments.empty(len(shift))
        for block in blocks:
            s = None if weight is None else weight[block].astype(np.float64)
            if s is not None and not s.all():
                block, s = _places(block)[s != 0.0], s[s != 0.0]
            X = rows.X[block] if columns is None else rows.X[block][:, columns]
            if issparse(X):
                moments.add_sums(*_sparse_sums(X, standardization, s))
            else:
                moments.add((X - shift.astype(np.float64)) * inv_scale, s)
        return moments

    blocks = list(_blocks(rows, order))
    moments = SecondMoments.empty(len(shift))
    for part in map_blocks(of_blocks, [blocks[part] for part in parts(len(blocks))]):
        moments.merge(part)
    return moments


def _blocks(rows, order):
    """Yield the rows in blocks, as slices where they lie one after the other."""
    size = BLOCK_ROWS
    if issparse(rows.X):
        size = max(size, BLOCK_ENTRIES * rows.X.shape[0] // max(rows.X.nnz, 1))
    if order is None and rows.kept is None:
        yield from (slice(start, min(start + size, rows.n_rows)) for start in range(0, rows.n_rows, size))
        return
    order = rows.order if order is None else order
    yield from (order[start : start + size] for start in range(0, len(order), size))


def _places(block):
    return np.arange(block.start, block.stop) if isinstance(block, slice) else block


def _sparse_sums(X, standardization, weight):
    """Return the weighted sums of 1, ``z`` and ``z z^T`` of sparse rows."""
    Z = standardization.rows(X)
    s = np.ones(len(Z)) if weight is None else weight
    rooted = Z.times(np.sqrt(s))
    S, u, a = rooted.scaled, rooted.ones, rooted.offset
    cross = np.multiply.outer(S.T @ u, a)
    products = (S.T @ S).toarray() - cross - cross.T + (u @ u) * np.multiply.outer(a, a)
    return float(s.sum()), s @ Z, products
