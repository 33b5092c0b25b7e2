// ldmatrix, movmatrix and mma.sync in every shape and type, with the fragment layouts of the PTX ISA.
import { expect, test } from "vitest";
import { PtxModule } from "../support/device.js";
import { kernel, numbers, run, testPtxas } from "../support/ptx.js";

/** A type of matrix elements, its values and their bits. */
interface Format {
  readonly name: string;
  readonly bits: number;
  readonly encode: (x: number) => number;
  readonly values: readonly number[];
}

const f32bits = (x: number) => new Uint32Array(new Float32Array([x]).buffer)[0] as number;
/** The bits of a number that the format represents exactly. */
function encodeFloat(x: number, exponentBits: number, fractionBits: number): number {
  if (x === 0) return Object.is(x, -0) ? 1 << (exponentBits + fractionBits) : 0;
  const bias = 2 ** (exponentBits - 1) - 1;
  const exponent = Math.max(Math.floor(Math.log2(Math.abs(x))), 1 - bias);
  const scaled = (Math.abs(x) / 2 ** exponent) * 2 ** fractionBits; // includes the leading one unless subnormal
  if (!Number.isInteger(scaled)) throw new Error(`${x} is not exact`);
  const biased = scaled >= 2 ** fractionBits ? exponent + bias : 0;
  return (Number(x < 0) << (exponentBits + fractionBits)) | (biased << fractionBits) | (scaled % 2 ** fractionBits);
}

// Products and sums are exact in single precision, and sums in f16 accumulators in half precision.
const eighths = Array.from({ length: 17 }, (_, i) => (i - 8) / 8);
const formats: Record<string, Format> = {
  f16: { name: "f16", bits: 16, encode: (x) => encodeFloat(x, 5, 10), values: eighths },
  bf16: { name: "bf16", bits: 16, encode: (x) => encodeFloat(x, 8, 7), values: eighths },
  // The lower 13 bits are ignored; here they are noise.
  tf32: { name: "tf32", bits: 32, encode: (x) => (f32bits(x) | 0x1abc) >>> 0, values: eighths },
  e4m3: {
    name: "e4m3",
    bits: 8,
    encode: (x) => encodeFloat(x, 4, 3),
    values: [0, 0.5, 1, -1.75, 3, -0.125, 2 ** -9, 448],
  },
  e5m2: {
    name: "e5m2",
    bits: 8,
    encode: (x) => encodeFloat(x, 5, 2),
    values: [0, 0.5, 1, -1.75, 3, -0.125, 2 ** -8, 512],
  },
  s8: { name: "s8", bits: 8, encode: (x) => x & 255, values: [-128, -77, -1, 0, 1, 55, 127] },
  u8: { name: "u8", bits: 8, encode: (x) => x & 255, values: [0, 1, 99, 128, 200, 255] },
  s4: { name: "s4", bits: 4, encode: (x) => x & 15, values: [-8, -3, -1, 0, 1, 5, 7] },
  u4: { name: "u4", bits: 4, encode: (x) => x & 15, values: [0, 1, 7, 8, 15] },
};

/** The row and the 32-bit word of it that register r of A holds in the m16n8 shapes (see the figures of the ISA). */
const aPlace = (lane: number, r: number, rows: number) => ({
  row: (lane >> 2) + (rows === 16 ? 8 * (r % 2) : 0),
  word: (lane & 3) + 4 * (rows === 16 ? r >> 1 : r),
});
const bPlace = (lane: number, r: number) => ({ column: lane >> 2, word: (lane & 3) + 4 * r });
const cPlace = (lane: number, r: number) => ({ row: (lane >> 2) + 8 * (r >> 1), column: 2 * (lane & 3) + (r & 1) });

interface Case {
  readonly m: number;
  readonly k: number;
  readonly a: string;
  readonly b: string;
  readonly c: "f32" | "f16" | "s32";
  readonly satfinite?: boolean;
  readonly target?: string;
}

function check({ m, k, a, b, c, satfinite, target }: Case): void {
  const [fa, fb] = [formats[a] as Format, formats[b] as Format];
  const next = numbers(m + k + fa.bits);
  const pick = (f: Format) => f.values[next() % f.values.length] as number;
  const A = Array.from({ length: m }, () => Array.from({ length: k }, () => pick(fa)));
  const B = Array.from({ length: 8 }, () => Array.from({ length: k }, () => pick(fb))); // column-major
  const large = c === "s32" ? (satfinite ? 2 ** 31 - 1000 : 12345) : 3;
  const C = Array.from({ length: m }, (_, i) => Array.from({ length: 8 }, (_, j) => ((i + j) % 2 ? large : -large)));
  const perWord = 32 / fa.bits;
  const word = (line: readonly number[], w: number, f: Format) => {
    let bits = 0n;
    for (let e = 0; e < perWord; e++)
      bits |= BigInt(f.encode(line[w * perWord + e] as number) >>> 0) << BigInt(e * f.bits);
    return Number(bits);
  };
  const counts = { a: (m * k * fa.bits) / 1024, b: (8 * k * fb.bits) / 1024, c: c === "f16" ? m / 8 : (m * 8) / 32 };
  const inputs = counts.a + counts.b + counts.c;
  const input = new Uint32Array(32 * inputs);
  const wide = new Float32Array(input.buffer);
  const expected = new Uint32Array(32 * counts.c);
  const D = C.map((row, i) =>
    row.map((x, j) => {
      const sum = (A[i] as number[]).reduce((s, v, e) => s + v * ((B[j] as number[])[e] as number), x);
      if (c !== "s32") return sum;
      return satfinite ? Math.min(Math.max(sum, -(2 ** 31)), 2 ** 31 - 1) : sum | 0;
    }),
  );
  const at = (matrix: number[][], lane: number, r: number) => {
    const { row, column } = cPlace(lane, r);
    return (matrix[row] as number[])[column] as number;
  };
  const half = formats.f16 as Format;
  for (let lane = 0; lane < 32; lane++) {
    for (let r = 0; r < counts.a; r++) {
      const place = aPlace(lane, r, m);
      input[lane * inputs + r] = word(A[place.row] as number[], place.word, fa);
    }
    for (let r = 0; r < counts.b; r++) {
      const place = bPlace(lane, r);
      input[lane * inputs + counts.a + r] = word(B[place.column] as number[], place.word, fb);
    }
    for (let r = 0; r < counts.c; r++) {
      const o = lane * inputs + counts.a + counts.b + r;
      const e = lane * counts.c + r;
      if (c === "f16") {
        const packed = (matrix: number[][]) =>
          half.encode(at(matrix, lane, 2 * r)) | (half.encode(at(matrix, lane, 2 * r + 1)) << 16);
        input[o] = packed(C);
        expected[e] = packed(D);
      } else if (c === "f32") {
        wide[o] = at(C, lane, r);
        expected[e] = f32bits(at(D, lane, r));
      } else {
        input[o] = at(C, lane, r);
        expected[e] = at(D, lane, r);
      }
    }
  }
  const names = (prefix: string, first: number, n: number) =>
    `{${Array.from({ length: n }, (_, i) => `%${prefix}${first + i}`).join(", ")}}`;
  const load = Array.from({ length: inputs }, (_, i) => {
    const isC = i >= counts.a + counts.b;
    return `  ld.global.${isC && c === "f32" ? "f32 %f" : "u32 %r"}${10 + i}, [%rd1 + ${4 * i}];`;
  });
  const C0 = 10 + counts.a + counts.b;
  const [cPrefix, dType] = c === "f32" ? ["f", "f32"] : ["r", "u32"];
  const out = new Uint32Array(32 * counts.c);
  run(
    `  mad.lo.u32 %r1, %r0, ${4 * inputs}, 0;
  mul.wide.u32 %rd3, %r1, 1;
  add.s64 %rd1, %rd1, %rd3;
  mul.wide.u32 %rd3, %r0, ${4 * counts.c};
  add.s64 %rd2, %rd2, %rd3;
${load.join("\n")}
  mma.sync.aligned.m${m}n8k${k}.row.col${satfinite ? ".satfinite" : ""}.${c}.${a}.${b}.${c}
    ${names(cPrefix, 50, counts.c)}, ${names("r", 10, counts.a)}, ${names("r", 10 + counts.a, counts.b)}, ${names(cPrefix, C0, counts.c)};
${Array.from({ length: counts.c }, (_, i) => `  st.global.${dType} [%rd2 + ${4 * i}], %${cPrefix}${50 + i};`).join("\n")}`,
    { block: 32 },
    input,
    out,
    { target: target ?? "sm_80" },
  );
  expect(out).toEqual(expected);
}

const floating: Case[] = [8, 16].flatMap((k) => [
  { m: 16, k, a: "f16", b: "f16", c: "f32" as const },
  { m: 16, k, a: "f16", b: "f16", c: "f16" as const },
  { m: 16, k, a: "bf16", b: "bf16", c: "f32" as const },
  { m: 16, k: k / 2, a: "tf32", b: "tf32", c: "f32" as const },
]);
const integers: Case[] = [
  ...["s8", "u8"].flatMap((a) =>
    ["s8", "u8"].flatMap((b) =>
      [[8, 16] as const, [16, 16] as const, [16, 32] as const].map(([m, k]) => ({ m, k, a, b, c: "s32" as const })),
    ),
  ),
  ...["s4", "u4"].flatMap((a) =>
    ["s4", "u4"].flatMap((b) =>
      [[8, 32] as const, [16, 32] as const, [16, 64] as const].map(([m, k]) => ({ m, k, a, b, c: "s32" as const })),
    ),
  ),
];

test.each([...floating, ...integers, ...integers.map((c) => ({ ...c, satfinite: true }))])(
  "mma m$m k$k $a $b -> $c, satfinite $satfinite",
  check,
);

test("mma m8n8k4 f64", () => {
  const next = numbers(5);
  const A = Array.from({ length: 8 }, () => Array.from({ length: 4 }, () => next() / 7));
  const B = Array.from({ length: 8 }, () => Array.from({ length: 4 }, () => next() / 2 ** 40));
  // A: (lane / 4, lane % 4); B: column lane / 4, row lane % 4; C and D: (lane / 4, 2 (lane % 4) + i).
  const input = new Float64Array(128);
  for (let lane = 0; lane < 32; lane++) {
    input[4 * lane] = (A[lane >> 2] as number[])[lane & 3] as number;
    input[4 * lane + 1] = (B[lane >> 2] as number[])[lane & 3] as number;
    input[4 * lane + 2] = lane;
    input[4 * lane + 3] = -lane;
  }
  const out = new Float64Array(64);
  run(
    `  shl.b32 %r1, %r0, 5;
  mul.wide.u32 %rd3, %r1, 1;
  add.s64 %rd1, %rd1, %rd3;
  shl.b32 %r1, %r0, 4;
  mul.wide.u32 %rd3, %r1, 1;
  add.s64 %rd2, %rd2, %rd3;
  ld.global.f64 %d1, [%rd1];
  ld.global.f64 %d2, [%rd1 + 8];
  ld.global.f64 %d3, [%rd1 + 16];
  ld.global.f64 %d4, [%rd1 + 24];
  mma.sync.aligned.m8n8k4.row.col.f64.f64.f64.f64 {%d5, %d6}, {%d1}, {%d2}, {%d3, %d4};
  st.global.f64 [%rd2], %d5;
  st.global.f64 [%rd2 + 8], %d6;`,
    { block: 32 },
    input,
    out,
  );
  for (let lane = 0; lane < 32; lane++)
    for (let i = 0; i < 2; i++) {
      let exact = i ? -lane : lane;
      for (let k = 0; k < 4; k++)
        exact += ((A[lane >> 2] as number[])[k] as number) * ((B[2 * (lane & 3) + i] as number[])[k] as number);
      expect(Math.abs((out[2 * lane + i] as number) - exact)).toBeLessThan(1e-12 * Math.abs(exact));
    }
});

/** Rows of 16 bytes, 48 bytes apart, in a scrambled order. */
const rowAt = (row: number) => ((row * 5) % 32) * 48;

test.each([1, 2, 4].flatMap((n) => [false, true].map((trans) => ({ n, trans }))))(
  "ldmatrix x$n trans $trans",
  ({ n, trans }) => {
    const input = Uint16Array.from({ length: (32 * 48) / 2 }, (_, i) => i * 40503);
    const out = new Uint32Array(32 * n);
    const list = Array.from({ length: n }, (_, i) => `%r${20 + i}`).join(", ");
    // Lanes whose addresses are unused hold addresses that would fault.
    run(
      `  mov.u32 %r1, 0;
COPY:
  mul.wide.u32 %rd3, %r1, 1;
  add.s64 %rd4, %rd1, %rd3;
  ld.global.u32 %r2, [%rd4];
  mov.u32 %r3, buffer;
  add.u32 %r3, %r3, %r1;
  st.shared.u32 [%r3], %r2;
  add.u32 %r1, %r1, 4;
  setp.lt.u32 %p1, %r1, ${32 * 48};
  @%p1 bra COPY;
  bar.sync 0;
  mul.lo.u32 %r4, %r0, 5;
  and.b32 %r4, %r4, 31;
  mul.lo.u32 %r4, %r4, 48;
  mov.u32 %r3, buffer;
  add.u32 %r4, %r4, %r3;
  setp.lt.u32 %p1, %r0, ${8 * n};
  selp.b32 %r4, %r4, 0xffffff, %p1;
  ldmatrix.sync.aligned.m8n8.x${n}${trans ? ".trans" : ""}.shared.b16 {${list}}, [%r4];
  mul.wide.u32 %rd3, %r0, ${4 * n};
  add.s64 %rd2, %rd2, %rd3;
${Array.from({ length: n }, (_, i) => `  st.global.u32 [%rd2 + ${4 * i}], %r${20 + i};`).join("\n")}`,
      { block: 32 },
      input,
      out,
      { shared: 32 * 48 },
    );
    const element = (matrix: number, row: number, column: number) =>
      input[rowAt(8 * matrix + row) / 2 + column] as number;
    const expected = Uint32Array.from({ length: 32 * n }, (_, i) => {
      const [lane, matrix] = [Math.floor(i / n), i % n];
      const [g, t] = [lane >> 2, lane & 3];
      const [low, high] = trans
        ? [element(matrix, 2 * t, g), element(matrix, 2 * t + 1, g)]
        : [element(matrix, g, 2 * t), element(matrix, g, 2 * t + 1)];
      return ((high << 16) | low) >>> 0;
    });
    expect(out).toEqual(expected);
  },
);

test("ldmatrix reports a row that is not aligned to 16 bytes", () => {
  const body =
    "  mov.u32 %r3, buffer;\n  add.u32 %r3, %r3, 8;\n  ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%r4}, [%r3];";
  expect(() => run(body, { block: 32 }, new Uint32Array(1), new Uint32Array(1), { shared: 64 })).toThrow(
    /not a multiple of 16/,
  );
});

test("matrix instructions need a warp of 32 lanes", () => {
  const body = "  mov.u32 %r3, 0;\n  movmatrix.sync.aligned.m8n8.trans.b16 %r4, %r3;";
  expect(() => run(body, { block: 24 }, new Uint32Array(1), new Uint32Array(1))).toThrow(/synccheck/);
});

test("movmatrix transposes", () => {
  const input = Uint16Array.from({ length: 64 }, (_, i) => i * 1021);
  const out = new Uint16Array(64);
  run(
    `  mul.wide.u32 %rd3, %r0, 4;
  add.s64 %rd1, %rd1, %rd3;
  add.s64 %rd2, %rd2, %rd3;
  ld.global.u32 %r3, [%rd1];
  movmatrix.sync.aligned.m8n8.trans.b16 %r4, %r3;
  st.global.u32 [%rd2], %r4;`,
    { block: 32 },
    input,
    out,
  );
  expect(out).toEqual(Uint16Array.from({ length: 64 }, (_, i) => input[(i % 8) * 8 + (i >> 3)] as number));
});

test("invalid forms are refused", () => {
  for (const wrong of [
    "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f16 {%f0, %f1, %f2, %f3}, {%r0, %r1, %r2, %r3}, {%r4, %r5}, {%r6, %r7};",
    "mma.sync.aligned.m16n8k16.row.col.f16.bf16.bf16.f16 {%r8, %r9}, {%r0, %r1, %r2, %r3}, {%r4, %r5}, {%r6, %r7};",
    "mma.sync.aligned.m16n8k16.row.col.f32.f16.bf16.f32 {%f0, %f1, %f2, %f3}, {%r0, %r1, %r2, %r3}, {%r4, %r5}, {%f0, %f1, %f2, %f3};",
    "mma.sync.aligned.m16n8k16.row.row.f32.f16.f16.f32 {%f0, %f1, %f2, %f3}, {%r0, %r1, %r2, %r3}, {%r4, %r5}, {%f0, %f1, %f2, %f3};",
    "mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%f0, %f1, %f2, %f3}, {%r0, %r1, %r2, %r3}, {%r4, %r5}, {%f0, %f1, %f2, %f3};",
    "mma.sync.aligned.m8n8k32.row.col.s32.s8.s8.s32 {%r0, %r1}, {%r2}, {%r3}, {%r0, %r1};",
    "mma.sync.aligned.m16n8k32.row.col.s32.s8.s4.s32 {%r0, %r1, %r2, %r3}, {%r4, %r5, %r6, %r7}, {%r8, %r9}, {%r0, %r1, %r2, %r3};",
    "ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%r0}, [%r1];",
    "ldmatrix.sync.aligned.m8n8.x1.global.b16 {%r0}, [%rd1];",
  ])
    expect(() => new PtxModule(kernel(`  ${wrong}`)), wrong).toThrow(/CUresult 218/);
});

testPtxas();
