"""Arrays of other libraries: they go in and come out, and the answer is that of NumPy's arrays."""

import os
import pickle
import subprocess
import sys
import tracemalloc
import unittest
import warnings
from importlib.util import find_spec

import numpy as np
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Lasso, Ridge
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV, GroupKFold, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_checks

import sk_gdlinear
from builders import exact_r2, name_of
from sk_gdlinear import GDLinearRegressor, GDLinearRegressorCV, RegularizationPathDisplay
from sk_gdlinear._array import joint_moments
from sk_gdlinear._array import namespace as namespace_module
from sk_gdlinear._array.checks import namespace_of
from sk_gdlinear._array.method import device_batch_size
from sk_gdlinear._array.passes import DEVICE
from sk_gdlinear._array.rows import DeviceArray, Totals
from sk_gdlinear._data.joint_moments import JointMoments
from sk_gdlinear._data.statistics import Moments
from sk_gdlinear.losses import Huber
from sk_gdlinear.penalties import Box

# SciPy reads it once, when it is imported; without it scikit-learn refuses to dispatch.
pytestmark = pytest.mark.skipif(
    os.environ.get("SCIPY_ARRAY_API") != "1", reason="scikit-learn dispatches arrays only with SCIPY_ARRAY_API=1"
)


def gpu_kinds():
    """The kinds of arrays on a GPU, where there is one."""
    if os.environ.get("SCIPY_ARRAY_API") != "1" or find_spec("torch") is None:
        return []
    from torch import cuda

    names = ["cuda", *(["cupy"] if find_spec("cupy") else [])] if cuda.is_available() else []
    return [f"{name} {dtype}" for name in names for dtype in ("float64", "float32")]


KINDS = ["torch float64", "torch float32", "strict float64", "strict device1", "strict no_float64", *gpu_kinds()]
DOUBLE = [kind for kind in KINDS if kind.endswith(" float64")]


@pytest.fixture
def dispatch():
    with sklearn.config_context(array_api_dispatch=True):
        yield


class Library:
    """A namespace, a device and a dtype, as a test names them."""

    def __init__(self, kind):
        name, what = kind.split()
        module = {"strict": "array_api_strict", "cuda": "torch"}.get(name, name)
        self.xp = pytest.importorskip(module, reason=f"{module} is not installed: no arrays of it")
        self.dtype = "float64" if what == "float64" else "float32"
        self.where = {} if name == "cupy" else {"device": "cpu" if name == "torch" else name}
        if name == "strict":
            self.where = {"device": self.xp.Device("CPU_DEVICE" if "float" in what[:5] else what)}
        self.has_double = what != "no_float64"
        self.tolerance = 1e-10 if self.dtype == "float64" else 1e-4

    def __call__(self, values):
        return self.xp.asarray(np.array(values, dtype=self.dtype), **self.where)

    def owns(self, array):
        return type(array) is type(self.xp.empty(0)) and array.device == self(0.0).device


def to_numpy(array):
    if hasattr(array, "__cuda_array_interface__"):
        return array.get() if hasattr(array, "get") else array.cpu().numpy()
    if hasattr(array, "to_device") and not hasattr(array, "numpy"):
        array = array.to_device(array.__array_namespace__().Device("CPU_DEVICE"))
    return np.asarray(array)


@pytest.fixture
def library(request):
    return Library(request.param)


def problem_data(n=700, d=6, k=2):
    """Rows with offsets and other scales, nearly collinear columns, a constant one, outliers, and weights, some 0."""
    rng = np.random.default_rng(3)
    X = (rng.normal(size=(n, d)) + np.linspace(-3, 3, d)) * np.logspace(-2, 2, d)
    X[:, 1] = X[:, 0] + 1e-2 * X[:, 1]
    X[:, 2] = 7.0
    Y = np.stack([X @ rng.normal(size=d) + rng.standard_t(3, size=n) for _ in range(k)], axis=1)
    weight = rng.random(n)
    weight[:20] = 0.0
    return X, Y, weight


def reference(*data, **params):
    with sk_gdlinear.backend("reference"):
        return GDLinearRegressor(random_state=0, **params).fit(*data)


def assert_same_model(model, expected, X, tolerance, same_epochs=True):
    """Predictions agree relative to their spread, and so does the whole curve of objectives, or its end."""
    coef, intercept = to_numpy(model.coef_).astype(float), to_numpy(model.intercept_).astype(float)
    prediction = X @ expected.coef_.T.astype(float) + expected.intercept_
    error = X @ coef.T + intercept - prediction
    assert np.abs(error).max() <= tolerance * np.ptp(prediction)
    assert_allclose(model.loss_curve_[-1], expected.loss_curve_[-1], rtol=10 * tolerance)
    if not same_epochs:
        return
    assert_allclose(model.loss_curve_, expected.loss_curve_, rtol=10 * tolerance)
    assert (model.t_, model.n_iter_, model.stop_reason_) == (expected.t_, expected.n_iter_, expected.stop_reason_)


class LogCosh:
    lipschitz = 1.0

    def value(self, e):
        return np.logaddexp(e, -e) - np.log(2.0)

    def derivative(self, e):
        return np.tanh(e)


class AbsoluteValues:
    def value(self, w):
        return 0.05 * np.abs(w).sum()

    def proximal(self, w, step):
        return np.sign(w) * np.maximum(np.abs(w) - 0.05 * step, 0.0)


LOSSES_AND_PENALTIES = [
    {},
    {"fit_intercept": False},
    {"loss": "huber"},
    {"loss": "quantile", "quantile": 0.8},
    {"penalty": "l2", "alpha": 0.1},
    {"penalty": "l1", "alpha": 0.1},
    {"penalty": "elasticnet", "loss": "huber"},
    {"positive": True},
    {"penalty": Box(-0.5, 0.5)},
    {"loss": Huber(0.5)},
    {"loss": LogCosh()},
    {"penalty": AbsoluteValues()},
]


# --- the answer is that of the reference implementation --------------------------------------------------------------


@pytest.mark.usefixtures("dispatch")
@pytest.mark.parametrize("library", KINDS, indirect=True)
@pytest.mark.parametrize("params", LOSSES_AND_PENALTIES, ids=name_of)
def test_newton_steps_have_the_answer_of_numpy(library, params):
    X, Y, weight = problem_data()
    arrays = X.astype(library.dtype), Y.astype(library.dtype)
    expected = reference(*arrays, weight, precondition=True, **params)
    model = GDLinearRegressor(random_state=0, **params).fit(*map(library, (*arrays, weight)))
    # Where sums are in float32 too, steps end elsewhere, and their number may be another.
    assert_same_model(model, expected, X, library.tolerance, same_epochs=library.has_double)


EPOCHS = [
    {},
    {"loss": "huber", "penalty": "l1"},
    {"loss": "quantile"},
    {"positive": True},
    {"batch_size": 7, "average": False},
    {"batch_size": None},
    {"shuffle": False},
    {"fit_intercept": False},
    {"standardize": False, "learning_rate": 1e-6},
    {"learning_rate": 1e-3, "schedule": "invscaling"},
    {"early_stopping": True},
    {"loss": LogCosh(), "penalty": AbsoluteValues()},
]


@pytest.mark.usefixtures("dispatch")
@pytest.mark.parametrize("library", KINDS, indirect=True)
@pytest.mark.parametrize("params", EPOCHS, ids=name_of)
def test_mini_batch_epochs_are_those_of_numpy_with_the_same_seed_and_batches(library, params):
    X, Y, weight = problem_data()
    arrays = X.astype(library.dtype), Y.astype(library.dtype)
    params = {"batch_size": 32, "precondition": False, "max_iter": 4, "tol": None} | params
    expected = reference(*arrays, weight, **params)
    model = GDLinearRegressor(random_state=0, **params).fit(*map(library, (*arrays, weight)))
    assert_same_model(model, expected, X, library.tolerance)
    if expected.validation_loss_curve_ is not None:
        assert_allclose(model.validation_loss_curve_, expected.validation_loss_curve_, rtol=10 * library.tolerance)


@pytest.mark.usefixtures("dispatch")
@pytest.mark.parametrize("library", DOUBLE, indirect=True)
def test_a_batch_far_off_gets_the_step_of_the_line_search(library):
    X, y = data_with_an_outlier()
    params = {"precondition": False, "batch_size": 4, "max_iter": 3, "tol": None, "shuffle": False}
    expected = reference(X, y, **params)
    model = GDLinearRegressor(random_state=0, **params).fit(library(X), library(y))
    assert_same_model(model, expected, X, 1e-10)


def data_with_an_outlier():
    """Rows one batch of which is so far off that it exceeds the objective of the mean by far."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 3))
    y = X @ [1.0, 2.0, 3.0] + 0.1 * rng.normal(size=400)
    X[200:204], y[200:204] = 30.0, -2e4  # without shuffling they make one batch
    return X, y


@pytest.mark.usefixtures("dispatch")
@pytest.mark.parametrize(("kind", "rows"), [("torch float64", 32), ("strict float64", 32), ("strict device1", 1024)])
def test_an_automatic_batch_is_that_of_numpy_on_a_cpu_and_larger_elsewhere(kind, rows):
    library, rng = Library(kind), np.random.default_rng(0)
    X = rng.normal(size=(3000, 2))
    y = X @ [1.0, 2.0] + 0.1 * rng.normal(size=3000)
    model = GDLinearRegressor(precondition=False, max_iter=1, tol=None).fit(library(X), library(y))
    assert (model.batch_size_, model.t_) == (rows, -(-3000 // rows))
    bounded = GDLinearRegressor(precondition=False, max_iter=1, tol=None, batch_size=50).fit(library(X), library(y))
    assert bounded.t_ == 60


@pytest.mark.parametrize(
    ("n_rows", "size"), [(1, 1024), (1_000_000, 1024), (1_048_576, 2048), (10_000_000, 16384), (10**9, 16384)]
)
def test_an_automatic_batch_grows_with_the_rows_on_a_device(n_rows, size):
    assert device_batch_size(n_rows) == size


@pytest.mark.usefixtures("dispatch")
@pytest.mark.parametrize("library", KINDS, indirect=True)
@pytest.mark.parametrize("params", [{"learning_rate": 0.05}, {"standardize": False}, {"precondition": False}], ids=str)
def test_steps_of_ones_own_are_called_converged_as_in_numpy(library, params):
    """Where least squares by NumPy say that at most ``tol`` is left, and with a warning where more is."""
    X, Y, _ = problem_data(k=1)
    X, y = (X - X.mean(axis=0)) / np.where(X.std(axis=0) > 0.0, X.std(axis=0), 1.0), Y[:, 0]
    for average in (True, False):
        given = {"random_state": 0, "max_iter": 100, "batch_size": 32, "average": average} | params
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model = GDLinearRegressor(**given).fit(library(X.astype(library.dtype)), library(y.astype(library.dtype)))
        gap = exact_r2(X, y) - r2_score(y, X @ to_numpy(model.coef_).astype(float) + float(to_numpy(model.intercept_)))
        assert model.stop_reason_ != "max_iter"
        assert (model.stop_reason_ == "converged") == (gap <= 1e-4) == (not caught)


@pytest.mark.usefixtures("dispatch")
@pytest.mark.parametrize("library", KINDS, indirect=True)
def test_the_default_is_least_squares_ridge_and_lasso(library):
    X, Y, _ = problem_data(k=1)
    X, y = np.delete(X, 2, axis=1), Y[:, 0]
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    n, tolerance = len(y), 10 * library.tolerance
    for params, oracle in [
        ({}, np.linalg.lstsq(np.column_stack([X, np.ones(n)]), y, rcond=None)[0][:-1]),
        ({"penalty": "l2", "alpha": 0.1}, Ridge(0.1 * n, tol=1e-12).fit(X, y).coef_),
        ({"penalty": "l1", "alpha": 1.0}, Lasso(1.0, tol=1e-14, max_iter=100_000).fit(X, y).coef_),
    ]:
        model = GDLinearRegressor(tol=1e-12, **params).fit(library(X), library(y))
        error = X @ (to_numpy(model.coef_).astype(float) - oracle)
        assert np.abs(error).max() <= tolerance * np.ptp(y)
        assert_array_equal(to_numpy(model.coef_) == 0.0, oracle == 0.0)


@pytest.mark.usefixtures("dispatch")
@pytest.mark.parametrize("library", DOUBLE, indirect=True)
@pytest.mark.parametrize("batch_size", [32, None])
def test_large_data_is_read_in_blocks_with_the_same_answer(library, batch_size, monkeypatch):
    from sk_gdlinear._array import namespace

    monkeypatch.setattr(namespace, "CPU_NUMBERS", 120)  # 20 rows: fewer than a batch
    X, Y, weight = problem_data()
    for params in ({}, {"precondition": False, "max_iter": 3, "tol": None}, {"loss": "huber"}):
        params = {"batch_size": batch_size, "precondition": True} | params
        model = GDLinearRegressor(random_state=0, **params).fit(library(X), library(Y), library(weight))
        assert_same_model(model, reference(X, Y, weight, **params), X, 1e-10)


@pytest.mark.usefixtures("dispatch")
def test_nothing_of_the_size_of_X_is_copied(monkeypatch):
    from sk_gdlinear._array import namespace

    strict = Library("strict float32")
    monkeypatch.setattr(namespace, "CPU_NUMBERS", 1 << 16)
    X = strict(np.random.default_rng(0).normal(size=(200_000, 40)))  # 32 MB; NumPy's memory is behind them
    y = strict(np.arange(200_000.0))
    for params in ({}, {"loss": "huber"}, {"precondition": False, "max_iter": 2, "tol": None, "batch_size": None}):
        model = GDLinearRegressor(**params)
        tracemalloc.start()
        model.fit(X, y).predict(X)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 16e6  # half of X, some numbers per row included


# --- what goes in comes out ------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("dispatch")
@pytest.mark.parametrize("library", KINDS, indirect=True)
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize("k", [None, 1, 2])
def test_parameters_and_predictions_are_in_the_namespace_of_X(library, method, k):
    X, Y, weight = problem_data()
    y = Y[:, 0] if k is None else Y[:, :k]
    model = getattr(GDLinearRegressor(random_state=0), method)(library(X), library(y), library(weight))
    prediction = model.predict(library(X))
    assert all(map(library.owns, (model.coef_, model.intercept_, prediction)))
    dtype = getattr(library.xp, library.dtype)
    assert model.coef_.dtype == prediction.dtype == dtype
    # As with NumPy, the intercept of float32 data keeps the digits of float64 where there are any.
    assert model.intercept_.dtype == (library.xp.float64 if library.has_double else library.xp.float32)
    assert tuple(model.coef_.shape) == ((6,) if k is None else (k, 6))
    assert tuple(model.intercept_.shape) == (() if k is None else (k,))
    assert tuple(prediction.shape) == y.shape
    assert isinstance(model.score(library(X), library(y), library(weight)), float)


@pytest.mark.usefixtures("dispatch")
@pytest.mark.parametrize("library", KINDS, indirect=True)
def test_y_and_weights_follow_X_from_wherever_they_are(library):
    X, Y, weight = (a.astype(library.dtype) for a in problem_data())
    expected = GDLinearRegressor(random_state=0).fit(library(X), library(Y), library(weight))
    others = [np.asarray, np.ndarray.tolist, *(Library(kind) for kind in ("strict device1", "torch float32"))]
    for move in others:
        model = GDLinearRegressor(random_state=0).fit(library(X), move(Y), move(weight), X_val=None)
        assert library.owns(model.coef_)
        assert_allclose(to_numpy(model.coef_), to_numpy(expected.coef_), rtol=1e-3)
        score = model.score(library(X), move(Y), move(weight))
        assert score == pytest.approx(expected.score(library(X), library(Y), library(weight)), abs=1e-4)


@pytest.mark.usefixtures("dispatch")
@pytest.mark.parametrize("library", KINDS, indirect=True)
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_numpy_X_gives_a_model_in_numpy_whatever_y_is(library, method):
    X, Y, weight = (a.astype("float32") for a in problem_data())
    model = getattr(GDLinearRegressor(random_state=0), method)(X, library(Y), library(weight))
    expected = getattr(GDLinearRegressor(random_state=0), method)(X, Y, weight)
    assert_array_equal(model.coef_, expected.coef_)
    assert model.score(X, library(Y)) == pytest.approx(expected.score(X, Y), abs=1e-6)


@pytest.mark.usefixtures("dispatch")
@pytest.mark.parametrize("library", KINDS, indirect=True)
def test_a_validation_set_follows_X(library):
    X, Y, weight = (a.astype(library.dtype) for a in problem_data())
    params = {"precondition": False, "batch_size": 32, "max_iter": 5, "tol": None}
    val = {"X_val": X[:50], "y_val": Y[:50], "sample_weight_val": weight[:50]}
    with sk_gdlinear.backend("reference"):
        expected = GDLinearRegressor(random_state=0, **params).fit(X, Y, **val)
    for move in (library, np.asarray):
        given = {name: move(a) for name, a in val.items()}
        model = GDLinearRegressor(random_state=0, **params).fit(library(X), library(Y), **given)
        assert model.best_iter_ == expected.best_iter_
        assert_allclose(model.validation_loss_curve_, expected.validation_loss_curve_, rtol=library.tolerance)
    with pytest.raises(ValueError, match="validation set .* cannot be used.*3 features"):
        GDLinearRegressor().fit(library(X), library(Y), X_val=library(X[:, :3]), y_val=library(Y))
    with pytest.raises(ValueError, match="y_val was not given"):
        GDLinearRegressor().fit(library(X), library(Y), X_val=library(X))


STREAMS = [
    {},
    {"window": 150},
    {"window": 30},
    {"fit_intercept": False},
    {"penalty": "l2", "alpha": 0.1},
    {"penalty": "l1", "alpha": 0.1},
    {"positive": True},
]


@pytest.mark.usefixtures("dispatch")
@pytest.mark.parametrize("library", KINDS, indirect=True)
@pytest.mark.parametrize("params", STREAMS, ids=name_of)
@pytest.mark.parametrize("is_weighted", [False, True], ids=["equal weights", "weighted"])
def test_partial_fit_has_the_answer_of_numpy_from_second_moments(library, params, is_weighted, monkeypatch):
    X, Y, weight = (a.astype(library.dtype) for a in problem_data())
    model, twin = (GDLinearRegressor(random_state=0, **params) for _ in range(2))
    to_numpy_of = DeviceArray.__getitem__
    copied = []
    monkeypatch.setattr(DeviceArray, "__getitem__", lambda rows, order: copied.append(0) or to_numpy_of(rows, order))
    for start, stop in ((0, 100), (100, 101), (101, 130), (130, 500), (500, 700)):
        chunk = [a[start:stop] for a in (X, Y, weight)[: 2 + is_weighted]]
        model.partial_fit(*map(library, chunk))
        twin.partial_fit(*chunk)
        assert library.owns(model.coef_)
        assert_same_model(model, twin, X, library.tolerance, same_epochs=False)
    assert_allclose(model.loss_curve_, twin.loss_curve_, rtol=10 * library.tolerance)
    assert (model.t_, model.batch_size_) == (twin.t_, twin.batch_size_)
    assert (not copied) is library.has_double  # products of float32 would hold too few digits


@pytest.mark.usefixtures("dispatch")
@pytest.mark.parametrize("library", DOUBLE, indirect=True)
def test_partial_fit_in_mini_batches_goes_on_with_the_bits_of_numpy(library):
    X, Y, weight = problem_data()
    for params in ({"loss": "huber"}, {"precondition": False}, {"penalty": AbsoluteValues()}):
        model, twin = (GDLinearRegressor(random_state=0, **params) for _ in range(2))
        for start in range(0, 700, 100):
            rows = slice(start, start + 100)
            model.partial_fit(library(X[rows]), library(Y[rows]), library(weight[rows]))
            twin.partial_fit(X[rows], Y[rows], weight[rows])
        assert library.owns(model.coef_)
        assert_array_equal(to_numpy(model.coef_), twin.coef_)
        assert model.loss_curve_ == twin.loss_curve_


@pytest.mark.usefixtures("dispatch")
@pytest.mark.parametrize("library", ["torch float64", "torch float32", "strict float64"], indirect=True)
def test_a_chunk_that_cannot_be_used_changes_nothing(library):
    X, Y, _ = problem_data()
    for window in (None, 30):
        model = GDLinearRegressor(random_state=0, window=window).partial_fit(library(X), library(Y))
        before = pickle.dumps(vars(model)["_state"])
        for name, value in (("X", np.nan), ("X", np.inf), ("y", np.nan), ("y", -np.inf)):
            bad = {"X": X[:100].copy(), "y": Y[:100].copy()}
            bad[name][3, 1] = value
            with pytest.raises(ValueError, match=f"Input {name} contains (NaN|infinity)"):
                model.partial_fit(library(bad["X"]), library(bad["y"]))
        with pytest.raises(ValueError, match="has 5 features, but .* 6 features"):
            model.partial_fit(library(X[:, :5]), library(Y))
        with pytest.raises(ValueError, match="coef_ of shape"):
            model.partial_fit(library(X), library(Y[:, 0]))
        model.partial_fit(library(X), library(Y), library(np.zeros(700)))  # contains no information
        assert pickle.dumps(vars(model)["_state"]) == before
    with pytest.raises(ValueError, match="sums are too large"):
        GDLinearRegressor().partial_fit(Library("torch float64")(np.full((5, 2), 1.5e308)), [1.0] * 5)
    with pytest.raises(ValueError, match="early_stopping=True holds rows out in fit"):
        GDLinearRegressor(early_stopping=True).partial_fit(library(X), library(Y))


@pytest.mark.usefixtures("dispatch")
def test_a_stream_keeps_the_dtype_of_its_first_chunk():
    torch = Library("torch float64")
    X, Y, _ = problem_data()
    first = X[:350].astype(np.float32), Y[:350].astype(np.float32)
    model = GDLinearRegressor().partial_fit(*map(Library("torch float32"), first))
    model.partial_fit(torch(X[350:]), torch(Y[350:]))
    assert model.coef_.dtype == torch.xp.float32
    expected = GDLinearRegressor().partial_fit(*first).partial_fit(X[350:], Y[350:])
    assert_same_model(model, expected, X, 1e-5, same_epochs=False)
    assert_allclose(model.loss_curve_, expected.loss_curve_, rtol=1e-10)  # of rows rounded to that dtype


@pytest.mark.usefixtures("dispatch")
def test_a_chunk_of_a_stream_is_not_copied(monkeypatch):
    from sk_gdlinear._array import namespace

    strict = Library("strict float32")
    monkeypatch.setattr(namespace, "CPU_NUMBERS", 1 << 16)
    X = strict(np.random.default_rng(0).normal(size=(200_000, 40)))  # 32 MB
    y = strict(np.arange(200_000.0))
    model = GDLinearRegressor()
    tracemalloc.start()
    model.partial_fit(X, y)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16e6


@pytest.mark.usefixtures("dispatch")
@pytest.mark.parametrize("library", DOUBLE, indirect=True)
def test_partial_fit_continues_from_fit(library):
    X, Y, _ = problem_data()
    model, twin = (GDLinearRegressor(random_state=0, precondition=True) for _ in range(2))
    model.fit(library(X[:400]), library(Y[:400])).partial_fit(library(X[400:]), library(Y[400:]))
    twin.fit(X[:400], Y[:400]).partial_fit(X[400:], Y[400:])
    assert_same_model(model, twin, X, 1e-8)


@pytest.mark.usefixtures("dispatch")
@pytest.mark.parametrize("library", DOUBLE, indirect=True)
def test_a_warm_start_continues(library):
    X, Y, _ = problem_data()
    params = {"warm_start": True, "precondition": False, "batch_size": 32, "max_iter": 2, "tol": None}
    params["random_state"] = 0
    model, twin = GDLinearRegressor(**params), GDLinearRegressor(**params)
    with sk_gdlinear.backend("reference"):
        twin.fit(X, Y).fit(X, Y)
    model.fit(library(X), library(Y)).fit(library(X), library(Y))
    assert_same_model(model, twin, X, 1e-10)
    start = {"coef_init": library(twin.coef_), "intercept_init": library(twin.intercept_)}
    started = GDLinearRegressor(random_state=0, max_iter=1, tol=None).fit(library(X), library(Y), **start)
    assert started.loss_curve_[0] <= twin.loss_curve_[-1]


# --- layouts, gradients, and errors ----------------------------------------------------------------------------------


@pytest.mark.usefixtures("dispatch")
@pytest.mark.parametrize(
    "arrange",
    [
        pytest.param(lambda X: X.T.contiguous().T, id="columns first"),
        pytest.param(lambda X: X.repeat_interleave(2, dim=0)[::2], id="strided rows"),
        pytest.param(lambda X: X.repeat_interleave(2, dim=1)[:, ::2], id="strided columns"),
        pytest.param(lambda X: X[:1].expand(1, 6).new_tensor(X), id="copy"),
        pytest.param(lambda X: X.clone().requires_grad_(), id="with a gradient"),
        pytest.param(lambda X: X * X.new_ones(1).requires_grad_(), id="of a graph"),
    ],
)
@pytest.mark.filterwarnings("ignore:To copy construct from a tensor")
def test_layout_and_gradient_of_a_tensor_do_not_matter(arrange):
    torch = Library("torch float64")
    X, Y, weight = (torch(a) for a in problem_data())
    expected = GDLinearRegressor(random_state=0).fit(X, Y, weight)
    given, targets = arrange(X), Y.clone().requires_grad_()
    model = GDLinearRegressor(random_state=0).fit(given, targets, weight)
    assert_allclose(model.coef_, expected.coef_, rtol=1e-9)
    prediction = model.predict(given)
    assert not (model.coef_.requires_grad or prediction.requires_grad)
    assert_allclose(prediction, expected.predict(X), rtol=1e-9)
    assert model.score(given, targets, weight) == pytest.approx(expected.score(X, Y, weight), rel=1e-9)


@pytest.mark.usefixtures("dispatch")
def test_inputs_are_not_changed():
    torch = Library("torch float64")
    given = [torch(a) for a in problem_data()]
    before = [a.clone() for a in given]
    for params in ({}, {"precondition": False, "max_iter": 3, "tol": None}):
        model = GDLinearRegressor(**params).fit(*given)
        model.partial_fit(*given).predict(given[0])
    assert all(bool((a == b).all()) for a, b in zip(given, before, strict=True))


@pytest.mark.usefixtures("dispatch")
@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda X, y: (X.to_sparse(), y), r"dense tensor.*sparse_coo.*to_dense"),
        (lambda X, y: (X + 1j, y), "Complex data not supported: X"),
        (lambda X, y: (X, y + 1j), "Complex data not supported: y"),
        (lambda X, y: (X * float("nan"), y), "Input X contains NaN"),
        (lambda X, y: (X, y / 0.0), "Input y contains infinity"),
        (lambda X, y: (X.float(), y * 1e60), "y holds values too large for float32"),
        (lambda X, y: (X[0], y), "Expected 2D array"),
        (lambda X, y: (X, y[:-1]), "inconsistent numbers of samples"),
        (lambda X, y: (X, None), "requires y to be passed"),
        (lambda X, y: (X[:, :2], y), "2 features, but .* 6 features"),
    ],
)
def test_unfit_arrays_are_refused_and_change_nothing(change, match):
    torch = Library("torch float64")
    X, y = torch(problem_data()[0]), torch(problem_data()[1])
    model = GDLinearRegressor(random_state=0, warm_start=True).fit(X, y)
    before = pickle.dumps(model)
    with pytest.raises(ValueError, match=match):
        model.fit(*change(X, y))
    assert pickle.dumps(model) == before


@pytest.mark.usefixtures("dispatch")
@pytest.mark.parametrize("library", ["torch float64", "strict device1"], indirect=True)
def test_a_model_does_not_meet_arrays_of_another_namespace(library):
    X, Y, _ = problem_data()
    here = GDLinearRegressor(random_state=0, warm_start=True).fit(X, Y)
    there = GDLinearRegressor(random_state=0, warm_start=True).fit(library(X), library(Y))
    for model, data in ((here, (library(X), library(Y))), (there, (X, Y)), (there, (X[:1], Y[:1]))):
        for call in (lambda: model.predict(data[0]), lambda: model.partial_fit(*data), lambda: model.fit(*data)):  # noqa: B023
            with pytest.raises(ValueError, match=r"must use the same namespace and the same device.*move_estimator_to"):
                call()
    fresh = there.set_params(warm_start=False).fit(X, Y)
    assert type(fresh.coef_) is np.ndarray


def test_a_model_of_tensors_needs_dispatch_to_predict():
    torch = Library("torch float64")
    X, Y, _ = problem_data()
    with sklearn.config_context(array_api_dispatch=True):
        model = GDLinearRegressor().fit(torch(X), torch(Y))
    for data in (X, torch(X)):
        with pytest.raises(ValueError, match="without array API dispatch.*array_api_dispatch=True"):
            model.predict(data)


def test_without_dispatch_tensors_are_converted_to_numpy():
    torch = Library("torch float64")
    X, Y, _ = problem_data()
    model = GDLinearRegressor(random_state=0).fit(torch(X), torch(Y))
    assert_array_equal(model.coef_, GDLinearRegressor(random_state=0).fit(X, Y).coef_)


# --- copies ----------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("dispatch")
def test_a_pickle_predicts_and_continues_with_the_same_bits():
    torch = Library("torch float64")
    X, Y, weight = (torch(a) for a in problem_data())
    model = GDLinearRegressor(random_state=0).fit(X, Y, weight)
    copy = pickle.loads(pickle.dumps(model))
    assert bool((copy.predict(X) == model.predict(X)).all())
    assert bool((copy.partial_fit(X, Y).coef_ == model.partial_fit(X, Y).coef_).all())


@pytest.mark.usefixtures("dispatch")
@pytest.mark.parametrize("library", KINDS, indirect=True)
@pytest.mark.parametrize("k", [None, 2])
def test_a_model_moves_between_namespaces_and_continues_there(library, k):
    move = pytest.importorskip("sklearn.utils._array_api", reason="no array API in this scikit-learn")
    if not hasattr(move, "move_estimator_to"):
        pytest.skip("this scikit-learn cannot move estimators")
    X, Y, _ = (a.astype(library.dtype) for a in problem_data())
    y = Y[:, 0] if k is None else Y
    model = GDLinearRegressor(random_state=0).fit(X[:600], y[:600])
    xp, _, device = move.get_namespace_and_device(library(X))
    there = move.move_estimator_to(model, xp, device)
    back = move.move_estimator_to(there, np, "cpu")
    assert library.owns(there.coef_) and library.owns(there.intercept_)
    assert type(back.intercept_) is type(model.intercept_) or not library.has_double
    assert_allclose(to_numpy(there.predict(library(X))), model.predict(X), rtol=1e-5, atol=1e-4)
    assert_array_equal(back.coef_, model.coef_)
    continued = there.partial_fit(library(X[600:]), library(y[600:]))
    assert_allclose(to_numpy(continued.coef_), model.partial_fit(X[600:], y[600:]).coef_, rtol=1e-2, atol=1e-3)


@pytest.mark.usefixtures("dispatch")
def test_a_moved_copy_and_the_model_share_nothing():
    move = pytest.importorskip("sklearn.utils._array_api", reason="no array API in this scikit-learn")
    if not hasattr(move, "move_estimator_to"):
        pytest.skip("this scikit-learn cannot move estimators")
    X, Y, _ = problem_data()
    model, twin = (GDLinearRegressor("huber", random_state=0).partial_fit(X, Y) for _ in range(2))
    xp, _, device = move.get_namespace_and_device(Library("torch float64")(X))
    move.move_estimator_to(model, xp, device).partial_fit(Library("torch float64")(X), Y)
    assert_array_equal(model.partial_fit(X, Y).coef_, twin.partial_fit(X, Y).coef_)


# --- rows on a device ------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("dispatch")
@pytest.mark.parametrize("library", KINDS, indirect=True)
@pytest.mark.parametrize("order", [[2, 3, 4], [4, 3, 2], [1, 3, 2, 4], [0], [5, 0, 5]], ids=str)
def test_rows_are_taken_in_the_order_asked_for(library, order):
    X = np.arange(12.0).reshape(6, 2)
    rows = DeviceArray(library(X), namespace_of(library(X)))
    assert_array_equal(rows[np.array(order)], X[order])
    assert library.owns(rows.take(np.array(order)))


@pytest.mark.usefixtures("dispatch")
@pytest.mark.parametrize("library", KINDS, indirect=True)
@pytest.mark.parametrize(
    "rows", [None, slice(3, 600), np.arange(0, 700, 3), np.arange(20, 600)], ids=["all", "slice", "apart", "run"]
)
@pytest.mark.parametrize("is_weighted", [False, True], ids=["equal weights", "weighted"])
def test_joint_moments_are_those_of_numpy(library, rows, is_weighted, monkeypatch):
    monkeypatch.setattr(joint_moments, "BLOCK_ROWS", 100)  # several blocks
    monkeypatch.setattr(namespace_module, "CPU_NUMBERS", 1)
    X, Y, weight = (a.astype(library.dtype) for a in problem_data())
    X[:, 4], weight = 0.0, (weight + 0.1).astype(np.float64) if is_weighted else None
    X[:300, 3] *= 1e-3  # needs another factor in the first blocks
    on_device = [DeviceArray(library(a), namespace_of(library(a))) for a in (X, Y)]
    moments = joint_moments.joint_moments(*on_device, weight, rows)
    expected = JointMoments.of(X, Y, weight, rows)
    moments = moments.scaled(expected.factor)
    assert (moments.n_rows, moments.count) == (expected.n_rows, pytest.approx(expected.count))
    for name in ("mean", "low", "high"):
        assert_allclose(getattr(moments, name), getattr(expected, name), rtol=1e-10)
    size = np.sqrt(expected.products.diagonal())
    assert (np.abs(moments.products - expected.products) <= 1e-12 * np.multiply.outer(size, size)).all()
    assert_array_equal(moments.products[[2, 4]], 0.0)  # constant columns have no rounding


@pytest.mark.usefixtures("dispatch")
@pytest.mark.parametrize("library", KINDS, indirect=True)
@pytest.mark.parametrize("first", [1e4, 0.0, -1e6])
@pytest.mark.parametrize("first_weight", [None, 1.0, 1e-20])
def test_a_first_row_far_from_all_others_costs_no_digits(library, first, first_weight):
    X = np.random.default_rng(0).normal(size=(20_000, 2)) + 3.0
    X[0] = first
    X, weight = X.astype(library.dtype), None if first_weight is None else np.ones(20_000)
    if weight is not None:
        weight[0] = first_weight
    moments = Moments.empty(2)
    rows = DeviceArray(library(X), namespace_of(library(X)))
    moments.add(DEVICE, rows, np.arange(20_000), weight)
    share = np.ones(20_000) if weight is None else weight
    mean = np.average(X.astype(float), axis=0, weights=share)
    square = np.average((X.astype(float) - mean) ** 2, axis=0, weights=share)
    assert_allclose(moments.mean, mean, rtol=1e-9 if library.has_double else 1e-4)
    assert_allclose(moments.square_deviation / share.sum(), square, rtol=1e-9 if library.has_double else 1e-3)


@pytest.mark.usefixtures("dispatch")
@pytest.mark.parametrize("library", KINDS, indirect=True)
def test_sums_over_blocks_keep_the_digits_of_float64(library):
    """In float32 1e8 would swallow every 1 that is added to it."""
    totals = Totals(namespace_of(library([0.0])))
    for block in (1e8, *[1.0] * 100):
        totals.add(totals.namespace.asarray([block]))
    assert_array_equal(totals.numpy()[0], [1e8 + 100.0])


@pytest.mark.usefixtures("dispatch")
def test_n_jobs_has_no_effect_on_tensors():
    torch, rng = Library("torch float64"), np.random.default_rng(0)
    X = rng.normal(size=(150_000, 10))  # so many that NumPy's would be shared among threads
    y = torch(X @ np.ones(10) + rng.normal(size=150_000))
    params = {"precondition": False, "batch_size": 1000, "max_iter": 2, "tol": None, "random_state": 0}
    one, two = (GDLinearRegressor(n_jobs=n_jobs, **params).fit(torch(X), y) for n_jobs in (1, 2))
    assert_array_equal(one.coef_, two.coef_)


# --- cross-validation ------------------------------------------------------------------------------------------------

SEARCHES = [
    {},
    {"penalty": "l1", "rule": "one_se"},
    {"penalty": "elasticnet", "l1_ratio": [0.2, 0.9], "scoring": "r2"},
    {"penalty": "l1", "positive": True, "fit_intercept": False, "scoring": "neg_mean_absolute_error"},
    {"cv": KFold(3, shuffle=True, random_state=0), "alphas": [1e-3, 1.0]},
    {"penalty": "l1", "loss": "huber", "n_alphas": 4, "eps": 0.1},
    {"loss": LogCosh(), "n_alphas": 3, "eps": 0.1, "cv": 3, "scoring": "r2"},
    {"precondition": True, "loss": Huber(0.5), "n_alphas": 3, "scoring": "neg_median_absolute_error"},
]


@pytest.mark.usefixtures("dispatch")
@pytest.mark.parametrize("library", KINDS, indirect=True)
@pytest.mark.parametrize("params", SEARCHES, ids=name_of)
@pytest.mark.parametrize("is_weighted", [False, True], ids=["equal weights", "weighted"])
def test_a_search_chooses_as_with_numpy(library, params, is_weighted):
    X, Y, weight = (a.astype(library.dtype) for a in problem_data(n=200))
    params = {"n_alphas": 10, "tol": 1e-9, "random_state": 0} | params
    data = (X, Y, weight) if is_weighted else (X, Y[:, 0])
    is_exact, expected = "loss" not in params, GDLinearRegressorCV(**params).fit(*data)
    with warnings.catch_warnings():
        if not is_exact and not library.has_double:  # tol is below the rounding of sums in float32
            warnings.simplefilter("ignore", ConvergenceWarning)
        model = GDLinearRegressorCV(**params).fit(*map(library, data))
    # Descents end anywhere within tol, or where the rounding of sums in float32 allows no further step.
    tolerance = library.tolerance if is_exact else 1e-4 if library.dtype == np.float64 else 4e-4
    if not is_exact and not library.has_double:
        tolerance = 1e-3  # the root of ten times the rounding of an objective
    assert (model.best_index_, model.l1_ratio_) == (expected.best_index_, expected.l1_ratio_)
    assert model.alpha_ == pytest.approx(expected.alpha_, rel=library.tolerance)
    for name in ("alphas_", "mse_path_"):
        assert_allclose(to_numpy(getattr(model, name)), getattr(expected, name), rtol=10 * tolerance)
    scores, expected_scores = (m.cv_results_["mean_test_score"] for m in (model, expected))
    assert_allclose(scores, expected_scores, rtol=10 * tolerance)
    prediction, expected_prediction = to_numpy(model.predict(library(X))), expected.predict(X)
    assert np.abs(prediction - expected_prediction).max() <= tolerance * np.ptp(expected_prediction)
    path = X.astype(float) @ to_numpy(model.coef_path_).reshape(-1, 6, model.alphas_.shape[-1]).astype(float)
    expected_path = X.astype(float) @ expected.coef_path_.reshape(-1, 6, expected.alphas_.shape[-1])
    difference = np.abs(path - expected_path)
    if not is_exact and not library.has_double:  # where most errors are beyond epsilon the objective is nearly flat
        difference = difference[..., model.best_index_ % model.alphas_.shape[-1]]
    assert difference.max() <= tolerance * np.ptp(expected_path)
    assert model.score(*map(library, data)) == pytest.approx(expected.score(*data), abs=tolerance)


@pytest.mark.usefixtures("dispatch")
@pytest.mark.parametrize("library", KINDS, indirect=True)
@pytest.mark.parametrize("loss", ["squared_error", "huber"])
@pytest.mark.parametrize("k", [None, 1, 2])
def test_what_a_search_reports_is_in_the_namespace_of_X(library, loss, k):
    X, Y, _ = problem_data(n=100)
    weight = np.linspace(1.0, 2.0, 100)
    y = Y[:, 0] if k is None else Y[:, :k]
    model = GDLinearRegressorCV(loss=loss, n_alphas=3, eps=0.1, tol=1e-2).fit(library(X), library(y), library(weight))
    prediction, xp = model.predict(library(X)), library.xp
    names = ("coef_", "intercept_", "coef_path_", "alphas_", "mse_path_")
    assert all(map(library.owns, (prediction, *(getattr(model, name) for name in names))))
    assert model.coef_.dtype == prediction.dtype == getattr(xp, library.dtype)
    real = xp.float64 if library.has_double else xp.float32
    assert all(getattr(model, name).dtype == real for name in names[1:])
    assert tuple(model.coef_.shape) == ((6,) if k is None else (k, 6))
    assert tuple(prediction.shape) == y.shape
    assert isinstance(model.score(library(X), y.tolist(), weight), float)


@pytest.mark.usefixtures("dispatch")
@pytest.mark.parametrize("params", [{"penalty": "l2"}, {"penalty": "l1", "scoring": "r2"}], ids=name_of)
def test_a_search_copies_no_rows_of_X_to_numpy(params, monkeypatch):
    strict, to_numpy_of = Library("strict float32"), DeviceArray.__getitem__
    widths = []
    monkeypatch.setattr(
        DeviceArray, "__getitem__", lambda rows, order: widths.append(rows.shape[1]) or to_numpy_of(rows, order)
    )
    X, Y, _ = problem_data()
    GDLinearRegressorCV(n_alphas=3, cv=3, **params).fit(strict(X), strict(Y))
    assert set(widths) == {2}  # targets


@pytest.mark.usefixtures("dispatch")
def test_groups_and_splitters_of_a_search_may_be_of_another_library():
    strict = Library("strict device1")  # which NumPy cannot read
    X, Y, _ = (a.astype(np.float32) for a in problem_data(n=120))
    groups = np.arange(120) // 12
    seen = []

    class Splitter(GroupKFold):
        def split(self, X, y=None, groups=None):
            seen.append((X, y))
            return super().split(X, y, groups)

    with sklearn.config_context(enable_metadata_routing=True):
        models = [
            GDLinearRegressorCV(cv=Splitter(3), n_alphas=5, scoring="neg_mean_absolute_error").fit(
                *map(move, (X, Y)), groups=move(groups)
            )
            for move in (strict, np.asarray)
        ]
    assert strict.owns(seen[0][0])
    assert_allclose(to_numpy(models[0].mse_path_), models[1].mse_path_, rtol=1e-6)


@pytest.mark.usefixtures("dispatch")
@pytest.mark.parametrize("library", ["torch float64", "strict device1"], indirect=True)
def test_a_search_does_not_meet_arrays_of_another_namespace(library):
    X, Y, _ = problem_data(n=100)
    here = GDLinearRegressorCV(n_alphas=3).fit(X, library(Y))
    there = GDLinearRegressorCV(n_alphas=3).fit(library(X), Y)
    assert type(here.coef_) is np.ndarray and library.owns(there.coef_)
    for model, rows in ((here, library(X)), (there, X)):
        with pytest.raises(ValueError, match=r"GDLinearRegressorCV.predict\(\) must use the same namespace"):
            model.predict(rows)
    with (
        sklearn.config_context(array_api_dispatch=False),
        pytest.raises(ValueError, match="without array API dispatch"),
    ):
        there.predict(X)
    before = pickle.dumps(there)
    for change, match in ((X * np.nan, "X contains NaN"), (X[0], "Expected 2D array"), (X[:5], "inconsistent numbers")):
        with pytest.raises(ValueError, match=match):
            there.fit(library(change), library(Y))
    assert pickle.dumps(there) == before


@pytest.mark.usefixtures("dispatch")
@pytest.mark.parametrize("k", [None, 2])
def test_the_picture_of_a_search_shows_the_same_coefficients(k):
    pytest.importorskip("matplotlib", reason="a picture needs matplotlib").use("agg")
    strict = Library("strict device1")
    X, Y, _ = (a.astype(np.float32) for a in problem_data(n=100))
    y = Y[:, 0] if k is None else Y
    models = [GDLinearRegressorCV(n_alphas=3).fit(move(X), move(y)) for move in (strict, np.asarray)]
    coefs, expected = (RegularizationPathDisplay.from_estimator(model).coefs for model in models)
    assert_allclose(coefs, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.usefixtures("dispatch")
@pytest.mark.parametrize("library", KINDS, indirect=True)
@pytest.mark.parametrize("k", [None, 2])
def test_a_search_moves_between_namespaces(library, k):
    move = pytest.importorskip("sklearn.utils._array_api", reason="no array API in this scikit-learn")
    if not hasattr(move, "move_estimator_to"):
        pytest.skip("this scikit-learn cannot move estimators")
    X, Y, _ = (a.astype(library.dtype) for a in problem_data(n=100))
    model = GDLinearRegressorCV(n_alphas=3).fit(X, Y[:, 0] if k is None else Y)
    xp, _, device = move.get_namespace_and_device(library(X))
    there = move.move_estimator_to(model, xp, device)
    back = move.move_estimator_to(there, np, "cpu")
    for name in ("coef_", "intercept_", "coef_path_", "alphas_", "mse_path_"):
        assert library.owns(getattr(there, name))
        assert type(getattr(back, name)) is type(getattr(model, name)) or not library.has_double
        assert_allclose(getattr(back, name), getattr(model, name), rtol=1e-6)
    assert_allclose(to_numpy(there.predict(library(X))), model.predict(X), rtol=1e-4, atol=1e-4)


# --- tools around the estimator --------------------------------------------------------------------------------------


@pytest.mark.usefixtures("dispatch")
def test_searches_pipelines_and_chunks_work_with_tensors():
    torch = Library("torch float64")
    X, y = torch(problem_data()[0]), torch(problem_data()[1][:, 0])
    expected = GDLinearRegressor().fit(X, y).score(X, y)
    search = GridSearchCV(GDLinearRegressor(penalty="l2"), {"alpha": [1e-6, 1e-5]}, error_score="raise").fit(X, y)
    assert torch.owns(search.best_estimator_.coef_)
    assert make_pipeline(StandardScaler(), GDLinearRegressor()).fit(X, y).score(X, y) == pytest.approx(expected)
    chunks = [(X[:300], y[:300]), (X[300:], y[300:])]
    model = GDLinearRegressor().fit_batches(chunks, epochs=1)
    assert torch.owns(model.coef_)
    assert model.score(X, y) == pytest.approx(expected, abs=1e-8)


@pytest.mark.usefixtures("dispatch")
def test_callbacks_get_a_model_that_predicts_for_the_given_arrays():
    callback = pytest.importorskip("sklearn.callback", reason="callbacks are new in scikit-learn 1.9")
    torch = Library("torch float64")
    X, y = torch(problem_data()[0]), torch(problem_data()[1][:, 0])
    monitor = callback.ScoringMonitor(scoring="r2")
    model = GDLinearRegressor("huber")
    model.set_callbacks(monitor)
    model.fit(X, y)
    scores = [log["r2"] for log in monitor.get_logs().data if log["task_name"] == "epoch"]
    assert len(scores) == model.n_iter_
    assert [log["r2"] for log in monitor.get_logs().data if log["task_name"] == "fit"] == [pytest.approx(scores[-1])]
    assert scores[-1] == pytest.approx(model.score(X, y))


@pytest.mark.usefixtures("dispatch")
def test_callbacks_of_partial_fit_get_a_chunk_and_a_model_in_numpy():
    callback = pytest.importorskip("sklearn.callback", reason="callbacks are new in scikit-learn 1.9")
    strict = Library("strict device1")
    X, Y, _ = (a.astype(np.float32) for a in problem_data())
    monitor = callback.ScoringMonitor(scoring="r2")
    model = GDLinearRegressor()
    model.set_callbacks(monitor)
    model.partial_fit(strict(X), strict(Y))
    assert [log["r2"] for log in monitor.get_logs().data] == [pytest.approx(model.score(strict(X), strict(Y)))]
    assert strict.owns(model.coef_)


# --- NumPy's own arrays ----------------------------------------------------------------------------------------------

NUMPY_ONLY = """
import sys
import numpy as np, sklearn
from sk_gdlinear import GDLinearRegressor, GDLinearRegressorCV
X = np.random.default_rng(0).normal(size=(200, 3))
y = X @ [1.0, 2.0, 3.0] + X[:, 0] ** 2
bits = []
for dispatch in (False, True):
    with sklearn.config_context(array_api_dispatch=dispatch):
        model = GDLinearRegressor(random_state=0).fit(X, y, np.ones(200))
        model.score(X, y)
        search = GDLinearRegressorCV(n_alphas=3).fit(X, y)
        bits += [model.predict(X).tobytes() + model.partial_fit(X, y).coef_.tobytes() + search.predict(X).tobytes()]
assert bits[0] == bits[1]
print([name for name in sys.modules if name.startswith(("sk_gdlinear._array", "torch", "array_api_strict"))])
"""


def test_numpy_input_imports_nothing_of_it_and_has_the_same_bits_with_dispatch():
    run = subprocess.run([sys.executable, "-c", NUMPY_ONLY], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


# --- scikit-learn's own checks ---------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    "estimator",
    [
        *(GDLinearRegressor(**({"max_iter": 20} | params)) for params in [*LOSSES_AND_PENALTIES, *EPOCHS[:9]]),
        *(GDLinearRegressorCV(**({"n_alphas": 3, "max_iter": 20} | params)) for params in SEARCHES),
    ],
    ids=name_of,
)
def test_checks_of_scikit_learn_pass(estimator):
    name, ran = type(estimator).__name__, []
    assert estimator.__sklearn_tags__().array_api_support
    for check in estimator_checks._yield_array_api_checks(estimator):
        try:
            check(name, estimator)
        except unittest.SkipTest:
            continue
        ran.append(str(check.keywords))
    for library in ("torch", "array_api_strict"):
        pytest.importorskip(library, reason=f"{library} is not installed: its checks are skipped")
        assert [keywords for keywords in ran if library in keywords]


@pytest.mark.parametrize(
    "estimator",
    [
        *(
            GDLinearRegressor(precondition=True, **params)
            for params in ({}, {"loss": "huber"}, {"penalty": "l1", "alpha": 0.01})
        ),
        *(GDLinearRegressorCV(n_alphas=4, **params) for params in ({}, {"penalty": "l1"})),
    ],
    ids=name_of,
)
@pytest.mark.parametrize(
    ("library", "device", "dtype"),
    [
        ("torch", "cpu", "float64"),
        ("torch", "cpu", "float32"),
        ("array_api_strict", "CPU_DEVICE", "float64"),
        ("array_api_strict", "device1", "float32"),
    ],
)
def test_the_values_in_checks_of_scikit_learn_are_those_of_numpy(library, device, dtype, estimator):
    pytest.importorskip(library, reason=f"{library} is not installed: no arrays of it")
    check = estimator_checks.check_array_api_input_and_values
    check(type(estimator).__name__, estimator, library, device, dtype, check_sample_weight=True)
