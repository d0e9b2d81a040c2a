"""The derivation against finite differences and by hand."""

import numpy as np
import pytest

from sk_gdlinear._objective import coef_gradient, error, forward, intercept_gradient, loss, output_gradient


def objective(W, b, X, Y, weight):
    return loss(error(forward(X, W, b), Y), weight).sum()


def central_differences(f, at, h=1e-6):
    grad = np.empty_like(at)
    for i in np.ndindex(at.shape):
        up, down = at.copy(), at.copy()
        up[i] += h
        down[i] -= h
        grad[i] = (f(up) - f(down)) / (2 * h)
    return grad


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("k", [1, 3])
def test_gradients_are_the_derivatives_of_the_loss(k, weighted):
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(7, 4)), rng.normal(size=(7, k))
    W, b = rng.normal(size=(k, 4)), rng.normal(size=k)
    weight = rng.uniform(0.1, 3, 7) if weighted else None
    G = output_gradient(error(forward(X, W, b), Y), weight)
    numeric_W = central_differences(lambda W: objective(W, b, X, Y, weight), W)
    numeric_b = central_differences(lambda b: objective(W, b, X, Y, weight), b)
    np.testing.assert_allclose(coef_gradient(G, X), numeric_W, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(intercept_gradient(G), numeric_b, rtol=1e-7, atol=1e-9)


def test_loss_is_half_the_mean_square_per_target():
    E = np.array([[1.0, 2.0], [3.0, -4.0]])
    np.testing.assert_array_equal(loss(E), [(1 + 9) / 4, (4 + 16) / 4])
    np.testing.assert_array_equal(loss(E, np.array([0.5, 1.5])), [(0.5 + 13.5) / 4, (2 + 24) / 4])


def test_loss_of_float32_errors_is_summed_in_float64():
    assert loss(np.full((3, 1), 1e25, dtype=np.float32)).dtype == np.float64
    np.testing.assert_allclose(loss(np.full((3, 1), 1e25, dtype=np.float32)), 5e49, rtol=1e-6)


def test_mean_gradient_does_not_grow_with_repeated_rows():
    rng = np.random.default_rng(1)
    X, Y, W, b = rng.normal(size=(5, 3)), rng.normal(size=(5, 1)), np.ones((1, 3)), np.zeros(1)
    once = coef_gradient(output_gradient(error(forward(X, W, b), Y)), X)
    X, Y = np.tile(X, (10, 1)), np.tile(Y, (10, 1))
    np.testing.assert_allclose(coef_gradient(output_gradient(error(forward(X, W, b), Y)), X), once, rtol=1e-13)
