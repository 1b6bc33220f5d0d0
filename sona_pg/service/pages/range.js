// The period that figures and charts are about: chosen once for all views, and kept in the address.

import { h } from "./elements.js";
import { datesOf } from "./format.js";

const CHOICES = [[7, "last 7 days"], [30, "last 30 days"], [90, "last 90 days"], [3650, "all time"]];
const days = () => Number(new URLSearchParams(location.search).get("days"));

export const chosenDays = () => (CHOICES.some(([known]) => known === days()) ? days() : 30);

// Where all records are older, the period ends with the newest of them.
export function nameOf(chosen, figures) {
  const name = new Map(CHOICES).get(chosen);
  return chosen === 3650 || Date.now() - Date.parse(figures.last_day) < 2 * 86400000 ? name : `${name} on record`;
}

export function rangeChoice(onChange) {
  const select = h("select", {
    onchange: () => {
      const url = new URL(location.href);
      url.searchParams.set("days", select.value);
      history.replaceState(null, "", url);
      onChange();
    },
  }, CHOICES.map(([value, name]) => h("option", { value, selected: value === chosenDays() }, name)));
  return h("label", { class: "inline" }, "Period", select);
}

const date = datesOf({ dateStyle: "medium", timeZone: "UTC" });

// The days (UTC) of figures, as "Oct 3, 2026 – Nov 1, 2026"; a period without a beginning is told as 1970.
export const daysOf = ({ first_day: first, last_day: last }) => (first === "1970-01-01" ? `the first record to ${date.format(new Date(last))}`
  : date.formatRange(new Date(first), new Date(last)));
