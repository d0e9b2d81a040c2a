"""Searches, pipelines, callbacks and checks of scikit-learn with arrays of other libraries: as with NumPy's arrays."""

import pickle
import unittest
import warnings

import numpy as np
import pytest
import sklearn
from numpy.testing import assert_allclose
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, GroupKFold, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_checks

from builders import name_of
from other_arrays import EPOCHS, KINDS, LOSSES_AND_PENALTIES, Library, needs_dispatch, problem_data, to_numpy
from own_objects import LogCosh
from sk_gdlinear import GDLinearRegressor, GDLinearRegressorCV, RegularizationPathDisplay
from sk_gdlinear._array.rows import DeviceArray
from sk_gdlinear.losses import Huber

pytestmark = needs_dispatch

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
