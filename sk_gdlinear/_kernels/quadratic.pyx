# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Coordinate descent on a quadratic function of few variables with a separable penalty.

``coordinate_descent`` has the arguments and the result of the reference implementation of the same name in
``_descent.quadratic``.
"""

from libc.math cimport fmax, fmin


def coordinate_descent(
    const double[:, ::1] H, double[::1] w, double[::1] q, const double[::1] l1, const double[::1] l2,
    const double[::1] lower, const double[::1] upper, Py_ssize_t sweeps, double tolerance,
):
    """Minimise along one coordinate after the other, in place; return the gain of the last sweep."""
    cdef:
        Py_ssize_t d = w.shape[0], i, j, _sweep
        double curvature, point, change, gain = 0.0
    if not (H.shape[0] == H.shape[1] == d == q.shape[0] and l1.shape[0] == l2.shape[0] == d == lower.shape[0]
            and upper.shape[0] == d):
        raise ValueError("The arrays must have the shapes of d variables.")
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
