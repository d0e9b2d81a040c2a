/* The loops of loops.h for one type. */

/* GD_LANES partial sums. */
#ifdef GD_VECTORS
typedef GD_REAL GD_OF_REAL(gd_sums) __attribute__((vector_size(GD_LANES * sizeof(GD_REAL))));
#define GD_LANE(s, i) (s)[i]
#else
typedef struct {
    GD_REAL lane[GD_LANES];
} GD_OF_REAL(gd_sums);
#define GD_LANE(s, i) (s).lane[i]
#endif

/* s += x * w for GD_LANES numbers */
static inline void GD_OF_REAL(gd_add_products)(GD_OF_REAL(gd_sums) *s, const GD_REAL *x, const GD_REAL *w)
{
#ifdef GD_VECTORS
    GD_OF_REAL(gd_sums) a, c;
    memcpy(&a, x, sizeof a);
    memcpy(&c, w, sizeof c);
    *s += a * c;
#else
    int i;
    for (i = 0; i < GD_LANES; i++)
        s->lane[i] += x[i] * w[i];
#endif
}

/* Total of partial sums. */
static inline GD_REAL GD_OF_REAL(gd_total)(const GD_OF_REAL(gd_sums) *s)
{
    GD_REAL a[4];
    int i;
    for (i = 0; i < 4; i++)
        a[i] = GD_LANES == 4 ? GD_LANE(*s, i) : GD_LANE(*s, i) + GD_LANE(*s, i + GD_LANES - 4);
    return (a[0] + a[2]) + (a[1] + a[3]);
}

/* The same of an array, which is overwritten. */
static inline GD_REAL GD_OF_REAL(gd_total_of_array)(GD_REAL *s)
{
    int i, half;
    for (half = GD_LANES / 2; half > 0; half /= 2)
        for (i = 0; i < half; i++)
            s[i] += s[i + half];
    return s[0];
}

/* x . w, in eight partial sums */
GD_LOOP GD_REAL GD_OF_REAL(gd_dot)(const GD_REAL *x, const GD_REAL *w, ptrdiff_t d)
{
    GD_REAL s[8] = {0};
    ptrdiff_t j;
    int i;
    for (j = 0; j + 8 <= d; j += 8)
        for (i = 0; i < 8; i++)
            s[i] += x[j + i] * w[j + i];
    for (; j < d; j++)
        s[0] += x[j] * w[j];
    return ((s[0] + s[1]) + (s[2] + s[3])) + ((s[4] + s[5]) + (s[6] + s[7]));
}

/* dots[r] = x[r] . w for four rows in one pass over w; prefetches the rows `ahead`, line by line. */
GD_LOOP void GD_OF_REAL(gd_four_short_dots)(
    GD_REAL *const *x, GD_REAL *const *ahead, const GD_REAL *w, ptrdiff_t d, GD_REAL *dots)
{
    const ptrdiff_t line = GD_LINE_BYTES / sizeof(GD_REAL);
    const GD_REAL *x0 = x[0], *x1 = x[1], *x2 = x[2], *x3 = x[3];
    GD_OF_REAL(gd_sums) s0 = {0}, s1 = {0}, s2 = {0}, s3 = {0};
    GD_REAL t0, t1, t2, t3;
    ptrdiff_t j;
    int i;
    for (j = 0; j + GD_LANES <= d; j += GD_LANES) {
        if (j % line == 0)
            for (i = 0; i < 4; i++)
                gd_prefetch(ahead[i] + j);
        GD_OF_REAL(gd_add_products)(&s0, x0 + j, w + j);
        GD_OF_REAL(gd_add_products)(&s1, x1 + j, w + j);
        GD_OF_REAL(gd_add_products)(&s2, x2 + j, w + j);
        GD_OF_REAL(gd_add_products)(&s3, x3 + j, w + j);
    }
    for (i = 0; i < 4; i++)
        gd_prefetch(ahead[i] + d - 1);
    t0 = GD_OF_REAL(gd_total)(&s0);
    t1 = GD_OF_REAL(gd_total)(&s1);
    t2 = GD_OF_REAL(gd_total)(&s2);
    t3 = GD_OF_REAL(gd_total)(&s3);
    for (; j < d; j++) {
        t0 += x0[j] * w[j];
        t1 += x1[j] * w[j];
        t2 += x2[j] * w[j];
        t3 += x3[j] * w[j];
    }
    dots[0] = t0;
    dots[1] = t1;
    dots[2] = t2;
    dots[3] = t3;
}

/* What gd_four_short_dots computes, of long rows: reading memory limits these, which is faster without vectors. */
GD_LOOP void GD_OF_REAL(gd_four_dots)(
    GD_REAL *const *x, GD_REAL *const *ahead, const GD_REAL *w, ptrdiff_t d, GD_REAL *dots)
{
    const ptrdiff_t line = GD_LINE_BYTES / sizeof(GD_REAL);
    const GD_REAL *x0 = x[0], *x1 = x[1], *x2 = x[2], *x3 = x[3];
    GD_REAL s0[GD_LANES] = {0}, s1[GD_LANES] = {0}, s2[GD_LANES] = {0}, s3[GD_LANES] = {0};
    ptrdiff_t j;
    int i;
    for (j = 0; j + GD_LANES <= d; j += GD_LANES) {
        if (j % line == 0)
            for (i = 0; i < 4; i++)
                gd_prefetch(ahead[i] + j);
        for (i = 0; i < GD_LANES; i++) {
            s0[i] += x0[j + i] * w[j + i];
            s1[i] += x1[j + i] * w[j + i];
            s2[i] += x2[j + i] * w[j + i];
            s3[i] += x3[j + i] * w[j + i];
        }
    }
    for (i = 0; i < 4; i++)
        gd_prefetch(ahead[i] + d - 1);
    for (; j < d; j++) {
        s0[0] += x0[j] * w[j];
        s1[0] += x1[j] * w[j];
        s2[0] += x2[j] * w[j];
        s3[0] += x3[j] * w[j];
    }
    dots[0] = GD_OF_REAL(gd_total_of_array)(s0);
    dots[1] = GD_OF_REAL(gd_total_of_array)(s1);
    dots[2] = GD_OF_REAL(gd_total_of_array)(s2);
    dots[3] = GD_OF_REAL(gd_total_of_array)(s3);
}

/* rows[i * d + j] = columns[j * stride + i] for n rows, by blocks of as many as a cache line of a column has; prefetches
the block after the next. */
GD_LOOP void GD_OF_REAL(gd_copy_columns)(
    const GD_REAL *columns, ptrdiff_t stride, ptrdiff_t n, ptrdiff_t d, GD_REAL *__restrict rows)
{
    const ptrdiff_t line = GD_LINE_BYTES / sizeof(GD_REAL);
    const GD_REAL *a, *b, *c, *e;
    ptrdiff_t i, j, r, size;
    for (i = 0; i < n; i += line) {
        size = n - i < line ? n - i : line;
        for (j = 0; j < d; j++)
            gd_prefetch(columns + j * stride + (i + 2 * line < n ? i + 2 * line : n - 1));
        for (j = 0; j + 4 <= d; j += 4) { /* four at once fill a part of each row */
            a = columns + j * stride + i;
            b = a + stride;
            c = b + stride;
            e = c + stride;
            for (r = 0; r < size; r++) {
                rows[r * d + j] = a[r];
                rows[r * d + j + 1] = b[r];
                rows[r * d + j + 2] = c[r];
                rows[r * d + j + 3] = e[r];
            }
        }
        for (; j < d; j++)
            for (r = 0; r < size; r++)
                rows[r * d + j] = columns[j * stride + i + r];
        rows += size * d;
    }
}

/* total += x, in double */
GD_LOOP void GD_OF_REAL(gd_add_to_total)(const GD_REAL *x, ptrdiff_t d, double *__restrict total)
{
    ptrdiff_t j;
    for (j = 0; j < d; j++)
        total[j] += x[j];
}

/* sum += g x */
GD_LOOP void GD_OF_REAL(gd_add)(const GD_REAL *x, GD_REAL g, ptrdiff_t d, GD_REAL *__restrict sum)
{
    ptrdiff_t j;
    for (j = 0; j < d; j++)
        sum[j] += g * x[j];
}

/* sum += g[0] x[0] + g[1] x[1] + g[2] x[2] + g[3] x[3], in one pass over sum */
GD_LOOP void GD_OF_REAL(gd_add_four)(GD_REAL *const *x, const GD_REAL *g, ptrdiff_t d, GD_REAL *__restrict sum)
{
    const GD_REAL *x0 = x[0], *x1 = x[1], *x2 = x[2], *x3 = x[3], g0 = g[0], g1 = g[1], g2 = g[2], g3 = g[3];
    ptrdiff_t j;
    for (j = 0; j < d; j++)
        sum[j] += (g0 * x0[j] + g1 * x1[j]) + (g2 * x2[j] + g3 * x3[j]);
}

/* z = (x - shift) * inv_scale; prefetches the row `ahead`, line by line. */
GD_LOOP void GD_OF_REAL(gd_standardize)(
    const GD_REAL *x, const GD_REAL *ahead, const GD_REAL *shift, const GD_REAL *inv_scale, ptrdiff_t d,
    GD_REAL *__restrict z)
{
    const ptrdiff_t line = GD_LINE_BYTES / sizeof(GD_REAL);
    ptrdiff_t first, j = 0;
    for (first = 0; first + line <= d; first += line) {
        gd_prefetch(ahead + first);
        for (j = first; j < first + line; j++)
            z[j] = (x[j] - shift[j]) * inv_scale[j];
    }
    gd_prefetch(ahead + d - 1);
    for (; j < d; j++)
        z[j] = (x[j] - shift[j]) * inv_scale[j];
}

/* |z|^2 for the same z, in eight partial sums */
GD_LOOP GD_REAL GD_OF_REAL(gd_square_norm)(
    const GD_REAL *x, const GD_REAL *shift, const GD_REAL *inv_scale, ptrdiff_t d)
{
    GD_REAL s[8] = {0}, z[8];
    ptrdiff_t j;
    int i;
    for (j = 0; j + 8 <= d; j += 8) {
        for (i = 0; i < 8; i++)
            z[i] = (x[j + i] - shift[j + i]) * inv_scale[j + i];
        for (i = 0; i < 8; i++)
            s[i] += z[i] * z[i];
    }
    for (; j < d; j++) {
        z[0] = (x[j] - shift[j]) * inv_scale[j];
        s[0] += z[0] * z[0];
    }
    return ((s[0] + s[1]) + (s[2] + s[3])) + ((s[4] + s[5]) + (s[6] + s[7]));
}

/* V = W * inv_scale */
GD_LOOP void GD_OF_REAL(gd_scale)(
    const GD_REAL *W, const GD_REAL *inv_scale, ptrdiff_t d, GD_REAL *__restrict V)
{
    ptrdiff_t j;
    for (j = 0; j < d; j++)
        V[j] = W[j] * inv_scale[j];
}

/* grad = (grad - grad_b * shift) * inv_scale */
GD_LOOP void GD_OF_REAL(gd_standardize_gradient)(
    GD_REAL *__restrict grad, GD_REAL grad_b, const GD_REAL *shift, const GD_REAL *inv_scale, ptrdiff_t d)
{
    ptrdiff_t j;
    for (j = 0; j < d; j++)
        grad[j] = (grad[j] - grad_b * shift[j]) * inv_scale[j];
}

/* update += rows * grad, then grad += mean_grad */
GD_LOOP void GD_OF_REAL(gd_add_mean_gradient)(
    GD_REAL *__restrict grad, const GD_REAL *mean_grad, GD_REAL *__restrict update, ptrdiff_t size, GD_REAL rows)
{
    ptrdiff_t i;
    for (i = 0; i < size; i++) {
        update[i] += rows * grad[i];
        grad[i] += mean_grad[i];
    }
}

/* W -= step * grad, then, unless it is NULL, mean += averaging_weight * (W - mean) */
GD_LOOP void GD_OF_REAL(gd_descend)(
    GD_REAL *__restrict W, GD_REAL *__restrict mean, const GD_REAL *grad, ptrdiff_t size, GD_REAL step,
    GD_REAL averaging_weight)
{
    ptrdiff_t i;
    if (mean == NULL)
        for (i = 0; i < size; i++)
            W[i] -= step * grad[i];
    else
        for (i = 0; i < size; i++) {
            W[i] -= step * grad[i];
            mean[i] += averaging_weight * (W[i] - mean[i]);
        }
}

/* gd_add_mean_gradient, unless mean_grad is NULL, and gd_descend of the gradient g z of one row, in one loop */
GD_LOOP void GD_OF_REAL(gd_descend_row)(
    GD_REAL *__restrict W, GD_REAL *__restrict mean, const GD_REAL *z, GD_REAL g, const GD_REAL *mean_grad,
    GD_REAL *__restrict update, ptrdiff_t size, GD_REAL step, GD_REAL averaging_weight)
{
    ptrdiff_t i;
    GD_REAL grad;
    if (mean_grad == NULL && mean == NULL)
        for (i = 0; i < size; i++)
            W[i] -= step * (g * z[i]);
    else if (mean_grad == NULL)
        for (i = 0; i < size; i++) {
            W[i] -= step * (g * z[i]);
            mean[i] += averaging_weight * (W[i] - mean[i]);
        }
    else if (mean == NULL)
        for (i = 0; i < size; i++) {
            grad = g * z[i];
            update[i] += grad;
            W[i] -= step * (grad + mean_grad[i]);
        }
    else
        for (i = 0; i < size; i++) {
            grad = g * z[i];
            update[i] += grad;
            W[i] -= step * (grad + mean_grad[i]);
            mean[i] += averaging_weight * (W[i] - mean[i]);
        }
}

/* sums += s[0] x[0] + s[1] x[1] + s[2] x[2] + s[3] x[3]; low and high become the extremes including these rows. */
GD_LOOP void GD_OF_REAL(gd_add_values)(
    GD_REAL *const *x, const double *s, ptrdiff_t d, double *__restrict sums, double *__restrict low,
    double *__restrict high)
{
    const GD_REAL *x0 = x[0], *x1 = x[1], *x2 = x[2], *x3 = x[3];
    const double s0 = s[0], s1 = s[1], s2 = s[2], s3 = s[3];
    GD_REAL a, c;
    ptrdiff_t j;
    for (j = 0; j < d; j++)
        sums[j] += (s0 * x0[j] + s1 * x1[j]) + (s2 * x2[j] + s3 * x3[j]);
    for (j = 0; j < d; j++) {
        a = x0[j] < x1[j] ? x0[j] : x1[j];
        c = x2[j] < x3[j] ? x2[j] : x3[j];
        a = a < c ? a : c;
        low[j] = a < low[j] ? a : low[j];
    }
    for (j = 0; j < d; j++) {
        a = x0[j] > x1[j] ? x0[j] : x1[j];
        c = x2[j] > x3[j] ? x2[j] : x3[j];
        a = a > c ? a : c;
        high[j] = a > high[j] ? a : high[j];
    }
}

/* squares += s[0] (x[0] - mean)^2 + ... + s[3] (x[3] - mean)^2; prefetches the rows `ahead` first. */
GD_LOOP void GD_OF_REAL(gd_add_squares)(
    GD_REAL *const *x, GD_REAL *const *ahead, const double *s, ptrdiff_t d, const double *mean,
    double *__restrict squares)
{
    const ptrdiff_t line = GD_LINE_BYTES / sizeof(GD_REAL);
    const GD_REAL *x0 = x[0], *x1 = x[1], *x2 = x[2], *x3 = x[3];
    const double s0 = s[0], s1 = s[1], s2 = s[2], s3 = s[3];
    double a0, a1, a2, a3;
    ptrdiff_t j;
    int r;
    for (r = 0; r < 4; r++)
        for (j = 0; j < d; j += line)
            gd_prefetch(ahead[r] + j);
    for (j = 0; j < d; j++) {
        a0 = x0[j] - mean[j];
        a1 = x1[j] - mean[j];
        a2 = x2[j] - mean[j];
        a3 = x3[j] - mean[j];
        squares[j] += (s0 * a0 * a0 + s1 * a1 * a1) + (s2 * a2 * a2 + s3 * a3 * a3);
    }
}

#undef GD_LANE
