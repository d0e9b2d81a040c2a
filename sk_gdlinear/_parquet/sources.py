"""One file of rows: its columns and row groups, reading it, and checking that it has not changed."""

from __future__ import annotations

import os

# Read buffer per column in bytes, for local and for remote files. A page is read in one piece even if it is larger.
LOCAL_BYTES, READ_BYTES = 1 << 13, 1 << 16

# First version of pyarrow whose buffered reads are safe. Earlier ones may fail or write beyond their buffer
# (apache/arrow issues 43949 and 48311), so with them the column of a row group is read as a whole.
READS_IN_PIECES = 24


class Source:
    """The row groups of one file.

    ``ids`` are the numbers of the row groups that are not empty, ``rows`` their numbers of rows. ``constants`` maps
    partition columns to their values, which are taken from the path; ``schema`` has the columns inside the file.
    """

    def __init__(self, filesystem, path, name, keys, schema):
        self.filesystem, self.path, self.name, self.schema = filesystem, path, name, schema
        self.constants = {key: value for key, value in keys.items() if key not in schema.names}
        self.ids, self.rows = [], []

    @property
    def names(self):
        """The names of all columns."""
        return [*self.schema.names, *self.constants]

    @property
    def index(self):
        """The names of the columns that hold the index of a pandas frame."""
        stored = (self.schema.pandas_metadata or {}).get("index_columns", [])
        return {name for name in stored if isinstance(name, str)}  # a range is stored as a dict, in no column

    def type(self, name):
        """Return the type of a column."""
        import pyarrow as pa

        if name not in self.constants:
            return self.schema.field(name).type
        value = self.constants[name]
        return pa.float64() if value is None else pa.scalar(value).type

    def take_groups(self, ids, rows):
        """Set ``ids`` and ``rows``, without the row groups that are empty."""
        self.ids, self.rows = [], []
        for i, n in zip(ids, rows, strict=True):
            if n > 0:
                self.ids.append(i)
                self.rows.append(n)

    def place(self, group, row):
        """Return a description of a row of the row group ``ids[group]``, for messages."""
        return f"row {row} of row group {self.ids[group]} of the file {self.name!r}"

    def batches(self, groups, names, rows=None):
        """Yield the columns of some row groups in record batches.

        Parameters
        ----------
        groups : list of int
            Indices into ``ids``.
        names : list of str
            The columns.
        rows : int, default=None
            Largest number of rows of a batch. By default each row group is decoded as a whole, which takes less time
            but all its memory; pyarrow then decodes the columns in several threads.

        Raises
        ------
        ValueError
            If the file has changed.
        OSError
            If it has not changed, but cannot be read.
        """
        import pyarrow as pa

        left = sum(self.rows[group] for group in groups)
        try:
            self.check()
            for batch in self.read(groups, names, rows):
                if self.is_local:
                    self.check()  # after the rows were read, so that no rows of a changed file are yielded
                left -= batch.num_rows
                if batch.num_rows:
                    yield batch
        except (OSError, pa.ArrowException) as error:
            self.check()
            if isinstance(error, MemoryError):
                raise
            raise OSError(f"The file {self.name!r} cannot be read: {error}") from error
        if left:
            raise self.changed(f"it has {left} rows fewer than before")

    @property
    def is_local(self):
        """Whether the file is on a local file system, where getting its size and time is cheap."""
        import pyarrow.fs

        return isinstance(self.filesystem, pyarrow.fs.LocalFileSystem)

    def stamp(self):
        """Return the size and the time of the file, which differ once it has changed; None where they are unknown."""
        if self.filesystem is None:
            return ()
        if self.is_local:
            found = os.stat(self.path)
            return found.st_size, found.st_mtime_ns, found.st_ino
        (info,) = self.filesystem.get_file_info([self.path])
        return info.size, info.mtime_ns

    def check(self):
        """Raise if the file has changed since this object was made."""
        import pyarrow as pa

        try:
            stamp = self.stamp()
            if (stamp != self.first_stamp or None in stamp) and not self.is_same():
                raise self.changed("it holds other rows")
            self.first_stamp = stamp
        except (OSError, pa.ArrowException) as error:
            raise self.changed(str(error)) from error

    def changed(self, how):
        """Return the error for a file that has changed."""
        return ValueError(
            f"The file {self.name!r} has changed since this ParquetBatches was made: {how}. Do not change files during "
            "training; to train on the files as they are now, make a new ParquetBatches and start anew."
        )


class ParquetSource(Source):
    """A Parquet file, whose footer is parsed once; only its row groups ``ids`` are read, by default all."""

    def __init__(self, filesystem, path, name, keys, ids=None):
        import pyarrow.parquet

        self.filesystem, self.path = _unmapped(filesystem, path)
        self.first_stamp = self.stamp()
        with self.filesystem.open_input_file(self.path) as file:
            parquet = pyarrow.parquet.ParquetFile(file)
            self.metadata, schema = parquet.metadata, parquet.schema_arrow
        super().__init__(self.filesystem, self.path, name, keys, schema)
        ids = range(self.metadata.num_row_groups) if ids is None else ids
        self.take_groups(ids, [self.metadata.row_group(i).num_rows for i in ids])

    def read(self, groups, names, rows):
        """Yield the record batches; the parameters are those of ``batches``."""
        import pyarrow as pa
        import pyarrow.parquet

        inside = [name for name in names if name not in self.constants]
        at_once = LOCAL_BYTES if self.is_local else READ_BYTES
        if int(pa.__version__.split(".")[0]) < READS_IN_PIECES:
            at_once = 0
        with self.filesystem.open_input_file(self.path) as file:
            parquet = pyarrow.parquet.ParquetFile(file, metadata=self.metadata, buffer_size=at_once, pre_buffer=False)
            ids = [self.ids[group] for group in groups]
            for batch in _record_batches(parquet, ids, inside or self.schema.names[:1], rows):
                columns = [
                    pa.repeat(pa.scalar(self.constants[name], self.type(name)), batch.num_rows)
                    if name in self.constants
                    else batch.column(name)
                    for name in names
                ]
                yield pa.RecordBatch.from_arrays(columns, names)

    def is_same(self):
        """Whether the footer is unchanged: then the file was only touched, or overwritten with the same rows."""
        import pyarrow.parquet

        return pyarrow.parquet.read_metadata(self.path, filesystem=self.filesystem).equals(self.metadata)


def _record_batches(parquet, ids, names, rows):
    """Yield columns of row groups of an open file in batches of at most ``rows`` rows, or each row group as a whole."""
    if rows is not None:
        yield from parquet.iter_batches(rows, ids, names, use_threads=False)
        return
    for i in ids:
        yield from parquet.read_row_group(i, names, use_threads=True).to_batches()


class ScannedSource(Source):
    """Fragments of a pyarrow dataset that its scanner reads: those with a filter, and those of other formats.

    ``fragments`` belong to one file; where the format has row groups, each fragment is one row group.
    """

    def __init__(self, fragments, keys, schema, expression):
        first = fragments[0]
        path = getattr(first, "path", None) if getattr(first, "buffer", None) is None else None
        filesystem, path = (None, None) if path is None else _unmapped(first.filesystem, path)
        super().__init__(filesystem, path, path or "in memory", keys, first.physical_schema)
        self.first_stamp = self.stamp()
        self.fragments, self.options = fragments, {"schema": schema, "filter": expression, "use_threads": False}
        counts = [fragment.scanner(columns=[], **self.options).count_rows() for fragment in fragments]
        self.take_groups(range(len(fragments)), counts)

    def place(self, group, row):
        """Return a description of a row of the row group ``ids[group]``, for messages."""
        groups = getattr(self.fragments[self.ids[group]], "row_groups", None)
        inside = f" of row group {groups[0].id}" if groups else ""
        kept = " among those that the filter keeps" if self.options["filter"] is not None else ""
        return f"row {row}{kept}{inside} of the file {self.name!r}"

    def read(self, groups, names, rows):
        """Yield the record batches; the parameters are those of ``batches``."""
        options = self.options | {"batch_readahead": 1, "fragment_readahead": 1}
        if rows is not None:
            options["batch_size"] = rows
        for group in groups:
            yield from self.fragments[self.ids[group]].to_batches(columns=names, **options)

    def is_same(self):
        """Whether a file with a different size or time is the same: only if the file system has no times."""
        return None in self.first_stamp


def _unmapped(filesystem, path):
    """Return the file system and the path in it, with memory mapping off.

    If a file that is mapped into memory is truncated, reading it kills the process.
    """
    import pyarrow.fs

    while isinstance(filesystem, pyarrow.fs.SubTreeFileSystem):
        filesystem, path = filesystem.base_fs, filesystem.base_path + path
    if isinstance(filesystem, pyarrow.fs.LocalFileSystem):
        return pyarrow.fs.LocalFileSystem(), os.path.realpath(path)
    return filesystem, path
