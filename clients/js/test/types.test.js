// The types let a caller give all that the service takes, and nothing else: its OpenAPI document says what that is.

import assert from "node:assert/strict";
import { test } from "node:test";

import { url } from "../fixtures/service.js";
import { differences, fieldsOfType, fieldsThatDiffer, givenTo } from "../fixtures/types.js";
import { CALLS } from "../src/index.js";

const document = async () => (await fetch(`${url}/openapi.json`)).json();

test("the type of every call's body is that of the service, in names, nesting, what is required and what may be null", async () => {
  const { components: { schemas }, paths } = await document();
  let compared = 0;
  for (const [call, [method, path]] of Object.entries(CALLS)) {
    const schema = paths[path][method.toLowerCase()].requestBody?.content["application/json"].schema;
    const given = givenTo(call);
    if (!schema) {
      assert.ok(method === "GET" || given.type.name === "undefined", call);
      continue;
    }
    assert.deepEqual(differences(given.type, schema, schemas, call), []);
    const { required } = schemas[schema.$ref.split("/").pop()];
    assert.ok(!given.optional || !required, `${call} may be called without a body`);
    compared += 1;
  }
  assert.ok(compared >= 30, compared);
});

test("the type of every call's query is that of the service", async () => {
  const { components: { schemas }, paths } = await document();
  for (const [call, [method, path]] of Object.entries(CALLS)) {
    if (method !== "GET") continue;
    const asked = (paths[path].get.parameters ?? []).filter((one) => one.in === "query" && one.name !== "space");
    const wanted = { properties: Object.fromEntries(asked.map(({ name, schema }) => [name, schema])), required: asked.filter((one) => one.required).map(({ name }) => name) };
    const given = givenTo(call);
    const { signal, ...fields } = fieldsOfType(given.type) ?? {}; // `events` is given its signal beside the query
    assert.deepEqual(fieldsThatDiffer(fields, wanted, schemas, call), []);
    assert.ok(!given.optional || !wanted.required.length, call);
  }
});

test("a difference between types and service is told, however deep", () => {
  const schemas = { Inner: { type: "object", properties: { a: { type: "string" }, b: { anyOf: [{ type: "number" }, { type: "null" }] } }, required: ["a"] } };
  const schema = { type: "object", properties: { rows: { type: "array", items: { $ref: "#/components/schemas/Inner" } }, kind: { enum: ["x", "y"] } } };
  const inner = { fields: { a: { type: { name: "string" }, optional: true }, c: { type: { name: "number" }, optional: true } } };
  const type = { fields: { rows: { type: { list: inner }, optional: true }, kind: { type: { any: [{ literal: '"x"' }, { name: "null" }] }, optional: true } } };
  assert.deepEqual(differences(type, schema, schemas, "call"), [
    "call.rows[].a: required by the service", "call.rows[].c: the service has none", "call.rows[].b: the types have none",
    "call.kind: the types take no x or y", "call.kind: the service takes no null",
  ]);
});
