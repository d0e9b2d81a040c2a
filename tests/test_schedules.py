"""Step sizes and averaging weights against independent formulas."""

import numpy as np
import pytest

from sk_gdlinear._schedules import SCHEDULES, automatic_step, averaging_weight


def test_schedules_follow_their_formulas():
    t = np.arange(1, 6)
    np.testing.assert_array_equal(SCHEDULES["constant"](t, np.full(5, 0.3), 0.25), [0.3] * 5)
    np.testing.assert_allclose(SCHEDULES["invscaling"](t, 0.3, 0.5), [0.3 / i**0.5 for i in range(1, 6)], rtol=1e-15)


def test_whole_powers_of_update_numbers_do_not_overflow():
    np.testing.assert_allclose(SCHEDULES["invscaling"](np.array([10, 100]), 1.0, 30), [1e-30, 1e-60], rtol=1e-14)


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
