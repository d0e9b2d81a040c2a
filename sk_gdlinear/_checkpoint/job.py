"""Descriptions of an estimator and its parameters, by which the checkpoint of one job is told from another's."""

from __future__ import annotations

import hashlib
import re
import types
from functools import partial
from typing import Any

import numpy as np
from scipy.sparse import issparse

# Parameters that have no effect on the fitted model.
WITHOUT_EFFECT = ("verbose", "n_jobs")

# Longer descriptions are shortened, with a checksum of the whole.
MOST_CHARACTERS = 500


def class_name(model: Any) -> str:
    """Return the full name of the class of an estimator."""
    return _name(type(model))


def parameters_of(model: Any) -> dict[str, str]:
    """Return a description of each parameter of an estimator that has an effect on the fitted model."""
    parameters = model.get_params(deep=False)
    return {name: describe(value) for name, value in parameters.items() if name not in WITHOUT_EFFECT}


def describe_rows(rows: Any) -> str:
    """Return a text that is the same for equal ``Rows`` of a validation set; None is none."""
    if rows is None:
        return "None"
    checksum = hashlib.sha256()
    for part in (rows.X, rows.Y, rows.weight):
        if part is None:
            continue
        arrays = (part.data, part.indices, part.indptr) if issparse(part) else (part,)
        for array in arrays:
            checksum.update(f"{array.dtype} {array.shape}".encode())
            checksum.update(np.ascontiguousarray(array).data)
    return f"{rows.X.shape[0]} rows (sha256 {checksum.hexdigest()[:16]})"


def differences(then: dict[str, str], now: dict[str, str]) -> list[str]:
    """Return one phrase for each parameter that has changed."""
    return [
        f"{name}={then.get(name, 'not known')}, now {now.get(name, 'not known')}"
        for name in sorted(then.keys() | now.keys())
        if then.get(name) != now.get(name)
    ]


def describe(value: Any) -> str:
    """Return a text that is the same for equal values, also in other processes, and differs for most other values.

    Numbers, text and arrays are described by their values, a user's object by its class and its attributes, a function
    by its name.  A ``RandomState`` changes when it is used, so all of them have the same description.
    """
    text = _describe(value, ())
    if len(text) > MOST_CHARACTERS:
        checksum = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
        text = f"{text[:100]}... (sha256 {checksum})"
    return text


def _describe(value, around):
    """Describe a value; ``around`` has the ids of the values that contain it, since it may refer back to them."""
    if isinstance(value, np.bool_ | np.integer | np.floating):
        value = value.item()
    if type(value) is int:
        return str(value) if abs(value) < 1 << 64 else hex(value)
    if value is None or isinstance(value, bool | float | complex | bytes):
        return repr(value)
    if isinstance(value, str):
        return repr(str(value))
    if isinstance(value, np.random.RandomState):
        return "RandomState"
    if id(value) in around:
        return "..."
    inner = partial(_describe, around=(*around, id(value)))
    if isinstance(value, list | tuple):
        return f"{_name(type(value))}({', '.join(map(inner, value))})"
    if isinstance(value, set | frozenset):
        return f"{_name(type(value))}({', '.join(sorted(map(inner, value)))})"
    if isinstance(value, dict):
        return f"{_name(type(value))}({', '.join(sorted(f'{inner(k)}: {inner(v)}' for k, v in value.items()))})"
    if isinstance(value, type | types.FunctionType | types.BuiltinFunctionType):
        return _name(value)
    return _describe_object(value, inner)


def _describe_object(value, inner):
    """Describe an array, a method, a partial function, or an object of another class."""
    if hasattr(value, "__array__"):
        array = np.asarray(value)
        return f"array({inner(array.tolist())}, {array.dtype}, shape {array.shape})"
    if isinstance(value, types.MethodType):
        return f"{_name(value.__func__)} of {inner(value.__self__)}"
    if isinstance(value, partial):
        return f"partial({inner(value.func)}, {inner(value.args)}, {inner(value.keywords)})"
    attributes = dict(getattr(value, "__dict__", {}))
    if not attributes and type(value).__repr__ is not object.__repr__:
        return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(value))
    for kind in type(value).__mro__:
        slots = vars(kind).get("__slots__", ())
        names = (slots,) if isinstance(slots, str) else slots
        attributes |= {name: getattr(value, name) for name in names if hasattr(value, name)}
    return f"{_name(type(value))}({', '.join(f'{k}={inner(v)}' for k, v in sorted(attributes.items()))})"


def _name(thing):
    """Return the full name of a class or a function, without the module if it is a built-in."""
    module = thing.__module__
    return thing.__qualname__ if module in ("builtins", None) else f"{module}.{thing.__qualname__}"
