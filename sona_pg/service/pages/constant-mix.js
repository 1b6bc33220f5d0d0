// Quality that drawing routes by constant shares would give: what any choice by the question has to beat.

const ALWAYS = "always ";

// Each route taken always, the dearest first; those without an estimate say so.
export const alone = (estimates) => estimates.filter((one) => one.policy.startsWith(ALWAYS))
  .map((one) => ({ ...one, route: one.policy.slice(ALWAYS.length) })).sort((one, other) => (other.cost ?? 0) - (one.cost ?? 0));

// The best mean quality of constant shares of routes that cost at most `budget` a request in the mean: by one route or two.
// Null where no route of that price has an estimate.
export function constantMix(routes, budget) {
  const known = routes.filter((one) => one.quality !== null && one.cost !== null);
  const cheap = known.filter((one) => one.cost <= budget);
  if (!cheap.length) return null;
  let best = cheap.reduce((found, one) => (one.quality > found.quality ? { quality: one.quality, shares: { [one.route]: 1 } } : found), { quality: -1 });
  for (const low of cheap) {
    for (const high of known) {
      if (high.cost <= budget) continue;
      const part = (budget - low.cost) / (high.cost - low.cost);
      const quality = low.quality + part * (high.quality - low.quality);
      if (quality > best.quality) best = { quality, shares: { [low.route]: 1 - part, [high.route]: part } };
    }
  }
  return best;
}
