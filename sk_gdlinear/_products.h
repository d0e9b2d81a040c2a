/* Products of four rows at once, which spares three of four visits to what they are multiplied with or added to.

Plain C, whose loops compilers vectorise; those that Cython writes they do not, nor these where they are inlined there. */

#ifndef GD_PRODUCTS_H
#define GD_PRODUCTS_H

#include <stddef.h>

#include "_compiler.h"

/* dots[r] = x[r] . w, in four sums each, asking memory, line by line, for the rows `ahead`. */
#define GD_DEFINE_FOUR_DOTS(name, real)                                                                               \
    GD_NOINLINE static void name(real *const *x, real *const *ahead, const real *w, ptrdiff_t d, real *dots)          \
    {                                                                                                                 \
        const ptrdiff_t line = GD_LINE_BYTES / sizeof(real);                                                          \
        const real *x0 = x[0], *x1 = x[1], *x2 = x[2], *x3 = x[3];                                                    \
        real s0[4] = {0}, s1[4] = {0}, s2[4] = {0}, s3[4] = {0};                                                      \
        ptrdiff_t first, j = 0;                                                                                       \
        int i;                                                                                                        \
        for (first = 0; first + line <= d; first += line) {                                                           \
            for (i = 0; i < 4; i++)                                                                                   \
                gd_prefetch(ahead[i] + first);                                                                        \
            for (j = first; j < first + line; j += 4)                                                                 \
                for (i = 0; i < 4; i++) {                                                                             \
                    s0[i] += x0[j + i] * w[j + i];                                                                    \
                    s1[i] += x1[j + i] * w[j + i];                                                                    \
                    s2[i] += x2[j + i] * w[j + i];                                                                    \
                    s3[i] += x3[j + i] * w[j + i];                                                                    \
                }                                                                                                     \
        }                                                                                                             \
        for (i = 0; i < 4; i++)                                                                                       \
            gd_prefetch(ahead[i] + d - 1);                                                                            \
        for (; j < d; j++) {                                                                                          \
            s0[0] += x0[j] * w[j];                                                                                    \
            s1[0] += x1[j] * w[j];                                                                                    \
            s2[0] += x2[j] * w[j];                                                                                    \
            s3[0] += x3[j] * w[j];                                                                                    \
        }                                                                                                             \
        dots[0] = (s0[0] + s0[1]) + (s0[2] + s0[3]);                                                                  \
        dots[1] = (s1[0] + s1[1]) + (s1[2] + s1[3]);                                                                  \
        dots[2] = (s2[0] + s2[1]) + (s2[2] + s2[3]);                                                                  \
        dots[3] = (s3[0] + s3[1]) + (s3[2] + s3[3]);                                                                  \
    }

/* sum += g[0] x[0] + g[1] x[1] + g[2] x[2] + g[3] x[3] */
#define GD_DEFINE_ADD_FOUR(name, real)                                                                                \
    GD_NOINLINE static void name(real *const *x, const real *g, ptrdiff_t d, real *__restrict sum)                    \
    {                                                                                                                 \
        const real *x0 = x[0], *x1 = x[1], *x2 = x[2], *x3 = x[3], g0 = g[0], g1 = g[1], g2 = g[2], g3 = g[3];        \
        ptrdiff_t j;                                                                                                  \
        for (j = 0; j < d; j++)                                                                                       \
            sum[j] += (g0 * x0[j] + g1 * x1[j]) + (g2 * x2[j] + g3 * x3[j]);                                          \
    }

GD_DEFINE_FOUR_DOTS(gd_four_dots_double, double)
GD_DEFINE_FOUR_DOTS(gd_four_dots_float, float)
GD_DEFINE_ADD_FOUR(gd_add_four_double, double)
GD_DEFINE_ADD_FOUR(gd_add_four_float, float)

#endif
