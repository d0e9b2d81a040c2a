"""partial_fit: one pass over a chunk, in mini-batches, with everything carried on from call to call."""

import copy
import pickle
import subprocess
import sys
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.linear_model import LinearRegression

from sk_gdlinear import GDLinearRegressor

PLAIN = dict(standardize=False, average=False, learning_rate=1e-3)  # stable for single rows of make_rows


def make_rows(rng, n, d=3, k=None):
    """Rows of mixed units with noise; y is 1-D unless k is given."""
    X = rng.normal(size=(n, d)) * np.geomspace(0.1, 10.0, d) + 5.0
    y = X @ rng.normal(size=(d, k or 1)) / np.geomspace(0.1, 10.0, d).mean() + rng.normal(size=(n, k or 1))
    return X, y if k else y[:, 0]


def stream(model, X, y, chunk):
    for start in range(0, len(X), chunk):
        model.partial_fit(X[start : start + chunk], y[start : start + chunk])
    return model


def assert_same_bits(model, other):
    assert_array_equal(model.coef_, other.coef_)
    assert_array_equal(model.intercept_, other.intercept_)
    assert model.t_ == other.t_
    assert model.learning_rate_ == other.learning_rate_


# --- carried on ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("average", [False, True])
@pytest.mark.parametrize("schedule", ["constant", "invscaling"])
@pytest.mark.parametrize("chunk", [4, 20, 60])
@pytest.mark.parametrize("k", [None, 3])
def test_chunks_of_whole_batches_equal_one_epoch_of_fit(rng, average, schedule, chunk, k):
    """Iterate, average and update number go on where the chunk before left them."""
    X, y = make_rows(rng, 60, k=k)
    settings = PLAIN | dict(average=average, schedule=schedule, batch_size=4, shuffle=False)
    whole = GDLinearRegressor(max_iter=1, tol=None, **settings).fit(X, y)
    assert_same_bits(stream(GDLinearRegressor(**settings), X, y, chunk), whole)


@pytest.mark.parametrize("params", [{"precondition": False}, {"loss": "huber"}, PLAIN])
@pytest.mark.parametrize("batch_size", [1, 7, None])
def test_update_counter_goes_on(rng, params, batch_size):
    X, y = make_rows(rng, 20)
    model = GDLinearRegressor(batch_size=batch_size, **params)
    for call in range(1, 4):
        assert model.partial_fit(X, y).t_ == call * -(-20 // (batch_size or 20))


def test_a_step_in_the_metric_of_all_remembered_rows_is_one_update(rng):
    X, y = make_rows(rng, 20)
    model = GDLinearRegressor()
    for call in range(1, 4):
        assert model.partial_fit(X, y).t_ == call
        assert model.learning_rate_ == 1.0


def test_partial_fit_goes_on_from_fit(rng):
    X, y = make_rows(rng, 40)
    settings = PLAIN | dict(batch_size=8, shuffle=False)
    model = GDLinearRegressor(max_iter=2, tol=None, **settings).fit(X, y)
    model.partial_fit(X, y)
    assert_same_bits(model, GDLinearRegressor(max_iter=3, tol=None, **settings).fit(X, y))


def test_partial_fit_after_fit_does_not_undo_it(rng, seed):
    """With the defaults a converged model stays where it is on more of the same data."""
    X, y = make_rows(rng, 2_000)
    model = GDLinearRegressor(random_state=seed).fit(X[:1_000], y[:1_000])
    fitted = model.score(X, y)
    model.partial_fit(X[1_000:], y[1_000:])
    assert model.score(X, y) >= fitted - 0.01
    assert model.coef_.shape == (3,)


@pytest.mark.parametrize("params", [{}, PLAIN])
def test_fit_after_partial_fit_starts_afresh(rng, seed, params):
    X, y = make_rows(rng, 100)
    settings = dict(params, max_iter=3, tol=None, random_state=seed)
    model = stream(GDLinearRegressor(**settings), X * 3 + 1, -y, 10).fit(X, y)
    fresh = GDLinearRegressor(**settings).fit(X, y)
    assert_same_bits(model, fresh)
    assert (model.n_iter_, model.loss_curve_, model.stop_reason_) == (
        3,
        fresh.loss_curve_,
        fresh.stop_reason_,
    )
    # and so does the stream after it
    assert_same_bits(model.partial_fit(X, y), fresh.partial_fit(X, y))


def test_fit_after_partial_fit_may_change_the_number_of_features_and_targets(rng):
    model = GDLinearRegressor(max_iter=1, tol=None).partial_fit(*make_rows(rng, 20))
    model.fit(*make_rows(rng, 20, d=5, k=2))
    assert (model.coef_.shape, model.n_features_in_) == ((2, 5), 5)


@pytest.mark.parametrize("copier", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
@pytest.mark.parametrize(
    "params", [{}, {"window": 40}, {"penalty": "l1"}, {"precondition": False}, {"loss": "quantile"}, PLAIN], ids=str
)
@pytest.mark.parametrize("random_state", [0, None])
def test_pickling_in_mid_stream_changes_no_bit(rng, copier, params, random_state):
    X, y = make_rows(rng, 90)
    model = GDLinearRegressor(random_state=random_state, batch_size=8, **params)
    model.partial_fit(X[:30], y[:30])
    twin = copier(model)
    for chunk in (slice(30, 60), slice(60, 90)):
        assert_same_bits(model.partial_fit(X[chunk], y[chunk]), twin.partial_fit(X[chunk], y[chunk]))


@pytest.mark.parametrize("k", [None, 3])
def test_reordering_coef_in_memory_does_not_disturb_the_stream(rng, k):
    X, y = make_rows(rng, 40, k=k)
    model = GDLinearRegressor(random_state=0).partial_fit(X, y)
    twin = copy.deepcopy(model)
    twin.coef_ = np.asfortranarray(twin.coef_)
    assert_same_bits(model.partial_fit(X, y), twin.partial_fit(X, y))


# --- a first call and small chunks -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "params", [{}, PLAIN, {"precondition": False}, {"loss": "huber"}, {"fit_intercept": False}, {"batch_size": None}]
)
def test_first_call_needs_no_fit_and_one_row_is_enough(params):
    model = GDLinearRegressor(**params).partial_fit([[1.0, 2.0]], [3.0])
    assert np.isfinite(model.predict([[1.0, 2.0]])).all()
    assert (model.t_, model.n_features_in_) == (1, 2)


def test_one_row_at_a_time_learns(rng, seed):
    X, y = make_rows(rng, 3_000)
    model = stream(GDLinearRegressor(precondition=False, random_state=seed), X, y, 1)
    assert model.t_ == 3_000
    # no step is averaged over rows and the statistics start from a single one: less is promised than for chunks
    assert model.score(X, y) >= LinearRegression().fit(X, y).score(X, y) - 0.05


@pytest.mark.parametrize("params", [{}, {"precondition": False}])
@pytest.mark.parametrize("chunk", [100, 1_000, 7_777])
def test_one_pass_in_chunks_is_nearly_enough(rng, seed, chunk, params):
    X = rng.normal(size=(20_000, 10))
    y = X @ rng.normal(size=10) + rng.normal(size=20_000) + 4.0
    model = stream(GDLinearRegressor(random_state=seed, **params), X, y, chunk)
    assert model.score(X, y) >= LinearRegression().fit(X, y).score(X, y) - 0.005


@pytest.mark.parametrize("params", [{}, {"precondition": False}])
@pytest.mark.parametrize("chunk", [100, 1_000])
def test_raw_units_do_not_hinder_the_stream(rng, seed, chunk, params):
    X = rng.normal(size=(20_000, 5)) * np.geomspace(1e-6, 1e6, 5) + np.geomspace(1e-5, 1e7, 5)
    y = X @ (rng.normal(size=5) / np.geomspace(1e-6, 1e6, 5)) + rng.normal(size=20_000)
    model = stream(GDLinearRegressor(random_state=seed, **params), X, y, chunk)
    # exact least squares, on columns that LinearRegression's rank decision does not drop
    Z = (X - X.mean(axis=0)) / X.std(axis=0)
    assert model.score(X, y) >= LinearRegression().fit(Z, y).score(Z, y) - 0.01


def test_column_that_wakes_up_late_does_no_harm(rng, seed):
    """A category unseen in the first half of the stream, then rare: its scale and step were never learnt."""
    X = np.column_stack([rng.normal(size=(10_000, 3)), np.zeros(10_000)])
    X[5_000::500, 3] = 1.0
    y = X @ [1.0, -2.0, 0.5, 30.0] + rng.normal(size=10_000)
    model = stream(GDLinearRegressor(precondition=False, random_state=seed), X, y, 500)
    others = LinearRegression().fit(X[:, :3], y).score(X[:, :3], y)
    assert model.score(X, y) >= others - 0.005


def test_sudden_change_of_units_stays_finite_and_recovers(rng, seed):
    """The data move by a factor of 1e6 in mid-stream: no overflow, no warning, and one pass learns the new rows."""
    X, y = make_rows(rng, 4_000)
    model = stream(GDLinearRegressor(precondition=False, random_state=seed), X[:2_000], y[:2_000], 200)
    for _ in range(3):
        stream(model, X * 1e6, y, 200)
        assert np.isfinite(model.coef_).all() and np.isfinite(model.intercept_)
    assert model.score(X * 1e6, y) >= LinearRegression().fit(X, y).score(X, y) - 0.005


# --- bookkeeping -----------------------------------------------------------------------------------------------------


def test_partial_fit_never_warns_of_convergence(rng):
    X, y = make_rows(rng, 10)
    model = GDLinearRegressor(max_iter=1, tol=0.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(3):
            model.partial_fit(X, y)
    assert model.stop_reason_ is None


def test_max_iter_and_tol_do_not_limit_the_stream(rng):
    X, y = make_rows(rng, 10)
    settings = PLAIN | dict(shuffle=False)
    limited = GDLinearRegressor(max_iter=1, tol=1e6, **settings)
    free = GDLinearRegressor(max_iter=1_000, tol=None, **settings)
    for _ in range(3):
        assert_same_bits(limited.partial_fit(X, y), free.partial_fit(X, y))


def test_each_call_is_one_epoch(rng):
    X, y = make_rows(rng, 10)
    model = GDLinearRegressor()
    for call in range(1, 4):
        model.partial_fit(X, y)
        assert model.n_iter_ == 1
        assert len(model.loss_curve_) == call


@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_a_step_of_the_users_that_diverges_is_seen_whatever_the_offset_of_y(rng, offset):
    X = rng.normal(size=(2_000, 5))
    y = offset + X @ rng.normal(size=5) + 0.1 * rng.normal(size=2_000)
    plain = dict(standardize=False, average=False, random_state=0)
    with pytest.raises(ValueError, match="diverged"):
        stream(GDLinearRegressor(learning_rate=2.0, **plain), X, y, 100)
    for step in (0.5, 0.01):  # from 0 the offset is far away, and even a small step learns it
        model = GDLinearRegressor(learning_rate=step, **plain)
        for _ in range(30):
            stream(model, X, y, 100)
        assert model.score(X, y) > 0.95


def test_loss_curve_holds_each_chunk_s_objective(rng):
    X, y = make_rows(rng, 40)
    model = GDLinearRegressor(**PLAIN, batch_size=4)
    for chunk in (slice(0, 15), slice(15, 40)):
        model.partial_fit(X[chunk], y[chunk])
        expected = ((model.predict(X[chunk]) - y[chunk]) ** 2).mean() / 2
        assert_allclose(model.loss_curve_[-1], expected, rtol=1e-12)


def test_warm_fit_runs_up_to_max_iter_and_counts_its_own_epochs(rng):
    X, y = make_rows(rng, 40)
    settings = dict(precondition=False, tol=None, random_state=0)
    model = GDLinearRegressor(warm_start=True, max_iter=5, **settings).fit(X, y)
    assert (model.n_iter_, model.t_) == (5, 10)
    model.set_params(max_iter=3).fit(X, y)
    assert (model.n_iter_, model.t_) == (3, 16)


def test_cold_fit_forgets(rng, seed):
    X, y = make_rows(rng, 40)
    model = GDLinearRegressor(max_iter=5, tol=None, random_state=seed)
    first = copy.deepcopy(model.fit(X, y))
    assert_same_bits(model.fit(X, y), first)


GO_ON = """
import pickle, sys
models, chunks = pickle.load(sys.stdin.buffer)
for model in models:
    for X, y in chunks:
        model.partial_fit(X, y)
sys.stdout.buffer.write(pickle.dumps(models))
"""


def test_another_process_goes_on_with_the_same_bits(rng, seed):
    X, y = make_rows(rng, 300)
    chunks = [(X[start : start + 50], y[start : start + 50]) for start in range(0, 300, 50)]
    settings = ({}, {"window": 70}, PLAIN, {"schedule": "invscaling"})
    here, moved = ([GDLinearRegressor(random_state=seed, **params) for params in settings] for _ in range(2))
    for model in here + moved:
        for chunk in chunks[:3]:
            model.partial_fit(*chunk)
    sent = pickle.dumps((moved, chunks[3:]))
    moved = pickle.loads(
        subprocess.run([sys.executable, "-c", GO_ON], input=sent, capture_output=True, check=True).stdout
    )
    for model, other in zip(here, moved, strict=True):
        for chunk in chunks[3:]:
            model.partial_fit(*chunk)
        assert_same_bits(other, model)
        assert other.loss_curve_ == model.loss_curve_
        assert_same_bits(other.partial_fit(X, y), model.partial_fit(X, y))  # the next row order too


@pytest.mark.parametrize("quantile", [0.1, 0.5, 0.9])
def test_equal_targets_are_predicted_exactly_and_left_when_others_come(rng, quantile):
    """Of which nothing says over what width the kink of the quantile is to be smoothed."""
    X = rng.normal(size=(3_000, 2))
    y = np.ones(3_000)
    y[500:] += 1e-3 * rng.normal(size=2_500)
    model = GDLinearRegressor("quantile", quantile=quantile, random_state=0)
    stream(model, X[:500], 1e6 * y[:500], 100)
    assert_array_equal(model.predict(X), np.full(3_000, 1e6))
    assert_array_equal(GDLinearRegressor(**model.get_params()).fit(X[:500], y[:500]).predict(X), np.ones(3_000))
    model = stream(GDLinearRegressor("quantile", quantile=quantile, random_state=0), X, y, 100)
    assert np.abs(model.predict(X) - np.quantile(y, quantile)).max() < 1e-3


@pytest.mark.parametrize("penalty", ["l1", "l2", "elasticnet"])
@pytest.mark.parametrize("alpha", [0.0, [1.0, 0.0], [0.0, 1.0]])
def test_no_penalty_of_a_column_of_zeros_is_no_obstacle(penalty, alpha):
    X, y = np.array([[1.0, 0.0], [2.0, 0.0]]), np.array([1.0, 2.0])
    fitted = GDLinearRegressor(penalty=penalty, alpha=alpha, random_state=0).fit(X, y)
    model = GDLinearRegressor(penalty=penalty, alpha=alpha).partial_fit(X, y)
    assert_allclose(model.coef_, fitted.coef_, atol=1e-6)
