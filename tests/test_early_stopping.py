"""Validation sets: rows that training never sees, by which it stops and chooses the best epoch."""

from contextlib import nullcontext

import numpy as np
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.ensemble import BaggingRegressor
from sklearn.metrics import mean_pinball_loss, mean_squared_error
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sk_gdlinear import GDLinearRegressor
from sk_gdlinear._data.rows import Rows
from sk_gdlinear._data.standardize import Standardization
from sk_gdlinear._descent.backend import DENSE
from sk_gdlinear._fit.validation import ValidationSet
from sk_gdlinear._objective.losses import SquaredError
from sk_gdlinear._objective.objective import Baseline, Objective

PLAIN = dict(standardize=False, average=False, learning_rate=1e-2)


@pytest.fixture
def small(rng):
    """Few enough rows to change each in turn."""
    X = rng.normal(size=(30, 3)) * [0.1, 1.0, 10.0] + 2.0
    return X, X @ [5.0, 1.0, -0.1] + rng.normal(size=30)


@pytest.fixture
def overfitting(rng):
    """Training rows hardly more than columns, and a validation set: the best epoch is an early one."""

    def rows(n):
        X = rng.normal(size=(n, 50))
        return X, X[:, 0] + rng.normal(size=n)

    return *rows(60), *rows(300)


def half_mse(model, X, y, weight=None):
    """The documented loss."""
    square = 0.5 * (model.predict(X) - y) ** 2
    return np.average(square if square.ndim == 1 else square.sum(axis=1), weights=weight)


def held_out_rows(X, y, weight=None, **params):
    """Rows whose target leaves the coefficients as they are, to the bit, when it changes."""

    def fit(y):
        return GDLinearRegressor(max_iter=1, tol=None, early_stopping=True, **params).fit(X, y, weight)

    usual, rows = fit(y), []
    for row in range(len(X)):
        changed = y.copy()
        changed[row] += 1e3
        model = fit(changed)
        same_fit = np.array_equal(model.coef_, usual.coef_) and model.intercept_ == usual.intercept_
        same_validation = model.validation_loss_curve_ == usual.validation_loss_curve_
        assert same_fit or not same_validation  # other coefficients have another loss
        if same_fit:
            assert not same_validation  # every held-out row counts
            rows.append(row)
    return usual, rows


# --- the split -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("params", [{}, {"batch_size": None}, PLAIN], ids=str)
@pytest.mark.parametrize("fraction", [0.1, 0.25, 0.01, 0.9, 0.93])
def test_the_asked_fraction_of_rows_is_never_trained_on(small, seed, params, fraction):
    X, y = small
    _, rows = held_out_rows(X, y, random_state=seed, validation_fraction=fraction, **params)
    assert len(rows) == min(np.ceil(fraction * len(X)), 29)


def test_statistics_come_from_training_rows_alone(small, seed):
    """Centre, scale, step and mean weight: a held-out row may hold anything."""
    X, y = small
    weight = np.linspace(0.5, 2.0, len(X))
    usual, rows = held_out_rows(X, y, weight, random_state=seed)
    X, y, weight = X.copy(), y.copy(), weight.copy()
    X[rows], y[rows], weight[rows] = 1e6, -1e6, 1e3
    model = GDLinearRegressor(max_iter=1, tol=None, early_stopping=True, random_state=seed).fit(X, y, weight)
    assert_array_equal(model.coef_, usual.coef_)
    assert model.intercept_ == usual.intercept_
    assert model.learning_rate_ == usual.learning_rate_


def test_weights_follow_their_rows(small, seed):
    """The validation loss is that of the held-out rows, with their own weights."""
    X, y = small
    weight = np.exp(y / 10)
    model, rows = held_out_rows(X, y, weight, random_state=seed, validation_fraction=0.3)
    assert_allclose(model.validation_loss_curve_, half_mse(model, X[rows], y[rows], weight[rows]), rtol=1e-9)
    training = np.setdiff1d(np.arange(len(X)), rows)
    assert_allclose(model.loss_curve_, half_mse(model, X[training], y[training], weight[training]), rtol=1e-9)


@pytest.mark.parametrize("weighted", [False, True])
def test_splitting_off_equals_fitting_with_these_rows_as_validation_set(small, seed, weighted):
    X, y = small
    weight = np.linspace(0.5, 2.0, len(X)) if weighted else None
    params = dict(random_state=seed, shuffle=False, validation_fraction=0.3)
    _, rows = held_out_rows(X, y, weight, **params)
    model = GDLinearRegressor(early_stopping=True, **params).fit(X, y, weight)
    rest = np.setdiff1d(np.arange(len(X)), rows)
    weight, weight_val = (weight[rest], weight[rows]) if weighted else (None, None)
    apart = GDLinearRegressor(**params).fit(
        X[rest], y[rest], weight, X_val=X[rows], y_val=y[rows], sample_weight_val=weight_val
    )
    # Up to rounding: second moments of the rows apart are summed in other blocks.
    assert_allclose(model.coef_, apart.coef_, rtol=1e-11)
    assert_allclose(model.validation_loss_curve_, apart.validation_loss_curve_, rtol=1e-12)
    assert model.best_iter_ == apart.best_iter_


def test_rows_of_weight_zero_are_neither_trained_on_nor_held_out(small, seed):
    X, y = small
    weight = np.tile([1.0, 0.0, 2.0], 10)
    model = GDLinearRegressor(early_stopping=True, random_state=seed).fit(X, y, weight)
    absent = GDLinearRegressor(early_stopping=True, random_state=seed).fit(
        X[weight > 0], y[weight > 0], weight[weight > 0]
    )
    assert_array_equal(model.coef_, absent.coef_)
    assert model.validation_loss_curve_ == absent.validation_loss_curve_


def test_split_depends_on_random_state_alone(small):
    X, y = small

    def rows(seed):
        return held_out_rows(X, y, random_state=seed)[1]

    np.random.seed(0)  # noqa: NPY002 - the generator that must not matter
    before = rows(1)
    np.random.seed(5)  # noqa: NPY002 - the same
    assert rows(1) == before
    assert len({tuple(rows(seed)) for seed in range(5)}) > 1


def test_warm_start_holds_the_same_rows_out_again(small, seed):
    """Rows once trained on would tell nothing of what is to be expected of new ones."""
    X, y = small
    params = dict(random_state=seed, early_stopping=True, max_iter=1, tol=None)
    _, rows = held_out_rows(X, y, random_state=seed)
    usual = GDLinearRegressor(warm_start=True, **params).fit(X, y)
    changed = GDLinearRegressor(warm_start=True, **params).fit(X, y)
    y_changed = y.copy()
    y_changed[rows] += 1e3
    assert_array_equal(changed.fit(X, y_changed).coef_, usual.fit(X, y).coef_)


@pytest.mark.parametrize("fraction", [0.1, 0.3])
def test_two_rows_to_train_on_are_enough(fraction):
    X = np.array([[0.0], [1.0], [2.0]])
    model = GDLinearRegressor(early_stopping=True, validation_fraction=fraction, random_state=0).fit(X, X[:, 0])
    assert np.isfinite(model.validation_loss_curve_).all()


@pytest.mark.parametrize("weight", [None, [0.0, 3.0, 0.0]])
def test_one_row_is_not_enough(weight):
    X = np.zeros((1 if weight is None else 3, 2))
    with pytest.raises(ValueError, match="n_samples=1 of non-zero weight"):
        GDLinearRegressor(early_stopping=True).fit(X, X[:, 0], weight)


# --- the best epoch --------------------------------------------------------------------------------------------------


class AfterEpoch:
    """A callback that does something after one epoch."""

    def __init__(self, epoch, action):
        self.epoch, self.action = epoch, action

    def setup(self, estimator, context):
        pass

    def teardown(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context):
        pass

    def on_fit_task_end(self, estimator, context):
        return context.task_name == "epoch" and context.task_id == self.epoch - 1 and self.action()


def interrupt():
    raise KeyboardInterrupt


ENDINGS = {
    "early_stopping": {},
    "max_iter": dict(tol=None, max_iter=40),
    "callback": dict(tol=None, callback=lambda: True),
    "interrupted": dict(tol=None, callback=interrupt),
}


@pytest.mark.parametrize("average", [False, True])
@pytest.mark.parametrize("batch_size", [8, None])
@pytest.mark.parametrize("targets", [1, 2])
@pytest.mark.parametrize("ending", ENDINGS)
def test_the_best_epoch_is_kept_however_training_ends(overfitting, seed, ending, average, batch_size, targets):
    X, y, X_val, y_val = overfitting
    if targets == 2:
        y, y_val = np.column_stack([y, 30 * y[::-1]]), np.column_stack([y_val, 30 * y_val[::-1]])
    params = dict(ENDINGS[ending])
    callback = params.pop("callback", None)
    model = GDLinearRegressor(average=average, batch_size=batch_size, random_state=seed, **params)
    if callback:
        pytest.importorskip("sklearn.callback", reason="this scikit-learn has no callbacks")
        model.set_callbacks(AfterEpoch(40, callback))
    with pytest.raises(KeyboardInterrupt) if ending == "interrupted" else nullcontext():
        model.fit(X, y, X_val=X_val, y_val=y_val)
    assert model.stop_reason_ == ending
    if ending != "early_stopping":
        assert model.n_iter_ == 40
    assert len(model.loss_curve_) == len(model.validation_loss_curve_) == model.n_iter_
    assert model.best_iter_ == 1 + np.argmin(model.validation_loss_curve_)
    assert model.best_iter_ < model.n_iter_
    assert_allclose(half_mse(model, X_val, y_val), min(model.validation_loss_curve_), rtol=1e-9)
    assert_allclose(half_mse(model, X, y), model.loss_curve_[model.best_iter_ - 1], rtol=1e-9)


@pytest.mark.parametrize("average", [False, True])
def test_kept_coefficients_are_those_of_a_fit_of_so_many_epochs(overfitting, seed, average):
    X, y, X_val, y_val = overfitting
    params = dict(average=average, batch_size=8, tol=None, random_state=seed)
    model = GDLinearRegressor(max_iter=30, **params).fit(X, y, X_val=X_val, y_val=y_val)
    shorter = GDLinearRegressor(max_iter=model.best_iter_, **params).fit(X, y)
    assert (model.n_iter_, model.t_) == (30, shorter.t_)
    assert_array_equal(model.coef_, shorter.coef_)
    assert model.intercept_ == shorter.intercept_


@pytest.mark.parametrize("patience", [1, 3, 10])
def test_patience_counts_epochs_without_a_new_best(overfitting, patience):
    X, y, X_val, y_val = overfitting
    model = GDLinearRegressor(batch_size=None, tol=0, n_iter_no_change=patience).fit(X, y, X_val=X_val, y_val=y_val)
    assert model.n_iter_ == model.best_iter_ + patience


@pytest.mark.parametrize("settings", [{}, dict(precondition=True, tol=0)], ids=str)
@pytest.mark.parametrize("params", [dict(penalty="l2", alpha=1e-2), dict(loss="huber")], ids=str)
def test_nothing_is_repeated_beyond_the_patience_once_the_minimum_is_reached(params, settings):
    """Newton steps end at the minimum of the training rows, so that all later epochs have the same loss."""
    rng = np.random.default_rng(4)
    X, X_val = rng.normal(size=(2000, 5)), rng.normal(size=(300, 5))
    y, y_val = (A @ [1.0, 2.0, 3.0, 0.0, 0.0] + 0.3 * rng.normal(size=len(A)) for A in (X, X_val))
    model = GDLinearRegressor(random_state=0, **settings, **params)
    model.fit(X, y, X_val=X_val, y_val=y_val)
    assert model.stop_reason_ == "early_stopping"
    at_minimum = 1 + np.argmin(np.array(model.loss_curve_) > min(model.loss_curve_) * (1.0 + 1e-12))
    assert model.n_iter_ <= max(at_minimum, model.best_iter_) + model.n_iter_no_change


def test_targets_count_in_their_own_units(rng):
    """What is judged is the documented loss but for one factor, whatever the units that the descent works in."""
    V, Y = rng.normal(size=(20, 2)), rng.normal(size=(20, 3)) * [1.0, 1e3, 1e-3]
    standardization = Standardization(np.zeros(2), np.ones(2), np.zeros(3), np.array([1.0, 1e-3, 1e3]))
    baseline = Baseline(np.zeros(3), np.ones(3), np.ones(3))
    validation = ValidationSet(DENSE, Rows(V, Y), Objective.of(SquaredError(), None, standardization, baseline))
    for W in rng.normal(size=(3, 3, 2)):
        loss, judged = validation.loss(W, np.zeros(3))
        assert_allclose(loss, 0.5 * ((V @ (W * [[1.0], [1e3], [1e-3]]).T - Y) ** 2).sum(axis=1).mean(), rtol=1e-12)
        assert_allclose(judged, loss / 1e6, rtol=1e-12)


def test_improvement_is_measured_from_the_best_epoch(small, monkeypatch):
    """Not from the epoch before: climbing down again half the way up is no improvement."""
    losses = iter([9.0, 5.0, 3.0, 4.0, 3.5, 3.2, 2.0])  # the first is that of predicting the mean
    monkeypatch.setattr(ValidationSet, "loss", lambda self, W, b: (next(losses),) * 2)
    X, y = small
    model = GDLinearRegressor(batch_size=None, tol=0, n_iter_no_change=3).fit(X, y, X_val=X, y_val=y)
    assert (model.best_iter_, model.n_iter_, model.stop_reason_) == (2, 5, "early_stopping")


def test_early_stopping_generalises_better_where_training_longer_overfits(overfitting, seed):
    X, y, X_val, y_val = overfitting
    stopped = GDLinearRegressor(random_state=seed).fit(X, y, X_val=X_val[:100], y_val=y_val[:100])
    converged = GDLinearRegressor(max_iter=500, tol=None, random_state=seed).fit(X, y)
    assert half_mse(stopped, X_val[100:], y_val[100:]) < half_mse(converged, X_val[100:], y_val[100:])


@pytest.mark.parametrize("batch_size", [8, None])
def test_units_of_the_target_change_no_decision(overfitting, seed, batch_size):
    """Not even where the squares of y have no number."""
    X, y, X_val, y_val = overfitting

    def fit(unit):
        model = GDLinearRegressor(batch_size=batch_size, random_state=seed)
        return model.fit(X, unit * y, X_val=X_val, y_val=unit * y_val)

    models = [fit(unit) for unit in (2.0**-20, 1.0, 2.0**20, 2.0**600)]
    assert len({(model.n_iter_, model.best_iter_) for model in models}) == 1


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_a_validation_set_follows_the_dtype_of_the_training_set(overfitting, seed, dtype):
    X, y, X_val, y_val = overfitting
    model = GDLinearRegressor(random_state=seed).fit(X.astype(dtype), y, X_val=X_val, y_val=y_val)
    assert model.coef_.dtype == dtype
    assert_allclose(half_mse(model, X_val, y_val), min(model.validation_loss_curve_), rtol=1e-4)


def test_divergence_is_reported_with_and_without_validation_alike(small):
    X, y = small
    model = GDLinearRegressor(standardize=False, learning_rate=10.0, shuffle=False)
    messages = []
    for validation in ({}, dict(X_val=X, y_val=y)):
        with pytest.raises(ValueError, match="diverged") as caught:
            model.fit(X, y, **validation)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


def huber(error, epsilon):
    return np.where(np.abs(error) <= epsilon, 0.5 * error**2, epsilon * (np.abs(error) - 0.5 * epsilon)).mean()


@pytest.mark.parametrize("batch_size", [8, None])
@pytest.mark.parametrize(
    ("params", "loss"),
    [
        (dict(loss="huber", epsilon=0.7), lambda y, prediction: huber(prediction - y, 0.7)),
        (dict(loss="quantile", quantile=0.8), lambda y, prediction: mean_pinball_loss(y, prediction, alpha=0.8)),
        (dict(penalty="l1", alpha=0.05), lambda y, prediction: 0.5 * mean_squared_error(y, prediction)),
        (dict(penalty="l1", alpha=0.05, tol=0.1, schedule="adaptive"), lambda y, p: 0.5 * mean_squared_error(y, p)),
        (dict(loss="quantile", penalty="l1", alpha=0.05), lambda y, p: mean_pinball_loss(y, p, alpha=0.5)),
        (dict(positive=True), lambda y, prediction: 0.5 * mean_squared_error(y, prediction)),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else None,
)
@pytest.mark.filterwarnings("ignore:max_iter")
def test_the_best_epoch_is_judged_by_the_loss_alone_and_kept(overfitting, seed, params, loss, batch_size):
    """By that of ``loss``, unsmoothed and without the penalty."""
    X, y, X_val, y_val = overfitting
    params = dict(max_iter=40, tol=None, batch_size=batch_size, random_state=seed) | params
    model = GDLinearRegressor(**params).fit(X, y, X_val=X_val, y_val=y_val)
    assert model.best_iter_ == 1 + np.argmin(model.validation_loss_curve_)
    assert_allclose(loss(y_val, model.predict(X_val)), min(model.validation_loss_curve_), rtol=1e-5)


# --- validation sets of one's own ------------------------------------------------------------------------------------


def test_a_given_set_is_used_whatever_early_stopping_says(overfitting, seed):
    X, y, X_val, y_val = overfitting
    models = [
        GDLinearRegressor(early_stopping=flag, random_state=seed).fit(X, y, X_val=X_val, y_val=y_val)
        for flag in (False, True)
    ]
    assert_array_equal(models[0].coef_, models[1].coef_)
    assert models[0].validation_loss_curve_ == models[1].validation_loss_curve_


def test_validation_weights_of_integers_equal_repeated_rows(overfitting, seed, rng):
    X, y, X_val, y_val = overfitting
    weight = rng.integers(0, 3, len(X_val))
    weighted = GDLinearRegressor(random_state=seed).fit(X, y, X_val=X_val, y_val=y_val, sample_weight_val=weight)
    X_val, y_val = np.repeat(X_val, weight, axis=0), np.repeat(y_val, weight)
    repeated = GDLinearRegressor(random_state=seed).fit(X, y, X_val=X_val, y_val=y_val)
    assert_allclose(weighted.validation_loss_curve_, repeated.validation_loss_curve_, rtol=1e-9)
    assert_array_equal(weighted.coef_, repeated.coef_)


def test_validation_set_is_transformed_with_the_rest_in_a_pipeline(overfitting, seed):
    X, y, X_val, y_val = overfitting
    with sklearn.config_context(enable_metadata_routing=True):
        regressor = GDLinearRegressor(random_state=seed).set_fit_request(X_val=True, y_val=True)
        pipe = make_pipeline(StandardScaler(), regressor, transform_input=["X_val"])
        pipe.fit(X, y, X_val=X_val, y_val=y_val)
    scaler = StandardScaler().fit(X)
    alone = GDLinearRegressor(random_state=seed)
    alone.fit(scaler.transform(X), y, X_val=scaler.transform(X_val), y_val=y_val)
    assert_array_equal(pipe[-1].coef_, alone.coef_)
    assert pipe[-1].validation_loss_curve_ == alone.validation_loss_curve_


def test_frames_raise_no_warnings_of_feature_names(overfitting, seed):
    frames = pytest.importorskip("pandas", reason="pandas is not installed: no frames")
    X, y, X_val, y_val = overfitting
    names = [f"x{j}" for j in range(X.shape[1])]
    frame, frame_val = frames.DataFrame(X, columns=names), frames.DataFrame(X_val, columns=names)
    model = GDLinearRegressor(random_state=seed).fit(frame, y, X_val=frame_val, y_val=frames.Series(y_val))
    assert model.best_iter_ is not None
    GDLinearRegressor(early_stopping=True, random_state=seed).fit(frame, frames.Series(y))
    with pytest.raises(ValueError, match=r"validation set .* feature names should match"):
        model.fit(frame, y, X_val=frame_val[names[::-1]], y_val=y_val)


def test_bagging_with_early_stopping(overfitting):
    X, y, _, _ = overfitting
    model = BaggingRegressor(GDLinearRegressor(early_stopping=True), n_estimators=3, random_state=0)
    model.fit(X, y, sample_weight=np.tile([0.0, 1.0, 2.0], 20))
    assert np.isfinite(model.predict(X)).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(y_val=None), "needs both X_val and y_val: y_val was not given"),
        (dict(X_val=None), "needs both X_val and y_val: X_val was not given"),
        (dict(X_val=None, y_val=None, sample_weight_val=1.0), "needs both X_val and y_val"),
        (dict(X_val=np.ones((5, 3))), "validation set .* X has 3 features"),
        (dict(X_val=np.full((5, 2), np.nan)), "validation set .* contains NaN"),
        (dict(y_val=np.ones(4)), "validation set .* inconsistent numbers of samples"),
        (dict(y_val=np.ones((5, 1))), r"y_val must have the dimensions and targets of y: got shapes \(5, 1\) and"),
        (dict(sample_weight_val=np.zeros(5)), "validation set .* zero"),
        (dict(sample_weight_val=-np.ones(5)), "validation set .*Negative"),
        (dict(X_val=np.ones((0, 2)), y_val=np.ones(0)), r"validation set .* 0 sample\(s\)"),
    ],
)
def test_unfit_validation_sets_are_refused_and_change_nothing(rng, state_of, change, message):
    X, y = rng.normal(size=(20, 2)), rng.normal(size=20)
    model = GDLinearRegressor(random_state=0).fit(X, y)
    before = state_of(model)
    with pytest.raises(ValueError, match=f"(?s){message}"):
        model.fit(X, y, **(dict(X_val=X[:5], y_val=y[:5]) | change))
    assert state_of(model) == before


@pytest.mark.parametrize("fitted", [False, True])
def test_partial_fit_refuses_early_stopping_and_names_the_alternative(small, state_of, fitted):
    X, y = small
    model = GDLinearRegressor(early_stopping=True, random_state=0)
    if fitted:
        model.fit(X, y)
    before = state_of(model)
    with pytest.raises(ValueError, match=r"early_stopping=False .* X_val"):
        model.partial_fit(X, y)
    assert state_of(model) == before


# --- history ---------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_curves_stay_side_by_side_from_call_to_call(small, seed):
    """An entry per epoch of each fit and per partial_fit; NaN where nothing was validated."""
    X, y = small
    validation = dict(X_val=X[:10], y_val=y[:10])
    model = GDLinearRegressor(warm_start=True, max_iter=2, tol=None, random_state=seed)
    model.fit(X, y)
    assert (len(model.loss_curve_), model.validation_loss_curve_, model.best_iter_) == (2, None, None)
    model.fit(X, y, **validation)
    assert_array_equal(np.isnan(model.validation_loss_curve_), [True, True, False, False])
    assert len(model.loss_curve_) == 4
    assert model.best_iter_ == 1 + np.nanargmin(model.validation_loss_curve_)
    assert model.n_iter_ == 2
    model.partial_fit(X, y)
    assert_array_equal(np.isnan(model.validation_loss_curve_), [True, True, False, False, True])
    assert (len(model.loss_curve_), model.best_iter_, model.stop_reason_) == (5, None, None)
    model.set_params(warm_start=False).fit(X, y)
    assert (len(model.loss_curve_), model.validation_loss_curve_, model.best_iter_) == (2, None, None)
    assert_allclose(model.loss_curve_[-1], half_mse(model, X, y), rtol=1e-9)


@pytest.mark.parametrize("validated", [False, True])
@pytest.mark.parametrize("params", [{}, {"learning_rate": 1e-3, "average": False}], ids=str)
def test_the_curve_of_long_data_is_the_objective_over_all_rows(rng, validated, params):
    """Also where most of the noise is in a few rows."""
    X = rng.normal(size=(100_000, 3))
    y = X @ [1.0, 2.0, 3.0] + 100.0 * (np.arange(len(X)) % 1000 == 3) * rng.normal(size=len(X))
    validation = dict(X_val=X[:1000], y_val=y[:1000]) if validated else {}
    params = dict(tol=None, random_state=0) | params
    model = GDLinearRegressor(max_iter=4, **params).fit(X, y, **validation)
    curve = [half_mse(GDLinearRegressor(max_iter=epoch, **params).fit(X, y), X, y) for epoch in range(1, 5)]
    assert_allclose(model.loss_curve_, curve, rtol=1e-9)
