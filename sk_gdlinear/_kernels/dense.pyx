# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The compiled backend for dense rows.

Each function has the arguments and the results of the reference implementation of the same name: ``epoch``,
``gradient``, ``derivatives`` and ``errors`` in ``_descent.epoch``, ``max_row_norm`` and ``standardized_rows`` in
``_data.standardize``, ``copy_columns`` in ``_data.layout``, and ``moments`` is ``add_moments`` in ``_data.statistics``.
Tests hold them equal.  ``products.pxi`` contains the products of rows.  The data are never copied as a whole, unless
their columns lie in memory one after the other.
"""

from libc.math cimport fabs, isfinite
from libc.stdlib cimport free, malloc
from libc.string cimport memset

import numpy as np

from cython.view cimport array as cvarray
from scipy.linalg.cython_blas cimport dgemm, dgemv, sgemm, sgemv

include "records.pxi"
include "loops.pxi"
include "products.pxi"

cdef enum:
    MOMENTS_BYTES = 65536           # rows whose moments are computed in two passes, from cache


cdef struct Work:
    Py_ssize_t tile                 # rows that are standardized at once
    bint raw                        # whether rows are multiplied as they are, without Z
    void *Z                         # (tile, d), standardized rows
    void *E                         # (tile, k), errors, then output gradient
    void *grad                      # (k, d)
    void *grad_b                    # (k,)
    void *V                         # (k, d) and (k,), parameters for raw rows
    void *c


cdef class _Workspace:
    """Buffers of one call, each from the beginning of a cache line."""

    cdef Work p
    cdef char *memory
    cdef char *free_memory

    def __cinit__(self, Py_ssize_t tile, Py_ssize_t d, Py_ssize_t k, Py_ssize_t itemsize):
        cdef Py_ssize_t numbers = tile * (d + k) + k * (2 * d + 2)
        self.memory = <char*>malloc(numbers * itemsize + 6 * GD_LINE_BYTES)
        if self.memory == NULL:
            raise MemoryError()
        self.free_memory = self.memory
        self.p.tile = tile
        self.p.grad = self.take(k * d * itemsize)
        self.p.grad_b = self.take(k * itemsize)
        self.p.V = self.take(k * d * itemsize)
        self.p.c = self.take(k * itemsize)
        self.p.E = self.take(tile * k * itemsize)
        self.p.Z = self.take(tile * d * itemsize)

    cdef void *take(self, Py_ssize_t n_bytes):
        """Return memory for so many bytes."""
        cdef char *start = self.free_memory + (-<size_t>self.free_memory) % GD_LINE_BYTES
        self.free_memory = start + n_bytes
        return start

    def __dealloc__(self):
        free(self.memory)


cdef _Workspace _workspace(const Problem *p, Py_ssize_t batch_size, const floating *values):
    """Return buffers for batches of that many rows, of the type of ``values``."""
    cdef Py_ssize_t d = p.rows.d, k = p.rows.k, tile = _tile_rows(d, sizeof(floating), min(batch_size, p.rows.n))
    cdef _Workspace workspace = _Workspace(tile, d, k, sizeof(floating))
    workspace.p.raw = _can_multiply_raw(
        <const floating*>p.standardization.shift, <const floating*>p.standardization.inv_scale, d, k,
    )
    return workspace


cdef void _errors(
    const Problem *p, const Work *work, Py_ssize_t start, Py_ssize_t size, floating *W, floating *b, floating *E,
) noexcept nogil:
    """E <- Z W^T + b - Y' for ``size`` rows; for raw rows W and b are those of ``_raw_parameters``."""
    cdef floating *Z = <floating*>work.Z
    _subtract_targets(&p.rows, &p.standardization, start, size, b, E)
    if work.raw:
        _add_forward_raw(&p.rows, start, size, W, E)
    else:
        _standardize_rows(&p.rows, &p.standardization, start, size, Z)
        _add_forward(<int>size, <int>p.rows.d, <int>p.rows.k, Z, W, E)


cdef double _output_gradient(
    const Problem *p, Py_ssize_t start, Py_ssize_t size, Py_ssize_t batch_rows, floating *table, floating *E,
    floating *grad_b,
) noexcept nogil:
    """E becomes G in place, and psi(E) replaces the rows in the table; return the sum of the losses.

    G = s psi(E) / m, or with a table G = (s psi(E) - table) / m.
    """
    cdef const Py_ssize_t *order = p.rows.order + start
    cdef const floating *weight = <const floating*>p.rows.weight
    cdef Py_ssize_t k = p.rows.k, last = p.rows.n - 1 - start, i, j
    cdef floating *entry
    cdef floating m = batch_rows, s = 1, e, g, g_sum, offset, low, high
    cdef double total = 0.0
    for j in range(k):
        offset = (<const floating*>p.loss.offset)[j]
        low = (<const floating*>p.loss.low)[j]
        high = (<const floating*>p.loss.high)[j]
        g_sum = 0
        for i in range(size):
            if weight != NULL:
                s = weight[order[i]]
            e = E[i * k + j]
            g = _derivative(e, offset, low, high)
            total += s * _value(e, g, offset)
            g = g * s
            if table != NULL:
                gd_prefetch(table + order[min(i + LOOK_AHEAD, last)] * k + j)
                entry = table + order[i] * k + j
                e = g - entry[0]
                entry[0] = g
                g = e
            g = g / m               # G = psi(E) / m
            E[i * k + j] = g
            g_sum += g
        grad_b[j] += g_sum          # grad_b = sum of the rows of G
    return total


cdef double _batch_gradient(
    const Problem *p, const Reduction *reduction, const Work *work, const Batch *batch, floating *W, floating *b,
) noexcept nogil:
    """Compute the gradient of the batch's loss, less that of its table entries, in work.grad and work.grad_b.

    Return the loss.
    """
    cdef Py_ssize_t d = p.rows.d, k = p.rows.k, m = batch.stop - batch.start, lo = batch.start, size, j
    cdef floating *Z = <floating*>work.Z
    cdef floating *E = <floating*>work.E
    cdef floating *grad = <floating*>work.grad
    cdef floating *grad_b = <floating*>work.grad_b
    cdef floating *table = <floating*>reduction.table
    cdef double total = 0.0
    memset(grad, 0, k * d * sizeof(floating))
    memset(grad_b, 0, k * sizeof(floating))
    if work.raw:
        _raw_parameters(W, b, &p.standardization, d, k, <floating*>work.V, <floating*>work.c)
        W = <floating*>work.V
        b = <floating*>work.c
    while lo < batch.stop:
        size = min(work.tile, batch.stop - lo)
        _errors(p, work, lo, size, W, b, E)                             # E = Z W^T + b - Y'
        total += _output_gradient(p, lo, size, m, table, E, grad_b)
        if work.raw:
            _add_gradient_raw(&p.rows, lo, size, E, grad)
        else:
            _add_gradient(<int>size, <int>d, <int>k, Z, E, grad)        # grad_W = G^T Z
        lo += size
    if work.raw:
        for j in range(k):          # from G^T X to G^T Z
            _standardize_gradient(
                grad + j * d, grad_b[j], <const floating*>p.standardization.shift,
                <const floating*>p.standardization.inv_scale, d,
            )
    return total / m


cdef double _line_search_step(
    const Problem *p, const Work *work, const Batch *batch, floating *grad, const floating *grad_b,
) noexcept nogil:
    """|grad|^2 / (sum(s * (Z grad)^2) / m), as ``step_size.line_search_step``."""
    cdef Py_ssize_t d = p.rows.d, k = p.rows.k, lo = batch.start, size, i, j
    cdef const floating *weight = <const floating*>p.rows.weight
    cdef floating *Z = <floating*>work.Z
    cdef floating *E = <floating*>work.E
    cdef floating *V = <floating*>work.V
    cdef floating *c = <floating*>work.c
    cdef double slope = 0.0, curvature = 0.0, s = 1.0
    for i in range(k * d):
        slope += <double>grad[i] * grad[i]
    if p.fit_intercept:
        for j in range(k):
            slope += <double>grad_b[j] * grad_b[j]
    for j in range(k):
        c[j] = grad_b[j] if p.fit_intercept else 0
    if work.raw:
        _raw_parameters(grad, c, &p.standardization, d, k, V, c)
    while lo < batch.stop:
        size = min(work.tile, batch.stop - lo)
        for i in range(size):
            for j in range(k):
                E[i * k + j] = c[j]
        if work.raw:
            _add_forward_raw(&p.rows, lo, size, V, E)
        else:
            if batch.stop - batch.start > work.tile:        # else Z still holds the batch
                _standardize_rows(&p.rows, &p.standardization, lo, size, Z)
            _add_forward(<int>size, <int>d, <int>k, Z, grad, E)
        for i in range(size):
            if weight != NULL:
                s = weight[p.rows.order[lo + i]]
            for j in range(k):
                curvature += s * E[i * k + j] * E[i * k + j]
        lo += size
    curvature /= batch.stop - batch.start
    if isfinite(slope) and isfinite(curvature) and curvature > 0.0:
        return slope / curvature
    return 0.0


cdef void _descend_penalized(
    floating *W, floating *mean, const floating *grad, const Penalty *penalty, Py_ssize_t size, floating step,
    floating averaging_weight,
) noexcept nogil:
    """``_descend``, then the proximal step of ``penalties.BoxedElasticNet``; averages the points before that step."""
    cdef const floating *l1 = <const floating*>penalty.l1
    cdef const floating *l2 = <const floating*>penalty.l2
    cdef const floating *lower = <const floating*>penalty.lower
    cdef const floating *upper = <const floating*>penalty.upper
    cdef Py_ssize_t i
    cdef floating point
    for i in range(size):
        point = W[i] - step * grad[i]
        if mean != NULL:
            mean[i] += averaging_weight * (point - mean[i])
        point = _shrink(point, step, l1[i], l2[i])
        W[i] = point if lower == NULL else _clip(point, lower[i], upper[i])


cdef double _row_line_search_step(
    const floating *z, floating g, double s, const floating *mean_grad, floating grad_b, Py_ssize_t d,
) noexcept nogil:
    """``_line_search_step`` for a single row of weight s; grad_b is 0 without an intercept."""
    cdef double slope = <double>grad_b * grad_b, moved = grad_b, curvature, grad
    cdef Py_ssize_t j
    for j in range(d):
        grad = g * z[j] + (mean_grad[j] if mean_grad != NULL else 0)
        slope += grad * grad
        moved += grad * z[j]
    curvature = moved * (s * moved)
    return slope / curvature if isfinite(slope) and isfinite(curvature) and curvature > 0.0 else 0.0


cdef double _row_update(
    const Problem *p, const Reduction *reduction, const Iterate *iterate, const Batch *batch, double largest_objective,
    floating *z,
) noexcept nogil:
    """Make the update of a batch of one row, for one target and without penalty; return the loss.

    Without BLAS, in as few passes over the row as possible: they are what the update costs.
    """
    cdef const Py_ssize_t *order = p.rows.order
    cdef Py_ssize_t d = p.rows.d, row = order[batch.start]
    cdef Py_ssize_t row_ahead = order[min(batch.start + LOOK_AHEAD, p.rows.n - 1)]
    cdef const floating *X = <const floating*>p.rows.values
    cdef const floating *Y = <const floating*>p.rows.Y
    cdef const floating *weight = <const floating*>p.rows.weight
    cdef const Standardization *to = &p.standardization
    cdef floating *table = <floating*>reduction.table
    cdef const floating *mean_grad_W = <const floating*>reduction.mean_grad_W
    cdef const floating *mean_grad_b = <const floating*>reduction.mean_grad_b
    cdef floating *W = <floating*>iterate.W
    cdef floating *b = <floating*>iterate.b
    cdef floating s = 1 if weight == NULL else weight[row], offset = (<const floating*>p.loss.offset)[0]
    cdef floating averaging_weight = <floating>batch.averaging_weight, unit = 1, e, g, grad_b
    cdef double objective, step = batch.step
    gd_prefetch(Y + row_ahead)
    _standardize(
        X + row * d, X + row_ahead * d, <const floating*>to.shift, <const floating*>to.inv_scale, d, z,
    )
    e = b[0] - (Y[row] - (<const floating*>to.target_shift)[0]) * (<const floating*>to.target_inv_scale)[0]
    e += _dot(z, W, d)
    g = _derivative(e, offset, (<const floating*>p.loss.low)[0], (<const floating*>p.loss.high)[0])
    objective = s * _value(e, g, offset)
    g = g * s
    if table != NULL:
        gd_prefetch(table + row_ahead)
        e = g - table[row]
        table[row] = g
        g = e
    if not objective <= largest_objective:
        grad_b = 0 if not p.fit_intercept else g + mean_grad_b[0] if mean_grad_b != NULL else g
        step = min(step, _row_line_search_step(z, g, s, mean_grad_W, grad_b, d))
    _descend_row(
        W, <floating*>iterate.mean_W, z, g, mean_grad_W, <floating*>reduction.update_W, d, <floating>step,
        averaging_weight,
    )
    if p.fit_intercept:
        _descend_row(
            b, <floating*>iterate.mean_b, &unit, g, mean_grad_b, <floating*>reduction.update_b, 1, <floating>step,
            averaging_weight,
        )
    return objective


cdef double _batch_update(
    const Problem *p, const Reduction *reduction, const Iterate *iterate, const Work *work, const Batch *batch,
    double largest_objective, const floating *values,
) noexcept nogil:
    """Make the update of a batch, in arithmetic of the type of ``values``; return the loss."""
    cdef Py_ssize_t d = p.rows.d, k = p.rows.k, m = batch.stop - batch.start
    cdef floating *W = <floating*>iterate.W
    cdef floating *b = <floating*>iterate.b
    cdef floating *mean_W = <floating*>iterate.mean_W
    cdef floating *mean_b = <floating*>iterate.mean_b
    cdef floating *grad_W = <floating*>work.grad
    cdef floating *grad_b = <floating*>work.grad_b
    cdef floating averaging_weight = <floating>batch.averaging_weight
    cdef double step = batch.step, objective = _batch_gradient(p, reduction, work, batch, W, b)
    if reduction.table != NULL:
        _add_mean_gradient(
            grad_W, <const floating*>reduction.mean_grad_W, <floating*>reduction.update_W, k * d, <floating>m,
        )
        if p.fit_intercept:
            _add_mean_gradient(
                grad_b, <const floating*>reduction.mean_grad_b, <floating*>reduction.update_b, k, <floating>m,
            )
    if not objective <= largest_objective:
        step = min(step, _line_search_step(p, work, batch, grad_W, grad_b))
    if p.penalty.l1 == NULL:
        _descend(W, mean_W, grad_W, k * d, <floating>step, averaging_weight)        # W <- W - eta grad_W
    else:
        _descend_penalized(W, mean_W, grad_W, &p.penalty, k * d, <floating>step, averaging_weight)
    if p.fit_intercept:
        _descend(b, mean_b, grad_b, k, <floating>step, averaging_weight)            # b <- b - eta grad_b
    return objective


def epoch(problem, plan, iterate, reduction):
    """Make one update per batch of ``plan``, in place; return the sum of the losses times rows."""
    return _epoch(problem.rows.X, problem, plan, iterate, reduction)


def _epoch(const floating[:, ::1] X, problem, plan, iterate, reduction):
    cdef const Py_ssize_t[::1] order = plan.order
    cdef const double[::1] steps = plan.steps, averaging_weights = plan.averaging_weights
    cdef Py_ssize_t batch_size = plan.batch_size, i
    cdef double largest_objective = plan.largest_objective, objective, total = 0.0
    cdef Problem p
    cdef Iterate parameters
    cdef Reduction gradients
    cdef Batch batch
    cdef Work work
    cdef bint by_row
    _unpack_rows(&p, problem, order, &X[0, 0])
    _unpack_loss(&p, problem.loss, &X[0, 0])
    _unpack_penalty(&p, problem.penalty, &X[0, 0])
    _unpack_iterate(&parameters, iterate, &p.rows, &X[0, 0])
    _unpack_reduction(&gradients, reduction, X.shape[0], &p.rows, &X[0, 0])
    workspace = _workspace(&p, batch_size, &X[0, 0])
    work = (<_Workspace>workspace).p
    by_row = p.rows.k == 1 and p.penalty.l1 == NULL
    with nogil:
        for i in range(steps.shape[0]):
            batch.start = i * batch_size
            batch.stop = min(batch.start + batch_size, p.rows.n)
            batch.step = steps[i]
            batch.averaging_weight = averaging_weights[i]
            if by_row and batch.stop - batch.start == 1:
                objective = _row_update(&p, &gradients, &parameters, &batch, largest_objective, <floating*>work.Z)
            else:
                objective = _batch_update(&p, &gradients, &parameters, &work, &batch, largest_objective, &X[0, 0])
            total += objective * (batch.stop - batch.start)
    return total


def gradient(problem, order, W, b, errors=None):
    """Return the sums over the rows ``order`` of their gradients by ``W`` and ``b``, and of their losses."""
    return _derivatives(problem.rows.X, problem, order, W, b, None, errors)


def derivatives(problem, order, W, b, table):
    """Write the derivative of each row's weighted loss into ``table``, (n, k); return what ``gradient`` does."""
    return _derivatives(problem.rows.X, problem, order, W, b, table, None)


def _derivatives(
    const floating[:, ::1] X, problem, const Py_ssize_t[::1] order, const floating[:, ::1] W, const floating[::1] b,
    floating[:, ::1] table, floating[:, ::1] errors,
):
    cdef Py_ssize_t d = X.shape[1], k = W.shape[0], j
    cdef Problem p
    cdef floating *entries
    cdef floating *own_errors
    cdef double[:, ::1] grad_W = np.zeros((k, d))
    cdef double[::1] grad_b = np.zeros(k), loss = np.zeros(k)
    _unpack_rows(&p, problem, order, &X[0, 0])
    _unpack_loss(&p, problem.loss, &X[0, 0])
    _matrix[floating](W, p.rows.k, d)
    _vector[floating](b, k)
    entries = <floating*>_output_matrix[floating](table, X.shape[0], k)
    own_errors = <floating*>_output_matrix[floating](errors, X.shape[0], k)
    workspace = _workspace(&p, p.rows.n, &X[0, 0])
    with nogil:
        _sum_gradients(
            &p, &(<_Workspace>workspace).p, <floating*>&W[0, 0], <floating*>&b[0], entries, own_errors, &grad_W[0, 0],
            &grad_b[0], &loss[0],
        )
        if not p.fit_intercept:
            for j in range(k):
                grad_b[j] = 0.0
    return np.asarray(grad_W), np.asarray(grad_b), np.asarray(loss)


cdef void _sum_gradients(
    const Problem *p, const Work *work, floating *W, floating *b, floating *table, floating *errors, double *grad_W,
    double *grad_b, double *loss,
) noexcept nogil:
    """Add gradients and losses of all rows, tile by tile: within a tile in the data's dtype, tiles in float64."""
    cdef Py_ssize_t d = p.rows.d, k = p.rows.k, lo = 0, size, i, j
    cdef const floating *shift = <const floating*>p.standardization.shift
    cdef const floating *inv_scale = <const floating*>p.standardization.inv_scale
    cdef floating *E = <floating*>work.E
    cdef floating *grad = <floating*>work.grad
    if work.raw:
        _raw_parameters(W, b, &p.standardization, d, k, <floating*>work.V, <floating*>work.c)
        W = <floating*>work.V
        b = <floating*>work.c
    while lo < p.rows.n:
        size = min(work.tile, p.rows.n - lo)
        _errors(p, work, lo, size, W, b, E)
        _loss_derivatives(p, lo, size, table, errors, E, grad_b, loss)
        memset(grad, 0, k * d * sizeof(floating))
        if work.raw:
            _add_gradient_raw(&p.rows, lo, size, E, grad)
        else:
            _add_gradient(<int>size, <int>d, <int>k, <floating*>work.Z, E, grad)
        _add_to_total(grad, k * d, grad_W)
        lo += size
    if work.raw:
        for j in range(k):
            for i in range(d):
                grad_W[j * d + i] = (grad_W[j * d + i] - grad_b[j] * shift[i]) * inv_scale[i]


cdef void _loss_derivatives(
    const Problem *p, Py_ssize_t start, Py_ssize_t size, floating *table, floating *errors, floating *E,
    double *grad_b, double *loss,
) noexcept nogil:
    """E becomes s psi(E) in place and in the table; its rows are added to grad_b, and the losses to ``loss``.

    Its values before are written to ``errors``.
    """
    cdef const Py_ssize_t *order = p.rows.order + start
    cdef const floating *weight = <const floating*>p.rows.weight
    cdef Py_ssize_t k = p.rows.k, i, j
    cdef floating s = 1, e, g, offset, low, high
    cdef double g_sum, loss_sum
    for j in range(k):
        offset = (<const floating*>p.loss.offset)[j]
        low = (<const floating*>p.loss.low)[j]
        high = (<const floating*>p.loss.high)[j]
        g_sum = loss_sum = 0.0
        for i in range(size):
            if weight != NULL:
                s = weight[order[i]]
            e = E[i * k + j]
            if errors != NULL:
                errors[order[i] * k + j] = e
            g = _derivative(e, offset, low, high)
            loss_sum += s * _value(e, g, offset)
            g = g * s
            E[i * k + j] = g
            g_sum += g
            if table != NULL:
                table[order[i] * k + j] = g
        grad_b[j] += g_sum
        loss[j] += loss_sum


def errors(problem, order, W, b):
    """Return the errors of the rows ``order``, in standardized units, shape (len(order), k)."""
    return _errors_of(problem.rows.X, problem, order, W, b)


def _errors_of(
    const floating[:, ::1] X, problem, const Py_ssize_t[::1] order, const floating[:, ::1] W, const floating[::1] b,
):
    cdef Py_ssize_t d = X.shape[1], k = W.shape[0], start = 0
    cdef floating *W0 = <floating*>&W[0, 0]
    cdef floating *b0 = <floating*>&b[0]
    cdef floating[:, ::1] E = np.empty((order.shape[0], k), np.float64 if floating is double else np.float32)
    cdef Problem p
    cdef Work work
    _unpack_rows(&p, problem, order, &X[0, 0])
    _matrix[floating](W, p.rows.k, d)
    _vector[floating](b, k)
    workspace = _workspace(&p, p.rows.n, &X[0, 0])
    work = (<_Workspace>workspace).p
    with nogil:
        if not _any(W0, k * d):     # the prediction is b: no row is read
            _subtract_targets(&p.rows, &p.standardization, 0, p.rows.n, b0, &E[0, 0])
            start = p.rows.n
        elif work.raw:
            _raw_parameters(W0, b0, &p.standardization, d, k, <floating*>work.V, <floating*>work.c)
            W0 = <floating*>work.V
            b0 = <floating*>work.c
        while start < p.rows.n:
            _errors(&p, &work, start, min(work.tile, p.rows.n - start), W0, b0, &E[start, 0])
            start += work.tile
    return np.asarray(E)


cdef bint _any(const floating *values, Py_ssize_t size) noexcept nogil:
    """Whether any of the numbers is not 0."""
    cdef Py_ssize_t i
    for i in range(size):
        if values[i] != 0:
            return True
    return False


def max_row_norm(rows, order, standardization, fit_intercept):
    """Return the largest weighted squared norm of a standardized row of ``order``, the intercept's 1 included."""
    maps = standardization.shift, standardization.inv_scale
    return _max_row_norm(rows.X, rows.weight, order, *maps, fit_intercept)


def _max_row_norm(
    const floating[:, ::1] X, const floating[::1] weight, const Py_ssize_t[::1] order,
    const floating[::1] shift, const floating[::1] inv_scale, bint fit_intercept,
):
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


def standardized_rows(
    const floating[:, ::1] X, const Py_ssize_t[::1] order, const Py_ssize_t[::1] columns, const double[::1] shift,
    const double[::1] inv_scale, double[:, :] Z,
):
    """Write the rows ``order``, of some columns or of all for None, to ``Z`` in float64, standardized."""
    cdef Py_ssize_t n = order.shape[0], p = Z.shape[1], i, j
    cdef const floating *x
    cdef double *z
    if not (shift.shape[0] == inv_scale.shape[0] == p and Z.shape[0] == n and Z.strides[1] == sizeof(double)
            and p == (X.shape[1] if columns is None else columns.shape[0])):
        raise ValueError("Z must have the shape of the standardized rows, and contiguous rows.")
    if p == 0:
        return
    with nogil:
        for i in range(n):
            x, z = &X[order[i], 0], &Z[i, 0]
            if columns is None:
                _standardize_as_double(x, &X[order[min(i + 4, n - 1)], 0], &shift[0], &inv_scale[0], p, z)
            else:
                for j in range(p):
                    z[j] = (<double>x[columns[j]] - shift[j]) * inv_scale[j]


def copy_columns(const floating[:, :] X, floating[:, ::1] copy):
    """Write rows whose columns lie in memory one after the other to ``copy``, of the same shape."""
    cdef Py_ssize_t n = X.shape[0], d = X.shape[1], stride = X.strides[1] // <Py_ssize_t>sizeof(floating)
    if not (copy.shape[0] == n and copy.shape[1] == d and (n < 2 or X.strides[0] == sizeof(floating))):
        raise ValueError("X must have contiguous columns, and the copy its shape.")
    if n == 0 or d == 0:
        return
    with nogil:
        if floating is double:
            gd_copy_columns_double(&X[0, 0], stride, n, d, &copy[0, 0])
        else:
            gd_copy_columns_float(&X[0, 0], stride, n, d, &copy[0, 0])


def moments(X, order, weight, moments):
    """Add the rows ``order`` to the running ``moments``, in place; return the new sum of weights."""
    return _moments(X, order, weight, moments)


cdef void _four_weights(
    const floating[::1] weight, const Py_ssize_t[::1] order, Py_ssize_t i, Py_ssize_t stop, double *weights,
) noexcept nogil:
    """Read the weights of the rows ``order[i : i + 4]``, 0 from ``stop`` on."""
    cdef Py_ssize_t c
    for c in range(4):
        weights[c] = 0.0 if i + c >= stop else 1.0 if weight is None else weight[order[i + c]]


def _moments(const floating[:, ::1] X, const Py_ssize_t[::1] order, const floating[::1] weight, moments):
    cdef Py_ssize_t n = order.shape[0], d = X.shape[1], start = 0, stop, i, j
    cdef Py_ssize_t block_rows = max(16, MOMENTS_BYTES // (<Py_ssize_t>sizeof(floating) * max(d, 1)))
    cdef double[::1] mean = moments.mean, square_deviation = moments.square_deviation
    cdef double[::1] low = moments.low, high = moments.high
    cdef double count = moments.count, total, delta
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
                _four(&X[0, 0], &order[0], i, n - 1, d, x)
                _four_weights(weight, order, i, stop, s)
                total += (s[0] + s[1]) + (s[2] + s[3])
                _add_values(x, s, d, block_mean, &low[0], &high[0])
            for j in range(d):
                block_mean[j] /= total
            for i in range(start, stop, 4):
                _four(&X[0, 0], &order[0], i, n - 1, d, x)
                _four_weights(weight, order, i, stop, s)
                _four(&X[0, 0], &order[0], i + block_rows, n - 1, d, ahead)
                _add_squares(x, ahead, s, d, block_mean, squares)
            for j in range(d):
                delta = block_mean[j] - mean[j]
                mean[j] += delta * (total / (count + total))
                square_deviation[j] += squares[j] + delta * delta * (count * total / (count + total))
            count += total
            start = stop
    return count
