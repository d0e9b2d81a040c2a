"""Plain values as bytes and back: the same types and bits, or an error that names what is not plain."""

import datetime
import enum
import math
import struct
from collections import OrderedDict, namedtuple

import numpy as np
import pytest

pytest.importorskip("hypothesis", reason="hypothesis is not installed: no values are drawn")
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sk_gdlinear._checkpoint.plain_values import pack, unpack

Pair = namedtuple("Pair", "a b")
Level = enum.IntEnum("Level", "LOW HIGH")


def told(value):
    """Return all that can be seen of a value, as something that can be compared."""
    kind = type(value)
    if kind is dict:
        return kind, [(told(key), told(item)) for key, item in value.items()]
    if kind in (list, tuple):
        return kind, [told(item) for item in value]
    if kind is float:
        return kind, struct.pack("<d", value)
    if kind is np.random.Generator:
        return kind, type(value.bit_generator), told(value.bit_generator.state)
    if kind is np.ndarray and value.dtype == object:
        return kind, value.shape, [told(item) for item in value.ravel()]
    if kind is np.ndarray:
        return kind, value.dtype, value.dtype.str, value.shape, value.flags.f_contiguous, value.tobytes()
    if isinstance(value, np.generic):
        return kind, value.dtype.str, value.tobytes()
    return kind, value


def test_big_ints_floats_and_generators_come_back(rng):
    rng.random(3)
    rng.integers(5, dtype=np.int32)  # leaves half a draw behind
    values = {
        "ints": [0, -1, 2**63 - 1, 2**63, -(2**63), 2**127 + 1, -(10**5000), True],
        "floats": [0.0, -0.0, math.nan, -math.nan, math.inf, -math.inf, 5e-324, 1e22, 1 / 3],
        "bits": struct.unpack("<d", b"\x01\0\0\0\0\0\xf8\x7f")[0],
        "inf": math.inf,
        "mixed": [1.0, 2, None, "a\udc80ü\0", ()],
        "empty": ([], {}, (), ""),
        3: {None: 1, (1, "a"): [[]], 2.5: False},
        "generators": [rng, np.random.Generator(np.random.PCG64DXSM(1)), np.random.Generator(np.random.SFC64(2))],
    }
    again = unpack(pack(values, "x"))
    assert told(again) == told(values)
    assert again["generators"][0].random() == rng.random()


@pytest.mark.parametrize(
    "dtype", ["?", "i1", "u8", ">i4", "f2", "f4", ">f8", "g", "c8", "c16", "M8[ns]", "m8[D]", "S3", "U2", ">U2"]
)
@pytest.mark.parametrize("shape", [(), (0,), (5,), (2, 0), (2, 3), (2, 3, 4)])
def test_arrays_come_back(rng, dtype, shape):
    array = rng.integers(0, 2, size=shape).astype(dtype)
    for value in (array, np.asfortranarray(array), array[..., ::-1] if shape else array, array.T):
        again = unpack(pack([value], "x"))[0]
        assert told(again) == told(value.copy("A") if value.flags.forc else value.copy("C"))
        assert again.flags.writeable and again.flags.owndata and again.flags.aligned
        assert again.base is None


@pytest.mark.parametrize(
    "value",
    [np.float64(0.1), np.float32(np.nan), np.int8(-3), np.bool_(True), np.complex64(1j), np.str_("ü\0"), np.str_(""),
     np.datetime64("2020-01-01"), np.timedelta64(3, "h"), np.longdouble(1) / 3, np.uint64(2**64 - 1)],
)  # fmt: skip
def test_scalars_come_back(value):
    assert told(unpack(pack((value,), "x"))) == told((value,))


def test_arrays_of_objects_come_back():
    names = np.array(["a", "ü", ""], dtype=object)
    mixed = np.array([["a", None], [1, 2.5]], dtype=object)
    nested = np.empty(2, dtype=object)
    nested[:] = [[1, 2], (3,)]
    for value in (names, mixed, nested, names[:0]):
        assert told(unpack(pack(value, "x"))) == told(value)


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | hnp.arrays(hnp.scalar_dtypes().filter(lambda t: t.itemsize), hnp.array_shapes(min_dims=0, min_side=0)),
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(plain)
def test_whatever_is_plain_comes_back(value):
    assert told(unpack(pack(value, "x"))) == told(value)


@given(st.binary() | st.recursive(plain, st.lists).map(lambda value: pack(value, "x")[:-1]))
def test_whatever_is_read_is_a_value_or_a_clear_error(data):
    try:
        unpack(data)
    except ValueError as error:
        assert "cannot be read" in str(error)


@pytest.mark.parametrize(
    ("value", "what"),
    [
        ({1}, "a set"),
        (b"x", "a bytes"),
        (1j, "a complex"),
        (OrderedDict(), "a collections.OrderedDict"),
        (Pair(1, 2), "Pair"),
        (Level.LOW, "Level"),
        (datetime.date(2020, 1, 1), "a datetime.date"),
        (print, "builtin_function_or_method"),
        (np.float64, "a type"),
        (np.ma.masked_array([1.0]), "MaskedArray"),
        (np.zeros(2, "f8,i4"), "ndarray of dtype"),
        (np.bytes_(b"x"), "bytes_"),
        (np.random.RandomState(0), "RandomState"),
        (np.random.Generator(np.random.MT19937(0)), "Generator over MT19937"),
        (np.array([{1}], dtype=object), "a set"),
    ],
)
def test_other_types_are_named_with_their_place(value, what):
    for nested, place in (({"a": [value]}, r"x\['a'\]\[0\]"), ((0, {1: value}), r"x\[1\]\[1\]")):
        with pytest.raises(TypeError, match=rf"{place}.* is a .*, which is no plain value. Allowed are None") as caught:
            pack(nested, "x")
        assert what in str(caught.value)
    with pytest.raises(TypeError, match="a key of x is a "):
        pack({Pair(1, 2): 1}, "x")
