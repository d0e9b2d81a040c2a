r"""Paths of the squared error over strengths of a penalty, and their errors on held-out rows, from joint moments alone.

With the second moments :math:`H = \overline{x x^\top}` and :math:`c = \overline{y x^\top}` of the rows to train on,
about their means, the gradient at any coefficients is :math:`w H - c`, and the minimum for one strength of the penalty
is where the search for the next one begins (J. Friedman, T. Hastie and R. Tibshirani, "Regularization Paths for
Generalized Linear Models via Coordinate Descent", Journal of Statistical Software 33, 2010).  The mean squared error on
held-out rows is a quadratic function of the coefficients, known from their own moments.
"""

from typing import NamedTuple

import numpy as np
from scipy.sparse import issparse

from .._data.order import as_slice
from .._data.standardize import Standardization
from .._descent.kinks import coordinate_descent
from .._descent.quadratic import QuadraticModel
from .._objective.losses import SquaredError
from .._objective.objective import problem_of_loss, rescale_penalty
from .._objective.penalties import ElasticNet, positive

# What may be left to gain at a point of a path, relative to half the mean square of the targets.
NEGLIGIBLE = 1e-12

# Sweeps of coordinate descent for one strength; of few features, as many as change so many numbers, d^2 in a sweep over
# d features.  They take as long as a Newton step, which is made if they were not enough.
SWEEPS = 100
SWEPT_NUMBERS = 100_000

# Features from which paths without absolute values run by conjugate gradients, all strengths at once; the most of them,
# and the part of the gradient that may be left.  Linear systems are solved where they were not enough.
MANY_FEATURES = 512
CONJUGATE_GRADIENTS = 100
GRADIENT_LEFT = 1e-8

# Without absolute values no strength is the least for which all coefficients are 0.  The path then begins at this
# multiple of the sum of the mean squares of the features, where no direction keeps more than a tenth of what it has
# without a penalty.
STRONGEST_L2 = 10.0

# Ratio of the weakest to the strongest penalty of a path, with absolute values and without.
EPS_L1 = 1e-3
EPS_L2 = 1e-9

# Strength of all penalties where there is nothing to penalise, as in scikit-learn.
LEAST_ALPHA = 1e-15

# Halvings of the interval in which the best constant is searched.
HALVINGS = 60

# Numbers of X handled at once, and rows at least.
BLOCK_NUMBERS = 1 << 17
LEAST_ROWS = 256


def elastic_net(alpha, l1_ratio, is_positive):
    """Return the penalty of one strength."""
    penalty = ElasticNet(alpha, l1_ratio)
    return positive(penalty) if is_positive else penalty


def _times(alpha, unit):
    """Return the standardized penalty of one strength from that of strength 1: both parts are proportional to it."""
    return unit if unit.l1 is None else unit._replace(l1=alpha * unit.l1, l2=alpha * unit.l2)


def _dots(A, B):
    """Return the scalar product of each row of ``A`` with that of ``B``."""
    return np.einsum("ij,ij->i", A, B)


class Path(NamedTuple):
    """The minimum for each strength of a penalty, in the units of the data."""

    coef: np.ndarray  # (n_alphas, k, d), float64
    intercept: np.ndarray  # (n_alphas, k)


class TrainedModel:
    """The squared error over rows with these joint moments, to be minimised with one penalty after another.

    Parameters
    ----------
    moments : JointMoments
    d : int
        Number of features.
    fit_intercept : bool
    """

    def __init__(self, moments, d, fit_intercept):
        self.moments, self.d, self.fit_intercept = moments, d, fit_intercept
        spread, _ = moments.columns(slice(0, d)).spread(fit_intercept)
        self.varies = np.flatnonzero(spread > 0.0)
        factor, k = moments.factor, len(moments.factor) - d
        self.standardization = Standardization(np.zeros(len(self.varies)), factor[self.varies], np.zeros(k), factor[d:])
        H, self.c = moments.about(d, fit_intercept)
        if len(self.varies) < d:
            H, self.c = H[np.ix_(self.varies, self.varies)], np.ascontiguousarray(self.c[:, self.varies])
        self.H, self.model = H, QuadraticModel(H)
        square = np.diag(moments.products)[d:] / moments.count
        if not fit_intercept:
            square = square + np.square(moments.mean[d:])
        self.negligible = NEGLIGIBLE * 0.5 * float(square.sum())

    def path(self, alphas, l1_ratio, is_positive):
        """Return the ``Path`` of strengths of an elastic net, the strongest first."""
        unit = self._rescaled(elastic_net(1.0, l1_ratio, is_positive))
        W, coefs = np.zeros_like(self.c), []
        if unit.lower is None and not np.any(unit.l1):
            starts = self._ridges(alphas, unit.l2) if len(self.varies) > MANY_FEATURES and l1_ratio < 1.0 else None
            for place, alpha in enumerate(alphas):
                done = starts is not None and starts[1][place]
                W = starts[0][place] if done else self._minimum(W, W @ self.H - self.c, _times(alpha, unit))
                coefs.append(W)
        else:
            for alpha in alphas:
                W = self._with_kinks(W, _times(alpha, unit))
                coefs.append(W)
        return self._in_user_units(np.array(coefs))

    def _ridges(self, alphas, l2):
        """Return the minima with squares alone, (a, k, d), by conjugate gradients, and which are found, (a,).

        All strengths share the product with the matrix, which is read once for all of them.
        """
        scale, H = self.model.scale, self.model.H
        shrinkage = np.multiply.outer(alphas, l2 / np.square(scale)) + np.diag(H)
        right = np.broadcast_to(self.c / scale, shrinkage.shape)
        flat, d = (-1, len(scale)), len(scale)
        inverse = (1.0 / np.where(shrinkage > 0.0, shrinkage, 1.0)).reshape(flat)
        extra = (shrinkage - np.diag(H)).reshape(flat)
        left = right.reshape(flat).copy()
        U, Z = np.zeros_like(left), inverse * left
        direction, size, wanted = Z.copy(), _dots(left, Z), GRADIENT_LEFT**2 * _dots(left, left)
        for _ in range(min(CONJUGATE_GRADIENTS, d)):
            open_ = np.flatnonzero(_dots(left, left) > wanted)
            if not len(open_):
                break
            P = direction[open_]
            product = P @ H + extra[open_] * P
            step = (size[open_] / np.maximum(_dots(P, product), np.finfo(np.float64).tiny))[:, None]
            U[open_] += step * P
            left[open_] -= step * product
            Z = inverse[open_] * left[open_]
            after = _dots(left[open_], Z)
            direction[open_] = Z + (after / size[open_])[:, None] * P
            size[open_] = after
        found = (_dots(left, left) <= wanted).reshape(shrinkage.shape[:2]).all(axis=1)
        return (U / scale).reshape(shrinkage.shape), found

    def _with_kinks(self, W, penalty):
        """Return the minimum by sweeps of coordinate descent, and by Newton steps where they are slow."""
        scale, H, d = self.model.scale, self.model.H, len(self.varies)
        support = np.flatnonzero(W.any(axis=0))
        Q = np.ascontiguousarray((W[:, support] @ self.H[support] - self.c) / scale)
        U, W = np.ascontiguousarray(W * scale), W.copy()
        sweeps = max(SWEEPS, SWEPT_NUMBERS // max(1, d) ** 2)
        # If more than ``negligible`` were left after a sweep with so small a gain, gains would fall too slowly to have
        # become so small in so many sweeps.
        settled = self.negligible / sweeps
        l1, l2 = (np.ascontiguousarray(a / scale**power) for a, power in ((penalty.l1, 1), (penalty.l2, 2)))
        for t in range(len(U)):
            bounds = [np.full(U.shape[1], bound) for bound in (-np.inf, np.inf)]
            if penalty.lower is not None:
                bounds = [penalty.lower[t] * scale, penalty.upper[t] * scale]
            left = coordinate_descent(H, U[t], Q[t], l1[t], l2[t], *bounds, sweeps, settled)
            if left <= settled:
                W[t] = U[t] / scale
                continue
            start, one = U[t : t + 1] / scale, slice(t, t + 1)
            grad_W = start @ self.H - self.c[one]
            W[t] = self.model.minimise(start, grad_W, penalty.of_target(t), self.negligible).W[0]
        return W

    def refined(self, rows, coef, penalty):
        """Return the minimum for one penalty, from the exact gradient of all rows at ``coef``, (k, d).

        Rounding of the moments is thereby removed, as in iterative refinement.
        """
        W = coef[:, self.varies] / self.standardization.inv_scale * self.standardization.target_inv_scale[:, None]
        path = self._in_user_units(self._minimum(W, self._gradient(rows, W), self._rescaled(penalty))[None])
        return path.coef[0], path.intercept[0]

    def intercept(self, coef):
        """Return the best intercept, (..., k), for coefficients in the units of the data, (..., k, d)."""
        if not self.fit_intercept:
            return np.zeros(coef.shape[:-1])
        mean = self.moments.mean / self.moments.factor
        return mean[self.d :] - coef.astype(np.float64, copy=False) @ mean[: self.d]

    def _rescaled(self, penalty):
        return rescale_penalty(penalty, self.standardization, np.ones(len(self.c)))

    def _minimum(self, W, grad_W, penalty):
        return self.model.minimise(W, grad_W, penalty, self.negligible).W

    def _in_user_units(self, W):
        coef = np.zeros((*W.shape[:-1], self.d))
        coef[..., self.varies] = W * self.standardization.inv_scale * self.standardization.unit[:, None]
        return Path(coef, self.intercept(coef))

    def _gradient(self, rows, W):
        """Return the gradient of the mean loss over all rows, at scaled coefficients."""
        moments, d = self.moments, self.d
        centre = moments.mean / moments.factor if self.fit_intercept else np.zeros(len(moments.mean))
        coef = np.zeros((len(W), d))
        coef[:, self.varies] = W
        change = Standardization(centre[:d], moments.factor[:d], centre[d:], moments.factor[d:])
        return _gradient(rows, SquaredError(), change, coef)[:, self.varies] / moments.count


def squared_errors(path, train, held_out, d, fit_intercept):
    """Return the mean squared error on held-out rows, in units of their variance and in those of y; (n_alphas, k) each.

    Parameters
    ----------
    path : Path
    train, held_out : JointMoments
        Of the rows that the path was trained on, and of others.
    d : int
    fit_intercept : bool

    Returns
    -------
    relative, squares : ndarray of shape (n_alphas, k)
        ``relative`` is, as in scikit-learn's R^2, 0 or 1 where the held-out targets are constant.
    """
    factor = np.minimum(train.factor, held_out.factor)  # a column of zeros has a very large one
    held_out = held_out.scaled(factor)
    W = path.coef * (factor[d:, None] / factor[:d])
    H, c = held_out.about(d, fit_intercept=True)
    variance = np.diag(held_out.products)[d:] / held_out.count
    about_mean = (W @ H * W).sum(axis=-1) - 2.0 * (W * c).sum(axis=-1) + variance
    centre = train.mean * (factor / train.factor) if fit_intercept else 0.0
    apart = held_out.mean - centre
    errors = np.maximum(about_mean, 0.0) + np.square(W @ apart[:d] - apart[d:])
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        varies = (held_out.low < held_out.high)[d:]
        relative = np.where(varies, errors / np.where(varies, variance, 1.0), errors > 0.0)
        return relative, errors / np.square(factor[d:])


def alpha_grid(strongest, eps, n_alphas):
    """Return ``n_alphas`` strengths, evenly spaced in their logarithm, from the strongest down to ``eps`` times it."""
    if not strongest > LEAST_ALPHA:
        return np.full(n_alphas, LEAST_ALPHA)
    return np.geomspace(strongest, strongest * eps, n_alphas)


def strongest_alpha(rows, statistics, loss, l1_ratio, fit_intercept, is_positive):
    """Return the strength with which a path begins.

    With absolute values it is the least for which all coefficients are 0: the largest entry of the gradient of the mean
    loss at the best constant, over ``l1_ratio``.
    """
    if l1_ratio == 0.0:
        spread, _ = statistics.recent_features.spread(fit_intercept)
        rms, _ = statistics.recent_targets.spread(fit_intercept)
        kinked = not np.isfinite(loss.lipschitz)  # its curvature is about 1 over the size of the errors
        slope = 1.0 / max(float(rms.max(initial=0.0)), LEAST_ALPHA) if kinked else float(loss.lipschitz)
        return STRONGEST_L2 * slope * float(np.square(spread).sum())
    downhill = -_gradient_at_constant(rows, statistics, loss, fit_intercept)
    downhill = downhill if is_positive else np.abs(downhill)
    return float(downhill.max(initial=0.0)) / l1_ratio


def _gradient_at_constant(rows, statistics, loss, fit_intercept):
    """Return the gradient of the mean loss where all coefficients are 0 and the intercept is the best one, (k, d)."""
    constant = _best_constant(rows, statistics, loss) if fit_intercept else np.zeros(rows.Y.shape[1])
    centre = statistics.recent_features.mean if fit_intercept else np.zeros(rows.X.shape[1])
    change = Standardization(centre, np.ones(len(centre)), constant, np.ones(len(constant)))
    return _gradient(rows, loss, change, np.zeros((len(constant), len(centre)))) / rows.total_weight


def _gradient(rows, loss, change, W):
    """Return the sum of the weighted gradients of all rows, (k, d), under a change of variables."""
    if hasattr(rows.X, "backend"):  # on a device
        return rows.X.backend.gradient(problem_of_loss(rows, loss, change), rows.order, W, np.zeros(len(W)))[0]
    grad = np.zeros(W.shape)
    for block in _blocks(rows):
        Z = change.rows(rows.X[block])
        derivative = loss.derivative(Z @ W.T - change.targets(rows.Y[block]))
        if rows.weight is not None:
            derivative = derivative * rows.weight[block][:, None]
        grad += derivative.T @ Z
    return grad


def _best_constant(rows, statistics, loss):
    """Return the constant of the least mean loss for each target, where the mean derivative changes its sign."""
    if type(loss) is SquaredError:
        return statistics.recent_targets.mean
    Y, weight = rows.Y[rows.order].astype(np.float64), rows.weights(rows.order)
    low, high = Y.min(axis=0), Y.max(axis=0)
    for _ in range(HALVINGS):
        middle = 0.5 * (low + high)
        rises = np.average(loss.derivative(middle - Y), axis=0, weights=weight) > 0.0
        low, high = np.where(rises, low, middle), np.where(rises, middle, high)
    return 0.5 * (low + high)


def _blocks(rows):
    """Yield the rows of non-zero weight in blocks, as slices where they lie one after the other."""
    n, d = rows.X.shape
    numbers = rows.X.nnz if issparse(rows.X) else n * d
    for order in rows.blocks(size=max(LEAST_ROWS, BLOCK_NUMBERS * n // max(numbers, 1))):
        yield as_slice(order)
