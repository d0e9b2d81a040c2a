"""Variables of a quadratic model under absolute values and bounds: by hand, and compiled functions as the reference."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from sk_gdlinear._descent import kinks
from sk_gdlinear._descent.kinks import (
    _coordinate_descent,
    _free_system,
    _share_to_kink,
    _violation,
)

needs_kernels = pytest.mark.skipif(kinks.compiled is None, reason="the kernels are not built")


def draw(trial):
    """A matrix, variables at and off zeros and bounds, the gradient there, and the penalty; some with a column of 0."""
    rng = np.random.default_rng(trial)
    d = int(rng.integers(1, 12))
    A = rng.normal(size=(d + 2, d))
    A[:, rng.integers(0, d)] *= trial % 3 > 0
    lower, upper = np.sort(rng.normal(size=(2, d)), axis=0) if trial % 2 else (np.full(d, -np.inf), np.full(d, np.inf))
    w = np.clip(rng.choice([0.0, 1.0], d) * rng.normal(size=d) * 2.0, lower, upper)
    H = A.T @ A / (d + 2)
    return H, w, H @ (w - 1.0), rng.choice([0.0, 0.2], d), rng.choice([0.0, 0.1], d), lower, upper


# --- the definitions, by hand ----------------------------------------------------------------------------------------


def test_a_sweep_minimises_along_each_coordinate_and_says_what_the_last_one_gained():
    """By hand: w = (1, 0) → soft(1 · 1 − 0.5, 0.1) = 0.4, and then the second coordinate with the gradient so far."""
    H, w, q = np.array([[1.0, 0.5], [0.5, 2.0]]), np.array([1.0, 0.0]), np.array([0.5, -3.0])
    one = np.full(2, 0.1), np.zeros(2), np.full(2, -np.inf), np.array([np.inf, 1.2])
    gain = _coordinate_descent(H, w, q, *one, 1, 0.0)
    assert_allclose(w, [0.4, 1.2])  # (3 + 0.3 − 0.1) / 2 = 1.6, beyond the bound
    assert_allclose(q, [0.5 - 0.6 + 0.6, -3.0 - 0.3 + 2.4])
    assert_allclose(gain, 0.5 * 0.6**2 + 0.5 * 2.0 * 1.2**2)


@pytest.mark.parametrize("trial", range(20))
def test_the_violation_is_the_slope_downhill_along_each_variable(trial):
    """By differences: the steepest way down of the model with its penalty, as far as the bounds allow."""
    H, w, q, l1, l2, lower, upper = draw(trial)

    def along(j, step):
        v = w.copy()
        v[j] += step
        by = v - w
        return q @ by + 0.5 * by @ H @ by + l1 @ (np.abs(v) - np.abs(w)) + 0.5 * l2 @ (v * v - w * w)

    step, downhill = 1e-7, np.zeros(len(w))
    for j in np.flatnonzero(np.diag(H) + l2 > 0.0):
        ways = [s for s in (step, -step) if lower[j] <= w[j] + s <= upper[j]]
        downhill[j] = max([0.0, *(-along(j, s) / step for s in ways)])
    assert_allclose(_violation(H, w, q, l1, l2, lower, upper), 0.5 * downhill @ downhill, rtol=1e-5, atol=1e-9)


def test_free_variables_are_those_off_zero_and_off_their_bounds():
    H = np.array([[1.0, 0.1, 0.2, 0.3, 0.0], [0.1, 1.0, 0.4, 0.5, 0.0], [0.2, 0.4, 1.0, 0.6, 0.0],
                  [0.3, 0.5, 0.6, 1.0, 0.0], [0.0, 0.0, 0.0, 0.0, 0.0]])  # fmt: skip
    w, q = np.array([-2.0, 0.0, 0.0, 3.0, 1.0]), np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    l1, l2 = np.array([0.5, 0.5, 0.0, 0.5, 0.0]), np.array([0.25, 0.0, 0.0, 0.0, 0.0])
    lower, upper = np.full(5, -np.inf), np.array([np.inf, np.inf, np.inf, 3.0, np.inf])
    free, A, slope = _free_system(H, w, q, l1, l2, lower, upper)
    assert_array_equal(free, [0, 2])  # 1 is at the kink, 3 at its bound, and nothing depends on 4
    assert_allclose(A, [[1.25, 0.2], [0.2, 1.0]])
    assert_allclose(slope, [1.0 - 0.25 * 2.0 - 0.5, 3.0])


@pytest.mark.parametrize(
    ("step", "share", "hit", "value"),
    [
        ([1.0, 1.0], 1.0, -1, 0.0),
        ([-4.0, 1.0], 0.5, 0, 0.0),  # meets 0, where there is an absolute value
        ([0.0, -8.0], 0.75, 2, -5.0),  # passes 0, where there is none, to the bound
        ([-4.0, -100.0], 0.06, 2, -5.0),  # the first of two
    ],
)
def test_a_step_ends_at_the_first_kink(step, share, hit, value):
    w, free = np.array([2.0, 7.0, 1.0]), np.array([0, 2], dtype=np.intp)
    l1, lower, upper = np.array([0.1, 0.1, 0.0]), np.array([-9.0, -9.0, -5.0]), np.full(3, 9.0)
    assert_allclose(_share_to_kink(w, np.array(step), free, l1, lower, upper), (share, hit, value))


# --- compiled --------------------------------------------------------------------------------------------------------


@needs_kernels
@pytest.mark.parametrize("trial", range(10))
@pytest.mark.parametrize("sweeps", [1, 3, 50])
def test_compiled_coordinate_descent_equals_the_reference(trial, sweeps):
    H, w, q, *penalty = draw(trial)
    results = []
    for descend in (_coordinate_descent, kinks.compiled.coordinate_descent):
        at, slope = w.copy(), q.copy()
        gain = descend(H, at, slope, *penalty, sweeps, 1e-12)
        results.append([gain, at, slope])
        assert_allclose(slope, H @ (at - 1.0), rtol=1e-9, atol=1e-12)
    for want, got in zip(*results, strict=True):
        assert_allclose(got, want, rtol=1e-9, atol=1e-12)


@needs_kernels
@pytest.mark.parametrize("trial", range(40))
def test_the_compiled_conditions_equal_the_reference(trial):
    H, w, q, l1, l2, lower, upper = arguments = draw(trial)
    assert_allclose(kinks.compiled.violation(*arguments), _violation(*arguments), rtol=1e-12)
    want, got = _free_system(*arguments), kinks.compiled.free_system(*arguments)
    for a, b in zip(want, got, strict=True):
        assert_array_equal(b, a)
        assert b.dtype == a.dtype
    free = want[0]
    for size in (0.01, 1.0, 100.0):
        step = np.random.default_rng(trial).choice([0.0, 1.0], len(free)) * size * np.sin(np.arange(1.0, len(free) + 1))
        if len(free):
            kink = w, step, free, l1, lower, upper
            assert kinks.compiled.share_to_kink(*kink) == _share_to_kink(*kink)


@needs_kernels
@pytest.mark.parametrize("name", ["coordinate_descent", "violation", "free_system"])
def test_compiled_functions_refuse_arrays_of_other_shapes(name):
    a, b, more = np.zeros(2), np.zeros(3), (1, 0.0) if name == "coordinate_descent" else ()
    function = getattr(kinks.compiled, name)
    for wrong in range(6):
        arrays = [b if i == wrong else a for i in range(6)]
        with pytest.raises(ValueError, match="shapes of d variables"):
            function(np.eye(2), *arrays, *more)
    with pytest.raises(ValueError, match="shapes of d variables"):
        function(np.zeros((2, 3)), *[a] * 6, *more)


@needs_kernels
def test_a_compiled_step_refuses_arrays_of_other_shapes_and_other_variables():
    a, b, free = np.zeros(2), np.zeros(3), np.array([1], dtype=np.intp)
    for wrong in range(4):
        w, l1, lower, upper = (b if i == wrong else a for i in range(4))
        with pytest.raises(ValueError, match="shapes of d variables"):
            kinks.compiled.share_to_kink(w, np.ones(1), free, l1, lower, upper)
    with pytest.raises(ValueError, match="shapes of d variables"):
        kinks.compiled.share_to_kink(a, np.ones(2), free, a, a, a)
    for number in (-1, 2):
        with pytest.raises(ValueError, match="numbers of variables"):
            kinks.compiled.share_to_kink(a, np.ones(1), np.array([number], dtype=np.intp), a, a, a)
