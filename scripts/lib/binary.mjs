// What a packed addon may need from a system, read from the file itself.
import { readFileSync } from "node:fs";
import { command, root } from "./steps.mjs";

const machines = { x64: "Advanced Micro Devices X86-64", arm64: "AArch64" };
const exported = ["napi_register_module_v1", "node_api_module_get_api_version_v1"];
/** Every system that runs Node.js has these libraries. */
const systemLibraries = {
  glibc: [/^lib(c|m|dl|pthread|gcc_s)\.so\.\d$/, /^ld-linux[-\w]*\.so\.\d$/],
  musl: [/^libc\.so$/, /^libgcc_s\.so\.1$/],
};

/** The addon must not reach for the network. */
const sockets =
  /^(socket(pair)?|connect|bind|listen|accept4?|send(to|m?msg)?|recv(from|m?msg)?|get(addr|name)info|gethostby\w+)$/;
/** Electron refuses buffers whose memory is not JavaScript's. */
const externalBuffers = /^napi_create_external_(array)?buffer$/;

/** Compares versions such as "2.31" and "2.4" by their numbers. */
export function compareVersions(a, b) {
  const [x, y] = [a, b].map((version) => version.split(".").map(Number));
  for (let i = 0; i < Math.max(x.length, y.length); i++)
    if ((x[i] ?? 0) !== (y[i] ?? 0)) return (x[i] ?? 0) - (y[i] ?? 0);
  return 0;
}

/** The machine, the libraries, the newest version of each kind of symbol, the imports and exports of a shared object. */
export function describeBinary(path) {
  const header = command("readelf", ["-hldW", path]);
  const table = command("readelf", ["-W", "--dyn-syms", path]);
  const newest = {};
  for (const [, kind, version] of table.matchAll(/@{1,2}([A-Z]+)_([\d.]+)/g))
    if (!(compareVersions(newest[kind] ?? "0", version) > 0)) newest[kind] = version;
  const symbols = table
    .split("\n")
    .map((line) => line.trim().split(/\s+/))
    .filter(([, , , , bind]) => /^(GLOBAL|WEAK)$/.test(bind))
    .map(([, , , , , , section, name = ""]) => ({ name: name.split("@")[0], isImport: section === "UND" }))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
  const named = (isImport) => symbols.filter((symbol) => symbol.isImport === isImport).map(({ name }) => name);
  return {
    machine: /Machine:\s+(.*)/.exec(header)?.[1],
    libraries: Array.from(header.matchAll(/\(NEEDED\).*\[(.*)\]/g), ([, name]) => name),
    newest,
    imported: named(true),
    exported: named(false),
    canThrow: /\bGNU_EH_FRAME\b/.test(header),
    isStripped: !/\.symtab\b/.test(command("readelf", ["-SW", path])),
  };
}

/**
 * The reasons why a binary must not be released.
 * @param wanted `cpu`, `libc`, and the oldest `glibc` that must do
 */
export function faultsOf(path, { cpu, libc, glibc }) {
  const { machine, libraries, newest, imported, exported: found, canThrow, isStripped } = describeBinary(path);
  const faults = [];
  if (machine !== machines[cpu]) faults.push(`it is for ${machine}, not for ${machines[cpu]}`);
  const foreign = libraries.filter((name) => !systemLibraries[libc].some((known) => known.test(name)));
  if (foreign.length > 0) faults.push(`it needs ${foreign.join(", ")}`);
  if (newest.GLIBCXX ?? newest.CXXABI) faults.push("it needs a C++ library");
  if (glibc && compareVersions(newest.GLIBC ?? "0", glibc) > 0)
    faults.push(`it needs glibc ${newest.GLIBC}, the package promises ${glibc}`);
  if (libc === "musl" && newest.GLIBC) faults.push("it needs glibc");
  const network = imported.filter((name) => sockets.test(name));
  if (network.length > 0) faults.push(`it uses the network: ${network.join(", ")}`);
  const external = imported.filter((name) => externalBuffers.test(name));
  if (external.length > 0) faults.push(`it makes external buffers: ${external.join(", ")}`);
  if (`${found}` !== `${exported}`) faults.push(`it exports ${found.join(", ") || "nothing"}`);
  if (!canThrow) faults.push("it has no index of exception handlers, so its first error would end the process");
  if (!isStripped) faults.push("it has a symbol table");
  if (readFileSync(path).includes(root)) faults.push(`it contains the path ${root}`);
  return faults;
}
