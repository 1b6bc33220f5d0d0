// Numbers, times and lengths of time as people read them.

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const digits = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });
const exact = new Intl.NumberFormat("en", { maximumFractionDigits: 6 });
// The pages are in English: dates are as the browser's user writes them in English, "23 Nov 2026" in Britain.
const ENGLISH = (navigator.languages ?? []).find((name) => /^en\b/.test(name)) ?? "en";
export const datesOf = (options) => new Intl.DateTimeFormat(ENGLISH, options);
const date = datesOf({ dateStyle: "medium" });
const moment = datesOf({ dateStyle: "medium", timeStyle: "medium" });
const clock = datesOf({ timeStyle: "medium" });

export const count = (value) => whole.format(value);
// A route, with a word where it is no longer offered.
export const offered = (route, gone) => (gone.includes(route) ? `${route} (no longer offered)` : route);

export const compact = (value) => short.format(value);
// Three digits, of large numbers all before the point.
export const number = (value) => (value === null || value === undefined ? "–" : (Math.abs(value) < 1000 ? digits : whole).format(value));
export const precise = (value) => exact.format(value);
// When a record was made, in milliseconds: its id (UUIDv7) begins with that.
export const madeAt = (id) => Number.parseInt(id.replaceAll("-", "").slice(0, 12), 16);
export const day = (when) => date.format(when);
const utc = datesOf({ dateStyle: "medium", timeZone: "UTC" });
export const dayUTC = (iso) => utc.format(new Date(iso));
// Of a route whose ratings count from the day (UTC) on which it got worse.
export const sinceWorse = (iso) => (iso ? ` since ${dayUTC(iso)}, when it got worse` : "");
// Costs carry the unit of the space (its setting costs.unit), which every answer with costs tells.
let unit = "";

export const costsIn = (name) => {
  unit = name ?? "";
};
export const costUnit = () => unit;
export const cost = (value) => (value === null || value === undefined || !unit ? number(value) : `${number(value)}\u00a0${unit}`);
export const inUnit = (words) => (unit ? `${words} (${unit})` : words);
export const share = (value) => (value === null || value === undefined ? "–" : `${(100 * value).toFixed(0)} %`);
export const fine = (value) => (value === null || value === undefined ? "–" : `${(100 * value).toFixed(1)} %`);
export const at = (iso) => moment.format(new Date(iso));
export const time = (iso) => clock.format(new Date(iso));

export function range(low, high) {
  return low === null || low === undefined ? "–" : `${share(low)} to ${share(high)}`;
}

export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  for (const [size, name] of [[86400, "d"], [3600, "h"], [60, "min"]]) {
    if (seconds >= 1.5 * size) return `${(seconds / size).toFixed(seconds >= 10 * size ? 0 : 1)} ${name}`;
  }
  return seconds >= 1 ? `${seconds.toFixed(seconds < 10 ? 1 : 0)} s` : `${(1000 * seconds).toFixed(seconds < 0.01 ? 1 : 0)} ms`;
}

export function ago(iso, now = Date.now()) {
  const seconds = (now - new Date(iso)) / 1000;
  return seconds < 2 ? "just now" : `${duration(seconds)} ago`;
}

export const several = (value, one, more = `${one}s`) => `${count(value)} ${value === 1 ? one : more}`;

const NAMED = 5; // names in a sentence

// "a, b and c" of some names, of many the first ones.
export function inWords(names, last = "and") {
  const shown = names.length > NAMED ? [...names.slice(0, NAMED), `${count(names.length - NAMED)} more`] : names;
  return shown.length < 2 ? shown.join("") : `${shown.slice(0, -1).join(", ")} ${last} ${shown.at(-1)}`;
}

export function told(fact) {
  if (fact.correction !== null && fact.correction !== undefined) return "corrected";
  if (fact.quality === null || fact.quality === undefined) return fact.paid === null || fact.paid === undefined ? "taken back" : "cost";
  return fact.quality >= 0.999 ? "▲ good" : fact.quality <= 0.001 ? "▼ bad" : share(fact.quality);
}

const makers = { cycle: "learning", start: "the start", rollback: "a rollback", load: "loading a file", rebuild: "learning anew", erasure: "an erasure" };

export const madeBy = (origin) => makers[origin] ?? origin;
