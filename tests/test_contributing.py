"""What CONTRIBUTING.md says of the package is true."""

import re
from pathlib import Path

import sk_gdlinear

PACKAGE = Path(sk_gdlinear.__file__).parent
TEXT = (Path(__file__).parent.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")


def section(title):
    """The lines of a section, up to the next heading."""
    return re.search(rf"^## {title}\n(.*?)^## ", TEXT, re.MULTILINE | re.DOTALL)[1]


def named_files(text):
    """The files in backquotes, relative to the package; a folder, which ends with a slash, stands for all its files."""
    named = re.findall(r"`((?:_?\w+/)*(?:_?\w+\.(?:py|pyx|pxi|h))?)`", text)
    return {name for name in named if "." in name or name.endswith("/")}


def modules():
    return {path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py") if path.name != "__init__.py"}


def test_the_layout_names_every_module():
    cells = "".join(line.split("|")[1] for line in section("Where things are").splitlines() if line.startswith("| `"))
    named = named_files(cells)
    folders = tuple(name for name in named if name.endswith("/"))
    assert sorted(name for name in modules() - named if not name.startswith(folders)) == []


def test_the_layout_names_no_module_that_is_gone():
    cells = "".join(line.split("|")[1] for line in section("Where things are").splitlines() if line.startswith("| `"))
    gone = {name for name in named_files(cells) if name.endswith(".py")} - modules()
    assert sorted(gone) == []


def test_the_calls_on_the_way_to_the_derivation_exist():
    for path, name in re.findall(r"`(_\w+/\w+\.py):(\w+)`", section("Follow a fit in a debugger")):
        assert re.search(rf"^def {name}\(", (PACKAGE / path).read_text(encoding="utf-8"), re.MULTILINE), (path, name)
