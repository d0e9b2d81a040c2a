"""Models not made by ``fit`` alone: coefficients set by hand, subclasses, copies, saved states with damage."""

import copy
import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from sk_gdlinear import GDLinearRegressor


@pytest.fixture
def data(rng):
    X = rng.normal(size=(300, 3))
    return X, X @ [1.0, -2.0, 0.5] + 3.0 + 0.1 * rng.normal(size=300)


class Tagged(GDLinearRegressor):
    """A subclass with an argument that has no default."""

    def __init__(self, site, alpha=1e-4):
        super().__init__(penalty="l2", alpha=alpha)
        self.site = site


@pytest.mark.parametrize("fitted", [False, True])
@pytest.mark.parametrize("copied", [copy.deepcopy, copy.copy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_subclass_with_a_required_argument_is_copied_and_pickled(data, copied, fitted):
    model = Tagged("A")
    if fitted:
        model.fit(*data)
    twin = copied(model)
    assert (twin.site, twin.alpha) == ("A", 1e-4)
    if fitted:
        assert_array_equal(twin.predict(data[0]), model.predict(data[0]))
        twin.partial_fit(*data)


def by_hand(**params):
    """A model put together from coefficients, as in federated learning."""
    model = GDLinearRegressor(random_state=0, **params)
    model.coef_, model.intercept_ = np.array([1.0, -2.0, 0.5]), 3.0
    return model


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_a_model_put_together_by_hand_continues_from_its_coefficients(data, method):
    X, y = data
    model = by_hand(warm_start=True, max_iter=1, tol=None)
    assert_allclose(model.predict(X), X @ [1.0, -2.0, 0.5] + 3.0, rtol=1e-12)
    getattr(model, method)(X, y)
    assert model.score(X, y) > 0.99
    getattr(model, method)(X, y)
    assert len(model.loss_curve_) == 2
    plain = dict(standardize=False, average=False, learning_rate=1e-3, batch_size=None, max_iter=1, tol=None)
    model = by_hand(warm_start=True, **plain)
    getattr(model, method)(X, y)
    E = X @ [1.0, -2.0, 0.5] + 3.0 - y
    assert_allclose(model.coef_, [1.0, -2.0, 0.5] - 1e-3 * E @ X / 300, rtol=1e-12)


@pytest.mark.parametrize("values", [[1, -2, 0], np.array([1, -2, 0]), np.array([1, -2, 0.5], "f2"), [1.0, -2.0, 0.5]])
def test_coefficients_of_any_real_kind_are_taken(data, values):
    X, y = data
    model = GDLinearRegressor(random_state=0).fit(X, y)
    model.coef_ = values
    assert_allclose(model.predict(X[:2]), X[:2] @ np.asarray(values, dtype=float) + model.intercept_, rtol=1e-3)
    model.partial_fit(X, y)
    assert model.score(X, y) > 0.9


@pytest.mark.parametrize(("name", "value"), [("coef_", [1.0, -2.0, 0.0]), ("intercept_", 5.0), ("intercept_", 5)])
def test_python_numbers_set_between_chunks_are_taken_as_arrays_are(data, name, value):
    X, y = data
    models = [GDLinearRegressor(random_state=0).partial_fit(X[:100], y[:100]).partial_fit(X[100:200], y[100:200])
              for _ in range(2)]  # fmt: skip
    for model, given in zip(models, (value, np.float64(value)), strict=True):
        setattr(model, name, given)
        model.partial_fit(X[200:], y[200:])
    assert_array_equal(models[0].coef_, models[1].coef_)
    assert models[0].intercept_ == models[1].intercept_


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("coef_", [1.0, 2.0], r"coef_ of shape \(2,\)"),
        ("intercept_", None, "intercept_ must"),
        ("intercept_", "5", "intercept_"),
    ],
)
def test_other_things_set_between_chunks_are_refused(data, name, value, message):
    model = GDLinearRegressor(random_state=0).partial_fit(*data)
    setattr(model, name, value)
    with pytest.raises(ValueError, match=message):
        model.partial_fit(*data)


@pytest.mark.parametrize(
    "values", [[np.nan, 0.0, 0.0], [np.inf, 0.0, 0.0], ["a", "b", "c"], [1j, 0.0, 0.0], [10**400, 0, 0], [None] * 3]
)
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_coefficients_that_are_no_finite_numbers_are_refused(data, values, method):
    model = GDLinearRegressor(random_state=0, warm_start=True).fit(*data)
    model.coef_ = values
    with pytest.raises(ValueError, match="coef_ must"):
        getattr(model, method)(*data)


def test_an_intercept_of_another_shape_is_refused(data):
    model = GDLinearRegressor(random_state=0).fit(*data)
    model.intercept_ = np.zeros(2)
    with pytest.raises(ValueError, match="intercept_ must contain one number per target"):
        model.partial_fit(*data)


@pytest.mark.parametrize("name", ["alpha", "tol", "learning_rate", "max_iter"])
def test_integers_beyond_float64_are_refused(data, name):
    with pytest.raises(ValueError, match=f"{name} must be"):
        GDLinearRegressor(penalty="l2", **{name: 10**400}).fit(*data)


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_data_with_integers_beyond_float64_is_refused(data, which, method):
    given = [[list(row) for row in data[0][:10]], list(data[1][:10])]
    if which:
        given[1][0] = 10**400
    else:
        given[0][0][0] = 10**400
    with pytest.raises(ValueError, match="too large"):
        getattr(GDLinearRegressor(), method)(*given)


@pytest.mark.parametrize("start", [1e18, -1e300])
def test_a_start_far_away_does_not_spoil_the_answer(data, start):
    X, y = data
    model = GDLinearRegressor(random_state=0).fit(X, y, coef_init=[start] * 3)
    assert model.stop_reason_ == "converged"
    assert_allclose(model.score(X, y), GDLinearRegressor(random_state=0).fit(X, y).score(X, y), atol=1e-4)


def test_a_warm_start_refuses_columns_of_other_names_or_order(data):
    pd = pytest.importorskip("pandas", reason="pandas is not installed: no frames")
    frame = pd.DataFrame(data[0], columns=list("abc"))
    model = GDLinearRegressor(random_state=0, warm_start=True).fit(frame, data[1])
    with pytest.raises(ValueError, match="feature names"):
        model.fit(frame[list("bac")], data[1])
    model.set_params(warm_start=False).fit(frame[list("bac")], data[1])


@pytest.mark.parametrize("scale", [1e300, 1e-160])
def test_what_the_caller_does_about_floating_point_errors_changes_nothing(data, scale):
    X, y = data
    expected = GDLinearRegressor(random_state=0).fit(X * scale, y)
    with np.errstate(all="raise"):
        model = GDLinearRegressor(random_state=0).fit(X * scale, y)
        model.partial_fit(X * scale, y)
    assert_array_equal(GDLinearRegressor(random_state=0).fit(X * scale, y).coef_, expected.coef_)


DAMAGE = {
    "short coefficients": lambda state: state["iterate"].update(W=np.zeros((1, 1))),
    "short mean": lambda state: state["statistics"]["features"].update(mean=np.zeros(1)),
    "other dtype": lambda state: state["standardization"].update(shift=np.zeros(3, "f4")),
    "no array": lambda state: state["iterate"].update(b=[0.0]),
    "not contiguous": lambda state: state["iterate"].update(mean_W=np.asfortranarray(np.zeros((2, 3)))[:1]),
    "NaN": lambda state: state["iterate"]["W"].__setitem__(0, np.nan),
    "a missing part": lambda state: state.pop("standardization"),
    "another generator": lambda state: state.update(generator=3),
    "a negative counter": lambda state: state["iterate"].update(t=-1),
    "a huge counter": lambda state: state["iterate"].update(t=10**400),
    "short second moments": lambda state: state["memory_of_fit"].update(products=np.eye(2)),
    "an infinite slope": lambda state: state["memory_of_fit"].update(slope=np.full((1, 3), np.inf)),
    "more of a fit": lambda state: state["memory_of_fit"].update(other=1),
    "short report": lambda state: state.update(reported=(np.zeros((1, 2)), np.zeros(1))),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_saved_state_with_damage_is_refused(data, damage):
    """So that no file can make a kernel read or write out of bounds."""
    saved = copy.deepcopy(GDLinearRegressor(random_state=0).fit(*data).__getstate__())
    damage(saved["_state"])
    with pytest.raises(ValueError, match="saved state of this model is damaged"):
        GDLinearRegressor.__new__(GDLinearRegressor).__setstate__(saved)
