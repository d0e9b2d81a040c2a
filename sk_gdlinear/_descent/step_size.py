r"""Step sizes: the automatic step, schedules, and the line search of a batch that is far off.

``t`` counts updates (batches), not samples, and is 1 for the first update of a model.

The automatic step of a batch of ``m`` rows is

.. math:: \eta = \frac{m}{c_\beta \beta + (m - 1) \cdot 1.05 \, \lambda_1} \cdot 2^{-h},

with :math:`\beta` the largest weighted squared norm of a standardized row, :math:`\lambda_1` the largest eigenvalue of
their second moments, estimated on a sample, :math:`c_\beta` 1 in the first epoch and 1.5 while variance is reduced, and
``h`` the number of epochs so far that raised the objective.  Where one batch holds all rows it is :math:`1 / (1.05
\lambda_1)`.  With :math:`c_\beta = 1` and no margin it is the optimal step of S. Ma, R. Bassily and M. Belkin, "The
Power of Interpolation", ICML 2018, theorem 4: :math:`1 / \beta` for single rows, tending to :math:`1 / \lambda_1` as
the batch grows.
"""

import inspect
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from scipy.linalg import eigh_tridiagonal

from .._data.order import BLOCK_ROWS, evenly_spaced
from .._data.second_moments import second_moments
from .._data.standardize import StandardizedRows, weighted_rows
from .._data.threads import map_blocks

# Rows from which the largest eigenvalue is estimated, fewer where they are long, and the margin for the sampling error.
EIGENVALUE_ROWS = 2048
EIGENVALUE_NUMBERS = 1 << 20
FEWEST_EIGENVALUE_ROWS = 512
EIGENVALUE_MARGIN = 1.05

# Columns up to which the eigenvalue comes from the Gram matrix.  Beyond, Lanczos iterations at least and at most, and
# their residual, relative to the eigenvalue, at which they end.
GRAM_COLUMNS = 160
FEWEST_ITERATIONS = 4
MOST_ITERATIONS = 30
EIGENVALUE_RESIDUAL = 0.05

# Size of what is left of a vector, relative to the eigenvalue, that may be rounding.
ROUNDING = 1e-12

# Factor on beta while variance is reduced: stored derivatives are stale and add variance.  Measured: 1 takes twice the
# epochs where single rows have large norms (20,000 x 1,000), 2 a quarter more where columns are nearly collinear.
STALENESS_FACTOR = 1.5

# Factor of the adaptive schedule, as in SGDRegressor, and the fraction of the first step below which it ends.
ADAPTIVE_FACTOR = 0.2
ADAPTIVE_FLOOR = 1e-6


@runtime_checkable
class Schedule(Protocol):
    """The protocol of an object passed as ``schedule``: a function of update numbers.

    ``t`` is an array of integers, 1 for the first update of a model, and the factors returned multiply the step sizes
    of these updates: one for each, or one number for all, finite and at least 0.  If it has a parameter
    ``n_updates``, ``fit`` passes the number of the last update that it can make, ``max_iter`` epochs from the first;
    ``partial_fit`` and fits on a cluster pass None, since the end is not known.
    """

    def __call__(self, t):
        """Return the factor of each update."""


@dataclass(frozen=True)
class Constant:
    """The factor 1 at every update; if ``adaptive``, the loop divides the step whenever training would stop."""

    adaptive: bool = False

    def __call__(self, t):
        """Return 1."""
        return 1.0


@dataclass(frozen=True)
class InverseScaling:
    """The factor ``t ** -power_t``."""

    power_t: float
    adaptive = False

    def __call__(self, t):
        """Return the factor of each update."""
        return 1.0 / np.asarray(t, dtype=np.float64) ** self.power_t


SCHEDULES = ("constant", "invscaling", "adaptive")


def make_schedule(schedule, power_t, n_updates):
    """Return the schedule of a name, or a given one, which gets ``n_updates`` if it has that parameter."""
    if schedule == "invscaling":
        return InverseScaling(power_t)
    if schedule in ("constant", "adaptive"):
        return Constant(adaptive=schedule == "adaptive")
    if isinstance(schedule, type):
        raise TypeError(f"schedule must be a name or a callable object: {schedule!r} is a class, call it.")
    return _Checked(schedule, n_updates)


class _Checked:
    """A user-defined schedule, whose factors are checked."""

    adaptive = False

    def __init__(self, schedule, n_updates):
        self.schedule = schedule
        self.arguments = {"n_updates": n_updates} if _asks_for_n_updates(schedule) else {}

    def __call__(self, t):
        """Return the factor of each update; of one update if ``t`` is a number.

        Raises
        ------
        ValueError
            If they are not finite numbers of at least 0, one for each update or one for all.
        """
        updates = np.atleast_1d(t)
        try:
            factor = np.asarray(self.schedule(updates.copy(), **self.arguments), dtype=np.float64)
        except (TypeError, ValueError) as error:
            told = "".join(f", {name}={value!r}" for name, value in self.arguments.items())
            raise ValueError(
                f"schedule must map update numbers to factors of the step: {self.schedule!r} failed with {error!r}. It "
                f"is called with an array t of update numbers (1, 2, ...){told} and returns an array of that shape."
            ) from error
        if factor.shape not in ((), updates.shape):
            raise ValueError(
                f"schedule must return one factor for each update: got shape {factor.shape} from {self.schedule!r} for "
                f"update numbers t of shape {updates.shape}."
            )
        if not (np.isfinite(factor).all() and (factor >= 0.0).all()):
            raise ValueError(
                f"schedule must return finite factors of at least 0, got {factor.min():g} to {factor.max():g} from "
                f"{self.schedule!r} at updates {updates.min()} to {updates.max()}."
            )
        return np.broadcast_to(factor, updates.shape) if np.ndim(t) else float(factor.reshape(-1)[0])


def _asks_for_n_updates(schedule):
    """Whether a function has a parameter ``n_updates`` that the user has not set with ``functools.partial``."""
    try:
        parameters = inspect.signature(schedule).parameters
    except (TypeError, ValueError):  # a compiled function may have no signature
        return False
    return "n_updates" in parameters and "n_updates" not in getattr(schedule, "keywords", {})


class LipschitzConstants(NamedTuple):
    """The constants of the automatic step, for a loss whose derivative has slope 1."""

    row_norm: float  # beta, the largest weighted squared norm of a standardized row, the intercept's 1 included
    eigenvalue: float  # lambda_1, the largest eigenvalue of their second moments, with its margin


class StepSize(NamedTuple):
    """The step: a given one or the automatic one, times a schedule."""

    user_step: float | None  # None for the automatic step
    schedule: Schedule
    constants: LipschitzConstants | None  # None where not needed
    full_batch: bool = False  # one batch holds all rows, so that there is no sampling noise
    lipschitz: float = 1.0  # what the user's loss was divided by; 1 with a kink, where it changes

    def base(self, n_rows, staleness=1.0, constants=None):
        """Return the step before the schedule, for batches of ``n_rows`` rows and the loss over ``lipschitz``."""
        if self.user_step is not None:
            return self.user_step * self.lipschitz
        row_norm, eigenvalue = constants or self.constants
        if self.full_batch:
            return 1.0 / eigenvalue if eigenvalue > 0 else 1.0
        return automatic_step(n_rows, staleness * row_norm, eigenvalue) if row_norm > 0 else 1.0

    def at(self, t, base):
        """Return the step at update ``t``."""
        return base * self.schedule(t)

    def in_user_units(self, t, base):
        """Return the step at update ``t`` for the gradient of the user's loss."""
        return float(self.at(t, base) / self.lipschitz)

    def reduce(self, factor):
        """Return the next factor of the step, where training would stop; the same unless the schedule is adaptive.

        It is divided until it is below ``ADAPTIVE_FLOOR``.
        """
        return factor * ADAPTIVE_FACTOR if self.schedule.adaptive and factor > ADAPTIVE_FLOOR else factor


def automatic_step(n_rows, row_norm, eigenvalue):
    r"""Return the largest step that is safe for random batches, :math:`m / (\beta + (m - 1) \lambda_1)`.

    Parameters
    ----------
    n_rows : int
        Rows in the batch, ``m``.
    row_norm : float
        ``beta``, the largest weighted squared norm of a standardized row, the intercept's 1 included.
    eigenvalue : float
        ``lambda_1``, the largest eigenvalue of ``Z^T Z / n``.
    """
    return n_rows / (row_norm + (n_rows - 1) * eigenvalue)


def line_search_step(Z, grad_W, grad_b, weight):
    r"""Return the step against the gradient that minimises this batch's squared error.

    It is :math:`\|\nabla\|^2 / (\tfrac1m \sum_i s_i \|\nabla W z_i + \nabla b\|^2)`, and 0 where that is not a number.
    While variance is reduced the gradient includes the mean gradient of all rows, and the step is the same expression.
    """
    slope = float((grad_W.astype(np.float64) ** 2).sum() + (grad_b.astype(np.float64) ** 2).sum())
    moved = (Z @ grad_W.T + grad_b).astype(np.float64) ** 2
    if weight is not None:
        moved *= weight[:, None]
    curvature = float(moved.sum()) / len(Z)
    return slope / curvature if np.isfinite(slope) and np.isfinite(curvature) and curvature > 0 else 0.0


def lipschitz_constants(backend, rows, standardization, fit_intercept, shuffle, moments=None):
    """Return ``beta`` and ``lambda_1`` of the rows.

    ``lambda_1`` is that of a sample of all rows, or of all if their ``SecondMoments`` are given, those of few rows.  If
    many rows are visited in their own order, long blocks may hold similar rows: then it is the largest of any block.
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
    basis, diagonal, beside = [v / np.linalg.norm(v)], [], []  # of the tridiagonal matrix in this basis
    for step in range(1, MOST_ITERATIONS + 1):
        v = (A @ basis[-1]) @ A if d <= n else A @ (basis[-1] @ A)
        diagonal.append(float(v @ basis[-1]))
        for u in basis:
            v -= (v @ u) * u
        size = float(np.linalg.norm(v))
        values, vectors = eigh_tridiagonal(diagonal, beside)
        residual, is_complete = size * abs(vectors[-1, -1]), size <= ROUNDING * values[-1]
        if is_complete or (step >= FEWEST_ITERATIONS and residual <= EIGENVALUE_RESIDUAL * values[-1]):
            break
        basis.append(v / size)
        beside.append(size)
    return float(values[-1]) / n
