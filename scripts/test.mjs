// npm test [-- vitest arguments]: builds what changed, the virtual GPU too, then runs every test.
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { buildAddon, buildTypeScript, buildVirtualGpu, installDependencies } from "./lib/build.mjs";
import { needNode, root } from "./lib/steps.mjs";

needNode();
installDependencies();
await buildAddon();
buildVirtualGpu();
buildTypeScript();
const vitest = join(root, "node_modules/vitest/vitest.mjs");
const result = spawnSync(process.execPath, [vitest, "run", ...process.argv.slice(2)], { cwd: root, stdio: "inherit" });
process.exit(result.status ?? 1);
