/* AVX-512 (F, BW, DQ, VL, VNNI): 16 floats a register, 32 registers. Intel since Cascade Lake and Ice Lake (2019),
 * AMD since Zen 4. A CPU without VNNI (Skylake-X) takes AVX2 instead.
 *
 * Numerics: as AVX2 with registers twice as wide: a dot product runs in 32 strands, so |computed - exact| <=
 * (d / 32 + 8) u sum|a_i b_i| / (1 - ...), u = 2^-24. Tails are masked loads of the same fused multiply-add, never a
 * separate loop. Division and square root are correctly rounded; no approximate reciprocal (vrcp14ps) is used.
 */
#include "sona_kernels.h"

#if defined(__x86_64__)

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c,sse4.2"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c,sse4.2")
#endif

#include <immintrin.h>

typedef __m512 vec;
enum { W = 16, ROWS = 12 }; /* 24 accumulators, 2 centroid vectors, 1 broadcast: 27 of 32 registers */

#define INLINE static inline __attribute__((always_inline))

INLINE vec v_zero(void) { return _mm512_setzero_ps(); }
INLINE vec v_set(float x) { return _mm512_set1_ps(x); }
INLINE vec v_load(const sona_f32 *p) { return _mm512_loadu_ps(p); }
INLINE void v_store(sona_f32 *p, vec x) { _mm512_storeu_ps(p, x); }
INLINE vec v_add(vec a, vec b) { return _mm512_add_ps(a, b); }
INLINE vec v_mul(vec a, vec b) { return _mm512_mul_ps(a, b); }
INLINE vec v_div(vec a, vec b) { return _mm512_div_ps(a, b); }
INLINE vec v_min(vec a, vec b) { return _mm512_min_ps(a, b); }
INLINE vec v_max(vec a, vec b) { return _mm512_max_ps(a, b); }
INLINE vec v_fma(vec a, vec b, vec c) { return _mm512_fmadd_ps(a, b, c); }
INLINE unsigned v_equal_bits(vec a, vec b) { return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ); }
INLINE __mmask16 first_lanes(ptrdiff_t n) { return (__mmask16)((1u << n) - 1); }
INLINE vec v_load_part(const sona_f32 *p, ptrdiff_t n) { return _mm512_maskz_loadu_ps(first_lanes(n), p); }
INLINE void v_store_part(sona_f32 *p, vec x, ptrdiff_t n) { _mm512_mask_storeu_ps(p, first_lanes(n), x); }

INLINE __m128 quarters(vec x)
{
    const __m256 half = _mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
    return _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
}

/* Halves, quarters, then neighbours: the order in which hadd adds four registers at once. */
INLINE float v_sum(vec x)
{
    const __m128 four = quarters(x), two = _mm_add_ps(four, _mm_movehdup_ps(four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehl_ps(two, two)));
}

INLINE void v_sum_four(const vec *x, float *out)
{
    const __m128 ab = _mm_hadd_ps(quarters(x[0]), quarters(x[1])), cd = _mm_hadd_ps(quarters(x[2]), quarters(x[3]));
    _mm_storeu_ps(out, _mm_hadd_ps(ab, cd));
}

#include "simd_kernels.h"

/* VNNI sums four products a lane straight into 32 bits: exact for any 8-bit values. R rows at a time. */
INLINE void dots_u8(const int R, const int8_t *q, const uint8_t *rows, ptrdiff_t d, sona_i32 *out)
{
    __m512i sums[4];
    for (int r = 0; r < R; r++)
        sums[r] = _mm512_setzero_si512();
    ptrdiff_t j = 0;
    for (; j + 64 <= d; j += 64)
        for (int r = 0; r < R; r++)
            sums[r] = _mm512_dpbusd_epi32(sums[r], _mm512_loadu_si512(rows + r * d + j), _mm512_loadu_si512(q + j));
    if (j < d) {
        const __mmask64 part = ((__mmask64)1 << (d - j)) - 1;
        const __m512i rest = _mm512_maskz_loadu_epi8(part, q + j);
        for (int r = 0; r < R; r++)
            sums[r] = _mm512_dpbusd_epi32(sums[r], _mm512_maskz_loadu_epi8(part, rows + r * d + j), rest);
    }
    __m128i four[4];
    for (int r = 0; r < R; r++) {
        const __m256i half = _mm256_add_epi32(_mm512_castsi512_si256(sums[r]), _mm512_extracti64x4_epi64(sums[r], 1));
        four[r] = _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
    }
    for (int r = R; r < 4; r++)
        four[r] = four[0];
    const __m128i all = _mm_hadd_epi32(_mm_hadd_epi32(four[0], four[1]), _mm_hadd_epi32(four[2], four[3]));
    if (R == 4)
        _mm_storeu_si128((__m128i *)out, all);
    else
        *out = _mm_cvtsi128_si32(all);
}

static void dot_rows_u8(const int8_t *q, const uint8_t *rows, ptrdiff_t m, ptrdiff_t d, sona_i32 *out)
{
    ptrdiff_t i = 0;
    for (; i + 4 <= m; i += 4)
        dots_u8(4, q, rows + i * d, d, out + i);
    for (; i < m; i++)
        dots_u8(1, q, rows + i * d, d, out + i);
}

/* The shuffle that swaps the two bytes of each half. */
INLINE __m256i byte_pairs(void)
{
    return _mm256_broadcastsi128_si256(_mm_setr_epi8(1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14));
}

static ptrdiff_t to_f16_be(const sona_f32 *x, ptrdiff_t n, uint8_t *out)
{
    const __m256i swap = byte_pairs();
    const __m256i exponent = _mm256_set1_epi16(0x7c00);
    ptrdiff_t bad = 0, i = 0;
    for (; i + 16 <= n; i += 16) {
        const __m256i half = _mm512_cvtps_ph(v_load(x + i), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
        bad += __builtin_popcount(_mm256_cmpeq_epi16_mask(_mm256_and_si256(half, exponent), exponent));
        _mm256_storeu_si256((__m256i *)(out + 2 * i), _mm256_shuffle_epi8(half, swap));
    }
    return bad + f32_to_f16_be(x + i, n - i, out + 2 * i);
}

static void from_f16_be(const uint8_t *bytes, ptrdiff_t n, sona_f32 *out)
{
    const __m256i swap = byte_pairs();
    ptrdiff_t i = 0;
    for (; i + 16 <= n; i += 16) {
        const __m256i half = _mm256_shuffle_epi8(_mm256_loadu_si256((const __m256i *)(bytes + 2 * i)), swap);
        v_store(out + i, _mm512_cvtph_ps(half));
    }
    f16_be_to_f32(bytes + 2 * i, n - i, out + i);
}

/* Reverses the bytes of n 4-byte words: big-endian to native and back are the same move. */
static void swap_words(const uint8_t *from, ptrdiff_t n, uint8_t *to)
{
    const __m512i swap = _mm512_broadcast_i32x4(_mm_setr_epi8(3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12));
    for (ptrdiff_t i = 0; i < n; i += 16) {
        const __mmask16 part = n - i < 16 ? first_lanes(n - i) : 0xffff;
        const __m512i words = _mm512_maskz_loadu_epi32(part, from + 4 * i);
        _mm512_mask_storeu_epi32(to + 4 * i, part, _mm512_shuffle_epi8(words, swap));
    }
}

static void to_f32_be(const sona_f32 *x, ptrdiff_t n, uint8_t *out) { swap_words((const uint8_t *)x, n, out); }
static void from_f32_be(const uint8_t *bytes, ptrdiff_t n, sona_f32 *out) { swap_words(bytes, n, (uint8_t *)out); }

#include "x86_crc32c.h"

const sona_kernels sona_avx512 = {
    .isa = "avx512", SONA_COMMON_KERNELS, .dot_rows_u8 = dot_rows_u8,
    .f32_to_f16_be = to_f16_be, .f16_be_to_f32 = from_f16_be, .f32_to_be = to_f32_be, .be_to_f32 = from_f32_be,
    .crc32c = sse42_crc32c,
};

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#else
const sona_kernels sona_avx512 = {0};
#endif
