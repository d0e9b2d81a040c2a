"""Where arrays of other libraries are: layouts, devices and copies change no answer; what does not fit is refused."""

import pickle

import numpy as np
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal

from other_arrays import KINDS, Library, needs_dispatch, problem_data, to_numpy
from sk_gdlinear import GDLinearRegressor
from sk_gdlinear._array import joint_moments
from sk_gdlinear._array import namespace as namespace_module
from sk_gdlinear._array.checks import namespace_of
from sk_gdlinear._array.passes import DEVICE
from sk_gdlinear._array.rows import DeviceArray, Totals
from sk_gdlinear._data.joint_moments import JointMoments
from sk_gdlinear._data.statistics import Moments

pytestmark = needs_dispatch


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
