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
static const double LEAST = 0.05, CLIP = 4.0, SCANT = 0.05;
static const double STAKE = 0.005, STAKE_UNKNOWN = 0.1, HOPELESS = 0.2, NEVER = 0.02; /* of the slack: exploration.py */
static const double IMPLAUSIBLE = 0.05, AGAIN = 0.12, TINY = 1e-12;

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

/* The cost to expect: the learned one, or the estimate times what its error is known to be. */
static double cost_of(const sona_kernels *K, const sona_router *R, const sona_f32 *phi, int64_t row, const double *estimate)
{
    const int ratio = estimate && *estimate > 0.0;
    const ptrdiff_t at = ratio * R->rows + row;
    const double least = R->least[at];
    if (least < 0.0)
        return estimate ? *estimate : R->cost[row];
    const double learned = fmax(K->dot(phi, R->cost_weights + at * R->phi, R->phi), least);
    return ratio ? learned * *estimate : learned;
}

/* Forced exploration of each candidate: by what is not known of it; where cost counts within its stake. Returns the sum. */
static double forced_shares(const sona_router *R, const int64_t *rows, const double *count, const double *cost,
                            const double *net, const double *scores, const double *deviation, const sona_terms *T,
                            ptrdiff_t k, double *out)
{
    const int paced = T->budget == T->budget;
    const double warm_up = paced ? R->paced_warm_up : R->warm_up;
    double sum = 0.0, total = 0.0, shifted = 0.0, ignorance_least = INFINITY;
    ptrdiff_t cheapest = 0, top = 0, best = 0;
    for (ptrdiff_t i = 0; i < k; i++) {
        const double ignorance = warm_up / (warm_up + count[i]);
        out[i] = ignorance + LEAST;
        shifted += R->shifted[rows[i]];
        sum += out[i];
        ignorance_least = fmin(ignorance_least, ignorance);
        cheapest = cost[i] < cost[cheapest] ? i : cheapest;
        top = net[i] > net[top] ? i : top;
        best = scores[i] > scores[best] ? i : best;
    }
    const double base = fmax(R->floor, paced ? ignorance_least * ignorance_least : ignorance_least);
    double slack = T->cost_weight > 0.0 ? 1.0 / T->cost_weight : INFINITY;
    if (paced)
        slack = fmin(slack, fmax(T->budget - cost[cheapest], SCANT * T->budget));
    for (ptrdiff_t i = 0; i < k; i++) {
        const double ignorance = warm_up / (warm_up + count[i]);
        const double unknown = ignorance * ignorance, wanted = out[i] / sum;
        const double apart = (scores[best] - scores[i]) / fmax(deviation[i], 1e-9);
        const double plausible = fmax(exp(-0.5 * apart * apart), IMPLAUSIBLE); /* less where it can hardly be the best */
        out[i] = fmax(base * wanted, R->newcomer * (paced ? unknown * unknown : unknown)) * plausible;
        if (!paced)
            out[i] = fmax(out[i], R->floor * wanted);
        if (!paced && R->shifted[rows[i]] > 0.0)
            out[i] = fmax(out[i], AGAIN * plausible / shifted);
        const double more = cost[i] - cost[cheapest];
        if (slack < INFINITY && more > 0.0) {
            double stake = STAKE + STAKE_UNKNOWN * ignorance;
            if (1.0 - (T->price + T->cost_weight) * cost[i] < net[top]) /* even the best quality would not pay */
                stake *= paced ? HOPELESS : NEVER;
            out[i] = fmin(out[i], stake * slack / more);
        }
        total += out[i];
    }
    if (total > 1.0) /* newcomers beside each other */
        for (ptrdiff_t i = 0; i < k; i++)
            out[i] /= total;
    return fmin(total, 1.0);
}

/* Sizes the differences between scores by how hard the question is: router_curve.curved. */
static void curve_scores(const sona_router *R, const double *deviation, ptrdiff_t k, double *scores)
{
    double mean = 0.0, squared = 0.0, most = scores[0], least = scores[0];
    for (ptrdiff_t i = 0; i < k; i++) {
        mean += scores[i];
        squared += deviation[i] * deviation[i];
        most = fmax(most, scores[i]);
        least = fmin(least, scores[i]);
    }
    mean /= (double)k;
    const double left = fmin(squared / ((double)k * R->prior_route), 1.0);
    const double yes = 1.0 / (1.0 + exp(-fmax(-30.0, fmin(30.0, R->intercept + R->slope * mean))));
    const double above = fmax(most - mean, TINY), below = fmax(mean - least, TINY);
    const double room = fmax(fmin((1.0 - mean) / above, mean / below), 1.0); /* within 0 to 1 */
    const double size = fmin(1.0 + left * (yes * (1.0 - yes) * R->per_steepness - 1.0), room);
    for (ptrdiff_t i = 0; i < k; i++)
        scores[i] = mean + (scores[i] - mean) * size;
}

ptrdiff_t sona_decide(const sona_kernels *K, const sona_router *R, const sona_f32 *phi, const sona_f32 *squares,
                      const int64_t *rows, ptrdiff_t k, const double *costs, const sona_terms *T, double *scores,
                      double *values, double *expected, double *work, double *propensity, int *reason)
{
    const ptrdiff_t m = R->phi;
    double *net = work, *deviation = work + k, *best = work + 2 * k, *count = work + 3 * k, *forced = work + 4 * k;
    const double mass = R->width ? K->dot(phi + 1, phi + 1, R->width) : 0.0f;
    const double beyond = R->prior_route * fmax(0.0, 1.0 - mass);
    const double pessimism = T->budget == T->budget ? R->pessimism : 0.0;
    double sum = 0.0;
    ptrdiff_t top = 0;
    for (ptrdiff_t i = 0; i < k; i++) {
        const int64_t row = rows[i];
        expected[i] = cost_of(K, R, phi, row, costs ? costs + i : NULL);
        scores[i] = K->dot(phi, R->weights + row * m, m);
        deviation[i] = sqrt(K->dot(squares, R->variance + row * m, m) + beyond);
        count[i] = R->count[row];
    }
    if (R->per_steepness != 0.0 && k > 1)
        curve_scores(R, deviation, k, scores);
    for (ptrdiff_t i = 0; i < k; i++) {
        values[i] = scores[i] - T->cost_weight * expected[i] - pessimism * deviation[i];
        if (T->latency_weight != 0.0)
            values[i] -= T->latency_weight * R->latency[rows[i]];
        net[i] = values[i] - T->price * expected[i];
        top = net[i] > net[top] ? i : top;
    }
    *propensity = 1.0;
    *reason = SONA_ONLY;
    if (k == 1)
        return 0;
    const double share = forced_shares(R, rows, count, expected, net, scores, deviation, T, k, forced);
    for (ptrdiff_t i = 0; i < k; i++)
        deviation[i] *= R->temperature;
    sona_thompson(net, deviation, k, best);
    for (ptrdiff_t i = 0; i < k; i++) {
        best[i] = (1.0 - share) * best[i] + forced[i];
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
