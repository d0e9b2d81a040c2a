r"""The minimum of a quadratic model with a penalty, on its :math:`d \times d` matrix alone.

The model of the objective about parameters :math:`w_0` with gradient :math:`g` and curvature :math:`H` is

.. math:: m(w) = \langle g, w - w_0 \rangle + \tfrac12 (w - w_0)^\top H (w - w_0) + \mathrm{penalty}(w).

Variables are scaled so that the diagonal of H is 1.  Without absolute values and bounds the minimum is the solution of
a linear system, found by Cholesky's method.  Where H is nearly singular it is found from its eigenvectors; along those
whose eigenvalue is below ``RANK`` times the largest the scaled parameters are 0, so that their norm is minimal.  Where
all coefficients have a quadratic penalty that holds only for eigenvalues that may be rounding.  With absolute values or
bounds coordinate descent (J. Friedman, T. Hastie and R. Tibshirani, "Regularization Paths for Generalized Linear Models
via Coordinate Descent", Journal of Statistical Software 33, 2010) finds which coefficients are 0 or at a bound, and
Newton steps on the others find the minimum.  Where columns are nearly collinear such steps take one coefficient after
the other to 0 or to a bound; once they have cost as much as ``interior_point``, that comes near the minimum instead,
and the steps go on from there.  With a user-defined penalty the minimum is found by accelerated proximal
gradients (A. Beck and M. Teboulle, "A Fast Iterative Shrinkage-Thresholding Algorithm", SIAM Journal on Imaging
Sciences 2, 2009), restarted where they point uphill (B. O'Donoghue and E. Candes, Foundations of Computational
Mathematics 15, 2015).
"""

from itertools import count
from typing import NamedTuple

import numpy as np
from scipy.linalg.lapack import dlange, dpocon, dpotrf, dpotrs, dtrtri

from .._objective.penalties import BoxedElasticNet
from .interior_point import interior_minimum
from .kinks import Kinks, coordinate_descent, free_system, least_subgradient, share_to_kink, violation
from .rent_or_buy import interior_cost, support_step_cost

# Eigenvalue, relative to the largest, below which a direction counts as flat; times the number of columns, twice the
# rounding of products if that is more.  Columns of condition 1e6 have eigenvalues down to 1e-12.
RANK = 1e-13
ROUNDING = 2.0 * np.finfo(np.float64).eps

# With a quadratic penalty of all coefficients only rounding counts as flat: that for each column, or so many times that
# of the largest eigenvalue, if that is more.
EIGENVALUE_ROUNDING = 4.0

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

# The part of the model's scale that an upper bound of what may be left need not fall below.
HIDDEN = 1e-10

# Iterations of the accelerated proximal gradient, and the relative change at which it ends.
PROXIMAL_ITERATIONS = 5000
PROXIMAL_CHANGE = 1e-13


class Minimum(NamedTuple):
    """The minimum of a model."""

    W: np.ndarray  # (k, d)
    gain: float  # by how much the model falls, over all targets
    exact: bool  # whether it is the minimum up to rounding
    hidden: float = 0.0  # by how much the model may still fall, along variables that are nearly collinear


class QuadraticModel:
    """A quadratic model of the loss, the same curvature for all targets.

    Parameters
    ----------
    H : ndarray of shape (d, d)
        Positive semi-definite.
    reference : QuadraticModel, default=None
        The model of all rows, where H is that of some rows, damped.  It then decides which directions are flat.
    """

    def __init__(self, H, reference=None):
        self.reference = reference
        diagonal = np.maximum(np.diag(H), 0.0)
        self.scale = np.sqrt(np.where(diagonal > 0.0, diagonal, 1.0))
        inverse = 1.0 / self.scale
        self.H = H * np.multiply.outer(inverse, inverse)
        np.fill_diagonal(self.H, np.where(diagonal > 0.0, 1.0, 0.0))
        self.factors = inverse, inverse * inverse, self.scale, self.scale  # of l1, l2 and the bounds
        self.spent = 0.0  # on minima with kinks, in the units of ``rent_or_buy``
        self._systems = {}

    def minimise(self, W, grad_W, penalty, negligible=0.0, rough=0.0):
        """Return the ``Minimum`` of the model with a penalty.

        Parameters
        ----------
        W, grad_W : ndarray of shape (k, d)
            Parameters and the gradient of the loss there, in float64.
        penalty : BoxedElasticNet or RescaledPenalty
        negligible : float, default=0.0
            How much may be left to gain, in units of the objective.
        rough : float, default=0.0
            With kinks, how much may be left to gain where coordinate descent alone comes as far.
        """
        if not W.size:  # no column varies, or none is in a working set
            return Minimum(W, 0.0, True)
        if not isinstance(penalty, BoxedElasticNet):
            return self._proximal_gradient(W, grad_W, penalty)
        U, grad_U, parts = W * self.scale, grad_W / self.scale, []
        for t in range(len(W)):
            l1, l2, lower, upper = (
                None if a is None else a[t].astype(np.float64) * factor
                for a, factor in zip(penalty[:4], self.factors, strict=True)
            )
            if lower is None and (l1 is None or not l1.any()):
                parts.append(self._smooth(U[t], grad_U[t], l2))
            else:
                if lower is None:
                    lower, upper = np.full_like(l1, -np.inf), np.full_like(l1, np.inf)
                kinks = Kinks(l1, l2, lower, upper)
                parts.append(self._with_kinks(U[t], grad_U[t], kinks, negligible, rough))
        U, gains, exact, hidden = zip(*parts, strict=True)
        return Minimum(np.array(U) / self.scale, float(sum(gains)), all(exact), float(sum(hidden)))

    def product(self, W):
        """Return ``W H``."""
        return ((W * self.scale) @ self.H) * self.scale

    def inverse_norm(self, r):
        """Return the root of ``r^T H^-1 r``."""
        r = r / self.scale
        return np.sqrt(max(float(r @ self._system(None).solve(r)), 0.0))

    def _system(self, l2):
        """Return the linear system of ``H + diag(l2)``, factored once."""
        key = None if l2 is None else l2.tobytes()
        if key not in self._systems:
            basis = None if self.reference is None else self._reference_basis
            self._systems = {key: LinearSystem(self.H, l2, basis)}  # the newest is enough: targets mostly share it
        return self._systems[key]

    def _reference_basis(self):
        """Return directions, (d, r), in which the reference is the identity, and the projection on them."""
        system, ratio = self.reference._system(None), self.reference.scale / self.scale
        return system.whitening() / ratio[:, None], lambda x: system.project(x * ratio) / ratio

    def _smooth(self, u, gradient, l2):
        """Return the minimum of the model with a quadratic penalty, or none."""
        slope = gradient if l2 is None else gradient + l2 * u
        system = self._system(l2)
        step = system.solve(slope)
        return system.project(u) - step, 0.5 * float(slope @ step), True, 0.0

    def _with_kinks(self, u, gradient, penalty, negligible, rough):
        """Return the minimum of the model with absolute values or bounds."""
        w, q = np.minimum(np.maximum(u, penalty.lower), penalty.upper), gradient.copy()
        is_inside = bool((w == u).all())
        if not is_inside:
            q += self.H @ (w - u)
        scale = 0.5 * float(gradient @ gradient)
        if self.reference is None:  # for losses other than the squared error, the objective is no scale of the gradient
            scale += abs(float(gradient @ u)) + float(penalty.l1 @ np.abs(u))
        left, rounding = violation(self.H, w, q, *penalty), NEGLIGIBLE * scale
        negligible, noise = max(negligible, rounding), FLAT_SLOPE * np.sqrt(scale)
        enough = max(negligible, HIDDEN * scale)
        if left <= rounding and is_inside:
            return w, 0.0, True, self._hidden(w, q, penalty, left, enough)
        price, is_near, is_spent = interior_cost(len(w)), False, False
        for _ in range(ROUNDS):
            coordinate_descent(self.H, w, q, *penalty, SWEEPS, negligible)
            if rough > 0.0:
                left = violation(self.H, w, q, *penalty)
                if left <= rough:
                    break
            cost = self._newton_on_support(w, q, penalty, noise, price)
            price -= cost
            if price <= 0.0:
                if is_near:
                    is_spent, price = True, np.inf
                else:
                    is_near, price = True, interior_cost(len(w))
                    w, cost = self._near_minimum(w, u, gradient, penalty), cost + price
            self.spent += cost
            q = gradient + self.H @ (w - u)  # without the rounding of many small changes
            left = violation(self.H, w, q, *penalty)
            if left <= rounding or (is_spent and left <= negligible):
                break
        falls, hidden = self._falls(u, w, gradient, penalty), self._hidden(w, q, penalty, left, enough)
        return w, max(falls, 0.0), left <= max(negligible, rough), hidden

    def _falls(self, u, w, gradient, penalty):
        """Return by how much the model with its penalty falls from ``u``, where the gradient is known, to ``w``."""
        moved = w - u
        return -(float(gradient @ moved) + 0.5 * float(moved @ (self.H @ moved))) + penalty.value(u) - penalty.value(w)

    def _hidden(self, w, q, penalty, left, enough):
        """Return an upper bound of what is left to gain at a point of the model with absolute values or bounds.

        With the least subgradient r it is half of r^T (H + diag(l2))^-1 r, since the model falls by less than a
        quadratic function with that slope.  It is at most ``left``, half of r^T r, over the least eigenvalue that does
        not count as flat; that is returned where it is ``enough``.
        """
        if left <= RANK * enough:
            return left / RANK
        moves, A = self._moving(penalty)
        r = least_subgradient(w, q + penalty.l2 * w, penalty.l1, penalty.lower, penalty.upper)[moves]
        return 0.5 * abs(float(r @ damped_solution(A, r)))

    def _newton_on_support(self, w, q, penalty, noise, most):
        """Minimise over the coefficients that are neither 0 nor at a bound, in place, without a change of signs.

        Where there are more of them than the rank of their matrix, one step is made for each in excess: a step along a
        flat direction ends where one more coefficient is 0 or at a bound.  Return the cost of the steps, after which
        none is made once it is ``most``.
        """
        cost = 0.0
        for n_steps in count():
            free, A, slope = free_system(self.H, w, q, *penalty)
            if not len(free) or cost >= most:
                return cost
            factor = _cholesky(A)
            cost += support_step_cost(len(free), factor is None)
            if factor is not None and n_steps >= SHORTENED_STEPS:
                return cost
            step = -(damped_solution(A, slope, noise) if factor is None else dpotrs(factor, slope, lower=True)[0])
            share, hit, value = share_to_kink(w, step, free, penalty.l1, penalty.lower, penalty.upper)
            w[free] += share * step
            q += share * (step @ self.H[free])
            if hit < 0:
                return cost
            q += (value - w[hit]) * self.H[hit]
            w[hit] = value

    def _near_minimum(self, w, u, gradient, penalty):
        """Return variables near the minimum of the model, by interior-point steps; or ``w`` if that is lower."""
        moves, A = self._moving(penalty)
        start, near = w[moves], w.copy()
        slope = (gradient + self.H @ (w - u) + penalty.l2 * w)[moves] - A @ start  # at 0
        near[moves] = interior_minimum(A, slope, start, penalty.l1[moves], penalty.lower[moves], penalty.upper[moves])
        return near if self._falls(u, near, gradient, penalty) > self._falls(u, w, gradient, penalty) else w

    def _moving(self, penalty):
        """Return which variables can move, as a mask, and the matrix of the model and the squares among them."""
        moves = (np.diag(self.H) + penalty.l2 > 0.0) & (penalty.lower < penalty.upper)
        A = self.H[np.ix_(moves, moves)]
        A.flat[:: len(A) + 1] += penalty.l2[moves]
        return moves, A

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
    """The solution of ``(A + diag(l2)) x = r`` for a positive semi-definite ``A`` with 1 or 0 on its diagonal.

    It is of minimum norm where the matrix is nearly singular.  With ``l2`` variables are scaled so that the diagonal of
    the sum is 1: however much some coefficients are penalised, the others do not count as flat.

    Parameters
    ----------
    A : ndarray of shape (d, d)
    l2 : ndarray of shape (d,), default=None
    basis : callable, default=None
        Returns directions, (d, r), outside of whose span all count as flat, and the projection on it.
    """

    def __init__(self, A, l2=None, basis=None):
        self.root = self.basis = None
        is_limited = l2 is not None and bool(((l2 > 0.0) | (np.diag(A) == 0.0)).all())
        if l2 is not None:
            A = A + np.diag(l2)
            diagonal = np.diag(A)
            self.root = np.sqrt(np.where(diagonal > 0.0, diagonal, 1.0))
            A /= self.root
            A /= self.root[:, None]
        self.factor, self.vectors = _cholesky(A), None
        if self.factor is not None:
            return
        if basis is not None and l2 is None:
            self.basis, self.projection = basis()
            small = self.basis.T @ A @ self.basis
            self.small, failed = dpotrf(small, lower=True) if len(small) else (small, True)
            if not failed:
                return
            self.basis = None
        eigenvalues, vectors = np.linalg.eigh(A)
        largest = max(eigenvalues[-1], np.finfo(np.float64).tiny)
        if is_limited:  # no direction is flat, but for rounding and constant columns
            least = ROUNDING * max(len(A), EIGENVALUE_ROUNDING * largest)
        else:
            least = max(RANK, ROUNDING * len(A)) * largest
        self.vectors, self.inverses = vectors[:, eigenvalues > least], 1.0 / eigenvalues[eigenvalues > least]

    def solve(self, r):
        """Return the solution."""
        r = r if self.root is None else r / self.root
        if self.factor is not None:
            x = dpotrs(self.factor, r, lower=True)[0]
        elif self.basis is not None:
            x = self.basis @ dpotrs(self.small, self.basis.T @ r, lower=True)[0]
        else:
            x = self.vectors @ (self.inverses * (self.vectors.T @ r))
        return x if self.root is None else x / self.root

    def project(self, x):
        """Return ``x`` without its part along flat directions."""
        if self.factor is not None:
            return x
        if self.basis is not None:
            return self.projection(x)
        root = 1.0 if self.root is None else self.root
        return self.vectors @ (self.vectors.T @ (root * x)) / root

    def whitening(self):
        """Return directions B, (d, r), with ``B^T A B`` the identity, outside of whose span all are flat."""
        if self.factor is not None:
            return dtrtri(np.tril(self.factor), lower=True)[0].T
        return self.vectors * np.sqrt(self.inverses)


def damped_solution(A, r, noise=0.0):
    """Return the solution of ``A x = r``, or with ``A`` damped so little that only flat directions change.

    If ``r`` points along a flat direction the solution is long, as there is no minimum.  If the part of ``r``
    along flat directions is at most ``noise``, it counts as 0.
    """
    factor = _cholesky(A)
    if factor is not None:
        return dpotrs(factor, r, lower=True)[0]
    damping = DAMPING * dlange("1", A.T)
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
    factor, failed = dpotrf(A.T, lower=True, clean=False)  # A is symmetric, and in this order it is not transposed
    if failed:
        return None
    reciprocal, _ = dpocon(factor, dlange("1", A.T), uplo="L")
    return factor if reciprocal >= CHOLESKY_CONDITION else None
