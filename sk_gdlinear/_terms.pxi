# What both kernels include: prefetching, and the loss and the penalty of _objective, a number at a time.

cdef extern from "_compiler.h":
    void gd_prefetch(const void *address) noexcept nogil

ctypedef fused floating:
    float
    double


cdef inline floating _derivative(floating e, floating offset, floating low, floating high) noexcept nogil:
    e += offset
    return low if e < low else high if e > high else e


cdef inline double _value(floating e, floating derivative, floating offset) noexcept nogil:
    cdef double u = derivative - offset
    return offset * <double>e + u * (e - 0.5 * u)


cdef inline floating _threshold(floating point, floating width, bint positive) noexcept nogil:
    """Towards 0 by ``width`` and not past it."""
    return point - width if point > width else point + width if point < -width and not positive else 0
