// The service's time, as the Date headers of its answers tell it. Ids and sequence numbers are made here, of a time: the service
// refuses ids of more than a day ahead, and of two facts of a source the one with the higher number counts, whoever made it.
//
// A device's clock may be set while the service is away, so it is believed only as far as something else bears it out: since the
// last answer a monotonic clock (performance.now) tells what has passed, unless the device slept meanwhile, for which some stop.
// Ids are told to the caller and never change, so none is of a time that the service could refuse. A sequence number
// that was made in doubt is corrected before it is sent, when the service has told its time again.

import { uuid7 } from "./ids.js";

const STALE = 3000; // milliseconds by which a Date header may be behind: it has whole seconds, and servers renew it each second
const STEP = 1000; // milliseconds by which the device's clock and the monotonic one may part without that either was set, or slept
const MOST_AHEAD = 23 * 3_600_000; // milliseconds: a longer sleep is not believed, and no id is further ahead of what is known
const MOST_NUMBERED = 10_000; // trajectories whose last number is remembered

const PAGE = uuid7(); // this page or process: what it made is in order
let made = 0; // numbers that it made in doubt
const numbers = new Map(); // of a trajectory, of all clients of this page or process: its last number, and the last that stays
let last = 0; // number of all trajectories: what is said of one question counts in order, too

const bounded = (time, least, most) => Math.min(Math.max(time, least), most);

export class ServiceClock {
  constructor() {
    this._least = -Infinity; // milliseconds that the service is ahead of this device, at least
    this._most = Infinity;
    this._set = { device: Date.now(), passed: performance.now() }; // when the device's clock was compared last
    this._known = null; // { time, passed }: the service's time was `time` at least
    this._told = false; // whether an answer has told the time to this page or process
    this.answered = -Infinity; // performance.now() at the service's last answer, whether or not it told the time
  }

  /** Milliseconds that are added to this device's clock: none while it may be right, else so that it is not ahead of the service's. */
  get offset() {
    return this._least <= 0 && this._most >= 0 ? 0 : this._least;
  }

  /** This device's clock, in milliseconds since 1970, as it would be had it not been set since the last answer. */
  device() {
    const gap = this._gap();
    return gap >= -STEP && gap <= MOST_AHEAD ? Date.now() : this._set.device + this._passed(this._set);
  }

  /** The service's time, in milliseconds since 1970. */
  now() {
    const [time, least] = [this.device() + this.offset, this._leastNow()];
    return Math.round(this._known ? bounded(time, least, least + MOST_AHEAD) : time);
  }

  /** Take the Date header of an answer to a request that was sent at `asked`, a time of `device()`. */
  tell(date, asked) {
    this.answered = performance.now();
    const told = Date.parse(date ?? "");
    if (Number.isNaN(told)) return; // an older service lets no other origin read it
    const [before, device, set] = [this.now(), this.device(), Date.now()];
    const [least, most] = [told - device, told + STALE - asked];
    const isContradicted = least > this._most || most < this._least; // this device's clock was set, or it slept for days
    const step = set - device;
    this._least = (isContradicted ? least : Math.max(this._least, least)) - step;
    this._most = (isContradicted ? most : Math.min(this._most, most)) - step;
    this._set = { device: set, passed: this.answered };
    this._known = { time: told, passed: this.answered };
    this._told = true;
    if (this.now() < before - STEP) last = 0; // numbers were of a time ahead
  }

  /** What a storage keeps for a start while the service is away. */
  kept() {
    return { offset: this.offset, at: Date.now(), least: this._known && this._leastNow() };
  }

  /** Go on with what was kept: never before that time, and where this device's clock was ahead and was not set back, with its offset. */
  restore({ offset, at, least = at + offset } = {}) {
    if (Number.isFinite(least)) this._known = { time: least, passed: performance.now() };
    if (offset < 0 && Date.now() >= at) this._least = this._most = offset;
  }

  /** Return a sequence number above all others of the trajectory here, microseconds since 1970 as the service makes them, and, where the
   *  time is in doubt, how it was made, which `correct` takes: `{ sequence, made }`. */
  nextSequence(trajectory) {
    const { number: before, firm } = numbered(trajectory);
    const at = this.now();
    const timed = Math.max(at * 1000, last + 1);
    const sequence = Math.max(timed, before + 1);
    if (!Number.isSafeInteger(sequence)) throw new RangeError(`no sequence number is left after ${before}: give sequence`);
    last = timed; // a number that a caller has chosen puts those of no other trajectory ahead
    const isOpen = before > firm || !this._told || Math.abs(this._gap()) > STEP; // a number before it, or its own time, is in doubt
    note(trajectory, { number: sequence, firm: isOpen ? firm : sequence });
    const least = this._known ? this._leastNow() : 0;
    const doubt = { at, least, device: Date.now(), passed: performance.now(), above: Math.max(firm, 0), page: PAGE, order: (made += 1) };
    return { sequence, made: isOpen ? doubt : undefined };
  }

  /** Correct the numbers of facts (entries of a queue with `made`) that were made in doubt, now that the service has told its time. */
  correct(entries) {
    if (!this._told) return; // it tells none
    const [now, device, passed] = [this.now(), Date.now(), performance.now()];
    const timed = inOrder(entries.map((entry) => ({ entry, time: timeOf(entry.made, { now, device, passed }) })));
    let least = 0;
    for (const { entry: { made, body }, time } of timed) {
      const isRight = Math.floor(body.sequence / 1000) === time;
      least = Math.max(isRight ? body.sequence : 1000 * time, least + 1);
      const sequence = Math.max(least, made.above + 1);
      const { number, firm } = numbered(body.trajectory);
      note(body.trajectory, { number: number === body.sequence ? sequence : number, firm: Math.max(firm, sequence) });
      body.sequence = sequence;
    }
  }

  _passed({ passed }) {
    return performance.now() - passed;
  }

  /** Milliseconds by which the device's clock has run ahead of the monotonic one since the last answer: a sleep, or it was set. */
  _gap() {
    return Date.now() - this._set.device - this._passed(this._set);
  }

  _leastNow() {
    return this._known ? this._known.time + this._passed(this._known) : -Infinity;
  }
}

/** Return the time, in milliseconds since 1970, of a number that was made in doubt; the service's time is `now`. */
function timeOf({ at, least, device, passed }, { now, device: deviceNow, passed: passedNow }) {
  const most = Math.round(now - (passedNow - passed)); // at least so much has passed since
  const isWithin = (time) => time >= Math.floor(least) - STALE && time <= most + STALE;
  if (isWithin(at)) return at;
  const byDevice = Math.round(now - (deviceNow - device)); // right if the device's clock was set before
  return isWithin(byDevice) ? Math.max(byDevice, Math.floor(least)) : Math.round(bounded(at, least, most));
}

/** Sort by time, so that what one page or process made stays in the order in which it made it: none is later than what followed. */
function inOrder(timed) {
  const followed = new Map(); // of a page: the time of what came after
  for (const one of timed.sort(({ entry: one }, { entry: other }) => placeOf(other) - placeOf(one))) {
    const { page } = one.entry.made;
    one.time = Math.min(one.time, followed.get(page) ?? Infinity);
    followed.set(page, one.time);
  }
  return timed.reverse().sort((one, other) => one.time - other.time);
}

const placeOf = ({ made, body }) => made.order ?? body.sequence; // 0.1.0's first builds kept no order

/** Remember a number of a fact that the caller has chosen. */
export function noteSequence(trajectory, chosen) {
  const { number, firm } = numbered(trajectory);
  note(trajectory, { number: Math.max(number, chosen), firm: Math.max(firm, chosen) });
}

const numbered = (trajectory) => numbers.get(trajectory.toLowerCase()) ?? { number: -Infinity, firm: -Infinity };

function note(trajectory, told) {
  const name = trajectory.toLowerCase();
  numbers.delete(name); // the latest are last
  numbers.set(name, told);
  if (numbers.size > MOST_NUMBERED) numbers.delete(numbers.keys().next().value);
}
