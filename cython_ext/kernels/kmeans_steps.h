/* Between kmeans.c and kmeans_steps.c: the state one pass over the rows works on. */
#ifndef SONA_KMEANS_STEPS_H
#define SONA_KMEANS_STEPS_H

#include "algorithms.h"

enum { KMEANS_BATCH = 48 }; /* rows scored at a time: a multiple of every table's ROWS */

/* Centroids as score_rows wants them. */
typedef struct {
    sona_f32 *panels, *bias; /* (padded * d), (padded) */
    ptrdiff_t padded;
} kmeans_packed;

typedef struct kmeans_job {
    void (*run)(struct kmeans_job *job, ptrdiff_t first, ptrdiff_t last); /* a range of rows, or of clusters */
    const sona_kernels *K;
    const sona_kmeans *p;
    const sona_f32 *C;              /* (k, d) */
    const kmeans_packed *packed;    /* the same, packed */
    sona_f32 *norms;                /* (n) squared lengths of the rows */
    sona_i32 *labels, *next_labels;  /* (n) before and after this pass; labels NULL: none before */
    sona_f32 *distances;            /* (n) squared distance of each row to its centroid, or NULL */
    sona_f32 *upper, *lower;        /* (n) Hamerly: the own centroid is nearer than upper, all others farther than lower */
    const sona_f32 *moved, *apart;  /* (k) how far each centroid went; half the distance to its nearest neighbour */
    float farthest, second_farthest; /* the two largest of moved */
    ptrdiff_t farthest_at;
    sona_f64 *sums, *counts;        /* (k, d), (k) */
    sona_f32 *scratch;              /* KMEANS_BATCH * padded floats for each thread */
} kmeans_job;

int kmeans_packed_open(kmeans_packed *to, const sona_kernels *K, const sona_kmeans *p);
void kmeans_packed_fill(kmeans_packed *to, const sona_kernels *K, const sona_kmeans *p, const sona_f32 *C);
/* Splits 0..total among the threads and runs the job on each range. */
void kmeans_run_shared(const kmeans_job *common, ptrdiff_t total, int threads);
int kmeans_thread_count(const sona_kmeans *p, ptrdiff_t multiplications);
float kmeans_squared_distance(float xx, float score);

/* Jobs over rows. */
void kmeans_norms(kmeans_job *job, ptrdiff_t first, ptrdiff_t last);
void kmeans_assign_all(kmeans_job *job, ptrdiff_t first, ptrdiff_t last);
void kmeans_assign_bounded(kmeans_job *job, ptrdiff_t first, ptrdiff_t last);
void kmeans_measure(kmeans_job *job, ptrdiff_t first, ptrdiff_t last);
/* Job over clusters. */
void kmeans_update_changed(kmeans_job *job, ptrdiff_t first, ptrdiff_t last);

#endif
