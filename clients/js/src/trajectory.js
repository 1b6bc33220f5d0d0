// A trajectory that is being recorded. Each call checks what it is given, because a queued record is refused too late.

import * as checks from "./checks.js";
import { uuid7 } from "./ids.js";

export class Trajectory {
  constructor(embedding, dim, at) {
    this.id = uuid7(at);
    this._started = performance.now();
    this._body = { id: this.id, vector: checks.embedding(embedding, dim), steps: [], context: [] };
  }

  /** In JSON a trajectory is its id, which feedback names. */
  toJSON() {
    return this.id;
  }

  addStep(activations, attentionWeights, reward) {
    const { steps } = this._open();
    checks.roomForStep(steps);
    const step = { reward: checks.reward(reward) };
    const told = { activations: given(activations, "activations"), attention_weights: given(attentionWeights, "attentionWeights") };
    for (const [name, vector] of Object.entries(told)) if (vector.length) step[name] = vector;
    steps.push(step);
    return this;
  }

  setRoute(route) {
    this._open().route = checks.id(route, "route");
    return this;
  }

  addContext(label) {
    const { context } = this._open();
    checks.roomForLabel(context);
    context.push(checks.label(label));
    return this;
  }

  /** Hand over a decision of `route` or a ranking of `rank`: what was chosen among. */
  setChoice({ decision, ranking }) {
    const body = this._open();
    if (decision) Object.assign(body, { decision, route: body.route ?? decision.route });
    if (ranking) Object.assign(body, { ranking, route: body.route ?? ranking.ids[0] });
    return this;
  }

  /** Return the record and close this trajectory; one that is refused stays open. */
  _end(quality, { cost, latency } = {}) {
    const body = this._open();
    if (quality !== undefined && quality !== null) body.quality = checks.quality(quality);
    if (cost !== undefined) body.cost = checks.cost(cost);
    body.latency = checks.latency(latency ?? (performance.now() - this._started) / 1000);
    this._body = null;
    return body;
  }

  _open() {
    if (!this._body) throw new TypeError("this trajectory has ended");
    return this._body;
  }
}

/** Return a trajectory; throws for @ruvector/sona's number, or an id: `SonaClient` goes on with those of another process. */
export function begun(trajectory) {
  if (trajectory instanceof Trajectory) return trajectory;
  throw new TypeError(`trajectory is ${checks.shown(trajectory)}: expected the object that beginTrajectory returned`);
}

const given = (vector, name) => checks.vector(vector ?? [], name);
