# Products of dense rows with coefficients, and of the output gradient with rows.
#
# For few targets rows are multiplied where they are, four at a time, and the standardization is applied to the
# coefficients and to the gradient instead (functions named raw).  With more targets, and where large offsets would cost
# digits, rows are standardized into a tile that stays in cache, and BLAS multiplies the tile.

cdef enum:
    TILE_BYTES = 131072     # largest tile: well within a common L2 cache
    TILE_ROWS = 64          # and its largest number of rows: BLAS works on one while the next is prefetched
    LOOK_AHEAD = 32         # rows between the one that is used and the one that is prefetched
    BLOCK_BYTES = 512       # of a row, standardized at once
    FEW_TARGETS = 4         # up to so many, one matrix-vector product each costs less than one matrix product
    OFFSET_DOUBLE = 256     # largest |shift| * inv_scale for which raw rows are multiplied: the products lose as many
    OFFSET_FLOAT = 16       # digits as this number has


cdef Py_ssize_t _tile_rows(Py_ssize_t d, Py_ssize_t itemsize, Py_ssize_t most) noexcept nogil:
    return max(1, min(most, TILE_ROWS, TILE_BYTES // (max(d, 1) * itemsize)))


cdef void _standardize_rows(
    const Rows *rows, const Standardization *standardization, Py_ssize_t start, Py_ssize_t size, floating *Z,
) noexcept nogil:
    """Z <- (X - shift) * inv_scale for ``size`` rows, by blocks of columns whose maps stay in L1 cache."""
    cdef const floating *X = <const floating*>rows.values
    cdef const floating *shift = <const floating*>standardization.shift
    cdef const floating *inv_scale = <const floating*>standardization.inv_scale
    cdef const Py_ssize_t *order = rows.order
    cdef Py_ssize_t d = rows.d, last = rows.n - 1, width = BLOCK_BYTES // sizeof(floating), i, part, first
    for part in range((d + width - 1) // width):
        first = part * width
        for i in range(size):
            _standardize(
                X + order[start + i] * d + first, X + order[min(start + i + LOOK_AHEAD, last)] * d + first,
                shift + first, inv_scale + first, min(width, d - first), Z + i * d + first,
            )


cdef void _subtract_targets(
    const Rows *rows, const Standardization *standardization, Py_ssize_t start, Py_ssize_t size, const floating *b,
    floating *E,
) noexcept nogil:
    """E <- b - Y' for ``size`` rows, Y' the standardized targets."""
    cdef const floating *Y = <const floating*>rows.Y
    cdef const floating *shift = <const floating*>standardization.target_shift
    cdef const floating *inv_scale = <const floating*>standardization.target_inv_scale
    cdef const Py_ssize_t *order = rows.order
    cdef Py_ssize_t k = rows.k, last = rows.n - 1, i, j
    for i in range(start, start + size):
        gd_prefetch(Y + order[min(i + LOOK_AHEAD, last)] * k)
        for j in range(k):
            E[j] = b[j] - (Y[order[i] * k + j] - shift[j]) * inv_scale[j]
        E += k


cdef void _add_forward(int rows, int d, int k, floating *Z, floating *W, floating *E) noexcept nogil:
    """E <- Z W^T + E.  BLAS reads a C-ordered array as its transpose."""
    cdef int one = 1, j
    cdef floating unit = 1
    if k <= FEW_TARGETS:
        for j in range(k):
            if floating is double:
                dgemv("T", &d, &rows, &unit, Z, &d, W + j * d, &one, &unit, E + j, &k)
            else:
                sgemv("T", &d, &rows, &unit, Z, &d, W + j * d, &one, &unit, E + j, &k)
    elif floating is double:
        dgemm("T", "N", &k, &rows, &d, &unit, W, &d, Z, &d, &unit, E, &k)
    else:
        sgemm("T", "N", &k, &rows, &d, &unit, W, &d, Z, &d, &unit, E, &k)


cdef void _add_gradient(int rows, int d, int k, floating *Z, floating *G, floating *grad) noexcept nogil:
    """grad <- G^T Z + grad."""
    cdef int one = 1, j
    cdef floating unit = 1
    if k <= FEW_TARGETS:
        for j in range(k):
            if floating is double:
                dgemv("N", &d, &rows, &unit, Z, &d, G + j, &k, &unit, grad + j * d, &one)
            else:
                sgemv("N", &d, &rows, &unit, Z, &d, G + j, &k, &unit, grad + j * d, &one)
    elif floating is double:
        dgemm("N", "T", &d, &k, &rows, &unit, Z, &d, G, &k, &unit, grad, &d)
    else:
        sgemm("N", "T", &d, &k, &rows, &unit, Z, &d, G, &k, &unit, grad, &d)


cdef inline void _four(
    const floating *X, const Py_ssize_t *order, Py_ssize_t i, Py_ssize_t last, Py_ssize_t d, floating **x,
) noexcept nogil:
    """Address the rows ``order[i : i + 4]``; past the ``last`` one it is repeated."""
    cdef Py_ssize_t c
    for c in range(4):
        x[c] = <floating*>X + order[min(i + c, last)] * d


cdef void _add_forward_raw(
    const Rows *rows, Py_ssize_t start, Py_ssize_t size, const floating *V, floating *E,
) noexcept nogil:
    """E <- X V^T + E for ``size`` rows."""
    cdef const floating *X = <const floating*>rows.values
    cdef const Py_ssize_t *order = rows.order
    cdef Py_ssize_t d = rows.d, k = rows.k, last = rows.n - 1, i, j, c
    cdef floating *x[4]
    cdef floating *ahead[4]
    cdef floating dots[4]
    for i in range(0, size - size % 4, 4):
        _four(X, order, start + i, last, d, x)
        _four(X, order, start + i + LOOK_AHEAD, last, d, ahead)
        for j in range(k):
            _four_dots(x, ahead, V + j * d, d, dots)
            for c in range(4):
                E[(i + c) * k + j] += dots[c]
    for i in range(size - size % 4, size):
        for j in range(k):
            E[i * k + j] += _dot(X + order[start + i] * d, V + j * d, d)


cdef void _add_gradient_raw(
    const Rows *rows, Py_ssize_t start, Py_ssize_t size, const floating *G, floating *grad,
) noexcept nogil:
    """grad <- G^T X + grad for ``size`` rows."""
    cdef const floating *X = <const floating*>rows.values
    cdef const Py_ssize_t *order = rows.order
    cdef Py_ssize_t d = rows.d, k = rows.k, last = rows.n - 1, i, j, c
    cdef floating *x[4]
    cdef floating g[4]
    for i in range(0, size - size % 4, 4):
        _four(X, order, start + i, last, d, x)
        for j in range(k):
            for c in range(4):
                g[c] = G[(i + c) * k + j]
            _add_four(x, g, d, grad + j * d)
    for i in range(size - size % 4, size):
        for j in range(k):
            _add(X + order[start + i] * d, G[i * k + j], d, grad + j * d)


cdef bint _can_multiply_raw(
    const floating *shift, const floating *inv_scale, Py_ssize_t d, Py_ssize_t k,
) noexcept nogil:
    """Whether rows may be multiplied where they are: offsets cost few digits, and no number leaves its range."""
    cdef double offset = OFFSET_DOUBLE if floating is double else OFFSET_FLOAT
    cdef double largest = 1e100 if floating is double else 1e12
    cdef Py_ssize_t j
    if k > FEW_TARGETS:
        return False
    for j in range(d):
        if inv_scale[j] == 0:
            if fabs(shift[j]) > largest:
                return False
        elif not (1 / largest < inv_scale[j] < largest and fabs(shift[j]) * inv_scale[j] <= offset):
            return False
    return True


cdef void _raw_parameters(
    const floating *W, const floating *b, const Standardization *standardization, Py_ssize_t d, Py_ssize_t k,
    floating *V, floating *c,
) noexcept nogil:
    """Set V and c so that x . V + c = z . W + b."""
    cdef const floating *shift = <const floating*>standardization.shift
    cdef const floating *inv_scale = <const floating*>standardization.inv_scale
    cdef Py_ssize_t j
    for j in range(k):
        _scale(W + j * d, inv_scale, d, V + j * d)
        c[j] = b[j] - _dot(shift, V + j * d, d)
