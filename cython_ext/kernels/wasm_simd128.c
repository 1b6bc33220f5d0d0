/* WebAssembly SIMD for the JavaScript client: 4 floats a register, memory at any address. clients/js/wasm/build.sh
 * compiles this file and topk.c; the extension modules do not contain it.
 *
 * Numerics: there is no fused multiply-add in fixed-width SIMD, so each product is rounded before it is added. A dot
 * product runs in 8 strands (two registers), added pairwise at the end: |computed - exact| <= (d / 8 + 7) u sum|a_i b_i| /
 * (1 - ...), u = 2^-24. Tails are loaded lane by lane.
 */
#include "algorithms.h"

#include <wasm_simd128.h>

typedef v128_t vec;
enum { W = 4, ROWS = 4 };

#define INLINE static inline __attribute__((always_inline))
#define EXPORT(name) __attribute__((export_name(#name)))

INLINE vec v_load(const sona_f32 *p) { return wasm_v128_load(p); }
INLINE void v_store(sona_f32 *p, vec x) { wasm_v128_store(p, x); }
INLINE vec v_zero(void) { return wasm_f32x4_const(0, 0, 0, 0); }
INLINE vec v_set(float x) { return wasm_f32x4_splat(x); }
INLINE vec v_add(vec a, vec b) { return wasm_f32x4_add(a, b); }
INLINE vec v_mul(vec a, vec b) { return wasm_f32x4_mul(a, b); }
INLINE vec v_div(vec a, vec b) { return wasm_f32x4_div(a, b); }
INLINE vec v_min(vec a, vec b) { return wasm_f32x4_pmin(a, b); }
INLINE vec v_max(vec a, vec b) { return wasm_f32x4_pmax(a, b); }
INLINE vec v_fma(vec a, vec b, vec c) { return wasm_f32x4_add(wasm_f32x4_mul(a, b), c); }

INLINE vec v_load_part(const sona_f32 *p, ptrdiff_t n)
{
    if (n == 1)
        return wasm_v128_load32_zero(p);
    const vec two = wasm_v128_load64_zero(p);
    return n == 2 ? two : wasm_v128_load32_lane(p + 2, two, 2);
}

INLINE void v_store_part(sona_f32 *p, vec x, ptrdiff_t n)
{
    if (n == 1) {
        wasm_v128_store32_lane(p, x, 0);
        return;
    }
    wasm_v128_store64_lane(p, x, 0);
    if (n == 3)
        wasm_v128_store32_lane(p + 2, x, 2);
}

/* Neighbours of two registers. */
INLINE vec v_pairs(vec a, vec b)
{
    return wasm_f32x4_add(wasm_i32x4_shuffle(a, b, 0, 2, 4, 6), wasm_i32x4_shuffle(a, b, 1, 3, 5, 7));
}

INLINE void v_sum_four(const vec *x, float *out)
{
    wasm_v128_store(out, v_pairs(v_pairs(x[0], x[1]), v_pairs(x[2], x[3])));
}

INLINE float v_sum(vec x)
{
    const vec pairs = v_pairs(x, x);
    return wasm_f32x4_extract_lane(pairs, 0) + wasm_f32x4_extract_lane(pairs, 1);
}

INLINE unsigned v_equal_bits(vec a, vec b) { return wasm_i32x4_bitmask(wasm_f32x4_eq(a, b)); }

#include "simd_kernels.h"

/* dots and add_rows of simd_kernels.h in another shape, with the same sums in the same order. V8 computes the address
 * of each load in an instruction of its own, unless it is a pointer plus a constant: so the pointers advance, and a
 * turn takes UNROLL registers at constant offsets (a quarter faster; build.sh keeps clang from undoing it). */
enum { UNROLL = 4 };

INLINE void advancing_dots(const int R, const sona_f32 *q, const sona_f32 *C, ptrdiff_t d, sona_f32 *out)
{
    const sona_f32 *row[2];
    vec sum[2][2];
    for (int r = 0; r < R; r++) {
        row[r] = C + r * d;
        sum[r][0] = sum[r][1] = v_zero();
    }
    ptrdiff_t left = d;
    for (; left >= UNROLL * W; left -= UNROLL * W) {
        for (int u = 0; u < UNROLL; u++) {
            const vec x = v_load(q + u * W);
            for (int r = 0; r < R; r++)
                sum[r][u % 2] = v_fma(x, v_load(row[r] + u * W), sum[r][u % 2]);
        }
        q += UNROLL * W;
        for (int r = 0; r < R; r++)
            row[r] += UNROLL * W;
    }
    for (int strand = 0; left >= W; strand ^= 1, left -= W) {
        for (int r = 0; r < R; r++) {
            const vec product = v_mul(v_load(q), v_load(row[r]));
            if (strand)
                sum[r][1] = v_add(product, sum[r][1]);
            else
                sum[r][0] = v_add(product, sum[r][0]);
            row[r] += W;
        }
        q += W;
    }
    if (left > 0)
        for (int r = 0; r < R; r++)
            sum[r][1] = v_fma(v_load_part(q, left), v_load_part(row[r], left), sum[r][1]);
    for (int r = 0; r < R; r++)
        sum[r][0] = v_add(sum[r][0], sum[r][1]);
    for (int r = 0; r < R; r++)
        out[r] = v_sum(sum[r][0]);
}

/* y = x + sum of R scaled rows; y may be x. */
INLINE void advancing_add(const int R, const sona_f32 *scale, const sona_f32 *rows, const sona_f32 *x, ptrdiff_t d,
                          sona_f32 *y)
{
    const sona_f32 *row[2];
    vec s[2];
    for (int r = 0; r < R; r++) {
        row[r] = rows + r * d;
        s[r] = v_set(scale[r]);
    }
    ptrdiff_t left = d;
    for (; left >= UNROLL * W; left -= UNROLL * W) {
        for (int u = 0; u < UNROLL; u++) {
            vec sum = v_load(x + u * W);
            for (int r = 0; r < R; r++)
                sum = v_fma(s[r], v_load(row[r] + u * W), sum);
            v_store(y + u * W, sum);
        }
        x += UNROLL * W;
        y += UNROLL * W;
        for (int r = 0; r < R; r++)
            row[r] += UNROLL * W;
    }
    for (ptrdiff_t j = 0; j < left; j++) {
        float sum = x[j];
        for (int r = 0; r < R; r++)
            sum += scale[r] * row[r][j];
        y[j] = sum;
    }
}

static void advancing_dot_rows(const sona_f32 *q, const sona_f32 *C, ptrdiff_t m, ptrdiff_t d, sona_f32 *out)
{
    ptrdiff_t i = 0;
    for (; i + 2 <= m; i += 2)
        advancing_dots(2, q, C + i * d, d, out + i);
    if (i < m)
        advancing_dots(1, q, C + i * d, d, out + i);
}

static const sona_kernels sona_wasm = {.isa = "wasm_simd128", .dot = dot, .dot_rows = advancing_dot_rows};

/* y = x + scale * sum_r (A[r] . x) B[r]; A and B are (rank, d), rank is at most SONA_MAX_RANK; y may be x. */
EXPORT(apply) void sona_wasm_apply(const sona_f32 *x, const sona_f32 *A, const sona_f32 *B, float scale, ptrdiff_t rank,
                                   ptrdiff_t d, sona_f32 *y)
{
    sona_f32 hidden[SONA_MAX_RANK];
    advancing_dot_rows(x, A, rank, d, hidden);
    for (ptrdiff_t r = 0; r < rank; r++)
        hidden[r] *= scale;
    ptrdiff_t r = 0;
    for (; r + 2 <= rank; r += 2, x = y)
        advancing_add(2, hidden + r, B + r * d, x, d, y);
    if (r < rank)
        advancing_add(1, hidden + r, B + r * d, x, d, y);
}

/* The k largest cosines of q with the rows of C (m, d), which have length 1: descending, ties by lower index, k <= m.
 * Returns 0, or 1 if q has no direction: all 0, or an element that is not finite. */
EXPORT(nearest) int sona_wasm_nearest(const sona_f32 *q, const sona_f32 *C, ptrdiff_t m, ptrdiff_t d, ptrdiff_t k,
                                      int64_t *indices, sona_f32 *cosines)
{
    double squares = 0.0;
    for (ptrdiff_t j = 0; j < d; j++)
        squares += (double)q[j] * q[j];
    if (!(squares > 0.0 && squares < INFINITY))
        return 1;
    sona_topk(&sona_wasm, q, C, m, d, k, indices, cosines);
    const double length = sqrt(squares);
    for (ptrdiff_t i = 0; i < k; i++)
        cosines[i] = (float)(cosines[i] / length);
    return 0;
}
