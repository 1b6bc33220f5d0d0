// Tutorial 4, what it learns: how a visitor calls colours. The page (page.mjs) and Node (lesson.mjs) use it alike.

export const NAMES = ["red", "orange", "yellow", "green", "blue", "purple", "pink"];

/** A random colour: hue from 0 to 360, saturation and lightness from 0 to 1. */
export const colour = (random = Math.random) => ({
  hue: 360 * random(), saturation: 0.5 + 0.5 * random(), lightness: 0.35 + 0.4 * random(),
});

/** The embedding: 8 numbers of which near ones mean colours that look alike. */
export function embed({ hue, saturation, lightness }) {
  const turn = (hue / 180) * Math.PI;
  const waves = [1, 2, 3].flatMap((times) => [Math.cos(times * turn), Math.sin(times * turn)]);
  return Float32Array.from([...waves, saturation - 0.75, 2 * (lightness - 0.55)]);
}

/** The name that the patterns near a colour know it by, or null. Applied here: no request is sent. */
export function guess(engine, seen) {
  for (const pattern of engine.findPatterns(embed(seen), 1)) {
    const [best] = Object.entries(pattern.routes).sort(([, one], [, other]) => other.size - one.size);
    if (best) return best[0];
  }
  return null;
}

/** Record how the visitor calls a colour. Queued: it waits for nothing, and outlives the page while the service is away. */
export function tell(engine, seen, name) {
  const trajectory = engine.beginTrajectory(embed(seen));
  engine.setTrajectoryRoute(trajectory, name);
  return engine.endTrajectory(trajectory, 1);
}
