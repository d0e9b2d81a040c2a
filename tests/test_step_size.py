"""Step sizes, schedules, averaging weights and the line search against direct computation."""

import numpy as np
import pytest

from sk_gdlinear._descent.averaging import averaging_weight
from sk_gdlinear._descent.schedule import make_schedule
from sk_gdlinear._descent.step_size import StepSize, automatic_step, line_search_step


def test_schedules_follow_their_formulas():
    t = np.arange(1, 6)
    step = StepSize(0.3, make_schedule("constant", 0.25, None), None)
    np.testing.assert_array_equal(step.at(t, np.full(5, step.base(32))), [0.3] * 5)
    falling = StepSize(0.3, make_schedule("invscaling", 0.5, None), None)
    np.testing.assert_allclose(falling.at(t, 0.3), [0.3 / i**0.5 for i in range(1, 6)], rtol=1e-15)


def test_whole_powers_of_update_numbers_do_not_overflow():
    schedule = make_schedule("invscaling", 30, None)
    np.testing.assert_allclose(schedule(np.array([10, 100])), [1e-30, 1e-60], rtol=1e-14)


def test_averaging_weights_build_the_polynomial_decay_average():
    # The recursion must give each of T iterates a share proportional to t (t + 1) (t + 2), for a decay of 3.
    iterates = np.random.default_rng(0).normal(size=20)
    mean = 0.0
    for t, iterate in enumerate(iterates, start=1):
        mean += averaging_weight(t) * (iterate - mean)
    t = np.arange(1, 21)
    np.testing.assert_allclose(mean, np.average(iterates, weights=t * (t + 1) * (t + 2)), rtol=1e-12)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("m", [1, 4, 32])
def test_automatic_step_contracts_the_expected_squared_error(seed, m):
    # Noise-free rows in batches of m: one update w -> (I - eta Z_b^T Z_b / m) w must not enlarge E|w|^2 for any w,
    # that is, the largest eigenvalue of E[(I - eta A)^2] must be at most 1, with A the batch's second moments.
    rng = np.random.default_rng(seed)
    Z = rng.normal(size=(200, 6)) * rng.uniform(0.1, 3, 6)
    H = Z.T @ Z / len(Z)
    beta, top = (Z**2).sum(axis=1).max(), np.linalg.eigvalsh(H)[-1]
    eta = automatic_step(m, beta, top)
    fourth = (Z[:, :, None] * Z[:, None, :] * (Z**2).sum(axis=1)[:, None, None]).mean(axis=0)
    second_moment_of_A = fourth / m + (m - 1) / m * H @ H
    expected = np.eye(6) - 2 * eta * H + eta**2 * second_moment_of_A
    assert np.linalg.eigvalsh(expected)[-1] <= 1.0


def test_automatic_step_limits():
    assert automatic_step(1, 50.0, 3.0) == 1 / 50.0
    np.testing.assert_allclose(automatic_step(10**9, 50.0, 3.0), 1 / 3.0, rtol=1e-6)


@pytest.mark.parametrize("weighted", [False, True])
def test_line_search_step_minimises_the_batch_objective_along_its_gradient(weighted):
    rng = np.random.default_rng(0)
    Z, Y, W, b = rng.normal(size=(8, 3)), rng.normal(size=(8, 2)), rng.normal(size=(2, 3)), rng.normal(size=2)
    weight = rng.uniform(0.1, 3, 8) if weighted else None
    s = np.ones(8) if weight is None else weight
    E = Z @ W.T + b - Y
    grad_W, grad_b = (s[:, None] * E).T @ Z / 8, (s[:, None] * E).sum(axis=0) / 8

    def objective(eta):
        return (s[:, None] * (Z @ (W - eta * grad_W).T + b - eta * grad_b - Y) ** 2).sum()

    best = line_search_step(Z, grad_W, grad_b, weight)
    slope = (objective(best + 1e-5) - objective(best - 1e-5)) / 2e-5
    assert abs(slope) < 1e-6 * objective(0.0)
    assert objective(best) < objective(0.0)


def test_line_search_step_of_no_gradient_or_of_rows_of_zeros_is_zero():
    assert line_search_step(np.ones((2, 1)), np.zeros((1, 1)), np.zeros(1), None) == 0.0
    assert line_search_step(np.zeros((2, 1)), np.ones((1, 1)), np.zeros(1), None) == 0.0


def test_line_search_step_of_float32_is_computed_in_float64():
    Z, grad_W, grad_b = np.full((2, 1), 1e15, "f4"), np.full((1, 1), 1e20, "f4"), np.zeros(1, "f4")
    np.testing.assert_allclose(line_search_step(Z, grad_W, grad_b, None), 1e-30, rtol=1e-6)
    np.testing.assert_allclose(line_search_step(Z, 0 * grad_W, grad_b + np.float32(1e25), None), 1.0, rtol=1e-6)


def test_line_search_step_of_numbers_out_of_range_is_zero():
    with np.errstate(over="ignore"):
        assert line_search_step(np.full((2, 1), 1e200), np.full((1, 1), 1e200), np.zeros(1), None) == 0.0
