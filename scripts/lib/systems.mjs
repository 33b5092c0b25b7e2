// The oldest systems that release flavours run on, as folders for chroot and qemu: the C and C++ libraries of Debian 11 and
// a Node.js, and nothing else. One has musl and Bun.
import { chmodSync, copyFileSync, existsSync, mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { makeMuslSystem } from "./muslSystem.mjs";
import { command } from "./steps.mjs";
import { architectures, unpackDebian } from "./toolchain.mjs";

/** The oldest versions of Node.js that the library runs on and npm has a package of. */
const nodeVersions = { x64: "20.17.0", arm64: "20.20.2" };

/** Makes a system for each processor in a folder, unless it is there. @returns root and Node.js of each */
export function makeSystems(folder) {
  const systems = Object.entries(architectures).map(([cpu, { debian }]) => {
    const at = join(folder, `${cpu}-node-${nodeVersions[cpu]}`);
    const root = join(at, "sysroot");
    const node = join(root, "usr/bin/node");
    if (existsSync(node)) return [cpu, { root, node }];
    rmSync(at, { recursive: true, force: true });
    unpackDebian(at, debian, ["libc6", "libgcc-s1", "libstdc++6"]);
    unpackNode(cpu, at, node);
    return [cpu, { root, node }];
  });
  return { ...Object.fromEntries(systems), musl: { root: makeMuslSystem(join(folder, "x64-musl")) } };
}

/** Takes the program from the package of npm that holds it. */
function unpackNode(cpu, at, node) {
  const name = `node-linux-${cpu}`;
  command("npm", ["pack", "--silent", `${name}@${nodeVersions[cpu]}`, "--pack-destination", at]);
  const archive = `${name}-${nodeVersions[cpu]}.tgz`;
  command("tar", ["-xzf", archive, "package/bin/node"], { cwd: at });
  mkdirSync(join(at, "sysroot/usr/bin"), { recursive: true });
  mkdirSync(join(at, "sysroot/tmp"));
  copyFileSync(join(at, "package/bin/node"), node);
  chmodSync(node, 0o755);
  for (const path of [archive, "package"]) rmSync(join(at, path), { recursive: true });
}
