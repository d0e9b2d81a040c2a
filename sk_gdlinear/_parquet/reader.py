"""Reading of files from many places at once, and the memory of the chunks."""

from __future__ import annotations

import weakref
from itertools import groupby
from math import ceil
from threading import Lock
from typing import Any, NamedTuple

import numpy as np

# Runs that a stretch decodes at once, which costs less than one by one, as long as they have no more rows than that.
DECODED_RUNS = 4
DECODED_ROWS = 1 << 14

# Rows turned from columns at once, which is done beside the chunk.
TURNED_ROWS = 1 << 12

# Bytes of row groups that are cut in pieces and kept decoded; what is more is decoded again for every piece.
KEPT_BYTES = 1 << 28


class Piece(NamedTuple):
    """Rows ``start`` to ``stop`` of a row group, which is whole, or kept decoded, or decoded up to the piece."""

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
    """Return the pieces of each place, all places of about the same number of rows, and how often a row is decoded.

    Row groups that hold the rows of several places are cut, so that sorted rows mix however few groups they lie in.
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
    """Return the pieces in random order, file by file: files are opened once, and the footer of each is at hand."""
    files = {}
    for i in rng.permutation(len(pieces)):
        files.setdefault(id(pieces[i].source), []).append(pieces[i])
    return [piece for file in files.values() for piece in file]


class Rows:
    """Which rows of a place each chunk takes: as many runs as there are chunks, so that all places end together."""

    def __init__(self, pieces, n_chunks):
        self.pieces, self.n_chunks = pieces, n_chunks
        self.total = sum(piece.n_rows for piece in pieces)

    def start(self, number):
        """Return how many rows of the place chunks before ``number`` have."""
        return self.total * number // self.n_chunks

    def count(self, number):
        """Return how many rows chunk ``number`` has."""
        return self.start(number + 1) - self.start(number)

    def where(self, row):
        """Return the words for a row of the place."""
        for piece in self.pieces:
            if row < piece.n_rows:
                return piece.source.place(piece.group, piece.start + row)
            row -= piece.n_rows
        raise IndexError(row)


class Place:
    """Pieces read one after the other into the chunks."""

    def __init__(self, rows, kept, columns, others, dtype):
        self.columns, self.others, self.dtype = columns, others, dtype
        run = ceil(rows.total / rows.n_chunks)
        names = list(dict.fromkeys(columns + others))
        self.batches = _record_batches(rows.pieces, kept, names, max(run, min(DECODED_RUNS * run, DECODED_ROWS)))
        self.held, self.position, self.end = (), 0, 0  # the newest record batch, cut in two, and its rows still to come
        self.reading = None  # the newest task

    def submit(self, pool, X, others):
        """Start writing the next run into the arrays, after the one before."""
        self.reading = pool.submit(self._read, X, others, self.reading)
        return self.reading

    def _read(self, X, others, before):
        if before is not None:
            before.result()  # tasks are begun in order, so this one is done or another reader's
        start = 0
        while start < len(X):
            if self.position == self.end:
                self._decode()
            n = min(len(X) - start, self.end - self.position, TURNED_ROWS)
            for array, batch in zip((X, others), self.held, strict=True):
                array[start : start + n] = batch.slice(self.position, n).to_tensor(null_to_nan=True).to_numpy()
            start, self.position = start + n, self.position + n

    def _decode(self):
        """Go on to the next record batch, which may take the memory of the last."""
        self.held = ()
        batch = next(self.batches)
        parts = (self.columns, self.dtype), (self.others, np.float64)
        self.held = [_floats(batch.select(names), dtype) for names, dtype in parts]
        self.position, self.end = 0, batch.num_rows


class Kept:
    """Row groups that are cut: decoded when the first piece is wanted, forgotten after the last."""

    def __init__(self, places):
        pieces = [piece for place in places for piece in place if piece.kept]
        keys = [(id(piece.source), piece.group) for piece in pieces]
        self.left = {key: keys.count(key) for key in keys}
        self.locks, self.batches = {key: Lock() for key in keys}, {}

    def rows_of(self, piece, names):
        """Yield the record batches of a piece."""
        key = id(piece.source), piece.group
        with self.locks[key]:
            if key not in self.batches:
                self.batches[key] = list(piece.source.batches([piece.group], names, DECODED_ROWS))
            batches = list(between(self.batches[key], piece.start, piece.stop))
            self.left[key] -= 1
            if not self.left[key]:
                del self.batches[key]
        return batches


def between(batches, start, stop):
    """Yield the rows from ``start`` to ``stop`` of record batches, and read no further."""
    position = 0
    for batch in batches:
        first, last = max(start - position, 0), min(stop - position, batch.num_rows)
        if first < last:
            yield batch.slice(first, last - first)
        position += batch.num_rows
        if position >= stop:
            return


def _record_batches(pieces, kept, names, rows):
    """Yield the pieces one after the other in record batches of at most ``rows`` rows."""
    for (source, whole), run in groupby(pieces, key=lambda piece: (piece.source, piece.whole)):
        if whole:
            yield from source.batches([piece.group for piece in run], names, rows)
            continue
        for piece in run:
            if piece.kept:
                yield from kept.rows_of(piece, names)
            else:
                yield from between(source.batches([piece.group], names, rows), piece.start, piece.stop)


def _floats(batch, dtype):
    """Return a record batch with all columns of one floating type."""
    import pyarrow as pa

    real = pa.from_numpy_dtype(dtype)
    if all(kind == real for kind in batch.schema.types):
        return batch
    return pa.RecordBatch.from_arrays([column.cast(real, safe=False) for column in batch.columns], batch.schema.names)


class Memory:
    """Memory of arrays that is used again once they are gone: clearing new pages would be a tenth of reading."""

    def __init__(self):
        self.free = []

    def array(self, shape, dtype):
        """Return an array of any content, in the memory of an earlier one where that is large enough."""
        size = int(np.prod(shape)) * dtype.itemsize
        block = self.free.pop() if self.free else None
        if block is None or len(block) < size:
            block = np.empty(size + size // 16, np.uint8)  # chunks differ by a few rows
        array = np.frombuffer(memoryview(block)[:size], dtype)  # the base of every view of it, unlike a slice of block
        weakref.finalize(array, _give_back, weakref.ref(self), block).atexit = False
        return array.reshape(shape)


def _give_back(memory, block):
    """Have a block used again while chunks are still read."""
    if (memory := memory()) is not None:
        memory.free.append(block)
