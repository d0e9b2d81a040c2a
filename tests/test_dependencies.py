"""What the package takes from others: public names only, but for one file that gives its reasons."""

import ast
from pathlib import Path

import sk_gdlinear

SOURCES = sorted(Path(sk_gdlinear.__file__).parent.glob("*.py"))


def imported(source):
    """Yield the line and the dotted name of everything a file imports from elsewhere."""
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def is_private(name):
    return any(part.startswith("_") and part != "__future__" for part in name.split("."))


def test_private_names_of_other_packages_are_imported_in_one_file_only():
    found = {(source.name, name) for source in SOURCES for _, name in imported(source) if is_private(name)}
    assert {file for file, _ in found} == {"_compat.py"}, found


def test_each_private_import_has_its_reason_above_it():
    source = next(source for source in SOURCES if source.name == "_compat.py")
    lines = source.read_text().splitlines()
    for number, name in imported(source):
        if is_private(name):
            assert lines[number - 2].startswith("# "), f"line {number} imports {name} without a reason"
