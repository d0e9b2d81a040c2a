"""Parquet files as chunks for ``fit_batches``, each chunk from many places of the files."""

from __future__ import annotations

import os
import weakref
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from math import ceil
from numbers import Integral

import numpy as np
from sklearn.utils import check_scalar

# Threads that read ahead (decoding releases the GIL), and the bytes of a column they ask for at once from elsewhere.
READERS = max(2, min(4, (os.cpu_count() or 1) - 1))
READ_BYTES = 1 << 16

# Chunks read ahead: with fewer, the model or the readers wait for the other.
AHEAD = 2

# Runs that a stretch decodes at once, which costs less than one by one, as long as they have no more rows than that.
DECODED_RUNS = 4
DECODED_ROWS = 1 << 14

# Rows turned from columns at once, which is done beside the chunk.
TURNED_ROWS = 1 << 12


class ParquetBatches:
    """Chunks ``(X, y)`` or ``(X, y, sample_weight)`` of Parquet files larger than memory, for ``fit_batches``.

    The files are cut into as many equal stretches as ``interleave`` says. Each is read in row groups in random order,
    and every chunk takes a run of rows from each stretch: a stratified sample of all rows even where the files are
    sorted by the target. ``partial_fit`` then shuffles the rows of the chunk. The next chunks are read while the model
    learns from this one.

    Parameters
    ----------
    path : path or list of paths
        A directory, whose Parquet files are found at any depth, or files.
    target : str or list of str
        Column of the target; a list makes y 2-D.
    weight : str, default=None
        Column of the sample weights.
    columns : list of str, default=None
        Feature columns, which must be numbers or booleans; by default all others.
    batch_rows : int, default=65536
        Rows of a chunk, about.
    interleave : int, default=16
        Stretches of the files that are read side by side; at most as many as there are row groups.
    random_state : int, default=0
        Seed of the order of the row groups. Each epoch has its own order, the same in every run.

    Attributes
    ----------
    columns : list of str
        Feature columns, in the order of X.
    dtype : dtype
        Of X: float32 if all feature columns are, else float64; y and the weights are always float64.
    n_rows : int
        Rows of all files.

    Raises
    ------
    ImportError
        Without pyarrow.
    ValueError
        If there are no rows, no feature or target columns, a column is missing, or a column does not hold numbers.

    See Also
    --------
    GDLinearRegressor.fit_batches : What takes these chunks.

    Notes
    -----
    Memory is that of four chunks and those you keep, of the rows decoded (at most four runs of each stretch at once:
    four more chunks by default), and of a few pages (1 MB by default) for each stretch and column, whatever the size
    of the files. Sorted files mix well when they hold many row groups: write them with 100,000 rows each or fewer
    (``row_group_size`` of ``pyarrow.parquet.write_table``).

    Examples
    --------
    One row group of 100 rows from each tenth of the file makes a chunk; ``examples/files.py`` runs on more::

        table = pyarrow.table({"x": range(1000), "price": range(1, 3001, 3)})
        pyarrow.parquet.write_table(table, "folder/0.parquet", row_group_size=100)
        batches = ParquetBatches("folder", target="price")
        model = GDLinearRegressor().fit_batches(batches, epochs=20, checkpoint="price.checkpoint", progress=True)
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        target: str | Sequence[str],
        *,
        weight: str | None = None,
        columns: Sequence[str] | None = None,
        batch_rows: int = 65_536,
        interleave: int = 16,
        random_state: int = 0,
    ) -> None:
        check_scalar(batch_rows, "batch_rows", Integral, min_val=1)
        check_scalar(interleave, "interleave", Integral, min_val=1)
        check_scalar(random_state, "random_state", Integral, min_val=0)
        self.flat = isinstance(target, str)
        self.targets, self.weight = [target] if self.flat else list(target), weight
        if not self.targets:
            raise ValueError("target=[] names no column. Name at least one.")
        dataset = _open(path)
        self.others = [*self.targets, *([] if weight is None else [weight])]
        rest = [name for name in dataset.schema.names if name not in self.others]
        self.columns = rest if columns is None else list(columns)
        self.dtype = _check_types(dataset.schema, self.columns, self.others)
        groups = [group for fragment in dataset.get_fragments() for group in fragment.split_by_row_group()]
        self.groups = [group for group in groups if group.row_groups[0].num_rows > 0]
        self.n_rows = sum(group.row_groups[0].num_rows for group in self.groups)
        if self.n_rows == 0:
            raise ValueError(f"There are no rows in {path!r}.")
        self.n_chunks = ceil(self.n_rows / batch_rows)
        self.n_places = min(interleave, len(self.groups), batch_rows)
        self.random_state, self.epoch = random_state, 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of an epoch; ``fit_batches`` calls this.

        Parameters
        ----------
        epoch : int
            Number of the epoch, from 0.
        """
        self.epoch = epoch

    def __len__(self):
        """Return the number of chunks of an epoch."""
        return self.n_chunks

    def __iter__(self):
        """Yield the chunks of the epoch."""
        rng = np.random.default_rng([self.random_state, self.epoch])
        shares = np.array_split(np.arange(len(self.groups)), self.n_places)
        orders = [[self.groups[i] for i in rng.permutation(share)] for share in shares]
        places = [_Place(order, self.columns, self.others, self.n_chunks, self.dtype) for order in orders]
        with ThreadPoolExecutor(READERS) as pool:
            memory = _Memory(), _Memory()
            coming = deque(self._read(pool, places, n, memory) for n in range(min(AHEAD, self.n_chunks)))
            for number in range(AHEAD, AHEAD + self.n_chunks):
                chunk = self._chunk(*coming.popleft())
                if number < self.n_chunks:
                    coming.append(self._read(pool, places, number, memory))
                yield chunk  # learnt from while the next are read

    def _read(self, pool, places, number, memory):
        """Start reading chunk ``number``, each place into its part of the arrays."""
        ends = np.cumsum([0, *(place.n_rows(number) for place in places)])
        X = memory[0].array((ends[-1], len(self.columns)), self.dtype)
        others = memory[1].array((ends[-1], len(self.others)), np.dtype(np.float64))
        parts = [slice(*pair) for pair in pairwise(ends)]
        return X, others, [place.submit(pool, X[part], others[part]) for place, part in zip(places, parts, strict=True)]

    def _chunk(self, X, others, reading):
        """Return the chunk once it is read."""
        for part in reading:
            part.result()
        y = others[:, 0] if self.flat else others[:, : len(self.targets)]
        return (X, y) if self.weight is None else (X, y, others[:, -1])


class _Memory:
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


class _Place:
    """Row groups read one after the other, in as many runs of rows as there are chunks: all places end together."""

    def __init__(self, groups, columns, others, n_chunks, dtype):
        self.columns, self.others, self.n_chunks, self.dtype = columns, others, n_chunks, dtype
        self.total = sum(group.row_groups[0].num_rows for group in groups)
        run = ceil(self.total / n_chunks)
        self.batches = _record_batches(groups, columns + others, max(run, min(DECODED_RUNS * run, DECODED_ROWS)))
        self.held, self.position, self.end = (), 0, 0  # the newest record batch, cut in two, and its rows still to come
        self.reading = None  # the newest task

    def n_rows(self, number):
        """Return the rows of the run for chunk ``number``."""
        return self.total * (number + 1) // self.n_chunks - self.total * number // self.n_chunks

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


def _record_batches(groups, names, rows):
    """Yield the row groups one after the other in record batches of at most ``rows`` rows.

    Files of this machine are mapped, which spares two copies; ``group.open()`` of a mapping file system does not.
    """
    import pyarrow.fs
    import pyarrow.parquet

    for group in groups:
        mapped = isinstance(group.filesystem, pyarrow.fs.LocalFileSystem)
        with pyarrow.memory_map(group.path) if mapped else group.open() as source:
            buffer = 0 if mapped else READ_BYTES
            file = pyarrow.parquet.ParquetFile(source, buffer_size=buffer, pre_buffer=False)
            yield from file.iter_batches(rows, [group.row_groups[0].id], names, use_threads=False)


def _open(path):
    """Return the pyarrow dataset of the files."""
    try:
        import pyarrow.dataset
    except ImportError as error:
        raise ImportError("ParquetBatches needs pyarrow: pip install 'sk_gdlinear[files]'.") from error
    paths = [os.fspath(p) for p in path] if isinstance(path, list | tuple) else os.fspath(path)
    return pyarrow.dataset.dataset(paths, format="parquet")


def _check_types(schema, columns, others):
    """Return the dtype of X, or raise if a column is missing or not numeric."""
    from pyarrow import types

    if not columns:
        raise ValueError(
            f"There are no feature columns. Name at least one in columns=[...]; the files have {schema.names}."
        )
    missing = [name for name in (*columns, *others) if name not in schema.names]
    if missing:
        raise ValueError(f"The files have no column {missing}; they have {schema.names}.")
    kinds = {name: schema.field(name).type for name in (*columns, *others)}
    numeric = (types.is_floating, types.is_integer, types.is_boolean, types.is_decimal)
    wrong = {name: str(kind) for name, kind in kinds.items() if not any(test(kind) for test in numeric)}
    if wrong:
        raise ValueError(
            f"Columns must be numbers or booleans, got {wrong}. Leave them out with columns=[...], or encode them in a "
            "generator of chunks of your own for fit_batches."
        )
    return np.dtype(np.float32 if all(types.is_float32(kinds[name]) for name in columns) else np.float64)


def _floats(batch, dtype):
    """Return a record batch with all columns of one floating type."""
    import pyarrow as pa

    real = pa.from_numpy_dtype(dtype)
    if all(kind == real for kind in batch.schema.types):
        return batch
    return pa.RecordBatch.from_arrays([column.cast(real, safe=False) for column in batch.columns], batch.schema.names)
