import type { QueueStorage } from "./index.js";

/** Storage of a FeedbackQueue in files whose names begin with `path`: a line an entry, written before `add` returns. Processes
 *  of one machine or shared folder may have the same `path`: each writes files of its own, and takes over those of ended ones. */
export function fileStorage(path: string): QueueStorage;
