// node scripts/docs.mjs: generates docs/errors.md.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import ts from "typescript";
import { errorPage } from "./lib/errorPage.mjs";
import { root } from "./lib/steps.mjs";

/** Imports a TypeScript file that has no imports. */
async function importTypeScript(path) {
  const compilerOptions = { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ES2022 };
  const { outputText } = ts.transpileModule(readFileSync(join(root, path), "utf8"), { compilerOptions });
  return await import(`data:text/javascript,${encodeURIComponent(outputText)}`);
}

const { errorCodes } = await importTypeScript("lib/errors.ts");
writeFileSync(join(root, "docs/errors.md"), errorPage(errorCodes));
