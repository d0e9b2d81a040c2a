"""The derivation against finite differences and by hand."""

import numpy as np
import pytest
from sklearn.metrics import mean_pinball_loss

from builders import central_differences
from sk_gdlinear._data.standardize import Standardization
from sk_gdlinear._objective.derivation import (
    batch_loss,
    coef_gradient,
    error,
    forward,
    intercept_gradient,
    output_gradient,
)
from sk_gdlinear._objective.losses import (
    Huber,
    Quantile,
    SmoothedQuantile,
    SquaredError,
    clipped_line,
    largest_loss,
    relative_width,
)
from sk_gdlinear._objective.objective import Baseline, Objective
from sk_gdlinear._objective.penalties import BoxedElasticNet

SQUARED = clipped_line(SquaredError())
LOSSES = {
    "squared error": SQUARED,
    "huber": clipped_line(Huber(1.3)),
    "quantile": clipped_line(SmoothedQuantile(0.8, 0.5)),
}


def quantile(width, q):
    """The largest slope of the smoothed quantile loss, and the loss over it."""
    loss = SmoothedQuantile(q, width)
    return loss.lipschitz, clipped_line(loss)


def objective(W, b, X, Y, loss, weight):
    return batch_loss(error(forward(X, W, b), Y), loss, weight).sum()


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("k", [1, 3])
def test_gradients_are_the_derivatives_of_the_loss(k, weighted, loss):
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(7, 4)), rng.normal(size=(7, k))
    loss = loss.scaled(np.geomspace(0.5, 2.0, k), np.float64)
    W, b = rng.normal(size=(k, 4)), rng.normal(size=k)
    weight = rng.uniform(0.1, 3, 7) if weighted else None
    G = output_gradient(error(forward(X, W, b), Y), loss, weight)
    numeric_W = central_differences(lambda W: objective(W, b, X, Y, loss, weight), W)
    numeric_b = central_differences(lambda b: objective(W, b, X, Y, loss, weight), b)
    np.testing.assert_allclose(coef_gradient(G, X), numeric_W, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(intercept_gradient(G), numeric_b, rtol=1e-7, atol=1e-9)


def test_loss_is_half_the_mean_square_per_target():
    E = np.array([[1.0, 2.0], [3.0, -4.0]])
    np.testing.assert_array_equal(batch_loss(E, SQUARED), [(1 + 9) / 4, (4 + 16) / 4])
    np.testing.assert_array_equal(batch_loss(E, SQUARED, np.array([0.5, 1.5])), [(0.5 + 13.5) / 4, (2 + 24) / 4])


def test_loss_of_float32_errors_is_summed_in_float64():
    large = np.full((3, 1), 1e25, dtype=np.float32)
    assert batch_loss(large, SQUARED).dtype == np.float64
    np.testing.assert_allclose(batch_loss(large, SQUARED), 5e49, rtol=1e-6)


def test_mean_gradient_does_not_grow_with_repeated_rows():
    rng = np.random.default_rng(1)
    X, Y, W, b = rng.normal(size=(5, 3)), rng.normal(size=(5, 1)), np.ones((1, 3)), np.zeros(1)
    once = coef_gradient(output_gradient(error(forward(X, W, b), Y), SQUARED), X)
    X, Y = np.tile(X, (10, 1)), np.tile(Y, (10, 1))
    np.testing.assert_allclose(coef_gradient(output_gradient(error(forward(X, W, b), Y), SQUARED), X), once, rtol=1e-13)


def test_huber_loss_by_hand():
    E = np.array([[-5.0], [-2.0], [0.5], [2.0], [9.0]])
    assert Huber(2.0).lipschitz == 1.0
    loss = clipped_line(Huber(2.0))
    np.testing.assert_array_equal(loss.value(E), [[2 * 4], [2], [0.125], [2], [2 * 8]])
    np.testing.assert_array_equal(loss.derivative(E), [[-2], [-2], [0.5], [2], [2]])


@pytest.mark.parametrize("q", [0.1, 0.5, 0.95])
def test_quantile_loss_is_the_pinball_loss_beyond_its_smoothing_up_to_a_constant(q):
    width = 1e-3
    E = np.array([-3.0, -0.5, -width, width, 0.2, 4.0])
    slope, loss = quantile(width, q)
    pinball = [mean_pinball_loss([0.0], [e], alpha=q) for e in E]
    np.testing.assert_allclose(slope * loss.value(E) + width / 4, pinball, rtol=1e-12)
    np.testing.assert_allclose(slope * loss.derivative(E), np.where(E > 0, 1 - q, -q), rtol=1e-12)


def test_huber_loss_with_a_large_epsilon_is_half_the_square():
    E = np.random.default_rng(0).normal(size=(50, 1))
    np.testing.assert_allclose(clipped_line(Huber(1e3)).value(E), SQUARED.value(E), rtol=1e-14)


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
@pytest.mark.parametrize("factor", [1e-3, 40.0])
def test_loss_in_other_units_is_a_multiple_of_the_loss(loss, factor):
    E = np.linspace(-3, 3, 61)[:, None]
    scaled = loss.scaled(np.array([factor]), np.float64)
    np.testing.assert_allclose(scaled.value(E * factor), factor**2 * loss.value(E), rtol=1e-12, atol=1e-12 * factor**2)
    np.testing.assert_allclose(
        scaled.derivative(E * factor), factor * loss.derivative(E), rtol=1e-12, atol=1e-12 * factor
    )


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
def test_second_derivative_is_one_at_most_and_the_loss_concave_in_the_square(loss):
    """What the automatic step, and the loss of predicting the mean, rely on."""
    e = np.linspace(-4, 4, 4001)
    steepest = np.diff(loss.derivative(e)).max() / (e[1] - e[0])
    np.testing.assert_allclose(steepest, 1.0, rtol=1e-9)
    sample = np.random.default_rng(0).normal(size=(200, 20)) * np.geomspace(0.05, 2, 200)[:, None]
    rms = np.sqrt((sample**2).mean(axis=1))
    assert (loss.value(sample).mean(axis=1) <= largest_loss(loss, rms) * (1 + 1e-12)).all()


@pytest.mark.parametrize("loss", [clipped_line(Huber(1.3)), quantile(0.5, 0.8)[1], quantile(0.5, 0.2)[1]], ids=str)
def test_largest_loss_is_the_larger_of_both_sides(loss):
    e = np.array([0.1, 2.0])
    np.testing.assert_array_equal(largest_loss(loss, e), [max(loss.value(x), loss.value(-x)) for x in e])


def test_largest_loss_without_a_number_is_infinite():
    for q in (0.2, 0.5, 0.8):
        assert largest_loss(quantile(1e200, q)[1], np.array([1e200])) == np.inf
    assert largest_loss(SQUARED, np.array([1e200])) == np.inf


def test_loss_in_a_unit_without_a_number_in_float32_is_free():
    scaled = clipped_line(Huber(1.0)).scaled(np.array([1e300]), np.float32)
    assert (scaled.low, scaled.high, scaled.low.dtype) == (-np.inf, np.inf, np.float32)


@pytest.mark.parametrize("q", [0.1, 0.5, 0.8])
def test_a_kink_is_smoothed_over_a_quarter_of_the_errors_times_the_spread_of_a_coin(q):
    np.testing.assert_allclose(relative_width(Quantile(q)), 0.25 * np.sqrt(q * (1.0 - q)), rtol=1e-12)


@pytest.mark.parametrize("share", [1.0, 0.3])
@pytest.mark.parametrize("q", [0.1, 0.5, 0.8])
def test_the_width_of_a_kink_follows_the_errors_by_a_share_down_to_a_part_of_the_spread(q, share):
    """Whatever the units of the targets, in float32 too."""
    unit, spread = np.array([1.0, 1e30]), np.array([1.0, 50.0])
    baseline = Baseline(np.zeros(2, np.float32), spread * unit, spread * unit)
    standardization = Standardization(*(np.ones(n, np.float32) for n in (1, 1, 2)), (1.0 / unit).astype(np.float32))
    before = np.array([3.0, 7.0]) * unit
    objective = Objective.of(Quantile(q), None, standardization, baseline, before)
    width = np.array([2.0 * np.sqrt(q * (1.0 - q)), 50e-5]) * unit
    got = objective.narrower_width(np.array([8.0, 0.0]) * unit, share)
    np.testing.assert_allclose(got, before + share * (width - before), rtol=1e-12)


def test_only_the_squared_error_is_quadratic():
    assert SQUARED.is_quadratic and SQUARED.scaled(np.ones(2), np.float32).is_quadratic
    for loss in (LOSSES["huber"], LOSSES["quantile"]):
        assert not loss.is_quadratic and not loss.scaled(np.ones(2), np.float32).is_quadratic


def test_penalty_of_float32_weights_is_summed_in_float64():
    W = np.full((2, 3), 1e25, dtype=np.float32)
    ones = np.ones((2, 3), dtype=np.float32)
    np.testing.assert_allclose(BoxedElasticNet(ones, ones).value(W), 1.5e50, rtol=1e-6)


def test_penalty_of_weights_without_squares_is_infinite_just_where_the_squares_count():
    W, zeros, ones = np.array([[1e200], [-1e200]]), np.zeros((2, 1)), np.array([[1.0], [0.0]])
    np.testing.assert_array_equal(BoxedElasticNet(zeros + 3.0, zeros, zeros, zeros + np.inf).value(W), [3e200, 3e200])
    np.testing.assert_array_equal(BoxedElasticNet(zeros, ones).value(W), [np.inf, 0.0])


def test_no_penalty_costs_nothing_and_moves_nothing():
    W = np.arange(6.0).reshape(2, 3)
    np.testing.assert_array_equal(BoxedElasticNet().value(W), [0.0, 0.0])
    assert BoxedElasticNet().proximal(W, 0.1) is W


@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("step", [0.1, 1.0, 1e3])
def test_proximal_step_minimises_its_objective_on_a_grid(step, positive):
    l1, l2 = np.array([[0.0, 0.7, 0.0, 1.3, 0.5]]), np.array([[0.0, 0.0, 2.0, 0.4, 1.0]])
    bounds = (np.zeros((1, 5)), np.full((1, 5), np.inf)) if positive else (None, None)
    penalty = BoxedElasticNet(l1, l2, *bounds)
    V = np.array([[1.2, -1.1, 0.8, 2.0, 0.04]])
    W = penalty.proximal(V, step)
    grid = np.linspace(0.0 if positive else -3.0, 3.0, 60_001 if positive else 120_001)[:, None]
    values = (grid - V) ** 2 / (2 * step) + l1 * np.abs(grid) + 0.5 * l2 * grid**2
    np.testing.assert_allclose(W[0], grid[values.argmin(axis=0), 0], atol=1e-4)
    np.testing.assert_allclose(penalty.value(W), (l1 * np.abs(W) + 0.5 * l2 * W**2).sum(), rtol=1e-14)
