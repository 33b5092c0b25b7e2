// npm run docs: generates docs/errors.md, then writes the documents as a site to out/docs. It fails if a link leads nowhere,
// or a public name has no documentation.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import ts from "typescript";
import { errorPage } from "./lib/errorPage.mjs";
import { buildSite } from "./lib/site.mjs";
import { fail, root, writeIfChanged } from "./lib/steps.mjs";

/** Imports a TypeScript file that has no imports. */
async function importTypeScript(path) {
  const compilerOptions = { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ES2022 };
  const { outputText } = ts.transpileModule(readFileSync(join(root, path), "utf8"), { compilerOptions });
  return await import(`data:text/javascript,${encodeURIComponent(outputText)}`);
}

const { errorCodes } = await importTypeScript("lib/errors.ts");
writeIfChanged("docs/errors.md", errorPage(errorCodes));

if (!(await buildSite())) fail("the documents have the faults above");
