r"""The Newton step where rows are fewer than columns: one linear system of the rows' inner products.

With :math:`K = Z \Lambda^{-1} Z^\top` over rows times the roots of their weights, :math:`N` the sum of the weights and
:math:`\Lambda` the diagonal of the squares' penalty, the minimum of squared errors is

.. math:: w = \Lambda^{-1} Z^\top (K + N I)^{-1} y,

and without a penalty :math:`w = Z^\top (Z Z^\top)^+ y`, of minimum norm (the identity of M. Woodbury; C. Saunders, A.
Gammerman and V. Vovk, "Ridge Regression Learning Algorithm in Dual Variables", ICML 1998).  Columns are scaled so that
their mean square is 1.
"""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import issparse

from .newton import Proposal, ProximalNewton
from .quadratic import RANK, ROUNDING

# Rows up to which the matrix of inner products is made, and columns that are standardized at once.
MOST_ROWS = 4096
BLOCK_COLUMNS = 256


@dataclass
class RowSpaceNewton(ProximalNewton):
    """The step to the minimum of squared errors, with a quadratic penalty or none, for few rows."""

    column_squares: np.ndarray | None = None  # (d,), mean squares of the standardized columns
    minimum: tuple | None = None  # W, b and the objective there, in float64

    @property
    def is_bought(self):
        """Whether the minimum is known."""
        return self.minimum is not None

    def buy(self, objective):
        """Compute the minimum from the inner products of the rows."""
        rows, standardization = self.sums.rows, objective.standardization
        order = rows.order
        s = np.ones(len(order)) if rows.weight is None else rows.weight[order].astype(np.float64)
        l2 = None if objective.penalty.is_zero else objective.penalty.l2[0].astype(np.float64)
        targets = standardization.targets(rows.Y[order].astype(np.float64))
        b = s @ targets / s.sum() if self.fit_intercept else np.zeros(targets.shape[1])
        root = np.sqrt(s)[:, None]
        y, K = root * (targets - b), np.zeros((len(order), len(order)))
        for Z, columns in self._blocks(standardization, root):
            K += Z @ Z.T if l2 is None else (Z * self._inverse(l2, columns)) @ Z.T
        eigenvalues, vectors = np.linalg.eigh(K)
        if l2 is None:
            counts = eigenvalues > max(RANK, ROUNDING * len(K)) * max(eigenvalues[-1], np.finfo(np.float64).tiny)
            inverses = np.divide(1.0, eigenvalues, out=np.zeros_like(eigenvalues), where=counts)
        else:
            inverses = 1.0 / (np.maximum(eigenvalues, 0.0) + s.sum())
        alpha = vectors @ (inverses[:, None] * (vectors.T @ y))
        W = np.zeros((y.shape[1], rows.X.shape[1]))
        for Z, columns in self._blocks(standardization, root):
            part = Z.T @ alpha
            W[:, columns] = ((part if l2 is None else part * self._inverse(l2, columns)[:, None]).T) * self._scale(
                columns
            )
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

    def _scale(self, columns):
        """Return the factors by which standardized columns are multiplied."""
        squares = self.column_squares[columns]
        return 1.0 / np.sqrt(np.where(squares > 0.0, squares, 1.0))

    def _inverse(self, l2, columns):
        """Return the inverse of the penalty's squares on scaled coefficients; 0 for constant columns."""
        squares = l2[columns] * self._scale(columns) ** 2
        return np.divide(1.0, squares, out=np.zeros_like(squares), where=self.column_squares[columns] > 0.0)

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
