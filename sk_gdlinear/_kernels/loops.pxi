# The loops of loops.h, for both types.

cdef enum:
    SHORT_ROW_BYTES = 384   # up to which arithmetic limits the dot products of a row, and memory beyond

cdef extern from "loops.h" nogil:
    double gd_dot_double(const double *x, const double *w, Py_ssize_t d) noexcept
    float gd_dot_float(const float *x, const float *w, Py_ssize_t d) noexcept
    void gd_four_dots_double(double **x, double **ahead, const double *w, Py_ssize_t d, double *dots) noexcept
    void gd_four_dots_float(float **x, float **ahead, const float *w, Py_ssize_t d, float *dots) noexcept
    void gd_four_short_dots_double(double **x, double **ahead, const double *w, Py_ssize_t d, double *dots) noexcept
    void gd_four_short_dots_float(float **x, float **ahead, const float *w, Py_ssize_t d, float *dots) noexcept
    void gd_add_double(const double *x, double g, Py_ssize_t d, double *sum) noexcept
    void gd_add_float(const float *x, float g, Py_ssize_t d, float *sum) noexcept
    void gd_add_four_double(double **x, const double *g, Py_ssize_t d, double *sum) noexcept
    void gd_add_four_float(float **x, const float *g, Py_ssize_t d, float *sum) noexcept
    void gd_standardize_double(
        const double *x, const double *ahead, const double *shift, const double *inv_scale, Py_ssize_t d, double *z,
    ) noexcept
    void gd_standardize_float(
        const float *x, const float *ahead, const float *shift, const float *inv_scale, Py_ssize_t d, float *z,
    ) noexcept
    void gd_standardize_float_as_double(
        const float *x, const float *ahead, const double *shift, const double *inv_scale, Py_ssize_t d, double *z,
    ) noexcept
    double gd_square_norm_double(const double *x, const double *shift, const double *inv_scale, Py_ssize_t d) noexcept
    float gd_square_norm_float(const float *x, const float *shift, const float *inv_scale, Py_ssize_t d) noexcept
    void gd_scale_double(const double *W, const double *inv_scale, Py_ssize_t d, double *V) noexcept
    void gd_scale_float(const float *W, const float *inv_scale, Py_ssize_t d, float *V) noexcept
    void gd_standardize_gradient_double(
        double *grad, double grad_b, const double *shift, const double *inv_scale, Py_ssize_t d,
    ) noexcept
    void gd_standardize_gradient_float(
        float *grad, float grad_b, const float *shift, const float *inv_scale, Py_ssize_t d,
    ) noexcept
    void gd_add_mean_gradient_double(
        double *grad, const double *mean_grad, double *update, Py_ssize_t size, double rows,
    ) noexcept
    void gd_add_mean_gradient_float(
        float *grad, const float *mean_grad, float *update, Py_ssize_t size, float rows,
    ) noexcept
    void gd_descend_double(
        double *W, double *mean, const double *grad, Py_ssize_t size, double step, double averaging_weight,
    ) noexcept
    void gd_descend_float(
        float *W, float *mean, const float *grad, Py_ssize_t size, float step, float averaging_weight,
    ) noexcept
    void gd_descend_row_double(
        double *W, double *mean, const double *z, double g, const double *mean_grad, double *update, Py_ssize_t size,
        double step, double averaging_weight,
    ) noexcept
    void gd_descend_row_float(
        float *W, float *mean, const float *z, float g, const float *mean_grad, float *update, Py_ssize_t size,
        float step, float averaging_weight,
    ) noexcept
    void gd_copy_columns_double(
        const double *columns, Py_ssize_t stride, Py_ssize_t n, Py_ssize_t d, double *rows,
    ) noexcept
    void gd_copy_columns_float(
        const float *columns, Py_ssize_t stride, Py_ssize_t n, Py_ssize_t d, float *rows,
    ) noexcept
    void gd_add_to_total_double(const double *x, Py_ssize_t d, double *total) noexcept
    void gd_add_values_double(
        double **x, const double *s, Py_ssize_t d, double *sums, double *low, double *high,
    ) noexcept
    void gd_add_to_total_float(const float *x, Py_ssize_t d, double *total) noexcept
    void gd_add_values_float(float **x, const double *s, Py_ssize_t d, double *sums, double *low, double *high) noexcept
    void gd_add_squares_double(
        double **x, double **ahead, const double *s, Py_ssize_t d, const double *mean, double *squares,
    ) noexcept
    void gd_add_squares_float(
        float **x, float **ahead, const double *s, Py_ssize_t d, const double *mean, double *squares,
    ) noexcept


cdef inline floating _dot(const floating *x, const floating *w, Py_ssize_t d) noexcept nogil:
    if floating is double:
        return gd_dot_double(x, w, d)
    else:
        return gd_dot_float(x, w, d)


cdef inline void _four_dots(
    floating **x, floating **ahead, const floating *w, Py_ssize_t d, floating *dots,
) noexcept nogil:
    cdef bint short = d * <Py_ssize_t>sizeof(floating) <= SHORT_ROW_BYTES
    if floating is double:
        if short:
            gd_four_short_dots_double(x, ahead, w, d, dots)
        else:
            gd_four_dots_double(x, ahead, w, d, dots)
    elif short:
        gd_four_short_dots_float(x, ahead, w, d, dots)
    else:
        gd_four_dots_float(x, ahead, w, d, dots)


cdef inline void _add(const floating *x, floating g, Py_ssize_t d, floating *sum) noexcept nogil:
    if floating is double:
        gd_add_double(x, g, d, sum)
    else:
        gd_add_float(x, g, d, sum)


cdef inline void _add_four(floating **x, const floating *g, Py_ssize_t d, floating *sum) noexcept nogil:
    if floating is double:
        gd_add_four_double(x, g, d, sum)
    else:
        gd_add_four_float(x, g, d, sum)


cdef inline void _standardize(
    const floating *x, const floating *ahead, const floating *shift, const floating *inv_scale, Py_ssize_t d,
    floating *z,
) noexcept nogil:
    if floating is double:
        gd_standardize_double(x, ahead, shift, inv_scale, d, z)
    else:
        gd_standardize_float(x, ahead, shift, inv_scale, d, z)


cdef inline void _standardize_as_double(
    const floating *x, const floating *ahead, const double *shift, const double *inv_scale, Py_ssize_t d, double *z,
) noexcept nogil:
    if floating is double:
        gd_standardize_double(x, ahead, shift, inv_scale, d, z)
    else:
        gd_standardize_float_as_double(x, ahead, shift, inv_scale, d, z)


cdef inline floating _square_norm(
    const floating *x, const floating *shift, const floating *inv_scale, Py_ssize_t d,
) noexcept nogil:
    if floating is double:
        return gd_square_norm_double(x, shift, inv_scale, d)
    else:
        return gd_square_norm_float(x, shift, inv_scale, d)


cdef inline void _scale(const floating *W, const floating *inv_scale, Py_ssize_t d, floating *V) noexcept nogil:
    if floating is double:
        gd_scale_double(W, inv_scale, d, V)
    else:
        gd_scale_float(W, inv_scale, d, V)


cdef inline void _standardize_gradient(
    floating *grad, floating grad_b, const floating *shift, const floating *inv_scale, Py_ssize_t d,
) noexcept nogil:
    if floating is double:
        gd_standardize_gradient_double(grad, grad_b, shift, inv_scale, d)
    else:
        gd_standardize_gradient_float(grad, grad_b, shift, inv_scale, d)


cdef inline void _add_mean_gradient(
    floating *grad, const floating *mean_grad, floating *update, Py_ssize_t size, floating rows,
) noexcept nogil:
    if floating is double:
        gd_add_mean_gradient_double(grad, mean_grad, update, size, rows)
    else:
        gd_add_mean_gradient_float(grad, mean_grad, update, size, rows)


cdef inline void _descend(
    floating *W, floating *mean, const floating *grad, Py_ssize_t size, floating step, floating averaging_weight,
) noexcept nogil:
    if floating is double:
        gd_descend_double(W, mean, grad, size, step, averaging_weight)
    else:
        gd_descend_float(W, mean, grad, size, step, averaging_weight)


cdef inline void _descend_row(
    floating *W, floating *mean, const floating *z, floating g, const floating *mean_grad, floating *update,
    Py_ssize_t size, floating step, floating averaging_weight,
) noexcept nogil:
    if floating is double:
        gd_descend_row_double(W, mean, z, g, mean_grad, update, size, step, averaging_weight)
    else:
        gd_descend_row_float(W, mean, z, g, mean_grad, update, size, step, averaging_weight)


cdef inline void _add_to_total(const floating *x, Py_ssize_t d, double *total) noexcept nogil:
    if floating is double:
        gd_add_to_total_double(x, d, total)
    else:
        gd_add_to_total_float(x, d, total)


cdef inline void _add_values(
    floating **x, const double *s, Py_ssize_t d, double *sums, double *low, double *high,
) noexcept nogil:
    if floating is double:
        gd_add_values_double(x, s, d, sums, low, high)
    else:
        gd_add_values_float(x, s, d, sums, low, high)


cdef inline void _add_squares(
    floating **x, floating **ahead, const double *s, Py_ssize_t d, const double *mean, double *squares,
) noexcept nogil:
    if floating is double:
        gd_add_squares_double(x, ahead, s, d, mean, squares)
    else:
        gd_add_squares_float(x, ahead, s, d, mean, squares)
