// A table of a page as a CSV file: the rows and figures that are shown, made in the browser, safe to open in a spreadsheet.

const isDecimalComma = new Intl.NumberFormat().format(1.5).includes(","); // as the spreadsheets of this machine most probably
const COMMA = isDecimalComma ? ";" : ",";
const FIGURE = /^[-−+]?\d{1,3}(,?\d{3})*(\.\d+)?(\s?%)?$/;
const FORMULA = /^'*[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]/; // what a spreadsheet would run (OWASP, CSV injection)
const LONGEST = 80; // characters of a file's name

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

// Figures lose what groups their digits, and have the decimal mark of this machine; no text runs as a formula.
export function cell(content) {
  const text = textOf(content).trim();
  if (text === "–") return "";
  if (FIGURE.test(text)) {
    const plain = text.replaceAll(",", "").replace("−", "-").replace(/\s?%$/, "%");
    return isDecimalComma ? plain.replace(".", ",") : plain;
  }
  return FORMULA.test(text) ? `'${text}` : text;
}

const quoted = (text) => (/["\r\n;,]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);

function csv(columns, rows) {
  const lines = rows.map((row) => columns.map((column) => cell(column.of(row))));
  const told = columns.map((_, place) => lines.some((line) => line[place])); // not columns of drawings alone
  return [columns.map((column) => column.name), ...lines]
    .map((line) => line.filter((_, place) => told[place]).map(quoted).join(COMMA)).join("\r\n");
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
    link.download = `${caption.toLowerCase().replace(/[^\p{L}\p{N}]+/gu, "-").slice(0, LONGEST).replace(/^-|-$/g, "")}.csv`;
    link.click();
    URL.revokeObjectURL(address);
  });
  return button;
}
