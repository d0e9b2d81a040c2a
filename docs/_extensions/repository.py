"""Links into the repository, whose address is in pyproject.toml, and the pages that live at its root."""

import importlib
import inspect
import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
URL = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]["Repository"]
BRANCH = "main"
# Files that the site has as pages; links to all others lead to the repository.
PAGES = {"CHANGELOG.md": "changelog", "CONTRIBUTING.md": "contributing"}


def source_of(domain, info):
    """Return the address of the lines that define a Python object: the hook of ``sphinx.ext.linkcode``."""
    if domain != "py" or not info["module"]:
        return None
    found = importlib.import_module(info["module"])
    for name in info["fullname"].split("."):
        found = getattr(found, name, None)
    try:
        found = inspect.unwrap(found)
        file = Path(inspect.getsourcefile(found)).resolve()
        lines, first = inspect.getsourcelines(found)
    except (TypeError, OSError):  # an attribute of an instance
        return None
    if "sk_gdlinear" not in file.parts:  # inherited from scikit-learn
        return None
    name = "/".join(file.parts[len(file.parts) - file.parts[::-1].index("sk_gdlinear") - 1 :])
    return f"{URL}/blob/{BRANCH}/{name}#L{first}-L{first + len(lines) - 1}"


def read_root(app, docname, content):
    """Give a page the text of the file at the root, whose links lead to pages or into the repository."""
    names = [name for name, page in PAGES.items() if page == docname]
    if names:
        text = (ROOT / names[0]).read_text(encoding="utf-8")
        for link in set(re.findall(r"\]\(([\w./-]+)\)", text)):
            text = text.replace(f"]({link})", f"]({PAGES.get(link, f'{URL}/blob/{BRANCH}/{link}')})")
        content[0] = text
        app.env.note_dependency(str(ROOT / names[0]))


def setup(app):
    """Register the hook."""
    app.connect("source-read", read_root)
    return {"parallel_read_safe": True}
