// Builds the addon of a flavour with its toolchain and CMake.

import { rmSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { kernelInputs } from "./kernels.mjs";
import { needTool, root, run } from "./steps.mjs";
import { makeToolchain } from "./toolchain.mjs";

/** Builds a flavour. Flavours for one processor and C library share their objects. @returns the path of the addon */
export function buildRelease({ name, cpu, libc, cuda }) {
  needTool("cmake");
  if (cuda) needTool("nvcc");
  Object.assign(process.env, { CARACAL_CUDA: cuda ? "on" : "off", CARACAL_CUDA_ARCHS: "all" });
  kernelInputs(); // chooses the kernels, which CMake would do only when it configures
  const toolchain = makeToolchain(join(root, "build/pack/toolchains"), cpu, libc);
  const folder = `build/pack/${cpu}-${libc}`;
  // CMake does not see changes of the toolchain, so the addon is linked anew.
  rmSync(join(root, folder, "Release/caracal.node"), { force: true });
  const options = ["-T", "caracal", "-O", folder, "--arch", cpu, `--CDCMAKE_TOOLCHAIN_FILE=${toolchain.cmake}`];
  run(`built the addon of ${name}`, "npx", ["cmake-js", "build", ...options, "-p", `${availableParallelism()}`]);
  return `${folder}/Release/caracal.node`;
}
