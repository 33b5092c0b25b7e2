// node scripts/generate.mjs: writes the sources that both build tools compile besides those of native/sources.gypi.
//   cpu | cuda   prints the paths of one list, which the build tools ask for when they configure
//   kernels      compiles the CUDA kernels as well, into build/generated/images.cc
import { buildKernels } from "./lib/kernels.mjs";
import { generateOperations } from "./lib/operations.mjs";

const what = process.argv[2];
const sources = generateOperations();
if (what === "kernels") await buildKernels();
else if (what) console.log(sources[what].join("\n"));
