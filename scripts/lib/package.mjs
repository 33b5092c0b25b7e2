// Packs the main package and those of the addon's flavours, as npm would publish them.
import { createHash } from "node:crypto";
import { copyFileSync, cpSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { describeBinary, faultsOf } from "./binary.mjs";
import { flavours } from "./flavours.mjs";
import { lastChoice } from "./kernels.mjs";
import { command, fail, root } from "./steps.mjs";

/** Where the packages of a release are, and those of the checkout's own build. */
export const folders = { release: join(root, "build/pack/packages"), here: join(root, "build/pack/here") };

const readJson = (path) => JSON.parse(readFileSync(path, "utf8"));
const writeJson = (path, value) => writeFileSync(path, `${JSON.stringify(value, null, 2)}\n`);

/** What all packages say of their origin. */
function shared() {
  const { version, license, repository, homepage, bugs, author, engines } = readJson(join(root, "package.json"));
  return { version, license, repository, homepage, bugs, author, engines };
}

/** Makes an empty folder for the contents of a package, with the license. */
function stage(folder, name) {
  const at = join(folder, "contents", name);
  rmSync(at, { recursive: true, force: true });
  mkdirSync(at, { recursive: true });
  copyFileSync(join(root, "LICENSE"), join(at, "LICENSE"));
  return at;
}

/** Runs npm pack. @returns the row of the manifest */
function pack(folder, at, extra = {}) {
  const [{ filename, size, unpackedSize, name, version }] = JSON.parse(
    command("npm", ["pack", "--json", "--ignore-scripts", "--pack-destination", folder], { cwd: at }),
  );
  const contents = readFileSync(join(folder, filename));
  const sha256 = createHash("sha256").update(contents).digest("hex");
  return { name, version, file: filename, bytes: size, unpackedBytes: unpackedSize, sha256, ...extra };
}

/** Packs the main package into a folder: no addon, no sources, no script that runs on installation. */
export function packMain(folder) {
  const at = stage(folder, "caracal");
  const { scripts, devDependencies, ...manifest } = readJson(join(root, "package.json"));
  for (const path of manifest.files)
    if (existsSync(join(root, path))) cpSync(join(root, path), join(at, path), { recursive: true });
  rmSync(join(at, "dist/.tsbuildinfo"), { force: true });
  for (const file of ["README.md", "CHANGELOG.md"]) copyFileSync(join(root, file), join(at, file));
  // These replace the optional dependencies of a clone, which are for benchmarks. An optional package may lack binaries for a
  // platform, which a development dependency may not.
  // The packages with CUDA kernels are too large for everybody: users install them by name.
  const everybody = flavours().filter(({ cuda }) => !cuda);
  const optionalDependencies = Object.fromEntries(everybody.map((flavour) => [flavour.package, manifest.version]));
  writeJson(join(at, "package.json"), { ...manifest, optionalDependencies });
  return pack(folder, at);
}

/** The flavour without CUDA that fits this machine. */
export function flavourOfThisMachine() {
  const libc = createRequire(import.meta.url)("detect-libc").familySync(); // a fresh clone has it only now
  const found = flavours().find((flavour) => flavour.cpu === process.arch && flavour.libc === libc && !flavour.cuda);
  return found ?? fail(`there is no package for ${process.platform} on ${process.arch} with ${libc}`);
}

/** Packs an addon into a folder. A release must pass all checks. */
export function packFlavour(folder, flavour, addon, { isRelease = false } = {}) {
  const path = join(root, addon);
  const faults = isRelease ? faultsOf(path, flavour) : [];
  if (faults.length > 0) fail(`the addon of ${flavour.name} cannot be released: ${faults.join("; ")}`);
  const at = stage(folder, flavour.name);
  const { description, name, ...manifest } = flavour.manifest;
  writeJson(join(at, "package.json"), { name, description, ...shared(), ...manifest });
  writeFileSync(join(at, "README.md"), `# ${name}\n\n${description}. Install \`caracal\`, which loads it.\n`);
  copyFileSync(path, join(at, "caracal.node"));
  const { newest, libraries } = describeBinary(path);
  const row = pack(folder, at, {
    flavour: flavour.name,
    isRelease,
    glibc: newest.GLIBC,
    libraries,
    ...(flavour.cuda && { architectures: lastChoice().architectures, cuda: flavour.cuda }),
  });
  if (isRelease && row.bytes > flavour.budget)
    fail(`${row.file} has ${row.bytes} bytes, its budget is ${flavour.budget}: make the addon smaller`);
  return row;
}

/** Packs the checkout's own build for this machine. @returns the rows of the manifest */
export function packHere() {
  const { here } = folders;
  return [packMain(here), packFlavour(here, flavourOfThisMachine(), "build/Release/caracal.node")];
}

/** Writes what was packed, with hashes and the versions of the tools. */
export function writeManifest(folder, packed) {
  const version = (program, args = ["--version"]) =>
    command(program, args, { mayFail: true })?.trim().split("\n").at(-1);
  const toolchains = {
    node: process.version,
    gcc: command("g++-12", ["-dumpfullversion"], { mayFail: true })?.trim(),
    cmake: command("cmake", ["--version"], { mayFail: true })?.split("\n")[0],
    nvcc: version("nvcc"),
  };
  writeJson(join(folder, "manifest.json"), { packages: packed, toolchains });
}
