# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The array engine of ``_descent`` and ``_conditioning``, compiled for dense rows.

Same arguments, same arithmetic, same results as the functions of the same name there, and ``errors`` as
``_evaluation.errors_of``; ``tests/test_kernel.py`` holds the two equal. How rows are multiplied stands in
``_products.pxi``. The input is never copied whole.
"""

from libc.math cimport fabs, isfinite
from libc.stdlib cimport free, malloc
from libc.string cimport memset

import numpy as np

from cython.view cimport array as cvarray
from scipy.linalg.cython_blas cimport dgemm, dgemv, sgemm, sgemv

include "_terms.pxi"
include "_loops.pxi"
include "_products.pxi"

cdef enum:
    STATISTICS_BYTES = 65536        # rows whose moments are taken in two passes, in cache


cdef void _precondition(int d, int k, floating *P, floating *grad, floating *along) noexcept nogil:
    """along <- grad P, P symmetric."""
    cdef int one = 1
    cdef floating unit = 1, zero = 0
    if floating is double:
        if k == 1:
            dgemv("N", &d, &d, &unit, P, &d, grad, &one, &zero, along, &one)
        else:
            dgemm("N", "N", &d, &k, &d, &unit, P, &d, grad, &d, &zero, along, &d)
    else:
        if k == 1:
            sgemv("N", &d, &d, &unit, P, &d, grad, &one, &zero, along, &one)
        else:
            sgemm("N", "N", &d, &k, &d, &unit, P, &d, grad, &d, &zero, along, &d)


cdef struct Terms:
    void *offset            # each (k,): the derivative of the loss is clip(e + offset, low, high)
    void *low
    void *high
    void *l1                # (k, d) and (k, d), or NULL: the penalty is l1 * |w| + l2 / 2 * w^2
    void *l2
    bint positive
    void *anchor            # (n, k), or all NULL: see _reduction.Reduction
    void *drift_W
    void *drift_b
    void *change_W
    void *change_b


cdef double _output_gradient(
    floating *E, const Terms *of, const floating[::1] weight, const Py_ssize_t[::1] order, Py_ssize_t start,
    Py_ssize_t rows, Py_ssize_t k, Py_ssize_t batch_rows, floating *grad_b,
) noexcept nogil:
    """E becomes G in place, (psi(E) - anchor) / n; its rows are added to grad_b; return the sum of the losses."""
    cdef Py_ssize_t last = order.shape[0] - 1, i, j
    cdef floating *anchors = <floating*>of.anchor
    cdef floating *anchor
    cdef floating n = batch_rows, s = 1, e, g, g_sum, offset, low, high
    cdef double total = 0.0
    for j in range(k):
        offset = (<floating*>of.offset)[j]
        low = (<floating*>of.low)[j]
        high = (<floating*>of.high)[j]
        g_sum = 0
        for i in range(rows):
            if weight is not None:
                s = weight[order[start + i]]
            e = E[i * k + j]
            g = _derivative(e, offset, low, high)
            total += s * _value(e, g, offset)
            g = g * s
            if anchors != NULL:
                gd_prefetch(anchors + order[min(start + i + LOOK_AHEAD, last)] * k + j)
                anchor = anchors + order[start + i] * k + j
                e = g - anchor[0]
                anchor[0] = g
                g = e
            g = g / n
            E[i * k + j] = g
            g_sum += g
        grad_b[j] += g_sum
    return total


cdef struct Work:
    void *Z                 # (tile, d) gathered rows
    void *E                 # (tile, k) errors, then G
    void *grad              # (k, d)
    void *grad_b            # (k,)
    void *along             # (k, d) times the preconditioner, or grad itself without one
    bint raw                # whether rows are multiplied as they are, Z unused
    void *V                 # (k, d) and (k,): the weights for that, see _raw_weights
    void *c


cdef class _Workspace:
    """Buffers of one call, freed with it."""

    cdef Work p

    def __cinit__(self, Py_ssize_t tile, Py_ssize_t d, Py_ssize_t k, Py_ssize_t itemsize, bint preconditioned):
        self.p.Z = malloc(max(tile * d, 1) * itemsize)
        self.p.E = malloc(max(tile * k, 1) * itemsize)
        self.p.grad = malloc(max(k * d, 1) * itemsize)
        self.p.grad_b = malloc(max(k, 1) * itemsize)
        self.p.along = malloc(max(k * d, 1) * itemsize) if preconditioned else self.p.grad
        self.p.V = malloc(max(k * d, 1) * itemsize)
        self.p.c = malloc(max(k, 1) * itemsize)
        if NULL in (self.p.Z, self.p.E, self.p.grad, self.p.grad_b, self.p.along, self.p.V, self.p.c):
            raise MemoryError()

    def __dealloc__(self):
        free(self.p.Z)
        free(self.p.E)
        if self.p.along != self.p.grad:
            free(self.p.along)
        free(self.p.grad)
        free(self.p.grad_b)
        free(self.p.V)
        free(self.p.c)


cdef struct Maps:
    void *shift             # (d,) and (d,): z = (x - shift) * inv_scale
    void *inv_scale
    void *target_shift      # (k,) and (k,): the same for y
    void *target_inv_scale


cdef Maps _maps(
    const floating[::1] shift, const floating[::1] inv_scale,
    const floating[::1] target_shift, const floating[::1] target_inv_scale,
) noexcept nogil:
    cdef Maps at
    at.shift = <void*>&shift[0]
    at.inv_scale = <void*>&inv_scale[0]
    at.target_shift = <void*>&target_shift[0]
    at.target_inv_scale = <void*>&target_inv_scale[0]
    return at


cdef void _errors(
    const floating[:, ::1] X, const floating[:, ::1] Y, const Py_ssize_t[::1] order, Maps at, Py_ssize_t start,
    Py_ssize_t rows, floating *W, floating *b, Work work, floating *E,
) noexcept nogil:
    """E <- Z W^T + b - Y', the targets conditioned; where work.raw is set, W and b are those of _raw_weights."""
    cdef Py_ssize_t d = X.shape[1], k = Y.shape[1]
    cdef floating *Z = <floating*>work.Z
    _gather_targets(Y, order, start, rows, <floating*>at.target_shift, <floating*>at.target_inv_scale, b, E)
    if work.raw:
        _add_forward_raw(X, order, start, rows, k, W, E)
    else:
        _gather(X, order, start, rows, <floating*>at.shift, <floating*>at.inv_scale, Z)
        _add_forward(<int>rows, <int>d, <int>k, Z, W, E)


cdef double _batch_gradient(
    const floating[:, ::1] X, const floating[:, ::1] Y, const Py_ssize_t[::1] order, const floating[::1] weight,
    Maps at, const Terms *of, Py_ssize_t start, Py_ssize_t stop, Py_ssize_t tile, floating *W, floating *b, Work work,
) noexcept nogil:
    """Gradient of the batch's loss, less that of its anchors, into work.grad and work.grad_b; return the loss."""
    cdef Py_ssize_t d = X.shape[1], k = Y.shape[1], m = stop - start, lo = start, rows, j
    cdef floating *E = <floating*>work.E
    cdef floating *grad = <floating*>work.grad
    cdef floating *grad_b = <floating*>work.grad_b
    cdef floating *shift = <floating*>at.shift
    cdef floating *inv_scale = <floating*>at.inv_scale
    cdef double total = 0.0
    memset(grad, 0, k * d * sizeof(floating))
    memset(grad_b, 0, k * sizeof(floating))
    if work.raw:
        _raw_weights(W, b, shift, inv_scale, d, k, <floating*>work.V, <floating*>work.c)
        W = <floating*>work.V
        b = <floating*>work.c
    while lo < stop:
        rows = min(tile, stop - lo)
        _errors(X, Y, order, at, lo, rows, W, b, work, E)
        total += _output_gradient(E, of, weight, order, lo, rows, k, m, grad_b)
        if work.raw:
            _add_gradient_raw(X, order, lo, rows, k, E, grad)
        else:
            _add_gradient(<int>rows, <int>d, <int>k, <floating*>work.Z, E, grad)
        lo += rows
    if work.raw:
        for j in range(k):  # G^T X becomes G^T Z
            _condition_gradient(grad + j * d, grad_b[j], shift, inv_scale, d)
    return total / m


cdef double _safe_step(
    const floating[:, ::1] X, const Py_ssize_t[::1] order, const floating[::1] weight, Maps at,
    Py_ssize_t start, Py_ssize_t stop, Py_ssize_t tile, Py_ssize_t k, bint fit_intercept, Work work,
) noexcept nogil:
    """<grad, along> / (sum(weight * (Z along)^2) / m), see _conditioning.safe_step."""
    cdef Py_ssize_t d = X.shape[1], lo = start, rows, i, j
    cdef floating *Z = <floating*>work.Z
    cdef floating *E = <floating*>work.E
    cdef floating *grad = <floating*>work.grad
    cdef floating *grad_b = <floating*>work.grad_b
    cdef floating *along = <floating*>work.along
    cdef floating *along_b = <floating*>work.c
    cdef double slope = 0.0, curvature = 0.0, s = 1.0
    for i in range(k * d):
        slope += <double>grad[i] * along[i]
    if fit_intercept:
        for j in range(k):
            slope += <double>grad_b[j] * grad_b[j]
    for j in range(k):
        along_b[j] = grad_b[j] if fit_intercept else 0
    if work.raw:
        _raw_weights(along, along_b, <floating*>at.shift, <floating*>at.inv_scale, d, k, <floating*>work.V, along_b)
    while lo < stop:
        rows = min(tile, stop - lo)
        for i in range(rows):
            for j in range(k):
                E[i * k + j] = along_b[j]
        if work.raw:
            _add_forward_raw(X, order, lo, rows, k, <floating*>work.V, E)
        else:
            if stop - start > tile:
                _gather(X, order, lo, rows, <floating*>at.shift, <floating*>at.inv_scale, Z)
            _add_forward(<int>rows, <int>d, <int>k, Z, along, E)
        for i in range(rows):
            if weight is not None:
                s = weight[order[lo + i]]
            for j in range(k):
                curvature += s * E[i * k + j] * E[i * k + j]
        lo += rows
    curvature /= stop - start
    if isfinite(slope) and isfinite(curvature) and curvature > 0.0:
        return slope / curvature
    return 0.0


cdef void _descend_penalised(
    floating *W, floating *mean, const floating *grad, const floating *l1, const floating *l2, bint positive,
    Py_ssize_t size, floating step, floating mix,
) noexcept nogil:
    """_descend with the proximal step of _objective.Penalty; the mean is of the points before it."""
    cdef Py_ssize_t i
    cdef floating point
    for i in range(size):
        point = W[i] - step * grad[i]
        if mean != NULL:
            mean[i] += mix * (point - mean[i])
        W[i] = _threshold(point, step * l1[i], positive) / (1 + step * l2[i])


cdef double _row_safe_step(
    const floating *z, floating g, double s, const floating *drift, floating grad_b, Py_ssize_t d,
) noexcept nogil:
    """_safe_step of a single row of weight s; grad_b is 0 without an intercept."""
    cdef double square = <double>grad_b * grad_b, along = grad_b, grad
    cdef Py_ssize_t j
    for j in range(d):
        grad = g * z[j] + (drift[j] if drift != NULL else 0)
        square += grad * grad
        along += grad * z[j]
    along *= s * along
    return square / along if isfinite(square) and isfinite(along) and along > 0.0 else 0.0


cdef double _row_step(
    const floating[:, ::1] X, const floating[:, ::1] Y, const Py_ssize_t[::1] order, const floating[::1] weight,
    Maps at, const Terms *of, Py_ssize_t i, floating *W, floating *b, floating *mean, floating *mean_b,
    double step, floating mix, double ceiling, bint fit_intercept, floating *z,
) noexcept nogil:
    """One update from a single row and one target, without BLAS or penalty: passes over the row are what it costs."""
    cdef Py_ssize_t d = X.shape[1], row = order[i], row_ahead = order[min(i + LOOK_AHEAD, order.shape[0] - 1)]
    cdef floating *anchors = <floating*>of.anchor
    cdef floating *drift_b = <floating*>of.drift_b
    cdef floating s = 1 if weight is None else weight[row], e, g, offset = (<floating*>of.offset)[0], grad_b, unit = 1
    cdef double objective
    gd_prefetch(&Y[row_ahead, 0])
    _condition(&X[row, 0], &X[row_ahead, 0], <floating*>at.shift, <floating*>at.inv_scale, d, z)
    e = b[0] - (Y[row, 0] - (<floating*>at.target_shift)[0]) * (<floating*>at.target_inv_scale)[0]
    e += _dot(z, W, d)
    g = _derivative(e, offset, (<floating*>of.low)[0], (<floating*>of.high)[0])
    objective = s * _value(e, g, offset)
    g = g * s
    if anchors != NULL:
        gd_prefetch(anchors + row_ahead)
        e = g - anchors[row]
        anchors[row] = g
        g = e
    if not objective <= ceiling:
        grad_b = 0 if not fit_intercept else g + drift_b[0] if drift_b != NULL else g
        step = min(step, _row_safe_step(z, g, s, <floating*>of.drift_W, grad_b, d))
    _descend_row(W, mean, z, g, <floating*>of.drift_W, <floating*>of.change_W, d, <floating>step, mix)
    if fit_intercept:
        _descend_row(b, mean_b, &unit, g, drift_b, <floating*>of.change_b, 1, <floating>step, mix)
    return objective


def run_epoch(
    const floating[:, ::1] X, const floating[:, ::1] Y, const Py_ssize_t[::1] order, const floating[::1] weight,
    const floating[::1] shift, const floating[::1] inv_scale,
    const floating[::1] target_shift, const floating[::1] target_inv_scale,
    const floating[::1] offset, const floating[::1] low, const floating[::1] high,
    const floating[:, ::1] l1, const floating[:, ::1] l2, bint positive,
    floating[:, ::1] anchor, const floating[:, ::1] drift_W, const floating[::1] drift_b,
    floating[:, ::1] change_W, floating[::1] change_b,
    floating[:, ::1] W, floating[::1] b, floating[:, ::1] mean_W, floating[::1] mean_b,
    const double[::1] steps, const double[::1] mixing, Py_ssize_t batch_size, double ceiling, bint fit_intercept,
    const floating[:, ::1] preconditioner=None,
):
    """Make one update per batch of ``order``, in place; see ``_descent.run_epoch``."""
    cdef Py_ssize_t n = order.shape[0], d = X.shape[1], k = Y.shape[1], batch, start, stop
    cdef Py_ssize_t tile = _tile_rows(d, sizeof(floating), min(batch_size, n))
    cdef _Workspace workspace = _Workspace(tile, d, k, sizeof(floating), preconditioner is not None)
    cdef Work work = workspace.p
    cdef Maps at = _maps(shift, inv_scale, target_shift, target_inv_scale)
    cdef Terms of
    cdef bint average = mean_W is not None
    cdef floating *W0 = &W[0, 0]
    cdef floating *b0 = &b[0]
    cdef floating *mean0 = &mean_W[0, 0] if average else NULL
    cdef floating *mean_b0 = &mean_b[0] if average else NULL
    cdef floating *grad = <floating*>work.grad
    cdef floating *grad_b = <floating*>work.grad_b
    cdef floating *along = <floating*>work.along
    cdef floating *P = <floating*>&preconditioner[0, 0] if preconditioner is not None else NULL
    cdef floating descent, mixture
    cdef double objective, step, mix, total = 0.0
    work.raw = _raw_will_do(shift, inv_scale, k)
    of.offset = <void*>&offset[0]
    of.low = <void*>&low[0]
    of.high = <void*>&high[0]
    of.l1 = <void*>&l1[0, 0] if l1 is not None else NULL
    of.l2 = <void*>&l2[0, 0] if l2 is not None else NULL
    of.positive = positive
    of.anchor = of.drift_W = of.drift_b = of.change_W = of.change_b = NULL
    if anchor is not None:
        of.anchor = <void*>&anchor[0, 0]
        of.drift_W = <void*>&drift_W[0, 0]
        of.drift_b = <void*>&drift_b[0]
        of.change_W = <void*>&change_W[0, 0]
        of.change_b = <void*>&change_b[0]
    with nogil:
        for batch in range(steps.shape[0]):
            start = batch * batch_size
            stop = min(start + batch_size, n)
            step = steps[batch]
            mix = mixing[batch] if average else 0.0
            if stop - start == 1 and k == 1 and of.l1 == NULL and P == NULL:
                objective = _row_step(
                    X, Y, order, weight, at, &of, start, W0, b0, mean0, mean_b0, step, <floating>mix, ceiling,
                    fit_intercept, <floating*>work.Z,
                )
            else:
                objective = _batch_gradient(X, Y, order, weight, at, &of, start, stop, tile, W0, b0, work)
                if of.anchor != NULL:
                    _add_drift(grad, <floating*>of.drift_W, <floating*>of.change_W, k * d, stop - start)
                    if fit_intercept:
                        _add_drift(grad_b, <floating*>of.drift_b, <floating*>of.change_b, k, stop - start)
                if P != NULL:
                    _precondition(<int>d, <int>k, P, grad, along)
                if not objective <= ceiling:
                    step = min(step, _safe_step(X, order, weight, at, start, stop, tile, k, fit_intercept, work))
                descent, mixture = <floating>step, <floating>mix
                if of.l1 == NULL:
                    _descend(W0, mean0, along, k * d, descent, mixture)
                else:
                    _descend_penalised(
                        W0, mean0, along, <floating*>of.l1, <floating*>of.l2, positive, k * d, descent, mixture,
                    )
                if fit_intercept:
                    _descend(b0, mean_b0, grad_b, k, descent, mixture)
            total += objective * (stop - start)
    return total


def errors(
    const floating[:, ::1] X, const floating[:, ::1] Y, const Py_ssize_t[::1] order,
    const floating[::1] shift, const floating[::1] inv_scale,
    const floating[::1] target_shift, const floating[::1] target_inv_scale,
    const floating[:, ::1] W, const floating[::1] b,
):
    """Conditioned errors of the rows ``order``, (len(order), k)."""
    cdef Py_ssize_t n = order.shape[0], d = X.shape[1], k = Y.shape[1], start = 0
    cdef Py_ssize_t tile = _tile_rows(d, sizeof(floating), n)
    cdef _Workspace workspace = _Workspace(tile, d, k, sizeof(floating), False)
    cdef Work work = workspace.p
    cdef Maps at = _maps(shift, inv_scale, target_shift, target_inv_scale)
    cdef floating[:, ::1] E = np.empty((n, k), np.float64 if floating is double else np.float32)
    cdef floating *W0 = <floating*>&W[0, 0]
    cdef floating *b0 = <floating*>&b[0]
    work.raw = _raw_will_do(shift, inv_scale, k)
    with nogil:
        if work.raw:
            _raw_weights(W0, b0, &shift[0], &inv_scale[0], d, k, <floating*>work.V, <floating*>work.c)
            W0 = <floating*>work.V
            b0 = <floating*>work.c
        while start < n:
            _errors(X, Y, order, at, start, min(tile, n - start), W0, b0, work, &E[start, 0])
            start += tile
    return np.asarray(E)


def max_row_norm(
    const floating[:, ::1] X, const Py_ssize_t[::1] order, const floating[::1] weight,
    const floating[::1] shift, const floating[::1] inv_scale, bint fit_intercept,
):
    """Largest weighted squared norm of a conditioned row of ``order``, the intercept's 1 included."""
    cdef Py_ssize_t d = X.shape[1], i
    cdef double norm, largest = 0.0
    with nogil:
        for i in range(order.shape[0]):
            norm = _square_norm(&X[order[i], 0], &shift[0], &inv_scale[0], d)
            if fit_intercept:
                norm += 1.0
            if weight is not None:
                norm *= weight[order[i]]
            if norm > largest:
                largest = norm
    return largest


cdef void _four_weights(
    const floating[::1] weight, const Py_ssize_t[::1] order, Py_ssize_t i, Py_ssize_t stop, double *weights,
) noexcept nogil:
    """The weights of the rows ``order[i : i + 4]``, 0 from ``stop`` on."""
    cdef Py_ssize_t c
    for c in range(4):
        weights[c] = 0.0 if i + c >= stop else 1.0 if weight is None else weight[order[i + c]]


def column_moments(
    const floating[:, ::1] X, const Py_ssize_t[::1] order, const floating[::1] weight,
    double[::1] mean, double[::1] square_deviation, double[::1] low, double[::1] high, double count,
):
    """Add the rows of ``order`` to the running moments, in place; return the new sum of weights."""
    cdef Py_ssize_t n = order.shape[0], d = X.shape[1], start = 0, stop, i, j
    cdef Py_ssize_t block_rows = max(16, STATISTICS_BYTES // (sizeof(floating) * max(d, 1)))
    cdef double total, delta
    cdef floating *x[4]
    cdef floating *ahead[4]
    cdef double s[4]
    cdef double[::1] block_sums = cvarray(shape=(d,), itemsize=sizeof(double), format="d")
    cdef double[::1] block_squares = cvarray(shape=(d,), itemsize=sizeof(double), format="d")
    cdef double *block_mean = &block_sums[0]
    cdef double *squares = &block_squares[0]
    with nogil:
        while start < n:
            stop = min(start + block_rows, n)
            memset(block_mean, 0, d * sizeof(double))
            memset(squares, 0, d * sizeof(double))
            total = 0.0
            for i in range(start, stop, 4):
                _four(X, order, i, x)
                _four_weights(weight, order, i, stop, s)
                total += (s[0] + s[1]) + (s[2] + s[3])
                _add_values(x, s, d, block_mean, &low[0], &high[0])
            for j in range(d):
                block_mean[j] /= total
            for i in range(start, stop, 4):
                _four(X, order, i, x)
                _four_weights(weight, order, i, stop, s)
                _four(X, order, i + block_rows, ahead)
                _add_squares(x, ahead, s, d, block_mean, squares)
            for j in range(d):
                delta = block_mean[j] - mean[j]
                mean[j] += delta * (total / (count + total))
                square_deviation[j] += squares[j] + delta * delta * (count * total / (count + total))
            count += total
            start = stop
    return count
