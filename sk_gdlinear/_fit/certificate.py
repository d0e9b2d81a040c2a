"""What is left to gain where a descent that cannot tell has stopped, by the second moments of its rows.

With steps of the user's own, or without standardization, the gains of the last epochs decide when to stop.  They may
shrink because the minimum is near, or because the steps are small or the columns nearly collinear.  So the gradient of
all rows is computed once more at the end, in standardized variables, with the second moments of a sample of the rows,
or of all.
"""

from dataclasses import replace

import numpy as np

from .._data.statistics import StreamStatistics
from .._descent.backend import choose_backend
from .._descent.step_size import Constant
from .build import from_coef, make_method
from .stopping import ROUNDING

# Why a descent ended that may have much left to gain.
NOT_CERTAIN = "no_change"


def certified(result, rows, statistics, hyper, width, make=make_method):
    """Return the result, with the reason "no_change" unless it is certain that at most ``tol`` is left to gain.

    Parameters
    ----------
    result : Result
        With the reason "converged".
    rows : Rows
    statistics : StreamStatistics
        Of all rows.
    hyper : Hyperparameters
    width : ndarray of shape (k,) or None
        Half-width over which a kink of the loss is smoothed.
    make : callable, default=make_method
        Makes a descent over the rows.
    """
    if statistics.features is None:
        statistics = StreamStatistics.empty(rows.X.shape[1], rows.Y.shape[1], standardize=True)
        statistics.add(choose_backend(rows.X), rows.X, rows.Y, rows.weight)
    automatic = replace(
        hyper, step=None, schedule=Constant(), standardize=True, precondition=False, average=False, batch_size=None
    )
    coef, intercept = result.standardization.to_user(result.W, result.b)
    judge = make(rows, statistics, automatic, from_coef(coef, intercept, False), max_iter=1, is_warm=True)
    if width is not None:
        judge.state.objective = judge.objective.with_width(width)
    objective, scale = judge.evaluate().standardized, judge.objective_scale()
    gain, is_known = judge.inspected_gain()
    if objective <= (gain if is_known else hyper.tol * scale):  # no objective is below 0
        gain, is_known = objective, True
    left = gain / max(scale, np.finfo(np.float64).tiny) if is_known else np.nan
    return replace(result, stop_reason="converged" if left <= max(hyper.tol, ROUNDING) else NOT_CERTAIN, left=left)
