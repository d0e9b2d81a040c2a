"""Imports: one way between the parts of the package, and public names of others but for one file with its reasons."""

import ast
import graphlib
import re
from pathlib import Path

import pytest

import sk_gdlinear

ROOT = Path(sk_gdlinear.__file__).parent
SOURCES = sorted(ROOT.rglob("*.py"))

# From top to bottom: a part may import from those below it, and from itself.  Modules at the top level, dask and _array
# are one layer.
LAYERS = ["", "_parquet", "_checkpoint", "_fit", "_descent", "_objective", "_data", "_kernels"]
TOP = {"", "dask", "_array"}

# The version stands at the top level, and is the mark in saved models.
UPWARD = {("_fit/state.py", "__version__"), ("_checkpoint/checkpoint.py", "__version__")}


def path_of(source):
    """The path of a file within the package, with slashes."""
    return source.relative_to(ROOT).as_posix()


def part_of(path):
    """The sub-package of a file or of a dotted module; "" at the top level."""
    first = re.split(r"[/.]", path)[0]
    return first if first and (ROOT / first).is_dir() else ""


def tree_of(source):
    return ast.parse(source.read_text(encoding="utf-8"))


def imported(source):
    """Yield the line and the dotted name of everything a file imports from other packages."""
    for node in ast.walk(tree_of(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def is_module(parts):
    path = ROOT.joinpath(*parts)
    return path.is_dir() or path.with_suffix(".py").exists()


def imported_from_here(source, tree=None):
    """Yield the line, the dotted module of this package and the name of everything a file imports from the package."""
    here = source.relative_to(ROOT).parts[:-1]
    for node in ast.walk(tree or tree_of(source)):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = (*here[: len(here) + 1 - node.level], *(node.module.split(".") if node.module else ()))
            for alias in node.names:
                module = (*base, alias.name) if is_module((*base, alias.name)) else base
                yield node.lineno, ".".join(module), alias.name


@pytest.mark.parametrize("source", SOURCES, ids=path_of)
def test_imports_run_one_way(source):
    part = part_of(path_of(source))
    allowed = TOP.union(LAYERS) if part in TOP else set(LAYERS[LAYERS.index(part) :])
    for line, module, name in imported_from_here(source):
        other = part_of(module)
        if (path_of(source), name) not in UPWARD:
            assert other in allowed, f"{path_of(source)}:{line} imports {name} from {other or 'the top level'}"


@pytest.mark.parametrize("source", SOURCES, ids=path_of)
def test_the_package_is_imported_by_relative_names(source):
    """So that all imports within the package are seen here."""
    assert not [name for _, name in imported(source) if name.split(".")[0] == "sk_gdlinear"]


def without_type_checking(tree):
    """The statements of a module that run when it is imported."""
    body = [node for node in tree.body if not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test))]
    kept = [node for node in body if not isinstance(node, (ast.FunctionDef, ast.ClassDef))]
    return ast.Module(kept, [])


def test_no_module_imports_itself_through_others():
    graph = {}
    for source in SOURCES:
        if source.name != "__init__.py":
            tree = without_type_checking(tree_of(source))
            graph[path_of(source)[:-3].replace("/", ".")] = {m for _, m, _ in imported_from_here(source, tree)}
    graphlib.TopologicalSorter(graph).prepare()  # raises at a cycle


@pytest.mark.parametrize("source", SOURCES, ids=path_of)
def test_names_with_an_underscore_are_used_in_their_own_module_only(source):
    for line, module, name in imported_from_here(source):
        is_own_module = module.split(".")[-1] == name
        if not is_own_module and (path_of(source), name) not in UPWARD:
            assert not name.startswith("_"), f"{path_of(source)}:{line} imports {name} from {module}"


def test_examples_benchmarks_and_documentation_import_public_modules_only():
    root = ROOT.parent
    if not (root / "examples").is_dir():
        pytest.skip("installed without the repository")
    folders = [root / name for name in ("examples", "benchmarks", "docs")]
    files = [path for folder in folders for path in folder.rglob("*") if path.suffix in {".py", ".rst", ".md"}]
    private = re.compile(r"(?:from|import)\s+sk_gdlinear[\w.]*\._|from\s+sk_gdlinear[\w.]*\s+import\s.*\b_(?!_)")
    found = [
        f"{path.relative_to(root)}: {line.strip()}"
        for path in [*files, root / "README.md"]
        for line in path.read_text(encoding="utf-8").splitlines()
        if private.search(line)
    ]
    assert not found


def test_scikit_learn_is_imported_at_the_top_and_in_the_checks_only():
    found = {
        path_of(source)
        for source in SOURCES
        if part_of(path_of(source)) not in TOP and any(name.split(".")[0] == "sklearn" for _, name in imported(source))
    }
    assert found == {"_data/checks.py"}


def is_private(name):
    return any(part.startswith("_") and part != "__future__" for part in name.split("."))


def test_private_names_of_other_packages_are_imported_in_one_file_only():
    found = {(source.name, name) for source in SOURCES for _, name in imported(source) if is_private(name)}
    assert {file for file, _ in found} == {"_compat.py"}, found


def test_each_private_import_has_its_reason_above_it():
    source = next(source for source in SOURCES if source.name == "_compat.py")
    lines = source.read_text(encoding="utf-8").splitlines()
    for number, name in imported(source):
        if is_private(name):
            assert lines[number - 2].startswith("# "), f"line {number} imports {name} without a reason"


def test_the_tests_that_contributing_names_exist():
    root = Path(__file__).parent.parent
    named = set(re.findall(r"test_[a-z_]+\.py", (root / "CONTRIBUTING.md").read_text(encoding="utf-8")))
    assert len(named) > 20
    assert sorted(name for name in named if not (root / "tests" / name).exists()) == []
