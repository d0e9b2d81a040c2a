"""Smallest values of objectives, found without sk_gdlinear: the zero of the gaps in ``conditioning.py``.

Squared errors: rows are centred, columns scaled, and a QR decomposition replaces the rows by a triangle with the same
sums of squares.  On it, least squares is a singular value decomposition, "l2" a linear system, non-negative least
squares SciPy's `nnls`.  "l1" and "elasticnet" start from scikit-learn's `ElasticNet` and
end in Newton steps on the signed support; the value of the dual problem bounds what is left.  Sparse rows are kept:
LSMR to the last digit, and `ElasticNet` with the same bound.  Huber's loss is minimised by a trust region, the
quantile's linear program is solved by HiGHS.
"""

import warnings
from functools import cached_property
from typing import NamedTuple

import numpy as np
from scipy.linalg import lstsq
from scipy.optimize import linprog, minimize, nnls
from scipy.sparse.linalg import LinearOperator, lsmr
from sklearn.linear_model import ElasticNet

RANK = 1e-12  # singular values of scaled columns below this share of the largest are rounding errors
PROMISED_RANK = 1e-6  # below this share the estimator promises no more than the minimum-norm answer
MOST_STEPS = 2_000  # of the active set
MANY_COLUMNS = 1_000  # from here on "l2" by the normal equations, which the penalty keeps well-conditioned


class Optimum(NamedTuple):
    """The smallest value found, and a bound below it."""

    value: float
    bound: float


class Triangle:
    """Centred and scaled rows, at most d + 1 of them, with the sums of squares of the data.

    The objective is ``|Z v - t|² / (2 n)`` plus the penalty, with ``v = coef * scale``.
    """

    def __init__(self, X, y):
        self.n = len(X)
        Z = X - X.mean(axis=0)
        self.scale = Z.std(axis=0)
        self.scale[np.ptp(X, axis=0) == 0.0] = np.inf  # a constant column: its coefficient changes nothing
        Z /= self.scale
        Z -= Z.mean(axis=0)
        t = y - y.mean()
        if len(Z) > Z.shape[1] + 1:
            triangle = np.linalg.qr(np.column_stack([Z, t]), mode="r")
            Z, t = np.ascontiguousarray(triangle[:, :-1]), triangle[:, -1].copy()
        self.Z, self.t = Z, t

    def half_mean_square(self, v):
        """Half mean squared error."""
        e = self.Z @ v - self.t
        return 0.5 * e @ e / self.n

    def least_squares(self, rank=RANK):
        """No penalty; singular values below `rank` times the largest count as 0."""
        U, s, _ = self._decomposition
        explained = U.T[s > rank * s[0]] @ self.t
        return 0.5 * max(self.t @ self.t - explained @ explained, 0.0) / self.n

    @cached_property
    def _decomposition(self):
        return np.linalg.svd(self.Z, full_matrices=False)

    def condition(self):
        """Largest over smallest singular value that is not a rounding error."""
        s = self._decomposition[1]
        return float(s[0] / s[s > RANK * s[0]].min())

    def ridge(self, alpha):
        """`alpha` / 2 times the squares of the coefficients in the units of X."""
        weights = alpha / self.scale**2
        used = weights > 0.0
        Z, roots = self.Z[:, used], np.sqrt(self.n * weights[used])
        if len(Z) < Z.shape[1]:  # in the space of the rows
            scaled = Z / roots
            return 0.5 * self.t @ np.linalg.solve(np.eye(len(Z)) + scaled @ scaled.T, self.t) / self.n
        if Z.shape[1] > MANY_COLUMNS:
            v = np.linalg.solve(Z.T @ Z + np.diag(roots**2), Z.T @ self.t)
            return 0.5 * (np.sum((Z @ v - self.t) ** 2) + np.sum((roots * v) ** 2)) / self.n
        longer, target = np.vstack([Z, np.diag(roots)]), np.append(self.t, np.zeros(len(roots)))
        v, *_ = np.linalg.lstsq(longer, target, rcond=None)
        return 0.5 * np.sum((longer @ v - target) ** 2) / self.n

    def non_negative(self):
        """No penalty, no negative coefficient; squares of next to no weight help where columns depend on each other."""
        d = self.Z.shape[1]
        longer, target = np.vstack([self.Z, 1e-7 * np.eye(d)]), np.append(self.t, np.zeros(d))
        found = (nnls(A, b, maxiter=100 * d)[0] for A, b in ((self.Z, self.t), (longer, target)))
        return min(0.5 * np.sum((self.Z @ v - self.t) ** 2) / self.n for v in found)

    def elastic_net(self, alpha, l1_ratio, positive):
        """`alpha` times the mixture of ``|coef|`` and ``coef² / 2``."""
        with np.errstate(invalid="ignore"):
            raw = np.where(np.isfinite(self.scale), self.Z * self.scale, 0.0)
        model = ElasticNet(
            alpha * self.n / len(raw),
            l1_ratio=l1_ratio,
            positive=positive,
            fit_intercept=False,
            tol=1e-12,
            max_iter=2_000,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the bound says how good it is
            start = model.fit(np.asfortranarray(raw), self.t).coef_
        net = _Net(self, l1_ratio * alpha / self.scale, (1 - l1_ratio) * alpha / self.scale**2, positive)
        v = np.multiply(start, self.scale, out=np.zeros_like(start), where=start != 0.0)
        best = min((v, net.newton(v)), key=net.value)
        return Optimum(net.value(best), net.bound(best))


class SparseRows:
    """CSR rows, centred without being made dense."""

    def __init__(self, X, y):
        self.X, self.t, self.n, self.mean = X, y - y.mean(), X.shape[0], np.asarray(X.mean(axis=0)).ravel()

    def _forward(self, v):
        return self.X @ v - self.mean @ v

    def _back(self, e):
        return self.X.T @ e - self.mean * e.sum()

    def least_squares(self, rank=None):
        """No penalty."""
        return self.ridge(0.0)

    def ridge(self, alpha):
        """`alpha` / 2 times the squares of the coefficients."""
        centred = LinearOperator(self.X.shape, matvec=self._forward, rmatvec=self._back, dtype=np.float64)
        damp = (self.n * alpha) ** 0.5
        v = lsmr(centred, self.t, damp=damp, atol=1e-13, btol=1e-13, conlim=0, maxiter=5_000)[0]
        return 0.5 * np.sum((self._forward(v) - self.t) ** 2) / self.n + 0.5 * alpha * v @ v

    def elastic_net(self, alpha, l1_ratio, positive):
        """`alpha` times the mixture of ``|coef|`` and ``coef² / 2``."""
        model = ElasticNet(alpha, l1_ratio=l1_ratio, positive=positive, tol=1e-9, max_iter=2_000)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the bound says how good it is
            v = model.fit(self.X.tocsc(), self.t).coef_
        l1, l2 = l1_ratio * alpha, (1.0 - l1_ratio) * alpha
        residual = self.t - self._forward(v)
        slope = self._back(residual) / self.n - l2 * v
        value = 0.5 * residual @ residual / self.n + l1 * np.abs(v).sum() + 0.5 * l2 * v @ v
        steepest = slope.max() if positive else np.abs(slope).max()
        return Optimum(value, dual_value(self.t, residual, -np.sqrt(self.n * l2) * v, l1 / steepest, self.n))


def dual_value(t, residual, rest, limit, n):
    """Value of the dual problem at multiples of `residual` up to `limit`; `rest` are the errors of the "l2" part."""
    size = residual @ residual + rest @ rest
    factor = min(t @ residual / size, limit) if size > 0.0 else 1.0
    return 0.5 * (t @ t - np.sum((t - factor * residual) ** 2) - np.sum((factor * rest) ** 2)) / n


class _Net:
    """Half mean square plus weighted ``|v|`` and ``v² / 2``."""

    def __init__(self, data, l1, l2, positive):
        self.data, self.l1, self.l2, self.positive = data, l1, l2, positive

    def value(self, v):
        return self.data.half_mean_square(v) + self.l1 @ np.abs(v) + 0.5 * self.l2 @ v**2

    def gradient(self, v):
        """Of the smooth part."""
        Z, t, n = self.data.Z, self.data.t, self.data.n
        return Z.T @ (Z @ v - t) / n + self.l2 * v

    def bound(self, v):
        """Value of the dual problem at the scaled errors of `v`."""
        Z, t, n = self.data.Z, self.data.t, self.data.n
        residual, rest = t - Z @ v, -np.sqrt(n * self.l2) * v
        slope = -self.gradient(v)
        slope = slope if self.positive else np.abs(slope)
        too_steep = slope > self.l1
        limit = np.min(self.l1[too_steep] / slope[too_steep], initial=np.inf)
        return dual_value(t, residual, rest, limit, n)

    def newton(self, start):
        """Active set: Newton steps on the signed support, which loses what reaches 0 and gains what pulls hardest."""
        v, sign = start.copy(), np.sign(start)
        best, least, stale = v.copy(), self.value(v), 0
        for _ in range(MOST_STEPS):
            support = np.flatnonzero(sign)
            reach = self._step(v, sign, support)
            if reach < 1.0:  # a coefficient has reached 0
                continue
            pull = -self.gradient(v)
            value = self.value(v)
            stale = 0 if value < least * (1.0 - 1e-15) else stale + 1
            if value < least:
                best, least = v.copy(), value
            pull = pull if self.positive else np.abs(pull)
            excess = np.where((sign == 0.0) & (self.l1 > 0.0), pull - self.l1 * (1.0 + 1e-10), -np.inf)
            entering = int(np.argmax(excess))
            if excess[entering] <= 0.0 or stale > 20:
                break
            sign[entering] = -np.sign(self.gradient(v)[entering])
        return best

    def _step(self, v, sign, support):
        """Move `v` on its support to the optimum or to the first sign change; return the share of the way."""
        if not len(support):
            return 1.0
        Z = self.data.Z[:, support]
        slope = self.gradient(v)[support] + self.l1[support] * sign[support]
        hessian = Z.T @ Z / self.data.n + np.diag(self.l2[support])
        step = lstsq(hessian, -slope, cond=1e-14, check_finite=False)[0]
        unsolved = slope + hessian @ step
        endless = np.abs(unsolved).max() > 1e-8 * self.l1[support].max()
        if endless:  # along a direction without curvature
            step = -unsolved
        with np.errstate(divide="ignore", invalid="ignore"):
            to_zero = np.where(step * sign[support] < 0.0, -v[support] / step, np.inf)
        first = int(np.argmin(to_zero))
        reach = to_zero[first] if endless else min(1.0, to_zero[first])
        if not np.isfinite(reach):
            return 1.0
        v[support] += reach * step
        if reach == to_zero[first]:
            v[support[first]] = sign[support[first]] = 0.0
            return 0.0
        return 1.0


def huber_loss(e, epsilon):
    """e² / 2 up to `epsilon`, linear beyond."""
    a = np.abs(e)
    return np.where(a <= epsilon, 0.5 * e * e, epsilon * (a - 0.5 * epsilon))


def pinball_loss(e, quantile):
    """Of errors ``prediction - y``."""
    return np.where(e < 0.0, -quantile * e, (1.0 - quantile) * e)


def _whitened(X):
    """Orthogonal columns of mean square 1 that span the centred columns of X, and a column of ones."""
    triangle = Triangle(X, np.zeros(len(X)))
    Z = (X - X.mean(axis=0)) / triangle.scale
    U, s, _ = np.linalg.svd(Z - Z.mean(axis=0), full_matrices=False)
    return np.column_stack([np.ones(len(X)), U[:, s > RANK * s[0]] * len(X) ** 0.5])


def huber(X, y, epsilon):
    """Smallest mean Huber loss."""
    Z, n = _whitened(X), len(X)

    def value(w):
        return huber_loss(Z @ w - y, epsilon).mean()

    def gradient(w):
        return Z.T @ np.clip(Z @ w - y, -epsilon, epsilon) / n

    def hessian(w):
        near = np.abs(Z @ w - y) <= epsilon
        return Z[near].T @ Z[near] / n

    start = np.linalg.lstsq(Z, y, rcond=None)[0]
    options = {"gtol": 1e-10 * epsilon, "maxiter": 1_000, "initial_trust_radius": epsilon, "max_trust_radius": 1e6}
    return float(minimize(value, start, jac=gradient, hess=hessian, method="trust-exact", options=options).fun)


def quantile(X, y, q):
    """Smallest mean pinball loss, by the dual linear program."""
    Z = _whitened(X)
    total = (1.0 - q) * Z.sum(axis=0)
    result = linprog(-y, A_eq=Z.T, b_eq=total, bounds=(0.0, 1.0), method="highs")
    if result.status:
        raise RuntimeError(result.message)
    return float((-result.fun - (1.0 - q) * y.sum()) / len(y))
