"""Inventories of other projects' sites for intersphinx, written from the installed packages: nothing is downloaded.

An inventory lists names and the pages that document them.  The sites of scikit-learn, NumPy, SciPy, pandas and Dask
name their pages after the objects, so the names are enough.
"""

import importlib
import inspect
import zlib

from sklearn.experimental import enable_halving_search_cv  # noqa: F401, without it HalvingGridSearchCV is no attribute

SCIKIT_LEARN = (
    "base calibration callback compose datasets decomposition ensemble exceptions feature_extraction "
    "feature_extraction.text feature_selection impute kernel_approximation linear_model metrics model_selection "
    "pipeline preprocessing svm utils utils.validation"
)
# Site, and for every module the pattern of its pages
SITES = {
    "python": ("https://docs.python.org/3/", {}),
    "sklearn": (
        "https://scikit-learn.org/stable/",
        {f"sklearn.{module}": "modules/generated/{}.html" for module in SCIKIT_LEARN.split()}
        | {"sklearn": "modules/generated/{}.html"},
    ),
    "numpy": ("https://numpy.org/doc/stable/", {"numpy": "reference/generated/{}.html"}),
    "scipy": (
        "https://docs.scipy.org/doc/scipy/",
        {module: "reference/generated/{}.html" for module in ("scipy.sparse", "scipy.optimize")},
    ),
    "pandas": ("https://pandas.pydata.org/docs/", {"pandas": "reference/api/{}.html"}),
    "dask": (
        "https://docs.dask.org/en/stable/",
        {"dask.array": "generated/{}.html", "dask.dataframe": "generated/{}.html"},
    ),
    "distributed": ("https://distributed.dask.org/en/stable/", {}),
    "matplotlib": ("https://matplotlib.org/stable/", {}),
    "pyarrow": ("https://arrow.apache.org/docs/", {"pyarrow.dataset": "python/generated/{}.html"}),
}
# What has a page of another name, and terms of glossaries
OTHERS = {
    "python": {name: ("py:class", "library/stdtypes.html") for name in ("str", "dict", "list", "tuple")}
    | {name: ("py:class", "library/functions.html") for name in ("float", "int")}
    | {name: ("py:data", "library/constants.html") for name in ("None", "True", "False")}
    | {
        "callable": ("py:function", "library/functions.html"),
        "pathlib.Path": ("py:class", "library/pathlib.html"),
        "iterable": ("std:term", "glossary.html#term-iterable"),
        "sequence": ("std:term", "glossary.html#term-sequence"),
        "generator": ("std:term", "glossary.html#term-generator"),
        "bltin-boolean-values": ("std:label", "library/stdtypes.html#boolean-type-bool"),
    },
    "numpy": {
        "numpy.float64": ("py:class", "reference/arrays.scalars.html"),
        "numpy.random.RandomState": ("py:class", "reference/random/legacy.html"),
        "numpy.random.default_rng": ("py:function", "reference/random/generator.html"),
        "array_like": ("std:term", "glossary.html#term-array_like"),
    },
    "distributed": {"distributed.Client": ("py:class", "api.html")},
    "sklearn": {"sparse matrix": ("std:term", "glossary.html#term-sparse-matrix")},
    "matplotlib": {"matplotlib.axes.Axes": ("py:class", "api/_as_gen/matplotlib.axes.Axes.html")},
}


def entries(modules):
    """Yield the lines of the public classes and functions of modules, and of the classes' methods."""
    for module, page in modules.items():
        try:
            imported = importlib.import_module(module)
        except ImportError:  # callbacks are new in scikit-learn 1.9
            continue
        for name in getattr(imported, "__all__", dir(imported)):
            try:
                public = getattr(imported, name)
            except (AttributeError, ImportError):  # needs another package
                continue
            kind = "class" if inspect.isclass(public) else "function" if callable(public) else None
            if kind is None or name.startswith("_"):
                continue
            path = f"{module}.{name}"
            uri = page.format(path)
            yield f"{path} py:{kind} 1 {uri}#$ -"
            if kind == "class" and module.startswith("sklearn"):
                for method in (method for method in dir(public) if not method.startswith("_")):
                    yield f"{path}.{method} py:method 1 {uri}#$ -"


def write_inventories(folder):
    """Write an inventory for every site into ``folder``, and return the ``intersphinx_mapping`` that names them."""
    folder.mkdir(parents=True, exist_ok=True)
    mapping = {}
    for project, (site, modules) in SITES.items():
        lines = [*entries(modules)]
        for name, (kind, uri) in OTHERS.get(project, {}).items():
            lines.append(f"{name} {kind} 1 {uri if '#' in uri else uri + '#$'} -")
        head = f"# Sphinx inventory version 2\n# Project: {project}\n# Version: \n# compressed with zlib\n"
        path = folder / f"{project}.inv"
        path.write_bytes(head.encode() + zlib.compress("\n".join(sorted(set(lines))).encode() + b"\n"))
        mapping[project] = (site, str(path))
    return mapping
