// npm run build [-- [--cuda] [--cmake [CMake options]]]: builds the addon and compiles the TypeScript. The addon has
// CUDA kernels if this machine has a GPU, with --cuda, or if it already had them.
import { buildAddon, buildTypeScript, installDependencies } from "./lib/build.mjs";
import { fail, needTool } from "./lib/steps.mjs";

const args = process.argv.slice(2);
const cuda = args[0] === "--cuda";
if (cuda) args.shift();
const [tool, ...options] = args;
if (tool !== undefined && tool !== "--cmake") fail(`unknown option ${tool}: use --cuda, --cmake [CMake options]`);
if (cuda) {
  needTool("nvcc");
  process.env.CARACAL_CUDA = "on";
}
installDependencies();
buildAddon(tool === "--cmake" ? "cmake" : "node-gyp", options);
buildTypeScript();
