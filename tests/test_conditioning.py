"""Statistics, change of variables and safe step against direct computation."""

import numpy as np
import pytest

from sk_gdlinear._conditioning import (
    EIGENVALUE_MARGIN,
    Conditioning,
    Moments,
    curvature,
    max_eigenvalue,
    median,
    safe_step,
    weighted_rows,
)
from sk_gdlinear._rows import SEGMENT_ROWS, Data


def moments(X, weight=None, chunks=1):
    result = Moments.empty(X.shape[1])
    for rows in np.array_split(np.arange(len(X)), chunks):
        result.add(np.ascontiguousarray(X), rows.astype(np.intp), weight)
    return result


@pytest.mark.parametrize("chunks", [1, 3, 40])
@pytest.mark.parametrize("weighted", [False, True])
def test_moments_equal_numpys(chunks, weighted):
    rng = np.random.default_rng(0)
    X = rng.normal([0, 1e6, -3], [1, 1, 1e-3], size=(3000, 3))
    weight = rng.uniform(0.5, 2, 3000) if weighted else None
    got = moments(X, weight, chunks)
    mean = np.average(X, axis=0, weights=weight)
    variance = np.average((X - mean) ** 2, axis=0, weights=weight)
    np.testing.assert_allclose(got.mean, mean, rtol=1e-12)
    np.testing.assert_allclose(got.square_deviation / got.count, variance, rtol=1e-9)
    np.testing.assert_array_equal(got.low, X.min(axis=0))
    np.testing.assert_array_equal(got.high, X.max(axis=0))
    np.testing.assert_allclose(got.count, 3000 if weight is None else weight.sum())


def test_spread_about_the_mean_and_about_zero():
    X = np.array([[1.0, 5.0], [3.0, 5.0], [8.0, 5.0]])
    rms, largest = moments(X).spread(centre=True)
    np.testing.assert_allclose(rms, [X[:, 0].std(), 0.0])
    np.testing.assert_allclose(largest, [4.0, 0.0])
    rms, largest = moments(X).spread(centre=False)
    np.testing.assert_allclose(rms, np.sqrt((X**2).mean(axis=0)))
    np.testing.assert_allclose(largest, [8.0, 5.0])


def condition(X, Y, batch_size=16, fit_intercept=True, dtype=np.float64):
    return Conditioning.of(moments(X), moments(Y), batch_size, fit_intercept, dtype)


def test_scale_bounds_every_conditioned_value_by_the_root_of_the_batch_size():
    X = np.zeros((10_000, 2))
    X[17, 0] = 1.0  # a category seen once
    X[:, 1] = np.random.default_rng(0).standard_cauchy(10_000)
    Z = condition(X, X[:, :1]).rows(X)
    assert np.abs(Z).max() <= np.sqrt(16) * (1 + 1e-12)
    np.testing.assert_allclose(np.abs(Z).max(axis=0), np.sqrt(16))


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_conditioned_weights_predict_the_same_in_the_users_units(fit_intercept):
    rng = np.random.default_rng(0)
    X, Y = rng.normal([5, -200], [0.1, 30], size=(50, 2)), rng.normal([3, 1e4], [1, 100], size=(50, 2))
    c = condition(X, Y, fit_intercept=fit_intercept)
    W, b = rng.normal(size=(2, 2)), rng.normal(size=2) * fit_intercept
    coef, intercept = c.to_user(W, b)
    expected = (c.rows(X) @ W.T + b) / c.target_inv_scale + c.target_shift
    np.testing.assert_allclose(X @ coef.T + intercept, expected, rtol=1e-12)
    back_W, back_b = c.from_user(coef, intercept)
    np.testing.assert_allclose(back_W, W, rtol=1e-11)
    np.testing.assert_allclose(back_b, b, rtol=1e-9, atol=1e-9)


def test_identity_changes_no_bit():
    rng = np.random.default_rng(0)
    X, W, b = rng.normal(size=(9, 4)), rng.normal(size=(2, 4)), rng.normal(size=2)
    c = Conditioning.identity(4, 2, np.float64)
    np.testing.assert_array_equal(c.rows(X), X)
    for got, want in zip((*c.to_user(W, b), *c.from_user(W, b)), (W, b, W, b), strict=True):
        np.testing.assert_array_equal(got, want)


def test_constant_column_gets_coefficient_zero():
    X = np.column_stack([np.full(20, 0.1), np.arange(20.0)])
    c = condition(X, X[:, 1:])
    assert c.inv_scale[0] == 0.0
    assert c.to_user(np.ones((1, 2)), np.zeros(1))[0][0, 0] == 0.0


@pytest.mark.parametrize("shape", [(30, 5), (5, 30), (400, 300)])
@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_max_eigenvalue_is_that_of_the_augmented_second_moments(shape, fit_intercept, weighted):
    rng = np.random.default_rng(0)
    X = rng.normal(size=shape) * rng.uniform(0.2, 2, shape[1])
    weight = rng.uniform(0.2, 2, shape[0]) if weighted else None
    plain = Conditioning.identity(shape[1], 1, np.float64)
    Z = np.column_stack([X, np.ones(len(X))]) if fit_intercept else X
    s = np.ones(len(X)) if weight is None else weight
    exact = np.linalg.eigvalsh((Z * s[:, None]).T @ Z / len(Z))[-1]
    A = weighted_rows(Data(X, X[:, :1], weight), np.arange(len(X)), plain, fit_intercept)
    # Where both sides are large the power iteration may stop some percent below: the step's margin and the guard
    # allow for it.
    rtol = 1e-10 if min(shape) < 200 else 0.1
    np.testing.assert_allclose(max_eigenvalue(A), exact, rtol=rtol)


@pytest.mark.parametrize("shuffle", [True, False])
def test_rows_in_their_own_order_are_as_steep_as_their_steepest_stretch(shuffle):
    X = np.zeros((3 * SEGMENT_ROWS, 2))
    X[:SEGMENT_ROWS, 0] = 1.0
    X[SEGMENT_ROWS:, 1] = np.tile([1.0, -1.0], SEGMENT_ROWS)
    _, top = curvature(Data(X, X[:, :1]), Conditioning.identity(2, 1, np.float64), False, shuffle)
    np.testing.assert_allclose(top, EIGENVALUE_MARGIN * (2 / 3 if shuffle else 1.0), rtol=1e-2)


def test_curvature_takes_the_largest_weighted_row_norm():
    rng = np.random.default_rng(0)
    X, weight = rng.normal(size=(40, 3)), rng.uniform(0, 3, 40)
    c = condition(X, X[:, :1])
    beta, _ = curvature(Data(X, X[:, :1], weight), c, True, True)
    np.testing.assert_allclose(beta, (weight * ((c.rows(X) ** 2).sum(axis=1) + 1)).max(), rtol=1e-12)


@pytest.mark.parametrize("preconditioned", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_safe_step_minimises_the_batch_objective_along_its_direction(weighted, preconditioned):
    rng = np.random.default_rng(0)
    Z, Y, W, b = rng.normal(size=(8, 3)), rng.normal(size=(8, 2)), rng.normal(size=(2, 3)), rng.normal(size=2)
    weight = rng.uniform(0.1, 3, 8) if weighted else None
    s = np.ones(8) if weight is None else weight
    E = Z @ W.T + b - Y
    grad_W, grad_b = (s[:, None] * E).T @ Z / 8, (s[:, None] * E).sum(axis=0) / 8
    along_W = grad_W @ np.array([[3.0, 1.0, 0.0], [1.0, 2.0, 0.0], [0.0, 0.0, 0.1]]) if preconditioned else grad_W

    def objective(eta):
        return (s[:, None] * (Z @ (W - eta * along_W).T + b - eta * grad_b - Y) ** 2).sum()

    best = safe_step(Z, grad_W, grad_b, along_W, weight)
    slope = (objective(best + 1e-5) - objective(best - 1e-5)) / 2e-5
    assert abs(slope) < 1e-6 * objective(0.0)
    assert objective(best) < objective(0.0)


def test_safe_step_of_numbers_out_of_range_is_zero():
    with np.errstate(over="ignore"):
        assert (
            safe_step(np.full((2, 1), 1e200), np.full((1, 1), 1e200), np.zeros(1), np.full((1, 1), 1e200), None) == 0.0
        )


def test_weighted_median_is_that_of_repeated_rows():
    rng = np.random.default_rng(0)
    A, weight = rng.normal(size=(31, 3)), rng.integers(0, 4, 31)
    repeated = np.repeat(A, weight, axis=0)
    np.testing.assert_array_equal(median(A, weight / weight.mean()), median(repeated, None))
    np.testing.assert_array_equal(median(A, None), np.median(A, axis=0))
