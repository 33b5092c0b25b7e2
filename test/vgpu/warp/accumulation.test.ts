// The ISA leaves open how a tensor core accumulates. These are the models that a program must cope with.
import { expect, test } from "vitest";
import { add, bf16, decode, e4m3, e5m2, encode, type Format, f16, f32, mul, tf32 } from "../opcodes/reference.js";
import { deviceWith } from "../support/modes.js";
import { kernel, lanes, numbers } from "../support/ptx.js";

type Device = Awaited<ReturnType<typeof deviceWith>>;

// Each element is 2^24 + 15 * 1.5, where single precision represents only even numbers.
test.each([
  ["chain", "8.0", 2 ** 24 + 15 * 2], // every 1.5 rounds up to 2
  ["exact", "8.0", 2 ** 24 + 22], // 22.5, rounded once
  // The unit is 1, so each 1.5 is truncated to 1. The first 8 products add 7, truncated to 6; 8 more follow.
  ["truncating", "8.0", 2 ** 24 + 6 + 8],
  // The unit is 1/2, and all 16 are added at once: 22.5 is truncated.
  ["truncating", "9.0", 2 ** 24 + 22],
])("%s on %s", async (model, compute, expected) => {
  const device = await deviceWith({ CARACAL_VGPU_ACCUMULATION: model, CARACAL_VGPU_COMPUTE: compute });
  // bf16: 4096 * 4096 at k = 0, which is in the lower half of lanes 0, 4, …; elsewhere 1.5 * 1.
  const [large, half, one] = [0x4580, 0x3fc0, 0x3f80];
  const ptx = kernel(`  and.b32 %r1, %r0, 3;
  setp.eq.u32 %p1, %r1, 0;
  mov.b32 %r2, ${(half << 16) | half};
  selp.b32 %r3, ${(half << 16) | large}, %r2, %p1;
  mov.b32 %r4, ${(one << 16) | one};
  selp.b32 %r5, ${(one << 16) | large}, %r4, %p1;
  mov.f32 %f1, 0f00000000;
  mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%f2, %f3, %f4, %f5}, {%r3, %r3, %r2, %r2}, {%r5, %r4}, {%f1, %f1, %f1, %f1};
  add.f32 %f2, %f2, 0fcb800000;
  cvt.rni.s32.f32 %r6, %f2;
  mul.wide.u32 %rd3, %r0, 4;
  add.s64 %rd2, %rd2, %rd3;
  st.global.u32 [%rd2], %r6;`);
  const out = new Uint32Array(32);
  new device.PtxModule(ptx).run("k", { block: 32 }, new Uint32Array(1), out);
  expect(out).toEqual(lanes(() => expected - 2 ** 24));
});

test("exact sums survive cancellation", async () => {
  const device = await deviceWith({ CARACAL_VGPU_ACCUMULATION: "exact" });
  // 2^120 - 2^120 + 2^-120. A chain gets this right only in this order.
  const ptx = kernel(`  and.b32 %r1, %r0, 3;
  setp.eq.u32 %p1, %r1, 0;
  setp.eq.u32 %p2, %r1, 1;
  mov.b32 %r2, 0;
  selp.b32 %r3, 0x5d800380, %r2, %p1;
  selp.b32 %r3, 0x0000dd80, %r3, %p2;
  selp.b32 %r5, 0x5d803f80, %r2, %p1;
  selp.b32 %r5, 0x00005d80, %r5, %p2;
  mov.f32 %f1, 0f00000000;
  mma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32 {%f2, %f3, %f4, %f5}, {%r3, %r3}, {%r5}, {%f1, %f1, %f1, %f1};
  mul.wide.u32 %rd3, %r0, 4;
  add.s64 %rd2, %rd2, %rd3;
  st.global.f32 [%rd2], %f2;`);
  const out = new Float32Array(32);
  new device.PtxModule(ptx).run("k", { block: 32 }, new Uint32Array(1), out);
  // 0x0380 is 2^-120, 0x5d80 is 2^60.
  expect(out).toEqual(new Float32Array(32).fill(2 ** -120));
});

// --- random products compared with independent models
// -----------------------------------------------------------------

const formats = { f16, bf16, tf32, e4m3, e5m2 };
type Name = keyof typeof formats;
const value = (bits: number, f: Format): number => {
  const x = decode(BigInt(bits), f);
  return x.kind === "nan"
    ? Number.NaN
    : (x.negative ? -1 : 1) * (x.kind === "inf" ? Infinity : Number(x.n) / Number(x.d));
};
const asFloat = (bits: number) => new Float32Array(Uint32Array.of(bits).buffer)[0]!;

/** d = a b + c of m16n8, as bits: rows of a, columns of b, rows of c. Rows of a and columns of b have 32 bytes. */
function multiply(device: Device, name: Name, a: number[][], b: number[][], c: number[][]): number[][] {
  const bytes = name === "tf32" ? 4 : name.startsWith("e") ? 1 : 2;
  const per = 4 / bytes;
  const word = (row: number[], at: number) =>
    Array.from({ length: per }, (_, i) => row[per * at + i]! * 2 ** (8 * bytes * i)).reduce((x, y) => x + y);
  const input = Uint32Array.from(
    Array.from({ length: 32 }, (_, lane) => {
      const [g, t] = [lane >> 2, lane & 3];
      return [
        ...[0, 1, 2, 3].map((r) => word(a[g + 8 * (r % 2)]!, t + 4 * (r >> 1)) * (name === "tf32" ? 2 ** 13 : 1)),
        ...[0, 1].map((r) => word(b[g]!, t + 4 * r) * (name === "tf32" ? 2 ** 13 : 1)),
        ...[0, 1, 2, 3].map((r) => c[g + 8 * (r >> 1)]![2 * t + (r & 1)]!),
        0,
        0,
      ];
    }).flat(),
  );
  const out = new Uint32Array(128);
  const ptx = kernel(
    `  mul.wide.u32 %rd3, %r0, 48;
  add.s64 %rd1, %rd1, %rd3;
  shl.b64 %rd0, %rd0, 1;
  add.s64 %rd2, %rd2, %rd0;
  ld.global.v4.u32 {%r10, %r11, %r12, %r13}, [%rd1];
  ld.global.v2.u32 {%r14, %r15}, [%rd1 + 16];
  ld.global.v2.f32 {%f1, %f2}, [%rd1 + 24];
  ld.global.v2.f32 {%f3, %f4}, [%rd1 + 32];
  mma.sync.aligned.m16n8k${32 / bytes}.row.col.f32.${name}.${name}.f32 {%f1, %f2, %f3, %f4}, {%r10, %r11, %r12, %r13}, {%r14, %r15}, {%f1, %f2, %f3, %f4};
  st.global.v4.f32 [%rd2], {%f1, %f2, %f3, %f4};`,
    { target: name.startsWith("e") ? "sm_89" : "sm_80" },
  );
  new device.PtxModule(ptx).run("k", { block: 32 }, input, out);
  const at = (row: number, n: number) => out[4 * ((row % 8) * 4 + (n >> 1)) + 2 * (row >> 3) + (n & 1)]!;
  return Array.from({ length: 16 }, (_, row) => Array.from({ length: 8 }, (_, n) => at(row, n)));
}

/** Values of very different magnitudes, some zeros, and some pairs whose products cancel. */
function problem(name: Name, seed: number) {
  const next = numbers(seed);
  const f = formats[name];
  const k = name === "tf32" ? 8 : name.startsWith("e") ? 32 : 16;
  const bits = (spread: number) => {
    if (next() % 8 === 0) return 0;
    const exponent = 2 ** (f.exponent - 1) - 1 - (spread >> 1) + (next() % spread);
    return (next() & 1) * 2 ** (f.exponent + f.mantissa) + exponent * 2 ** f.mantissa + (next() % 2 ** f.mantissa);
  };
  const spread = Math.min(2 ** f.exponent - 4, seed % 2 ? 6 : 24);
  const a = Array.from({ length: 16 }, () => Array.from({ length: k }, () => bits(spread)));
  const b = Array.from({ length: 8 }, () => Array.from({ length: k }, () => bits(spread)));
  const sign = 2 ** (f.exponent + f.mantissa);
  for (const row of a.slice(8)) for (let i = 0; i + 3 < k; i += 4) row[i + 3] = row[i]! ^ sign;
  for (const column of b) for (let i = 0; i + 3 < k; i += 4) column[i + 3] = column[i]!;
  a[0] = Array(k).fill(0);
  const float = () =>
    (next() % 6 ? ((next() & 1) << 31) | ((115 + (next() % 24)) << 23) | (next() & 0x7fffff) : 0) >>> 0;
  return { a, b, c: Array.from({ length: 16 }, () => Array.from({ length: 8 }, float)) };
}

/** Rounded once, in any order. */
function exactly(f: Format, a: number[], b: number[], c: number): number {
  const products = a.map((x, i) => mul(decode(BigInt(x), f), decode(BigInt(b[i]!), f)));
  const sum = products.reduce((x, y) => add(x, y), decode(BigInt(c), f32));
  return Number(encode(sum, f32));
}

/**
 * After Fasi et al. (2021): accumulator and `together` products are truncated 23 + `extra` bits below the largest one's
 * leading bit, and their sum to 24 bits. The leading bit follows from the exponents of the factors, although their
 * product may be one bit longer.
 */
function truncating(f: Format, a: number[], b: number[], c: number, together: number, extra: number): number {
  const exponent = (x: number) => Math.floor(Math.log2(Math.abs(x)));
  let sum = asFloat(c);
  for (let begin = 0; begin < a.length; begin += together) {
    const factors = a.slice(begin, begin + together).map((x, i) => [value(x, f), value(b[begin + i]!, f)] as const);
    const terms = factors.filter(([x, y]) => x !== 0 && y !== 0);
    const places = [...terms.map(([x, y]) => exponent(x) + exponent(y)), ...(sum ? [exponent(sum)] : [])];
    if (places.length === 0) continue;
    const unit = 2 ** (Math.max(...places) - 23 - extra);
    const total = [sum, ...terms.map(([x, y]) => x * y)].reduce((all, x) => all + Math.trunc(x / unit), 0);
    const drop = 2 ** Math.max(0, exponent(total || 1) - 23);
    sum = Math.trunc(total / drop) * drop * unit;
  }
  return new Uint32Array(Float32Array.of(sum + 0).buffer)[0]!;
}

const cases = (Object.keys(formats) as Name[]).flatMap((name) =>
  (name.startsWith("e") ? ["9.0"] : ["8.0", "9.0"]).map((compute) => ({ name, compute })),
);
test.each(cases)("random products of $name on $compute", async ({ name, compute }) => {
  const f = formats[name];
  const bytes = name === "tf32" ? 4 : name.startsWith("e") ? 1 : 2;
  const models = {
    exact: (a: number[], b: number[], c: number) => exactly(f, a, b, c),
    truncating: (a: number[], b: number[], c: number) =>
      compute === "9.0" ? truncating(f, a, b, c, 32 / bytes, 2) : truncating(f, a, b, c, 16 / bytes, 1),
  };
  for (const [model, expected] of Object.entries(models)) {
    const device = await deviceWith({ CARACAL_VGPU_ACCUMULATION: model, CARACAL_VGPU_COMPUTE: compute });
    for (let seed = 1; seed <= 6; seed++) {
      const { a, b, c } = problem(name, seed);
      const want = a.map((row, m) => b.map((column, n) => expected(row, column, c[m]![n]!)));
      expect(multiply(device, name, a, b, c), `${model}, ${seed}`).toEqual(want);
    }
  }
});

test.each(["chain", "exact", "truncating"])("infinities and NaN, %s", async (model) => {
  const device = await deviceWith({ CARACAL_VGPU_ACCUMULATION: model });
  const zeros = (n: number, k: number) => Array.from({ length: n }, () => Array<number>(k).fill(0));
  const [a, b, c] = [zeros(16, 16), zeros(8, 16), zeros(16, 8)];
  const [one, infinity] = [0x3f80, 0x7f80];
  for (const column of b) column[3] = column[7] = one;
  a[1]![3] = infinity;
  a[2]![7] = infinity | 0x8000;
  a[3]![3] = infinity;
  a[3]![7] = infinity | 0x8000;
  a[4]![5] = infinity; // multiplied by 0
  c[5]![2] = 0x7f800000;
  const got = multiply(device, "bf16", a, b, c).map((row) => row.map(asFloat));
  const row = (x: number) => Array<number>(8).fill(x);
  expect(got.slice(0, 5)).toEqual([row(0), row(Infinity), row(-Infinity), row(Number.NaN), row(Number.NaN)]);
  expect(got[5]).toEqual(row(0).map((x, n) => (n === 2 ? Infinity : x)));
});

test("special values of 8 bits", async () => {
  const device = await deviceWith({ CARACAL_VGPU_COMPUTE: "9.0" });
  const result = (name: "e4m3" | "e5m2", bits: number) => {
    const zeros = (n: number, k: number) => Array.from({ length: n }, () => Array<number>(k).fill(0));
    const [a, b, c] = [zeros(16, 32), zeros(8, 32), zeros(16, 8)];
    a[9]![17] = bits;
    b[6]![17] = name === "e4m3" ? 0x38 : 0x3c; // 1
    return asFloat(multiply(device, name, a, b, c)[9]![6]!);
  };
  expect([0x7f, 0xff, 0x7e, 0xfe, 0x78].map((bits) => result("e4m3", bits))).toEqual([
    Number.NaN,
    Number.NaN,
    448,
    -448,
    256,
  ]);
  expect([0x7c, 0xfc, 0x7d, 0xff, 0x7b].map((bits) => result("e5m2", bits))).toEqual([
    Infinity,
    -Infinity,
    Number.NaN,
    Number.NaN,
    57344,
  ]);
});
