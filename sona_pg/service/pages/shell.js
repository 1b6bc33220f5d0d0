// What every page has: theme, API key, choice of the space, and a line for what has just happened.

import { chooseSpace, chosenSpace, get, key } from "./api.js";
import { watchConnection } from "./connection.js";
import { h } from "./elements.js";
import { keptIn } from "./kept.js";

const THEME = "sona-pg theme";
const themes = ["auto", "light", "dark"];
const settings = keptIn("localStorage");
const chosenTheme = () => settings.get(THEME) || "auto";

export function say(text) {
  const line = document.getElementById("status");
  line.textContent = text;
  clearTimeout(say.timer);
  say.timer = setTimeout(() => (line.textContent = ""), 5000);
}

function showTheme(button) {
  const theme = chosenTheme();
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  button.textContent = `Theme: ${theme}`;
}

function keyDialog(onKey) {
  const field = h("input", { type: "password", id: "token", autocomplete: "off", spellcheck: "false" });
  const reason = h("p", { class: "note", role: "alert" });
  const close = (event) => {
    event?.preventDefault();
    dialog.close();
  };
  const form = h("form", {
    onsubmit: (event) => {
      event.preventDefault();
      if (!key.set(field.value.trim())) {
        reason.textContent = "This key is no good: it has characters that no key has, such as typographic quotes, “…” or spaces. Paste the key alone.";
        field.focus();
        return;
      }
      dialog.close();
      onKey();
    },
  },
  h("h2", { id: "key-title" }, "API key"), reason,
  h("label", { class: "field" }, "Key of this space", field),
  h("p", { class: "note" }, key.lasts ? "It stays in this tab and is forgotten when the tab is closed. "
    : "This browser forbids sites to keep data, so the key is forgotten when this page is left. ",
    h("code", {}, "sona-pg keys create"), " makes one. Leave it empty to go without."),
  h("div", { class: "row" }, h("button", { type: "submit", class: "main" }, "Use this key"),
    h("button", { type: "button", onclick: close }, "Cancel")));
  const dialog = h("dialog", { "aria-labelledby": "key-title" }, form);
  document.body.append(dialog);
  return (why = "") => {
    if (dialog.open) return;
    reason.textContent = why;
    field.value = key.get();
    dialog.showModal();
    field.focus();
  };
}

export function startTheme() {
  const theme = document.getElementById("theme");
  showTheme(theme);
  theme.addEventListener("click", () => {
    const next = themes[(themes.indexOf(chosenTheme()) + 1) % themes.length];
    settings.set(THEME, next);
    showTheme(theme);
  });
}

// Links to another page keep the space that is chosen; a link to a part of this page keeps it by itself.
function keepSpaceIn(link) {
  if (link.origin !== location.origin || link.getAttribute("href").startsWith("#")) return;
  const url = new URL(link.href);
  if (chosenSpace()) url.searchParams.set("space", chosenSpace());
  else url.searchParams.delete("space");
  link.href = url;
}

export function keepSpace() {
  for (const link of document.querySelectorAll(".top a, .foot a")) keepSpaceIn(link);
}

for (const kind of ["click", "auxclick"]) { // links that a view has made since
  document.addEventListener(kind, (event) => {
    const link = event.target.closest?.("main a[href]:not([data-space])");
    if (link) keepSpaceIn(link);
  }, { capture: true });
}

// Ask for a decision in words; "" on the button means no.
export function confirmed(title, text, yes) {
  return new Promise((resolve) => {
    const form = h("form", { onsubmit: (event) => {
      event.preventDefault();
      dialog.close("yes");
    } },
    h("h2", { id: "confirm-title" }, title), h("p", {}, text),
    h("div", { class: "row" }, h("button", { type: "submit", class: "main" }, yes),
      h("button", { type: "button", autofocus: true, onclick: () => dialog.close("no") }, "Cancel")));
    const dialog = h("dialog", { "aria-labelledby": "confirm-title" }, form);
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes");
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}

export function startShell(onChange, onBack = onChange) {
  startTheme();
  keepSpace();
  watchConnection(onBack);
  const missing = missingSpace();
  const again = async () => {
    const before = chosenSpace();
    onChange(); // at once: the list of spaces is there later
    await fillSpaces(select, missing);
    if (chosenSpace() !== before) onChange();
  };
  const ask = keyDialog(again);
  document.getElementById("key").addEventListener("click", () => ask());
  document.addEventListener("key-needed", (event) => ask(event.detail));
  const select = document.getElementById("space");
  select.addEventListener("change", () => {
    missing("");
    chooseSpace(select.value);
    const url = new URL(location.href);
    url.searchParams.set("space", select.value);
    history.replaceState(null, "", url);
    keepSpace();
    onChange();
  });
  return again();
}

// A line instead of the page, for an address that names a space which is not there; "" takes it away.
function missingSpace() {
  const main = document.querySelector("main");
  const line = h("div", { class: "problem missing hidden", role: "alert" });
  main.before(line);
  return (name, spaces = []) => {
    main.classList.toggle("hidden", name !== "");
    line.classList.toggle("hidden", name === "");
    line.replaceChildren(h("p", {}, `There is no space “${name}”, or this key may not see it.`), spaces.length > 0 && h("p", {}, "There is: ",
      spaces.flatMap((one, place) => [place ? ", " : "", h("a", { href: addressOf(one) }, one)])) || "");
  };
}

function addressOf(space) {
  const url = new URL(location.href);
  url.searchParams.set("space", space);
  return url.href;
}

async function fillSpaces(select, missing) {
  let spaces = [];
  let own = chosenSpace();
  try {
    spaces = (await get("v1/spaces")).spaces.map((space) => space.name);
    const unknown = own !== "" && !spaces.includes(own);
    missing(unknown ? own : "", spaces);
    if (unknown) {
      select.replaceChildren(...["", ...spaces].map((name) => h("option", { value: name, disabled: name === "", selected: name === "" }, name || "choose one")));
      select.disabled = false;
      return;
    }
    own ||= (await get("v1/stats")).space;
  } catch (error) {
    if (error.status !== 401) say(error.message);
  }
  select.replaceChildren(...spaces.map((name) => h("option", { value: name, selected: name === own }, name)));
  select.disabled = spaces.length < 2;
}
