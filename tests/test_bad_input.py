"""Bad input and bad settings: a clear error before any state changes.

Every case is tried on a fresh model, on a fitted one and in mid-stream; whatever the model held before, it holds after.
"""

from functools import partial

import numpy as np
import pytest
from scipy.sparse import coo_array, csr_array
from sklearn import config_context

from sk_gdlinear import GDLinearRegressor

NAN, INF = float("nan"), float("inf")


def replaced(array, value):
    """Copy with one entry replaced."""
    array = array.copy()
    array.flat[1] = value
    return array


# name: (X, y, weights) of good rows -> arguments of fit; and a pattern of the message
BAD_DATA = {
    "NaN in X": (lambda X, y, s: (replaced(X, NAN), y), "NaN"),
    "infinity in X": (lambda X, y, s: (replaced(X, -INF), y), "infinity"),
    "NaN in y": (lambda X, y, s: (X, replaced(y, NAN)), "NaN"),
    "infinity in y": (lambda X, y, s: (X, replaced(y, INF)), "infinity"),
    "strings in X": (lambda X, y, s: ([["a", "b", "c"]] * len(y), y), "could not convert string"),
    "strings in y": (lambda X, y, s: (X, ["a"] * len(y)), "could not convert string|dtype"),
    "complex X": (lambda X, y, s: (X + 1j, y), "Complex data not supported"),
    "1-D X": (lambda X, y, s: (X[:, 0], y), "Expected 2D array"),
    "3-D X": (lambda X, y, s: (X[:, :, None], y), "dim"),
    "3-D y": (lambda X, y, s: (X, y[:, None, None]), "dim|shape"),
    "scalar y": (lambda X, y, s: (X, 1.0), "."),
    "y is None": (lambda X, y, s: (X, None), "requires y to be passed"),
    "too few y": (lambda X, y, s: (X, y[:-1]), "inconsistent numbers of samples"),
    "no rows": (lambda X, y, s: (X[:0], y[:0]), r"0 sample\(s\)"),
    "no columns": (lambda X, y, s: (X[:, :0], y), r"0 feature\(s\)"),
    "too few weights": (
        lambda X, y, s: (X, y, s[:-1]),
        "inconsistent numbers of samples|sample_weight.shape",
    ),
    "2-D weights": (lambda X, y, s: (X, y, np.column_stack([s, s])), "[Ss]ample.?weight"),
    "negative weight": (
        lambda X, y, s: (X, y, replaced(s, -0.1)),
        "Negative values in data passed to `sample_weight`",
    ),
    "NaN weight": (lambda X, y, s: (X, y, replaced(s, NAN)), "sample_weight.*NaN"),
    "infinite weight": (lambda X, y, s: (X, y, replaced(s, INF)), "sample_weight.*infinity"),
    "string weights": (lambda X, y, s: (X, y, ["a"] * len(y)), "could not convert string"),
}

# settings, and a pattern of the message
BAD_SETTINGS = [
    ({"learning_rate": 0.0}, "'learning_rate' parameter of GDLinearRegressor must be"),
    ({"learning_rate": -1.0}, "'learning_rate' parameter of GDLinearRegressor must be"),
    ({"learning_rate": None}, "'learning_rate' parameter of GDLinearRegressor must be"),
    ({"learning_rate": "fast"}, "'learning_rate' parameter of GDLinearRegressor must be"),
    ({"learning_rate": "constant"}, "schedule='constant'"),
    ({"learning_rate": "invscaling"}, "schedule='invscaling'"),
    ({"learning_rate": "adaptive"}, "schedule='adaptive'"),
    ({"learning_rate": "optimal"}, "learning_rate='auto'"),
    ({"batch_size": 0}, "'batch_size' parameter of GDLinearRegressor must be"),
    ({"batch_size": 1.5}, "'batch_size' parameter of GDLinearRegressor must be"),
    ({"batch_size": "all"}, "'batch_size' parameter of GDLinearRegressor must be"),
    ({"power_t": -0.1}, "'power_t' parameter of GDLinearRegressor must be"),
    ({"schedule": "cosine"}, "'schedule' parameter of GDLinearRegressor must be"),
    ({"max_iter": 0}, "'max_iter' parameter of GDLinearRegressor must be"),
    ({"tol": -1e-3}, "'tol' parameter of GDLinearRegressor must be"),
    ({"n_iter_no_change": 0}, "'n_iter_no_change' parameter of GDLinearRegressor must be"),
    ({"standardize": "yes"}, "'standardize' parameter of GDLinearRegressor must be"),
    ({"random_state": "seed"}, "'random_state' parameter of GDLinearRegressor must be"),
]

STATES = ["fresh", "fitted", "mid-stream"]


@pytest.fixture
def rows(rng):
    X = rng.normal(size=(30, 3))
    return X, X @ [1.0, -2.0, 0.5] + rng.normal(size=30)


@pytest.fixture(params=STATES)
def model(request, rows):
    """A model in each state that a call may find it in."""
    model = GDLinearRegressor(random_state=0, max_iter=3, tol=None)
    if request.param == "fitted":
        model.fit(*rows)
    elif request.param == "mid-stream":
        model.partial_fit(*rows)
    return model


def assert_raises_and_changes_nothing(state_of, model, call, match, error=ValueError):
    before = state_of(model)
    with pytest.raises(error, match=match):
        call()
    assert state_of(model) == before


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize(("spoil", "match"), BAD_DATA.values(), ids=BAD_DATA.keys())
def test_bad_data_raises_and_changes_nothing(model, rows, state_of, method, spoil, match):
    arguments = spoil(*rows, np.ones(30))
    assert_raises_and_changes_nothing(
        state_of, model, lambda: getattr(model, method)(*arguments), match, error=(ValueError, TypeError)
    )


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize(("params", "match"), BAD_SETTINGS, ids=[str(params) for params, _ in BAD_SETTINGS])
def test_bad_settings_raise_and_change_nothing(model, rows, state_of, method, params, match):
    """Also in the partial_fit of a fitted model, where scikit-learn's own decorator does not look."""
    model.set_params(**params)
    assert_raises_and_changes_nothing(state_of, model, lambda: getattr(model, method)(*rows), match)


@pytest.mark.parametrize(
    ("inits", "match"),
    [
        ({"coef_init": np.zeros(4)}, "coef_init"),
        ({"coef_init": np.zeros((2, 3))}, "coef_init"),
        ({"coef_init": [NAN, 0.0, 0.0]}, "coef_init"),
        ({"intercept_init": np.zeros(2)}, "intercept_init"),
        ({"intercept_init": INF}, "intercept_init"),
    ],
    ids=str,
)
def test_bad_start_raises_and_changes_nothing(model, rows, state_of, inits, match):
    assert_raises_and_changes_nothing(state_of, model, lambda: model.fit(*rows, **inits), match)


def test_all_zero_weights_raise_in_fit_and_change_nothing(model, rows, state_of):
    assert_raises_and_changes_nothing(
        state_of, model, lambda: model.fit(*rows, sample_weight=np.zeros(30)), "weight.*zero"
    )


def test_all_zero_weights_in_the_first_partial_fit_raise(rows, state_of):
    """There is no model yet that could stay as it is."""
    model = GDLinearRegressor()
    assert_raises_and_changes_nothing(
        state_of, model, lambda: model.partial_fit(*rows, sample_weight=np.zeros(30)), "weight.*zero"
    )


# --- a model meets other data ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", ["fit", "partial_fit"])
@pytest.mark.parametrize("d", [2, 4])
def test_other_number_of_features_raises(rows, state_of, first, d):
    X, y = rows
    model = getattr(GDLinearRegressor(max_iter=1, tol=None), first)(X, y)
    other = np.ones((30, d))
    match = f"X has {d} features, but GDLinearRegressor is expecting 3 features"
    for call in (
        lambda: model.partial_fit(other, y),
        lambda: model.predict(other),
        lambda: model.score(other, y),
    ):
        assert_raises_and_changes_nothing(state_of, model, call, match)


@pytest.mark.parametrize("first", ["fit", "partial_fit"])
@pytest.mark.parametrize(("k_before", "k_after"), [(1, 2), (3, 2), (3, 1)])
def test_other_number_of_targets_raises(rows, state_of, first, k_before, k_after):
    X, y = rows
    before, after = (y if k == 1 else np.column_stack([y] * k) for k in (k_before, k_after))
    model = getattr(GDLinearRegressor(max_iter=1, tol=None), first)(X, before)
    assert_raises_and_changes_nothing(state_of, model, lambda: model.partial_fit(X, after), f"target.*|.*{k_after}.*")


@pytest.mark.parametrize("first", ["fit", "partial_fit"])
@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_renamed_or_reordered_columns_raise(rows, state_of, first, library):
    frames = pytest.importorskip(library, reason=f"{library} is not installed: no {library} frames")
    X, y = rows
    frame = frames.DataFrame(dict(zip("abc", X.T, strict=True)))
    model = getattr(GDLinearRegressor(max_iter=1, tol=None), first)(frame, y)
    for names in ("abd", "bac"):
        other = frames.DataFrame(dict(zip(names, X.T, strict=True)))
        for call in (partial(model.partial_fit, other, y), partial(model.predict, other)):
            assert_raises_and_changes_nothing(state_of, model, call, "feature names should match")


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_rejected_frame_leaves_the_old_feature_names(rows, state_of, method):
    """Names are read before values are checked: a frame with a NaN must not rename the features."""
    pandas = pytest.importorskip("pandas", reason="pandas is not installed: no frames")
    X, y = rows
    for names, value, match in (("abc", NAN, "NaN"), ("xyz", NAN, "NaN|feature names")):
        for model in (
            GDLinearRegressor(),
            GDLinearRegressor(max_iter=1, tol=None).fit(pandas.DataFrame(X, columns=list("abc")), y),
        ):
            bad = pandas.DataFrame(replaced(X, value), columns=list(names))
            assert_raises_and_changes_nothing(state_of, model, partial(getattr(model, method), bad, y), match)


@pytest.mark.parametrize("method", ["predict", "score"])
def test_unfitted_model_says_so(rows, method):
    from sklearn.exceptions import NotFittedError

    with pytest.raises(NotFittedError, match="not fitted yet"):
        getattr(GDLinearRegressor(), method)(*rows[: 1 if method == "predict" else 2])


@pytest.mark.parametrize(("value", "match"), [(NAN, "NaN"), (INF, "infinity")])
def test_predict_rejects_what_is_not_finite(rows, state_of, value, match):
    X, y = rows
    model = GDLinearRegressor(max_iter=1, tol=None).fit(X, y)
    assert_raises_and_changes_nothing(state_of, model, lambda: model.predict(replaced(X, value)), match)
    model.coef_[...] = 0.0  # times infinity it is no number, of which NumPy warns: here that is an error
    assert_raises_and_changes_nothing(state_of, model, lambda: model.predict(replaced(X, value)), match)


# --- divergence ------------------------------------------------------------------------------------------------------

DIVERGING = [
    pytest.param({"standardize": False, "average": False}, id="plain"),
    pytest.param({"standardize": False, "average": True}, id="averaged"),
    pytest.param({"standardize": True, "average": False}, id="preconditioned"),
    pytest.param({"batch_size": None, "standardize": False}, id="full batch"),
    pytest.param({"batch_size": 1, "schedule": "invscaling", "power_t": 0.01, "standardize": False}, id="invscaling"),
    pytest.param({"fit_intercept": False, "standardize": False}, id="no intercept"),
    pytest.param({"schedule": "adaptive", "standardize": False}, id="adaptive"),
]


@pytest.mark.parametrize("params", DIVERGING)
@pytest.mark.parametrize("learning_rate", [20.0, 1e9, 1e300])
@pytest.mark.parametrize("tol", [1e-4, None])
def test_diverging_step_raises_and_names_the_cures(rng, state_of, params, learning_rate, tol):
    """Without any other warning, on the first fit and on a refit, which leaves the old model."""
    X = rng.normal(size=(200, 4))
    y = X @ [1.0, 2.0, 3.0, 4.0] + 5.0
    model = GDLinearRegressor(random_state=0, tol=tol, max_iter=100, **params)
    for refit in (False, True):
        if refit:
            model.set_params(learning_rate="auto", tol=None, max_iter=2).fit(X, y)
        model.set_params(learning_rate=learning_rate, tol=tol, max_iter=100)
        before = state_of(model)
        with pytest.raises(ValueError) as raised:
            model.fit(X, y)
        message = str(raised.value)
        assert "epoch" in message
        assert f"learning_rate={learning_rate:g}" in message
        assert "smaller" in message
        assert "learning_rate='auto'" in message or 'learning_rate="auto"' in message
        assert "standardize=True" in message
        assert state_of(model) == before


@pytest.mark.parametrize("params", DIVERGING)
def test_diverging_partial_fit_raises_and_leaves_the_model_as_it_was(rng, state_of, params):
    X = rng.normal(size=(200, 4))
    y = X @ [1.0, 2.0, 3.0, 4.0] + 5.0
    model = GDLinearRegressor(random_state=0, learning_rate=0.01, **params).partial_fit(X, y)
    model.set_params(learning_rate=50.0)
    # one pass of few updates may stay finite, the next ones cannot: every call before the raising one is a good one
    for _ in range(100):
        before = state_of(model)
        try:
            model.partial_fit(X, y)
        except ValueError as error:
            message = str(error)
            break
    else:
        pytest.fail("100 passes with a diverging step raised nothing")
    assert state_of(model) == before
    assert "learning_rate=50" in message
    assert "smaller" in message
    assert np.isfinite(model.predict(X)).all()


def test_divergence_over_many_warm_starts_raises_too(rng):
    X = rng.normal(size=(50, 3))
    y = X @ [1.0, 2.0, 3.0] + rng.normal(size=50)
    step = 2.4 / np.linalg.eigvalsh(X.T @ X / 50)[-1]
    params = dict(standardize=False, average=False, fit_intercept=False, batch_size=None, max_iter=1, tol=None)
    model = GDLinearRegressor(learning_rate=step, warm_start=True, **params)
    with pytest.raises(ValueError, match="diverged"):
        for _ in range(30):
            model.fit(X, y)
    assert np.isfinite(model.coef_).all()


def test_a_stable_step_is_never_called_divergent(rng):
    """A noisy but stable descent, and one that starts far away."""
    X = rng.normal(size=(200, 3))
    y = X @ [1.0, 2.0, 3.0] + 10 * rng.normal(size=200)
    settings = dict(standardize=False, average=False, tol=None, max_iter=30, random_state=0)
    GDLinearRegressor(learning_rate=0.1, batch_size=1, **settings).fit(X, y)
    far = GDLinearRegressor(learning_rate=0.1, **settings).fit(X, y, coef_init=[1e6, -1e6, 1e6], intercept_init=1e6)
    assert far.score(X, y) > 0.0


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt])
def test_interrupt_leaves_a_usable_model(rows, interrupt):
    """An interrupt inside fit propagates and never leaves half a state: either the old model or none."""
    X, y = rows

    class Interrupting(np.random.RandomState):
        def randint(self, *args, **kwargs):
            raise interrupt

    model = GDLinearRegressor(max_iter=1, tol=None, random_state=0).fit(X, y)
    expected = model.predict(X)
    model.set_params(random_state=Interrupting(0))
    with pytest.raises(interrupt):
        model.fit(X, y)
    np.testing.assert_array_equal(model.predict(X), expected)


# --- what does not fit the dtype or the shape -----------------------------------------------------------------------


def test_float64_chunks_that_float32_cannot_hold_are_refused(rng, state_of):
    X = rng.normal(size=(50, 3))
    y = X @ [1.0, 2.0, 3.0]
    model = GDLinearRegressor(random_state=0).partial_fit(X.astype("f4"), y)
    before = state_of(model)
    for bad_X, bad_y in ((X, np.where(np.arange(50) == 7, 1e39, y)), (X * 1e39, y)):
        with pytest.raises(ValueError, match="float32"):
            model.partial_fit(bad_X, bad_y)
        assert state_of(model) == before


@pytest.mark.parametrize(("X_factor", "y_factor"), [(1e300, 1.0), (1.0, 1e300)])
def test_validation_rows_that_float32_cannot_hold_are_refused(rng, X_factor, y_factor):
    X = rng.normal(size=(50, 3))
    y = X @ [1.0, 2.0, 3.0]
    with pytest.raises(ValueError, match="(?s)validation set.*float32"):
        GDLinearRegressor().fit(X.astype("f4"), y, X_val=X * X_factor, y_val=y * y_factor)


@pytest.mark.parametrize(("dtype", "weight"), [("f4", 1e-50), ("f4", 1e40), ("f8", 1e307)])
def test_weights_out_of_range_are_refused(rng, dtype, weight):
    X = rng.normal(size=(50, 3)).astype(dtype)
    with pytest.raises(ValueError, match="sample_weight.*divide them by their mean"):
        GDLinearRegressor().fit(X, X[:, 0], sample_weight=np.full(50, weight))


def test_a_transposed_start_is_refused(rng):
    X = rng.normal(size=(50, 3))
    with pytest.raises(ValueError, match=r"coef_init.*shape \(2, 3\); got shape \(3, 2\)"):
        GDLinearRegressor().fit(X, X[:, :2], coef_init=np.zeros((3, 2)))


@pytest.mark.parametrize("learning_rate", [1e6, 1e200])
def test_a_first_chunk_that_diverges_raises(rng, learning_rate):
    X = rng.normal(size=(200, 4))
    model = GDLinearRegressor(learning_rate=learning_rate, standardize=False, average=False, batch_size=None)
    with pytest.raises(ValueError, match="diverged"):
        model.partial_fit(X, X @ [1.0, 2.0, 3.0, 4.0])
    assert not hasattr(model, "coef_")


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_no_intercept_is_left_when_none_is_wanted_any_more(rng, method):
    X = rng.normal(size=(200, 2))
    y = X @ [1.0, 2.0] + 5.0
    model = GDLinearRegressor(random_state=0, warm_start=True).fit(X, y)
    getattr(model.set_params(fit_intercept=False), method)(X, y)
    assert model.intercept_ == 0.0


def test_a_warm_start_keeps_what_is_not_given_anew(rng):
    X = rng.normal(size=(50, 2))
    y = X @ [1.0, 2.0] + 5.0
    plain = dict(standardize=False, average=False, learning_rate=1e-300, max_iter=1, tol=None, warm_start=True)
    model = GDLinearRegressor(**plain).fit(X, y, coef_init=[3.0, 4.0], intercept_init=7.0)
    model.fit(X, y, intercept_init=8.0)
    assert (*model.coef_, model.intercept_) == (3.0, 4.0, 8.0)
    model.fit(X, y, coef_init=[1.0, 2.0])
    assert (*model.coef_, model.intercept_) == (1.0, 2.0, 8.0)


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_sparse_targets_are_refused_with_the_cure(method):
    for y in (csr_array(np.ones((4, 1))), coo_array(np.ones(4))):
        with pytest.raises(TypeError, match=r"y must be dense.*toarray"):
            getattr(GDLinearRegressor(), method)(np.eye(4), y)


@pytest.mark.skipif(coo_array(np.ones(4)).ndim != 1, reason="this SciPy has no sparse arrays of one dimension")
@pytest.mark.parametrize("method", ["fit", "partial_fit", "predict"])
def test_sparse_rows_of_one_dimension_are_refused_with_the_cure(method):
    model = GDLinearRegressor(random_state=0).fit(np.eye(4), np.arange(4.0))
    given = (coo_array(np.ones(4)),) if method == "predict" else (coo_array(np.ones(4)), np.ones(4))
    with pytest.raises(ValueError, match=r"2-dimensional.*\(4,\).*reshape"):
        getattr(model, method)(*given)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["X", "y"])
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_what_is_not_finite_is_named_also_where_it_is_assumed_finite(method, name, value):
    X, y = np.eye(4), np.arange(4.0)
    (X if name == "X" else y).flat[0] = value
    with config_context(assume_finite=True), pytest.raises(ValueError, match=f"{name} contains (NaN|infinity)"):
        getattr(GDLinearRegressor(), method)(X, y)


@pytest.mark.parametrize(("n", "fraction"), [(2, 0.1), (5, 0.9)])
def test_a_validation_set_that_leaves_one_row_to_train_on_is_refused(n, fraction):
    X = np.arange(float(n))[:, None]
    with pytest.raises(ValueError, match=rf"2 rows to train on: got n_samples={n}.*validation_fraction={fraction:g}"):
        GDLinearRegressor(early_stopping=True, validation_fraction=fraction).fit(X, X[:, 0])


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_target_that_is_nan_in_a_row_without_weight_or_held_out_is_refused(order):
    """Whether X needs a conversion or not; without this, a validation loss would be NaN in every epoch."""
    X, y = np.array(np.random.default_rng(0).normal(size=(40, 2)), order=order), np.arange(40.0)
    weight = np.ones(40)
    y[5], weight[5] = np.nan, 0.0
    model = GDLinearRegressor(random_state=0)
    for call in (lambda: model.fit(X, y, weight), lambda: model.partial_fit(X, y, weight)):
        with pytest.raises(ValueError, match="Input y contains NaN"):
            call()
    for seed in range(8):
        with pytest.raises(ValueError, match="Input y contains NaN"):
            GDLinearRegressor(random_state=seed, early_stopping=True).fit(X, y)
