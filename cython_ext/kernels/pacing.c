/* The price of cost under a budget: see sona_pg/learning/routing/pacing.py for its use.
 *
 * A grid of prices, quantiles of those at which some remembered call would change its route, and the mean cost of these
 * calls at each. The mean cost falls as the price rises, so that the grid is searched by bisection, and only the prices
 * met by the search are computed.
 */
#include "asking.h"

#include <math.h>

static void swap(double *x, ptrdiff_t a, ptrdiff_t b)
{
    const double kept = x[a];
    x[a] = x[b];
    x[b] = kept;
}

/* Puts the elements of these ranks (ascending) where sorting x[low..high] would put them. */
static void select_ranks(double *x, ptrdiff_t low, ptrdiff_t high, const ptrdiff_t *ranks, ptrdiff_t n)
{
    while (n > 0 && low < high) {
        if (high - low < 16) {
            for (ptrdiff_t i = low + 1; i <= high; i++)
                for (ptrdiff_t j = i; j > low && x[j] < x[j - 1]; j--)
                    swap(x, j, j - 1);
            return;
        }
        const ptrdiff_t middle = low + (high - low) / 2;
        if (x[middle] < x[low])
            swap(x, middle, low);
        if (x[high] < x[low])
            swap(x, high, low);
        if (x[high] < x[middle])
            swap(x, high, middle);
        const double pivot = x[middle];
        ptrdiff_t i = low, j = high;
        while (i <= j) {
            while (x[i] < pivot)
                i++;
            while (x[j] > pivot)
                j--;
            if (i <= j)
                swap(x, i++, j--);
        }
        ptrdiff_t left = 0; /* ranks up to j; elements between j and i are in place */
        while (left < n && ranks[left] <= j)
            left++;
        select_ranks(x, low, j, ranks, left);
        while (left < n && ranks[left] < i)
            left++;
        ranks += left;
        n -= left;
        low = i;
    }
}

/* The mean cost of the remembered calls, had each chosen its best at this price; of equal ones the first. */
static double mean_cost(const sona_pacer *p, double price)
{
    enum { BLOCK = 64 };
    double best[BLOCK], paid[BLOCK], total = 0.0;
    for (ptrdiff_t done = 0; done < p->seen;) {
        /* Slots run backwards from the newest and wrap: take a piece that does not. */
        const ptrdiff_t end = (p->first - done % p->window + p->window) % p->window + 1;
        ptrdiff_t n = p->seen - done < BLOCK ? p->seen - done : BLOCK;
        n = n < end ? n : end;
        const ptrdiff_t start = end - n;
        for (ptrdiff_t i = 0; i < n; i++) {
            best[i] = -INFINITY;
            paid[i] = 0.0;
        }
        for (ptrdiff_t c = 0; c < p->width; c++) {
            const double *value = p->values + c * p->window + start, *cost = p->costs + c * p->window + start;
            for (ptrdiff_t i = 0; i < n; i++) {
                const double net = value[i] - price * cost[i];
                paid[i] = net > best[i] ? cost[i] : paid[i];
                best[i] = net > best[i] ? net : best[i];
            }
        }
        for (ptrdiff_t i = 0; i < n; i++)
            total += paid[i];
        done += n;
    }
    return total / (double)p->seen;
}

void sona_reprice(sona_pacer *p, ptrdiff_t newest, ptrdiff_t seen, double *turns)
{
    const ptrdiff_t pairs = p->width * (p->width - 1) / 2;
    ptrdiff_t stride = 1, n = 0;
    p->first = newest;
    p->seen = seen;
    p->prices[0] = 0.0;
    p->count = 1;
    while (pairs * ((seen + stride - 1) / stride) > SONA_MOST_TURNS) /* among very many routes, of every second call */
        stride++;
    for (ptrdiff_t back = 0; back < seen; back += stride) {
        const ptrdiff_t slot = ((newest - back) % p->window + p->window) % p->window;
        for (ptrdiff_t a = 0; a < p->width; a++) {
            const double value = p->values[a * p->window + slot], cost = p->costs[a * p->window + slot];
            for (ptrdiff_t b = 0; b < a; b++) {
                const double turn = (value - p->values[b * p->window + slot]) / (cost - p->costs[b * p->window + slot]);
                if (turn > 0.0 && turn < INFINITY && n < SONA_MOST_TURNS)
                    turns[n++] = turn;
            }
        }
    }
    for (int i = 0; i < SONA_PRICES; i++)
        p->spend[i] = NAN;
    if (n == 0) {
        p->spend[0] = 0.0;
        return;
    }
    /* Each turn counts for both directions of its pair: quantiles are those of 2 n numbers. */
    ptrdiff_t ranks[2 * SONA_MARKS];
    double at[SONA_MARKS];
    for (int i = 0; i < SONA_MARKS; i++) {
        at[i] = i == SONA_MARKS - 1 ? (double)(2 * n - 1) : i * (1.0 / (SONA_MARKS - 1)) * (double)(2 * n - 1);
        const ptrdiff_t below = (ptrdiff_t)at[i], above = below + 1 < 2 * n ? below + 1 : below;
        ranks[2 * i] = below / 2;
        ranks[2 * i + 1] = above / 2;
    }
    select_ranks(turns, 0, n - 1, ranks, 2 * SONA_MARKS);
    for (int i = 0; i < SONA_MARKS; i++) {
        const double below = turns[ranks[2 * i]], above = turns[ranks[2 * i + 1]], t = at[i] - floor(at[i]);
        p->prices[i + 1] = t < 0.5 ? below + (above - below) * t : above - (above - below) * (1.0 - t);
    }
    p->prices[SONA_MARKS + 1] = p->prices[SONA_MARKS] * 1.01 + 1e-9;
    p->count = SONA_PRICES;
}

static double spend_at(sona_pacer *p, ptrdiff_t i)
{
    if (p->spend[i] != p->spend[i])
        p->spend[i] = mean_cost(p, p->prices[i]);
    return p->spend[i];
}

double sona_price(sona_pacer *p, double wanted)
{
    ptrdiff_t dear = -1, cheap = p->count; /* calls cost more than is wanted up to `dear`, and not from `cheap` on */
    ptrdiff_t probe = p->at < p->count ? p->at : p->count - 1;
    for (int turn = 0; cheap - dear > 1; turn++) { /* near the last answer first */
        if (spend_at(p, probe) <= wanted)
            cheap = probe;
        else
            dear = probe;
        probe = turn == 0 && cheap == p->at && dear < cheap - 1 ? cheap - 1
                : turn == 0 && dear + 1 < cheap && dear >= 0    ? dear + 1
                                                                : (cheap + dear) / 2;
    }
    p->at = cheap;
    if (cheap == 0)
        return p->prices[0];
    if (cheap == p->count)
        return p->prices[cheap - 1];
    const double slope = (p->prices[dear] - p->prices[cheap]) / (spend_at(p, dear) - spend_at(p, cheap));
    return p->prices[cheap] + slope * (wanted - spend_at(p, cheap));
}
