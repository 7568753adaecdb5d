// Reads an AsyncAPI document as AsyncAPI's own tools do: prints what they find wrong with it, a line each.

const { readFileSync } = require("node:fs");
const { Parser } = require("@asyncapi/parser");

async function main() {
  const { diagnostics } = await new Parser().parse(readFileSync(process.argv[2], "utf8"));
  for (const found of diagnostics) {
    if (found.severity <= 1) console.log(`${found.path.join("/")}: ${found.message}`); // errors and warnings
  }
  console.log("read");
}

main();
