// npm run pack [-- FLAVOUR …]: builds the packages of a release into build/pack: the main package, and one per flavour of
// the addon. Each addon is checked before it is packed. Debian 12 is needed; npm run pack says which of its packages.
// npm run pack -- --requirements: prints them.
// npm run pack -- --here: packs the checkout's own build for this machine into build/pack/here instead, which tests use.
import { parseArgs } from "node:util";
import { buildAddon, buildTypeScript, installDependencies } from "./lib/build.mjs";
import { flavours } from "./lib/flavours.mjs";
import { folders, packFlavour, packHere, packMain, writeManifest } from "./lib/package.mjs";
import { buildRelease } from "./lib/release.mjs";
import { fail, needNode } from "./lib/steps.mjs";
import { debianPackages } from "./lib/toolchain.mjs";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { here: { type: "boolean" }, requirements: { type: "boolean" } },
});
if (values.requirements) {
  console.log(debianPackages.join(" "));
  process.exit();
}
needNode();
installDependencies();
buildAddon();
buildTypeScript();

const known = flavours();
const unknown = positionals.find((name) => !known.some((flavour) => flavour.name === name));
if (unknown) fail(`there is no flavour ${unknown}: use ${known.map(({ name }) => name).join(", ")}`);

const { release, here } = folders;

function packRelease() {
  const chosen = known.filter(({ name }) => positionals.length === 0 || positionals.includes(name));
  const addons = chosen.map((flavour) => packFlavour(release, flavour, buildRelease(flavour), { isRelease: true }));
  return [packMain(release), ...addons];
}

const packed = values.here ? packHere() : packRelease();
writeManifest(values.here ? here : release, packed);
console.table(
  Object.fromEntries(
    packed.map(({ file, bytes, unpackedBytes, glibc, architectures }) => [
      file,
      {
        "packed MB": (bytes / 1e6).toFixed(2),
        "unpacked MB": (unpackedBytes / 1e6).toFixed(2),
        "needs glibc": glibc ?? "",
        "CUDA sm": architectures?.join(" ") ?? "",
      },
    ]),
  ),
);
