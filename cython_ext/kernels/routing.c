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
    sona_f32 *row = work, *near = work + R->row, *flat = near + R->near;
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
        if (R->linear > 0.0f)
            for (ptrdiff_t i = 0; i < R->marks; i++) { /* of the embeddings alone */
                const sona_f32 *told = R->landmarks + i * R->row + R->dim;
                flat[i] = R->linear * (near[i] - (R->f ? K->dot(row + R->dim, told, R->f) : 0.0f));
            }
        for (ptrdiff_t i = 0; i < R->marks; i++) {
            const float exponent = near[i] * R->inverse_length - own - R->norms[i];
            near[i] = exponent < 0.0f ? exponent : 0.0f;
        }
        K->exp_negative(near, R->marks);
        if (R->linear > 0.0f)
            for (ptrdiff_t i = 0; i < R->marks; i++)
                near[i] = (1.0f - R->linear) * near[i] + flat[i];
        K->dot_rows(near, R->transform, R->width, R->near, phi + 1);
    }
    for (ptrdiff_t j = 0; j < R->phi; j++)
        squares[j] = phi[j] * phi[j];
}

/* exp(-t * t / 2) on the grid of Thompson's integral, t = -4, -3.75, ... 4. */
static const double DENSITY[GRID] = {
    0.00033546262790251185, 0.00088382630693505, 0.002187491118182885, 0.005086069231012701, 0.011108996538242306,
    0.022794180883612344, 0.04393693362340742, 0.07955950871822769, 0.1353352832366127, 0.2162651668298873,
    0.32465246735834974, 0.45783336177161427, 0.6065306597126334, 0.7548396019890073, 0.8824969025845955,
    0.9692332344763441, 1.0, 0.9692332344763441, 0.8824969025845955, 0.7548396019890073,
    0.6065306597126334, 0.45783336177161427, 0.32465246735834974, 0.2162651668298873, 0.1353352832366127,
    0.07955950871822769, 0.04393693362340742, 0.022794180883612344, 0.011108996538242306, 0.005086069231012701,
    0.002187491118182885, 0.00088382630693505, 0.00033546262790251185,
};

/* -2y of Page's distribution function at z. */
static double page(double z)
{
    return -2.0 * 0.79788456080286535588 * z * (1.0 + 0.044715 * z * z);
}

/* Multiplies over[g] by 1 + exp(page(z)), z = apart + ratio * t, where |z| < 8; beyond it the rival is surely above or
 * below. Returns the first place at which it is not above, at least `first`. The exponent is a cubic in t: on an even
 * grid the third ratio of its powers is constant, so that four powers do, and three products a place. */
static int rival_above(double apart, double ratio, int first, double *over)
{
    int g = first;
    while (g < GRID && apart + ratio * (-4.0 + 0.25 * g) <= -8.0)
        g++;
    first = g;
    const double z = apart + ratio * (-4.0 + 0.25 * g), step = 0.25 * ratio;
    if (g >= GRID || z >= 8.0)
        return first;
    const double p0 = page(z), p1 = page(z + step), p2 = page(z + 2.0 * step), p3 = page(z + 3.0 * step);
    if (!(fabs(p3 - p0) < 300.0)) { /* few places before z = 8: their powers one by one */
        for (; g < GRID && apart + ratio * (-4.0 + 0.25 * g) < 8.0; g++)
            over[g] *= 1.0 + exp(page(apart + ratio * (-4.0 + 0.25 * g)));
        return first;
    }
    double power = exp(p0), once = exp(p1 - p0), twice = exp(p2 - 2.0 * p1 + p0);
    const double thrice = exp(p3 - 3.0 * p2 + 3.0 * p1 - p0);
    for (; g < GRID && apart + ratio * (-4.0 + 0.25 * g) < 8.0; g++) {
        over[g] *= 1.0 + power;
        power *= once;
        once *= twice;
        twice *= thrice;
    }
    return first;
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
        double over[GRID]; /* product of 1 / P(rival is below): one division for all rivals */
        int first = 0;     /* place of the grid below which some rival is surely above */
        for (int g = 0; g < GRID; g++)
            over[g] = 1.0;
        for (ptrdiff_t b = 0; b < n; b++)
            if (b != a)
                first = rival_above((centre[a] - centre[b]) / scale[b], scale[a] / scale[b], first, over);
        chance[a] = 0.0;
        for (int g = first; g < GRID; g++)
            chance[a] += DENSITY[g] / over[g];
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
