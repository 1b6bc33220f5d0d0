// Tutorial 5, the client: asks the backend, corrects its answers, and asks questions that it has never seen.
// Run it: node examples/tutorials/05_http_client.mjs [http://127.0.0.1:8800 [answers]]

import { readFileSync } from "node:fs";

const [backend = "http://127.0.0.1:8800", most = 20] = process.argv.slice(2);
const questions = new URL("../../sona_pg/demo/helpdesk.json", import.meta.url);
const answers = JSON.parse(readFileSync(questions, "utf8")).answers.slice(0, most);

async function post(path, body) {
  const response = await fetch(backend + path, {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body ?? {}),
  });
  if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`);
  return response.json();
}

async function right() {
  let found = 0;
  for (const { answer, held_out: unseen } of answers) {
    for (const query of unseen) found += (await post("/api/query", { query })).answer === answer;
  }
  return found;
}

console.log(`before: ${await right()} of ${2 * answers.length} unseen questions are answered right`);
for (const { answer, lessons } of answers) {
  for (const query of lessons) {
    const given = await post("/api/query", { query });
    await post("/api/feedback", given.answer === answer ? { id: given.id, quality: 1 } : { id: given.id, correction: answer });
  }
}
console.log(await post("/api/learn"));
console.log(`after: ${await right()} of ${2 * answers.length}`);
