/* NEON on AArch64: 4 floats a register, 32 registers; part of every 64-bit Arm CPU, half precision conversion too.
 *
 * Numerics: a dot product runs in 8 strands (two registers) of fused multiply-adds, added pairwise at the end:
 * |computed - exact| <= (d / 8 + 6) u sum|a_i b_i| / (1 - ...), u = 2^-24. Division and square root are the correctly
 * rounded instructions. Half precision rounds to nearest even under the default FPCR. NEON has no masked loads:
 * a tail goes through four floats on the stack.
 */
#include "sona_kernels.h"

#if defined(__aarch64__) && !defined(__AARCH64EB__)

#include <arm_neon.h>
#include <string.h>

typedef float32x4_t vec;
enum { W = 4, ROWS = 12 }; /* 24 accumulators, 2 centroid vectors, 1 broadcast: 27 of 32 registers */

#define INLINE static inline __attribute__((always_inline))

/* Loads and stores by bytes: `float *` would promise the compiler an alignment that we do not have. */
INLINE vec v_load(const sona_f32 *p) { return vreinterpretq_f32_u8(vld1q_u8((const uint8_t *)p)); }
INLINE void v_store(sona_f32 *p, vec x) { vst1q_u8((uint8_t *)p, vreinterpretq_u8_f32(x)); }
INLINE vec v_zero(void) { return vdupq_n_f32(0.0f); }
INLINE vec v_set(float x) { return vdupq_n_f32(x); }
INLINE vec v_add(vec a, vec b) { return vaddq_f32(a, b); }
INLINE vec v_mul(vec a, vec b) { return vmulq_f32(a, b); }
INLINE vec v_div(vec a, vec b) { return vdivq_f32(a, b); }
INLINE vec v_min(vec a, vec b) { return vminq_f32(a, b); }
INLINE vec v_max(vec a, vec b) { return vmaxq_f32(a, b); }
INLINE vec v_fma(vec a, vec b, vec c) { return vfmaq_f32(c, a, b); }

INLINE vec v_load_part(const sona_f32 *p, ptrdiff_t n)
{
    float lanes[4] = {0};
    memcpy(lanes, p, (size_t)n * sizeof(float));
    return vld1q_f32(lanes);
}

INLINE void v_store_part(sona_f32 *p, vec x, ptrdiff_t n)
{
    float lanes[4];
    vst1q_f32(lanes, x);
    memcpy(p, lanes, (size_t)n * sizeof(float));
}

/* Neighbours, then the two halves: the order in which vpaddq adds four registers at once. */
INLINE float v_sum(vec x) { return vaddvq_f32(x); }

INLINE void v_sum_four(const vec *x, float *out)
{
    vst1q_f32(out, vpaddq_f32(vpaddq_f32(x[0], x[1]), vpaddq_f32(x[2], x[3])));
}

INLINE unsigned v_equal_bits(vec a, vec b)
{
    const uint32_t weights[4] = {1, 2, 4, 8};
    return vaddvq_u32(vandq_u32(vceqq_f32(a, b), vld1q_u32(weights)));
}

#include "simd_kernels.h"

/* Rows less 128 are signed bytes, so one signed multiply serves both; 128 sum(q) is added back at the end. */
static void dot_rows_u8(const int8_t *q, const uint8_t *rows, ptrdiff_t m, ptrdiff_t d, sona_i32 *out)
{
    const uint8x16_t bias = vdupq_n_u8(128);
    int32_t offset = 0;
    for (ptrdiff_t j = 0; j < d; j++)
        offset += 128 * q[j];
    for (ptrdiff_t i = 0; i < m; i++, rows += d) {
        int32x4_t sums = vdupq_n_s32(0);
        int32_t rest = 0;
        ptrdiff_t j = 0;
        for (; j + 16 <= d; j += 16) {
            const int8x16_t r = vreinterpretq_s8_u8(veorq_u8(vld1q_u8(rows + j), bias)), x = vld1q_s8(q + j);
            sums = vpadalq_s16(sums, vmull_s8(vget_low_s8(r), vget_low_s8(x)));
            sums = vpadalq_s16(sums, vmull_high_s8(r, x));
        }
        for (; j < d; j++)
            rest += q[j] * (rows[j] - 128);
        out[i] = vaddvq_s32(sums) + rest + offset;
    }
}

static ptrdiff_t to_f16_be(const sona_f32 *x, ptrdiff_t n, uint8_t *out)
{
    const uint16x4_t exponent = vdup_n_u16(0x7c00);
    ptrdiff_t bad = 0, i = 0;
    for (; i + 4 <= n; i += 4) {
        const uint16x4_t half = vreinterpret_u16_f16(vcvt_f16_f32(v_load(x + i)));
        bad += vaddv_u16(vshr_n_u16(vceq_u16(vand_u16(half, exponent), exponent), 15));
        vst1_u8(out + 2 * i, vrev16_u8(vreinterpret_u8_u16(half)));
    }
    return bad + f32_to_f16_be(x + i, n - i, out + 2 * i);
}

static void from_f16_be(const uint8_t *bytes, ptrdiff_t n, sona_f32 *out)
{
    ptrdiff_t i = 0;
    for (; i + 4 <= n; i += 4)
        v_store(out + i, vcvt_f32_f16(vreinterpret_f16_u8(vrev16_u8(vld1_u8(bytes + 2 * i)))));
    f16_be_to_f32(bytes + 2 * i, n - i, out + i);
}

static void to_f32_be(const sona_f32 *x, ptrdiff_t n, uint8_t *out)
{
    ptrdiff_t i = 0;
    for (; i + 4 <= n; i += 4)
        vst1q_u8(out + 4 * i, vrev32q_u8(vld1q_u8((const uint8_t *)(x + i))));
    f32_to_be(x + i, n - i, out + 4 * i);
}

static void from_f32_be(const uint8_t *bytes, ptrdiff_t n, sona_f32 *out)
{
    ptrdiff_t i = 0;
    for (; i + 4 <= n; i += 4)
        vst1q_u8((uint8_t *)(out + i), vrev32q_u8(vld1q_u8(bytes + 4 * i)));
    be_to_f32(bytes + 4 * i, n - i, out + i);
}

/* The CRC instructions are optional in Armv8.0, so the table serves here too. */
const sona_kernels sona_neon = {
    .isa = "neon", SONA_COMMON_KERNELS, .dot_rows_u8 = dot_rows_u8,
    .f32_to_f16_be = to_f16_be, .f16_be_to_f32 = from_f16_be, .f32_to_be = to_f32_be, .be_to_f32 = from_f32_be,
    .crc32c = crc32c,
};

#else
const sona_kernels sona_neon = {0};
#endif
