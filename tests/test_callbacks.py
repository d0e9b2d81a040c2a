"""scikit-learn's callbacks (new in 1.9): told of every epoch, and able to stop after one."""

import runpy
import sys
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sk_gdlinear import GDLinearRegressor, _compat
from sk_gdlinear._data import rows

callback = pytest.importorskip("sklearn.callback", reason="this scikit-learn has no callbacks")


class Recorder:
    """Notes what it is told, and answers ``answer(context, fitted_estimator)``."""

    def __init__(self, answer=lambda context, fitted: None):
        self.answer = answer
        self.begun, self.ended, self.fitted, self.data, self.torn_down = [], [], [], [], 0

    def setup(self, estimator, context):
        pass

    def teardown(self, estimator, context):
        self.torn_down += 1

    def on_fit_task_begin(self, estimator, context):
        self.begun.append((context.task_name, context.task_id))

    def on_fit_task_end(self, estimator, context, *, X, y, metadata, fitted_estimator):
        self.ended.append((context.task_name, context.task_id))
        self.data.append((X, y, metadata))
        if context.task_name != "rows":
            self.fitted.append(fitted_estimator)
        return self.answer(context, fitted_estimator)


@pytest.fixture
def data(rng):
    X = rng.normal(size=(120, 4)) * [1.0, 10.0, 0.1, 2.0] + 5.0
    return X, X @ [1.0, 0.2, -3.0, 0.5] + 0.5 * rng.normal(size=120)


def test_a_task_for_every_epoch_inside_one_for_the_fit(data, seed):
    recorder = Recorder()
    model = GDLinearRegressor(random_state=seed).set_callbacks(recorder).fit(*data)
    epochs = [("epoch", i) for i in range(model.n_iter_)]
    assert recorder.begun == [("fit", 0), *epochs]
    assert recorder.ended == [*epochs, ("fit", 0)]
    assert recorder.torn_down == 1


def test_callbacks_change_nothing_but_what_they_ask_for(data, seed):
    watched = GDLinearRegressor(random_state=seed).set_callbacks(Recorder()).fit(*data)
    alone = GDLinearRegressor(random_state=seed).fit(*data)
    assert_array_equal(watched.coef_, alone.coef_)
    assert watched.loss_curve_ == alone.loss_curve_


@pytest.mark.parametrize("average", [False, True])
def test_the_estimator_of_an_epoch_is_that_of_a_fit_of_so_many(data, seed, average):
    X, y = data
    recorder = Recorder()
    params = dict(average=average, random_state=seed, tol=None)
    GDLinearRegressor(max_iter=3, **params).set_callbacks(recorder).fit(X, y)
    for epoch, fitted in enumerate(recorder.fitted[:3], start=1):
        expected = GDLinearRegressor(max_iter=epoch, **params).fit(X, y)
        assert_array_equal(fitted.predict(X), expected.predict(X))
        # Where another epoch follows, the pass that fills the gradient table adds the losses in another order.
        assert_allclose(fitted.loss_curve_, expected.loss_curve_, rtol=1e-13)
        assert fitted.n_iter_ == epoch


def test_asking_to_stop_stops_after_that_epoch_with_its_model(data, seed):
    recorder = Recorder(lambda context, fitted: context.task_name == "epoch" and fitted.n_iter_ == 2)
    params = dict(random_state=seed, tol=None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = GDLinearRegressor(**params).set_callbacks(recorder).fit(*data)
    assert model.stop_reason_ == "callback"
    assert model.n_iter_ == 2
    assert_array_equal(model.coef_, GDLinearRegressor(max_iter=2, **params).fit(*data).coef_)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("fitted", [False, True])
def test_an_error_in_a_callback_leaves_the_model_as_it_was(data, seed, state_of, error, fitted):
    def fail(context, fitted_estimator):
        raise error

    model = GDLinearRegressor(random_state=seed)
    if fitted:
        model.fit(*data)
    before = state_of(model)
    recorder = Recorder(fail)
    for method in ("fit", "partial_fit"):
        if error is KeyboardInterrupt and method == "fit":
            continue  # ends an epoch that is complete: see test_interruption.py
        model.set_callbacks(recorder)
        with pytest.raises(error):
            getattr(model, method)(*data)
        assert state_of(model.set_callbacks()) == before
    assert recorder.torn_down == len(recorder.ended)


def test_ctrl_c_in_a_callback_keeps_the_epoch_it_was_told_of(data, seed):
    def interrupt(context, fitted):
        if context.task_name == "epoch" and context.task_id == 1:
            raise KeyboardInterrupt

    params = dict(random_state=seed, tol=None)
    recorder = Recorder(interrupt)
    model = GDLinearRegressor(**params).set_callbacks(recorder)
    with pytest.raises(KeyboardInterrupt, match="interrupted after 2 complete epochs"):
        model.fit(*data)
    assert_array_equal(model.coef_, GDLinearRegressor(max_iter=2, **params).fit(*data).coef_)
    assert recorder.ended[-1] == ("fit", 0)
    assert recorder.torn_down == 1


def test_callbacks_see_the_data_as_it_was_given(data):
    frames = pytest.importorskip("pandas", reason="pandas is not installed: no frames")
    X, y = data
    X, y = frames.DataFrame(X, columns=list("abcd")), frames.Series(y)
    weight = np.linspace(0.0, 2.0, 120)
    recorder, monitor = Recorder(), callback.ScoringMonitor(scoring="r2")
    model = GDLinearRegressor(random_state=0).set_callbacks(recorder, monitor)
    model.fit(X, y, sample_weight=weight)  # a warning of feature names would be an error here
    for X_seen, y_seen, metadata in recorder.data:
        assert X_seen is X and y_seen is y
        assert_array_equal(metadata["sample_weight"], weight)
    assert_allclose(monitor.get_logs().data[-1]["r2"], model.score(X, y, weight), rtol=1e-12)


def test_partial_fit_is_one_task(data, seed):
    X, y = data
    recorder = Recorder()
    model = GDLinearRegressor(random_state=seed).set_callbacks(recorder)
    for call in range(1, 3):
        model.partial_fit(X, y)
        assert recorder.begun == recorder.ended == [("partial_fit", 0)] * call
        assert_array_equal(recorder.fitted[-1].predict(X), model.predict(X))
        assert recorder.torn_down == call


def test_long_epochs_are_reported_block_by_block(data, monkeypatch):
    monkeypatch.setattr(rows, "BLOCK_ROWS", 7)
    recorder = Recorder()
    model = GDLinearRegressor(batch_size=7, max_iter=2, tol=None).set_callbacks(recorder).fit(*data)
    blocks = [("rows", i) for i in range(18)]
    assert recorder.ended == [*blocks, ("epoch", 0), *blocks, ("epoch", 1), ("fit", 0)]
    assert model.n_iter_ == 2


def test_without_callbacks_nothing_of_them_is_made(data, monkeypatch):
    """So that they cost nothing."""

    made, make = [], GDLinearRegressor._init_callback_context
    monkeypatch.setattr(
        GDLinearRegressor, "_init_callback_context", lambda *args, **kwargs: made.append(1) or make(*args, **kwargs)
    )
    GDLinearRegressor(random_state=0).fit(*data).partial_fit(*data)
    assert made == []
    GDLinearRegressor(random_state=0).set_callbacks(Recorder()).fit(*data)
    assert made != []


def test_scoring_monitor_logs_every_epoch(data, seed):
    X, y = data
    monitor = callback.ScoringMonitor(scoring=["r2", "neg_mean_squared_error"])
    model = GDLinearRegressor(random_state=seed).set_callbacks(monitor).fit(X, y)
    log = [row for row in monitor.get_logs().data if row["task_name"] == "epoch"]
    assert_allclose([-row["neg_mean_squared_error"] / 2 for row in log], model.loss_curve_, rtol=1e-9)


def test_in_a_pipeline(data, seed):
    X, y = data
    monitor = callback.ScoringMonitor(scoring="r2")
    pipe = make_pipeline(StandardScaler(), GDLinearRegressor(random_state=seed).set_callbacks(monitor)).fit(X, y)
    log = [row for row in monitor.get_logs().data if row["task_name"] == "epoch"]
    assert len(log) == pipe[-1].n_iter_


def test_in_a_grid_search_of_two_processes(data, seed):
    monitor = callback.ScoringMonitor(scoring="r2")
    model = GDLinearRegressor(max_iter=3, tol=None, random_state=seed).set_callbacks(monitor)
    search = GridSearchCV(model, {"batch_size": [8, 32]}, cv=2, n_jobs=2).fit(*data)
    log = [row for row in monitor.get_logs().data if row["task_name"] == "epoch"]
    assert len(log) == (2 * 2 + 1) * 3
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_progress_bar(data, capsys, method):
    pytest.importorskip("rich", reason="rich is not installed: no progress bars")
    getattr(GDLinearRegressor().set_callbacks(callback.ProgressBar()), method)(*data)
    shown = capsys.readouterr().out
    assert f"GDLinearRegressor - {method}" in shown
    assert "100%" in shown


def test_progress_bar_in_a_pipeline_and_a_grid_search(data, capsys):
    pytest.importorskip("rich", reason="rich is not installed: no progress bars")
    pipe = make_pipeline(StandardScaler(), GDLinearRegressor(max_iter=3, tol=None))
    search = GridSearchCV(pipe, {"gdlinearregressor__batch_size": [8, 32]}, cv=2, n_jobs=2)
    search.set_callbacks(callback.ProgressBar()).fit(*data)
    assert "100%" in capsys.readouterr().out


def test_where_scikit_learn_has_no_callbacks_there_is_nothing_to_mix_in(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.callback", None)
    names = runpy.run_path(_compat.__file__)
    assert not hasattr(names["CallbackSupportMixin"], "set_callbacks")
    assert names["with_callbacks"](len) is len
    assert not names["has_callbacks"](names["CallbackSupportMixin"]())
