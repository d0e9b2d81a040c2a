"""Penalties of the user's own: the minimum of the objective with them, wherever a built-in penalty can be.

Oracle: proximal gradient descent in plain NumPy, with one step for all coefficients.
"""

import copy
import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import sk_gdlinear
from own_objects import MCP, GroupLasso, LogCosh, OwnHuber, OwnL2, Towards
from sk_gdlinear import GDLinearRegressor
from sk_gdlinear._descent import backend as backend_module
from sk_gdlinear._objective.penalties import RescaledPenalty
from sk_gdlinear.penalties import L1, L2, Box, ElasticNet, Penalty

GROUPS = [0, 0, 1, 1, 2, 2]


def shrink(w, amount):
    """Move a vector towards 0 by ``amount``."""
    size = np.linalg.norm(w)
    return w * max(0.0, 1.0 - amount / size) if size > 0.0 else w


def firm(w, step, alpha, gamma):
    """The proximal step of the minimax concave penalty for a step below gamma (Gao and Bruce, 1997)."""
    soft = np.sign(w) * np.maximum(np.abs(w) - step * alpha, 0.0)
    return np.where(np.abs(w) <= gamma * alpha, soft / (1.0 - step / gamma), w)


# The penalties, their values, and their proximal steps for one step for all coefficients.
PENALTIES = {
    "MCP": (
        MCP(0.3),
        lambda w: sum(0.3 * min(a, 0.9) - min(a, 0.9) ** 2 / 6.0 for a in np.abs(w)),
        lambda w, step: firm(w, step, 0.3, 3.0),
    ),
    "group lasso": (
        GroupLasso(0.4, GROUPS),
        lambda w: 0.4 * sum(np.linalg.norm(w[i : i + 2]) for i in (0, 2, 4)),
        lambda w, step: np.concatenate([shrink(w[i : i + 2], 0.4 * step) for i in (0, 2, 4)]),
    ),
    "l2": (OwnL2(0.5), lambda w: 0.25 * sum(w**2), lambda w, step: w / (1.0 + 0.5 * step)),
    "towards": (
        Towards(3.0, np.full(6, 5.0)),
        lambda w: 1.5 * sum((w - 5.0) ** 2),
        lambda w, step: (w + 15.0 * step) / (1.0 + 3.0 * step),
    ),
}


def proximal_gradient(X, y, value, proximal, weight=None):
    """Coefficients, intercept and objective of half the mean squared error plus a penalty, to 1e-10."""
    s = np.ones(len(y)) if weight is None else weight
    s = s / s.sum()
    centre, target = s @ X, s @ y
    Z, t = X - centre, y - target  # the intercept is free
    H, c = (s[:, None] * Z).T @ Z, (s * t) @ Z
    step = 1.0 / np.linalg.eigvalsh(H)[-1]
    w = np.zeros(X.shape[1])
    for _ in range(100_000):
        before, w = w, proximal(w - step * (H @ w - c), step)
        if np.abs(w - before).max() < 1e-13:
            break
    residual = Z @ w - t
    return w, target - centre @ w, 0.5 * s @ residual**2 + value(w)


@pytest.fixture
def data(rng):
    """Correlated rows; the last two columns are idle."""
    X = rng.normal(size=(500, 6)) + 0.4 * rng.normal(size=(500, 1)) + [0.0, 1.0, -2.0, 0.0, 3.0, 0.0]
    return X, X @ [2.0, -1.0, 0.5, 0.8, 0.0, 0.0] + 3.0 + 0.5 * rng.normal(size=500)


@pytest.fixture(params=PENALTIES)
def known(request):
    """A penalty, its value and its proximal step."""
    return PENALTIES[request.param]


# --- the minimum -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", ["auto", None])
@pytest.mark.parametrize("weighted", [False, True])
def test_fit_reaches_the_minimum(data, known, weighted, batch_size, rng, seed):
    (X, y), (penalty, *oracle) = data, known
    weight = rng.uniform(0.2, 3.0, 500) if weighted else None
    coef, intercept, value = proximal_gradient(X, y, *oracle, weight)
    model = GDLinearRegressor(penalty=penalty, batch_size=batch_size, tol=1e-12, random_state=seed).fit(X, y, weight)
    assert_allclose([*model.coef_, model.intercept_], [*coef, intercept], atol=1e-5)
    assert_allclose(model.loss_curve_[-1], value, rtol=1e-9)
    assert_array_equal(model.coef_ == 0.0, coef == 0.0)
    assert model.stop_reason_ == "converged"


def test_some_of_these_minima_are_sparse(data):
    zeros = {name: int((proximal_gradient(*data, *oracle)[0] == 0).sum()) for name, (_, *oracle) in PENALTIES.items()}
    assert zeros["MCP"] >= 2 and zeros["group lasso"] == 2


def test_each_of_several_targets_has_its_minimum(data, known, seed):
    (X, y), (penalty, *oracle) = data, known
    Y = np.column_stack([y, 20.0 * y, X[:, 0] - X[:, 5]])
    model = GDLinearRegressor(penalty=penalty, tol=1e-13, random_state=seed).fit(X, Y)
    least = [proximal_gradient(X, Y[:, t], *oracle) for t in range(3)]
    for target, (coef, intercept, _) in enumerate(least):
        unit = Y[:, target].std()
        assert_allclose(model.coef_[target], coef, atol=1e-4 * unit)
        assert_allclose(model.intercept_[target], intercept, atol=1e-4 * unit)
    assert_allclose(model.loss_curve_[-1], sum(value for *_, value in least), rtol=1e-8)


@pytest.mark.parametrize("params", [{}, {"standardize": False}], ids=str)
def test_the_penalty_acts_in_the_units_of_the_data(data, params, seed):
    """Each coefficient then has a step of its own, and they differ by factors of 1e4."""
    (X, y), (penalty, *oracle) = data, PENALTIES["group lasso"]
    X = X * [1.0, 1.0, 5.0, 5.0, 0.2, 20.0]
    coef, intercept, value = proximal_gradient(X, y, *oracle)
    if params:
        X, y, coef = X[:, 2:4] / 30.0, y, None
        penalty, oracle = GroupLasso(0.4, [0, 0]), (lambda w: 0.4 * np.linalg.norm(w), lambda w, s: shrink(w, 0.4 * s))
        coef, intercept, value = proximal_gradient(X, y, *oracle)
    model = GDLinearRegressor(penalty=penalty, tol=1e-13, max_iter=5000, random_state=seed, **params).fit(X, y)
    assert_allclose(model.coef_ * X.std(axis=0), coef * X.std(axis=0), atol=1e-4)
    assert_allclose(model.loss_curve_[-1], value, rtol=1e-8)


def test_a_penalty_away_from_0_is_not_taken_for_worse_than_the_mean(rng, seed):
    """Its objective may be above the loss of the mean alone, but coefficients of 0 have the penalty to pay, too."""
    X, y = rng.normal(size=(200, 6)), rng.normal(size=200)
    penalty, *oracle = PENALTIES["towards"]
    coef, intercept, value = proximal_gradient(X, y, *oracle)
    assert value > 0.5 * y.var()
    model = GDLinearRegressor(penalty=penalty, tol=1e-12, random_state=seed).fit(X, y)
    assert_allclose([*model.coef_, model.intercept_], [*coef, intercept], atol=1e-5)
    assert_allclose(model.loss_curve_[-1], value, rtol=1e-9)


def test_an_own_loss_and_an_own_penalty_go_together(data, seed):
    """The optimality conditions: the gradient of the loss is against that of the penalty."""
    X, y = data
    model = GDLinearRegressor(LogCosh(0.7), penalty=OwnL2(0.3), tol=1e-12, random_state=seed).fit(X, y)
    derivative = LogCosh(0.7).derivative(model.predict(X) - y) / len(y)
    assert_allclose(X.T @ derivative + 0.3 * model.coef_, 0.0, atol=1e-6)
    settings = dict(max_iter=10, tol=None, random_state=seed)
    named = GDLinearRegressor("huber", penalty="l2", alpha=0.3, **settings).fit(X, y)
    own = GDLinearRegressor(OwnHuber(1.35), penalty=OwnL2(0.3), **settings).fit(X, y)
    assert_allclose(own.coef_, named.coef_, rtol=1e-8)


def test_float32_is_close_to_float64(data, known, seed):
    (X, y), (penalty, *oracle) = data, known
    coef, *_ = proximal_gradient(X, y, *oracle)
    model = GDLinearRegressor(penalty=penalty, tol=1e-8, random_state=seed).fit(X.astype("f4"), y.astype("f4"))
    assert model.coef_.dtype == np.float32
    assert_allclose(model.coef_, coef, atol=1e-3)


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_sparse_rows_give_what_dense_ones_do(data, known, method, seed):
    X, y = data[0] * (np.abs(data[0]) > 0.7), data[1]
    dense = getattr(GDLinearRegressor(penalty=known[0], random_state=seed), method)(X, y)
    sparse = getattr(GDLinearRegressor(penalty=known[0], random_state=seed), method)(csr_array(X), y)
    assert_allclose(sparse.coef_, dense.coef_, rtol=1e-7, atol=1e-9)


def test_a_stream_comes_near_the_minimum(rng, known, seed):
    penalty, *oracle = known
    X = rng.normal(size=(20_000, 6)) + [0.0, 1.0, -2.0, 0.0, 3.0, 0.0]
    y = X @ [2.0, -1.0, 0.5, 0.8, 0.0, 0.0] + 3.0 + 0.5 * rng.normal(size=20_000)
    model = GDLinearRegressor(penalty=penalty, random_state=seed)
    for start in range(0, 20_000, 1_000):
        model.partial_fit(X[start : start + 1_000], y[start : start + 1_000])
    coef, _, least = proximal_gradient(X, y, *oracle)
    value = 0.5 * np.mean((model.predict(X) - y) ** 2) + oracle[0](model.coef_)
    assert value - least < 2e-3 * (0.5 * y.var() + oracle[0](np.zeros(6)))
    assert_array_equal(model.coef_ == 0.0, coef == 0.0)


def test_a_constant_column_has_coefficient_0(data, known, seed):
    (X, y), (penalty, *_) = data, known
    X = np.column_stack([X[:, :4], np.full(500, 7.0), X[:, 5]])
    model = GDLinearRegressor(penalty=penalty, random_state=seed).fit(X, y)
    assert model.coef_[4] == 0.0 and np.isfinite(model.loss_curve_).all()


# --- a copy of a built-in penalty ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"loss": "huber"},
        {"batch_size": 1, "max_iter": 5, "tol": None},
        {"batch_size": None, "max_iter": 100, "tol": None},
        {"standardize": False, "learning_rate": 0.01, "average": False, "max_iter": 20, "tol": None},
        {"early_stopping": True},
        {"fit_intercept": False},
        {"positive": True},
        {"schedule": "invscaling"},
    ],
    ids=str,
)
@pytest.mark.parametrize("n_targets", [None, 2])
def test_a_copy_of_l2_is_l2(data, params, n_targets, rng, seed):
    X, y = data
    y, weight = y if n_targets is None else np.column_stack([y, 1.0 - 20.0 * y]), rng.uniform(0.5, 2.0, 500)
    named = GDLinearRegressor(penalty="l2", alpha=0.2, random_state=seed, **params).fit(X, y, weight)
    own = GDLinearRegressor(penalty=OwnL2(0.2), random_state=seed, **params).fit(X, y, weight)
    assert_allclose(own.coef_, named.coef_, rtol=1e-9, atol=1e-12)
    assert_allclose(own.loss_curve_, named.loss_curve_, rtol=1e-9)
    assert own.n_iter_ == named.n_iter_


def test_a_copy_of_l2_is_l2_in_a_stream(data, seed):
    X, y = data
    named = GDLinearRegressor(penalty="l2", alpha=0.2, precondition=False, random_state=seed)
    own = GDLinearRegressor(penalty=OwnL2(0.2), precondition=False, random_state=seed)
    for rows in np.array_split(np.arange(500), 7):
        for model in (named, own):
            model.partial_fit(X[rows], y[rows])
    assert_allclose(own.coef_, named.coef_, rtol=1e-9, atol=1e-12)
    assert_allclose(own.loss_curve_, named.loss_curve_, rtol=1e-9)


@pytest.mark.parametrize(
    "params, penalty",
    [
        ({"penalty": "l1", "alpha": 0.1}, L1(0.1)),
        ({"penalty": "l2", "alpha": np.arange(6.0)}, L2(np.arange(6.0))),
        ({"penalty": "elasticnet", "alpha": 0.1, "l1_ratio": 0.3}, ElasticNet(0.1, 0.3)),
        ({"positive": True}, Box(lower=0.0)),
        ({"positive": True, "penalty": "l1", "alpha": 0.1}, Box(lower=0.0, penalty=L1(0.1))),
    ],
    ids=lambda value: "" if isinstance(value, dict) else repr(value),
)
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_a_built_in_penalty_is_the_same_as_an_object_to_the_bit(data, params, penalty, method, seed):
    named = getattr(GDLinearRegressor(**params, random_state=seed), method)(*data)
    own = getattr(GDLinearRegressor(penalty=penalty, random_state=seed), method)(*data)
    assert_array_equal(own.coef_, named.coef_)
    assert own.loss_curve_ == named.loss_curve_


@pytest.mark.parametrize(
    "penalty", [L1(0.3), L2([0.3, 2.0, 0.0]), ElasticNet(0.5, 0.4), Box(-0.5, [1, 0.2, 3], L1(0.3)), Box()], ids=repr
)
def test_proximal_steps_of_built_in_penalties_are_minima_on_a_grid(penalty, rng):
    grid = np.linspace(-4.0, 4.0, 801)
    for _ in range(5):
        w, step = rng.normal(size=3), rng.uniform(0.1, 3.0, 3)
        v = penalty.proximal(w, step)
        for i in range(3):
            others = np.tile(v, (801, 1))
            others[:, i] = grid
            objective = [((o - w) ** 2 / (2 * step)).sum() + penalty.value(o) for o in others]
            assert abs(grid[np.argmin(objective)] - v[i]) <= 0.01 + 1e-9
    assert isinstance(penalty, Penalty)


# --- what the user's object is given ---------------------------------------------------------------------------------


def test_steps_are_positive_and_finite_also_for_constant_columns_and_wild_units(rng, seed):
    class Watching(OwnL2):
        def value(self, w):
            assert w.shape == (5,) and w.dtype == np.float64
            return super().value(w)

        def proximal(self, w, step):
            assert w.shape == step.shape == (5,) and step.dtype == np.float64
            assert (step > 0.0).all() and np.isfinite(step).all() and np.isfinite(w).all()
            return super().proximal(w, step)

    X = rng.normal(size=(200, 5)) * [1e-150, 1.0, 1e150, 0.0, 1.0]
    Y = np.column_stack([X[:, 1], 1e100 * X[:, 4]]).astype("f8")
    for params in ({}, {"batch_size": None}, {"standardize": False, "learning_rate": 1e-320, "max_iter": 2}):
        rows = X if "standardize" not in params else X[:, [1, 4, 1, 4, 1]]
        GDLinearRegressor(penalty=Watching(1e-3), random_state=seed, tol=None).set_params(max_iter=5).set_params(
            **params
        ).fit(rows, Y)
    GDLinearRegressor(penalty=Watching(1e-3)).partial_fit(X[:1], Y[:1])
    GDLinearRegressor(penalty=Watching(1e-3), schedule=lambda t: 0.0 * t, max_iter=2, tol=None).fit(X, Y)


def test_a_penalty_may_overwrite_its_input_and_return_the_same_array_again(data, seed):
    class Careless(OwnL2):
        def value(self, w):
            value = super().value(w)
            w[...] = np.nan
            return value

        def proximal(self, w, step):
            self.buffer = getattr(self, "buffer", np.empty(len(w)))
            self.buffer[...] = super().proximal(w, step)
            w[...] = step[...] = np.nan
            return self.buffer

    X, y = data
    Y = np.column_stack([y, -2.0 * y])
    careless = GDLinearRegressor(penalty=Careless(0.1), random_state=seed).fit(X, Y)
    careful = GDLinearRegressor(penalty=OwnL2(0.1), random_state=seed).fit(X, Y)
    assert_array_equal(careless.coef_, careful.coef_)


def test_the_rescaled_step_is_the_proximal_step_in_standardized_units(rng):
    """Against a minimum on a fine grid, coefficient by coefficient."""
    scale, factor = np.array([[2.0, 0.5, 0.0], [20.0, 5.0, 0.0]]), np.array([0.7, 0.007])
    penalty = RescaledPenalty(MCP(0.3), scale, factor)
    W, step = np.abs(rng.normal(size=(2, 3))), 0.4
    got = penalty.proximal(W, step)
    assert_array_equal(got[:, 2], 0.0)
    grid = np.linspace(-1.0, 3.0, 40_001)
    for t in range(2):
        for j in range(2):
            value = factor[t] * np.array([MCP(0.3).value(np.array([scale[t, j] * v])) for v in grid])
            assert abs(grid[np.argmin((grid - W[t, j]) ** 2 / (2 * step) + value)] - got[t, j]) < 2e-4
    assert_allclose(penalty.value(W), [f * MCP(0.3).value(s * w) for f, s, w in zip(factor, scale, W, strict=True)])


# --- constraints -----------------------------------------------------------------------------------------------------


class Simplex:
    """Coefficients that are not negative and add up to 1."""

    def value(self, w):
        return 0.0 if (w >= -1e-12).all() and abs(w.sum() - 1.0) < 1e-9 else np.inf

    def proximal(self, w, step):
        low, high = (w - 1.0).min() / step.min(), (w / step).max()
        low = -1e3 * (1.0 + np.abs(w / step).max()) if low < high else low
        for _ in range(200):  # bisection
            middle = 0.5 * (low + high)
            total = np.maximum(w - middle * step, 0.0).sum()
            low, high = (middle, high) if total > 1.0 else (low, middle)
        v = np.maximum(w - high * step, 0.0)
        return v / v.sum()


class Outside:
    """Coefficients of at least 0.7, written as a constraint without any tolerance."""

    def value(self, w):
        return 0.0 if (w >= 0.7).all() else np.inf

    def proximal(self, w, step):
        return np.maximum(w, 0.7)


def test_a_constraint_may_be_a_penalty_that_is_infinite(rng, seed):
    """Weights of a mixture: the answer is in the simplex, and no other point of it is better."""
    X = rng.normal(size=(500, 4)) * [1.0, 3.0, 0.2, 1.0]
    y = X @ [0.5, 0.4, 0.3, -0.2] + 0.3 * rng.normal(size=500)
    model = GDLinearRegressor(penalty=Simplex(), tol=1e-12, random_state=seed).fit(X, y)
    assert_allclose(model.coef_.sum(), 1.0, rtol=1e-9)
    assert (model.coef_ >= 0.0).all() and model.coef_[3] == 0.0
    gradient = X.T @ (model.predict(X) - y) / len(y)
    used = model.coef_ > 0.0
    assert_allclose(gradient[used], gradient[used].mean(), atol=1e-6)
    assert (gradient[~used] >= gradient[used].mean()).all()


@pytest.mark.parametrize("dtype", ["f8", "f4"])
def test_rounding_of_coefficients_at_a_constraint_does_not_make_the_objective_infinite(data, dtype, seed):
    X, y = (a.astype(dtype) for a in data)
    own = GDLinearRegressor(penalty=Outside(), tol=1e-6, random_state=seed).fit(X, y)
    box = GDLinearRegressor(penalty=Box(lower=0.7), tol=1e-6, random_state=seed).fit(X, y)
    assert np.isfinite(own.loss_curve_).all()
    assert_allclose(own.coef_, box.coef_, rtol=1e-5)
    assert own.stop_reason_ == "converged"


def test_a_constraint_that_forbids_0_is_kept_where_the_mean_would_be_better(rng, seed):
    X, y = rng.normal(size=(200, 3)), rng.normal(size=200)
    model = GDLinearRegressor(penalty=Outside(), tol=1e-10, random_state=seed).fit(X, y)
    assert_allclose(model.coef_, 0.7, rtol=1e-12)
    assert_allclose(model.intercept_, (y - 0.7 * X.sum(axis=1)).mean(), atol=1e-6)


# --- among scikit-learn's tools, and never the compiled kernels ------------------------------------------------------


@pytest.mark.parametrize(
    "penalty",
    [MCP(0.3), GroupLasso(0.4, GROUPS), L1(0.1), Box(0.0, 1.0, L2(0.1))],
    ids=lambda penalty: type(penalty).__name__,
)
def test_a_model_survives_copies_and_goes_on(data, penalty, seed):
    X, y = data
    model = GDLinearRegressor(penalty=penalty, random_state=seed).partial_fit(X[:200], y[:200])
    for twin in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert_array_equal(twin.predict(X), model.predict(X))
        expected = copy.deepcopy(model).partial_fit(X[200:], y[200:]).coef_
        assert_array_equal(twin.partial_fit(X[200:], y[200:]).coef_, expected)
    twin = clone(model)
    assert type(twin.penalty) is type(penalty) and twin.penalty is not penalty
    assert_array_equal(twin.fit(X, y).coef_, clone(model).fit(X, y).coef_)


@pytest.mark.parametrize(
    "penalty, name, values",
    [
        (MCP(0.3), "alpha", [0.05, 30.0]),
        (L1(0.3), "alpha", [0.05, 30.0]),
        (Box(penalty=L1(0.3)), "penalty__alpha", [0.05, 30.0]),
        (Box(0.0), "lower", [-10.0, 9.0]),
    ],
    ids=repr,
)
def test_a_search_reaches_the_parameters_of_a_penalty(data, penalty, name, values, seed):
    model = make_pipeline(StandardScaler(), GDLinearRegressor(penalty=penalty, random_state=seed))
    path = f"gdlinearregressor__penalty__{name}"
    search = GridSearchCV(model, {path: values}, cv=3).fit(*data)
    assert search.best_params_ == {path: values[0]}
    assert search.best_estimator_.get_params()[path] == values[0]


def test_a_search_chooses_among_penalties(data, seed):
    grid = {"penalty": [None, "l2", MCP(0.1), GroupLasso(50.0, GROUPS)]}
    search = GridSearchCV(GDLinearRegressor(random_state=seed), grid, cv=3).fit(*data)
    assert np.argmin(search.cv_results_["mean_test_score"]) == 3


@pytest.mark.parametrize("penalty", [MCP(0.3), Box(0.0, penalty=MCP(0.3))], ids=["own", "own in a box"])
@pytest.mark.parametrize("as_rows", [np.asarray, csr_array])
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_own_penalties_are_never_handed_to_the_compiled_kernels(data, penalty, as_rows, method, monkeypatch):
    def refused(problem, *_):
        raise AssertionError(f"the kernel was handed {problem.penalty}")

    passes = dict.fromkeys(("epoch", "gradient", "derivatives"), refused)
    for name in ("DENSE", "SPARSE"):
        monkeypatch.setattr(backend_module, name, getattr(backend_module, name)._replace(**passes))
    getattr(GDLinearRegressor(penalty=penalty, random_state=0), method)(as_rows(data[0]), data[1])


def test_a_subclass_of_a_built_in_penalty_computes_what_it_says(data, seed):
    class Tenfold(L2):
        def value(self, w):
            return 10.0 * super().value(w)

        def proximal(self, w, step):
            return super().proximal(w, 10.0 * step)

    own = GDLinearRegressor(penalty=Tenfold(0.02), tol=1e-8, random_state=seed).fit(*data)
    named = GDLinearRegressor(penalty="l2", alpha=0.2, tol=1e-8, random_state=seed).fit(*data)
    assert_allclose(own.coef_, named.coef_, rtol=1e-6)


def test_the_backend_makes_no_difference(data, known, seed):
    model = GDLinearRegressor(penalty=known[0], random_state=seed).fit(*data)
    with sk_gdlinear.backend("reference"):
        reference = GDLinearRegressor(penalty=known[0], random_state=seed).fit(*data)
    assert_allclose(model.coef_, reference.coef_, rtol=1e-9)


# --- a strength per target and feature -------------------------------------------------------------------------------


@pytest.mark.parametrize("penalty", ["l2", "l1", "elasticnet"])
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_alpha_per_target_and_feature_is_that_of_each_target(data, penalty, method, positive, backend, rng, seed):
    X, y = data
    Y, alpha = np.column_stack([y, 30.0 - 20.0 * y]), rng.uniform(0.01, 0.5, (2, 6)) * [[1.0], [20.0]]
    settings = dict(penalty=penalty, positive=positive, tol=1e-13, shuffle=False)
    with sk_gdlinear.backend(backend):
        both = getattr(GDLinearRegressor(alpha=alpha, **settings), method)(X, Y)
        for target in range(2):
            alone = getattr(GDLinearRegressor(alpha=alpha[target], **settings), method)(X, Y[:, target])
            unit = Y[:, target].std()
            assert_allclose(both.coef_[target], alone.coef_, atol=(1e-4 if method == "fit" else 1e-9) * unit)


def test_alpha_of_one_target_may_have_two_dimensions(data, rng, seed):
    alpha = rng.uniform(0.01, 0.5, 6)
    flat = GDLinearRegressor(penalty="l1", alpha=alpha, random_state=seed).fit(*data)
    two = GDLinearRegressor(penalty="l1", alpha=alpha[None], random_state=seed).fit(*data)
    assert_array_equal(flat.coef_, two.coef_)


@pytest.mark.parametrize(
    "alpha", [np.ones(5), np.ones((3, 6)), np.ones((6, 2)), np.ones((1, 2, 6))], ids=lambda a: str(a.shape)
)
def test_alpha_of_another_shape_is_refused(data, alpha):
    X, y = data
    with pytest.raises(ValueError, match=r"alpha must be .* one per target and feature, shape \(2, 6\); got an array"):
        GDLinearRegressor(penalty="l1", alpha=alpha).fit(X, np.column_stack([y, y]))


# --- objects that will not do ----------------------------------------------------------------------------------------


class Wrong:
    """A penalty with other methods than it should have."""

    def __init__(self, value=lambda w: 0.05 * w @ w, proximal=lambda w, step: w / (1.0 + 0.1 * step)):
        self.value, self.proximal = value, proximal


def naive_group_lasso(w, step):
    return w * np.maximum(0.0, 1.0 - 0.4 * step / np.linalg.norm(w))


UNFIT = {
    "a class": (MCP, TypeError, "is a class, not an object: call it"),
    "a number": (1.0, ValueError, "'penalty' parameter"),
    "no proximal": (type("P", (), {"value": abs})(), ValueError, "implementing 'value' and 'proximal'"),
    "proximal is no method": (Wrong(proximal=3.0), ValueError, "implementing 'value' and 'proximal'"),
    "array from value": (Wrong(value=lambda w: 0.05 * w * w), ValueError, "got an array of shape .*Return the sum"),
    "NaN from value": (Wrong(value=lambda w: np.nan), ValueError, r"value\(w\) of .* returned NaN"),
    "infinity from value": (Wrong(value=lambda w: np.inf), ValueError, r"value\(w\) must return a finite number"),
    "NaN from proximal": (Wrong(proximal=lambda w, step: w * np.nan), ValueError, r"proximal\(w, step\) .* got NaN"),
    "wrong shape": (Wrong(proximal=lambda w, step: w[:-1]), ValueError, r"proximal\(w, step\) .* got shape \(5,\)"),
    "identity as proximal": (Wrong(proximal=lambda w, step: w), ValueError, "value and proximal of .* disagree"),
    "0 as proximal": (Wrong(proximal=lambda w, step: 0 * w), ValueError, "value and proximal of .* disagree"),
    "factor 2": (Wrong(proximal=lambda w, step: w / (1 + 0.2 * step)), ValueError, "value and proximal of .* disagree"),
    "gradient step": (Wrong(proximal=lambda w, step: w - 0.1 * step * w), ValueError, "value and proximal .* disagree"),
    "one step for all": (
        Wrong(proximal=lambda w, step: w / (1.0 + 0.1 * step[0])),
        ValueError,
        "value and proximal of .* disagree",
    ),
    "group lasso for even steps": (
        Wrong(lambda w: 0.4 * np.linalg.norm(w), naive_group_lasso),
        ValueError,
        "value and proximal of .* disagree",
    ),
    "group lasso in a box": (Box(0.0, penalty=GroupLasso(0.4, GROUPS)), ValueError, "value and proximal .* disagree"),
    "MCP for short steps": (
        Wrong(MCP(0.3).value, lambda w, step: firm(w, np.minimum(step, 2.97), 0.3, 3.0)),
        ValueError,
        "disagree",
    ),
    "negative alpha": (L1(-1.0), ValueError, "alpha must be finite and >= 0"),
    "NaN alpha": (L2([1.0, np.nan, 1.0, 1.0, 1.0, 1.0]), ValueError, "alpha must not be NaN"),
    "alpha of a wrong shape": (L1([1.0, 2.0]), ValueError, r"alpha must be .* shape \(6,\); got shape \(2,\)"),
    "alpha in a box": (Box(penalty=L1(np.ones((1, 6)))), ValueError, r"alpha must be .* got shape \(1, 6\)"),
    "l1_ratio": (ElasticNet(1.0, 2.0), ValueError, "l1_ratio must be a number from 0 to 1"),
    "no penalty in a box": (Box(penalty=3.0), TypeError, "has no value and no proximal"),
    "name in a box": (Box(penalty="l1"), TypeError, "has no value and no proximal"),
}


@pytest.mark.parametrize("name", UNFIT)
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_unfit_penalties_are_refused_before_anything_changes(data, name, method):
    penalty, error, message = UNFIT[name]
    model = GDLinearRegressor(penalty=penalty)
    with pytest.raises(error, match=message):
        getattr(model, method)(*data)
    assert set(vars(model)) == set(model.get_params(deep=False))


def test_positive_and_a_penalty_of_groups_do_not_go_together(data):
    """Moving the proximal step of a group to 0 is not the proximal step of both."""
    with pytest.raises(ValueError, match="disagree"):
        GDLinearRegressor(penalty=GroupLasso(0.4, GROUPS), positive=True).fit(*data)


@pytest.mark.parametrize("size", [1e-6, 1.0, 1e6])
def test_fit_penalties_are_not_refused_whatever_their_strength(data, size):
    fit = [OwnL2(size), MCP(size), GroupLasso(size, GROUPS), Towards(size, np.ones(6)), Box(-1.0, 1.0, MCP(size))]
    for penalty in fit:
        model = GDLinearRegressor(penalty=penalty, max_iter=2, tol=None).fit(*data)
        assert model.n_iter_ == 2
        assert np.isfinite(model.coef_).all()


def test_a_fitted_model_is_left_as_it_was(data, state_of):
    model = GDLinearRegressor(penalty=OwnL2(0.1), random_state=0).fit(*data)
    model.penalty.alpha = np.nan
    before = state_of(model)
    for method in (model.fit, model.partial_fit):
        with pytest.raises(ValueError, match="NaN"):
            method(*data)
        assert state_of(model) == before


def test_one_feature_is_enough(rng):
    X = rng.normal(size=(50, 1))
    for penalty in (OwnL2(0.1), GroupLasso(0.1, [0]), MCP(0.1), Box(0.0, penalty=MCP(0.1))):
        assert np.isfinite(GDLinearRegressor(penalty=penalty).fit(X, X[:, 0]).coef_).all()
