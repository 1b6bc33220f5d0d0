/* One routing decision: the query's features, the expected value of each candidate, and the draw.
 *
 * The arithmetic is that of sona_pg/learning/routing (router.decide, exploration, router_basis), which is the reference
 * that tests compare with: features and scores in float32 as there, everything after them in double. The normal
 * distribution function is Page's (1977) in its logistic form, 1 / (1 + e^-2y) = (1 + tanh y) / 2.
 */
#include "asking.h"

#include <math.h>
#include <string.h>

enum { GRID = 33, CONTENDERS = 8 };
static const double LEAST = 0.05, CLIP = 4.0;

void sona_router_features(const sona_kernels *K, const sona_router *R, const sona_f32 *x, float inverse_norm,
                          const sona_f32 *features, sona_f32 *work, sona_f32 *phi, sona_f32 *squares)
{
    sona_f32 *row = work, *near = work + R->row;
    memset(phi, 0, (size_t)R->phi * sizeof(float));
    phi[0] = 1.0f;
    if (R->marks) {
        memset(work, 0, (size_t)(R->row + R->near) * sizeof(float));
        for (ptrdiff_t j = 0; j < R->dim; j++)
            row[j] = x[j] * inverse_norm;
        for (ptrdiff_t j = 0; j < R->f; j++) {
            float scaled = features ? (features[j] - R->mean[j]) / R->deviation[j] : 0.0f;
            if (scaled != scaled) /* a feature that is missing is average */
                scaled = 0.0f;
            scaled = scaled > (float)CLIP ? (float)CLIP : scaled < -(float)CLIP ? -(float)CLIP : scaled;
            row[R->dim + j] = scaled * R->weight[j];
        }
        const float own = 0.5f * R->inverse_length * K->dot(row, row, R->row);
        K->dot_rows(row, R->landmarks, R->marks, R->row, near);
        for (ptrdiff_t i = 0; i < R->marks; i++) {
            const float exponent = near[i] * R->inverse_length - own - R->norms[i];
            near[i] = exponent < 0.0f ? exponent : 0.0f;
        }
        K->exp_negative(near, R->marks);
        K->dot_rows(near, R->transform, R->width, R->near, phi + 1);
    }
    for (ptrdiff_t j = 0; j < R->phi; j++)
        squares[j] = phi[j] * phi[j];
}

/* P(candidate i has the largest of independent normals), of the contenders only. */
void sona_thompson(const double *mean, const double *deviation, ptrdiff_t k, double *out)
{
    ptrdiff_t who[CONTENDERS], n = 0;
    double scale[CONTENDERS], centre[CONTENDERS], total = 0.0, chance[CONTENDERS];
    for (ptrdiff_t i = 0; i < k; i++) { /* the largest mean + deviation, of equal ones the first, in order */
        const double reach = mean[i] + fmax(deviation[i], 1e-9);
        ptrdiff_t at = n;
        while (at > 0 && reach > mean[who[at - 1]] + fmax(deviation[who[at - 1]], 1e-9))
            at--;
        if (at == CONTENDERS)
            continue;
        n = n < CONTENDERS ? n + 1 : n;
        for (ptrdiff_t j = n - 1; j > at; j--)
            who[j] = who[j - 1];
        who[at] = i;
    }
    for (ptrdiff_t a = 0; a < n; a++) {
        centre[a] = mean[who[a]];
        scale[a] = fmax(deviation[who[a]], 1e-9);
    }
    for (ptrdiff_t a = 0; a < n; a++) {
        chance[a] = 0.0;
        for (int g = 0; g < GRID; g++) {
            const double t = -4.0 + 0.25 * g, value = centre[a] + scale[a] * t;
            double below = exp(-0.5 * t * t);
            for (ptrdiff_t b = 0; b < n && below > 0.0; b++) {
                const double z = (value - centre[b]) / scale[b];
                if (b == a || z >= 8.0)
                    continue;
                below *= z <= -8.0 ? 0.0 : 1.0 / (1.0 + exp(-2.0 * 0.79788456080286535588 * z * (1.0 + 0.044715 * z * z)));
            }
            chance[a] += below;
        }
        total += chance[a];
    }
    memset(out, 0, (size_t)k * sizeof *out);
    for (ptrdiff_t a = 0; a < n; a++)
        out[who[a]] = chance[a] / total;
}

/* Distribution of forced exploration: by missing evidence, and with a budget partly on the cheapest. */
static void spread(const sona_router *R, const double *count, const double *cost, double budget, ptrdiff_t k, double *out)
{
    double sum = 0.0, mean = 0.0;
    ptrdiff_t cheapest = 0;
    for (ptrdiff_t i = 0; i < k; i++) {
        out[i] = R->warm_up / (R->warm_up + count[i]) + LEAST;
        sum += out[i];
        cheapest = cost[i] < cost[cheapest] ? i : cheapest;
    }
    for (ptrdiff_t i = 0; i < k; i++) {
        out[i] /= sum;
        mean += out[i] * cost[i];
    }
    const double excess = mean - cost[cheapest];
    if (!(mean > budget && excess > 0.0)) /* no budget is NaN */
        return;
    const double room = (budget - cost[cheapest]) / excess;
    const double kept = room < LEAST ? LEAST : room > 1.0 ? 1.0 : room;
    for (ptrdiff_t i = 0; i < k; i++)
        out[i] *= kept;
    out[cheapest] += 1.0 - kept;
}

ptrdiff_t sona_decide(const sona_kernels *K, const sona_router *R, const sona_f32 *phi, const sona_f32 *squares,
                      const int64_t *rows, ptrdiff_t k, const double *costs, const sona_terms *T, double *scores,
                      double *values, double *work, double *propensity, int *reason)
{
    const ptrdiff_t m = R->phi;
    double *net = work, *deviation = work + k, *best = work + 2 * k, *count = work + 3 * k, *even = work + 4 * k;
    double *cost = work + 5 * k;
    const double mass = R->width ? K->dot(phi + 1, phi + 1, R->width) : 0.0f;
    const double beyond = R->prior_route * fmax(0.0, 1.0 - mass);
    double ignorance_least = INFINITY, ignorance_most = 0.0, sum = 0.0;
    ptrdiff_t top = 0;
    for (ptrdiff_t i = 0; i < k; i++) {
        const int64_t row = rows[i];
        cost[i] = costs ? costs[i] : R->cost[row];
        scores[i] = K->dot(phi, R->weights + row * m, m);
        values[i] = scores[i] - T->cost_weight * cost[i];
        if (T->latency_weight != 0.0)
            values[i] -= T->latency_weight * R->latency[row];
        net[i] = values[i] - T->price * cost[i];
        top = net[i] > net[top] ? i : top;
        count[i] = R->count[row];
        const double ignorance = R->warm_up / (R->warm_up + count[i]);
        ignorance_least = fmin(ignorance_least, ignorance);
        ignorance_most = fmax(ignorance_most, ignorance);
    }
    *propensity = 1.0;
    *reason = SONA_ONLY;
    if (k == 1)
        return 0;
    for (ptrdiff_t i = 0; i < k; i++)
        deviation[i] = sqrt(K->dot(squares, R->variance + rows[i] * m, m) + beyond) * R->temperature;
    sona_thompson(net, deviation, k, best);
    const double share = fmax(fmax(R->floor, ignorance_least), R->newcomer * ignorance_most);
    spread(R, count, cost, T->budget, k, even);
    for (ptrdiff_t i = 0; i < k; i++) {
        best[i] = (1.0 - share) * best[i] + share * even[i];
        sum += best[i];
    }
    ptrdiff_t drawn = 0;
    double reached = best[0] / sum;
    while (drawn < k - 1 && reached <= T->draw)
        reached += best[++drawn] / sum;
    *propensity = best[drawn] / sum;
    *reason = share > 0.5 ? SONA_WARM_UP : drawn == top ? SONA_EXPLOIT : SONA_EXPLORE;
    return drawn;
}
