// The oldest systems that release flavours run on, as folders for chroot and qemu: the C and C++ libraries of Debian 11 and
// a Node.js, and nothing else. One has musl and Bun.
import { chmodSync, copyFileSync, existsSync, mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { makeMuslSystem } from "./muslSystem.mjs";
import { command } from "./steps.mjs";
import { architectures, unpackDebian } from "./toolchain.mjs";

const nodeVersion = "20.20.2";

/** Makes a system for each processor in a folder, unless it is there. @returns root and Node.js of each */
export function makeSystems(folder) {
  const systems = Object.entries(architectures).map(([cpu, { debian }]) => {
    const root = join(folder, cpu, "sysroot");
    const node = join(root, "usr/bin/node");
    if (existsSync(node)) return [cpu, { root, node }];
    rmSync(join(folder, cpu), { recursive: true, force: true });
    unpackDebian(join(folder, cpu), debian, ["libc6", "libgcc-s1", "libstdc++6"]);
    unpackNode(cpu, join(folder, cpu), node);
    return [cpu, { root, node }];
  });
  return { ...Object.fromEntries(systems), musl: { root: makeMuslSystem(join(folder, "x64-musl")) } };
}

/** Takes the program from the package of npm that holds it. */
function unpackNode(cpu, at, node) {
  const name = `node-linux-${cpu}`;
  command("npm", ["pack", "--silent", `${name}@${nodeVersion}`, "--pack-destination", at]);
  const archive = `${name}-${nodeVersion}.tgz`;
  command("tar", ["-xzf", archive, "package/bin/node"], { cwd: at });
  mkdirSync(join(at, "sysroot/usr/bin"), { recursive: true });
  mkdirSync(join(at, "sysroot/tmp"));
  copyFileSync(join(at, "package/bin/node"), node);
  chmodSync(node, 0o755);
  for (const path of [archive, "package"]) rmSync(join(at, path), { recursive: true });
}
