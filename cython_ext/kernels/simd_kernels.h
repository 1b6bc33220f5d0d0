/* The vector kernels, written once over a small vocabulary that each instruction-set file defines before it
 * includes this one:
 *
 *   vec, W             a register of W floats                   ROWS           rows score_rows takes at a time
 *   v_zero v_set       all lanes 0 / the same value             v_sum          sum of the lanes
 *                                                               v_sum_four     of 4 registers, in the same order
 *   v_load v_store     W floats at any address                  v_equal_bits   bit i set if lane i is equal
 *   v_load_part        n < W floats, the other lanes 0          v_store_part   only n < W lanes
 *   v_add v_mul v_div v_min v_max                               v_fma(a,b,c)   a b + c, rounded once
 *   INLINE             static inline, by force
 *
 * Everything is static, so each including file gets its own copy compiled for its own instruction set.
 */
#include "sona_kernels.h"
#include "scalar_bytes.h"

#include <math.h>

/* R dot products of q with consecutive rows of C. Two accumulators a row (even and odd vectors) hide half of the
 * latency of the fused multiply-add, four rows at a time hide the rest. R is a literal, so the loops unroll. */
INLINE void dots(const int R, const sona_f32 *q, const sona_f32 *C, ptrdiff_t d, float *out)
{
    vec even[4], odd[4];
    for (int r = 0; r < R; r++)
        even[r] = odd[r] = v_zero();
    ptrdiff_t j = 0;
    for (; j + 2 * W <= d; j += 2 * W) {
        const vec q0 = v_load(q + j), q1 = v_load(q + j + W);
        for (int r = 0; r < R; r++) {
            even[r] = v_fma(q0, v_load(C + r * d + j), even[r]);
            odd[r] = v_fma(q1, v_load(C + r * d + j + W), odd[r]);
        }
    }
    if (j + W <= d) {
        for (int r = 0; r < R; r++)
            even[r] = v_fma(v_load(q + j), v_load(C + r * d + j), even[r]);
        j += W;
    }
    if (j < d) {
        const vec q0 = v_load_part(q + j, d - j);
        for (int r = 0; r < R; r++)
            odd[r] = v_fma(q0, v_load_part(C + r * d + j, d - j), odd[r]);
    }
    for (int r = 0; r < R; r++)
        even[r] = v_add(even[r], odd[r]);
    if (R == 4)
        v_sum_four(even, out);
    else
        for (int r = 0; r < R; r++)
            out[r] = v_sum(even[r]);
}

static float dot(const sona_f32 *a, const sona_f32 *b, ptrdiff_t d)
{
    float out;
    dots(1, a, b, d, &out);
    return out;
}

static void dot_rows(const sona_f32 *q, const sona_f32 *C, ptrdiff_t m, ptrdiff_t d, sona_f32 *out)
{
    ptrdiff_t i = 0;
    float four[4];
    for (; i + 4 <= m; i += 4) {
        dots(4, q, C + i * d, d, four);
        for (int r = 0; r < 4; r++)
            out[i + r] = four[r];
    }
    for (; i < m; i++)
        out[i] = dot(q, C + i * d, d);
}

/* y = x + sum of R scaled rows. */
INLINE void add_rows(const int R, const float *scale, const sona_f32 *rows, const sona_f32 *x, ptrdiff_t d, sona_f32 *y)
{
    vec s[4];
    for (int r = 0; r < R; r++)
        s[r] = v_set(scale[r]);
    ptrdiff_t j = 0;
    for (; j + W <= d; j += W) {
        vec sum = v_load(x + j);
        for (int r = 0; r < R; r++)
            sum = v_fma(s[r], v_load(rows + r * d + j), sum);
        v_store(y + j, sum);
    }
    if (j < d) {
        vec sum = v_load_part(x + j, d - j);
        for (int r = 0; r < R; r++)
            sum = v_fma(s[r], v_load_part(rows + r * d + j, d - j), sum);
        v_store_part(y + j, sum, d - j);
    }
}

/* The rank is taken in bites of 4, then 2, then 1. Each bite of A yields its hidden values before y is written,
 * so that y may be x. */
static void lora_forward(const sona_f32 *x, const sona_f32 *A, const sona_f32 *B, float scale, ptrdiff_t rank,
                         ptrdiff_t n, ptrdiff_t d, sona_f32 *y)
{
    for (ptrdiff_t i = 0; i < n; i++, x += d, y += d) {
        float hidden[SONA_MAX_RANK];
        ptrdiff_t r = 0;
        for (; r + 4 <= rank; r += 4)
            dots(4, x, A + r * d, d, hidden + r);
        if (r + 2 <= rank) {
            dots(2, x, A + r * d, d, hidden + r);
            r += 2;
        }
        if (r < rank)
            dots(1, x, A + r * d, d, hidden + r);
        for (r = 0; r < rank; r++)
            hidden[r] *= scale;

        const sona_f32 *from = x;
        r = 0;
        for (; r + 4 <= rank; r += 4, from = y)
            add_rows(4, hidden + r, B + r * d, from, d, y);
        if (r + 2 <= rank) {
            add_rows(2, hidden + r, B + r * d, from, d, y);
            r += 2;
            from = y;
        }
        if (r < rank)
            add_rows(1, hidden + r, B + r * d, from, d, y);
    }
}

static void lora_backward(const sona_f32 *x, const sona_f32 *delta, const sona_f32 *weights, const sona_f32 *A,
                          const sona_f32 *B, float scale, ptrdiff_t rank, ptrdiff_t n, ptrdiff_t d,
                          sona_f32 *dA, sona_f32 *dB)
{
    for (ptrdiff_t i = 0; i < n; i++, x += d, delta += d) {
        const float s = weights ? scale * weights[i] : scale;
        for (ptrdiff_t r = 0; r < rank; r++) {
            const float along_b = s * dot(B + r * d, delta, d), along_a = s * dot(A + r * d, x, d);
            add_rows(1, &along_b, x, dA + r * d, d, dA + r * d);
            add_rows(1, &along_a, delta, dB + r * d, d, dB + r * d);
        }
    }
}

/* R rows against a panel of V registers of centroids. R * V accumulators stay in registers over the whole length,
 * each step loads V vectors of centroids and broadcasts R scalars: the multiply-add units are the bottleneck. */
INLINE void tile(const int R, const int V, const sona_f32 *const *rows, const sona_f32 *panel, const sona_f32 *bias,
                 ptrdiff_t d, ptrdiff_t padded, sona_f32 *scores)
{
    vec sum[ROWS][2];
    for (int i = 0; i < R; i++)
        for (int v = 0; v < V; v++)
            sum[i][v] = v_load(bias + v * W);
    for (ptrdiff_t j = 0; j < d; j++) {
        vec c[2];
        for (int v = 0; v < V; v++)
            c[v] = v_load(panel + (j * V + v) * W);
        for (int i = 0; i < R; i++) {
            const vec x = v_set(rows[i][j]);
            for (int v = 0; v < V; v++)
                sum[i][v] = v_fma(x, c[v], sum[i][v]);
        }
    }
    for (int i = 0; i < R; i++)
        for (int v = 0; v < V; v++)
            v_store(scores + i * padded + v * W, sum[i][v]);
}

/* One panel for all rows: it stays in the first-level cache while the rows pass by. */
INLINE void panel_scores(const int V, const sona_f32 *const *rows, ptrdiff_t n, const sona_f32 *panel,
                         const sona_f32 *bias, ptrdiff_t d, ptrdiff_t padded, sona_f32 *scores)
{
    ptrdiff_t i = 0;
    for (; i + ROWS <= n; i += ROWS)
        tile(ROWS, V, rows + i, panel, bias, d, padded, scores + i * padded);
    for (; i < n; i++)
        tile(1, V, rows + i, panel, bias, d, padded, scores + i * padded);
}

static void score_rows(const sona_f32 *const *rows, ptrdiff_t n, const sona_f32 *panels, const sona_f32 *bias,
                       ptrdiff_t padded, ptrdiff_t d, sona_f32 *scores)
{
    ptrdiff_t c = 0;
    for (; c + 2 * W <= padded; c += 2 * W)
        panel_scores(2, rows, n, panels + c * d, bias + c, d, padded, scores + c);
    if (c < padded)
        panel_scores(1, rows, n, panels + c * d, bias + c, d, padded, scores + c);
}

/* n is a multiple of W, as the padding of score_rows makes it. */
static ptrdiff_t best_two(const sona_f32 *scores, ptrdiff_t n, float *best, float *second)
{
    vec high = v_set(-INFINITY), next = high;
    for (ptrdiff_t c = 0; c < n; c += W) {
        const vec s = v_load(scores + c);
        next = v_max(next, v_min(high, s));
        high = v_max(high, s);
    }
    float highs[W], nexts[W];
    v_store(highs, high);
    v_store(nexts, next);
    float top = -INFINITY, other = -INFINITY;
    for (int lane = 0; lane < W; lane++) {
        const float lower = highs[lane] > top ? top : highs[lane];
        top = highs[lane] > top ? highs[lane] : top;
        other = lower > other ? lower : other;
        other = nexts[lane] > other ? nexts[lane] : other;
    }
    *best = top;
    *second = other;
    const vec wanted = v_set(top);
    for (ptrdiff_t c = 0; c < n; c += W) {
        const unsigned bits = v_equal_bits(v_load(scores + c), wanted);
        if (bits)
            return c + __builtin_ctz(bits);
    }
    return 0;
}

/* Plain C: compilers turn it into the widest conversions of the target by themselves. */
static void add_row(sona_f64 *restrict sum, const sona_f32 *restrict x, double weight, ptrdiff_t d)
{
    for (ptrdiff_t j = 0; j < d; j++)
        sum[j] += weight * x[j];
}

static void fisher_update(sona_f32 *F, const sona_f32 *g, double decay, ptrdiff_t n)
{
    const vec keep = v_set((float)decay), take = v_set((float)(1.0 - decay));
    ptrdiff_t i = 0;
    for (; i + W <= n; i += W) {
        const vec x = v_load(g + i);
        v_store(F + i, v_fma(take, v_mul(x, x), v_mul(keep, v_load(F + i))));
    }
    if (i < n) {
        const vec x = v_load_part(g + i, n - i);
        v_store_part(F + i, v_fma(take, v_mul(x, x), v_mul(keep, v_load_part(F + i, n - i))), n - i);
    }
}

INLINE vec prox(vec theta, vec F, vec optimum, vec step)
{
    const vec pull = v_mul(step, F);
    return v_div(v_fma(pull, optimum, theta), v_add(v_set(1.0f), pull));
}

static void ewc_prox(sona_f32 *theta, const sona_f32 *F, const sona_f32 *optimum, float step, ptrdiff_t n)
{
    const vec s = v_set(step);
    ptrdiff_t i = 0;
    for (; i + W <= n; i += W)
        v_store(theta + i, prox(v_load(theta + i), v_load(F + i), v_load(optimum + i), s));
    if (i < n) {
        const ptrdiff_t rest = n - i;
        const vec t = v_load_part(theta + i, rest), f = v_load_part(F + i, rest), o = v_load_part(optimum + i, rest);
        v_store_part(theta + i, prox(t, f, o, s), rest);
    }
}

/* Squares of numbers beyond about 1e-19 and 1e19 leave float32, so such rows (and not finite ones) take doubles. */
static ptrdiff_t normalize_rows(const sona_f32 *X, ptrdiff_t n, ptrdiff_t d, sona_f32 *out)
{
    ptrdiff_t zeros = 0;
    for (ptrdiff_t i = 0; i < n; i++, X += d, out += d) {
        const float squares = dot(X, X, d);
        if (!(squares > 1e-30f && squares < 1e30f)) {
            double exact = 0.0;
            for (ptrdiff_t j = 0; j < d; j++)
                exact += (double)X[j] * X[j];
            zeros += exact == 0.0;
            const double inverse = exact == 0.0 ? 0.0 : 1.0 / sqrt(exact);
            for (ptrdiff_t j = 0; j < d; j++)
                out[j] = (float)(X[j] * inverse);
            continue;
        }
        const vec inverse = v_set(1.0f / sqrtf(squares));
        ptrdiff_t j = 0;
        for (; j + W <= d; j += W)
            v_store(out + j, v_mul(inverse, v_load(X + j)));
        if (j < d)
            v_store_part(out + j, v_mul(inverse, v_load_part(X + j, d - j)), d - j);
    }
    return zeros;
}

/* 0 x is 0 for finite x and NaN otherwise, and a NaN survives every addition. */
static int all_finite(const sona_f32 *x, ptrdiff_t n)
{
    const vec zero = v_zero();
    vec a = zero, b = zero, c = zero, e = zero;
    ptrdiff_t i = 0;
    for (; i + 4 * W <= n; i += 4 * W) {
        a = v_fma(v_load(x + i), zero, a);
        b = v_fma(v_load(x + i + W), zero, b);
        c = v_fma(v_load(x + i + 2 * W), zero, c);
        e = v_fma(v_load(x + i + 3 * W), zero, e);
    }
    for (; i + W <= n; i += W)
        a = v_fma(v_load(x + i), zero, a);
    if (i < n)
        b = v_fma(v_load_part(x + i, n - i), zero, b);
    return v_sum(v_add(v_add(a, b), v_add(c, e))) == 0.0f;
}

/* e^x = 2^n e^r with n = round(x / ln 2): ln 2 is taken off in two parts, e^r is Cephes' polynomial of degree 6 on
 * |r| <= ln 2 / 2, and n goes into the exponent's bits. Plain C again: every step has an instruction for a register. */
static void exp_negative(sona_f32 *restrict x, ptrdiff_t n)
{
    const float MAGIC = 0x1.8p23f; /* rounds to the nearest integer by its mere size */
    for (ptrdiff_t i = 0; i < n; i++) {
        const float v = x[i] > -87.0f ? x[i] : -87.0f;
        const float whole = v * 1.44269504f + MAGIC - MAGIC;
        const float r = v - whole * 0.693359375f + whole * 2.12194440e-4f;
        float p = 1.9875691500e-4f;
        p = p * r + 1.3981999507e-3f;
        p = p * r + 8.3334519073e-3f;
        p = p * r + 4.1665795894e-2f;
        p = p * r + 1.6666665459e-1f;
        p = p * r + 5.0000001201e-1f;
        const int32_t bits = ((int32_t)whole + 127) << 23;
        float power;
        memcpy(&power, &bits, sizeof power);
        x[i] = (p * r * r + r + 1.0f) * power;
    }
}

#define SONA_COMMON_KERNELS                                                                                          \
    .panel = 2 * W, .dot = dot, .dot_rows = dot_rows, .lora_forward = lora_forward, .lora_backward = lora_backward,    \
    .score_rows = score_rows, .best_two = best_two, .add_row = add_row, .fisher_update = fisher_update,                \
    .ewc_prox = ewc_prox, .normalize_rows = normalize_rows, .all_finite = all_finite, .exp_negative = exp_negative
