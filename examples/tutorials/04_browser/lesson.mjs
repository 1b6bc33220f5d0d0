// Tutorial 4 without a browser: a visitor with habits of their own names colours, and the client learns them.
// Run it: node examples/tutorials/04_browser/lesson.mjs [http://127.0.0.1:8700]

import { SonaClient, SonaEngine } from "../../../clients/js/src/index.js";
import { colour, guess, NAMES, tell } from "./colours.mjs";

const service = process.argv[2] ?? "http://127.0.0.1:8700";
const habit = [15, 45, 70, 160, 255, 290, 340]; // the hue up to which this visitor says each name
const called = ({ hue }) => NAMES[habit.findIndex((limit) => hue < limit)] ?? "red";
const right = (engine, colours) => colours.filter((seen) => guess(engine, seen) === called(seen)).length;

const space = `colours ${Date.now()}`;
await new SonaClient(service).makeSpace({ name: space, dim: 8 });
const engine = await SonaEngine.connect(service, { space });
const unseen = Array.from({ length: 200 }, () => colour());
console.log(`before: ${right(engine, unseen)} of 200 new colours are called as the visitor calls them`);
for (let told = 0; told < 300; told++) {
  const seen = colour();
  tell(engine, seen, called(seen));
}
console.log(await engine.forceLearn());
console.log(`after: ${right(engine, unseen)} of 200`);
await engine.close();
