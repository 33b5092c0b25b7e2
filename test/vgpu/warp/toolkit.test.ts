// Programs built on the toolkit's own headers, which have run on hardware for years. They verify the semantics that
// this code expects of each instruction.
import { expect, test } from "vitest";
import { PtxModule, printed } from "../support/device.js";
import { deviceWith } from "../support/modes.js";
import { compile, hasNvcc } from "../support/nvcc.js";
import { numbers } from "../support/ptx.js";

const modules = new Map<string, PtxModule>();
function load(name: string): PtxModule {
  const module = modules.get(name) ?? new PtxModule(compile(name));
  modules.set(name, module);
  return module;
}
const nvcc = test.skipIf(!hasNvcc);
const some = (n: number, seed: number, f: (x: number) => number) => {
  const next = numbers(seed);
  return Array.from({ length: n }, () => f(next()));
};

// --- CUB --------------------------------------------------------------------------------------------------------------

nvcc("cub: block reduce, scan", () => {
  const input = Int32Array.from(some(1024, 1, (x) => (x % 2001) - 1000));
  const sum = new Int32Array(1);
  load("cub").run("reduce", { block: 256 }, input, sum);
  expect(sum[0]).toBe(input.reduce((a, b) => a + b));
  const scanned = new Int32Array(1024);
  load("cub").run("scan", { block: 256 }, input, scanned);
  expect(scanned).toEqual(input.map((_, i) => input.slice(0, i).reduce((a, b) => a + b, 0)));
});

nvcc("cub: block radix sort", () => {
  const keys = Uint32Array.from(some(1024, 2, (x) => (x % 3 ? x : x % 100)));
  // a stable sort
  const order = Array.from(keys.keys()).sort((a, b) => (keys[a] as number) - (keys[b] as number) || a - b);
  const values = Int32Array.from(keys.keys());
  const sorted = Uint32Array.from(order, (i) => keys[i] as number);
  load("cub").run("sort", { block: 256 }, keys, values);
  expect(keys).toEqual(sorted);
  expect(values).toEqual(Int32Array.from(order));
});

nvcc("cub: histogram, warp scan, run-length decoding", () => {
  const bytes = Uint8Array.from(some(1024, 3, (x) => x % 50));
  const bins = new Uint32Array(256);
  load("cub").run("histogram", { block: 256 }, bytes, bins);
  expect(bins).toEqual(Uint32Array.from({ length: 256 }, (_, v) => bytes.filter((b) => b === v).length));

  const floats = Float32Array.from(some(256, 4, (x) => x % 1024));
  const scanned = new Float32Array(256);
  load("cub").run("warp_scan", { block: 256 }, floats, scanned);
  expect(scanned).toEqual(floats.map((_, i) => floats.slice(i - (i % 32), i + 1).reduce((a, b) => a + b, 0)));

  const runs = Array.from({ length: 256 }, (_, r) => Array<number>(1 + (r % 4)).fill(r)).flat();
  const decoded = new Int32Array(runs.length);
  const total = new Int32Array(1);
  load("cub").run("run_length", { block: 256 }, decoded, total);
  expect(total[0]).toBe(runs.length);
  expect(decoded).toEqual(Int32Array.from(runs));
});

// --- mma.h ------------------------------------------------------------------------------------------------------------

/** The bits of small numbers that every floating-point format represents. */
const halfBits = (x: number, exponentBits: number, fractionBits: number) => {
  if (x === 0) return 0;
  const e = Math.floor(Math.log2(Math.abs(x)));
  const fraction = (Math.abs(x) / 2 ** e - 1) * 2 ** fractionBits;
  return (Number(x < 0) << 15) | ((e + 2 ** (exponentBits - 1) - 1) << fractionBits) | fraction;
};
const asF16 = (v: number[]) => Uint16Array.from(v, (x) => halfBits(x, 5, 10));
const asBf16 = (v: number[]) => Uint16Array.from(v, (x) => halfBits(x, 8, 7));

type Numbers = (
  v: number[],
) =>
  | Uint8Array<ArrayBuffer>
  | Int8Array<ArrayBuffer>
  | Uint16Array<ArrayBuffer>
  | Int32Array<ArrayBuffer>
  | Float32Array<ArrayBuffer>
  | Float64Array<ArrayBuffer>;
const wmmaTypes: Record<string, { in: Numbers; out: Numbers; small: (x: number) => number }> = {
  f16_f32: { in: asF16, out: (v) => Float32Array.from(v), small: (x) => ((x % 17) - 8) / 8 },
  f16_f16: { in: asF16, out: asF16, small: (x) => (x % 5) - 2 },
  bf16_f32: { in: asBf16, out: (v) => Float32Array.from(v), small: (x) => ((x % 17) - 8) / 8 },
  s8_s32: { in: (v) => Int8Array.from(v), out: (v) => Int32Array.from(v), small: (x) => (x % 256) - 128 },
  u8_s32: { in: (v) => Uint8Array.from(v), out: (v) => Int32Array.from(v), small: (x) => x % 256 },
  tf32_f32: { in: (v) => Float32Array.from(v), out: (v) => Float32Array.from(v), small: (x) => ((x % 17) - 8) / 8 },
  f64_f64: { in: (v) => Float64Array.from(v), out: (v) => Float64Array.from(v), small: (x) => x % 1000 },
};

nvcc.each(
  Object.keys(wmmaTypes).flatMap((type) =>
    (type === "tf32_f32"
      ? [[16, 16, 8]]
      : type === "f64_f64"
        ? [[8, 8, 4]]
        : [
            [16, 16, 16],
            [32, 8, 16],
            [8, 32, 16],
          ]
    ).map((shape) => ({ type, shape })),
  ),
)("wmma $type $shape", ({ type, shape }) => {
  const [m, n, k] = shape as [number, number, number];
  const of = wmmaTypes[type] as (typeof wmmaTypes)[string];
  const A = some(m * k, 5, of.small);
  const B = some(n * k, 6, of.small);
  const C = some(m * n, 7, of.small);
  const D = C.map((c, at) => {
    let sum = c;
    for (let x = 0; x < k; x++) sum += (A[Math.floor(at / n) * k + x] as number) * (B[(at % n) * k + x] as number);
    return 2 * sum;
  });
  const out = of.out(D.map(() => 0));
  load("wmma").run(`${type}_${m}_${n}_${k}`, { block: 32 }, of.in(A), of.in(B), of.out(C), out);
  expect(out).toEqual(of.out(D));
});

nvcc("wmma: the other layouts, through shared memory", () => {
  const A = some(256, 8, (x) => ((x % 17) - 8) / 8);
  const B = some(256, 9, (x) => ((x % 17) - 8) / 8);
  const out = new Float32Array(256);
  load("wmma").run("layouts", { block: 32 }, asF16(A), asF16(B), out);
  expect(out).toEqual(
    Float32Array.from({ length: 256 }, (_, at) => {
      let sum = 0;
      for (let x = 0; x < 16; x++) sum += (A[(at >> 4) * 16 + x] as number) * (B[x * 16 + (at & 15)] as number);
      return sum;
    }),
  );
});

// --- cooperative groups, cuda::barrier, cuda::pipeline ----------------------------------------------------------------

nvcc("cooperative groups: tiles and coalesced threads", () => {
  const block = 96;
  const input = Int32Array.from(some(block, 10, (x) => x % 1000));
  const out = new Int32Array(block * 6);
  load("synchronization").run("tiles", { block }, input, out);
  const tile = (t: number, size: number) => Array.from(input.slice(t - (t % size), t - (t % size) + size));
  for (let t = 0; t < block; t++) {
    const counted = Array.from({ length: 32 }, (_, l) => t - (t % 32) + l).filter((x) => x % 3 !== 0);
    const expected = [
      tile(t, 4).reduce((a, b) => a + b),
      Math.max(...tile(t, 8)),
      tile(t, 16).reduce((a, b) => a ^ b),
      tile(t, 32)
        .slice(0, (t % 32) + 1)
        .reduce((a, b) => a + b),
      t % 3 ? counted.length : 0,
      t % 3 ? (input[counted[0] as number] as number) : 0,
    ];
    expect(Array.from(out.slice(6 * t, 6 * t + 6)), `thread ${t}`).toEqual(expected);
  }
});

nvcc("cuda::barrier", () => {
  const out = new Int32Array(128);
  load("synchronization").run("barriers", { block: 128 }, out);
  expect(out).toEqual(Int32Array.from({ length: 128 }, (_, t) => ((t + 5) % 128) + 5));
});

const whenCopiesComplete: Record<string, string>[] = [
  {},
  { CARACAL_VGPU_ASYNC: "early" },
  { CARACAL_VGPU_ASYNC: "random", CARACAL_VGPU_SEED: "1" },
  { CARACAL_VGPU_ASYNC: "random", CARACAL_VGPU_SEED: "2" },
];

nvcc.each(whenCopiesComplete)("cuda::pipeline %o", async (mode) => {
  const device = await deviceWith(mode);
  const module = new device.PtxModule(compile("synchronization"));
  const stages = 7;
  const input = Int32Array.from(some(128 * stages, 11, (x) => x % 100000));
  const out = new Int32Array(128);
  module.run("pipelined", { block: 128 }, input, out, { u32: stages });
  expect(out).toEqual(
    Int32Array.from({ length: 128 }, (_, t) => {
      let sum = 0;
      for (let s = 0; s < stages; s++) sum += input[s * 128 + ((t + 1) % 128)] as number;
      return sum;
    }),
  );
  const vectors = Int32Array.from(some(256, 12, (x) => x | 0));
  const reversed = new Int32Array(256);
  module.run("own_pipeline", { block: 64 }, vectors, reversed);
  expect(reversed).toEqual(vectors.map((_, i) => vectors[i ^ 3] as number));
});

// --- kernels of this project
// ------------------------------------------------------------------------------------------

nvcc("router: softmax, the 8 largest, counts", () => {
  const tokens = 203;
  const logits = Float32Array.from(some(tokens * 128, 13, (x) => (x / 2 ** 32) * 12 - 6));
  const weights = new Float32Array(tokens * 8);
  const ids = new Int32Array(tokens * 8);
  const counts = new Uint32Array(128);
  load("router").run("router", { grid: Math.ceil(tokens / 4), block: 128 }, logits, weights, ids, counts, {
    u32: tokens,
  });
  const expectedCounts = new Uint32Array(128);
  for (let t = 0; t < tokens; t++) {
    const row = Array.from(logits.slice(t * 128, t * 128 + 128));
    const top = row
      .map((_, i) => i)
      .sort((a, b) => (row[b] as number) - (row[a] as number) || a - b)
      .slice(0, 8);
    expect(Array.from(ids.slice(8 * t, 8 * t + 8))).toEqual(top);
    const sum = row.reduce((s, x) => s + Math.exp(x), 0);
    for (const [j, id] of top.entries()) {
      expectedCounts[id] = (expectedCounts[id] as number) + 1;
      const weight = Math.exp(row[id] as number) / sum;
      expect(Math.abs((weights[8 * t + j] as number) - weight)).toBeLessThan(2e-6 * weight);
    }
  }
  expect(counts).toEqual(expectedCounts);
});

nvcc("divergent control flow", () => {
  const n = 1000;
  const input = Uint32Array.from(some(n, 14, (x) => x));
  const out = new Uint32Array(n);
  load("router").run("diverge", { grid: Math.ceil(n / 128), block: 128 }, input, out, { u32: n });
  const popcount = (v: number) => v.toString(2).replaceAll("0", "").length;
  const one = (x: number): number => {
    let sum = 0;
    for (let i = 0; i < x % 37; i++) {
      if (((x >>> (i % 32)) & 3) === 3) continue;
      const which = ((x + i) % 2 ** 32) % 6;
      if (which <= 1) sum = ((which === 0 ? sum + 1 : sum) ^ Math.imul(i, 2654435761)) >>> 0;
      else if (which === 2 && sum & 1) return (sum ^ x) >>> 0;
      else if (which <= 3) sum = (Math.imul(sum, 5) + x) >>> 0;
      else if (which === 4) for (let j = 0; j < ((x ^ i) >>> 0) % 5; j++) sum = (sum + (j ^ popcount(x))) >>> 0;
      else sum = ((sum << 3) | (sum >>> 29)) >>> 0;
      if (i > 30 && sum % 7 === 0) break;
    }
    return ((sum + 17) ^ x) >>> 0;
  };
  expect(out).toEqual(input.map(one));
});

// --- the language
// -----------------------------------------------------------------------------------------------------

nvcc("recursion of noinline functions", () => {
  const ackermann = (m: number, n: number): number =>
    m === 0 ? n + 1 : n === 0 ? ackermann(m - 1, 1) : ackermann(m - 1, ackermann(m, n - 1));
  const out = new Uint32Array(64);
  load("language").run("recursion", { block: 64 }, out);
  expect(out).toEqual(Uint32Array.from({ length: 64 }, (_, t) => ackermann(t % 3, Math.floor(t / 3) % 5)));
});

nvcc("printf", () => {
  printed();
  load("language").run("prints", { block: 40 }, { u32: 3 });
  expect(printed()).toBe(
    [0, 1, 2].map((t) => `thread ${t} of 40: ${(t / 4).toFixed(2).padStart(5)} text fedcba9876543210\n`).join(""),
  );
});

const range = (from: number, to: number) => some(1024, 15, (x) => from + (x / 2 ** 32) * (to - from));
const exponents = some(1024, 16, (x) => 2 ** ((x % 240) - 120) * (1 + x / 2 ** 32));
// The inputs, the function, and the error bound of the CUDA C++ guide in units in the last place.
const single: [string, number[], (x: number) => number, number][] = [
  ["expf", range(-87, 88), Math.exp, 1],
  ["exp2f", range(-125, 127), (x) => 2 ** x, 2],
  ["expm1f", range(-10, 80), Math.expm1, 1],
  ["logf", exponents, Math.log, 1],
  ["log2f", exponents, Math.log2, 1],
  ["log10f", exponents, Math.log10, 2],
  ["log1pf", exponents, Math.log1p, 1],
  ["sinf", range(-1000, 1000), Math.sin, 2],
  ["cosf", range(-1e6, 1e6), Math.cos, 2],
  ["tanf", range(-100, 100), Math.tan, 4],
  ["asinf", range(-1, 1), Math.asin, 2],
  ["acosf", range(-1, 1), Math.acos, 2],
  ["atanf", range(-50, 50), Math.atan, 2],
  ["sinhf", range(-80, 80), Math.sinh, 3],
  ["coshf", range(-80, 80), Math.cosh, 2],
  ["tanhf", range(-9, 9), Math.tanh, 2],
  ["sqrtf", exponents, Math.sqrt, 0],
  ["rsqrtf", exponents, (x) => 1 / Math.sqrt(x), 2],
  ["cbrtf", exponents, Math.cbrt, 1],
  ["floorf", range(-1e4, 1e4), Math.floor, 0],
  ["ceilf", range(-1e4, 1e4), Math.ceil, 0],
  ["truncf", range(-1e4, 1e4), Math.trunc, 0],
];
const double: [string, number[], (x: number) => number, number][] = [
  ["exp", range(-700, 700), Math.exp, 1],
  ["log", exponents, Math.log, 1],
  ["sin", range(-1000, 1000), Math.sin, 2],
  ["cos", range(-1000, 1000), Math.cos, 2],
  ["tan", range(-100, 100), Math.tan, 2],
  ["atan", range(-50, 50), Math.atan, 2],
  ["tanh", range(-9, 9), Math.tanh, 2],
  ["sqrt", exponents, Math.sqrt, 0],
  ["cbrt", exponents, Math.cbrt, 1],
  ["log1p", exponents, Math.log1p, 1],
  ["expm1", range(-10, 80), Math.expm1, 1],
];

/** The distance between a number and the next one, for a significand of `bits` bits. */
const unit = (x: number, bits: number, minExponent: number) =>
  2 ** Math.max(Math.floor(Math.log2(Math.abs(x) || 2 ** minExponent)) - bits + 1, minExponent);

nvcc.each(single)("libdevice %s", (name, list, f, ulps) => {
  const x = Float32Array.from(list);
  const y = new Float32Array(x.length);
  load("language").run(`f_${name}`, { grid: x.length / 128, block: 128 }, x, y);
  for (const [i, v] of x.entries()) {
    const exact = f(v);
    expect(Math.abs((y[i] as number) - exact), `${name}(${v}) = ${y[i]}`).toBeLessThanOrEqual(
      (ulps + 0.5001) * unit(exact, 24, -149),
    );
  }
});

nvcc.each(double)("libdevice %s on doubles", (name, list, f, ulps) => {
  const x = Float64Array.from(list);
  const y = new Float64Array(x.length);
  load("language").run(`d_${name}`, { grid: x.length / 128, block: 128 }, x, y);
  // The functions of Math are not correctly rounded either, so one more ulp is allowed.
  for (const [i, v] of x.entries())
    expect(Math.abs((y[i] as number) - f(v)), `${name}(${v}) = ${y[i]}`).toBeLessThanOrEqual(
      (ulps + 1) * unit(f(v), 53, -1074),
    );
});
