"""The parts of a descent, each against its formula written out: steps, means over rows, scales of the objective."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_array

from sk_gdlinear._conditioning import EIGENVALUE_MARGIN, GRAM_COLUMNS
from sk_gdlinear._descent import ANCHOR_NOISE, GUARD
from sk_gdlinear._modes import Preconditioner
from sk_gdlinear._objective import huber, quantile, squared_error
from sk_gdlinear._reduction import Reduction
from sk_gdlinear._rows import SEGMENT_ROWS, Data
from sk_gdlinear._setup import Knowledge, Settings, make_descent, start_at
from sk_gdlinear._watchers import Watcher


def data_of(rng, n=50, d=3, k=2):
    X = rng.normal([2.0, -1.0, 0.5], [1.0, 3.0, 0.2], size=(n, d))
    return X, X @ rng.normal(size=(d, k)) + rng.normal([5.0, -300.0], [1.0, 40.0], size=(n, k))


def descent(X, Y, weight=None, loss=squared_error, has_kink=False, stream=False, smoothing=None, **changes):
    """The descent over the rows as ``fit`` makes it, in the variables of the data unless ``precondition``."""
    settings = dict(alpha=0.0, l1_ratio=0.0, positive=False, batch_size=8, step=None, schedule="constant", power_t=0.25)
    settings |= dict(precondition=False, average=True, fit_intercept=True, shuffle=True)
    settings = Settings(loss=loss, has_kink=has_kink, **(settings | changes))
    knowledge = Knowledge.empty(X.shape[1], Y.shape[1], settings)
    data = knowledge.add(X, Y, weight)
    place = start_at(np.zeros((Y.shape[1], X.shape[1])), np.zeros(Y.shape[1]), settings.average)
    return make_descent(data, knowledge, settings, place, stream=stream, smoothing=smoothing)


@pytest.fixture(params=["compiled", "arrays"])
def engine(request, monkeypatch):
    """An epoch by the compiled kernel, where it was built, and by array operations."""
    if request.param == "arrays":
        for module in ("_descent", "_evaluation"):
            monkeypatch.setattr(f"sk_gdlinear.{module}.kernel_for", lambda X: None)


# --- steps -----------------------------------------------------------------------------------------------------------


def test_each_batch_gets_the_step_for_its_own_number_of_rows(rng):
    d = descent(*data_of(rng))
    d.curvature, d.step_factor = (30.0, 2.0), 0.5
    full, last, single = 0.5 * 8 / (30.0 + 7 * 2.0), 0.5 * 2 / (30.0 + 1 * 2.0), 0.5 / 30.0
    assert_allclose(d.steps(50), [full] * 6 + [last], rtol=1e-15)
    assert_allclose(d.steps(16), [full] * 2, rtol=1e-15)
    assert_allclose(d.steps(17), [full] * 2 + [single], rtol=1e-15)
    assert_allclose(d.current_step, full, rtol=1e-15)


def test_variance_reduction_allows_for_the_noise_of_its_anchors(rng):
    d = descent(*data_of(rng))
    d.curvature, d.reduction = (30.0, 2.0), Reduction.over(d.data)
    assert_allclose(d.steps(8), [8 / (ANCHOR_NOISE * 30.0 + 7 * 2.0)], rtol=1e-15)


@pytest.mark.parametrize("t", [0, 1, 10])
def test_a_falling_step_goes_on_from_the_updates_made(rng, t):
    d = descent(*data_of(rng), step=0.3, schedule="invscaling", power_t=0.5)
    d.iterate.t = t
    assert_allclose(d.steps(20), 0.3 / np.sqrt(t + np.arange(1, 4)), rtol=1e-15)
    assert_allclose(d.current_step, 0.3 / np.sqrt(max(t, 1)), rtol=1e-15)


@pytest.mark.parametrize("size", [1.0, 1e-3])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_the_step_of_a_full_batch_is_the_inverse_of_the_largest_eigenvalue(rng, fit_intercept, size):
    X, Y = data_of(rng)
    X *= size
    d = descent(X, Y, batch_size=None, fit_intercept=fit_intercept)
    Z = np.column_stack([X, np.ones(50)]) if fit_intercept else X
    assert_allclose(d.steps(50), [1.0 / (EIGENVALUE_MARGIN * np.linalg.eigvalsh(Z.T @ Z / 50)[-1])], rtol=1e-10)


@pytest.mark.parametrize("batch_size", [None, 8])
def test_rows_of_zeros_have_a_step_all_the_same(rng, batch_size):
    d = descent(np.zeros((50, 3)), data_of(rng)[1], fit_intercept=False, batch_size=batch_size)
    assert_array_equal(d.steps(50), np.ones(1 if batch_size is None else 7))


@pytest.mark.parametrize("batch_size", [1, 7, 1000, SEGMENT_ROWS - 1, SEGMENT_ROWS, SEGMENT_ROWS + 1, 4 * SEGMENT_ROWS])
def test_an_epoch_is_cut_between_batches(batch_size):
    n = 3 * SEGMENT_ROWS + 5
    X = np.broadcast_to(0.0, (n, 1))
    d = descent(np.zeros((4, 1)), np.zeros((4, 1)))
    d.data, d.batch_size = Data(X, X), batch_size
    assert d.segment_rows % batch_size == 0
    assert d.segment_rows <= max(SEGMENT_ROWS, batch_size) < d.segment_rows + batch_size
    pieces = [len(rows) for rows in d.data.segments(None, d.segment_rows)]
    assert d.n_segments == len(pieces) and sum(pieces) == n


def test_watchers_hear_of_every_piece_after_its_updates(rng):
    class Listener(Watcher):
        heard = ()

        def end_segment(self):
            self.heard += ((d.iterate.t, d.iterate.n_averaged),)

    n_first = SEGMENT_ROWS // 7
    X = np.zeros((7 * n_first + 10, 1))
    d = descent(X, X + 2.0, batch_size=7, fit_intercept=False)
    d.watchers = [Listener()]
    assert d.epoch(rng) == 2.0  # half the square of errors of 2, over both pieces
    assert d.watchers[0].heard == ((n_first, n_first), (n_first + 2, n_first + 2))


# --- an epoch --------------------------------------------------------------------------------------------------------


def test_an_epoch_returns_the_mean_loss_of_the_batches_before_their_updates(rng, engine):
    X, Y = data_of(rng)
    weight = rng.uniform(0.5, 2.0, 50)
    d = descent(X, Y, weight, step=0.01, average=False)
    W, b, s, total = np.zeros((2, 3)), np.zeros(2), weight / weight.mean(), 0.0
    for rows in np.split(np.arange(50), range(8, 50, 8)):
        E = X[rows] @ W.T + b - Y[rows]
        total += (s[rows, None] * E**2).sum() / 2
        G = s[rows, None] * E / len(rows)
        W, b = W - 0.01 * G.T @ X[rows], b - 0.01 * G.sum(axis=0)
    assert_allclose(d.epoch(None), total / 50, rtol=1e-12)
    assert_allclose(d.iterate.W, W, rtol=1e-12)


def test_an_epoch_adds_the_penalty_of_the_weights_it_ends_with(rng):
    X, Y = data_of(rng)
    settings = dict(step=1e-3, batch_size=None)
    plain, penalised = descent(X, Y, **settings), descent(X, Y, alpha=0.5, l1_ratio=0.4, **settings)
    loss, both = plain.epoch(None), penalised.epoch(None)  # one update, whose loss is the one before it
    W = penalised.iterate.W
    assert_allclose(both - loss, 0.2 * np.abs(W).sum() + 0.15 * (W**2).sum(), rtol=1e-9)


@pytest.mark.parametrize(("advantage", "begun_anew"), [(-0.5, True), (0.5, False)])
def test_an_average_that_lags_begins_anew_at_the_automatic_step(rng, advantage, begun_anew):
    X, Y = data_of(rng)
    for step in (None, 1e-3):
        d = descent(X, Y, step=step)
        d.epoch(rng)
        d.iterate.advantage = advantage
        d.epoch(rng)
        assert d.iterate.t == 14
        assert d.iterate.n_averaged == (7 if begun_anew and step is None else 14)


def test_an_epoch_whose_weights_leave_the_range_of_floats_has_an_infinite_objective(rng, engine):
    X, Y = data_of(rng)
    assert descent(X, Y, step=1e200).epoch(None) == np.inf
    overflowing = descent(X, Y, step=1e300, batch_size=None)
    overflowing.iterate.W[...] = 1e150  # whose loss has a number still, while the weights after the update have none
    assert overflowing.epoch(None) == np.inf


def test_a_batch_far_above_the_objective_of_the_mean_gets_the_safe_step(rng):
    """One batch of one row, x = 1 and y = 0, without intercept: the safe step is 1, and solves it."""
    X = np.ones((1, 1))
    for objective, solved in ((GUARD * (1 + 1e-9), True), (GUARD * (1 - 1e-9), False)):
        d = descent(X, np.zeros((1, 1)), fit_intercept=False, stream=True)
        d.null_objective = 1.0
        d.iterate.W[...] = start = np.sqrt(2.0 * objective)
        d.curvature = (1e-3, 1e-3)  # of a step far too long: 1000
        d.epoch(None)
        assert_allclose(d.iterate.W, 0.0 if solved else -999.0 * start, atol=1e-9)
    d = descent(X, np.zeros((1, 1)), fit_intercept=False, stream=True, step=1000.0)
    d.null_objective, d.iterate.W[...] = 1e-300, 1.0
    d.epoch(None)
    assert_allclose(d.iterate.W, -999.0)  # the user's own step is taken as it is


# --- objectives ------------------------------------------------------------------------------------------------------


def test_objective_is_that_of_all_rows_or_of_every_second_block_if_asked(rng, monkeypatch):
    monkeypatch.setattr("sk_gdlinear._evaluation.OBJECTIVE_NUMBERS", 1)
    monkeypatch.setattr("sk_gdlinear._evaluation.OBJECTIVE_ROWS", 10)
    X, Y = data_of(rng)
    d = descent(X, Y)
    for got, rows in ((d.objective(), range(50)), (d.objective(2), np.r_[0:10, 20:30, 40:50])):
        assert_allclose(got, [(Y[rows] ** 2).mean(axis=0).sum() / 2] * 2, rtol=1e-12)


@pytest.mark.parametrize("precondition", [False, True])
def test_objective_in_the_users_units_is_half_the_mean_squared_error_and_the_penalty(rng, precondition):
    X, Y = data_of(rng)
    d = descent(X, Y, precondition=precondition, average=False, alpha=0.3, l1_ratio=0.4, step=1e-3)
    d.epoch(rng)
    coef, intercept = d.conditioning.to_user(*d.answer)
    penalty = 0.3 * (0.4 * np.abs(coef) + 0.3 * coef**2).sum()
    expected = ((X @ coef.T + intercept - Y) ** 2).mean(axis=0).sum() / 2 + penalty
    conditioned, objective = d.objective()
    assert_allclose(objective, expected, rtol=1e-12)
    if not precondition:
        assert_allclose(conditioned, expected, rtol=1e-12)


@pytest.mark.parametrize("size", [1.0, 1e-3])
@pytest.mark.parametrize("weighted", [False, True])
def test_scale_of_a_robust_objective_leaves_outliers_out(rng, weighted, size):
    """That of errors of the median distance from the median, whatever a few targets do."""
    X, Y = data_of(rng, n=51)
    Y *= size
    weight = rng.integers(1, 4, 51).astype(float) if weighted else None
    Y[:5, 0] += 1e9
    d = descent(X, Y, weight, loss=lambda width: huber(width, 1.5))
    repeated = Y if weight is None else np.repeat(Y, weight.astype(int), axis=0)
    middle = np.sort(repeated, axis=0)[(len(repeated) - 1) // 2]
    distance = np.sort(np.abs(repeated - middle), axis=0)[(len(repeated) - 1) // 2]
    expected = np.where(distance < 1.5, distance**2 / 2, 1.5 * (distance - 0.75)).sum()
    assert_allclose(d.objective_scale(), expected, rtol=1e-12)


@pytest.mark.parametrize("precondition", [False, True])
def test_scale_of_an_objective_whose_targets_are_mostly_equal_is_that_of_their_spread(rng, precondition):
    X, Y = data_of(rng)
    Y[5:] = 7.0
    d = descent(X, Y, loss=lambda width: huber(width, 1.5), precondition=precondition)
    spread = Y.std(axis=0)
    per_target = np.where(spread < 1.5, spread**2 / 2, 1.5 * (spread - 0.75))
    if precondition:
        per_target /= spread**2
    assert_allclose(d.objective_scale(), per_target.sum(), rtol=1e-12)


def test_scale_of_a_squared_objective_is_that_of_the_mean(rng):
    X, Y = data_of(rng)
    assert_allclose(descent(X, Y).objective_scale(), Y.var(axis=0).sum() / 2, rtol=1e-12)


def test_a_kink_is_smoothed_over_a_quarter_of_the_median_error_and_less_where_quantiles_are_rare(rng):
    q = 0.9
    X, Y = data_of(rng, n=51)
    d = descent(X, Y, loss=lambda width: quantile(width, q), has_kink=True)
    assert_allclose(d.smoothing, Y.std(axis=0), rtol=1e-12)
    assert d.sharpen(1.0) is True  # at zero weights: the errors are the targets
    width = 0.25 * np.sqrt(q * (1 - q)) * np.median(np.abs(Y), axis=0)
    assert_allclose(d.smoothing, width, rtol=1e-12)
    assert_allclose(d.slope, 0.5 / width, rtol=1e-12)
    assert_allclose([*d.loss.low / d.loss.high, *d.loss.high], [-9.0, -9.0, *2 * width * (1 - q)], rtol=1e-12)
    assert_allclose(d.null_objective, largest_of_quantile(Y.std(axis=0), width, q).sum(), rtol=1e-12)
    assert_allclose(d.objective_scale(), largest_of_quantile(8.0 * width, width, q).sum(), rtol=1e-12)
    narrow = d.loss
    assert d.sharpen(1.0) is False and d.loss is narrow


def largest_of_quantile(e, width, q):
    """The smoothed loss of errors ``e``, beyond the kink, on the dearer side: 2 width (max(q, 1 - q) e - width / 4)."""
    assert (e > width).all()
    return 2.0 * width * (max(q, 1 - q) * e - width / 4)


@pytest.mark.parametrize("weighted", [False, True])
def test_a_kink_is_sharpened_by_a_share_of_the_difference(rng, weighted):
    X, Y = data_of(rng, n=51)
    weight = rng.integers(1, 4, 51).astype(float) if weighted else None
    d = descent(X, Y, weight, loss=lambda width: quantile(width, 0.5), has_kink=True, precondition=True, stream=True)
    before = d.smoothing
    d.sharpen(0.25)  # at zero weights
    repeated = Y if weight is None else np.repeat(Y, weight.astype(int), axis=0)
    errors = np.sort(np.abs(repeated), axis=0)[(len(repeated) - 1) // 2]
    assert_allclose(d.smoothing, 0.75 * before + 0.25 * 0.125 * errors, rtol=1e-12)


def test_losses_without_a_kink_are_never_sharpened(rng):
    d = descent(*data_of(rng), loss=lambda width: huber(width, 1.5))
    assert d.sharpen(1.0) is False
    assert d.sharpest_loss() == (d.slope, d.loss)


def test_the_sharpest_loss_is_the_pinball_loss_as_good_as_unsmoothed(rng):
    X, Y = data_of(rng)
    d = descent(X, Y, loss=lambda width: quantile(width, 0.8), has_kink=True)
    slope, loss = d.sharpest_loss()
    E = rng.normal(size=(1_000, 2)) * Y.std(axis=0)
    assert_allclose(slope * loss.value(E), np.maximum(0.2 * E, -0.8 * E), atol=1e-6 * Y.std())


# --- variance reduction ----------------------------------------------------------------------------------------------


def test_what_remains_is_foreseen_just_where_the_objective_is_quadratic_and_columns_are_few(rng):
    X, Y = data_of(rng)
    d = descent(X, Y, precondition=True)
    d.reduce_variance()
    Z = np.column_stack([(X - X.mean(axis=0)) * d.conditioning.inv_scale, np.ones(50)])
    gradient = np.column_stack([d.reduction.drift_W, d.reduction.drift_b])
    decrement = 0.5 * np.trace(gradient @ np.linalg.inv(Z.T @ Z / 50) @ gradient.T)
    assert_allclose(d.remaining_gain(), decrement, rtol=1e-9)
    wide = rng.normal(size=(50, GRAM_COLUMNS))
    for rows, other in ((X, dict(loss=lambda width: huber(width, 1.5))), (X, dict(alpha=1.0)), (wide, {})):
        d = descent(rows, Y, precondition=True, **other)
        d.reduce_variance()
        assert d.remaining_gain() is None
        assert (d.modes is None) == ("alpha" in other or rows is wide)


@pytest.mark.parametrize("weighted", [False, True])
def test_the_curved_share_is_that_of_errors_within_the_bounds(rng, weighted):
    X, Y = data_of(rng)
    weight = rng.uniform(0.5, 2.0, 50) if weighted else None
    d = descent(X, Y, weight, loss=lambda width: huber(width, 0.5 * Y.std()), precondition=True)
    d.reduce_variance()
    W, b = d.conditioning.to_user(*d.answer)
    within = (np.abs(X @ W.T + b - Y) < 0.5 * Y.std()).mean(axis=1)
    assert_allclose(d.curved_share(), np.average(within, weights=weight), rtol=1e-12)


def test_where_the_loss_curves_about_no_row_it_is_taken_for_one(rng):
    d = descent(*data_of(rng), loss=lambda width: huber(width, 1e-9))
    d.reduce_variance()
    assert d.curved_share() == 1 / 50


@pytest.mark.parametrize("batch_size", [8, 3_000])
def test_preconditioned_sparse_rows_descend_as_dense_ones(rng, batch_size):
    """They are made dense a block at a time."""
    X, Y = data_of(rng, n=5_000)
    root, results = rng.normal(size=(3, 3)), []
    for rows in (X, csr_array(X)):
        d = descent(rows, Y, batch_size=batch_size)
        d.reduce_variance()
        d.preconditioner = Preconditioner(root @ root.T, 100.0, 10.0)
        results.append([d.epoch(None), *d.answer, *d.reduction])
    for dense, sparse in zip(*results, strict=True):
        assert_allclose(sparse, dense, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("times", [1.0, 1e9])
def test_a_preconditioner_is_not_chosen_where_it_takes_too_long(rng, monkeypatch, times):
    X, Y = data_of(rng)
    X[:, 1] = X[:, 0] + 0.01 * X[:, 1]
    monkeypatch.setattr("sk_gdlinear._modes.Modes.times_longer", lambda *_: times)
    d = descent(X, Y, precondition=True)
    d.epoch(rng)
    d.reduce_variance()
    d.choose_preconditioner(1e-9)
    assert (d.preconditioner is None) == (times > 1.0)


def test_variance_reduction_goes_on_from_an_average_that_does_not_lag(rng):
    X, Y = data_of(rng)
    for advantage in (0.0, -0.5):
        d = descent(X, Y, precondition=True)
        d.epoch(rng)
        d.iterate.advantage = advantage
        newest, average = d.iterate.W.copy(), d.iterate.mean_W.copy()
        d.reduce_variance()
        assert_array_equal(d.iterate.W, newest if advantage else average)
