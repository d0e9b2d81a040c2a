"""Configuration of the documentation: ``sphinx-build -W --keep-going docs docs/_build``."""

import importlib.util
import sys
from pathlib import Path

import sk_gdlinear

sys.path.insert(0, str(Path(__file__).parent / "_extensions"))
import inventories
import repository

project = "sk_gdlinear"
author = "sk_gdlinear developers"
copyright = "sk_gdlinear developers"
release = sk_gdlinear.__version__
version = release

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "sphinx.ext.linkcode",
    "sphinx.ext.mathjax",
    "myst_parser",
    "numpydoc",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
    "gallery",
    "link_names",
    "repository",
]
exclude_patterns = ["_build"]
templates_path = ["_templates"]
default_role = "code"
nitpicky = True
nitpick_ignore = [("py:obj", "skl2onnx.to_onnx")]  # its site names no pages after its functions

# The docstrings name the types, so signatures need not; members of scikit-learn's base classes are documented there.
autodoc_typehints = "none"
autodoc_member_order = "bysource"
toc_object_entries_show_parents = "hide"
numpydoc_show_class_members = False
# Types of parameters become links; these words of theirs are no names of types.
numpydoc_xref_param_type = True
numpydoc_xref_aliases = {
    "ndarray": "numpy.ndarray",
    "array-like": ":term:`numpy:array_like`",
    "RandomState": "numpy.random.RandomState",
    "DataFrame": "pandas.DataFrame",
    "Axes": "matplotlib.axes.Axes",
    "Path": "pathlib.Path",
}
numpydoc_xref_ignore = "all"

intersphinx_mapping = inventories.write_inventories(Path(__file__).parent / "generated" / "inventories")
linkcode_resolve = repository.source_of
myst_heading_anchors = 3

# Prompts and output are not copied.
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

# MathJax in one file, from a package: the pages need no network.
mathjax = Path(importlib.util.find_spec("sphinx-mathjax-offline").origin).parent / "static/mathjax/tex-svg.js"
mathjax_path = mathjax.name

html_theme = "pydata_sphinx_theme"
html_static_path = ["_static", str(mathjax)]
html_css_files = ["custom.css"]
html_favicon = "_static/favicon.svg"
html_logo = "_static/favicon.svg"
html_title = project
html_show_sourcelink = False
html_copy_source = False
html_context = dict(zip(("github_user", "github_repo"), repository.URL.rsplit("/", 2)[-2:], strict=True))
html_context |= {"github_version": repository.BRANCH, "doc_path": "docs"}
html_theme_options = {
    "logo": {"text": project, "alt_text": f"{project}, start page"},
    "icon_links": [{"name": "Repository", "url": repository.URL, "icon": "fa-brands fa-github"}],
    "navbar_align": "left",
    "navbar_start": ["navbar-logo", "version"],
    "navbar_end": ["theme-switcher", "navbar-icon-links"],
    "header_links_before_dropdown": 6,
    "use_edit_page_button": True,
    "secondary_sidebar_items": {"**": ["page-toc", "edit-page"], "index": []},
    "show_toc_level": 2,
    "footer_start": ["copyright"],
    "footer_end": [],
}
html_sidebars = {
    page: []
    for page in (
        "index",
        "installation",
        "benchmarks",
        "derivation",
        "constants",
        "questions",
        "glossary",
        "changelog",
        "contributing",
    )
}

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "generated/gallery",
    # Every example but files.py, which limits the memory of its process, which here is Sphinx.
    "filename_pattern": r"/(?!files\.py)\w+\.py$",
    "within_subsection_order": "gallery.position",
    "reset_modules": ("matplotlib", "gallery.reset_style"),
    "default_thumb_file": str(Path(__file__).parent / "_static/formula.svg"),
    "doc_module": ("sk_gdlinear",),
    "reference_url": {"sk_gdlinear": None},
    "backreferences_dir": "generated/backreferences",
    "download_all_examples": False,
    "show_signature": False,
    "show_memory": False,
    "write_computation_times": False,
}
