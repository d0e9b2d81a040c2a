"""One file of rows: its columns and row groups, how it is read, and whether it is still what it was."""

from __future__ import annotations

import os

# Bytes of a column that are asked for at once, from this machine and from elsewhere; a page is read in one piece.
LOCAL_BYTES, READ_BYTES = 1 << 13, 1 << 16

# Before this version of pyarrow, reading piece by piece may fail or write beyond its buffer (apache/arrow issues 43949
# and 48311), so that the column of a row group is read as a whole.
READS_IN_PIECES = 24


class Source:
    """The row groups of one file; ``rows`` holds the number of rows of each that is not empty, ``ids`` its number.

    ``constants`` are the partition columns, which the path of the file tells, ``schema`` has the columns inside it.
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
        """Remember the row groups that hold rows."""
        self.ids, self.rows = [], []
        for i, n in zip(ids, rows, strict=True):
            if n > 0:
                self.ids.append(i)
                self.rows.append(n)

    def place(self, group, row):
        """Return the words for a row of the group at a place of ``ids``."""
        return f"row {row} of row group {self.ids[group]} of the file {self.name!r}"

    def batches(self, groups, names, rows):
        """Yield the columns of some row groups in record batches of at most ``rows`` rows.

        Raises
        ------
        ValueError
            If the file has changed.
        OSError
            If it cannot be read though it has not.
        """
        import pyarrow as pa

        left = sum(self.rows[group] for group in groups)
        try:
            self.check()
            for batch in self.read(groups, names, rows):
                if self.is_local:
                    self.check()  # after the rows were read, so that none of a changed file are handed on
                left -= batch.num_rows
                if batch.num_rows:
                    yield batch
        except (OSError, pa.ArrowException) as error:
            self.check()
            if isinstance(error, MemoryError):
                raise
            raise OSError(f"The file {self.name!r} cannot be read: {error}") from error
        if left:
            raise self.changed(f"it brought {left} rows fewer than it held")

    @property
    def is_local(self):
        """Whether asking for the size and the time of the file costs next to nothing."""
        import pyarrow.fs

        return isinstance(self.filesystem, pyarrow.fs.LocalFileSystem)

    def stamp(self):
        """Return what tells a changed file without reading it; None in it stands for what is not known."""
        if self.filesystem is None:
            return ()
        if self.is_local:
            found = os.stat(self.path)
            return found.st_size, found.st_mtime_ns, found.st_ino
        (info,) = self.filesystem.get_file_info([self.path])
        return info.size, info.mtime_ns

    def check(self):
        """Raise if the file is not what it was when it was first seen."""
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
            f"The file {self.name!r} has changed since this ParquetBatches was made: {how}. Leave files as they are "
            "while a model learns from them; for the files as they are now, make a new ParquetBatches and train anew."
        )


class ParquetSource(Source):
    """A Parquet file, whose footer is parsed once; of its row groups only ``ids``, if given."""

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
        """Yield the record batches."""
        import pyarrow as pa
        import pyarrow.parquet

        inside = [name for name in names if name not in self.constants]
        at_once = LOCAL_BYTES if self.is_local else READ_BYTES
        if int(pa.__version__.split(".")[0]) < READS_IN_PIECES:
            at_once = 0
        with self.filesystem.open_input_file(self.path) as file:
            parquet = pyarrow.parquet.ParquetFile(file, metadata=self.metadata, buffer_size=at_once, pre_buffer=False)
            ids = [self.ids[group] for group in groups]
            for batch in parquet.iter_batches(rows, ids, inside or self.schema.names[:1], use_threads=False):
                columns = [
                    pa.repeat(pa.scalar(self.constants[name], self.type(name)), batch.num_rows)
                    if name in self.constants
                    else batch.column(name)
                    for name in names
                ]
                yield pa.RecordBatch.from_arrays(columns, names)

    def is_same(self):
        """Whether the file still has the footer it had: then it was only touched, or copied over itself."""
        import pyarrow.parquet

        return pyarrow.parquet.read_metadata(self.path, filesystem=self.filesystem).equals(self.metadata)


class ScannedSource(Source):
    """Fragments of a pyarrow dataset that its scanner reads: those with a filter, or of other formats than Parquet.

    ``fragments`` are one file's, each a row group if it has such.
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
        """Return the words for a row of the group at a place of ``ids``."""
        groups = getattr(self.fragments[self.ids[group]], "row_groups", None)
        inside = f" of row group {groups[0].id}" if groups else ""
        kept = " among those that the filter keeps" if self.options["filter"] is not None else ""
        return f"row {row}{kept}{inside} of the file {self.name!r}"

    def read(self, groups, names, rows):
        """Yield the record batches."""
        ahead = {"batch_size": rows, "batch_readahead": 1, "fragment_readahead": 1}
        for group in groups:
            yield from self.fragments[self.ids[group]].to_batches(columns=names, **ahead, **self.options)

    def is_same(self):
        """Whether a file with another stamp is the same: no footer tells."""
        return None in self.first_stamp  # a file system that knows no times


def _unmapped(filesystem, path):
    """Return the file system and the path in it, without mapping: a mapped file that shrinks ends the process."""
    import pyarrow.fs

    while isinstance(filesystem, pyarrow.fs.SubTreeFileSystem):
        filesystem, path = filesystem.base_fs, filesystem.base_path + path
    if isinstance(filesystem, pyarrow.fs.LocalFileSystem):
        return pyarrow.fs.LocalFileSystem(), os.path.realpath(path)
    return filesystem, path
