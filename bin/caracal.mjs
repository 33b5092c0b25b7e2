#!/usr/bin/env node
// In a clone, this file exists before the first build: npx makes its link to a command once and keeps it, also when the
// command's file is missing at that moment.
import { existsSync } from "node:fs";

const command = new URL("../dist/lib/cli/main.js", import.meta.url);
if (existsSync(command)) await import(command.href);
else {
  console.error("error: Caracal is not built yet: run `npm run build` in its folder first");
  process.exitCode = 1;
}
