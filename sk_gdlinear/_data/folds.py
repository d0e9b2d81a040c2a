"""The splits of a cross-validation: which rows train and which are held out, and the joint moments of both.

Rows that all splits treat alike make a group.  The moments of every group are computed in one pass over the rows, and
those of the rows of a split are merged from them: nothing of a held-out row enters the moments that its split trains
on, not even by rounding.
"""

from typing import NamedTuple

import numpy as np

from .joint_moments import JointMoments, merged

# Numbers in the second moments of all groups together, at most: 1 GB.  If there would be more, every split passes over
# its own rows.
MOST_NUMBERS = 1 << 27

# How a split uses a row: bits.
TRAINED, HELD_OUT = 1, 2


class Folds(NamedTuple):
    """The splits, by groups of rows that all of them treat alike."""

    group: np.ndarray  # (n,), the group of each row
    present: np.ndarray  # (n_groups,), False for rows of weight 0
    use: np.ndarray  # (n_groups, n_splits), bits

    @classmethod
    def of(cls, splits, n, weight=None):
        """Return the folds of an iterable of pairs of row numbers; rows of weight 0 are absent.

        Raises
        ------
        ValueError
            If there is no split, or if a split names no such row, or a row twice, or leaves no row to train on or to
            hold out.
        """
        group, present, columns = np.zeros(n, np.int32), np.array([True]), np.zeros((1, 0), np.uint8)
        if weight is not None and not weight.all():
            group, present, columns = (weight == 0.0).astype(np.int32), np.array([True, False]), columns.repeat(2, 0)
        for number, (train, test) in enumerate(splits):
            state = np.zeros(n, np.uint8)
            for rows, bit, name in ((train, TRAINED, "training"), (test, HELD_OUT, "held-out")):
                rows = _row_numbers(rows, n, number, name)
                state[rows] |= bit
                if np.count_nonzero(state & bit) < len(rows):
                    raise ValueError(
                        f"The {name} rows of split {number} of cv name a row more than once. Pass it once, with a "
                        "sample_weight."
                    )
            del rows, train, test
            state[~present[group]] = 0
            for bit, name in ((TRAINED, "train on"), (HELD_OUT, "hold out")):
                if not (state & bit).any():
                    raise ValueError(
                        f"Split {number} of cv has no row of non-zero weight to {name}. Use fewer splits, or others."
                    )
            codes = 4 * group + state
            used = np.flatnonzero(np.bincount(codes, minlength=4 * len(present)))
            numbers = np.zeros(4 * len(present), np.int32)
            numbers[used] = np.arange(len(used))
            group, present = numbers[codes], present[used // 4]
            columns = np.column_stack([columns[used // 4], (used % 4).astype(np.uint8)])
        if not columns.shape[1]:
            raise ValueError("cv must have at least one split, got none. Pass a number of folds, or more splits.")
        return cls(group, present, columns)

    @property
    def n_splits(self):
        """Number of splits."""
        return self.use.shape[1]

    def rows(self, split, bit):
        """Return the numbers of the rows that a split trains on or holds out, in their own order."""
        return np.flatnonzero((self.use[:, split] & bit != 0)[self.group])

    @property
    def are_complements(self):
        """Whether each split holds out one group, which no other split holds out, and trains on all other groups."""
        use = self.use[self.present]
        held_out, trained = use & HELD_OUT != 0, use & TRAINED != 0
        is_one_each = all((held_out.sum(axis=axis) == 1).all() for axis in (0, 1))
        return is_one_each and (held_out != trained).all()


def _row_numbers(rows, n, number, name):
    """Return the row numbers that a split names, checked."""
    rows = np.asarray(rows)
    if rows.dtype == bool and rows.shape == (n,):
        return np.flatnonzero(rows)
    if rows.ndim != 1 or (rows.size and (rows.dtype.kind not in "iu" or rows.min() < -n or rows.max() >= n)):
        largest = f" up to {rows.max()}" if rows.size and rows.dtype.kind in "iu" else ""
        raise ValueError(
            f"The {name} rows of split {number} of cv must be numbers of rows, below {n}: got an array of shape "
            f"{rows.shape} and type {rows.dtype}{largest}. Pass what a splitter's split(X, y) yields."
        )
    return rows.astype(np.intp, copy=False)


class FoldMoments:
    """The joint moments of what every split trains on and holds out.

    Parameters
    ----------
    rows : Rows
    folds : Folds
    each : callable, default=map
        Calls a function for each item, perhaps in several threads, and returns the results in order.
    of : callable, default=JointMoments.of
        Returns the moments of rows, with its arguments.
    """

    def __init__(self, rows, folds, each=map, of=JointMoments.of):
        self.rows, self.folds, self.of, self.groups = rows, folds, of, None
        p = rows.X.shape[1] + rows.Y.shape[1]
        if folds.present.sum() * p * p <= MOST_NUMBERS:
            places = np.argsort(folds.group, kind="stable")
            ends = np.cumsum(np.bincount(folds.group, minlength=len(folds.present)))
            orders = [part for part, present in zip(np.split(places, ends[:-1]), folds.present, strict=True) if present]
            self.groups = list(each(self._of_rows, orders))

    def total(self):
        """Return the moments of all rows."""
        if self.groups is None:
            return self._of_rows(np.flatnonzero(self.folds.present[self.folds.group]))
        return merged(self.groups)

    def splits(self):
        """Yield, split for split, the moments of the rows to train on and of those held out."""
        folds = self.folds
        if self.groups is None:
            for split in range(folds.n_splits):
                yield tuple(self._of_rows(folds.rows(split, bit)) for bit in (TRAINED, HELD_OUT))
            return
        use = folds.use[folds.present]
        if folds.are_complements:
            order = (use & HELD_OUT != 0).argmax(axis=0)  # from the split to its group
            held_out = [self.groups[place] for place in order]
            yield from zip(_without_each(held_out, None), held_out, strict=True)
            return
        for split in range(folds.n_splits):
            yield tuple(
                merged([moments for moments, bits in zip(self.groups, use[:, split], strict=True) if bits & bit])
                for bit in (TRAINED, HELD_OUT)
            )

    def _of_rows(self, order):
        """Return the moments of the rows ``order``."""
        return self.of(self.rows.X, self.rows.Y, self.rows.weight, order)


def _without_each(parts, others):
    """Yield, for each part, the moments of all other parts and of ``others``, by halving: n log n merges."""
    if len(parts) == 1:
        yield others
        return
    half = len(parts) // 2
    for inside, outside in ((parts[:half], parts[half:]), (parts[half:], parts[:half])):
        yield from _without_each(inside, merged(outside if others is None else [others, *outside]))
