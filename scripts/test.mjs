// npm test [-- vitest arguments]: builds what changed, the virtual GPU too, then runs every test; without arguments, those
// of CUDA kernels once more in the virtual GPU's other modes, where no kernel may be left out.
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buildAddon, buildTypeScript, buildVirtualGpu, installDependencies } from "./lib/build.mjs";
import { checkKernels, kernelModules } from "./lib/kernels.mjs";
import { fail, needNode, root } from "./lib/steps.mjs";

needNode();
installDependencies();
buildAddon();
buildVirtualGpu();
buildTypeScript();
await checkKernels();

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

/** The names of the CUDA kernels that the addon has, but for those that only measure a machine. */
const kernels = kernelModules()
  .filter(({ name }) => name !== "peaks")
  .flatMap(({ entries }) => entries);

/** Runs the tests of CUDA kernels in a mode, which must launch every one. */
function testKernels(mode) {
  const set = Object.entries(mode).map(([name, value]) => `${name}=${value}`);
  console.error(`caracal: CUDA kernels with ${set.join(" ")}`);
  const folder = mkdtempSync(join(tmpdir(), "caracal-kernels-"));
  const file = join(folder, "launched");
  test(["test/ops", "test/tensor", "-t", "Virtual GPU|on CUDA alone", "--reporter=dot"], {
    ...mode,
    CARACAL_VGPU_CHECK: "", // that was the first run's
    CARACAL_VGPU_KERNELS: file,
  });
  const launched = new Set(readFileSync(file, "utf8").split("\n"));
  rmSync(folder, { recursive: true });
  const missing = kernels.filter((kernel) => !launched.has(kernel));
  if (missing.length > 0) fail(`no test of test/ops launches ${missing.join(", ")} on CUDA: add one that does`);
}

const args = process.argv.slice(2);
test(args);
const virtual = existsSync(join(root, "build/Release/libcaracal_vgpu.so")) && kernels.length > 0;
if (args.length === 0 && virtual) modes.forEach(testKernels);
