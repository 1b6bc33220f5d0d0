// The operations of the service, from its OpenAPI document: parameters, body, answer, and a command to try each.

import { apiDocument } from "./api.js";
import { h, panel, plainTable, problem } from "./elements.js";
import { keepSpace, startTheme } from "./shell.js";

const place = document.getElementById("operations");
const MOST_NESTED = 3; // levels of an example

const resolved = (schema, known) => (schema?.$ref ? known[schema.$ref.split("/").at(-1)] : schema);

function kind(schema, known) {
  if (!schema) return "";
  if (schema.$ref) return schema.$ref.split("/").at(-1);
  if (schema.enum) return schema.enum.map((one) => JSON.stringify(one)).join(" | ");
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  const choice = schema.anyOf ?? schema.oneOf;
  if (choice) return [...new Set(choice.map((one) => kind(one, known)))].join(" | ");
  if (schema.type === "array") return `[${kind(schema.items, known)}]`;
  return schema.format ? `${schema.type} (${schema.format})` : schema.type ?? "any";
}

function bounds(schema) {
  const named = [["minimum", "≥"], ["exclusiveMinimum", ">"], ["maximum", "≤"], ["exclusiveMaximum", "<"], ["minLength", "length ≥"], ["maxLength", "length ≤"], ["minItems", "items ≥"], ["maxItems", "items ≤"]];
  const told = Object.assign({}, ...(schema.anyOf ?? []), schema);
  return named.filter(([name]) => told[name] !== undefined).map(([name, sign]) => `${sign} ${told[name]}`).join(", ");
}

function example(schema, known, depth = 0) {
  const found = resolved(schema, known);
  if (!found || depth > MOST_NESTED) return null;
  if (found.default !== undefined && found.default !== null) return found.default;
  if (found.enum) return found.enum[0];
  const choice = found.anyOf ?? found.oneOf;
  if (found.properties) { // where one field of several is needed, each choice says which
    const required = [...(found.required ?? []), ...(choice?.[0].required ?? [])];
    const needed = Object.keys(found.properties).filter((name) => required.includes(name));
    return Object.fromEntries(needed.map((name) => [name, example(found.properties[name], known, depth + 1)]));
  }
  if (choice) return example(choice.find((one) => one.type !== "null"), known, depth);
  if (found.type === "array") return [example(found.items, known, depth + 1)];
  if (found.type === "number" || found.type === "integer") return found.minimum ?? 1;
  if (found.type === "boolean") return false;
  if (found.type === "object") return {};
  return found.format === "uuid" ? "00000000-0000-0000-0000-000000000000" : "…";
}

function command(method, path, operation, known) {
  const needed = operation.parameters.filter((one) => one.in === "query" && one.required).map((one) => `${one.name}=…`);
  const url = new URL(path.slice(1), new URL("./", location.href));
  const lines = [`curl ${method === "GET" ? "" : `-X ${method} `}'${decodeURI(url)}${needed.length ? `?${needed.join("&")}` : ""}'`];
  if (operation["x-scope"]) lines.push('-H "Authorization: Bearer $KEY"');
  const body = operation.requestBody?.content?.["application/json"];
  if (body) lines.push("-H 'Content-Type: application/json'", `-d '${JSON.stringify(example(body.schema, known))}'`);
  return lines.join(" \\\n  ");
}

function fields(title, schema, known) {
  const found = resolved(schema, known);
  if (!found?.properties) return found ? h("p", { class: "note" }, `${title}: ${found.description ?? kind(schema, known)}`) : null;
  return plainTable(title, [
    { name: "Field", heads: true, kind: "nowrap", of: ([name]) => h("code", {}, name) },
    { name: "Type", kind: "words", of: ([, one]) => h("code", {}, kind(one, known)) },
    { name: "Needed", of: ([name]) => (found.required?.includes(name) ? "yes" : "no") },
    { name: "Bounds", of: ([, one]) => bounds(one) },
  ], Object.entries(found.properties));
}

function described(method, path, operation, known) {
  const answer = Object.entries(operation.responses).find(([status]) => status < 300);
  const content = answer && Object.entries(answer[1].content ?? {})[0];
  const refused = Object.entries(operation.responses).filter(([status]) => status >= 400);
  return h("details", { class: "operation", id: operation.operationId },
    h("summary", {}, h("code", {}, h("strong", {}, method), ` ${path}`), h("span", { class: "note" }, operation.summary)),
    h("div", { class: "flow" },
      operation.description && h("p", {}, operation.description),
      h("p", { class: "note" }, operation["x-scope"] ? `Scope of the key: ${operation["x-scope"]}.` : "It needs no key."),
      operation.parameters.length > 0 && plainTable("Parameters", [
        { name: "Name", heads: true, kind: "nowrap", of: (one) => h("code", {}, one.name) },
        { name: "In", of: (one) => one.in },
        { name: "Type", of: (one) => h("code", {}, kind(one.schema, known)) },
        { name: "Needed", of: (one) => (one.required ? "yes" : "no") },
        { name: "Bounds", of: (one) => bounds(one.schema) },
        { name: "Meaning", kind: "words", of: (one) => one.description },
      ], operation.parameters),
      operation.requestBody && fields("Body", operation.requestBody.content["application/json"]?.schema, known),
      content && fields(`Answer (${answer[0]}, ${content[0]})`, content[1].schema, known),
      h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Command" }, h("pre", {}, h("code", {}, command(method, path, operation, known)))),
      refused.length > 0 && h("details", {}, h("summary", {}, "Refusals"),
        h("dl", { class: "pairs" }, refused.flatMap(([status, one]) => [h("dt", {}, status), h("dd", {}, one.description)])))));
}

function draw(told, wanted) {
  const subjects = new Map();
  for (const [path, methods] of Object.entries(told.paths)) {
    for (const [name, operation] of Object.entries(methods)) {
      const method = name.toUpperCase();
      if (!`${method} ${path} ${operation.summary}`.toLowerCase().includes(wanted)) continue;
      const subject = operation.tags[0];
      subjects.set(subject, [...(subjects.get(subject) ?? []), described(method, path, operation, told.components.schemas)]);
    }
  }
  place.replaceChildren(...[...subjects].map(([subject, found]) => panel(subject, ...found)));
  if (!subjects.size) place.replaceChildren(h("p", { class: "quiet" }, "No operation is named so."));
}

startTheme();
keepSpace();
try {
  const told = await apiDocument();
  const field = document.getElementById("find");
  field.addEventListener("input", () => draw(told, field.value.trim().toLowerCase()));
  draw(told, "");
  const named = location.hash && document.getElementById(location.hash.slice(1));
  if (named?.open === false) named.open = true;
} catch (error) {
  place.replaceChildren(problem(error));
}
place.removeAttribute("aria-busy");
