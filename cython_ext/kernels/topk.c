/* Exact top-k of dot products, by one scan of float32 or by a scan of a byte copy with an exact re-rank.
 *
 * The bound: a row is c = c' + e with c' = scale (code - 128), a query q = q' + f with q' = step * code. Then
 *     q.c - q'.c' = q.e + f.c',   so   |q.c - q'.c'| <= |q| |e| + |f| |c'|        (Cauchy-Schwarz).
 * q'.c' is an exact integer times two scales. A row whose q'.c' plus this bound (widened by the float32 rounding
 * of the exact score) stays below the k-th best exact score so far cannot be among the k best; every other
 * row gets its exact score. So the answer is that of the plain scan, ties included, from a quarter of the bytes.
 */
#include "algorithms.h"

#include <math.h>
#include <string.h>

enum { CHUNK = 64 };

/* A heap in the two output arrays, the worst entry at the root: lowest score, then highest index. */
static int worse(const sona_f32 *s, const int64_t *at, ptrdiff_t a, ptrdiff_t b)
{
    return s[a] < s[b] || (s[a] == s[b] && at[a] > at[b]);
}

static void swap(sona_f32 *s, int64_t *at, ptrdiff_t a, ptrdiff_t b)
{
    const float score = s[a];
    const int64_t index = at[a];
    s[a] = s[b];
    at[a] = at[b];
    s[b] = score;
    at[b] = index;
}

static void sift_down(sona_f32 *s, int64_t *at, ptrdiff_t i, ptrdiff_t size)
{
    for (;;) {
        ptrdiff_t child = 2 * i + 1;
        if (child >= size)
            return;
        if (child + 1 < size && worse(s, at, child + 1, child))
            child++;
        if (worse(s, at, i, child))
            return;
        swap(s, at, i, child);
        i = child;
    }
}

/* Rows may come in any order. */
static void offer(sona_f32 *s, int64_t *at, ptrdiff_t *size, ptrdiff_t k, float score, int64_t index)
{
    if (*size == k) {
        if (score < s[0] || (score == s[0] && index > at[0]))
            return;
        s[0] = score;
        at[0] = index;
        sift_down(s, at, 0, k);
        return;
    }
    ptrdiff_t i = (*size)++;
    s[i] = score;
    at[i] = index;
    for (; i > 0 && worse(s, at, i, (i - 1) / 2); i = (i - 1) / 2)
        swap(s, at, i, (i - 1) / 2);
}

static void sort_descending(sona_f32 *s, int64_t *at, ptrdiff_t size)
{
    while (size-- > 1) {
        swap(s, at, 0, size);
        sift_down(s, at, 0, size);
    }
}

/* Written so that any compiler makes SIMD of it. */
static float largest(const sona_f32 *x, ptrdiff_t n)
{
    float top[8], all = -INFINITY;
    for (int lane = 0; lane < 8; lane++)
        top[lane] = -INFINITY;
    ptrdiff_t i = 0;
    for (; i + 8 <= n; i += 8)
        for (int lane = 0; lane < 8; lane++)
            top[lane] = x[i + lane] > top[lane] ? x[i + lane] : top[lane];
    for (; i < n; i++)
        top[0] = x[i] > top[0] ? x[i] : top[0];
    for (int lane = 0; lane < 8; lane++)
        all = top[lane] > all ? top[lane] : all;
    return all;
}

/* Overwrites the scores of a chunk. */
static void add_exponentials(const sona_kernels *K, sona_softmax *among, float *chunk, ptrdiff_t n)
{
    const float most = largest(chunk, n);
    float sum = 0.0f;
    if (most > among->best) {
        sona_f32 less = among->sharpness * (among->best - most);
        if (among->sum > 0.0) { /* else there was no score so far, and `less` is infinite */
            K->exp_negative(&less, 1);
            among->sum *= (double)less;
        }
        among->best = most;
    }
    for (ptrdiff_t i = 0; i < n; i++)
        chunk[i] = among->sharpness * (chunk[i] - among->best);
    K->exp_negative(chunk, n);
    for (ptrdiff_t i = 0; i < n; i++)
        sum += chunk[i];
    among->sum += (double)sum;
}

int sona_topk(const sona_kernels *K, const sona_f32 *q, const sona_f32 *C, ptrdiff_t m, ptrdiff_t d, ptrdiff_t k,
              int64_t *indices, sona_f32 *scores)
{
    return sona_topk_affine(K, q, 1.0f, C, NULL, NULL, m, d, k, indices, scores, NULL);
}

int sona_topk_affine(const sona_kernels *K, const sona_f32 *q, float scale, const sona_f32 *C, const sona_f32 *offset,
                     const int64_t *which, ptrdiff_t m, ptrdiff_t d, ptrdiff_t k, int64_t *indices, sona_f32 *scores,
                     sona_softmax *among)
{
    float chunk[CHUNK], poison = 0.0f;
    ptrdiff_t size = 0;
    if (k == 0)
        return 0;
    for (ptrdiff_t first = 0; first < m; first += CHUNK) {
        const ptrdiff_t rows = m - first < CHUNK ? m - first : CHUNK;
        if (which)
            for (ptrdiff_t i = 0; i < rows; i++)
                chunk[i] = K->dot(q, C + which[first + i] * d, d);
        else
            K->dot_rows(q, C + first * d, rows, d, chunk);
        if (offset)
            for (ptrdiff_t i = 0; i < rows; i++)
                chunk[i] = chunk[i] * scale + offset[first + i];
        for (ptrdiff_t i = 0; i < rows; i++) {
            poison += chunk[i] * 0.0f; /* turns NaN, and stays NaN, with the first score that is not finite */
            if (size < k || chunk[i] > scores[0]) /* a later row of equal score has the higher index */
                offer(scores, indices, &size, k, chunk[i], first + i);
        }
        if (among)
            add_exponentials(K, among, chunk, rows);
    }
    sort_descending(scores, indices, size);
    return poison != 0.0f;
}

/* code = round(x / step); the lengths of x and of the rounding error. Four strands let the compiler use SIMD, and the
 * magic constant rounds to the nearest integer by its mere size. */
static void quantise(const sona_f32 *x, ptrdiff_t d, float limit, int8_t *code, float *step, double *length, double *lost)
{
    const float MAGIC = 0x1.8p23f;
    float tops[4] = {0};
    double squares[4] = {0}, errors[4] = {0};
    for (ptrdiff_t j = 0; j < d; j++) {
        const float size = fabsf(x[j]);
        tops[j & 3] = size > tops[j & 3] ? size : tops[j & 3];
    }
    const float top = fmaxf(fmaxf(tops[0], tops[1]), fmaxf(tops[2], tops[3]));
    *step = top > 1e-30f ? top / limit : 1.0f; /* a row this small becomes zero, and all of it an error */
    const float inverse = 1.0f / *step;
    for (ptrdiff_t j = 0; j < d; j++) {
        const float level = x[j] * inverse + MAGIC - MAGIC;
        const double error = x[j] - (double)level * *step;
        code[j] = (int8_t)level;
        squares[j & 3] += (double)x[j] * x[j];
        errors[j & 3] += error * error;
    }
    /* 1e-9 is far above the rounding of these doubles. */
    *length = sqrt(squares[0] + squares[1] + squares[2] + squares[3]) * (1.0 + 1e-9);
    *lost = sqrt(errors[0] + errors[1] + errors[2] + errors[3]) * (1.0 + 1e-9);
}

void sona_block_fill(sona_block *block)
{
    block->error = block->norm = 0.0;
    for (ptrdiff_t i = 0; i < block->m; i++) {
        uint8_t *codes = block->codes + i * block->padded;
        float step;
        double length, lost;
        quantise(block->rows + i * block->d, block->d, 127.0f, (int8_t *)codes, &step, &length, &lost);
        for (ptrdiff_t j = 0; j < block->d; j++)
            codes[j] ^= 0x80; /* signed code to code + 128 */
        memset(codes + block->d, 128, (size_t)(block->padded - block->d));
        block->scales[i] = step;
        /* d 2^-23 |q||c| is twice the error of d roundings of the float32 score, in any order of summation. */
        block->error = fmax(block->error, lost + ldexp((double)block->d, -23) * length);
        block->norm = fmax(block->norm, length + lost);
    }
}

/* Like `largest`, written so that any compiler makes SIMD of it. */
static void estimate(const sona_i32 *restrict sums, int32_t offset, float step, const sona_f32 *restrict scales,
                     ptrdiff_t n, sona_f32 *restrict out)
{
    for (ptrdiff_t i = 0; i < n; i++)
        out[i] = step * scales[i] * (float)(sums[i] - offset);
}

/* Every other scan of a thread goes backwards: the rows it read last are still in the cache, which matters
 * once the codes are larger than that (10,000 rows of 256: a quarter less time). The result does not depend on the order. */
static _Thread_local int backward;

int sona_block_topk(const sona_kernels *K, const sona_block *block, const sona_f32 *q, ptrdiff_t k,
                    void *scratch, int64_t *indices, sona_f32 *scores)
{
    const ptrdiff_t d = block->d, m = block->m;
    sona_f32 *estimates = scratch, *tops = estimates + m; /* of every row; the largest of every chunk */
    int8_t *code = (int8_t *)(tops + (m + CHUNK - 1) / CHUNK);
    int32_t sums[CHUNK], offset = 0;
    float step;
    double length, lost;
    ptrdiff_t size = 0;
    if (k == 0)
        return 0;
    quantise(q, d, 63.0f, code, &step, &length, &lost);
    memset(code + d, 0, (size_t)(block->padded - d));
    for (ptrdiff_t j = 0; j < d; j++)
        offset += 128 * code[j];
    /* The last term covers the rounding of the estimate itself, a few operations on numbers up to |q'||c'|. */
    const float bound = (float)((length * block->error + lost * block->norm + 1e-6 * (length + lost) * block->norm));
    if (!(bound < 1e30f)) /* near overflow the estimates are meaningless */
        return sona_topk(K, q, block->rows, m, d, k, indices, scores);

    const ptrdiff_t chunks = (m + CHUNK - 1) / CHUNK;
    backward = !backward;
    for (ptrdiff_t turn = 0; turn < chunks; turn++) {
        const ptrdiff_t c = backward ? chunks - 1 - turn : turn, first = c * CHUNK;
        const ptrdiff_t rows = m - first < CHUNK ? m - first : CHUNK;
        sona_f32 *chunk = estimates + first;
        K->dot_rows_u8(code, block->codes + first * block->padded, rows, block->padded, sums);
        estimate(sums, offset, step, block->scales + first, rows, chunk);
        tops[c] = largest(chunk, rows);
        if (size == k && tops[c] <= scores[0])
            continue;
        for (ptrdiff_t i = 0; i < rows; i++)
            if (size < k || chunk[i] > scores[0])
                offer(scores, indices, &size, k, chunk[i], first + i);
    }
    /* The k best estimates become exact scores: now the worst of them is a threshold close to the true one. */
    for (ptrdiff_t i = 0; i < k; i++) {
        estimates[indices[i]] = -INFINITY;
        scores[i] = K->dot(q, block->rows + indices[i] * d, d);
    }
    for (ptrdiff_t i = k / 2; i-- > 0;)
        sift_down(scores, indices, i, k);
    for (ptrdiff_t first = 0, c = 0; first < m; first += CHUNK, c++) {
        if (tops[c] + bound < scores[0])
            continue;
        for (ptrdiff_t i = first; i < m && i < first + CHUNK; i++)
            if (estimates[i] + bound >= scores[0])
                offer(scores, indices, &size, k, K->dot(q, block->rows + i * d, d), i);
    }
    sort_descending(scores, indices, k);
    return 0;
}
