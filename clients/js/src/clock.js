// The service's time, as the Date headers of its answers tell it. Ids and sequence numbers are made here, of a time: the service
// refuses ids of more than a day ahead, and of two facts of a source the one with the higher number counts, whoever made it.

const STALE = 3000; // milliseconds by which a Date header may be behind: it has whole seconds, and servers renew it each second
const MOST_NUMBERED = 10_000; // trajectories whose last number is remembered

const numbers = new Map(); // last sequence number of a trajectory, of all clients of this page or process
let last = 0; // number of all trajectories: what is said of one question counts in order, too

export class ServiceClock {
  constructor() {
    this._least = -Infinity; // milliseconds that the service is ahead of this device, at least
    this._most = Infinity;
  }

  /** Milliseconds that are added to this device's clock: none while it may be right, else so that it is not ahead of the service's. */
  get offset() {
    return this._least <= 0 && this._most >= 0 ? 0 : this._least;
  }

  /** The service's time, in milliseconds since 1970. */
  now() {
    return Math.round(Date.now() + this.offset);
  }

  /** Take the Date header of an answer to a request that was sent at `asked`. */
  tell(date, asked) {
    const told = Date.parse(date ?? "");
    if (Number.isNaN(told)) return; // an older service lets no other origin read it
    const [least, most] = [told - Date.now(), told + STALE - asked];
    const isContradicted = least > this._most || most < this._least; // this device's clock was set
    const before = this.offset;
    this._least = isContradicted ? least : Math.max(this._least, least);
    this._most = isContradicted ? most : Math.min(this._most, most);
    if (this.offset < before) last = 0; // numbers were of a time ahead
  }

  /** What a storage keeps for a start while the service is away. */
  kept() {
    return { offset: this.offset, at: Date.now() };
  }

  /** Go on with what was kept, where this device's clock was ahead, and was not set back meanwhile. */
  restore({ offset, at } = {}) {
    if (offset < 0 && Date.now() >= at) this._least = this._most = offset;
  }

  /** Return a sequence number above all others of the trajectory here: microseconds since 1970, as the service makes them. */
  nextSequence(trajectory) {
    const before = numbers.get(trajectory.toLowerCase()) ?? -Infinity;
    const number = Math.max(this.now() * 1000, last + 1, before + 1);
    if (!Number.isSafeInteger(number)) throw new RangeError(`no sequence number is left after ${before}: give sequence`);
    last = number;
    noteSequence(trajectory, number);
    return number;
  }
}

/** Remember a number of a fact; a caller may have chosen it. */
export function noteSequence(trajectory, number) {
  const name = trajectory.toLowerCase();
  const most = Math.max(number, numbers.get(name) ?? -Infinity);
  numbers.delete(name); // the latest are last
  numbers.set(name, most);
  if (numbers.size > MOST_NUMBERED) numbers.delete(numbers.keys().next().value);
}
