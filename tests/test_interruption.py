"""Ctrl-C in fit is raised again; the model is that of the last complete epoch, or as it was if there is none."""

import gc
import signal
import subprocess
import sys

import pytest
from numpy.testing import assert_array_equal
from sklearn.model_selection import GridSearchCV

from sk_gdlinear import GDLinearRegressor
from sk_gdlinear._data import rows
from sk_gdlinear._descent.method import MiniBatchDescent
from sk_gdlinear._fit import loop

PLAIN = dict(standardize=False, average=False, learning_rate=1e-3)


@pytest.fixture
def data(rng):
    X = rng.normal(size=(40, 3)) + 1.0
    return X, X @ [1.0, -2.0, 0.5] + rng.normal(size=40)


@pytest.fixture
def interrupt_at(monkeypatch):
    """Function of ``call``: have Ctrl-C pressed at that block of 10 rows, counted over all epochs."""
    plan, n_calls = MiniBatchDescent._plan, 0
    monkeypatch.setattr(rows, "BLOCK_ROWS", 10)

    def interrupt_at(call):
        def interrupted(self, *args):
            nonlocal n_calls
            n_calls += 1
            if n_calls == call:
                raise KeyboardInterrupt
            return plan(self, *args)

        monkeypatch.setattr(MiniBatchDescent, "_plan", interrupted)

    return interrupt_at


@pytest.mark.parametrize("params", [{"precondition": False}, PLAIN, {"schedule": "invscaling"}], ids=str)
@pytest.mark.parametrize("call", [9, 12])
def test_the_model_is_that_of_the_last_complete_epoch(data, seed, interrupt_at, params, call):
    """An epoch has four blocks here: epoch 3 is interrupted, before its first update and in its last quarter."""
    params = dict(batch_size=5, random_state=seed, tol=None) | params
    expected = GDLinearRegressor(max_iter=2, **params).fit(*data)
    interrupt_at(call)
    model = GDLinearRegressor(**params)
    with pytest.raises(KeyboardInterrupt, match="interrupted after 2 complete epochs"):
        model.fit(*data)
    assert model.stop_reason_ == "interrupted"
    assert (model.n_iter_, model.t_, model.loss_curve_) == (2, expected.t_, expected.loss_curve_)
    assert_array_equal(model.coef_, expected.coef_)
    assert model.intercept_ == expected.intercept_


@pytest.mark.filterwarnings("ignore:max_iter")
@pytest.mark.parametrize(
    "params", [dict(loss="quantile", penalty="l1", alpha=0.1, precondition=False), dict(schedule="adaptive")], ids=str
)
def test_a_snapshot_restores_parameters_objective_and_step(data, seed, monkeypatch, params):
    """Also where the loss, its penalty and the step have changed since."""
    snapshot, snapshots = MiniBatchDescent.snapshot, []

    def remembered(self):
        taken = snapshot(self)
        if self.state.n_epochs != 1:  # the evaluation after the first also fills the gradient table
            snapshots.append((self, taken, self.reported()[0].copy(), self.evaluate(), self.current_step))
        return taken

    monkeypatch.setattr(MiniBatchDescent, "snapshot", remembered)
    GDLinearRegressor(max_iter=60, tol=0.1, random_state=seed, **params).fit(*data)
    assert len({step for *_, step in snapshots}) > 1
    for method, taken, W, evaluation, step in snapshots:
        method.restore(taken)
        assert_array_equal(method.reported()[0], W)
        assert method.evaluate() == evaluation
        assert method.current_step == step


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_going_on_after_an_interruption_equals_never_stopping(data, seed, interrupt_at, method):
    """The row order that was drawn for the interrupted epoch is drawn again."""
    params = PLAIN | dict(batch_size=5, random_state=seed, tol=None, warm_start=True)
    expected = GDLinearRegressor(max_iter=3, **params).fit(*data)
    interrupt_at(11)
    model = GDLinearRegressor(**params)
    with pytest.raises(KeyboardInterrupt):
        model.fit(*data)
    getattr(model.set_params(max_iter=1), method)(*data)
    assert_array_equal(model.coef_, expected.coef_)
    assert model.t_ == expected.t_


@pytest.mark.parametrize("fitted", [False, True])
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_before_an_epoch_is_complete_nothing_changes(data, seed, interrupt_at, state_of, fitted, method):
    model = GDLinearRegressor(batch_size=5, precondition=False, random_state=seed, warm_start=True)
    if fitted:
        model.fit(*data)
    before = state_of(model)
    interrupt_at(3)
    with pytest.raises(KeyboardInterrupt):
        getattr(model, method)(*data)
    assert state_of(model) == before


@pytest.mark.parametrize("validated", [False, True])
def test_after_the_last_epoch_ctrl_c_costs_nothing(data, seed, monkeypatch, validated):
    X, y = data
    validation = dict(X_val=X[:9], y_val=y[:9]) if validated else {}
    expected = GDLinearRegressor(random_state=seed).fit(X, y, **validation)
    finish, presses = loop._Run.finish, iter([True, False])

    def interrupted(self):
        finish(self)
        if next(presses):
            raise KeyboardInterrupt

    monkeypatch.setattr(loop._Run, "finish", interrupted)
    model = GDLinearRegressor(random_state=seed)
    with pytest.raises(KeyboardInterrupt, match="interrupted"):
        model.fit(X, y, **validation)
    assert_array_equal(model.coef_, expected.coef_)
    assert model.loss_curve_ == expected.loss_curve_


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no interval timers")
@pytest.mark.parametrize("validated", [False, True])
def test_no_moment_is_a_bad_one(data, validated, monkeypatch):
    """At whatever instruction Ctrl-C arrives, the model is that of a complete epoch, the best with a validation set."""
    reason_to_stop, delay = loop._Run.reason_to_stop, 0.0

    def start_the_clock(self, *args):
        if len(self.history) == 2 and delay:
            signal.setitimer(signal.ITIMER_REAL, delay)
        return reason_to_stop(self, *args)

    monkeypatch.setattr(loop._Run, "reason_to_stop", start_the_clock)
    X, y = data
    validation = dict(X_val=X[:9], y_val=y[:9]) if validated else {}
    params = dict(tol=None, random_state=0)
    # Set, as a shell lets what it starts in the background ignore Ctrl-C.
    ctrl_c = signal.signal(signal.SIGINT, signal.default_int_handler)
    before = signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))
    gc.disable()  # Python drops what is raised in a callback of its garbage collector, and other packages install some
    try:
        for trial in range(30):
            delay = 1e-3 + 7e-6 * trial
            model = GDLinearRegressor(max_iter=10**6, **params)
            with pytest.raises(KeyboardInterrupt):
                model.fit(X, y, **validation)
            delay = 0.0
            expected = GDLinearRegressor(max_iter=model.n_iter_, **params).fit(X, y, **validation)
            assert model.stop_reason_ == "interrupted"
            assert model.loss_curve_ == expected.loss_curve_
            assert model.best_iter_ == expected.best_iter_
            assert_array_equal(model.coef_, expected.coef_)
    finally:
        gc.enable()
        signal.signal(signal.SIGALRM, before)
        signal.signal(signal.SIGINT, ctrl_c)


SCRIPT = """
import signal
import numpy as np
from sk_gdlinear import GDLinearRegressor

signal.signal(signal.SIGINT, signal.default_int_handler)
rng = np.random.default_rng(0)
X = rng.normal(size=(400_000, 4))
y = X.sum(axis=1)
model = GDLinearRegressor(tol=None, max_iter=10**9, random_state=0, verbose=1)
try:
    model.fit(X, y)
except KeyboardInterrupt:
    print("raised")
again = GDLinearRegressor(tol=None, max_iter=model.n_iter_, random_state=0).fit(X, y)
print(model.stop_reason_, np.array_equal(model.coef_, again.coef_))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no SIGINT to a child process")
def test_a_signal_ends_the_epochs_of_a_process_of_its_own():
    """Delivered wherever the process happens to be."""
    child = subprocess.Popen([sys.executable, "-u", "-c", SCRIPT], stdout=subprocess.PIPE, text=True)
    try:
        while not child.stdout.readline().startswith("     3 "):
            assert child.poll() is None
        child.send_signal(signal.SIGINT)
        out, _ = child.communicate(timeout=200)
    finally:
        child.kill()
    assert out.splitlines()[-2:] == ["raised", "interrupted True"]


def test_a_grid_search_ends_with_the_fit_that_was_interrupted(data, interrupt_at):
    interrupt_at(9)
    model = GDLinearRegressor(tol=None, max_iter=3, precondition=False, random_state=0)
    search = GridSearchCV(model, {"alpha": [0.1, 1.0]}, cv=3)
    with pytest.raises(KeyboardInterrupt):
        search.fit(*data)
    assert not hasattr(search, "cv_results_")
