// Each rule of scripts/lib/binary.mjs is broken by a small shared object.
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, test } from "vitest";

interface Wanted {
  readonly cpu?: string;
  readonly libc?: string;
  readonly glibc?: string;
}
const script = new URL("../../scripts/lib/binary.mjs", import.meta.url);
const {
  compareVersions,
  faultsOf,
}: { compareVersions(a: string, b: string): number; faultsOf(path: string, wanted: Wanted): string[] } = await import(
  script.href
);
const root = fileURLToPath(new URL("../..", import.meta.url)).replace(/\/$/, "");

const folder = mkdtempSync(join(tmpdir(), "caracal-binary-"));
afterAll(() => rmSync(folder, { recursive: true }));

const { arch } = process;
const wanted = { cpu: arch, libc: "glibc", glibc: "9.9" };
const entries = `
  extern "C" __attribute__((visibility("default"))) int node_api_module_get_api_version_v1() { return 9; }
  extern "C" __attribute__((visibility("default"))) void* napi_register_module_v1() { return 0; }`;

/** The faults of a shared object of this source. */
function faults(source: string, options: readonly string[] = ["-s"], asked: Wanted = wanted) {
  const [file, binary] = [join(folder, "source.cc"), join(folder, "binary.so")];
  writeFileSync(file, `${source}\n`);
  const flags = ["-shared", "-fPIC", "-fvisibility=hidden", "-x", "c++", file, "-x", "none", "-o", binary];
  execFileSync(process.env.CXX ?? "c++", [...flags, "-Wl,--as-needed", ...options], { stdio: "pipe" });
  return faultsOf(binary, asked);
}

test("versions are compared by their numbers", () => {
  expect(["2.4", "2.31", "2.29", "2.2.5", "2.31.0", "10"].sort(compareVersions)).toEqual([
    ...["2.2.5", "2.4", "2.29", "2.31", "2.31.0", "10"],
  ]);
  expect(compareVersions("2.31", "2.31.0")).toBe(0);
});

describe.skipIf(process.platform !== "linux")("a binary", () => {
  test("that keeps the rules has no faults", () => expect(faults(entries)).toEqual([]));

  test("for another processor", () => {
    const cpu = arch === "x64" ? "arm64" : "x64";
    expect(faults(entries, ["-s"], { ...wanted, cpu })).toEqual([expect.stringMatching(/^it is for .*, not for /)]);
  });

  test("with a library that not every system has", () => {
    const own = join(folder, "libother.so");
    execFileSync("c++", ["-shared", "-o", own, "-x", "c++", "-"], { input: 'extern "C" int other() { return 1; }' });
    const source = `extern "C" int other(); ${entries} int f() { return other(); } auto* used = &f;`;
    expect(faults(source, ["-s", "-L", folder, "-lother"])).toEqual(["it needs libother.so"]);
  });

  test("with the C++ library", () => {
    const source = `#include <stdexcept>\n${entries} auto f = [](int n) { throw std::runtime_error("x"); return n; }(1);`;
    expect(faults(source)).toEqual(["it needs libstdc++.so.6", "it needs a C++ library"]);
  });

  test("with a C library that is newer than promised, or another one", () => {
    const source = `#include <string.h>\n#include <stdlib.h>\n${entries}
      auto* used = &aligned_alloc;`;
    expect(faults(source, ["-s"], { ...wanted, glibc: "2.1" })).toEqual([
      expect.stringMatching(/^it needs glibc 2\.\d+.*, the package promises 2\.1$/),
    ]);
    expect(faults(source, ["-s"], { cpu: arch, libc: "musl" })).toContain("it needs glibc");
  });

  test("that uses the network", () => {
    const source = `#include <sys/socket.h>\n#include <netdb.h>\n${entries}
      auto* used = &socket; auto* also = &getaddrinfo;`;
    expect(faults(source)).toEqual(["it uses the network: getaddrinfo, socket"]);
  });

  test("that makes buffers of foreign memory, which Electron refuses", () => {
    const source = `extern "C" int napi_create_external_arraybuffer(); extern "C" int napi_create_external();
      ${entries} auto* used = &napi_create_external_arraybuffer; auto* allowed = &napi_create_external;`;
    expect(faults(source)).toEqual(["it makes external buffers: napi_create_external_arraybuffer"]);
  });

  test("that exports more, or less, than the addon's entry", () => {
    const more = `${entries} __attribute__((visibility("default"))) int more = 1;`;
    expect(faults(more)).toEqual(["it exports more, napi_register_module_v1, node_api_module_get_api_version_v1"]);
    expect(faults("int nothing() { return 1; }")).toEqual(["it exports nothing"]);
  });

  test("without an index of exception handlers", () => {
    const [fault] = faults(entries, ["-s", "-Wl,--no-eh-frame-hdr"]);
    expect(fault).toMatch(/^it has no index of exception handlers/);
  });

  test("that is not stripped, or names a path of its build", () => {
    expect(faults(entries, [])).toEqual(["it has a symbol table"]);
    const path = `${entries} extern const char path[]; const char path[] = "${root}/native"; auto* used = path;`;
    expect(faults(path)).toEqual([`it contains the path ${root}`]);
  });
});

test("the addon of the checkout uses no network, and makes no buffers of foreign memory", () => {
  const addon = join(root, "build/Release/caracal.node");
  expect(faultsOf(addon, wanted).filter((fault) => /network|external/.test(fault))).toEqual([]);
});
