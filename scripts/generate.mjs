// node scripts/generate.mjs WHAT: what both build tools compile besides the sources that native/sources.gypi lists.
//   cpu | core | kernel-inputs   writes the generated sources and prints the paths of one list; asked when configuring
//   kernels FILE                 compiles the CUDA kernels and writes the C++ source that embeds them
import { buildKernels, kernelInputs } from "./lib/kernels.mjs";
import { generateOperations } from "./lib/operations.mjs";

const [what, file] = process.argv.slice(2);
if (what === "kernels") await buildKernels(file);
else console.log({ ...generateOperations(), "kernel-inputs": kernelInputs() }[what].join("\n"));
