/* The kernels' common language: one struct of function pointers, one such table per instruction set.
 *
 * Every pointer may be unaligned (NumPy views into network buffers are), every length may be 0, every matrix is
 * row-major and contiguous. Inputs and outputs must not overlap unless a comment says "in place". No kernel
 * allocates, locks or touches Python, so all may run without the GIL and from many threads at once.
 *
 * Within one instruction set every dot product adds in the same order: dot(), dot_rows() and the exact re-rank of
 * topk give bit-equal scores for equal rows. Across instruction sets they agree within the bound at the head of
 * each file.
 */
#ifndef SONA_KERNELS_H
#define SONA_KERNELS_H

#include <stddef.h>
#include <stdint.h>

/* Numbers that may lie at any address: a plain `float *` would make unaligned access undefined. */
typedef float sona_f32 __attribute__((aligned(1), may_alias));
typedef int32_t sona_i32 __attribute__((aligned(1), may_alias));
typedef double sona_f64 __attribute__((aligned(1), may_alias));

enum { SONA_MAX_RANK = 16 };

typedef struct sona_kernels {
    const char *isa; /* NULL: this build has no code for this instruction set */

    /* How score_rows wants centroids packed: panels of `panel` centroids, the last one possibly of panel / 2. */
    ptrdiff_t panel;

    /* sum of a[i] * b[i] */
    float (*dot)(const sona_f32 *a, const sona_f32 *b, ptrdiff_t d);
    /* out[i] = q . C[i], C is (m, d) */
    void (*dot_rows)(const sona_f32 *q, const sona_f32 *C, ptrdiff_t m, ptrdiff_t d, sona_f32 *out);
    /* out[i] = sum of q[j] * rows[i][j] exactly; needs |q[j]| <= 63 so that no 16-bit partial sum saturates */
    void (*dot_rows_u8)(const int8_t *q, const uint8_t *rows, ptrdiff_t m, ptrdiff_t d, sona_i32 *out);

    /* y = x + scale * sum_r (A[r] . x) B[r] for n rows of x (n, d); A and B are (rank, d); y may be x */
    void (*lora_forward)(const sona_f32 *x, const sona_f32 *A, const sona_f32 *B, float scale, ptrdiff_t rank,
                         ptrdiff_t n, ptrdiff_t d, sona_f32 *y);
    /* dA[r] += scale w_i (B[r] . delta_i) x_i and dB[r] += scale w_i (A[r] . x_i) delta_i; weights NULL means 1 */
    void (*lora_backward)(const sona_f32 *x, const sona_f32 *delta, const sona_f32 *weights, const sona_f32 *A,
                          const sona_f32 *B, float scale, ptrdiff_t rank, ptrdiff_t n, ptrdiff_t d,
                          sona_f32 *dA, sona_f32 *dB);

    /* scores[i * padded + c] = bias[c] + rows[i] . centroid[c], for n rows given by address */
    void (*score_rows)(const sona_f32 *const *rows, ptrdiff_t n, const sona_f32 *panels, const sona_f32 *bias,
                       ptrdiff_t padded, ptrdiff_t d, sona_f32 *scores);
    /* the largest score, its lowest index, and the largest of the others (-inf if there is none) */
    ptrdiff_t (*best_two)(const sona_f32 *scores, ptrdiff_t n, float *best, float *second);
    /* sum += weight * x, in double */
    void (*add_row)(sona_f64 *sum, const sona_f32 *x, double weight, ptrdiff_t d);

    /* F = decay F + (1 - decay) g^2, in place */
    void (*fisher_update)(sona_f32 *F, const sona_f32 *g, double decay, ptrdiff_t n);
    /* theta = (theta + step F optimum) / (1 + step F), in place */
    void (*ewc_prox)(sona_f32 *theta, const sona_f32 *F, const sona_f32 *optimum, float step, ptrdiff_t n);
    /* rows scaled to length 1; zero rows stay zero and are counted; out may be X */
    ptrdiff_t (*normalize_rows)(const sona_f32 *X, ptrdiff_t n, ptrdiff_t d, sona_f32 *out);
    /* 1 if no element is infinite or NaN */
    int (*all_finite)(const sona_f32 *x, ptrdiff_t n);
    /* x = e^x in place, for x <= 0; within 4 units in the last place down to e^-87, below that at most 2e-38 */
    void (*exp_negative)(sona_f32 *x, ptrdiff_t n);

    /* Big-endian wire formats of Postgres. Rounds to nearest even; returns how many elements are infinite or NaN
     * in half precision (pgvector refuses those). */
    ptrdiff_t (*f32_to_f16_be)(const sona_f32 *x, ptrdiff_t n, uint8_t *out);
    void (*f16_be_to_f32)(const uint8_t *bytes, ptrdiff_t n, sona_f32 *out);
    void (*f32_to_be)(const sona_f32 *x, ptrdiff_t n, uint8_t *out);
    void (*be_to_f32)(const uint8_t *bytes, ptrdiff_t n, sona_f32 *out);

    /* CRC-32C (Castagnoli); pass the last result as seed to go on, 0 to begin */
    uint32_t (*crc32c)(uint32_t seed, const uint8_t *bytes, ptrdiff_t n);
} sona_kernels;

extern const sona_kernels sona_scalar, sona_avx2, sona_avx512, sona_neon;

/* dispatch.c: the table in use. Set once when the module is imported (and by the tests' use_isa). */
extern const sona_kernels *sona_active;
/* Picks `name`, or the best usable one if name is NULL or empty. Returns 0, or -1 with a message. */
int sona_select(const char *name, char *message, size_t size);
/* The i-th usable table, best first, or NULL past the end. */
const sona_kernels *sona_usable(int i);
/* Value of SONA_PG_ISA, or NULL. */
const char *sona_forced_isa(void);

#endif
