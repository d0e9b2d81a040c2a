# Shared by both kernels: the records of a problem as C structs, and the loss and the penalty of single numbers.
#
# Cython has no structs of fused types: arrays of the data's dtype are `void *` here, and cast to `floating *` where
# they are used.  The arrays belong to the Python records, which exist longer than a call.

cdef extern from "compiler.h":
    const int GD_LINE_BYTES
    void gd_prefetch(const void *address) noexcept nogil

ctypedef fused floating:
    float
    double


cdef struct Rows:                   # those that a call visits
    const void *values              # dense: (n, d); sparse: the entries of the CSR matrix
    const void *indices             # sparse only
    const void *indptr
    const void *Y                   # (n, k)
    const void *weight              # (n,), or NULL for equal weights
    const Py_ssize_t *order         # row numbers
    Py_ssize_t n                    # length of order
    Py_ssize_t d
    Py_ssize_t k


cdef struct Standardization:        # z = (x - shift) * inv_scale
    const void *shift               # (d,)
    const void *inv_scale
    const void *target_shift        # (k,)
    const void *target_inv_scale


cdef struct Loss:                   # psi(e) = clip(e + offset, low, high)
    const void *offset              # (k,)
    const void *low
    const void *high


cdef struct Penalty:                # l1 |w| + l2 / 2 w^2 within bounds
    const void *l1                  # (k, d), or NULL without a penalty
    const void *l2
    const void *lower               # (k, d), or NULL without bounds
    const void *upper


cdef struct Problem:
    Rows rows
    Standardization standardization
    Loss loss
    Penalty penalty
    bint fit_intercept


cdef struct Iterate:
    void *W                         # (k, d)
    void *b                         # (k,)
    void *mean_W                    # their average, or NULL without averaging
    void *mean_b


cdef struct Reduction:              # all NULL where variance is not reduced
    void *table                     # (n, k)
    const void *mean_grad_W         # (k, d)
    const void *mean_grad_b         # (k,)
    void *update_W
    void *update_b


cdef struct Batch:                  # the rows order[start : stop] and their update
    Py_ssize_t start
    Py_ssize_t stop
    double step
    double averaging_weight         # of the result in the average


cdef const void *_vector(const floating[::1] array, Py_ssize_t size) except? NULL:
    """Return the address of an array of the given size, NULL for None."""
    if array is None:
        return NULL
    if array.shape[0] != size:
        raise ValueError(f"expected shape ({size},), got ({array.shape[0]},)")
    return &array[0]


cdef const void *_matrix(const floating[:, ::1] array, Py_ssize_t n_rows, Py_ssize_t n_columns) except? NULL:
    """Return the address of an array of the given shape, NULL for None."""
    if array is None:
        return NULL
    if array.shape[0] != n_rows or array.shape[1] != n_columns:
        raise ValueError(f"expected shape ({n_rows}, {n_columns}), got ({array.shape[0]}, {array.shape[1]})")
    return &array[0, 0]


cdef void *_output_vector(floating[::1] array, Py_ssize_t size) except? NULL:
    """Return the address of a writable array of the given size, NULL for None."""
    return <void*>_vector[floating](array, size)


cdef void *_output_matrix(floating[:, ::1] array, Py_ssize_t n_rows, Py_ssize_t n_columns) except? NULL:
    """Return the address of a writable array of the given shape, NULL for None."""
    return <void*>_matrix[floating](array, n_rows, n_columns)


cdef int _unpack_rows(Problem *p, problem, const Py_ssize_t[::1] order, const floating *values) except -1:
    """Fill in rows and standardization; ``values`` are those of the rows, whatever their kind."""
    rows, standardization = problem.rows, problem.standardization
    cdef Py_ssize_t n = rows.X.shape[0], d = rows.X.shape[1], k = rows.Y.shape[1]
    p.rows.values = values
    p.rows.indices = p.rows.indptr = NULL
    p.rows.Y = _matrix[floating](rows.Y, n, k)
    p.rows.weight = _vector[floating](rows.weight, n)
    p.rows.order = &order[0]
    p.rows.n, p.rows.d, p.rows.k = order.shape[0], d, k
    p.standardization.shift = _vector[floating](standardization.shift, d)
    p.standardization.inv_scale = _vector[floating](standardization.inv_scale, d)
    p.standardization.target_shift = _vector[floating](standardization.target_shift, k)
    p.standardization.target_inv_scale = _vector[floating](standardization.target_inv_scale, k)
    p.fit_intercept = problem.fit_intercept
    return 0


cdef int _unpack_loss(Problem *p, loss, const floating *values) except -1:
    """Fill in the loss, whose arrays are of the type of ``values``."""
    p.loss.offset = _vector[floating](loss.offset, p.rows.k)
    p.loss.low = _vector[floating](loss.low, p.rows.k)
    p.loss.high = _vector[floating](loss.high, p.rows.k)
    return 0


cdef int _unpack_penalty(Problem *p, penalty, const floating *values) except -1:
    """Fill in the penalty, whose arrays are of the type of ``values``."""
    cdef Py_ssize_t d = p.rows.d, k = p.rows.k
    p.penalty.l1 = _matrix[floating](penalty.l1, k, d)
    p.penalty.l2 = _matrix[floating](penalty.l2, k, d)
    p.penalty.lower = _matrix[floating](penalty.lower, k, d)
    p.penalty.upper = _matrix[floating](penalty.upper, k, d)
    return 0


cdef int _unpack_iterate(Iterate *p, iterate, const Rows *rows, const floating *values) except -1:
    """Fill in the parameters and their average, of the type of ``values``."""
    p.W = _output_matrix[floating](iterate.W, rows.k, rows.d)
    p.b = _output_vector[floating](iterate.b, rows.k)
    p.mean_W = _output_matrix[floating](iterate.mean_W, rows.k, rows.d)
    p.mean_b = _output_vector[floating](iterate.mean_b, rows.k)
    return 0


cdef int _unpack_reduction(Reduction *p, reduction, n, const Rows *rows, const floating *values) except -1:
    """Fill in the gradient table of ``n`` rows and its mean gradient, of the type of ``values``."""
    p.table = _output_matrix[floating](reduction.table, n, rows.k)
    p.mean_grad_W = _matrix[floating](reduction.mean_grad_W, rows.k, rows.d)
    p.mean_grad_b = _vector[floating](reduction.mean_grad_b, rows.k)
    p.update_W = _output_matrix[floating](reduction.update_W, rows.k, rows.d)
    p.update_b = _output_vector[floating](reduction.update_b, rows.k)
    return 0


cdef inline floating _clip(floating x, floating low, floating high) noexcept nogil:
    """x moved to the nearest bound; not a number stays so, as with np.clip."""
    x = low if x < low else x
    return high if x > high else x


cdef inline floating _derivative(floating e, floating offset, floating low, floating high) noexcept nogil:
    """psi(e), the derivative of the loss of an error."""
    return _clip(e + offset, low, high)


cdef inline double _value(floating e, floating derivative, floating offset) noexcept nogil:
    """The loss of an error, from its derivative."""
    cdef double u = derivative - offset
    return offset * <double>e + u * (e - 0.5 * u)


cdef inline floating _shrink(floating w, floating step, floating l1, floating l2) noexcept nogil:
    """The proximal step of l1 |w| + l2 / 2 w^2."""
    return (w - _clip(w, -(step * l1), step * l1)) / (1 + step * l2)
