"""Mini-batch gradient descent over one set of rows: the method that ``fit`` and ``partial_fit`` run."""

from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from .._data.rows import Rows
from .._objective.evaluate import mean_loss, weighted_median
from .._objective.losses import largest_loss
from .._objective.objective import Objective
from .averaging import Iterate, averaging_weight
from .backend import Backend
from .curvature import GRAM_COLUMNS, Preconditioner, SpectralPreconditioning
from .epoch import Plan
from .step_size import STALENESS_FACTOR, StepSize
from .variance_reduction import VarianceReduction

# With the automatic step, a batch whose objective exceeds this many times that of predicting the mean gets at most the
# step of the line search.
LARGEST_OBJECTIVE = 16.0

# Relative rise of the objective in an epoch from which the step is halved.
OVERSHOT = 1e-4

# Median absolute error over the half-width of the smoothing, for the median.
ERRORS_SMOOTHED = 8.0

# Rows whose errors determine the half-width over which a kink of the loss is smoothed.
SAMPLE_ROWS = 1 << 14

# Rows of a stream over which the gain of its average and the size of its errors are smoothed.
COMPARED_ROWS = 1024

# Growth of the largest slope from which objectives before and after a narrower smoothing are not compared.
STEEPER = 1.2

# Tolerance for choosing the preconditioner when tol is None.
FALLBACK_TOL = 1e-6


class Evaluation(NamedTuple):
    """The training objective of the parameters to report."""

    standardized: float  # in standardized units
    objective: float  # in the user's units


@dataclass
class DescentState:
    """The state of a descent that changes.  Only the iterate and the gradient table are changed in place."""

    iterate: Iterate
    objective: Objective  # replaced when its smoothing is narrowed
    n_epochs: int = 0
    step_factor: float = 1.0
    reduction: VarianceReduction = VarianceReduction()
    preconditioner: Preconditioner | None = None


@dataclass
class MiniBatchDescent:
    """One update per batch of rows in memory, in standardized variables."""

    backend: Backend
    rows: Rows
    fit_intercept: bool
    batch_size: int
    step_size: StepSize
    state: DescentState
    reduces_variance: bool = False
    preconditioning: SpectralPreconditioning | None = None
    is_stream: bool = False  # whether the rows are a chunk of a stream
    cache: dict = field(default_factory=dict)
    filled: VarianceReduction | None = None  # table that the evaluation after the first epoch has filled

    # The protocol ``_fit.loop.Method``

    @property
    def objective(self):
        """The objective in standardized units."""
        return self.state.objective

    @property
    def standardization(self):
        """The change of variables."""
        return self.objective.standardization

    @property
    def user_step(self):
        """The given step, None for the automatic one."""
        return self.step_size.user_step

    @property
    def n_updates(self):
        """Updates made so far."""
        return self.state.iterate.t

    @property
    def zero_objective(self):
        """The objective of predicting zero, or an upper bound of it."""
        return self.objective.zero_value

    @property
    def is_smoothed(self):
        """Whether a kink of the loss is smoothed, over a width that is narrowed."""
        return self.objective.width is not None

    @property
    def n_blocks(self):
        """Blocks of an epoch."""
        return -(-self.rows.n_rows // self.block_rows)

    @property
    def geometric(self):
        """Whether the gains of successive epochs shrink by a constant factor: there is no sampling noise."""
        return self.step_size.full_batch or self.reduces_variance

    @property
    def monotone(self):
        """Whether there is no sampling noise and the step is automatic, so that the objective only falls."""
        return self.geometric and self.user_step is None

    @property
    def current_step(self):
        """Step size of the newest full batch."""
        base = self.state.step_factor * self._base_step(self.batch_size)
        return self.step_size.in_user_units(max(self.n_updates, 1), base)

    def reported(self):
        """Return the parameters to report, ``W`` and ``b``."""
        return self.state.iterate.reported(self.objective.penalty)

    def snapshot(self):
        """Return a copy of the state, for ``restore``."""
        return replace(self.state, iterate=self.state.iterate.copy())

    def restore(self, snapshot):
        """Restore the state of a snapshot."""
        self.state = snapshot

    # An epoch

    def epoch(self, rng=None, on_block=None):
        """Make one update per batch, in random order if ``rng`` is given.

        Parameters
        ----------
        rng : Generator or None
        on_block : callable or None
            Called after each block of rows.

        Returns
        -------
        objective : float
            Mean objective of the parameters during the epoch, in standardized units; infinite if it diverged.
        """
        self._prepare_epoch()
        state, total = self.state, 0.0
        problem = self._problem()
        for order in self.rows.blocks(rng, self.block_rows):
            plan = self._plan(order)
            with np.errstate(over="ignore", invalid="ignore"):  # checked below
                total += self.backend.epoch(problem, plan, state.iterate, state.reduction)
            state.iterate.count(plan.steps, plan.averaging_weights, not problem.penalty.is_zero)
            if on_block is not None:
                on_block()
            if not (np.isfinite(total) and np.isfinite(state.iterate.W).all()):
                return np.inf
        state.reduction.commit(self.rows.n_rows)
        self.state.n_epochs += 1
        return total / self.rows.n_rows + float(problem.penalty.value(state.iterate.W).sum())

    def _prepare_epoch(self):
        """Turn on variance reduction in the second epoch, choose the preconditioner, restart the average."""
        it = self.state.iterate
        if self.reduces_variance and self.state.n_epochs == 1:
            self._reduce_variance()
        spectrum = None if self.preconditioning is None else self.preconditioning.spectrum
        # Directions that are flat in a sample may not be flat in all rows: one more epoch shows what is still to gain.
        if self.state.reduction.is_on and spectrum is not None and (spectrum.exact or self.state.n_epochs > 1):
            self.state.preconditioner = self._choose_preconditioner()
        if it.mean_W is not None and (self.state.reduction.is_on or (self.user_step is None and it.average_lags)):
            it.restart_average()

    def _plan(self, order):
        """Return the updates over the rows ``order``."""
        it, objective = self.state.iterate, self.objective
        steps = self._steps(len(order))
        return Plan(
            order=order,
            batch_size=self.batch_size,
            steps=steps,
            averaging_weights=averaging_weight(it.n_averaged + np.arange(1.0, len(steps) + 1.0)),
            largest_objective=LARGEST_OBJECTIVE * objective.null_value if self.user_step is None else np.inf,
            preconditioner=None if self.state.preconditioner is None else self.state.preconditioner.matrix,
        )

    def _steps(self, n_rows):
        """Return the step size of each of the next updates over ``n_rows`` rows."""
        n_batches, last = divmod(n_rows, self.batch_size)
        base = np.full(n_batches + (last > 0), self.state.step_factor * self._base_step(self.batch_size))
        if last:
            base[-1] = self.state.step_factor * self._base_step(last)
        t = np.arange(self.n_updates + 1, self.n_updates + len(base) + 1)
        return self.step_size.at(t, base)

    def _base_step(self, n_rows):
        """Return the step before the schedule, for batches of ``n_rows`` rows."""
        preconditioner = self.state.preconditioner
        return self.step_size.base(
            n_rows, self._staleness(), None if preconditioner is None else preconditioner.constants
        )

    def _staleness(self):
        return STALENESS_FACTOR if self.state.reduction.is_on else 1.0

    @property
    def block_rows(self):
        """Rows per kernel call: whole batches."""
        return self.batch_size * max(1, self.rows.block_rows // self.batch_size)

    def _problem(self):
        return self.objective.problem(self.rows, self.fit_intercept, self.cache)

    # Variance reduction and preconditioning

    def _reduce_variance(self):
        """Fill the gradient table at the reported parameters, and continue from them."""
        it = self.state.iterate
        if not it.average_lags:
            it.W[...], it.b[...] = self.reported()
        if it.average_lags or self.filled is None:
            self.filled, _ = self._fill_table(it.W, it.b)
        self.state.reduction, self.filled = self.filled, None
        if self.preconditioning is not None:
            self.preconditioning.sample(self.rows, self.standardization, self.fit_intercept)

    def _fill_table(self, W, b):
        """Return variance reduction with its table filled at ``W, b``, and the sums of the losses there."""
        problem, table = self._problem(), np.zeros(self.rows.Y.shape, self.rows.X.dtype)
        sums = [np.zeros(a.shape) for a in (W, b, b)]
        for order in self.rows.blocks():
            for total, part in zip(sums, self.backend.derivatives(problem, order, W, b, table), strict=True):
                total += part
        return VarianceReduction.at(self.rows, table, *sums[:2]), sums[2]

    def _choose_preconditioner(self):
        """Return the preconditioner for the next epoch, or None."""
        n_rows, objective = self.rows.n_rows, self.objective
        share = self._curved_share()

        def progress(constants):
            """Return the sum of the step sizes of an epoch, to be multiplied by the curvature."""
            step = self.state.step_factor * self.step_size.base(self.batch_size, self._staleness(), constants)
            return share * step * n_rows / self.batch_size

        tol = self.preconditioning.tol
        tolerated = (FALLBACK_TOL if tol is None else tol) * objective.null_value
        mean_grad_W = self.state.reduction.mean_grad_W
        return self.preconditioning.choose(self._problem(), mean_grad_W, progress, self.batch_size, share, tolerated)

    def _curved_share(self):
        """Return the mean second derivative of the loss over a sample, at least that of one row."""
        loss = self.objective.loss
        if loss.is_quadratic:
            return 1.0
        curvature, weight = loss.curvature(self._sample_errors()), self._sample_weight()
        share = np.average(curvature.mean(axis=1), weights=weight)
        return max(float(share), 1.0 / self.rows.n_rows)

    def remaining_gain(self):
        """Return by how much the objective can still fall, and whether that is exact; None if it cannot be computed.

        It is the Newton decrement, for quadratic objectives on fewer than ``GRAM_COLUMNS`` columns.
        """
        if self.preconditioning is None or self.preconditioning.spectrum is None:
            return None
        if self.rows.X.shape[1] >= GRAM_COLUMNS or not self.objective.loss.is_quadratic:
            return None
        spectrum, reduction = self.preconditioning.spectrum, self.state.reduction
        return spectrum.newton_decrement(reduction.mean_grad_W, reduction.mean_grad_b), spectrum.exact

    @property
    def is_preconditioned(self):
        """Whether the newest epoch was preconditioned: then its noise may exceed the gain that is left."""
        return self.state.preconditioner is not None

    # The objective

    def start_objective(self):
        """Return the objective at the start; that of predicting the mean is computed from the statistics of y."""
        (W, b), objective = self.reported(), self.objective
        if objective.loss.is_quadratic and not W.any() and np.array_equal(b, objective.baseline.intercept):
            return objective.null_value + objective.zero_penalty
        return self.evaluate().standardized

    def evaluate(self):
        """Return the training objective of the reported parameters, over all rows.

        After the first epoch the same pass fills the gradient table, if variance is to be reduced.
        """
        W, b = self.reported()
        if not (self.reduces_variance and self.state.n_epochs == 1) or self.state.reduction.is_on:
            return self._evaluate_at(W, b)
        with np.errstate(over="ignore", invalid="ignore"):
            self.filled, losses = self._fill_table(W, b)
            return self._evaluation(losses / self.rows.total_weight, W)

    def evaluate_mean(self):
        """Return the training objective of predicting the mean of the targets; infinite where bounds forbid it."""
        objective = self.objective
        penalty = objective.zero_penalty
        if objective.loss.is_quadratic or penalty == np.inf:
            return Evaluation(objective.null_value + penalty, np.nan)
        return self._evaluate_at(np.zeros_like(self.state.iterate.W), objective.baseline.intercept)

    def predict_mean(self):
        """Set the parameters to those that predict the mean of the targets."""
        it = self.state.iterate
        it.W[...], it.b[...] = 0.0, self.objective.baseline.intercept
        if it.mean_W is not None:
            it.restart_average()

    def _evaluate_at(self, W, b):
        with np.errstate(over="ignore", invalid="ignore"):  # the square of a large y may not be a number
            return self._evaluation(mean_loss(self.backend, self._problem(), W, b), W)

    def _evaluation(self, losses, W):
        objective = self.objective
        per_target = losses + objective.penalty.value(W)
        return Evaluation(float(per_target.sum()), objective.in_user_units(per_target))

    def objective_scale(self):
        """Return the objective of the best constant prediction, to which gains are relative.

        For losses other than the squared error, outliers are left out.  With a kink it is the objective of errors of
        the current size instead, so that the share of errors on either side is right even where errors are small.
        """
        objective = self.objective
        inv_unit = self.standardization.target_inv_scale
        if objective.loss.is_quadratic:
            return objective.null_value
        if objective.width is not None:
            return float(largest_loss(objective.loss, ERRORS_SMOOTHED * objective.width * inv_unit).sum())
        targets, weight = self.standardization.targets(self.rows.Y[self._sample()]), self._sample_weight()
        deviation = weighted_median(np.abs(targets - weighted_median(targets, weight)), weight)
        spread = objective.baseline.spread * inv_unit
        return float(largest_loss(objective.loss, np.where(deviation > 0.0, deviation, spread)).sum())

    # After an epoch

    def compare_average(self, on_the_way, objective):
        """Compare the mean objective during an epoch with that of the average after it."""
        share = min(1.0, self.rows.n_rows / COMPARED_ROWS) if self.is_stream else 1.0
        self.state.iterate.compare(on_the_way, objective, share)

    def adjust(self, before, after):
        """Adjust the loss or the step after an epoch.

        Parameters
        ----------
        before, after : float
            Objectives before and after the epoch, in standardized units.

        Returns
        -------
        "rescaled", "overshot" or None
            "rescaled" if the objective was replaced, "overshot" if the step was halved.
        """
        if self._narrow_smoothing():
            return "rescaled"
        if self.state.reduction.is_on and after - before > OVERSHOT * abs(before):
            self.state.step_factor *= 0.5
            return "overshot"
        return None

    def reduce_step(self):
        """Divide the step, where training would stop, if the schedule is adaptive; return whether it was divided."""
        before, self.state.step_factor = self.state.step_factor, self.step_size.reduce(self.state.step_factor)
        return self.state.step_factor < before

    def _narrow_smoothing(self):
        """Smooth a kink of the loss over a fixed part of the errors; return whether the loss changed by much."""
        objective, share = self.objective, 1.0
        if objective.width is None:
            return False
        if self.is_stream:
            share = min(1.0, self.rows.n_rows / min(self.n_updates * self.batch_size, COMPARED_ROWS))
        size = weighted_median(np.abs(self._sample_errors()), self._sample_weight()) * self.standardization.unit
        narrower = objective.with_width(objective.narrower_width(size, share))
        if (narrower.lipschitz < STEEPER * objective.lipschitz).all():
            self.state.objective = replace(objective, width=narrower.width)
            return False
        self.state.objective, self.filled = narrower, None
        return True

    def _sample(self):
        return self.rows.sample(SAMPLE_ROWS)

    def _sample_weight(self):
        return self.rows.weights(self._sample())

    def _sample_errors(self):
        """Return the errors of a sample of rows, in standardized units, at the reported parameters."""
        return self.backend.errors(self._problem(), self._sample(), *self.reported())
