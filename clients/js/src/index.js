// Client of sona-pg's HTTP service, for browsers and Node 18 or later; no dependencies.

export { SonaClient, CALLS } from "./client.js";
export { ServiceError } from "./service-error.js";
export { SonaEngine } from "./engine.js";
export { Trajectory } from "./trajectory.js";
export { FeedbackQueue } from "./queue.js";
export { memoryStorage, browserStorage } from "./storage.js";
export { LocalModel } from "./local.js";
export { uuid7 } from "./ids.js";
