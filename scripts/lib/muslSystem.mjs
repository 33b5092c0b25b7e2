// A system with musl and Bun, as a folder for chroot. Neither Debian nor npm has a Node.js for musl, but npm has Bun, which
// runs the same packages; it needs a C++ library and an unwinder, which are linked here from GCC's archives.
import { copyFileSync, existsSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { command, root } from "./steps.mjs";
import { makeToolchain } from "./toolchain.mjs";

const bun = { name: "@oven/bun-linux-x64-musl", version: "1.4.5", archive: "oven-bun-linux-x64-musl" };
const musl = "/lib/x86_64-linux-musl";

/** Makes the system in a folder, unless it is there. @returns its root, and the program in it */
export function makeMuslSystem(folder) {
  const system = join(folder, "sysroot");
  const program = join(system, "usr/bin/bun");
  if (existsSync(program)) return { root: system, node: program };
  rmSync(folder, { recursive: true, force: true });
  for (const path of ["lib", "usr/bin", "tmp"]) mkdirSync(join(system, path), { recursive: true });
  copyFileSync(`${musl}/libc.so`, join(system, "lib/ld-musl-x86_64.so.1"));
  symlinkSync("ld-musl-x86_64.so.1", join(system, "lib/libc.musl-x86_64.so.1"));
  // Programs tell the C library of a system by this file.
  writeFileSync(join(system, "usr/bin/ldd"), '#!/bin/sh\nexec /lib/ld-musl-x86_64.so.1 --list -- "$@"\n', {
    mode: 0o755,
  });
  linkLibraries(folder, join(system, "lib"));
  command("npm", ["pack", "--silent", `${bun.name}@${bun.version}`, "--pack-destination", folder]);
  command("tar", ["-xzf", `${bun.archive}-${bun.version}.tgz`, "package/bin/bun"], { cwd: folder });
  copyFileSync(join(folder, "package/bin/bun"), program);
  return { root: system, node: program };
}

/** Links libgcc_s.so.1 and libstdc++.so.6 from the archives of the compiler and of the toolchain. */
function linkLibraries(folder, libraries) {
  const toolchain = makeToolchain(join(root, "build/pack/toolchains"), "x64", "musl").folder;
  const compiler = join(toolchain, "bin/cc");
  const run = (program, ...args) => command(program, args, { cwd: folder });
  const archive = (name) => run(compiler, `-print-file-name=${name}`).trim();
  const link = (name, ...inputs) =>
    run(
      compiler,
      ...["-shared", "-nodefaultlibs", `-Wl,-soname,${name}`, "-o", join(libraries, name), ...inputs],
      ...[archive("libgcc.a"), `-L${musl}`, "-lc"],
    );
  // The functions of the archive are hidden: each is renamed, and a jump to it takes its name.
  const names = new Set(
    Array.from(run("nm", "--defined-only", archive("libgcc_eh.a")).matchAll(/ T (\w+)/g), ([, n]) => n),
  );
  const lines = (of) => Array.from(names, of).join("");
  writeFileSync(
    join(folder, "names"),
    lines((name) => `${name} hidden_${name}\n`),
  );
  run("objcopy", "--redefine-syms=names", archive("libgcc_eh.a"), "libgcc_eh.a");
  const jumps = lines((name) => `.globl ${name}\n.type ${name},@function\n${name}: jmp hidden_${name}\n`);
  writeFileSync(join(folder, "jumps.s"), `${jumps}.section .note.GNU-stack,"",@progbits\n`);
  const source = join(root, "test/packages/musl/findObject.c");
  link("libgcc_s.so.1", "-fPIC", "-O2", source, "jumps.s", "libgcc_eh.a");
  const whole = ["-Wl,--whole-archive", join(toolchain, "libstdc++/lib/libstdc++.a"), "-Wl,--no-whole-archive"];
  link("libstdc++.so.6", ...whole, join(libraries, "libgcc_s.so.1"));
}
