# Products of dense rows with weights, and of derivatives with rows.
#
# For few targets rows are multiplied where they lie, four at a time, and what centres and scales them is applied to the
# weights and to the gradient (the functions called raw). Else, and where that would lose digits, rows are gathered,
# centred and scaled into a tile that stays in cache, and BLAS works on the tile.

cdef enum:
    TILE_BYTES = 131072     # gathered at once: well within a common L2 cache
    TILE_ROWS = 64          # and at most so many rows, so that BLAS works while memory sends the next
    LOOK_AHEAD = 32         # rows asked from memory before they are needed
    BLOCK_BYTES = 512       # of a row, gathered at once
    FEW_TARGETS = 4         # up to which a product for each costs less than one for all together
    OFFSET_DOUBLE = 256     # offsets of columns, in their scales, up to which raw rows may be multiplied: they cost
    OFFSET_FLOAT = 16       # as many digits


cdef Py_ssize_t _tile_rows(Py_ssize_t d, Py_ssize_t itemsize, Py_ssize_t most) noexcept nogil:
    return max(1, min(most, TILE_ROWS, TILE_BYTES // (max(d, 1) * itemsize)))


cdef void _gather(
    const floating[:, ::1] X, const Py_ssize_t[::1] order, Py_ssize_t start, Py_ssize_t rows,
    const floating *shift, const floating *inv_scale, floating *Z,
) noexcept nogil:
    """Z <- (X[rows] - shift) * inv_scale, block of columns by block: those of shift and inv_scale stay in L1 cache."""
    cdef Py_ssize_t d = X.shape[1], last = order.shape[0] - 1, width = BLOCK_BYTES // sizeof(floating), i, part, first
    for part in range((d + width - 1) // width):
        first = part * width
        for i in range(rows):
            _condition(
                &X[order[start + i], first], &X[order[min(start + i + LOOK_AHEAD, last)], first],
                shift + first, inv_scale + first, min(width, d - first), Z + i * d + first,
            )


cdef void _gather_targets(
    const floating[:, ::1] Y, const Py_ssize_t[::1] order, Py_ssize_t start, Py_ssize_t rows,
    const floating *shift, const floating *inv_scale, const floating *b, floating *E,
) noexcept nogil:
    """E <- b - (Y[rows] - shift) * inv_scale."""
    cdef Py_ssize_t k = Y.shape[1], last = order.shape[0] - 1, i, j
    for i in range(start, start + rows):
        gd_prefetch(&Y[order[min(i + LOOK_AHEAD, last)], 0])
        for j in range(k):
            E[j] = b[j] - (Y[order[i], j] - shift[j]) * inv_scale[j]
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


cdef void _four(
    const floating[:, ::1] X, const Py_ssize_t[::1] order, Py_ssize_t i, floating **rows,
) noexcept nogil:
    """The rows ``order[i : i + 4]``, of which the last one comes again where ``order`` ends."""
    cdef Py_ssize_t c
    for c in range(4):
        rows[c] = <floating*>&X[order[min(i + c, order.shape[0] - 1)], 0]


cdef void _add_forward_raw(
    const floating[:, ::1] X, const Py_ssize_t[::1] order, Py_ssize_t start, Py_ssize_t rows, Py_ssize_t k,
    const floating *W, floating *E,
) noexcept nogil:
    """E <- X[rows] W^T + E."""
    cdef Py_ssize_t d = X.shape[1], i, j, c
    cdef floating *x[4]
    cdef floating *ahead[4]
    cdef floating dots[4]
    for i in range(0, rows - rows % 4, 4):
        _four(X, order, start + i, x)
        _four(X, order, start + i + LOOK_AHEAD, ahead)
        for j in range(k):
            _four_dots(x, ahead, W + j * d, d, dots)
            for c in range(4):
                E[(i + c) * k + j] += dots[c]
    for i in range(rows - rows % 4, rows):
        for j in range(k):
            E[i * k + j] += _dot(&X[order[start + i], 0], W + j * d, d)


cdef void _add_gradient_raw(
    const floating[:, ::1] X, const Py_ssize_t[::1] order, Py_ssize_t start, Py_ssize_t rows, Py_ssize_t k,
    const floating *G, floating *grad,
) noexcept nogil:
    """grad <- G^T X[rows] + grad."""
    cdef Py_ssize_t d = X.shape[1], i, j, c
    cdef floating *x[4]
    cdef floating g[4]
    for i in range(0, rows - rows % 4, 4):
        _four(X, order, start + i, x)
        for j in range(k):
            for c in range(4):
                g[c] = G[(i + c) * k + j]
            _add_four(x, g, d, grad + j * d)
    for i in range(rows - rows % 4, rows):
        for j in range(k):
            _add(&X[order[start + i], 0], G[i * k + j], d, grad + j * d)


cdef bint _raw_will_do(const floating[::1] shift, const floating[::1] inv_scale, Py_ssize_t k) noexcept nogil:
    """Whether rows may be multiplied as they are: few digits are lost to offsets, and no number is out of range."""
    cdef double offset = OFFSET_DOUBLE if floating is double else OFFSET_FLOAT
    cdef double largest = 1e100 if floating is double else 1e12
    cdef Py_ssize_t j
    if k > FEW_TARGETS:
        return False
    for j in range(shift.shape[0]):
        if inv_scale[j] == 0:
            if fabs(shift[j]) > largest:
                return False
        elif not (1 / largest < inv_scale[j] < largest and fabs(shift[j]) * inv_scale[j] <= offset):
            return False
    return True


cdef void _raw_weights(
    const floating *W, const floating *b, const floating *shift, const floating *inv_scale, Py_ssize_t d, Py_ssize_t k,
    floating *V, floating *c,
) noexcept nogil:
    """V and c with x . V + c = z . W + b."""
    cdef Py_ssize_t j
    for j in range(k):
        _scale(W + j * d, inv_scale, d, V + j * d)
        c[j] = b[j] - _dot(shift, V + j * d, d)
