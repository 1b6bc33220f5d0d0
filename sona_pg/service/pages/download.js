// A table of a page as a CSV file: the rows and figures that are shown, made in the browser, safe to open in a spreadsheet.

const isDecimalComma = new Intl.NumberFormat().format(1.5).includes(","); // as the spreadsheets of this machine most probably
const COMMA = isDecimalComma ? ";" : ",";
const FIGURE = /^[-−+]?\d{1,3}(,?\d{3})*(\.\d+)?(\s?%)?$/;
const FORMULA = /^'*[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]/; // what a spreadsheet would run (OWASP, CSV injection)
const LONGEST = 40; // characters of a table's name in that of its file
const DIGITS = 6;

// Text of a cell: the exact figure of a rounded one, without drawings and without the "?" of terms.
function textOf(content) {
  if (content === null || content === undefined || content === false) return "";
  if (Array.isArray(content)) return content.map(textOf).join("");
  if (!(content instanceof Node)) return String(content);
  const copy = content.cloneNode(true);
  if (copy instanceof Element) {
    if (copy.matches("svg, button.act")) return ""; // a button that shows more tells no figure
    for (const part of copy.querySelectorAll("svg, [aria-hidden=true], a.help")) part.remove();
  }
  return copy.textContent;
}

// Figures lose what groups their digits, and have the decimal mark of this machine. Names stay as they are, also those that
// look like a figure ("1,234") or like none ("–"); but no text runs as a formula.
export function cell(content, isFigure) {
  const text = textOf(content).trim();
  if (isFigure && text === "–") return "";
  if (FIGURE.test(text)) return isFigure ? marked(text.replaceAll(",", "").replace("−", "-").replace(/\s?%$/, "%")) : text;
  return FORMULA.test(text) ? `'${text}` : text;
}

const marked = (plain) => (isDecimalComma ? plain.replace(".", ",") : plain);

// A number in full, whatever digits the page shows of it.
const figure = (value) => (value === null || value === undefined ? "" : marked(String(Number(value.toPrecision(DIGITS)))));

// A moment in UTC, with a space for the T that spreadsheets take for a text.
const instant = (when) => (when === null || when === undefined ? "" : new Date(when).toISOString().slice(0, 19).replace("T", " "));

const quoted = (text) => (/["\r\n;,]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);

const headed = (column) => cell(column.unit?.() ? `${column.name} (${column.unit()})` : column.name); // the name may be a route's

// A cell of several figures is a column for each (`parts`), one with a unit is a number (`value`), one of times a `moment`.
function csv(shown, rows) {
  const columns = shown.flatMap((column) => column.parts ?? [column]);
  const told = (column, row) => (column.value ? figure(column.value(row)) : column.moment ? instant(column.moment(row)) : cell(column.of(row), column.kind === "number"));
  const lines = rows.map((row) => columns.map((column) => told(column, row)));
  const filled = columns.map((_, place) => lines.some((line) => line[place])); // not columns of drawings alone
  return [columns.map(headed), ...lines]
    .map((line) => line.filter((_, place) => filled[place]).map(quoted).join(COMMA)).join("\r\n");
}

const slug = (text) => text.toLowerCase().replace(/[^\p{L}\p{N}]+/gu, "-").slice(0, LONGEST).replace(/^-|-$/g, "");

// The space, what the table is about, and the day on which it was taken along.
function fileName(caption) {
  const space = document.getElementById("space")?.value ?? "";
  const [table] = caption.split(/[,;:(]/);
  return `${[slug(space), slug(table), new Date().toISOString().slice(0, 10)].filter(Boolean).join("-")}.csv`;
}

export function downloadButton(caption, columns, rows) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "link download";
  button.textContent = "Download as CSV";
  button.setAttribute("aria-label", `Download as CSV: ${caption}`);
  button.addEventListener("click", () => {
    const address = URL.createObjectURL(new Blob(["\ufeff", csv(columns, rows), "\r\n"], { type: "text/csv;charset=utf-8" }));
    const link = document.createElement("a");
    link.href = address;
    link.download = fileName(caption);
    link.click();
    URL.revokeObjectURL(address);
  });
  return button;
}
