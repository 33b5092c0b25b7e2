// npm run test:packages [-- vitest arguments]: tests the packages as users install them, in folders outside the checkout
// and without a compiler. They are those of `npm run pack`, where it has run since the last change, else the checkout's own
// build; tests of the other flavours are then skipped. The registry of npm is needed for their dependencies.
import { spawn } from "node:child_process";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buildAddon, buildTypeScript, buildVirtualGpu, installDependencies, stamp } from "./lib/build.mjs";
import { flavourOfThisMachine, folders, packHere } from "./lib/package.mjs";
import { serveRegistry } from "./lib/registry.mjs";
import { command, needNode, root, upToDate } from "./lib/steps.mjs";
import { makeSystems } from "./lib/systems.mjs";

needNode();
installDependencies();
buildAddon();
buildTypeScript();

/** The packages to test, as rows of a manifest, and their folder. */
function choosePackages() {
  const manifest = "build/pack/packages/manifest.json";
  const { files } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
  const sources = [
    "lib",
    "bench",
    "page",
    "native",
    "packages",
    "package.json",
    ...files.filter((name) => name !== "dist"),
  ];
  const rows = existsSync(join(root, manifest)) ? JSON.parse(readFileSync(join(root, manifest), "utf8")).packages : [];
  const { name: own } = flavourOfThisMachine();
  if (upToDate(manifest, ...sources) && rows.some(({ flavour }) => flavour === own))
    return { folder: folders.release, rows };
  const reason = rows.length === 0 ? "has not run" : `lacks ${own} or ran before the last change`;
  console.error(`caracal: tests of the release flavours are skipped: npm run pack ${reason}`);
  return { folder: folders.here, rows: packHere() };
}

/** Installs the programs of others that the tests run. */
function installTools() {
  const folder = join(root, "build/pack/tools");
  const lock = "test/packages/tools/package-lock.json";
  if (upToDate("build/pack/tools/.installed", lock)) return folder;
  mkdirSync(folder, { recursive: true });
  const began = new Date();
  for (const file of ["package.json", "package-lock.json"])
    copyFileSync(join(root, "test/packages/tools", file), join(folder, file));
  command("npm", ["ci", "--ignore-scripts", "--no-audit", "--no-fund"], { cwd: folder });
  stamp("build/pack/tools/.installed", began);
  return folder;
}

/** Runs a program while this process serves. @returns the seconds that it takes */
async function run(program, args, { cwd, env = process.env, show = false }) {
  const start = Date.now();
  const child = spawn(program, args, { cwd, env, stdio: ["ignore", show ? "inherit" : "ignore", "inherit"] });
  const status = await new Promise((resolve) => child.on("close", resolve));
  if (status !== 0) throw new Error(`the command failed with ${status}: ${program} ${args.join(" ")}`);
  return (Date.now() - start) / 1000;
}

/** Installs the packages into an empty project, as a user does, and runs a model. Prints how long that takes. */
async function firstAnswer(folder, tarballs, env) {
  const cwd = join(folder, "app");
  mkdirSync(cwd);
  writeFileSync(join(cwd, "package.json"), '{ "name": "app", "private": true }\n');
  const { caracal, ...flavours } = tarballs;
  const { server, origin } = await serveRegistry(Object.values(flavours));
  const options = ["--no-audit", "--no-fund", `--@caracal:registry=${origin}`];
  const npm = command("npm", ["root", "--global"]).trim();
  const cli = join(npm, "npm/bin/npm-cli.js");
  const install = await run("node", [cli, "install", caracal, ...options], { cwd, env });
  server.close();
  server.closeAllConnections();
  const bin = join(cwd, "node_modules/.bin/caracal");
  const synth = await run(bin, ["synth", "model"], { cwd, env });
  const answer = await run(bin, ["run", "--model", "model", "--text", "Hello!", "--max-tokens", "8"], { cwd, env });
  const steps = `npm install ${install} s, caracal synth ${synth} s, caracal run ${answer} s`;
  console.error(`caracal: from npm to the first answer ${(install + synth + answer).toFixed(1)} s: ${steps}`);
  return { app: cwd, npm: cli };
}

const { folder, rows } = choosePackages();
const tarballs = Object.fromEntries(rows.map(({ name, file }) => [name, join(folder, file)]));
const tools = installTools();
const temporary = mkdtempSync(join(tmpdir(), "caracal-packages-"));
// All that users of the packages need to have on the PATH: no compiler, and no ffmpeg. pnpm's commands are shell scripts.
const path = join(temporary, "bin");
mkdirSync(path);
symlinkSync(process.execPath, join(path, "node"));
for (const program of ["sh", "basename", "dirname", "sed", "uname"])
  symlinkSync(command("sh", ["-c", `command -v ${program}`]).trim(), join(path, program));
try {
  const network = /^(https?_proxy|no_proxy|node_extra_ca_certs|npm_config_registry)$/i;
  const settings = Object.entries(process.env).filter(([name]) => network.test(name));
  const user = { ...Object.fromEntries(settings), HOME: process.env.HOME, PATH: path };
  const installed = await firstAnswer(temporary, tarballs, user);
  const flavours = rows.filter(({ isRelease }) => isRelease).map(({ flavour }) => flavour);
  if (flavours.length > 0) buildVirtualGpu();
  const systems = makeSystems(join(root, "build/pack/systems"), flavours);
  const packages = { ...installed, folder: temporary, env: user, tarballs, tools, release: flavours, systems };
  const vitest = join(root, "node_modules/vitest/vitest.mjs");
  const env = { ...process.env, CARACAL_TEST_PACKAGES: JSON.stringify(packages) };
  const args = ["run", "--project", "packages", ...process.argv.slice(2)];
  await run(process.execPath, [vitest, ...args], { cwd: root, env, show: true });
} catch (error) {
  console.error(`caracal: ${error.message}`);
  process.exitCode = 1;
} finally {
  rmSync(temporary, { recursive: true });
}
