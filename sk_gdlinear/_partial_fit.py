"""What ``partial_fit`` does with a chunk.

There are three ways to learn from it: by the second moments of all rows, whose minimum is computed; by an epoch of
mini-batches in all columns; and by one in the columns of its entries, where sparse rows have many.
"""

import numpy as np

from ._compat import has_other_arrays, with_callbacks
from ._data.checks import as_dtype, as_targets, check_finite, make_generator
from ._data.statistics import StreamStatistics
from ._fit.build import StreamState, first_intercept, first_width, from_coef, make_stream_method, reparametrise
from ._fit.loop import EpochLosses, Result, fit_once
from ._fit.monitors import end_all
from ._fit.quick import remember_parameters
from ._fit.report import attributes_after
from ._fit.state import dtype_of, memory_of, pack_memory, pack_wide, reported_parameters, unpack, unpack_wide
from ._fit.stream import (
    CONTRADICTED,
    LONGEST_CURVE,
    Memory,
    attributes_of,
    penalty_slope,
    remembers,
    step_to_minimum,
    with_minimum_at,
)
from ._fit.wide_stream import WideStream, is_wide


class PartialFitMixin:
    """Adds to ``GDLinearRegressor`` what ``partial_fit`` calls."""

    @with_callbacks
    def _partial_fit(self, X, y, sample_weight):
        """Learn from a chunk; return a warning, or None."""
        if self.early_stopping:
            raise ValueError(
                "early_stopping=True holds rows out in fit; partial_fit learns from every row it is given. Set "
                "early_stopping=False and compare score(X_val, y_val) between calls, or pass X_val and y_val to fit or "
                "fit_batches."
            )
        if has_other_arrays(X, y, sample_weight, vars(self).get("coef_")):
            from ._array.fit import partial_fit

            return partial_fit(self, X, y, sample_weight)
        return self._learn(*self._validate(X, y, sample_weight, reset=not hasattr(self, "coef_")), (X, y))

    def _learn(self, X, Y, sample_weight, flat, given):
        """Learn from a validated chunk in the way that suits it; return a warning, or None."""
        first, by_hand = not hasattr(self, "coef_"), not hasattr(self, "_state")
        d, k = X.shape[1], Y.shape[1]
        hyper = self._hyperparameters(d, k)
        if not first:
            self._check_same_shape(flat, d, k)
            if sample_weight is not None and not sample_weight.any():
                return None
        n_calls = 0 if first else self._n_calls()
        if not by_hand:
            dtype = dtype_of(self._state)
            X, Y = as_dtype(X, dtype), as_targets(Y, dtype)
        chunk = X, Y, sample_weight, flat, hyper, (*given, sample_weight), n_calls
        if remembers(hyper, d, k) and (first or not by_hand):  # there are no rows behind a model made by hand
            return self._remember(*chunk)
        if is_wide(X, hyper, k):
            self._descend_in_part(*chunk)
        else:
            self._descend(*chunk)
        return None

    def _remember(self, X, Y, sample_weight, flat, hyper, given, n_calls):
        """Move to the minimum of the objective of all remembered rows, the chunk included."""
        d, past = X.shape[1], self._past() if hasattr(self, "coef_") else ([], None)
        memory, coef, generator = self._memory_before(X, Y, hyper)
        monitors = self._monitors(None, given, "partial_fit", n_calls)
        s = sample_weight
        if s is not None and not s.all():
            check_finite(X, None, type(self).__name__)  # also of the rows that are left out, as in ``fit``
            kept = np.flatnonzero(s)
            X, Y, s = X[kept], Y[kept], s[kept]
        if hyper.window is not None and len(Y) > hyper.window:  # the first rows do not enter the memory
            check_finite(X, None, type(self).__name__)
            check_finite(Y, None, type(self).__name__, "y")
        with np.errstate(all="ignore"):  # what is not finite is checked
            memory = memory.with_rows(X, Y, s)
            moments = memory.moments
            check_finite(X, moments.mean[:d], type(self).__name__)
            check_finite(Y, moments.mean[d:], type(self).__name__, "y")
            coef, intercept, objective = step_to_minimum(moments, X, Y, s, hyper, coef)
            memory, contradicts = memory.compared(d, hyper.fit_intercept)
        attributes = attributes_of(coef, intercept, flat, getattr(self, "t_", 0) + 1, self._batch_rows(len(Y)))
        losses = (EpochLosses(objective, objective),)
        result = Result(losses, None, coef, intercept, 1.0, attributes["batch_size_"], attributes["t_"])
        for monitor in monitors:
            monitor.begin_epoch()
            monitor.end_epoch(result)
        curve, validation_curve = past
        vars(self).update(
            attributes,
            loss_curve_=[*curve, objective][-LONGEST_CURVE:],
            validation_loss_curve_=None if validation_curve is None else [*validation_curve, np.nan][-LONGEST_CURVE:],
            _state=pack_memory(memory, generator, coef, intercept, n_calls + 1),
        )
        end_all(monitors, None, ())
        remember_parameters(self, hyper)
        return UserWarning(CONTRADICTED) if contradicts else None

    def _memory_before(self, X, Y, hyper):
        """Return the memory of the rows before this chunk, the coefficients, and the generator."""
        d, k = X.shape[1], Y.shape[1]
        if not hasattr(self, "coef_"):
            return Memory.empty(d + k, hyper.window), np.zeros((k, d), X.dtype), make_generator(self.random_state)
        memory, (coef, intercept) = memory_of(self._state, hyper), self._fitted_parameters()
        coef = as_dtype(coef, dtype_of(self._state))
        if self._is_changed():
            slope = penalty_slope(hyper.penalty, coef)
            memory = memory.replaced_by(with_minimum_at(memory.moments, slope, hyper.fit_intercept, coef, intercept))
        return memory, coef, self._state["generator"]

    def _descend(self, X, Y, sample_weight, flat, hyper, given, n_calls):
        """Make an epoch of mini-batches over the chunk, in all columns."""
        _, generator = self._carried()
        if hasattr(self, "_state"):
            before, statistics = unpack(self._state, hyper.standardize, np.atleast_2d(self.coef_))
        else:  # the first call, or one on coefficients that were set by hand
            before, statistics = None, StreamStatistics.empty(X.shape[1], Y.shape[1], hyper.standardize)
        rows = self._add_rows(statistics, X, Y, sample_weight, hyper.window)
        is_changed = False
        if not hasattr(self, "coef_"):
            start, before = self._first_start(rows, statistics, hyper)
        elif is_changed := before is None or self._is_changed():
            start = from_coef(*self._fitted_parameters(), self.average, getattr(self, "t_", 0))
        else:
            start = reparametrise(before.iterate, before.standardization)
        method = make_stream_method(rows, statistics, hyper, start, before)
        fitted, monitors = self._epoch(method, generator, is_changed, flat, hyper, given, n_calls)
        self._store(fitted, method, statistics, generator, n_calls=n_calls + 1)
        end_all(monitors, None, method.notes)

    def _descend_in_part(self, X, Y, sample_weight, flat, hyper, given, n_calls):
        """Make an epoch of mini-batches over sparse rows with many columns, in the columns of their entries only."""
        _, generator = self._carried()
        part, wide, is_changed = self._part(X, hyper, Y.shape[1])
        statistics, before = part.statistics, StreamState(None, None, wide.width)
        rows = self._add_rows(statistics, part.X, Y, sample_weight, hyper.window)
        shares, start = part.add(rows), part.start
        if not hasattr(self, "coef_"):
            start, before = self._first_start(rows, statistics, hyper)
        method = make_stream_method(rows, statistics, hyper, start, before, shares)
        fitted, monitors = self._epoch(method, generator, is_changed, flat, hyper, given, n_calls)
        with wide.updated(part, method) as wide:
            coef = wide.iterate.average[0]
            vars(self).update(fitted, coef_=coef[0] if flat else coef, _state=pack_wide(wide, generator, n_calls + 1))
            end_all(monitors, None, method.notes)

    def _part(self, X, hyper, k):
        """Return the part of a wide stream that rows need, the stream, and whether the user has set the parameters."""
        state, t = vars(self).get("_state"), getattr(self, "t_", 0)
        if not hasattr(self, "coef_"):
            return *WideStream.at(np.zeros((k, X.shape[1]), X.dtype), np.zeros(k), hyper).part(X, hyper), False
        stream, is_changed = None, True
        if state is not None and "wide" in state:
            coef = np.atleast_2d(self.coef_)
            stream = unpack_wide(state, coef)
            is_changed = stream.is_changed(coef, np.atleast_1d(self.intercept_), X)
        elif state is not None:
            stream, is_changed = WideStream.of(*unpack(state, hyper.standardize)), self._is_changed()
        if is_changed:
            coef, intercept = self._fitted_parameters()
            start = coef.astype(X.dtype, order="C"), intercept, hyper, t
            stream = WideStream.at(*start) if stream is None else stream.moved_to(*start)
        part, stream = stream.part(X, hyper)
        if is_changed:
            part.before = None
        return part, stream, is_changed

    def _first_start(self, rows, statistics, hyper):
        """Return where the first call starts, a function from the standardization, and the ``StreamState`` there."""
        self._check_own(hyper, statistics)
        coef = np.zeros((rows.Y.shape[1], rows.X.shape[1]))
        intercept = first_intercept(rows, statistics, hyper, coef)
        return from_coef(coef, intercept, self.average), StreamState(None, None, first_width(rows, hyper, intercept))

    def _epoch(self, method, generator, is_changed, flat, hyper, given, n_calls):
        """Make the epoch; return the fitted attributes, and the monitors, whose end is still to be called."""
        past = self._past() if hasattr(self, "coef_") else ([], None)

        def attributes(result):
            return attributes_after(result, self.penalty, flat, past, LONGEST_CURVE)

        monitors = self._monitors(attributes, given, "partial_fit", n_calls)
        start_objective = method.evaluate().standardized if is_changed or hyper.step is not None else 0.0
        rng = generator if self.shuffle else None
        result = fit_once(method, rng, start_objective, n_calls + 1, monitors)
        return attributes(result), monitors

    def _is_changed(self):
        """Whether coef_ or intercept_ was set by hand since the last call."""
        reported = reported_parameters(self)
        now = np.atleast_2d(self.coef_), np.atleast_1d(self.intercept_)
        if all(np.array_equal(*pair) for pair in zip(now, reported, strict=True)):
            return False
        self._fitted_parameters()  # raises if they are not numbers
        return True
