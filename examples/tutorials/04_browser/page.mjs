// Tutorial 4, the page: shows colours, guesses their names, and hears what the visitor calls them.

import { browserStorage, SonaEngine } from "../../../clients/js/src/index.js";
import { colour, guess, NAMES, tell } from "./colours.mjs";

const byId = (id) => document.getElementById(id);
const service = new URLSearchParams(location.search).get("service") ?? "http://127.0.0.1:8700"; // this page's ?service=
const engine = await opened();
const results = [];
let seen = colour();

/** Open the engine: with the service away by the adapters of the last visit, and at the first visit once it answers. */
async function opened() {
  for (;;) {
    try {
      return await SonaEngine.connect(service, { space: "colours", storage: browserStorage() });
    } catch (error) {
      byId("figure").textContent = error.message;
      if (!error.isPassing) throw error;
      await new Promise((resolve) => setTimeout(resolve, 2000));
    }
  }
}

function show() {
  seen = colour();
  byId("colour").style.background = `hsl(${seen.hue} ${100 * seen.saturation}% ${100 * seen.lightness}%)`;
  const guessed = guess(engine, seen);
  byId("guess").textContent = guessed === null ? "I know no colours yet. What do you call this one?" : `Is it ${guessed}?`;
}

async function told(name) {
  const guessed = guess(engine, seen);
  if (guessed !== null) results.push(guessed === name);
  tell(engine, seen, name);
  const late = results.slice(-20);
  byId("figure").textContent = `${late.filter(Boolean).length} of the last ${late.length} guesses were right, version ${engine.version}.`;
  show();
}

for (const name of NAMES) {
  const button = document.createElement("button");
  button.textContent = name;
  button.addEventListener("click", () => told(name));
  byId("names").append(button);
}
byId("learn").addEventListener("click", async () => {
  try {
    byId("figure").textContent = await engine.forceLearn(); // the service learns by itself too, from 20 colours on
  } catch (error) {
    byId("figure").textContent = `nothing was learned: ${error.message}; what you said is kept, and sent later`;
  }
  show();
});
byId("figure").textContent = "";
show();
