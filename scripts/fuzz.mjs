// npm run fuzz [-- [--sanitize] [--cuda] [CALL | FIRST-LAST]]: builds what changed and runs test/fuzz/operations.mjs. With
// --sanitize the addon has AddressSanitizer and UndefinedBehaviorSanitizer; it is built beside the ordinary one.
import { execFileSync, spawnSync } from "node:child_process";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { buildAddon, buildTypeScript, installDependencies } from "./lib/build.mjs";
import { needTool, root, run } from "./lib/steps.mjs";

const sanitize = process.argv.includes("--sanitize");
const args = process.argv.slice(2).filter((arg) => arg !== "--sanitize");
installDependencies();
buildAddon();
buildTypeScript();

/** The environment in which node loads the addon with sanitizers, which is built first. */
function sanitized() {
  needTool("cmake");
  const options = ["-T", "caracal", "-O", "build/sanitized", "--CDCARACAL_ASAN=ON", "-p", `${availableParallelism()}`];
  run("built the addon with sanitizers", "npx", ["cmake-js", "build", ...options]);
  // Node.js is built without them, so their runtime must be loaded first.
  const runtime = execFileSync(process.env.CXX ?? "g++", ["-print-file-name=libasan.so"], { encoding: "utf8" }).trim();
  return {
    CARACAL_BINDING: join(root, "build/sanitized/Release/caracal.node"),
    LD_PRELOAD: runtime,
    ASAN_OPTIONS: "detect_leaks=0",
    UBSAN_OPTIONS: "halt_on_error=1:print_stacktrace=1",
  };
}

const env = { ...process.env, ...(sanitize ? sanitized() : {}) };
const { status } = spawnSync(process.execPath, ["test/fuzz/operations.mjs", ...args], {
  cwd: root,
  env,
  stdio: "inherit",
});
process.exit(status ?? 1);
