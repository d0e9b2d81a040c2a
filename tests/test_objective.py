"""The derivation against finite differences and by hand."""

import numpy as np
import pytest
from sklearn.metrics import mean_pinball_loss

from sk_gdlinear._objective import (
    Penalty,
    batch_loss,
    coef_gradient,
    error,
    forward,
    huber,
    intercept_gradient,
    output_gradient,
    quantile,
    smoothing_width,
    squared_error,
)

SQUARED = squared_error(None)[1]
LOSSES = {"squared error": SQUARED, "huber": huber(None, 1.3)[1], "quantile": quantile(0.5, 0.8)[1]}


def objective(W, b, X, Y, loss, weight):
    return batch_loss(error(forward(X, W, b), Y), loss, weight).sum()


def central_differences(f, at, h=1e-6):
    grad = np.empty_like(at)
    for i in np.ndindex(at.shape):
        up, down = at.copy(), at.copy()
        up[i] += h
        down[i] -= h
        grad[i] = (f(up) - f(down)) / (2 * h)
    return grad


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
    slope, loss = huber(None, 2.0)
    assert slope == 1.0
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
    np.testing.assert_allclose(huber(None, 1e3)[1].value(E), SQUARED.value(E), rtol=1e-14)


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
    assert (loss.value(sample).mean(axis=1) <= loss.largest(rms) * (1 + 1e-12)).all()


@pytest.mark.parametrize("loss", [huber(None, 1.3)[1], quantile(0.5, 0.8)[1], quantile(0.5, 0.2)[1]], ids=str)
def test_largest_loss_is_that_of_the_dearer_side(loss):
    e = np.array([0.1, 2.0])
    np.testing.assert_array_equal(loss.largest(e), [max(loss.value(x), loss.value(-x)) for x in e])


def test_largest_loss_without_a_number_is_infinite():
    for q in (0.2, 0.5, 0.8):
        assert quantile(1e200, q)[1].largest(np.array([1e200])) == np.inf
    assert SQUARED.largest(np.array([1e200])) == np.inf


def test_loss_in_a_unit_without_a_number_in_float32_is_free():
    scaled = huber(None, 1.0)[1].scaled(np.array([1e300]), np.float32)
    assert (scaled.low, scaled.high, scaled.low.dtype) == (-np.inf, np.inf, np.float32)


@pytest.mark.parametrize("q", [0.1, 0.5, 0.8])
def test_smoothing_is_a_quarter_of_the_errors_times_the_spread_of_a_coin_and_no_less_than_a_part_of_the_targets(q):
    loss = quantile(0.3, q)[1].scaled(np.array([1.0, 5.0]), np.float64)
    width = smoothing_width(loss, np.array([8.0, 0.0]), np.array([1.0, 50.0]))
    np.testing.assert_allclose(width, [2.0 * np.sqrt(q * (1.0 - q)), 50e-5], rtol=1e-12)


def test_smoothing_of_a_kink_too_narrow_for_float32_is_that_of_the_median():
    loss = quantile(1e-60, 0.9)[1].scaled(np.ones(1), np.float32)
    assert (loss.low, loss.high) == (0.0, 0.0)
    assert smoothing_width(loss, 8.0, 1.0) == 0.25 * 0.5 * 8.0


def test_only_the_squared_error_says_that_it_is_one():
    assert SQUARED.is_squared_error and SQUARED.scaled(np.ones(2), np.float32).is_squared_error
    for loss in (LOSSES["huber"], LOSSES["quantile"]):
        assert not loss.is_squared_error and not loss.scaled(np.ones(2), np.float32).is_squared_error


def test_penalty_of_float32_weights_is_summed_in_float64():
    W = np.full((2, 3), 1e25, dtype=np.float32)
    ones = np.ones((2, 3), dtype=np.float32)
    np.testing.assert_allclose(Penalty(ones, ones, False).value(W), 1.5e50, rtol=1e-6)


def test_penalty_of_weights_without_squares_is_infinite_just_where_the_squares_count():
    W, zeros, ones = np.array([[1e200], [-1e200]]), np.zeros((2, 1)), np.array([[1.0], [0.0]])
    np.testing.assert_array_equal(Penalty(zeros + 3.0, zeros, True).value(W), [3e200, 3e200])
    np.testing.assert_array_equal(Penalty(zeros, ones, False).value(W), [np.inf, 0.0])


def test_no_penalty_costs_nothing_and_moves_nothing():
    W = np.arange(6.0).reshape(2, 3)
    np.testing.assert_array_equal(Penalty(None, None, False).value(W), [0.0, 0.0])
    assert Penalty(None, None, False).proximal(W, 0.1) is W


@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("step", [0.1, 1.0, 1e3])
def test_proximal_step_minimises_its_objective_on_a_grid(step, positive):
    l1, l2 = np.array([[0.0, 0.7, 0.0, 1.3, 0.5]]), np.array([[0.0, 0.0, 2.0, 0.4, 1.0]])
    penalty = Penalty(l1, l2, positive)
    V = np.array([[1.2, -1.1, 0.8, 2.0, 0.04]])
    W = penalty.proximal(V, step)
    grid = np.linspace(0.0 if positive else -3.0, 3.0, 60_001 if positive else 120_001)[:, None]
    values = (grid - V) ** 2 / (2 * step) + l1 * np.abs(grid) + 0.5 * l2 * grid**2
    np.testing.assert_allclose(W[0], grid[values.argmin(axis=0), 0], atol=1e-4)
    np.testing.assert_allclose(penalty.value(W), (l1 * np.abs(W) + 0.5 * l2 * W**2).sum(), rtol=1e-14)
