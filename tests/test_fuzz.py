"""Whatever is passed to whatever method: a documented exception that changes nothing, or a finite model.

``SK_GDLINEAR_FUZZ=20`` tries 20 times as many examples, other ones every time; by default they are always the same.
"""

import copy
import os
import pickle
import warnings

import numpy as np
import pytest

pytest.importorskip("hypothesis", reason="hypothesis is not installed: no fuzzing")
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sklearn.base import clone

from garbage import columns, matrices, parameters, weights
from sk_gdlinear import GDLinearRegressor

# All that the public methods raise on bad input. scikit-learn's NotFittedError and InvalidParameterError are both
# ValueErrors.
DOCUMENTED = (ValueError, TypeError)

FACTOR = int(os.environ.get("SK_GDLINEAR_FUZZ", "0"))


def fuzz(examples):
    return settings(
        max_examples=examples * max(FACTOR, 1),
        derandomize=not FACTOR,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )


def state(model):
    return pickle.dumps(vars(model))


@st.composite
def calls(draw):
    """A method and its arguments; those of one sequence of calls mostly fit together."""
    n, d = draw(st.sampled_from([0, 1, 2, 5, 12, 12, 12, 40])), draw(st.sampled_from([0, 1, 2, 2, 2, 2, 5]))
    method = draw(st.sampled_from(["fit", "fit", "partial_fit", "partial_fit", "predict", "score", "batches"]))
    if method == "predict":
        return method, (draw(matrices(n, d)),), {}
    arguments = draw(matrices(n, d)), draw(columns(n)), draw(weights(n))
    keywords = {}
    if method == "batches":  # of one chunk, since what was learnt from those before an error stays learnt
        chunks = [draw(st.sampled_from([arguments, arguments, arguments, arguments[:2], arguments[:1], (), None]))]
        epochs = draw(st.sampled_from([1, 1, 1, 1, 0, -1, 1.5, "x", None]))
        batches = draw(st.sampled_from([chunks, chunks, chunks, [], None, 3, object()]))
        return "fit_batches", (batches,), {"epochs": epochs}
    if method == "fit":
        if draw(st.integers(0, 3)) == 0:
            m = draw(st.sampled_from([0, 1, 5]))
            validation = {"X_val": matrices(m, d), "y_val": columns(m), "sample_weight_val": weights(m)}
            keywords = {name: draw(value) for name, value in validation.items() if draw(st.integers(0, 4))}
        if draw(st.integers(0, 5)) == 0:
            keywords["coef_init"] = draw(columns(d))
            keywords["intercept_init"] = draw(columns(1))
    return method, arguments, keywords


def attempt(model, method, arguments, keywords):
    """Call the method; return its result, or None if it raised what is documented and changed nothing."""
    before = state(model)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.filterwarnings("error", category=RuntimeWarning, module="sk_gdlinear")
            return getattr(model, method)(*arguments, **keywords)
    except DOCUMENTED as error:
        assert str(error), "an exception without a message"
    assert state(model) == before
    return None


def assert_finite(model):
    for name in ("coef_", "intercept_", "learning_rate_"):
        assert np.isfinite(getattr(model, name)).all(), name
    assert not np.isnan(model.loss_curve_).any()
    assert np.shape(model.intercept_) == np.shape(model.coef_)[:-1]
    assert type(model.t_) is int and type(model.n_iter_) is int


@fuzz(500)
@given(parameters(), st.lists(calls(), min_size=1, max_size=3))
def test_any_call_raises_a_documented_exception_or_leaves_a_finite_model(params, sequence):
    model = GDLinearRegressor(**({"max_iter": 3, "random_state": 0} | copy.deepcopy(params)))
    for method, arguments, keywords in sequence:
        result = attempt(model, method, arguments, keywords)
        if method.startswith(("fit", "partial_fit")) and result is not None:
            assert result is model
            assert_finite(model)
            pickle.loads(pickle.dumps(model))
    repr(model)
    model._repr_html_()
    assert clone(model).get_params().keys() == model.get_params().keys()
