"""Fits and streams of arrays of other libraries: they go in and come out, and the answer is that of NumPy's arrays."""

import pickle
import subprocess
import sys
import tracemalloc
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.linear_model import Lasso, Ridge
from sklearn.metrics import r2_score

import sk_gdlinear
from builders import exact_r2, name_of
from other_arrays import (
    DOUBLE,
    EPOCHS,
    KINDS,
    LOSSES_AND_PENALTIES,
    Library,
    assert_same_model,
    needs_dispatch,
    problem_data,
    to_numpy,
)
from own_objects import AbsoluteValues
from sk_gdlinear import GDLinearRegressor
from sk_gdlinear._array.method import device_batch_size
from sk_gdlinear._array.rows import DeviceArray

pytestmark = needs_dispatch


def reference(*data, **params):
    with sk_gdlinear.backend("reference"):
        return GDLinearRegressor(random_state=0, **params).fit(*data)


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


@pytest.mark.usefixtures("dispatch")
def test_n_jobs_has_no_effect_on_tensors():
    torch, rng = Library("torch float64"), np.random.default_rng(0)
    X = rng.normal(size=(150_000, 10))  # so many that NumPy's would be shared among threads
    y = torch(X @ np.ones(10) + rng.normal(size=150_000))
    params = {"precondition": False, "batch_size": 1000, "max_iter": 2, "tol": None, "random_state": 0}
    one, two = (GDLinearRegressor(n_jobs=n_jobs, **params).fit(torch(X), y) for n_jobs in (1, 2))
    assert_array_equal(one.coef_, two.coef_)


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
