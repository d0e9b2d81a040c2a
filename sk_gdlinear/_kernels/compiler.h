/* Differences between compilers, and the size of a cache line. */

#ifndef GD_COMPILER_H
#define GD_COMPILER_H

#define GD_LINE_BYTES 64

#if defined(__GNUC__) || defined(__clang__)
#define gd_prefetch(address) __builtin_prefetch(address)
#define GD_NOINLINE __attribute__((noinline))
#define GD_VECTORS /* arithmetic of several numbers at once, whatever the machine has for it */
#elif defined(_MSC_VER)
#define gd_prefetch(address) ((void)0)
#define GD_NOINLINE __declspec(noinline)
#else
#define gd_prefetch(address) ((void)0)
#define GD_NOINLINE
#endif

/* Compile a loop twice, also for AVX2; the loader chooses, which only glibc's can. Both add the same numbers in the same
order, without fused multiply-add, so the results are the same bits. */
#if defined(__x86_64__) && defined(__gnu_linux__) && defined(__GNUC__) && !defined(__clang__)
#define GD_LOOP __attribute__((noinline, target_clones("avx2", "default"))) static
#else
#define GD_LOOP GD_NOINLINE static
#endif

#endif
