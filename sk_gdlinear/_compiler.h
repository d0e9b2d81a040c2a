/* What compilers differ in, and the size of a cache line. */

#ifndef GD_COMPILER_H
#define GD_COMPILER_H

#define GD_LINE_BYTES 64

#if defined(__GNUC__) || defined(__clang__)
#define gd_prefetch(address) __builtin_prefetch(address)
#define GD_NOINLINE __attribute__((noinline))
#elif defined(_MSC_VER)
#define gd_prefetch(address) ((void)0)
#define GD_NOINLINE __declspec(noinline)
#else
#define gd_prefetch(address) ((void)0)
#define GD_NOINLINE
#endif

#endif
