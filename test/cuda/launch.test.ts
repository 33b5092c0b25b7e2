// A launch whose arguments do not match the kernel's declaration must not compile, nor must such an entry.
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, test } from "vitest";

const native = fileURLToPath(new URL("../../native", import.meta.url));
const { variables } = JSON.parse(readFileSync(join(native, "flags.gypi"), "utf8"));
const folder = mkdtempSync(join(tmpdir(), "caracal-launch-"));
afterAll(() => rmSync(folder, { recursive: true }));

/** What the compiler says of a source; empty if it compiles. */
function complaints(program: string, args: readonly string[], source: string, name: string): string {
  const file = join(folder, name);
  writeFileSync(file, source);
  const { status, stderr } = spawnSync(program, [...args, "-I", native, file], { encoding: "utf8" });
  return status === 0 ? "" : stderr;
}

describe("on the host", () => {
  const launched = (args: string) =>
    complaints(
      process.env.CXX ?? "c++",
      [...variables.common_cflags, "-fsyntax-only"],
      `#include "cuda/cuda.h"
using namespace caracal;
struct Sizes { long long rows; int columns; };
inline constexpr Kernel<const void*, Sizes, int, float> kKernel{"kernel"};
void run(Cuda& cuda, float* data, int64_t wide, Sizes sizes) {
  cuda.launch(entry_of(kKernel, "variant"), {{1}, 32}, ${args});
}`,
      "launch.cc",
    );

  test("arguments of the declared types compile", () => {
    expect(launched("data, sizes, 1, 2.0f")).toBe("");
    expect(launched("data, Sizes{wide, int(wide)}, int(wide), 2.0f")).toBe("");
  });

  test.each([
    ["an integer that is too wide", "data, sizes, wide, 2.0f", /narrowing/],
    ["a field that is too wide", "data, Sizes{wide, wide}, 1, 2.0f", /narrowing/],
    ["a double for a float", "data, sizes, 1, double(wide)", /narrowing/],
    ["another struct", "data, Grid{}, 1, 2.0f", /declaration in \.kernels\.h/],
    ["a pointer for a number", "data, sizes, data, 2.0f", /declaration in \.kernels\.h|narrowing/],
    ["too few arguments", "data, sizes, 1", /launch/],
  ])("%s does not", (_, args, complaint) => {
    expect(launched(args)).toMatch(complaint);
  });
});

const hasNvcc = spawnSync("nvcc", ["--version"]).status === 0;
describe.skipIf(!hasNvcc)("on the device", () => {
  const defined = (entry: string, parameters: string) =>
    complaints(
      "nvcc",
      ["-ptx", "-std=c++20", "-arch=compute_80", "-o", join(folder, "kernel.ptx")],
      `#include "cuda/kernel.h"
namespace caracal {
struct Sizes { long long rows; int columns; };
inline constexpr Kernel<const void*, Sizes, int> kKernel{"kernel"};
CARACAL_KERNEL(kKernel, ${entry}, , ${parameters}) {}
}`,
      "kernel.cu",
    );

  test("an entry of the declared parameters compiles, whatever its element type", () => {
    expect(defined("kernel_f32", "const float* x, const __grid_constant__ Sizes sizes, int n")).toBe("");
  });

  test.each([
    ["kernel_f32", "const float* x, Sizes sizes, long long n", /not those that the host passes/],
    ["kernel_f32", "float* x, Sizes sizes, int n", /not those that the host passes/],
    ["kernel_f32", "const float* x, Sizes sizes", /not those that the host passes/],
    ["other_f32", "const float* x, Sizes sizes, int n", /is not named after/],
  ])("%s(%s) does not", (entry, parameters, complaint) => {
    expect(defined(entry, parameters)).toMatch(complaint);
  });
});
