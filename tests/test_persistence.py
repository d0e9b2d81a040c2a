"""A saved model is the model: same bits, same way on, no rows, and no code needed but ours.

``python tests/test_persistence.py`` writes the model of the present format that `test_kept_model...` loads. Run it with
the oldest supported NumPy (see CONTRIBUTING.md): newer ones read what it writes, not the other way round.
"""

import copy
import io
import pickle
from pathlib import Path

import joblib
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_array

from sk_gdlinear import GDLinearRegressor
from sk_gdlinear._fit.state import MARK

KEPT = Path(__file__).parent / "data" / "model-0.1.pickle"
NAME = "sk_gdlinear.GDLinearRegressor"

VARIANTS = [
    {},
    {"batch_size": None, "schedule": "adaptive"},
    {"standardize": False, "average": False, "learning_rate": 1e-7},
    {"loss": "huber", "penalty": "elasticnet"},
    {"loss": "quantile", "positive": True},
    {"penalty": "l1", "alpha": np.full(4, 0.01), "warm_start": True},
    {"early_stopping": True},
    {"random_state": np.random.RandomState(3)},
    {"window": 30},
    {"precondition": False},
]
IDS = ["random_state=RandomState" if "random_state" in params else str(params) for params in VARIANTS]


def with_pickle(model):
    return pickle.loads(pickle.dumps(model))


def with_joblib(model):
    buffer = io.BytesIO()
    joblib.dump(model, buffer)
    buffer.seek(0)
    return joblib.load(buffer)


def with_skops(model):
    skops = pytest.importorskip("skops.io", reason="skops is not installed: no skops files")
    data = skops.dumps(model)
    assert skops.get_untrusted_types(data=data) == [NAME]
    return skops.loads(data, trusted=[NAME])


@pytest.fixture
def rows(rng):
    X = rng.normal([0.0, 5.0, -1e3, 1e-3], [1.0, 2.0, 10.0, 1e-4], size=(80, 4))
    return X, X @ np.array([[1.0, 0.5, 0.1, 5e3], [0.0, 1.0, -0.2, 1e3]]).T + rng.normal(size=(80, 2))


def make(**params):
    return GDLinearRegressor(**(dict(max_iter=4, tol=None, random_state=0) | params))


@pytest.mark.parametrize("round_trip", [with_pickle, with_joblib, with_skops, copy.deepcopy], ids=lambda f: f.__name__)
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize("params", VARIANTS, ids=IDS)
def test_round_trip_keeps_every_bit_and_goes_on_with_partial_fit(rows, state_of, params, method, round_trip):
    if method == "partial_fit":
        params = params | {"early_stopping": False}
    dense, Y = rows
    for X, y in (
        (dense, Y),
        (dense, Y[:, 0]),
        (dense, Y[:, :1]),
        (dense.astype(np.float32), Y.astype(np.float32)),
        (csr_array(dense), Y),
    ):
        model = getattr(make(**params), method)(X, y)
        restored = round_trip(model)
        for one in (model, restored):
            one.set_params(early_stopping=False)  # partial_fit cannot do it
        assert vars(restored).keys() == vars(model).keys()
        assert_array_equal(restored.predict(X), model.predict(X))
        for chunk in range(2):  # successive calls draw new orders from the generator that was saved
            half = slice(40 * chunk, 40 * (chunk + 1))
            for one in (model, restored):
                one.partial_fit(X[half], y[half])
            assert_array_equal(restored.coef_, model.coef_)
            assert_array_equal(restored.intercept_, model.intercept_)
            assert_array_equal(restored.loss_curve_, model.loss_curve_)


def test_unfitted_model_round_trips(state_of):
    model = GDLinearRegressor("huber", random_state=3)
    for restored in map(lambda trip: trip(model), (with_pickle, with_joblib, copy.deepcopy)):
        assert state_of(restored) == state_of(model)


def test_restored_model_shares_no_state_with_the_original(rows):
    X, Y = rows
    model = make().fit(X, Y)
    restored, before = with_pickle(model), model.coef_.copy()
    restored.partial_fit(X, Y)
    assert_array_equal(model.coef_, before)


def test_saved_name_is_the_public_one():
    """A pickle names one class of ours, where `import` finds it whatever becomes of the private modules."""
    found = set()

    class Recorder(pickle.Unpickler):
        def find_class(self, module, name):
            found.add(f"{module}.{name}")
            return super().find_class(module, name)

    Recorder(io.BytesIO(pickle.dumps(make().fit([[0.0], [1.0]], [0.0, 1.0])))).load()
    assert {name for name in found if "gdlinear" in name.lower()} == {NAME}


def n_bytes(n, d=5, k=2, **params):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, d))
    model = make(**params).fit(X, X @ rng.normal(size=(d, k)))
    sizes = [len(pickle.dumps(model))]
    return np.array([*sizes, len(pickle.dumps(model.partial_fit(X, X @ rng.normal(size=(d, k)))))])


@pytest.mark.parametrize("params", [{}, {"loss": "quantile", "penalty": "l1"}, {"batch_size": None}], ids=str)
def test_size_of_a_saved_model_does_not_depend_on_the_number_of_rows(params):
    assert (np.abs(n_bytes(30_000, **params) - n_bytes(1_000, **params)) < 32).all()  # digits of counters


@pytest.mark.parametrize("params", [{}, {"loss": "quantile", "penalty": "l1"}], ids=str)
def test_size_of_a_saved_model_is_linear_in_features_times_targets(params):
    size = n_bytes(50, 600, 4, **params)
    assert (n_bytes(50, 1_200, 4, **params) < 2 * size).all()
    assert (n_bytes(50, 600, 8, **params) < 2 * size).all()


def test_on_few_columns_a_saved_model_has_at_most_two_matrices_of_second_moments():
    assert (n_bytes(50, 300, 2) < 1.1 * 2 * 8 * 302**2).all()


# --- from release to release -----------------------------------------------------------------------------------------


def kept_model():
    rng = np.random.default_rng(0)
    X = rng.normal([0.0, 5.0, -1e3], [1.0, 2.0, 10.0], size=(64, 3))
    y = X @ [1.0, -2.0, 0.5] + 3.0
    model = GDLinearRegressor(random_state=0, tol=1e-10).fit(X, y).partial_fit(X, y)
    return {"model": model, "X": X, "y": y, "prediction": model.predict(X)}


def test_kept_model_loads_predicts_and_goes_on():
    """The file was written by release 0.1, in format 2."""
    kept = pickle.loads(KEPT.read_bytes())
    model, X, y = kept["model"], kept["X"], kept["y"]
    assert_allclose(model.predict(X), kept["prediction"], rtol=1e-12)
    before = model.t_
    model.partial_fit(X, y)
    assert model.t_ == before + 1  # a step to the minimum of all rows
    assert_allclose(model.predict(X), y, rtol=1e-5)  # the targets hold no noise, so going on keeps the answer
    assert_allclose(model.fit(X, y).predict(X), y, rtol=1e-5)


def test_parameters_that_came_later_get_their_defaults(rows):
    """The kept model is older than some."""
    state = make().fit(*rows).__getstate__()
    del state["early_stopping"]
    restored = GDLinearRegressor.__new__(GDLinearRegressor)
    restored.__setstate__(state)
    assert restored.early_stopping is False
    assert "early_stopping" not in state


@pytest.mark.parametrize(
    ("mark", "said"), [({"format": 99, "version": "9.9"}, "format 99 by sk_gdlinear 9.9"), (None, "format None")]
)
def test_other_formats_are_refused_with_a_reason(rows, mark, said):
    model = make().fit(*rows)
    state = {**vars(model), **({} if mark is None else {MARK: mark})}
    with pytest.raises(ValueError, match=f"{said}.*Load it with.*or fit it again"):
        GDLinearRegressor.__new__(GDLinearRegressor).__setstate__(state)


if __name__ == "__main__":
    KEPT.parent.mkdir(exist_ok=True)
    KEPT.write_bytes(pickle.dumps(kept_model(), protocol=4))
