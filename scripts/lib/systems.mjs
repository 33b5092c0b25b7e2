// The oldest systems that release flavours run on, as folders for chroot and qemu: the C and C++ libraries of Debian 11 and
// a Node.js, and nothing else. The one for musl has Bun.
import { chmodSync, copyFileSync, existsSync, mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { makeMuslSystem } from "./muslSystem.mjs";
import { command } from "./steps.mjs";
import { architectures, unpackDebian } from "./toolchain.mjs";

/** The oldest versions of Node.js that the library runs on and npm has a package of. */
const nodeVersions = { x64: "20.17.0", arm64: "20.20.2" };

const makers = {
  "linux-x64": (folder) => makeDebian(folder, "x64"),
  "linux-arm64": (folder) => makeDebian(folder, "arm64"),
  "linux-x64-musl": (folder) => makeMuslSystem(join(folder, "x64-musl")),
};

/** Makes the systems of these flavours in a folder, unless they are there. @returns `root` and `node` of each */
export function makeSystems(folder, flavours) {
  const chosen = Object.entries(makers).filter(([name]) => flavours.includes(name));
  return Object.fromEntries(chosen.map(([name, make]) => [name, make(folder)]));
}

function makeDebian(folder, cpu) {
  const at = join(folder, `${cpu}-node-${nodeVersions[cpu]}`);
  const root = join(at, "sysroot");
  const node = join(root, "usr/bin/node");
  if (existsSync(node)) return { root, node };
  rmSync(at, { recursive: true, force: true });
  unpackDebian(at, architectures[cpu].debian, ["libc6", "libgcc-s1", "libstdc++6"]);
  unpackNode(cpu, at, node);
  return { root, node };
}

/** Takes the program from the package of npm that holds it. */
function unpackNode(cpu, at, node) {
  const name = `node-linux-${cpu}`;
  const archive = `${name}-${nodeVersions[cpu]}.tgz`;
  command("npm", ["pack", "--silent", `${name}@${nodeVersions[cpu]}`, "--pack-destination", at]);
  command("tar", ["-xzf", archive, "package/bin/node"], { cwd: at });
  mkdirSync(join(at, "sysroot/usr/bin"), { recursive: true });
  mkdirSync(join(at, "sysroot/tmp"), { recursive: true });
  copyFileSync(join(at, "package/bin/node"), node);
  chmodSync(node, 0o755);
  for (const path of [archive, "package"]) rmSync(join(at, path), { recursive: true });
}
