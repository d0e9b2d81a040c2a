"""Whether a descent that has stopped has converged, by the second moments of its rows, if it cannot tell itself.

With steps of the user's own, without standardization, and where second moments are not computed on the way, the gains
of the last epochs decide when to stop.  They may shrink because the minimum is near, or because the steps are small or
the columns nearly collinear.  Newton steps may end where rounding stops them.  So the gradient of all rows is computed
once more at the end, in standardized variables, with the second moments of the rows, or of a sample of them; for losses
other than the squared error Newton steps show what they could still gain.
"""

from dataclasses import replace

import numpy as np

from .._data.statistics import StreamStatistics
from .._descent.backend import choose_backend
from .._objective.penalties import nearest_to_zero
from .build import from_coef
from .stopping import ROUNDING

# Why a descent ended that may have much left to gain.
NOT_CERTAIN = "no_change"


def certified(result, rows, statistics, hyper, method, make_judge):
    """Return the result, with the reason "no_change" unless it is certain that at most ``tol`` is left to gain.

    Parameters
    ----------
    result : Result
    rows : Rows
    statistics : StreamStatistics
        Of all rows.
    hyper : Hyperparameters
    method : MiniBatchDescent
        The descent that has stopped.
    make_judge : callable
        Makes a descent that computes what is left to gain.
    """
    if result.stop_reason != "converged" or method.judges_itself:
        return result
    coef, intercept = result.standardization.to_user(result.W, result.b)
    try:
        if statistics.features is None:
            statistics = StreamStatistics.empty(rows.X.shape[1], rows.Y.shape[1], standardize=True)
            statistics.add(choose_backend(rows.X), rows.X, rows.Y, rows.weight)
        judge = make_judge(rows, statistics, hyper, from_coef(coef, intercept, False), method.objective.width)
        left = _left(judge, hyper.tol) if _counts_all(judge, hyper.penalty, coef) else np.nan
    except KeyboardInterrupt:  # the epochs are over
        return replace(result, stop_reason="interrupted")
    if left <= max(hyper.tol, ROUNDING):
        return replace(result, stop_reason="converged", left=left)
    return replace(result, stop_reason=NOT_CERTAIN, left=np.nan if method.is_estimated else left)


def _left(judge, tol):
    """Return what is left to gain relative to the scale of ``tol``, NaN if that is not known."""
    most = judge.evaluate().standardized + float(judge.objective.left_out.sum())
    scale = judge.objective_scale()
    gain, is_known = judge.inspected_gain()
    gain = min(gain, most) if is_known else most
    if not (is_known or gain <= tol * scale):
        return np.nan
    return float(gain) / float(max(scale, np.finfo(np.float64).tiny))  # may be infinite, without a warning


def _counts_all(judge, penalty, coef):
    """Whether the coefficients of constant columns, which standardized variables leave out, have the least penalty."""
    constant = judge.standardization.inv_scale == 0.0
    if penalty is None or not constant.any():
        return True
    least = np.broadcast_to(nearest_to_zero(penalty), coef.shape)
    return np.array_equal(coef[:, constant], least[:, constant])
