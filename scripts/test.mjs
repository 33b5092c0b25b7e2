// npm test [-- vitest arguments]: builds what changed, the virtual GPU too, then runs every test; without arguments, those
// of CUDA kernels once more in the virtual GPU's other modes.
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { buildAddon, buildTypeScript, buildVirtualGpu, installDependencies } from "./lib/build.mjs";
import { needNode, root } from "./lib/steps.mjs";

needNode();
installDependencies();
await buildAddon();
buildVirtualGpu();
buildTypeScript();

const vitest = join(root, "node_modules/vitest/vitest.mjs");
function test(args, env = {}) {
  const options = { cwd: root, stdio: "inherit", env: { ...process.env, ...env } };
  const { status } = spawnSync(process.execPath, [vitest, "run", ...args], options);
  if (status !== 0) process.exit(status ?? 1);
}

/** When asynchronous copies complete, in which order warps and streams run, how tensor cores and sinf round. */
const modes = [
  { CARACAL_VGPU_ASYNC: "early", CARACAL_VGPU_SEED: "1" },
  { CARACAL_VGPU_ASYNC: "random", CARACAL_VGPU_SEED: "7", CARACAL_VGPU_ORDER: "late" },
  { CARACAL_VGPU_ACCUMULATION: "truncating", CARACAL_VGPU_APPROXIMATE: "1" },
];

const args = process.argv.slice(2);
test(args);
if (args.length > 0 || !existsSync(join(root, "build/Release/libcaracal_vgpu.so"))) process.exit();
for (const mode of modes) {
  const set = Object.entries(mode).map(([name, value]) => `${name}=${value}`);
  console.error(`caracal: CUDA kernels with ${set.join(" ")}`);
  test(["test/ops", "test/tensor", "-t", "Virtual GPU|on CUDA alone", "--reporter=dot"], mode);
}
