/* AVX2 with FMA and F16C: 8 floats a register, 16 registers. Intel since Haswell (2013), AMD since Zen.
 *
 * Numerics: a dot product runs in 16 strands (two registers), each one a chain of fused multiply-adds, which are
 * then added pairwise: |computed - exact| <= (d / 16 + 7) u sum|a_i b_i| / (1 - ...), u = 2^-24. Division and square
 * root are the correctly rounded instructions, never the approximate reciprocals. Half precision is F16C,
 * rounding to nearest even whatever MXCSR says. Denormals are kept (MXCSR is left alone).
 */
#include "sona_kernels.h"

#if defined(__x86_64__)

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c,sse4.2"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c,sse4.2")
#endif

#include <immintrin.h>

typedef __m256 vec;
enum { W = 8, ROWS = 6 }; /* 12 accumulators, 2 centroid vectors, 1 broadcast: 15 of 16 registers */

#define INLINE static inline __attribute__((always_inline))

INLINE vec v_zero(void) { return _mm256_setzero_ps(); }
INLINE vec v_set(float x) { return _mm256_set1_ps(x); }
INLINE vec v_load(const sona_f32 *p) { return _mm256_loadu_ps((const float *)p); }
INLINE void v_store(sona_f32 *p, vec x) { _mm256_storeu_ps((float *)p, x); }
INLINE vec v_add(vec a, vec b) { return _mm256_add_ps(a, b); }
INLINE vec v_mul(vec a, vec b) { return _mm256_mul_ps(a, b); }
INLINE vec v_div(vec a, vec b) { return _mm256_div_ps(a, b); }
INLINE vec v_min(vec a, vec b) { return _mm256_min_ps(a, b); }
INLINE vec v_max(vec a, vec b) { return _mm256_max_ps(a, b); }
INLINE vec v_fma(vec a, vec b, vec c) { return _mm256_fmadd_ps(a, b, c); }
INLINE unsigned v_equal_bits(vec a, vec b) { return (unsigned)_mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_EQ_OQ)); }

/* Lanes below n. Masked loads and stores touch no memory outside of them. */
INLINE __m256i first_lanes(ptrdiff_t n)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

INLINE vec v_load_part(const sona_f32 *p, ptrdiff_t n) { return _mm256_maskload_ps((const float *)p, first_lanes(n)); }
INLINE void v_store_part(sona_f32 *p, vec x, ptrdiff_t n) { _mm256_maskstore_ps((float *)p, first_lanes(n), x); }

/* The halves of the register first, then neighbours: the order in which hadd adds four registers at once. */
INLINE float v_sum(vec x)
{
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehdup_ps(four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehl_ps(two, two)));
}

INLINE void v_sum_four(const vec *x, float *out)
{
    __m128 four[4];
    for (int r = 0; r < 4; r++)
        four[r] = _mm_add_ps(_mm256_castps256_ps128(x[r]), _mm256_extractf128_ps(x[r], 1));
    _mm_storeu_ps(out, _mm_hadd_ps(_mm_hadd_ps(four[0], four[1]), _mm_hadd_ps(four[2], four[3])));
}

#include "simd_kernels.h"

/* 255 * 63 * 2 < 2^15: the pair sums of maddubs cannot saturate, so the result is the exact integer. */
static void dot_rows_u8(const int8_t *q, const uint8_t *rows, ptrdiff_t m, ptrdiff_t d, sona_i32 *out)
{
    const __m256i ones = _mm256_set1_epi16(1);
    for (ptrdiff_t i = 0; i < m; i++, rows += d) {
        __m256i sums = _mm256_setzero_si256();
        ptrdiff_t j = 0;
        for (; j + 32 <= d; j += 32) {
            const __m256i r = _mm256_loadu_si256((const __m256i *)(rows + j));
            const __m256i pairs = _mm256_maddubs_epi16(r, _mm256_loadu_si256((const __m256i *)(q + j)));
            sums = _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, ones));
        }
        __m128i four = _mm_add_epi32(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1));
        four = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4e));
        int32_t sum = _mm_cvtsi128_si32(four) + _mm_extract_epi32(four, 1);
        for (; j < d; j++)
            sum += q[j] * rows[j];
        out[i] = sum;
    }
}

static ptrdiff_t to_f16_be(const sona_f32 *x, ptrdiff_t n, uint8_t *out)
{
    const __m128i swap = _mm_setr_epi8(1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14);
    const __m128i exponent = _mm_set1_epi16(0x7c00);
    ptrdiff_t bad = 0, i = 0;
    for (; i + 8 <= n; i += 8) {
        const __m128i half = _mm256_cvtps_ph(v_load(x + i), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
        const __m128i lost = _mm_cmpeq_epi16(_mm_and_si128(half, exponent), exponent);
        bad += __builtin_popcount((unsigned)_mm_movemask_epi8(lost)) / 2;
        _mm_storeu_si128((__m128i *)(out + 2 * i), _mm_shuffle_epi8(half, swap));
    }
    return bad + f32_to_f16_be(x + i, n - i, out + 2 * i);
}

static void from_f16_be(const uint8_t *bytes, ptrdiff_t n, sona_f32 *out)
{
    const __m128i swap = _mm_setr_epi8(1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14);
    ptrdiff_t i = 0;
    for (; i + 8 <= n; i += 8) {
        const __m128i half = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(bytes + 2 * i)), swap);
        v_store(out + i, _mm256_cvtph_ps(half));
    }
    f16_be_to_f32(bytes + 2 * i, n - i, out + i);
}

/* Reverses the bytes of n 4-byte words: big-endian to native and back are the same move. */
static void swap_words(const uint8_t *from, ptrdiff_t n, uint8_t *to)
{
    const __m256i swap = _mm256_setr_epi8(3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12,
                                          3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12);
    ptrdiff_t i = 0;
    for (; i + 8 <= n; i += 8) {
        const __m256i words = _mm256_loadu_si256((const __m256i *)(from + 4 * i));
        _mm256_storeu_si256((__m256i *)(to + 4 * i), _mm256_shuffle_epi8(words, swap));
    }
    for (; i < n; i++) {
        uint32_t word;
        memcpy(&word, from + 4 * i, 4);
        store_be32(to + 4 * i, word);
    }
}

static void to_f32_be(const sona_f32 *x, ptrdiff_t n, uint8_t *out) { swap_words((const uint8_t *)x, n, out); }
static void from_f32_be(const uint8_t *bytes, ptrdiff_t n, sona_f32 *out) { swap_words(bytes, n, (uint8_t *)out); }

#include "x86_crc32c.h"

const sona_kernels sona_avx2 = {
    .isa = "avx2", SONA_COMMON_KERNELS, .dot_rows_u8 = dot_rows_u8,
    .f32_to_f16_be = to_f16_be, .f16_be_to_f32 = from_f16_be, .f32_to_be = to_f32_be, .be_to_f32 = from_f32_be,
    .crc32c = sse42_crc32c,
};

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#else
const sona_kernels sona_avx2 = {0};
#endif
