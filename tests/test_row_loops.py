"""Sums over errors that Newton steps need: one error at a time, and compiled functions as the reference."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.integrate import trapezoid

from sk_gdlinear._descent import row_loops
from sk_gdlinear._descent.row_loops import _dual_sums, _losses_between

needs_kernels = pytest.mark.skipif(row_loops.compiled is None, reason="the kernels are not built")


def draw(trial):
    """Errors, two ways, weights or none, and a loss per target: more rows than a tile, some out of bounds."""
    rng = np.random.default_rng(trial)
    n, k = int(rng.integers(1, 1200)), int(rng.integers(1, 4))
    E, way, second = rng.normal(size=(3, n, k)) * np.array([1.0, 0.3, 0.1])[:, None, None]
    weight = rng.integers(1, 4, n).astype(float) if trial % 2 else None
    high = rng.uniform(0.1, 2.0, k)
    return E, way, second if trial % 3 else None, weight, rng.uniform(high - 2.5, high), high - 2.5, high


@pytest.mark.parametrize("trial", range(6))
def test_dual_sums_are_those_of_the_derivatives_that_the_model_predicts(trial):
    E, way, second, weight, offset, low, high = draw(trial)
    damping = np.full(len(high), 0.05)
    sums, largest, out, excess = _dual_sums(E, way, second, weight, offset, low, high, damping)
    want, most, beyond = np.zeros((5, len(high))), np.ones(len(high)), {}
    for i, t in np.ndindex(*E.shape):
        e, s = E[i, t], 1.0 if weight is None else weight[i]
        slope = damping[t] + float(low[t] < e + offset[t] < high[t])
        theta = min(max(e + offset[t], low[t]), high[t]) + slope * way[i, t]
        if second is not None:
            theta = min(max(theta, low[t]), high[t]) + slope * second[i, t]
        want[:, t] += s * np.array([theta * e, theta, theta**2, max(low[t] * e, high[t] * e), e * e])
        if not low[t] <= theta <= high[t]:
            most[t] = max(most[t], theta / high[t], theta / low[t])
            beyond[i, t] = s * (theta - (high[t] if theta > high[t] else low[t]))
    assert_allclose(sums, want, rtol=1e-9, atol=1e-9)
    assert_allclose(largest, most, rtol=1e-12)
    assert set(out) >= {i for i, _ in beyond}
    at = np.zeros(E.shape)
    at[out] = excess
    assert_allclose(at, [[beyond.get((i, t), 0.0) for t in range(E.shape[1])] for i in range(len(E))], atol=1e-12)


@pytest.mark.parametrize("trial", range(4))
def test_losses_on_the_way_are_the_integrals_of_the_derivative(trial):
    E, way, _, weight, offset, low, high = draw(trial)
    shares, grid = np.array([0.0, 0.25, 1.0]), np.linspace(0.0, 1.0, 4001)
    total = _losses_between(E, way, weight, shares, offset, low, high)
    s = np.ones(len(E)) if weight is None else weight
    for a, share in enumerate(shares):
        e = E + share * way
        slope = np.clip(grid[:, None, None] * e + offset, low, high)  # the loss of no error is 0
        want = s @ (trapezoid(slope, grid, axis=0) * e)
        assert_allclose(total[a], want, rtol=1e-5, atol=1e-6 * len(E))


@needs_kernels
@pytest.mark.parametrize("trial", range(20))
def test_compiled_loops_equal_the_reference(trial):
    E, way, second, weight, *loss = draw(trial)
    damping = np.random.default_rng(trial).uniform(1e-3, 1.0, E.shape[1])
    want, got = (f(E, way, second, weight, *loss, damping) for f in (_dual_sums, row_loops.compiled.dual_sums))
    for a, b in zip(want, got, strict=True):
        assert_allclose(b, a, rtol=1e-11, atol=1e-11)
    assert_array_equal(got[2], want[2])
    shares = np.array([0.1, 0.5, 1.0])
    want, got = (f(E, way, weight, shares, *loss) for f in (_losses_between, row_loops.compiled.losses_between))
    assert_allclose(got, want, rtol=1e-11)


@needs_kernels
def test_compiled_loops_refuse_arrays_of_other_shapes():
    E, one, two = np.zeros((3, 1)), np.ones(1), np.ones(2)
    for wrong in (np.zeros((2, 1)), np.zeros((3, 2))):
        with pytest.raises(ValueError, match="shapes of n errors"):
            row_loops.compiled.dual_sums(E, wrong, None, None, one, -one, one, one)
        with pytest.raises(ValueError, match="shapes of n errors"):
            row_loops.compiled.dual_sums(E, E, wrong, None, one, -one, one, one)
        with pytest.raises(ValueError, match="shapes of n errors"):
            row_loops.compiled.losses_between(E, wrong, None, one, one, -one, one)
    for weight, damping in ((two, one), (None, two)):
        with pytest.raises(ValueError, match="shapes of n errors"):
            row_loops.compiled.dual_sums(E, E, None, weight, one, -one, one, damping)
    for wrong in range(3):
        loss = [two if i == wrong else one for i in range(3)]
        with pytest.raises(ValueError, match="one offset and two bounds"):
            row_loops.compiled.dual_sums(E, E, None, None, *loss, one)
        with pytest.raises(ValueError, match="one offset and two bounds"):
            row_loops.compiled.losses_between(E, E, None, one, *loss)
