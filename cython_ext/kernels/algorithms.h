/* Algorithms over the kernels of one table: the same C for every instruction set. */
#ifndef SONA_ALGORITHMS_H
#define SONA_ALGORITHMS_H

#include "sona_kernels.h"

/* ---- topk.c ---- */

/* A block of centroids with a copy of one byte an element that a scan reads first. See topk.c for the bound. */
typedef struct {
    const sona_f32 *rows;    /* (m, d) */
    uint8_t *codes;          /* (m, padded), code 128 is zero */
    sona_f32 *scales;        /* (m): row = scale (code - 128) + error */
    ptrdiff_t m, d, padded;
    double error, norm;      /* the largest length of an error (with the rounding of exact scores) and of a copy */
} sona_block;

/* Fills codes, scales and bounds from rows; m, d and padded are set already. */
void sona_block_fill(sona_block *block);
/* The k largest q . C[i], k <= m, descending, ties by lower index. Returns 0, or 1 if a score is not finite. */
int sona_topk(const sona_kernels *K, const sona_f32 *q, const sona_f32 *C, ptrdiff_t m, ptrdiff_t d, ptrdiff_t k,
              int64_t *indices, sona_f32 *scores);
/* The sum of e^(sharpness (score - best)) over all scores of a scan; begins with best -infinity and sum 0. */
typedef struct {
    float sharpness, best;
    double sum;
} sona_softmax;

/* The k largest of scale q . C[i] + offset[i]. `which` (m): the rows of C instead of the first m; the indices are places
 * in it. Without `offset` the scale is not applied. `among`: NULL, or it is filled. */
int sona_topk_affine(const sona_kernels *K, const sona_f32 *q, float scale, const sona_f32 *C, const sona_f32 *offset,
                     const int64_t *which, ptrdiff_t m, ptrdiff_t d, ptrdiff_t k, int64_t *indices, sona_f32 *scores,
                     sona_softmax *among);
/* The same result from a block and a finite q. `scratch` has room for 5 m + 4 + padded bytes. */
int sona_block_topk(const sona_kernels *K, const sona_block *block, const sona_f32 *q, ptrdiff_t k,
                    void *scratch, int64_t *indices, sona_f32 *scores);

/* ---- kmeans.c ---- */

typedef struct {
    const sona_f32 *X;       /* (n, d) */
    const sona_f32 *weights; /* (n), or NULL for 1 */
    ptrdiff_t n, d, k;
    int spherical;           /* rows and centroids have length 1; the mean is scaled back to length 1 */
    int threads;
} sona_kmeans;

/* All return 0, or -1 when memory ran out. Distances are squared and Euclidean (for unit vectors 2 - 2 cos). */
int sona_kmeans_assign(const sona_kernels *K, const sona_kmeans *p, const sona_f32 *C, sona_i32 *labels,
                       sona_f32 *distances);
void sona_kmeans_update(const sona_kernels *K, const sona_kmeans *p, const sona_i32 *labels, sona_f64 *sums,
                        sona_f64 *counts);
/* From C to where no centroid moves farther than tol, or a move gains less than least_gain of the first inertia. */
int sona_kmeans_lloyd(const sona_kernels *K, const sona_kmeans *p, int max_iter, double tol, double least_gain,
                      sona_f32 *C, sona_i32 *labels, double *inertia, int *n_iter);
/* uniforms (k, trials) in [0, 1): in every round the best of `trials` draws is taken. */
int sona_kmeans_plus_plus(const sona_kernels *K, const sona_kmeans *p, const sona_f64 *uniforms, ptrdiff_t trials,
                          int64_t *chosen);
/* Seeding and Lloyd on growing samples, then on all rows; a function of the seed. See kmeans_fit.c. */
int sona_kmeans_fit(const sona_kernels *K, const sona_kmeans *p, uint64_t seed, int max_iter, double tol, sona_f32 *C,
                    sona_i32 *labels, double *inertia, int *n_iter);

#endif
