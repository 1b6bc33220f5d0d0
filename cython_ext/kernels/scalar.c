/* The reference: plain C, one operation after the other. The other files must agree with it.
 *
 * Numerics: sums run left to right in float32 without fused multiply-add, so |computed - exact| of a dot product
 * is at most d u sum|a_i b_i| / (1 - d u), u = 2^-24 (Higham 2002, section 3.1). Sums of squares for norms run
 * in double. Conversion to half precision rounds to nearest, ties to even, with subnormals.
 */
#include "sona_kernels.h"

#include <math.h>
#include <string.h>

static float dot(const sona_f32 *a, const sona_f32 *b, ptrdiff_t d)
{
    float sum = 0.0f;
    for (ptrdiff_t j = 0; j < d; j++)
        sum += a[j] * b[j];
    return sum;
}

static void dot_rows(const sona_f32 *q, const sona_f32 *C, ptrdiff_t m, ptrdiff_t d, sona_f32 *out)
{
    for (ptrdiff_t i = 0; i < m; i++)
        out[i] = dot(q, C + i * d, d);
}

static void dot_rows_u8(const int8_t *q, const uint8_t *rows, ptrdiff_t m, ptrdiff_t d, sona_i32 *out)
{
    for (ptrdiff_t i = 0; i < m; i++) {
        int32_t sum = 0;
        for (ptrdiff_t j = 0; j < d; j++)
            sum += q[j] * rows[i * d + j];
        out[i] = sum;
    }
}

static void axpy(float a, const sona_f32 *x, sona_f32 *y, ptrdiff_t d)
{
    for (ptrdiff_t j = 0; j < d; j++)
        y[j] += a * x[j];
}

static void lora_forward(const sona_f32 *x, const sona_f32 *A, const sona_f32 *B, float scale, ptrdiff_t rank,
                         ptrdiff_t n, ptrdiff_t d, sona_f32 *y)
{
    for (ptrdiff_t i = 0; i < n; i++, x += d, y += d) {
        float hidden[SONA_MAX_RANK];
        for (ptrdiff_t r = 0; r < rank; r++)
            hidden[r] = scale * dot(A + r * d, x, d);
        memmove(y, x, (size_t)d * sizeof(float));
        for (ptrdiff_t r = 0; r < rank; r++)
            axpy(hidden[r], B + r * d, y, d);
    }
}

static void lora_backward(const sona_f32 *x, const sona_f32 *delta, const sona_f32 *weights, const sona_f32 *A,
                          const sona_f32 *B, float scale, ptrdiff_t rank, ptrdiff_t n, ptrdiff_t d,
                          sona_f32 *dA, sona_f32 *dB)
{
    for (ptrdiff_t i = 0; i < n; i++, x += d, delta += d) {
        const float s = weights ? scale * weights[i] : scale;
        for (ptrdiff_t r = 0; r < rank; r++) {
            axpy(s * dot(B + r * d, delta, d), x, dA + r * d, d);
            axpy(s * dot(A + r * d, x, d), delta, dB + r * d, d);
        }
    }
}

enum { PANEL = 8 };

static void score_rows(const sona_f32 *const *rows, ptrdiff_t n, const sona_f32 *panels, const sona_f32 *bias,
                       ptrdiff_t padded, ptrdiff_t d, sona_f32 *scores)
{
    for (ptrdiff_t i = 0; i < n; i++) {
        const sona_f32 *panel = panels;
        for (ptrdiff_t first = 0; first < padded;) {
            const ptrdiff_t width = padded - first < PANEL ? PANEL / 2 : PANEL;
            for (ptrdiff_t c = 0; c < width; c++) {
                float sum = bias[first + c];
                for (ptrdiff_t j = 0; j < d; j++)
                    sum += rows[i][j] * panel[j * width + c];
                scores[i * padded + first + c] = sum;
            }
            panel += width * d;
            first += width;
        }
    }
}

static ptrdiff_t best_two(const sona_f32 *scores, ptrdiff_t n, float *best, float *second)
{
    ptrdiff_t index = 0;
    *best = *second = -INFINITY;
    for (ptrdiff_t c = 0; c < n; c++) {
        if (scores[c] > *best) {
            *second = *best;
            *best = scores[c];
            index = c;
        } else if (scores[c] > *second) {
            *second = scores[c];
        }
    }
    return index;
}

static void add_row(sona_f64 *sum, const sona_f32 *x, double weight, ptrdiff_t d)
{
    for (ptrdiff_t j = 0; j < d; j++)
        sum[j] += weight * x[j];
}

static void fisher_update(sona_f32 *F, const sona_f32 *g, double decay, ptrdiff_t n)
{
    const float keep = (float)decay, take = (float)(1.0 - decay);
    for (ptrdiff_t i = 0; i < n; i++)
        F[i] = keep * F[i] + take * (g[i] * g[i]);
}

static void ewc_prox(sona_f32 *theta, const sona_f32 *F, const sona_f32 *optimum, float step, ptrdiff_t n)
{
    for (ptrdiff_t i = 0; i < n; i++) {
        const float pull = step * F[i];
        theta[i] = (theta[i] + pull * optimum[i]) / (1.0f + pull);
    }
}

static ptrdiff_t normalize_rows(const sona_f32 *X, ptrdiff_t n, ptrdiff_t d, sona_f32 *out)
{
    ptrdiff_t zeros = 0;
    for (ptrdiff_t i = 0; i < n; i++, X += d, out += d) {
        double squares = 0.0;
        for (ptrdiff_t j = 0; j < d; j++)
            squares += (double)X[j] * X[j];
        zeros += squares == 0.0;
        const double inverse = squares == 0.0 ? 0.0 : 1.0 / sqrt(squares);
        for (ptrdiff_t j = 0; j < d; j++)
            out[j] = (float)(X[j] * inverse);
    }
    return zeros;
}

static int all_finite(const sona_f32 *x, ptrdiff_t n)
{
    int finite = 1;
    for (ptrdiff_t i = 0; i < n; i++)
        finite &= isfinite(x[i]) != 0;
    return finite;
}

#include "scalar_bytes.h"

static void exp_negative(sona_f32 *x, ptrdiff_t n)
{
    for (ptrdiff_t i = 0; i < n; i++)
        x[i] = expf(x[i]);
}

const sona_kernels sona_scalar = {
    .isa = "scalar", .panel = PANEL, .dot = dot, .dot_rows = dot_rows, .dot_rows_u8 = dot_rows_u8,
    .lora_forward = lora_forward, .lora_backward = lora_backward,
    .score_rows = score_rows, .best_two = best_two, .add_row = add_row,
    .fisher_update = fisher_update, .ewc_prox = ewc_prox,
    .normalize_rows = normalize_rows, .all_finite = all_finite,
    .exp_negative = exp_negative,
    .f32_to_f16_be = f32_to_f16_be, .f16_be_to_f32 = f16_be_to_f32, .f32_to_be = f32_to_be, .be_to_f32 = be_to_f32,
    .crc32c = crc32c,
};
