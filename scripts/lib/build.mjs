// Installing, compiling the addon and compiling TypeScript, each only when something changed.
import { closeSync, copyFileSync, existsSync, mkdirSync, openSync, utimesSync } from "node:fs";
import { availableParallelism } from "node:os";
import { dirname, join } from "node:path";
import { generateContracts } from "./contracts.mjs";
import { kernelInputs } from "./kernels.mjs";
import { generateOperations } from "./operations.mjs";
import { needTool, root, run, upToDate } from "./steps.mjs";

// A stamp bears the time at which its step began: a source that changed meanwhile is newer.
function stamp(path, began) {
  const file = join(root, path);
  mkdirSync(dirname(file), { recursive: true });
  closeSync(openSync(file, "a"));
  utimesSync(file, began, began);
}

export function installDependencies() {
  if (upToDate("node_modules/.caracal-installed", "package-lock.json")) return;
  // onnxruntime-node is only measured against; its binary is in the package, its install script wants a download.
  // Not `npm ci`: that refuses a lock file made where some optional platform packages could not be had.
  const args = ["install", "--no-save", "--no-audit", "--no-fund"];
  run("installed dependencies", "npm", args, { ONNXRUNTIME_NODE_INSTALL: "skip" });
  stamp("node_modules/.caracal-installed", new Date());
}

/** `tool` is "node-gyp" (what anyone can build) or "cmake" (the full build). Both write build/Release/caracal.node. */
export function buildAddon(tool = "node-gyp", cmakeOptions = []) {
  const built = `build/.built-${tool}`;
  const other = `build/.built-${tool === "cmake" ? "node-gyp" : "cmake"}`;
  const sources = Object.values(generateOperations()).flat();
  const build = ["binding.gyp", "CMakeLists.txt", "package-lock.json", other];
  const inputs = ["native", ...sources, ...kernelInputs(), ...build];
  const addon = join(root, "build/Release/caracal.node");
  if (cmakeOptions.length === 0 && existsSync(addon) && upToDate(built, ...inputs)) return;
  const first = !existsSync(addon);
  const began = new Date();
  needTool("c++");
  needTool("make");
  if (first) console.error("caracal: building the addon takes a few minutes the first time …");
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

/** build/Release/libcaracal_vgpu.so, for tests; after buildAddon, which configures. Nothing where it cannot run. */
export function buildVirtualGpu() {
  if (process.platform !== "linux" || process.arch !== "x64") return;
  const built = "build/.built-vgpu";
  const library = join(root, "build/Release/libcaracal_vgpu.so");
  if (existsSync(library) && upToDate(built, "native/vgpu", "native/sources.gypi", "binding.gyp")) return;
  const began = new Date();
  if (!existsSync(library)) console.error("caracal: building the virtual GPU takes a few minutes the first time …");
  run("configured the virtual GPU", "npx", ["node-gyp", "configure"]);
  run("built the virtual GPU", "npx", ["node-gyp", "build", "caracal_vgpu", "-j", String(availableParallelism())]);
  stamp(built, began);
}

/** After buildAddon: lib/native/operations.ts describes the addon's contracts. */
export function buildTypeScript() {
  generateContracts();
  const inputs = ["lib", "bench", "tsconfig.json", "package-lock.json"];
  if (existsSync(join(root, "dist/lib/index.js")) && upToDate("build/.built-typescript", ...inputs)) return;
  const began = new Date();
  run("compiled TypeScript", "npx", ["tsc"]);
  stamp("build/.built-typescript", began);
}
