"""Plain mode (no preconditioning, no averaging, the user's step) is the derived gradient descent and nothing else.

Oracles: arithmetic by hand, the closed form of full-batch descent on a quadratic, a naive loop over rows, and PyTorch.
"""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from sk_gdlinear import GDLinearRegressor


def plain(**params):
    """Estimator that takes the seven lines of the derivation literally, on the rows in their order."""
    settings = dict(standardize=False, average=False, learning_rate=0.01, shuffle=False, tol=None)
    return GDLinearRegressor(**(settings | params))


def make_rows(rng, n, d, k=1):
    """Correlated, uncentred rows with noise; y is 1-D for one target."""
    X = rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) / np.sqrt(d) + rng.normal(size=d)
    Y = X @ rng.normal(size=(d, k)) + rng.normal(size=(n, k)) + 3.0
    return X, Y[:, 0] if k == 1 else Y


def naive_descent(X, y, eta, batch_size, n_epochs, weight=None, power_t=0.0, fit_intercept=True, start=None):
    """Yield (coef, intercept) after every epoch, one row and one target at a time; shapes (k, d) and (k,)."""
    Y = y.reshape(len(y), -1)
    n, k = Y.shape
    s = np.ones(n) if weight is None else np.asarray(weight, dtype=float)
    W, b = (np.zeros((k, X.shape[1])), np.zeros(k)) if start is None else (start[0].copy(), start[1].copy())
    t = 0
    for _ in range(n_epochs):
        for first in range(0, n, batch_size):
            rows = range(first, min(first + batch_size, n))
            t += 1
            step_W, step_b = np.zeros_like(W), np.zeros_like(b)
            for i in rows:
                for target in range(k):
                    e = X[i] @ W[target] + b[target] - Y[i, target]
                    g = s[i] * e / (len(rows) * s.mean())
                    step_W[target] += g * X[i]
                    step_b[target] += g
            eta_t = eta / t**power_t
            W = W - eta_t * step_W
            b = b - eta_t * step_b if fit_intercept else b
        yield W.copy(), b.copy()


def assert_same_model(model, W, b, rtol=1e-12):
    """Equal up to rounding, relative to the largest entry."""
    atol = rtol * max(np.abs(W).max(), np.abs(b).max())
    assert_allclose(np.atleast_2d(model.coef_), W, rtol=rtol, atol=atol)
    assert_allclose(np.atleast_1d(model.intercept_), b, rtol=rtol, atol=atol)


def assert_same_bits(model, other):
    assert_array_equal(model.coef_, other.coef_)
    assert_array_equal(model.intercept_, other.intercept_)
    assert model.t_ == other.t_


# --- by hand ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_one_step_by_hand(method):
    """n = 2 rows, d = 4 features, one step of size 0.1 from zero.

    X = [[1, 2, 3, 4],      y = [1, 2]
         [5, 6, 7, 8]]

    forward     Yhat = X W^T + b = [0, 0]
    error       E = Yhat - y     = [-1, -2]
    loss        L = 1/n sum E^2/2 = (1 + 4) / 2 / 2 = 1.25
    gradient    G = E / n        = [-0.5, -1]
    coef        grad W = G^T X   = -0.5 * [1, 2, 3, 4] - 1 * [5, 6, 7, 8] = [-5.5, -7, -8.5, -10]
    intercept   grad b = sum G   = -1.5
    step        W <- 0 - 0.1 * grad W = [0.55, 0.7, 0.85, 1.0]
                b <- 0 - 0.1 * grad b = 0.15

    Then Yhat = [0.55 + 1.4 + 2.55 + 4 + 0.15, 2.75 + 4.2 + 5.95 + 8 + 0.15] = [8.65, 21.05],
    E = [7.65, 19.05] and L = (7.65^2 + 19.05^2) / 4 = 105.35625.
    """
    X = np.array([[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]])
    y = np.array([1.0, 2.0])
    model = plain(learning_rate=0.1, batch_size=None, max_iter=1)
    getattr(model, method)(X, y)
    assert_allclose(model.coef_, [0.55, 0.7, 0.85, 1.0], rtol=1e-14)
    assert_allclose(model.intercept_, 0.15, rtol=1e-14)
    assert_allclose(model.predict(X), [8.65, 21.05], rtol=1e-14)
    assert model.t_ == 1


def test_loss_curve_by_hand():
    """The loss after the step of the case above, in the unit whose gradient is stepped on."""
    X = np.array([[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]])
    model = plain(learning_rate=0.1, batch_size=None, max_iter=1).fit(X, np.array([1.0, 2.0]))
    assert_allclose(model.loss_curve_, [105.35625], rtol=1e-14)


def test_gradient_step_agrees_with_central_differences_of_the_loss(rng):
    """The step is minus eta times the slope of half the mean squared error, summed over the targets."""
    X, Y = make_rows(rng, n=9, d=4, k=3)
    W, b = rng.normal(size=(3, 4)), rng.normal(size=3)
    eta, h = 1e-3, 1e-4

    def loss(W, b):
        return 0.5 * ((X @ W.T + b - Y) ** 2).sum() / len(X)

    model = plain(learning_rate=eta, batch_size=None, max_iter=1).fit(X, Y, coef_init=W, intercept_init=b)
    # The loss is a quadratic: central differences are exact up to cancellation, eps * loss / h.
    for index in np.ndindex(3, 4):
        nudge = np.zeros((3, 4))
        nudge[index] = h
        slope = (loss(W + nudge, b) - loss(W - nudge, b)) / (2 * h)
        assert_allclose((W - model.coef_)[index] / eta, slope, rtol=1e-7, atol=1e-7)
    for target in range(3):
        nudge = np.eye(3)[target] * h
        slope = (loss(W, b + nudge) - loss(W, b - nudge)) / (2 * h)
        assert_allclose((b - model.intercept_)[target] / eta, slope, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize(("order", "expected"), [([0, 1], -0.5), ([1, 0], 0.5)])
def test_unshuffled_rows_are_taken_in_their_order(order, expected):
    """Single rows (x, y) = (1, 1) and (2, 0), step 0.5, no intercept.

    In order:   e = 0 - 1 = -1, w <- 0 + 0.5 * 1 * 1 = 0.5;  e = 2 * 0.5 - 0 = 1, w <- 0.5 - 0.5 * 1 * 2 = -0.5.
    Reversed:   e = 0, w <- 0;                               e = 0 - 1 = -1,      w <- 0 + 0.5 = 0.5.
    """
    X, y = np.array([[1.0], [2.0]])[order], np.array([1.0, 0.0])[order]
    model = plain(learning_rate=0.5, batch_size=1, max_iter=1, fit_intercept=False).fit(X, y)
    assert_array_equal(model.coef_, [expected])
    assert model.intercept_ == 0.0
    assert model.t_ == 2


# --- closed form -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_targets", [1, 3])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("from_zero", [True, False])
def test_every_full_batch_iterate_has_the_closed_form(rng, n_targets, fit_intercept, from_zero):
    """w_k - w* = (I - eta H)^k (w_0 - w*), H = Z^T Z / n; the intercept is the coefficient of a column of ones."""
    X, y = make_rows(rng, n=40, d=5, k=n_targets)
    Z = np.column_stack([X, np.ones(len(X))]) if fit_intercept else X
    H = Z.T @ Z / len(Z)
    eta = 1.0 / np.linalg.eigvalsh(H)[-1]
    optimum = np.linalg.lstsq(Z, y.reshape(len(y), -1), rcond=None)[0]
    start = np.zeros_like(optimum) if from_zero else rng.normal(size=optimum.shape)
    inits = {}
    if not from_zero:
        coef, intercept = start[:5].T, start[5:].ravel()
        inits["coef_init"] = coef[0] if n_targets == 1 else coef
        if fit_intercept:
            inits["intercept_init"] = intercept[0] if n_targets == 1 else intercept

    model = plain(learning_rate=eta, batch_size=None, max_iter=1, fit_intercept=fit_intercept, warm_start=True)
    model.fit(X, y, **inits)
    shrink = np.eye(len(H)) - eta * H
    for k in range(1, 31):
        expected = optimum + np.linalg.matrix_power(shrink, k) @ (start - optimum)
        intercept = expected[5] if fit_intercept else np.zeros(n_targets)
        # 30 products of rounding errors on top of lstsq's own
        assert_same_model(model, expected[:5].T, intercept, rtol=1e-11)
        model.fit(X, y)


# --- naive loop ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_targets", [1, 3])
@pytest.mark.parametrize("batch_size", [1, 7, 32, 45])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_equals_naive_loop_after_every_epoch(rng, n_targets, batch_size, weighted, fit_intercept):
    X, y = make_rows(rng, n=45, d=4, k=n_targets)
    weight = rng.uniform(0.1, 3.0, size=45) if weighted else None
    expected = naive_descent(X, y, 0.01, batch_size, 3, weight, fit_intercept=fit_intercept)
    for k, (W, b) in enumerate(expected, start=1):
        model = plain(batch_size=batch_size, max_iter=k, fit_intercept=fit_intercept).fit(X, y, sample_weight=weight)
        assert_same_model(model, W, b)
        assert model.n_iter_ == k
        assert model.t_ == k * -(-45 // batch_size)


@pytest.mark.parametrize("power_t", [0.0, 0.25, 1.0])
@pytest.mark.parametrize("batch_size", [1, 7, None])
def test_invscaling_divides_the_step_by_a_power_of_the_update_number(rng, power_t, batch_size):
    """The first update of a model has number 1; the numbers go on over epochs."""
    X, y = make_rows(rng, n=23, d=3)
    model = plain(schedule="invscaling", power_t=power_t, batch_size=batch_size, max_iter=4, learning_rate=0.05)
    model.fit(X, y)
    *_, (W, b) = naive_descent(X, y, 0.05, batch_size or 23, 4, power_t=power_t)
    assert_same_model(model, W, b)
    assert_allclose(model.learning_rate_, 0.05 / model.t_**power_t, rtol=1e-12)


def test_power_t_changes_nothing_under_a_constant_schedule(rng):
    X, y = make_rows(rng, n=23, d=3)
    assert_same_bits(plain(power_t=0.9, max_iter=3).fit(X, y), plain(power_t=0.1, max_iter=3).fit(X, y))


@pytest.mark.parametrize("schedule", ["constant", "invscaling", "adaptive"])
def test_schedule_is_the_constant_step_while_it_has_no_reason_to_move(rng, schedule):
    """A single update has number 1 (invscaling divides by 1) and no plateau (adaptive keeps its step)."""
    X, y = make_rows(rng, n=10, d=3)
    moved = plain(schedule=schedule, batch_size=None, max_iter=1).fit(X, y)
    assert_same_bits(moved, plain(batch_size=None, max_iter=1).fit(X, y))
    assert moved.learning_rate_ == 0.01


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_adaptive_divides_the_step_by_five_on_a_plateau():
    """Full batch on one column with curvature 1: a step of 2 flips w about w* and the loss stays as it is.

    After three epochs no better than the start the step becomes 0.4, and the loss above its minimum shrinks by
    (1 - 0.4)^2 = 0.36 an epoch.  From w = 0 that excess is 3^2 / 2 = 4.5, above the noise's 1/2.
    """
    x = np.array([1.0, -1.0, 1.0, -1.0])
    noise = np.array([1.0, 1.0, -1.0, -1.0])  # orthogonal to x, so that w* = 3
    settings = dict(learning_rate=2.0, batch_size=None, fit_intercept=False, n_iter_no_change=3, tol=1e-4)
    model = plain(schedule="adaptive", max_iter=12, **settings).fit(x[:, None], 3.0 * x + noise)
    expected = 0.5 + 4.5 * 0.36 ** np.array([0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
    assert_allclose(model.loss_curve_, expected, rtol=1e-12)
    assert model.learning_rate_ == pytest.approx(0.4)


# --- sample weights --------------------------------------------------------------------------------------------------


def test_batch_does_not_cancel_its_own_weight(rng):
    """Two batches of constant weight 100 and 1: dividing by the batch's own sum would give the unweighted fit."""
    X, y = make_rows(rng, n=6, d=2)
    weight = np.array([100.0] * 3 + [1.0] * 3)
    model = plain(batch_size=3, max_iter=2).fit(X, y, sample_weight=weight)
    *_, (W, b) = naive_descent(X, y, 0.01, 3, 2, weight)
    assert_same_model(model, W, b)
    unweighted = plain(batch_size=3, max_iter=2).fit(X, y)
    assert np.abs(model.coef_ - unweighted.coef_).max() > 0.01 * np.abs(unweighted.coef_).max()


def test_partial_fit_uses_the_running_mean_weight(rng):
    """Each call divides by the mean weight of every row seen so far, its own chunk included."""
    X, y = make_rows(rng, n=8, d=2)
    weight = np.array([1.0, 2.0, 3.0, 2.0, 10.0, 0.5, 4.0, 1.5])
    model = plain(batch_size=2)
    state = None
    for chunk, mean in [(slice(0, 4), weight[:4].mean()), (slice(4, 8), weight.mean())]:
        model.partial_fit(X[chunk], y[chunk], sample_weight=weight[chunk])
        # naive_descent divides by its own rows' mean: a larger step by own mean / running mean undoes that
        eta = 0.01 * weight[chunk].mean() / mean
        *_, state = naive_descent(X[chunk], y[chunk], eta, 2, 1, weight[chunk], start=state)
        assert_same_model(model, *state)


# --- batches ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [20, 21, 10_000])
def test_batch_of_all_rows_or_more_equals_full_batch(rng, batch_size):
    X, y = make_rows(rng, n=20, d=3)
    model = plain(batch_size=batch_size, max_iter=5).fit(X, y)
    assert_same_bits(model, plain(batch_size=None, max_iter=5).fit(X, y))
    assert model.t_ == 5


def test_full_batch_does_not_depend_on_the_order_of_the_rows(rng, seed):
    X, y = make_rows(rng, n=20, d=3)
    shuffled = plain(batch_size=None, max_iter=5, shuffle=True, random_state=seed).fit(X, y)
    ordered = plain(batch_size=None, max_iter=5).fit(X, y)
    assert_same_model(shuffled, ordered.coef_[None], np.array([ordered.intercept_]))


# --- one epoch is one epoch ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("schedule", ["constant", "invscaling"])
@pytest.mark.parametrize("batch_size", [1, 7, None])
@pytest.mark.parametrize("n_targets", [1, 3])
def test_k_partial_fits_equal_one_fit_of_k_epochs(rng, schedule, batch_size, n_targets):
    X, y = make_rows(rng, n=30, d=3, k=n_targets)
    settings = dict(schedule=schedule, batch_size=batch_size)
    fitted = plain(max_iter=4, **settings).fit(X, y)
    streamed = plain(**settings)
    for _ in range(4):
        streamed.partial_fit(X, y)
    assert_same_bits(fitted, streamed)


@pytest.mark.parametrize("batch_size", [1, 7, None])
@pytest.mark.parametrize("n_targets", [1, 3])
def test_k_warm_fits_of_one_epoch_equal_one_fit_of_k_epochs(rng, batch_size, n_targets):
    X, y = make_rows(rng, n=30, d=3, k=n_targets)
    fitted = plain(max_iter=4, batch_size=batch_size).fit(X, y)
    warm = plain(max_iter=1, batch_size=batch_size, warm_start=True)
    for _ in range(4):
        warm.fit(X, y)
    assert_array_equal(warm.coef_, fitted.coef_)
    assert_array_equal(warm.intercept_, fitted.intercept_)


def test_power_of_two_weights_keep_partial_fits_equal_to_fit(rng):
    """With weights whose mean is exact in binary, the running mean is the same number as fit's mean."""
    X, y = make_rows(rng, n=32, d=3)
    weight = np.where(np.arange(32) % 2, 1.0, 3.0)
    fitted = plain(max_iter=3, batch_size=5).fit(X, y, sample_weight=weight)
    streamed = plain(batch_size=5)
    for _ in range(3):
        streamed.partial_fit(X, y, sample_weight=weight)
    assert_same_bits(fitted, streamed)


def test_averaged_iterate_is_the_polynomial_decay_mean_of_the_plain_iterates(rng):
    """w_bar <- w_bar + 4 / (t + 3) (w - w_bar) after every update, the iterates being those of average=False."""
    X, y = make_rows(rng, n=12, d=3)
    mean_W, mean_b, t = 0.0, 0.0, 0
    W, b = np.zeros((1, 3)), np.zeros(1)
    for _ in range(2):
        for row in range(12):
            *_, (W, b) = naive_descent(X[[row]], y[[row]], 0.01, 1, 1, start=(W, b))
            t += 1
            mean_W, mean_b = mean_W + 4 / (t + 3) * (W - mean_W), mean_b + 4 / (t + 3) * (b - mean_b)
    assert_same_model(plain(average=True, batch_size=1, max_iter=2).fit(X, y), mean_W, mean_b)


# --- history ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_targets", [1, 3])
@pytest.mark.parametrize("weighted", [False, True])
def test_loss_curve_is_the_objective_of_the_returned_model(rng, n_targets, weighted):
    X, y = make_rows(rng, n=30, d=3, k=n_targets)
    weight = rng.uniform(0.5, 2.0, size=30) if weighted else np.ones(30)
    for k in (1, 2, 5):
        model = plain(batch_size=7, max_iter=k).fit(X, y, sample_weight=weight if weighted else None)
        error = (model.predict(X) - y).reshape(30, -1)
        expected = (weight[:, None] * error**2).sum() / 2 / weight.sum()
        assert len(model.loss_curve_) == k
        assert_allclose(model.loss_curve_[-1], expected, rtol=1e-12)


# --- PyTorch ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_targets", [1, 3])
@pytest.mark.parametrize("batch_size", [1, 7, 32, 100])
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_equals_torch_sgd_after_every_epoch(rng, n_targets, batch_size, method):
    """torch.nn.Linear, 0.5 * MSELoss, torch.optim.SGD on the same batches; 100 rows leave a short last batch."""
    torch = pytest.importorskip("torch", reason="torch is not installed: no second opinion on the gradients")
    X, y = make_rows(rng, n=100, d=6, k=n_targets)
    rows, targets = torch.from_numpy(X), torch.from_numpy(y.reshape(100, n_targets))
    linear = torch.nn.Linear(6, n_targets, dtype=torch.float64)
    torch.nn.init.zeros_(linear.weight)
    torch.nn.init.zeros_(linear.bias)
    mse = torch.nn.MSELoss()
    optimizer = torch.optim.SGD(linear.parameters(), lr=0.01)

    streamed = plain(batch_size=batch_size)
    for k in range(1, 6):
        for batch in torch.split(torch.arange(100), batch_size):
            optimizer.zero_grad()
            # MSELoss averages over the targets too; the objective sums over them
            (0.5 * n_targets * mse(linear(rows[batch]), targets[batch])).backward()
            optimizer.step()
        if method == "fit":
            model = plain(batch_size=batch_size, max_iter=k).fit(X, y)
        else:
            model = streamed.partial_fit(X, y)
        assert_same_model(model, linear.weight.detach().numpy(), linear.bias.detach().numpy())
