"""Mini-batch gradient descent over one set of rows: the method that ``fit`` and ``partial_fit`` run."""

from dataclasses import dataclass, field

import numpy as np

from .._data.rows import Rows
from .._objective.evaluate import mean_loss
from .._objective.objective import Objective
from .averaging import CarriedAverage, averaging_weight
from .backend import Backend
from .curvature import Curvature
from .epoch import Plan
from .error_sample import median_error
from .evaluation import Evaluation, LastPass, gradient_pass, table_pass
from .parallel import epoch_in_threads, threads_for
from .remaining_gain import buys_early, estimated_gain, inspected_gain, is_confirmed, objective_scale
from .row_sums import Point
from .smoothing import slightly_narrowed
from .state import DescentState
from .step_size import STALENESS_FACTOR, StepSize
from .variance_reduction import VarianceReduction

# With the automatic step, a batch whose objective exceeds this many times that of predicting the mean gets at most the
# step of the line search.
LARGEST_OBJECTIVE = 16.0

# Relative rise of the objective in an epoch from which the step is halved.
OVERSHOT = 1e-4

# Rows of a stream over which the gain of its average and the size of its errors are smoothed.
COMPARED_ROWS = 1024


@dataclass
class MiniBatchDescent:
    """Mini-batch descent over rows in memory, in standardized variables; later epochs may be Newton steps."""

    backend: Backend
    rows: Rows
    fit_intercept: bool
    batch_size: int
    step_size: StepSize
    state: DescentState
    reduces_variance: bool = False  # after the first epoch
    curvature: Curvature | None = None  # None if it is never used
    is_stream: bool = False  # whether the rows are a chunk of a stream
    carried: CarriedAverage | None = None  # where coefficients are averaged over different numbers of updates
    cache: dict = field(default_factory=dict)  # that of the ``Problem``
    last_pass: LastPass = LastPass()
    notes: list = field(default_factory=list)  # what was done on the way, in words
    mean_evaluation: tuple[Objective, Evaluation] | None = None  # the newest one of predicting the mean
    newest_scale: tuple[Objective, Point | None, float] | None = None  # the scale of gains, and where it was computed

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
        """Return a copy of the state, whose parameters ``restore`` brings back; see ``DescentState.copy``."""
        return self.state.copy()

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
        state, problem = self.state, self._problem()
        n_threads = threads_for(self.rows.n_rows, self.rows.X.shape[1])
        if n_threads > 1:
            total = self._epoch_in_threads(n_threads, problem, rng, on_block)
        else:
            total = self._epoch_in_blocks(problem, rng, on_block)
        if not np.isfinite(total):
            return np.inf
        state.reduction.commit(self.rows.n_rows)
        if self.carried is not None:
            self.carried.add_to(state.iterate)
        state.n_epochs += 1
        self._balance()
        return total / self.rows.n_rows + float(problem.penalty.value(state.iterate.W).sum())

    def _epoch_in_blocks(self, problem, rng, on_block):
        """Make an epoch block by block; return the sum of the losses during it, infinite if it diverged."""
        state, total = self.state, 0.0
        for order in self.rows.blocks(rng, self.block_rows):
            plan = self._plan(order, state.iterate)
            with np.errstate(over="ignore", invalid="ignore"):  # checked below
                total += self.backend.epoch(problem, plan, state.iterate, state.reduction)
            state.iterate.count(plan.steps, plan.averaging_weights, not problem.penalty.is_zero)
            if on_block is not None:
                on_block()
            if not (np.isfinite(total) and np.isfinite(state.iterate.W).all()):
                return np.inf
        return total

    def _epoch_in_threads(self, n, problem, rng, on_block):
        """Make an epoch in ``n`` threads; return the sum of the losses during it, infinite if it diverged."""
        blocks, state = self.rows.blocks(rng, self.block_rows), self.state
        with np.errstate(over="ignore", invalid="ignore"):
            total = epoch_in_threads(n, self.backend, problem, blocks, self._plan, state.iterate, state.reduction)
        for _ in range(self.n_blocks if on_block is not None else 0):
            on_block()
        return total if np.isfinite(state.iterate.W).all() else np.inf

    def _begins_newton(self):
        """Whether the next epoch is a Newton step: epochs have cost enough, or a sample says that many would follow."""
        curvature, n_epochs = self.curvature, self.state.n_epochs
        if curvature is None or curvature.begins(n_epochs):
            return curvature is not None
        point = self.last_pass.point
        if point is None or not curvature.price_decides:
            return False
        if not buys_early(curvature, self.backend, self._problem(), point, n_epochs, self.objective_scale()):
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
            point = self.last_pass.point if self.last_pass.is_at(W, b) else None
            newton = self.curvature.state_at(objective, W, b, point)
            state.reduction, self.last_pass = VarianceReduction(), LastPass()
            self.notes.append(f"{self.curvature.newton.begun} after update {state.iterate.t}, {self.curvature.reason}")
        before = float(newton.point.value(objective.penalty).sum())
        state.newton = self.curvature.epoch(objective, newton, on_block)
        state.set_parameters(*state.newton.point[:2])
        state.iterate.t += 1
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
        """Turn on variance reduction in the second epoch; restart the average while it is on, or where it lags."""
        it = self.state.iterate
        if self.reduces_variance and self.state.n_epochs > 0 and not self.state.reduction.is_on:
            self._reduce_variance()
        if it.mean_W is not None and (self.state.reduction.is_on or (self.user_step is None and it.average_lags)):
            it.restart_average()

    def _reduce_variance(self):
        """Fill the gradient table at the reported parameters, and continue from them."""
        it = self.state.iterate
        if not it.average_lags:
            it.W[...], it.b[...] = self.reported()
        if it.average_lags or self.last_pass.reduction is None:
            self.last_pass = table_pass(self.backend, self._problem(), it.W, it.b)
        self.state.reduction, self.last_pass = self.last_pass.reduction, LastPass()
        self.notes.append(f"variance reduced after update {it.t}")

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
            return Evaluation.of(self.objective, self.state.newton.point.losses, W)
        is_due = curvature is not None and curvature.is_due(n_epochs)
        if self.reduces_variance and n_epochs == 1 and not self.state.reduction.is_on and not is_due:
            self.last_pass = table_pass(self.backend, self._problem(), W, b)
        elif curvature is not None and n_epochs > 0:
            self.last_pass = gradient_pass(self.backend, self._problem(), W, b)
        else:
            return self._evaluate_at(W, b)
        return Evaluation.of(self.objective, self.last_pass.point.losses, W)

    def evaluate_mean(self):
        """Return the training objective of predicting the mean of the targets; infinite where bounds forbid it.

        For squared errors it is computed from the statistics of y, and for other losses once for each objective.
        """
        objective = self.objective
        penalty = objective.zero_penalty
        if objective.loss.is_quadratic or penalty == np.inf:
            return Evaluation(objective.null_value + penalty, np.nan)
        if self.mean_evaluation is None or self.mean_evaluation[0] is not objective:
            W, b = np.zeros_like(self.state.iterate.W), objective.baseline.intercept
            self.mean_evaluation = objective, self._evaluate_at(W, b)
        return self.mean_evaluation[1]

    def predict_mean(self):
        """Set the parameters to those that predict the mean of the targets."""
        self.state.predict_mean()

    def _evaluate_at(self, W, b):
        with np.errstate(over="ignore", invalid="ignore"):  # the square of a large y may not be a number
            return Evaluation.of(self.objective, self._mean_losses(W, b), W)

    def _mean_losses(self, W, b):
        return mean_loss(self.backend, self._problem(), W, b)

    # What is left to gain

    def objective_scale(self):
        """Return the objective to which gains are relative, computed once for each objective and point."""
        objective, newton, newest = self.objective, self.state.newton, self.newest_scale
        point = newton.point if newton is not None and self.is_smoothed else None
        if newest is None or newest[0] is not objective or newest[1] is not point:
            self.newest_scale = objective, point, objective_scale(objective, self.rows, newton)
        return self.newest_scale[2]

    def remaining_gain(self):
        """Return by how much the objective can still fall, and whether that is exact; None if it cannot be told.

        It is exact, over all rows, after an epoch with their curvature.  Before that, for squared errors, it is a
        duality gap that shows that little is left, or an estimate from a sample.
        """
        state, curvature, point = self.state, self.curvature, self.last_pass.point
        if state.newton is not None:
            limit = curvature.positive_tol * self.objective_scale()
            return curvature.remaining_gain(self.objective, state.newton, limit), True
        if curvature is None or point is None or not self.objective.loss.is_quadratic:
            return None
        if not curvature.newton.tells_gain:
            return None
        gap, limit = curvature.newton.known_gap(self.objective, point), curvature.positive_tol * self.objective_scale()
        if gap <= limit:
            return gap, True
        if self.reduces_variance and not state.reduction.is_on:  # an epoch more costs little and gains much
            return None
        gain, is_all = estimated_gain(curvature, self.backend, self._problem(), point, state.n_epochs, limit)
        return (gain, False) if is_all else None

    def model_gain(self):
        """Return by how much the model of all rows can still fall; infinite before an epoch with curvature."""
        state = self.state
        return np.inf if state.newton is None else self.curvature.model_gain(self.objective, state.newton)

    def confirms(self, limit):
        """Return whether a sample of the rows agrees that no more than ``limit`` is left to gain."""
        if self.curvature is None or not self.curvature.newton.tells_gain:
            return True
        return is_confirmed(self.curvature, self.backend, self.objective, self._problem(), self.last_pass.point, limit)

    @property
    def judges_itself(self):
        """Whether second moments have shown that little is left to gain when the epochs ended."""
        return self.curvature is not None and self.curvature.knows_gain(self.objective) and not self.is_stuck

    @property
    def is_stuck(self):
        """Whether Newton steps have come to an end that is not known to be the minimum."""
        return self.curvature is not None and self.curvature.is_stuck(self.objective, self.state.newton)

    @property
    def is_estimated(self):
        """Whether steps may end by an estimate of what is left, beside which a large duality gap tells nothing."""
        return self.state.newton is not None and not self.curvature.newton.tells_gain

    def inspected_gain(self):
        """Return what is left to gain at the parameters evaluated last, and whether that is known."""
        point = self.last_pass.point
        if self.curvature is None or point is None:
            return np.inf, False
        limit = self.curvature.positive_tol * self.objective_scale()
        return inspected_gain(self.curvature, self.objective, self._problem(), point, limit)

    # After an epoch

    def compare_average(self, mean_objective, objective):
        """Compare the mean objective during an epoch with that of the average after it."""
        share = min(1.0, self.rows.n_rows / COMPARED_ROWS) if self.is_stream else 1.0
        self.state.iterate.compare(mean_objective, objective, share)

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
        state = self.state
        if state.newton is not None:
            return self._narrow_after_newton_step() if self.is_smoothed else None
        if self._narrow_smoothing():
            return "rescaled"
        if state.reduction.is_on and after - before > OVERSHOT * abs(before):
            state.step_factor *= 0.5
            return "overshot"
        return None

    def reduce_step(self):
        """Divide the step, where training would stop, if the schedule is adaptive; return whether it was divided."""
        before, self.state.step_factor = self.state.step_factor, self.step_size.reduce(self.state.step_factor)
        return self.state.step_factor < before

    def error_size(self):
        """Return the median absolute error of a sample of rows, (k,), in units of y."""
        return median_error(self.backend, self._problem(), *self.reported())

    def _narrow_smoothing(self):
        """Smooth a kink of the loss over a fixed part of the errors; return whether the loss changed by much."""
        objective, share = self.objective, 1.0
        if objective.width is None:
            return False
        if self.is_stream:
            share = min(1.0, self.rows.n_rows / min(self.n_updates * self.batch_size, COMPARED_ROWS))
        self.state.objective, is_other = slightly_narrowed(objective, self.error_size(), share)
        if is_other:
            self.last_pass = LastPass()
        return is_other

    def _narrow_after_newton_step(self):
        """Narrow the smoothing if it costs too much where the steps have converged; return what ``adjust`` does."""
        state, is_first = self.state, self.state.newton.n_steps == 1
        narrower = self.curvature.narrower(state.objective, state.newton, self.objective_scale())
        if narrower is not None:
            state.objective, state.newton = narrower
        # After the first step gains are relative to the loss itself.
        return "rescaled" if is_first or narrower is not None else None
