// npm run build [-- --cmake [CMake options]]: builds the addon and compiles the TypeScript.
import { buildAddon, buildTypeScript, installDependencies } from "./lib/build.mjs";

const [tool, ...options] = process.argv.slice(2);
installDependencies();
buildAddon(tool === "--cmake" ? "cmake" : "node-gyp", options);
buildTypeScript();
