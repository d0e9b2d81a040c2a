"""Streams of sparse rows with many columns: a call of ``partial_fit`` descends in the columns of its entries only.

In all other columns the rows of a chunk are zero.  Without a penalty their coefficients would change only because
columns are centred.  So the columns of a wide stream are not centred, except the few in which large values are
frequent; these belong to every call.

Parameters are kept in the units of the data, in which they are the same under any scales of the columns: a call
computes the scales of its own columns alone.  Each coefficient is averaged over the updates by rows with an entry in
its column, since it does not change between these.
"""

from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
from scipy.sparse import csr_array, issparse

from .._data.standardize import Standardization
from .._data.statistics import Moments, StreamStatistics
from .._descent.averaging import Iterate, kept_share
from .build import AUTO_BATCH_SIZE, StreamState, adapt, from_units_of_data, standardize
from .stream import MOST_COLUMNS

# A column is centred if its mean square is at least this part of the square of its largest value.  Each such column has
# entries in as large a part of the rows, so there are not many.  In batches of up to 32 rows the scale of all others is
# determined by their largest value, and their mean is small beside it.
CENTRED_SHARE = 1.0 / 32.0

# Factor on the weight of the rows of a generation in the statistics of the columns when the next one begins.
PAST_SHARE = 1.0 / 64.0

# Columns per entry up to which a pass over all columns takes less time than sorting the entries.
COLUMNS_PER_ENTRY = 1 << 9

# Consecutive coefficients whose bits are summed: a call with entries in their columns detects a change by the user.
CHECKED_COLUMNS = 64

# Blocks of so many coefficients that are summed at once, so that they stay in the cache.
BLOCKS_AT_ONCE = 1 << 8

# The arrays of ``Moments``.
COLUMN_ARRAYS = "mean", "square_deviation", "low", "high"


def is_wide(X, hyper, k):
    """Whether a stream descends over these rows in the columns of their entries only."""
    # Without standardization the average is that of the definition, over all updates.
    is_plain_average = hyper.average and not hyper.standardize
    return issparse(X) and X.shape[1] + k > MOST_COLUMNS and hyper.penalty is None and not is_plain_average


@dataclass
class ColumnStatistics:
    """Sums over the rows of a generation, and over earlier rows with less weight.

    Sums of squares are about 0, so that rows without an entry in a column add nothing but their weight, which is common
    to all.  Only columns that are centred have ``Moments`` about their mean.
    """

    square: np.ndarray  # (d,), weighted sum of squares
    largest: np.ndarray  # (d,), largest absolute value
    weight: float  # sum of weights
    centred: np.ndarray  # the numbers of the columns that are centred, ascending
    moments: Moments  # of these

    @classmethod
    def empty(cls, d):
        """Return the statistics of no rows."""
        return cls(np.zeros(d), np.zeros(d), 0.0, np.zeros(0, np.intp), Moments.empty(0))

    @classmethod
    def of(cls, moments):
        """Return the statistics for the moments of all columns."""
        moments, square, largest, is_centred = uncentred(moments)
        return cls(square, largest, moments.count, np.flatnonzero(is_centred), moments.part(is_centred))

    def of_columns(self, numbers):
        """Return the moments of some columns, ascending and with all that are centred among them."""
        if self.weight == 0.0:
            return Moments.empty(len(numbers))
        square, largest = self.square[numbers], self.largest[numbers]
        moments = Moments(self.weight, np.zeros(len(numbers)), square, -largest, largest)
        places = np.searchsorted(numbers, self.centred)
        for name in COLUMN_ARRAYS:
            getattr(moments, name)[places] = getattr(self.moments, name)
        return moments

    def next_generation(self):
        """Return the statistics at the start of the next generation, in new arrays.

        Extremes move towards the mean, so that outliers are forgotten, but by less than ``LARGEST_GROWTH``, so that
        coefficients do not shrink when the next values are as large as before.
        """
        m, nearer = self.moments, np.sqrt(PAST_SHARE)
        low, high = (m.mean + nearer * (extreme - m.mean) for extreme in (m.low, m.high))
        moments = Moments(m.count * PAST_SHARE, m.mean, m.square_deviation * PAST_SHARE, low, high)
        weight = self.weight * PAST_SHARE
        return ColumnStatistics(self.square * PAST_SHARE, self.largest * nearer, weight, self.centred, moments)


def uncentred(moments):
    """Return the moments, about 0 for columns that are not centred, and which columns are centred.

    Returns
    -------
    moments : Moments
        Those of a column that is not centred are as if its mean were 0.
    square, largest : ndarray of shape (p,)
        Weighted sum of squares and largest absolute value, of all columns.
    is_centred : ndarray of bool of shape (p,)
    """
    with np.errstate(over="ignore", invalid="ignore"):
        square = moments.square_deviation + moments.count * moments.mean**2
        largest = np.maximum(moments.high, -moments.low)
        is_centred = (square >= CENTRED_SHARE * moments.count * largest**2) & (largest > 0.0)
    pairs = zip(COLUMN_ARRAYS, (0.0, square, -largest, largest), strict=True)
    columns = (np.where(is_centred, getattr(moments, name), about_zero) for name, about_zero in pairs)
    return Moments(moments.count, *columns), square, largest, is_centred


@dataclass
class Part:
    """The columns of a call: those in which its rows have entries, and those that are centred."""

    numbers: np.ndarray  # (p,), ascending
    X: csr_array  # (n, p), the rows
    statistics: StreamStatistics  # of these columns
    iterate: Iterate  # of these columns, in the units of the data
    before: Standardization | None  # of these columns before the call; None if there were no rows
    n_updates: np.ndarray | None  # (p,), updates that each coefficient is averaged over; None without averaging
    about_zero: list | None = None  # after ``add``: sums of squares, largest values, and which columns are centred

    @property
    def start(self):
        """A function from a standardization to the iterate."""
        return from_units_of_data(self.iterate, self.before)

    def add(self, rows):
        """Add rows that the statistics include; return the shares of the averages that are kept, or None."""
        statistics, updates, n = self.statistics, self.n_updates, self.iterate.n_averaged
        if statistics.features is not None:
            statistics.features, *self.about_zero = uncentred(statistics.recent_features)
            statistics.past_features = Moments.empty(len(self.numbers))
        if updates is None:
            return None
        before = np.minimum(updates, n)
        X = rows.X if rows.kept is None else rows.X[rows.kept]
        updates += np.bincount(X.indices, minlength=len(updates)).astype(updates.dtype)
        self.iterate.n_averaged += rows.n_rows
        return kept_share(before, np.minimum(updates, n + rows.n_rows)), kept_share(n, n + rows.n_rows)


@dataclass
class WideStream:
    """The state of a wide stream, which has five numbers a column for one target with the coefficients reported.

    A call changes the arrays of all columns in place.
    """

    iterate: Iterate  # in the units of the data; ``n_averaged`` counts rows
    n_updates: np.ndarray | None  # (d,), updates by rows with an entry in a column; None without averaging
    columns: ColumnStatistics | None  # None if not standardized
    statistics: StreamStatistics  # of the targets, and the counters
    width: np.ndarray | None  # over which a kink is smoothed
    sums: np.ndarray  # (k, d / CHECKED_COLUMNS), of the bits of blocks of the coefficients reported

    @classmethod
    def at(cls, coef, intercept, hyper, t=0):
        """Return the state before the first row, at coefficients of shape (k, d), which are changed in place."""
        k, d = coef.shape
        iterate = _starting_at(coef, intercept, hyper.average, t)
        return cls(iterate, None, None, StreamStatistics.empty(0, k, False), None, bit_sums(coef))

    @classmethod
    def of(cls, before, statistics):
        """Return the state for the ``StreamState`` and the statistics of any stream."""
        columns = None if statistics.features is None else ColumnStatistics.of(statistics.recent_features)
        iterate, targets = before.iterate.mapped(before.standardization.to_user), replace(statistics)
        targets.features = targets.past_features = None
        n_updates = None
        if iterate.mean_W is not None and columns is not None:  # the fewest rows with these sums of squares
            with np.errstate(all="ignore"):
                n_updates = np.fmin(columns.square / columns.largest**2, iterate.n_averaged).astype(np.float32)
            n_updates[~(columns.largest > 0.0)] = 0.0
        return cls(iterate, n_updates, columns, targets, before.width, bit_sums(iterate.average[0]))

    def general(self, standardize):
        """Return the ``StreamState`` and the statistics for a descent in all columns."""
        (k, d), dtype = self.iterate.W.shape, self.iterate.W.dtype
        statistics = replace(self.statistics, targets=self.statistics.targets.copy())
        standardization = Standardization.identity(d, k, dtype)
        if self.columns is not None:
            statistics.features = self.columns.of_columns(np.arange(d))
            moments = statistics.features, statistics.recent_targets
            standardization = Standardization.of(*moments, AUTO_BATCH_SIZE, True, dtype)
        if self.columns is not None or standardize:
            statistics.features = statistics.features or Moments.empty(d)
            statistics.past_features = Moments.empty(d)
        return StreamState(self.iterate.mapped(standardization.from_user), standardization, self.width), statistics

    def is_changed(self, coef, intercept, X):
        """Whether parameters differ from those reported, by sums of bits in the columns of the entries of rows."""
        reported, has_entry = self.iterate.average, np.zeros(self.sums.shape[1], dtype=bool)
        has_entry[X.indices // CHECKED_COLUMNS] = True
        if coef.dtype != reported[0].dtype or not np.array_equal(intercept, reported[1]):
            return True
        blocks = np.flatnonzero(has_entry)
        return not np.array_equal(bit_sums(coef, blocks), self.sums[:, blocks])

    def moved_to(self, coef, intercept, hyper, t):
        """Return the state at other parameters; later calls change ``coef`` in place."""
        iterate = _starting_at(coef, intercept, hyper.average, t)
        return replace(self, iterate=iterate, n_updates=None, sums=bit_sums(coef))

    def part(self, X, hyper):
        """Return the ``Part`` of a call with these rows, and the state that the call changes."""
        statistics = replace(self.statistics, targets=self.statistics.targets.copy())
        iterate, columns, n_updates = adapt(self.iterate.mapped(_with_copy), hyper, hyper.average), self.columns, None
        d = X.shape[1]
        if columns is None and hyper.standardize:
            columns = ColumnStatistics.empty(d)
        if columns is not None and statistics.is_generation_over(hyper.window):
            columns = columns.next_generation()
        numbers, X = _columns_of(X, np.zeros(0, np.intp) if columns is None else columns.centred)
        if hyper.average:
            n_updates = np.zeros(d, np.float32) if self.n_updates is None else self.n_updates
        stream = replace(self, iterate=iterate, columns=columns, n_updates=n_updates)
        iterate, before = iterate.mapped(lambda W, b: (W[:, numbers], b.copy())), None
        n_updates = None if n_updates is None else n_updates[numbers]
        if hyper.step is None and iterate.average_lags:
            iterate.n_averaged = 0
        if columns is not None:
            statistics.features, statistics.past_features = columns.of_columns(numbers), Moments.empty(len(numbers))
            if columns.weight > 0.0:
                before = standardize(statistics, hyper, len(numbers), len(iterate.b), iterate.W.dtype)
        return Part(numbers, X, statistics, iterate, before, n_updates), stream

    @contextmanager
    def updated(self, part, method):
        """Yield the state after the descent of a part of the columns; if the context raises, undo the changes in place.

        Parameters
        ----------
        part : Part
        method : MiniBatchDescent
            The descent, at its end.
        """
        undo = []  # arrays, and the values that they had in the columns of the part

        def write(array, values):
            undo.append((array, array[..., part.numbers]))
            array[..., part.numbers] = values

        try:
            yield self._updated(part, method, write)
        except BaseException:
            for array, values in undo:
                array[..., part.numbers] = values
            raise

    def _updated(self, part, method, write):
        """Return the state after the descent, which shares the arrays of all columns with this one."""
        it, columns, statistics, sums = self.iterate, self.columns, part.statistics, self.sums.copy()
        after = method.state.iterate.mapped(method.standardization.to_user)
        coef, bits_before = it.average[0], _bits(it.average[0][:, part.numbers])
        if it.mean_W is not None:
            after.n_averaged = part.iterate.n_averaged
            write(it.mean_W, after.mean_W)
            write(self.n_updates, part.n_updates)
        write(it.W, after.W)
        change = _bits(coef[:, part.numbers]) - bits_before
        np.add.at(sums, (slice(None), part.numbers // CHECKED_COLUMNS), change)
        if columns is not None:
            square, largest, is_centred = part.about_zero
            write(columns.square, square)
            write(columns.largest, largest)
            moments = statistics.features.part(is_centred)
            columns = replace(columns, weight=moments.count, centred=part.numbers[is_centred], moments=moments)
            statistics = replace(statistics, features=None, past_features=None)
        after = replace(after, W=it.W, mean_W=it.mean_W)
        return WideStream(after, self.n_updates, columns, statistics, method.objective.width, sums)

    def packed(self):
        """Return the state as a dictionary of plain values and arrays, without the coefficients reported."""
        it = self.iterate
        statistics = {name: vars(getattr(self.statistics, name)) for name in ("targets", "past_targets")}
        wide = {
            "dtype": it.W.dtype.name,
            "n_updates": self.n_updates,
            "columns": None if self.columns is None else vars(self.columns) | {"moments": vars(self.columns.moments)},
            "statistics": vars(self.statistics) | statistics,
            "width": self.width,
            "sums": self.sums,
        }
        iterate = vars(it) | ({"W": None} if it.mean_W is None else {"mean_W": None})
        return {"reported": (None, it.average[1]), "memory": None, "iterate": iterate, "wide": wide}

    @classmethod
    def unpacked(cls, packed, coef):
        """Return the state that ``packed`` returned; later calls change ``coef``, (k, d), in place."""
        wide, iterate = packed["wide"], packed["iterate"]
        iterate = Iterate(**(iterate | {"W" if iterate["W"] is None else "mean_W": coef}))
        columns, statistics = wide["columns"], wide["statistics"]
        if columns is not None:
            columns = ColumnStatistics(**(columns | {"moments": Moments(**columns["moments"])}))
        targets = {name: Moments(**statistics[name]) for name in ("targets", "past_targets")}
        statistics = StreamStatistics(**(statistics | targets))
        return cls(iterate, wide["n_updates"], columns, statistics, wide["width"], wide["sums"])


def _starting_at(coef, intercept, average, t):
    """Return an iterate at these parameters; with ``average`` the newest coefficients are a copy."""
    iterate = Iterate.at(coef, intercept.astype(np.float64), average, t)
    if average:
        iterate.W, iterate.mean_W = iterate.mean_W, iterate.W
    return iterate


def _with_copy(coef, intercept):
    """Return coefficients, and a copy of the intercept."""
    return coef, intercept.copy()


def _bits(coef):
    """Return coefficients as unsigned integers of the same bits, the upper half of which also changes the lower one.

    Otherwise two changes of sign would not change the sum of the bits, which overflows.
    """
    bits = coef.view(f"u{coef.itemsize}")
    return bits ^ (bits >> (4 * coef.itemsize))


def bit_sums(coef, blocks=None):
    """Return the sums of the bits, as integers that overflow, of some blocks of coefficients (k, d), or of all."""
    (k, d), n_blocks = coef.shape, -(-coef.shape[1] // CHECKED_COLUMNS)
    blocks = np.arange(n_blocks) if blocks is None else blocks
    sums = np.empty((k, len(blocks)), f"u{coef.itemsize}")
    for start in range(0, len(blocks), BLOCKS_AT_ONCE):
        part = slice(start, start + BLOCKS_AT_ONCE)
        columns = np.add.outer(blocks[part] * CHECKED_COLUMNS, np.arange(CHECKED_COLUMNS))
        bits = _bits(coef[:, np.minimum(columns, d - 1)])
        if columns[-1, -1] >= d:
            bits[:, columns >= d] = 0
        sums[:, part] = bits.sum(axis=2, dtype=bits.dtype)
    return sums


def _columns_of(X, centred):
    """Return the numbers of the columns in which rows have entries, and of those centred, and the rows in these."""
    n, d = X.shape
    if COLUMNS_PER_ENTRY * X.nnz < d:
        numbers = np.unique(np.concatenate((X.indices, centred))).astype(np.intp, copy=False)
        if not len(numbers):  # rows without entries change the intercept; one column is enough for that
            numbers = np.zeros(1, np.intp)
        indices = np.searchsorted(numbers, X.indices)
    else:
        is_used = np.zeros(d, dtype=bool)
        is_used[X.indices] = is_used[centred] = True
        numbers, place = np.flatnonzero(is_used), np.empty(d, X.indices.dtype)
        place[numbers] = np.arange(len(numbers))
        indices = place[X.indices]
    indices = indices.astype(X.indices.dtype, copy=False)
    return numbers, csr_array((X.data, indices, X.indptr), shape=(n, len(numbers)))
