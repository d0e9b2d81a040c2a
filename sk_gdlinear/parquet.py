"""Parquet files as chunks for ``fit_batches``, each chunk from many places of the files."""

from __future__ import annotations

import os
import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from math import ceil
from numbers import Integral
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_scalar

from ._parquet.files import choose_columns, find_sources
from ._parquet.reader import Kept, Memory, Place, Rows, cut, shuffled

if TYPE_CHECKING:
    import pyarrow.dataset

# Threads that read ahead. Decoding releases the GIL.
READERS = max(2, min(4, (os.cpu_count() or 1) - 1))

# Chunks that are read ahead. With fewer, the model waits for the readers, or they for the model.
AHEAD = 2

# A warning is issued if an epoch decodes each row more often than this, on average.
DECODED_OFTEN = 2.0


class ParquetBatches:
    """Chunks ``(X, y)`` or ``(X, y, sample_weight)`` of Parquet files larger than memory, for ``fit_batches``.

    The rows of the files are divided into ``interleave`` equal stretches. The row groups of a stretch are read in
    random order, and every chunk takes some consecutive rows from each stretch, which makes it a stratified sample of
    all rows even if the files are sorted by the target. ``partial_fit`` then shuffles the rows of the chunk. The next
    chunks are read while the model is trained on this one.

    Parameters
    ----------
    path : path, list of paths or pyarrow.dataset.Dataset
        A directory, in which Parquet files are found at any depth, or one or more files. In a directory, files of other
        formats are skipped, and so are files and directories whose names begin with a dot or an underscore. Each file
        is read once, also if several links point to it. A dataset keeps its filter, its file system and its format.
    target : str or list of str
        Column of the target; a list makes y 2-D.
    weight : str, default=None
        Column of the sample weights.
    columns : list of str, default=None
        Feature columns, which must be numbers or booleans in every file; by default all but the target, the weights
        and a stored index of a pandas or Dask frame. Directories named ``key=value`` make the partition column
        ``key``.
    batch_rows : int, default=65536
        Approximate number of rows of a chunk.
    interleave : int, default=16
        Number of stretches of the files from which each chunk takes rows.
    random_state : int, default=0
        Seed of the order of the row groups. Each epoch has its own order, which is the same in every run.

    Attributes
    ----------
    columns : list of str
        Feature columns, in the order of X; ``fit_batches`` keeps them as ``feature_names_in_``.
    dtype : dtype
        Of X: float32 if all feature columns are float32 in all files, else float64. y and the weights are float64.
    n_rows : int
        Rows of all files.

    Raises
    ------
    ImportError
        Without pyarrow.
    FileNotFoundError
        If there is no such file or directory.
    ValueError
        If there are no files, no rows, no feature or target columns, or if a column is missing or does not hold
        numbers in one of the files. During an epoch, if a file has changed since the object was made.

    Warns
    -----
    UserWarning
        If the row groups are so large that an epoch has to decode each row several times.

    See Also
    --------
    GDLinearRegressor.fit_batches : What takes these chunks.

    Notes
    -----
    Memory does not grow with the size of the files. It holds four chunks besides those you keep; decoded rows (by
    default as many as four more chunks); and for each stretch and column a few pages, of 1 MB by default. With pyarrow
    before 24, one compressed row group for each stretch takes the place of the pages.

    A row group that spans several stretches is kept decoded while it is read, as long as all these take no more than
    256 MB. Beyond that, each stretch decodes the row group again from its beginning, and a warning says how often.
    Files with many row groups need neither: write them with 100,000 rows each or fewer (``row_group_size`` of
    ``pyarrow.parquet.write_table``).

    Reading takes about the processor time of ``pyarrow.parquet.read_table`` followed by copying the columns into a
    row-major array, which is less than twice that of ``read_table`` alone (``benchmarks/batches.py``).

    Do not change the files during training: a file that was changed, replaced or removed raises an error that names
    it. Files that are added later are not read.

    A missing value becomes NaN in the chunks; ``fit_batches`` then raises an error that says where in the files it is.

    Examples
    --------
    The file has ten row groups; ``examples/files.py`` is a longer example::

        table = pyarrow.table({"x": range(1000), "price": range(1, 3001, 3)})
        pyarrow.parquet.write_table(table, "folder/0.parquet", row_group_size=100)
        batches = ParquetBatches("folder", target="price")
        model = GDLinearRegressor().fit_batches(batches, epochs=20, checkpoint="price.checkpoint", progress=True)
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | pyarrow.dataset.Dataset,
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
        if isinstance(columns, str):
            raise ValueError(f"columns must be a list of names, got the string {columns!r}. Pass [{columns!r}].")
        self.flat = isinstance(target, str)
        self.targets, self.weight = [target] if isinstance(target, str) else list(target), weight
        if not self.targets:
            raise ValueError("target=[] names no column. Name at least one.")
        self.others = [*self.targets, *([] if weight is None else [weight])]
        self.sources, declared = find_sources(path)
        chosen = None if columns is None else list(columns)
        if chosen is not None and (both := [name for name in chosen if name in self.targets]):
            raise ValueError(
                f"columns names {both}, which target names too. A feature must not be a target: leave out one."
            )
        self.columns, self.dtype = choose_columns(self.sources, declared, chosen, self.others)
        self.n_rows = sum(sum(source.rows) for source in self.sources)
        if self.n_rows == 0:
            raise ValueError(f"There are no rows in {path!r}.")
        self.n_chunks = ceil(self.n_rows / batch_rows)
        n_places = min(interleave, batch_rows, self.n_rows)
        self.places, often = cut(self.sources, n_places, len(self.columns) + len(self.others))
        if often > DECODED_OFTEN:
            self._warn_of_large_groups(often)
        self.random_state, self.epoch = random_state, 0
        self._newest: tuple[list[Rows], int] | None = None  # the rows of all places, and the number of the chunk

    def _warn_of_large_groups(self, often):
        """Warn that reading takes long, and say what to do."""
        largest, name = max((max(source.rows, default=0), source.name) for source in self.sources)
        warnings.warn(
            f"The files have few row groups, of up to {largest:,} rows (in {name!r}): to mix rows from many places, an "
            f"epoch decodes each row {often:.1f} times on average. Write the files with smaller row groups, "
            "row_group_size=100_000 of pyarrow.parquet.write_table; or, if their rows are in random order, pass a "
            "smaller interleave.",
            UserWarning,
            stacklevel=3,
        )

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of an epoch; ``fit_batches`` calls this.

        Parameters
        ----------
        epoch : int
            Number of the epoch, from 0.
        """
        self.epoch = epoch

    def __len__(self) -> int:
        """Return the number of chunks of an epoch."""
        return self.n_chunks

    def __iter__(self) -> Iterator[tuple[NDArray[np.floating], ...]]:
        """Yield the chunks of the epoch."""
        for source in self.sources:
            if source.is_local:  # remote files are checked when they are opened
                source.check()
        rng = np.random.default_rng([self.random_state, self.epoch])
        orders = [Rows(shuffled(place, rng), self.n_chunks) for place in self.places]
        kept = Kept(self.places)
        places = [Place(rows, kept, self.columns, self.others, self.dtype) for rows in orders]
        with ThreadPoolExecutor(READERS) as pool:
            memory = Memory(), Memory()

            def read(number):
                """Start tasks that read a chunk, each place into its part of the arrays."""
                ends = np.cumsum([0, *(rows.count(number) for rows in orders)])
                X = memory[0].array((ends[-1], len(self.columns)), self.dtype)
                others = memory[1].array((ends[-1], len(self.others)), np.dtype(np.float64))
                parts = [slice(*pair) for pair in pairwise(ends)]
                pairs = zip(places, parts, strict=True)
                return X, others, [place.submit(pool, X[part], others[part]) for place, part in pairs]

            coming = deque(read(number) for number in range(min(AHEAD, self.n_chunks)))
            for number in range(self.n_chunks):
                chunk = self._chunk(*coming.popleft())
                if number + AHEAD < self.n_chunks:
                    coming.append(read(number + AHEAD))
                self._newest = orders, number
                yield chunk  # the next are read while the caller uses it

    def _chunk(self, X, others, reading):
        """Return the chunk once it is read."""
        for part in reading:
            part.result()
        y = others[:, 0] if self.flat else others[:, : len(self.targets)]
        return (X, y) if self.weight is None else (X, y, others[:, -1])

    def locate_missing(self, chunk: tuple[NDArray[np.floating], ...]) -> str:
        """Say where in the files the newest chunk has a value that is not finite.

        ``fit_batches`` calls this if a chunk is refused.

        Parameters
        ----------
        chunk : tuple of ndarray
            The newest chunk.

        Returns
        -------
        where : str
            A sentence that names the column, the row, its row group and its file; "" if all values are finite.
        """
        if self._newest is None:
            return ""
        values = np.column_stack(chunk)
        found = np.argwhere(~np.isfinite(values))
        if not len(found):
            return ""
        row, column = found[0]
        orders, number = self._newest
        for rows in orders:
            if row < rows.count(number):
                break
            row -= rows.count(number)
        name = [*self.columns, *self.others][column]
        what = "no value (null or NaN)" if np.isnan(values[tuple(found[0])]) else "an infinite value"
        n = len(np.unique(found[:, 0]))
        return (
            f"The column {name!r} has {what} in {rows.where(rows.start(number) + row)}; of the rows of this chunk {n} "
            "lack a finite value. Drop such rows or fill them in before."
        )
