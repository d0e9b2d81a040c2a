"""The state of a model between calls, and the mark of its format when it is saved."""

from dataclasses import fields

import numpy as np

from .._data.standardize import Standardization
from .._data.statistics import Moments, StreamStatistics
from .._descent.averaging import Iterate
from .build import StreamState
from .stream import Memory

# Raise it with any change of the fitted state after which `partial_fit` could not continue from an old model, and keep
# a model of the new format: `python tests/test_persistence.py`.
FORMAT = 2

MARK = "_saved_as"


def pack(method, statistics, generator, reported, n_calls, memory=None):
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
    memory : Memory, default=None
        The second moments of the rows, None where they are not kept.
    """
    objective = method.objective
    return {
        "reported": reported,
        "n_calls": n_calls,
        "memory": None if memory is None else memory.packed(),
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


def unpack(state, standardize):
    """Return the ``StreamState`` and a copy of the statistics of a state made by ``pack``.

    A state that consists of a memory has no ``StreamState``: None.
    """
    if "iterate" not in state:
        return None, Memory.unpacked(state["memory"]).statistics(len(state["reported"][1]), standardize)
    iterate = Iterate(**state["iterate"])
    before = StreamState(iterate, Standardization(**state["standardization"]), state["width"])
    known = {
        name: Moments(**value).copy() if isinstance(value, dict) else value
        for name, value in state["statistics"].items()
    }
    for name in ("features", "past_features"):
        if standardize and known[name] is None:
            known[name] = Moments.empty(iterate.W.shape[1])
    return before, StreamStatistics(**known)


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
        iterate, standardization, statistics = (packed[name] for name in ("iterate", "standardization", "statistics"))
        (k, d), dtype = iterate["W"].shape, iterate["W"].dtype
        if dtype not in (np.float32, np.float64) or not isinstance(packed["generator"], np.random.Generator):
            raise ValueError("of the dtype or the generator")
        _check_arrays(iterate, {"W": (k, d), "b": (k,), "mean_W": (k, d), "mean_b": (k,)}, dtype)
        sizes = {"shift": (d,), "inv_scale": (d,), "target_shift": (k,), "target_inv_scale": (k,)}
        _check_arrays(standardization, sizes, dtype, required=True)
        for name, size in (("features", d), ("past_features", d), ("targets", k), ("past_targets", k)):
            if statistics[name] is not None:
                names = "mean", "square_deviation", "low", "high"
                _check_arrays(statistics[name], dict.fromkeys(names, (size,)), np.float64, required=True, finite=False)
        _check_reported(packed["reported"], k, d)
        _check_arrays(packed, {"width": (k,)}, np.float64)
        _check_counters(iterate["t"], statistics["n_rows"])
        _check_counters(*(iterate[name] for name in ("n_averaged", "gain", "mean_step")), least=-np.inf)
        _check_counters(*(statistics[name] for name in ("n_young", "weight_sum")), least=-np.inf)
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
        raise ValueError(
            f"The saved state of this model is damaged ({error!r}). Load another copy, or fit the model again."
        ) from error


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
    return {f.name: getattr(record, f.name) for f in fields(record)}
