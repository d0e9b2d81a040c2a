"""A fit to wide sparse rows on the columns that have entries alone.

The gradient of a column without an entry is 0, so its coefficient stays at 0, with any penalty, unless bounds exclude
0.  Where most columns are empty, as after hashing features, time and memory then depend on the entries alone, except
for the array of all coefficients.
"""

from dataclasses import replace

from .._data.nonempty_columns import NonemptyColumns
from .._objective.penalties import is_compiled, nearest_to_zero, penalty_of_columns


def columns_to_fit(X, hyper, coef):
    """Return the ``NonemptyColumns`` of sparse rows if all other coefficients stay at 0, None for all columns.

    Parameters
    ----------
    X : ndarray or csr_array of shape (n, d)
    hyper : Hyperparameters
    coef : ndarray of shape (k, d)
        Coefficients to start from, in the units of the data.
    """
    if not is_compiled(hyper.penalty) or (columns := NonemptyColumns.of(X)) is None:
        return None
    # The coefficient of a constant column is set to 0 with standardized columns; otherwise it stays where it starts.
    starts = () if hyper.standardize else (coef,)
    return columns if all(map(columns.contain, (nearest_to_zero(hyper.penalty), *starts))) else None


def restricted_to(columns, X, held_out, hyper, coef):
    """Return rows, validation rows (or None), hyperparameters and coefficients with these columns alone."""
    part = columns.of_rows(X)
    if held_out is not None:
        held_out = held_out._replace(X=part if held_out.X is X else columns.of_rows(held_out.X))
    hyper = replace(hyper, penalty=penalty_of_columns(hyper.penalty, columns.numbers))
    return part, held_out, hyper, columns.take(coef)
