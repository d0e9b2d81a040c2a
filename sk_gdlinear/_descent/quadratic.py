r"""The minimum of a quadratic model with a penalty, on its :math:`d \times d` matrix alone.

The model of the objective about parameters :math:`w_0` with gradient :math:`g` and curvature :math:`H` is

.. math:: m(w) = \langle g, w - w_0 \rangle + \tfrac12 (w - w_0)^\top H (w - w_0) + \mathrm{penalty}(w).

Variables are scaled so that the diagonal of H is 1.  Without absolute values and bounds the minimum is the solution of
a linear system, found by Cholesky's method.  Where H is nearly singular it is found from its eigenvectors; along those
whose eigenvalue is below ``RANK`` times the largest the scaled parameters are 0, so that their norm is minimal.  With
absolute values or bounds coordinate descent (J. Friedman, T. Hastie and R. Tibshirani, "Regularization Paths for
Generalized Linear Models via Coordinate Descent", Journal of Statistical Software 33, 2010) finds which coefficients
are 0 or at a bound, and Newton steps on the others find the minimum.  With a user-defined penalty the minimum is found
by accelerated proximal gradients (A. Beck and M. Teboulle, "A Fast Iterative Shrinkage-Thresholding Algorithm", SIAM
Journal on Imaging Sciences 2, 2009), restarted where they point uphill (B. O'Donoghue and E. Candes, Foundations of
Computational Mathematics 15, 2015).
"""

from typing import NamedTuple

import numpy as np
from scipy.linalg.lapack import dpocon, dpotrf, dpotrs

from .._kernels import quadratic as compiled
from .._objective.penalties import BoxedElasticNet

# Eigenvalue, relative to the largest, below which a direction counts as flat; times the number of columns, twice the
# rounding of products if that is more.  Columns of condition 1e6 have eigenvalues down to 1e-12.
RANK = 1e-13
ROUNDING = 2.0 * np.finfo(np.float64).eps

# Reciprocal condition number from which Cholesky's method keeps enough digits.
CHOLESKY_CONDITION = 1e-8

# Sweeps of coordinate descent between Newton steps; Newton steps in a row that a change of sign shortens; and rounds of
# both, at most.
SWEEPS = 20
SHORTENED_STEPS = 30
ROUNDS = 200

# Damping of a nearly singular matrix relative to its norm, and how often its effects are reduced by powers of ten.
DAMPING = 1e-13
REFINEMENTS = 3

# The part of the model's scale that may be left to gain at its minimum; and the slope along flat directions, relative
# to the root of that scale, that counts as rounding, since the damped system would turn it into a long step.
NEGLIGIBLE = 1e-15
FLAT_SLOPE = 1e-13

# Iterations of the accelerated proximal gradient, and the relative change at which it ends.
PROXIMAL_ITERATIONS = 5000
PROXIMAL_CHANGE = 1e-13

# Powers of the scale of a variable by which l1, l2 and the two bounds are divided.
SCALE_POWERS = (1, 2, -1, -1)


class Minimum(NamedTuple):
    """The minimum of a model."""

    W: np.ndarray  # (k, d)
    gain: float  # by how much the model falls, over all targets
    exact: bool  # whether it is the minimum up to rounding


class QuadraticModel:
    """A quadratic model of the loss, the same curvature for all targets.

    Parameters
    ----------
    H : ndarray of shape (d, d)
        Positive semi-definite.
    """

    def __init__(self, H):
        diagonal = np.maximum(np.diag(H), 0.0)
        self.scale = np.sqrt(np.where(diagonal > 0.0, diagonal, 1.0))
        inverse = 1.0 / self.scale
        self.H = H * np.multiply.outer(inverse, inverse)
        np.fill_diagonal(self.H, np.where(diagonal > 0.0, 1.0, 0.0))
        self._systems = {}

    def minimise(self, W, grad_W, penalty, negligible=0.0, rough=0.0):
        """Return the ``Minimum`` of the model with a penalty.

        Parameters
        ----------
        W, grad_W : ndarray of shape (k, d)
            Parameters and the gradient of the loss there, in float64.
        penalty : BoxedElasticNet or RescaledPenalty
        negligible : float, default=0.0
            What may be left to gain, in units of the objective.
        rough : float, default=0.0
            With kinks, what may be left to gain if coordinate descent reaches it without Newton steps.
        """
        if not isinstance(penalty, BoxedElasticNet):
            return self._proximal_gradient(W, grad_W, penalty)
        U, grad_U, parts = W * self.scale, grad_W / self.scale, []
        for t in range(len(W)):
            l1, l2, lower, upper = (
                self._scaled(a, power, t) for a, power in zip(penalty[:4], SCALE_POWERS, strict=True)
            )
            if lower is None and (l1 is None or not l1.any()):
                parts.append(self._smooth(U[t], grad_U[t], l2))
            else:
                kinks = self._kinks(l1, l2, lower, upper)
                parts.append(self._with_kinks(U[t], grad_U[t], kinks, negligible, rough))
        U = np.array([u for u, _, _ in parts])
        return Minimum(U / self.scale, float(sum(gain for _, gain, _ in parts)), all(exact for *_, exact in parts))

    def _scaled(self, values, power, t):
        """Return the values of a penalty for target ``t`` in scaled variables; None for None."""
        return None if values is None else values[t].astype(np.float64) / self.scale**power

    def _system(self, l2):
        """Return the linear system of ``H + diag(l2)``, factored once."""
        key = None if l2 is None else l2.tobytes()
        if key not in self._systems:
            A = self.H if l2 is None else self.H + np.diag(l2)
            self._systems = {key: LinearSystem(A)}  # the newest is enough: targets mostly share it
        return self._systems[key]

    def _smooth(self, u, gradient, l2):
        """Return the minimum of the model with a quadratic penalty, or none."""
        slope = gradient if l2 is None else gradient + l2 * u
        system = self._system(l2)
        step = system.solve(slope)
        return system.project(u) - step, 0.5 * float(slope @ step), True

    def _kinks(self, l1, l2, lower, upper):
        """Return a penalty with absolute values or bounds, None for no bounds."""
        if lower is None:
            upper = np.full(len(l1), np.inf)
            lower = -upper
        return Kinks(l1, l2, lower, upper, np.diag(self.H) + l2 > 0.0)

    def _with_kinks(self, u, gradient, penalty, negligible, rough):
        """Return the minimum of the model with absolute values or bounds."""
        w, q = np.clip(u, penalty.lower, penalty.upper), gradient.copy()
        if (w != u).any():
            q += self.H @ (w - u)
        scale = abs(float(gradient @ u)) + float(penalty.l1 @ np.abs(u)) + 0.5 * float(np.square(gradient).sum())
        left = penalty.violation(w, q)
        if 0.5 * float(left @ left) <= NEGLIGIBLE * scale and (w == u).all():
            return w, 0.0, True
        negligible = max(negligible, NEGLIGIBLE * scale)
        for _ in range(ROUNDS):
            coordinate_descent(self.H, w, q, *penalty[:4], SWEEPS, negligible)
            if rough > 0.0:
                left = penalty.violation(w, q)
                if 0.5 * float(left @ left) <= rough:
                    break
            self._newton_on_support(w, q, penalty, FLAT_SLOPE * np.sqrt(scale))
            q = gradient + self.H @ (w - u)  # without the rounding of many small changes
            left = penalty.violation(w, q)
            if 0.5 * float(left @ left) <= negligible:
                break
        moved = w - u
        falls = -(float(gradient @ moved) + 0.5 * float(moved @ (self.H @ moved))) + penalty.value(u) - penalty.value(w)
        return w, max(falls, 0.0), 0.5 * float(left @ left) <= max(negligible, rough, 1e-6 * falls)

    def _newton_on_support(self, w, q, penalty, noise):
        """Minimise over the coefficients that are neither 0 nor at a bound, in place, as far as signs stay."""
        for _ in range(SHORTENED_STEPS):
            free = np.flatnonzero(penalty.is_free(w))
            if not len(free):
                return
            signs = np.sign(w[free])
            slope = q[free] + penalty.l2[free] * w[free] + penalty.l1[free] * signs
            A = self.H[np.ix_(free, free)]
            A.flat[:: len(A) + 1] += penalty.l2[free]
            step = -damped_solution(A, slope, noise)
            share, hit, value = penalty.largest_share(w[free], step, free)
            w[free] += share * step
            q += share * (self.H[:, free] @ step)
            if hit is None:
                return
            q += (value - w[free[hit]]) * self.H[:, free[hit]]
            w[free[hit]] = value

    def _proximal_gradient(self, W, grad_W, penalty):
        """Return the minimum of the model with a user-defined penalty, by accelerated proximal gradients."""
        H = self.H * np.multiply.outer(self.scale, self.scale)
        step = 1.0 / max(float(np.linalg.eigvalsh(H)[-1]), np.finfo(np.float64).tiny)
        V, ahead, momentum, exact = W, W, 1.0, False
        for _ in range(PROXIMAL_ITERATIONS):
            after = penalty.proximal(ahead - step * (grad_W + (ahead - W) @ H), step)
            if np.abs(after - V).max(initial=0.0) <= PROXIMAL_CHANGE * np.abs(after).max(initial=0.0):
                V, exact = after, True
                break
            if float(((ahead - after) * (after - V)).sum()) > 0.0:
                momentum = 1.0
            following = 0.5 * (1.0 + np.sqrt(1.0 + 4.0 * momentum**2))
            ahead, V = after + (momentum - 1.0) / following * (after - V), after
            momentum = following
        moved = V - W
        falls = -float((grad_W * moved).sum() + 0.5 * (moved * (moved @ H)).sum())
        falls += float((penalty.value(W) - penalty.value(V)).sum())
        return Minimum(V, max(falls, 0.0), exact)


class LinearSystem:
    """The solution of ``A x = r`` for a positive semi-definite ``A``, of minimum norm where that is nearly singular.

    Parameters
    ----------
    A : ndarray of shape (d, d)
    """

    def __init__(self, A):
        self.factor, self.vectors = _cholesky(A), None
        if self.factor is not None:
            return
        eigenvalues, vectors = np.linalg.eigh(A)
        least = max(RANK, ROUNDING * len(A)) * max(eigenvalues[-1], np.finfo(np.float64).tiny)
        self.vectors, self.inverses = vectors[:, eigenvalues > least], 1.0 / eigenvalues[eigenvalues > least]

    def solve(self, r):
        """Return the solution."""
        if self.factor is not None:
            return dpotrs(self.factor, r, lower=True)[0]
        return self.vectors @ (self.inverses * (self.vectors.T @ r))

    def project(self, x):
        """Return ``x`` without its part along flat directions."""
        return x if self.factor is not None else self.vectors @ (self.vectors.T @ x)


def damped_solution(A, r, noise=0.0):
    """Return the solution of ``A x = r``, or with ``A`` damped so little that only flat directions change.

    If ``r`` points along a flat direction the solution is long, as there is no minimum.  If the part of ``r``
    along flat directions is at most ``noise``, it counts as 0.
    """
    factor, damping = _cholesky(A), DAMPING * float(np.abs(A).sum(axis=0).max(initial=0.0))
    if factor is not None:
        return dpotrs(factor, r, lower=True)[0]
    factor, failed = dpotrf(A + damping * np.eye(len(A)), lower=True, clean=False)
    while failed:
        damping *= 10.0
        factor, failed = dpotrf(A + damping * np.eye(len(A)), lower=True, clean=False)

    def solve(r):
        return dpotrs(factor, r, lower=True)[0]

    def flat_part(x):
        return solve(solve(x)) * damping**2

    x = solve(r)
    for _ in range(REFINEMENTS):
        x += solve(r - A @ x)
    if np.linalg.norm(flat_part(r)) <= noise:
        for _ in range(REFINEMENTS):
            x -= flat_part(x)
    return x


def _cholesky(A):
    """Return the factor of Cholesky's method, None where it does not keep enough digits."""
    factor, failed = dpotrf(A, lower=True, clean=False)
    if failed:
        return None
    reciprocal, _ = dpocon(factor, np.abs(A).sum(axis=0).max(initial=0.0), uplo="L")
    return factor if reciprocal >= CHOLESKY_CONDITION else None


class Kinks(NamedTuple):
    """Absolute values, squares and bounds of scaled coefficients of one target, each of shape (d,)."""

    l1: np.ndarray
    l2: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    moves: np.ndarray  # whether the model depends on the coefficient

    def value(self, w):
        """Return the penalty of coefficients within the bounds."""
        return float(self.l1 @ np.abs(w) + 0.5 * (self.l2 * w) @ w)

    def is_free(self, w):
        """Whether each coefficient is neither at a kink nor at a bound."""
        return self.moves & ((w != 0.0) | (self.l1 == 0.0)) & (w > self.lower) & (w < self.upper)

    def violation(self, w, q):
        """Return by how much each coefficient violates the conditions of a minimum; ``q`` is the loss's gradient."""
        slope = q + self.l2 * w
        right = slope + np.where(w >= 0.0, self.l1, -self.l1)
        left = slope + np.where(w > 0.0, self.l1, -self.l1)
        downhill = np.maximum(np.where(w < self.upper, -right, 0.0), np.where(w > self.lower, left, 0.0))
        return np.where(self.moves, np.maximum(downhill, 0.0), 0.0)

    def largest_share(self, w, step, free):
        """Return the share of a step until a coefficient meets 0 or a bound, its place, and its value there.

        The share is 1, and the place None, if none does.
        """
        lower = np.where((w > 0.0) & (self.l1[free] > 0.0), np.maximum(self.lower[free], 0.0), self.lower[free])
        upper = np.where((w < 0.0) & (self.l1[free] > 0.0), np.minimum(self.upper[free], 0.0), self.upper[free])
        ends = np.where(step < 0.0, lower, upper)
        with np.errstate(divide="ignore", invalid="ignore"):
            shares = np.where(step != 0.0, (ends - w) / step, np.inf)
        hit = int(shares.argmin())
        return (1.0, None, 0.0) if shares[hit] >= 1.0 else (float(shares[hit]), hit, float(ends[hit]))


def _coordinate_descent(H, w, q, l1, l2, lower, upper, sweeps, tolerance):
    """Minimise along one coordinate after the other, in place; return the gain of the last sweep.

    Parameters
    ----------
    H : ndarray of shape (d, d)
    w, q : ndarray of shape (d,)
        The coefficients, and the gradient of the quadratic function there; both are updated.
    l1, l2, lower, upper : ndarray of shape (d,)
        The penalty.
    sweeps : int
        Sweeps over all coordinates, at most.
    tolerance : float
        Gain of a sweep after which it is the last.
    """
    for _ in range(sweeps):
        gain = 0.0
        for j in range(len(w)):
            curvature = H[j, j] + l2[j]
            if not curvature > 0.0:
                continue
            point = H[j, j] * w[j] - q[j]
            point = (point - max(-l1[j], min(l1[j], point))) / curvature
            change = max(lower[j], min(upper[j], point)) - w[j]
            if change != 0.0:
                w[j] += change
                gain += 0.5 * curvature * change * change
                q += change * H[j]
        if not gain > tolerance:
            break
    return gain


coordinate_descent = _coordinate_descent if compiled is None else compiled.coordinate_descent
