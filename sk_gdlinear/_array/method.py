"""From hyperparameters and rows on a device to the method that descends over them."""

from dataclasses import replace

import numpy as np

from .._descent.choose_newton import gradient_steps
from .._descent.curvature import Curvature
from .._descent.lipschitz import lipschitz_constants
from .._descent.method import MiniBatchDescent
from .._descent.newton import ProximalNewton
from .._descent.rent_or_buy import MOST_COLUMNS, Costs
from .._descent.row_sample import SampleInspection
from .._descent.schedule import Constant
from .._descent.state import DescentState
from .._descent.step_size import StepSize
from .._fit.build import adapt, make_objective, standardize
from .passes import DEVICE, losses
from .sums import DeviceSums

# Rows per update with ``batch_size="auto"`` on other devices than a CPU, at least and at most, and between them the
# largest power of two with which an epoch makes so many updates.
LEAST_BATCH_SIZE = 1024
LARGEST_BATCH_SIZE = 1 << 14
EPOCH_UPDATES = 512

# Why the curvature is bought before the first epoch.
AT_ONCE = "as on every device"


def device_batch_size(n_rows):
    """Return the rows per update with ``batch_size="auto"`` on a device other than a CPU."""
    largest = 1 << max(int(n_rows) // EPOCH_UPDATES, 1).bit_length() - 1
    return min(max(largest, LEAST_BATCH_SIZE), LARGEST_BATCH_SIZE)


class DeviceDescent(MiniBatchDescent):
    """One update per batch of rows on a device, or Newton steps; parameters are in NumPy."""

    def _mean_losses(self, W, b):
        return losses(self._problem(), W, b)


@np.errstate(over="ignore", invalid="ignore")  # objectives and steps that are not finite are checked later
def make_device_method(rows, statistics, hyper, start, max_iter, is_warm):
    """Return the descent over rows on a device; arguments are those of ``_fit.build.make_method``."""
    (n, d), k, dtype = rows.X.shape, rows.Y.shape[1], rows.X.dtype
    standardization = standardize(statistics, hyper, d, k, dtype)
    objective = make_objective(statistics, hyper, standardization)
    batch_size = min(hyper.batch_size or n, rows.n_rows)
    full_batch = batch_size >= rows.n_rows
    constants = None
    if hyper.step is None:
        constants = lipschitz_constants(DEVICE, rows, standardization, hyper.fit_intercept, hyper.shuffle)
    return DeviceDescent(
        backend=DEVICE,
        rows=rows,
        fit_intercept=hyper.fit_intercept,
        batch_size=batch_size,
        step_size=StepSize(hyper.step, hyper.schedule, constants, full_batch, hyper.loss_lipschitz),
        state=DescentState(
            adapt(start(standardization), hyper, hyper.average and not full_batch), objective, n_epochs=int(is_warm)
        ),
        reduces_variance=hyper.average and hyper.step is None and hyper.batch_size is not None and max_iter > 1,
        curvature=_curvature(rows, statistics, hyper, objective),
    )


def make_device_judge(rows, statistics, hyper, start, width):
    """Return a descent that computes what is left to gain at its start; arguments are those of ``make_judge``."""
    hyper = replace(
        hyper, step=None, schedule=Constant(), standardize=True, precondition=True, average=False, batch_size=None
    )
    judge = make_device_method(rows, statistics, hyper, start, max_iter=1, is_warm=True)
    if width is not None:
        judge.state.objective = judge.objective.with_width(width)
    return judge


def _curvature(rows, statistics, hyper, objective):
    """Return the curvature, to buy at once; None where it is not wanted or its matrix would be too large."""
    d, k, fit_intercept = rows.X.shape[1], rows.Y.shape[1], hyper.fit_intercept
    if statistics.features is None or not hyper.allows_curvature:
        return None
    rms = statistics.recent_features.spread(fit_intercept)[0]
    squares = (rms * objective.standardization.inv_scale.astype(np.float64)) ** 2
    sums, costs = DeviceSums.of(DEVICE, rows, fit_intercept), Costs.of(rows, k, objective.loss.is_quadratic)
    if d <= MOST_COLUMNS:
        newton = ProximalNewton(sums, fit_intercept)
    elif objective.loss.is_quadratic:
        newton = gradient_steps(sums, fit_intercept, objective.penalty, squares)
    else:
        return None
    reason = {} if hyper.precondition is True else {"reason": AT_ONCE}
    return Curvature(newton, True, hyper.tol, costs, SampleInspection(squares, may_be_all=True), **reason)
