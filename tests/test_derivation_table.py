"""The formulas of the derivation stand in the code, each beside the line that computes it."""

import re
from pathlib import Path

import pytest

import sk_gdlinear

PACKAGE = Path(sk_gdlinear.__file__).parent
KERNELS = PACKAGE / "_kernels"
DERIVATION = Path(__file__).parent.parent / "docs" / "derivation.rst"

FORMULAS = [
    "E = Z W^T + b - Y",
    "G = psi(E) / m",
    "grad_W = G^T Z",
    "grad_b = sum of the rows of G",
    "W <- W - eta grad_W",
    "b <- b - eta grad_b",
]


def comments(source):
    """The comments beside the lines of code of a Cython file."""
    for line in source.read_text(encoding="utf-8").splitlines():
        code, hash_, comment = line.partition("#")
        if hash_ and code.strip():
            yield comment.strip()


@pytest.mark.parametrize("formula", FORMULAS)
@pytest.mark.parametrize("name", ["dense.pyx", "sparse.pyx"])
def test_each_formula_is_the_comment_of_a_line_of_each_kernel(name, formula):
    source = KERNELS / name
    if not source.exists():
        pytest.skip("installed from a wheel, which has no sources of the kernels")
    assert any(comment.startswith(formula) for comment in comments(source)), f"{name} has no comment {formula!r}"


def quoted_lines():
    """The cells of the table in docs/derivation.rst, ``_descent/epoch.py: code`` each, as pairs (file, text)."""
    return re.findall(r"`(_\w+/\w+\.pyx?): ([^`]+)`", DERIVATION.read_text(encoding="utf-8"))


@pytest.mark.parametrize("file, text", quoted_lines(), ids=": ".join)
def test_each_line_quoted_in_the_derivation_stands_in_its_file(file, text):
    source = PACKAGE / file
    if not source.exists():
        pytest.skip("installed from a wheel, which has no sources of the kernels")
    lines = [line.strip() for line in source.read_text(encoding="utf-8").splitlines()]
    found = text in lines if source.suffix == ".py" else any(text in comment for comment in comments(source))
    assert found, f"{file} has no line {text!r}: update the table in docs/derivation.rst"


def test_the_table_of_the_derivation_names_every_formula_in_the_reference_and_in_both_kernels():
    quoted = quoted_lines()
    assert {text for file, text in quoted if file == "_kernels/dense.pyx"} == set(FORMULAS)
    assert {text for file, text in quoted if file == "_kernels/sparse.pyx"} == set(FORMULAS)
    assert any(file == "_descent/epoch.py" for file, _ in quoted)
