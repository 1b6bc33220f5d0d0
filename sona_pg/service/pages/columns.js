// Columns of tables that are read with a unit or in one cell, and taken along (CSV) as plain numbers.

import { at, cost, costUnit, duration, range, share } from "./format.js";

const known = (value) => value !== null && value !== undefined;
const shown = (value, words) => (known(value) ? words(value) : null);

// A column of costs, or of seconds; in a CSV file its name tells the unit, which is the same in all rows.
export const costColumn = (value) => ({ kind: "number", value, unit: costUnit, of: (row) => shown(value(row), cost) });
export const timeColumn = (value) => ({ kind: "number", value, unit: () => "s", of: (row) => shown(value(row), duration) });

// A column of moments; `without` tells that there is none. In a CSV file it is UTC, as spreadsheets take ISO 8601 for a date.
export const momentColumn = (moment, without = null) => ({ kind: "when", moment, unit: () => "UTC", of: (row) => (known(moment(row)) ? at(moment(row)) : without) });

// Where a mean likely lies, of rows with `low` and `high`; in a CSV file two columns.
export const intervalColumn = (of = (row) => row) => ({
  name: "Likely between", kind: "nowrap", of: (row) => of(row) && range(of(row).low, of(row).high),
  parts: [{ name: "Likely from", kind: "number", of: (row) => share(of(row)?.low) }, { name: "Likely to", kind: "number", of: (row) => share(of(row)?.high) }],
});

// One cell of several figures that are columns of their own in a CSV file: by name what each tells.
export const joined = (of, parts) => ({ of, parts: Object.entries(parts).map(([name, part]) => ({ name, kind: "number", of: part })) });
