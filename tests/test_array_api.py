"""Arrays of other libraries: they go in and come out, and the answer is that of NumPy's arrays."""

import os
import pickle
import subprocess
import sys
import tracemalloc
import unittest

import numpy as np
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.linear_model import Lasso, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_checks

import sk_gdlinear
from builders import name_of
from sk_gdlinear import GDLinearRegressor
from sk_gdlinear._array.checks import namespace_of
from sk_gdlinear._array.rows import DeviceArray, Totals
from sk_gdlinear.losses import Huber
from sk_gdlinear.penalties import Box

# SciPy reads it once, when it is imported; without it scikit-learn refuses to dispatch.
pytestmark = pytest.mark.skipif(
    os.environ.get("SCIPY_ARRAY_API") != "1", reason="scikit-learn dispatches arrays only with SCIPY_ARRAY_API=1"
)

KINDS = ["torch float64", "torch float32", "strict float64", "strict device1", "strict no_float64"]
DOUBLE = ["torch float64", "strict float64"]


@pytest.fixture
def dispatch():
    with sklearn.config_context(array_api_dispatch=True):
        yield


class Library:
    """A namespace, a device and a dtype, as a test names them."""

    def __init__(self, kind):
        name, what = kind.split()
        module = {"torch": "torch", "strict": "array_api_strict"}[name]
        self.xp = pytest.importorskip(module, reason=f"{module} is not installed: no arrays of it")
        self.dtype = "float64" if what == "float64" else "float32"
        self.device = "cpu" if name == "torch" else self.xp.Device("CPU_DEVICE" if "float" in what[:5] else what)
        self.has_double = what != "no_float64"
        self.tolerance = 1e-10 if self.dtype == "float64" else 1e-4

    def __call__(self, values):
        return self.xp.asarray(np.array(values, dtype=self.dtype), device=self.device)

    def owns(self, array):
        return type(array) is type(self.xp.empty(0)) and array.device == self(0.0).device


def to_numpy(array):
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


@pytest.mark.usefixtures("dispatch")
@pytest.mark.parametrize("library", DOUBLE, indirect=True)
def test_partial_fit_goes_on_with_the_bits_of_numpy(library):
    X, Y, weight = problem_data()
    for params in ({}, {"loss": "huber"}, {"window": 100}):
        model, twin = (GDLinearRegressor(random_state=0, **params) for _ in range(2))
        for start in range(0, 700, 100):
            rows = slice(start, start + 100)
            model.partial_fit(library(X[rows]), library(Y[rows]), library(weight[rows]))
            twin.partial_fit(X[rows], Y[rows], weight[rows])
        assert library.owns(model.coef_)
        assert_array_equal(to_numpy(model.coef_), twin.coef_)
        assert model.loss_curve_ == twin.loss_curve_


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
    params = {"warm_start": True, "precondition": False, "max_iter": 2, "tol": None, "random_state": 0}
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


# --- NumPy's own arrays ----------------------------------------------------------------------------------------------

NUMPY_ONLY = """
import sys
import numpy as np, sklearn
from sk_gdlinear import GDLinearRegressor
X = np.random.default_rng(0).normal(size=(200, 3))
y = X @ [1.0, 2.0, 3.0] + X[:, 0] ** 2
bits = []
for dispatch in (False, True):
    with sklearn.config_context(array_api_dispatch=dispatch):
        model = GDLinearRegressor(random_state=0).fit(X, y, np.ones(200))
        model.score(X, y)
        bits += [model.predict(X).tobytes() + model.partial_fit(X, y).coef_.tobytes()]
assert bits[0] == bits[1]
print([name for name in sys.modules if name.startswith(("sk_gdlinear._array", "torch", "array_api_strict"))])
"""


def test_numpy_input_imports_nothing_of_it_and_has_the_same_bits_with_dispatch():
    run = subprocess.run([sys.executable, "-c", NUMPY_ONLY], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


# --- scikit-learn's own checks ---------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("params", [*LOSSES_AND_PENALTIES, *EPOCHS[:9]], ids=name_of)
def test_checks_of_scikit_learn_pass(params):
    estimator, ran = GDLinearRegressor(**({"max_iter": 20} | params)), []
    assert estimator.__sklearn_tags__().array_api_support
    for check in estimator_checks._yield_array_api_checks(estimator):
        try:
            check("GDLinearRegressor", estimator)
        except unittest.SkipTest:
            continue
        ran.append(str(check.keywords))
    for library in ("torch", "array_api_strict"):
        pytest.importorskip(library, reason=f"{library} is not installed: its checks are skipped")
        assert [keywords for keywords in ran if library in keywords]


@pytest.mark.parametrize("params", [{}, {"loss": "huber"}, {"penalty": "l1", "alpha": 0.01}], ids=name_of)
@pytest.mark.parametrize(
    ("library", "device", "dtype"),
    [
        ("torch", "cpu", "float64"),
        ("torch", "cpu", "float32"),
        ("array_api_strict", "CPU_DEVICE", "float64"),
        ("array_api_strict", "device1", "float32"),
    ],
)
def test_the_values_in_checks_of_scikit_learn_are_those_of_numpy(library, device, dtype, params):
    pytest.importorskip(library, reason=f"{library} is not installed: no arrays of it")
    estimator = GDLinearRegressor(precondition=True, **params)
    check = estimator_checks.check_array_api_input_and_values
    check("GDLinearRegressor", estimator, library, device, dtype, check_sample_weight=True)
