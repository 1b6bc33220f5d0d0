// Storage of a FeedbackQueue in a file, for Node: a line an entry, written before `add` returns.

import { appendFileSync, existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";

export function fileStorage(path) {
  const replace = (name, text) => {
    writeFileSync(`${name}.new`, text);
    renameSync(`${name}.new`, name);
  };
  return {
    load() {
      if (!existsSync(path)) return [];
      const entries = [];
      for (const line of readFileSync(path, "utf8").split("\n")) {
        if (!line) continue;
        try {
          entries.push(JSON.parse(line));
        } catch {
          break; // the last line of a process that was killed while it wrote
        }
      }
      return entries;
    },
    append: (entry) => appendFileSync(path, `${JSON.stringify(entry)}\n`),
    save: (entries) => replace(path, entries.map((entry) => `${JSON.stringify(entry)}\n`).join("")),
    loadAdapters: () => (existsSync(`${path}.adapters`) ? readFileSync(`${path}.adapters`, "utf8") : null),
    saveAdapters: (text) => replace(`${path}.adapters`, text),
  };
}
