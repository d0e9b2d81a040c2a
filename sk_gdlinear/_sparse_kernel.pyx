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

With many features an epoch takes as long as memory takes to bring them, so what is kept of one is to be small.  What a
row's entries share with ``a`` does not change, and is kept by row.  The sum that variance reduction needs, of the
gradients of all batches, is how far V went where all steps were equal.
"""

import numpy as np

from libc.math cimport isfinite, isnan
from libc.stdint cimport int32_t, int64_t

include "_terms.pxi"

ctypedef fused integer:
    int32_t
    int64_t

cdef enum:
    SCALE = 0               # where a feature's r is, -r in a column that is centred entry by entry
    LINE = 8                # numbers in a cache line
    ROWS_AHEAD = 3          # how early memory is asked for the entries of a row,
    LONG_ROW = 256          # for the first so many: of a long stretch it brings the rest by itself

# P below which it is multiplied into S.
cdef double SMALLEST_DECAY = 1e-100

# Offset beyond which a column is centred entry by entry if every row has one.
LARGE_OFFSET = 64.0


cdef struct State:          # what is kept of a feature lies side by side, in one cache line for one target
    double *features        # (d, stride), from the beginning of a cache line
    Py_ssize_t d
    Py_ssize_t k
    Py_ssize_t stride
    Py_ssize_t offset       # where a feature's a is; 0 where a . z of the rows is known
    Py_ssize_t drift        # its D, one per target as all below; 0 without
    Py_ssize_t weights      # its V
    Py_ssize_t mean         # its S, or with a penalty its M; 0 where nothing is averaged
    Py_ssize_t gradient     # the sum over batches of rows times its entries' gradient; 0 where not needed
    double rows_per_step    # without that, the sum is this times how far V went
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
    """Columns of large offset with an entry in every row of ``order``."""
    large = np.abs(shift) * inv_scale > LARGE_OFFSET
    if large.any():
        large &= np.asarray(_entries(X.indices, X.indptr, order, len(shift))) == len(order)
    return large


def _entries(const integer[::1] indices, const integer[::1] indptr, const Py_ssize_t[::1] order, Py_ssize_t d):
    cdef Py_ssize_t[::1] entries = np.zeros(d, dtype=np.intp)
    cdef Py_ssize_t i, p
    with nogil:
        for i in range(order.shape[0]):
            for p in range(indptr[order[i]], indptr[order[i] + 1]):
                entries[indices[p]] += 1
    return entries


cdef inline double _scaled(double x, Py_ssize_t column, const double *f, const floating *shift) noexcept nogil:
    """An entry, scaled; no ``shift`` where no column is centred entry by entry."""
    return (shift[column] - x) * f[SCALE] if shift != NULL and f[SCALE] < 0.0 else x * f[SCALE]


cdef void _load(
    State *s, const double[::1] scale, const double[::1] offset, const floating[:, ::1] W,
    const floating[:, ::1] mean_W, const floating[:, ::1] drift_W, bint penalised,
) noexcept nogil:
    """Lay out what is kept of each feature, at V = W."""
    cdef double *f = s.features
    cdef double a
    cdef Py_ssize_t j, t
    s.aa = 0.0
    for j in range(s.d):
        f[SCALE] = scale[j]
        a = offset[j]
        s.aa += a * a
        if s.offset:
            f[s.offset] = a
        for t in range(s.k):
            f[s.weights + t] = W[t, j]
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
    const State *s, const double[::1] offset, floating[:, ::1] W, floating[:, ::1] mean_W, floating[:, ::1] change_W,
    bint penalised,
) noexcept nogil:
    """Write the weights, their average and the gradient's change back."""
    cdef const double *f = s.features
    cdef double a, V, D = 0.0, changed
    cdef Py_ssize_t j, t
    for j in range(s.d):
        a = offset[j]
        for t in range(s.k):
            V = f[s.weights + t]
            if s.drift:
                D = f[s.drift + t]
                if not penalised:
                    changed = f[s.gradient + t] if s.gradient else s.rows_per_step * (W[t, j] - V)
                    change_W[t, j] += <floating>(changed - s.passed_b[t] * a)
            W[t, j] = <floating>(V + s.c[t] * a + s.g * D)
            if s.mean and penalised:
                mean_W[t, j] = <floating>f[s.mean + t]
            elif s.mean:
                mean_W[t, j] = <floating>(V + s.decay * f[s.mean + t] + s.mean_c[t] * a + s.mean_g * D)
        f += s.stride


cdef inline double _forward(
    const floating *x, const integer *columns, Py_ssize_t size, const integer *columns_ahead, Py_ssize_t size_ahead,
    const double *features, Py_ssize_t stride, Py_ssize_t k, Py_ssize_t offset, Py_ssize_t drift, Py_ssize_t weights,
    const floating *shift, double g, double *e,
) noexcept nogil:
    """e <- e + (V + g D) z and return a . z, over the row's entries; ask memory for the features of the row ahead."""
    cdef const double *f
    cdef double along = 0.0, e0 = e[0], z
    cdef Py_ssize_t p, q, t
    for p in range(size):
        if p < size_ahead:
            for q in range(0, stride, 8):
                gd_prefetch(features + columns_ahead[p] * stride + q)
        f = features + columns[p] * stride
        z = _scaled(x[p], columns[p], f, shift)
        if offset:
            along += z * f[offset]
        e0 += z * (f[weights] + g * f[drift] if drift else f[weights])
        for t in range(1, k):
            e[t] += z * (f[weights + t] + g * f[drift + t] if drift else f[weights + t])
    e[0] = e0
    return along


cdef inline void _descend(
    const floating *x, const integer *columns, Py_ssize_t size, double *features, Py_ssize_t stride, Py_ssize_t k,
    Py_ssize_t weights, Py_ssize_t mean, Py_ssize_t gradient, const floating *shift, const double *G, double step,
    double decay, double rows,
) noexcept nogil:
    """V <- V - step * G z, and what S and the gradient's sum must know of it, over the row's entries."""
    cdef double *f
    cdef double mean_step = step / decay, down = -step * G[0], up = mean_step * G[0], z
    cdef Py_ssize_t p, t
    for p in range(size):
        f = features + columns[p] * stride
        z = _scaled(x[p], columns[p], f, shift)
        f[weights] += down * z
        if mean:
            f[mean] += up * z
        if gradient:
            f[gradient] += rows * G[0] * z
        for t in range(1, k):
            f[weights + t] -= step * G[t] * z
            if mean:
                f[mean + t] += mean_step * G[t] * z
            if gradient:
                f[gradient + t] += rows * G[t] * z


cdef double _batch_gradient(
    const floating[::1] data, const integer[::1] indices, const integer[::1] indptr, const floating *shift,
    double[::1] along, const floating[:, ::1] Y, const Py_ssize_t[::1] order, const floating[::1] weight,
    const floating[::1] target_shift, const floating[::1] target_inv_scale, const floating[::1] offset,
    const floating[::1] low, const floating[::1] high, floating[:, ::1] anchor, Py_ssize_t start, Py_ssize_t stop,
    State *s, double *G,
) noexcept nogil:
    """G <- (weight * psi(E) - anchor) / n, grad_b <- its sum; return the batch's loss."""
    cdef Py_ssize_t k = s.k, m = stop - start, last = order.shape[0] - 1, i, row, first, size, p, t
    cdef Py_ssize_t row_ahead, first_ahead, size_ahead
    cdef const floating *entries = &data[0] if data.shape[0] else NULL
    cdef const integer *places = &indices[0] if indices.shape[0] else NULL
    cdef const floating *x
    cdef const integer *columns
    cdef const integer *columns_ahead
    cdef const floating *none = NULL
    cdef bint usual = k == 1 and s.stride == 4 and s.weights == 2 and shift == NULL
    cdef double objective = 0.0, sample_weight = 1.0, e, g, product
    for t in range(k):
        s.grad_b[t] = 0.0
    for i in range(start, stop):
        row_ahead = order[min(i + ROWS_AHEAD, last)]
        for p in range(indptr[row_ahead], min(indptr[row_ahead + 1], indptr[row_ahead] + LONG_ROW), 8):
            gd_prefetch(entries + p)
            gd_prefetch(places + p)
        row, row_ahead = order[i], order[min(i + 1, last)]
        first, size = indptr[row], indptr[row + 1] - indptr[row]
        first_ahead, size_ahead = indptr[row_ahead], indptr[row_ahead + 1] - indptr[row_ahead]
        x, columns, columns_ahead = entries + first, places + first, places + first_ahead
        for t in range(k):
            G[t] = s.b[t] - <double>(Y[row, t] - target_shift[t]) * target_inv_scale[t]
            G[t] -= s.aV[t] + s.c[t] * s.aa + s.g * s.aD[t]
        # Constants, where that is usual: what they rule out vanishes.
        if usual and s.drift:
            _forward(x, columns, size, columns_ahead, size_ahead, s.features, 4, 1, 0, 1, 2, none, s.g, G)
        elif usual:
            along[row] = _forward(
                x, columns, size, columns_ahead, size_ahead, s.features, 4, 1, 1, 0, 2, none, s.g, G
            )
        else:
            product = _forward(
                x, columns, size, columns_ahead, size_ahead, s.features, s.stride, k, s.offset, s.drift, s.weights,
                shift, s.g, G,
            )
            if s.offset:
                along[row] = product
        if weight is not None:
            sample_weight = weight[row]
        for t in range(k):
            e = G[t] + s.c[t] * along[row]
            g = _derivative(e, <double>offset[t], <double>low[t], <double>high[t])
            objective += sample_weight * _value(e, g, <double>offset[t])
            g *= sample_weight
            G[t] = g / m
            if anchor is not None:
                G[t] = (g - anchor[row, t]) / m
                anchor[row, t] = <floating>g
            s.grad_b[t] += G[t]
        G += k
    return objective / m


cdef void _scatter(
    const floating[::1] data, const integer[::1] indices, const integer[::1] indptr, const floating *shift,
    const double[::1] along, const Py_ssize_t[::1] order, Py_ssize_t start, Py_ssize_t stop, State *s, Py_ssize_t mean,
    const double *G, double step, double rows,
) noexcept nogil:
    """What a batch's step changes where its rows have entries."""
    cdef Py_ssize_t k = s.k, i, row, size, t
    cdef const floating *entries = &data[0] if data.shape[0] else NULL
    cdef const integer *places = &indices[0] if indices.shape[0] else NULL
    cdef const floating *x
    cdef const integer *columns
    cdef const floating *none = NULL
    cdef bint usual = k == 1 and s.stride == 4 and s.weights == 2 and mean == 3 and shift == NULL
    for i in range(start, stop):
        row = order[i]
        size = indptr[row + 1] - indptr[row]
        x, columns = entries + indptr[row], places + indptr[row]
        for t in range(k):
            s.aV[t] -= step * G[t] * along[row]
        if usual:
            _descend(x, columns, size, s.features, 4, 1, 2, 3, 0, none, G, step, s.decay, rows)
        else:
            _descend(
                x, columns, size, s.features, s.stride, k, s.weights, mean, s.gradient, shift, G, step, s.decay, rows
            )
        G += k


cdef void _add_change(
    const floating[::1] data, const integer[::1] indices, const integer[::1] indptr, const floating *shift,
    const Py_ssize_t[::1] order, Py_ssize_t start, Py_ssize_t stop, const State *s, const double *G, double rows,
    floating[:, ::1] change_W,
) noexcept nogil:
    """Add ``rows`` times the gradient of a batch's entries to the gradient's change."""
    cdef Py_ssize_t i, p, t
    cdef double z
    for i in range(start, stop):
        for p in range(indptr[order[i]], indptr[order[i] + 1]):
            z = _scaled(data[p], indices[p], s.features + indices[p] * s.stride, shift)
            for t in range(s.k):
                change_W[t, indices[p]] += <floating>(rows * G[t] * z)
        G += s.k


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
    State *s, const double[::1] offset, const floating[:, ::1] l1, const floating[:, ::1] l2, bint positive,
    floating[:, ::1] change_W, double rows, double step, double mix,
) noexcept nogil:
    """Step and penalty on every weight, from the gradient of the batch's entries, which is used up."""
    cdef double *f = s.features
    cdef double a, grad, point
    cdef Py_ssize_t j, t
    for t in range(s.k):
        s.aV[t] = 0.0
    for j in range(s.d):
        a = offset[j]
        for t in range(s.k):
            grad = f[s.gradient + t] - s.grad_b[t] * a
            f[s.gradient + t] = 0.0
            if s.drift:
                change_W[t, j] += <floating>(rows * grad)
                grad += f[s.drift + t]
            point = f[s.weights + t] - step * grad
            if s.mean:
                f[s.mean + t] += mix * (point - f[s.mean + t])
            f[s.weights + t] = _threshold(point, step * l1[t, j], positive) / (1.0 + step * l2[t, j])
            s.aV[t] += a * f[s.weights + t]
        f += s.stride


cdef double _safe_step(
    const floating[::1] data, const integer[::1] indices, const integer[::1] indptr, const floating *shift,
    const double[::1] along, const Py_ssize_t[::1] order, const floating[::1] weight, const floating[::1] drift_b,
    Py_ssize_t start, Py_ssize_t stop, const State *s, const double *G, bint fit_intercept, double *grad,
) noexcept nogil:
    """See _conditioning.safe_step; ``grad`` (d,) holds zeros before and after."""
    cdef Py_ssize_t k = s.k, m = stop - start, i, row, p, t
    cdef const double *f
    cdef double z, square = 0.0, curvature = 0.0, sample_weight = 1.0, total, entries, drifted, h, grad_b, u
    for t in range(k):      # the gradient is grad - h a + D
        h = s.grad_b[t]
        grad_b = h if fit_intercept else 0.0
        if s.drift:
            grad_b += drift_b[t]
        total = 0.0         # a . grad
        for i in range(m):
            row = order[start + i]
            total += G[i * k + t] * along[row]
            for p in range(indptr[row], indptr[row + 1]):
                f = s.features + indices[p] * s.stride
                grad[indices[p]] += G[i * k + t] * _scaled(data[p], indices[p], f, shift)
        square += h * h * s.aa - 2.0 * h * total + s.DD[t] - 2.0 * h * s.aD[t] + grad_b * grad_b
        for i in range(m):
            row = order[start + i]
            entries = drifted = 0.0     # grad . z and D . z, over the row's entries
            for p in range(indptr[row], indptr[row + 1]):
                f = s.features + indices[p] * s.stride
                z = _scaled(data[p], indices[p], f, shift)
                entries += grad[indices[p]] * z
                if s.drift:
                    drifted += f[s.drift + t] * z
            square += G[i * k + t] * (entries + 2.0 * drifted)
            u = entries + drifted - h * along[row] - (total - h * s.aa + s.aD[t]) + grad_b
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
    """Make one update per batch of ``order``, in place; see ``_descent.run_epoch``.

    ``X`` may be ``ConditionedRows``: from the second visit to a row on, an entry then costs less.
    """
    rows = X if isinstance(X, ConditionedRows) else ConditionedRows(X, order, shift, inv_scale)
    maps = shift if rows.explicit else None, rows.scale, rows.offset, rows.along
    return _run_epoch(rows, rows.X.data, rows.X.indices, rows.X.indptr, *maps, Y, order, weight, *args)


class ConditionedRows:
    """CSR rows under a change of variables, and what is learned of them at their first visit.

    Columns of large offset with an entry in every row are centred entry by entry: implicitly, it would lose digits.
    """

    def __init__(self, X, order, shift, inv_scale):
        explicit = _every_row_has_one(X, order, shift, inv_scale)
        self.X, self.explicit = X, explicit.any()
        self.scale = np.where(explicit, -inv_scale, inv_scale).astype(np.float64, copy=False)
        self.offset = np.where(explicit, 0.0, np.multiply(shift, inv_scale, dtype=np.float64))
        self.along = np.full(X.shape[0], np.nan)    # a . z of each row
        self._memory = np.empty(0)

    def memory(self, size):
        """Return room for so many numbers, the same for every epoch: fresh memory costs as much as a pass over it."""
        if len(self._memory) < size:
            self._memory = np.empty(size)
        return self._memory


cdef bint _known(const double[::1] along, const Py_ssize_t[::1] order) noexcept nogil:
    """Whether all rows have been visited."""
    cdef Py_ssize_t i
    for i in range(order.shape[0]):
        if isnan(along[order[i]]):
            return False
    return True


cdef bint _equal_steps(const double[::1] steps) noexcept nogil:
    """Whether all steps but perhaps the last are the same, and not 0."""
    cdef Py_ssize_t i
    for i in range(1, steps.shape[0] - 1):
        if steps[i] != steps[0]:
            return False
    return steps[0] > 0.0


cdef Py_ssize_t _place(State *s, Py_ssize_t numbers):
    """Make room for so many numbers in each feature's record; return where."""
    s.stride += numbers
    return s.stride - numbers if numbers else 0


def _run_epoch(
    rows, const floating[::1] data, const integer[::1] indices, const integer[::1] indptr, const floating[::1] shift,
    const double[::1] scale, const double[::1] offsets, double[::1] along,
    const floating[:, ::1] Y, const Py_ssize_t[::1] order, const floating[::1] weight,
    const floating[::1] target_shift, const floating[::1] target_inv_scale,
    const floating[::1] offset, const floating[::1] low, const floating[::1] high,
    const floating[:, ::1] l1, const floating[:, ::1] l2, bint positive,
    floating[:, ::1] anchor, const floating[:, ::1] drift_W, const floating[::1] drift_b,
    floating[:, ::1] change_W, floating[::1] change_b,
    floating[:, ::1] W, floating[::1] b, floating[:, ::1] mean_W, floating[::1] mean_b,
    const double[::1] steps, const double[::1] mixing, Py_ssize_t batch_size, double ceiling, bint fit_intercept,
):
    cdef Py_ssize_t n = order.shape[0], d = W.shape[1], k = Y.shape[1], batch, start, stop, m, t
    cdef bint average = mean_W is not None, penalised = l1 is not None, reduced = anchor is not None
    cdef State s
    s.d, s.k, s.stride, s.decay, s.g, s.mean_g = d, k, 1, 1.0, 0.0, 0.0
    s.offset = _place(&s, 0 if reduced and _known(along, order) else 1)
    s.drift = _place(&s, k if reduced else 0)
    s.weights = _place(&s, k)
    s.mean = _place(&s, k if average else 0)
    s.gradient = _place(&s, k if penalised or (reduced and not _equal_steps(steps)) else 0)
    s.rows_per_step = batch_size / steps[0] if reduced and not s.gradient else 0.0
    s.stride = 2 if s.stride <= 2 else 4 if s.stride <= 4 else (s.stride + LINE - 1) // LINE * LINE
    cdef double[::1] memory = rows.memory(d * s.stride + LINE)
    cdef double[:, ::1] sums = np.zeros((9, k))
    cdef double[::1] G = np.empty(min(batch_size, n) * k)
    cdef double[::1] grad = None
    cdef double loss, step, mix = 0.0, total = 0.0, rest
    cdef const floating *explicit = NULL
    if shift is not None:
        explicit = &shift[0]
    s.features = &memory[(-(<size_t>&memory[0] // sizeof(double))) % LINE]
    s.c, s.mean_c, s.aV, s.aD, s.DD = &sums[0, 0], &sums[1, 0], &sums[2, 0], &sums[3, 0], &sums[4, 0]
    s.b, s.mean_b, s.grad_b, s.passed_b = &sums[5, 0], &sums[6, 0], &sums[7, 0], &sums[8, 0]
    for t in range(k):
        s.b[t] = b[t]
        s.mean_b[t] = mean_b[t] if average else 0.0
    with nogil:
        _load(&s, scale, offsets, W, mean_W, drift_W, penalised)
        for batch in range(steps.shape[0]):
            start = batch * batch_size
            stop = min(start + batch_size, n)
            m = stop - start
            step = steps[batch]
            if average:
                mix = mixing[batch]
            loss = _batch_gradient(
                data, indices, indptr, explicit, along, Y, order, weight, target_shift, target_inv_scale, offset, low,
                high, anchor, start, stop, &s, &G[0],
            )
            total += loss * m
            if not loss <= ceiling:
                if grad is None:
                    with gil:
                        grad = np.zeros(d)
                step = min(step, _safe_step(
                    data, indices, indptr, explicit, along, order, weight, drift_b, start, stop, &s, &G[0],
                    fit_intercept, &grad[0],
                ))
            if penalised:
                _scatter(data, indices, indptr, explicit, along, order, start, stop, &s, 0, &G[0], 0.0, 1.0)
                _sweep(&s, offsets, l1, l2, positive, change_W, m, step, mix)
            else:
                _scatter(data, indices, indptr, explicit, along, order, start, stop, &s, s.mean, &G[0], step, m)
                if reduced and not s.gradient and (m != batch_size or step != steps[0]):
                    rest = m - s.rows_per_step * step
                    _add_change(data, indices, indptr, explicit, order, start, stop, &s, &G[0], rest, change_W)
                s.g -= step
                for t in range(k):
                    s.c[t] += step * s.grad_b[t]
                    s.passed_b[t] += m * s.grad_b[t]
                if average:
                    _average(&s, mix)
            _step_intercept(&s, drift_b, change_b, m, step, mix, fit_intercept)
        _store(&s, offsets, W, mean_W, change_W, penalised)
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
    rows = ConditionedRows(X, order, shift, inv_scale)
    features = np.column_stack((rows.scale, rows.offset))
    return _max_row_norm(X.data, X.indices, X.indptr, shift, features, order, weight, fit_intercept)


def _max_row_norm(
    const floating[::1] data, const integer[::1] indices, const integer[::1] indptr, const floating[::1] shift,
    const double[:, ::1] features, const Py_ssize_t[::1] order, const floating[::1] weight, bint fit_intercept,
):
    cdef Py_ssize_t n = order.shape[0], i, p, row, ahead, further, last
    cdef const double *f
    cdef double norm, z, aa = 0.0, largest = 0.0
    with nogil:
        for i in range(features.shape[0]):
            aa += features[i, 1] * features[i, 1]
        for i in range(n):
            row = order[i]
            ahead = order[min(i + 1, n - 1)]
            further = indptr[ahead] - indptr[row]   # from an entry of this row to one of the next
            last = max(indptr[ahead + 1] - 1, 0)
            norm = aa + fit_intercept
            for p in range(indptr[row], indptr[row + 1]):
                gd_prefetch(&features[indices[min(p + further, last)], 0])
                f = &features[indices[p], 0]
                z = _scaled(data[p], indices[p], f, &shift[0])
                norm += z * (z - 2.0 * f[1])
            if weight is not None:
                norm *= weight[row]
            largest = max(largest, norm)
    return largest
