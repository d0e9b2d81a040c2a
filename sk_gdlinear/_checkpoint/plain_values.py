"""Plain values to bytes, and back to the same types and bits.  Reading runs no code from the file."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable
from typing import Any

import numpy as np

# Kinds of NumPy types whose values are stored in the array itself: numbers, times and text of a fixed length.
ARRAY_KINDS = "biufcmMSU"
SCALAR_KINDS = "biufcmM"

# Bit generators whose state NumPy checks when it is set. The states of others contain positions that are not checked.
BIT_GENERATORS = {kind.__name__: kind for kind in (np.random.PCG64, np.random.PCG64DXSM, np.random.SFC64)}

# Ints up to this size are written in decimal digits, larger ones in hexadecimal, for which Python sets no limit.
LARGEST_DECIMAL = 1 << 63

ALLOWED = (
    "None, bool, int, float, str, list, tuple, dict, numpy arrays and scalars of numbers, times or text, and "
    "numpy.random.Generator over " + ", ".join(BIT_GENERATORS)
)


def pack(value: Any, name: str) -> bytes:
    """Return a value as a line of JSON, followed by the bytes of its arrays.

    Parameters
    ----------
    value : object
        A value of the types in ``ALLOWED``, nested to any depth.
    name : str
        Name of the value in error messages.

    Returns
    -------
    data : bytes
        Input for ``unpack``.

    Raises
    ------
    TypeError
        If it contains a value of another type; the message says where.
    """
    packer = _Packer()
    tree = packer.encode(value, name)
    line = json.dumps(tree, allow_nan=False, separators=(",", ":")).encode("ascii")
    return b"".join([line, b"\n", *packer.pieces])


def unpack(data: bytes) -> Any:
    """Return the value that ``pack`` has written.

    Parameters
    ----------
    data : bytes
        What ``pack`` returned.  Other bytes are safe too: no code is run, and memory stays in proportion to them.

    Returns
    -------
    value : object
        The same value, in the same types; arrays are new and may be changed.

    Raises
    ------
    ValueError
        If ``pack`` cannot have written the data.
    """
    line, _, arrays = data.partition(b"\n")
    try:
        return _Unpacker(arrays).decode(json.loads(line, parse_constant=_refuse))
    except (ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError) as error:
        raise ValueError(f"the values in it cannot be read ({type(error).__name__}: {error})") from error


def _refuse(name):
    raise ValueError(f"{name} is not written as a number")


class _Packer:
    """Converts values to what JSON can represent, and collects the bytes of arrays.

    JSON has None, bool, int, float, str and list.  Any other value becomes an object with one key, its kind.
    """

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.size = 0

    def encode(self, value: Any, name: str) -> Any:
        """Return a value as JSON can represent it; ``name`` says where it is, for errors."""
        kind = type(value)
        if value is None or kind is bool or kind is str:
            return value
        if kind is int:
            return value if -LARGEST_DECIMAL < value < LARGEST_DECIMAL else {"int": hex(value)}
        if kind is float:
            return value if math.isfinite(value) else {"float": struct.pack("<d", value).hex()}
        if kind is list:
            if value and all(type(item) is float for item in value):
                return {"floats": self._array(np.array(value))}
            return self._items(value, name)
        if kind is tuple:
            return {"tuple": self._items(value, name)}
        if kind is dict:
            return {"dict": [self._entry(key, item, name) for key, item in value.items()]}
        return self._of_numpy(value, name)

    def _items(self, values, name):
        return [self.encode(item, f"{name}[{i}]") for i, item in enumerate(values)]

    def _entry(self, key, item, name):
        return [self.encode(key, f"a key of {name}"), self.encode(item, f"{name}[{key!r}]")]

    def _of_numpy(self, value, name):
        kind, dtype = type(value), getattr(value, "dtype", None)
        if kind is np.ndarray and dtype.kind in ARRAY_KINDS and dtype.itemsize:
            return {"array": self._array(value)}
        if kind is np.ndarray and dtype.kind == "O":
            return {"objects": [list(value.shape), self._items(value.ravel().tolist(), name)]}
        if kind is np.str_:
            return {"text": str.__str__(value)}
        if isinstance(value, np.generic) and dtype.kind in SCALAR_KINDS and kind is dtype.type:
            return {"scalar": self._array(np.asarray(value))}
        if kind is np.random.Generator and type(value.bit_generator).__name__ in BIT_GENERATORS:
            state = value.bit_generator.state
            return {"generator": [state["bit_generator"], self.encode(state, name)]}
        what = f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")
        if kind is np.ndarray:
            what += f" of dtype {dtype}"
        elif kind is np.random.Generator:
            what += f" over {type(value.bit_generator).__name__}"
        raise TypeError(f"{name} is a {what}, which is no plain value. Allowed are {ALLOWED}.")

    def _array(self, array):
        """Store the bytes of an array; return its type, its shape, its order, and their position."""
        order = "F" if array.flags.f_contiguous and not array.flags.c_contiguous else "C"
        start = self.size
        self.pieces.append(array.tobytes(order))
        self.size += array.nbytes
        return [array.dtype.str, list(array.shape), order, start]


class _Unpacker:
    """Converts the output of ``_Packer`` back to values."""

    def __init__(self, arrays: bytes) -> None:
        self.arrays = arrays
        self.readers: dict[str, Callable[[Any], Any]] = {
            "int": lambda text: int(text, 16),
            "float": lambda bits: struct.unpack("<d", bytes.fromhex(bits))[0],
            "floats": lambda place: self._array(*place).tolist(),
            "tuple": lambda items: tuple(self.decode(items)),
            "dict": lambda entries: {self.decode(key): self.decode(item) for key, item in entries},
            "array": lambda place: self._array(*place),
            "objects": lambda content: self._objects(*content),
            "text": np.str_,
            "scalar": lambda place: self._array(*place)[()],
            "generator": lambda content: self._generator(*content),
        }

    def decode(self, node: Any) -> Any:
        """Return the value that ``node`` represents."""
        if isinstance(node, list):
            return [self.decode(item) for item in node]
        if not isinstance(node, dict):
            return node
        ((kind, content),) = node.items()
        return self.readers[kind](content)

    def _array(self, dtype, shape, order, start):
        kind = np.dtype(str(dtype))
        if kind.kind not in ARRAY_KINDS or not kind.itemsize or start < 0 or any(length < 0 for length in shape):
            raise ValueError(f"an array of type {dtype!r} and shape {shape}, at {start}, cannot be")
        stop = start + math.prod(shape) * kind.itemsize
        if stop > len(self.arrays):
            raise ValueError(f"an array is said to end at byte {stop} of {len(self.arrays)}")
        array = np.empty(shape, kind, order)
        array.reshape(-1, order=order).view(np.uint8)[:] = np.frombuffer(self.arrays[start:stop], np.uint8)
        return array

    def _objects(self, shape, items):
        if math.prod(shape) != len(items):
            raise ValueError(f"{len(items)} objects do not fill an array of shape {shape}")
        array = np.empty(len(items), object)
        array[:] = self.decode(items)
        return array.reshape(shape)

    def _generator(self, name, state):
        bit_generator = BIT_GENERATORS[name]()
        bit_generator.state = self.decode(state)
        return np.random.Generator(bit_generator)
