"""The kind of Newton steps that fits the data and the penalty, and its price."""

from .._objective.penalties import BoxedElasticNet
from .newton import ProximalNewton
from .rent_or_buy import MOST_COLUMNS, Costs
from .row_space import MOST_ROWS, RowSpaceNewton
from .row_sums import RowSums
from .working_set import WorkingSetNewton

# Columns from which a working set is worth its repeated passes.
LEAST_COLUMNS = 200


def choose_newton(backend, rows, objective, fit_intercept, column_squares, moments=None):
    """Return the object that makes Newton steps and its ``Costs``; None twice where a matrix would be too large.

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
            newton = WorkingSetNewton(sums, fit_intercept, column_squares=column_squares)
            return newton, costs.with_working_set()
        if rows.n_rows < d and rows.n_rows <= MOST_ROWS and _is_smooth(objective.penalty, column_squares):
            newton = RowSpaceNewton(sums, fit_intercept, column_squares=column_squares)
            return newton, costs.in_row_space(rows)
    if d > MOST_COLUMNS:
        return None, None
    return ProximalNewton(sums, fit_intercept), costs


def _has_absolute_values(penalty, column_squares):
    """Whether the absolute value of each coefficient is penalised, but for those of constant columns."""
    return not penalty.is_zero and bool((penalty.l1[:, column_squares > 0.0] > 0.0).all())


def _is_smooth(penalty, column_squares):
    """Whether there is no penalty, or squares of all coefficients alone, the same for all targets."""
    if penalty.is_zero:
        return True
    l2 = penalty.l2[:, column_squares > 0.0]
    return penalty.lower is None and not penalty.l1.any() and bool((l2 > 0.0).all() and (l2 == l2[:1]).all())
