r"""Second moments of the rows: the Newton decrement, and spectral preconditioning.

With :math:`H = Z^\top Z / n = V \Lambda V^\top` the gain still to come along eigenvector ``i`` is :math:`(\nabla
v_i)^2 / (2 \lambda_i)`, and an epoch of small steps :math:`\eta` leaves :math:`e^{-2 \eta u \lambda_i}` of it after
``u`` updates: little is gained where columns are nearly collinear and :math:`\lambda_i` is small.  Descent along

.. math:: \nabla W P, \qquad P = (H + \rho I)^{-1},

moves as fast in all directions with :math:`\lambda_i \gg \rho`, but the largest norm of a row may grow,
:math:`\beta_P = \max_i z_i^\top P z_i`, and the automatic step is smaller for it.  So before each epoch the ``rho`` is
chosen that leaves least after it, or :math:`P = I` where no other leaves less in the same time.  The optimum is the
same.  Whether a preconditioner helps is decided on a sample of the rows; then H and :math:`\beta_P` are computed from
all rows, whose norms may exceed those of the sample.  Where the derivative of the loss has bounds, :math:`\Lambda` is
multiplied by the share of rows within them.

Source: J. Yang, Y.-L. Chow, C. Ré and M. W. Mahoney, "Weighted SGD for l_p Regression with Randomized
Preconditioning", Journal of Machine Learning Research 18, 2018, which preconditions by a sketch of the rows.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .._data.standardize import StandardizedRows, weighted_rows
from .step_size import EIGENVALUE_MARGIN, EIGENVALUE_ROWS, GRAM_COLUMNS, LipschitzConstants

# If the mean square of a column exceeds that in a sample by more than this factor, the sample misses the column.
MAX_SAMPLE_RATIO = 4.0

# Second moment along an eigenvector, relative to the largest, that counts as rounding.
FLAT = 1e-10

# Damping to choose from, relative to the largest curvature: from little help to as much as the dtype's digits allow.
DAMPING = np.logspace(-1, -6, 11)
LEAST_DAMPING = {"f": 0.99e-4, "d": 0.99e-6}

# Fixed cost of an epoch, in products of two numbers; and the cost of H from all rows, per number of X, and per number
# and column: products of matrices are faster.
EPOCH_PRODUCTS = 1 << 17
SECOND_MOMENTS_ONCE = 8.0
SECOND_MOMENTS_PRODUCTS = 0.13

# The part of the tolerance that a preconditioner from all rows may leave before it is not worth its epoch.
DECISIVE_SHARE = 0.25


class Preconditioner(NamedTuple):
    """The matrix by which gradients are multiplied, and the constants of the automatic step with it."""

    matrix: np.ndarray  # (d, d), symmetric, of X's dtype
    constants: LipschitzConstants


class Spectrum(NamedTuple):
    """Eigenvectors of the second moments, and the largest row norm under each preconditioner that may be chosen."""

    vectors: np.ndarray  # (d, d), one per column
    curvatures: np.ndarray  # (d,), mean square of the rows along each
    inverses: np.ndarray  # (d, p), eigenvalues of the preconditioners
    norms: np.ndarray  # (p,), beta
    exact: bool  # whether all rows were used

    @classmethod
    def of_sample(cls, rows, standardization, fit_intercept, column_squares):
        """Return the spectrum of a sample of the rows; None for ``GRAM_COLUMNS`` columns or more."""
        if rows.X.shape[1] >= GRAM_COLUMNS:
            return None
        order = rows.sample(EIGENVALUE_ROWS)
        Z = dense_rows(rows, order, standardization)
        H, exact = enlarged(Z.T @ Z / len(Z), column_squares), len(order) == rows.n_rows
        return cls.of(H, standardization.shift.dtype, [(Z, fit_intercept * _weights(rows, order))], exact)

    @classmethod
    def of_all_rows(cls, rows, standardization, fit_intercept):
        """Return the spectrum of all rows, whose norms may exceed those of a sample."""

        def blocks():
            for order in rows.blocks(size=EIGENVALUE_ROWS):
                yield dense_rows(rows, order, standardization), fit_intercept * _weights(rows, order)

        H = sum(Z.T @ Z for Z, _ in blocks()) / rows.n_rows
        return cls.of(H, standardization.shift.dtype, blocks(), exact=True)

    @classmethod
    def of(cls, H, dtype, blocks=(), exact=False):
        """Return the spectrum of second moments, and row norms over blocks ``Z, squared entries for the intercept``."""
        curvatures, vectors = np.linalg.eigh(H)
        curvatures = np.maximum(curvatures, 0.0)
        damping = DAMPING[DAMPING >= LEAST_DAMPING[dtype.char]] * curvatures[-1]
        inverses = 1.0 / np.maximum(np.add.outer(curvatures, damping), np.finfo(float).tiny)
        norms = np.zeros(len(damping))
        for Z, ones in blocks:
            length = (Z @ vectors) ** 2 @ inverses + ones[:, None]
            np.maximum(norms, length.max(axis=0), out=norms)
        return cls(vectors, curvatures, inverses, norms, exact)

    def newton_decrement(self, grad_W, grad_b):
        """Return by how much the objective can still fall, the intercept included.

        It is half the squared Newton decrement of S. Boyd and L. Vandenberghe, "Convex Optimization", 2004, section
        9.5.1.
        """
        return float(self.gains(grad_W).sum() + 0.5 * np.square(grad_b, dtype=np.float64).sum())

    def times_longer(self, n_rows, batch_size):
        """Return the time of an epoch with a preconditioner, its computation included, relative to one without."""
        d = len(self.curvatures)
        usual = EPOCH_PRODUCTS + 2.0 * n_rows * d  # in products of two numbers, two for each of X
        extra = n_rows / batch_size * d * d
        if not self.exact:
            extra += n_rows * d * (SECOND_MOMENTS_ONCE + SECOND_MOMENTS_PRODUCTS * d)
        return 1.0 + extra / usual

    def gains(self, grad_W):
        """Return by how much the objective can still fall along each direction; ``grad_W`` is (k, d)."""
        with np.errstate(over="ignore"):  # the caller checks for infinite gains
            slopes = ((grad_W.astype(np.float64) @ self.vectors) ** 2).sum(axis=0)
        curved = self.curvatures > FLAT * self.curvatures[-1]
        return 0.5 * np.divide(slopes, self.curvatures, out=np.zeros_like(slopes), where=curved)

    def best(self, gains, negligible, progress, without, dtype):
        """Return the preconditioner with the least gain left after an epoch, or None if no preconditioner leaves less.

        ``progress(constants)`` is the sum of an epoch's step sizes for rows with such constants, and ``without`` is the
        sum of those of all epochs without a preconditioner that take the same time.
        """
        # The largest eigenvalue that H of all rows may have through the inverse of that of a sample: the edge of the
        # law of Marchenko and Pastur for normal rows.
        edge = 1.0 if self.exact else (1.0 - np.sqrt(len(self.curvatures) / EIGENVALUE_ROWS)) ** -2
        through, eigenvalue = self.curvatures[:, None] * self.inverses, EIGENVALUE_MARGIN * edge
        constants = [LipschitzConstants(norm, eigenvalue) for norm in self.norms.tolist()]
        sums = np.array([progress(of_p) for of_p in constants])
        left, left_without = gains @ np.exp(-2.0 * sums * through), gains @ np.exp(-2.0 * without * self.curvatures)
        best = int(left.argmin())
        if not left[best] + negligible < left_without:  # None also if one of them is not a number
            return None
        matrix = (self.vectors * self.inverses[:, best]) @ self.vectors.T
        return Preconditioner(matrix.astype(dtype), constants[best])


@dataclass
class SpectralPreconditioning:
    """Chooses a preconditioner before each epoch, from the spectrum of a sample and then of all rows."""

    column_squares: np.ndarray  # (d,), mean squares of the standardized columns
    tol: float | None = None  # relative to the objective of predicting the mean
    spectrum: Spectrum | None = None

    def sample(self, rows, standardization, fit_intercept):
        """Compute the spectrum of a sample of the rows."""
        self.spectrum = Spectrum.of_sample(rows, standardization, fit_intercept, self.column_squares)

    def choose(self, problem, mean_grad_W, progress, batch_size, curved_share, tolerated):
        """Return the preconditioner with the least gain left after the next epoch, or None if none leaves enough less.

        The spectrum of all rows is computed only if an epoch without it leaves more than ``tolerated``.
        ``progress(constants)`` is the sum of the step sizes of an epoch, or of the usual one for None.
        """
        rows = problem.rows

        def best():
            gains = self.spectrum.gains(mean_grad_W) / curved_share
            negligible = DECISIVE_SHARE * tolerated if self.spectrum.exact else tolerated
            without = progress(None) * self.spectrum.times_longer(rows.n_rows, batch_size)
            return self.spectrum.best(gains, negligible, progress, without, rows.X.dtype)

        chosen = best()
        if chosen is not None and not self.spectrum.exact:
            self.spectrum = Spectrum.of_all_rows(rows, problem.standardization, problem.fit_intercept)
            chosen = best()
        return chosen


def dense_rows(rows, order, standardization):
    """Return the standardized rows ``order`` times the roots of their weights, as a float64 array."""
    Z = weighted_rows(rows, order, standardization, fit_intercept=False)
    return Z.toarray() if isinstance(Z, StandardizedRows) else Z


def _weights(rows, order):
    """Return the weights of the rows ``order``, over their mean."""
    return np.ones(len(order)) if rows.weight is None else rows.weight[order].astype(np.float64)


def enlarged(H, column_squares):
    """Return second moments ``H`` of a sample, each column enlarged to its mean square over all rows if that is more.

    Rows and columns of ``H`` are multiplied by a factor: adding the difference to the diagonal would hide the flat
    directions of nearly collinear columns.  It is added only for columns of which the sample misses nearly all non-zero
    entries, such as rare categories.
    """
    sampled = np.diag(H).copy()
    ratio = np.divide(column_squares, sampled, out=np.ones_like(sampled), where=sampled > 0.0)
    enlarge = np.sqrt(np.where(ratio <= MAX_SAMPLE_RATIO, np.maximum(ratio, 1.0), 1.0))
    H = H * np.multiply.outer(enlarge, enlarge)
    np.fill_diagonal(H, np.maximum(sampled, column_squares))
    return H
