// node scripts/publish.mjs [--tag vVERSION] [--dry-run]: publishes what `npm run pack` built and recorded, the main package
// last, so that nobody installs it before the packages that it needs.
import { createHash } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { flavours } from "./lib/flavours.mjs";
import { command, fail, root } from "./lib/steps.mjs";

const { values } = parseArgs({ options: { tag: { type: "string" }, "dry-run": { type: "boolean" } } });
const folder = join(root, "build/pack/packages");
const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
const manifest = join(folder, "manifest.json");
if (!existsSync(manifest)) fail("there are no packages: run npm run pack");
const { packages } = JSON.parse(readFileSync(manifest, "utf8"));

if (values.tag !== undefined && values.tag !== `v${version}`)
  fail(`the tag ${values.tag} does not name the version ${version} of package.json`);
const missing = flavours().filter(
  ({ name }) => !packages.some(({ flavour, isRelease }) => flavour === name && isRelease),
);
if (missing.length > 0) fail(`not built for release: ${missing.map(({ name }) => name).join(", ")}. Run npm run pack`);
for (const { file, version: packed, sha256 } of packages) {
  const found = createHash("sha256")
    .update(readFileSync(join(folder, file)))
    .digest("hex");
  if (packed !== version) fail(`${file} has version ${packed}, but package.json ${version}: run npm run pack again`);
  if (found !== sha256) fail(`${file} is not the file that npm run pack recorded: run it again`);
}
const options = values["dry-run"] ? ["--dry-run"] : ["--provenance"];
for (const { file } of [...packages].sort((a, b) => (a.flavour ? 0 : 1) - (b.flavour ? 0 : 1))) {
  command("npm", ["publish", join(folder, file), "--access", "public", ...options]);
  console.error(`caracal: ${values["dry-run"] ? "would publish" : "published"} ${file}`);
}
