"""What fit_batches judges between two epochs: the curves, the validation set, when to stop, and what it prints."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_array
from sklearn.metrics import mean_pinball_loss

from builders import least_squares, name_of
from sk_gdlinear import GDLinearRegressor
from sk_gdlinear.penalties import Box

PLAIN = dict(standardize=False, average=False, learning_rate=1e-7)
MINI_BATCHES = dict(precondition=False)


@pytest.fixture
def rows(rng):
    X = rng.normal(size=(900, 4)) * [0.1, 1.0, 10.0, 1.0] + [5.0, 0.0, -3.0, 1e3]
    return X, X @ [10.0, -1.0, 0.1, 2.0] + rng.normal(size=900)


@pytest.fixture
def chunks(rows):
    X, y = rows
    return [(X[i:600:3], y[i:600:3]) for i in range(3)]


@pytest.fixture
def validation(rows):
    X, y = rows
    return {"X_val": X[600:], "y_val": y[600:]}


def half_mse(model, X, y, weight=None):
    square = 0.5 * (model.predict(X) - y) ** 2
    return np.average(square if square.ndim == 1 else square.sum(axis=1), weights=weight)


def stacked(chunks):
    return tuple(map(np.concatenate, zip(*chunks, strict=True)))


def epoch_by_epoch(chunks, n_epochs, **params):
    """The models after each epoch of calls of partial_fit."""
    model = GDLinearRegressor(random_state=0, **params)
    for _ in range(n_epochs):
        for chunk in chunks:
            model.partial_fit(*chunk)
        yield model


# --- the curves ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("params", [{}, PLAIN, MINI_BATCHES, {"penalty": "l2", "alpha": 0.1}], ids=name_of)
@pytest.mark.parametrize("weighted", [False, True])
def test_the_validation_curve_has_the_mean_loss_after_each_epoch(rng, chunks, validation, params, weighted):
    weight = rng.uniform(0.5, 2.0, 300) if weighted else None
    model = GDLinearRegressor(random_state=0, tol=None, **params)
    model.fit_batches(chunks, epochs=3, **validation, sample_weight_val=weight)
    X, y = validation.values()
    expected = [half_mse(m, X, y, weight) for m in epoch_by_epoch(chunks, 3, **params)]
    assert_allclose(model.validation_loss_curve_, expected, rtol=1e-10)


@pytest.mark.parametrize("kind", [csr_array, np.float32], ids=["sparse", "float32"])
def test_the_validation_set_may_be_sparse_or_float32(chunks, validation, kind):
    X, y = validation.values()
    model = GDLinearRegressor(random_state=0).fit_batches(chunks, epochs=1, X_val=kind(X), y_val=y)
    assert_allclose(model.validation_loss_curve_, half_mse(model, X, y), rtol=1e-5 if kind is np.float32 else 1e-10)


def test_the_validation_loss_is_that_of_the_loss_itself(chunks, validation):
    """Without smoothing."""
    model = GDLinearRegressor("quantile", quantile=0.8, random_state=0).fit_batches(chunks, epochs=1, **validation)
    expected = mean_pinball_loss(validation["y_val"], model.predict(validation["X_val"]), alpha=0.8)
    assert_allclose(model.validation_loss_curve_, expected, rtol=1e-10)


@pytest.mark.parametrize(
    "params",
    [{}, {"penalty": "l2", "alpha": 0.1}, {"penalty": "l1", "alpha": [0.1, 0, 0, 0.2]}, {"fit_intercept": False},
     {"penalty": Box(-0.5, 1.5)}],
    ids=name_of,
)  # fmt: skip
@pytest.mark.parametrize("n_targets", [None, 2])
def test_the_training_curve_has_the_objective_over_all_rows_where_they_are_remembered(rng, chunks, params, n_targets):
    weight = rng.uniform(0.5, 2.0, 200)
    chunks = [(X, y if n_targets is None else np.column_stack([y, 1e3 * X[:, 1]]), weight) for X, y in chunks]
    X, y, s = stacked(chunks)
    model = GDLinearRegressor(random_state=0, tol=None, **params).fit_batches(chunks, epochs=2)
    coef = np.atleast_2d(model.coef_)
    penalty = 0.0
    if params.get("penalty") == "l2":
        penalty = 0.05 * (coef**2).sum()
    elif params.get("penalty") == "l1":
        penalty = (np.abs(coef) @ [0.1, 0.0, 0.0, 0.2]).sum()
    assert_allclose(model.loss_curve_, half_mse(model, X, y, s) + penalty, rtol=1e-9)


@pytest.mark.parametrize("params", [PLAIN, MINI_BATCHES, {"loss": "huber", "penalty": "l1", "alpha": 0.1}], ids=name_of)
def test_the_training_curve_has_the_mean_over_the_chunks_elsewhere(rng, chunks, params):
    chunks = [(X[:n], y[:n], rng.uniform(0.5, 2.0, n)) for (X, y), n in zip(chunks, (200, 50, 100), strict=True)]
    model = GDLinearRegressor(random_state=0, tol=None, **params).fit_batches(chunks, epochs=3)
    *_, loop = epoch_by_epoch(chunks, 3, **params)
    weights = [weight.sum() for *_, weight in chunks]
    assert_allclose(model.loss_curve_, np.average(np.reshape(loop.loss_curve_, (3, 3)), axis=1, weights=weights))


def test_the_curves_go_on_after_those_of_calls_before(rows, chunks, validation):
    model = GDLinearRegressor("huber", random_state=0, warm_start=True, tol=None, max_iter=4).fit(*rows)
    before = model.loss_curve_
    model.fit_batches(chunks, epochs=3, **validation)
    assert (len(model.loss_curve_), model.loss_curve_[:4], model.n_iter_) == (7, before, 3)
    assert np.isnan(model.validation_loss_curve_[:4]).all() and np.isfinite(model.validation_loss_curve_[4:]).all()
    assert model.best_iter_ == 5 + np.argmin(model.validation_loss_curve_[4:])
    model.partial_fit(*chunks[0])
    assert (len(model.loss_curve_), model.best_iter_, model.stop_reason_) == (8, None, None)


# --- the best epoch --------------------------------------------------------------------------------------------------


@pytest.fixture
def overfitting(rng):
    """Hardly more rows than columns, in two chunks, and a validation set: the best epoch is an early one."""
    X = rng.normal(size=(360, 50))
    y = X[:, 0] + rng.normal(size=360)
    return [(X[:30], y[:30]), (X[30:60], y[30:60])], {"X_val": X[60:], "y_val": y[60:]}


@pytest.mark.parametrize("early_stopping", [False, True])
def test_the_coefficients_of_the_best_epoch_are_reported(overfitting, early_stopping):
    chunks, validation = overfitting
    params = {"precondition": False, "tol": None}
    model = GDLinearRegressor(random_state=0, early_stopping=early_stopping, **params)
    model.fit_batches(chunks, epochs=12, **validation)
    losses, best = model.validation_loss_curve_, model.best_iter_
    assert 1 < best < 12 == len(losses) == model.n_iter_
    assert best == 1 + np.argmin(losses)
    *_, loop = epoch_by_epoch(chunks, best, **params)
    assert_array_equal(model.coef_, loop.coef_)
    assert (model.intercept_, model.t_, model.stop_reason_) == (loop.intercept_, loop.t_, "epochs")
    model.set_params(early_stopping=False)  # the state is that of the best epoch, too
    assert_array_equal(model.partial_fit(*chunks[0]).coef_, loop.partial_fit(*chunks[0]).coef_)


@pytest.mark.parametrize("patience", [1, 2, 12])
@pytest.mark.parametrize("d", [50, 8], ids=["rising", "noisy"])
def test_training_stops_when_the_validation_loss_has_little_left_to_gain(overfitting, patience, d):
    """The gain over the best epoch, times the number of epochs, beside the loss of the training mean, by hand."""
    chunks, validation = overfitting
    chunks, validation["X_val"] = [(X[:, :d], y) for X, y in chunks], validation["X_val"][:, :d]
    model = GDLinearRegressor(random_state=0, batch_size=1, n_iter_no_change=patience, tol=1e-3, **PLAIN)
    model.set_params(learning_rate=0.01 if d == 50 else 0.1).fit_batches(chunks, epochs=100, **validation)
    mean = np.mean([y for _, y in chunks])
    limit = 1e-3 * 0.5 * np.mean((validation["y_val"] - mean) ** 2)
    best, agreed = np.inf, 0
    for epoch, loss in enumerate(model.validation_loss_curve_, start=1):
        assert not (agreed >= patience and 60 * (epoch - 1) >= 500)
        agreed = agreed + 1 if epoch * (best - loss) <= limit else 0
        best = min(best, loss)
    assert agreed >= patience and 60 * epoch >= 500
    assert (model.stop_reason_, model.n_iter_) == ("early_stopping", epoch)


def test_where_rows_are_remembered_a_second_epoch_shows_that_the_validation_loss_stays(chunks, validation):
    model = GDLinearRegressor(random_state=0).fit_batches(chunks, epochs=100, **validation)
    assert (model.n_iter_, model.stop_reason_, model.t_ <= 6) == (2, "early_stopping", True)
    assert_allclose(*model.validation_loss_curve_, rtol=1e-12)


# --- when to stop ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("params", [{}, {"tol": 0.0}, {"penalty": "l1", "alpha": 0.1}, {"window": 300}], ids=name_of)
def test_squared_errors_have_converged_when_a_second_epoch_changes_nothing(rows, chunks, params):
    counted = []
    model = GDLinearRegressor(random_state=0, **params)
    model.fit_batches(lambda: counted.append(None) or iter(chunks), epochs=100)
    assert (len(counted), model.n_iter_, model.stop_reason_) == (2, 2, "converged")
    if not params.keys() & {"penalty", "window"}:
        coef, intercept, _ = least_squares(*stacked(chunks))
        assert_allclose(model.coef_, coef[0], rtol=1e-6)
        assert_allclose(model.intercept_, intercept[0], rtol=1e-6)


def test_epochs_that_bring_new_rows_have_not_converged(rng):
    """Each of twenty epochs reads other rows; the objective of all of them moves until there are many."""
    X = rng.normal(size=(20, 30, 5))
    y = X @ np.ones(5) + 3.0 * rng.normal(size=(20, 30))

    class Sampled:
        def set_epoch(self, epoch):
            self.epoch = epoch

        def __iter__(self):
            yield X[self.epoch], y[self.epoch]

    model = GDLinearRegressor(random_state=0, tol=1e-4).fit_batches(Sampled(), epochs=20)
    assert (model.n_iter_, model.stop_reason_) == (20, "epochs")
    assert_allclose(model.coef_, least_squares(X.reshape(-1, 5), y.ravel())[0][0], rtol=1e-9)


def test_tol_none_makes_all_epochs(chunks):
    model = GDLinearRegressor(random_state=0, tol=None).fit_batches(chunks, epochs=7)
    assert (model.n_iter_, len(model.loss_curve_), model.stop_reason_) == (7, 7, "epochs")


@pytest.mark.parametrize("params", [{"loss": "huber"}, {"loss": "quantile"}, MINI_BATCHES], ids=name_of)
def test_where_it_is_not_certain_that_little_is_left_it_is_not_called_converged(chunks, params):
    model = GDLinearRegressor(random_state=0, **params).fit_batches(chunks, epochs=200)
    assert (model.stop_reason_, model.n_iter_ < 200) == ("no_change", True)
    X, y = stacked(chunks)
    exact = GDLinearRegressor(random_state=0, tol=1e-9, **params | {"precondition": "auto"}).fit(X, y)
    assert model.score(X, y) >= exact.score(X, y) - 1e-3


def test_the_slow_descent_of_plain_steps_goes_on(chunks):
    """Every epoch still gains more than is left by tol."""
    model = GDLinearRegressor(random_state=0, **PLAIN | {"learning_rate": 1e-9}).fit_batches(chunks, epochs=30)
    assert (model.n_iter_, model.stop_reason_) == (30, "epochs")


def test_outliers_are_left_out_of_the_scale_of_tol(rng):
    """A hundredth of the targets is a million times as large: a slow descent goes on while the others can gain."""
    X = rng.normal(size=(4000, 3))
    y = X @ [1.0, -2.0, 3.0] + 0.1 * rng.normal(size=4000)
    y[::100] += 1e6
    chunks = [(X[i::4], y[i::4]) for i in range(4)]
    slow = {"standardize": False, "average": False, "learning_rate": 1e-3, "batch_size": 400}
    model = GDLinearRegressor("huber", random_state=0, **slow).fit_batches(chunks, epochs=80)
    assert model.t_ > 500 and np.abs(model.coef_).max() < 2.0  # on its way to 3
    assert (model.n_iter_, model.stop_reason_) == (80, "epochs")


# --- interruption ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [OSError("disk gone"), KeyboardInterrupt()])
def test_what_ends_training_leaves_the_last_chunk_and_the_complete_epochs(chunks, validation, error):
    class Failing:
        def set_epoch(self, epoch):
            self.epoch = epoch

        def __iter__(self):
            yield chunks[0]
            if self.epoch == 2:
                raise error
            yield chunks[1]

    model = GDLinearRegressor("huber", random_state=0, tol=None, verbose=1, early_stopping=True)
    with pytest.raises(type(error)):
        model.fit_batches(Failing(), epochs=4, **validation)
    *_, loop = epoch_by_epoch(chunks[:2], 2, loss="huber")
    assert_array_equal(model.coef_, loop.partial_fit(*chunks[0]).coef_)
    assert (model.n_iter_, len(model.loss_curve_), len(model.validation_loss_curve_)) == (2, 2, 2)
    assert (model.best_iter_, model.stop_reason_) == (None, "interrupted")
    assert (model.verbose, model.early_stopping) == (1, True)


@pytest.mark.parametrize("n_learnt", range(9))
def test_a_break_anywhere_and_a_checkpoint_give_the_same_bits_and_curves(chunks, validation, tmp_path, n_learnt):
    """Killed between any two chunks of three epochs: the best epoch is among those before and after."""

    def run(source, checkpoint=None):
        model = GDLinearRegressor(random_state=0, precondition=False, tol=None)
        return model.fit_batches(source, epochs=3, checkpoint=checkpoint, **validation)

    read = []

    def breaking():
        for chunk in chunks:
            if len(read) == n_learnt:
                raise OSError("disk gone")
            read.append(chunk)
            yield chunk

    with pytest.raises(OSError, match="disk gone"):
        run(breaking, tmp_path / "c")
    resumed, whole = run(chunks, tmp_path / "c"), run(chunks)
    assert_array_equal(resumed.coef_, whole.coef_)
    assert resumed.intercept_ == whole.intercept_
    for name in ("loss_curve_", "validation_loss_curve_", "best_iter_", "n_iter_", "t_", "stop_reason_"):
        assert getattr(resumed, name) == getattr(whole, name), name
    assert (tmp_path / "c").exists() or n_learnt == 0


@pytest.mark.parametrize("params", [{}, {"loss": "huber", "batch_size": 1}], ids=name_of)
def test_training_that_is_resumed_stops_where_it_would_have(chunks, tmp_path, params):
    def make():
        return GDLinearRegressor(random_state=0, **params)

    whole = make().fit_batches(chunks, epochs=50)
    for epochs in range(1, 51):  # a new process for every epoch
        model = make().fit_batches(chunks, epochs=epochs, checkpoint=tmp_path / "c")
    assert (model.n_iter_, model.stop_reason_) == (whole.n_iter_, whole.stop_reason_)
    assert model.loss_curve_ == whole.loss_curve_
    assert whole.n_iter_ < 50


def test_a_first_chunk_that_cannot_be_used_leaves_a_warm_model_as_it_was(rows, chunks, state_of):
    model = GDLinearRegressor(random_state=0, warm_start=True).fit(*rows)
    before = state_of(model)
    with pytest.raises(ValueError, match="NaN"):
        model.fit_batches([(chunks[0][0], np.full(200, np.nan)), *chunks], epochs=2)
    assert state_of(model) == before


# --- errors ----------------------------------------------------------------------------------------------------------


def no_chunks():
    raise AssertionError("a chunk was asked for")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y_val": None}, "needs both X_val and y_val: y_val was not given"),
        ({"X_val": None}, "needs both X_val and y_val: X_val was not given"),
        ({"X_val": None, "y_val": None, "sample_weight_val": [1.0]}, "X_val was not given"),
        ({"y_val": [1.0, 2.0]}, r"validation set .* cannot be used: .*inconsistent numbers of samples: \[300, 2\]"),
        ({"X_val": [[np.nan] * 4] * 300}, "validation set .* cannot be used: .*NaN"),
        ({"y_val": [np.nan] * 300}, "validation set .* cannot be used: .*NaN"),
        ({"X_val": [1.0] * 300}, "validation set .* cannot be used: Expected 2D array"),
        ({"sample_weight_val": [0.0] * 300}, "validation set .* cannot be used: .*zero"),
        ({"sample_weight_val": [-1.0] * 300}, "validation set .* cannot be used: .*[Nn]egative"),
    ],
)
def test_a_validation_set_that_cannot_be_used_is_refused_before_any_chunk(
    rows, validation, state_of, tmp_path, change, message
):
    model = GDLinearRegressor(random_state=0).fit(*rows)
    before = state_of(model)
    with pytest.raises(ValueError, match=message):
        model.fit_batches(no_chunks, epochs=2, checkpoint=tmp_path / "c", **validation | change)
    assert state_of(model) == before
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("fitted", [False, True])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda X, y: (X[:, :3], y), r"X_val has 3 features, but (the chunks have|the model was fitted on) 4. Pass"),
        (
            lambda X, y: (X, np.column_stack([y, y])),
            r"y_val must have .* targets of y: got rows of shapes \(2,\) and \(\)",
        ),
    ],
)
def test_a_validation_set_of_another_shape_than_the_chunks_is_refused_before_the_first_is_learnt(
    rows, chunks, validation, state_of, change, message, fitted
):
    model = GDLinearRegressor(random_state=0, warm_start=True)
    if fitted:
        model.fit(*rows)
    before = state_of(model)
    X_val, y_val = change(*validation.values())
    with pytest.raises(ValueError, match=message):
        model.fit_batches(chunks, epochs=2, X_val=X_val, y_val=y_val)
    assert state_of(model) == before


@pytest.mark.parametrize("named", ["chunks", "source"])
def test_a_validation_frame_of_other_columns_than_the_chunks_is_refused(chunks, validation, state_of, named):
    pd = pytest.importorskip("pandas", reason="names of columns come from frames")
    frames = [(pd.DataFrame(X, columns=list("abcd")), y) for X, y in chunks]
    other = pd.DataFrame(validation["X_val"], columns=list("abdc"))

    class Named(list):
        columns = list("abcd")

    model, source = GDLinearRegressor(random_state=0), frames if named == "chunks" else Named(chunks)
    before = state_of(model)
    with pytest.raises(
        ValueError, match=r"X_val has the columns \['a', 'b', 'd', 'c'\], but the chunks have \['a', 'b'"
    ):
        model.fit_batches(source, epochs=1, X_val=other, y_val=validation["y_val"])
    assert state_of(model) == before
    right = other[list("abcd")]
    model.fit_batches(source, epochs=1, X_val=right, y_val=validation["y_val"])
    assert list(model.feature_names_in_) == list("abcd")


def test_early_stopping_without_a_validation_set_says_why_not_and_what_to_do(chunks, state_of):
    model = GDLinearRegressor(early_stopping=True)
    before = state_of(model)
    with pytest.raises(ValueError, match=r"validation_fraction=0.1 of the rows.*Pass X_val and y_val to fit_batches"):
        model.fit_batches(no_chunks, epochs=2)
    assert state_of(model) == before


def test_a_checkpoint_of_another_validation_set_is_refused(chunks, validation, tmp_path):
    path = tmp_path / "c"
    GDLinearRegressor(random_state=0).fit_batches(chunks, epochs=1, checkpoint=path, **validation)
    content = path.read_bytes()
    other = validation | {"y_val": validation["y_val"] + 1.0}
    for job in ({}, other, other | {"sample_weight_val": np.ones(300)}):
        with pytest.raises(ValueError, match=r"other parameters: the validation set=300 rows \(sha256 .*, now"):
            GDLinearRegressor(random_state=0).fit_batches(no_chunks, epochs=2, checkpoint=path, **job)
    assert path.read_bytes() == content


def test_parameters_are_checked_before_any_chunk(state_of):
    model = GDLinearRegressor(early_stopping="yes", tol=-1.0)
    before = state_of(model)
    with pytest.raises(ValueError, match="parameter of GDLinearRegressor must be"):
        model.fit_batches(no_chunks, epochs=2)
    assert state_of(model) == before


# --- what is shown ---------------------------------------------------------------------------------------------------


def lines_of(capsys):
    return capsys.readouterr().out.splitlines()


def test_verbose_prints_a_line_per_epoch_and_why_training_stopped(chunks, capsys):
    X, y = stacked(chunks)
    model = GDLinearRegressor(random_state=0, verbose=1).fit_batches(chunks, epochs=5)
    titles, first, second, end = lines_of(capsys)
    assert titles.split()[:4] == ["epoch", "objective", "R2", "left"]
    r2 = f"{model.score(X, y):.6f}"
    assert (first.split()[0], first.split()[2:4]) == ("1", [r2, "-"])  # before there is nothing to compare
    assert (second.split()[0], second.split()[2]) == ("2", r2)
    assert 0.0 <= float(second.split()[3]) <= 1e-12
    assert end == "stopped: converged"
    assert model.verbose == 1


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("params", [{}, {"precondition": False}], ids=name_of)
def test_verbose_prints_r2_beside_the_best_constant_or_beside_zero(chunks, capsys, params, fit_intercept):
    model = GDLinearRegressor(random_state=0, verbose=1, tol=None, fit_intercept=fit_intercept, **params)
    model.fit_batches([stacked(chunks)], epochs=1)
    (X, y), centre = stacked(chunks), np.mean if fit_intercept else np.zeros_like
    expected = 1.0 - ((model.predict(X) - y) ** 2).sum() / ((y - centre(y)) ** 2).sum()
    assert float(lines_of(capsys)[1].split()[2]) == pytest.approx(expected, abs=1e-6)


def test_verbose_prints_the_validation_loss_and_the_best_epoch(overfitting, capsys):
    chunks, validation = overfitting
    model = GDLinearRegressor(random_state=0, precondition=False, tol=None, verbose=1)
    model.fit_batches(chunks, epochs=12, **validation)
    _, *lines, end = lines_of(capsys)
    assert [line.split()[4] for line in lines] == [f"{loss:.6g}" for loss in model.validation_loss_curve_]
    assert end == f"stopped: epochs; epoch {model.best_iter_} had the lowest validation loss"


def test_resumed_lines_go_on_with_the_number_of_the_epoch(chunks, tmp_path, capsys):
    for epochs in (2, 3):
        model = GDLinearRegressor(random_state=0, tol=None, verbose=1)
        model.fit_batches(chunks, epochs=epochs, checkpoint=tmp_path / "c")
    first = [line.split()[0] for line in lines_of(capsys)]
    assert first == ["epoch", "1", "2", "stopped:", "epoch", "3", "stopped:"]


def test_small_chunks_are_learnt_quickly_whatever_verbose_is(chunks, validation, monkeypatch):
    """Lines are for epochs: the chunks of a verbose model, and of one with a validation set, take no slower way."""
    from sk_gdlinear import estimator

    taken, quickly = [], estimator.learn_quickly
    monkeypatch.setattr(estimator, "learn_quickly", lambda *args: taken.append(quickly(*args)) or taken[-1])
    chunks = [(np.ascontiguousarray(X), np.ascontiguousarray(y)) for X, y in chunks]
    GDLinearRegressor(random_state=0, verbose=1, early_stopping=True, window=500).fit_batches(
        chunks, epochs=2, **validation
    )
    assert taken == [False, *[True] * 5]
