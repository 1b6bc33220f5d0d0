/* One routing decision, and the price of cost under a budget. */
#ifndef SONA_ASKING_H
#define SONA_ASKING_H

#include "sona_kernels.h"

/* ---- routing.c ---- */

enum { SONA_ONLY, SONA_WARM_UP, SONA_EXPLOIT, SONA_EXPLORE };

/* A router as it decides. R = routes; in arrays of R + 1 rows the last one stands for unseen routes. Rows are filled up
 * with zeros to whole cache lines, and begin at one: loads that straddle two take twice as long. */
typedef struct {
    ptrdiff_t dim, f, marks, width;               /* of a query, of its features, landmarks L, of the basis */
    ptrdiff_t row, near, phi;                     /* floats of a row: dim + f, L and 1 + width, filled up */
    const sona_f32 *landmarks;                    /* (L, row) */
    const sona_f32 *norms;                        /* (L): squared length / (2 kernel length) */
    const sona_f32 *transform;                    /* (width, near) */
    const sona_f32 *mean, *deviation, *weight;    /* (f) */
    const sona_f32 *weights, *variance;           /* (R + 1, phi) */
    const sona_f32 *cost_weights;                 /* (2, R + 1, phi): of the cost, and of its ratio to an estimate */
    const sona_f64 *least;                        /* (2, R + 1): the smallest of each; negative where none was learned */
    ptrdiff_t rows;                               /* R + 1 */
    const sona_f64 *count, *cost, *latency;       /* (R + 1) */
    const sona_f64 *shifted;                      /* (R + 1): 1 where its quality has changed of late, else 0 */
    float inverse_length, linear;                 /* of the kernel; share of the embeddings' dot product in it */
    double prior_route, temperature, floor, newcomer, warm_up, paced_warm_up, pessimism;
    double intercept, slope, per_steepness;       /* size of differences by difficulty; 0: as the linear model has them */
} sona_router;

/* Inputs of a decision, beside the query. */
typedef struct {
    double price, budget, cost_weight, latency_weight, draw; /* budget NaN: none */
} sona_terms;

/* phi and its squares, both as long as a row of the weights. `work` has room for row + 2 near floats. */
void sona_router_features(const sona_kernels *K, const sona_router *R, const sona_f32 *x, float inverse_norm,
                          const sona_f32 *features, sona_f32 *work, sona_f32 *phi, sona_f32 *squares);
/* Returns the place of the candidate drawn; scores, values and expected (costs) are (k), work has room for 5 k. */
ptrdiff_t sona_decide(const sona_kernels *K, const sona_router *R, const sona_f32 *phi, const sona_f32 *squares,
                      const int64_t *rows, ptrdiff_t k, const double *costs, const sona_terms *T, double *scores,
                      double *values, double *expected, double *work, double *propensity, int *reason);
void sona_thompson(const double *mean, const double *deviation, ptrdiff_t k, double *out);

/* ---- pacing.c ---- */

enum { SONA_MARKS = 48, SONA_PRICES = SONA_MARKS + 2, SONA_MOST_TURNS = 16384 };

/* Calls remembered, by candidate: values[c * window + slot]; an absent candidate has the value -inf and no cost. */
typedef struct {
    double *values, *costs;
    ptrdiff_t window, width;
    double prices[SONA_PRICES], spend[SONA_PRICES]; /* spend NaN: not computed yet */
    ptrdiff_t count;                                /* of prices */
    ptrdiff_t at;                                   /* where the last price was found */
    ptrdiff_t first, seen;                          /* the slots that prices were made of: newest, and how many */
} sona_pacer;

/* Makes the grid of prices from the newest `seen` calls. `turns` has room for SONA_MOST_TURNS. */
void sona_reprice(sona_pacer *p, ptrdiff_t newest, ptrdiff_t seen, double *turns);
/* The price at which the calls of the last `sona_reprice` would have cost `wanted` on average. */
double sona_price(sona_pacer *p, double wanted);

#endif
