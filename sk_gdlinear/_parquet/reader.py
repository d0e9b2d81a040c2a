"""Reading from many places of the files at once: the places, the decoded rows, and the memory of the chunks."""

from __future__ import annotations

import weakref
from itertools import groupby
from math import ceil
from threading import Lock
from typing import Any, NamedTuple

import numpy as np

# A place decodes several runs at once, which costs less than one by one, up to this number of rows.
DECODED_RUNS = 4
DECODED_ROWS = 1 << 14

# Rows that are copied from columns into a chunk at once. Not a power of two: the columns of a block would then lie at
# addresses that compete for the same lines of the processor's cache.
TURNED_ROWS = 4_000

# Total size in bytes of the row groups that are cut and kept decoded. Others are decoded again for every piece.
KEPT_BYTES = 1 << 28


class Piece(NamedTuple):
    """Rows ``start`` to ``stop`` of a row group.

    ``whole`` says that these are all its rows. If not, the row group is cut: it is ``kept`` decoded for its other
    pieces, or decoded again, from its beginning, for each of them.
    """

    source: Any
    group: int
    start: int
    stop: int
    whole: bool
    kept: bool

    @property
    def n_rows(self):
        """Its number of rows."""
        return self.stop - self.start


def cut(sources, n_places, n_columns):
    """Divide the rows into places of about the same size, and row groups that span several places into pieces.

    So sorted rows are mixed however few row groups there are.

    Returns
    -------
    places : list of list of Piece
        The pieces of each place.
    decoded : float
        How often a row is decoded in an epoch, on average.
    """
    groups = [(source, group) for source in sources for group in range(len(source.rows))]
    n_rows = sum(source.rows[group] for source, group in groups)
    places: list[list[Piece]] = [[] for _ in range(n_places)]
    room, decoded, before = KEPT_BYTES, 0, 0
    for source, group in groups:
        rows = source.rows[group]
        n_pieces = max(1, round(rows * n_places / n_rows))
        kept = n_pieces > 1 and rows * n_columns * 8 <= room
        room -= rows * n_columns * 8 if kept else 0
        for i in range(n_pieces):
            piece = Piece(source, group, rows * i // n_pieces, rows * (i + 1) // n_pieces, n_pieces == 1, kept)
            places[(2 * before + piece.n_rows) * n_places // (2 * n_rows)].append(piece)
            before += piece.n_rows
            decoded += piece.n_rows if kept else piece.stop
    return [place for place in places if place], decoded / n_rows


def shuffled(pieces, rng):
    """Return the pieces in random order, but file by file, so that each file is opened once."""
    files = {}
    for i in rng.permutation(len(pieces)):
        files.setdefault(id(pieces[i].source), []).append(pieces[i])
    return [piece for file in files.values() for piece in file]


class Rows:
    """The rows of a place, divided into as many runs as there are chunks, so that all places end together."""

    def __init__(self, pieces, n_chunks):
        self.pieces, self.n_chunks = pieces, n_chunks
        self.total = sum(piece.n_rows for piece in pieces)

    def start(self, number):
        """Return how many rows of the place are in the chunks before ``number``."""
        return self.total * number // self.n_chunks

    def count(self, number):
        """Return how many rows of the place are in chunk ``number``."""
        return self.start(number + 1) - self.start(number)

    def where(self, row):
        """Return a description of a row of the place, for messages."""
        for piece in self.pieces:
            if row < piece.n_rows:
                return piece.source.place(piece.group, piece.start + row)
            row -= piece.n_rows
        raise IndexError(row)


class Place:
    """Reads the pieces of one place, one after the other, into the chunks."""

    def __init__(self, rows, kept, columns, others, dtype):
        self.columns, self.others, self.dtype = columns, others, dtype
        run = ceil(rows.total / rows.n_chunks)
        names = list(dict.fromkeys(columns + others))
        self.batches = _record_batches(rows.pieces, kept, names, max(run, min(DECODED_RUNS * run, DECODED_ROWS)))
        # The newest record batch, as features and others, and which of its rows are not yet in a chunk.
        self.held, self.position, self.end = (), 0, 0
        self.reading = None  # the newest task

    def submit(self, pool, X, others):
        """Start a task that writes the next run into the arrays, once the run before is written."""
        self.reading = pool.submit(self._read, X, others, self.reading)
        return self.reading

    def _read(self, X, others, before):
        if before is not None:
            before.result()  # tasks start in order, so this one is done or in another thread, and there is no deadlock
        start = 0
        while start < len(X):
            if self.position == self.end:
                self._decode()
            n = min(len(X) - start, self.end - self.position, TURNED_ROWS)
            for array, batch in zip((X, others), self.held, strict=True):
                block = batch.slice(self.position, n).to_tensor(null_to_nan=True, row_major=False)
                array[start : start + n] = block.to_numpy()
            start, self.position = start + n, self.position + n

    def _decode(self):
        """Go on to the next record batch."""
        self.held = ()  # first, so that the next batch can use this memory
        batch = next(self.batches)
        parts = (self.columns, self.dtype), (self.others, np.float64)
        self.held = [_floats(batch.select(names), dtype) for names, dtype in parts]
        self.position, self.end = 0, batch.num_rows


class Kept:
    """The row groups that are cut and kept: decoded at the first of their pieces, dropped after the last."""

    def __init__(self, places):
        pieces = [piece for place in places for piece in place if piece.kept]
        keys = [(id(piece.source), piece.group) for piece in pieces]
        self.left = {key: keys.count(key) for key in keys}
        self.locks, self.batches = {key: Lock() for key in keys}, {}

    def rows_of(self, piece, names):
        """Return the record batches of a piece."""
        key = id(piece.source), piece.group
        with self.locks[key]:
            if key not in self.batches:
                self.batches[key] = list(piece.source.batches([piece.group], names))
            batches = list(between(self.batches[key], piece.start, piece.stop))
            self.left[key] -= 1
            if not self.left[key]:
                del self.batches[key]
        return batches


def between(batches, start, stop):
    """Yield rows ``start`` to ``stop`` of record batches, which are taken no further than that."""
    position = 0
    for batch in batches:
        first, last = max(start - position, 0), min(stop - position, batch.num_rows)
        if first < last:
            yield batch.slice(first, last - first)
        position += batch.num_rows
        if position >= stop:
            return


def _record_batches(pieces, kept, names, rows):
    """Yield the rows of pieces, in their order, in record batches of at most ``rows`` rows."""
    for (source, whole), run in groupby(pieces, key=lambda piece: (piece.source, piece.whole)):
        if whole:
            yield from source.batches([piece.group for piece in run], names, rows)
            continue
        for piece in run:
            if piece.kept:
                for batch in kept.rows_of(piece, names):
                    for start in range(0, batch.num_rows, rows):
                        yield batch.slice(start, rows)
            else:
                yield from between(source.batches([piece.group], names, rows), piece.start, piece.stop)


def _floats(batch, dtype):
    """Return a record batch with all its columns cast to a floating-point dtype."""
    import pyarrow as pa

    real = pa.from_numpy_dtype(dtype)
    if all(kind == real for kind in batch.schema.types):
        return batch
    return pa.RecordBatch.from_arrays([column.cast(real, safe=False) for column in batch.columns], batch.schema.names)


class Memory:
    """Allocates arrays in the memory of earlier ones that nobody refers to any more.

    New memory would take a tenth of the time of reading, since the operating system has to clear its pages.
    """

    def __init__(self):
        self.free = []

    def array(self, shape, dtype):
        """Return an uninitialized array, in the memory of an earlier one if that is large enough."""
        size = int(np.prod(shape)) * dtype.itemsize
        block = self.free.pop() if self.free else None
        if block is None or len(block) < size:
            block = np.empty(size + size // 16, np.uint8)  # chunks differ by a few rows
        # Unlike a slice of block, this array is the base of all its views: it is finalized after the last of them.
        array = np.frombuffer(memoryview(block)[:size], dtype)
        weakref.finalize(array, _give_back, weakref.ref(self), block).atexit = False
        return array.reshape(shape)


def _give_back(memory, block):
    """Return a block to its memory, unless reading has ended and the memory is gone."""
    if (memory := memory()) is not None:
        memory.free.append(block)
