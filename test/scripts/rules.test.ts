// Each rule of scripts/lib/rules.mjs is broken by a small tree of sources.
import { describe, expect, test } from "vitest";

const script = new URL("../../scripts/lib/rules.mjs", import.meta.url);
const { brokenRules }: { brokenRules(sources: Map<string, string>): string[] } = await import(script.href);

/** The rules that a tree of sources breaks. */
const broken = (sources: Record<string, string>) => brokenRules(new Map(Object.entries(sources)));

describe("TypeScript", () => {
  test("files import only from lower layers", () => {
    const ops = { "lib/ops/moe.ts": "export const a = 1;\n" };
    expect(broken({ ...ops, "lib/model/language/llm.ts": 'import { a } from "../../ops/moe.js";\n' })).toEqual([]);
    expect(broken({ "lib/ops/moe.ts": 'import type { Llm } from "../model/language/llm.js";\n' })).toEqual([
      "lib/ops/moe.ts imports lib/model/language/llm.ts, but lib/ops is not above lib/model/language",
    ]);
  });

  test("rooms of one layer do not import each other, even dynamically", () => {
    expect(broken({ "lib/model/vision/plan.ts": 'import { a } from "../audio/encoder.js";\n' })).toHaveLength(1);
    expect(broken({ "lib/cli/run.ts": 'const b = await import("../../bench/command.js");\n' })).toHaveLength(1);
    expect(broken({ "lib/cli/main.ts": 'const b = await import("../../bench/command.js");\n' })).toEqual([]);
  });

  test("the web page and the library do not import each other", () => {
    expect(broken({ "page/main.ts": 'import { a } from "./camera.js";\n' })).toEqual([]);
    expect(broken({ "page/main.ts": 'import { a } from "../lib/errors.js";\n' })).toEqual([
      expect.stringContaining("page/main.ts imports lib/errors.ts, but page runs in browsers"),
    ]);
    expect(broken({ "lib/cli/main.ts": 'import { a } from "../../page/camera.js";\n' })).toHaveLength(1);
  });

  test("a cycle is found, even if it only imports types", () => {
    const cycle = broken({
      "lib/ops/a.ts": 'import type { B } from "./b.js";\n',
      "lib/ops/b.ts": 'import { c } from "./c.js";\n',
      "lib/ops/c.ts": 'export * from "./a.js";\n',
      "lib/ops/d.ts": 'import { a } from "./a.js";\n',
    });
    expect(cycle).toEqual(["lib/ops/a.ts, lib/ops/b.ts, lib/ops/c.ts import each other in a cycle"]);
  });

  test("the length of files and functions is limited", () => {
    const long = (lines: number) => `export function f() {\n${"  g();\n".repeat(lines - 2)}}\n`;
    expect(broken({ "lib/ops/a.ts": long(60) })).toEqual([]);
    expect(broken({ "lib/ops/a.ts": long(61) })).toEqual([expect.stringContaining("a function of 61 lines")]);
    expect(broken({ "scripts/a.mjs": "\n".repeat(400) })).toEqual([]);
    expect(broken({ "scripts/a.mjs": "\n".repeat(401) })).toEqual([expect.stringContaining("401 lines")]);
  });
});

test("a regular expression that matches any string is found in tests", () => {
  const matching = (message: string) => ({
    "test/a.test.ts": `expect(e).toMatchObject({ code, message: ${message} });\n`,
  });
  expect(broken(matching("/full/"))).toEqual([expect.stringMatching(/^test\/a\.test\.ts:1: toMatchObject takes any/)]);
  expect(broken(matching("expect.stringMatching(/full/)"))).toEqual([]);
});

describe("C++ and CUDA", () => {
  const header = "#pragma once\n";
  test("backends do not include operations, and contracts do not include backends", () => {
    const router = { "native/ops/moe/router.h": header };
    expect(broken({ ...router, "native/cuda/cuda.h": '#include "ops/moe/router.h"\n' })).toHaveLength(1);
    expect(broken({ ...router, "native/engine/submit.h": '#include "ops/moe/router.h"\n' })).toHaveLength(1);
    const cpu = { "native/cpu/gemm.h": header };
    expect(broken({ ...cpu, "native/ops/moe/router.h": '#include "cpu/gemm.h"\n' })).toHaveLength(1);
    expect(broken({ ...cpu, "native/ops/moe/router.cpu.cc": '#include "cpu/gemm.h"\n' })).toEqual([]);
  });

  test("host and device, CPU and CUDA include only their own headers", () => {
    const sides = {
      "native/ops/moe/router.cpu.h": header,
      "native/ops/moe/router.cuda.h": header,
      "native/ops/moe/router.kernels.h": header,
      "native/ops/moe/router.cuh": header,
    };
    const includes = (from: string, what: string) =>
      broken({ ...sides, [`native/ops/moe/${from}`]: `#include "ops/moe/${what}"\n` }).length;
    expect(includes("router.cu", "router.kernels.h")).toBe(0);
    expect(includes("router.cu", "router.cuh")).toBe(0);
    expect(includes("router.cuda.cc", "router.kernels.h")).toBe(0);
    expect(includes("router.cuda.cc", "router.cuda.h")).toBe(0);
    expect(includes("router.cpu.cc", "router.kernels.h")).toBe(1);
    expect(includes("router.cuda.cc", "router.cuh")).toBe(1);
    expect(includes("router.cu", "router.cuda.h")).toBe(1);
    expect(includes("router.h", "router.kernels.h")).toBe(1);
  });

  test("native/ops contains only folders, and every included file exists", () => {
    expect(broken({ "native/ops/list.h": header })).toEqual([expect.stringContaining("loose")]);
    expect(broken({ "native/core/op.h": '#include "core/missing.h"\n' })).toHaveLength(1);
  });

  test("kernels are declared, and inline assembly is wrapped", () => {
    const kernel = 'extern "C" __global__ void k() {}\n';
    expect(broken({ "native/ops/moe/router.cu": kernel })).toEqual([expect.stringContaining("CARACAL_KERNEL")]);
    expect(broken({ "native/ops/moe/router.cu": 'void f() { asm("nop;"); }\n' })).toHaveLength(1);
    expect(broken({ "native/cuda/ptx/nop.cuh": 'void f() { asm("nop;"); }\n' })).toEqual([]);
  });

  test("the length of functions is limited", () => {
    const long = (lines: number) => `void f(int n) {\n${"  g();\n".repeat(lines - 2)}}\n`;
    expect(broken({ "native/core/a.cc": long(60) })).toEqual([]);
    expect(broken({ "native/core/a.cc": long(61) })).toHaveLength(1);
  });
});
