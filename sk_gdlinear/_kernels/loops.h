/* The innermost loops over the numbers of dense rows, for double and float: gd_dot_double, gd_dot_float, and so on.

These are in plain C because compilers vectorise them; they do not vectorise many of the loops that Cython generates, nor
these loops where they are inlined there. */

#ifndef GD_LOOPS_H
#define GD_LOOPS_H

#include <stddef.h>
#include <string.h>

#include "compiler.h"

#define GD_REAL double
#define GD_OF_REAL(name) name##_double
#define GD_LANES 4
#include "loops_of_real.h"
#undef GD_REAL
#undef GD_OF_REAL
#undef GD_LANES

#define GD_REAL float
#define GD_OF_REAL(name) name##_float
#define GD_LANES 8
#include "loops_of_real.h"
#undef GD_REAL
#undef GD_OF_REAL
#undef GD_LANES

/* What gd_standardize_double computes, of floats; prefetches the row `ahead`, line by line. */
GD_LOOP void gd_standardize_float_as_double(
    const float *x, const float *ahead, const double *shift, const double *inv_scale, ptrdiff_t d, double *__restrict z)
{
    const ptrdiff_t line = GD_LINE_BYTES / sizeof(float);
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

#endif
