"""What is documented is there, what is there is documented, and both agree."""

import ast
import importlib
import inspect
import re
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import SGDRegressor

import sk_gdlinear
from own_objects import LogCosh, OwnL2
from sk_gdlinear import GDLinearRegressor

MIGRATION = Path(__file__).parent.parent / "docs" / "coming_from" / "sgdregressor.rst"

# Of numpydoc's checks: RT02 wants a return value without its name, GL01 and GL02 line breaks inside the quotes; methods
# may do without examples, "See Also" and an extended summary; PR01 and PR02 compare a class with its own parameters.
IGNORED = {"RT02", "GL01", "GL02"}
OF_METHODS = {"EX01", "SA01", "ES01"}
PARAMETERS = {"PR01", "PR02"}

# Public names, and the package beyond scikit-learn and NumPy that each needs to be imported.
MODULES = ("losses", "penalties")
PUBLIC = {f"sk_gdlinear.{name}": "numpy" for name in sk_gdlinear.__all__ if name not in ("__version__", *MODULES)}
PUBLIC |= {f"sk_gdlinear.{name}.{public}": "numpy" for name in MODULES for public in getattr(sk_gdlinear, name).__all__}
PUBLIC["sk_gdlinear.dask.DaskGDLinearRegressor"] = "distributed"
PUBLIC["sk_gdlinear.onnx.register"] = "numpy"


def import_public(path):
    """Return the object, or skip where what it needs is not installed."""
    pytest.importorskip(PUBLIC[path], reason=f"{path} needs {PUBLIC[path]}")
    module, name = path.rsplit(".", 1)
    return getattr(importlib.import_module(module), name)


def own_methods(public):
    """Names of the public methods that this package defines, inherited ones included."""
    methods = {
        name: inspect.unwrap(method)
        for name, method in inspect.getmembers(public, callable)
        if inspect.isclass(public) and not name.startswith("_")
    }
    return [name for name, method in methods.items() if (method.__module__ or "").startswith("sk_gdlinear")]


def parse(public):
    """Return the sections of its docstring."""
    docscrape = pytest.importorskip("numpydoc.docscrape", reason="docstrings are read by numpydoc")
    return docscrape.NumpyDocString(inspect.getdoc(public))


def documented(public, section):
    """Return the entries of a section by name; "a, b : type" is two of them, and "**a" is "a"."""
    return {name.lstrip("*"): entry for entry in parse(public)[section] for name in entry.name.split(", ")}


def is_variant(public):
    """Whether it is a class with the parameters of another one, which documents them, or has none: a protocol."""
    return public.__name__ in ("DaskGDLinearRegressor", "Loss", "Penalty")


@pytest.mark.parametrize("path", PUBLIC)
def test_public_docstrings_are_valid_numpydoc(path):
    validate = pytest.importorskip("numpydoc.validate", reason="this is numpydoc's own check").validate
    public = import_public(path)
    ignored = {path: IGNORED | (PARAMETERS if is_variant(public) else set())}
    ignored |= {f"{path}.{name}": IGNORED | OF_METHODS for name in own_methods(public)}
    for name, codes in ignored.items():
        assert [error for error in validate(name)["errors"] if error[0] not in codes] == [], name


@pytest.mark.parametrize("path", PUBLIC)
def test_docstring_parameters_are_those_of_the_signature(path):
    public = import_public(path)
    for obj in [*([] if is_variant(public) else [public]), *(getattr(public, name) for name in own_methods(public))]:
        parameters = {name: p.default for name, p in inspect.signature(obj).parameters.items() if name != "self"}
        entries = documented(obj, "Parameters")
        assert list(entries) == list(parameters), obj
        for name, entry in entries.items():
            found = re.search(r"default=(.+)$", entry.type)
            default = inspect.Parameter.empty if found is None else ast.literal_eval(found[1])
            assert default == parameters[name], f"{obj.__name__}, {name}"


@pytest.mark.parametrize("path", PUBLIC)
def test_public_signatures_carry_type_hints(path):
    public = import_public(path)
    has_init = inspect.isclass(public) and not is_variant(public) and public.__init__ is not object.__init__
    names = own_methods(public) + (["__init__"] if has_init else [])
    functions = [getattr(public, name) for name in names] if inspect.isclass(public) else [public]
    for method in map(inspect.unwrap, functions):
        signature = inspect.signature(method)
        hints = {name: p.annotation for name, p in signature.parameters.items() if name not in ("self", "cls")}
        hints["return"] = signature.return_annotation
        assert [name for name, hint in hints.items() if hint is inspect.Parameter.empty] == [], method


def make(path, tmp_path):
    """Return an instance of the class after the work that sets its attributes."""
    X = np.arange(20.0).reshape(-1, 1)
    if path.split(".")[1] in MODULES:
        protocols = {"Loss": LogCosh, "Penalty": OwnL2}
        return protocols.get(path.rsplit(".", 1)[1], import_public(path))()
    if path == "sk_gdlinear.ParquetBatches":
        pyarrow = pytest.importorskip("pyarrow", reason="Parquet files need pyarrow")
        importlib.import_module("pyarrow.parquet").write_table(
            pyarrow.table({"x": X[:, 0], "y": X[:, 0]}), tmp_path / "part.parquet"
        )
        return sk_gdlinear.ParquetBatches(tmp_path, "y")
    if path == "sk_gdlinear.dask.DaskGDLinearRegressor":
        return fit_on_cluster(import_public(path), X)
    if path in ("sk_gdlinear.GDLinearRegressorCV", "sk_gdlinear.RegularizationPathDisplay"):
        search = sk_gdlinear.GDLinearRegressorCV(n_alphas=3).fit(X, X[:, 0])
        if path.endswith("CV"):
            return search
        pytest.importorskip("matplotlib", reason="a display needs matplotlib").use("Agg")
        return sk_gdlinear.RegularizationPathDisplay.from_estimator(search)
    model = GDLinearRegressor(early_stopping=True, max_iter=2, tol=None).fit(X, X[:, 0])
    if path == "sk_gdlinear.LossCurveDisplay":
        pytest.importorskip("matplotlib", reason="a display needs matplotlib").use("Agg")
        return sk_gdlinear.LossCurveDisplay.from_estimator(model)
    return model


def fit_on_cluster(estimator, X):
    """Return a fitted instance of the estimator on a cluster in this process."""
    import dask.array as da
    from distributed import Client

    with Client(processes=False, n_workers=1, threads_per_worker=1, dashboard_address=":0") as client:
        rows = da.from_array(X, chunks=(10, 1))
        return estimator(max_iter=2, tol=None).fit(rows, rows[:, 0], client=client)


@pytest.mark.parametrize("path", [path for path in PUBLIC if path.rsplit(".", 1)[1][0].isupper()])
def test_attributes_are_documented_and_present(path, tmp_path):
    public = import_public(path)
    entries = documented(public, "Attributes")
    if public.__name__ == "DaskGDLinearRegressor":
        entries |= documented(sk_gdlinear.GDLinearRegressor, "Attributes")
    instance = make(path, tmp_path)
    always = {name for name, entry in entries.items() if "only " not in " ".join(entry.desc)}
    assert [name for name in always if not hasattr(instance, name)] == []
    assert [name for name in vars(instance) if re.fullmatch(r"[a-z]\w*_", name) and name not in entries] == []


def test_migration_table_names_every_parameter():
    table = MIGRATION.read_text(encoding="utf-8")
    names = re.findall(r"`(\w+)(?:=[^`]*)?`", table)
    assert set(inspect.signature(SGDRegressor).parameters) - set(names) == set()
