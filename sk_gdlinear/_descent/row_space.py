r"""The Newton step where rows are fewer than columns: one linear system of the rows' inner products.

With :math:`K = Z \Lambda^{-1} Z^\top` over rows times the roots of their weights, :math:`N` the sum of the weights and
:math:`\Lambda` the diagonal of the squares' penalty, the minimum of squared errors is

.. math:: w = \Lambda^{-1} Z^\top (K + N I)^{-1} y,

and without a penalty :math:`w = Z^\top (Z Z^\top)^+ y`, of minimum norm (the identity of M. Woodbury; C. Saunders, A.
Gammerman and V. Vovk, "Ridge Regression Learning Algorithm in Dual Variables", ICML 1998).  Columns are scaled so that
their mean square is 1.  Inner products of sparse rows cost what their common entries cost: with :math:`Z = S - u
a^\top` and S sparse, :math:`Z Z^\top = S S^\top - S a u^\top - u a^\top S^\top + a^\top a \, u u^\top`.
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg.lapack import dpocon, dpotrf, dpotrs
from scipy.sparse import csr_array, issparse

from .._data.standardize import StandardizedRows
from .newton import Proposal, ProximalNewton
from .quadratic import CHOLESKY_CONDITION, EIGENVALUE_ROUNDING, RANK, ROUNDING
from .rent_or_buy import has_cheap_entries

# Rows up to which the matrix of inner products is made; columns that are standardized at once, and sparse rows whose
# inner products with all others are made at once.
MOST_ROWS = 4096
BLOCK_COLUMNS = 256
BLOCK_ROWS = 256


@dataclass
class RowSpaceNewton(ProximalNewton):
    """The step to the minimum of squared errors, with a quadratic penalty or none, for few rows."""

    column_squares: np.ndarray | None = None  # (d,), mean squares of the standardized columns
    minimum: tuple | None = None  # W, b and the objective there, in float64

    @property
    def is_bought(self):
        """Whether the minimum is known."""
        return self.minimum is not None

    @np.errstate(over="ignore", invalid="ignore")  # in extreme units squares may not be numbers
    def buy(self, objective):
        """Compute the minimum from the inner products of the rows."""
        rows, standardization = self.sums.rows, objective.standardization
        order = rows.order
        s = np.ones(len(order)) if rows.weight is None else rows.weight[order].astype(np.float64)
        l2 = None if objective.penalty.is_zero else objective.penalty.l2[0].astype(np.float64)
        targets = standardization.targets(rows.Y[order].astype(np.float64))
        b = s @ targets / s.sum() if self.fit_intercept else np.zeros(targets.shape[1])
        root = np.sqrt(s)[:, None]
        y, Z = root * (targets - b), self._sparse_rows(standardization, root)
        inverse = None if l2 is None else self._inverse(l2)
        K = self._inner_products(standardization, root, inverse) if Z is None else sparse_inner_products(Z, inverse)
        alpha = self._solution(K, y, root, 0.0 if l2 is None else s.sum())
        W = self._combination(standardization, root, alpha) if Z is None else alpha.T @ Z
        W *= self._scale() if l2 is None else self._scale() * inverse
        reached = K @ alpha
        value = 0.5 * np.square(y - reached).sum() / s.sum()
        if l2 is not None:
            value += 0.5 * (alpha * reached).sum()
        if self.fit_intercept:
            b = b - W @ objective.baseline.mean_row
        self.minimum = W, b, float(value)

    def proposal(self, objective, point, negligible=0.0):
        """Return the minimum, and how much lower the objective is there."""
        W, b, value = self.minimum
        return Proposal(W, b, max(float(point.value(objective.penalty).sum()) - value, 0.0), True)

    def _scale(self, columns=slice(None)):
        """Return the factors by which standardized columns are multiplied."""
        squares = self.column_squares[columns]
        return 1.0 / np.sqrt(np.where(squares > 0.0, squares, 1.0))

    def _inverse(self, l2):
        """Return the inverse of the penalty's squares on scaled coefficients; 0 for constant columns."""
        squares = l2 * self._scale() ** 2
        return np.divide(1.0, squares, out=np.zeros_like(squares), where=self.column_squares > 0.0)

    def _solution(self, K, y, root, squares):
        """Return the solution of ``(K + squares I) alpha = y``, (n, k).

        It is found by Cholesky's method, or where the matrix is nearly singular by eigenvectors, without those along
        which K counts as 0: they do not change the coefficients.
        """
        A = K.copy()
        if squares > 0.0:
            A.flat[:: len(A) + 1] += squares
        elif self.fit_intercept:  # K is 0 along the roots of the weights, and so is y: no solution depends on this part
            A += (np.trace(K) / (len(K) * np.square(root).sum())) * (root @ root.T)
        norm = np.abs(A).sum(axis=0).max()
        A, failed = dpotrf(A.T, lower=True, clean=False, overwrite_a=True)
        if not failed and dpocon(A, norm, uplo="L")[0] >= CHOLESKY_CONDITION:
            alpha, _ = dpotrs(A, y, lower=True)
            return alpha + dpotrs(A, y - K @ alpha - squares * alpha, lower=True)[0]
        eigenvalues, vectors = np.linalg.eigh(K)
        least = max(RANK, ROUNDING * len(K))
        if squares > 0.0:  # no direction is flat, but for rounding
            least = ROUNDING * max(EIGENVALUE_ROUNDING, np.sqrt(len(K)))
        counts = eigenvalues > least * max(eigenvalues[-1], np.finfo(np.float64).tiny)
        inverses = np.divide(1.0, eigenvalues + squares, out=np.zeros_like(eigenvalues), where=counts)
        return vectors @ (inverses[:, None] * (vectors.T @ y))

    def _inner_products(self, standardization, root, inverse):
        """Return the inner products of scaled rows times the roots of the weights, columns times ``inverse``."""
        K = np.zeros((len(root), len(root)))
        for Z, columns in self._blocks(standardization, root):
            K += Z @ Z.T if inverse is None else (Z * inverse[columns]) @ Z.T
        return K

    def _combination(self, standardization, root, alpha):
        """Return the sums of scaled rows times ``alpha`` and the roots of the weights, (k, d)."""
        W = np.zeros((alpha.shape[1], self.sums.rows.X.shape[1]))
        for Z, columns in self._blocks(standardization, root):
            W[:, columns] = (Z.T @ alpha).T
        return W

    def _sparse_rows(self, standardization, root):
        """Return scaled sparse rows, times the roots of the weights; None where arrays would cost less."""
        rows = self.sums.rows
        if not (issparse(rows.X) and has_cheap_entries(rows.X)):
            return None
        X = rows.X if rows.kept is None else rows.X[rows.kept]
        scaled = StandardizedRows.of(X, standardization.shift, standardization.inv_scale * self._scale())
        return scaled.times(root[:, 0])

    def _blocks(self, standardization, root):
        """Yield scaled columns of the rows, times the roots of the weights, and their numbers."""
        rows = self.sums.rows
        X = rows.X if rows.kept is None else rows.X[rows.kept]
        X = X.tocsc() if issparse(X) else X
        for start in range(0, X.shape[1], BLOCK_COLUMNS):
            columns = slice(start, min(start + BLOCK_COLUMNS, X.shape[1]))
            block = X[:, columns].toarray() if issparse(X) else X[:, columns]
            factor = standardization.inv_scale[columns] * self._scale(columns)
            yield root * ((block - standardization.shift[columns].astype(np.float64)) * factor), columns


def sparse_inner_products(Z, inverse):
    """Return the inner products of ``StandardizedRows``, (n, n), with columns times ``inverse`` if it is given."""
    S, u, a = Z.scaled.tocsr(), Z.row_factor, Z.offset
    weighted = S if inverse is None else csr_array((S.data * inverse[S.indices], S.indices, S.indptr), shape=S.shape)
    a = a if inverse is None else a * inverse
    K, transposed = np.empty((len(Z), len(Z))), S.T.tocsr()
    for start in range(0, len(Z), BLOCK_ROWS):
        K[start : start + BLOCK_ROWS] = (weighted[start : start + BLOCK_ROWS] @ transposed).toarray()
    cross = np.multiply.outer(S @ a, u)
    K -= cross
    K -= cross.T
    K += (Z.offset @ a) * np.multiply.outer(u, u)
    return K
