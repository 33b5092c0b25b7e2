// npm run build [-- --cmake [CMake options]]: the addon and the TypeScript, nothing else.
import { buildAddon, buildTypeScript, installDependencies } from "./lib/build.mjs";

const [tool, ...options] = process.argv.slice(2);
installDependencies();
buildAddon(tool === "--cmake" ? "cmake" : "node-gyp", options);
buildTypeScript();
