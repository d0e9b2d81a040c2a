"""From hyperparameters and rows to the method that descends over them."""

from dataclasses import dataclass, replace

import numpy as np

from .._data.standardize import Standardization
from .._descent.averaging import CarriedAverage, Iterate
from .._descent.backend import can_compile, choose_backend
from .._descent.choose_newton import choose_newton
from .._descent.curvature import Curvature
from .._descent.lipschitz import lipschitz_constants, small_moments
from .._descent.method import MiniBatchDescent
from .._descent.row_sample import SampleInspection
from .._descent.schedule import Constant
from .._descent.state import DescentState
from .._descent.step_size import StepSize
from .._objective.evaluate import weighted_quantile
from .._objective.losses import Quantile, SquaredError
from .._objective.objective import Baseline, Objective
from .._objective.penalties import is_compiled, strengths_and_bounds

# If the scale of a column grows by more than this from one chunk to the next, its coefficient shrinks in proportion:
# the larger range is an outlier or another unit, for which a coefficient learnt on the small range is not valid.
LARGEST_GROWTH = 10.0

# Measured (benchmarks/accuracy.py): the fewest epochs to the least-squares answer, at a speed near that of larger
# batches.
AUTO_BATCH_SIZE = 32


@dataclass(frozen=True)
class Hyperparameters:
    """The parameters of the estimator on which a descent depends."""

    loss: object  # a Loss
    penalty: object | None  # a Penalty
    batch_size: int | None  # None is a full batch
    step: float | None  # None is the automatic one
    schedule: object  # a Schedule
    standardize: bool
    precondition: bool | str  # "auto" if its price decides
    average: bool
    fit_intercept: bool
    shuffle: bool
    tol: float | None
    window: int | None = None  # rows of a stream to remember; None is all

    @property
    def loss_lipschitz(self):
        """The largest slope of the derivative of the loss; 1 with a kink."""
        return float(self.loss.lipschitz) if np.isfinite(self.loss.lipschitz) else 1.0

    @property
    def allows_curvature(self):
        """Whether Newton steps may be made: over standardized columns, with the automatic step."""
        return self.standardize and not self.has_own_steps and self.precondition is not False

    @property
    def has_own_steps(self):
        """Whether the step or its schedule is the user's."""
        return self.step is not None or self.schedule != Constant()

    @property
    def is_quadratic(self):
        """Whether the objective is a quadratic function."""
        if type(self.loss) is not SquaredError or not is_compiled(self.penalty):
            return False
        l1, _, lower, _ = strengths_and_bounds(self.penalty)
        return not np.any(l1) and lower is None


@dataclass(frozen=True)
class StreamState:
    """The state from which ``partial_fit`` continues: iterate, standardization, and the width of the smoothing.

    In the first call only the width is known.
    """

    iterate: Iterate | None
    standardization: Standardization | None
    width: np.ndarray | None


def standardize(statistics, hyper, d, k, dtype, before=None):
    """Return the change of variables; ``before`` is that of the previous chunk of a stream."""
    if statistics.features is None:
        return Standardization.identity(d, k, dtype)
    moments = statistics.recent_features, statistics.recent_targets
    standardization = Standardization.of(*moments, hyper.batch_size, hyper.fit_intercept, dtype)
    return standardization if before is None else standardization.keeping(before)


def make_objective(statistics, hyper, standardization, width=None):
    """Return the objective in standardized units."""
    targets, inv_unit = statistics.recent_targets, standardization.target_inv_scale.astype(np.float64)
    intercept = (targets.mean - standardization.target_shift) * inv_unit * hyper.fit_intercept
    rms = targets.spread(hyper.fit_intercept)[0], targets.spread(centre=False)[0]
    mean_row = None
    if statistics.features is not None:
        mean_row = (statistics.recent_features.mean - standardization.shift) * standardization.inv_scale
    baseline = Baseline(intercept.astype(standardization.shift.dtype), *rms, mean_row)
    return Objective.of(hyper.loss, hyper.penalty, standardization, baseline, width)


@np.errstate(over="ignore", invalid="ignore")  # objectives and steps that are not finite are checked later
def make_method(rows, statistics, hyper, start, max_iter, is_warm=False):
    """Return the descent over all ``rows`` of ``fit``.

    Parameters
    ----------
    rows : Rows
    statistics : StreamStatistics
        Of all rows.
    hyper : Hyperparameters
    start : callable
        From the ``Standardization`` to the ``Iterate`` to start from.
    max_iter : int
        Epochs at most.
    is_warm : bool, default=False
        Whether to start from given coefficients: then variance is reduced from the first epoch on.
    """
    (n, d), k, dtype = rows.X.shape, rows.Y.shape[1], rows.X.dtype
    standardization = standardize(statistics, hyper, d, k, dtype)
    objective = make_objective(statistics, hyper, standardization)
    batch_size = min(hyper.batch_size or n, rows.n_rows)
    full_batch = batch_size >= rows.n_rows
    moments = small_moments(rows, standardization) if hyper.allows_curvature else None
    common, curvature = _common(rows, hyper, objective, batch_size, full_batch, moments), None
    if hyper.standardize and not hyper.has_own_steps:
        curvature = _curvature(common["backend"], rows, statistics, hyper, objective, batch_size, max_iter, moments)
    return MiniBatchDescent(
        **common,
        state=DescentState(
            adapt(start(standardization), hyper, hyper.average and not full_batch), objective, n_epochs=int(is_warm)
        ),
        reduces_variance=hyper.average and hyper.step is None and hyper.batch_size is not None and max_iter > 1,
        curvature=curvature,
    )


@np.errstate(over="ignore", invalid="ignore")
def make_judge(rows, statistics, hyper, start, width):
    """Return a descent in standardized variables that makes no epoch, to compute what is left to gain at its start.

    Parameters
    ----------
    rows : Rows
    statistics : StreamStatistics
        Of all rows and columns.
    hyper : Hyperparameters
        With any step, which is not used.
    start : callable
        From the ``Standardization`` to the ``Iterate``.
    width : ndarray of shape (k,) or None
        Half-width over which a kink of the loss is smoothed.
    """
    hyper = replace(hyper, step=1.0, standardize=True, precondition=False, batch_size=None)
    standardization = standardize(statistics, hyper, rows.X.shape[1], rows.Y.shape[1], rows.X.dtype)
    objective = make_objective(statistics, hyper, standardization, width)
    common = _common(rows, hyper, objective, rows.n_rows, full_batch=True)
    return MiniBatchDescent(
        **common,
        state=DescentState(adapt(start(standardization), hyper, average=False), objective, n_epochs=1),
        curvature=_curvature(common["backend"], rows, statistics, hyper, objective, rows.n_rows, max_iter=0),
    )


@np.errstate(over="ignore", invalid="ignore")
def make_stream_method(rows, statistics, hyper, start, before, shares=None):
    """Return the descent over a chunk of ``partial_fit``, a sample of all rows even where it makes one batch.

    Parameters
    ----------
    rows : Rows
    statistics : StreamStatistics
    hyper : Hyperparameters
    start : callable
        From the ``Standardization`` to the ``Iterate`` to start from.
    before : StreamState or None
        That of the call before, None in the first call.
    shares : tuple of (ndarray of shape (d,), float), default=None
        The shares of their average that each coefficient and the intercept keep in the average after this chunk.  By
        default one average goes on for all.
    """
    d, k, dtype = rows.X.shape[1], rows.Y.shape[1], rows.X.dtype
    past, width = (None, None) if before is None else (before.standardization, before.width)
    standardization = standardize(statistics, hyper, d, k, dtype, past)
    objective = make_objective(statistics, hyper, standardization, width)
    batch_size = min(hyper.batch_size or rows.n_rows, rows.n_rows)
    iterate, carried = adapt(start(standardization), hyper, hyper.average), None
    if shares is not None and hyper.average:
        carried = CarriedAverage(iterate.mean_W, iterate.mean_b, *shares)
        iterate = replace(Iterate.at(iterate.W, iterate.b, average=True, t=iterate.t), gain=iterate.gain)
    return MiniBatchDescent(
        **_common(rows, hyper, objective, batch_size, full_batch=False),
        state=DescentState(iterate, objective),
        is_stream=True,
        carried=carried,
    )


def _common(rows, hyper, objective, batch_size, full_batch, moments=None):
    """Return the arguments of the descent that are the same in ``fit`` and ``partial_fit``."""
    backend, constants = choose_backend(rows.X, can_compile(objective)), None
    if hyper.step is None:
        standardization, is_shuffled = objective.standardization, hyper.shuffle
        constants = lipschitz_constants(backend, rows, standardization, hyper.fit_intercept, is_shuffled, moments)
    return {
        "backend": backend,
        "rows": rows,
        "fit_intercept": hyper.fit_intercept,
        "batch_size": batch_size,
        "step_size": StepSize(hyper.step, hyper.schedule, constants, full_batch, hyper.loss_lipschitz),
    }


def _curvature(backend, rows, statistics, hyper, objective, batch_size, max_iter, moments=None):
    """Return the curvature to buy, or to judge convergence by; None where its matrix would be too large."""
    rms = statistics.recent_features.spread(hyper.fit_intercept)[0]
    squares = (rms * objective.standardization.inv_scale.astype(np.float64)) ** 2
    newton, costs = choose_newton(backend, rows, objective, hyper.fit_intercept, squares, moments)
    if newton is not None and not objective.penalty.is_zero:
        costs = costs.with_penalty(rows, rows.Y.shape[1], -(-rows.n_rows // batch_size))
    if newton is None:
        return None
    inspection = SampleInspection(squares, may_be_all=hyper.precondition != "auto")
    curvature = Curvature(newton, hyper.precondition, hyper.tol, costs, inspection, max_iter)
    if hyper.precondition == "auto" and costs.are_out_of_proportion:
        curvature.buy_next("since mini-batches with this penalty cost far more")
    return curvature


def adapt(iterate, hyper, average):
    """Return the iterate without intercept if ``fit_intercept`` is False, and with an average if ``average``."""
    if not hyper.fit_intercept:  # earlier calls may have fitted one
        iterate.b[...] = 0.0
        if iterate.mean_b is not None:
            iterate.mean_b[...] = 0.0
    if not average:
        return Iterate.at(*iterate.average, average=False, t=iterate.t)
    return Iterate.at(iterate.W, iterate.b, average=True, t=iterate.t) if iterate.mean_W is None else iterate


def first_intercept(rows, statistics, hyper, coef):
    """Return the intercept from which a stream starts.

    It predicts the mean of the targets for squared errors, their quantile with "quantile", and their median for other
    losses, which no outlier of the first chunk moves.
    """
    share = hyper.loss.quantile if type(hyper.loss) is Quantile else 0.5
    if type(hyper.loss) is SquaredError or statistics.features is None or not hyper.fit_intercept:
        return statistics.mean_intercept(coef, hyper.fit_intercept)
    order = rows.order
    return weighted_quantile(rows.Y[order].astype(np.float64), rows.weights(order), share)


def first_width(rows, hyper, intercept):
    """Return the half-width over which a stream first smooths a kink; None without one, or where the targets are equal.

    It is the median error of predicting ``intercept``, which no outlier of the first chunk widens.
    """
    if np.isfinite(hyper.loss.lipschitz):
        return None
    order = rows.order
    errors = np.abs(rows.Y[order].astype(np.float64) - intercept)
    width = weighted_quantile(errors, rows.weights(order), 0.5)
    return width if (width > 0.0).all() else None


def from_coef(coef, intercept, average, t=0):
    """Return a function from the standardization to a new iterate at coefficients in the user's units."""
    return lambda standardization: Iterate.at(*standardization.from_user(coef, intercept), average, t)


def from_units_of_data(iterate, before):
    """Return a function from a new standardization to an iterate in the units of the data.

    It was learnt under the standardization ``before``, None if nothing is known of it.
    """

    def start(standardization):
        def move(coef, intercept):
            if before is None:
                return standardization.from_user(coef, intercept)
            keep = np.minimum(1.0, LARGEST_GROWTH / standardization.growth(before))
            # Where a coefficient shrinks, the prediction at the old centre stays the same.
            return standardization.from_user(coef * keep, intercept + (coef * (1.0 - keep)) @ before.shift)

        return iterate.mapped(move)

    return start


def reparametrise(iterate, before):
    """Return a function from a new standardization to the same iterate, which was in that of ``before``."""
    return from_units_of_data(iterate.mapped(before.to_user), before)
