"""Bounds of coefficients: the optimum within them, exactly within them.

Oracles: SciPy's bounded least squares and bounded minimiser.
"""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import lsq_linear, minimize
from scipy.sparse import csr_array
from sklearn.linear_model import LinearRegression

import sk_gdlinear
from own_objects import MCP
from sk_gdlinear import GDLinearRegressor
from sk_gdlinear.penalties import L1, L2, Box, ElasticNet

CLOSE = dict(tol=1e-12, max_iter=5000)

BOUNDS = {
    "both": (-0.5, 0.6),
    "lower": (0.2, None),
    "upper": (None, -0.1),
    "per coefficient": ([-np.inf, 0.1, -0.3, 0.0, 2.0], [0.5, np.inf, -0.1, 0.0, 2.5]),
    "none": (None, None),
}


@pytest.fixture
def data(rng):
    """Correlated rows in units of 0.1 to 10, with offsets."""
    X = (rng.normal(size=(400, 5)) + 0.4 * rng.normal(size=(400, 1)) + 2.0) * [0.1, 1.0, 10.0, 1.0, 1.0]
    return X, X @ [5.0, -1.0, -0.2, 0.3, 0.0] + 3.0 + 0.5 * rng.normal(size=400)


@pytest.fixture(params=BOUNDS)
def limits(request):
    """The bounds as they are given to ``Box``, and as arrays."""
    lower, upper = BOUNDS[request.param]
    return (lower, upper), tuple(
        np.broadcast_to(np.float64(default if limit is None else limit), 5)
        for limit, default in ((lower, -np.inf), (upper, np.inf))
    )


def bounded_least_squares(X, y, lower, upper, weight=None, l2=0.0, fit_intercept=True):
    """Coefficients and intercept of the least half mean squared error plus half of ``l2`` times the squares."""
    s = np.ones(len(y)) if weight is None else weight
    s = s / s.sum()
    centre, target = (s @ X, s @ y) if fit_intercept else (np.zeros(X.shape[1]), 0.0)
    root = np.sqrt(s)
    A = np.vstack([root[:, None] * (X - centre), np.sqrt(l2) * np.eye(X.shape[1])])
    c = np.concatenate([root * (y - target), np.zeros(X.shape[1])])
    open_, coef = lower < upper, np.array(lower)
    left = c - A[:, ~open_] @ coef[~open_]
    bounds = lower[open_], upper[open_]
    coef[open_] = lsq_linear(A[:, open_], left, bounds, method="bvls", tol=1e-14, lsq_solver="exact").x
    return coef, target - centre @ coef


# --- the optimum -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, "auto", None])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_optimum_is_that_of_bounded_least_squares(data, limits, batch_size, weighted, rng, seed):
    (X, y), (given, arrays) = data, limits
    weight = rng.uniform(0.2, 3.0, 400) if weighted else None
    coef, intercept = bounded_least_squares(X, y, *arrays, weight)
    model = GDLinearRegressor(penalty=Box(*given), batch_size=batch_size, random_state=seed, **CLOSE)
    model.fit(X, y, weight)
    spread = X.std(axis=0)
    assert model.stop_reason_ == "converged"
    assert_allclose(model.coef_ * spread, coef * spread, atol=1e-8)
    assert_allclose(model.predict(X), X @ coef + intercept, atol=1e-8)
    assert_array_equal(model.coef_ == arrays[0], coef == arrays[0])
    assert_array_equal(model.coef_ == arrays[1], coef == arrays[1])


@pytest.mark.parametrize("params", [{"fit_intercept": False}, {"standardize": False, "batch_size": None}], ids=str)
def test_the_optimum_is_the_same_in_other_modes(data, limits, params, seed):
    (X, y), (given, arrays) = data, limits
    X, fit_intercept = X / [0.1, 1.0, 10.0, 1.0, 1.0] - 2.0, params.get("fit_intercept", True)
    coef, intercept = bounded_least_squares(X, y, *arrays, fit_intercept=fit_intercept)
    model = GDLinearRegressor(penalty=Box(*given), random_state=seed, **CLOSE, **params).fit(X, y)
    assert_allclose(model.coef_, coef, atol=1e-4)
    assert_allclose(model.intercept_, intercept, atol=1e-4)


def test_l2_within_bounds(data, limits, seed):
    (X, y), (given, arrays) = data, limits
    coef, intercept = bounded_least_squares(X, y, *arrays, l2=0.3)
    model = GDLinearRegressor(penalty=Box(*given, L2(0.3)), random_state=seed, **CLOSE).fit(X, y)
    assert_allclose(model.coef_ * X.std(axis=0), coef * X.std(axis=0), atol=1e-8)
    value = 0.5 * np.mean((X @ coef + intercept - y) ** 2) + 0.15 * coef @ coef
    assert_allclose(model.loss_curve_[-1], value, rtol=1e-12)


@pytest.mark.parametrize("loss", ["squared_error", "huber"])
@pytest.mark.parametrize("penalty", [L1(0.2), ElasticNet([0.1, 0.5, 0.2, 0.0, 0.3], 0.6)], ids=repr)
def test_l1_and_elasticnet_within_bounds(data, limits, penalty, loss, seed):
    """Against a bounded minimiser of the same objective in twice as many variables, the positive and negative parts."""
    (X, y), (given, (lower, upper)) = data, limits
    alpha, ratio = np.broadcast_to(penalty.alpha, 5), penalty.l1_ratio
    signed = np.column_stack([X, -X, np.ones(len(y))])

    def objective(theta):
        e = signed @ theta - y
        psi = e if loss == "squared_error" else np.clip(e, -1.35, 1.35)
        w = theta[:5] - theta[5:10]
        value = np.mean(psi * (e - psi / 2)) + alpha @ (ratio * theta[:10].reshape(2, 5).sum(axis=0))
        slope = alpha * (1.0 - ratio) * w
        parts = np.concatenate([alpha * ratio + slope, alpha * ratio - slope, [0.0]])
        return value + 0.5 * alpha @ ((1.0 - ratio) * w**2), signed.T @ psi / len(y) + parts

    positive = np.column_stack([np.maximum(lower, 0.0), np.maximum(upper, 0.0)])
    negative = np.column_stack([np.maximum(-upper, 0.0), np.maximum(-lower, 0.0)])
    bounds = [*positive, *negative, (-np.inf, np.inf)]
    start = np.clip(np.zeros(11), *np.transpose(bounds))
    options = {"ftol": 1e-15, "gtol": 1e-9, "maxiter": 100_000, "maxfun": 1_000_000}
    best = minimize(objective, start, jac=True, bounds=bounds, options=options)
    model = GDLinearRegressor(loss, penalty=Box(*given, penalty), random_state=seed, **CLOSE).fit(X, y)
    assert_allclose(model.loss_curve_[-1], best.fun, rtol=1e-6)
    assert_allclose(model.coef_ * X.std(axis=0), (best.x[:5] - best.x[5:10]) * X.std(axis=0), atol=3e-3)
    assert (model.coef_ >= lower).all() and (model.coef_ <= upper).all()


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize("dtype, rtol", [("f8", 1e-8), ("f4", 1e-3)])
def test_the_compiled_kernels_and_the_reference_agree(data, limits, sparse, method, dtype, rtol, seed):
    X, y = (a.astype(dtype) for a in data)
    X = csr_array(X * (np.abs(X) > 1.0)) if sparse else X
    settings = dict(penalty=Box(*limits[0], ElasticNet(0.1, 0.5)), max_iter=10, tol=None, random_state=seed)
    compiled = getattr(GDLinearRegressor(**settings), method)(X, y)
    with sk_gdlinear.backend("reference"):
        reference = getattr(GDLinearRegressor(**settings), method)(X, y)
    assert_allclose(compiled.coef_, reference.coef_, rtol=rtol, atol=rtol)
    assert_allclose(compiled.loss_curve_, reference.loss_curve_, rtol=rtol)


def test_a_stream_comes_near_the_optimum_and_stays_within_the_bounds(rng, limits, seed):
    given, (lower, upper) = limits
    X = (rng.normal(size=(20_000, 5)) + 2.0) * [0.1, 1.0, 10.0, 1.0, 1.0]
    y = X @ [5.0, -1.0, -0.2, 0.3, 0.0] + 3.0 + 0.5 * rng.normal(size=20_000)
    model = GDLinearRegressor(penalty=Box(*given), random_state=seed)
    for start in range(0, 20_000, 1_000):
        model.partial_fit(X[start : start + 1_000], y[start : start + 1_000])
        assert (model.coef_ >= lower).all() and (model.coef_ <= upper).all()
    coef, intercept = bounded_least_squares(X, y, lower, upper)
    gap = np.mean((model.predict(X) - y) ** 2) - np.mean((X @ coef + intercept - y) ** 2)
    assert gap < 5e-3 * y.var()


def test_each_of_several_targets_has_the_bounds(data, limits, seed):
    """In the units of each: those of ``coef_``."""
    (X, y), (given, arrays) = data, limits
    Y = np.column_stack([y, 0.3 * y + 50.0, 7.0 * X[:, 1]])
    model = GDLinearRegressor(penalty=Box(*given), random_state=seed, **CLOSE).fit(X, Y)
    for target in range(3):
        coef, _ = bounded_least_squares(X, Y[:, target], *arrays)
        assert_allclose(model.coef_[target] * X.std(axis=0), coef * X.std(axis=0), atol=1e-8)


# --- positive --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("penalty, inner", [(None, None), ("l1", L1(0.1)), ("l2", L2(0.1))], ids=str)
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_positive_is_a_lower_bound_of_0(data, penalty, inner, method, seed):
    named = GDLinearRegressor(penalty=penalty, alpha=0.1, positive=True, random_state=seed)
    box = GDLinearRegressor(penalty=Box(lower=0.0, penalty=inner), random_state=seed)
    assert_array_equal(getattr(named, method)(*data).coef_, getattr(box, method)(*data).coef_)
    assert named.loss_curve_ == box.loss_curve_


def test_positive_and_bounds_go_together(data, seed):
    """Both hold, and the compiled kernels know them."""
    both = GDLinearRegressor(penalty=Box(-3.0, 0.2), positive=True, random_state=seed, tol=1e-10).fit(*data)
    one = GDLinearRegressor(penalty=Box(0.0, 0.2), random_state=seed, tol=1e-10).fit(*data)
    assert_array_equal(both.coef_, one.coef_)
    with pytest.raises(ValueError, match="Bounds must be lower <= upper"):
        GDLinearRegressor(penalty=Box(-3.0, -0.2), positive=True).fit(*data)


def test_wide_bounds_change_nothing(data, seed):
    bounded = GDLinearRegressor(penalty=Box(-1e9, 1e9), tol=1e-12, random_state=seed).fit(*data)
    exact = LinearRegression().fit(*data)
    assert_allclose(bounded.predict(data[0]), exact.predict(data[0]), atol=1e-4)


# --- exactly within the bounds ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["f8", "f4"])
@pytest.mark.parametrize("inner", [None, L1(1e-3), MCP(1e-3)], ids=["box", "compiled", "own"])
def test_coefficients_at_a_bound_equal_it(rng, inner, dtype, seed):
    """To the bit, although descent runs in other units."""
    X = rng.normal(size=(300, 40)) * 10.0 ** rng.uniform(-3, 3, 40) + 1e3
    lower = rng.uniform(0.1, 0.9, 40)
    y = rng.normal(size=300)
    penalty = Box(lower, lower + 1e3, inner)
    model = GDLinearRegressor(penalty=penalty, random_state=seed, max_iter=50, tol=None).fit(
        X.astype(dtype), y.astype(dtype)
    )
    if dtype == "f8":
        assert (model.coef_ >= lower).all()
    assert (model.coef_ >= lower.astype(dtype)).all() and (model.coef_ == lower.astype(dtype)).sum() > 10
    assert np.isfinite(model.loss_curve_).all()


def test_bounds_that_forbid_0_are_kept_where_the_mean_would_be_better(rng, seed):
    X, y = rng.normal(size=(300, 4)), rng.normal(size=300)
    for inner in (None, L2(0.1), MCP(1e-6)):
        model = GDLinearRegressor(penalty=Box(5.0, penalty=inner), random_state=seed, **CLOSE).fit(X, y)
        assert_array_equal(model.coef_, 5.0)
        assert_allclose(model.intercept_, (y - 5.0 * X.sum(axis=1)).mean(), atol=1e-12)


@pytest.mark.parametrize("loss", ["squared_error", "huber", "quantile"])
@pytest.mark.parametrize("batch_size", [1, "auto", None])
def test_bounds_far_from_the_optimum_are_reached_with_any_loss(rng, loss, batch_size, seed):
    """The batches then are far worse than predicting the mean all the time, which is no reason not to move."""
    X = rng.normal(size=(300, 3))
    y = X @ [1.0, -1.0, 1.0] + 0.1 * rng.normal(size=300)
    settings = dict(batch_size=batch_size, tol=1e-9, random_state=seed)
    model = GDLinearRegressor(loss, penalty=Box([30.0, -np.inf, -np.inf]), **settings).fit(X, y)
    assert model.coef_[0] == 30.0
    if loss == "squared_error":
        coef, intercept = bounded_least_squares(X, y, np.array([30.0, -np.inf, -np.inf]), np.full(3, np.inf))
        assert_allclose([*model.coef_, model.intercept_], [*coef, intercept], atol=1e-3)


# --- constant columns ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("inner", [None, L2(0.1), MCP(0.1)], ids=["box", "compiled", "own"])
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("lower, upper, expected", [(2.0, 3.0, 2.0), (-3.0, -2.0, -2.0), (-1.0, 1.0, 0.0)])
def test_a_constant_column_gets_the_bound_nearest_to_0(data, inner, method, sparse, lower, upper, expected, seed):
    """No coefficient of it changes the predictions, so they are those without it; the intercept makes good for it."""
    X, y = data
    X = np.column_stack([X[:, :4], np.full(400, 7.0)])
    with_rows = (csr_array if sparse else np.asarray)(X)
    limits = [np.append(np.full(4, side), limit) for side, limit in ((-1.0, lower), (1.0, upper))]
    model = getattr(GDLinearRegressor(penalty=Box(*limits, inner), random_state=seed), method)(with_rows, y)
    without = getattr(GDLinearRegressor(penalty=Box(-1.0, 1.0, inner), random_state=seed), method)(
        csr_array(X[:, :4]) if sparse else np.ascontiguousarray(X[:, :4]), y
    )
    assert model.coef_[4] == expected
    assert_allclose(model.coef_[:4], without.coef_, rtol=1e-6, atol=1e-9)
    assert_allclose(model.predict(with_rows), without.predict(with_rows[:, :4]), rtol=1e-6)
    penalty = 0.0 if inner is None else inner.value(np.array([expected]))
    assert_allclose(model.loss_curve_[-1], without.loss_curve_[-1] + penalty, rtol=1e-6)


def test_one_row_is_within_the_bounds(rng):
    """All columns are constant."""
    model = GDLinearRegressor(penalty=Box(1.0, 2.0)).partial_fit([[3.0, -4.0]], [5.0])
    assert_array_equal(model.coef_, 1.0)
    assert_allclose(model.predict([[3.0, -4.0]]), 5.0, rtol=1e-12)


def test_a_column_that_is_constant_at_first_is_learnt_when_it_varies(rng, seed):
    X = rng.normal(size=(4000, 2))
    X[:500, 1] = 7.0
    y = X @ [1.0, 3.0] + 0.1 * rng.normal(size=4000)
    model = GDLinearRegressor(penalty=Box(2.0, [5.0, 4.0]), random_state=seed)
    for start in range(0, 4000, 500):
        model.partial_fit(X[start : start + 500], y[start : start + 500])
        assert (model.coef_ >= 2.0).all()
    assert model.coef_[0] == 2.0
    assert_allclose(model.coef_[1], 3.0, atol=0.05)


def test_warm_start_goes_on_with_a_constant_column(data, seed):
    X = np.column_stack([data[0][:, :2], np.full(400, 7.0)])
    model = GDLinearRegressor(penalty=Box(2.0), warm_start=True, tol=1e-10, random_state=seed).fit(X, data[1])
    before = model.predict(X)
    assert_allclose(model.fit(X, data[1]).predict(X), before, atol=1e-6)
    assert model.coef_[2] == 2.0


def test_a_column_of_zeros_without_an_intercept_is_within_the_bounds(data, seed):
    X = data[0] * [1.0, 1.0, 0.0, 1.0, 1.0]
    model = GDLinearRegressor(penalty=Box(2.0), fit_intercept=False, random_state=seed).fit(X, data[1])
    assert model.coef_[2] == 2.0 and model.intercept_ == 0.0


# --- bounds that will not do -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "box, message",
    [
        (Box(1.0, 0.0), "Bounds must be lower <= upper"),
        (Box([0.0, 0.0, 0.0, 0.0, 1.0], 0.5), "Bounds must be lower <= upper"),
        (Box(np.inf), "with a finite number between"),
        (Box(upper=-np.inf), "with a finite number between"),
        (Box(np.nan), "lower must not be NaN"),
        (Box(upper=[0.0, 1.0, np.nan, 1.0, 1.0]), "upper must not be NaN"),
        (Box([0.0, 1.0]), r"lower must be .* shape \(5,\); got shape \(2,\)"),
        (Box(upper=np.ones((1, 5))), r"upper must be .* shape \(5,\); got shape \(1, 5\)"),
        (Box("low"), "could not convert"),
    ],
    ids=repr,
)
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_unfit_bounds_are_refused_before_anything_changes(data, box, message, method):
    model = GDLinearRegressor(penalty=box)
    with pytest.raises(ValueError, match=message):
        getattr(model, method)(*data)
    assert set(vars(model)) == set(model.get_params(deep=False))


def test_a_box_says_what_it_is():
    assert repr(Box(0.0, penalty=L1(0.5))) == "Box(lower=0.0, upper=None, penalty=L1(alpha=0.5))"
    assert Box(0.0).value([1.0, 2.0]) == 0.0 and Box(0.0).value([-1.0, 2.0]) == np.inf
    assert_allclose(Box(0.0, 1.0, L1(0.5)).proximal([2.0, 0.7, -1.0], 1.0), [1.0, 0.2, 0.0], rtol=1e-15)
