"""partial_fit with sparse rows of very many columns: the cost and the memory are those of the entries."""

import copy
import pickle
import tracemalloc

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_array

import sk_gdlinear
from sk_gdlinear import GDLinearRegressor
from sk_gdlinear._descent.averaging import averaging_weight, kept_share
from sk_gdlinear._fit.wide_stream import CHECKED_COLUMNS

WIDE = 1 << 14
PLAIN = dict(standardize=False, average=False, learning_rate=0.05)

SETTINGS = [
    {},
    {"average": False},
    {"loss": "huber"},
    {"loss": "quantile"},
    {"fit_intercept": False},
    {"window": 40},
    {"batch_size": None},
    {"precondition": False},
    {"standardize": True, "learning_rate": 0.01},
    PLAIN,
]


def hashed_rows(rng, n=200, d=WIDE, entries=8, words=50, k=None, noise=0.1):
    """Rows of a few words each, hashed to ``d`` columns, y, 1-D unless k is given, and the columns of the words."""
    places = np.sort(rng.choice(d, words, replace=False))
    used = np.stack([np.sort(rng.choice(words, entries, replace=False)) for _ in range(n)])
    values = rng.normal(size=(n, entries)) + 2.0
    X = csr_array((values.ravel(), places[used].ravel(), np.arange(0, n * entries + 1, entries)), shape=(n, d))
    Y = X[:, places] @ rng.normal(size=(words, k or 1)) + 3.0 + noise * rng.normal(size=(n, k or 1))
    return X, (Y if k else Y[:, 0]), places


def stream(model, X, y, chunk, weight=None):
    for start in range(0, X.shape[0], chunk):
        rows = slice(start, start + chunk)
        model.partial_fit(X[rows], y[rows], None if weight is None else weight[rows])
    return model


def fitted(model):
    """Everything that a call may change, copied."""
    return copy.deepcopy({name: value for name, value in vars(model).items() if name != "random_state"})


def assert_same(one, other):
    assert pickle.dumps(one) == pickle.dumps(other)


def is_wide(model):
    return "wide" in model._state


# --- the same answers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("params", SETTINGS, ids=str)
@pytest.mark.parametrize("k", [None, 3])
@pytest.mark.parametrize("chunk", [1, 30, 200])
def test_empty_columns_change_no_bit(rng, params, k, chunk):
    narrow, y, _ = hashed_rows(rng, d=600, k=k)
    wide = csr_array((narrow.data, narrow.indices + 5_000, narrow.indptr), shape=(200, WIDE))
    ours, same = (stream(GDLinearRegressor(random_state=0, **params), rows, y, chunk) for rows in (wide, narrow))
    assert is_wide(ours) and is_wide(same)
    assert_array_equal(np.atleast_2d(ours.coef_)[:, 5_000:5_600], np.atleast_2d(same.coef_))
    assert_array_equal(ours.intercept_, same.intercept_)
    assert (np.count_nonzero(ours.coef_), ours.t_) == (np.count_nonzero(same.coef_), same.t_)


@pytest.mark.parametrize("k", [None, 2])
def test_plain_descent_is_that_of_the_definition(rng, k):
    X, y, _ = hashed_rows(rng, d=1_000, k=k)
    dense, Y = X.toarray(), y.reshape(200, -1)
    W, b = np.zeros((Y.shape[1], 1_000)), np.zeros(Y.shape[1])
    model = GDLinearRegressor(**PLAIN | {"learning_rate": 0.003}, batch_size=4, shuffle=False)
    for start in range(0, 200, 20):
        rows = slice(start, start + 20)
        model.partial_fit(X[rows], y[rows])
        for batch in range(start, start + 20, 4):
            x, target = dense[batch : batch + 4], Y[batch : batch + 4]
            G = (x @ W.T + b - target) / 4
            W, b = W - 0.003 * G.T @ x, b - 0.003 * G.sum(axis=0)
    assert is_wide(model)
    assert_allclose(np.atleast_2d(model.coef_), W, rtol=1e-10, atol=1e-13)
    assert_allclose(model.intercept_, b if k else b[0], rtol=1e-10)


@pytest.mark.parametrize("params", SETTINGS, ids=str)
def test_columns_without_an_entry_keep_coefficient_zero(rng, params):
    X, y, _ = hashed_rows(rng)
    model = stream(GDLinearRegressor(random_state=0, **params), X, y, 7)
    assert set(np.flatnonzero(model.coef_)) <= set(X.indices)
    assert is_wide(model)


@pytest.mark.parametrize("chunk", [1, 50, 2_000])
def test_a_stream_without_noise_is_learnt(rng, seed, chunk):
    X, y, places = hashed_rows(rng, 4_000, noise=0.0)
    model = stream(GDLinearRegressor(random_state=seed), X[:3_000], y[:3_000], chunk)
    for _ in range(4):
        stream(model, X[:3_000], y[:3_000], chunk)
    assert model.score(X[3_000:], y[3_000:]) > 0.999


def test_dense_columns_of_large_offset_are_learnt_among_the_others(rng, seed):
    X, y, _ = hashed_rows(rng, 3_000)
    years = 2_000.0 + 5.0 * rng.normal(size=3_000)
    full = csr_array((years, np.zeros(3_000, X.indices.dtype), np.arange(3_001)), shape=X.shape)
    X, y = csr_array(X + full), y + 4.0 * (years - 2_000.0)
    model = GDLinearRegressor(random_state=seed)
    for _ in range(3):
        stream(model, X, y, 20)
    assert is_wide(model)
    assert model.score(X, y) > 0.99
    assert abs(model.coef_[0] - 4.0) < 0.1


@pytest.mark.parametrize("loss", ["squared_error", "huber", "quantile"])
def test_rows_without_entries_move_the_intercept_alone(rng, loss):
    """As the first chunk, and after others."""
    empty, y = csr_array((5, 5_000)), np.arange(5.0)
    first = GDLinearRegressor(loss, random_state=0).partial_fit(empty, y)
    assert first.intercept_ == 2.0
    assert not first.coef_.any()
    model = GDLinearRegressor(loss, random_state=0)
    for _ in range(20):
        columns = np.sort(rng.choice(5_000, 20, replace=False))
        model.partial_fit(csr_array((np.ones(20), columns, [0, 20]), shape=(1, 5_000)), [1.0])
    coef, intercept = model.coef_.copy(), model.intercept_
    model.partial_fit(empty, y + 10.0)
    assert_array_equal(model.coef_, coef)
    assert model.intercept_ > intercept


def test_a_sparse_chunk_equals_the_general_descent_where_no_column_needs_a_centre(rng):
    """Without an intercept nothing is centred, so the descent in all columns is the oracle."""
    X, y, places = hashed_rows(rng)
    settings = dict(fit_intercept=False, average=False, random_state=0)
    wide = GDLinearRegressor(**settings).partial_fit(X, y)
    general = GDLinearRegressor(**settings, precondition=False).partial_fit(X[:, places], y)
    assert is_wide(wide) and not is_wide(general)
    assert_allclose(wide.coef_[places], general.coef_, rtol=1e-9, atol=1e-12)


def test_rows_of_weight_zero_equal_absent_rows(rng):
    X, y, _ = hashed_rows(rng)
    weight = (rng.random(200) < 0.7).astype(float)
    kept = np.flatnonzero(weight)
    settings = dict(random_state=0, batch_size=None)
    weighted = GDLinearRegressor(**settings).partial_fit(X, y, weight)
    absent = GDLinearRegressor(**settings).partial_fit(X[kept], y[kept], weight[kept])
    assert_allclose(weighted.coef_, absent.coef_, rtol=1e-9, atol=1e-12)
    assert_array_equal(weighted._state["wide"]["n_updates"], absent._state["wide"]["n_updates"])


@pytest.mark.parametrize("params", [{}, {"loss": "huber"}], ids=str)
def test_the_reference_implementation_gives_the_same(rng, params):
    X, y, _ = hashed_rows(rng)
    compiled = stream(GDLinearRegressor(random_state=0, **params), X, y, 30)
    with sk_gdlinear.backend("reference"):
        reference = stream(GDLinearRegressor(random_state=0, **params), X, y, 30)
    assert_allclose(reference.coef_, compiled.coef_, rtol=1e-8, atol=1e-11)


def test_float32_stays_float32(rng):
    X, y, _ = hashed_rows(rng)
    model = stream(GDLinearRegressor(random_state=0), X.astype(np.float32), y.astype(np.float32), 30)
    assert is_wide(model) and model.coef_.dtype == np.float32
    double = stream(GDLinearRegressor(random_state=0), X, y, 30)
    assert_allclose(model.coef_, double.coef_, atol=1e-3)


@pytest.mark.parametrize(("before", "after"), [(0, 1), (3, 4), (3, 50), (1_000, 1_200), (7, 7)])
def test_the_share_that_an_average_keeps_is_the_product_of_its_weights(before, after):
    expected = np.prod(1.0 - averaging_weight(np.arange(before + 1.0, after + 1.0)))
    assert_allclose(kept_share(before, after), expected, rtol=1e-12, atol=1e-15)


def test_an_outlier_is_forgotten_with_its_window(rng, seed):
    X, y, places = hashed_rows(rng, 3_000)
    outlier = csr_array(([1e6], ([0], [places[0]])), shape=(1, WIDE))
    model = stream(GDLinearRegressor(window=100, random_state=seed), X[:500], y[:500], 10)
    model.partial_fit(outlier, y[:1])
    assert model._state["wide"]["columns"]["largest"][places[0]] == 1e6
    stream(model, X, y, 10)
    assert model._state["wide"]["columns"]["largest"][places[0]] < 10.0
    assert model.score(X, y) > 0.98


# --- cost ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("params", "numbers"), [({}, 5.0), ({"average": False}, 3.1), (PLAIN, 1.1)], ids=str)
def test_a_saved_model_has_few_numbers_a_column(rng, params, numbers):
    X, y, _ = hashed_rows(rng, d=1 << 17)
    size = len(pickle.dumps(stream(GDLinearRegressor(random_state=0, **params), X, y, 50)))
    assert size <= 8 * numbers * (1 << 17)


@pytest.mark.parametrize("params", SETTINGS, ids=str)
@pytest.mark.parametrize("rows", [1, 20])
def test_a_call_needs_less_memory_than_one_number_a_column(rng, params, rows):
    d = 1 << 18
    X, y, _ = hashed_rows(rng, d=d)
    model = stream(GDLinearRegressor(random_state=0, **params), X[:30], y[:30], 10)
    tracemalloc.start()
    model.partial_fit(X[30 : 30 + rows], y[30 : 30 + rows])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 * d


# --- going on --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("copier", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
@pytest.mark.parametrize("params", SETTINGS, ids=str)
def test_a_copy_goes_on_with_the_same_bits(rng, copier, params):
    X, y, _ = hashed_rows(rng, k=2)
    model = stream(GDLinearRegressor(random_state=0, **params), X[:100], y[:100], 10)
    twin = copier(model)
    before = twin.coef_.copy()
    stream(model, X[100:], y[100:], 10)
    assert_array_equal(twin.coef_, before)
    stream(twin, X[100:], y[100:], 10)
    assert_array_equal(twin.coef_, model.coef_)
    assert_array_equal(twin.intercept_, model.intercept_)
    assert twin.loss_curve_ == model.loss_curve_


def test_a_checkpoint_goes_on_with_the_same_bits(rng, tmp_path):
    X, y, _ = hashed_rows(rng)
    chunks = [(X[start : start + 20], y[start : start + 20]) for start in range(0, 200, 20)]
    whole = GDLinearRegressor(random_state=0).fit_batches(chunks, epochs=3)

    def broken():
        yield from chunks[:4]
        raise RuntimeError("power failure")

    model = GDLinearRegressor(random_state=0)
    with pytest.raises(RuntimeError, match="power failure"):
        model.fit_batches(broken, epochs=3, checkpoint=tmp_path / "checkpoint")
    resumed = GDLinearRegressor(random_state=0).fit_batches(chunks, epochs=3, checkpoint=tmp_path / "checkpoint")
    assert is_wide(resumed)
    assert_array_equal(resumed.coef_, whole.coef_)
    assert_array_equal(resumed.intercept_, whole.intercept_)


def test_damaged_states_are_refused(rng):
    X, y, _ = hashed_rows(rng)
    model = GDLinearRegressor().partial_fit(X, y)
    for place, name, value in (
        (model._state["wide"], "sums", None),
        (model._state["wide"]["columns"], "square", np.zeros(3)),
        (model._state["wide"]["columns"], "centred", np.array([5, 2])),
        (model._state["iterate"], "W", np.full((1, WIDE), np.nan)),
    ):
        kept, place[name] = place[name], value
        data = pickle.dumps(model)
        place[name] = kept
        with pytest.raises(ValueError, match="damaged"):
            pickle.loads(data)


@pytest.mark.parametrize(
    "change",
    [
        {"penalty": "l1"},
        {"penalty": "l2", "alpha": 0.1},
        {"positive": True},
        {"average": False},
        {"standardize": False, "learning_rate": 1e-3},
        {"loss": "huber"},
        {"window": 20},
    ],
    ids=str,
)
def test_parameters_may_change_in_mid_stream_and_back(rng, change):
    X, y, _ = hashed_rows(rng, 2_000)
    model = GDLinearRegressor(random_state=0)
    for _ in range(3):
        stream(model, X, y, 100)
    before, original = model.score(X, y), model.get_params()
    stream(model.set_params(**change), X[:400], y[:400], 100)
    stream(model.set_params(**original), X, y, 100)
    assert is_wide(model)
    assert model.score(X, y) > before - 0.02


def test_dense_chunks_sparse_chunks_and_fit_go_on_from_each_other(rng):
    X, y, _ = hashed_rows(rng, 1_000, d=2_000)
    model = GDLinearRegressor(random_state=0, max_iter=5, tol=None).fit(X, y)
    fitted_score = model.score(X, y)
    for rows in (X, X.toarray(), X):
        stream(model, rows, y, 100)
        assert is_wide(model) == (rows is X)
        assert model.score(X, y) > fitted_score - 0.01
    assert model.set_params(warm_start=True).fit(X, y).score(X, y) > fitted_score - 1e-3


# --- what the user does in between -----------------------------------------------------------------------------------


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("params", [{}, {"average": False}, PLAIN], ids=str)
def test_coefficients_set_by_hand_are_the_new_start(rng, params, in_place):
    X, y, places = hashed_rows(rng, k=2, words=400)
    model = stream(GDLinearRegressor(random_state=0, **params), X, y, 10)
    new = model.coef_.copy()
    new[:, places] = -new[:, places]
    other = copy.deepcopy(model)
    if in_place:
        model.coef_ *= -1.0
    else:
        model.coef_ = new
    other.coef_, kept = new.copy(), new.copy()
    for one in (model, other):
        one.partial_fit(X[:10], y[:10])
    assert_array_equal(model.coef_, other.coef_)
    assert_array_equal(new, kept)  # the user's own array is not changed
    untouched = np.setdiff1d(places, X[:10].indices)
    assert_array_equal(model.coef_[:, untouched], kept[:, untouched])
    assert len(untouched) > 0


def test_a_change_of_one_coefficient_is_seen_when_its_column_has_an_entry(rng):
    X, y, places = hashed_rows(rng)
    model = stream(GDLinearRegressor(random_state=0), X, y, 10)
    row = X[:1]
    model.coef_[row.indices[0]] = 7.0
    twin = copy.deepcopy(model)
    twin.coef_ = twin.coef_.copy()
    stream(model, row, y[:1], 1)
    assert_array_equal(model.coef_, stream(twin, row, y[:1], 1).coef_)
    assert model._state["iterate"]["n_averaged"] == 1  # the average has started anew


def test_coefficients_of_a_model_made_by_hand_are_not_changed_in_place(rng):
    X, y, _ = hashed_rows(rng)
    model, mine = GDLinearRegressor(), np.zeros(WIDE)
    model.coef_, model.intercept_, model.n_features_in_ = mine, 0.0, WIDE
    stream(model, X, y, 50)
    assert not mine.any() and model.coef_.any()


def test_a_state_read_only_in_memory_goes_on(rng):
    X, y, _ = hashed_rows(rng)
    model, twin = (stream(GDLinearRegressor(random_state=0), X, y, 50) for _ in range(2))
    model.coef_ = model.coef_.copy()
    model.coef_.flags.writeable = False
    assert_array_equal(model.partial_fit(X, y).coef_, twin.partial_fit(X, y).coef_)


@pytest.mark.parametrize("params", [{}, {"average": False}, PLAIN], ids=str)
def test_a_failed_call_changes_nothing(rng, params):
    X, y, _ = hashed_rows(rng)
    model = stream(GDLinearRegressor(random_state=0, **params), X, y, 20)
    before = fitted(model)
    bad = X[:20].copy()
    bad.data[3] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        model.partial_fit(bad, y[:20])
    assert_same(fitted(model), before)
    with pytest.raises(ValueError, match="diverged"):
        model.set_params(learning_rate=1e3).partial_fit(X, y)
    model.set_params(**GDLinearRegressor(random_state=0, **params).get_params())
    assert_same(fitted(model), before)


@pytest.mark.parametrize("params", [{}, {"average": False}, {"window": 20}, PLAIN], ids=str)
def test_an_error_after_the_coefficients_are_set_undoes_them(rng, params, monkeypatch):
    X, y, _ = hashed_rows(rng, k=2)
    model = stream(GDLinearRegressor(random_state=0, **params), X, y, 20)
    before = fitted(model)

    class Broken:
        def begin_epoch(self):
            pass

        def end_block(self):
            pass

        def end_epoch(self, result):
            return False

        def end(self, stop_reason, notes):
            raise KeyboardInterrupt

    monkeypatch.setattr(GDLinearRegressor, "_monitors", lambda *args: [Broken()])
    with pytest.raises(KeyboardInterrupt):
        model.partial_fit(X[:50], y[:50])
    monkeypatch.undo()
    assert_same(fitted(model), before)


def test_sums_of_bits_see_changes_in_the_last_block_and_of_signs(rng):
    X, y, _ = hashed_rows(rng, d=9 * CHECKED_COLUMNS + 5, words=9 * CHECKED_COLUMNS)
    model = stream(GDLinearRegressor(random_state=0), X, y, 50)
    assert model._state["iterate"]["n_averaged"] == 200  # nothing was changed so far
    for place in (0, 9 * CHECKED_COLUMNS + 4):
        changed = copy.deepcopy(model)
        changed.coef_[place] += 1.0
        changed.partial_fit(csr_array(([1.0], ([0], [place])), shape=(1, X.shape[1])), [0.0])
        assert changed._state["iterate"]["n_averaged"] == 1
