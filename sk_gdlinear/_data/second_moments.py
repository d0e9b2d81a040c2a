r"""Second moments of rows about their mean: the curvature of a squared error, and what it leaves to gain.

Of rows :math:`z_i` with weights :math:`s_i` a ``SecondMoments`` contains :math:`\sum s_i`, the mean :math:`\bar z`, and
:math:`\sum s_i (z_i - \bar z)(z_i - \bar z)^\top`, in float64.  Those of two sets of rows are merged by the pairwise
update of T. Chan, G. Golub and R. LeVeque (The American Statistician 37, 1983), about their common mean, so that
offsets cost no digits.
"""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array, issparse

from .standardize import standardized_rows
from .threads import map_blocks, parts, shared_size

# Rows whose products are computed at once: at least the first number, and of few columns more, up to the second, while
# their numbers are at most the third; and entries of sparse rows.
BLOCK_ROWS = 2048
MOST_BLOCK_ROWS = 8192
BLOCK_NUMBERS = 1 << 17
BLOCK_ENTRIES = 1 << 22


@dataclass
class SecondMoments:
    """Weighted second moments of p columns about their mean, float64: the products of the last q columns with all p.

    Usually q is p; where some columns are added to others, only the products of the new ones are computed.
    """

    count: float  # sum of weights
    mean: np.ndarray  # (p,)
    products: np.ndarray  # (q, p), weighted sum of (z - mean)(z - mean)^T

    @classmethod
    def empty(cls, n_columns, n_last=None):
        """Return the moments of no rows, of the last ``n_last`` columns with all."""
        return cls(0.0, np.zeros(n_columns), np.zeros((n_columns if n_last is None else n_last, n_columns)))

    @property
    def last(self):
        """The columns whose products with all are known."""
        return slice(len(self.mean) - len(self.products), None)

    def copy(self):
        """Return an independent copy."""
        return SecondMoments(self.count, self.mean.copy(), self.products.copy())

    def add_sums(self, count, total, products):
        """Add rows, in place, by their weighted sums of 1, ``z`` and ``z z^T``.

        ``products`` is overwritten.  It is about 0, so offsets should be moderate beside the spread of the rows.
        """
        if not count > 0.0:
            return
        mean = total / count
        products -= np.multiply.outer(total[self.last], mean)
        self.merge(SecondMoments(count, mean, products))

    def add(self, Z, weight=None):
        """Add dense rows ``Z``, in place."""
        if weight is None:
            self.add_sums(float(len(Z)), np.ones(len(Z)) @ Z, Z[:, self.last].T @ Z)
        else:
            rooted = Z * np.sqrt(weight)[:, None]
            self.add_sums(float(weight.sum()), weight @ Z, rooted[:, self.last].T @ rooted)

    def merge(self, other):
        """Add the rows of ``other``, in place."""
        if other.count == 0.0:
            return
        if self.count == 0.0:
            self.count, self.mean = other.count, other.mean.copy()
            self.products[...] = other.products
            return
        count = self.count + other.count
        delta = other.mean - self.mean
        self.products += other.products
        self.products += np.multiply.outer(delta[self.last], delta * (self.count * other.count / count))
        self.mean = self.mean + delta * (other.count / count)
        self.count = count

    def __add__(self, other):
        """Return the moments of the rows of both."""
        merged = self.copy()
        merged.merge(other)
        return merged

    def without(self, part):
        """Return the moments of these rows but for those of ``part``, which are among them."""
        if part.count == 0.0:
            return self
        count = self.count - part.count
        mean = self.mean + (self.mean - part.mean) * (part.count / count)
        delta = part.mean - mean
        products = self.products - part.products
        products -= np.multiply.outer(delta[self.last], delta * (count * part.count / self.count))
        return SecondMoments(count, mean, products)

    def with_columns(self, more):
        """Return the moments of these columns and others of the same rows.

        The others come last; ``more`` has their products with all columns.
        """
        known, last = len(self.mean), more.last
        products = np.empty((len(more.mean),) * 2)
        products[:known, :known] = self.products
        products[last] = more.products
        products[:known, last] = more.products[:, :known].T
        return SecondMoments(more.count, more.mean, products)

    def times(self, factor):
        """Return the moments of rows whose weights are ``factor`` times these."""
        return SecondMoments(factor * self.count, self.mean.copy(), factor * self.products)

    def about(self, centre):
        """Return the mean of ``z z^T``, (p, p), about the mean, or about 0 if not ``centre``."""
        second = self.products / self.count
        if not centre:
            second += np.multiply.outer(self.mean, self.mean)
        return second

    def with_ones(self):
        """Return the mean of ``z z^T``, (p + 1, p + 1), for rows with a last column of ones."""
        p = len(self.mean)
        second = np.empty((p + 1, p + 1))
        second[:p, :p], second[p, :p], second[:p, p], second[p, p] = self.about(False), self.mean, self.mean, 1.0
        return second


def second_moments(rows, standardization, order=None, columns=None, n_last=None):
    """Return the second moments of the standardized rows; rows of weight 0 are left out.

    Parameters
    ----------
    rows : Rows
    standardization : Standardization
    order : ndarray, default=None
        Row numbers, those of ``rows`` by default.
    columns : ndarray, default=None
        Column numbers, all by default.
    n_last : int, default=None
        Number of columns, the last ones, whose products with all columns are computed; all by default.
    """
    shift, inv_scale = standardization.shift, standardization.inv_scale
    if columns is not None:
        shift, inv_scale = shift[columns], inv_scale[columns]
        standardization = standardization._replace(shift=shift, inv_scale=inv_scale)
    weight, maps = rows.weight, (shift.astype(np.float64), inv_scale.astype(np.float64))

    def of_blocks(blocks):
        moments, memory = SecondMoments.empty(len(shift), n_last), np.empty((0, len(shift)))
        for block in blocks:
            s = None if weight is None else weight[block].astype(np.float64)
            if s is not None and not s.all():
                block, s = _numbers(block)[s != 0.0], s[s != 0.0]
            if issparse(rows.X):
                X = rows.X[block] if columns is None else rows.X[block][:, columns]
                moments.add_sums(*_sparse_sums(X, standardization, s, moments.last))
                continue
            order = _numbers(block)
            if len(memory) < len(order):  # the same memory for all blocks
                memory = np.empty((len(order), len(shift)))
            standardized_rows(rows.X, order, columns, *maps, memory[: len(order)])
            moments.add(memory[: len(order)], s)
        return moments

    blocks = _blocks(rows, order)
    moments = SecondMoments.empty(len(shift), n_last)
    for part in map_blocks(of_blocks, [blocks[part] for part in parts(len(blocks))]):
        moments.merge(part)
    return moments


def _blocks(rows, order):
    """Return blocks of the rows: their numbers, or slices where they lie one after the other."""
    size = max(BLOCK_ROWS, min(MOST_BLOCK_ROWS, BLOCK_NUMBERS // max(rows.X.shape[1], 1)))
    if issparse(rows.X):
        size = max(size, BLOCK_ENTRIES * rows.X.shape[0] // max(rows.X.nnz, 1))
    n = rows.n_rows if order is None else len(order)
    size = shared_size(n, size)
    if order is None and rows.kept is None:
        return [slice(start, min(start + size, n)) for start in range(0, n, size)]
    order = rows.order if order is None else order
    return [order[start : start + size] for start in range(0, n, size)]


def _numbers(block):
    return np.arange(block.start, block.stop, dtype=np.intp) if isinstance(block, slice) else block


def _sparse_sums(X, standardization, weight, last):
    """Return the weighted sums of 1, ``z`` and ``z z^T`` of sparse rows, the last for some columns with all."""
    Z = standardization.rows(X)
    s = np.ones(len(Z)) if weight is None else weight
    rooted = Z.times(np.sqrt(s))
    S, u, a = csr_array(rooted.scaled), rooted.row_factor, rooted.offset
    T, along = S[:, last], np.atleast_1d(S.T @ u)  # for one column SciPy returns a number
    products = (T.T @ S).toarray() - np.multiply.outer(along[last], a) - np.multiply.outer(a[last], along)
    products += (u @ u) * np.multiply.outer(a[last], a)
    return float(s.sum()), s @ Z, products
