// The same kernels compiled by nvcc with other flags: for debugging, without optimisation, for a linker.
import { expect, test } from "vitest";
import { deviceWith } from "../support/modes.js";
import { compile, hasNvcc } from "../support/nvcc.js";
import { run, testPtxas } from "../support/ptx.js";

const nvcc = test.skipIf(!hasNvcc);
const checked = { CARACAL_VGPU_COMPUTE: "9.0", CARACAL_VGPU_CHECK: "initcheck,racecheck" };

const variants: [flags: string[], arch: string][] = [
  [[], "sm_80"],
  [["-G"], "sm_80"],
  [["-G"], "sm_90a"],
  [["-Xcicc", "-O0"], "sm_80"],
  [["-rdc=true"], "sm_86"],
  [["--maxrregcount=32"], "sm_89"],
  [["-std=c++20"], "sm_90"],
];

/** The longest Collatz sequence among a thread's numbers, and the sum of the last 8 numbers in the array. */
function collatz(thread: number): [longest: number, sum: number] {
  const at = new Array<number>(8).fill(0);
  let longest = 0;
  for (let i = 0; i < 4; i++) {
    let steps = 0;
    for (let n = thread + i + 9; n !== 1; n = n % 2 ? 3 * n + 1 : n / 2) at[steps++ % 8] = n;
    longest = Math.max(longest, steps);
  }
  return [longest, at.reduce((a, b) => a + b)];
}

nvcc.each(variants)("%j for %s", async (flags, arch) => {
  const module = new (await deviceWith(checked)).PtxModule(compile("compilers", flags, arch));
  const counts = new Uint32Array(2 * 128);
  module.run("steps", { grid: 2, block: 64 }, counts);
  expect(counts).toEqual(
    Uint32Array.from({ length: 256 }, (_, i) => {
      const [longest, sum] = collatz(i >> 1);
      return i % 2 ? sum : 32 * longest;
    }),
  );
  const input = Int32Array.from({ length: 256 }, (_, i) => i * i);
  const sums = new Int32Array(512);
  module.run("wide_tiles", { block: 256 }, input, sums);
  const tile = (t: number) => input.slice(128 * t, 128 * t + 128).reduce((a, b) => a + b);
  expect(sums).toEqual(
    Int32Array.from({ length: 512 }, (_, i) => (i < 256 ? tile(i >> 7) : (input[i - 256] as number))),
  );
});

// With --use_fast_math the error is at most 2^-20.5 for sin.approx (PTX ISA), times a root of at most 1.75, plus a few
// ulp. Without it, at most 2 ulp per function (CUDA C++ Programming Guide, "Mathematical Functions") and half an ulp
// per other operation.
nvcc.each([
  { flags: [], bound: 2 ** -20 },
  { flags: ["--use_fast_math"], bound: 2 ** -19 },
])("arithmetic with $flags errs by at most $bound", async ({ flags, bound }) => {
  const approximate = { ...checked, CARACAL_VGPU_APPROXIMATE: "1", CARACAL_VGPU_SEED: "3" };
  const module = new (await deviceWith(approximate)).PtxModule(compile("compilers", flags));
  const x = Float32Array.from({ length: 128 }, (_, i) => (i - 64) / 21);
  const y = new Float32Array(128);
  module.run("logistic", { block: 128 }, x, y);
  const errors = y.map((got, i) => {
    const v = x[i] as number;
    return Math.abs(got - (1 / (1 + Math.exp(-v)) + Math.sin(v) * Math.sqrt(Math.abs(v))));
  });
  expect(Math.max(...errors)).toBeLessThan(bound);
});

nvcc("a function of another module is refused by its name", async () => {
  const { PtxModule } = await deviceWith({});
  expect(() => new PtxModule(compile("compilers", ["-rdc=true", "-DOUTSIDE"]))).toThrow(
    /function outside is not defined in this module/,
  );
});

test("WARP_SZ is allowed wherever a constant is", () => {
  const out = new Uint32Array(4);
  run(
    `mov.u32 %r1, WARP_SZ; add.u32 %r2, %r1, -WARP_SZ; add.u32 %r2, %r2, 7;
     st.global.u32 [%rd2], %r1; st.global.u32 [%rd2+4], %r2;
     mov.u32 %r3, buffer; st.shared.u32 [buffer+WARP_SZ], %r1; ld.shared.u32 %r4, [%r3+32];
     st.global.u32 [%rd2+8], %r4;`,
    { block: 1 },
    new Uint32Array(1),
    out,
    { shared: 64 },
  );
  expect([...out]).toEqual([32, 7, 32, 0]);
});

test("qualifiers of atomics may precede or follow the operation, in PTX order or with the space first", () => {
  const out = new Uint32Array(2);
  run(
    `atom.relaxed.gpu.global.add.u32 %r1, [%rd2], 1; atom.add.relaxed.gpu.global.u32 %r1, [%rd2], 10;
     atom.add.global.relaxed.gpu.u32 %r1, [%rd2], 100; red.add.global.relaxed.gpu.u32 [%rd2], 1000;
     st.global.u32 [%rd2+4], %r1;`,
    { block: 1 },
    new Uint32Array(1),
    out,
  );
  expect([...out]).toEqual([1111, 11]);
});

testPtxas();
