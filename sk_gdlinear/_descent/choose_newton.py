"""The kind of Newton steps that fits the data and the penalty, and its price."""

import numpy as np

from .._objective.penalties import BoxedElasticNet
from .accelerated_gradients import AcceleratedGradients
from .conjugate_gradients import ConjugateGradients, has_squares_alone
from .newton import ProximalNewton
from .rent_or_buy import MOST_COLUMNS, Costs
from .row_space import MOST_ROWS, RowSpaceNewton
from .row_sums import RowSums
from .working_set import WorkingSetNewton

# Columns from which a working set is worth its repeated passes.
LEAST_COLUMNS = 200

# Mean square of a column over the penalty of its coefficient's square, up to which inner products of rows keep enough
# digits of the others; relative to the least, if that is above 1.
MOST_FREEDOM = 1e8


def choose_newton(backend, rows, objective, fit_intercept, column_squares, moments=None):
    """Return the object that makes Newton steps and its ``Costs``; both None where a matrix would be too large.

    Parameters
    ----------
    backend : Backend
    rows : Rows
    objective : Objective
    fit_intercept : bool
    column_squares : ndarray of shape (d,)
        Mean squares of the standardized columns.
    moments : SecondMoments, default=None
        Of all rows, where they are known.
    """
    d, k = rows.X.shape[1], rows.Y.shape[1]
    sums, is_quadratic = RowSums.of(backend, rows, fit_intercept, moments), objective.loss.is_quadratic
    costs = Costs.of(rows, k, is_quadratic)
    if is_quadratic and isinstance(objective.penalty, BoxedElasticNet):
        if d >= LEAST_COLUMNS and _has_absolute_values(objective.penalty, column_squares):
            gradients = AcceleratedGradients(sums, fit_intercept, column_squares=column_squares)
            newton = WorkingSetNewton(
                sums, fit_intercept, column_squares=column_squares, gradients=gradients, pass_cost=costs.epoch
            )
            return newton, costs.with_working_set()
        if rows.n_rows < d and rows.n_rows <= MOST_ROWS and _is_smooth(objective.penalty, column_squares):
            newton = RowSpaceNewton(sums, fit_intercept, column_squares=column_squares)
            return newton, costs.in_row_space(rows)
    if d <= MOST_COLUMNS:
        return ProximalNewton(sums, fit_intercept), costs
    if is_quadratic:
        return gradient_steps(sums, fit_intercept, objective.penalty, column_squares), costs.of_gradients()
    return None, None


def gradient_steps(sums, fit_intercept, penalty, column_squares):
    """Return the object that makes steps from gradients alone, for squared errors with this penalty."""
    kind = ConjugateGradients if has_squares_alone(penalty) else AcceleratedGradients
    return kind(sums, fit_intercept, column_squares=column_squares)


def _has_absolute_values(penalty, column_squares):
    """Whether the absolute value of each coefficient is penalised, but for those of constant columns."""
    return not penalty.is_zero and bool((penalty.l1[:, column_squares > 0.0] > 0.0).all())


def _is_smooth(penalty, column_squares):
    """Whether there is no penalty, or squares of all coefficients alone, the same for all targets.

    The inner products of rows, which are divided by the squares, have too few digits for the others where one
    coefficient is penalised by far less than these, as that of a column in large units.
    """
    if penalty.is_zero:
        return True
    varies = column_squares > 0.0
    l2 = penalty.l2[:, varies].astype(np.float64)
    if penalty.lower is not None or penalty.l1.any() or not ((l2 > 0.0).all() and (l2 == l2[:1]).all()):
        return False
    with np.errstate(over="ignore"):
        freedom = column_squares[varies] / l2[0]
    return bool(freedom.max(initial=0.0) <= MOST_FREEDOM * max(1.0, freedom.min(initial=np.inf)))
