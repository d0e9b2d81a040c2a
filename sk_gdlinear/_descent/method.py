"""Mini-batch gradient descent over one set of rows: the method that ``fit`` and ``partial_fit`` run."""

from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from .._data.rows import Rows
from .._data.threads import map_blocks
from .._objective.evaluate import mean_loss, typical_loss, weighted_median
from .._objective.losses import largest_loss
from .._objective.objective import LEAST_SMOOTHING, Objective
from .averaging import CarriedAverage, Iterate, averaging_weight
from .backend import Backend
from .curvature import FALLBACK_TOL, Curvature, NewtonState
from .epoch import Plan
from .parallel import epoch_in_threads, threads_for
from .row_sums import Point
from .smoothing import slightly_narrowed
from .step_size import STALENESS_FACTOR, StepSize
from .variance_reduction import VarianceReduction

# With the automatic step, a batch whose objective exceeds this many times that of predicting the mean gets at most the
# step of the line search.
LARGEST_OBJECTIVE = 16.0

# The curvature is bought early if a sample says that so many times the tolerance is left to gain.
MUCH_LEFT = 10.0

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


class Evaluation(NamedTuple):
    """The training objective of the parameters to report."""

    standardized: float  # in standardized units
    objective: float  # in the user's units


class Passed(NamedTuple):
    """What the pass that evaluated the reported parameters has computed besides."""

    reduction: VarianceReduction | None = None  # the gradient table there
    point: Point | None = None

    def is_at(self, W, b):
        """Whether the point is known, and at these parameters."""
        return self.point is not None and np.array_equal(self.point.W, W) and np.array_equal(self.point.b, b)


@dataclass
class DescentState:
    """The state of a descent that changes.  Only the iterate and the gradient table are changed in place."""

    iterate: Iterate
    objective: Objective  # replaced when its smoothing is narrowed
    n_epochs: int = 0
    step_factor: float = 1.0
    reduction: VarianceReduction = VarianceReduction()
    newton: NewtonState | None = None  # None before an epoch with the curvature


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
    curvature: Curvature | None = None  # None if it is never used
    is_stream: bool = False  # whether the rows are a chunk of a stream
    carried: CarriedAverage | None = None  # where coefficients are averaged over different numbers of updates
    cache: dict = field(default_factory=dict)
    passed: Passed = Passed()
    notes: list = field(default_factory=list)  # what was done besides, in words
    of_mean: tuple[Objective, Evaluation] | None = None  # the newest evaluation of predicting the mean

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
        if self._begins_newton():
            return self._newton_epoch(on_block)
        self._prepare_epoch()
        state, total = self.state, 0.0
        problem = self._problem()
        if (n := threads_for(self.rows.n_rows, self.rows.X.shape[1])) > 1:
            return self._end_epoch(self._epoch_in_threads(n, rng, on_block), problem)
        for order in self.rows.blocks(rng, self.block_rows):
            plan = self._plan(order, state.iterate)
            with np.errstate(over="ignore", invalid="ignore"):  # checked below
                total += self.backend.epoch(problem, plan, state.iterate, state.reduction)
            state.iterate.count(plan.steps, plan.averaging_weights, not problem.penalty.is_zero)
            if on_block is not None:
                on_block()
            if not (np.isfinite(total) and np.isfinite(state.iterate.W).all()):
                return np.inf
        return self._end_epoch(total, problem)

    def _epoch_in_threads(self, n, rng, on_block):
        """Make an epoch in ``n`` threads; return the sum of the losses during it."""
        blocks, state = self.rows.blocks(rng, self.block_rows), self.state
        with np.errstate(over="ignore", invalid="ignore"):
            total = epoch_in_threads(
                n, self.backend, self._problem(), blocks, self._plan, state.iterate, state.reduction
            )
        for _ in range(self.n_blocks if on_block is not None else 0):
            on_block()
        return total

    def _end_epoch(self, total, problem):
        """Update the mean gradient and the intercept after an epoch; return the mean objective during it."""
        state = self.state
        if not (np.isfinite(total) and np.isfinite(state.iterate.W).all()):
            return np.inf
        state.reduction.commit(self.rows.n_rows)
        if self.carried is not None:
            self.carried.add_to(state.iterate)
        self.state.n_epochs += 1
        self._balance()
        return total / self.rows.n_rows + float(problem.penalty.value(state.iterate.W).sum())

    def _begins_newton(self):
        """Whether the next epoch is a Newton step: rent or buy; a sample may say that much rent is still to come."""
        curvature, n_epochs = self.curvature, self.state.n_epochs
        if curvature is None or curvature.begins(n_epochs):
            return curvature is not None
        if self.passed.point is None or not curvature.is_cheap(n_epochs):
            return False
        limit = MUCH_LEFT * (curvature.tol or FALLBACK_TOL) * self.objective_scale()
        gain, _ = curvature.estimate(self._problem(), n_epochs, self.passed.point, self._curved_share(), limit)
        if not gain > limit:
            return False
        curvature.buy_next("since a sample said that much was left to gain")
        return True

    def _newton_epoch(self, on_block):
        """Make one step with the curvature of all rows; return the objective before it."""
        state, objective = self.state, self.objective
        self.curvature.buy(objective)
        newton = state.newton
        if newton is None:
            W, b = self.reported()
            newton = self.curvature.state_at(objective, W, b, self.passed.point if self.passed.is_at(W, b) else None)
            state.reduction, self.passed = VarianceReduction(), Passed()
            self.notes.append(f"curvature bought after update {state.iterate.t}, {self.curvature.reason}")
        before = float(newton.point.value(objective.penalty).sum())
        state.newton = self.curvature.epoch(objective, newton, on_block)
        it = state.iterate
        it.W[...], it.b[...] = state.newton.point[:2]
        if it.mean_W is not None:
            it.restart_average()
        it.t += 1
        state.n_epochs += 1
        return before

    def _balance(self):
        """Set the intercept to report to the best one for the coefficients: then the errors of all rows add up to 0."""
        objective, mean_row = self.objective, self.objective.baseline.mean_row
        if self.is_stream or self.user_step is not None or mean_row is None:
            return
        if self.fit_intercept and objective.loss.is_quadratic:
            self.state.iterate.average[1][...] = objective.baseline.intercept - self.reported()[0] @ mean_row

    def _prepare_epoch(self):
        """Turn on variance reduction in the second epoch, restart the average."""
        it = self.state.iterate
        if self.reduces_variance and self.state.n_epochs > 0 and not self.state.reduction.is_on:
            self._reduce_variance()
        if it.mean_W is not None and (self.state.reduction.is_on or (self.user_step is None and it.average_lags)):
            it.restart_average()

    def _plan(self, order, it):
        """Return the updates over the rows ``order`` from an iterate."""
        objective, steps = self.objective, self._steps(len(order), it.t)
        return Plan(
            order=order,
            batch_size=self.batch_size,
            steps=steps,
            averaging_weights=averaging_weight(it.n_averaged + np.arange(1.0, len(steps) + 1.0)),
            largest_objective=LARGEST_OBJECTIVE * objective.null_value if self.user_step is None else np.inf,
        )

    def _steps(self, n_rows, t):
        """Return the step size of each of the updates over ``n_rows`` rows after update ``t``."""
        n_batches, last = divmod(n_rows, self.batch_size)
        base = np.full(n_batches + (last > 0), self.state.step_factor * self._base_step(self.batch_size))
        if last:
            base[-1] = self.state.step_factor * self._base_step(last)
        return self.step_size.at(np.arange(t + 1, t + len(base) + 1), base)

    def _base_step(self, n_rows):
        """Return the step before the schedule, for batches of ``n_rows`` rows."""
        return self.step_size.base(n_rows, STALENESS_FACTOR if self.state.reduction.is_on else 1.0)

    @property
    def block_rows(self):
        """Rows per kernel call: whole batches."""
        return self.batch_size * max(1, self.rows.block_rows // self.batch_size)

    def _problem(self):
        return self.objective.problem(self.rows, self.fit_intercept, self.cache)

    # Variance reduction, and what is left to gain

    def _reduce_variance(self):
        """Fill the gradient table at the reported parameters, and continue from them."""
        it = self.state.iterate
        if not it.average_lags:
            it.W[...], it.b[...] = self.reported()
        if it.average_lags or self.passed.reduction is None:
            self.passed = self._fill_table(it.W, it.b)
        self.state.reduction, self.passed = self.passed.reduction, Passed()
        self.notes.append(f"variance reduced after update {it.t}")

    def _fill_table(self, W, b):
        """Return the gradient table at ``W, b``, and the ``Point``."""
        table = np.zeros(self.rows.Y.shape, self.rows.X.dtype)
        point = self._point(W, b, lambda problem, order: self.backend.derivatives(problem, order, W, b, table))
        return Passed(VarianceReduction.at(self.rows, table, point.grad_W, point.grad_b), point)

    def _point(self, W, b, gradient=None):
        """Return the ``Point`` at parameters, by ``gradient(problem, order)`` of each block of rows."""
        gradient = gradient or (lambda problem, order: self.backend.gradient(problem, order, W, b))
        problem, sums = self._problem(), [np.zeros(a.shape) for a in (W, b, b)]
        with np.errstate(over="ignore", invalid="ignore"):
            for parts in map_blocks(lambda order: gradient(problem, order), self.rows.blocks()):
                for total, part in zip(sums, parts, strict=True):
                    total += part
        grad_W, grad_b, losses = (a / self.rows.total_weight for a in sums)
        return Point(W.copy(), b.copy(), losses, grad_W, grad_b)

    def _curved_share(self):
        """Return the mean second derivative of the loss over a sample, at least that of one row."""
        loss = self.objective.loss
        if loss.is_quadratic:
            return 1.0
        curvature, weight = loss.curvature(self._sample_errors()), self._sample_weight()
        share = np.average(curvature.mean(axis=1), weights=weight)
        return max(float(share), 1.0 / self.rows.n_rows)

    def remaining_gain(self):
        """Return by how much the objective can still fall, and whether that is exact; None if it cannot be told.

        It is exact, over all rows, after an epoch with their curvature.  Before that it is an estimate from a sample,
        for squared errors.
        """
        if self.state.newton is not None:
            return self.curvature.remaining_gain(self.objective, self.state.newton), True
        point = self.passed.point
        if self.curvature is None or point is None or not self.objective.loss.is_quadratic:
            return None
        if self.reduces_variance and not self.state.reduction.is_on:  # an epoch more costs little and gains much
            return None
        limit = (self.curvature.tol or FALLBACK_TOL) * self.objective_scale()
        n_epochs, share = self.state.n_epochs, self._curved_share()
        gain, is_all = self.curvature.estimate(self._problem(), n_epochs, point, share, limit)
        return (gain, False) if is_all else None

    def confirms(self, limit):
        """Return whether a sample of the rows agrees that no more than ``limit`` is left to gain."""
        if self.curvature is None:
            return True
        point, share = self.passed.point, self._curved_share()
        if not self.objective.loss.is_quadratic and share <= 1.0 / self.rows.n_rows:
            point = None  # no error of the sample is where the loss curves
        return self.curvature.confirms(self._problem(), point, share, limit)

    @property
    def judges_itself(self):
        """Whether second moments have shown that little is left to gain when the epochs ended."""
        curvature = self.curvature
        if curvature is None or curvature.wanted is not False:
            return curvature is not None
        return self.objective.loss.is_quadratic and curvature.sampled is not None and curvature.sampled.knows_all

    def inspected_gain(self):
        """Return what is left to gain at the parameters evaluated last, and whether that is known.

        It is computed with the curvature of all rows, or of a sample where that is enough.
        """
        curvature, point = self.curvature, self.passed.point
        if curvature is None or point is None:
            return np.inf, False
        if curvature.can_be_sampled(self.objective, self.rows):
            return curvature.inspect(self._problem(), point, 1.0, limit=np.inf)
        curvature.buy(self.objective)
        if point.W.dtype != np.float64:
            point = curvature.newton.point(self.objective, *point[:2])
        gain = curvature.remaining_gain(self.objective, curvature.state_of(self.objective, point))
        return gain, np.isfinite(gain)

    # The objective

    def start_objective(self):
        """Return the objective at the start."""
        W, b = self.reported()
        predicts_mean = not W.any() and np.array_equal(b, self.objective.baseline.intercept)
        return (self.evaluate_mean() if predicts_mean else self.evaluate()).standardized

    def evaluate(self):
        """Return the training objective of the reported parameters, over all rows.

        After the first epoch the same pass fills the gradient table, if variance is to be reduced in the next; after
        later ones it computes the gradient of all rows, from which follows what is left to gain.
        """
        (W, b), n_epochs, curvature = self.reported(), self.state.n_epochs, self.curvature
        if self.state.newton is not None:
            return self._evaluation(self.state.newton.point.losses, W)
        is_due = curvature is not None and curvature.is_due(n_epochs)
        if self.reduces_variance and n_epochs == 1 and not self.state.reduction.is_on and not is_due:
            self.passed = self._fill_table(W, b)
        elif curvature is not None and n_epochs > 0:
            self.passed = Passed(point=self._point(W, b))
        else:
            return self._evaluate_at(W, b)
        return self._evaluation(self.passed.point.losses, W)

    def evaluate_mean(self):
        """Return the training objective of predicting the mean of the targets; infinite where bounds forbid it.

        For squared errors it is computed from the statistics of y, and for other losses once for each objective.
        """
        objective = self.objective
        penalty = objective.zero_penalty
        if objective.loss.is_quadratic or penalty == np.inf:
            return Evaluation(objective.null_value + penalty, np.nan)
        if self.of_mean is None or self.of_mean[0] is not objective:
            W, b = np.zeros_like(self.state.iterate.W), objective.baseline.intercept
            self.of_mean = objective, self._evaluate_at(W, b)
        return self.of_mean[1]

    def predict_mean(self):
        """Set the parameters to those that predict the mean of the targets."""
        it = self.state.iterate
        it.W[...], it.b[...], self.state.newton = 0.0, self.objective.baseline.intercept, None
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
        if self.state.newton is not None and objective.width is not None:
            least = largest_loss(objective.loss, LEAST_SMOOTHING * objective.baseline.spread * inv_unit)
            return float(np.maximum(self.state.newton.point.losses, least).sum())
        if objective.width is not None:
            return float(largest_loss(objective.loss, ERRORS_SMOOTHED * objective.width * inv_unit).sum())
        return typical_loss(objective, self.rows.Y[self._sample()], self._sample_weight())

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
        if self.state.newton is not None:
            if not self.is_smoothed:
                return None
            is_first = self.state.newton.n_steps == 1  # from here on gains are relative to the loss itself
            return "rescaled" if self._narrow_after_convergence() or is_first else None
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

    def error_size(self):
        """Return the median absolute error of a sample of rows, (k,), in units of y."""
        return weighted_median(np.abs(self._sample_errors()), self._sample_weight()) * self.standardization.unit

    def _narrow_smoothing(self):
        """Smooth a kink of the loss over a fixed part of the errors; return whether the loss changed by much."""
        objective, share = self.objective, 1.0
        if objective.width is None:
            return False
        if self.is_stream:
            share = min(1.0, self.rows.n_rows / min(self.n_updates * self.batch_size, COMPARED_ROWS))
        self.state.objective, is_other = slightly_narrowed(objective, self.error_size(), share, STEEPER)
        if is_other:
            self.passed = Passed()
        return is_other

    def _narrow_after_convergence(self):
        """Narrow the smoothing if it costs too much where Newton steps have converged; return whether it was."""
        state = self.state
        narrower = self.curvature.narrower(state.objective, state.newton, self.objective_scale())
        if narrower is not None:
            state.objective, state.newton = narrower
        return narrower is not None

    def _sample(self):
        return self.rows.sample(SAMPLE_ROWS)

    def _sample_weight(self):
        return self.rows.weights(self._sample())

    def _sample_errors(self):
        """Return the errors of a sample of rows, in standardized units, at the reported parameters."""
        return self.backend.errors(self._problem(), self._sample(), *self.reported())
