// The dashboard: one view at a time, chosen by the address after #, kept current by the space's events.

import { follow } from "./api.js";
import { problem } from "./elements.js";
import { fleet } from "./view-fleet.js";
import { memory } from "./view-memory.js";
import { overview } from "./view-overview.js";
import { patterns } from "./view-patterns.js";
import { routes } from "./view-routes.js";
import { travel } from "./view-travel.js";
import { say, startShell } from "./shell.js";

const views = { overview, patterns, routes, travel, fleet, memory };
const place = document.getElementById("view");
let shown = null;
let followed = null;

async function show(focus) {
  const asked = location.hash.slice(1);
  const name = Object.hasOwn(views, asked) ? asked : "overview";
  for (const link of document.querySelectorAll("#views a")) {
    if (link.hash === `#${name}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const view = views[name]();
  shown = view;
  place.setAttribute("aria-busy", "true");
  try {
    const content = await view.content();
    if (shown !== view) return;
    place.replaceChildren(...content);
    document.title = `${content[0].textContent} · sona-pg`;
    if (focus) place.focus();
  } catch (error) {
    if (shown === view) place.replaceChildren(problem(error));
  } finally {
    if (shown === view) place.removeAttribute("aria-busy");
  }
}

function listen() {
  followed?.abort();
  followed = new AbortController();
  let version = null;
  let timer = null;
  follow((name, data) => {
    if (name === "version") {
      if (version !== null && version !== data.version) {
        say(`Version ${data.version} is served now`);
        shown?.onVersion?.(data.version);
      }
      version = data.version;
    } else if (name === "recorded" && timer === null) {
      timer = setTimeout(() => {
        timer = null;
        shown?.onRecorded?.(data);
      }, 800);
    }
  }, followed.signal);
}

addEventListener("hashchange", () => show(true));
await startShell(() => {
  show(false);
  listen();
});
