import type { QueueStorage } from "./index.js";

/** Storage of a FeedbackQueue in a file: a line an entry, written before `add` returns. */
export function fileStorage(path: string): QueueStorage;
