# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Loops over the errors of rows, which NumPy would make in many passes.

The functions have the arguments and the results of the reference implementations of the same names in
``_descent.row_loops``.
"""

import numpy as np

from libc.math cimport INFINITY, fmax
from libc.string cimport memset

cdef extern from "line_loops.h" nogil:
    void gd_predicted_derivatives(
        const double *e, const double *way, const double *second_way, Py_ssize_t n, double offset, double low,
        double high, double damping, double *theta,
    ) noexcept
    void gd_excess(
        const double *theta, const double *s, Py_ssize_t n, double low, double high, double *excess, double *extremes,
    ) noexcept
    void gd_add_dual_sums(const double *e, const double *theta, const double *s, Py_ssize_t n, double *sums) noexcept
    void gd_add_losses(
        double e, double way, double weight, const double *shares, Py_ssize_t n, double offset, double least,
        double most, double *losses,
    ) noexcept

cdef enum:
    TILE = 512                      # errors of one target whose derivatives stay in L1 cache


cdef int _check(const double[:, ::1] E, const double[:, ::1] way, const double[::1] weight, const double[::1] offset,
                const double[::1] low, const double[::1] high) except -1:
    cdef Py_ssize_t n = E.shape[0], k = E.shape[1]
    if not (way.shape[0] == n and way.shape[1] == k and (weight is None or weight.shape[0] == n)):
        raise ValueError("The arrays must have the shapes of n errors of k targets.")
    if not offset.shape[0] == low.shape[0] == high.shape[0] == k:
        raise ValueError("The loss must have one offset and two bounds for each target.")
    return 0


def dual_sums(
    const double[:, ::1] E, const double[:, ::1] way, const double[:, ::1] second_way, const double[::1] weight,
    const double[::1] offset, const double[::1] low, const double[::1] high, const double[::1] damping,
):
    """Return sums over rows, (5, k), the largest derivatives, (k,), the rows out of bounds, and by what they are."""
    cdef:
        Py_ssize_t n = E.shape[0], k = E.shape[1], m, part, start, i, t
        double e[TILE]
        double first[TILE]
        double second[TILE]
        double s[TILE]
        double sums[6]
        double extremes[2]
        double theta[TILE]
        double excess[TILE]
        bint two = second_way is not None, weighted = weight is not None
    _check(E, way, weight, offset, low, high)
    if not (damping.shape[0] == k and (not two or (second_way.shape[0] == n and second_way.shape[1] == k))):
        raise ValueError("The arrays must have the shapes of n errors of k targets.")
    totals, ratios, beyond, is_out = np.zeros((5, k)), np.empty(k), np.empty((n, k)), np.zeros(n, dtype=np.uint8)
    cdef:
        double[:, ::1] total = totals, excesses = beyond
        double[::1] largest = ratios
        unsigned char[::1] out = is_out
    with nogil:
        for t in range(k):
            memset(sums, 0, sizeof(sums))
            extremes[0], extremes[1] = INFINITY, -INFINITY
            for part in range((n + TILE - 1) // TILE):
                start = part * TILE
                m = min(n - start, TILE)
                for i in range(m):
                    e[i] = E[start + i, t]
                    first[i] = way[start + i, t]
                    second[i] = second_way[start + i, t] if two else 0.0
                    s[i] = weight[start + i] if weighted else 1.0
                gd_predicted_derivatives(
                    e, first, second if two else NULL, m, offset[t], low[t], high[t], damping[t], theta,
                )
                gd_add_dual_sums(e, theta, s, m, sums)
                gd_excess(theta, s, m, low[t], high[t], excess, extremes)
                for i in range(m):
                    excesses[start + i, t] = excess[i]
                    out[start + i] |= excess[i] != 0.0
            largest[t] = fmax(1.0, fmax(extremes[0] / low[t], extremes[1] / high[t]))
            total[0, t], total[1, t], total[2, t] = sums[0], sums[1], sums[2]
            total[3, t] = 0.5 * ((low[t] + high[t]) * sums[3] + (high[t] - low[t]) * sums[4])
            total[4, t] = sums[5]
    places = np.flatnonzero(is_out.view(np.bool_))
    return totals, ratios, places, beyond[places]


def losses_between(
    const double[:, ::1] E, const double[:, ::1] way, const double[::1] weight, const double[::1] shares,
    const double[::1] offset, const double[::1] low, const double[::1] high,
):
    """Return the losses of errors after shares of a way, summed over rows, (len(shares), k)."""
    cdef:
        Py_ssize_t k = E.shape[1], m = shares.shape[0], i, t
        bint weighted = weight is not None
    _check(E, way, weight, offset, low, high)
    totals = np.zeros((k, m))
    cdef double[:, ::1] total = totals
    with nogil:
        for i in range(E.shape[0]):
            for t in range(k):
                gd_add_losses(
                    E[i, t], way[i, t], weight[i] if weighted else 1.0, &shares[0], m, offset[t], low[t] - offset[t],
                    high[t] - offset[t], &total[t, 0],
                )
    return np.ascontiguousarray(totals.T)
