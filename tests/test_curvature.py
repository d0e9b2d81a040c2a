"""Second moments against LAPACK, and preconditioned descent against its laws and exact least squares."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.sparse import csr_array
from sklearn.exceptions import ConvergenceWarning

from builders import exact_r2, least_squares
from datasets import gaussian
from sk_gdlinear import GDLinearRegressor
from sk_gdlinear._data.rows import Rows
from sk_gdlinear._data.standardize import Standardization
from sk_gdlinear._descent.curvature import Preconditioner, Spectrum, enlarged
from sk_gdlinear._descent.step_size import EIGENVALUE_ROWS, GRAM_COLUMNS, automatic_step


def spectrum_of(X, weight=None, fit_intercept=True):
    """Of rows as they are, in the variables of the data."""
    s = np.ones(len(X)) if weight is None else weight
    squares = s @ np.square(X) / s.sum()
    rows = Rows(X, X[:, :1], None if weight is None else weight / weight.mean())
    return rows, Spectrum.of_sample(rows, Standardization.identity(X.shape[1], 1, X.dtype), fit_intercept, squares)


def centred(rng, n, d, spread=1.0):
    """Normal rows of mean 0, a tenth of whose spread is their own in each column."""
    X = rng.normal(size=(n, 1)) + spread * rng.normal(size=(n, d))
    return X - X.mean(axis=0)


def excess(model, X, y):
    """How much of the R² of exact least squares is missing."""
    return exact_r2(X, y) - (1.0 - np.mean((y - model.predict(X)) ** 2) / y.var())


# --- second moments --------------------------------------------------------------------------------------------------


def test_second_moments_of_a_sample_are_enlarged_to_those_of_all_rows(rng):
    A = rng.normal(size=(300, 4))
    own = np.square(A).mean(axis=0)
    H = enlarged(A.T @ A / 300, np.array([0.0, own[1], 70.0, 3.0 * own[3]]))
    root = np.sqrt([1.0, 1.0, 1.0, 3.0])
    expected = A.T @ A / 300 * np.multiply.outer(root, root)
    expected[2, 2] = 70.0  # missed: nothing is known of what it has in common with others
    assert_allclose(H, expected, rtol=1e-12)


def test_columns_that_the_sample_misses_have_their_curvature(rng):
    """One row in a thousand of 30,000 is set, none of which is among those looked at; another column is always zero."""
    X = np.zeros((30_000, 3))
    X[:, 0] = rng.normal(size=30_000)
    sampled = Rows(X, X).sample(EIGENVALUE_ROWS)
    X[np.setdiff1d(np.arange(30_000), sampled)[::1000], 1] = 5.0
    _, spectrum = spectrum_of(X)
    assert (X[sampled, 1] == 0.0).all()
    assert_allclose(spectrum.curvatures[:2], [0.0, np.mean(X[:, 1] ** 2)], rtol=1e-12)


@pytest.mark.parametrize("weighted", [False, True])
def test_curvatures_are_the_eigenvalues_of_the_weighted_second_moments(rng, weighted):
    X, weight = centred(rng, 200, 4), rng.uniform(0.1, 3.0, 200) if weighted else None
    s = np.ones(200) if weight is None else weight
    rows, spectrum = spectrum_of(X, weight)
    assert_allclose(spectrum.curvatures, np.linalg.eigvalsh((s[:, None] * X).T @ X / s.sum()), rtol=1e-10)
    everything = Spectrum.of_all_rows(rows, Standardization.identity(4, 1, X.dtype), True)
    assert spectrum.exact and everything.exact
    for name in ("curvatures", "inverses", "norms"):
        assert_allclose(getattr(everything, name), getattr(spectrum, name), rtol=1e-10)


def test_sparse_rows_have_the_spectrum_of_dense_ones(rng):
    X = rng.normal(size=(200, 4)) * (rng.random((200, 4)) < 0.4)
    (_, dense), (rows, _) = spectrum_of(X), spectrum_of(X)
    conditioning = Standardization(X.mean(axis=0), 1.0 / X.std(axis=0), np.zeros(1), np.ones(1))
    dense = Spectrum.of_sample(rows, conditioning, True, np.ones(4))
    sparse = Spectrum.of_sample(rows._replace(X=csr_array(X)), conditioning, True, np.ones(4))
    assert_allclose(sparse.curvatures, dense.curvatures, rtol=1e-10)
    assert_allclose(sparse.norms, dense.norms, rtol=1e-10)


def test_no_spectrum_of_many_columns():
    assert spectrum_of(np.ones((3, GRAM_COLUMNS - 1)))[1] is not None
    assert spectrum_of(np.ones((3, GRAM_COLUMNS)))[1] is None


# --- gains -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [1, 3])
def test_gains_add_up_to_the_gap_of_a_quadratic(rng, k):
    X = centred(rng, 50, 4, 0.1)
    W, best = rng.normal(size=(2, k, 4))
    gap = 0.5 * np.square(X @ (W - best).T).sum() / 50
    gradient = (X @ (W - best).T).T @ X / 50
    assert_allclose(spectrum_of(X)[1].gains(gradient).sum(), gap, rtol=1e-8)


def test_gains_survive_duplicated_columns(rng):
    X = np.repeat(centred(rng, 50, 2), 2, axis=1)
    error = X @ rng.normal(size=4)
    gains = spectrum_of(X)[1].gains(error[None] @ X / 50)
    assert_allclose(gains.sum(), 0.5 * np.mean(error**2), rtol=1e-6)


def test_nothing_is_to_be_gained_from_constant_columns():
    _, spectrum = spectrum_of(np.zeros((20, 2)))
    assert spectrum.gains(np.zeros((1, 2))).sum() == 0.0
    assert spectrum.best(np.zeros(2), 0.0, lambda constants: 1.0, 1.0, np.float64) is None


# --- the choice ------------------------------------------------------------------------------------------------------


def chosen(rows, spectrum, gains, batch_size=8, negligible=0.0):
    """What is best after an epoch of the automatic step, and the number of its updates."""
    n = len(rows.X)
    norm = np.square(rows.X).sum(axis=1).max() + 1.0

    def progress(constants):
        return n / batch_size * automatic_step(batch_size, *constants)

    return spectrum.best(gains, negligible, progress, progress((norm, spectrum.curvatures[-1])), np.float64)


def test_the_preconditioner_is_a_damped_inverse_with_its_largest_row_norm(rng):
    X = centred(rng, 400, 3, 0.01)
    rows, spectrum = spectrum_of(X)
    best = chosen(rows, spectrum, np.ones(3))
    H = X.T @ X / 400
    damping = 1.0 / np.linalg.eigvalsh(best.matrix)[0] - np.linalg.eigvalsh(H)[-1]
    assert damping > 0.0
    assert_allclose(best.matrix, np.linalg.inv(H + damping * np.eye(3)), rtol=1e-6)
    assert_allclose(best.constants.row_norm, np.einsum("ij,jk,ik->i", X, best.matrix, X).max() + 1.0, rtol=1e-6)


def test_none_where_columns_are_as_good_as_independent_or_little_is_left(rng):
    rows, spectrum = spectrum_of(rng.normal(size=(2_000, 3)))
    assert chosen(rows, spectrum, np.ones(3), negligible=1e-9) is None
    rows, spectrum = spectrum_of(centred(rng, 400, 3, 0.01))
    assert isinstance(chosen(rows, spectrum, np.ones(3)), Preconditioner)
    assert chosen(rows, spectrum, np.ones(3), negligible=3.0) is None


def test_rows_outside_the_sample_count_in_the_spectrum_of_all_rows(rng):
    X = centred(rng, 2 * EIGENVALUE_ROWS, 2, 0.01)
    X[1] = [0.5, -0.5]  # between two of the sample, across the direction that all others share
    rows, spectrum = spectrum_of(X)
    everything = Spectrum.of_all_rows(rows, Standardization.identity(2, 1, np.float64), True)
    assert not spectrum.exact and everything.exact
    assert_allclose(everything.curvatures, np.linalg.eigvalsh(X.T @ X / len(X)), rtol=1e-10)
    inverse = everything.vectors * everything.inverses[:, -1] @ everything.vectors.T
    assert_allclose(everything.norms[-1], np.einsum("ij,jk,ik->i", X, inverse, X).max() + 1.0, rtol=1e-10)
    assert everything.norms[-1] > 100 * spectrum.norms[-1]


# --- the whole fit ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("n", [300, 20_000])
@pytest.mark.parametrize("k", [None, 2])
def test_nearly_collinear_columns_take_few_epochs(n, k, dtype, rng):
    """Condition 1e4: without a preconditioner hundreds of epochs, or a warning."""
    Z, y = gaussian(n, 5, k, seed=3)
    X = (Z[:, :1] + 0.02 * Z).astype(dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        model = GDLinearRegressor(random_state=0).fit(X, y)
    assert model.n_iter_ <= 20
    errors = [excess(GDLinearRegressor(random_state=0).fit(X, t), X.astype(float), t) for t in np.atleast_2d(y.T)]
    assert max(errors) <= 1e-4


@pytest.mark.parametrize("batch_size", ["auto", 1, 300])
def test_the_optimum_is_that_of_weighted_least_squares(batch_size, rng):
    Z, y = gaussian(300, 4, seed=1)
    X, weight = Z[:, :1] + 0.1 * Z, rng.integers(0, 4, 300).astype(float)
    model = GDLinearRegressor(batch_size=batch_size, tol=1e-13, random_state=0).fit(X, y, weight)
    coef, intercept, _ = least_squares(X, y, weight)
    assert_allclose([*model.coef_, model.intercept_], [*coef[0], *intercept], rtol=1e-4)


@pytest.mark.parametrize("max_iter", [2, 3, 5])
def test_sparse_rows_go_the_way_of_dense_ones(max_iter, rng):
    Z = np.random.default_rng(5).normal(size=(3_000, 6)) * (np.random.default_rng(6).random((3_000, 6)) < 0.3)
    X = Z + 0.9 * np.roll(Z, 1, axis=1)
    y = X @ np.arange(6.0) + rng.normal(size=3_000)
    weight = rng.integers(0, 3, 3_000).astype(float)
    params = dict(max_iter=max_iter, tol=None, random_state=0, batch_size=7)
    dense, sparse = (GDLinearRegressor(**params).fit(A, y, weight) for A in (X, csr_array(X)))
    assert_allclose(sparse.coef_, dense.coef_, rtol=1e-8)
    assert_allclose(sparse.intercept_, dense.intercept_, rtol=1e-8)


@pytest.mark.parametrize("loss", [{"loss": "huber", "epsilon": 1.0}, {"loss": "quantile", "quantile": 0.8}], ids=str)
def test_other_losses_gain_as_well(loss, rng):
    """The objective of nearly collinear columns is soon within 1e-3 of that of the same space in other columns."""
    Z, _ = gaussian(1_000, 4, seed=4)
    y = Z @ np.arange(1.0, 5.0) + rng.standard_t(2, 1_000)
    X = Z[:, :1] + 0.05 * Z
    slanted, easy = (GDLinearRegressor(random_state=0, **loss).fit(A, y) for A in (X, Z))
    assert slanted.n_iter_ <= 3 * easy.n_iter_ + 20
    assert slanted.loss_curve_[-1] <= easy.loss_curve_[-1] * (1.0 + 1e-3)


def test_plain_descent_is_left_alone(rng):
    """Neither without standardizing nor at a step of the user's own is a preconditioner used."""
    Z, y = gaussian(200, 3, seed=2)
    X = Z[:, :1] + 0.01 * Z
    for params in ({"standardize": False}, {"learning_rate": 0.1}, {"average": False}):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model = GDLinearRegressor(max_iter=30, random_state=0, **params).fit(X, y)
        assert excess(model, X, y) > 1e-3
