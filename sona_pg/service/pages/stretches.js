// Stretches of a period that bars are drawn of: days (UTC), weeks, or 30 days where a period has many.

const DAY = 86400000;
const UNITS = { 1: "day", 7: "week", 30: "30 days" };

export function stretches({ first_day: firstDay, last_day: lastDay }) {
  const [first, last] = [Date.parse(firstDay), Date.parse(lastDay) + DAY];
  const span = (last - first) / DAY;
  const each = span > 400 ? 30 : span > 92 ? 7 : 1;
  const step = each * DAY;
  return {
    first, last, step, unit: UNITS[each], column: `${each === 1 ? "Day" : "From"} (UTC)`,
    from: (day) => first + Math.floor((Date.parse(day) - first) / step) * step,
  };
}
