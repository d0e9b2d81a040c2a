"""The constants of the automatic step: the largest row, and the largest eigenvalue, against direct computation."""

import numpy as np
import pytest

import builders
from builders import standardization_of
from sk_gdlinear import GDLinearRegressor
from sk_gdlinear._data.order import BLOCK_ROWS
from sk_gdlinear._data.rows import Rows
from sk_gdlinear._data.standardize import Standardization, weighted_rows
from sk_gdlinear._descent.backend import DENSE, REFERENCE
from sk_gdlinear._descent.lipschitz import EIGENVALUE_MARGIN, EIGENVALUE_ROWS, lipschitz_constants, max_eigenvalue


@pytest.mark.parametrize("shape", [(30, 5), (5, 30), (400, 300)])
@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_max_eigenvalue_is_that_of_the_augmented_second_moments(shape, fit_intercept, weighted):
    rng = np.random.default_rng(0)
    X = rng.normal(size=shape) * rng.uniform(0.2, 2, shape[1])
    weight = rng.uniform(0.2, 2, shape[0]) if weighted else None
    plain = Standardization.identity(shape[1], 1, np.float64)
    Z = np.column_stack([X, np.ones(len(X))]) if fit_intercept else X
    s = np.ones(len(X)) if weight is None else weight
    exact = np.linalg.eigvalsh((Z * s[:, None]).T @ Z / len(Z))[-1]
    A = weighted_rows(Rows(X, X[:, :1], weight), np.arange(len(X)), plain, fit_intercept)
    if min(shape) < 200:
        np.testing.assert_allclose(max_eigenvalue(A), exact, rtol=1e-10)
    else:  # the margin of the step allows for this
        assert exact / EIGENVALUE_MARGIN <= max_eigenvalue(A) <= exact * (1.0 + 1e-12)


@pytest.mark.parametrize("shuffle", [True, False])
def test_rows_in_their_own_order_have_the_largest_eigenvalue_of_any_block(shuffle):
    X = np.zeros((3 * BLOCK_ROWS, 2))
    X[:BLOCK_ROWS, 0] = 1.0
    X[BLOCK_ROWS:, 1] = np.tile([1.0, -1.0], BLOCK_ROWS)
    constants = lipschitz_constants(
        REFERENCE, Rows(X, X[:, :1]), Standardization.identity(2, 1, np.float64), False, shuffle
    )
    np.testing.assert_allclose(constants.eigenvalue, EIGENVALUE_MARGIN * (2 / 3 if shuffle else 1.0), rtol=1e-2)


@pytest.mark.parametrize(
    "kind",
    ["independent", "few directions", "decaying", "categories", "an offset", "one direction", "a weak direction"],
)
@pytest.mark.parametrize("shape", [(2_000, 300), (900, 900), (512, 2_048)])
def test_max_eigenvalue_of_large_sides_is_at_most_the_margin_too_small(kind, shape):
    """Also of centred columns beside the intercept's, to which the first rows of an iteration may all lead."""
    rng = np.random.default_rng(0)
    n, d = shape
    if kind == "few directions":
        X = rng.normal(size=(n, 8)) @ rng.normal(size=(8, d)) + 0.3 * rng.normal(size=shape)
    elif kind == "one direction":
        X = np.outer(rng.normal(size=n), rng.normal(size=d))
    elif kind == "categories":
        X = np.eye(d)[rng.integers(0, d, n)]
    else:
        X = rng.normal(size=shape) * (np.arange(1.0, d + 1.0) ** -0.5 if kind == "decaying" else 1.0)
    if kind == "a weak direction":
        X += 0.25 * rng.normal(size=(n, 1))
    Z = X - X.mean(axis=0)
    Z /= np.where(Z.std(axis=0) > 0.0, Z.std(axis=0), 1.0) if kind != "decaying" else 1.0
    A = np.column_stack([Z + 3.0 * (kind == "an offset"), np.ones(n)])
    exact = np.linalg.norm(A, 2) ** 2 / n
    assert exact / EIGENVALUE_MARGIN <= max_eigenvalue(A) <= exact * (1.0 + 1e-12)


def test_long_rows_are_sampled_for_the_eigenvalue_as_few_as_512(monkeypatch):
    counts = []

    def counted(A):
        counts.append(len(A))
        return 1.0

    monkeypatch.setattr("sk_gdlinear._descent.lipschitz.max_eigenvalue", counted)
    for shape, shuffle in (((3_000, 4), True), ((3_000, 300), True), ((600, 4_000), True), ((3_000, 300), False)):
        X = np.ones(shape)
        lipschitz_constants(
            REFERENCE, Rows(X, X[:, :1]), Standardization.identity(shape[1], 1, np.float64), False, shuffle
        )
    assert counts == [2048, 873, 512, 873]


@pytest.mark.parametrize(("underestimated", "limit"), [(1.04, 1.0), (2.05, 2.0)])
def test_the_full_batch_step_is_safe_where_the_sampled_eigenvalue_is_a_little_low(underestimated, limit):
    """Up to 1 / lambda_1 of all rows no direction is overshot; beyond 2 / lambda_1 descent diverges."""
    n, in_sample = 4 * EIGENVALUE_ROWS, np.zeros(4 * EIGENVALUE_ROWS, dtype=bool)
    in_sample[Rows(in_sample[:, None], in_sample[:, None]).sample(EIGENVALUE_ROWS)] = True
    column = np.where(in_sample, np.sqrt(0.75 / (underestimated - 0.25)), 1.0)  # mean square of all rows over theirs
    for rows in (in_sample, ~in_sample):
        column[rows] *= np.resize([1.0, -1.0], np.count_nonzero(rows))
    X = np.repeat(column[:, None], 3, axis=1)  # so that the largest eigenvalue is not that of the intercept
    Y = X[:, :1] + np.random.default_rng(0).normal(size=(n, 1))
    method = builders.method(X, Y, batch_size=None)
    Z = method.standardization.rows(X)
    top, sampled = (np.linalg.eigvalsh(A.T @ A / len(A))[-1] for A in (Z, Z[in_sample]))
    np.testing.assert_allclose(top / sampled, underestimated, rtol=1e-9)
    assert method.current_step * top <= limit
    curve = GDLinearRegressor(batch_size=None, precondition=False, max_iter=20, tol=None).fit(X, Y[:, 0]).loss_curve_
    assert (np.diff(curve) <= 1e-12).all()


def test_the_eigenvalue_is_hardly_ever_below_that_of_all_rows():
    """Of rows that vary along one direction most, whose eigenvalue a sample of 2,048 normal ones tells to 3 %."""
    ratios = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        X = rng.normal(size=(20_000, 1)) + 0.5 * rng.normal(size=(20_000, 10))
        identity = Standardization.identity(10, 1, X.dtype)
        constants = lipschitz_constants(REFERENCE, Rows(X, X[:, :1]), identity, False, True)
        ratios.append(constants.eigenvalue / np.linalg.eigvalsh(X.T @ X / len(X))[-1])
    assert np.mean(np.array(ratios) >= 1.0) >= 0.9
    assert max(ratios) <= 1.2  # nor far above


@pytest.mark.parametrize("backend", [REFERENCE, DENSE])
def test_beta_is_the_largest_weighted_row_norm(backend):
    rng = np.random.default_rng(0)
    X, weight = rng.normal(size=(40, 3)), rng.uniform(0, 3, 40)
    c = standardization_of(X, X[:, :1], 16)
    beta, _ = lipschitz_constants(backend, Rows(X, X[:, :1], weight), c, True, True)
    np.testing.assert_allclose(beta, (weight * ((c.rows(X) ** 2).sum(axis=1) + 1)).max(), rtol=1e-12)
