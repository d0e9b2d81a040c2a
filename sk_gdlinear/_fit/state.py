"""The state of a model between calls, and the mark of its format when it is saved."""

import copy
from dataclasses import replace
from typing import Any

import numpy as np

from .._data.nonempty_columns import NonemptyColumns
from .._data.standardize import Standardization
from .._data.statistics import Moments, StreamStatistics
from .._descent.averaging import Iterate
from .build import StreamState
from .stream import FitMemory, Memory, penalty_slope
from .wide_stream import WideStream, bit_sums

# Raise it with any change of the fitted state after which `partial_fit` could not continue from an old model, and keep
# a model of the new format: `python tests/test_persistence.py`.
FORMAT = 2

MARK = "_saved_as"

# Attributes that are a history, not the result of the last call.
CURVES = ("loss_curve_", "validation_loss_curve_")


def pack(method, statistics, generator, reported, n_calls, memory_of_fit=None, columns=None):
    """Return the state for the next ``partial_fit``, as dictionaries and arrays: pickles then name no private class.

    Parameters
    ----------
    method : Method
    statistics : StreamStatistics
    generator : Generator
    reported : tuple of ndarray
        The coefficients and the intercept set as attributes, to detect whether the user changed them.
    n_calls : int
        Epochs or calls so far, those included whose losses are no longer in the curves.
    memory_of_fit : FitMemory, default=None
        What a stream after ``fit`` needs of its rows; None if a stream keeps no second moments.
    columns : NonemptyColumns, default=None
        The columns that all these arrays belong to, None for all columns.
    """
    objective = method.objective
    of_columns = {} if columns is None else {"columns": columns._asdict()}
    return of_columns | {
        "reported": reported,
        "n_calls": n_calls,
        "memory": None,
        "memory_of_fit": None if memory_of_fit is None else _fields(memory_of_fit),
        "width": objective.width,
        "iterate": _fields(method.state.iterate),
        "standardization": objective.standardization._asdict(),
        "statistics": {
            name: _fields(value) if isinstance(value, Moments) else value for name, value in _fields(statistics).items()
        },
        "generator": generator,
    }


def pack_memory(memory, generator, coef, intercept, n_calls):
    """Return the state of a stream that consists of its memory."""
    return {"reported": (coef, intercept), "n_calls": n_calls, "memory": memory.packed(), "generator": generator}


def pack_wide(stream, generator, n_calls):
    """Return the state of a wide stream."""
    return stream.packed() | {"n_calls": n_calls, "generator": generator}


def unpack_wide(state, coef):
    """Return the ``WideStream`` of a state made by ``pack_wide`` and the coefficients, (k, d)."""
    is_ours = coef.dtype == state["wide"]["dtype"] and coef.flags.c_contiguous and coef.flags.writeable
    return WideStream.unpacked(state, coef if is_ours else coef.astype(state["wide"]["dtype"], order="C"))


def dtype_of(state):
    """Return the dtype of the coefficients."""
    return np.dtype(state["wide"]["dtype"]) if "wide" in state else state["reported"][0].dtype


def is_memory(state):
    """Whether a state is that of a stream at the minimum over all the rows that it remembers."""
    return state["memory"] is not None and "iterate" not in state


def memory_of(state, hyper):
    """Return the ``Memory`` of the rows so far, of a stream or of ``fit``; streams with these parameters have one."""
    if state["memory"] is not None:
        return Memory.unpacked(state["memory"]).with_window(hyper.window)
    before, statistics = unpack(state, hyper.standardize)
    coef, intercept = state["reported"]
    known = state.get("memory_of_fit") or {"products": None, "slope": penalty_slope(hyper.penalty, coef)}
    moments = FitMemory(**known).moments(
        statistics, before.standardization, hyper.fit_intercept, coef, np.atleast_1d(intercept)
    )
    return replace(Memory.empty(len(moments.mean), hyper.window), newest=moments)


def unpack(state, standardize, coef=None):
    """Return the ``StreamState`` of a state, None if it consists of a memory, and a copy of the statistics.

    A state made by ``pack_wide`` does not contain the coefficients, which are ``coef``, (k, d).
    """
    if "iterate" not in state:
        return None, Memory.unpacked(state["memory"]).statistics(len(state["reported"][1]), standardize)
    if "wide" in state:
        return unpack_wide(state, coef).general(standardize)
    iterate = Iterate(**state["iterate"])
    standardization = Standardization(**state["standardization"])
    known = {
        name: Moments(**value).copy() if isinstance(value, dict) else value
        for name, value in state["statistics"].items()
    }
    if (columns := _columns(state)) is not None:
        iterate, standardization = _of_all_columns(columns, iterate, standardization)
        for name in ("features", "past_features"):
            known[name] = None if known[name] is None else known[name].of_all_columns(columns)
    before = StreamState(iterate, standardization, state["width"])
    for name in ("features", "past_features"):
        if standardize and known[name] is None:
            known[name] = Moments.empty(iterate.W.shape[1])
    return before, StreamStatistics(**known)


def reported_parameters(model):
    """Return the coefficients of all columns and the intercept that were set as attributes."""
    (coef, intercept), columns = model._state["reported"], _columns(model._state)
    if coef is None:  # of a wide stream
        return np.atleast_2d(model.coef_), intercept
    return coef if columns is None else columns.spread(coef), intercept


def _columns(state):
    """Return the columns to which the arrays of the state belong, None for all."""
    return NonemptyColumns(**state["columns"]) if "columns" in state else None


def _of_all_columns(columns, iterate, standardization):
    """Return iterate and change of variables of all columns: an empty one is constant, and its coefficient is 0."""
    W, mean_W = (None if a is None else columns.spread(a) for a in (iterate.W, iterate.mean_W))
    shift, inv_scale = (columns.spread(a) for a in (standardization.shift, standardization.inv_scale))
    return replace(iterate, W=W, mean_W=mean_W), standardization._replace(shift=shift, inv_scale=inv_scale)


def check_state(state):
    """Raise if what ``pack`` returned was damaged, before anything is computed from it.

    Raises
    ------
    ValueError
        If a part is missing, or an array does not have the shape, the dtype or the finite numbers that it should.
    """
    packed = state.get("_state")
    if packed is None:
        return
    try:
        if packed["memory"] is not None:
            _check_memory(packed["memory"], packed["reported"])
        _check_counters(packed["n_calls"])
        if "iterate" not in packed:
            return
        if "wide" in packed:
            _check_wide(packed, state["coef_"])
            return
        iterate, standardization, statistics = (packed[name] for name in ("iterate", "standardization", "statistics"))
        (k, d), dtype = iterate["W"].shape, iterate["W"].dtype
        if "columns" in packed:
            _check_columns(**packed["columns"], n_nonempty=d)
        if dtype not in (np.float32, np.float64) or not isinstance(packed["generator"], np.random.Generator):
            raise ValueError("of the dtype or the generator")
        _check_arrays(iterate, {"W": (k, d), "b": (k,), "mean_W": (k, d), "mean_b": (k,)}, dtype)
        sizes = {"shift": (d,), "inv_scale": (d,), "target_shift": (k,), "target_inv_scale": (k,)}
        _check_arrays(standardization, sizes, dtype, required=True)
        for name, size in (("features", d), ("past_features", d), ("targets", k), ("past_targets", k)):
            if statistics[name] is not None:
                _check_moments(statistics[name], size)
        _check_reported(packed["reported"], k, d)
        if packed.get("memory_of_fit") is not None:
            of_fit = packed["memory_of_fit"]
            _check_arrays(of_fit, {"products": (d, d), "slope": (k, d)}, np.float64)
            FitMemory(**of_fit)
        _check_arrays(packed, {"width": (k,)}, np.float64)
        _check_counters(iterate["t"], statistics["n_rows"])
        _check_counters(*(iterate[name] for name in ("n_averaged", "gain", "mean_step")), least=-np.inf)
        _check_counters(*(statistics[name] for name in ("n_young", "weight_sum")), least=-np.inf)
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
        raise ValueError(
            f"The saved state of this model is damaged ({error!r}). Load another copy, or fit the model again."
        ) from error


def _check_wide(packed, coef):
    """Raise if the state of a wide stream with these coefficients is not as it should be."""
    iterate, wide, intercept = packed["iterate"], packed["wide"], packed["reported"][1]
    (k, d), dtype, columns = np.atleast_2d(coef).shape, np.dtype(wide["dtype"]), wide["columns"]
    if dtype not in (np.float32, np.float64) or not isinstance(packed["generator"], np.random.Generator):
        raise ValueError("of the dtype or the generator")
    if iterate["mean_W"] is not None or (iterate["W"] is None) != (iterate["mean_b"] is None):
        raise ValueError("of the iterate")
    _check_arrays(iterate, {"W": (k, d)}, dtype)
    _check_arrays(iterate, {"b": (k,), "mean_b": (k,)}, np.float64)
    _check_arrays({"intercept": intercept}, {"intercept": (k,)}, np.float64, required=True)
    _check_arrays(wide, {"n_updates": (d,)}, np.float32, required=iterate["W"] is not None)
    _check_arrays(wide, {"sums": bit_sums(np.zeros((k, d), dtype)).shape}, None, required=True)
    if columns is not None:
        _check_arrays(columns, {"square": (d,), "largest": (d,)}, np.float64, required=True, finite=False)
        _check_columns(columns["centred"], d, len(columns["centred"]))
        _check_moments(columns["moments"], len(columns["centred"]))
        _check_counters(columns["weight"], columns["moments"]["count"])
    for name in ("targets", "past_targets"):
        _check_moments(wide["statistics"][name], k)
    _check_arrays(wide, {"width": (k,)}, np.float64)
    _check_counters(iterate["t"], wide["statistics"]["n_rows"])
    _check_counters(*(iterate[name] for name in ("n_averaged", "gain", "mean_step")), least=-np.inf)
    _check_counters(*(wide["statistics"][name] for name in ("n_young", "weight_sum")), least=-np.inf)


def _check_moments(moments, size):
    """Raise if the moments of so many columns are not as they should be."""
    names = "mean", "square_deviation", "low", "high"
    _check_arrays(moments, dict.fromkeys(names, (size,)), np.float64, required=True, finite=False)


def _check_columns(numbers, n_columns, n_nonempty):
    """Raise if the numbers of the nonempty columns are not as they should be."""
    _check_arrays({"columns": numbers}, {"columns": (n_nonempty,)}, np.intp, required=True)
    _check_counters(n_columns)
    if len(numbers) and not (0 <= numbers[0] and (np.diff(numbers) > 0).all() and numbers[-1] < n_columns):
        raise ValueError("of the columns")


def _check_memory(memory, reported):
    """Raise if the memory of a stream is not as it should be."""
    coef, intercept = reported
    (k, d), p = coef.shape, coef.shape[0] + coef.shape[1]
    _check_reported(reported, k, d)
    for name in ("newest", "past"):
        generation = memory[name]
        arrays = {"factor": (p,), "mean": (p,), "products": (p, p)}
        _check_arrays(generation, arrays, np.float64, required=True)
        _check_arrays(generation, {"low": (p,), "high": (p,)}, np.float64, required=True, finite=False)
        _check_counters(generation["n_rows"], generation["count"])
        if not (generation["factor"] > 0.0).all():
            raise ValueError("of the factors")
    if memory["window"] is not None and not memory["window"] >= 1:
        raise ValueError("of the window")
    Memory.unpacked(memory)


def _check_reported(reported, k, d):
    """Raise if the coefficients and the intercept that were reported are not as they should be."""
    coef, intercept = reported
    _check_arrays({"coef": coef, "intercept": intercept}, {"coef": (k, d), "intercept": (k,)}, None, required=True)


def _check_counters(*counters, least=0):
    """Raise if one is not a finite number of at least ``least``."""
    numbers = np.array(counters, dtype=np.float64)
    if not np.isfinite(numbers).all() or (numbers < least).any():
        raise ValueError("of a counter")


def _check_arrays(record, shapes, dtype, required=False, finite=True):
    """Raise if an array of a record is not as it should be; None is allowed unless ``required``."""
    for name, shape in shapes.items():
        array = record[name]
        if array is None and not required:
            continue
        if not isinstance(array, np.ndarray) or array.shape != shape or (dtype is not None and array.dtype != dtype):
            raise ValueError(f"of {name}: not an array of shape {shape} and dtype {dtype}")
        if not array.flags.c_contiguous or (finite and not np.isfinite(array).all()):
            raise ValueError(f"of {name}: not contiguous or not finite")


def fitted_attributes(model: Any) -> dict[str, Any]:
    """Return the fitted attributes of a model, by scikit-learn's naming, and the state for later calls."""
    return {name: value for name, value in vars(model).items() if is_fitted(name)}


def is_fitted(name: str) -> bool:
    """Whether an attribute of this name is set by training."""
    return (name.endswith("_") and not name.startswith("__")) or name == "_state"


def snapshot(model: Any) -> dict[str, Any]:
    """Return a copy of the fitted attributes of a model but for its curves."""
    return copy.deepcopy({name: value for name, value in fitted_attributes(model).items() if name not in CURVES})


def marked(state):
    """Return the state of an estimator with the format, and the release that wrote it."""
    from .. import __version__

    return {**state, MARK: {"format": FORMAT, "version": __version__}}


def unmarked(state):
    """Return the state of an estimator without its mark.

    Raises
    ------
    ValueError
        If another release saved it, in a format that this one does not read.
    """
    from .. import __version__

    mark = state.get(MARK, {"format": None, "version": "before 0.1.0"})
    if mark["format"] != FORMAT:
        raise ValueError(
            f"This GDLinearRegressor was saved in format {mark['format']} by sk_gdlinear {mark['version']}; "
            f"sk_gdlinear {__version__} reads format {FORMAT} only. Load it with sk_gdlinear {mark['version']}, or fit "
            "it again."
        )
    return {name: value for name, value in state.items() if name != MARK}


def _fields(record):
    return dict(vars(record))
