"""Every numeric constant stands in docs/constants.rst, with the value that it has in the sources."""

import ast
import os
import re
from numbers import Number
from pathlib import Path

import numpy as np
import pytest

import sk_gdlinear

PACKAGE = Path(sk_gdlinear.__file__).parent
PAGE = Path(__file__).parent.parent / "docs" / "constants.rst"

# How constants are written in a Cython file: in an enum, as a C variable, or as a Python variable; and in a C header.
CYTHON = re.compile(r"^(?:    |cdef double )?([A-Z][A-Z_]+ = [0-9.e-]+)\b", re.MULTILINE)
HEADER = re.compile(r"^#define ([A-Z_]+ [0-9]+)$", re.MULTILINE)


def is_numeric(value):
    """Whether a value is a number, or an array or a collection that contains numbers."""
    if isinstance(value, dict | tuple):
        return any(map(is_numeric, value.values() if isinstance(value, dict) else value))
    return isinstance(value, Number | np.ndarray) and not isinstance(value, bool)


def python_constants(source):
    """The numeric constants of a Python module, ``NAME = expression`` as it is written; nothing is imported."""
    text = source.read_text(encoding="utf-8")
    names = {"np": np, "os": os}
    for node in ast.parse(text).body:
        target = node.targets[0] if isinstance(node, ast.Assign) else None
        if not (isinstance(target, ast.Name) and target.id.isupper()):
            continue
        try:
            names[target.id] = eval(compile(ast.Expression(node.value), str(source), "eval"), names)
        except NameError:  # made of objects of the package: not a number
            continue
        if is_numeric(names[target.id]):
            yield ast.get_source_segment(text, node)


def constants():
    """All constants, as ``file: text`` relative to the package."""
    for source in sorted(PACKAGE.rglob("*")):
        found = ()
        if source.suffix == ".py":
            found = python_constants(source)
        elif source.suffix in (".pyx", ".pxi"):
            found = CYTHON.findall(source.read_text(encoding="utf-8"))
        elif source.suffix == ".h":
            found = HEADER.findall(source.read_text(encoding="utf-8"))
        yield from (f"{source.relative_to(PACKAGE).as_posix()}: {text}" for text in found)


def documented():
    """The constants on the page, each with its two other cells: the meaning and the reason."""
    page = PAGE.read_text(encoding="utf-8")
    rows = re.findall(r"^   \* - `([^`]+)`\n((?:     .+\n)+)", page, re.MULTILINE)
    return {constant: cells.split("\n     - ") for constant, cells in rows}


def test_every_constant_is_documented_with_its_value():
    missing = sorted(set(constants()) - set(documented()))
    assert missing == [], "add these to docs/constants.rst, with what they are and the measurement or reason"


def test_every_documented_constant_exists():
    present = tuple(entry for entry in documented() if (PACKAGE / entry.split(": ")[0]).exists())
    assert sorted(set(present) - set(constants())) == [], "remove or correct these in docs/constants.rst"
    absent = set(documented()) - set(present)
    assert all(entry.startswith("_kernels/") for entry in absent)  # a wheel has no sources of the kernels


@pytest.mark.parametrize("entry", documented())
def test_every_constant_has_a_meaning_and_a_reason(entry):
    meaning, reason = documented()[entry]
    assert len(meaning) > 15 and len(reason) > 5
