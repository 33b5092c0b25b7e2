// node scripts/generate.mjs WHAT: finds and generates the sources of the addon for both build tools.
//   cpu | core | vgpu | kernel-inputs   writes the generated sources and prints the paths of one list; runs when configuring
//   check                        assembles the kernels for every generation of GPUs: registers, spills
//   kernels FILE                 compiles the CUDA kernels and writes the C++ source that embeds them
import { buildKernels, checkKernels, kernelInputs } from "./lib/kernels.mjs";
import { generateSources } from "./lib/sources.mjs";

const [what, file] = process.argv.slice(2);
if (what === "kernels") await buildKernels(file);
else if (what === "check") await checkKernels();
else console.log({ ...generateSources(), "kernel-inputs": kernelInputs() }[what].join("\n"));
