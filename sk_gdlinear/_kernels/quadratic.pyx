# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Variables of a quadratic model under a penalty with kinks: absolute values, squares and bounds.

The functions have the arguments and the results of the reference implementations of the same names in
``_descent.kinks``.
"""

import numpy as np

from libc.math cimport INFINITY, fmax, fmin


cdef _check(const double[:, ::1] H, const double[::1] w, const double[::1] q, const double[::1] l1,
            const double[::1] l2, const double[::1] lower, const double[::1] upper):
    cdef Py_ssize_t d = w.shape[0]
    if not (H.shape[0] == H.shape[1] == d == q.shape[0] and l1.shape[0] == l2.shape[0] == d == lower.shape[0]
            and upper.shape[0] == d):
        raise ValueError("The arrays must have the shapes of d variables.")


def coordinate_descent(
    const double[:, ::1] H, double[::1] w, double[::1] q, const double[::1] l1, const double[::1] l2,
    const double[::1] lower, const double[::1] upper, Py_ssize_t sweeps, double tolerance,
):
    """Minimise along one variable after the other, in place; return the gain of the last sweep."""
    cdef:
        Py_ssize_t d = w.shape[0], i, j, _sweep
        double curvature, point, change, gain = 0.0
    _check(H, w, q, l1, l2, lower, upper)
    with nogil:
        for _sweep in range(sweeps):
            gain = 0.0
            for j in range(d):
                curvature = H[j, j] + l2[j]
                if not curvature > 0.0:
                    continue
                point = H[j, j] * w[j] - q[j]
                point = (point - fmax(-l1[j], fmin(l1[j], point))) / curvature
                change = fmax(lower[j], fmin(upper[j], point)) - w[j]
                if change == 0.0:
                    continue
                w[j] += change
                gain += 0.5 * curvature * change * change
                for i in range(d):
                    q[i] += change * H[j, i]
            if not gain > tolerance:
                break
    return gain


def violation(
    const double[:, ::1] H, const double[::1] w, const double[::1] q, const double[::1] l1, const double[::1] l2,
    const double[::1] lower, const double[::1] upper,
):
    """Return half the sum of squares of the least subgradient, which is 0 at the minimum."""
    cdef:
        Py_ssize_t j
        double slope, downhill, total = 0.0
    _check(H, w, q, l1, l2, lower, upper)
    for j in range(w.shape[0]):
        if not H[j, j] + l2[j] > 0.0:
            continue
        slope, downhill = q[j] + l2[j] * w[j], 0.0
        if w[j] < upper[j]:
            downhill = -(slope + (l1[j] if w[j] >= 0.0 else -l1[j]))
        if w[j] > lower[j]:
            downhill = fmax(downhill, slope + (l1[j] if w[j] > 0.0 else -l1[j]))
        if downhill > 0.0:
            total += downhill * downhill
    return 0.5 * total


def free_system(
    const double[:, ::1] H, const double[::1] w, const double[::1] q, const double[::1] l1, const double[::1] l2,
    const double[::1] lower, const double[::1] upper,
):
    """Return the variables neither at a kink nor at a bound, the model's matrix among them, and its slope there."""
    cdef:
        Py_ssize_t d = w.shape[0], n = 0, i, j
        Py_ssize_t[::1] free
        double[:, ::1] A
        double[::1] slope
    _check(H, w, q, l1, l2, lower, upper)
    places = np.empty(d, dtype=np.intp)
    free = places
    for j in range(d):
        if H[j, j] + l2[j] > 0.0 and (w[j] != 0.0 or l1[j] == 0.0) and lower[j] < w[j] < upper[j]:
            free[n] = j
            n += 1
    matrix, slopes = np.empty((n, n)), np.empty(n)
    A, slope = matrix, slopes
    for i in range(n):
        j = free[i]
        slope[i] = q[j] + l2[j] * w[j] + (l1[j] if w[j] > 0.0 else -l1[j] if w[j] < 0.0 else 0.0)
        for j in range(n):
            A[i, j] = H[free[i], free[j]]
        A[i, i] += l2[free[i]]
    return places[:n], matrix, slopes


def share_to_kink(
    const double[::1] w, const double[::1] step, const Py_ssize_t[::1] free, const double[::1] l1,
    const double[::1] lower, const double[::1] upper,
):
    """Return the share of a step of free variables until one meets 0 or a bound, which one, and its value there."""
    cdef:
        Py_ssize_t d = w.shape[0], hit = -1, i, j
        double end, share, least = INFINITY, value = 0.0
    if not (step.shape[0] == free.shape[0] and l1.shape[0] == lower.shape[0] == upper.shape[0] == d):
        raise ValueError("The arrays must have the shapes of d variables, and of the free ones among them.")
    for i in range(free.shape[0]):
        j = free[i]
        if not 0 <= j < d:
            raise ValueError("The free variables must be numbers of variables.")
        if step[i] == 0.0:
            continue
        end = lower[j] if step[i] < 0.0 else upper[j]
        if l1[j] > 0.0 and w[j] > 0.0 and step[i] < 0.0:
            end = fmax(end, 0.0)
        elif l1[j] > 0.0 and w[j] < 0.0 and step[i] > 0.0:
            end = fmin(end, 0.0)
        share = (end - w[j]) / step[i]
        if share < least:
            least, hit, value = share, j, end
    if least >= 1.0:
        return 1.0, -1, 0.0
    return least, hit, value
