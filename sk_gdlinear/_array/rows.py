"""Rows on a device: blocks of them, where they are or in NumPy."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from .namespace import Namespace, to_numpy


@dataclass(frozen=True)
class DeviceArray:
    """A matrix on a device, as ``Rows.X`` or ``Rows.Y``; indexing copies rows to NumPy.

    ``shape`` and ``dtype`` are those that it has in NumPy.
    """

    array: Any  # (n, d)
    namespace: Namespace

    @property
    def shape(self):
        """Rows and columns."""
        return tuple(self.array.shape)

    @property
    def dtype(self):
        """NumPy's dtype."""
        return self.namespace.numpy_dtype(self.array.dtype)

    @property
    def block_rows(self):
        """Rows that are handled at once."""
        return self.namespace.block_rows(self.shape[1])

    @property
    def backend(self):
        """The functions that pass over such rows."""
        from .passes import DEVICE  # which needs this class

        return DEVICE

    def astype(self, dtype, copy=True):
        """Return the rows in another of NumPy's dtypes."""
        array = self.namespace.xp.astype(self.array, self.namespace.own_dtype(dtype), copy=copy)
        return DeviceArray(array, self.namespace)

    def __len__(self):
        """Return the number of rows."""
        return self.shape[0]

    def __getitem__(self, order):
        """Return rows in NumPy."""
        return to_numpy(self.take(order))

    def take(self, order, dtype=None):
        """Return rows on the device, without a copy where they lie one after the other and have that dtype."""
        xp = self.namespace.xp
        part = order if isinstance(order, slice) else as_slice(order)
        if part is None:
            block = xp.take(self.array, self.namespace.indices(order), axis=0)
        else:
            block = self.array[part, ...]
        return block if dtype is None else xp.astype(block, dtype, copy=False)

    def block(self, order, dtype):
        """Return rows for a computation in a dtype: those of a CPU in it, where operations on mixed dtypes are slow.

        Other devices convert numbers as they read them, which spares a copy.
        """
        return self.take(order, dtype if self.namespace.is_cpu else None)


def as_slice(order):
    """Return row numbers that follow one another as a slice; None for others."""
    n = len(order)
    if n == 0 or order[-1] - order[0] != n - 1 or not np.array_equal(order, np.arange(order[0], order[0] + n)):
        return None
    return slice(int(order[0]), int(order[0]) + n)


def blocks(rows, order=None):
    """Yield the numbers of ``Rows`` in blocks for their device; as slices where they lie one after the other.

    With an ``order`` these are parts of it.
    """
    size = rows.X.block_rows
    if order is None and rows.kept is None:
        yield from (slice(start, min(start + size, rows.n_rows)) for start in range(0, rows.n_rows, size))
        return
    order = rows.kept if order is None else order
    yield from (order[start : start + size] for start in range(0, len(order), size))


class Totals:
    """Sums over blocks: on the device in float64, in NumPy where the device has only float32."""

    def __init__(self, namespace):
        self.namespace, self.sums = namespace, None

    def add(self, *parts):
        """Add the sums of a block."""
        if not self.namespace.has_double:
            parts = [to_numpy(part).astype(np.float64) for part in parts]
        self.sums = parts if self.sums is None else [a + b for a, b in zip(self.sums, parts, strict=True)]

    def numpy(self):
        """Return the sums in NumPy."""
        return [np.array(to_numpy(total), dtype=np.float64) for total in self.sums]
