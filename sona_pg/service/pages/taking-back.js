// Taking back all that a source has said, or what it said as chosen: a script or a colleague may have been wrong throughout.

import { get } from "./api.js";
import { mayUndo, takeBack } from "./feedback.js";
import { h } from "./elements.js";
import { several } from "./format.js";
import { confirmed } from "./shell.js";

const MOST = 200; // that the service tells at once
const SOON = 500; // milliseconds until what was taken back is committed
const TRIES = 20;

const standing = async (chosen, limit) => (await get("v1/dashboard/feedback", { limit, standing: true, ...chosen })).facts;
const later = () => new Promise((resolve) => setTimeout(resolve, SOON));

// The button, with what comes of it; null where there are not two words that this caller may take back. `chosen` names the
// source, and the day if one was chosen.
export async function takingBack(chosen, caller, onDone) {
  const who = chosen.source;
  const known = await standing(chosen, 2);
  if (known.length < 2 || !mayUndo(known[0], caller)) return null;
  const taken = new Set();
  const told = h("span", { class: "quiet", tabindex: "-1", role: "status" });
  const say = (words) => {
    told.textContent = words;
    told.focus();
  };
  async function takeRounds() {
    for (let tries = 0; tries < TRIES; tries += 1) {
      const facts = await standing(chosen, MOST);
      if (!facts.length) return;
      for (const { trajectory } of facts) {
        if (taken.has(trajectory)) continue;
        await takeBack(trajectory, who, caller);
        taken.add(trajectory);
        tries = 0;
        told.textContent = ` ${several(taken.size, "request")} so far …`;
      }
      await later();
    }
  }
  async function run() {
    const first = await standing(chosen, MOST);
    const number = first.length < MOST ? several(new Set(first.map((fact) => fact.trajectory)).size, "request") : `${MOST} requests and more`;
    if (!first.length) {
      say("Nothing of it counts any more.");
      return;
    }
    const part = Object.keys(chosen).length > 1 ? ", as chosen here," : "";
    if (!await confirmed("Take all of this back?", `What “${who}” said of ${number}${part} counts no more then, on any server; only “${who}” can say it again.`, "Take it back")) return;
    taken.clear();
    button.disabled = true;
    try {
      await takeRounds();
      say(`Taken back: what “${who}” said of ${several(taken.size, "request")}. The next run of learning counts it no more.`);
    } catch (error) {
      say(`Taken back of ${several(taken.size, "request")}; what “${who}” said of the others still counts: ${error.message}`);
    } finally {
      button.disabled = false;
    }
    onDone();
  }
  const button = h("button", { type: "button", onclick: () => run().catch((error) => say(error.message)) }, `Take back all of “${who}” …`);
  return h("div", { class: "row" }, button, told);
}
