// The chat demo: a question, the answer that the space ranks first, a thumb or the right answer, and the next answer.

import { post, search, unlessAway, wordless } from "./api.js";
import { h, problem } from "./elements.js";
import { share } from "./format.js";
import { answerFinder } from "./answer-finder.js";
import { retiredAnswers } from "./demo-answers.js";
import { lessons } from "./demo-lessons.js";
import { probabilityOf, why } from "./demo-why.js";
import { startShell } from "./shell.js";

const talk = document.getElementById("talk");
const form = document.getElementById("ask");
const field = document.getElementById("question");
const session = `session:${crypto.randomUUID?.() ?? Date.now()}`; // what is asked in one visit belongs together
const teacher = lessons();
const retired = retiredAnswers((id, isGiven) => teacher.offer(id, isGiven));
const UNSTORED = "This space has no stored answers to choose from.";
const newest = new Map(); // by its question, the answer that was shown last
let fields = 0; // fields for a right answer, each with an id of its own
const SURE = 0.5; // probability below which an answer is more probably wrong than right

// A question that somebody asks is recorded at once. One that the page asks again is recorded when its answer is judged,
// so that the figures count what people asked and judged, and nothing else.
async function answerTo(text, isAsked) {
  const ranking = await post("v1/rank", { text, k: 5 });
  const route = ranking.ids[0];
  const trajectory = recordedOnce({ text, ranking, route, context: [session, "chat"] });
  const [compared] = await Promise.all([
    unlessAway(search("v1/dashboard/answers", { text, versions: [0], k: 5 })),
    isAsked && trajectory(), // needs no database: an answer that is recorded is shown
  ]);
  const first = compared?.now.ranking[0]?.id === route ? compared.first : null;
  return { text, ranking, route, trajectory, first, now: compared?.now, untaught: compared?.then[0], told: compared && Object.hasOwn(compared.texts, route) ? compared.texts[route] : null };
}

// The id of a trajectory that the first call records.
function recordedOnce(body) {
  let id = null;
  return async () => (id ??= (await post("v1/trajectories", body)).id);
}

function reply(answer, before) {
  const changed = before && before.route !== answer.route;
  const head = before && h("p", { class: changed ? "good" : "quiet" }, changed ? "Asked again, it answers now:" : unchanged(answer, before));
  const probability = probabilityOf(answer);
  const unsure = probability !== null && probability < SURE && h("p", { class: "quiet" }, `I am not sure: this is right with ${share(probability)} probability. My best guess:`);
  answer.outdate = () => unsure && unsure.replaceChildren(`At that time it was right with ${share(probability)} probability; what was said since has moved that, see below.`);
  const bubble = h("div", { class: `reply${changed ? " better" : ""}` }, head, unsure, h("p", { class: "said-back" }, answer.route),
    answer.told && answer.told !== answer.route && h("p", {}, answer.told), judge(answer));
  return h("li", { tabindex: "-1" }, bubble);
}

// One thumb need not change the answer: say by how much its score has moved, and how far the next one is behind.
function unchanged(answer, before) {
  if (!answer.now || !before.now) return "Asked again, it answers the same:";
  const [first, second] = answer.now.ranking;
  const old = before.now.ranking.find((one) => one.id === first?.id);
  if (!old) return "Asked again, it answers the same:";
  const [was, is] = [old.score.toFixed(2), first.score.toFixed(2)];
  const moved = was === is ? `is still ${is}` : `${first.score < old.score ? "fell" : "rose"} from ${was} to ${is}`;
  const lead = second ? `; the next answer is at ${second.score.toFixed(2)}` : "";
  return `Asked again, it still answers this. Its score ${moved}${lead}.`;
}

function judge(answer) {
  const place = h("div", {});
  place.append(...offers(answer, place));
  return place;
}

// The ways to say something about an answer.
function offers(answer, place) {
  const id = `right-${fields++}`;
  const say = async (fact) => {
    await post("v1/feedback", { trajectory: await answer.trajectory(), ...fact });
    teacher.judged(1);
  };
  const unsay = async () => {
    await post("v1/feedback", { trajectory: await answer.trajectory(), retract: true });
    teacher.judged(-1);
  };
  const thumb = (text, quality, told) => h("button", {
    type: "button", onclick: () => settle(answer, place, () => say({ quality }), told, unsay),
  }, text);
  const correct = h("form", {
    class: "row hidden",
    onsubmit: (event) => {
      event.preventDefault();
      const right = event.target.elements.namedItem(id).value.trim();
      if (!right) return;
      let isOurs = false; // nobody is given it but by this correction
      settle(answer, place, async () => {
        isOurs = await retired.give(right);
        await say({ correction: right });
      }, `You said the right answer is: ${right}`, async () => {
        await unsay();
        if (isOurs) await retired.retire(right);
      });
    },
  },
  h("label", { class: "sr", for: id }, "The right answer"),
  h("input", { type: "text", id, name: id, list: "answers", maxlength: 900, placeholder: "choose or write the right answer", autocomplete: "off" }),
  h("button", { type: "submit" }, "Tell"));
  const open = h("button", {
    type: "button", "aria-expanded": "false",
    onclick: () => {
      const hidden = correct.classList.toggle("hidden");
      open.setAttribute("aria-expanded", String(!hidden));
      if (!hidden) correct.querySelector("input").focus();
    },
  }, "Tell the right answer");
  const stop = h("button", {
    type: "button", onclick: () => settle(answer, place, () => retired.retire(answer.route),
      "Nobody is given this answer any more.", () => retired.restore(answer.route)),
  }, "Stop giving this answer");
  return [h("div", { class: "thumbs" },
    thumb("▲ Right", 1, "You said: right."), thumb("▼ Wrong", 0, "You said: wrong."), open, stop), correct];
}

// Do what a button says, tell so beside a way back, and ask the question again.
async function settle(answer, place, work, told, undo) {
  const buttons = [...place.querySelectorAll("button")];
  for (const button of buttons) button.disabled = true;
  try {
    await work();
    const back = undo && h("button", {
      type: "button", "aria-label": `Undo: ${told}`, onclick: () => settle(answer, place, undo, "Taken back."),
    }, "Undo");
    place.replaceChildren(h("p", { class: "note" }, told), ...(back ? [h("div", { class: "thumbs" }, back)] : offers(answer, place)));
    const before = newest.get(answer.text); // what was said of an earlier answer has moved this one
    await show(await answerTo(answer.text, false), before);
  } catch (error) {
    for (const button of buttons) button.disabled = false;
    place.append(problem(error));
  }
}

async function show(answer, before) {
  newest.set(answer.text, answer);
  before?.outdate(); // its probability stands above the new one
  const line = reply(answer, before);
  talk.append(line);
  document.getElementById("why").replaceChildren(...why(answer, before));
  if (before) line.focus({ preventScroll: true }); // the button that was pressed is gone
  scrollTo(line);
  await unlessAway(teacher.refresh());
  scrollTo(line);
}

// Scroll until a line stands fully above the question field, which sticks to the window's lower edge.
function scrollTo(line) {
  line.style.scrollMarginBottom = `${form.offsetHeight + 8}px`;
  line.scrollIntoView({ block: "nearest" });
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const text = field.value.trim();
  if (!text) return;
  talk.append(h("li", {}, h("p", { class: "said" }, text)));
  field.value = "";
  try {
    await show(await answerTo(text, true));
  } catch (error) {
    talk.append(h("li", {}, problem(teacher.answers().length ? error : new Error(UNSTORED))));
  }
});

await startShell(async () => {
  talk.replaceChildren();
  newest.clear(); // another space answers otherwise
  document.getElementById("why").replaceChildren(h("p", { class: "quiet" }, "Ask something first."));
  await startLessons();
}, startLessons);

async function startLessons() {
  try {
    const reason = await wordless();
    for (const control of form.elements) control.disabled = reason !== "";
    if (reason) {
      talk.replaceChildren(h("li", {}, h("p", { class: "panel" }, reason)));
      for (const id of ["curve", "teach"]) document.getElementById(id).replaceChildren(h("p", { class: "quiet" }, "Not in this space."));
      document.getElementById("finder").replaceChildren();
      return;
    }
    await teacher.start();
    const silent = !teacher.may("record");
    await retired.refresh(!silent);
    document.getElementById("finder").replaceChildren(answerFinder(() => !silent, retired));
    for (const control of form.elements) control.disabled = silent;
    if (silent) talk.replaceChildren(h("li", {}, h("p", { class: "panel" }, "This key may only look: the chat records what is asked, which takes a key with the scope record.")));
    else if (!teacher.answers().length) talk.replaceChildren(h("li", {}, h("p", { class: "panel" }, UNSTORED)));
  } catch (error) {
    document.getElementById("teach").replaceChildren(problem(error));
  }
}
