// Installs dependencies, builds the addon and compiles the TypeScript, each only if its inputs changed.
import { closeSync, copyFileSync, existsSync, mkdirSync, openSync, readdirSync, rmSync, utimesSync } from "node:fs";
import { availableParallelism } from "node:os";
import { dirname, join } from "node:path";
import { generateContracts } from "./contracts.mjs";
import { kernelInputs } from "./kernels.mjs";
import { generateSources } from "./sources.mjs";
import { needTool, root, run, upToDate } from "./steps.mjs";

/** Records that a step is done, with the time when it began: a source that changes during the step is newer. */
export function stamp(path, began) {
  const file = join(root, path);
  mkdirSync(dirname(file), { recursive: true });
  closeSync(openSync(file, "a"));
  utimesSync(file, began, began);
}

export function installDependencies() {
  if (upToDate("node_modules/.caracal-installed", "package-lock.json")) return;
  // The install script of onnxruntime-node, a peer of the benchmarks, would download binaries that are not needed.
  // `npm ci` would reject a lock file that lacks optional packages of other platforms.
  const args = ["install", "--no-save", "--no-audit", "--no-fund"];
  run("installed dependencies", "npm", args, { ONNXRUNTIME_NODE_INSTALL: "skip" });
  stamp("node_modules/.caracal-installed", new Date());
}

/** Builds build/Release/caracal.node. `tool` is "node-gyp", or "cmake" for the options of CMakeLists.txt. */
export function buildAddon(tool = "node-gyp", cmakeOptions = []) {
  const built = `build/.built-${tool}`;
  const other = `build/.built-${tool === "cmake" ? "node-gyp" : "cmake"}`;
  const sources = Object.values(generateSources()).flat();
  const build = ["binding.gyp", "CMakeLists.txt", "package-lock.json", other];
  const inputs = ["native", ...sources, ...kernelInputs(), ...build];
  const addon = join(root, "build/Release/caracal.node");
  if (cmakeOptions.length === 0 && existsSync(addon) && upToDate(built, ...inputs)) return;
  const first = !existsSync(addon);
  const began = new Date();
  needTool("c++");
  needTool("make");
  if (first) console.error("caracal: building the addon takes a minute or two the first time …");
  const jobs = String(availableParallelism());
  if (tool === "cmake") {
    needTool("cmake");
    const options = ["-T", "caracal", "-O", "build/cmake", ...cmakeOptions, "-p", jobs];
    run("built the addon with CMake", "npx", ["cmake-js", "build", ...options]);
    mkdirSync(dirname(addon), { recursive: true });
    copyFileSync(join(root, "build/cmake/Release/caracal.node"), addon);
  } else {
    needTool("python3");
    run("configured the addon", "npx", ["node-gyp", "configure"]);
    run("built the addon", "npx", ["node-gyp", "build", "caracal", "-j", jobs]);
  }
  stamp(built, began);
}

/** Builds build/Release/libcaracal_vgpu.so, which tests need, on platforms where it can run. */
export function buildVirtualGpu() {
  if (process.platform !== "linux" || process.arch !== "x64") return;
  const built = "build/.built-vgpu";
  const library = join(root, "build/Release/libcaracal_vgpu.so");
  if (existsSync(library) && upToDate(built, "native/vgpu", "native/flags.gypi", "binding.gyp")) return;
  const began = new Date();
  if (!existsSync(library)) console.error("caracal: building the virtual GPU takes a few minutes the first time …");
  run("configured the virtual GPU", "npx", ["node-gyp", "configure"]);
  run("built the virtual GPU", "npx", ["node-gyp", "build", "caracal_vgpu", "-j", String(availableParallelism())]);
  stamp(built, began);
}

/** Compiles the web page of the server into dist/page, beside the files that need no compiler. */
function buildPage() {
  const [source, output] = [join(root, "page"), join(root, "dist/page")];
  rmSync(output, { recursive: true, force: true }); // everything in it is served
  run("compiled the page", "npx", ["tsc", "-p", "page"]);
  for (const name of readdirSync(source).filter((file) => /\.(html|css|svg)$/.test(file)))
    copyFileSync(join(source, name), join(output, name));
}

/** Compiles the TypeScript. Requires the addon, from whose contracts it generates lib/native/operations.ts. */
export function buildTypeScript() {
  generateContracts();
  const inputs = ["lib", "bench", "page", "tsconfig.json", "package-lock.json"];
  if (existsSync(join(root, "dist/lib/index.js")) && upToDate("build/.built-typescript", ...inputs)) return;
  const began = new Date();
  run("compiled TypeScript", "npx", ["tsc"]);
  buildPage();
  stamp("build/.built-typescript", began);
}
