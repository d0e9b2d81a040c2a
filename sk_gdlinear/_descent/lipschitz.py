"""The constants of the automatic step: the largest row and the largest eigenvalue of the second moments."""

from typing import NamedTuple

import numpy as np
from scipy.linalg import eigh_tridiagonal

from .._data.order import BLOCK_ROWS, evenly_spaced
from .._data.second_moments import second_moments
from .._data.standardize import StandardizedRows, weighted_rows
from .._data.threads import map_blocks

# Rows from which the largest eigenvalue is estimated, fewer where they are long, and the margin for the sampling error.
EIGENVALUE_ROWS = 2048
EIGENVALUE_NUMBERS = 1 << 18
FEWEST_EIGENVALUE_ROWS = 512
EIGENVALUE_MARGIN = 1.05

# Columns, or rows if they are fewer, up to which the eigenvalue comes from the matrix of their products.  Beyond,
# Lanczos iterations at least and at most, and their residual, relative to the eigenvalue, at which they end.
GRAM_COLUMNS = 160
FEWEST_ITERATIONS = 4
MOST_ITERATIONS = 30
EIGENVALUE_RESIDUAL = 0.05

# Norm of a new Lanczos vector, relative to the eigenvalue, at which the Krylov space is complete.
ROUNDING = 1e-12


class LipschitzConstants(NamedTuple):
    """The constants of the automatic step, for a loss whose derivative has slope 1."""

    row_norm: float  # beta, the largest weighted squared norm of a standardized row, the intercept's 1 included
    eigenvalue: float  # lambda_1, the largest eigenvalue of their second moments, with its margin


def lipschitz_constants(backend, rows, standardization, fit_intercept, shuffle, moments=None):
    """Return ``beta`` and ``lambda_1`` of the rows.

    ``lambda_1`` is computed from the ``moments`` of all rows where these are given, and otherwise from a sample of the
    rows.  If many rows are visited in their own order, long blocks may hold similar rows: then it is the largest of the
    blocks' own, each from a sample of the block.
    """
    row_norm = max(
        map_blocks(lambda order: backend.max_row_norm(rows, order, standardization, fit_intercept), rows.blocks())
    )
    if not np.isfinite(row_norm):
        raise ValueError(
            "X holds values whose squares have no number in its dtype. Use standardize=True, pass float64, choose "
            "larger units, or give a learning_rate."
        )
    if rows.n_rows == 1:
        return LipschitzConstants(row_norm, EIGENVALUE_MARGIN * row_norm)
    if moments is not None:
        gram = moments.with_ones() if fit_intercept else moments.about(centre=False)
        return LipschitzConstants(row_norm, EIGENVALUE_MARGIN * float(np.linalg.eigvalsh(gram)[-1]))
    most = max(FEWEST_EIGENVALUE_ROWS, min(EIGENVALUE_ROWS, EIGENVALUE_NUMBERS // rows.X.shape[1]))
    if shuffle:
        samples = [rows.sample(most)]
    else:
        samples = (order[evenly_spaced(len(order), most)] for order in rows.blocks(size=BLOCK_ROWS))
    eigenvalue = max(max_eigenvalue(weighted_rows(rows, order, standardization, fit_intercept)) for order in samples)
    return LipschitzConstants(row_norm, EIGENVALUE_MARGIN * eigenvalue)


def small_moments(rows, standardization):
    """Return the second moments of all rows where these are few and have few columns, None otherwise."""
    (n, d), few = rows.X.shape, rows.n_rows <= EIGENVALUE_ROWS
    return second_moments(rows, standardization) if few and d <= min(n, GRAM_COLUMNS) else None


def max_eigenvalue(A):
    """Return the largest eigenvalue of ``A^T A / n``.

    It is computed exactly from the Gram matrix of the smaller side.  If both are large it comes from the iteration of
    C. Lanczos (Journal of Research of the National Bureau of Standards 45, 1950), mostly less than 5 % too small.
    """
    n, d = A.shape
    if min(n, d) <= GRAM_COLUMNS:
        gram = A.gram() if isinstance(A, StandardizedRows) else A.T @ A if d <= n else A @ A.T
        return float(np.linalg.eigvalsh(gram)[-1]) / n
    v = np.random.default_rng(0).standard_normal(min(n, d))
    basis, diagonal, off_diagonal = [v / np.linalg.norm(v)], [], []  # of the tridiagonal matrix in this basis
    for step in range(1, MOST_ITERATIONS + 1):
        v = (A @ basis[-1]) @ A if d <= n else A @ (basis[-1] @ A)
        diagonal.append(float(v @ basis[-1]))
        for u in basis:
            v -= (v @ u) * u
        norm = float(np.linalg.norm(v))
        values, vectors = eigh_tridiagonal(diagonal, off_diagonal)
        residual, is_complete = norm * abs(vectors[-1, -1]), norm <= ROUNDING * values[-1]
        if is_complete or (step >= FEWEST_ITERATIONS and residual <= EIGENVALUE_RESIDUAL * values[-1]):
            break
        basis.append(v / norm)
        off_diagonal.append(norm)
    return float(values[-1]) / n
