"""A fit to wide sparse rows, most of whose columns are empty: the fit to the other columns, in memory as small."""

import pickle
import tracemalloc

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_array

from builders import name_of
from own_objects import LogCosh
from sk_gdlinear import GDLinearRegressor
from sk_gdlinear._data import nonempty_columns
from sk_gdlinear._data.nonempty_columns import LEAST_COLUMNS, NonemptyColumns
from sk_gdlinear._data.statistics import StreamStatistics
from sk_gdlinear._descent.backend import REFERENCE
from sk_gdlinear.penalties import L1, L2, Box

WIDE = 4 * LEAST_COLUMNS
PLAIN = {"standardize": False, "average": False, "learning_rate": 0.02}
ALPHA = np.random.default_rng(1).uniform(1e-4, 0.1, WIDE)
LOWER, UPPER = -ALPHA, 10.0 * ALPHA


def wide_rows(rng, n=90, d=WIDE, per_row=6):
    """Rows with entries in few of the columns, and targets."""
    columns = rng.integers(0, d, size=(n, per_row))
    X = csr_array((rng.normal(size=columns.size), (np.repeat(np.arange(n), per_row), columns.ravel())), shape=(n, d))
    return X, X.data @ rng.normal(size=(X.nnz, 2)) + rng.normal(size=(n, 2))


def make(**params):
    return GDLinearRegressor(**(dict(max_iter=5, tol=None, random_state=0) | params))


def columns_of(X):
    """The columns with entries, and the others."""
    has_entry = X.tocsc().indptr[1:] > X.tocsc().indptr[:-1]
    return np.flatnonzero(has_entry), np.flatnonzero(~has_entry)


def assert_same_fit(model, part, columns, empty, elsewhere=0.0):
    """The model has the bits of one of the columns with entries alone, and a constant coefficient in the others."""
    coef = np.atleast_2d(model.coef_)
    assert_array_equal(coef[:, columns], np.atleast_2d(part.coef_))
    assert_array_equal(coef[:, empty], elsewhere)
    assert_array_equal(model.intercept_, part.intercept_)
    assert model.coef_.dtype == part.coef_.dtype
    assert (model.loss_curve_, model.validation_loss_curve_) == (part.loss_curve_, part.validation_loss_curve_)
    assert (model.n_iter_, model.t_, model.stop_reason_) == (part.n_iter_, part.t_, part.stop_reason_)


SETTINGS = [
    {},
    {"tol": 1e-8, "max_iter": 1000},
    {"penalty": "l2"},
    {"penalty": "l1", "alpha": 0.01},
    {"positive": True, "penalty": "elasticnet"},
    {"loss": "huber", "fit_intercept": False},
    {"loss": "quantile"},
    {"loss": LogCosh()},
    {"standardize": False},
    {"standardize": False, "penalty": "l1", "positive": True},
    PLAIN,
    PLAIN | {"penalty": "elasticnet", "batch_size": None},
    {"early_stopping": True},
    {"precondition": True, "penalty": "l2"},
    {"shuffle": False, "batch_size": None},
]


@pytest.mark.parametrize("params", SETTINGS, ids=name_of)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_fit_is_that_of_the_columns_with_entries_and_0_elsewhere(rng, params, dtype):
    X, Y = wide_rows(rng)
    X, (columns, empty) = X.astype(dtype), columns_of(X)
    weight = rng.integers(0, 3, len(Y)).astype(float)
    for y, s in ((Y[:, 0], None), (Y, weight)):
        model, part = (make(**params).fit(rows, y.astype(dtype), s) for rows in (X, X[:, columns]))
        assert_same_fit(model, part, columns, empty)
        assert_allclose(model.predict(X), part.predict(X[:, columns]), rtol=1e-5)


@pytest.mark.parametrize(
    ("params", "cut"),
    [
        ({"penalty": "l1", "alpha": ALPHA}, lambda at: {"alpha": ALPHA[at]}),
        (
            {"penalty": "l2", "alpha": np.stack([ALPHA, 2 * ALPHA])},
            lambda at: {"alpha": np.stack([1, 2])[:, None] * ALPHA[at]},
        ),
        ({"penalty": L2(ALPHA)}, lambda at: {"penalty": L2(ALPHA[at])}),
        ({"penalty": Box(LOWER, UPPER)}, lambda at: {"penalty": Box(LOWER[at], UPPER[at])}),
        ({"penalty": Box(-0.1, UPPER, L1(ALPHA))}, lambda at: {"penalty": Box(-0.1, UPPER[at], L1(ALPHA[at]))}),
        ({"penalty": Box(LOWER), "positive": True}, lambda at: {"penalty": Box(LOWER[at])}),
    ],
    ids=["l1", "l2 of each target", "L2", "Box", "Box and L1", "positive Box"],
)
def test_strengths_and_bounds_stay_with_their_columns(rng, params, cut):
    X, Y = wide_rows(rng)
    columns, empty = columns_of(X)
    model, part = make(**params).fit(X, Y), make(**(params | cut(columns))).fit(X[:, columns], Y)
    assert_same_fit(model, part, columns, empty)
    assert np.abs(part.coef_).max() > 0.0


@pytest.mark.parametrize("params", [{}, PLAIN], ids=["default", "plain"])
@pytest.mark.parametrize("everywhere", [True, False])
def test_bounds_that_exclude_0_hold_for_empty_columns(rng, params, everywhere):
    X, Y = wide_rows(rng)
    columns, empty = columns_of(X)
    lower = np.where(np.isin(np.arange(WIDE), columns) & (not everywhere), -1.0, 0.5)
    model = make(penalty=Box(0.5 if everywhere else lower), **params).fit(X, Y)
    assert_array_equal(model.coef_[:, empty], 0.5)
    assert (model.coef_ >= lower).all()


class Counted(L2):
    """A penalty of the user's, which sees how many coefficients it gets."""

    seen: set

    def value(self, w):
        self.seen.add(len(w))
        return super().value(w)

    def proximal(self, w, step):
        self.seen.add(len(w))
        return super().proximal(w, step)


def test_a_penalty_of_the_users_gets_the_coefficients_of_all_columns(rng):
    X, Y = wide_rows(rng)
    penalty = Counted(1e-3)
    penalty.seen = set()
    make(penalty=penalty).fit(X, Y)
    assert penalty.seen == {WIDE}


def test_plain_descent_is_that_of_the_same_rows_as_an_array(rng):
    X, Y = wide_rows(rng)
    sparse, dense = (make(**PLAIN).fit(rows, Y) for rows in (X, X.toarray()))
    assert_allclose(sparse.coef_, dense.coef_, rtol=1e-12, atol=1e-15)
    assert_allclose(sparse.loss_curve_, dense.loss_curve_, rtol=1e-12)


@pytest.mark.parametrize("standardize", [False, True])
def test_coefficients_given_in_empty_columns_stay_in_plain_descent_and_go_with_standardized_columns(rng, standardize):
    X, Y = wide_rows(rng)
    columns, empty = columns_of(X)
    start = rng.normal(size=(2, WIDE))
    params = PLAIN | {"standardize": standardize}
    model = make(**params).fit(X, Y, coef_init=start, intercept_init=[1.0, 2.0])
    start_part = {"coef_init": start[:, columns], "intercept_init": [1.0, 2.0]}
    part = make(**params).fit(X[:, columns], Y, **start_part)
    assert_same_fit(model, part, columns, empty, 0.0 if standardize else start[:, empty])
    assert ("columns" in model._state) == standardize  # those with entries alone were fitted


@pytest.mark.parametrize("params", [{}, PLAIN, {"penalty": "l1"}], ids=name_of)
def test_warm_starts_go_on(rng, params):
    X, Y = wide_rows(rng)
    columns, empty = columns_of(X)
    models = [make(warm_start=True, precondition=False, **params) for _ in range(2)]
    for n in (40, 90):  # the second fit has columns that were empty in the first
        for model, rows in zip(models, (X, X[:, columns]), strict=True):
            model.fit(rows[:n], Y[:n])
    assert_allclose(models[0].coef_[:, columns], models[1].coef_, rtol=1e-9, atol=1e-12)
    assert_array_equal(models[0].coef_[:, empty], 0.0)


@pytest.mark.parametrize("kind", [csr_array, csr_array.toarray], ids=["sparse", "dense"])
def test_validation_rows_may_have_entries_in_other_columns(rng, kind):
    X, Y = wide_rows(rng)
    columns, empty = columns_of(X[:60])
    assert np.isin(X[60:].indices, empty).any()
    validation = {"X_val": kind(X[60:]), "y_val": Y[60:]}
    model = make().fit(X[:60], Y[:60], **validation)
    validation["X_val"] = kind(X[60:][:, columns])
    assert_same_fit(model, make().fit(X[:60, columns], Y[:60], **validation), columns, empty)


def test_callbacks_see_the_coefficients_of_all_columns(rng):
    pytest.importorskip("sklearn.callback", reason="this scikit-learn has no callbacks")

    class Recorder:
        coefs = []

        def setup(self, estimator, context):
            pass

        teardown = setup

        def on_fit_task_begin(self, estimator, context):
            pass

        def on_fit_task_end(self, estimator, context, *, X, y, metadata, fitted_estimator):
            if context.task_name == "epoch":
                assert X.shape == (90, WIDE)
                self.coefs.append(fitted_estimator.coef_)

    X, Y = wide_rows(rng)
    model = make(max_iter=3).set_callbacks(Recorder()).fit(X, Y)
    assert [coef.shape for coef in Recorder.coefs] == 3 * [(2, WIDE)]
    assert_array_equal(Recorder.coefs[-1], model.coef_)


@pytest.mark.parametrize("params", [{}, {"penalty": "l1"}, {"loss": "quantile"}, PLAIN], ids=name_of)
def test_partial_fit_goes_on_as_after_a_fit_of_all_columns(rng, monkeypatch, params):
    X, Y = wide_rows(rng)
    models = [make(**params).fit(X, Y)]
    monkeypatch.setattr(nonempty_columns, "LEAST_COLUMNS", np.inf)
    models.append(make(**params).fit(X, Y))
    more, targets = wide_rows(rng)
    before = models[0].coef_.copy()
    for chunk in range(2):
        for model in models:
            model.partial_fit(more[45 * chunk : 45 * (chunk + 1)], targets[45 * chunk : 45 * (chunk + 1)])
    assert np.abs(models[0].coef_ - before).max() > 1e-3
    assert_allclose(models[0].coef_, models[1].coef_, rtol=1e-6, atol=1e-6)
    assert models[0].t_ == models[1].t_


def test_coefficients_set_by_hand_in_an_empty_column_are_noticed(rng):
    X, Y = wide_rows(rng)
    model, (_, empty) = make(**PLAIN).fit(X, Y), columns_of(X)
    model.coef_[0, empty[0]] = 3.0
    model.partial_fit(X, Y)
    assert model.coef_[0, empty[0]] == 3.0


def test_a_saved_model_is_small_and_goes_on(rng):
    X, Y = wide_rows(rng)
    model = make().fit(X, Y)
    saved = pickle.dumps(model)
    assert len(saved) < 1.5 * (model.coef_.nbytes + 30 * 8 * len(columns_of(X)[0]))
    restored = pickle.loads(saved)
    for one in (model, restored):
        one.partial_fit(X, Y)
    assert_array_equal(restored.coef_, model.coef_)


@pytest.mark.parametrize("damage", [lambda at: at[::-1].copy(), lambda at: at[1:], lambda at: at + WIDE], ids=range(3))
def test_damaged_numbers_of_columns_are_refused(rng, damage):
    model = make().fit(*wide_rows(rng))
    model._state["columns"]["numbers"] = damage(model._state["columns"]["numbers"])
    with pytest.raises(ValueError, match="saved state of this model is damaged"):
        pickle.loads(pickle.dumps(model))


@pytest.mark.parametrize("params", [{"tol": 1e-4}, {"penalty": "l2"}, {"penalty": "l1"}], ids=name_of)
def test_a_fit_needs_memory_for_less_than_two_vectors_of_all_columns(params):
    rng = np.random.default_rng(0)
    d = 1 << 20
    X, Y = wide_rows(rng, 40, d)
    make(**params).fit(*wide_rows(rng))  # loads all code
    tracemalloc.start()
    try:
        model = make(**params).fit(X, Y[:, 0])
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert model.coef_.nbytes == 8 * d
    assert kept < 1.3 * 8 * d
    assert peak < 2.0 * 8 * d


@pytest.mark.parametrize("n", [90, WIDE])
def test_rows_are_those_of_the_columns_and_share_their_values(rng, n):
    X, _ = wide_rows(rng, n, LEAST_COLUMNS // 2, 3)  # some of the columns have entries in the last rows alone
    X = csr_array((np.r_[X.data, X.data[:90]], np.r_[X.indices, X.indices[:90] + 999], np.r_[X.indptr, X.nnz + 90]))
    X.resize(n + 1, WIDE)
    X.sum_duplicates()
    columns = NonemptyColumns.of(X)
    part = columns.of_rows(X)
    assert_array_equal(part.toarray(), X.toarray()[:, columns.numbers])
    assert_array_equal(columns.numbers, columns_of(X)[0])
    assert np.shares_memory(part.data, X.data)
    assert_array_equal(columns.spread(part.toarray()), X.toarray())


def test_statistics_of_all_columns_are_those_of_the_rows(rng):
    X, Y = wide_rows(rng)
    columns = NonemptyColumns.of(X)
    part, whole = (StreamStatistics.empty(rows.shape[1], 2, standardize=True) for rows in (columns.of_rows(X), X))
    part.add(REFERENCE, columns.of_rows(X), Y, None)
    whole.add(REFERENCE, X, Y, None)
    for name in ("features", "past_features"):
        spread, expected = getattr(part, name).of_all_columns(columns), getattr(whole, name)
        assert spread.count == expected.count
        for field in ("mean", "square_deviation", "low", "high"):
            assert_array_equal(getattr(spread, field), getattr(expected, field))


@pytest.mark.parametrize("case", ["few columns", "most have entries", "many entries", "no entries", "dense"])
def test_all_columns_are_fitted_where_leaving_some_out_is_not_worth_it(rng, case):
    n, d, per_row = {"few columns": (90, LEAST_COLUMNS - 1, 2), "most have entries": (2 * LEAST_COLUMNS, WIDE, 2)}.get(
        case, (90, WIDE, 6)
    )
    X, _ = wide_rows(rng, n, d, per_row)
    if case == "many entries":
        X = csr_array(np.c_[np.ones((90, WIDE // 4)), np.zeros((90, 3 * WIDE // 4))])
    if case == "no entries":
        X = csr_array((90, WIDE))
    assert NonemptyColumns.of(X.toarray() if case == "dense" else X) is None
