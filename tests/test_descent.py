"""The parts of a descent, each against its formula written out: steps, means over rows, scales of the objective."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import builders
from sk_gdlinear._data.order import BLOCK_ROWS
from sk_gdlinear._data.rows import Rows
from sk_gdlinear._descent.backend import DENSE, REFERENCE
from sk_gdlinear._descent.error_sample import curved_share
from sk_gdlinear._descent.evaluation import gradient_pass
from sk_gdlinear._descent.lipschitz import LipschitzConstants
from sk_gdlinear._descent.row_sample import SAMPLE_ROWS
from sk_gdlinear._descent.schedule import make_schedule
from sk_gdlinear._objective.losses import Huber, Quantile
from sk_gdlinear._objective.penalties import ElasticNet


def data_of(rng, n=50, d=3, k=2):
    X = rng.normal([2.0, -1.0, 0.5], [1.0, 3.0, 0.2], size=(n, d))
    return X, X @ rng.normal(size=(d, k)) + rng.normal([5.0, -300.0], [1.0, 40.0], size=(n, k))


def descent(X, Y, weight=None, **changes):
    """The descent over the rows as ``fit`` makes it from 0, in the variables of the data unless ``standardize``."""
    start = dict(coef=np.zeros((Y.shape[1], X.shape[1])), intercept=np.zeros(Y.shape[1]))
    return builders.method(X, Y, weight, **start, **dict(batch_size=8, standardize=False) | changes)


def with_constants(method, row_norm, eigenvalue):
    """Have the automatic step be computed from other constants."""
    method.step_size = method.step_size._replace(constants=LipschitzConstants(row_norm, eigenvalue))


def begin_epoch(method, n_rows=None):
    """Begin an epoch, over some of the rows, but make no update; return the steps of those to come."""
    steps, backend, rows = [], method.backend, method.rows
    method.backend = backend._replace(epoch=lambda problem, plan, *_: steps.extend(plan.steps) or 0.0)
    method.rows = rows if n_rows is None else rows._replace(kept=np.arange(n_rows))
    method.epoch()
    method.backend, method.rows = backend, rows
    return steps


def reduced(method):
    """The descent with variance reduction where it stands."""
    method.state.n_epochs = 1
    method._prepare_epoch()
    return method


@pytest.fixture(params=["compiled", "reference"])
def backend(request):
    """An epoch by the compiled kernel, where it was built, and by the reference implementation."""
    return DENSE if request.param == "compiled" else REFERENCE


# --- steps -----------------------------------------------------------------------------------------------------------


def test_each_batch_gets_the_step_for_its_own_number_of_rows(rng):
    d = descent(*data_of(rng), max_iter=1)  # without variance reduction
    with_constants(d, 30.0, 2.0)
    d.state.step_factor = 0.5
    full, last, single = 0.5 * 8 / (30.0 + 7 * 2.0), 0.5 * 2 / (30.0 + 1 * 2.0), 0.5 / 30.0
    assert_allclose(begin_epoch(d), [full] * 6 + [last], rtol=1e-15)
    assert_allclose(begin_epoch(d, 16), [full] * 2, rtol=1e-15)
    assert_allclose(begin_epoch(d, 17), [full] * 2 + [single], rtol=1e-15)
    assert_allclose(d.current_step, full, rtol=1e-15)


def test_while_variance_is_reduced_beta_is_one_and_a_half_times_as_large(rng):
    d = reduced(descent(*data_of(rng)))
    with_constants(d, 30.0, 2.0)
    assert_allclose(begin_epoch(d, 8), [8 / (1.5 * 30.0 + 7 * 2.0)], rtol=1e-15)


@pytest.mark.parametrize("t", [0, 1, 10])
def test_a_falling_step_continues_from_the_updates_made(rng, t):
    d = descent(*data_of(rng), step=0.3, schedule=make_schedule("invscaling", 0.5, None))
    d.state.iterate.t = t
    assert_allclose(d.current_step, 0.3 / np.sqrt(max(t, 1)), rtol=1e-15)
    assert_allclose(begin_epoch(d, 20), 0.3 / np.sqrt(t + np.arange(1, 4)), rtol=1e-15)


@pytest.mark.parametrize("size", [1.0, 1e-3])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_the_step_of_a_full_batch_is_the_inverse_of_the_largest_eigenvalue_times_its_margin(rng, fit_intercept, size):
    X, Y = data_of(rng)
    X *= size
    d = descent(X, Y, batch_size=None, fit_intercept=fit_intercept)
    Z = np.column_stack([X, np.ones(50)]) if fit_intercept else X
    assert_allclose(begin_epoch(d), [1.0 / (1.05 * np.linalg.eigvalsh(Z.T @ Z / 50)[-1])], rtol=1e-10)


@pytest.mark.parametrize("batch_size", [None, 8])
def test_rows_of_zeros_have_a_step_all_the_same(rng, batch_size):
    d = descent(np.zeros((50, 3)), data_of(rng)[1], fit_intercept=False, batch_size=batch_size)
    assert_array_equal(begin_epoch(d), np.ones(1 if batch_size is None else 7))


@pytest.mark.parametrize("batch_size", [1, 7, 1000, BLOCK_ROWS - 1, BLOCK_ROWS, BLOCK_ROWS + 1, 4 * BLOCK_ROWS])
def test_an_epoch_is_cut_between_batches(batch_size):
    n = 3 * BLOCK_ROWS + 5
    X = np.broadcast_to(0.0, (n, 1))
    d = descent(np.zeros((4, 1)), np.zeros((4, 1)))
    d.rows, d.batch_size = Rows(X, X), batch_size
    assert d.block_rows % batch_size == 0
    assert d.block_rows <= max(BLOCK_ROWS, batch_size) < d.block_rows + batch_size
    blocks = [len(order) for order in d.rows.blocks(None, d.block_rows)]
    assert d.n_blocks == len(blocks) and sum(blocks) == n


def test_monitors_are_called_after_the_updates_of_every_block(rng):
    n_first, seen = BLOCK_ROWS // 7, []
    X = np.zeros((7 * n_first + 10, 1))
    d = descent(X, X + 2.0, batch_size=7, fit_intercept=False)
    objective = d.epoch(rng, lambda: seen.append((d.state.iterate.t, d.state.iterate.n_averaged)))
    assert objective == 2.0  # half the square of errors of 2, over both blocks
    assert seen == [(n_first, n_first), (n_first + 2, n_first + 2)]


# --- an epoch --------------------------------------------------------------------------------------------------------


def test_an_epoch_returns_the_mean_loss_of_the_batches_before_their_updates(rng, backend):
    X, Y = data_of(rng)
    weight = rng.uniform(0.5, 2.0, 50)
    d = descent(X, Y, weight, step=0.01, average=False)
    d.backend = backend
    W, b, s, total = np.zeros((2, 3)), np.zeros(2), weight / weight.mean(), 0.0
    for rows in np.split(np.arange(50), range(8, 50, 8)):
        E = X[rows] @ W.T + b - Y[rows]
        total += (s[rows, None] * E**2).sum() / 2
        G = s[rows, None] * E / len(rows)
        W, b = W - 0.01 * G.T @ X[rows], b - 0.01 * G.sum(axis=0)
    assert_allclose(d.epoch(None), total / 50, rtol=1e-12)
    assert_allclose(d.state.iterate.W, W, rtol=1e-12)


def test_an_epoch_adds_the_penalty_of_the_coefficients_it_ends_with(rng):
    X, Y = data_of(rng)
    settings = dict(step=1e-3, batch_size=None)
    plain, penalised = descent(X, Y, **settings), descent(X, Y, penalty=ElasticNet(0.5, 0.4), **settings)
    loss, both = plain.epoch(None), penalised.epoch(None)  # one update, whose loss is the one before it
    W = penalised.state.iterate.W
    assert_allclose(both - loss, 0.2 * np.abs(W).sum() + 0.15 * (W**2).sum(), rtol=1e-9)


@pytest.mark.parametrize(("gain", "begun_anew"), [(-0.5, True), (0.5, False)])
def test_an_average_that_lags_begins_anew_at_the_automatic_step(rng, gain, begun_anew):
    X, Y = data_of(rng)
    for step in (None, 1e-3):
        d = descent(X, Y, step=step, max_iter=1)  # without variance reduction
        d.epoch(rng)
        d.state.iterate.gain = gain
        d.epoch(rng)
        assert d.state.iterate.t == 14
        assert d.state.iterate.n_averaged == (7 if begun_anew and step is None else 14)


def test_an_epoch_whose_parameters_leave_the_range_of_floats_has_an_infinite_objective(rng, backend):
    X, Y = data_of(rng)
    d = descent(X, Y, step=1e200)
    d.backend = backend
    assert d.epoch() == np.inf
    overflowing = descent(X, Y, step=1e300, batch_size=None)
    overflowing.backend = backend
    overflowing.state.iterate.W[...] = 1e150  # the loss is finite still, the parameters after the update are not
    assert overflowing.epoch() == np.inf


def test_a_batch_above_16_times_the_objective_of_the_mean_gets_the_step_of_the_line_search(rng):
    """One batch of one row, x = 1 and y = 0, without intercept: the line search has step 1, and solves it."""
    X, Y = np.array([[1.0], [0.0]]), np.array([[0.0], [2.0]])  # predicting the mean of y, which is 0 here, costs 1
    for objective, solved in ((16.0 * (1 + 1e-9), True), (16.0 * (1 - 1e-9), False)):
        d = descent(X, Y, fit_intercept=False, batch_size=1, shuffle=False, stream=True)
        assert_allclose(d.objective.null_value, 1.0, rtol=1e-15)
        d.state.iterate.W[...] = start = np.sqrt(2.0 * objective)
        with_constants(d, 1e-3, 1e-3)  # of a step far too long: 1000
        d.epoch()
        assert_allclose(d.state.iterate.W, 0.0 if solved else -999.0 * start, atol=1e-9)
    d = descent(X, Y, fit_intercept=False, batch_size=1, stream=True, step=1000.0)
    d.state.iterate.W[...] = 1e3
    d.epoch()
    assert_allclose(d.state.iterate.W, -999e3)  # the user's own step is taken as it is


# --- objectives ------------------------------------------------------------------------------------------------------


def test_the_objective_is_that_of_all_rows(rng, monkeypatch, backend):
    """Also where their errors are computed in blocks."""
    monkeypatch.setattr("sk_gdlinear._objective.evaluate.BLOCK_NUMBERS", 1)
    monkeypatch.setattr("sk_gdlinear._objective.evaluate.BLOCK_ROWS", 8)
    X, Y = data_of(rng)
    d = descent(X, Y)
    d.backend = backend
    assert_allclose(d.evaluate(), [(Y**2).mean(axis=0).sum() / 2] * 2, rtol=1e-12)


@pytest.mark.parametrize("standardize", [False, True])
def test_objective_in_the_users_units_is_half_the_mean_squared_error_and_the_penalty(rng, standardize):
    X, Y = data_of(rng)
    d = descent(X, Y, standardize=standardize, average=False, penalty=ElasticNet(0.3, 0.4), step=1e-3)
    d.epoch(rng)
    coef, intercept = d.standardization.to_user(*d.reported())
    penalty = 0.3 * (0.4 * np.abs(coef) + 0.3 * coef**2).sum()
    expected = ((X @ coef.T + intercept - Y) ** 2).mean(axis=0).sum() / 2 + penalty
    standardized, objective = d.evaluate()
    assert_allclose(objective, expected, rtol=1e-12)
    if not standardize:
        assert_allclose(standardized, expected, rtol=1e-12)


@pytest.mark.parametrize("weighted", [False, True])
def test_the_evaluation_after_the_first_epoch_is_the_objective_and_fills_the_gradient_table(rng, weighted):
    """One pass over the rows does both."""
    X, Y = data_of(rng)
    weight = rng.uniform(0.5, 2.0, 50) if weighted else None
    d = descent(X, Y, weight, standardize=True)
    d.epoch(rng)
    evaluation = d.evaluate()
    coef, intercept = d.standardization.to_user(*d.reported())
    E = X @ coef.T + intercept - Y
    assert_allclose(evaluation.objective, np.average(E**2, axis=0, weights=weight).sum() / 2, rtol=1e-12)
    s = 1.0 if weight is None else (weight / weight.mean())[:, None]
    assert_allclose(d.last_pass.reduction.table, s * E * d.standardization.target_inv_scale, rtol=1e-9, atol=1e-12)
    table = d.last_pass.reduction.table
    begin_epoch(d)
    assert d.last_pass.reduction is None and d.state.reduction.table is table


@pytest.mark.parametrize("size", [1.0, 1e-3])
@pytest.mark.parametrize("weighted", [False, True])
def test_scale_of_a_robust_objective_leaves_outliers_out(rng, weighted, size):
    """That of errors of the median distance from the median, whatever a few targets do."""
    X, Y = data_of(rng, n=51)
    Y *= size
    weight = rng.integers(1, 4, 51).astype(float) if weighted else None
    Y[:5, 0] += 1e9
    d = descent(X, Y, weight, loss=Huber(1.5))
    repeated = Y if weight is None else np.repeat(Y, weight.astype(int), axis=0)
    middle = np.sort(repeated, axis=0)[(len(repeated) - 1) // 2]
    distance = np.sort(np.abs(repeated - middle), axis=0)[(len(repeated) - 1) // 2]
    expected = np.where(distance < 1.5, distance**2 / 2, 1.5 * (distance - 0.75)).sum()
    assert_allclose(d.objective_scale(), expected, rtol=1e-12)


@pytest.mark.parametrize("standardize", [False, True])
def test_scale_of_an_objective_whose_targets_are_mostly_equal_is_that_of_their_spread(rng, standardize):
    X, Y = data_of(rng)
    Y[5:] = 7.0
    d = descent(X, Y, loss=Huber(1.5), standardize=standardize)
    spread = Y.std(axis=0)
    per_target = np.where(spread < 1.5, spread**2 / 2, 1.5 * (spread - 0.75))
    if standardize:
        per_target /= spread**2
    assert_allclose(d.objective_scale(), per_target.sum(), rtol=1e-12)


def test_scale_of_a_squared_objective_is_that_of_the_mean(rng):
    X, Y = data_of(rng)
    assert_allclose(descent(X, Y).objective_scale(), Y.var(axis=0).sum() / 2, rtol=1e-12)


def test_a_kink_is_smoothed_over_a_quarter_of_the_median_error_and_less_where_quantiles_are_rare(rng):
    q = 0.9
    X, Y = data_of(rng, n=51)
    d = descent(X, Y, loss=Quantile(q))
    assert_allclose(d.objective.width, Y.std(axis=0), rtol=1e-12)
    assert d.adjust(1.0, 1.0) == "rescaled"  # at zero coefficients: the errors are the targets
    width = 0.25 * np.sqrt(q * (1 - q)) * np.median(np.abs(Y), axis=0)
    loss = d.objective.loss
    assert_allclose(d.objective.width, width, rtol=1e-12)
    assert_allclose(d.objective.lipschitz, 0.5 / width, rtol=1e-12)
    assert_allclose([*loss.low / loss.high, *loss.high], [-9.0, -9.0, *2 * width * (1 - q)], rtol=1e-12)
    assert_allclose(d.objective.null_value, largest_of_quantile(Y.std(axis=0), width, q).sum(), rtol=1e-12)
    assert_allclose(d.objective_scale(), largest_of_quantile(8.0 * width, width, q).sum(), rtol=1e-12)
    assert d.adjust(1.0, 1.0) is None and d.objective.loss is loss


def largest_of_quantile(e, width, q):
    """The larger smoothed loss of errors ``e`` beyond the kink: 2 width (max(q, 1 - q) e - width / 4)."""
    assert (e > width).all()
    return 2.0 * width * (max(q, 1 - q) * e - width / 4)


@pytest.mark.parametrize("weighted", [False, True])
def test_in_a_stream_the_smoothing_narrows_by_a_share_of_the_difference(rng, weighted):
    X, Y = data_of(rng, n=51)
    weight = rng.integers(1, 4, 51).astype(float) if weighted else None
    d = descent(X, Y, weight, loss=Quantile(0.5), standardize=True, stream=True)
    before = d.objective.width
    d.state.iterate.t = 51  # of 8 rows: those of 408 rows make a share of an eighth
    d.adjust(1.0, 1.0)  # at zero coefficients
    repeated = Y if weight is None else np.repeat(Y, weight.astype(int), axis=0)
    errors = np.sort(np.abs(repeated), axis=0)[(len(repeated) - 1) // 2]
    assert_allclose(d.objective.width, before + 51 / 408 * (0.125 * errors - before), rtol=1e-12)


def test_losses_without_a_kink_are_never_rescaled(rng):
    d = descent(*data_of(rng), loss=Huber(1.5))
    assert d.adjust(1.0, 1.0) is None
    assert d.objective.exact_loss()[0] is d.objective.loss


def test_a_validation_set_is_judged_by_the_pinball_loss_itself(rng):
    X, Y = data_of(rng)
    loss, factor = descent(X, Y, loss=Quantile(0.8), standardize=True).objective.exact_loss()
    unit = Y.std(axis=0)
    E = rng.normal(size=(1_000, 2))
    assert_allclose(factor * unit**2 * loss.value(E), np.maximum(0.2 * E * unit, -0.8 * E * unit), rtol=1e-12)


# --- variance reduction ----------------------------------------------------------------------------------------------


def twice(rng, **changes):
    """A descent with variance reduction over rows that occur twice, so that every other one is a sample like all."""
    X, Y = data_of(rng, n=SAMPLE_ROWS)
    return reduced(descent(np.repeat(X, 2, axis=0), np.repeat(Y, 2, axis=0), standardize=True, **changes))


def evaluated(d):
    """The descent after an evaluation, which computes the gradient of all rows."""
    d.last_pass = gradient_pass(d.backend, d._problem(), *d.reported())
    return d


def decrement_of(d):
    """Half of gᵀ H⁻¹ g, with g the gradient of all rows and H the second moments with a column of ones."""
    Z = np.column_stack([d.standardization.rows(d.rows.X), np.ones(d.rows.n_rows)])
    gradient = np.column_stack([d.state.reduction.mean_grad_W, d.state.reduction.mean_grad_b])
    return 0.5 * np.trace(gradient @ np.linalg.inv(Z.T @ Z / len(Z)) @ gradient.T)


def test_before_the_purchase_a_sample_estimates_the_newton_decrement_without_its_bias(rng):
    """The inverse of second moments of m rows of d columns is m / (m - d) times too large, on average."""
    d = evaluated(twice(rng, precondition="auto"))
    of_intercept = 0.5 * np.square(d.state.reduction.mean_grad_b).sum()
    unbiased = (1.0 - 3 / SAMPLE_ROWS) * (decrement_of(d) - of_intercept) + of_intercept
    remaining, exact = d.remaining_gain()
    assert_allclose(remaining, unbiased, rtol=1e-9)
    assert not exact
    assert d.confirms(1.001 * unbiased) and not d.confirms(0.999 * unbiased)
    assert not d.curvature.buys_next


def test_after_an_epoch_with_the_curvature_the_decrement_of_all_rows_is_known(rng):
    X, Y = data_of(rng)
    d = descent(X, Y, standardize=True, precondition=True)
    objective = d.evaluate().standardized
    before = d.epoch()
    assert d.n_updates == d.state.n_epochs == 1
    assert_allclose(before, objective, rtol=1e-12)
    remaining, exact = d.remaining_gain()
    assert exact and remaining <= 1e-15
    coef, intercept, _ = builders.least_squares(X, Y)
    for got, best in zip(d.standardization.to_user(*d.reported()), (coef, intercept), strict=True):
        assert_allclose(got, best, rtol=1e-9)


def test_nothing_is_known_of_what_is_left_where_rows_are_few_or_the_loss_has_another_curvature_everywhere(rng):
    """Then the curvature of all rows is bought before a fit may end."""
    few = evaluated(reduced(descent(*data_of(rng), standardize=True, precondition="auto")))
    huber = evaluated(twice(rng, precondition="auto", loss=Huber(1.5)))
    never = twice(rng)
    unreduced = descent(*data_of(rng), standardize=True, precondition="auto", average=False)
    assert [d.remaining_gain() for d in (few, huber, never, unreduced)] == [None] * 4
    for d, bought in ((few, True), (huber, False), (unreduced, True)):
        assert not d.confirms(1e-12)
        assert d.curvature.buys_next == bought
    assert huber.confirms(1e3)
    assert never.confirms(0.0)  # without the curvature there is nobody to ask


@pytest.mark.parametrize("weighted", [False, True])
def test_the_curved_share_is_that_of_errors_within_the_bounds(rng, weighted):
    X, Y = data_of(rng)
    weight = rng.uniform(0.5, 2.0, 50) if weighted else None
    d = reduced(descent(X, Y, weight, loss=Huber(0.5 * Y.std()), standardize=True))
    coef, intercept = d.standardization.to_user(*d.reported())
    within = (np.abs(X @ coef.T + intercept - Y) < 0.5 * Y.std()).mean(axis=1)
    share = curved_share(d.backend, d._problem(), *d.reported())
    assert_allclose(share, np.average(within, weights=weight), rtol=1e-12)


def test_where_the_loss_curves_about_no_row_it_is_taken_for_one(rng):
    d = reduced(descent(*data_of(rng), loss=Huber(1e-9), standardize=True))
    assert curved_share(d.backend, d._problem(), *d.reported()) == 1 / 50


def test_variance_reduction_continues_from_an_average_that_does_not_lag(rng):
    X, Y = data_of(rng)
    for gain in (0.0, -0.5):
        d = descent(X, Y, standardize=True)
        d.epoch(rng)
        d.state.iterate.gain = gain
        newest, average = d.state.iterate.W.copy(), d.state.iterate.mean_W.copy()
        assert_array_equal(reduced(d).state.iterate.W, newest if gain else average)
