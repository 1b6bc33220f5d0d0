/* Random walks over the memory graph: restarts, creative jumps, and edges by weight and novelty.
 *
 * The reference is sona_pg/learning/graph/dreams.py (transition_probabilities); tests compare each step with it. The
 * same seed gives the same walks on every machine: SplitMix64 draws, and powers of two are computed by additions and
 * multiplications alone (no libm, no fused operations), whose results IEEE 754 fixes to the bit.
 */
#include "dreaming.h"

#include <string.h>

#ifdef __clang__
#pragma STDC FP_CONTRACT OFF /* GCC contracts nothing with -std=c11 */
#endif

static const double LN2 = 0.69314718055994530942, INVERSE_LN2 = 1.44269504088896340736, SQRT2 = 1.41421356237309504880;

/* SplitMix64 (Steele, Lea and Flood 2014). */
static uint64_t next(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static double uniform(uint64_t *state)
{
    return (double)(next(state) >> 11) * 0x1p-53;
}

/* 2^x of x <= 0 by the Taylor series of e^(f ln 2), |f| <= 1/2: within 4 units in the last place. 0 below 2^-1000. */
static double power_of_two(double x)
{
    if (!(x > -1000.0))
        return 0.0;
    const double whole = (double)(int64_t)(x - 0.5), y = (x - whole) * LN2;
    double sum = 1.0;
    for (int term = 18; term > 0; term--)
        sum = 1.0 + sum * (y / term);
    const uint64_t bits = (uint64_t)(1023 + (int64_t)whole) << 52;
    double scale;
    memcpy(&scale, &bits, sizeof scale);
    return sum * scale;
}

/* log2 of x in (0, 1], by the series of artanh((m - 1) / (m + 1)) of its mantissa in [1/sqrt 2, sqrt 2]. */
static double log_two(double x)
{
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    int64_t exponent = (int64_t)(bits >> 52) - 1023;
    bits = (bits & 0xfffffffffffffu) | (uint64_t)1023 << 52;
    double mantissa;
    memcpy(&mantissa, &bits, sizeof mantissa);
    if (mantissa > SQRT2) {
        mantissa *= 0.5;
        exponent++;
    }
    const double z = (mantissa - 1.0) / (mantissa + 1.0), square = z * z;
    double sum = 0.0;
    for (int term = 23; term > 0; term -= 2)
        sum = 1.0 / term + square * sum;
    return (double)exponent + 2.0 * z * sum * INVERSE_LN2;
}

ptrdiff_t sona_drawn(const double *sums, ptrdiff_t n, double share)
{
    const double wanted = share * sums[n - 1];
    ptrdiff_t low = 0, high = n - 1;
    while (low < high) {
        const ptrdiff_t middle = low + (high - low) / 2;
        if (sums[middle] > wanted)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

/* The end of the edge that is followed from `row`; -1 if none can be, -2 if an edge ends outside of the graph. */
static ptrdiff_t followed(const sona_walked *g, ptrdiff_t row, double share, double *work)
{
    const int64_t start = g->starts[row];
    const ptrdiff_t degree = (ptrdiff_t)(g->starts[row + 1] - start);
    double largest = 0.0, total = 0.0;
    for (ptrdiff_t e = 0; e < degree; e++) {
        const int32_t target = g->targets[start + e];
        if (target < 0 || target >= g->nodes)
            return -2;
        const double age = g->kinds[start + e] == g->lasting ? 0.0 : g->now - g->reinforced[start + e];
        const double weight = g->weights[start + e] * (age > 0.0 ? power_of_two(-age / g->half_life) : 1.0);
        work[e] = weight * (1.0 + 1.0 / (1.0 + (double)g->accesses[target]));
        largest = work[e] > largest ? work[e] : largest;
    }
    if (!(largest > 0.0))
        return -1;
    for (ptrdiff_t e = 0; e < degree; e++) {
        const double drawn_to = work[e] / largest;
        if (g->temperature != 1.0)
            total += drawn_to < 0x1p-1022 ? 0.0 : power_of_two(log_two(drawn_to) / g->temperature);
        else
            total += drawn_to;
        work[e] = total;
    }
    return g->targets[start + sona_drawn(work, degree, share)];
}

int sona_walks(const sona_walked *g, uint64_t seed, int64_t first, ptrdiff_t count, ptrdiff_t path, int64_t home,
               int32_t *rows, uint8_t *jumped, double *work)
{
    for (ptrdiff_t walk = 0; walk < count; walk++) {
        uint64_t state = seed + (uint64_t)(first + walk) * 0xd1342543de82ef95u;
        state = next(&state); /* apart from the next seed's and the next walk's stream */
        const ptrdiff_t start = home >= 0 ? (ptrdiff_t)home : sona_drawn(g->begin, g->nodes, uniform(&state));
        ptrdiff_t row = start;
        int32_t *visited = rows + walk * path;
        uint8_t *marks = jumped + walk * path;
        memset(marks, 0, (size_t)path);
        visited[0] = (int32_t)row;
        for (ptrdiff_t step = 1; step < path; step++) {
            if (uniform(&state) < g->creative_jump) {
                row = sona_drawn(g->jump, g->nodes, uniform(&state));
                marks[step] = 1;
            } else if (uniform(&state) < g->restart) {
                row = start;
            } else {
                const ptrdiff_t end = followed(g, row, uniform(&state), work);
                if (end == -2)
                    return -1;
                row = end < 0 ? start : end;
            }
            visited[step] = (int32_t)row;
        }
    }
    return 0;
}
