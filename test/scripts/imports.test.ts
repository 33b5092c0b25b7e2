// A fresh clone has no packages when a script starts that installs them.
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { expect, test } from "vitest";

/** The packages that a script and the scripts below it import before they run. */
function packagesOf(script: string, seen = new Set<string>()): string[] {
  if (seen.has(script)) return [];
  seen.add(script);
  const names = Array.from(
    readFileSync(script, "utf8").matchAll(/^(?:import|export)\s(?:[^"'();=]*\bfrom\s)?\s*["']([^"']+)["']/gm),
    ([, name]) => name!,
  );
  return names
    .filter((name) => !name.startsWith("node:"))
    .flatMap((name) => (name.startsWith(".") ? packagesOf(join(dirname(script), name), seen) : [`${script}: ${name}`]));
}

const installing = readdirSync("scripts")
  .map((name) => `scripts/${name}`)
  .filter((path) => path.endsWith(".mjs") && /\binstallDependencies\(\)/.test(readFileSync(path, "utf8")));

test("there are scripts that install the dependencies, and one that imports a package is recognised", () => {
  expect(installing).toContain("scripts/pack.mjs");
  expect(packagesOf("scripts/rules.mjs")).toEqual(["scripts/lib/rules.mjs: typescript"]);
});

test.each(installing)("%s imports no package before it can install one", (script) => {
  expect(packagesOf(script)).toEqual([]);
});
