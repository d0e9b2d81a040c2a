r"""The directions in which a quadratic objective curves: what is left to gain along each, and descent as fast in all.

With :math:`H = Z^\top Z / n = V \Lambda V^\top` the gain still to come along eigenvector ``i`` is :math:`(\nabla
v_i)^2 / (2 \lambda_i)`, and an epoch of small steps :math:`\eta` leaves :math:`e^{-2 \eta u \lambda_i}` of it after
``u`` updates: little is done where columns are nearly collinear and :math:`\lambda_i` is small.  Descent along

.. math:: \nabla W P, \qquad P = (H + \rho I)^{-1},

moves as fast in all directions with :math:`\lambda_i \gg \rho`, but a row may weigh more, :math:`\beta_P = \max_i
z_i^\top P z_i`, and the automatic step is smaller for it.  So before each epoch the ``rho`` is chosen that leaves least
after it, or :math:`P = I` where no other leaves less in the same time.  The optimum is the same.  A sample of the rows
tells whether it is worth it; then H and :math:`\beta_P` are taken from all rows, as those outside the sample may be
long where others are short.  Where the derivative of the loss has bounds, :math:`\Lambda` is to be taken times the
share of rows within them.

Source: J. Yang, Y.-L. Chow, C. Ré and M. W. Mahoney, "Weighted SGD for l_p Regression with Randomized
Preconditioning", Journal of Machine Learning Research 18, 2018, which preconditions by a sketch of the rows.
"""

from typing import NamedTuple

import numpy as np

from ._conditioning import EIGENVALUE_MARGIN, EIGENVALUE_ROWS, GRAM_COLUMNS, weighted_rows
from ._sparse import CentredRows

# Times a column's mean square may exceed that in a sample of which it is still an image.
MISSED = 4.0

# Curvature, relative to the largest, that may be rounding.
FLAT = 1e-10

# Damping to choose from, relative to the largest curvature: from little help to as much as the dtype's digits allow.
DAMPING = np.logspace(-1, -6, 11)
LEAST_DAMPING = {"f": 0.99e-4, "d": 0.99e-6}


# What an epoch costs besides its rows, in products of two numbers, and what looking at all rows does, per number of X
# and per number and column: matrices are multiplied faster.
EPOCH_PRODUCTS = 1 << 17
LOOK_ONCE = 8.0
LOOK_PRODUCTS = 0.13


class Preconditioner(NamedTuple):
    """What gradients are multiplied by, and the rows as they look through it (see ``_schedules.automatic_step``)."""

    matrix: np.ndarray  # (d, d), symmetric, of X's dtype
    norm: float  # beta
    eigenvalue: float  # lambda_1


class Modes(NamedTuple):
    """Eigenvectors of the second moments, and how rows look through every preconditioner there is to choose from."""

    vectors: np.ndarray  # (d, d), one per column
    curvatures: np.ndarray  # (d,), mean square of the rows along each
    inverses: np.ndarray  # (d, p), eigenvalues of the preconditioners
    norms: np.ndarray  # (p,), beta
    exact: bool  # whether all rows were looked at

    @classmethod
    def of_sample(cls, data, conditioning, fit_intercept, column_squares):
        """From a sample of the rows; None for more columns than are worth it."""
        if data.X.shape[1] >= GRAM_COLUMNS:
            return None
        rows = data.sample(EIGENVALUE_ROWS)
        A = dense_rows(data, rows, conditioning)
        H, exact = enlarged(A.T @ A / len(A), column_squares), len(rows) == data.n_rows
        return cls.of(H, conditioning.shift.dtype, [(A, fit_intercept * weights(data, rows))], exact)

    @classmethod
    def of_all_rows(cls, data, conditioning, fit_intercept):
        """From all rows: others than a sample's may be long where those are short."""

        def blocks():
            for rows in data.segments(rows=EIGENVALUE_ROWS):
                yield dense_rows(data, rows, conditioning), fit_intercept * weights(data, rows)

        H = sum(A.T @ A for A, _ in blocks()) / data.n_rows
        return cls.of(H, conditioning.shift.dtype, blocks(), exact=True)

    @classmethod
    def of(cls, H, dtype, blocks=(), exact=False):
        """From second moments, and blocks of rows with the squares of their entries for the intercept."""
        curvatures, vectors = np.linalg.eigh(H)
        curvatures = np.maximum(curvatures, 0.0)
        damping = DAMPING[DAMPING >= LEAST_DAMPING[dtype.char]] * curvatures[-1]
        inverses = 1.0 / np.maximum(np.add.outer(curvatures, damping), np.finfo(float).tiny)
        norms = np.zeros(len(damping))
        for A, ones in blocks:
            length = (A @ vectors) ** 2 @ inverses + ones[:, None]
            np.maximum(norms, length.max(axis=0), out=norms)
        return cls(vectors, curvatures, inverses, norms, exact)

    def remaining(self, grad_W, grad_b):
        """Return what the objective can still fall by, the intercept included.

        It is the Newton decrement (half its square in S. Boyd and L. Vandenberghe, "Convex Optimization", 2004, section
        9.5.1).
        """
        return float(self.gains(grad_W).sum() + 0.5 * np.square(grad_b, dtype=np.float64).sum())

    def times_longer(self, n_rows, batch_size):
        """Return how many times as long as usual an epoch takes with a preconditioner, and with all that it needs."""
        d = len(self.curvatures)
        usual = EPOCH_PRODUCTS + 2.0 * n_rows * d  # in products of two numbers, two for each of X
        extra = n_rows / batch_size * d * d
        if not self.exact:
            extra += n_rows * d * (LOOK_ONCE + LOOK_PRODUCTS * d)
        return 1.0 + extra / usual

    def gains(self, gradient):
        """Return what the objective can still fall by along each direction; ``gradient`` is (k, d)."""
        with np.errstate(over="ignore"):  # no number is seen to be none
            slopes = ((gradient.astype(np.float64) @ self.vectors) ** 2).sum(axis=0)
        curved = self.curvatures > FLAT * self.curvatures[-1]
        return 0.5 * np.divide(slopes, self.curvatures, out=np.zeros_like(slopes), where=curved)

    def best(self, gains, negligible, progress, without, dtype):
        """Return the preconditioner after which least is left, or None where that is hardly less than without.

        ``progress(norm, eigenvalue)`` is the sum of an epoch's step sizes for rows that look so, ``without`` that of as
        much time without a preconditioner.
        """
        # The largest eigenvalue that H of all rows may have through the inverse of that of a sample: the edge of the
        # law of Marchenko and Pastur for normal rows.
        edge = 1.0 if self.exact else (1.0 - np.sqrt(len(self.curvatures) / EIGENVALUE_ROWS)) ** -2
        through, eigenvalue = self.curvatures[:, None] * self.inverses, EIGENVALUE_MARGIN * edge
        sums = np.array([progress(norm, eigenvalue) for norm in self.norms.tolist()])
        left, left_without = gains @ np.exp(-2.0 * sums * through), gains @ np.exp(-2.0 * without * self.curvatures)
        best = int(left.argmin())
        if not left[best] + negligible < left_without:  # nor if they are no numbers
            return None
        matrix = (self.vectors * self.inverses[:, best]) @ self.vectors.T
        return Preconditioner(matrix.astype(dtype), float(self.norms[best]), eigenvalue)


def dense_rows(data, rows, conditioning):
    """Conditioned ``rows`` times the roots of their weights, float64."""
    A = weighted_rows(data, rows, conditioning, fit_intercept=False)
    return A @ np.eye(A.shape[1]) if isinstance(A, CentredRows) else A


def weights(data, rows):
    """Weights of ``rows``, over the mean."""
    return np.ones(len(rows)) if data.weight is None else data.weight[rows].astype(np.float64)


def enlarged(H, column_squares):
    """Second moments ``H`` of a sample, each column enlarged to its mean square over all rows where that is more.

    Adding the difference to the diagonal would hide the directions in which nearly collinear columns leave little.  It
    is added for columns of which the sample misses nearly all, rare categories.
    """
    sampled = np.diag(H).copy()
    ratio = np.divide(column_squares, sampled, out=np.ones_like(sampled), where=sampled > 0.0)
    enlarge = np.sqrt(np.where(ratio <= MISSED, np.maximum(ratio, 1.0), 1.0))
    H = H * np.multiply.outer(enlarge, enlarge)
    np.fill_diagonal(H, np.maximum(sampled, column_squares))
    return H
