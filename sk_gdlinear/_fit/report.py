"""What a fit reports at its end: the fitted attributes, and the warning."""

import numpy as np

from .._objective.penalties import penalty_of_columns, within_bounds
from .certificate import NOT_CERTAIN
from .state import CURVES


def attributes_after(result, penalty, flat, past, longest=None, columns=None):
    """Return the fitted attributes of a ``Result``.

    Parameters
    ----------
    result : Result
    penalty : object
        The parameter ``penalty`` of the estimator, whose bounds the coefficients keep.
    flat : bool
        Whether y is 1-D.
    past : tuple
        The curves of the calls before.
    longest : int, default=None
        The values of a curve that are kept at most; None keeps all.
    columns : NonemptyColumns, default=None
        The columns that were fitted; None for all.

    Raises
    ------
    ValueError
        If coefficients are too large for their dtype.
    """
    standardization = result.standardization
    penalty = penalty if columns is None else penalty_of_columns(penalty, columns.numbers)
    coef, intercept = within_bounds(penalty, *standardization.to_user(result.W, result.b), standardization.shift)
    if not np.isfinite(coef).all():
        raise ValueError(
            f"The coefficients have no number in {coef.dtype}: the units of y are too large beside those of X. "
            "Pass float64, or choose other units."
        )
    coef = coef if columns is None else columns.spread(coef)
    curves = curves_after(past, result.history, result.best_epoch)
    if longest is not None:
        curves |= {name: curves[name] and curves[name][-longest:] for name in CURVES}
    return {
        "coef_": coef[0] if flat else coef,
        "intercept_": intercept[0] if flat else intercept,
        "n_iter_": len(result.history),
        "t_": result.n_updates,
        "learning_rate_": result.step,
        "batch_size_": result.batch_size,
        "stop_reason_": result.stop_reason,
    } | curves


def curves_after(past, history, best_epoch):
    """Return the fitted attributes that are curves, and the place of the best epoch in them.

    Parameters
    ----------
    past : tuple
        The curves of the calls before.
    history : sequence of EpochLosses
    best_epoch : int or None
        From 1; None without a validation set.
    """
    curve, validation_curve = past
    if best_epoch is not None or validation_curve is not None:
        before = [np.nan] * len(curve) if validation_curve is None else validation_curve
        validation_curve = [*before, *(losses.validation for losses in history)]
    return {
        "loss_curve_": [*curve, *(losses.objective for losses in history)],
        "validation_loss_curve_": validation_curve,
        "best_iter_": None if best_epoch is None else len(curve) + best_epoch,
    }


def warning_after(result, max_iter, tol):
    """Return the warning after ``fit`` with these parameters, or None."""
    warnings, n_epochs = [], len(result.history)
    if result.predicts_mean:
        warnings.append(
            f"After {n_epochs} epochs the training objective was above that of predicting the mean of y, so the model "
            "predicts the mean. Use precondition=True, raise max_iter, or shuffle=True."
        )
    if result.stop_reason == "max_iter" and tol is not None:
        warnings.append(
            f"max_iter={max_iter} epochs were not enough to come within tol={tol:g}. Raise max_iter or tol, or, if it "
            "did not, let the curvature help: precondition=True, with learning_rate='auto', schedule='constant' and "
            "standardize=True, on up to 4,096 features, and on more for squared errors without bounds."
        )
    if result.stop_reason == NOT_CERTAIN and result.left > tol:
        warnings.append(
            f"Training stopped after {n_epochs} epochs, since the objective hardly falls any more, but up to "
            f"{result.left:.2g} may be left to gain, on the scale of tol={tol:g}. Use the defaults of learning_rate, "
            "schedule, standardize and precondition, another step, or tol=None to run max_iter epochs; and float64, "
            "where nearly collinear columns leave float32 too few digits."
        )
    return " ".join(warnings) or None
