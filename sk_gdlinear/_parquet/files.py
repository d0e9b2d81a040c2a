"""Which files ``ParquetBatches`` reads, and which of their columns."""

from __future__ import annotations

import os
import posixpath
import re
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import unquote

import numpy as np

from .sources import ParquetSource, ScannedSource

# Footers that are read at once, in threads, which hides the latency of remote file systems.
OPENERS = 16

# Endings of Parquet files. A file with such a name that is not Parquet is an error; other files are skipped.
PARQUET_NAMES = (".parquet", ".parq", ".pq")

# Names of index columns. Programs that rewrite a frame may lose the metadata of pandas, which would name them.
INDEX_NAMES = re.compile(r"__index_level_\d+__|__null_dask_index__")

# Texts of integers and numbers in the names of partition folders, and Hive's name for a missing value.
INTEGER, NUMBER = (re.compile(p, re.ASCII) for p in (r"[+-]?\d+", r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?"))
NO_VALUE = "__HIVE_DEFAULT_PARTITION__"


def find_sources(path):
    """Return the sources of a path, a list of paths or a dataset, and the dataset's schema or None."""
    try:
        import pyarrow.dataset
    except ImportError as error:
        raise ImportError("ParquetBatches needs pyarrow: pip install 'sk_gdlinear[files]'.") from error
    if isinstance(path, pyarrow.dataset.Dataset):
        return _of_dataset(path), path.schema
    several = isinstance(path, list | tuple)
    found = {}
    for one in path if several else [path]:
        for filesystem, real, name, base in _found(os.fspath(one), several):
            # Each file once, however many links lead to it.
            found.setdefault((filesystem.type_name, real), (filesystem, real, name, base))
    with ThreadPoolExecutor(OPENERS) as pool:
        sources = list(pool.map(_source, sorted(found.values(), key=lambda file: file[2])))
    sources = [source for source in sources if source is not None]
    if not sources:
        raise ValueError(f"There are no Parquet files in {path!r}. Name a folder that holds some, or files.")
    _read_keys(sources)
    return sources, None


def _found(path, several):
    """Yield each file as a tuple: file system, path in it, name, and the folder that holds the partition folders.

    That folder is None for one of several files that were given by name.
    """
    import pyarrow.fs

    if os.path.isdir(path):
        for name in sorted(_walk(path), key=os.path.islink):
            yield pyarrow.fs.LocalFileSystem(), os.path.realpath(name), name, path
    elif os.path.exists(path):
        yield pyarrow.fs.LocalFileSystem(), os.path.realpath(path), path, None if several else os.path.dirname(path)
    elif "://" in path:
        filesystem, base = pyarrow.fs.FileSystem.from_uri(path)
        yield from _found_by_address(filesystem, base, path, several)
    else:
        raise FileNotFoundError(f"There is no file or folder {path!r}.")


def _found_by_address(filesystem, base, address, several):
    """Yield the same tuples for an address, such as ``s3://bucket/folder``."""
    import pyarrow.fs

    info = filesystem.get_file_info(base)
    if info.type == pyarrow.fs.FileType.NotFound:
        raise FileNotFoundError(f"There is no file or folder {address!r}.")
    if info.is_file:
        yield filesystem, base, base, None if several else posixpath.dirname(base)
        return
    for info in filesystem.get_file_info(pyarrow.fs.FileSelector(base, recursive=True)):
        below = posixpath.relpath(info.path, base).split("/")
        if info.is_file and not any(_is_hidden(part) for part in below):
            yield filesystem, info.path, info.path, base


def _walk(folder):
    """Yield the files in a folder at any depth; each folder once, and those behind symbolic links last."""
    waiting, seen = [folder], set()
    for top in waiting:
        for root, folders, files in os.walk(top, onerror=_raise):
            if (real := os.path.realpath(root)) in seen:
                folders.clear()
                continue
            seen.add(real)
            folders[:] = sorted(name for name in folders if not _is_hidden(name))
            waiting += [path for name in folders if os.path.islink(path := os.path.join(root, name))]
            for name in files:
                path = os.path.join(root, name)
                if not _is_hidden(name) and (os.path.isfile(path) or name.endswith(PARQUET_NAMES)):
                    yield path


def _raise(error):
    raise error  # by default os.walk skips folders that cannot be read


def _is_hidden(name):
    """Whether a name is one of those that hold no rows by convention, such as ``_SUCCESS`` and ``_metadata``."""
    return name.startswith((".", "_"))


def _source(file):
    """Return the source of a file, or None for a file in a folder that is not Parquet."""
    import pyarrow as pa

    filesystem, real, name, base = file
    keys = {}
    for part in os.path.dirname(name if base is None else os.path.relpath(name, base or ".")).split(os.sep):
        key, equals, value = part.partition("=")
        if equals and key:
            keys[unquote(key)] = None if value == NO_VALUE else unquote(value)
    try:
        return ParquetSource(filesystem, real, name, keys)
    except FileNotFoundError:
        if name.endswith(PARQUET_NAMES):
            raise
        return None  # another process has removed it meanwhile, such as the temporary file of a checkpoint
    except (OSError, pa.ArrowException) as error:
        named = base is None or name.endswith(PARQUET_NAMES)
        if named or isinstance(error, PermissionError) or _begins_as_parquet(filesystem, real):
            raise ValueError(f"The file {name!r} cannot be read as a Parquet file: {error}") from error
        return None


def _begins_as_parquet(filesystem, path):
    """Whether a file begins as Parquet does: if it has no footer, it was not written to its end."""
    with filesystem.open_input_stream(path) as file:
        return file.read(4) == b"PAR1"


def _read_keys(sources):
    """Convert the values of a partition column to numbers if all of them are numbers, else leave all as strings."""
    for key in {key for source in sources for key in source.constants}:
        having = [source for source in sources if key in source.constants]
        values = {source.constants[key] for source in having} - {None}
        kind = next((k for k, form in ((int, INTEGER), (float, NUMBER)) if all(map(form.fullmatch, values))), str)
        for source in having:
            if (value := source.constants[key]) is not None:
                source.constants[key] = float(value) if kind is int and abs(int(value)) >= 2**63 else kind(value)


def _of_dataset(dataset):
    """Return the sources of a dataset, without the row groups that its filter excludes."""
    # get_fragments fails for a filtered dataset, and pyarrow has no public attribute for the filter.
    expression = dataset._scan_options.get("filter")
    if expression is not None:
        dataset = dataset.replace_schema(dataset.schema)
        dataset._scan_options = {}
    fragments = list(dataset.get_fragments(expression))
    schema = _widened(dataset.schema, fragments)
    sources = [_of_fragment(fragment, schema, expression) for fragment in fragments]
    sources = [source for source in sources if source.rows]
    if not sources:
        raise ValueError("The dataset has no rows" + (" that its filter keeps." if expression is not None else "."))
    return sources


def _widened(schema, fragments):
    """Return the schema with types for numbers that hold those of all fragments: it may be that of the first alone."""
    import pyarrow as pa
    from pyarrow import types

    kinds = {field.name: {field.type} for field in schema}
    for fragment in fragments:
        for field in fragment.physical_schema:
            kinds.setdefault(field.name, set()).add(field.type)
    for place, field in enumerate(schema):
        own = kinds[field.name]
        if len(own) > 1 and all(types.is_integer(kind) or types.is_floating(kind) for kind in own):
            is_signed = all(types.is_integer(kind) and not types.is_uint64(kind) for kind in own)
            schema = schema.set(place, field.with_type(pa.int64() if is_signed else pa.float64()))
    return schema


def _of_fragment(fragment, schema, expression):
    """Return the source of a fragment: the file itself if the filter keeps all rows of its row groups."""
    import pyarrow.dataset as ds

    keys = ds.get_partition_keys(fragment.partition_expression)
    if not isinstance(fragment, ds.ParquetFileFragment):
        return ScannedSource([fragment], keys, schema, expression)
    groups = fragment.split_by_row_group(expression, schema=schema) or [fragment]
    scanned = None
    if expression is not None or fragment.buffer is not None:
        scanned = ScannedSource(groups, keys, schema, expression)
        if fragment.buffer is not None or scanned.rows != [group.num_rows for f in groups for group in f.row_groups]:
            return scanned
    ids = [group.id for f in groups for group in f.row_groups]
    return ParquetSource(fragment.filesystem, fragment.path, fragment.path, keys, ids)


def choose_columns(sources, declared, columns, others):
    """Return the feature columns and the dtype of X.

    Parameters
    ----------
    sources : list of Source
        The files.
    declared : Schema or None
        Schema of the dataset, if a dataset was given.
    columns : list of str or None
        Feature columns, or None for all but ``others`` and stored indices.
    others : list of str
        Columns of the target and the weights.

    Returns
    -------
    columns : list of str
        The feature columns.
    dtype : dtype
        float32 if all of them are, in all files, else float64.

    Raises
    ------
    ValueError
        If there are no feature columns, or if a column is missing, repeated or not numeric in one of the files.
    """
    from pyarrow import types

    if columns is None:
        index = set().union(*(source.index for source in sources))
        names = declared.names if declared is not None else [name for source in sources for name in source.names]
        columns = [
            name
            for name in dict.fromkeys(names)
            if name not in others and name not in index and not INDEX_NAMES.fullmatch(name)
        ]
    if not columns:
        raise ValueError(
            f"There are no feature columns. Name at least one in columns=[...]; the files have {sources[0].names}."
        )
    if len(set(columns)) < len(columns):
        raise ValueError(f"columns names a column more than once, got {columns}. Name each once.")
    for source in sources:
        _check_types(source, (*columns, *others))
    kinds = [source.type(name) for source in sources if source.rows for name in columns]
    if declared is not None:
        kinds += [declared.field(name).type for name in columns if name in declared.names]
    return columns, np.dtype(np.float32 if all(map(types.is_float32, kinds)) else np.float64)


def _check_types(source, names):
    """Raise if a column is missing in a file, occurs in it more than once, or is not numeric."""
    from pyarrow import types

    missing = [name for name in names if name not in source.names]
    if missing:
        raise ValueError(
            f"The file {source.name!r} has no column {missing}; it has {source.names}. Name columns that all files "
            "have, or only the files that have these."
        )
    twice = [name for name in names if source.names.count(name) > 1]
    if twice:
        raise ValueError(
            f"The file {source.name!r} has several columns of the name {twice}. Leave them out, or rename."
        )
    numeric = (types.is_floating, types.is_integer, types.is_boolean, types.is_decimal)
    kinds = {name: source.type(name) for name in names if source.rows}  # empty columns may be of type null
    wrong = {name: str(kind) for name, kind in kinds.items() if not any(test(kind) for test in numeric)}
    if wrong:
        raise ValueError(
            f"Columns must be numbers or booleans, got {wrong} in the file {source.name!r}. Leave them out with "
            "columns=[...], or encode them in a generator of chunks of your own for fit_batches."
        )
