# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The array engine, compiled for CSR rows: an epoch costs O(entries), and O(features) once.

A step on centred rows ``z = x * r - a``, with ``r = inv_scale`` and ``a = shift * r``, moves every weight, however few
entries the rows have: ``W <- W - eta * (G^T (X * r) - sum(G) a + D)``, D the drift.  So the weights are kept as

    W = V + c a + g D,          c <- c + eta * sum(G),  g <- g - eta,  V touched only where the batch has entries,

and their running average ``M <- (1 - mix) M + mix W`` likewise, for ``R = M - V - c' a - g' D`` has ``R <- (1 - mix)
(R - dV)``, with ``c'`` and ``g'`` the averages of ``c`` and ``g``:

    M = V + P S + c' a + g' D,  S <- S - dV / P,  then  P <- (1 - mix) P.

What the features without an entry add to every prediction, ``-a . W``, is a running number too.  A penalty moves every
weight in its own way: there each batch passes over all features, once.  All of this is float64, also for float32 data.
"""

import numpy as np

from libc.math cimport isfinite
from libc.stdint cimport int32_t, int64_t

include "_terms.pxi"

ctypedef fused integer:
    int32_t
    int64_t

cdef enum:                  # what is kept of a feature, side by side: an entry then touches one cache line, or two
    SCALE = 0               # r, but -r in a column that is centred entry by entry
    OFFSET = 1              # a, but shift in such a column, whose a is 0
    WEIGHTS = 2             # V, one per target; then as many of each kind in State that is in use

# P below which it is multiplied into S.
cdef double SMALLEST_DECAY = 1e-100

# Offset beyond which a column is centred entry by entry if every row has one: implicitly, it would lose digits.
LARGE_OFFSET = 64.0


cdef struct State:
    double *features        # (d, stride)
    Py_ssize_t d
    Py_ssize_t k
    Py_ssize_t stride
    Py_ssize_t mean         # where a feature's S is, or with a penalty its M; 0 where nothing is averaged
    Py_ssize_t drift        # its D; 0 without
    Py_ssize_t gradient     # the sum over batches of rows times its entries' gradient; 0 where not needed
    double aa               # a . a
    double decay            # P
    double g
    double mean_g
    double *c               # (k,) as all below
    double *mean_c
    double *aV              # a . V
    double *aD              # a . D
    double *DD              # D . D
    double *b
    double *mean_b
    double *grad_b          # sum(G)
    double *passed_b        # its sum over batches, times rows


def _every_row_has_one(X, order, shift, inv_scale):
    """Columns of large offset with an entry in every row of ``order``, as 0 or 1."""
    large = np.abs(shift) * inv_scale > LARGE_OFFSET
    if large.any():
        large &= np.asarray(_entries(X.indices, X.indptr, order, len(shift))) == len(order)
    return large.view(np.uint8)


def _entries(const integer[::1] indices, const integer[::1] indptr, const Py_ssize_t[::1] order, Py_ssize_t d):
    cdef Py_ssize_t[::1] entries = np.zeros(d, dtype=np.intp)
    cdef Py_ssize_t i, p
    with nogil:
        for i in range(order.shape[0]):
            for p in range(indptr[order[i]], indptr[order[i] + 1]):
                entries[indices[p]] += 1
    return entries


cdef inline double _scaled(double x, const double *f) noexcept nogil:
    """An entry, scaled."""
    return x * f[SCALE] if f[SCALE] >= 0.0 else (f[OFFSET] - x) * f[SCALE]


cdef inline double _offset(const double *f) noexcept nogil:
    """What is to be subtracted from every scaled value of a column."""
    return f[OFFSET] if f[SCALE] >= 0.0 else 0.0


cdef void _load(
    State *s, const floating[::1] shift, const floating[::1] inv_scale, const unsigned char[::1] explicit,
    const floating[:, ::1] W, const floating[:, ::1] mean_W, const floating[:, ::1] drift_W, bint penalised,
) noexcept nogil:
    """Lay out what is kept of each feature, at V = W."""
    cdef double *f = s.features
    cdef double a
    cdef Py_ssize_t j, t
    s.aa = 0.0
    for j in range(s.d):
        f[SCALE] = -inv_scale[j] if explicit[j] else inv_scale[j]
        f[OFFSET] = shift[j] if explicit[j] else <double>shift[j] * inv_scale[j]
        a = _offset(f)
        s.aa += a * a
        for t in range(s.k):
            f[WEIGHTS + t] = W[t, j]
            s.aV[t] += a * W[t, j]
            if s.mean:
                f[s.mean + t] = mean_W[t, j] if penalised else <double>mean_W[t, j] - W[t, j]
            if s.drift:
                f[s.drift + t] = drift_W[t, j]
                s.aD[t] += a * drift_W[t, j]
                s.DD[t] += <double>drift_W[t, j] * drift_W[t, j]
            if s.gradient:
                f[s.gradient + t] = 0.0
        f += s.stride


cdef void _store(
    const State *s, floating[:, ::1] W, floating[:, ::1] mean_W, floating[:, ::1] change_W, bint penalised,
) noexcept nogil:
    """Write the weights, their average and the gradient's change back."""
    cdef const double *f = s.features
    cdef double a, D = 0.0
    cdef Py_ssize_t j, t
    for j in range(s.d):
        a = _offset(f)
        for t in range(s.k):
            if s.drift:
                D = f[s.drift + t]
            W[t, j] = <floating>(f[WEIGHTS + t] + s.c[t] * a + s.g * D)
            if s.mean and penalised:
                mean_W[t, j] = <floating>f[s.mean + t]
            elif s.mean:
                mean_W[t, j] = <floating>(f[WEIGHTS + t] + s.decay * f[s.mean + t] + s.mean_c[t] * a + s.mean_g * D)
            if s.drift and not penalised:
                change_W[t, j] += <floating>(f[s.gradient + t] - s.passed_b[t] * a)
        f += s.stride


cdef inline double _forward(
    const floating *x, const integer *columns, Py_ssize_t size, const integer *columns_ahead, Py_ssize_t size_ahead,
    const double *features, Py_ssize_t stride, Py_ssize_t k, Py_ssize_t drift, double g, double *e,
) noexcept nogil:
    """e <- e + (V + g D) z and return a . z, over the row's entries; ask memory for the features of the row ahead."""
    cdef const double *f
    cdef double along = 0.0, e0 = e[0], z
    cdef Py_ssize_t p, t
    for p in range(size):
        if p < size_ahead:
            gd_prefetch(features + columns_ahead[p] * stride)
        f = features + columns[p] * stride
        z = _scaled(x[p], f)
        along += z * _offset(f)
        e0 += z * (f[WEIGHTS] + g * f[drift] if drift else f[WEIGHTS])
        for t in range(1, k):
            e[t] += z * (f[WEIGHTS + t] + g * f[drift + t] if drift else f[WEIGHTS + t])
    e[0] = e0
    return along


cdef inline void _descend(
    const floating *x, const integer *columns, Py_ssize_t size, double *features, Py_ssize_t stride, Py_ssize_t k,
    Py_ssize_t mean, Py_ssize_t gradient, const double *G, double step, double decay, double rows,
) noexcept nogil:
    """V <- V - step * G z, and what S and the gradient's sum must know of it, over the row's entries."""
    cdef double *f
    cdef double mean_step = step / decay, G0 = G[0], z
    cdef Py_ssize_t p, t
    for p in range(size):
        f = features + columns[p] * stride
        z = _scaled(x[p], f)
        f[WEIGHTS] -= step * (G0 * z)
        for t in range(1, k):
            f[WEIGHTS + t] -= step * (G[t] * z)
        if mean:
            f[mean] += mean_step * (G0 * z)
            for t in range(1, k):
                f[mean + t] += mean_step * (G[t] * z)
        if gradient:
            f[gradient] += rows * (G0 * z)
            for t in range(1, k):
                f[gradient + t] += rows * (G[t] * z)


cdef double _batch_gradient(
    const floating[::1] data, const integer[::1] indices, const integer[::1] indptr, const floating[:, ::1] Y,
    const Py_ssize_t[::1] order, const floating[::1] weight, const floating[::1] target_shift,
    const floating[::1] target_inv_scale, const floating[::1] offset, const floating[::1] low,
    const floating[::1] high, floating[:, ::1] anchor, Py_ssize_t start, Py_ssize_t stop, State *s, double *G,
    double *along,
) noexcept nogil:
    """G <- (weight * psi(E) - anchor) / n, grad_b <- its sum, along <- a . z of each row; return the batch's loss."""
    cdef Py_ssize_t k = s.k, m = stop - start, i, row, first, size, row_ahead, first_ahead, size_ahead, t
    cdef const floating *entries = &data[0] if data.shape[0] else NULL
    cdef const integer *places = &indices[0] if indices.shape[0] else NULL
    cdef const floating *x
    cdef const integer *columns
    cdef const integer *columns_ahead
    cdef double objective = 0.0, sample_weight = 1.0, e, g
    for t in range(k):
        s.grad_b[t] = 0.0
    for i in range(start, stop):
        row, row_ahead = order[i], order[min(i + 1, order.shape[0] - 1)]
        first, size = indptr[row], indptr[row + 1] - indptr[row]
        first_ahead, size_ahead = indptr[row_ahead], indptr[row_ahead + 1] - indptr[row_ahead]
        x, columns, columns_ahead = entries + first, places + first, places + first_ahead
        for t in range(k):
            G[t] = s.b[t] - <double>(Y[row, t] - target_shift[t]) * target_inv_scale[t]
            G[t] -= s.aV[t] + s.c[t] * s.aa + s.g * s.aD[t]
        if k == 1 and s.stride == 4 and not s.drift:    # constants, where that is usual: what they rule out vanishes
            along[0] = _forward(x, columns, size, columns_ahead, size_ahead, s.features, 4, 1, 0, s.g, G)
        elif k == 1 and s.stride == 6 and s.drift:
            along[0] = _forward(x, columns, size, columns_ahead, size_ahead, s.features, 6, 1, 4, s.g, G)
        else:
            along[0] = _forward(x, columns, size, columns_ahead, size_ahead, s.features, s.stride, k, s.drift, s.g, G)
        if weight is not None:
            sample_weight = weight[row]
        for t in range(k):
            e = G[t] + s.c[t] * along[0]
            g = _derivative(e, <double>offset[t], <double>low[t], <double>high[t])
            objective += sample_weight * _value(e, g, <double>offset[t])
            g *= sample_weight
            G[t] = g / m
            if anchor is not None:
                G[t] = (g - anchor[row, t]) / m
                anchor[row, t] = <floating>g
            s.grad_b[t] += G[t]
        G += k
        along += 1
    return objective / m


cdef void _scatter(
    const floating[::1] data, const integer[::1] indices, const integer[::1] indptr, const Py_ssize_t[::1] order,
    Py_ssize_t start, Py_ssize_t stop, State *s, Py_ssize_t mean, const double *G, const double *along, double step,
    double rows,
) noexcept nogil:
    """What a batch's step changes where its rows have entries."""
    cdef Py_ssize_t k = s.k, i, row, size, t
    cdef const floating *entries = &data[0] if data.shape[0] else NULL
    cdef const integer *places = &indices[0] if indices.shape[0] else NULL
    cdef const floating *x
    cdef const integer *columns
    for i in range(start, stop):
        row = order[i]
        size = indptr[row + 1] - indptr[row]
        x, columns = entries + indptr[row], places + indptr[row]
        for t in range(k):
            s.aV[t] -= step * G[t] * along[0]
        if k == 1 and s.stride == 4 and mean:
            _descend(x, columns, size, s.features, 4, 1, 3, 0, G, step, s.decay, rows)
        elif k == 1 and s.stride == 6 and mean:
            _descend(x, columns, size, s.features, 6, 1, 3, 5, G, step, s.decay, rows)
        else:
            _descend(x, columns, size, s.features, s.stride, k, mean, s.gradient, G, step, s.decay, rows)
        G += k
        along += 1


cdef void _average(State *s, double mix) noexcept nogil:
    """Take the new weights into the average."""
    cdef Py_ssize_t j, t
    s.mean_g += mix * (s.g - s.mean_g)
    for t in range(s.k):
        s.mean_c[t] += mix * (s.c[t] - s.mean_c[t])
    s.decay *= 1.0 - mix
    if s.decay < SMALLEST_DECAY:
        for j in range(s.d):
            for t in range(s.k):
                s.features[j * s.stride + s.mean + t] *= s.decay
        s.decay = 1.0


cdef void _sweep(
    State *s, const floating[:, ::1] l1, const floating[:, ::1] l2, bint positive, floating[:, ::1] change_W,
    double rows, double step, double mix,
) noexcept nogil:
    """Step and penalty on every weight, from the gradient of the batch's entries, which is used up."""
    cdef double *f = s.features
    cdef double a, grad, point
    cdef Py_ssize_t j, t
    for t in range(s.k):
        s.aV[t] = 0.0
    for j in range(s.d):
        a = _offset(f)
        for t in range(s.k):
            grad = f[s.gradient + t] - s.grad_b[t] * a
            f[s.gradient + t] = 0.0
            if s.drift:
                change_W[t, j] += <floating>(rows * grad)
                grad += f[s.drift + t]
            point = f[WEIGHTS + t] - step * grad
            if s.mean:
                f[s.mean + t] += mix * (point - f[s.mean + t])
            f[WEIGHTS + t] = _threshold(point, step * l1[t, j], positive) / (1.0 + step * l2[t, j])
            s.aV[t] += a * f[WEIGHTS + t]
        f += s.stride


cdef double _safe_step(
    const floating[::1] data, const integer[::1] indices, const integer[::1] indptr, const Py_ssize_t[::1] order,
    const floating[::1] weight, const floating[::1] drift_b, Py_ssize_t start, Py_ssize_t stop, const State *s,
    const double *G, const double *along, bint fit_intercept, double *grad,
) noexcept nogil:
    """See _conditioning.safe_step; ``grad`` (d,) holds zeros before and after."""
    cdef Py_ssize_t k = s.k, m = stop - start, i, row, p, t
    cdef const double *f
    cdef double square = 0.0, curvature = 0.0, sample_weight = 1.0, total, entries, drifted, h, grad_b, u
    for t in range(k):      # the gradient is grad - h a + D
        h = s.grad_b[t]
        grad_b = h if fit_intercept else 0.0
        if s.drift:
            grad_b += drift_b[t]
        total = 0.0         # a . grad
        for i in range(m):
            row = order[start + i]
            total += G[i * k + t] * along[i]
            for p in range(indptr[row], indptr[row + 1]):
                grad[indices[p]] += G[i * k + t] * _scaled(data[p], s.features + indices[p] * s.stride)
        square += h * h * s.aa - 2.0 * h * total + s.DD[t] - 2.0 * h * s.aD[t] + grad_b * grad_b
        for i in range(m):
            row = order[start + i]
            entries = drifted = 0.0     # grad . z and D . z, over the row's entries
            for p in range(indptr[row], indptr[row + 1]):
                f = s.features + indices[p] * s.stride
                entries += grad[indices[p]] * _scaled(data[p], f)
                if s.drift:
                    drifted += f[s.drift + t] * _scaled(data[p], f)
            square += G[i * k + t] * (entries + 2.0 * drifted)
            u = entries + drifted - h * along[i] - (total - h * s.aa + s.aD[t]) + grad_b
            if weight is not None:
                sample_weight = weight[row]
            curvature += sample_weight * u * u
        for i in range(m):
            row = order[start + i]
            for p in range(indptr[row], indptr[row + 1]):
                grad[indices[p]] = 0.0
    curvature /= m
    if isfinite(square) and isfinite(curvature) and curvature > 0.0:
        return square / curvature
    return 0.0


cdef void _step_intercept(
    State *s, const floating[::1] drift_b, floating[::1] change_b, double rows, double step, double mix,
    bint fit_intercept,
) noexcept nogil:
    cdef double grad_b
    cdef Py_ssize_t t
    for t in range(s.k):
        grad_b = s.grad_b[t] if fit_intercept else 0.0
        if s.drift:
            change_b[t] += <floating>(rows * grad_b)
            grad_b += drift_b[t]
        s.b[t] -= step * grad_b
        s.mean_b[t] += mix * (s.b[t] - s.mean_b[t])


def run_epoch(X, Y, order, weight, shift, inv_scale, *args):
    """Make one update per batch of ``order``, in place; see ``_descent.run_epoch``."""
    explicit = _every_row_has_one(X, order, shift, inv_scale)
    return _run_epoch(X.data, X.indices, X.indptr, explicit, Y, order, weight, shift, inv_scale, *args)


def _run_epoch(
    const floating[::1] data, const integer[::1] indices, const integer[::1] indptr, const unsigned char[::1] explicit,
    const floating[:, ::1] Y, const Py_ssize_t[::1] order, const floating[::1] weight,
    const floating[::1] shift, const floating[::1] inv_scale,
    const floating[::1] target_shift, const floating[::1] target_inv_scale,
    const floating[::1] offset, const floating[::1] low, const floating[::1] high,
    const floating[:, ::1] l1, const floating[:, ::1] l2, bint positive,
    floating[:, ::1] anchor, const floating[:, ::1] drift_W, const floating[::1] drift_b,
    floating[:, ::1] change_W, floating[::1] change_b,
    floating[:, ::1] W, floating[::1] b, floating[:, ::1] mean_W, floating[::1] mean_b,
    const double[::1] steps, const double[::1] mixing, Py_ssize_t batch_size, double ceiling, bint fit_intercept,
):
    cdef Py_ssize_t n = order.shape[0], d = W.shape[1], k = Y.shape[1], batch, start, stop, t
    cdef bint average = mean_W is not None, penalised = l1 is not None
    cdef State s
    s.d, s.k, s.stride, s.decay, s.g, s.mean_g = d, k, WEIGHTS + k, 1.0, 0.0, 0.0
    s.mean = s.drift = s.gradient = 0
    if average:
        s.mean, s.stride = s.stride, s.stride + k
    if anchor is not None:
        s.drift, s.stride = s.stride, s.stride + k
    if anchor is not None or penalised:
        s.gradient, s.stride = s.stride, s.stride + k
    cdef double[:, ::1] features = np.empty((d, s.stride))
    cdef double[:, ::1] sums = np.zeros((9, k))
    cdef double[::1] G = np.empty(min(batch_size, n) * k), along = np.empty(min(batch_size, n))
    cdef double[::1] grad = None
    cdef double loss, step, mix = 0.0, total = 0.0
    s.features = &features[0, 0]
    s.c, s.mean_c, s.aV, s.aD, s.DD = &sums[0, 0], &sums[1, 0], &sums[2, 0], &sums[3, 0], &sums[4, 0]
    s.b, s.mean_b, s.grad_b, s.passed_b = &sums[5, 0], &sums[6, 0], &sums[7, 0], &sums[8, 0]
    for t in range(k):
        s.b[t] = b[t]
        s.mean_b[t] = mean_b[t] if average else 0.0
    with nogil:
        _load(&s, shift, inv_scale, explicit, W, mean_W, drift_W, penalised)
        for batch in range(steps.shape[0]):
            start = batch * batch_size
            stop = min(start + batch_size, n)
            step = steps[batch]
            if average:
                mix = mixing[batch]
            loss = _batch_gradient(
                data, indices, indptr, Y, order, weight, target_shift, target_inv_scale, offset, low, high, anchor,
                start, stop, &s, &G[0], &along[0],
            )
            total += loss * (stop - start)
            if not loss <= ceiling:
                if grad is None:
                    with gil:
                        grad = np.zeros(d)
                step = min(step, _safe_step(
                    data, indices, indptr, order, weight, drift_b, start, stop, &s, &G[0], &along[0], fit_intercept,
                    &grad[0],
                ))
            if penalised:
                _scatter(data, indices, indptr, order, start, stop, &s, 0, &G[0], &along[0], 0.0, 1.0)
                _sweep(&s, l1, l2, positive, change_W, stop - start, step, mix)
            else:
                _scatter(data, indices, indptr, order, start, stop, &s, s.mean, &G[0], &along[0], step, stop - start)
                s.g -= step
                for t in range(k):
                    s.c[t] += step * s.grad_b[t]
                    s.passed_b[t] += (stop - start) * s.grad_b[t]
                if average:
                    _average(&s, mix)
            _step_intercept(&s, drift_b, change_b, stop - start, step, mix, fit_intercept)
        _store(&s, W, mean_W, change_W, penalised)
    for t in range(k):
        b[t] = <floating>s.b[t]
        if average:
            mean_b[t] = <floating>s.mean_b[t]
    return total


def product(X, order, B):
    """``X[order] @ B`` in float64."""
    result = np.zeros((len(order), B.shape[1]))
    _add_product(X.data, X.indices, X.indptr, order, B, result)
    return result


def _add_product(
    const floating[::1] data, const integer[::1] indices, const integer[::1] indptr, const Py_ssize_t[::1] order,
    const double[:, ::1] B, double[:, ::1] result,
):
    cdef Py_ssize_t k = B.shape[1], n = order.shape[0], i, p, t, further, last
    cdef double first
    with nogil:
        for i in range(n):
            further = indptr[order[min(i + 1, n - 1)]] - indptr[order[i]]     # from an entry to one of the next row
            last = max(indptr[order[min(i + 1, n - 1)] + 1] - 1, 0)
            first = 0.0
            for p in range(indptr[order[i]], indptr[order[i] + 1]):
                gd_prefetch(&B[indices[min(p + further, last)], 0])
                first += data[p] * B[indices[p], 0]
                for t in range(1, k):
                    result[i, t] += data[p] * B[indices[p], t]
            result[i, 0] = first


cdef struct Column:         # of the entries of one column, by Welford's update with weights
    double weight
    double mean
    double square           # weighted sum of (x - mean)^2
    double low
    double high
    Py_ssize_t entries


def column_moments(X, order, weight, mean, square_deviation, low, high, count):
    """Add the rows of ``order`` to the running moments, in place; return the new sum of weights."""
    args = order, weight, mean, square_deviation, low, high, count
    return _column_moments(X.data, X.indices, X.indptr, *args)


def _column_moments(
    const floating[::1] data, const integer[::1] indices, const integer[::1] indptr,
    const Py_ssize_t[::1] order, const floating[::1] weight,
    double[::1] mean, double[::1] square_deviation, double[::1] low, double[::1] high, double count,
):
    cdef Py_ssize_t n = order.shape[0], d = mean.shape[0], i, p, j, row, ahead, further, last
    cdef unsigned char[::1] memory = np.zeros(d * sizeof(Column), dtype=np.uint8)
    cdef Column *columns = <Column*>&memory[0]
    cdef Column *column
    cdef double s = 1.0, total = 0.0, delta, value, share
    with nogil:
        for i in range(n):
            row = order[i]
            ahead = order[min(i + 1, n - 1)]
            further = indptr[ahead] - indptr[row]   # from an entry of this row to one of the next
            last = max(indptr[ahead + 1] - 1, 0)
            if weight is not None:
                s = weight[row]
            total += s
            for p in range(indptr[row], indptr[row + 1]):
                gd_prefetch(&columns[indices[min(p + further, last)]])
                column = &columns[indices[p]]
                value = data[p]
                if column.entries == 0:
                    column.low = column.high = value
                column.low = min(column.low, value)
                column.high = max(column.high, value)
                column.entries += 1
                column.weight += s
                delta = value - column.mean
                column.mean += delta * (s / column.weight)
                column.square += s * delta * (value - column.mean)
        for j in range(d):  # merge the entries with the zeros, and both with what is known
            column = &columns[j]
            if column.entries < n:
                share = max(total - column.weight, 0.0) / total
                column.square += column.mean * column.mean * column.weight * share
                column.mean *= column.weight / total
                column.low = min(column.low, 0.0)
                column.high = max(column.high, 0.0)
            delta = column.mean - mean[j]
            mean[j] += delta * (total / (count + total))
            square_deviation[j] += column.square + delta * delta * (count * total / (count + total))
            low[j] = min(low[j], column.low)
            high[j] = max(high[j], column.high)
    return count + total


def max_row_norm(X, order, weight, shift, inv_scale, fit_intercept):
    """Largest weighted squared norm of a conditioned row of ``order``, the intercept's 1 included."""
    explicit = _every_row_has_one(X, order, shift, inv_scale)
    return _max_row_norm(X.data, X.indices, X.indptr, explicit, order, weight, shift, inv_scale, fit_intercept)


def _max_row_norm(
    const floating[::1] data, const integer[::1] indices, const integer[::1] indptr, const unsigned char[::1] explicit,
    const Py_ssize_t[::1] order, const floating[::1] weight, const floating[::1] shift, const floating[::1] inv_scale,
    bint fit_intercept,
):
    cdef Py_ssize_t i, p, row
    cdef double[:, ::1] features = np.empty((shift.shape[0], WEIGHTS))
    cdef const floating[:, ::1] none = None
    cdef const double *f
    cdef State s
    cdef double norm, z, largest = 0.0
    s.features, s.d, s.k, s.stride = &features[0, 0], shift.shape[0], 0, WEIGHTS
    s.mean = s.drift = s.gradient = 0
    with nogil:
        _load(&s, shift, inv_scale, explicit, none, none, none, False)
        for i in range(order.shape[0]):
            row = order[i]
            norm = s.aa + fit_intercept
            for p in range(indptr[row], indptr[row + 1]):
                f = s.features + indices[p] * s.stride
                z = _scaled(data[p], f)
                norm += z * (z - 2.0 * _offset(f))
            if weight is not None:
                norm *= weight[row]
            largest = max(largest, norm)
    return largest
