"""fit_batches: epochs of partial_fit over chunks, stopped and resumed."""

import copy
import os
import pickle
import subprocess
import sys
import textwrap
from functools import partial

import numpy as np
import pytest
from numpy.testing import assert_array_equal, assert_equal

from sk_gdlinear import GDLinearRegressor, _chunk_loop

PLAIN = dict(standardize=False, average=False, learning_rate=1e-3)


def make_chunks(rng, n_chunks=5, rows=40, d=3, weights=False):
    X = rng.normal(size=(n_chunks, rows, d)) * [0.1, 1.0, 10.0] + 5.0
    y = X @ [10.0, 1.0, 0.1] + rng.normal(size=(n_chunks, rows))
    return list(zip(X, y, rng.uniform(0.5, 2.0, size=y.shape), strict=True) if weights else zip(X, y, strict=True))


def validation_of(chunks):
    """The rows of chunks as a validation set."""
    return {"X_val": np.concatenate([X for X, _ in chunks]), "y_val": np.concatenate([y for _, y in chunks])}


class Reordered:
    """Chunks in an order of their own each epoch, and a log of the epochs asked for."""

    def __init__(self, chunks):
        self.chunks, self.epoch, self.epochs = chunks, None, []

    def set_epoch(self, epoch):
        self.epoch = epoch
        self.epochs.append(epoch)

    def __iter__(self):
        for i in np.random.default_rng(self.epoch).permutation(len(self.chunks)):
            yield self.chunks[i]


def failing_at(chunks, epoch, position, error):
    """Chunks that raise in one place of one epoch."""

    class Failing(Reordered):
        def __iter__(self):
            for i, chunk in enumerate(super().__iter__()):
                if (self.epoch, i) == (epoch, position):
                    raise error
                yield chunk

    return Failing(chunks)


@pytest.fixture
def always_save(monkeypatch):
    monkeypatch.setattr(_chunk_loop, "CHECKPOINT_SHARE", np.inf)


def assert_same_model(model, other):
    """All that two models hold is the same to the bit, the generators' positions included."""
    states = [copy.deepcopy(vars(m)) for m in (model, other)]
    for state in states:
        state["_state"]["generator"] = state["_state"]["generator"].bit_generator.state
    assert_equal(*states)


# --- plain partial_fit underneath ------------------------------------------------------------------------------------


@pytest.mark.parametrize("params", [{}, PLAIN, {"warm_start": True}])
@pytest.mark.parametrize("weights", [False, True])
def test_it_is_partial_fit_over_the_chunks_of_each_epoch(rng, seed, params, weights):
    source = Reordered(make_chunks(rng, weights=weights))
    model = GDLinearRegressor(random_state=seed, tol=None, **params).fit_batches(source, epochs=3)
    assert source.epochs == [0, 1, 2]
    loop = GDLinearRegressor(random_state=seed, **params)
    for epoch in range(3):
        source.set_epoch(epoch)
        for chunk in source:
            loop.partial_fit(*chunk)
    assert_array_equal(model.coef_, loop.coef_)
    assert (model.intercept_, model.t_) == (loop.intercept_, loop.t_)
    assert (model.n_iter_, len(model.loss_curve_), model.stop_reason_) == (3, 3, "epochs")
    source.set_epoch(3)
    for chunk in source:  # both go on alike
        assert_array_equal(model.partial_fit(*chunk).coef_, loop.partial_fit(*chunk).coef_)


def test_a_function_and_an_iterable_are_the_same(rng, seed):
    chunks = make_chunks(rng)
    models = [GDLinearRegressor(random_state=seed).fit_batches(b, epochs=2) for b in (chunks, lambda: iter(chunks))]
    assert_same_model(*models)


def test_it_starts_afresh_unless_warm(rng, seed):
    chunks, other = make_chunks(rng), make_chunks(rng, d=3)
    model = GDLinearRegressor(random_state=seed).fit_batches(other, epochs=1)
    fresh = GDLinearRegressor(random_state=seed).fit_batches(chunks, epochs=2)
    assert fresh.n_iter_ == 2
    assert_same_model(model.fit_batches(chunks, epochs=2), fresh)

    warm = GDLinearRegressor(random_state=seed, warm_start=True)
    for _ in range(2):
        warm.fit_batches(chunks, epochs=1)
    assert_array_equal(warm.coef_, fresh.coef_)
    assert (warm.t_, warm.n_iter_) == (fresh.t_, 1)


@pytest.mark.parametrize("params", [{}, {"penalty": "l2", "alpha": 0.1}, {"penalty": "l1", "alpha": 0.1}], ids=str)
@pytest.mark.parametrize("epochs", [1, 3])
def test_epochs_over_chunks_in_any_order_have_the_answer_of_fit(rng, params, epochs):
    """Rows that come again weigh as before beside the others."""
    X = rng.normal(size=(600, 4)) + [0.0, 5.0, 0.0, 0.0]
    y = X @ [1.0, -2.0, 0.5, 0.0] + 0.5 * X[:, 0] ** 2 + rng.normal(size=600)
    weight, order = rng.uniform(0.5, 2.0, 600), np.argsort(y)
    chunks = [(X[part], y[part], weight[part]) for part in np.array_split(order, [5, 50, 51, 300])]
    model = GDLinearRegressor(random_state=0, **params).fit_batches(Reordered(chunks), epochs=epochs)
    fitted = GDLinearRegressor(random_state=0, tol=1e-12, **params).fit(X, y, weight)
    assert abs(model.score(X, y, weight) - fitted.score(X, y, weight)) <= 1e-9


# --- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("batches", "epochs", "error", "message"),
    [
        (lambda chunks: chunks, 0, ValueError, "epochs"),
        (lambda chunks: chunks, 2.0, TypeError, "epochs"),
        (iter, 2, TypeError, "iterator, used up after one epoch"),
        (lambda chunks: [], 2, ValueError, "no chunk"),
        (lambda chunks: [chunks[0][0]], 2, ValueError, r"tuples \(X, y\).*got ndarray"),
        (lambda chunks: [chunks[0] * 2], 2, ValueError, "length 4"),
        (lambda chunks: [(chunks[0][0], chunks[0][1] * np.nan)], 2, ValueError, "NaN"),
    ],
)
def test_a_call_that_learns_nothing_raises_and_changes_nothing(rng, state_of, batches, epochs, error, message):
    chunks = make_chunks(rng)
    model = GDLinearRegressor(random_state=0).fit(*chunks[0])
    before = state_of(model)
    with pytest.raises(error, match=message):
        model.fit_batches(batches(chunks), epochs=epochs)
    assert state_of(model) == before


def test_an_error_on_the_way_names_the_chunk_and_keeps_what_was_learnt(rng, seed):
    chunks = make_chunks(rng)
    model = GDLinearRegressor(random_state=seed, shuffle=False)
    bad = [*chunks[:3], (chunks[3][0], chunks[3][1] * np.nan)]
    with pytest.raises(ValueError, match="NaN") as caught:
        model.fit_batches(bad, epochs=2)
    assert "chunk 4 of epoch 1" in caught.value.__notes__[0]
    good = GDLinearRegressor(random_state=seed, shuffle=False).fit_batches(chunks[:3], epochs=1)
    assert_array_equal(model.coef_, good.coef_)


# --- checkpoints -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("params", [{}, PLAIN, {"loss": "huber"}])
@pytest.mark.parametrize("validated", [False, True])
@pytest.mark.parametrize("place", [(0, 2), (1, 0), (1, 3)])
@pytest.mark.parametrize("error", [OSError("disk gone"), KeyboardInterrupt()])
def test_resuming_after_an_error_reaches_the_same_bits(rng, seed, tmp_path, params, validated, place, error):
    chunks, path = make_chunks(rng), tmp_path / "run.checkpoint"
    make = partial(GDLinearRegressor, random_state=seed, tol=None, **params)
    job = {"epochs": 3, **(validation_of(make_chunks(rng)) if validated else {})}
    with pytest.raises(type(error)):
        make().fit_batches(failing_at(chunks, *place, error), checkpoint=path, **job)
    resumed = make().fit_batches(Reordered(chunks), checkpoint=path, **job)
    assert_same_model(resumed, make().fit_batches(Reordered(chunks), **job))
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


KILLED = """
    import os, pickle, signal, sys
    import numpy as np
    from sk_gdlinear import GDLinearRegressor, _chunk_loop

    _chunk_loop.CHECKPOINT_SHARE = np.inf  # after every chunk
    path, victim = sys.argv[1], sys.argv[2] == "kill"

    def chunks():
        rng = np.random.default_rng(0)
        for i in range(6):
            X = rng.normal(size=(100, 4))
            yield X, X @ [1.0, 2.0, 3.0, 4.0] + rng.normal(size=100)

    class Source:
        def set_epoch(self, epoch):
            self.epoch = epoch

        def __iter__(self):
            for i, chunk in enumerate(chunks()):
                if victim and (self.epoch, i) == (1, 4):
                    os.kill(os.getpid(), signal.SIGKILL)
                yield chunk

    X_val = np.random.default_rng(1).normal(size=(100, 4))
    for checkpoint in (path, None):
        model = GDLinearRegressor("huber", random_state=3, tol=None)
        model.fit_batches(Source(), epochs=3, X_val=X_val, y_val=X_val.sum(axis=1), checkpoint=checkpoint)
        print(pickle.dumps(model).hex())
"""


def test_a_killed_process_goes_on_to_the_same_bits(tmp_path):
    def run(*args):
        command = [sys.executable, "-c", textwrap.dedent(KILLED), *args]
        return subprocess.run(command, capture_output=True, text=True, timeout=200)

    path = tmp_path / "run.checkpoint"
    killed = run(path, "kill")
    assert (killed.returncode, killed.stdout) == (-9, ""), killed.stderr
    written = path.read_bytes()
    assert b'["epoch",1],["position",4]' in written  # in the middle of the second
    live = run(path, "live")
    assert live.returncode == 0, live.stderr
    resumed, unbroken = (pickle.loads(bytes.fromhex(line)) for line in live.stdout.split())
    assert_same_model(resumed, unbroken)


@pytest.mark.parametrize("validated", [False, True])
def test_a_finished_checkpoint_leaves_nothing_to_do_and_more_epochs_go_on(rng, tmp_path, seed, validated):
    """Also from the last epoch, where the model has the coefficients of a better one."""
    chunks, path = make_chunks(rng), tmp_path / "run.checkpoint"
    make = partial(GDLinearRegressor, "huber", random_state=seed, tol=None)
    job = validation_of(make_chunks(rng)) if validated else {}
    first = make().fit_batches(chunks, epochs=2, checkpoint=path, **job)
    again = make().fit_batches(failing_at(chunks, 0, 0, OSError()), epochs=2, checkpoint=path, **job)
    assert_same_model(first, again)
    longer = make().fit_batches(chunks, epochs=5, checkpoint=path, **job)
    assert_same_model(longer, make().fit_batches(chunks, epochs=5, **job))


def test_after_training_has_stopped_a_checkpoint_leaves_nothing_to_do_whatever_the_epochs(rng, tmp_path):
    chunks, path = make_chunks(rng), tmp_path / "run.checkpoint"
    first = GDLinearRegressor(random_state=0).fit_batches(chunks, epochs=5, checkpoint=path)
    assert (first.n_iter_, first.stop_reason_) == (2, "converged")
    again = GDLinearRegressor(random_state=0)
    again.fit_batches(failing_at(chunks, 0, 0, OSError()), epochs=9, checkpoint=path)
    assert_same_model(first, again)


def test_an_error_before_the_first_row_leaves_no_checkpoint(tmp_path):
    X, path = np.arange(20.0).reshape(-1, 1), tmp_path / "run.checkpoint"

    def chunks(error):
        yield X[:0], X[:0, 0]  # an empty file
        if error is not None:
            raise error
        yield X, X[:, 0]

    with pytest.raises(OSError, match="network"):
        GDLinearRegressor().fit_batches(lambda: chunks(OSError("network")), epochs=1, checkpoint=path)
    assert not path.exists()
    model = GDLinearRegressor().fit_batches(lambda: chunks(None), epochs=1, checkpoint=path)
    assert model.score(X, X[:, 0]) == pytest.approx(1.0)
    assert path.exists()


def test_a_checkpoint_of_more_epochs_is_taken_as_it_is(rng, tmp_path, seed):
    chunks, path = make_chunks(rng), tmp_path / "run.checkpoint"
    longer = GDLinearRegressor(random_state=seed, tol=None).fit_batches(chunks, epochs=5, checkpoint=path)
    model = GDLinearRegressor(random_state=seed, tol=None).fit_batches(chunks, epochs=2, checkpoint=path)
    assert_same_model(model, longer)
    assert len(model.loss_curve_) == model.n_iter_ == 5


def test_a_checkpoint_may_follow_a_random_state_object(rng, tmp_path):
    chunks, path = make_chunks(rng), tmp_path / "run.checkpoint"
    whole = GDLinearRegressor(random_state=np.random.RandomState(1)).fit_batches(chunks, epochs=2)
    GDLinearRegressor(random_state=np.random.RandomState(1)).fit_batches(chunks, epochs=1, checkpoint=path)
    model = GDLinearRegressor(random_state=np.random.RandomState(1)).fit_batches(chunks, epochs=2, checkpoint=path)
    assert_array_equal(model.coef_, whole.coef_)


def test_a_checkpoint_of_another_model_is_refused(rng, tmp_path, state_of):
    chunks, path = make_chunks(rng), tmp_path / "run.checkpoint"
    GDLinearRegressor(random_state=0, batch_size=4).fit_batches(chunks, epochs=1, checkpoint=path)
    content = path.read_bytes()
    model = GDLinearRegressor(random_state=0, batch_size=8).fit(*chunks[0])
    before = state_of(model)
    with pytest.raises(ValueError, match="other parameters: batch_size=4, now 8"):
        model.fit_batches(chunks, epochs=2, checkpoint=path)
    assert (state_of(model), path.read_bytes()) == (before, content)


@pytest.mark.parametrize("wrong", [lambda X, y: (X[:, :2], y), lambda X, y: (X, np.column_stack([y, y]))])
def test_a_checkpoint_of_other_shapes_is_refused(rng, tmp_path, wrong):
    chunks, path = make_chunks(rng), tmp_path / "run.checkpoint"
    model = GDLinearRegressor(random_state=0)
    copy.deepcopy(model).fit_batches(chunks, epochs=1, checkpoint=path)
    with pytest.raises(ValueError, match="features") as caught:
        model.fit_batches([wrong(*chunk) for chunk in chunks], epochs=2, checkpoint=path)
    assert "resumed from the checkpoint" in "".join(caught.value.__notes__)
    assert str(path) in "".join(caught.value.__notes__)


def test_a_write_that_fails_leaves_the_checkpoint_before(rng, tmp_path, monkeypatch, always_save):
    chunks, path = make_chunks(rng), tmp_path / "run.checkpoint"
    model = GDLinearRegressor(random_state=0)
    model.fit_batches(chunks, epochs=1, checkpoint=path)
    content = path.read_bytes()

    def full(descriptor):
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="disk full"):
        model.fit_batches(chunks, epochs=2, checkpoint=path)
    assert path.read_bytes() == content
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_a_directory_unfit_for_a_checkpoint_is_refused_before_any_chunk(rng, tmp_path, state_of):
    chunks = make_chunks(rng)
    (tmp_path / "file").touch()
    model = GDLinearRegressor(random_state=0).fit(*chunks[0])
    before = state_of(model)
    for directory in ("missing", "file"):
        with pytest.raises(OSError, match="cannot be written.*is not a directory in which"):
            model.fit_batches(failing_at(chunks, 0, 0, KeyError()), epochs=1, checkpoint=tmp_path / directory / "x")
    assert state_of(model) == before


def test_a_write_that_fails_does_not_hide_what_ended_training(rng, tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError("disk full")

    def source():
        yield from make_chunks(rng)[:3]
        monkeypatch.setattr(os, "fsync", full)
        raise KeyError("no more data")

    with pytest.raises(KeyError, match="no more data") as caught:
        GDLinearRegressor(random_state=0).fit_batches(source, epochs=1, checkpoint=tmp_path / "run.checkpoint")
    chunk, write = caught.value.__notes__
    assert "chunk 4 of epoch 1" in chunk
    assert "could not be written: OSError('disk full')" in write


# --- the progress bar ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sized", [True, False])
def test_the_progress_bar_counts_epochs_and_chunks(rng, capsys, sized):
    pytest.importorskip("rich", reason="rich draws the progress bar")
    chunks = make_chunks(rng)
    GDLinearRegressor(tol=None).fit_batches(chunks if sized else lambda: chunks, epochs=3, progress=True)
    shown = capsys.readouterr().out
    assert "epoch 3/3, R2 0." in shown
    assert "5/5" in shown  # known after the first epoch at the latest


def test_without_rich_the_progress_bar_says_what_to_install(rng, monkeypatch):
    monkeypatch.setitem(sys.modules, "rich.progress", None)
    with pytest.raises(ImportError, match=r"sk_gdlinear\[files\]"):
        GDLinearRegressor().fit_batches(make_chunks(rng), epochs=1, progress=True)
