// The glossary: the words of these pages, each with its explanation.

import { chosenSpace } from "./api.js";
import { h } from "./elements.js";
import { keepSpace, startTheme } from "./shell.js";
import { TERMS } from "./terms.js";

startTheme();
keepSpace();
document.getElementById("words").append(...[...TERMS].sort(([, one], [, other]) => one[0].localeCompare(other[0]))
  .flatMap(([word, [name, text]]) => [h("dt", { id: word, tabindex: "-1" }, name), h("dd", {}, text)]));
const named = location.hash && document.getElementById(location.hash.slice(1));
if (named) {
  named.scrollIntoView({ block: "center" });
  named.focus({ preventScroll: true });
}
document.title = `Glossary · ${chosenSpace() || "sona-pg"}`;
