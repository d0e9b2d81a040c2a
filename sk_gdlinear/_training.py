"""The loop of epochs around the descent: history, stopping, and settling on the answer.

``fit`` is the loop ``Training.run``; ``partial_fit`` makes one epoch, ``Training.take_in``.
"""

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from ._descent import Descent
from ._evaluation import mean_loss
from ._schedules import ADAPTIVE_FACTOR, ADAPTIVE_FLOOR
from ._stopping import StoppingRule

# Descent with the user's own step has diverged when the objective exceeds this many times that of predicting zero.
DIVERGED = 1e3
RISEN = 1.1

# Relative rise of the objective that shows variance-reduced descent to have overshot.
OVERSHOT = 1e-4
OVERSHOT_WATCHED = 1e-2  # where only some of the rows are watched, whose objective is not what falls

# Besides the iterate, what decides the answer and its step.  All are replaced, never changed in place, but for what the
# reduction holds; whether it holds anything is what matters where the descent has ended.
MARKED = ("step_factor", "slope", "loss", "penalty", "smoothing", "null_objective", "reduction", "preconditioner")

# What is taken for ``tol`` in choosing a way where there is none.
WANTED = 1e-6

# Rows of a stream over which an average is judged.
COMPARED_ROWS = 1024

# Between epochs on data of more numbers than this the objective is that of every fourth block of rows: what is watched
# is a difference over the same rows, and that needs no more.
WATCH_ALL = 1 << 18
WATCH_EVERY = 4


class Epoch(NamedTuple):
    """Losses of the weights that would be reported after an epoch."""

    conditioned: float  # training objective in conditioned units
    objective: float  # training objective in the user's units
    validation: float  # loss of the held-out rows in the user's units, NaN where there are none
    judged: float  # what training is judged by


@dataclass
class Training(Descent):
    """A descent that is watched, stopped in time, and ends at the answer to report."""

    held_out: object | None = None  # a _held_out.HeldOut: rows to judge by in place of the training rows
    history: list = field(default_factory=list)  # an Epoch for each one that is complete

    def scale(self):
        """Return what ``tol`` is relative to: the objective's scale, or the held-out loss of the training mean."""
        return self.objective_scale() if self.held_out is None else self.held_out.scale(self)

    def losses(self, every=1):
        """Losses of the reported weights; the training objective over every ``every``-th block of rows."""
        conditioned, objective = self.objective(every)
        if self.held_out is None:
            return Epoch(conditioned, objective, np.nan, conditioned)
        return Epoch(conditioned, objective, *self.held_out.loss(self.conditioning, *self.answer))

    def first_objective(self, every):
        """Objective to begin with; where that is the mean's, the statistics of y spare a pass over the rows."""
        W, b = self.answer
        if every == 1 and self.loss.is_squared_error and not W.any() and np.array_equal(b, self.null_b):
            return self.null_objective
        return self.objective(every)[0]

    def check(self, objective, start, epoch):
        """Raise if the user's own step has made the descent diverge from an objective of ``start``."""
        usual = max(start, self.zero_objective)
        # A start that is as bad as divergence was perhaps left by it: from there only a way down is one to go.
        most = DIVERGED * usual if start <= DIVERGED * self.zero_objective else RISEN * start
        if self.step is None or (np.isfinite(objective) and objective <= most):
            return
        ratio = objective / usual if usual > 0 else np.inf
        raise ValueError(
            f"Gradient descent diverged in epoch {epoch}, at update {self.iterate.t}, with "
            f"learning_rate={self.step:g}: the training objective is {ratio:.3g} times that of predicting zero, or of "
            "the start. Use a smaller learning_rate, learning_rate='auto', or precondition=True."
        )

    def run(self, max_iter, tol, patience, rng):
        """Run epochs until there is little left to gain; return the reason for stopping.

        The descent then stands where it did after the last complete epoch, or the best one where rows are held out.
        """
        every = 1 if math.prod(self.data.X.shape) <= WATCH_ALL else WATCH_EVERY
        before = start = self.first_objective(every)
        level = start if self.held_out is None else np.inf
        exact = every == 1 or self.foresees  # else gains are those of some rows, which are not all that falls
        geometric = self.one_batch or (self.reducible and exact)
        steady = geometric and exact and self.step is None if self.held_out is None else self.reducible
        rule = StoppingRule(self.scale(), tol, patience, max_iter, geometric, steady)
        reason = None
        try:
            while reason is None:
                n_complete, last, drawn = len(self.history), self.mark(), rng and rng.bit_generator.state
                losses = self.complete_epoch(rng, start, every, tol)
                quiet, losses = self.adapt(rule, before, level, losses, every)
                before = losses.conditioned
                level = losses.judged if self.held_out is None else self.held_out.best_loss
                reason = self.reason_to_stop(quiet, max_iter)
        except KeyboardInterrupt:
            if not self.history:
                raise
            if len(self.history) == n_complete:  # in the middle of an epoch
                self.return_to(last)
                if rng is not None:
                    rng.bit_generator.state = drawn
            elif self.held_out is not None:  # perhaps before it was looked at
                self.held_out.keep_best(self.history[-1].judged, len(self.history), self)
            reason = "interrupted"
        try:
            self.finish(every)
        except KeyboardInterrupt:  # there is nothing left to interrupt
            self.finish(every)
            reason = "interrupted"
        return reason

    def mark(self):
        """Return all that decides the answer, to ``return_to``."""
        return {name: getattr(self, name) for name in MARKED} | {"iterate": self.iterate.copy()}

    def return_to(self, mark):
        """Go back to where the descent stood."""
        vars(self).update(mark)

    def complete_epoch(self, rng, start, every, tol):
        """Make an epoch; return its losses."""
        for watcher in self.watchers:
            watcher.begin_epoch()
        if self.reducible and len(self.history) == 1:
            self.reduce_variance()
        # Directions that are flat in a sample need not be so in all rows: an epoch more shows what is still to gain.
        if self.reduction.anchor is not None and self.modes is not None and (self.modes.exact or len(self.history) > 1):
            self.choose_preconditioner((WANTED if tol is None else tol) * self.null_objective)
        on_the_way = self.epoch(rng)
        losses = self.losses(every)
        self.check(max(losses.conditioned, on_the_way), start, len(self.history) + 1)
        self.iterate.compare(on_the_way, losses.conditioned, 1.0)
        self.history.append(losses)  # from here on the epoch is complete
        if self.held_out is not None:
            self.held_out.keep_best(losses.judged, len(self.history), self)
        return losses

    def adapt(self, rule, before, level, losses, every):
        """Adapt loss and step to how the epoch went; return whether it was the last, and the losses to go on from.

        ``before`` is the training objective to compare with, ``level`` what is judged.
        """
        quiet, rise = False, OVERSHOT if every == 1 else OVERSHOT_WATCHED
        if self.sharpen(1.0):
            losses = self.losses(every)
            rule.scale, rule.quiet = self.scale(), 0
        elif self.reduction.anchor is not None and losses.conditioned - before > rise * abs(before):
            self.step_factor *= 0.5
            rule.quiet = 0
        else:
            remaining = None if self.held_out is not None else self.remaining_gain()
            exact, fast = remaining is not None and self.modes.exact, self.preconditioner is not None
            quiet = rule.update(len(self.history), level, losses.judged, self.iterate.t, remaining, exact, fast)
        if quiet and self.schedule == "adaptive" and self.step_factor > ADAPTIVE_FLOOR:
            self.step_factor *= ADAPTIVE_FACTOR
            rule.quiet, quiet = 0, False
        return quiet, losses

    def remaining_gain(self):
        """Return what the objective can still fall by, to judge by its derivatives; None where they are not known."""
        if self.modes is None or not self.foresees:
            return None
        return self.modes.remaining(self.reduction.drift_W, self.reduction.drift_b)

    def reason_to_stop(self, quiet, max_iter):
        """Tell the watchers of the epoch; return why it is the last one, or None."""
        if any([watcher.end_epoch(self) for watcher in self.watchers]):
            return "callback"
        if quiet:
            return "converged" if self.held_out is None else "early_stopping"
        return "max_iter" if len(self.history) == max_iter else None

    def finish(self, every):
        """Settle on the answer: of the epoch to keep, and no worse than predicting the mean, over all rows."""
        kept = len(self.history) - 1
        if self.held_out is not None:
            kept = self.held_out.best_epoch - 1
            self.return_to(self.held_out.best)
        exact = self.losses() if every > 1 or self.terms is not None else self.history[kept]
        if every > 1:  # the differences are known well, hence all losses as well as the one computed in full
            shift = exact.objective - self.history[kept].objective
            if np.isfinite(shift):
                self.history = [e._replace(objective=max(e.objective + shift, 0.0)) for e in self.history]
        self.history[kept] = exact
        W, b = self.iterate.centre
        null_objective = self.null_objective
        if not self.loss.is_squared_error:
            with np.errstate(over="ignore", invalid="ignore"):
                null_objective = mean_loss(self.data, self.conditioning, self.loss, np.zeros_like(W), self.null_b).sum()
        if self.step is None and not exact.conditioned <= null_objective * (1.0 + 1e-9):
            W[...], b[...] = 0.0, self.null_b
            self.history[kept] = self.losses()

    def take_in(self, rng, start, call):
        """Pass once over a chunk of a stream, the ``call``-th, and remember its losses afterwards."""
        on_the_way = self.epoch(rng)
        losses = self.losses()
        self.check(max(losses.conditioned, on_the_way), start, call)  # NaN, which only the former can be, stays
        n_rows, n_seen = self.data.n_rows, self.iterate.t * self.batch_size
        self.iterate.compare(on_the_way, losses.conditioned, min(1.0, n_rows / COMPARED_ROWS))
        self.sharpen(min(1.0, n_rows / min(n_seen, COMPARED_ROWS)))
        self.history.append(losses)
        for watcher in self.watchers:
            watcher.end_epoch(self)
