r"""Second moments of rows and targets together: what a stream remembers of its rows.

Of rows :math:`v_i = (x_i, y_i)` with weights :math:`s_i` a ``JointMoments`` contains :math:`\sum s_i`, the mean
:math:`\bar v` and :math:`\sum s_i (v_i - \bar v)(v_i - \bar v)^\top`.  They determine the squared error of all these
rows, and its gradient, at any coefficients.  Two sets of rows are merged about their common mean by the pairwise update
of T. Chan, G. Golub and R. LeVeque (The American Statistician 37, 1983), so that offsets cost no digits.

Columns are multiplied by powers of two, which rounds nothing, so that no product leaves the range of float64.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.sparse import csr_array, issparse

from .order import cut_in_order
from .statistics import Moments
from .threads import map_blocks

# Rows whose products are computed at once, and entries of sparse rows.
BLOCK_ROWS = 2048
BLOCK_ENTRIES = 1 << 22

# Share of non-zero entries up to which the products of sparse rows are computed without zeros.
SPARSE_SHARE = 0.05

# Mean square about the mean, relative to that about 0, from which it loses few digits to be computed from the latter.
LEAST_SPREAD = 1e-3

# Scaled values stay below 2 to the first power, and their products below its square.  The factors are powers of 2 whose
# exponents are at most the second, in absolute value.
LARGEST_EXPONENT = 128
LARGEST_FACTOR_EXPONENT = 1020
LARGEST = 2.0**LARGEST_EXPONENT

# Largest absolute value that is summed; ``check_finite`` says of larger ones that their sums are too large.
LARGEST_SUMMED = 1e307

# Exponent of the factor of a column of zeros: so large that the first other number exceeds the largest scaled value and
# determines a new factor.
ZERO_FACTOR_EXPONENT = 512


@dataclass
class JointMoments:
    """Weighted second moments of ``v = factor * (x, y)``, float64.  Nothing is ever changed in place."""

    n_rows: int
    count: float  # sum of weights
    factor: np.ndarray  # (p,), powers of two
    mean: np.ndarray  # (p,)
    products: np.ndarray  # (p, p), weighted sum of (v - mean)(v - mean)^T
    low: np.ndarray  # (p,), least value of each column, not scaled
    high: np.ndarray  # (p,)

    @classmethod
    def empty(cls, n_columns):
        """Return the moments of no rows."""
        zeros = np.zeros(n_columns)
        return cls(0, 0.0, zeros + 1.0, zeros, np.zeros((n_columns, n_columns)), zeros + np.inf, zeros - np.inf)

    @classmethod
    def of(cls, X, Y, weight=None, rows=None):
        """Return the moments of rows, dense or sparse.

        Parameters
        ----------
        X : ndarray or csr_array of shape (n, d)
        Y : ndarray of shape (n, k)
        weight : ndarray of shape (n,), default=None
            Above 0 for each of these rows.
        rows : slice or ndarray, default=None
            Which rows, as a slice or by their numbers in increasing order; None for all.

        Returns
        -------
        moments : JointMoments
        """
        size = BLOCK_ROWS
        if issparse(X) and X.nnz < SPARSE_SHARE * X.shape[0] * X.shape[1]:
            size = max(BLOCK_ROWS, BLOCK_ENTRIES * X.shape[0] // max(X.nnz, 1))

        def of_block(part):
            s = None if weight is None else weight[part].astype(np.float64)
            return _block(X[part], Y[part].astype(np.float64), s)

        return merged(map_blocks(of_block, cut_in_order(slice(0, X.shape[0]) if rows is None else rows, size)))

    def with_row(self, row, weight=1.0):
        """Return the moments with one row more, (p,); None if its numbers are not finite or too large to be scaled."""
        v = row * self.factor
        if not (self.count > 0.0 and v.dot(v) < LARGEST):
            return None
        count = self.count + weight
        delta = v - self.mean
        mean = self.mean + delta * (weight / count)
        products = delta[:, None] * (delta * (self.count * (weight / count)))
        products += self.products
        low, high = np.minimum(self.low, row), np.maximum(self.high, row)
        return JointMoments(self.n_rows + 1, count, self.factor, mean, products, low, high)

    def merged(self, other):
        """Return the moments of the rows of both."""
        if self.count == 0.0 or other.count == 0.0:
            return self if other.count == 0.0 else other
        if not np.array_equal(self.factor, other.factor):
            factor = _common_factor(self, other)
            return self.scaled(factor).merged(other.scaled(factor))
        count = self.count + other.count
        delta = other.mean - self.mean
        products = delta[:, None] * (delta * (self.count * (other.count / count)))
        products += self.products
        products += other.products
        low, high = np.minimum(self.low, other.low), np.maximum(self.high, other.high)
        mean = self.mean + delta * (other.count / count)
        return JointMoments(self.n_rows + other.n_rows, count, self.factor, mean, products, low, high)

    def without(self, part):
        """Return the moments of these rows but for those of ``part``, which are among them, with the same extremes."""
        part = part.scaled(self.factor)
        count = self.count - part.count
        mean = self.mean + (self.mean - part.mean) * (part.count / count)
        delta = part.mean - mean
        products = self.products - part.products
        products -= np.multiply.outer(delta, delta * (count * (part.count / self.count)))
        return replace(self, n_rows=self.n_rows - part.n_rows, count=count, mean=mean, products=products)

    def scaled(self, factor):
        """Return the moments in the variables of another ``factor``."""
        if self.factor is factor:
            return self
        ratio = factor / self.factor
        products = self.products * ratio
        products *= ratio[:, None]
        return replace(self, factor=factor, mean=self.mean * ratio, products=products)

    def columns(self, part):
        """Return the ``Moments`` of some columns, a slice, in the units of the data."""
        inverse = 1.0 / self.factor[part]
        with np.errstate(over="ignore", invalid="ignore"):  # ``Moments.spread`` handles squares out of range
            square_deviation = np.diag(self.products)[part] * inverse * inverse
        return Moments(
            self.count, self.mean[part] * inverse, square_deviation, self.low[part].copy(), self.high[part].copy()
        )

    @classmethod
    def uncorrelated(cls, n_rows, features, targets):
        """Return the moments of columns of which only each one's ``Moments`` are known, as if uncorrelated."""
        mean, square, low, high = (
            np.concatenate([getattr(m, name) for m in (features, targets)])
            for name in ("mean", "square_deviation", "low", "high")
        )
        factor = _factor(low, high)
        rms = np.concatenate([m.spread(centre=True)[0] for m in (features, targets)]) * factor
        rms = np.where(square == 0.0, 0.0, rms)
        return cls(n_rows, targets.count, factor, mean * factor, np.diag(targets.count * rms * rms), low, high)

    def about(self, d, fit_intercept):
        """Return the mean of ``x x^T``, (d, d), and of ``y x^T``, (k, d), about the means, or 0 with no intercept."""
        H, c = self.sums(d, fit_intercept)
        return H / self.count, c.T / self.count

    def sums(self, d, fit_intercept):
        """Return the sums of ``x x^T``, (d, d), and of ``x y^T``, (d, k), about the means, or 0 with no intercept."""
        H, c = self.products[:d, :d], self.products[:d, d:]
        if not fit_intercept:
            H = H + np.multiply.outer(self.mean[:d], self.count * self.mean[:d])
            c = c + np.multiply.outer(self.mean[:d], self.count * self.mean[d:])
        return H, c


def merged(parts):
    """Return the moments of all parts together."""
    total = None
    for part in parts:
        total = part if total is None else total.merged(part)
    return total


def moments_of_block(low, high, n, weight_sum, products):
    """Return the moments of a block of rows, wherever they are.

    Parameters
    ----------
    low, high : ndarray of shape (p,)
        Least and largest value of each column.
    n : int
        Number of rows.
    weight_sum : float
    products : callable
        From the factor of each column, and a mask of those that are constant, to the mean and the products of the
        scaled rows.

    Returns
    -------
    moments : JointMoments
        With a mean that is not finite where numbers are not finite or too large for sums, which the caller sees.
    """
    factor, summed = _factor(low, high), (low > -LARGEST_SUMMED) & (high < LARGEST_SUMMED)
    if not summed.all():
        mean = np.where(summed, 0.0, np.inf)
        return JointMoments(n, weight_sum, factor, mean, np.full((len(low), len(low)), np.nan), low, high)
    return JointMoments(n, weight_sum, factor, *products(factor, low == high), low, high)


def _factor(low, high):
    """Return powers of two by which numbers between ``low`` and ``high`` become at most 1, or the nearest allowed."""
    largest = np.maximum(np.abs(low), np.abs(high))
    exponent = np.clip(-np.frexp(largest)[1], -LARGEST_FACTOR_EXPONENT, LARGEST_FACTOR_EXPONENT)
    return np.ldexp(1.0, np.where(largest > 0.0, exponent, ZERO_FACTOR_EXPONENT))


def _common_factor(one, other):
    """Return a factor for both: that of the first, except in columns where it makes a number of either too large."""
    low, high = np.minimum(one.low, other.low), np.maximum(one.high, other.high)
    with np.errstate(over="ignore"):
        too_large = ~(np.maximum(np.abs(low), np.abs(high)) * one.factor < LARGEST)
    return np.where(too_large, _factor(low, high), one.factor) if too_large.any() else one.factor


def _block(X, Y, s):
    """Return the moments of a block of rows."""
    sparse = issparse(X) and X.nnz < SPARSE_SHARE * X.shape[0] * X.shape[1]
    V = _joined(X, Y, sparse)
    if sparse:
        low, high = (getattr(V, name)(axis=0).toarray().ravel() for name in ("min", "max"))
    else:
        low, high = V.min(axis=0), V.max(axis=0)
    n = V.shape[0]
    count = float(n) if s is None else float(s.sum())

    def products(factor, constant):
        if sparse:
            return _sparse_products(csr_array(V.multiply(factor)), s, count, constant)
        return _dense_products(V * factor, s, count, constant)

    return moments_of_block(low, high, n, count, products)


def _joined(X, Y, sparse):
    """Return features and targets side by side, as sparse rows or as an array, in float64."""
    n, d = X.shape
    if not sparse:
        V = np.empty((n, d + Y.shape[1]))
        V[:, :d] = X.toarray() if issparse(X) else X
        V[:, d:] = Y
        return V
    k = Y.shape[1]
    places = X.indptr[1:].repeat(k)  # the targets come after the entries of their row
    data = np.insert(X.data.astype(np.float64), places, Y.ravel())
    indices = np.insert(X.indices.astype(np.int64), places, np.tile(np.arange(d, d + k), n))
    indptr = X.indptr.astype(np.int64) + k * np.arange(n + 1)
    return csr_array((data, indices, indptr), shape=(n, d + k))


def _dense_products(V, s, count, constant):
    """Return mean and products of scaled dense rows."""
    mean = V.mean(axis=0) if s is None else s @ V / count
    mean[constant] = V[0, constant]  # without rounding
    V -= mean
    if s is not None:
        V *= np.sqrt(s)[:, None]
    return mean, V.T @ V


def _sparse_products(V, s, count, constant):
    """Return mean and products of scaled sparse rows.

    Where the offset of a column is large beside its spread, it has entries in nearly all rows, and deviations from its
    mean take the place of its numbers.  There are few such columns.
    """
    s = np.ones(V.shape[0]) if s is None else s
    total = s @ V
    mean = total / count
    mean[constant] = V[[0], :].toarray()[0, constant]
    rooted = csr_array(V.multiply(np.sqrt(s)[:, None]))
    products = (rooted.T @ rooted).toarray()
    squares = products.diagonal().copy()
    products -= np.multiply.outer(mean, total)
    far = np.flatnonzero((products.diagonal() < LEAST_SPREAD * squares) & ~constant)
    if len(far):
        deviation = V[:, far].toarray() - mean[far]
        weighted = s[:, None] * deviation
        left = weighted.sum(axis=0)  # by the rounding of the means
        products[:, far] = V.T @ weighted - np.multiply.outer(mean, left)
        products[far] = products[:, far].T
        products[np.ix_(far, far)] = deviation.T @ weighted - np.multiply.outer(left, left / count)
        mean[far] += left / count
    products[constant] = 0.0
    products[:, constant] = 0.0
    return mean, products
