"""GDLinearRegressorCV: the choice and the scores of those who make a fit for each, without a leak, with every law."""

import pickle
import tracemalloc

import numpy as np
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.datasets import load_diabetes
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import ElasticNetCV, LassoCV, QuantileRegressor, Ridge, RidgeCV
from sklearn.metrics import get_scorer, make_scorer, mean_absolute_error
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    LeaveOneOut,
    RepeatedKFold,
    ShuffleSplit,
    TimeSeriesSplit,
    cross_val_score,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import parametrize_with_checks

from builders import name_of
from sk_gdlinear import GDLinearRegressor, GDLinearRegressorCV, _cross_validation
from sk_gdlinear._data import folds as folds_module
from sk_gdlinear._data.folds import TRAINED, FoldMoments, Folds
from sk_gdlinear._data.joint_moments import JointMoments
from sk_gdlinear._data.rows import Rows
from sk_gdlinear._fit import path as path_module
from sk_gdlinear._fit.path import TrainedModel, squared_errors


@pytest.fixture(scope="module")
def diabetes():
    return load_diabetes(return_X_y=True, scaled=False)


@pytest.fixture
def data(rng):
    X = rng.normal(size=(90, 6)) * [1.0, 3.0, 1.0, 0.5, 1.0, 2.0] + 4.0
    X[:, 5] = X[:, 0] + 0.3 * X[:, 5]
    return X, X @ [1.0, 0.0, -2.0, 0.0, 0.0, 0.3] + rng.normal(size=90)


def exact_scores(make, alphas, X, y, splits, scoring):
    """Scores (a, n_splits) of one fit for each, by scikit-learn's solvers."""
    score = get_scorer(scoring)
    return np.array([[score(make(a, len(tr)).fit(X[tr], y[tr]), X[te], y[te]) for tr, te in splits] for a in alphas])


# --- the choice of others --------------------------------------------------------------------------------------------


def test_the_path_and_the_choice_are_those_of_lasso_cv(diabetes):
    X, y = diabetes
    model = GDLinearRegressorCV(penalty="l1").fit(X, y)
    peer = LassoCV(tol=1e-10, max_iter=100_000).fit(X, y)
    assert_allclose(model.alphas_, peer.alphas_, rtol=1e-10)
    assert_allclose(model.mse_path_, peer.mse_path_, rtol=1e-6)
    assert_allclose(model.alpha_, peer.alpha_, rtol=1e-10)
    assert_allclose(model.coef_, peer.coef_, atol=1e-5 * np.abs(peer.coef_).max())
    assert_allclose(model.intercept_, peer.intercept_, rtol=1e-5)


def test_several_shares_are_those_of_elastic_net_cv(diabetes):
    X, y = diabetes
    shares = [0.1, 0.5, 0.95]
    model = GDLinearRegressorCV(penalty="elasticnet", l1_ratio=shares).fit(X, y)
    peer = ElasticNetCV(l1_ratio=shares, tol=1e-10, max_iter=100_000).fit(X, y)
    assert_allclose(model.alphas_, peer.alphas_, rtol=1e-10)
    assert model.mse_path_.shape == (3, 100, 5)
    assert_allclose(model.mse_path_, peer.mse_path_, rtol=1e-6)
    assert (model.l1_ratio_, model.alpha_) == pytest.approx((peer.l1_ratio_, peer.alpha_))
    assert model.cv_results_["param_l1_ratio"][model.best_index_] == peer.l1_ratio_


def test_ridge_scores_and_choice_are_those_of_ridge_cv(diabetes):
    X, y = diabetes
    alphas = np.geomspace(1e-4, 10.0, 20)
    # Ridge weighs against a sum: with folds of equal size its strengths are n times ours
    X, y = X[:440], y[:440]
    model = GDLinearRegressorCV(alphas, scoring="r2").fit(X, y)
    peer = RidgeCV(alphas * 352, cv=5, scoring="r2").fit(X, y)
    assert_allclose(model.alpha_, peer.alpha_ / 352)
    assert_allclose(model.best_score_, peer.best_score_, atol=1e-9)
    assert_allclose(model.coef_, Ridge(model.alpha_ * 440).fit(X, y).coef_, rtol=1e-8)


@pytest.mark.parametrize("penalty", ["l2", "l1", "elasticnet"])
@pytest.mark.parametrize("scoring", ["r2", "neg_mean_squared_error", "neg_mean_absolute_error"])
def test_scores_and_choice_are_those_of_a_grid_search(data, penalty, scoring):
    X, y = data
    alphas = np.geomspace(3.0, 1e-3, 8)
    cv = KFold(4, shuffle=True, random_state=0)
    model = GDLinearRegressorCV(alphas, penalty=penalty, scoring=scoring, cv=cv).fit(X, y)
    regressor = GDLinearRegressor(penalty=penalty, tol=1e-10, random_state=0)
    search = GridSearchCV(regressor, {"alpha": alphas}, cv=cv, scoring=scoring).fit(X, y)
    assert model.best_index_ == search.best_index_
    for name in ("mean_test_score", "std_test_score", *(f"split{i}_test_score" for i in range(4))):
        assert_allclose(model.cv_results_[name], search.cv_results_[name], atol=1e-6, rtol=1e-6)
    assert_array_equal(model.cv_results_["rank_test_score"], search.cv_results_["rank_test_score"])
    assert_allclose(model.best_score_, search.best_score_, atol=1e-6, rtol=1e-6)
    assert_allclose(model.coef_, search.best_estimator_.coef_, atol=1e-5)


@pytest.mark.parametrize(
    "cv",
    [
        KFold(7),
        RepeatedKFold(n_splits=3, n_repeats=2, random_state=0),
        ShuffleSplit(4, test_size=0.3, random_state=0),
        TimeSeriesSplit(4),
        [(np.arange(40), np.arange(30, 60)), (np.arange(50, 90), np.arange(0, 20))],
        [(np.arange(90) < 60, np.arange(90) >= 60)],
    ],
    ids=["KFold", "repeated", "shuffled", "time series", "overlapping", "masks"],
)
@pytest.mark.parametrize("separately", [False, True], ids=["by groups", "split by split"])
def test_any_splits_have_the_scores_of_exact_fits(data, cv, separately, monkeypatch):
    if separately:
        monkeypatch.setattr(folds_module, "MOST_NUMBERS", 0)
    X, y = data
    alphas = [1.0, 0.1, 0.01]
    splits = list(cv.split(X)) if hasattr(cv, "split") else cv
    model = GDLinearRegressorCV(alphas, cv=cv).fit(X, y)
    splits = [tuple(np.flatnonzero(part) if part.dtype == bool else part for part in split) for split in splits]
    expected = exact_scores(lambda a, n: Ridge(a * n), alphas, X, y, splits, "neg_mean_squared_error")
    assert_allclose(-model.mse_path_, expected, rtol=1e-9)


def test_leaving_one_out_is_affordable_and_exact(data):
    X, y = data
    model = GDLinearRegressorCV([1.0, 0.1, 0.01], cv=LeaveOneOut()).fit(X, y)
    peer = RidgeCV(np.array([1.0, 0.1, 0.01]) * 89).fit(X, y)
    assert_allclose(model.alpha_ * 89, peer.alpha_)
    assert_allclose(model.best_score_, peer.best_score_, rtol=1e-9)


def test_positive_coefficients_are_those_of_lasso_cv(diabetes):
    X, y = diabetes
    model = GDLinearRegressorCV(penalty="l1", positive=True).fit(X, y)
    peer = LassoCV(positive=True, tol=1e-10, max_iter=100_000).fit(X, y)
    assert_allclose(model.alphas_, peer.alphas_)
    assert_allclose(model.mse_path_, peer.mse_path_, rtol=1e-6)
    assert_allclose(model.coef_, peer.coef_, atol=1e-4)
    assert (model.coef_ >= 0.0).all() and (model.coef_ == 0.0).any()


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_several_targets_share_the_strength_with_the_best_mean_score(data, fit_intercept):
    X, y = data
    Y = np.column_stack([y, 10.0 * X[:, 1] + y, X[:, 2]])
    alphas = [1.0, 0.03, 1e-3]
    model = GDLinearRegressorCV(alphas, scoring="r2", fit_intercept=fit_intercept).fit(X, Y)
    ridge = lambda a, n: Ridge(a * n, fit_intercept=fit_intercept)  # noqa: E731
    expected = exact_scores(ridge, alphas, X, Y, list(KFold(5).split(X)), "r2")
    assert_allclose(model.cv_results_["mean_test_score"], expected.mean(axis=1), rtol=1e-9)
    assert model.coef_.shape == (3, 6) and model.coef_path_.shape == (3, 6, 3)
    assert_allclose(model.predict(X), ridge(model.alpha_, 90).fit(X, Y).predict(X), rtol=1e-8)


@pytest.mark.parametrize("penalty", ["l2", "l1"])
def test_the_final_fit_is_that_of_the_regressor(data, penalty):
    X, y = data
    model = GDLinearRegressorCV(penalty=penalty).fit(X, y)
    plain = GDLinearRegressor(penalty=penalty, alpha=model.alpha_, tol=1e-12, random_state=0).fit(X, y)
    assert_allclose(model.coef_, plain.coef_, atol=1e-7)
    assert_allclose(model.predict(X), plain.predict(X), atol=1e-6)
    assert_array_equal(model.coef_path_[:, model.best_index_], model.coef_)


def test_the_first_strength_of_a_path_leaves_no_coefficient_and_the_next_one_does(data):
    for params in ({}, {"loss": "huber", "tol": 1e-8}):
        model = GDLinearRegressorCV(penalty="l1", n_alphas=4, eps=0.5, cv=2, random_state=0, **params).fit(*data)
        size = np.abs(model.coef_path_).max(axis=0)
        zero = size < 1e-4 * size[-1]  # descents come there up to tol
        assert_array_equal(zero, [True, False, False, False], err_msg=str(params))


def test_a_positive_path_begins_with_the_features_that_rise_with_the_target(rng):
    X = rng.normal(size=(200, 3))
    y = -5.0 * X[:, 0] + X[:, 1] + rng.normal(size=200)
    model = GDLinearRegressorCV(penalty="l1", positive=True, n_alphas=2, eps=0.9).fit(X, y)
    assert_allclose(model.alphas_[0], np.cov(X[:, 1], y, bias=True)[0, 1])
    assert_array_equal(model.coef_path_ > 1e-9, [[False, False], [False, True], [False, False]])


@pytest.mark.parametrize("quantile", [0.37, 0.512, 0.81])  # none is met by an interval of constants
def test_a_path_of_quantiles_begins_where_linear_programming_says(data, quantile):
    model = GDLinearRegressorCV(penalty="l1", loss="quantile", quantile=quantile, n_alphas=1, cv=2, random_state=0)
    (first,) = model.fit(*data).alphas_
    for alpha, is_zero in ((1.01 * first, True), (0.99 * first, False)):
        assert (QuantileRegressor(quantile=quantile, alpha=alpha).fit(*data).coef_ == 0.0).all() == is_zero


# --- no leak ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("outlier", [1.0, 1e9])
def test_a_changed_row_changes_no_bit_of_the_models_that_do_not_train_on_it(data, sparse, outlier):
    X, y = data
    changed = X.copy()
    changed[11] = outlier * np.arange(1.0, 7.0)
    target = y.copy()
    target[11] = -outlier
    folds = Folds.of(KFold(3, shuffle=True, random_state=1).split(X), 90)

    def coefs(X, y):
        moments = FoldMoments(Rows(csr_array(X) if sparse else X, y[:, None]), folds).splits()
        return [TrainedModel(train, 6, True).path([1.0, 0.1, 1e-3], 0.5, False) for train, _ in moments]

    for split, (before, after) in enumerate(zip(coefs(X, y), coefs(changed, target), strict=True)):
        trains_on_it = 11 in folds.rows(split, TRAINED)
        assert np.array_equal(before.coef, after.coef) is not trains_on_it
        assert np.array_equal(before.intercept, after.intercept) is not trains_on_it


def test_a_column_that_is_constant_among_the_rows_to_train_on_gets_0(data):
    """In scaled variables its rounding would be a feature."""
    X, y = data
    X[:, 3] = 0.1
    X[:30, 3] = np.linspace(-1.0, 1.0, 30)
    for rows in (X, csr_array(X)):
        folds = Folds.of([(np.arange(30, 90), np.arange(30))], 90)
        ((train, held_out),) = FoldMoments(Rows(rows, y[:, None]), folds).splits()
        path = TrainedModel(train, 6, True).path([0.0], 0.0, False)
        assert path.coef[0, 0, 3] == 0.0
        left = [0, 1, 2, 4, 5]
        exact = np.linalg.lstsq(np.c_[X[30:, left], np.ones(60)], y[30:], rcond=None)[0]
        assert_allclose(path.coef[0, 0, left], exact[:-1], rtol=1e-9)
        _, squares = squared_errors(path, train, held_out, 6, True)
        assert_allclose(squares[0, 0], np.mean((X[:30, left] @ exact[:-1] + exact[-1] - y[:30]) ** 2), rtol=1e-9)


def test_moments_merged_by_halves_are_those_of_the_rows(data):
    X, y = data
    folds = Folds.of(KFold(6).split(X), 90)
    assert folds.are_complements
    for split, (train, held_out) in enumerate(FoldMoments(Rows(X, y[:, None]), folds).splits()):
        kept = np.r_[0 : 15 * split, 15 * split + 15 : 90]
        expected = JointMoments.of(X[kept], y[kept, None])
        assert_allclose(
            train.products / np.multiply.outer(train.factor, train.factor), np.cov(np.c_[X, y][kept].T) * 74
        )
        assert (train.n_rows, held_out.n_rows) == (expected.n_rows, 15)


def test_a_split_given_twice_trains_on_the_same_rows_both_times(data):
    X, y = data
    split = np.arange(30, 90), np.arange(30)
    once, twice = (GDLinearRegressorCV(cv=[split] * n).fit(X, y) for n in (1, 2))
    assert_allclose(twice.mse_path_, np.repeat(once.mse_path_, 2, axis=1), rtol=1e-9)


# --- weights ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "params", [{"penalty": "l1"}, {"scoring": "r2"}, {"scoring": "neg_mean_absolute_error"}, {"precondition": False}]
)
def test_integer_weights_equal_rows_repeated_within_their_splits(data, rng, params):
    X, y = data
    weight = rng.integers(0, 4, 90)
    repeated = np.repeat(np.arange(90), weight)
    fold = np.arange(90) % 3
    splits = [(np.flatnonzero(fold != f), np.flatnonzero(fold == f)) for f in range(3)]
    repeated_splits = [(np.flatnonzero(fold[repeated] != f), np.flatnonzero(fold[repeated] == f)) for f in range(3)]
    params = {"n_alphas": 5, "tol": 1e-10, "random_state": 0, "eps": 1e-2} | params
    weighted = GDLinearRegressorCV(cv=splits, **params).fit(X, y, weight)
    plain = GDLinearRegressorCV(cv=repeated_splits, **params).fit(X[repeated], y[repeated])
    assert_allclose(weighted.alphas_, plain.alphas_, rtol=1e-9)
    assert_allclose(weighted.mse_path_, plain.mse_path_, rtol=1e-5)
    assert_allclose(weighted.cv_results_["mean_test_score"], plain.cv_results_["mean_test_score"], rtol=1e-5)
    assert_allclose(weighted.coef_, plain.coef_, atol=1e-5)


def test_the_size_of_the_weights_does_not_matter(data):
    X, y = data
    one, many = (GDLinearRegressorCV(n_alphas=10).fit(X, y, sample_weight=w) for w in (1.0, 1e3))
    assert_allclose(one.mse_path_, many.mse_path_, rtol=1e-9)
    assert_allclose(one.coef_, many.coef_, rtol=1e-9)


# --- sparse rows, types, layouts -------------------------------------------------------------------------------------


@pytest.mark.parametrize("penalty", ["l2", "l1"])
@pytest.mark.parametrize("density", [0.03, 0.3])
def test_sparse_rows_give_the_answer_of_dense_ones(rng, penalty, density):
    X = rng.normal(size=(400, 30)) * (rng.random((400, 30)) < density)
    y = X.sum(axis=1) + rng.normal(size=400)
    dense, sparse = (GDLinearRegressorCV(penalty=penalty).fit(A, y) for A in (X, csr_array(X)))
    assert_allclose(sparse.mse_path_, dense.mse_path_, rtol=1e-8)
    assert_allclose(sparse.coef_, dense.coef_, atol=1e-8)
    assert sparse.alpha_ == pytest.approx(dense.alpha_)


def test_float32_stays_float32(data):
    X, y = data
    model = GDLinearRegressorCV().fit(X.astype("f4"), y.astype("f4"))
    assert model.coef_.dtype == np.float32 and model.predict(X.astype("f4")).dtype == np.float32
    assert_allclose(model.coef_, GDLinearRegressorCV().fit(X, y).coef_, rtol=1e-3, atol=1e-4)


def test_offsets_and_units_cost_no_digits(data):
    X, y = data
    unit = 10.0 ** np.arange(-6.0, 6.0, 2.0)
    plain = GDLinearRegressorCV([0.0], scoring="r2").fit(X, y)
    moved = GDLinearRegressorCV([0.0], scoring="r2").fit((X + 1e5) * unit, y)
    assert_allclose(moved.best_score_, plain.best_score_, atol=1e-8)
    assert_allclose(moved.coef_ * unit, plain.coef_, rtol=1e-6)


@pytest.mark.parametrize("cv", [KFold(5), KFold(5, shuffle=True, random_state=0)], ids=["in order", "shuffled"])
def test_memory_beside_the_rows_is_a_small_part_of_them(rng, cv):
    X = rng.normal(size=(100_000, 30))
    y = X[:, 0] + rng.normal(size=100_000)
    GDLinearRegressorCV(n_alphas=5).fit(X[:100], y[:100])
    tracemalloc.start()
    GDLinearRegressorCV(n_alphas=5, cv=cv).fit(X, y)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < X.nbytes / 3


@pytest.mark.parametrize("n_targets", [1, 2])
def test_many_features_by_conjugate_gradients_are_those_by_linear_systems(rng, n_targets, monkeypatch):
    X = rng.normal(size=(200, 40)) * np.geomspace(1e-3, 1e3, 40)
    X[:, 7] = 2.0
    Y = X[:, :5] @ rng.normal(size=(5, n_targets)) + rng.normal(size=(200, n_targets))
    by_systems = GDLinearRegressorCV().fit(X, Y)
    monkeypatch.setattr(path_module, "MANY_FEATURES", 5)
    monkeypatch.setattr(path_module, "GRADIENT_LEFT", 1e-12)
    by_gradients = GDLinearRegressorCV().fit(X, Y)
    assert_allclose(by_gradients.mse_path_, by_systems.mse_path_, rtol=1e-7)
    assert_allclose(
        by_gradients.coef_path_,
        by_systems.coef_path_,
        rtol=1e-4,
        atol=1e-4 * np.abs(by_systems.coef_path_).max() * 1e-3,
    )
    monkeypatch.setattr(path_module, "CONJUGATE_GRADIENTS", 3)  # most strengths are then found by systems
    assert_allclose(GDLinearRegressorCV().fit(X, Y).mse_path_, by_systems.mse_path_, rtol=1e-7)


# --- fits of the regressor -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "params",
    [
        {"loss": "huber", "epsilon": 0.5},
        {"loss": "quantile", "quantile": 0.7},
        {"precondition": False, "scoring": "r2"},
        {"standardize": False, "scoring": "neg_mean_squared_error"},
    ],
    ids=name_of,
)
def test_descents_choose_as_a_grid_search(data, params):
    X, y = data
    X = StandardScaler().fit_transform(X)
    alphas = np.geomspace(1.0, 1e-2, 4)
    fixed = {name: value for name, value in params.items() if name != "scoring"}
    scoring = params.get("scoring")
    regressor = GDLinearRegressor(penalty="l2", tol=1e-7, random_state=0, **fixed)
    if scoring is None:
        loss = regressor._loss()
        scoring = make_scorer(lambda y, p: loss.value(p - y).mean(), greater_is_better=False)
    model = GDLinearRegressorCV(alphas, tol=1e-7, random_state=0, cv=3, **params).fit(X, y)
    search = GridSearchCV(regressor, {"alpha": alphas}, cv=3, scoring=scoring).fit(X, y)
    assert_allclose(model.cv_results_["mean_test_score"], search.cv_results_["mean_test_score"], atol=1e-4)
    assert model.best_index_ == search.best_index_
    assert_allclose(model.coef_, search.best_estimator_.coef_, atol=1e-2)


def test_descents_and_moments_agree(data):
    X, y = data
    alphas = [1.0, 0.1, 0.01]
    exact = GDLinearRegressorCV(alphas, penalty="elasticnet", l1_ratio=[0.2, 0.9]).fit(X, y)
    descents = clone(exact).set_params(precondition=False, tol=1e-11, random_state=0).fit(X, y)
    assert_allclose(descents.mse_path_, exact.mse_path_, rtol=1e-5)
    assert_allclose(descents.coef_path_, exact.coef_path_, atol=1e-4)
    assert descents.best_index_ == exact.best_index_


def test_more_features_than_a_matrix_is_made_for(rng, monkeypatch):
    monkeypatch.setattr(_cross_validation, "MOST_COLUMNS", 5)
    X = csr_array(rng.normal(size=(60, 6)))
    y = X @ np.arange(6.0) + rng.normal(size=60)
    model = GDLinearRegressorCV([1.0, 0.01], tol=1e-9, random_state=0).fit(X, y)
    monkeypatch.undo()
    assert_allclose(model.mse_path_, GDLinearRegressorCV([1.0, 0.01]).fit(X, y).mse_path_, rtol=1e-4)
    assert not hasattr(model, "coef_path_")


def test_each_descent_starts_from_the_answer_for_the_strength_before(data, monkeypatch):
    starts, answers, fit = [], [], GDLinearRegressor.fit

    def recorded(self, *args, **kwargs):
        starts.append(kwargs.get("coef_init"))
        answers.append(fit(self, *args, **kwargs).coef_)
        return self

    monkeypatch.setattr(GDLinearRegressor, "fit", recorded)
    GDLinearRegressorCV([1.0, 0.1, 0.01], precondition=False, cv=2, random_state=0).fit(*data)
    assert len(starts) == 9  # two splits, and all rows
    for place, start in enumerate(starts):
        assert start is None if place % 3 == 0 else start is answers[place - 1]


def test_one_warning_for_all_descents_that_ended_early(data):
    """Two strengths on five splits and on all rows."""
    message = r"12 of the descents did not come within tol=1e-12: they made max_iter=1 epochs"
    with pytest.warns(ConvergenceWarning, match=message) as caught:
        GDLinearRegressorCV([1.0, 0.1], precondition=False, max_iter=1, tol=1e-12, random_state=0).fit(*data)
    assert len(caught) == 1


@pytest.fixture
def unequal(rng):
    """Columns of which descents without standardization learn one only: the objective soon hardly falls."""
    X = rng.normal(size=(300, 2))
    return X * [1.0, 1e-4], X @ [1.0, 0.05**0.5] + 0.02 * rng.normal(size=300)


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_descents_that_stop_far_from_the_optimum_are_counted(unequal, n_jobs):
    X, y = unequal
    model = GDLinearRegressorCV([1e-11, 1e-12], cv=3, standardize=False, random_state=0, n_jobs=n_jobs)
    with pytest.warns(ConvergenceWarning, match=r"^8 of the descents .*tol=0.0001") as caught:
        model.fit(X, y)
    assert len(caught) == 1
    exact = Ridge(1e-12 * len(X)).fit(X, y)
    assert model.score(X, y) < exact.score(X, y) - 0.01  # the warning is right
    model.set_params(tol=None, max_iter=5).fit(X, y)  # without a tolerance nothing is missed


def test_the_descents_of_all_rows_are_counted_where_no_path_is_kept(unequal, monkeypatch):
    monkeypatch.setattr(_cross_validation, "MOST_COLUMNS", 1)
    model = GDLinearRegressorCV([1e-11, 1e-12], cv=3, standardize=False, random_state=0)
    with pytest.warns(ConvergenceWarning, match=r"^(7|8) of the descents") as caught:
        model.fit(*unequal)
    fits = 6 + 1 + model.best_index_  # the path ends at the choice
    assert str(caught[0].message).startswith(f"{fits} of")


def test_descents_of_which_nothing_is_known_do_not_warn(data):
    """A constant column bears a penalty that second moments do not tell of."""
    X, y = np.column_stack([data[0] - data[0].mean(axis=0), np.ones(90)]), data[1]
    params = dict(standardize=False, random_state=0)
    alone = GDLinearRegressor(penalty="l2", alpha=0.1, **params).fit(X, y)
    assert alone.stop_reason_ == "no_change"
    GDLinearRegressorCV([0.1], cv=3, **params).fit(X, y)


def test_ctrl_c_leaves_the_model_as_it_was(data, monkeypatch):
    model = GDLinearRegressorCV(loss="huber", n_alphas=2, random_state=0).fit(*data)
    before = pickle.dumps(model)

    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(GDLinearRegressor, "fit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        model.fit(*data)
    assert pickle.dumps(model) == before


# --- the rule of one standard error ----------------------------------------------------------------------------------


def test_one_standard_error_takes_the_strongest_penalty_that_is_about_as_good(data):
    best = GDLinearRegressorCV(penalty="l1").fit(*data)
    simple = GDLinearRegressorCV(penalty="l1", rule="one_se").fit(*data)
    mean, splits = best.mse_path_.mean(axis=1), best.mse_path_.shape[1]
    limit = mean.min() + best.mse_path_[mean.argmin()].std(ddof=1) / np.sqrt(splits)
    assert simple.best_index_ == np.flatnonzero(mean <= limit)[0] < best.best_index_
    assert simple.alpha_ == best.alphas_[simple.best_index_]
    assert simple.best_score_ == -mean[simple.best_index_]
    assert (simple.coef_ != 0.0).sum() <= (best.coef_ != 0.0).sum()


# --- scikit-learn ----------------------------------------------------------------------------------------------------

VARIANTS = [
    {},
    {"penalty": "l1"},
    {"penalty": "elasticnet", "l1_ratio": (0.5, 1.0), "rule": "one_se"},
    {"positive": True},
    {"fit_intercept": False},
    {"scoring": "neg_mean_absolute_error"},
    {"loss": "huber", "n_alphas": 2, "cv": 2, "eps": 1e-6, "tol": 1e-14},
]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@parametrize_with_checks([GDLinearRegressorCV(**({"n_alphas": 10, "cv": 3} | params)) for params in VARIANTS])
def test_sklearn_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize("check", ["check_param_validation", "check_dataframe_column_names_consistency"])
def test_sklearn_checks_that_third_parties_are_not_offered(check):
    if "dataframe" in check:
        pytest.importorskip("pandas", reason="pandas is not installed: no frames to check")
    getattr(estimator_checks, check)("GDLinearRegressorCV", GDLinearRegressorCV(cv=3))


def test_pickles_clones_and_nests(data):
    X, y = data
    model = GDLinearRegressorCV(n_alphas=5, cv=KFold(3)).fit(X, y)
    assert b"sk_gdlinear.cv" not in pickle.dumps(model)
    loaded = pickle.loads(pickle.dumps(model))
    assert_array_equal(loaded.predict(X), model.predict(X))
    assert not hasattr(clone(model), "alpha_")
    pipeline = make_pipeline(StandardScaler(), clone(model))
    assert cross_val_score(pipeline, X, y, cv=3).mean() > 0.5


def test_cv_results_make_a_data_frame(data):
    frames = pytest.importorskip("pandas", reason="pandas is not installed")
    model = GDLinearRegressorCV(penalty="elasticnet", l1_ratio=[0.5, 1.0], n_alphas=5).fit(*data)
    table = frames.DataFrame(model.cv_results_)
    assert table.shape == (10, 10)
    assert table.loc[model.best_index_, "rank_test_score"] == 1
    assert table.loc[model.best_index_, "param_alpha"] == model.alpha_


@pytest.mark.parametrize("n_jobs", [2, -1])
def test_threads_change_no_bit(data, n_jobs):
    for params in ({"penalty": "l1"}, {"loss": "huber", "n_alphas": 3}):
        one = GDLinearRegressorCV(random_state=0, **params).fit(*data)
        several = GDLinearRegressorCV(random_state=0, n_jobs=n_jobs, **params).fit(*data)
        assert_array_equal(one.mse_path_, several.mse_path_)
        assert_array_equal(one.coef_, several.coef_)


def test_verbose_prints_a_line_per_split(data, capsys):
    GDLinearRegressorCV(n_alphas=7, cv=3, verbose=1).fit(*data)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(",")[0] for line in lines] == [f"split {i} of 3: 7 fits" for i in (1, 2, 3)]


def test_groups_are_routed_to_the_splitter(data):
    X, y = data
    groups = np.repeat(np.arange(9), 10)
    expected = GDLinearRegressorCV(n_alphas=5, cv=list(GroupKFold(3).split(X, y, groups))).fit(X, y)
    with sklearn.config_context(enable_metadata_routing=True):
        model = GDLinearRegressorCV(n_alphas=5, cv=GroupKFold(3)).fit(X, y, groups=groups)
        scorer = make_scorer(mean_absolute_error, greater_is_better=False).set_score_request(sample_weight=True)
        weight = np.linspace(0.5, 2.0, 90)
        routed = GDLinearRegressorCV(n_alphas=5, cv=GroupKFold(3), scoring=scorer)
        routed = routed.fit(X, y, sample_weight=weight, groups=groups)
    assert_array_equal(model.mse_path_, expected.mse_path_)
    plain = GDLinearRegressorCV(n_alphas=5, cv=list(GroupKFold(3).split(X, y, groups)), scoring=scorer)
    assert_array_equal(
        routed.cv_results_["mean_test_score"], plain.fit(X, y, sample_weight=weight).cv_results_["mean_test_score"]
    )
    assert set(routed.get_metadata_routing()._serialize()) >= {"scorer", "splitter"}


# --- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"alphas": 20}, r"'alphas' parameter .* Got 20 instead"),
        ({"alphas": []}, "alphas must be a list of at least one number"),
        ({"alphas": [1.0, -1.0]}, r"alphas must be finite and >= 0, got -1\."),
        ({"alphas": [1.0, np.nan]}, r"alphas must be finite and >= 0, got nan\."),
        ({"alphas": [np.inf, 1.0]}, r"alphas must be finite and >= 0, got inf\."),
        ({"alphas": [[1.0]]}, r"shape \(1, 1\). For a path of so many strengths pass n_alphas"),
        ({"alphas": ["a"]}, "alphas must be a list of numbers"),
        ({"penalty": "elasticnet", "l1_ratio": [0.5, 2.0]}, "l1_ratio must be from 0 to 1, got 2"),
        ({"penalty": None}, "'penalty' parameter"),
        ({"rule": "one_se", "cv": [(range(60), range(60, 90))]}, "needs at least 2 splits"),
        ({"scoring": "r2", "cv": LeaveOneOut()}, r"at least 2 held-out rows, split 0 of cv has 1"),
        ({"cv": [([0, 0, 1], [2])]}, "training rows of split 0 of cv name a row more than once"),
        ({"cv": [([0, 1], [90])]}, r"held-out rows of split 0 of cv must be numbers of rows, below 90: .* up to 90"),
        ({"cv": [([0.5, 1], [2])]}, "training rows of split 0 of cv must be numbers of rows"),
        ({"cv": [([0, 1], [])]}, "no row of non-zero weight to hold out"),
        ({"cv": []}, "cv must have at least one split, got none"),
        ({"scoring": lambda m, X, y: "a"}, "scoring must return a number, got 'a'"),
        ({"scoring": lambda m, X, y: {"r2": 1.0}}, r"scoring must return a number, got \{'r2': 1.0\} for split 0"),
        ({"scoring": lambda m, X, y: None}, "scoring must return a number, got None"),
        ({"scoring": lambda m, X, y: 1j}, "scoring must return a number, got 1j"),
        ({"scoring": lambda m, X, y: np.nan}, "scoring returned NaN"),
    ],
    ids=name_of,
)
def test_errors_say_what_to_do_and_change_nothing(data, params, message):
    model = GDLinearRegressorCV(n_alphas=3).fit(*data)
    before = vars(model).copy()
    model.set_params(**params)
    with pytest.raises(ValueError, match=message):
        model.fit(*data)
    assert {name: value for name, value in vars(model).items() if name.endswith("_")} == {
        name: value for name, value in before.items() if name.endswith("_")
    }


def test_a_failed_call_on_other_data_leaves_the_number_of_features(data):
    X, y = data
    model = GDLinearRegressorCV(n_alphas=3).fit(X, y)
    expected = model.predict(X)
    with pytest.raises(ValueError, match="Split 0"):
        model.set_params(cv=[([0], [])]).fit(X[:, :2], y)
    assert_array_equal(model.predict(X), expected)


def test_held_out_zeros_are_scored(data):
    """Columns of zeros have no unit of their own."""
    X, y = data
    X[:30], y[:30] = 0.0, 0.0
    model = GDLinearRegressorCV([0.1], cv=[(np.arange(30, 90), np.arange(30))]).fit(X, y)
    exact = Ridge(0.1 * 60).fit(X[30:], y[30:])
    assert_allclose(model.mse_path_, [[exact.intercept_**2]])


def test_groups_without_routing_are_refused_with_the_cure(data):
    with pytest.raises(ValueError, match="fit got groups.*enable_metadata_routing=True"):
        GDLinearRegressorCV(cv=GroupKFold(3)).fit(*data, groups=np.arange(90))


def test_weights_that_leave_a_split_without_rows_are_refused(data):
    weight = np.r_[np.zeros(30), np.ones(60)]
    with pytest.raises(ValueError, match="Split 0 of cv has no row of non-zero weight to hold out"):
        GDLinearRegressorCV(cv=3).fit(*data, sample_weight=weight)


@pytest.mark.parametrize("penalty", ["l2", "l1"])
def test_a_split_in_whose_training_rows_no_feature_varies_predicts_their_mean(penalty):
    """Then the matrix of the model has no columns."""
    X, y, alphas = np.r_[np.zeros(4), 1.0, 2.0, 3.0, 4.0][:, None], np.arange(8.0), [0.1, 0.01]
    model = GDLinearRegressorCV(alphas, penalty=penalty, cv=2).fit(X, y)
    # The first split trains on the last four rows, exactly y = x + 3; the second knows the mean of the first four.
    expected = np.square(y[4:] - y[:4].mean()).mean()
    assert_allclose(np.asarray(model.mse_path_).reshape(-1, 2)[:, 1], expected, rtol=1e-12)
