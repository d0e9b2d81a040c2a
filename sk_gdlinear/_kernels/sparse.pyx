# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
r"""The compiled backend for sparse rows (CSR).

Each function has the arguments and the results of the reference implementation of the same name; see ``dense``.  Each
call costs O(entries of its rows), and O(features) once.

With ``r = inv_scale`` and ``a = shift * r`` a standardized row is ``z = x * r - a``, which has no zeros.  A step

    W <- W - eta (G^T (X * r) - sum(G) a + D),

with ``D`` the mean gradient of the gradient table, therefore moves every coefficient.  The coefficients are represented
as

    W = V + c a + g D,          c <- c + eta sum(G),  g <- g - eta,

where V changes only in columns in which the batch has entries.  Their average, ``M <- (1 - w) M + w W`` with averaging
weight w, is represented likewise.  Let ``c'`` and ``g'`` be the averages of ``c`` and ``g``.  The residual
``R = M - V - c' a - g' D`` follows ``R <- (1 - w) (R - dV)``, dV the change of V.  Hence, with ``P`` the product of all
``1 - w``,

    M = V + P S + c' a + g' D,  S <- S - dV / P,  then  P <- (1 - w) P.

The contribution of the columns without an entry to every prediction, ``-a . W``, is kept as a running number.  A
penalty changes every coefficient in its own way, so there each batch makes one pass over all features.  All of this is
in float64, for float32 data too.

With many features memory bandwidth limits an epoch, hence the state per feature is small.  ``a . z`` of a row does not
change, and is stored per row.  The update of the mean gradient, a sum over batches, is proportional to the change of V
if all steps are equal.
"""

import threading

import numpy as np

from libc.math cimport isfinite, isnan
from libc.stdint cimport int32_t, int64_t

include "records.pxi"

ctypedef fused integer:
    int32_t
    int64_t

cdef enum:
    SCALE = 0               # position of a feature's r; it is -r in a column that is centred entry by entry
    LINE = 8                # float64 numbers in a cache line
    ROWS_AHEAD = 3          # rows between the one that is used and the one whose entries are prefetched
    LONG_ROW = 256          # entries prefetched at most: the hardware prefetches the rest of a long row

# S is multiplied by P when P is below this.
cdef double SMALLEST_DECAY = 1e-100

# |shift| * inv_scale beyond which a column with an entry in every row is centred entry by entry.
LARGE_OFFSET = 64.0


cdef struct Layout:         # positions within the state of a feature, 0 for what is not kept
    Py_ssize_t stride       # numbers per feature
    Py_ssize_t k
    Py_ssize_t offset       # a; not needed once a . z of all rows is known
    Py_ssize_t mean_grad    # D, k numbers as all below
    Py_ssize_t coef         # V
    Py_ssize_t mean         # S, or M with a penalty
    Py_ssize_t gradient     # sum over rows of G z, over the entries only
    const void *shift       # (d,), or NULL if no column is centred entry by entry


cdef struct State:          # of a call
    double *features        # (d, stride), contiguous per feature, aligned to cache lines
    Py_ssize_t d
    Layout at
    const double *a         # (d,)
    double *row_offset      # (n,), a . z of each row over its entries, not a number where it is not known
    double rows_per_step    # update of the mean gradient over the change of V, where `gradient` is not kept
    double aa               # a . a
    double decay            # P
    double g
    double mean_g           # g'
    double *c               # (k,) as all below
    double *mean_c          # c'
    double *aV              # a . V
    double *aD              # a . D
    double *DD              # D . D
    double *b
    double *mean_b
    double *mean_grad_b
    double *grad_b          # sum of the rows of G
    double *total_grad_b    # sum of that over batches, times their rows


class PreparedRows:
    """CSR rows under a standardization: how their columns are centred, and numbers known from the first visit of a row.

    Columns of large offset with an entry in every row are centred entry by entry: implicit centring would lose digits.
    """

    def __init__(self, X, order, standardization):
        self.by_entry, self.scale, self.offset = _column_maps(X, order, standardization)
        self.row_offset = np.full(X.shape[0], np.nan)
        self._scratch = threading.local()

    def memory(self, size):
        """Return scratch memory for so many numbers, the same for every call of a thread: new memory costs a pass."""
        held = getattr(self._scratch, "memory", None)
        if held is None or len(held) < size:
            held = self._scratch.memory = np.empty(size)
        return held


def _prepared(problem):
    """Return the ``PreparedRows`` of a problem, kept in its cache."""
    if "prepared_rows" not in problem.cache:
        rows = problem.rows
        problem.cache["prepared_rows"] = PreparedRows(rows.X, rows.order, problem.standardization)
    return problem.cache["prepared_rows"]


def _column_maps(X, order, standardization):
    """Return whether any column is centred entry by entry, the signed scales (see SCALE) and the offsets ``a``."""
    shift, inv_scale = standardization.shift, standardization.inv_scale
    by_entry = np.abs(shift) * inv_scale > LARGE_OFFSET
    if by_entry.any():
        by_entry &= np.asarray(_count_entries(X.indices, X.indptr, order, len(shift))) == len(order)
    scale = np.where(by_entry, -inv_scale, inv_scale).astype(np.float64, copy=False)
    return by_entry.any(), scale, np.where(by_entry, 0.0, np.multiply(shift, inv_scale, dtype=np.float64))


def _count_entries(const integer[::1] indices, const integer[::1] indptr, const Py_ssize_t[::1] order, Py_ssize_t d):
    cdef Py_ssize_t[::1] entries = np.zeros(d, dtype=np.intp)
    cdef Py_ssize_t i, p
    with nogil:
        for i in range(order.shape[0]):
            for p in range(indptr[order[i]], indptr[order[i] + 1]):
                entries[indices[p]] += 1
    return entries


cdef inline double _standardized(double x, Py_ssize_t column, const double *f, const floating *shift) noexcept nogil:
    """Return an entry's z, without ``- a``; ``shift`` is NULL if no column is centred entry by entry."""
    return (shift[column] - x) * f[SCALE] if shift != NULL and f[SCALE] < 0.0 else x * f[SCALE]


cdef Py_ssize_t _reserve(Layout *at, Py_ssize_t numbers):
    """Reserve so many numbers in the state of each feature; return their position."""
    at.stride += numbers
    return at.stride - numbers if numbers else 0


cdef void _round_stride(Layout *at):
    """Round the stride so that features do not straddle cache lines."""
    cdef Py_ssize_t stride = at.stride
    at.stride = 2 if stride <= 2 else 4 if stride <= 4 else (stride + LINE - 1) // LINE * LINE


cdef double *_aligned(double[::1] memory):
    """Return the address of the first cache line that begins in ``memory``."""
    return &memory[(-(<size_t>&memory[0] // sizeof(double))) % LINE]


cdef void _initialize(State *s, Py_ssize_t d, double[:, ::1] sums):
    """Set an empty layout, and the numbers per target to rows of ``sums``, (10, k) zeros."""
    s.d, s.rows_per_step, s.aa, s.decay, s.g, s.mean_g = d, 0.0, 0.0, 1.0, 0.0, 0.0
    s.c, s.mean_c, s.aV, s.aD, s.DD = &sums[0, 0], &sums[1, 0], &sums[2, 0], &sums[3, 0], &sums[4, 0]
    s.b, s.mean_b, s.mean_grad_b = &sums[5, 0], &sums[6, 0], &sums[7, 0]
    s.grad_b, s.total_grad_b = &sums[8, 0], &sums[9, 0]
    s.at.stride, s.at.k = 1, sums.shape[1]
    s.at.offset = s.at.mean_grad = s.at.coef = s.at.mean = s.at.gradient = 0


cdef void _load(
    State *s, const double *scale, const floating *W, const floating *mean_W, const floating *mean_grad_W,
    bint penalized,
) noexcept nogil:
    """Fill in the state of each feature, with V = W."""
    cdef double *f = s.features
    cdef Layout at = s.at
    cdef Py_ssize_t d = s.d, j, t
    cdef double a, D
    s.aa = 0.0
    for j in range(d):
        f[SCALE] = scale[j]
        a = s.a[j]
        s.aa += a * a
        if at.offset:
            f[at.offset] = a
        for t in range(at.k):
            f[at.coef + t] = W[t * d + j]
            s.aV[t] += a * W[t * d + j]
            if at.mean:
                f[at.mean + t] = mean_W[t * d + j] if penalized else <double>mean_W[t * d + j] - W[t * d + j]
            if at.mean_grad:
                D = mean_grad_W[t * d + j]
                f[at.mean_grad + t] = D
                s.aD[t] += a * D
                s.DD[t] += D * D
            if at.gradient:
                f[at.gradient + t] = 0.0
        f += at.stride


cdef void _store(
    const State *s, floating *W, floating *mean_W, floating *update_W, bint penalized,
) noexcept nogil:
    """Write the coefficients, their average and the update of the mean gradient back."""
    cdef const double *f = s.features
    cdef Layout at = s.at
    cdef Py_ssize_t d = s.d, j, t
    cdef double a, V, D = 0.0, change
    for j in range(d):
        a = s.a[j]
        for t in range(at.k):
            V = f[at.coef + t]
            if at.mean_grad:
                D = f[at.mean_grad + t]
                if not penalized:
                    change = f[at.gradient + t] if at.gradient else s.rows_per_step * (W[t * d + j] - V)
                    update_W[t * d + j] += <floating>(change - s.total_grad_b[t] * a)
            W[t * d + j] = <floating>(V + s.c[t] * a + s.g * D)
            if at.mean and penalized:
                mean_W[t * d + j] = <floating>f[at.mean + t]
            elif at.mean:
                mean_W[t * d + j] = <floating>(V + s.decay * f[at.mean + t] + s.mean_c[t] * a + s.mean_g * D)
        f += at.stride


cdef inline double _forward(
    const floating *x, const integer *columns, Py_ssize_t size, const integer *columns_ahead, Py_ssize_t size_ahead,
    Layout at, const State *s, double *e,
) noexcept nogil:
    """e <- e + (V + g D) z over a row's entries; return a . z.  Prefetches the features of the next row."""
    cdef const floating *shift = <const floating*>at.shift
    cdef const double *features = s.features
    cdef const double *f
    cdef double g = s.g, row_offset = 0.0, e0 = e[0], z
    cdef Py_ssize_t p, q, t
    for p in range(size):
        if p < size_ahead:
            for q in range((at.stride + LINE - 1) // LINE):
                gd_prefetch(features + columns_ahead[p] * at.stride + q * LINE)
        f = features + columns[p] * at.stride
        z = _standardized(x[p], columns[p], f, shift)
        if at.offset:
            row_offset += z * f[at.offset]
        e0 += z * (f[at.coef] + g * f[at.mean_grad] if at.mean_grad else f[at.coef])
        for t in range(1, at.k):
            e[t] += z * (f[at.coef + t] + g * f[at.mean_grad + t] if at.mean_grad else f[at.coef + t])
    e[0] = e0
    return row_offset


cdef inline void _descend(
    const floating *x, const integer *columns, Py_ssize_t size, Layout at, const State *s, const double *G,
    double step, double batch_rows,
) noexcept nogil:
    """V <- V - step G z over a row's entries; S and the sum of gradients change accordingly."""
    cdef const floating *shift = <const floating*>at.shift
    cdef double *features = s.features
    cdef double *f
    cdef double mean_step = step / s.decay, down = -step * G[0], up = mean_step * G[0], z
    cdef Py_ssize_t p, t
    for p in range(size):
        f = features + columns[p] * at.stride
        z = _standardized(x[p], columns[p], f, shift)
        f[at.coef] += down * z                      # W <- W - eta grad_W
        if at.mean:
            f[at.mean] += up * z
        if at.gradient:
            f[at.gradient] += batch_rows * G[0] * z
        for t in range(1, at.k):
            f[at.coef + t] -= step * G[t] * z
            if at.mean:
                f[at.mean + t] += mean_step * G[t] * z
            if at.gradient:
                f[at.gradient + t] += batch_rows * G[t] * z


cdef inline void _add_gradient(
    const floating *x, const integer *columns, Py_ssize_t size, Layout at, const State *s, const double *G,
) noexcept nogil:
    """Add a row of G^T Z to the sum of gradients, over the row's entries."""
    cdef const floating *shift = <const floating*>at.shift
    cdef double *features = s.features
    cdef double *f
    cdef double z
    cdef Py_ssize_t p, t
    for p in range(size):
        f = features + columns[p] * at.stride
        z = _standardized(x[p], columns[p], f, shift)
        for t in range(at.k):
            f[at.gradient + t] += G[t] * z          # grad_W = G^T Z


cdef inline void _subtract_targets(const Problem *p, const floating *y, const State *s, double *e) noexcept nogil:
    """e <- b - y' - a . W for the targets of one row."""
    cdef const floating *shift = <const floating*>p.standardization.target_shift
    cdef const floating *inv_scale = <const floating*>p.standardization.target_inv_scale
    cdef Py_ssize_t t
    for t in range(p.rows.k):
        e[t] = s.b[t] - <double>(y[t] - shift[t]) * inv_scale[t]
        e[t] -= s.aV[t] + s.c[t] * s.aa + s.g * s.aD[t]


cdef double _batch_gradient(
    const Problem *p, const Reduction *reduction, const floating *data, const integer *indices, const Batch *batch,
    State *s, double *G,
) noexcept nogil:
    """G <- (s psi(E) - table) / m, grad_b <- its sum; return the batch's loss."""
    cdef Py_ssize_t k = p.rows.k, m = batch.stop - batch.start, last = p.rows.n - 1
    cdef Py_ssize_t i, row, ahead, size, size_ahead, q, t
    cdef const Py_ssize_t *order = p.rows.order
    cdef const integer *indptr = <const integer*>p.rows.indptr
    cdef const floating *Y = <const floating*>p.rows.Y
    cdef const floating *weight = <const floating*>p.rows.weight
    cdef const floating *offset = <const floating*>p.loss.offset
    cdef const floating *low = <const floating*>p.loss.low
    cdef const floating *high = <const floating*>p.loss.high
    cdef floating *table = <floating*>reduction.table
    cdef const floating *x
    cdef const integer *columns
    cdef const integer *columns_ahead
    # The usual layouts as constants, for which the compiler leaves out what they do not need.
    cdef Layout usual = Layout(stride=4, k=1, offset=1, mean_grad=0, coef=2, mean=0, gradient=0, shift=NULL)
    cdef Layout usual_reduced = Layout(stride=4, k=1, offset=0, mean_grad=1, coef=2, mean=0, gradient=0, shift=NULL)
    cdef bint is_usual = k == 1 and s.at.stride == 4 and s.at.coef == 2 and s.at.shift == NULL
    cdef double objective = 0.0, sample_weight = 1.0, e, g, row_offset
    for t in range(k):
        s.grad_b[t] = 0.0
    for i in range(batch.start, batch.stop):
        # Not in a function of its own: GCC takes one that only prefetches for one without effect, and removes the call.
        ahead = order[min(i + ROWS_AHEAD, last)]
        for q in range(indptr[ahead], min(indptr[ahead + 1], indptr[ahead] + LONG_ROW), 8):
            gd_prefetch(data + q)
            gd_prefetch(indices + q)
        row, ahead = order[i], order[min(i + 1, last)]
        size, size_ahead = indptr[row + 1] - indptr[row], indptr[ahead + 1] - indptr[ahead]
        x, columns, columns_ahead = data + indptr[row], indices + indptr[row], indices + indptr[ahead]
        _subtract_targets(p, Y + row * k, s, G)
        if is_usual and s.at.mean_grad:
            _forward(x, columns, size, columns_ahead, size_ahead, usual_reduced, s, G)
        elif is_usual:
            s.row_offset[row] = _forward(x, columns, size, columns_ahead, size_ahead, usual, s, G)
        else:
            row_offset = _forward(x, columns, size, columns_ahead, size_ahead, s.at, s, G)
            if s.at.offset:
                s.row_offset[row] = row_offset
        if weight != NULL:
            sample_weight = weight[row]
        for t in range(k):
            e = G[t] + s.c[t] * s.row_offset[row]   # E = Z W^T + b - Y'
            g = _derivative(e, <double>offset[t], <double>low[t], <double>high[t])
            objective += sample_weight * _value(e, g, <double>offset[t])
            g *= sample_weight
            G[t] = g / m                            # G = psi(E) / m
            if table != NULL:
                G[t] = (g - table[row * k + t]) / m
                table[row * k + t] = <floating>g
            s.grad_b[t] += G[t]                     # grad_b = sum of the rows of G
        G += k
    return objective / m


cdef void _descend_entries(
    const Problem *p, const floating *data, const integer *indices, const Batch *batch, State *s, const double *G,
) noexcept nogil:
    """Make the step of a batch in the columns where its rows have entries."""
    cdef Py_ssize_t k = p.rows.k, m = batch.stop - batch.start, i, row, size, t
    cdef const integer *indptr = <const integer*>p.rows.indptr
    cdef const floating *x
    cdef const integer *columns
    cdef Layout usual = Layout(stride=4, k=1, offset=0, mean_grad=0, coef=2, mean=3, gradient=0, shift=NULL)
    cdef bint is_usual = k == 1 and s.at.stride == 4 and s.at.coef == 2 and s.at.mean == 3 and s.at.shift == NULL
    for i in range(batch.start, batch.stop):
        row = p.rows.order[i]
        size = indptr[row + 1] - indptr[row]
        x, columns = data + indptr[row], indices + indptr[row]
        for t in range(k):
            s.aV[t] -= batch.step * G[t] * s.row_offset[row]
        if is_usual:
            _descend(x, columns, size, usual, s, G, batch.step, m)
        else:
            _descend(x, columns, size, s.at, s, G, batch.step, m)
        G += k


cdef void _add_gradients(
    const Problem *p, const floating *data, const integer *indices, const Batch *batch, State *s, const double *G,
) noexcept nogil:
    """Add the gradient of a batch's entries to the sum of gradients."""
    cdef const integer *indptr = <const integer*>p.rows.indptr
    cdef Py_ssize_t i, row
    for i in range(batch.start, batch.stop):
        row = p.rows.order[i]
        _add_gradient(data + indptr[row], indices + indptr[row], indptr[row + 1] - indptr[row], s.at, s, G)
        G += p.rows.k


cdef void _add_update(
    const Problem *p, const floating *data, const integer *indices, const Batch *batch, const State *s,
    const double *G, double factor, floating *update_W,
) noexcept nogil:
    """Add ``factor`` times the gradient of a batch's entries to the update of the mean gradient."""
    cdef const integer *indptr = <const integer*>p.rows.indptr
    cdef const floating *shift = <const floating*>s.at.shift
    cdef Py_ssize_t i, row, q, t
    cdef double z
    for i in range(batch.start, batch.stop):
        row = p.rows.order[i]
        for q in range(indptr[row], indptr[row + 1]):
            z = _standardized(data[q], indices[q], s.features + indices[q] * s.at.stride, shift)
            for t in range(p.rows.k):
                update_W[t * p.rows.d + indices[q]] += <floating>(factor * G[t] * z)
        G += p.rows.k


cdef void _update_average(State *s, double averaging_weight) noexcept nogil:
    """Take the new coefficients into their average."""
    cdef Py_ssize_t j, t
    s.mean_g += averaging_weight * (s.g - s.mean_g)
    for t in range(s.at.k):
        s.mean_c[t] += averaging_weight * (s.c[t] - s.mean_c[t])
    s.decay *= 1.0 - averaging_weight
    if s.decay < SMALLEST_DECAY:
        for j in range(s.d):
            for t in range(s.at.k):
                s.features[j * s.at.stride + s.at.mean + t] *= s.decay
        s.decay = 1.0


cdef void _descend_penalized(
    State *s, const Penalty *penalty, const Batch *batch, floating *update_W,
) noexcept nogil:
    """Make the step and the proximal step of every coefficient; uses up the sum of gradients."""
    cdef const floating *l1 = <const floating*>penalty.l1
    cdef const floating *l2 = <const floating*>penalty.l2
    cdef const floating *lower = <const floating*>penalty.lower
    cdef const floating *upper = <const floating*>penalty.upper
    cdef double *f = s.features
    cdef Layout at = s.at
    cdef double a, grad, point, m = batch.stop - batch.start
    cdef Py_ssize_t j, t, i
    for t in range(at.k):
        s.aV[t] = 0.0
    for j in range(s.d):
        a = s.a[j]
        for t in range(at.k):
            i = t * s.d + j
            grad = f[at.gradient + t] - s.grad_b[t] * a
            f[at.gradient + t] = 0.0
            if at.mean_grad:
                update_W[i] += <floating>(m * grad)
                grad += f[at.mean_grad + t]
            point = f[at.coef + t] - batch.step * grad
            if at.mean:
                f[at.mean + t] += batch.averaging_weight * (point - f[at.mean + t])
            point = _shrink(point, batch.step, <double>l1[i], <double>l2[i])
            if lower != NULL:
                point = _clip(point, <double>lower[i], <double>upper[i])
            f[at.coef + t] = point
            s.aV[t] += a * point
        f += at.stride


cdef double _line_search_step(
    const Problem *p, const floating *data, const integer *indices, const Batch *batch, const State *s,
    const double *G, double *grad,
) noexcept nogil:
    """As ``step_size.line_search_step``; ``grad`` (d,) contains zeros before and after."""
    cdef Py_ssize_t k = p.rows.k, start = batch.start, m = batch.stop - batch.start, i, row, q, t
    cdef const Py_ssize_t *order = p.rows.order
    cdef const integer *indptr = <const integer*>p.rows.indptr
    cdef const floating *weight = <const floating*>p.rows.weight
    cdef const floating *shift = <const floating*>s.at.shift
    cdef const double *f
    cdef double z, slope = 0.0, curvature = 0.0, sample_weight = 1.0, a_grad, grad_z, mean_grad_z, h, grad_b, moved
    for t in range(k):      # the gradient is grad - h a + D
        h = s.grad_b[t]
        grad_b = h if p.fit_intercept else 0.0
        if s.at.mean_grad:
            grad_b += s.mean_grad_b[t]
        a_grad = 0.0        # a . grad
        for i in range(m):
            row = order[start + i]
            a_grad += G[i * k + t] * s.row_offset[row]
            for q in range(indptr[row], indptr[row + 1]):
                f = s.features + indices[q] * s.at.stride
                grad[indices[q]] += G[i * k + t] * _standardized(data[q], indices[q], f, shift)
        slope += h * h * s.aa - 2.0 * h * a_grad + s.DD[t] - 2.0 * h * s.aD[t] + grad_b * grad_b
        for i in range(m):
            row = order[start + i]
            grad_z = mean_grad_z = 0.0      # grad . z and D . z, over the row's entries
            for q in range(indptr[row], indptr[row + 1]):
                f = s.features + indices[q] * s.at.stride
                z = _standardized(data[q], indices[q], f, shift)
                grad_z += grad[indices[q]] * z
                if s.at.mean_grad:
                    mean_grad_z += f[s.at.mean_grad + t] * z
            slope += G[i * k + t] * (grad_z + 2.0 * mean_grad_z)
            moved = grad_z + mean_grad_z - h * s.row_offset[row] - (a_grad - h * s.aa + s.aD[t]) + grad_b
            if weight != NULL:
                sample_weight = weight[row]
            curvature += sample_weight * moved * moved
        for i in range(m):
            row = order[start + i]
            for q in range(indptr[row], indptr[row + 1]):
                grad[indices[q]] = 0.0
    curvature /= m
    if isfinite(slope) and isfinite(curvature) and curvature > 0.0:
        return slope / curvature
    return 0.0


cdef void _descend_intercept(
    State *s, const Batch *batch, bint fit_intercept, floating *update_b,
) noexcept nogil:
    """Make the step of the intercept, and take it into its average."""
    cdef Py_ssize_t t
    cdef double grad_b, m = batch.stop - batch.start
    for t in range(s.at.k):
        grad_b = s.grad_b[t] if fit_intercept else 0.0
        if s.at.mean_grad:
            update_b[t] += <floating>(m * grad_b)
            grad_b += s.mean_grad_b[t]
        s.b[t] -= batch.step * grad_b               # b <- b - eta grad_b
        s.mean_b[t] += batch.averaging_weight * (s.b[t] - s.mean_b[t])


cdef bint _all_known(const double[::1] row_offset, const Py_ssize_t[::1] order) noexcept nogil:
    """Whether all rows have been visited before."""
    cdef Py_ssize_t i
    for i in range(order.shape[0]):
        if isnan(row_offset[order[i]]):
            return False
    return True


cdef bint _equal_steps(const double[::1] steps) noexcept nogil:
    """Whether all steps are the same, but perhaps the last, and not 0."""
    cdef Py_ssize_t i
    for i in range(1, steps.shape[0] - 1):
        if steps[i] != steps[0]:
            return False
    return steps.shape[0] > 0 and steps[0] > 0.0


def epoch(problem, plan, iterate, reduction):
    """Make one update per batch of ``plan``, in place; return the sum of the losses times rows."""
    X = problem.rows.X
    return _epoch(X.data, X.indices, problem, plan, iterate, reduction)


def _epoch(const floating[::1] data, const integer[::1] indices, problem, plan, iterate, reduction):
    prepared = _prepared(problem)
    # Without entries there is no first one to point at.
    cdef const floating *values = &data[0] if data.shape[0] else NULL
    cdef const integer *columns = &indices[0] if indices.shape[0] else NULL
    cdef const integer[::1] indptr = problem.rows.X.indptr
    cdef const Py_ssize_t[::1] order = plan.order
    cdef const double[::1] steps = plan.steps, averaging_weights = plan.averaging_weights
    cdef const double[::1] scale = prepared.scale, offset = prepared.offset
    cdef double[::1] row_offset = prepared.row_offset
    cdef Py_ssize_t batch_size = plan.batch_size, n = order.shape[0], d = scale.shape[0], k, m, i, t
    cdef double[::1] G, memory, grad = None
    cdef double[:, ::1] sums
    cdef double largest_objective = plan.largest_objective, loss, total = 0.0
    cdef Problem p
    cdef Iterate parameters
    cdef Reduction gradients
    cdef Batch batch
    cdef State s
    cdef bint average, penalized, reduced
    _unpack_rows(&p, problem, order, values)
    _unpack_loss(&p, problem.loss, values)
    _unpack_penalty(&p, problem.penalty, values)
    _unpack_iterate(&parameters, iterate, &p.rows, values)
    _unpack_reduction(&gradients, reduction, row_offset.shape[0], &p.rows, values)
    p.rows.indices, p.rows.indptr = columns, &indptr[0]
    k = p.rows.k
    average, penalized, reduced = parameters.mean_W != NULL, p.penalty.l1 != NULL, gradients.table != NULL
    sums = np.zeros((10, k))
    _initialize(&s, d, sums)
    s.a, s.row_offset = &offset[0], &row_offset[0]
    s.at.shift = p.standardization.shift if prepared.by_entry else NULL
    s.at.offset = _reserve(&s.at, 0 if reduced and _all_known(row_offset, order) else 1)
    s.at.mean_grad = _reserve(&s.at, k if reduced else 0)
    s.at.coef = _reserve(&s.at, k)
    s.at.mean = _reserve(&s.at, k if average else 0)
    s.at.gradient = _reserve(&s.at, k if penalized or (reduced and not _equal_steps(steps)) else 0)
    s.rows_per_step = batch_size / steps[0] if reduced and not s.at.gradient else 0.0
    _round_stride(&s.at)
    memory = prepared.memory(d * s.at.stride + LINE)
    s.features = _aligned(memory)
    G = np.empty(min(batch_size, n) * k)
    for t in range(k):
        s.b[t] = (<floating*>parameters.b)[t]
        s.mean_b[t] = (<floating*>parameters.mean_b)[t] if average else 0.0
        s.mean_grad_b[t] = (<const floating*>gradients.mean_grad_b)[t] if reduced else 0.0
    with nogil:
        _load(
            &s, &scale[0], <const floating*>parameters.W, <const floating*>parameters.mean_W,
            <const floating*>gradients.mean_grad_W, penalized,
        )
        for i in range(steps.shape[0]):
            batch.start = i * batch_size
            batch.stop = min(batch.start + batch_size, n)
            batch.step = steps[i]
            batch.averaging_weight = averaging_weights[i] if average else 0.0
            m = batch.stop - batch.start
            loss = _batch_gradient(&p, &gradients, values, columns, &batch, &s, &G[0])
            total += loss * m
            if not loss <= largest_objective:
                if grad is None:
                    with gil:
                        grad = np.zeros(d)
                batch.step = min(
                    batch.step, _line_search_step(&p, values, columns, &batch, &s, &G[0], &grad[0]),
                )
            if penalized:
                _add_gradients(&p, values, columns, &batch, &s, &G[0])
                _descend_penalized(&s, &p.penalty, &batch, <floating*>gradients.update_W)
            else:
                _descend_entries(&p, values, columns, &batch, &s, &G[0])
                if reduced and not s.at.gradient and (m != batch_size or batch.step != steps[0]):
                    _add_update(
                        &p, values, columns, &batch, &s, &G[0], m - s.rows_per_step * batch.step,
                        <floating*>gradients.update_W,
                    )
                s.g -= batch.step
                for t in range(k):
                    s.c[t] += batch.step * s.grad_b[t]
                    s.total_grad_b[t] += m * s.grad_b[t]
                if average:
                    _update_average(&s, batch.averaging_weight)
            _descend_intercept(&s, &batch, p.fit_intercept, <floating*>gradients.update_b)
        _store(
            &s, <floating*>parameters.W, <floating*>parameters.mean_W, <floating*>gradients.update_W, penalized,
        )
    for t in range(k):
        (<floating*>parameters.b)[t] = <floating>s.b[t]
        if average:
            (<floating*>parameters.mean_b)[t] = <floating>s.mean_b[t]
    return total


def gradient(problem, order, W, b, errors=None):
    """Return the sums over the rows ``order`` of their gradients by ``W`` and ``b``, and of their losses."""
    X = problem.rows.X
    return _derivatives(X.data, X.indices, problem, order, W, b, None, errors)


def derivatives(problem, order, W, b, table):
    """Write the derivative of each row's weighted loss into ``table``, (n, k); return what ``gradient`` does."""
    X = problem.rows.X
    return _derivatives(X.data, X.indices, problem, order, W, b, table, None)


def _derivatives(
    const floating[::1] data, const integer[::1] indices, problem, const Py_ssize_t[::1] order,
    const floating[:, ::1] W, const floating[::1] b, floating[:, ::1] table, floating[:, ::1] errors,
):
    prepared = _prepared(problem)
    # Without entries there is no first one to point at.
    cdef const floating *values = &data[0] if data.shape[0] else NULL
    cdef const integer *columns = &indices[0] if indices.shape[0] else NULL
    cdef const integer[::1] indptr = problem.rows.X.indptr
    cdef const double[::1] scale = prepared.scale, offset = prepared.offset
    cdef double[::1] row_offset = prepared.row_offset, memory
    cdef Py_ssize_t d = scale.shape[0], k = W.shape[0], j, t
    cdef double[:, ::1] grad_W = np.empty((k, d)), sums
    cdef double[::1] grad_b = np.zeros(k), loss = np.zeros(k), G = np.empty(k)
    cdef floating *entries
    cdef floating *own_errors
    cdef Problem p
    cdef State s
    _unpack_rows(&p, problem, order, values)
    _unpack_loss(&p, problem.loss, values)
    _matrix[floating](W, p.rows.k, d)
    _vector[floating](b, k)
    entries = <floating*>_output_matrix[floating](table, row_offset.shape[0], k)
    own_errors = <floating*>_output_matrix[floating](errors, row_offset.shape[0], k)
    p.rows.indices, p.rows.indptr = columns, &indptr[0]
    sums = np.zeros((10, k))
    _initialize(&s, d, sums)
    s.a, s.row_offset = &offset[0], &row_offset[0]
    s.at.shift = p.standardization.shift if prepared.by_entry else NULL
    s.at.coef = _reserve(&s.at, k)
    s.at.gradient = _reserve(&s.at, k)
    _round_stride(&s.at)
    memory = prepared.memory(d * s.at.stride + LINE)
    s.features = _aligned(memory)
    for t in range(k):
        s.b[t] = b[t]
    with nogil:
        _load(&s, &scale[0], &W[0, 0], <const floating*>NULL, <const floating*>NULL, False)
        _sum_gradients(&p, values, columns, &s, &G[0], entries, own_errors, &loss[0])
        for t in range(k):
            for j in range(d):
                grad_W[t, j] = s.features[j * s.at.stride + s.at.gradient + t] - s.grad_b[t] * s.a[j]
            if p.fit_intercept:
                grad_b[t] = s.grad_b[t]
    return np.asarray(grad_W), np.asarray(grad_b), np.asarray(loss)


cdef void _sum_gradients(
    const Problem *p, const floating *data, const integer *indices, State *s, double *G, floating *table,
    floating *errors, double *loss,
) noexcept nogil:
    """Add the gradients of all rows, over their entries, and the losses; write s psi(E) into the table, and errors."""
    cdef Py_ssize_t k = p.rows.k, last = p.rows.n - 1, i, row, ahead, size, size_ahead, q, t
    cdef const Py_ssize_t *order = p.rows.order
    cdef const integer *indptr = <const integer*>p.rows.indptr
    cdef const floating *Y = <const floating*>p.rows.Y
    cdef const floating *weight = <const floating*>p.rows.weight
    cdef const floating *offset = <const floating*>p.loss.offset
    cdef const floating *low = <const floating*>p.loss.low
    cdef const floating *high = <const floating*>p.loss.high
    cdef const floating *x
    cdef const integer *columns
    cdef const integer *columns_ahead
    cdef Layout usual = Layout(stride=4, k=1, offset=0, mean_grad=0, coef=1, mean=0, gradient=2, shift=NULL)
    cdef bint is_usual = k == 1 and s.at.shift == NULL
    cdef double sample_weight = 1.0, e
    for i in range(p.rows.n):
        # Not in a function of its own: GCC takes one that only prefetches for one without effect, and removes the call.
        ahead = order[min(i + ROWS_AHEAD, last)]
        for q in range(indptr[ahead], min(indptr[ahead + 1], indptr[ahead] + LONG_ROW), 8):
            gd_prefetch(data + q)
            gd_prefetch(indices + q)
        row, ahead = order[i], order[min(i + 1, last)]
        size, size_ahead = indptr[row + 1] - indptr[row], indptr[ahead + 1] - indptr[ahead]
        x, columns, columns_ahead = data + indptr[row], indices + indptr[row], indices + indptr[ahead]
        _subtract_targets(p, Y + row * k, s, G)
        if is_usual:
            _forward(x, columns, size, columns_ahead, size_ahead, usual, s, G)
        else:
            _forward(x, columns, size, columns_ahead, size_ahead, s.at, s, G)
        if weight != NULL:
            sample_weight = weight[row]
        for t in range(k):
            e = G[t]
            if errors != NULL:
                errors[row * k + t] = <floating>e
            G[t] = _derivative(e, <double>offset[t], <double>low[t], <double>high[t])
            loss[t] += sample_weight * _value(e, G[t], <double>offset[t])
            G[t] *= sample_weight
            s.grad_b[t] += G[t]
            if table != NULL:
                table[row * k + t] = <floating>G[t]
        if is_usual:
            _add_gradient(x, columns, size, usual, s, G)
        else:
            _add_gradient(x, columns, size, s.at, s, G)


def errors(problem, order, W, b):
    """Return the errors of the rows ``order``, in standardized units, shape (len(order), k)."""
    rows, standardization = problem.rows, problem.standardization
    if not W.any():     # the prediction is b: no row is read
        return b - standardization.targets(rows.Y[order])
    coef, intercept = standardization.to_user(W, b)
    prediction = np.zeros((len(order), len(b)))
    coef = np.ascontiguousarray(coef.T, dtype=np.float64)
    _add_product(rows.X.data, rows.X.indices, rows.X.indptr, order, coef, prediction)
    return (prediction + intercept - rows.Y[order]) * standardization.target_inv_scale


def _add_product(
    const floating[::1] data, const integer[::1] indices, const integer[::1] indptr, const Py_ssize_t[::1] order,
    const double[:, ::1] coef, double[:, ::1] prediction,
):
    """prediction <- prediction + X[order] coef, for predictions of 0 and coef (d, k)."""
    cdef Py_ssize_t k = coef.shape[1], n = order.shape[0], i, p, t, distance, last
    cdef double first
    with nogil:
        for i in range(n):
            distance = indptr[order[min(i + 1, n - 1)]] - indptr[order[i]]      # from an entry to one of the next row
            last = max(indptr[order[min(i + 1, n - 1)] + 1] - 1, 0)
            first = 0.0
            for p in range(indptr[order[i]], indptr[order[i] + 1]):
                gd_prefetch(&coef[indices[min(p + distance, last)], 0])
                first += data[p] * coef[indices[p], 0]
                for t in range(1, k):
                    prediction[i, t] += data[p] * coef[indices[p], t]
            prediction[i, 0] = first


cdef struct Column:         # moments of the entries of one column, by Welford's update with weights
    double weight
    double mean
    double square           # weighted sum of (x - mean)^2
    double low
    double high
    Py_ssize_t entries


def moments(X, order, weight, moments):
    """Add the rows ``order`` to the running ``moments``, in place; return the new sum of weights."""
    return _moments(X.data, X.indices, X.indptr, order, weight, moments)


def _moments(
    const floating[::1] data, const integer[::1] indices, const integer[::1] indptr,
    const Py_ssize_t[::1] order, const floating[::1] weight, moments,
):
    cdef double[::1] mean = moments.mean, square_deviation = moments.square_deviation
    cdef double[::1] low = moments.low, high = moments.high
    cdef Py_ssize_t n = order.shape[0], d = mean.shape[0], i, p, j, row, ahead, distance, last
    cdef unsigned char[::1] memory = np.zeros(d * sizeof(Column), dtype=np.uint8)
    cdef Column *columns = <Column*>&memory[0]
    cdef Column *column
    cdef double count = moments.count, s = 1.0, total = 0.0, delta, value, share
    with nogil:
        for i in range(n):
            row = order[i]
            ahead = order[min(i + 1, n - 1)]
            distance = indptr[ahead] - indptr[row]      # from an entry of this row to one of the next
            last = max(indptr[ahead + 1] - 1, 0)
            if weight is not None:
                s = weight[row]
            total += s
            for p in range(indptr[row], indptr[row + 1]):
                gd_prefetch(&columns[indices[min(p + distance, last)]])
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
        for j in range(d):  # merge the entries with the zeros, and both with the moments so far
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


def max_row_norm(rows, order, standardization, fit_intercept):
    """Return the largest weighted squared norm of a standardized row of ``order``, the intercept's 1 included."""
    X = rows.X
    _, scale, offset = _column_maps(X, order, standardization)
    columns = np.column_stack((scale, offset))
    matrix = X.data, X.indices, X.indptr
    return _max_row_norm(*matrix, standardization.shift, columns, order, rows.weight, fit_intercept)


def _max_row_norm(
    const floating[::1] data, const integer[::1] indices, const integer[::1] indptr, const floating[::1] shift,
    const double[:, ::1] columns, const Py_ssize_t[::1] order, const floating[::1] weight, bint fit_intercept,
):
    cdef Py_ssize_t n = order.shape[0], i, p, row, ahead, distance, last
    cdef const double *f
    cdef double norm, z, aa = 0.0, largest = 0.0
    with nogil:
        for i in range(columns.shape[0]):
            aa += columns[i, 1] * columns[i, 1]
        for i in range(n):
            row = order[i]
            ahead = order[min(i + 1, n - 1)]
            distance = indptr[ahead] - indptr[row]      # from an entry of this row to one of the next
            last = max(indptr[ahead + 1] - 1, 0)
            norm = aa + fit_intercept
            for p in range(indptr[row], indptr[row + 1]):
                gd_prefetch(&columns[indices[min(p + distance, last)], 0])
                f = &columns[indices[p], 0]
                z = _standardized(data[p], indices[p], f, &shift[0])
                norm += z * (z - 2.0 * f[1])
            if weight is not None:
                norm *= weight[row]
            largest = max(largest, norm)
    return largest
