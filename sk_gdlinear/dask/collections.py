"""Dask's collections of rows, arrays and dataframes: their partitions, their columns, and predictions for them."""

import dask.array as da
import numpy as np


def aligned(X, y, sample_weight):
    """Return delayed ``(X, y, sample_weight)`` of every partition, or raise if their rows cannot be matched."""
    named = {"X": X, "y": y} | ({} if sample_weight is None else {"sample_weight": sample_weight})
    for name, rows in named.items():
        if not (isinstance(rows, da.Array) or hasattr(rows, "to_delayed")):
            raise TypeError(
                f"{name} must be a dask array, dataframe or series, got {type(rows).__name__}. Make one with "
                "dask.array.from_array, or use GDLinearRegressor for data in memory."
            )
    lengths = {name: _lengths(rows) for name, rows in named.items()}
    for name in list(named)[1:]:
        if None not in (lengths["X"], lengths[name]) and lengths[name] != lengths["X"]:
            if sum(lengths[name]) != sum(lengths["X"]):
                raise ValueError(f"X has {sum(lengths['X'])} rows, but {name} has {sum(lengths[name])}.")
            named[name] = named[name].rechunk({0: lengths["X"]})
    blocks = {name: _blocks(rows) for name, rows in named.items()}
    counts = {name: len(parts) for name, parts in blocks.items()}
    if len(set(counts.values())) > 1:
        raise ValueError(
            f"X, y and sample_weight must have the same partitions, got {counts}, some of unknown length. Pass columns "
            "of one dataframe, or call persist() on it, or compute_chunk_sizes() and rechunk on arrays."
        )
    return list(zip(blocks["X"], blocks["y"], blocks.get("sample_weight", [None] * counts["X"]), strict=True))


def _lengths(rows):
    """Return the number of rows of every partition, None if they are not known."""
    known = isinstance(rows, da.Array) and not np.isnan(rows.chunks[0]).any()
    return rows.chunks[0] if known else None


def _blocks(rows):
    """Return the partitions, whole rows each."""
    if not isinstance(rows, da.Array):
        # Optimization joins the partitions of Parquet files that few columns are read of: of y other ones than of X.
        return list(rows.to_delayed(optimize_graph=False))
    return list((rows.rechunk({1: -1}) if rows.ndim > 1 else rows).to_delayed().ravel())


def header(X):
    """Return an array or a frame without rows, with the number and names of the features."""
    if isinstance(X, da.Array):
        if X.ndim != 2:
            raise ValueError(f"X must be 2-dimensional, got {X.ndim} dimensions. Reshape it.")
        return np.empty((0, X.shape[1]))
    import pandas as pd

    return pd.DataFrame(columns=X.columns)


def by_partition(predict, X, outputs):
    """Return the predictions for a dask array or dataframe, lazily; ``outputs`` is their shape beyond the rows."""
    if not isinstance(X, da.Array):
        dtype = np.float32 if (X.dtypes == np.float32).all() else np.float64
        return X.map_partitions(_predict_frame, predict, outputs, dtype, meta=_frame(np.empty((0, *outputs), dtype)))
    X = X.rechunk({1: -1})
    dtype = np.float32 if X.dtype == np.float32 else np.float64
    chunks = (X.chunks[0], *((n,) for n in outputs))
    dropped = [] if outputs else [1]
    meta = np.empty((0,) * len(chunks), dtype)
    return X.map_blocks(_predict_rows, predict, outputs, drop_axis=dropped, chunks=chunks, dtype=dtype, meta=meta)


def _predict_rows(X, predict, outputs):
    return predict(X) if X.shape[0] else np.empty((0, *outputs))


def _predict_frame(X, predict, outputs, dtype):
    return _frame(_predict_rows(X, predict, outputs).astype(dtype, copy=False), X.index)


def _frame(values, index=None):
    """Return predictions as a series, or as a frame of several targets."""
    import pandas as pd

    return (pd.DataFrame if values.ndim > 1 else pd.Series)(values, index=index)
