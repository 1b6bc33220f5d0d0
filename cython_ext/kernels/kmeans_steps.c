/* The steps of k-means on the kernels of one table: packing, assignment with and without bounds, update.
 *
 * Scores: |x - c|^2 = |x|^2 - 2 (x.c - |c|^2 / 2), so the nearest centroid has the largest x.c - |c|^2 / 2. The
 * centroids are packed in panels with that constant (-1/2 for unit centroids, -inf for padding) as a bias.
 *
 * Results do not depend on the number of threads: rows are assigned independently of each other, and each
 * cluster's sum is added up by one thread in row order, in double.
 */
#define _POSIX_C_SOURCE 200809L
#include "kmeans_steps.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

float kmeans_squared_distance(float xx, float score)
{
    return fmaxf(0.0f, xx - 2.0f * score);
}

int kmeans_packed_open(kmeans_packed *to, const sona_kernels *K, const sona_kmeans *p)
{
    const ptrdiff_t step = K->panel / 2;
    to->padded = (p->k + step - 1) / step * step;
    to->panels = malloc(sizeof(float) * (size_t)(to->padded * p->d + to->padded));
    to->bias = to->panels + to->padded * p->d;
    return to->panels ? 0 : -1;
}

void kmeans_packed_fill(kmeans_packed *to, const sona_kernels *K, const sona_kmeans *p, const sona_f32 *C)
{
    const ptrdiff_t d = p->d;
    for (ptrdiff_t first = 0; first < to->padded;) {
        const ptrdiff_t width = to->padded - first < K->panel ? K->panel / 2 : K->panel;
        sona_f32 *panel = to->panels + first * d;
        for (ptrdiff_t c = 0; c < width; c++) {
            const sona_f32 *row = C + (first + c) * d;
            const int real = first + c < p->k;
            to->bias[first + c] = !real ? -INFINITY : p->spherical ? -0.5f : -0.5f * K->dot(row, row, d);
            for (ptrdiff_t j = 0; j < d; j++)
                panel[j * width + c] = real ? row[j] : 0.0f;
        }
        first += width;
    }
}

/* ---- Work shared among threads ---- */

enum { MAX_THREADS = 64 };

/* Below this many multiplications (a few milliseconds) a thread costs more than it saves, most of all on a busy
 * machine, where a join may wait for a time slice. The self-test sets 0. */
#ifndef KMEANS_THREAD_WORK
#define KMEANS_THREAD_WORK (1 << 28)
#endif

typedef struct {
    kmeans_job job;
    ptrdiff_t first, last;
    pthread_t thread;
} share;

static void *run_share(void *argument)
{
    share *s = argument;
    s->job.run(&s->job, s->first, s->last);
    return NULL;
}

/* Splits 0..total among the threads. A thread that cannot be started is run here instead. */
void kmeans_run_shared(const kmeans_job *common, ptrdiff_t total, int threads)
{
    share shares[MAX_THREADS];
    int started[MAX_THREADS];
    for (int t = 0; t < threads; t++) {
        shares[t].job = *common;
        shares[t].first = total * t / threads;
        shares[t].last = total * (t + 1) / threads;
        if (common->packed)
            shares[t].job.scratch = common->scratch + t * KMEANS_BATCH * common->packed->padded;
    }
    for (int t = 1; t < threads; t++)
        started[t] = pthread_create(&shares[t].thread, NULL, run_share, &shares[t]) == 0;
    run_share(&shares[0]);
    for (int t = 1; t < threads; t++) {
        if (started[t])
            pthread_join(shares[t].thread, NULL);
        else
            run_share(&shares[t]);
    }
}

int kmeans_thread_count(const sona_kmeans *p, ptrdiff_t work)
{
    if (p->threads <= 1 || work < KMEANS_THREAD_WORK)
        return 1;
    return p->threads < MAX_THREADS ? p->threads : MAX_THREADS;
}

/* ---- Assignment ---- */

/* Scores the collected rows against all centroids and stores label and bounds. */
static void assign_batch(const kmeans_job *job, const sona_f32 *const *rows, const ptrdiff_t *at, ptrdiff_t n)
{
    const ptrdiff_t padded = job->packed->padded;
    job->K->score_rows(rows, n, job->packed->panels, job->packed->bias, padded, job->p->d, job->scratch);
    for (ptrdiff_t i = 0; i < n; i++) {
        float best, second;
        const ptrdiff_t row = at[i];
        job->next_labels[row] = (int32_t)job->K->best_two(job->scratch + i * padded, padded, &best, &second);
        if (job->distances)
            job->distances[row] = kmeans_squared_distance(job->norms[row], best);
        if (job->upper) {
            job->upper[row] = sqrtf(kmeans_squared_distance(job->norms[row], best));
            job->lower[row] = sqrtf(kmeans_squared_distance(job->norms[row], second));
        }
    }
}

void kmeans_assign_all(kmeans_job *job, ptrdiff_t first, ptrdiff_t last)
{
    const sona_f32 *rows[KMEANS_BATCH];
    ptrdiff_t at[KMEANS_BATCH];
    while (first < last) {
        const ptrdiff_t n = last - first < KMEANS_BATCH ? last - first : KMEANS_BATCH;
        for (ptrdiff_t i = 0; i < n; i++) {
            at[i] = first + i;
            rows[i] = job->p->X + (first + i) * job->p->d;
        }
        assign_batch(job, rows, at, n);
        first += n;
    }
}

/* Hamerly (2010): a row whose distance to its own centroid is below the distance to any other, and below half the
 * way from its centroid to the next one, keeps its label. The bounds are loosened by how far centroids moved. */
void kmeans_assign_bounded(kmeans_job *job, ptrdiff_t first, ptrdiff_t last)
{
    const sona_f32 *rows[KMEANS_BATCH];
    ptrdiff_t at[KMEANS_BATCH], n = 0;
    const ptrdiff_t d = job->p->d;
    for (ptrdiff_t i = first; i < last; i++) {
        const int32_t label = job->labels[i];
        const sona_f32 *row = job->p->X + i * d;
        job->upper[i] += job->moved[label];
        job->lower[i] -= label == job->farthest_at ? job->second_farthest : job->farthest;
        /* Squared distances come from a difference of numbers near |x|^2: 1e-6 of it is their noise. */
        const float safe = fmaxf(job->lower[i], job->apart[label]) - 1e-6f * job->norms[i];
        job->next_labels[i] = label;
        if (job->upper[i] < safe)
            continue;
        const float score = job->packed->bias[label] + job->K->dot(row, job->C + label * d, d);
        job->upper[i] = sqrtf(kmeans_squared_distance(job->norms[i], score));
        if (job->upper[i] < safe)
            continue;
        rows[n] = row;
        at[n++] = i;
        if (n == KMEANS_BATCH) {
            assign_batch(job, rows, at, n);
            n = 0;
        }
    }
    assign_batch(job, rows, at, n);
}

/* The squared distance of each row to the centroid its label names. */
void kmeans_measure(kmeans_job *job, ptrdiff_t first, ptrdiff_t last)
{
    const ptrdiff_t d = job->p->d;
    for (ptrdiff_t i = first; i < last; i++) {
        const int32_t label = job->labels[i];
        const float score = job->packed->bias[label] + job->K->dot(job->p->X + i * d, job->C + label * d, d);
        job->distances[i] = kmeans_squared_distance(job->norms[i], score);
    }
}

void kmeans_norms(kmeans_job *job, ptrdiff_t first, ptrdiff_t last)
{
    const ptrdiff_t d = job->p->d;
    for (ptrdiff_t i = first; i < last; i++)
        job->norms[i] = job->K->dot(job->p->X + i * d, job->p->X + i * d, d);
}

int sona_kmeans_assign(const sona_kernels *K, const sona_kmeans *p, const sona_f32 *C, sona_i32 *labels,
                       sona_f32 *distances)
{
    kmeans_packed centroids;
    const int threads = kmeans_thread_count(p, p->n * p->k * p->d);
    sona_f32 *norms = malloc(sizeof(float) * (size_t)(p->n + 1));
    sona_f32 *scratch = NULL;
    centroids.panels = NULL;
    int status = kmeans_packed_open(&centroids, K, p);
    if (status == 0)
        scratch = malloc(sizeof(float) * (size_t)(threads * KMEANS_BATCH * centroids.padded));
    if (norms && scratch) {
        kmeans_packed_fill(&centroids, K, p, C);
        kmeans_job work = {.run = kmeans_norms, .K = K, .p = p, .packed = &centroids, .next_labels = labels,
                    .distances = distances, .norms = norms, .scratch = scratch};
        kmeans_run_shared(&work, p->n, threads);
        work.run = kmeans_assign_all;
        kmeans_run_shared(&work, p->n, threads);
    } else {
        status = -1;
    }
    free(scratch);
    free(centroids.panels);
    free(norms);
    return status;
}

/* ---- Update ---- */

/* Moves rows between the sums of the clusters in [first, last): only rows whose label changed are touched. */
void kmeans_update_changed(kmeans_job *job, ptrdiff_t first, ptrdiff_t last)
{
    const ptrdiff_t d = job->p->d;
    for (ptrdiff_t i = 0; i < job->p->n; i++) {
        const int32_t old = job->labels ? job->labels[i] : -1, new = job->next_labels[i];
        if (old == new)
            continue;
        const double weight = job->p->weights ? job->p->weights[i] : 1.0;
        if (old >= first && old < last) {
            job->K->add_row(job->sums + old * d, job->p->X + i * d, -weight, d);
            job->counts[old] -= weight;
        }
        if (new >= first && new < last) {
            job->K->add_row(job->sums + new * d, job->p->X + i * d, weight, d);
            job->counts[new] += weight;
        }
    }
}

void sona_kmeans_update(const sona_kernels *K, const sona_kmeans *p, const sona_i32 *labels, sona_f64 *sums,
                        sona_f64 *counts)
{
    memset(sums, 0, sizeof(double) * (size_t)(p->k * p->d));
    memset(counts, 0, sizeof(double) * (size_t)p->k);
    kmeans_job work = {.run = kmeans_update_changed, .K = K, .p = p, .next_labels = (sona_i32 *)labels, .sums = sums,
                .counts = counts};
    kmeans_run_shared(&work, p->k, kmeans_thread_count(p, p->n * p->d));
}
