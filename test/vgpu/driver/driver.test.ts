// Host programs for the driver API, each test in its own process, and a comparison of the API's declarations with
// cuda.h.
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";

const path = (relative: string) => fileURLToPath(new URL(relative, import.meta.url));
const sources = path("../../../native/vgpu");
const library = process.env.CARACAL_VGPU_LIBRARY ?? path("../../../build/Release/libcaracal_vgpu.so");
const folder = mkdtempSync(join(tmpdir(), "vgpu-driver-"));
const native = path("../../../native");
const flags = [
  "-std=c++20",
  "-Wall",
  "-Wextra",
  "-Wno-missing-field-initializers",
  "-Werror",
  `-I${native}`,
  `-I${sources}`,
];

for (const program of ["basics", "modules", "memory", "streams", "faults"])
  describe(program, () => {
    const built = join(folder, program);
    execFileSync("g++", [
      ...flags,
      path(`${program}.cc`),
      library,
      `-Wl,-rpath,${join(library, "..")}`,
      "-lpthread",
      "-o",
      built,
    ]);
    for (const name of execFileSync(built, { encoding: "utf8" }).trim().split("\n"))
      it(name.replaceAll("_", " "), () => {
        const { status, signal, stdout, stderr } = spawnSync(
          "bash",
          ["-c", `ulimit -v 40000000; exec ${built} ${name}`],
          {
            encoding: "utf8",
            timeout: 50_000,
          },
        );
        expect({ status, signal, stdout }, stderr).toEqual({ status: 0, signal: null, stdout: "" });
      });
  });

const headers = ["/usr/local/cuda-13.0/include", "/usr/local/cuda/include"].find((d) => existsSync(join(d, "cuda.h")));
describe.skipIf(!headers)(`declarations against cuda.h${headers ? "" : " (skipped: no CUDA toolkit)"}`, () => {
  it("values and layouts are the same", () => {
    const text = readFileSync(join(native, "cuda/cuda_api.h"), "utf8");
    const values = [...text.matchAll(/\b(CU(?:DA)?_[A-Z0-9_a-z]+) = \d+/g)].map((m) => m[1]!);
    expect(values.length).toBeGreaterThan(300);
    const structs = [
      ...text.matchAll(/^typedef (?:struct|union) \w+ \{\n([\s\S]*?)^\} (\w+);/gm),
      ...text.matchAll(/^typedef (?:struct|union) \w+ \{ (.*) \} (\w+);$/gm),
    ];
    expect(structs.length).toBeGreaterThan(15);
    const lines = values.map((v) => `static_assert(static_cast<int>(ours::${v}) == static_cast<int>(::${v}));`);
    for (const [, body, name] of structs) {
      lines.push(
        `static_assert(sizeof(ours::${name}) == sizeof(::${name}) && alignof(ours::${name}) == alignof(::${name}));`,
      );
      const flat = body!.replace(/(struct|union) \{[^}]*\}/g, "x");
      for (const declaration of flat.split(";"))
        for (const part of declaration.split(",")) {
          const member = /(\w+)(\[\w+\])*\s*$/.exec(part.trim())?.[1];
          if (member)
            lines.push(`static_assert(offsetof(ours::${name}, ${member}) == offsetof(::${name}, ${member}));`);
        }
    }
    const file = join(folder, "layouts.cc");
    // Omits the functions: C functions are the same in every namespace.
    const types = text.slice(text.indexOf("#include <stddef.h>"), text.indexOf("#endif"));
    writeFileSync(
      file,
      `#include <cstddef>\n#include <cstdint>\nnamespace ours {\n${types}\n}\n` +
        `#undef CUDA_VERSION\n#undef CU_STREAM_LEGACY\n#undef CU_STREAM_PER_THREAD\n#include <cuda.h>\n${lines.join("\n")}\n`,
    );
    execFileSync("g++", ["-std=c++20", "-fsyntax-only", "-w", `-I${headers}`, file]);
  });

  it("every function has the same declaration", () => {
    const file = join(folder, "functions.cc");
    writeFileSync(file, '#include "cuda/cuda_api.h"\n');
    execFileSync("g++", [
      "-std=c++20",
      "-fsyntax-only",
      "-w",
      "-DCARACAL_REAL_CUDA_H",
      `-I${native}`,
      `-I${headers}`,
      file,
    ]);
  });
});
