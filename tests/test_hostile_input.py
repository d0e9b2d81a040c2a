"""What fuzzing found: input that crashed the interpreter, left a trace or was misread; and memory over many fits."""

import gc
import os
import sys

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy import sparse

from sk_gdlinear import GDLinearRegressor

# From a valid matrix of 3 x 2 to arrays that are none.
BREAKS = {
    "index outside": lambda X: X.indices.__setitem__(0, 10**8),
    "negative index": lambda X: X.indices.__setitem__(0, -(10**8)),
    "pointers fall": lambda X: X.indptr.__setitem__(1, 10**8),
    "pointer is negative": lambda X: X.indptr.__setitem__(1, -5),
    "pointer beyond the end": lambda X: X.indptr.__setitem__(-1, 10**8),
}


@pytest.mark.parametrize("spoil", BREAKS.values(), ids=BREAKS.keys())
@pytest.mark.parametrize("kind", ["csr", "csc", "bsr"])
@pytest.mark.parametrize("dtype", ["f8", "i4"])  # converting the type of broken rows crashes in scipy
@pytest.mark.parametrize("empty", [False, True])
def test_broken_sparse_arrays_raise_before_anything_reads_them(state_of, empty, dtype, kind, spoil):
    y = np.arange(3.0)
    good = sparse.csr_array(np.zeros((3, 2)) if empty else np.arange(1, 7).reshape(3, 2)).astype(dtype)
    model = GDLinearRegressor(max_iter=1, tol=None).fit(good, y)
    bad = good.asformat(kind)
    if empty and spoil.__code__.co_names[0] == "indices":
        pytest.skip("no index to break")
    spoil(bad)
    before = state_of(model)
    for call in (
        lambda: model.fit(bad, y),
        lambda: model.partial_fit(bad, y),
        lambda: model.predict(bad),
        lambda: model.score(bad, y),
        lambda: model.fit(good, y, X_val=bad, y_val=y),
    ):
        with pytest.raises(ValueError, match=f"X is no valid {kind.upper()} matrix of shape .*Build it from"):
            call()
        assert state_of(model) == before


def test_broken_coordinates_raise():
    bad = sparse.coo_array(np.eye(3))
    bad.row[0] = 10**8
    with pytest.raises(ValueError, match="X is no valid COO matrix"):
        GDLinearRegressor().fit(bad, np.arange(3.0))


@pytest.mark.parametrize("name", ["coef_init", "intercept_init"])
def test_complex_start_raises(name):
    start = {"coef_init": np.ones(1, dtype=complex), "intercept_init": 1j}[name]
    with pytest.raises(ValueError, match=f"{name} must be real"):
        GDLinearRegressor().fit([[0.0], [1.0]], [0.0, 1.0], **{name: start})


@pytest.mark.parametrize("name", ["X", "y"])
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_values_whose_sums_have_no_number_raise(state_of, method, name):
    X, y = np.array([[1.0], [2.0], [3.0]]), np.array([1.0, 2.0, 3.0])
    model = GDLinearRegressor(random_state=0).fit(X, y)
    before = state_of(model)
    large = {"X": X, "y": y, name: np.full_like(X if name == "X" else y, 1.7e308)}
    with pytest.raises(ValueError, match=f"{name} contains values whose sums are too large"):
        getattr(model, method)(large["X"], large["y"])
    assert state_of(model) == before


def test_squares_without_a_number_raise_where_nothing_is_conditioned():
    X = np.array([[1e200], [2e200], [3e200]])
    with pytest.raises(ValueError, match="squares have no number.*Use standardize=True"):
        GDLinearRegressor(standardize=False).fit(X, [1.0, 2.0, 3.0])
    assert GDLinearRegressor(random_state=0).fit(X, [1.0, 2.0, 3.0]).score(X, [1.0, 2.0, 3.0]) > 0.99


@pytest.mark.parametrize(
    "params", [{}, {"loss": "huber"}, {"loss": "quantile"}, {"penalty": "l1"}, {"batch_size": None}]
)
def test_targets_whose_squares_have_no_number_are_fitted_without_warnings(params):
    X = np.linspace(0.0, 1.0, 40)[:, None]
    model = GDLinearRegressor(random_state=0, tol=None, max_iter=20, **params).fit(X, 1e300 * X[:, 0])
    assert np.isfinite(model.coef_).all() and np.isfinite(model.intercept_)


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("fit", {}),
        ("fit", {"standardize": False}),
        ("fit", {"early_stopping": True}),
        ("partial_fit", {}),
        ("partial_fit", {"standardize": False}),
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore:After .* epochs the training objective was above that of predicting the mean")
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize(
    ("size", "dtype"), [(1e281, "f8"), (1e-306, "f8"), (1e-310, "f8"), (5e-324, "f8"), (1e-44, "f4")]
)
def test_quantiles_of_targets_whose_squares_or_inverses_have_no_number(rng, size, dtype, fit_intercept, params, method):
    """The loss of large errors has no number, and neither has the slope of a kink as narrow as small ones."""
    X, y = rng.normal(size=(40, 2)), (size * rng.normal(size=40)).astype(dtype)
    model = GDLinearRegressor("quantile", fit_intercept=fit_intercept, random_state=0, tol=None, max_iter=20, **params)
    prediction = getattr(model, method)(X.astype(dtype), y).predict(X.astype(dtype))
    assert np.isfinite(model.coef_).all() and not np.isnan(model.loss_curve_).any()
    assert np.abs(prediction).max() <= 2.0 * np.abs(y).max() + 1e-305  # about the narrowest kink


def test_failed_fit_leaves_the_user_s_random_state_where_it_was():
    X, y = np.arange(20.0).reshape(10, 2), np.arange(10.0)
    random_state = np.random.RandomState(3)
    model = GDLinearRegressor(random_state=random_state, learning_rate=1e9, standardize=False)
    with pytest.raises(ValueError, match="diverged"):
        model.fit(X, y)
    assert_array_equal(random_state.get_state()[1], np.random.RandomState(3).get_state()[1])
    assert random_state.get_state()[2] == np.random.RandomState(3).get_state()[2]


FITS = int(os.environ.get("SK_GDLINEAR_MEMORY_FITS", "300"))


@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_memory_does_not_grow_with_the_number_of_fits(rng, kind):
    """``SK_GDLINEAR_MEMORY_FITS=10000`` makes more of them."""
    X = rng.normal(size=(40, 3))
    X, y = sparse.csr_array(X) if kind == "sparse" else X, X[:, 0] + 1.0

    def fits(n):
        for i in range(n):
            model = GDLinearRegressor(max_iter=2, tol=None, random_state=0, penalty=[None, "l1"][i % 2]).fit(X, y)
            model.partial_fit(X, y).predict(X)
            with pytest.raises(ValueError, match="NaN"):
                model.fit(np.full((4, 3), np.nan), y[:4])
        gc.collect()

    fits(100)  # until free lists and caches are full
    resident, blocks = resident_bytes(), sys.getallocatedblocks()
    fits(FITS)
    # A model left behind takes dozens of blocks; caches take some hundred in all.
    assert sys.getallocatedblocks() - blocks < 3 * FITS
    if resident is not None:  # what the kernels allocate is no block of Python's
        assert resident_bytes() - resident < 8 << 20


def resident_bytes():
    """Memory of this process, or None where the system does not say."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return None


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize("params", [{"positive": True}, {"penalty": "l1"}, {"penalty": "l2", "alpha": 1e-300}], ids=str)
def test_weights_without_squares_under_a_penalty_have_diverged(params, method):
    X = np.array([[1.0], [-1.0]])
    model = GDLinearRegressor(learning_rate=1e300, average=False, **params)
    with pytest.raises(ValueError, match="diverged"):
        getattr(model, method)(X, X[:, 0])


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_an_objective_without_a_number_has_diverged(method):
    """Weights of 1e299 after the only update, which was made at a small loss."""
    X, y = np.array([[0.1], [-0.1], [0.6], [0.1], [-0.5]]), np.array([1e88, -1e246, 64.0, 1e62, -5e281])
    with pytest.raises(ValueError, match="diverged"):
        getattr(GDLinearRegressor(learning_rate=1e300, random_state=0), method)(X, y)


def test_a_step_too_large_for_a_float_is_refused(rng):
    X = rng.normal(size=(5, 2))
    with pytest.raises(ValueError, match="learning_rate must be a float"):
        GDLinearRegressor(learning_rate=10**400).fit(X, X[:, 0])
