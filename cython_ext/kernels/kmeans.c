/* Lloyd's algorithm with Hamerly's bounds, and k-means++ seeding. */
#include "kmeans_steps.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* All the memory of one run: a single allocation cut into arrays, the doubles first for their alignment. */
typedef struct {
    void *memory;
    sona_f64 *sums, *counts;
    sona_f32 *norms, *upper, *lower, *distances, *moved, *apart, *row, *scratch;
    sona_i32 *next_labels;
    int64_t *members;
    kmeans_packed packed;
} workspace;

static int workspace_open(workspace *w, const sona_kernels *K, const sona_kmeans *p, int threads)
{
    const size_t n = (size_t)p->n, k = (size_t)p->k, d = (size_t)p->d;
    w->memory = NULL;
    if (kmeans_packed_open(&w->packed, K, p) != 0)
        return -1;
    const size_t scratch = (size_t)threads * KMEANS_BATCH * (size_t)w->packed.padded;
    w->memory = malloc(sizeof(double) * (k * d + 2 * k) + sizeof(float) * (5 * n + 2 * k + d + scratch + 1));
    if (w->memory == NULL)
        return -1;
    w->sums = w->memory;
    w->counts = w->sums + k * d;
    w->members = (int64_t *)(w->counts + k);
    w->norms = (sona_f32 *)(w->members + k);
    w->upper = w->norms + n;
    w->lower = w->upper + n;
    w->distances = w->lower + n;
    w->next_labels = (sona_i32 *)(w->distances + n);
    w->moved = (sona_f32 *)(w->next_labels + n);
    w->apart = w->moved + k;
    w->row = w->apart + k;
    w->scratch = w->row + d;
    return 0;
}

static void workspace_close(workspace *w)
{
    free(w->packed.panels);
    free(w->memory);
}

/* Half the distance from each centroid to its nearest neighbour. */
static void measure_apart(workspace *w, const sona_kernels *K, const sona_kmeans *p, const sona_f32 *C)
{
    for (ptrdiff_t c = 0; c < p->k; c++) {
        const sona_f32 *row = C + c * p->d;
        float nearest, second;
        K->score_rows(&row, 1, w->packed.panels, w->packed.bias, w->packed.padded, p->d, w->scratch);
        w->scratch[c] = -INFINITY;
        K->best_two(w->scratch, w->packed.padded, &nearest, &second);
        w->apart[c] = 0.5f * sqrtf(kmeans_squared_distance(K->dot(row, row, p->d), nearest));
    }
}

/* An empty cluster takes the row that is farthest from its centroid (the lowest index of equals), out of a cluster
 * that keeps other rows. Its bounds are opened so that the next pass looks at it afresh. */
static void fill_empty(workspace *w, const sona_kmeans *p)
{
    memset(w->members, 0, sizeof(int64_t) * (size_t)p->k);
    for (ptrdiff_t i = 0; i < p->n; i++)
        w->members[w->next_labels[i]]++;
    for (ptrdiff_t c = 0; c < p->k; c++) {
        if (w->members[c] > 0)
            continue;
        ptrdiff_t farthest = -1;
        for (ptrdiff_t i = 0; i < p->n; i++)
            if (w->members[w->next_labels[i]] > 1 && (farthest < 0 || w->upper[i] > w->upper[farthest]))
                farthest = i;
        if (farthest < 0)
            return;
        w->members[w->next_labels[farthest]]--;
        w->members[c] = 1;
        w->next_labels[farthest] = (int32_t)c;
        w->upper[farthest] = w->lower[farthest] = 0.0f;
    }
}

/* New centroids from the sums; a cluster without weight, or whose rows cancel, stays where it was. Returns by how
 * much that lowers the inertia: a mean that moves by m lowers it by weight * m^2, and a mean direction of sum s by
 * |s| m^2, both exactly. */
static double move_centroids(kmeans_job *job, workspace *w, const sona_kmeans *p, sona_f32 *C)
{
    double gain = 0.0;
    job->farthest = job->second_farthest = 0.0f;
    job->farthest_at = -1;
    for (ptrdiff_t c = 0; c < p->k; c++) {
        sona_f64 *sum = w->sums + c * p->d;
        sona_f32 *row = C + c * p->d;
        double squares = 0.0, shift = 0.0;
        for (ptrdiff_t j = 0; j < p->d; j++)
            squares += sum[j] * sum[j];
        const double scale = p->spherical ? sqrt(squares) : w->counts[c];
        w->moved[c] = 0.0f;
        if (w->members[c] == 0 || !(scale > 1e-12))
            continue;
        for (ptrdiff_t j = 0; j < p->d; j++) {
            const float value = (float)(sum[j] / scale);
            shift += ((double)value - row[j]) * ((double)value - row[j]);
            row[j] = value;
        }
        gain += scale * shift;
        const float moved = w->moved[c] = (float)sqrt(shift);
        if (moved > job->farthest) {
            job->second_farthest = job->farthest;
            job->farthest = moved;
            job->farthest_at = c;
        } else if (moved > job->second_farthest) {
            job->second_farthest = moved;
        }
    }
    return gain;
}

static void run(kmeans_job *job, void (*step)(kmeans_job *, ptrdiff_t, ptrdiff_t), ptrdiff_t total, int threads)
{
    job->run = step;
    kmeans_run_shared(job, total, threads);
}

int sona_kmeans_lloyd(const sona_kernels *K, const sona_kmeans *p, int max_iter, double tol, double least_gain,
                      sona_f32 *C, sona_i32 *labels, double *inertia, int *n_iter)
{
    double gain = INFINITY, first_inertia = 0.0;
    const int threads = kmeans_thread_count(p, p->n * p->k * p->d);
    workspace w;
    if (workspace_open(&w, K, p, threads) != 0) {
        workspace_close(&w);
        return -1;
    }
    memset(w.sums, 0, sizeof(double) * (size_t)(p->k * p->d + p->k));
    for (ptrdiff_t i = 0; i < p->n; i++)
        labels[i] = -1;
    kmeans_job job = {.K = K, .p = p, .C = C, .packed = &w.packed, .norms = w.norms, .labels = labels,
                      .next_labels = w.next_labels, .upper = w.upper, .lower = w.lower, .moved = w.moved,
                      .apart = w.apart, .sums = w.sums, .counts = w.counts, .scratch = w.scratch};
    run(&job, kmeans_norms, p->n, threads);

    /* Assign, then move; the pass after the last move only assigns, so that labels belong to the centroids. */
    for (*n_iter = 0;; ++*n_iter) {
        kmeans_packed_fill(&w.packed, K, p, C);
        if (*n_iter > 0)
            measure_apart(&w, K, p, C);
        run(&job, *n_iter == 0 ? kmeans_assign_all : kmeans_assign_bounded, p->n, threads);
        for (ptrdiff_t i = 0; *n_iter == 0 && i < p->n; i++)
            first_inertia += (p->weights ? (double)p->weights[i] : 1.0) * w.upper[i] * w.upper[i];
        const int settled = *n_iter > 0 && (job.farthest <= tol || gain <= least_gain * first_inertia);
        const int last = settled || *n_iter >= max_iter;
        if (!last) {
            fill_empty(&w, p);
            run(&job, kmeans_update_changed, p->k, threads);
        }
        memcpy(labels, w.next_labels, sizeof(int32_t) * (size_t)p->n);
        if (last)
            break;
        gain = move_centroids(&job, &w, p, C);
    }
    job.distances = w.distances;
    run(&job, kmeans_measure, p->n, threads);
    *inertia = 0.0;
    for (ptrdiff_t i = 0; i < p->n; i++)
        *inertia += (p->weights ? (double)p->weights[i] : 1.0) * w.distances[i];
    workspace_close(&w);
    return 0;
}

/* ---- k-means++ (Arthur and Vassilvitskii 2007), greedy: each round keeps the best of several draws ---- */

/* The row at which the running sum of weight * distance first exceeds the drawn share of the total; distances NULL
 * means all 1. A row of no weight is never drawn unless all are. */
static ptrdiff_t draw(const sona_kmeans *p, const sona_f64 *running, double uniform)
{
    const double target = uniform * running[p->n - 1];
    ptrdiff_t low = 0, high = p->n - 1;
    while (low < high) {
        const ptrdiff_t middle = low + (high - low) / 2;
        if (running[middle] > target)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

static void accumulate(const sona_kmeans *p, const sona_f32 *distances, sona_f64 *running)
{
    double sum = 0.0;
    for (ptrdiff_t i = 0; i < p->n; i++)
        running[i] = sum += (p->weights ? (double)p->weights[i] : 1.0) * (distances ? distances[i] : 1.0f);
}

int sona_kmeans_plus_plus(const sona_kernels *K, const sona_kmeans *p, const sona_f64 *uniforms, ptrdiff_t trials,
                          int64_t *chosen)
{
    const ptrdiff_t n = p->n, d = p->d;
    sona_f64 *running = malloc(sizeof(double) * (size_t)(n + trials)
                               + sizeof(float) * (size_t)(2 * n + n * trials + trials * d));
    int64_t *candidates = malloc(sizeof(int64_t) * (size_t)trials);
    if (running == NULL || candidates == NULL) {
        free(running);
        free(candidates);
        return -1;
    }
    sona_f64 *totals = running + n;
    sona_f32 *norms = (sona_f32 *)(totals + trials), *nearest = norms + n;
    sona_f32 *reached = nearest + n;       /* (n, trials) nearest, if that candidate were taken */
    sona_f32 *rows = reached + n * trials; /* (trials, d): side by side, so that each row of X is read once a round */
    for (ptrdiff_t i = 0; i < n; i++) {
        norms[i] = K->dot(p->X + i * d, p->X + i * d, d);
        nearest[i] = INFINITY;
    }
    accumulate(p, NULL, running);
    for (ptrdiff_t c = 0; c < p->k; c++) {
        const ptrdiff_t draws = c == 0 ? 1 : trials; /* against nothing, all candidates are equal */
        for (ptrdiff_t t = 0; t < draws; t++) {
            candidates[t] = draw(p, running, uniforms[c * trials + t]);
            memcpy(rows + t * d, p->X + candidates[t] * d, sizeof(float) * (size_t)d);
            totals[t] = 0.0;
        }
        for (ptrdiff_t i = 0; i < n; i++) {
            sona_f32 *row = reached + i * draws;
            const double weight = p->weights ? (double)p->weights[i] : 1.0;
            K->dot_rows(p->X + i * d, rows, draws, d, row);
            for (ptrdiff_t t = 0; t < draws; t++) {
                const float distance = i == candidates[t] ? 0.0f
                                       : kmeans_squared_distance(norms[i] + norms[candidates[t]], row[t]);
                row[t] = distance < nearest[i] ? distance : nearest[i];
                totals[t] += weight * row[t];
            }
        }
        ptrdiff_t best = 0;
        for (ptrdiff_t t = 1; t < draws; t++)
            best = totals[t] < totals[best] ? t : best;
        chosen[c] = candidates[best];
        for (ptrdiff_t i = 0; i < n; i++)
            nearest[i] = reached[i * draws + best];
        accumulate(p, totals[best] > 0.0 ? nearest : NULL, running); /* all rows chosen already: any will do */
    }
    free(candidates);
    free(running);
    return 0;
}
