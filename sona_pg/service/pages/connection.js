// A banner while the server or its database does not answer; it asks again until they do, and then redraws the page.

import { unanswered } from "./api.js";
import { h } from "./elements.js";
import { time } from "./format.js";

const AGAIN = 2000; // milliseconds between two tries
const LOOK = 5000; // between two looks of a page that is seen: one that asks for nothing would not notice
const away = {
  server: "The server has not answered since",
  database: "The database behind the server has not answered since",
};

export function watchConnection(onBack) {
  const line = h("p", { class: "lost hidden", role: "alert" });
  document.querySelector("main").before(line);
  let since = null;

  function show(which) {
    line.textContent = `${away[which]} ${time(since)}: what you see is as of then. Trying again …`;
    line.classList.remove("hidden");
  }

  async function tryAgain() {
    const which = await unanswered();
    if (which) {
      show(which);
      setTimeout(tryAgain, AGAIN);
      return;
    }
    const shown = !line.classList.contains("hidden");
    since = null;
    line.classList.add("hidden");
    line.textContent = "";
    if (shown) onBack();
  }

  function begin() {
    if (since !== null) return;
    since = new Date();
    tryAgain(); // one request may fail by itself: the banner comes if /ready fails too
  }
  document.addEventListener("unanswered", begin);
  setInterval(async () => {
    if (since === null && document.visibilityState === "visible" && await unanswered()) begin();
  }, LOOK);
}
