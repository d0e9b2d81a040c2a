"""scikit-learn's contract: its own checks, and the containers and tools that a user puts around a regressor."""

import numpy as np
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone, is_regressor
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.ensemble import BaggingRegressor
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.multioutput import MultiOutputRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import parametrize_with_checks

from sk_gdlinear import GDLinearRegressor

VARIANTS = [
    {},
    {"batch_size": 8},
    {"batch_size": None},
    {"standardize": False},
    {"average": False},
    {"fit_intercept": False},
    {"schedule": "adaptive"},
    {"warm_start": True},
    {"loss": "huber"},
    {"loss": "quantile", "quantile": 0.8},
    {"penalty": "l2"},
    {"penalty": "l1"},
    {"penalty": "elasticnet", "loss": "huber"},
    {"positive": True},
    {"early_stopping": True},
]

# Every variant under every method it allows.
CALLS = [(method, params) for params in VARIANTS for method in ("fit", "partial_fit")]
CALLS.remove(("partial_fit", {"early_stopping": True}))

ATTRIBUTES = [
    "coef_",
    "intercept_",
    "n_iter_",
    "t_",
    "learning_rate_",
    "batch_size_",
    "loss_curve_",
    "validation_loss_curve_",
    "best_iter_",
    "stop_reason_",
    "n_features_in_",
]


def expected_failures(estimator):
    """Checks whose premise cannot hold, with the reason; none for the defaults."""
    if estimator.warm_start:
        return {"check_supervised_y_2d": "fits twice and demands the same result: a warm start goes on instead"}
    if estimator.early_stopping:
        partial_fit = "calls partial_fit, which early_stopping=True refuses, as in SGDRegressor"
        return {
            "check_fit_score_takes_y": partial_fit,
            "check_n_features_in_after_fitting": partial_fit,
            "check_estimators_partial_fit_n_features": partial_fit,
            "check_sample_weight_equivalence_on_dense_data": "other rows are drawn to be held out when rows repeat",
            "check_sample_weight_equivalence_on_sparse_data": "other rows are drawn to be held out when rows repeat",
        }
    return {}


def variants():
    """The default estimator, and each variant with a hundred epochs, which will do for the few rows of a check."""
    return [GDLinearRegressor(**params, **({"max_iter": 100} if params else {})) for params in VARIANTS]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # checks set max_iter to a few epochs
@parametrize_with_checks(variants(), expected_failed_checks=expected_failures)
def test_sklearn_checks(estimator, check):
    check(estimator)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("check", ["check_param_validation", "check_dataframe_column_names_consistency"])
@pytest.mark.parametrize("params", VARIANTS, ids=str)
def test_sklearn_checks_that_third_parties_are_not_offered(check, params):
    if "dataframe" in check:
        pytest.importorskip("pandas", reason="pandas is not installed: no frames to check")
    getattr(estimator_checks, check)("GDLinearRegressor", GDLinearRegressor(**params))


@pytest.fixture
def data(rng):
    X = rng.normal(size=(120, 4)) * [1.0, 10.0, 0.1, 2.0] + 5.0
    return X, X @ [1.0, 0.2, -3.0, 0.5] + 0.5 * rng.normal(size=120)


@pytest.fixture
def quick():
    """Function of parameters: an estimator of a few epochs, without warnings."""
    return lambda **params: GDLinearRegressor(**(dict(max_iter=5, tol=None, random_state=0) | params))


# --- shapes, types and layouts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize(
    ("shape", "coef_shape"),
    [((120,), (4,)), ((120, 1), (1, 4)), ((120, 3), (3, 4))],
    ids=["(n,)", "(n, 1)", "(n, 3)"],
)
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_predict_mirrors_the_shape_of_y(data, quick, method, shape, coef_shape, fit_intercept):
    X, y = data
    Y = np.resize(y, shape) if len(shape) == 1 else np.repeat(y[:, None], shape[1], axis=1)
    model = getattr(quick(fit_intercept=fit_intercept), method)(X, Y)
    assert model.predict(X).shape == shape
    assert model.coef_.shape == coef_shape
    assert np.shape(model.intercept_) == coef_shape[:-1]
    assert isinstance(model.score(X, Y), float)


def test_targets_are_fitted_side_by_side(data, quick):
    """With full batches each target sees the same steps as alone."""
    X, y = data
    Y = np.column_stack([y, -3.0 * y + X[:, 0]])
    both = quick(batch_size=None).fit(X, Y)
    for target in range(2):
        alone = quick(batch_size=None).fit(X, Y[:, target])
        assert_allclose(both.coef_[target], alone.coef_, rtol=1e-9)
        assert_allclose(both.intercept_[target], alone.intercept_, rtol=1e-9)


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize(
    ("given", "kept"), [("f4", "f4"), ("f8", "f8"), ("f2", "f8"), ("i8", "f8"), ("u1", "f8"), ("?", "f8")]
)
@pytest.mark.parametrize("n_targets", [1, 2])
def test_float32_stays_float32_and_all_else_becomes_float64(data, quick, method, given, kept, n_targets):
    X, y = data
    y = y if n_targets == 1 else np.column_stack([y, -y])
    X = (np.abs(X) % 3).astype(given)
    model = getattr(quick(), method)(X, y.astype(given if given in ("f4", "f8") else "f8"))
    assert model.coef_.dtype == np.dtype(kept)
    assert model.predict(X).dtype == np.dtype(kept)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize(
    "arrange",
    [
        pytest.param(np.asfortranarray, id="Fortran"),
        pytest.param(lambda a: np.repeat(a, 2, axis=0)[::2], id="strided rows"),
        pytest.param(
            lambda a: np.repeat(a, 2, axis=-1)[..., ::2] if a.ndim > 1 else np.repeat(a, 2)[::2], id="strided"
        ),
        pytest.param(lambda a: a[::-1].copy()[::-1], id="reversed"),
        pytest.param(lambda a: np.frombuffer(a.tobytes(), dtype=a.dtype).reshape(a.shape), id="read-only"),
    ],
)
def test_layout_of_the_input_does_not_matter(data, quick, dtype, arrange):
    X, y = (a.astype(dtype) for a in data)
    weight = np.linspace(0.5, 2.0, 120)
    expected = quick().fit(X, y, sample_weight=weight)
    model = quick().fit(arrange(X), arrange(y), sample_weight=arrange(weight))
    assert_array_equal(model.coef_, expected.coef_)
    # BLAS may add the products in another order
    assert_allclose(model.predict(arrange(X)), expected.predict(X), rtol=1e-5 if dtype == "f4" else 1e-12)


def test_lists_and_other_byte_orders_equal_float64_arrays(data, quick):
    X, y = data
    expected = quick().fit(X, y).coef_
    assert_array_equal(quick().fit(X.tolist(), y.tolist()).coef_, expected)
    assert_array_equal(quick().fit(X.astype(">f8"), y.astype(">f8")).coef_, expected)
    assert_array_equal(quick().fit(X.astype("<f8"), y.astype("<f8")).coef_, expected)


@pytest.mark.filterwarnings("ignore:After .* epochs the training objective was above that of predicting the mean")
@pytest.mark.parametrize("params", [{}, {"standardize": False}], ids=str)
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_inputs_are_not_mutated(data, quick, params, dtype):
    X, y = (a.astype(dtype) for a in data)
    weight, coef, intercept = np.linspace(0.0, 2.0, 120), np.ones(4), np.array(2.0)
    given = (X, y, weight, coef, intercept)
    before = [a.copy() for a in given]
    model = quick(**params).fit(X, y, weight, coef_init=coef, intercept_init=intercept)
    model.partial_fit(X, y, weight)
    model.predict(X)
    model.score(X, y, weight)
    for a, b in zip(given, before, strict=True):
        assert_array_equal(a, b)


def test_predictions_and_attributes_do_not_share_memory_with_the_state(data, quick):
    """Writing into what the user was handed cannot change the next partial_fit."""
    X, y = data
    model, twin = quick().partial_fit(X, y), quick().partial_fit(X, y)
    model.predict(X)[:] = 0.0
    model.loss_curve_.append(0.0)
    model.partial_fit(X, y)
    assert_array_equal(model.coef_, twin.partial_fit(X, y).coef_)


# --- fitted attributes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "params"),
    [*CALLS, *((m, p) for m in ("fit", "partial_fit") for p in ({"schedule": "invscaling"}, {"learning_rate": 1e-3}))],
    ids=str,
)
def test_every_fitted_attribute_exists_in_every_configuration(data, quick, method, params):
    X, y = data
    model = getattr(quick(**params), method)(X, y)
    validated = model.early_stopping
    missing = [name for name in ATTRIBUTES if not hasattr(model, name)]
    assert missing == []
    assert isinstance(model.n_iter_, int)
    assert isinstance(model.t_, int)
    assert isinstance(model.learning_rate_, float) and model.learning_rate_ > 0
    assert isinstance(model.batch_size_, int)
    assert isinstance(model.loss_curve_, list) and all(isinstance(loss, float) for loss in model.loss_curve_)
    if validated:
        assert len(model.validation_loss_curve_) == len(model.loss_curve_)
        assert all(isinstance(loss, float) for loss in model.validation_loss_curve_)
        assert isinstance(model.best_iter_, int)
    else:
        assert model.validation_loss_curve_ is None
        assert model.best_iter_ is None
    assert model.n_features_in_ == 4
    assert not hasattr(model, "feature_names_in_")


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_intercept_is_zero_where_none_is_fitted(data, quick, fit_intercept):
    model = quick(fit_intercept=fit_intercept).fit(*data)
    assert isinstance(model.intercept_, float)
    assert (model.intercept_ == 0.0) is not fit_intercept


def test_stop_reason_tells_why(data):
    X, y = data
    assert GDLinearRegressor(random_state=0).fit(X, y).stop_reason_ == "converged"
    assert GDLinearRegressor(random_state=0, max_iter=2, tol=None).fit(X, y).stop_reason_ == "max_iter"


@pytest.mark.parametrize("schedule", ["constant", "invscaling", "adaptive"])
@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_verbose_changes_nothing_but_the_printing(data, quick, capsys, schedule, standardize, method):
    params = dict(schedule=schedule, standardize=standardize)
    loud = getattr(quick(verbose=1, **params), method)(*data)
    capsys.readouterr()
    silent = getattr(quick(**params), method)(*data)
    assert capsys.readouterr().out == ""
    assert_array_equal(loud.coef_, silent.coef_)


@pytest.mark.parametrize("early_stopping", [False, True])
def test_verbose_prints_an_aligned_line_for_every_epoch(data, quick, capsys, early_stopping):
    model = quick(verbose=1, early_stopping=early_stopping).fit(*data)
    title, *lines, end = capsys.readouterr().out.splitlines()
    assert title.split() == ["epoch", "objective", "R2", "left", "validation", "step", "seconds"]
    assert end.startswith(f"stopped: {model.stop_reason_}")
    assert len(lines) == model.n_iter_
    assert {len(line) for line in lines} == {len(title)}
    for epoch, line in enumerate(lines):
        number, objective, r2, left, validation, step, seconds = line.split()
        assert int(number) == epoch + 1
        assert objective == f"{model.loss_curve_[epoch]:.6g}"
        assert validation == (f"{model.validation_loss_curve_[epoch]:.6g}" if early_stopping else "-")
        assert float(step) > 0 and float(seconds) >= 0
        if not early_stopping:
            assert float(r2) == pytest.approx(1.0 - 2.0 * model.loss_curve_[epoch] / np.var(data[1]), abs=1e-6)
        if epoch + 1 == (model.best_iter_ or model.n_iter_):
            assert float(step) == pytest.approx(model.learning_rate_, rel=1e-3)
    assert early_stopping or 0.0 <= float(left) <= 1e-9


def test_verbose_prints_a_line_for_every_partial_fit(data, quick, capsys):
    model = quick(verbose=1)
    for _ in range(3):
        model.partial_fit(*data)
    title, *lines = capsys.readouterr().out.splitlines()
    assert title.split()[0] == "call"
    assert [line.split()[:2] for line in lines] == [
        [str(call), f"{loss:.6g}"] for call, loss in enumerate(model.loss_curve_, start=1)
    ]


# --- copies ----------------------------------------------------------------------------------------------------------


def test_clone_keeps_parameters_and_drops_the_fit(data, quick):
    model = quick(batch_size=7, schedule="invscaling").fit(*data)
    copied = clone(model)
    assert copied.get_params() == model.get_params()
    assert not hasattr(copied, "coef_")
    assert sorted(vars(copied)) == sorted(copied.get_params())


def test_constructor_takes_all_parameters_but_the_loss_by_name_only():
    assert GDLinearRegressor("huber").loss == "huber"
    with pytest.raises(TypeError):
        GDLinearRegressor("huber", 1.35)
    assert is_regressor(GDLinearRegressor())


# --- meta-estimators -------------------------------------------------------------------------------------------------


def test_pipeline(data, quick):
    X, y = data
    pipe = make_pipeline(StandardScaler(), quick(max_iter=50))
    pipe.fit(X, y, gdlinearregressor__sample_weight=np.ones(120))
    assert pipe.score(X, y) > 0.8


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_column_transformer_on_frames(rng, quick, library):
    frames = pytest.importorskip(library, reason=f"{library} is not installed: no {library} frames")
    kind = rng.choice(["x", "y", "z"], size=200)
    size = rng.normal(1e4, 1e3, size=200)
    frame = frames.DataFrame({"kind": kind, "size": size})
    target = size / 1e3 + np.array([{"x": 0.0, "y": 2.0, "z": 4.0}[value] for value in kind])
    columns = ColumnTransformer(
        [("kind", OneHotEncoder(sparse_output=False), ["kind"]), ("size", "passthrough", ["size"])],
        sparse_threshold=0,
    )
    model = make_pipeline(columns.set_output(transform=library), quick(max_iter=100)).fit(frame, target)
    assert model.score(frame, target) > 0.99
    assert list(model[-1].feature_names_in_) == ["kind__kind_x", "kind__kind_y", "kind__kind_z", "size__size"]


@pytest.mark.parametrize("library", ["pandas", "polars"])
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_frames_equal_arrays_and_name_the_features(data, quick, library, method):
    frames = pytest.importorskip(library, reason=f"{library} is not installed: no {library} frames")
    X, y = data
    frame = frames.DataFrame(dict(zip("abcd", X.T, strict=True)))
    model = getattr(quick(), method)(frame, frames.Series(y))
    assert list(model.feature_names_in_) == ["a", "b", "c", "d"]
    assert_array_equal(model.coef_, getattr(quick(), method)(X, y).coef_)
    assert_array_equal(model.predict(frame), model.set_params().predict(frame))


def test_grid_search_in_two_processes(data, quick):
    X, y = data
    X = StandardScaler().fit_transform(X)
    grid = {"batch_size": [8, "auto", None], "learning_rate": ["auto", 0.01], "standardize": [True, False]}
    search = GridSearchCV(quick(max_iter=20), grid, n_jobs=2, cv=3, error_score="raise").fit(X, y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.best_score_ > 0.8
    assert search.best_estimator_.score(X, y) > 0.8


def test_cross_val_score(data, quick):
    assert cross_val_score(quick(max_iter=50), *data, cv=4).min() > 0.7


def test_multi_output_regressor(data, quick):
    X, y = data
    Y = np.column_stack([y, -y])
    model = MultiOutputRegressor(quick(max_iter=50)).fit(X, Y, sample_weight=np.ones(120))
    assert model.predict(X).shape == (120, 2)
    assert model.score(X, Y) > 0.8
    model.partial_fit(X, Y)
    assert model.estimators_[0].stop_reason_ is None


@pytest.mark.parametrize("weighted", [False, True])
def test_bagging_regressor(data, quick, weighted):
    """Bagging passes its draws as rows or as weights, many of them zero."""
    X, y = data
    weight = np.linspace(0.0, 2.0, 120) if weighted else None
    model = BaggingRegressor(quick(max_iter=50), n_estimators=3, random_state=0).fit(X, y, sample_weight=weight)
    assert model.score(X, y) > 0.7


def test_transformed_target_regressor(data, quick):
    X, y = data
    model = TransformedTargetRegressor(quick(max_iter=50), func=np.exp, inverse_func=np.log, check_inverse=False)
    model.fit(X, np.log1p(y - y.min()))
    assert model.predict(X).shape == (120,)
    scaled = TransformedTargetRegressor(quick(max_iter=50), transformer=StandardScaler()).fit(X, y)
    assert scaled.score(X, y) > 0.8


# --- metadata routing ------------------------------------------------------------------------------------------------


@pytest.fixture
def routing():
    with sklearn.config_context(enable_metadata_routing=True):
        yield


@pytest.mark.usefixtures("routing")
def test_routing_sends_weights_to_fit_and_score(data, quick, rng):
    X, y = data
    weight = rng.integers(0, 3, size=120).astype(float)
    model = quick(max_iter=20).set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
    search = GridSearchCV(model, {"batch_size": [8, None]}, cv=3).fit(X, y, sample_weight=weight)
    expected = quick(max_iter=20, **search.best_params_).fit(X, y, sample_weight=weight)
    assert_array_equal(search.best_estimator_.coef_, expected.coef_)


@pytest.mark.usefixtures("routing")
def test_routing_through_a_pipeline(data, quick, rng):
    X, y = data
    weight = rng.integers(0, 3, size=120).astype(float)
    scaler = StandardScaler().set_fit_request(sample_weight=True)
    pipe = make_pipeline(scaler, quick().set_fit_request(sample_weight=True)).fit(X, y, sample_weight=weight)
    Z = StandardScaler().fit_transform(X, sample_weight=weight)
    assert_array_equal(pipe[-1].coef_, quick().fit(Z, y, sample_weight=weight).coef_)


@pytest.mark.usefixtures("routing")
def test_routing_through_partial_fit(data, quick, rng):
    X, y = data
    weight = rng.integers(0, 3, size=120).astype(float)
    Y = np.column_stack([y, -y])
    model = MultiOutputRegressor(quick().set_partial_fit_request(sample_weight=True))
    model.partial_fit(X, Y, sample_weight=weight)  # returns None in some releases of scikit-learn
    assert_array_equal(model.estimators_[1].coef_, quick().partial_fit(X, -y, sample_weight=weight).coef_)


@pytest.mark.usefixtures("routing")
def test_routing_sends_the_start_as_metadata(data, quick):
    X, y = data
    model = quick(max_iter=1, standardize=False, average=False, learning_rate=1e-5)
    pipe = make_pipeline(model.set_fit_request(coef_init=True, intercept_init=False)).fit(X, y, coef_init=np.ones(4))
    assert_array_equal(pipe[-1].coef_, clone(model).fit(X, y, coef_init=np.ones(4)).coef_)
