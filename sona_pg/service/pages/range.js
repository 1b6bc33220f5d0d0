// The period that figures and charts are about: chosen once for all views, and kept in the address.

import { h } from "./elements.js";
import { datesOf } from "./format.js";

const CHOICES = [[7, "last 7 days"], [30, "last 30 days"], [90, "last 90 days"], [3650, "all time"]];
const OWN = "own";
const DAY = 86400000;
const MOST = 3649; // days of one's own: with more a period has no beginning
const wanted = (name) => new URLSearchParams(location.search).get(name);
const today = () => new Date().toISOString().slice(0, 10);
const daysFrom = (from, to) => 1 + (Date.parse(to) - Date.parse(from)) / DAY;

// Two days (UTC) that make a period; null if they do not.
const pair = (from, to) => ([from, to].every((day) => /^\d{4}-\d\d-\d\d$/.test(day ?? "")) && daysFrom(from, to) >= 1 && daysFrom(from, to) <= MOST
  && from >= "1970-01-01" && to <= today() ? { from, to } : null);
const ownDates = () => pair(wanted("from"), wanted("to"));

// What the service is asked for: so many days, up to now or to a day (UTC).
export function chosenPeriod() {
  const own = ownDates();
  if (own) return { days: daysFrom(own.from, own.to), until: own.to };
  const days = Number(wanted("days"));
  return { days: CHOICES.some(([known]) => known === days) ? days : 30 };
}

// Whether the page still shows this period.
export const isChosen = ({ days, until }) => days === chosenPeriod().days && until === chosenPeriod().until;

// Where all records are older, the period ends with the newest of them.
export function nameOf({ days, until }, figures) {
  if (until) return daysOf(figures);
  const name = new Map(CHOICES).get(days);
  return days === 3650 || Date.now() - Date.parse(figures.last_day) < 2 * DAY ? name : `${name} on record`;
}

function addressOf(choice) {
  const url = new URL(location.href);
  for (const name of ["days", "from", "to"]) url.searchParams.delete(name);
  for (const [name, value] of Object.entries(choice)) url.searchParams.set(name, value);
  return url;
}

const keep = (choice) => history.replaceState(null, "", addressOf(choice));

// The address of this page for the days from one (UTC) to today.
export const addressSince = (day) => addressOf({ from: day, to: today() }).href;

export function rangeChoice(onChange) {
  const { days } = chosenPeriod();
  const own = ownDates();
  const refused = h("span", { class: "note", role: "status" });
  const change = () => {
    const dates = pair(from.value, to.value);
    refused.textContent = dates ? "" : "Choose a first day, and a last one that is not before it and not after today, within ten years.";
    if (!dates) return;
    keep(dates);
    onChange();
  };
  const field = (name, value) => h("input", { type: "date", "aria-label": `${name} (UTC)`, max: today(), value, onchange: change });
  const [from, to] = [field("First day", own?.from), field("Last day", own?.to)];
  const dates = h("span", { class: own ? "inline" : "inline hidden" }, "from", from, "to", to);
  const select = h("select", {
    onchange: () => {
      dates.classList.toggle("hidden", select.value !== OWN);
      refused.textContent = "";
      if (select.value !== OWN) {
        keep({ days: select.value });
        onChange();
        return;
      }
      to.value ||= today(); // the last week, to begin with
      from.value ||= new Date(Date.now() - 6 * DAY).toISOString().slice(0, 10);
      change();
    },
  }, [...CHOICES, [OWN, "own dates"]].map(([value, name]) => h("option", { value, selected: own ? value === OWN : value === days }, name)));
  return h("div", { class: "row" }, h("label", { class: "inline" }, "Period", select), dates, refused);
}

const date = datesOf({ dateStyle: "medium", timeZone: "UTC" });

// The days (UTC) of figures, as "Oct 3, 2026 – Nov 1, 2026"; a period without a beginning is told as 1970.
export const daysOf = ({ first_day: first, last_day: last }) => (first === "1970-01-01" ? `the first record to ${date.format(new Date(last))}`
  : date.formatRange(new Date(first), new Date(last)));
