/* Compares one instruction set with the scalar reference, without Python: for qemu, sanitizers and valgrind.
 *
 * Every array is its own allocation of exactly the size needed, at an odd address, so that a memory checker sees
 * the first byte read or written outside. Bounds are those of float32 sums of d terms.
 */
#include "algorithms.h"
#include "asking.h"
#include "copy_decode.h"
#include "dreaming.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int failures;
static unsigned long long state = 88172645463325252ull;

static float uniform(void) /* xorshift64, in [-1, 1) */
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (float)((double)(state >> 11) / 4503599627370496.0 - 1.0);
}

enum { OFFSET = 1, MOST = 256 };
static void *allocations[MOST];
static int allocated;

static void *bytes(size_t n)
{
    if (allocated == MOST)
        abort();
    char *memory = allocations[allocated++] = malloc(n + OFFSET);
    memset(memory, 0, n + OFFSET);
    return memory + OFFSET;
}

static void free_all(void)
{
    while (allocated)
        free(allocations[--allocated]);
}

static sona_f32 *numbers(ptrdiff_t n)
{
    sona_f32 *x = bytes((size_t)n * sizeof(float));
    for (ptrdiff_t i = 0; i < n; i++)
        x[i] = uniform();
    return x;
}

static sona_f32 *copy(const sona_f32 *x, ptrdiff_t n)
{
    return memcpy(bytes((size_t)n * sizeof(float)), x, (size_t)n * sizeof(float));
}

static void near(const char *what, ptrdiff_t d, const sona_f32 *a, const sona_f32 *b, ptrdiff_t n, double bound)
{
    for (ptrdiff_t i = 0; i < n; i++) {
        if (!(fabs((double)a[i] - b[i]) <= bound)) {
            printf("%s, length %td: element %td is %.9g, reference %.9g, bound %.3g\n", what, d, i, a[i], b[i], bound);
            failures++;
            return;
        }
    }
}

static void equal(const char *what, ptrdiff_t d, const void *a, const void *b, size_t n)
{
    if (n && memcmp(a, b, n) != 0) {
        printf("%s, length %td: bytes differ\n", what, d);
        failures++;
    }
}

static void check_length(const sona_kernels *K, ptrdiff_t d)
{
    const sona_kernels *S = &sona_scalar;
    const ptrdiff_t m = 7, n = 14, rank = 7;
    const double unit = ldexp(1.0, -24), bound = 2 * (double)(d + 2) * unit * (double)(d + 1);
    sona_f32 *x = numbers(n * d), *delta = numbers(n * d), *A = numbers(rank * d), *B = numbers(rank * d);
    sona_f32 *y = numbers(n * d), *z = numbers(n * d), *w = numbers(n), *scores = numbers(m), *others = numbers(m);

    K->dot_rows(x, A, m, d, scores);
    S->dot_rows(x, A, m, d, others);
    near("dot_rows", d, scores, others, m, bound);
    K->lora_forward(x, A, B, 0.5f, rank, n, d, y);
    S->lora_forward(x, A, B, 0.5f, rank, n, d, z);
    near("lora_forward", d, y, z, n * d, 8 * bound);
    sona_f32 *dA = numbers(rank * d), *dB = numbers(rank * d), *rA = copy(dA, rank * d), *rB = copy(dB, rank * d);
    K->lora_backward(x, delta, w, A, B, 0.5f, rank, n, d, dA, dB);
    S->lora_backward(x, delta, w, A, B, 0.5f, rank, n, d, rA, rB);
    near("lora_backward", d, dA, rA, rank * d, 16 * bound);
    near("lora_backward", d, dB, rB, rank * d, 16 * bound);
    for (ptrdiff_t j = 0; j < n * d; j++)
        delta[j] = fabsf(delta[j]);
    K->ewc_prox(y, delta, x, 3.0f, n * d);
    S->ewc_prox(z, delta, x, 3.0f, n * d);
    near("ewc_prox", d, y, z, n * d, 8 * bound + 8 * unit);
    K->fisher_update(y, x, 0.9, n * d);
    S->fisher_update(z, x, 0.9, n * d);
    near("fisher_update", d, y, z, n * d, 8 * bound + 8 * unit);
    K->normalize_rows(x, n, d, y);
    S->normalize_rows(x, n, d, z);
    near("normalize_rows", d, y, z, n * d, (double)(d + 4) * unit);
    if (!K->all_finite(x, n * d))
        near("all_finite", d, (sona_f32[]){1}, (sona_f32[]){0}, 1, 0);

    uint8_t *half = bytes((size_t)(2 * d)), *half_reference = bytes((size_t)(2 * d));
    uint8_t *single = bytes((size_t)(4 * d)), *single_reference = bytes((size_t)(4 * d));
    for (ptrdiff_t j = 0; j < d; j += 3)
        x[j] *= ldexpf(1.0f, (int)(j % 48) - 30); /* subnormal and overflowing halves too */
    if (K->f32_to_f16_be(x, d, half) != S->f32_to_f16_be(x, d, half_reference))
        near("f32_to_f16_be count", d, (sona_f32[]){1}, (sona_f32[]){0}, 1, 0);
    equal("f32_to_f16_be", d, half, half_reference, (size_t)(2 * d));
    K->f16_be_to_f32(half, d, y);
    S->f16_be_to_f32(half, d, z);
    equal("f16_be_to_f32", d, y, z, (size_t)(4 * d));
    K->f32_to_be(x, d, single);
    S->f32_to_be(x, d, single_reference);
    equal("f32_to_be", d, single, single_reference, (size_t)(4 * d));
    K->be_to_f32(single, d, y);
    equal("be_to_f32", d, y, x, (size_t)(4 * d));
    const uint32_t crc = K->crc32c(7, single, 4 * d), crc_reference = S->crc32c(7, single, 4 * d);
    equal("crc32c", d, &crc, &crc_reference, 4);

    int8_t *q = bytes((size_t)d);
    uint8_t *codes = bytes((size_t)(m * d));
    sona_i32 *sums = bytes(4 * (size_t)m), *sums_reference = bytes(4 * (size_t)m);
    for (ptrdiff_t j = 0; j < d; j++)
        q[j] = (int8_t)(uniform() < 0 ? -63 : 63);
    for (ptrdiff_t j = 0; j < m * d; j++)
        codes[j] = uniform() < 0 ? 255 : (uint8_t)(127 * uniform());
    K->dot_rows_u8(q, codes, m, d, sums);
    S->dot_rows_u8(q, codes, m, d, sums_reference);
    equal("dot_rows_u8", d, sums, sums_reference, 4 * (size_t)m);
    free_all();
}

static void check_kmeans(const sona_kernels *K, ptrdiff_t n, ptrdiff_t d, ptrdiff_t k, int spherical)
{
    sona_f32 *X = numbers(n * d), *C = numbers(k * d), *distances = numbers(n), *exact = numbers(n);
    sona_f64 *uniforms = bytes(2 * (size_t)k * sizeof(double));
    sona_i32 *labels = bytes(4 * (size_t)n);
    int64_t chosen[64]; /* our own arrays of indices are always aligned */
    const sona_kmeans p = {.X = X, .n = n, .d = d, .k = k, .spherical = spherical, .threads = 2};
    double inertia;
    int n_iter;
    K->normalize_rows(X, n, d, X);
    for (ptrdiff_t i = 0; i < 2 * k; i++)
        uniforms[i] = fabsf(uniform()) * 0.999;
    sona_kmeans_plus_plus(K, &p, uniforms, 2, chosen);
    for (ptrdiff_t c = 0; c < k; c++)
        memcpy(C + c * d, X + chosen[c] * d, (size_t)d * sizeof(float));
    sona_kmeans_lloyd(K, &p, 8, 0.0, 0.0, C, labels, &inertia, &n_iter);
    sona_kmeans_fit(K, &p, 3, 8, 0.0, C, labels, &inertia, &n_iter);
    sona_kmeans_assign(K, &p, C, labels, distances);
    for (ptrdiff_t i = 0; i < n; i++) {
        double nearest = INFINITY;
        for (ptrdiff_t c = 0; c < k; c++) {
            double dot = 0, squares = 0;
            for (ptrdiff_t j = 0; j < d; j++) {
                dot += (double)X[i * d + j] * C[c * d + j];
                squares += (double)C[c * d + j] * C[c * d + j];
            }
            nearest = fmin(nearest, (d ? 1 : 0) - 2 * dot + (spherical ? 1 : squares));
        }
        exact[i] = (float)fmax(0, nearest);
    }
    near("kmeans", d, distances, exact, n, 8 * (double)(d + 8) * ldexp(1.0, -24));
    free_all();
}

static void check_copy(const sona_kernels *K)
{
    enum { ROWS = 5, DIM = 13, SIZE = 19 + ROWS * (2 + 4 + 4 + 2 * DIM) + 2 };
    uint8_t stream[SIZE] = "PGCOPY\n\377\r\n", *at = stream + 19;
    for (int row = 0; row < ROWS; row++) {
        const uint8_t head[10] = {0, 1, 0, 0, 0, 4 + 2 * DIM, 0, DIM, 0, 0};
        memcpy(at, head, 10);
        for (int j = 0; j < DIM; j++)
            at[10 + 2 * j] = 0x3c; /* 1.0 */
        at += 10 + 2 * DIM;
    }
    memset(at, 0xff, 2);
    for (ptrdiff_t cut = 0; cut <= SIZE; cut++) {
        copy_column column = {COPY_HALFVEC, DIM, bytes(ROWS * DIM * 4), bytes(ROWS)};
        copy_state decoder = {.columns = &column, .count = 1, .capacity = ROWS};
        uint8_t *first = bytes((size_t)cut), *rest;
        ptrdiff_t used, after;
        memcpy(first, stream, (size_t)cut);
        copy_decode(&decoder, K, first, cut, &used);
        rest = bytes((size_t)(SIZE - used));
        memcpy(rest, stream + used, (size_t)(SIZE - used));
        copy_decode(&decoder, K, rest, SIZE - used, &after);
        if (decoder.rows != ROWS || !decoder.trailer_seen || ((sona_f32 *)column.values)[ROWS * DIM - 1] != 1.0f) {
            printf("copy_decode, cut at %td: %td rows\n", cut, decoder.rows);
            failures++;
        }
        free_all();
    }
}

/* Decisions of every number of candidates; of arrays without a float to spare. */
static void check_router(const sona_kernels *K)
{
    enum { DIM = 7, F = 2, MARKS = 5, WIDTH = 3, ROUTES = 4, LINE = 16, MOST_K = 12 };
    const sona_f32 *deviation = numbers(F);
    for (int j = 0; j < F; j++)
        ((sona_f32 *)deviation)[j] = 0.5f;
    sona_f32 *variance = numbers((ROUTES + 1) * LINE);
    for (int j = 0; j < (ROUTES + 1) * LINE; j++)
        variance[j] = fabsf(variance[j]);
    sona_f64 *figures = bytes(3 * (ROUTES + 1) * sizeof(double)), *shifted = bytes((ROUTES + 1) * sizeof(double));
    for (int j = 0; j < 3 * (ROUTES + 1); j++)
        figures[j] = 10.0 * j;
    for (int j = 0; j < ROUTES + 1; j++)
        shifted[j] = j % 2;
    sona_f64 *least = bytes(2 * (ROUTES + 1) * sizeof(double));
    for (int j = 0; j < 2 * (ROUTES + 1); j++)
        least[j] = j % 3 - 1.0; /* negative: no cost was learned */
    sona_router router = {
        .dim = DIM, .f = F, .marks = MARKS, .width = WIDTH, .row = LINE, .near = LINE, .phi = LINE,
        .landmarks = numbers(MARKS * LINE), .norms = numbers(MARKS), .transform = numbers(WIDTH * LINE),
        .mean = numbers(F), .deviation = deviation, .weight = numbers(F),
        .weights = numbers((ROUTES + 1) * LINE), .variance = variance,
        .cost_weights = numbers(2 * (ROUTES + 1) * LINE), .least = least, .rows = ROUTES + 1, .pessimism = 0.3,
        .count = figures, .cost = figures + ROUTES + 1, .latency = figures + 2 * (ROUTES + 1), .shifted = shifted,
        .inverse_length = 2.0f, .prior_route = 0.02, .temperature = 0.5, .floor = 0.02, .newcomer = 0.1, .warm_up = 25.0,
        .paced_warm_up = 50.0,
    };
    for (ptrdiff_t k = 1; k <= MOST_K; k++) {
        router.linear = k % 3 ? 0.0f : 0.5f;
        sona_f32 *work = numbers(3 * LINE), *phi = numbers(LINE), *squares = numbers(LINE);
        double scores[MOST_K], values[MOST_K], costs[MOST_K], expected[MOST_K], room[5 * MOST_K], propensity;
        int64_t rows[MOST_K];
        int reason;
        for (ptrdiff_t i = 0; i < k; i++) {
            rows[i] = i % (ROUTES + 1);
            costs[i] = (double)i;
        }
        sona_router_features(K, &router, numbers(DIM), 1.0f, k % 2 ? numbers(F) : NULL, work, phi, squares);
        for (int turn = 0; turn < 20; turn++) {
            const sona_terms terms = {0.1, turn % 2 ? 1.5 : NAN, 0.2, 1e-3, turn / 20.0};
            const ptrdiff_t place = sona_decide(K, &router, phi, squares, rows, k, turn % 3 ? costs : NULL, &terms,
                                                scores, values, expected, room, &propensity, &reason);
            if (!(place >= 0 && place < k && propensity > 0.0 && propensity <= 1.0)) {
                printf("router, %td candidates: place %td, propensity %g\n", k, place, propensity);
                failures++;
            }
        }
    }
    free_all();
}

static void check_pacer(void)
{
    enum { WINDOW = 20, MOST_WIDTH = 40 };
    static double turns[SONA_MOST_TURNS];
    for (ptrdiff_t width = 1; width <= MOST_WIDTH; width += 13) {
        double *values = malloc((size_t)(width * WINDOW) * sizeof(double));
        double *costs = malloc((size_t)(width * WINDOW) * sizeof(double));
        sona_pacer pacer = {.values = values, .costs = costs, .window = WINDOW, .width = width, .count = 1};
        for (ptrdiff_t i = 0; i < width * WINDOW; i++) {
            values[i] = i % 7 ? uniform() : -INFINITY;
            costs[i] = i % 7 ? 1.0 + uniform() : 0.0;
        }
        for (ptrdiff_t seen = 1; seen <= WINDOW; seen += 3) {
            sona_reprice(&pacer, seen + 5, seen, turns);
            for (double wanted = -1.0; wanted < 3.0; wanted += 0.25) {
                const double price = sona_price(&pacer, wanted);
                if (!(price >= 0.0 && price < INFINITY)) {
                    printf("pacer, %td candidates, %td calls: price %g\n", width, seen, price);
                    failures++;
                }
            }
        }
        free(values);
        free(costs);
    }
}

static void check_walks(void)
{
    enum { NODES = 30, EDGES = 4 * NODES, COUNT = 20, PATH = 15 };
    int64_t starts[NODES + 1] = {0}, accesses[NODES] = {0};
    int32_t targets[EDGES], rows[COUNT * PATH];
    sona_f32 weights[EDGES];
    double reinforced[EDGES], sums[NODES], work[8];
    uint8_t jumped[COUNT * PATH], kinds[EDGES] = {0};
    for (ptrdiff_t i = 0; i < NODES; i++) { /* every other node has eight edges, the others none */
        starts[i + 1] = starts[i] + (i % 2 ? 8 : 0);
        sums[i] = (double)(i + 1);
    }
    for (ptrdiff_t e = 0; e < EDGES; e++) {
        targets[e] = (int32_t)(e * 7 % NODES);
        weights[e] = e % 8 ? (float)uniform() : 0.0f;
        reinforced[e] = (double)(e % 9) * 1e5 - 1.0;
    }
    for (double temperature = 0.01; temperature < 1000.0; temperature *= 10.0) {
        const sona_walked graph = {NODES, starts, targets, weights, reinforced, kinds, accesses, sums, sums,
                                   0.0, 30.0, 1, 0.3, 0.1, temperature};
        const int status = sona_walks(&graph, 7, 0, COUNT, PATH, -1, rows, jumped, work);
        for (ptrdiff_t i = 0; i < COUNT * PATH; i++)
            if (status != 0 || rows[i] < 0 || rows[i] >= NODES || jumped[i] > 1) {
                printf("walks at temperature %g: row %d, status %d\n", temperature, (int)rows[i], status);
                failures++;
            }
    }
    targets[0] = NODES;
    const sona_walked outside = {NODES, starts, targets, weights, reinforced, kinds, accesses, sums, sums,
                                 0.0, 30.0, 1, 0.0, 0.0, 1.0};
    if (sona_walks(&outside, 7, 0, 1, 2, 1, rows, jumped, work) != -1) {
        printf("walks: an edge that leaves the graph was followed\n");
        failures++;
    }
}

int main(void)
{
    static const ptrdiff_t LENGTHS[] = {0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 97, 256, 384, 1536};
    const sona_kernels *K;
    for (int i = 0; (K = sona_usable(i)) != NULL; i++) {
        for (size_t l = 0; l < sizeof LENGTHS / sizeof *LENGTHS; l++)
            check_length(K, LENGTHS[l]);
        for (int spherical = 0; spherical < 2; spherical++)
            for (ptrdiff_t k = 1; k < 45; k += 11) {
                check_kmeans(K, 113, 17, k, spherical);
                check_kmeans(K, 61, 1, k, spherical);
            }
        check_copy(K);
        check_router(K);
        check_pacer();
        check_walks();
        printf("%s: %d failures\n", K->isa, failures);
    }
    return failures != 0;
}
