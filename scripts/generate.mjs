// node scripts/generate.mjs WHAT: what both build tools compile besides the sources that native/sources.gypi lists.
//   cpu | core | kernel-inputs   writes the generated sources and prints the paths of one list; asked when configuring
//   kernels                      compiles the CUDA kernels and embeds them in build/generated/images.cc
import { buildKernels, kernelInputs } from "./lib/kernels.mjs";
import { generateOperations } from "./lib/operations.mjs";

const what = process.argv[2];
if (what === "kernels") await buildKernels();
else console.log({ ...generateOperations(), "kernel-inputs": kernelInputs() }[what].join("\n"));
