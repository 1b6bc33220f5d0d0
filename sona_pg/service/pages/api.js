// Requests to the service that sent this page: JSON in and out, with the key that was typed once for this tab.

import { keptIn } from "./kept.js";

const base = new URL("./", location.href);
const KEY = "sona-pg key";
const SENDABLE = /^[!-~]*$/; // characters of keys: `fetch` throws at some others, as if the server were away

export class ServiceError extends Error {
  constructor(status, detail, fields = []) {
    super(detail);
    this.status = status;
    this.fields = fields; // of the body that was refused, as JSON pointers
  }
}

// Tells the shell that the server ("server") or its database ("database") does not answer; nothing else is assumed.
const told = (which) => document.dispatchEvent(new CustomEvent("unanswered", { detail: which }));

let space = new URLSearchParams(location.search).get("space") ?? "";

const ofTab = keptIn("sessionStorage");

export const key = {
  lasts: ofTab.lasts,
  get: () => ofTab.get(KEY),
  // Whether the token may be one: it is kept then.
  set(token) {
    if (!SENDABLE.test(token)) return false;
    ofTab.set(KEY, token);
    return true;
  },
};

export function chooseSpace(name) {
  space = name;
}

export const chosenSpace = () => space;

function headers(more = {}) {
  const token = key.get();
  return token ? { ...more, Authorization: `Bearer ${token}` } : more;
}

function address(path, query) {
  const url = new URL(path, base);
  if (space && path !== "v1/spaces") url.searchParams.set("space", space);
  for (const [name, value] of Object.entries(query ?? {})) {
    if (value !== undefined && value !== null) url.searchParams.set(name, value);
  }
  return url;
}

const needKey = (detail) => document.dispatchEvent(new CustomEvent("key-needed", { detail }));

async function refusal(response) {
  const kind = response.headers.get("content-type") ?? "";
  const problem = kind.includes("json") ? await response.json() : {};
  const detail = problem.detail ?? `${response.status} ${response.statusText}`;
  return new ServiceError(response.status, detail, (problem.errors ?? []).map((one) => one.pointer));
}

async function answered(response) {
  if (response.ok) return response.status === 204 ? null : response.json();
  const refused = await refusal(response);
  if (response.status === 503) told("database");
  if (response.status === 401) needKey(refused.message);
  throw refused;
}

async function sent(url, options) {
  let response;
  try {
    response = await fetch(url, options);
  } catch (cause) {
    if (cause.name === "AbortError") throw cause;
    told("server");
    throw new ServiceError(0, "the server does not answer");
  }
  return answered(response);
}

const ASKED = 20; // times at most, half a minute each where the server still looks
const AGAIN = 1000; // milliseconds between two times

// What takes the server longer than it lets anybody wait is asked for again: it goes on looking, and answers then.
async function patiently(ask, signal) {
  for (let times = 1; ; times++) {
    try {
      return await ask();
    } catch (error) {
      if (error.status !== 503 || times === ASKED || await unanswered()) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, AGAIN));
    signal?.throwIfAborted();
  }
}

export const get = (path, query, signal) => patiently(() => sent(address(path, query), { headers: headers(), signal }), signal);

// What is read for a question that does not fit into an address.
export const search = (path, body) => patiently(() => post(path, body));

export const post = (path, body = {}, query) =>
  sent(address(path, query), {
    method: "POST", headers: headers({ "Content-Type": "application/json" }), body: JSON.stringify(body),
  });

// Why no question can be asked in words in this space; "" if it can.
export async function wordless() {
  try {
    await search("v1/dashboard/answers", { text: "Can this be asked?", k: 1 });
    return "";
  } catch (error) {
    if (error.status !== 422 || !error.fields.includes("/text")) throw error;
    return `Questions in words cannot be asked here: this server has no text embedder for the space’s vectors (${error.message}). Ask by vectors, over HTTP or from a program.`;
  }
}

export const apiDocument = () => sent(new URL("openapi.json", base), {});

export const asset = (name) => sent(new URL(`assets/${name}`, base), {});

const PATIENCE = 5000; // milliseconds for an answer that comes from the server's memory

// What is asked for, or null while the server or its database is away, which the banner says.
export const unlessAway = (asked) => asked.catch((error) => {
  if (error.status !== 503 && error.status !== 0) throw error;
  return null;
});

// Whether the service ("server") or its database ("database") is away; "" if both answer.
export async function unanswered() {
  try {
    const response = await fetch(new URL("ready", base), { cache: "no-store", signal: AbortSignal.timeout(PATIENCE) });
    return response.status === 503 ? "database" : "";
  } catch {
    return "server";
  }
}

const SILENT = 40_000; // milliseconds without a byte, of a stream that sends a comment every 15 s

// Follow the events of the space until `signal` says stop. EventSource cannot send a key, so the stream is read by hand.
export async function follow(onEvent, signal) {
  let pause = 1000;
  while (!signal.aborted) {
    try {
      const response = await fetch(address("v1/events"), { headers: headers(), signal });
      if (!response.ok) {
        if (response.status === 401) needKey(`${(await refusal(response)).message}: nothing new is shown until there is a key that is good`);
        if (response.status < 500) return;
        throw new ServiceError(response.status, response.statusText);
      }
      await read(response.body.getReader(), (name, data) => {
        pause = 1000;
        onEvent(name, data);
      });
    } catch (cause) {
      if (signal.aborted) return;
      told("server");
    }
    await new Promise((resolve) => setTimeout(resolve, pause));
    pause = Math.min(2 * pause, 30000);
  }
}

async function read(reader, onEvent) {
  const decoder = new TextDecoder();
  let text = "";
  for (;;) {
    const silence = setTimeout(() => reader.cancel(), SILENT);
    const { value, done } = await reader.read().finally(() => clearTimeout(silence));
    if (done) return;
    text += decoder.decode(value, { stream: true });
    const parts = text.split("\n\n");
    text = parts.pop();
    for (const part of parts) {
      const name = /^event: (.*)$/m.exec(part);
      const data = /^data: (.*)$/m.exec(part);
      if (name && data) onEvent(name[1], JSON.parse(data[1]));
    }
  }
}
