// Installing, compiling the addon and compiling TypeScript, each only when something changed.
import { closeSync, mkdirSync, openSync, utimesSync } from "node:fs";
import { availableParallelism } from "node:os";
import { dirname, join } from "node:path";
import { needTool, root, run, upToDate } from "./steps.mjs";

function touch(path) {
  const file = join(root, path);
  mkdirSync(dirname(file), { recursive: true });
  closeSync(openSync(file, "a"));
  utimesSync(file, new Date(), new Date());
}

export function installDependencies() {
  if (upToDate("node_modules/.caracal-installed", "package-lock.json")) return;
  // onnxruntime-node is only measured against; its binary is in the package, its install script wants a download.
  // Not `npm ci`: that refuses a lock file made where some optional platform packages could not be had.
  const args = ["install", "--no-save", "--no-audit", "--no-fund"];
  run("installed dependencies", "npm", args, { ONNXRUNTIME_NODE_INSTALL: "skip" });
  touch("node_modules/.caracal-installed");
}

/** `tool` is "node-gyp" (what anyone can build) or "cmake" (the full build). Both write build/Release/caracal.node. */
export function buildAddon(tool = "node-gyp", cmakeOptions = []) {
  const stamp = `build/.built-${tool}`;
  const other = `build/.built-${tool === "cmake" ? "node-gyp" : "cmake"}`;
  const inputs = ["native", "binding.gyp", "CMakeLists.txt", "package-lock.json", other];
  if (cmakeOptions.length === 0 && upToDate("build/Release/caracal.node", inputs[0]) && upToDate(stamp, ...inputs))
    return;
  needTool("c++");
  needTool("make");
  const jobs = String(availableParallelism());
  if (tool === "cmake") {
    needTool("cmake");
    run("built the addon with CMake", "npx", ["cmake-js", "build", "-O", "build/cmake", ...cmakeOptions, "-p", jobs]);
    run("placed the addon", "cp", ["-f", "build/cmake/Release/caracal.node", mkReleaseDir()]);
  } else {
    needTool("python3");
    run("configured the addon", "npx", ["node-gyp", "configure"]);
    run("built the addon", "npx", ["node-gyp", "build", "-j", jobs]);
  }
  touch(stamp);
}

function mkReleaseDir() {
  mkdirSync(join(root, "build/Release"), { recursive: true });
  return join(root, "build/Release/caracal.node");
}

export function buildTypeScript() {
  if (upToDate("build/tsbuildinfo", "lib", "tsconfig.json", "package-lock.json") && upToDate("dist/index.js")) return;
  run("compiled TypeScript", "npx", ["tsc"]);
  touch("build/tsbuildinfo");
}
