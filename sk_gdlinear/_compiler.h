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

/* A loop that is compiled for AVX2, too, and chosen when the module is loaded. The same numbers are added in the same
order, without fused multiply-add: the results are the same bits. Only glibc's loader can choose. */
#if defined(__x86_64__) && defined(__gnu_linux__) && defined(__GNUC__) && !defined(__clang__)
#define GD_LOOP __attribute__((noinline, target_clones("avx2", "default"))) static
#else
#define GD_LOOP GD_NOINLINE static
#endif

#endif
