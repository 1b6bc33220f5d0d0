/* Random walks over the memory graph. */
#ifndef SONA_DREAMING_H
#define SONA_DREAMING_H

#include "sona_kernels.h"

/* A graph as its walks see it: edges of node i are starts[i]..starts[i + 1] - 1. Only rows on a path are read. */
typedef struct {
    ptrdiff_t nodes;
    const int64_t *starts;        /* (nodes + 1) */
    const int32_t *targets;       /* (edges) */
    const sona_f32 *weights;      /* (edges), as last reinforced */
    const sona_f64 *reinforced;   /* (edges) days */
    const uint8_t *kinds;         /* (edges) */
    const int64_t *accesses;      /* (nodes) */
    const sona_f64 *begin;        /* (nodes) running sums: where a walk begins */
    const sona_f64 *jump;         /* (nodes) running sums: where a creative jump ends */
    double now, half_life;        /* days: an edge halves its weight in half_life without reinforcement */
    int lasting;                  /* the kind of edges that do not */
    double creative_jump, restart, temperature;
} sona_walked;

/* The row of the first element of `sums` above `share` of the last one, share in [0, 1). */
ptrdiff_t sona_drawn(const double *sums, ptrdiff_t n, double share);
/* The walks `first` to `first + count - 1` of a seed: rows and jumped are (count, path), work (the largest degree). Walk i
 * depends on the seed and i alone. `home` is where each begins, -1 to draw it. Returns 0, or -1 if an edge ends outside of the graph. */
int sona_walks(const sona_walked *g, uint64_t seed, int64_t first, ptrdiff_t count, ptrdiff_t path, int64_t home,
               int32_t *rows, uint8_t *jumped, double *work);

#endif
