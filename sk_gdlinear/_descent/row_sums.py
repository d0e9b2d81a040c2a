"""Sums over all rows that Newton steps need: losses, gradients, and second moments.

``RowSums`` computes them for rows in memory.  A partition on another machine computes them alike, and
``dask.tasks`` says how those of all partitions are added.
"""

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import issparse

from .._data.order import as_slice
from .._data.rows import Rows
from .._data.second_moments import SecondMoments, second_moments
from .._data.standardize import weighted_rows
from .._data.threads import map_blocks
from .._objective.derivation import coef_gradient, intercept_gradient
from .._objective.losses import ClippedLine
from .._objective.penalties import BoxedElasticNet
from .curved_moments import CurvedMoments
from .duality_gap import DualSums
from .row_loops import dual_sums, losses_between, sum_between
from .smoothing import excess_and_loss

# Rows of float32 data are converted in blocks.  A block of dense rows has ``CONVERTED_NUMBERS`` numbers at most, but
# not fewer than ``FEWEST_CONVERTED_ROWS`` rows, nor more than ``CONVERTED_ROWS``.  One of sparse rows has so many rows,
# or about ``CONVERTED_ENTRIES`` entries if that is more: their kernels pass over all columns at every call.
CONVERTED_ROWS = 1 << 13
CONVERTED_NUMBERS = 1 << 18
FEWEST_CONVERTED_ROWS = 64
CONVERTED_ENTRIES = 1 << 20

# Errors that a ``Point`` keeps at most: 8 MB.
MOST_ERRORS = 1 << 20


class Point(NamedTuple):
    """Parameters, and what a pass over all rows says of them, in float64."""

    W: np.ndarray  # (k, d), of the dtype of X
    b: np.ndarray
    losses: np.ndarray  # (k,), mean loss
    grad_W: np.ndarray  # (k, d), gradient of the mean loss
    grad_b: np.ndarray
    curved: tuple[SecondMoments, ...] | None = None  # of each target, if the same pass has computed them
    errors: np.ndarray | None = None  # (n, k), where a loss needs them again and they are not too many

    def value(self, penalty):
        """Return the objective per target."""
        return self.losses + penalty.value(self.W)


@dataclass(frozen=True)
class RowSums:
    """The sums of rows in memory."""

    backend: Any
    rows: Rows
    fit_intercept: bool
    cache: dict
    curved_cache: CurvedMoments

    @classmethod
    def of(cls, backend, rows, fit_intercept, moments=None):
        """Return the sums of rows, whose second ``moments`` may be known."""
        return cls(backend, rows, fit_intercept, {}, CurvedMoments(rows, moments))

    @property
    def n_rows(self):
        """Number of the rows of non-zero weight."""
        return self.rows.n_rows

    @property
    def eps(self):
        """The rounding of the sums, relative to them."""
        return float(np.finfo(np.float64).eps)

    @property
    def total_weight(self):
        """Sum of the weights."""
        return self.rows.total_weight

    def second_moments(self, objective):
        """Return the second moments of the standardized rows."""
        if self.curved_cache.all_rows is None:
            self.curved_cache.all_rows = second_moments(self.rows, objective.standardization)
        return self.curved_cache.all_rows

    def point(self, objective, W, b, on_block=None):
        """Return the ``Point`` at parameters; ``on_block`` is called after each block."""
        errors = None if objective.loss.is_quadratic else self._memory_for_errors()
        grad_W, grad_b, losses = self.gradient_and_losses(objective, W, b, on_block, errors)
        total = self.total_weight
        return Point(W.copy(), b.copy(), losses / total, grad_W / total, grad_b / total, errors=errors)

    def gradient_and_losses(self, objective, W, b, on_block=None, errors=None):
        """Return the gradient of the loss by ``W`` and ``b``, and the loss per target, summed over rows.

        ``errors``, (n, k), takes those of the rows.
        """
        sums = [np.zeros(a.shape) for a in (W, b, b)]
        at = W.astype(np.float64), b.astype(np.float64)

        def of_block(block):
            problem, order, places = block
            if errors is None or order is places:
                return self.backend.gradient(problem, order, *at, errors)
            converted = np.empty((len(order), len(b)))
            result = self.backend.gradient(problem, order, *at, converted)
            errors[places] = converted
            return result

        for parts in map_blocks(of_block, self._blocks(objective, on_block)):
            for total, part in zip(sums, parts, strict=True):
                total += part
        return tuple(sums)

    def curvature_products(self, objective, W, b, on_block=None):
        """Return the products of the curvature of squared errors with coefficients and an intercept.

        That is the gradient there for targets 0, summed over rows.
        """
        return self._for_targets_zero(objective).gradient_and_losses(objective, W, b, on_block)[:2]

    def _for_targets_zero(self, objective):
        """Return the sums of the same rows with targets that are 0 when standardized."""
        if "targets zero" not in self.cache:
            rows = self.rows._replace(Y=self._equal_targets(objective.standardization.target_shift))
            self.cache["targets zero"] = replace(self, rows=rows, cache={})
        return self.cache["targets zero"]

    def _equal_targets(self, values):
        """Return targets that are the same in every row, like those of the rows."""
        Y = self.rows.Y
        return np.tile(values, (len(Y), 1)).astype(Y.dtype, copy=False)

    def losses_between(self, objective, start, end, shares):
        """Return the losses after shares of the way between two points, (len(shares), k), summed over rows."""
        losses, shares = np.zeros((len(shares), len(start.b))), np.asarray(shares)
        at_start, at_end = (self._errors(objective, point) for point in (start, end))

        def of_block(block):
            problem, order, _ = block
            E, loss, weight = at_start(block), problem.loss, problem.rows.weights(order)
            way = at_end(block) - E
            if isinstance(loss, ClippedLine):
                return losses_between(E, way, weight, shares, *loss)
            return sum_between(loss, E, way, weight, shares)

        for part in map_blocks(of_block, self._blocks(objective)):
            losses += part
        return losses

    def curved_moments(self, objective, point, t):
        """Return the second moments of the rows, weighted by the curvature of target ``t``'s loss at a point."""
        return self.curved_cache.at(objective.standardization, t, self._curvature(objective, point, t))

    def dual_sums(self, objective, point, proposal, second_step=None):
        """Return the ``DualSums`` of the derivatives that the model at a point predicts for its minimum."""
        errors, (newest, way) = self._errors(objective, point), self.cache.get("way", (None, None))
        is_known = newest is proposal  # in the second pass
        way = way if is_known else self._memory_for_errors()
        second = None if second_step is None else [a + step for a, step in zip(point[:2], second_step, strict=True)]

        def of_block(block):
            problem, order, places = block
            E, weight = errors(block), problem.rows.weights(order)
            if is_known:
                change = way[as_slice(places)]
            else:
                change = self.backend.errors(problem, order, *proposal[:2]) - E
                if way is not None:
                    way[places] = change
            second_change = None if second is None else self.backend.errors(problem, order, *second) - E
            sums, largest, out, excess = dual_sums(E, change, second_change, weight, *problem.loss, proposal.damping)
            Z = weighted_rows(problem.rows._replace(weight=None), order[out], problem.standardization, False)
            return sums, coef_gradient(excess, Z), intercept_gradient(excess) * self.fit_intercept, largest

        *sums, largest = zip(*map_blocks(of_block, self._blocks(objective)), strict=True)
        if way is not None:
            self.cache["way"] = proposal, way
        sums, excess_W, excess_b = (sum(parts) for parts in sums)
        return DualSums(*sums, excess_W, excess_b, np.max(largest, axis=0))

    def excess_and_loss(self, objective, W, b):
        """Return what the smoothing of a kink costs, and the exact loss, summed over rows."""
        return excess_and_loss(
            self.backend, objective.problem(self.rows, self.fit_intercept, self.cache), objective, W, b
        )

    def _memory_for_errors(self):
        """Return an array for the errors of all rows, (n, k); None where they are too many."""
        n, k = self.rows.Y.shape
        return np.zeros((n, k)) if n * k <= MOST_ERRORS else None

    def _errors(self, objective, point):
        """Return a function of a block that returns the errors of its rows at a point."""
        if point.errors is not None:
            return lambda block: point.errors[as_slice(block[2])]
        at = point.W.astype(np.float64), point.b.astype(np.float64)
        return lambda block: self.backend.errors(*block[:2], *at)

    def _curvature(self, objective, point, t):
        """Return each row's weight times the second derivative of its loss for a target, (n,)."""
        curvature, errors = np.zeros(self.rows.X.shape[0]), self._errors(objective, point)

        def of_block(block):
            problem, order, places = block
            weight = problem.rows.weights(order)
            curved = problem.loss.curvature(errors(block))[:, t]
            return places, curved if weight is None else curved * weight

        for places, values in map_blocks(of_block, self._blocks(objective)):
            curvature[places] = values
        return curvature

    def _blocks(self, objective, on_block=None):
        """Yield problems in float64, and the row numbers of a block in the problem and in all rows."""
        problem, X = objective.problem(self.rows, self.fit_intercept, self.cache), self.rows.X
        if issparse(X):
            size = max(CONVERTED_ROWS, CONVERTED_ENTRIES * X.shape[0] // max(X.nnz, 1))
        else:
            size = min(max(FEWEST_CONVERTED_ROWS, CONVERTED_NUMBERS // X.shape[1]), CONVERTED_ROWS)
        for block in self.rows.blocks():
            if X.dtype == np.float64:
                yield problem, block, block
            else:
                for start in range(0, len(block), size):
                    yield self._converted(problem, block[start : start + size])
            if on_block is not None:
                on_block()

    def _converted(self, problem, order):
        """Return the problem with the rows ``order`` in float64, and their numbers in it and in all rows."""
        loss, weight, rows = problem.loss, self.rows.weights(order), as_slice(order)
        if isinstance(loss, ClippedLine):
            loss = ClippedLine(*(np.asarray(a, dtype=np.float64) for a in loss))
        double = problem._replace(
            rows=Rows(
                self.rows.X[rows].astype(np.float64),
                self.rows.Y[rows].astype(np.float64),
                None if weight is None else weight.astype(np.float64),
            ),
            standardization=type(problem.standardization)(*(a.astype(np.float64) for a in problem.standardization)),
            loss=loss,
            penalty=BoxedElasticNet(),  # gradients and errors are those of the loss
            cache={},
        )
        return double, np.arange(len(order), dtype=np.intp), order
