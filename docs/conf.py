"""Configuration of the documentation: ``python -m sphinx -W --keep-going docs docs/_build``."""

import importlib.util
from pathlib import Path

import sk_gdlinear

project = "sk_gdlinear"
author = "sk_gdlinear developers"
copyright = "sk_gdlinear developers"
release = sk_gdlinear.__version__
version = release

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "numpydoc",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build"]
templates_path = ["_templates"]
default_role = "code"
nitpicky = True
nitpick_ignore = [("py:obj", "skl2onnx.to_onnx")]  # its inventory would have to be fetched

# The docstrings name the types, so signatures need not; members of scikit-learn's base classes are documented there.
autodoc_typehints = "none"
autodoc_member_order = "bysource"
toc_object_entries_show_parents = "hide"
numpydoc_show_class_members = False

# MathJax in one file, from a package: the pages need no network.
mathjax = Path(importlib.util.find_spec("sphinx-mathjax-offline").origin).parent / "static/mathjax/tex-svg.js"
mathjax_path = mathjax.name

html_theme = "pydata_sphinx_theme"
html_static_path = ["_static", str(mathjax)]
html_css_files = ["custom.css"]
html_title = project
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "navbar_align": "left",
    "navbar_end": ["theme-switcher"],
    "secondary_sidebar_items": {"**": ["page-toc"], "index": []},
    "show_toc_level": 2,
    "footer_start": ["copyright"],
    "footer_end": [],
}
html_sidebars = {"index": [], "derivation": []}

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "generated/gallery",
    # Every example but files.py, which limits the memory of its process, which here is Sphinx.
    "filename_pattern": r"/(?!files\.py)\w+\.py$",
    "within_subsection_order": "ExampleTitleSortKey",
    "default_thumb_file": str(Path(__file__).parent / "_static/formula.svg"),
    "download_all_examples": False,
    "show_signature": False,
    "show_memory": False,
    "write_computation_times": False,
}


def link_to_scikit_learn(app, env, node, contnode):
    """Link names of scikit-learn to its site, without the inventory that would have to be fetched from there."""
    from docutils import nodes

    target = node.get("reftarget", "")
    if not target.startswith("sklearn."):
        return None
    return nodes.reference(
        "", "", contnode, internal=False, refuri=f"https://scikit-learn.org/stable/modules/generated/{target}.html"
    )


def setup(app):
    """Register what is defined here."""
    app.connect("missing-reference", link_to_scikit_learn)
