"""Parquet files as chunks for ``fit_batches``, each chunk from many places of the files."""

from __future__ import annotations

import os
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

# Runs that a stretch decodes at once, which costs less than one by one, as long as they have no more rows than that.
DECODED_RUNS = 4
DECODED_ROWS = 1 << 14

# Rows of a chunk that its columns are written into one after the other: they stay in cache.
WRITTEN_ROWS = 1 << 12


class ParquetBatches:
    """Chunks ``(X, y)`` or ``(X, y, sample_weight)`` of Parquet files larger than memory, for ``fit_batches``.

    The files are cut into as many equal stretches as ``interleave`` says. Each is read in row groups in random order,
    and every chunk takes a run of rows from each stretch: a stratified sample of all rows even where the files are
    sorted by the target. ``partial_fit`` then shuffles the rows of the chunk. The next chunk is read while the model
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
    Memory is that of two chunks and, for each stretch and column, a few pages (1 MB by default) of the row group being
    read, of which four runs are decoded at once, whatever the size of the files. Sorted files mix well when they hold
    many row groups: write them with 100,000 rows each or fewer (``row_group_size`` of ``pyarrow.parquet.write_table``).

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
        places = [_Place(order, self.columns, self.others, self.n_chunks) for order in orders]
        with ThreadPoolExecutor(READERS) as pool:
            coming = self._read(pool, places, 0)
            for number in range(1, self.n_chunks + 1):
                chunk = self._chunk(*coming)
                coming = self._read(pool, places, number) if number < self.n_chunks else None
                yield chunk  # learnt from while the next is read

    def _read(self, pool, places, number):
        """Start reading chunk ``number``, each place into its part of new arrays."""
        ends = np.cumsum([0, *(place.n_rows(number) for place in places)])
        X, others = np.empty((ends[-1], len(self.columns)), self.dtype), np.empty((ends[-1], len(self.others)))
        parts = [slice(*pair) for pair in pairwise(ends)]
        tasks = zip(places, parts, strict=True)
        return X, others, [pool.submit(place.read, X[part], others[part]) for place, part in tasks]

    def _chunk(self, X, others, reading):
        """Return the chunk once it is read."""
        for part in reading:
            part.result()
        y = others[:, 0] if self.flat else others[:, : len(self.targets)]
        return (X, y) if self.weight is None else (X, y, others[:, -1])


class _Place:
    """Row groups read one after the other, in as many runs of rows as there are chunks: all places end together."""

    def __init__(self, groups, columns, others, n_chunks):
        self.columns, self.others, self.n_chunks = columns, others, n_chunks
        self.total = sum(group.row_groups[0].num_rows for group in groups)
        run = ceil(self.total / n_chunks)
        self.batches = _record_batches(groups, columns + others, max(run, min(DECODED_RUNS * run, DECODED_ROWS)))
        self.held, self.position, self.end = [], 0, 0  # the newest record batch by column, and its rows still to come

    def n_rows(self, number):
        """Return the rows of the run for chunk ``number``."""
        return self.total * (number + 1) // self.n_chunks - self.total * number // self.n_chunks

    def read(self, X, others):
        """Write the next run into the arrays."""
        start, d = 0, len(self.columns)
        while start < len(X):
            if self.position == self.end:
                self._decode()
            n = min(len(X) - start, self.end - self.position, WRITTEN_ROWS)
            for array, columns in ((X, self.held[:d]), (others, self.held[d:])):
                for j, column in enumerate(columns):
                    array[start : start + n, j] = column[self.position : self.position + n]
            start, self.position = start + n, self.position + n

    def _decode(self):
        """Go on to the next record batch, which may take the memory of the last."""
        self.held = []
        batch = next(self.batches)
        self.held = [_numbers(batch.column(name)) for name in self.columns + self.others]
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


def _numbers(column):
    """Return a column as a NumPy array, its nulls as NaN, which ``partial_fit`` refuses."""
    import pyarrow as pa

    if not pa.types.is_floating(column.type):
        column = column.cast(pa.float64(), safe=False)
    return column.to_numpy(zero_copy_only=False)
