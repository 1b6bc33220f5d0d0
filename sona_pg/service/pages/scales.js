// Scales and ticks of axes.

import { datesOf } from "./format.js";

export function linear([d0, d1], [r0, r1]) {
  const slope = d1 === d0 ? 0 : (r1 - r0) / (d1 - d0);
  return (value) => r0 + (value - d0) * slope;
}

export function ticks(low, high, most = 6) {
  if (!(high > low)) return [low];
  const raw = (high - low) / Math.max(most, 1);
  const scale = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].find((factor) => factor * scale >= raw) * scale;
  const found = [];
  for (let value = Math.ceil(low / step) * step; value <= high + step / 1e6; value += step) {
    found.push(Math.abs(value) < step / 1e6 ? 0 : value);
  }
  return found;
}

export function wholeTicks(low, high, most) {
  const found = ticks(low, high, most).filter(Number.isInteger);
  return found.length ? found : [low];
}

const MS = { s: 1000, min: 60000, h: 3600000, d: 86400000 };
const STEPS = [1, 2, 5, 10, 30].map((n) => n * MS.s)
  .concat([1, 2, 5, 10, 30].map((n) => n * MS.min), [1, 3, 6, 12].map((n) => n * MS.h), [1, 2, 7, 14, 30, 91, 365].map((n) => n * MS.d));
const formatsOf = (timeZone) => ({
  fineClock: datesOf({ timeStyle: "medium", hourCycle: "h23", timeZone }),
  clock: datesOf({ timeStyle: "short", hourCycle: "h23", timeZone }),
  day: datesOf({ month: "short", day: "numeric", timeZone }),
});
const LOCAL = formatsOf();
const UTC = formatsOf("UTC");

// When the clock on the wall shows what a clock in UTC shows at `wall`, which is a full hour.
function onTheWall(wall) {
  const shown = new Date(wall);
  return new Date(shown.getUTCFullYear(), shown.getUTCMonth(), shown.getUTCDate(), shown.getUTCHours()).getTime();
}

// Ticks of the clock on the wall, or of one in UTC. A day has 23 or 25 hours where the clock changes: steps of several hours
// and of days follow the clock, shorter ones the time that passes.
export function timeTicks(low, high, most, isUtc = false) {
  const step = STEPS.find((one) => (high - low) / one <= most) ?? STEPS.at(-1);
  const shift = isUtc ? 0 : new Date(low).getTimezoneOffset() * MS.min;
  const momentOf = isUtc || step <= MS.h ? (wall) => wall + shift : onTheWall;
  const found = [];
  for (let wall = Math.ceil((low - shift) / step) * step; momentOf(wall) <= high; wall += step) {
    if (momentOf(wall) >= low) found.push(momentOf(wall));
  }
  const { fineClock, clock, day } = isUtc ? UTC : LOCAL;
  const format = step >= MS.d ? day : step >= MS.min ? clock : fineClock;
  const days = new Set(found.map((value) => day.format(value)));
  const label = (value) => (step < MS.d && days.size > 1 ? `${day.format(value)} ${clock.format(value)}` : format.format(value));
  return { values: found, label };
}
