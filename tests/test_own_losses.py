"""Losses of the user's own: the minimum of the documented objective, wherever a built-in loss can be.

Oracles: SciPy's minimisers of the objective, written once more from its definition.
"""

import copy
import io
import pickle

import joblib
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import linprog, minimize
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.linear_model import QuantileRegressor
from sklearn.metrics import make_scorer
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import sk_gdlinear
from own_objects import MCP, Changed, Expectile, LogCosh, OwnHuber, OwnL2, SmoothedTube, SquaredTube, Tube
from sk_gdlinear import GDLinearRegressor
from sk_gdlinear._descent import backend as backend_module
from sk_gdlinear.losses import Huber, Loss, Quantile, SquaredError
from sk_gdlinear.penalties import Box

# The losses, and their definitions as functions of the error that return value and derivative.
SMOOTH = {
    "log-cosh": (
        LogCosh(1.5),
        lambda e: (2.25 * (abs(e / 1.5) + np.log1p(np.exp(-abs(e / 0.75))) - np.log(2)), 1.5 * np.tanh(e / 1.5)),
    ),
    "expectile": (Expectile(0.9), lambda e: (abs(0.1 - (e < 0)) * e * e, 2 * abs(0.1 - (e < 0)) * e)),
    "squared tube": (SquaredTube(0.5), lambda e: ((e - np.clip(e, -0.5, 0.5)) ** 2 / 2, e - np.clip(e, -0.5, 0.5))),
    "huber": (OwnHuber(1.0), lambda e: (np.clip(e, -1, 1) * (e - np.clip(e, -1, 1) / 2), np.clip(e, -1, 1))),
}


def minimum(definition, X, y, weight=None, alpha=0.0):
    """Coefficients, intercept and value of the least mean loss plus half of ``alpha`` times the squared norm."""

    def objective(theta):
        value, derivative = definition(X @ theta[:-1] + theta[-1] - y)
        rows = np.column_stack([value, derivative[:, None] * X, derivative])
        mean = np.average(rows, axis=0, weights=weight)
        return mean[0] + 0.5 * alpha * theta[:-1] @ theta[:-1], mean[1:] + alpha * np.append(theta[:-1], 0.0)

    best = minimize(objective, np.zeros(X.shape[1] + 1), jac=True, method="BFGS", options={"gtol": 1e-10})
    return best.x[:-1], best.x[-1], best.fun


@pytest.fixture
def data(rng):
    """Rows with heavy-tailed noise."""
    X = rng.normal(size=(400, 4)) + [0.0, 1.0, -2.0, 0.0]
    return X, X @ [1.0, -2.0, 0.5, 0.0] + 3.0 + rng.standard_t(3, size=400)


@pytest.fixture(params=SMOOTH)
def smooth(request):
    """A loss and its definition."""
    return SMOOTH[request.param]


# --- the minimum -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", ["auto", None])
@pytest.mark.parametrize("weighted", [False, True])
def test_fit_reaches_the_minimum(data, smooth, weighted, batch_size, rng, seed):
    (X, y), (loss, definition) = data, smooth
    weight = rng.uniform(0.2, 3.0, 400) if weighted else None
    coef, intercept, value = minimum(definition, X, y, weight)
    model = GDLinearRegressor(loss, batch_size=batch_size, tol=1e-12, random_state=seed).fit(X, y, weight)
    assert_allclose([*model.coef_, model.intercept_], [*coef, intercept], atol=1e-5)
    assert_allclose(model.loss_curve_[-1], value, rtol=1e-9)
    assert model.stop_reason_ == "converged"


def test_features_need_no_scaling(data, smooth, seed):
    (X, y), (loss, definition) = data, smooth
    scale, shift = np.array([1e-4, 1.0, 1e4, 1e2]), np.array([1e-3, 0.0, -1e5, 0.0])
    coef, _, value = minimum(definition, X, y)
    model = GDLinearRegressor(loss, tol=1e-12, random_state=seed).fit(X * scale + shift, y)
    assert_allclose(model.coef_ * scale, coef, atol=1e-5)
    assert_allclose(model.loss_curve_[-1], value, rtol=1e-9)


def test_each_of_several_targets_has_its_minimum(data, smooth, seed):
    """Also where one is in far larger units: the loss is not scaled to them."""
    (X, y), (loss, definition) = data, smooth
    Y = np.column_stack([y, 0.1 * y - 1.0, 50.0 * y])
    model = GDLinearRegressor(loss, tol=1e-11, random_state=seed).fit(X, Y)
    for target in range(3):
        coef, intercept, _ = minimum(definition, X, Y[:, target])
        got = np.append(model.coef_[target], model.intercept_[target])
        assert_allclose(got, [*coef, intercept], atol=2e-5 * Y[:, target].std())
    assert_allclose(model.loss_curve_[-1], sum(minimum(definition, X, Y[:, t])[2] for t in range(3)), rtol=1e-9)


def test_a_penalty_is_added(data, smooth, seed):
    (X, y), (loss, definition) = data, smooth
    coef, intercept, value = minimum(definition, X, y, alpha=0.3)
    model = GDLinearRegressor(loss, penalty="l2", alpha=0.3, tol=1e-12, random_state=seed).fit(X, y)
    assert_allclose([*model.coef_, model.intercept_], [*coef, intercept], atol=1e-5)
    assert_allclose(model.loss_curve_[-1], value, rtol=1e-9)


@pytest.mark.parametrize("positive", [False, True])
def test_l1_leaves_exact_zeros(data, smooth, positive, seed):
    """The optimality conditions: the gradient is within alpha at zeros, and opposes the coefficient elsewhere."""
    (X, y), (loss, definition) = data, smooth
    settings = dict(penalty="l1", alpha=0.2, positive=positive, tol=1e-12, random_state=seed)
    model = GDLinearRegressor(loss, **settings).fit(X, y)
    derivative = definition(model.predict(X) - y)[1]
    gradient, zero = X.T @ derivative / len(y), model.coef_ == 0.0
    assert_allclose(gradient[~zero], -0.2 * np.sign(model.coef_[~zero]), atol=1e-5)
    assert (gradient[zero] > -0.2).all() and (positive or (gradient[zero] < 0.2).all())
    assert zero[3] or isinstance(loss, Expectile | SquaredTube)
    assert_allclose(derivative.mean(), 0.0, atol=1e-5)


def test_float32_is_close_to_float64(data, smooth, seed):
    (X, y), (loss, _) = data, smooth
    exact = GDLinearRegressor(loss, tol=1e-8, random_state=seed).fit(X, y)
    model = GDLinearRegressor(loss, tol=1e-8, random_state=seed).fit(X.astype("f4"), y.astype("f4"))
    assert model.coef_.dtype == np.float32
    assert_allclose(model.coef_, exact.coef_, atol=1e-5)


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_sparse_rows_give_what_dense_ones_do(data, smooth, method, seed):
    (X, y), (loss, _) = data, smooth
    X = X * (np.abs(X) > 0.7)
    dense = getattr(GDLinearRegressor(loss, random_state=seed), method)(X, y)
    sparse = getattr(GDLinearRegressor(loss, random_state=seed), method)(csr_array(X), y)
    assert_allclose(sparse.coef_, dense.coef_, rtol=1e-7, atol=1e-9)


def test_rows_of_weight_0_are_absent_and_whole_weights_are_repetitions(data, smooth, rng, seed):
    (X, y), (loss, _) = data, smooth
    weight = rng.integers(0, 3, size=400)
    settings = dict(tol=1e-13, random_state=seed)
    weighted = GDLinearRegressor(loss, **settings).fit(X, y, weight)
    repeated = GDLinearRegressor(loss, **settings).fit(np.repeat(X, weight, axis=0), np.repeat(y, weight))
    assert_allclose(weighted.coef_, repeated.coef_, atol=1e-5)


def test_a_stream_comes_near_the_minimum(rng, smooth, seed):
    loss, definition = smooth
    X = rng.normal(size=(20_000, 4)) * [1e-3, 1.0, 1e3, 1.0] + [1.0, 0.0, 0.0, 5.0]
    y = X @ [1e3, -2.0, 5e-4, 0.0] + rng.standard_t(3, size=20_000)
    model = GDLinearRegressor(loss, random_state=seed)
    for start in range(0, 20_000, 500):
        model.partial_fit(X[start : start + 500], y[start : start + 500])
    spread = X.std(axis=0)
    least = minimum(definition, (X - X.mean(axis=0)) / spread, y)[2]
    null = definition(y.mean() - y)[0].mean()
    assert definition(model.predict(X) - y)[0].mean() - least < 2e-3 * (null - least)


def test_a_tube_wider_than_all_errors_has_nothing_to_learn(data, seed):
    """The loss is 0 nearly everywhere: it converges all the same, and nothing is divided by 0."""
    X, y = data
    model = GDLinearRegressor(SquaredTube(100.0), random_state=seed).fit(X, y)
    assert (model.loss_curve_[-1], model.stop_reason_) == (0.0, "converged")
    y[:5] += 1000.0
    _, _, value = minimum(SMOOTH_TUBE_100, X, y)
    model = GDLinearRegressor(SquaredTube(100.0), tol=1e-10, random_state=seed).fit(X, y)
    assert_allclose(model.loss_curve_[-1], value, rtol=1e-5)


def SMOOTH_TUBE_100(e):
    excess = e - np.clip(e, -100.0, 100.0)
    return excess**2 / 2, excess


def test_a_loss_may_have_a_derivative_that_falls(data, seed):
    """Tukey's biweight, which ignores outliers: where it starts near enough it finds the coefficients."""

    class Biweight:
        lipschitz = 1.0

        def value(self, e):
            return 10.0 / 6.0 * (1.0 - np.maximum(1.0 - e**2 / 10.0, 0.0) ** 3)

        def derivative(self, e):
            return 0.5 * 2.0 * e * np.maximum(1.0 - e**2 / 10.0, 0.0) ** 2

    X, y = data
    y = y.copy()
    y[::20] += 500.0
    near = GDLinearRegressor("huber", epsilon=1.0, random_state=seed).fit(X, y)
    model = GDLinearRegressor(Biweight(), tol=1e-10, random_state=seed)
    model.fit(X, y, coef_init=near.coef_, intercept_init=near.intercept_)
    assert_allclose(model.coef_, [1.0, -2.0, 0.5, 0.0], atol=0.3)
    derivative = Biweight().derivative(model.predict(X) - y)
    assert_allclose([*(derivative @ X), derivative.sum()], 0.0, atol=1e-3 * len(y))


# --- a copy of a built-in loss ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"penalty": "l1", "alpha": 0.05},
        {"positive": True},
        {"batch_size": 1, "max_iter": 5, "tol": None},
        {"batch_size": None, "max_iter": 100, "tol": None},
        {"standardize": False, "learning_rate": 0.01, "average": False, "max_iter": 20, "tol": None},
        {"early_stopping": True},
        {"fit_intercept": False},
        {"shuffle": False},
        {"schedule": "adaptive"},
    ],
    ids=str,
)
@pytest.mark.parametrize("n_targets", [None, 2])
def test_a_copy_of_huber_makes_the_updates_of_huber(data, params, n_targets, rng, seed):
    """Epoch after epoch of mini-batches; the second derivative of a user's loss comes from differences."""
    X, y = data
    y, weight = y if n_targets is None else np.column_stack([y, 1.0 - 20.0 * y]), rng.uniform(0.5, 2.0, 400)
    settings = dict(precondition=False, random_state=seed) | params
    named = GDLinearRegressor("huber", epsilon=1.2, **settings).fit(X, y, weight)
    own = GDLinearRegressor(OwnHuber(1.2), **settings).fit(X, y, weight)
    assert_allclose(own.coef_, named.coef_, rtol=1e-9, atol=1e-12)
    assert_allclose(own.intercept_, named.intercept_, rtol=1e-9, atol=1e-12)
    assert_allclose(own.loss_curve_, named.loss_curve_, rtol=1e-9)
    assert own.n_iter_ == named.n_iter_


@pytest.mark.parametrize("precondition", ["auto", True])
@pytest.mark.parametrize(
    "params",
    [
        {},
        {"penalty": "l1", "alpha": 0.05},
        {"penalty": "l2", "alpha": 0.05},
        {"positive": True},
        {"batch_size": 1},
        {"batch_size": None},
        {"average": False},
        {"fit_intercept": False},
        {"shuffle": False},
    ],
    ids=str,
)
@pytest.mark.parametrize("n_targets", [None, 2])
def test_a_copy_of_huber_has_the_minimum_of_huber(data, params, n_targets, precondition, rng, seed):
    X, y = data
    y, weight = y if n_targets is None else np.column_stack([y, 1.0 - 20.0 * y]), rng.uniform(0.5, 2.0, 400)
    settings = dict(tol=1e-12, precondition=precondition, random_state=seed) | params
    named = GDLinearRegressor("huber", epsilon=1.2, **settings).fit(X, y, weight)
    own = GDLinearRegressor(OwnHuber(1.2), **settings).fit(X, y, weight)
    assert named.stop_reason_ == own.stop_reason_ == "converged"
    assert_allclose(own.loss_curve_[-1], named.loss_curve_[-1], rtol=1e-11)
    assert_allclose(own.coef_, named.coef_, rtol=1e-4, atol=1e-5)
    assert_array_equal(own.coef_ == 0.0, named.coef_ == 0.0)


def test_a_copy_of_huber_is_huber_in_a_stream(data, seed):
    X, y = data
    named = GDLinearRegressor("huber", epsilon=1.2, random_state=seed)
    own = GDLinearRegressor(OwnHuber(1.2), random_state=seed)
    for rows in np.array_split(np.arange(400), 7):
        for model in (named, own):
            model.partial_fit(X[rows], y[rows])
    assert_allclose(own.coef_, named.coef_, rtol=1e-9, atol=1e-12)
    assert_allclose(own.loss_curve_, named.loss_curve_, rtol=1e-9)


@pytest.mark.parametrize(
    "params, loss",
    [
        ({"loss": "squared_error"}, SquaredError()),
        ({"loss": "huber", "epsilon": 0.7}, Huber(0.7)),
        ({"loss": "quantile", "quantile": 0.8}, Quantile(0.8)),
    ],
    ids=lambda value: value["loss"] if isinstance(value, dict) else repr(value),
)
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_a_built_in_loss_is_the_same_as_an_object_to_the_bit(data, params, loss, method, seed):
    named = getattr(GDLinearRegressor(**params, random_state=seed), method)(*data)
    own = getattr(GDLinearRegressor(loss, random_state=seed), method)(*data)
    assert_array_equal(own.coef_, named.coef_)
    assert own.loss_curve_ == named.loss_curve_


@pytest.mark.parametrize("loss", [SquaredError(), Huber(0.7), Quantile(0.8), Quantile(0.8).smoothed(0.3)], ids=repr)
def test_values_of_built_in_losses_have_the_derivatives_they_say(loss):
    e = np.linspace(-3.0, 3.0, 50)
    assert_allclose((loss.value(e + 1e-6) - loss.value(e - 1e-6)) / 2e-6, loss.derivative(e), atol=1e-5)
    assert (loss.value(e) >= 0.0).all()
    assert isinstance(loss, Loss)


def test_a_smoothed_quantile_is_the_mean_over_errors_nearby():
    loss, e = Quantile(0.8), np.linspace(-1.0, 1.0, 21)
    nearby = e[:, None] + 0.3 * np.linspace(-1.0, 1.0, 20_001)
    assert_allclose(loss.smoothed(0.3).value(e), loss.value(nearby).mean(axis=1), atol=1e-5)


# --- kinks -----------------------------------------------------------------------------------------------------------


def tube_regression(X, y, epsilon):
    """The least mean excess over ``epsilon``, by linear programming."""
    n, d = X.shape
    A, eye = np.column_stack([X, np.ones(n)]), np.eye(n)
    cost = np.concatenate([np.zeros(d + 1), np.full(n, 1.0 / n)])
    upper = np.block([[A, -eye], [-A, -eye]])
    bounds = [(None, None)] * (d + 1) + [(0.0, None)] * n
    return linprog(cost, upper, np.concatenate([y + epsilon, epsilon - y]), bounds=bounds).fun


@pytest.mark.parametrize("epsilon", [0.1, 0.8])
def test_a_kinked_loss_is_smoothed_until_its_minimum_is_near(data, epsilon, seed):
    X, y = data
    scale = np.array([1e-4, 1.0, 1e3, 10.0])
    model = GDLinearRegressor(Tube(epsilon), random_state=seed).fit(X * scale, y)
    value = Tube(epsilon).value(model.predict(X * scale) - y).mean()
    assert value < 1.01 * tube_regression(X, y, epsilon)
    assert model.stop_reason_ == "converged"
    assert_allclose(model.loss_curve_[-1], value, rtol=0.1)


def test_kinked_targets_in_different_units_are_fitted_side_by_side(data, seed):
    X, y = data
    Y = np.column_stack([y, 1e3 * y])
    model = GDLinearRegressor(Tube(0.1), random_state=seed).fit(X, Y)
    for target, least in enumerate((tube_regression(X, y, 0.1), tube_regression(X, 1e3 * y, 0.1))):
        assert Tube(0.1).value(model.predict(X) - Y)[:, target].mean() < 1.01 * least


def test_a_copy_of_the_absolute_error_is_median_regression(data, seed):
    X, y = data
    oracle = QuantileRegressor(quantile=0.5, alpha=0.0).fit(X, y).predict(X)
    model = GDLinearRegressor(Tube(0.0), random_state=seed).fit(X, y)
    assert np.abs(model.predict(X) - y).mean() < 1.005 * np.abs(oracle - y).mean()


def test_a_kinked_loss_in_a_stream(rng, seed):
    X = rng.normal(size=(20_000, 3)) * [1e-2, 1.0, 1e2]
    y = X @ [1e2, 1.0, -1e-2] + rng.standard_t(3, size=20_000)
    model = GDLinearRegressor(Tube(0.5), random_state=seed)
    for start in range(0, 20_000, 1_000):
        model.partial_fit(X[start : start + 1_000], y[start : start + 1_000])
    assert_allclose(model.coef_ * [1e-2, 1.0, 1e2], [1.0, 1.0, -1.0], atol=0.05)


def test_what_smoothed_returns_may_be_built_in(data, seed):
    """Huber's loss, over its width the absolute error smoothed by a parabola."""

    class Absolute:
        lipschitz = np.inf
        value = staticmethod(np.abs)
        derivative = staticmethod(np.sign)

        def smoothed(self, width):
            return Huber(width)

    X, y = data
    model = GDLinearRegressor(Absolute(), random_state=seed).fit(X, y)
    assert np.isfinite(model.coef_).all() and model.stop_reason_ == "converged"


# --- plain descent ---------------------------------------------------------------------------------------------------


def test_plain_descent_with_an_own_loss_is_its_lines_in_numpy(data, smooth):
    (X, y), (loss, definition) = data, smooth
    plain = dict(standardize=False, average=False, shuffle=False, tol=None)
    model = GDLinearRegressor(loss, learning_rate=0.02, batch_size=32, max_iter=3, **plain).fit(X, y)
    w, b = np.zeros(4), 0.0
    for start in [*range(0, 400, 32)] * 3:
        rows = slice(start, start + 32)
        G = definition(X[rows] @ w + b - y[rows])[1] / len(y[rows])
        w, b = w - 0.02 * G @ X[rows], b - 0.02 * G.sum()
    assert_allclose([*model.coef_, model.intercept_], [*w, b], rtol=1e-12)


@pytest.mark.parametrize("loss", [Expectile(0.9), SquaredTube(0.5)], ids=lambda loss: type(loss).__name__)
def test_divergence_with_an_own_step_is_told(data, loss):
    model = GDLinearRegressor(loss, standardize=False, learning_rate=1e4, max_iter=50, tol=None)
    with pytest.raises(ValueError, match="diverged.*learning_rate=10000"):
        model.fit(*data)
    assert not hasattr(model, "coef_")


@pytest.mark.parametrize("batch_size", [32, None])
def test_the_step_reported_is_one_to_give(data, smooth, batch_size):
    """It is for the gradient of the loss itself, whatever the largest slope of its derivative."""
    X, y = data[0][:384], data[1][:384]  # full batches only: the automatic step of a shorter one is shorter
    settings = dict(batch_size=batch_size, average=False, shuffle=False, max_iter=1, tol=None)
    automatic = GDLinearRegressor(smooth[0], **settings).fit(X, y)
    given = GDLinearRegressor(smooth[0], learning_rate=automatic.learning_rate_, **settings).fit(X, y)
    assert_allclose(given.coef_, automatic.coef_, rtol=1e-9)
    assert_allclose(given.learning_rate_, automatic.learning_rate_, rtol=1e-12)


# --- never the compiled kernels --------------------------------------------------------------------------------------


class Louder(Huber):
    """A subclass of a built-in loss that computes something else."""

    lipschitz = 3.0

    def value(self, e):
        return 3.0 * super().value(e)

    def derivative(self, e):
        return 3.0 * super().derivative(e)


@pytest.mark.parametrize("loss", [LogCosh(), Tube(0.1), Louder(1.0)], ids=lambda loss: type(loss).__name__)
@pytest.mark.parametrize("as_rows", [np.asarray, csr_array])
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_own_losses_are_never_handed_to_the_compiled_kernels(data, loss, as_rows, method, monkeypatch):
    def refused(problem, *_):
        raise AssertionError(f"the kernel was handed {problem.loss}")

    passes = dict.fromkeys(("epoch", "gradient", "derivatives"), refused)
    for name in ("DENSE", "SPARSE"):
        monkeypatch.setattr(backend_module, name, getattr(backend_module, name)._replace(**passes))
    getattr(GDLinearRegressor(loss, random_state=0, early_stopping=method == "fit"), method)(as_rows(data[0]), data[1])


def test_a_subclass_of_a_built_in_loss_computes_what_it_says(data, seed):
    X, y = data
    loud = GDLinearRegressor(Louder(1.0), penalty="l2", alpha=0.3, tol=1e-12, random_state=seed).fit(X, y)
    quiet = GDLinearRegressor("huber", epsilon=1.0, penalty="l2", alpha=0.1, tol=1e-12, random_state=seed).fit(X, y)
    assert_allclose(loud.coef_, quiet.coef_, atol=1e-5)


def test_the_backend_makes_no_difference(data, smooth, seed):
    model = GDLinearRegressor(smooth[0], random_state=seed).fit(*data)
    with sk_gdlinear.backend("reference"):
        reference = GDLinearRegressor(smooth[0], random_state=seed).fit(*data)
    assert_allclose(model.coef_, reference.coef_, rtol=1e-9)


# --- among scikit-learn's tools --------------------------------------------------------------------------------------


def with_joblib(model):
    buffer = io.BytesIO()
    joblib.dump(model, buffer)
    buffer.seek(0)
    return joblib.load(buffer)


@pytest.mark.parametrize("copied", [lambda m: pickle.loads(pickle.dumps(m)), with_joblib, copy.deepcopy])
@pytest.mark.parametrize(
    "loss", [LogCosh(1.5), Tube(0.2), Huber(0.7), Quantile(0.8)], ids=lambda loss: type(loss).__name__
)
def test_a_model_survives_a_copy_and_goes_on(data, loss, copied, seed):
    X, y = data
    model = GDLinearRegressor(loss, random_state=seed).partial_fit(X[:200], y[:200])
    twin = copied(model)
    assert_array_equal(twin.predict(X), model.predict(X))
    assert_array_equal(twin.partial_fit(X[200:], y[200:]).coef_, model.partial_fit(X[200:], y[200:]).coef_)


@pytest.mark.parametrize(
    "loss", [LogCosh(1.5), Tube(0.2), Huber(0.7), Quantile(0.8)], ids=lambda loss: type(loss).__name__
)
def test_a_clone_has_a_loss_of_its_own(data, loss, seed):
    model = GDLinearRegressor(loss, random_state=seed)
    twin = clone(model)
    assert type(twin.loss) is type(loss) and twin.loss is not loss
    assert vars(twin.loss) == vars(loss)
    assert_array_equal(twin.fit(*data).coef_, model.fit(*data).coef_)


def test_it_works_within_pipelines_and_meta_estimators(data, smooth, seed):
    (X, y), (loss, definition) = data, smooth
    coef, _, _ = minimum(definition, X, y)
    pipeline = make_pipeline(StandardScaler(), GDLinearRegressor(loss, tol=1e-12, random_state=seed)).fit(X, y)
    assert_allclose(pipeline[-1].coef_ / X.std(axis=0), coef, atol=1e-5)
    shifted = TransformedTargetRegressor(pipeline, func=lambda y: y - 5.0, inverse_func=lambda y: y + 5.0)
    assert_allclose(shifted.fit(X, y).predict(X), pipeline.predict(X), atol=1e-5)


def test_a_search_chooses_among_losses(data, seed):
    X, y = data
    losses = [LogCosh(0.5), Huber(1.0), "squared_error", Expectile(0.99)]
    scorer = make_scorer(lambda y, p: np.abs(y - p).mean(), greater_is_better=False)
    search = GridSearchCV(GDLinearRegressor(random_state=seed), {"loss": losses}, scoring=scorer, cv=3).fit(X, y)
    assert np.argmin(search.cv_results_["mean_test_score"]) == 3
    assert search.best_estimator_.loss is not losses[search.best_index_]  # a copy: those given stay as they are


@pytest.mark.parametrize("loss, name", [(LogCosh(), "scale"), (Huber(), "epsilon")], ids=["own", "built-in"])
def test_a_search_reaches_the_parameters_of_a_loss(data, loss, name, seed):
    """Own losses need scikit-learn's ``BaseEstimator`` for it, or ``get_params`` and ``set_params``."""
    X, y = data
    y = y.copy()
    y[::10] += 300.0
    grid = {f"gdlinearregressor__loss__{name}": [0.5, 1e4]}
    model = make_pipeline(StandardScaler(), GDLinearRegressor(loss, random_state=seed))
    scorer = make_scorer(lambda y, p: np.median(np.abs(y - p)), greater_is_better=False)
    search = GridSearchCV(model, grid, scoring=scorer, cv=3).fit(X, y)
    assert search.best_params_ == {f"gdlinearregressor__loss__{name}": 0.5}
    assert getattr(search.best_estimator_[-1].loss, name) == 0.5
    assert getattr(loss, name) in (1.0, 1.35)


def test_unknown_parameters_of_a_built_in_loss_are_refused():
    with pytest.raises(ValueError, match=r"Invalid parameter 'width' for Huber\(epsilon=1.0\).*\['epsilon'\]"):
        GDLinearRegressor(Huber(1.0)).set_params(loss__width=3.0)


def test_representations_show_the_loss():
    assert "Huber(epsilon=0.5)" in repr(GDLinearRegressor(Huber(0.5)))
    assert "LogCosh" in GDLinearRegressor(LogCosh(0.5))._repr_html_()
    assert "Quantile" in GDLinearRegressor(Quantile(0.5))._repr_html_()


def test_early_stopping_is_judged_by_the_loss(data, smooth, rng, seed):
    (X, y), (loss, definition) = data, smooth
    V = rng.normal(size=(200, 4))
    y_val, weight = V @ [1.0, -2.0, 0.5, 0.0] + 3.0 + rng.standard_t(3, size=200), rng.uniform(0.5, 2.0, 200)
    model = GDLinearRegressor(loss, random_state=seed)
    model.fit(X, y, X_val=V, y_val=y_val, sample_weight_val=weight)
    curve = model.validation_loss_curve_
    assert np.argmin(curve) + 1 == model.best_iter_
    expected = np.average(definition(model.predict(V) - y_val)[0], weights=weight)
    assert_allclose(curve[model.best_iter_ - 1], expected, rtol=1e-9)
    held_out = GDLinearRegressor(loss, early_stopping=True, random_state=seed).fit(X, y)
    assert held_out.stop_reason_ == "early_stopping" and np.isfinite(held_out.validation_loss_curve_).all()


def test_a_kinked_loss_is_judged_kinks_and_all(data, rng, seed):
    X, y = data
    model = GDLinearRegressor(Tube(0.5), random_state=seed).fit(X[100:], y[100:], X_val=X[:100], y_val=y[:100])
    expected = Tube(0.5).value(model.predict(X[:100]) - y[:100]).mean()
    assert_allclose(model.validation_loss_curve_[model.best_iter_ - 1], expected, rtol=1e-9)


def test_warm_start_goes_on(data, smooth, seed):
    model = GDLinearRegressor(smooth[0], tol=1e-10, warm_start=True, random_state=seed).fit(*data)
    before = model.loss_curve_[-1]
    model.fit(*data)
    assert_allclose(model.loss_curve_[-1], before, rtol=1e-8)


def test_a_checkpoint_is_resumed_with_an_equal_loss(data, tmp_path, seed):
    X, y = data
    chunks = [(X[:200], y[:200]), (X[200:], y[200:])]

    def train(epochs, checkpoint, loss):
        return GDLinearRegressor(loss, random_state=seed).fit_batches(chunks, epochs=epochs, checkpoint=checkpoint)

    for loss in (LogCosh(1.5), Expectile(0.3), Huber(0.5)):
        path = tmp_path / type(loss).__name__
        train(1, path, loss)
        resumed = train(2, path, copy.deepcopy(loss))
        assert_array_equal(resumed.coef_, train(2, None, loss).coef_)
    with pytest.raises(ValueError, match="other parameters: loss="):
        train(3, tmp_path / "Expectile", Expectile(0.4))


# --- objects that will not do ----------------------------------------------------------------------------------------


def no_smoothed_value(width):
    smoothed = SmoothedTube(0.1, width)
    return Changed(smoothed, value=None)


UNFIT = {
    "a class": (LogCosh, TypeError, "is a class, not an object: call it"),
    "no lipschitz": (type("L", (), {"value": abs, "derivative": abs})(), TypeError, "has no lipschitz"),
    "lipschitz of 0": (Changed(LogCosh(), lipschitz=0.0), ValueError, "must be a number above 0"),
    "negative lipschitz": (Changed(LogCosh(), lipschitz=-1.0), ValueError, "must be a number above 0"),
    "NaN as lipschitz": (Changed(LogCosh(), lipschitz=np.nan), ValueError, "must be a number above 0"),
    "array as lipschitz": (Changed(LogCosh(), lipschitz=np.ones(3)), ValueError, "must be a number above 0"),
    "method as lipschitz": (
        Changed(LogCosh(), lipschitz=lambda: 1.0),
        ValueError,
        "must be a number above 0",
    ),
    "lipschitz too small": (Changed(LogCosh(), lipschitz=0.5), ValueError, "above lipschitz=0.5"),
    "kink with a lipschitz": (Changed(Tube(0.0), lipschitz=1.0), ValueError, "where there is a kink it is infinite"),
    "kink without smoothed": (Changed(Tube(0.1)), ValueError, r"give it a method smoothed\(width\)"),
    "smoothed with a kink": (
        Changed(Tube(0.1), smoothed=lambda width: Tube(0.1)),
        ValueError,
        "must have a finite lipschitz above 0",
    ),
    "smoothed without value": (Changed(Tube(0.1), smoothed=no_smoothed_value), TypeError, "has no value"),
    "smoothed of one width": (
        Changed(Tube(0.1), smoothed=lambda width: SmoothedTube(0.1, np.ones(3))),
        ValueError,
        "one per width",
    ),
    "derivative of another sign": (
        Changed(LogCosh(), derivative=lambda e: -np.tanh(e)),
        ValueError,
        "value and derivative of .* disagree",
    ),
    "derivative of another factor": (
        Changed(OwnHuber(), derivative=lambda e: 1.01 * np.clip(e, -1.35, 1.35), lipschitz=2.0),
        ValueError,
        "disagree",
    ),
    "scalar from value": (
        Changed(LogCosh(), value=lambda e: (e**2).sum()),
        ValueError,
        r"value\(e\) .* got shape \(\)",
    ),
    "wrong shape from derivative": (
        Changed(LogCosh(), derivative=lambda e: np.tanh(e)[0]),
        ValueError,
        r"derivative\(e\) .* got shape",
    ),
    "NaN from value": (Changed(LogCosh(), value=lambda e: e * np.nan), ValueError, "NaN or infinity"),
    "NaN at an error of 0": (
        Changed(LogCosh(), derivative=lambda e: np.tanh(e) * (e / e)),
        ValueError,
        r"derivative\(e\) .* NaN or infinity",
    ),
    "overflow": (Changed(LogCosh(), value=lambda e: np.log(np.cosh(e))), ValueError, "NaN or infinity"),
    "value below 0": (
        Changed(LogCosh(), value=lambda e: LogCosh().value(e) - 1.0),
        ValueError,
        "subtract its least value",
    ),
    "Huber of 0": (Huber(0.0), ValueError, "epsilon must be a number above 0"),
    "Huber of no number": (Huber("wide"), ValueError, "epsilon must be a number above 0"),
    "Huber of an array": (Huber(np.ones(2)), ValueError, "epsilon must be a number above 0"),
    "Quantile of 1": (Quantile(1.0), ValueError, "quantile must be a number between 0 and 1"),
    "Quantile of NaN": (Quantile(np.nan), ValueError, "quantile must be a number between 0 and 1"),
    "a number": (1.0, ValueError, "'loss' parameter"),
    "None": (None, ValueError, "'loss' parameter"),
    "no value": (type("L", (), {"derivative": abs, "lipschitz": 1.0})(), ValueError, "implementing 'value'"),
}


@pytest.mark.parametrize("name", UNFIT)
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_unfit_losses_are_refused_before_anything_changes(data, name, method):
    """Whatever the units of y."""
    loss, error, message = UNFIT[name]
    for size in (1.0, 20.0) if name == "overflow" else (1e-3, 1.0, 20.0):
        model = GDLinearRegressor(loss)
        with pytest.raises(error, match=message):
            getattr(model, method)(data[0], size * data[1])
        assert set(vars(model)) == set(model.get_params(deep=False))


def test_a_fitted_model_is_left_as_it_was(data, state_of):
    model = GDLinearRegressor(LogCosh(), random_state=0).fit(*data)
    model.loss.scale = np.nan
    before = state_of(model)
    for method in (model.fit, model.partial_fit):
        with pytest.raises(ValueError, match="NaN"):
            method(*data)
        assert state_of(model) == before


def test_what_goes_wrong_on_the_way_is_told(data):
    """The check before the first epoch cannot see everything."""

    class Tired(LogCosh):
        calls = 0

        def derivative(self, e):
            self.calls += 1
            return super().derivative(e)[: len(e) - (self.calls > 20)]

    with pytest.raises(ValueError, match=r"derivative\(e\) must return one number for each error: got shape"):
        GDLinearRegressor(Tired()).fit(*data)


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e3, 1e12])
@pytest.mark.parametrize(
    "loss",
    [
        LogCosh(),
        LogCosh(1e-3),
        LogCosh(1e3),
        Expectile(0.01),
        Expectile(0.999),
        SquaredTube(1e-3),
        SquaredTube(1e3),
        Tube(0.0),
        Tube(10.0),
        OwnHuber(1e-3),
        OwnHuber(1e3),
    ],
    ids=lambda loss: f"{type(loss).__name__}-{vars(loss)}",
)
def test_fit_losses_are_not_refused_whatever_the_units_of_y(data, loss, size):
    model = GDLinearRegressor(loss, max_iter=2, tol=None).fit(data[0], size * data[1])
    assert model.n_iter_ == 2
    assert np.isfinite(model.coef_).all()


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_a_loss_may_overwrite_its_input_and_return_the_same_array_again(data, method, seed):
    class Careless(OwnHuber):
        buffers = {}

        def value(self, e):
            e *= e > -np.inf
            return self.returned("value", super().value(e))

        def derivative(self, e):
            derivative = super().derivative(e)
            e[...] = np.nan
            return self.returned("derivative", derivative)

        def returned(self, name, result):
            buffer = self.buffers.setdefault((name, result.shape), np.empty(result.shape))
            buffer[...] = result
            return buffer

    careless = getattr(GDLinearRegressor(Careless(1.0), random_state=seed), method)(*data)
    careful = getattr(GDLinearRegressor(OwnHuber(1.0), random_state=seed), method)(*data)
    assert_array_equal(careless.coef_, careful.coef_)


def test_objects_of_other_arrays_are_not_changed(data, seed):
    """Neither X and y nor the loss itself."""
    X, y = data
    loss = Tube(0.3)
    kept = copy.deepcopy((X, y, vars(loss)))
    GDLinearRegressor(loss, random_state=seed).fit(X, y)
    assert_array_equal(X, kept[0])
    assert_array_equal(y, kept[1])
    assert vars(loss) == kept[2]


def test_the_protocol_says_what_is_a_loss():
    assert all(isinstance(loss, Loss) for loss in (LogCosh(), Tube(0.1), Huber(), Quantile(), SquaredError()))
    assert not isinstance(object(), Loss)


# --- on a cluster ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def client():
    distributed = pytest.importorskip("distributed", reason="a cluster needs distributed")
    pytest.importorskip("dask.array", reason="a cluster needs dask's arrays")
    with distributed.Client(processes=False, n_workers=1, threads_per_worker=1, dashboard_address=":0") as client:
        yield client


@pytest.mark.parametrize(
    "params",
    [
        {"loss": Expectile(0.9)},
        {"loss": LogCosh(0.7), "penalty": OwnL2(0.1)},
        {"loss": LogCosh(0.7), "penalty": OwnL2(0.1), "batch_size": None, "precondition": False},
        {"loss": LogCosh(0.7), "penalty": "l1", "alpha": 0.1},
        {"loss": Expectile(0.9), "learning_rate": 0.2, "max_iter": 20, "tol": None},
        {"penalty": MCP(0.3)},
        {"penalty": Box(2.0, 3.0)},
        {"penalty": "l2", "alpha": np.full((1, 4), 0.3)},
        {"schedule": lambda t: 1.0 / t, "learning_rate": 0.5, "max_iter": 20, "tol": None},
    ],
    ids=lambda params: "-".join(params),
)
def test_a_cluster_takes_the_same_objects(data, params, client):
    from dask.array import from_array

    from sk_gdlinear.dask import DaskGDLinearRegressor

    X, y = data
    settings = {"tol": 1e-10} | ({"batch_size": None} if "learning_rate" in params else {}) | params
    local = GDLinearRegressor(average=False, **{"batch_size": None} | settings).fit(X, y)
    rows = from_array(X, chunks=(150, 4)), from_array(y, chunks=150)
    cluster = DaskGDLinearRegressor(**settings).fit(*rows, client=client)
    assert_allclose(cluster.coef_, local.coef_, atol=1e-5)
    assert_allclose(cluster.loss_curve_[-1], local.loss_curve_[-1], rtol=1e-8)


def test_a_cluster_minimises_a_loss_with_a_kink(data, client):
    from dask.array import from_array

    from sk_gdlinear.dask import DaskGDLinearRegressor

    (X, y), loss = data, Tube(0.1)
    rows = from_array(X, chunks=(150, 4)), from_array(y, chunks=150)
    cluster = DaskGDLinearRegressor(loss, tol=1e-5).fit(*rows, client=client)
    local = GDLinearRegressor(loss, tol=1e-7).fit(X, y)
    values = [loss.value(model.predict(X) - y).mean() for model in (cluster, local)]
    assert cluster.stop_reason_ == "converged"
    assert values[0] <= values[1] * (1 + 1e-4)


@pytest.mark.parametrize(
    "params, error, message",
    [
        ({"loss": LogCosh}, TypeError, "is a class, not an object"),
        ({"loss": Tube(0.1), "precondition": False}, ValueError, "has a kink and is not available on a cluster with"),
        ({"loss": Changed(LogCosh(), lipschitz=0.5)}, ValueError, "above lipschitz=0.5"),
        ({"loss": LogCosh(), "batch_size": 32, "precondition": False}, ValueError, "need batch_size=None with"),
        ({"penalty": MCP}, TypeError, "is a class, not an object"),
    ],
    ids=["class", "kink", "contradiction", "batches", "class of a penalty"],
)
def test_a_cluster_refuses_what_will_not_do(data, params, error, message, client):
    from dask.array import from_array

    from sk_gdlinear.dask import DaskGDLinearRegressor

    model = DaskGDLinearRegressor(**{"batch_size": None} | params)
    with pytest.raises(error, match=message):
        model.fit(from_array(data[0], chunks=(150, 4)), from_array(data[1], chunks=150), client=client)
    assert not hasattr(model, "coef_")
