/* Loops over errors of one target, for a loss whose derivative is a line within bounds; in plain C so that compilers
vectorise them. */

#ifndef GD_LINE_LOOPS_H
#define GD_LINE_LOOPS_H

#include <math.h>
#include <stddef.h>

#include "compiler.h"

static inline double gd_within(double x, double low, double high)
{
    x = x < low ? low : x;
    return x > high ? high : x;
}

/* theta = the derivatives after a step that changes the errors by `way`, as a model predicts them that adds `damping`
to their slope; then, unless it is NULL, after one by `second_way` from those within the bounds. */
GD_LOOP void gd_predicted_derivatives(
    const double *e, const double *way, const double *second_way, ptrdiff_t n, double offset, double low, double high,
    double damping, double *__restrict theta)
{
    ptrdiff_t i;
    double slope, line;
    if (second_way == NULL)
        for (i = 0; i < n; i++) {
            line = e[i] + offset;
            slope = (line > low ? 1.0 : 0.0) * (line < high ? 1.0 : 0.0) + damping;
            theta[i] = gd_within(line, low, high) + slope * way[i];
        }
    else
        for (i = 0; i < n; i++) {
            line = e[i] + offset;
            slope = (line > low ? 1.0 : 0.0) * (line < high ? 1.0 : 0.0) + damping;
            line = gd_within(line, low, high) + slope * way[i];
            theta[i] = gd_within(line, low, high) + slope * second_way[i];
        }
}

/* excess = s times what theta is out of bounds by; extremes become the least and the largest theta including these. */
GD_LOOP void gd_excess(
    const double *theta, const double *s, ptrdiff_t n, double low, double high, double *__restrict excess,
    double *extremes)
{
    double least[4], largest[4];
    ptrdiff_t i;
    int c;
    for (i = 0; i < n; i++)
        excess[i] = s[i] * (theta[i] - gd_within(theta[i], low, high));
    for (c = 0; c < 4; c++) {
        least[c] = extremes[0];
        largest[c] = extremes[1];
    }
    for (i = 0; i + 4 <= n; i += 4)
        for (c = 0; c < 4; c++) {
            least[c] = theta[i + c] < least[c] ? theta[i + c] : least[c];
            largest[c] = theta[i + c] > largest[c] ? theta[i + c] : largest[c];
        }
    for (; i < n; i++) {
        least[0] = theta[i] < least[0] ? theta[i] : least[0];
        largest[0] = theta[i] > largest[0] ? theta[i] : largest[0];
    }
    for (c = 0; c < 4; c++) {
        extremes[0] = least[c] < extremes[0] ? least[c] : extremes[0];
        extremes[1] = largest[c] > extremes[1] ? largest[c] : extremes[1];
    }
}

/* sums += s theta e, s theta, s theta^2, s e, s |e|, s e^2, each in four partial sums */
GD_LOOP void gd_add_dual_sums(const double *e, const double *theta, const double *s, ptrdiff_t n, double *sums)
{
    double part[6][4] = {{0}};
    ptrdiff_t i;
    int a, c;
    for (i = 0; i + 4 <= n; i += 4)
        for (c = 0; c < 4; c++) {
            part[0][c] += s[i + c] * theta[i + c] * e[i + c];
            part[1][c] += s[i + c] * theta[i + c];
            part[2][c] += s[i + c] * theta[i + c] * theta[i + c];
            part[3][c] += s[i + c] * e[i + c];
            part[4][c] += s[i + c] * fabs(e[i + c]);
            part[5][c] += s[i + c] * e[i + c] * e[i + c];
        }
    for (; i < n; i++) {
        part[0][0] += s[i] * theta[i] * e[i];
        part[1][0] += s[i] * theta[i];
        part[2][0] += s[i] * theta[i] * theta[i];
        part[3][0] += s[i] * e[i];
        part[4][0] += s[i] * fabs(e[i]);
        part[5][0] += s[i] * e[i] * e[i];
    }
    for (a = 0; a < 6; a++)
        sums[a] += (part[a][0] + part[a][2]) + (part[a][1] + part[a][3]);
}

/* losses[a] += weight * the loss of the error e + shares[a] * way; middle = offset, least and most the bounds less it */
GD_LOOP void gd_add_losses(
    double e, double way, double weight, const double *shares, ptrdiff_t n, double offset, double least, double most,
    double *__restrict losses)
{
    ptrdiff_t a;
    double at, u;
    for (a = 0; a < n; a++) {
        at = e + shares[a] * way;
        u = gd_within(at, least, most);
        losses[a] += weight * (u * (at - 0.5 * u) + offset * at);
    }
}

#endif
