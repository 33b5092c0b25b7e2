// printf, assert, malloc and free in kernels, as defined in the CUDA C++ Programming Guide and for C's printf.
import { describe, expect, test } from "vitest";
import { PtxModule, printed } from "../support/device.js";
import { compile, hasNvcc } from "../support/nvcc.js";

let loaded: PtxModule | undefined;
function load(): PtxModule {
  loaded ??= new PtxModule(compile("system_calls"));
  return loaded;
}

describe.skipIf(!hasNvcc)("system calls", () => {
  test("printf: conversions, and the number of arguments", () => {
    const returned = new Int32Array(4);
    printed();
    load().run("formats", { block: 32 }, returned);
    expect(printed().split("\n")).toEqual([
      "-42|   42|42   |00042|+42|ff|0XFF|10|4000000000|A|%|text|abc|",
      "-5000000000 18446744073709551615 abcdef012 -3 77    9",
      "x1.500000 1.23e+04 0.0001    -2.2500 6",
      "none",
      "",
    ]);
    // A width given as an argument counts too, as the guide says.
    expect([returned[0], returned[2], returned[3]]).toEqual([12, 6, 0]);
  });

  test("assert: the report names expression, location and thread", () => {
    expect(() => load().run("asserts", { block: 32 }, { u32: 14 })).toThrow(
      /CUresult 710: .*system_calls\.cu:\d+: .*asserts.*: assertion `threadIdx\.x != thread' failed[\s\S]*thread \(14,0,0\)/,
    );
    expect(() => load().run("asserts", { block: 32 }, { u32: 15 })).not.toThrow();
  });

  test("malloc: aligned memory per thread, or null if there is not enough", () => {
    const out = new Uint32Array(64);
    load().run("allocates", { block: 64 }, out);
    const sum = (t: number) => 100 * t * (t + 1) + (t * (t + 1)) / 2;
    expect(out).toEqual(out.map((_, t) => (t % 2 ? sum(t) : 0)));
    const none = new Uint32Array(32);
    load().run("too_much", { block: 32 }, none);
    expect(none).toEqual(new Uint32Array(32).fill(1));
  });

  test.each([
    ["a write past its end", 0, /memcheck: global write of 1 byte.*malloc in a kernel/],
    ["a read after free", 1, /memcheck: global read of 1 byte/],
    ["free twice", 2, /memcheck: free of memory that was not allocated/],
    ["free of a pointer that malloc did not return", 3, /memcheck: free of memory that was not allocated/],
  ])("memory misused: %s", (_, how, report) => {
    const run = () => load().run("misused", { block: 32 }, new Uint32Array(2), { u32: how });
    expect(run).toThrow(report);
    expect(run).toThrow(/thread \(6,0,0\)/);
  });
});
