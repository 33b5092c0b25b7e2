// wgmma: every type, shared-memory layout, source and sign, compared with the product of the matrices as laid out in
// the PTX ISA ("Strides", "Canonical Layouts", "Matrix Descriptor Format", "Register Fragments").
import { beforeAll, describe, expect, test } from "vitest";
import { deviceWith } from "../support/modes.js";
import { numbers, remember, testPtxas } from "../support/ptx.js";

let device: Awaited<ReturnType<typeof deviceWith>>;
beforeAll(async () => {
  device = await deviceWith({ CARACAL_VGPU_COMPUTE: "9.0", CARACAL_VGPU_CHECK: "initcheck,racecheck" });
});

/** The encoding of a number that the format represents exactly. */
function float(x: number, exponentBits: number, fractionBits: number): number {
  if (x === 0) return 0;
  const exponent = Math.floor(Math.log2(Math.abs(x)));
  const fraction = (Math.abs(x) / 2 ** exponent - 1) * 2 ** fractionBits;
  expect(fraction).toBe(Math.trunc(fraction));
  const sign = x < 0 ? 2 ** (exponentBits + fractionBits) : 0;
  return sign + (exponent + 2 ** (exponentBits - 1) - 1) * 2 ** fractionBits + fraction;
}
type Format = {
  readonly bytes: number;
  readonly encode: (x: number) => number;
  readonly min: number;
  readonly max: number;
};
const small = { min: -4, max: 4 };
const formats: Readonly<Record<string, Format>> = {
  f16: { bytes: 2, encode: (x) => float(x, 5, 10), ...small },
  bf16: { bytes: 2, encode: (x) => float(x, 8, 7), ...small },
  tf32: { bytes: 4, encode: (x) => float(x, 8, 23), ...small },
  e4m3: { bytes: 1, encode: (x) => float(x, 4, 3), ...small },
  e5m2: { bytes: 1, encode: (x) => float(x, 5, 2), ...small },
  s8: { bytes: 1, encode: (x) => x & 255, min: -128, max: 127 },
  u8: { bytes: 1, encode: (x) => x, min: 0, max: 255 },
};
const format = (name: string) => formats[name] as Format;

interface Case {
  readonly d?: "f32" | "f16" | "s32";
  readonly a?: string;
  readonly b?: string;
  readonly n?: number;
  /** Bytes per swizzled row; 16 means no swizzle. */
  readonly width?: 16 | 32 | 64 | 128;
  readonly aMn?: boolean;
  readonly bMn?: boolean;
  readonly registers?: boolean;
  readonly scaleA?: 1 | -1;
  readonly scaleB?: 1 | -1;
  readonly keep?: boolean;
  readonly satfinite?: boolean;
  /** The offset of the matrices from the swizzle's repeating pattern, in lines of 128 bytes. */
  readonly off?: number;
  /** The initial value of the accumulators. */
  readonly c?: (i: number) => number;
}

const kSteps = 2;

/** A matrix in shared memory: the position of an element, and the descriptor for columns starting at k. */
function layout(start: number, rows: number, bytes: number, width: number, mn: boolean, off: number) {
  const groups = Math.ceil(rows / 8);
  const units = (rows * bytes) / 16;
  const perRow = width / 16;
  // The strides differ from each other, so that confusing them is detected.
  const [leading, stride] = mn
    ? width === 16
      ? [128 * units + 128, 128]
      : [Math.ceil((kSteps * 32) / bytes / 8) * 8 * width, 8 * width]
    : width === 16
      ? [128 * groups + 128, 128]
      : [16, 8 * width];
  const wide = (i: number, k: number) => {
    const [along, across] = mn ? [i * bytes, k] : [k * bytes, i];
    const [unit, rest] = [Math.floor(along / 16), along % 16];
    if (width === 16)
      return (
        (across % 8) * 16 + Math.floor(across / 8) * (mn ? leading : stride) + unit * (mn ? stride : leading) + rest
      );
    const at = (across % 8) * width + Math.floor(across / 8) * stride + (unit % perRow) * 16 + rest;
    // K-major, a descriptor covers only the width of the swizzle; the columns beyond are in another tile.
    return at + Math.floor(unit / perRow) * (mn ? leading : stride * groups);
  };
  const base = start + 128 * off;
  const address = (at: number) => base + (at ^ (((at >> 7) & (perRow - 1)) << 4));
  const swizzle = { 16: 0n, 128: 1n, 64: 2n, 32: 3n }[width as 16 | 32 | 64 | 128];
  const columns = (kSteps * 32) / bytes;
  return {
    at: (i: number, k: number) => address(wide(i, k)),
    descriptor: (k: number) => {
      const first = BigInt(base + wide(0, k)) >> 4n;
      const strides = (BigInt(leading >> 4) << 16n) | (BigInt(stride >> 4) << 32n);
      return first | strides | (BigInt(off) << 49n) | (swizzle << 62n);
    },
    end: base + (wide(rows - 1, columns - 1) | 1023) + 1,
  };
}

const list = (name: string, count: number) => Array.from({ length: count }, (_, i) => `%${name}${i}`).join(", ");

/** A kernel(image of shared memory, A's registers, accumulators before and after) for 128 threads. */
function kernel(c: Required<Case>, bytes: number, descriptors: readonly (readonly [bigint, bigint])[]): string {
  const registers = c.n / (c.d === "f16" ? 4 : 2);
  const type = c.d === "f16" ? "b32" : c.d;
  const k = 32 / format(c.a).bytes;
  const transposes = !/16/.test(c.a) ? "" : c.registers ? `, ${+c.bMn}` : `, ${+c.aMn}, ${+c.bMn}`;
  const scales = c.d === "s32" ? "" : `, ${c.scaleA}, ${c.scaleB}`;
  const each = (line: (i: number) => string) => Array.from({ length: registers }, (_, i) => line(i)).join("\n");
  return `.version 8.5
.target sm_90a
.address_size 64
.visible .entry k(.param .u64 image, .param .u64 a, .param .u64 acc)
{
  .reg .pred %p<4>; .reg .b32 %r<16>; .reg .b64 %rd<16>; .reg .${type} %acc<${registers}>; .reg .b32 %a<4>;
  .shared .align 1024 .b8 buffer[${bytes}];
  ld.param.u64 %rd1, [image];
  ld.param.u64 %rd2, [a];
  ld.param.u64 %rd3, [acc];
  mov.u32 %r0, %tid.x;
  mov.u32 %r1, buffer;
  shl.b32 %r2, %r0, 2;
COPY:
  cvt.u64.u32 %rd4, %r2;
  add.s64 %rd5, %rd1, %rd4;
  ld.global.u32 %r3, [%rd5];
  add.u32 %r4, %r1, %r2;
  st.shared.u32 [%r4], %r3;
  add.u32 %r2, %r2, 512;
  setp.lt.u32 %p1, %r2, ${bytes};
  @%p1 bra COPY;
  fence.proxy.async.shared::cta;
  bar.sync 0;
  mul.wide.u32 %rd6, %r0, ${4 * registers};
  add.s64 %rd3, %rd3, %rd6;
${each((i) => `  ld.global.b32 %acc${i}, [%rd3 + ${4 * i}];`)}
  mul.wide.u32 %rd6, %r0, ${16 * kSteps};
  add.s64 %rd2, %rd2, %rd6;
  setp.ne.u32 %p2, ${c.keep ? 1 : 0}, 0;
  setp.eq.u32 %p3, 0, 0;
${descriptors
  .map(
    ([a, b], step) => `
${c.registers ? [0, 1, 2, 3].map((i) => `  ld.global.b32 %a${i}, [%rd2 + ${16 * step + 4 * i}];`).join("\n") : `  mov.b64 %rd7, ${a};`}
  mov.b64 %rd8, ${b};
  wgmma.fence.sync.aligned;
  wgmma.mma_async.sync.aligned.m64n${c.n}k${k}${c.satfinite ? ".satfinite" : ""}.${c.d}.${c.a}.${c.b} {${list("acc", registers)}}, ${c.registers ? `{${list("a", 4)}}` : "%rd7"}, %rd8, %p${step === 0 ? 2 : 3}${scales}${transposes};
  wgmma.commit_group.sync.aligned;
  wgmma.wait_group.sync.aligned 0;`,
  )
  .join("\n")}
${each((i) => `  st.global.b32 [%rd3 + ${4 * i}], %acc${i};`)}
  ret;
}
`;
}

/** Row and column of D in a thread's register; an f16 register holds two columns. */
const place = (thread: number, register: number) => {
  const [warp, lane] = [thread >> 5, thread & 31];
  return [
    16 * warp + (lane >> 2) + 8 * ((register >> 1) & 1),
    8 * (register >> 2) + 2 * (lane & 3) + (register & 1),
  ] as const;
};

function compute(given: Case) {
  const c: Required<Case> = {
    ...{ d: "f32", a: "bf16", b: given.a ?? "bf16", n: 64, width: 128, aMn: false, bMn: false, registers: false },
    ...{ scaleA: 1, scaleB: 1, keep: true, satfinite: false, off: 0, c: (i: number) => (i % 7) - 3 },
    ...given,
  };
  const [fa, fb] = [format(c.a), format(c.b)];
  const k = (kSteps * 32) / fa.bytes;
  const next = numbers(c.n + c.width);
  const matrix = (rows: number, f: Format) =>
    Array.from({ length: rows }, () => Array.from({ length: k }, () => f.min + (next() % (f.max - f.min + 1))));
  const [A, B] = [matrix(64, fa), matrix(c.n, fb)];
  const la = layout(0, 64, fa.bytes, c.width, c.aMn, c.off);
  const startB = Math.ceil(la.end / 1024) * 1024;
  const lb = layout(startB, c.n, fb.bytes, c.width, c.bMn, c.off);
  const image = new DataView(new ArrayBuffer(lb.end));
  const put = (at: number, f: Format, x: number) => {
    if (f.bytes === 1) image.setUint8(at, f.encode(x));
    else if (f.bytes === 2) image.setUint16(at, f.encode(x), true);
    else image.setUint32(at, f.encode(x), true);
  };
  if (!c.registers) for (const [i, row] of A.entries()) for (const [j, x] of row.entries()) put(la.at(i, j), fa, x);
  for (const [i, row] of B.entries()) for (const [j, x] of row.entries()) put(lb.at(i, j), fb, x);

  // Register r of A holds row g + 8 (r % 2) of the warp's 16, and bytes from t + 4 (r / 2) of the 32 along k.
  const fragments = new Uint32Array(128 * 4 * kSteps);
  const perWord = 4 / fa.bytes;
  for (let thread = 0; thread < 128; thread++)
    for (let i = 0; i < 4 * kSteps; i++) {
      const [step, r, lane] = [i >> 2, i & 3, thread & 31];
      const row = A[16 * (thread >> 5) + (lane >> 2) + 8 * (r % 2)] as number[];
      const first = step * 8 * perWord + ((lane & 3) + 4 * (r >> 1)) * perWord;
      let word = 0;
      for (let e = 0; e < perWord; e++) word += fa.encode(row[first + e] as number) * 2 ** (8 * fa.bytes * e);
      fragments[thread * 4 * kSteps + i] = word;
    }

  const perThread = c.n / 2;
  const before = Array.from({ length: 128 * perThread }, (_, i) => c.c(i));
  const raw = (x: number) => (c.d === "s32" ? x >>> 0 : c.d === "f16" ? float(x, 5, 10) : float(x, 8, 23));
  const acc = new Uint32Array((128 * perThread) / (c.d === "f16" ? 2 : 1));
  for (const [i, x] of before.entries())
    if (c.d === "f16") acc[i >> 1] = (acc[i >> 1] as number) + raw(x) * (i % 2 ? 0x10000 : 1);
    else acc[i] = raw(x);

  const instructionK = 32 / fa.bytes;
  const steps = Array.from(
    { length: kSteps },
    (_, s) => [la.descriptor(s * instructionK), lb.descriptor(s * instructionK)] as const,
  );
  const ptx = kernel(c, image.byteLength, steps);
  remember(ptx, "sm_90a");
  new device.PtxModule(ptx).run("k", { block: 128 }, new Uint8Array(image.buffer), fragments, acc);

  const expected = before.map((x, i) => {
    const [row, column] = place(Math.floor(i / perThread), i % perThread);
    let sum = c.keep ? x : 0;
    for (let s = 0; s < kSteps; s++) {
      for (let j = s * instructionK; j < (s + 1) * instructionK; j++)
        sum += c.scaleA * c.scaleB * ((A[row] as number[])[j] as number) * ((B[column] as number[])[j] as number);
      if (c.satfinite) sum = Math.min(Math.max(sum, -(2 ** 31)), 2 ** 31 - 1);
    }
    return raw(c.d === "s32" ? sum | 0 : sum);
  });
  const found = expected.map((_, i) =>
    c.d === "f16" ? ((acc[i >> 1] as number) >>> (i % 2 ? 16 : 0)) & 0xffff : (acc[i] as number),
  );
  expect(found).toEqual(expected);
}

describe("types", () => {
  const floats = [
    ["f16", "f16", "f16"],
    ["f32", "f16", "f16"],
    ["f32", "bf16", "bf16"],
    ["f32", "tf32", "tf32"],
  ] as const;
  const bytes = (["f32", "f16"] as const).flatMap((d) =>
    ["e4m3", "e5m2"].flatMap((a) => ["e4m3", "e5m2"].map((b) => [d, a, b] as const)),
  );
  const integers = ["s8", "u8"].flatMap((a) => ["s8", "u8"].map((b) => ["s32", a, b] as const));
  test.each([...floats, ...bytes, ...integers])("%s = %s x %s", (d, a, b) => compute({ d, a, b }));
  test.each([...floats, ...bytes.slice(1, 3), ...integers])("%s = %s x %s, A in registers", (d, a, b) =>
    compute({ d, a, b, registers: true }),
  );
});

describe("layouts", () => {
  const widths = [16, 32, 64, 128] as const;
  const majors = [false, true].flatMap((aMn) => [false, true].map((bMn) => ({ aMn, bMn })));
  test.each(widths.flatMap((width) => majors.map((m) => ({ width, ...m }))))("f16 of %o", (c) =>
    compute({ a: "f16", n: 128, ...c }),
  );
  test.each(widths)("bf16, A in registers, B transposed, rows of %i", (width) =>
    compute({ width, registers: true, bMn: true, n: 96 }),
  );
  test.each(widths.flatMap((width) => ["tf32", "e4m3", "u8"].map((a) => [a, width] as const)))(
    "%s, rows of %i",
    (a, width) => compute({ a, b: a, width, d: a === "u8" ? "s32" : "f32" }),
  );
  test.each([128, 64, 32] as const)("matrices offset from the pattern of the %i-byte swizzle", (width) => {
    for (let off = 1; off < width / 16; off++) compute({ width, off });
  });
});

test.each([8, 16, 24, 40, 72, 104, 192, 248, 256])("n %i", (n) => {
  compute({ n });
  compute({ n, d: "f16", a: "f16" });
});
test.each([8, 24, 32, 48, 144, 224])("n %i, integers", (n) => compute({ n, d: "s32", a: "s8", b: "u8" }));

test.each([
  { scaleA: -1 },
  { scaleB: -1 },
  { scaleA: -1, scaleB: -1 },
  { scaleB: -1, registers: true },
  { keep: false, c: () => 1000 },
] satisfies Case[])("%o", (c) => {
  compute({ a: "f16", ...c });
  compute({ a: "tf32", ...c });
});

test.each([2 ** 31 - 5, -(2 ** 31) + 5])("sums that overflow 32 bits, from %i", (from) => {
  for (const satfinite of [false, true]) compute({ d: "s32", a: "s8", satfinite, c: () => from });
});

test.each([
  [/shape/, { n: 12 }],
  [/integers have N/, { d: "s32", a: "s8", n: 40 }],
  [/accumulator/, { d: "f16", a: "bf16" }],
] satisfies [RegExp, Case][])("%o for %o", (message, c) => {
  expect(() => compute(c)).toThrow(message);
});

describe("a warpgroup", () => {
  /** A product of zeros, issued by the warps for which `some` sets %p1 from their number %r0. */
  const product = (some: string, threads: number) => () =>
    new device.PtxModule(`.version 8.5
.target sm_90a
.address_size 64
.visible .entry k()
{
  .reg .pred %p<4>; .reg .b32 %r<4>; .reg .b64 %rd<4>; .reg .f32 %acc<4>;
  .shared .align 1024 .b8 buffer[4096];
  mov.u32 %r0, %tid.x;
  mov.u32 %r1, 0;
  mul.wide.u32 %rd1, %r0, 4;
CLEAR:
  cvt.u32.u64 %r2, %rd1;
  mov.u32 %r3, buffer;
  add.u32 %r2, %r2, %r3;
  st.shared.u32 [%r2], %r1;
  add.s64 %rd1, %rd1, ${4 * threads};
  setp.lt.u64 %p2, %rd1, 4096;
  @%p2 bra CLEAR;
  fence.proxy.async.shared::cta;
  bar.sync 0;
  shr.u32 %r0, %r0, 5;
  setp.${some};
  mov.b64 %rd0, ${(BigInt(8) << 16n) | (BigInt(8) << 32n)};
  mov.f32 %acc0, 0f00000000;
  mov.f32 %acc1, %acc0;
  mov.f32 %acc2, %acc0;
  mov.f32 %acc3, %acc0;
  wgmma.fence.sync.aligned;
  @!%p1 bra END;
  wgmma.mma_async.sync.aligned.m64n8k16.f32.f16.f16 {%acc0, %acc1, %acc2, %acc3}, %rd0, %rd0, %p1, 1, 1, 0, 0;
  wgmma.commit_group.sync.aligned;
  wgmma.wait_group.sync.aligned 0;
END:
  ret;
}
`).run("k", { block: threads });

  test("has four warps", () => {
    product("ge.u32 %p1, %r0, 0", 128)();
    expect(product("ge.u32 %p1, %r0, 0", 96)).toThrow(/synccheck: .*fewer than four warps/);
  });
  test("acts together", () => {
    expect(product("ge.u32 %p1, %r0, 1", 128)).toThrow(/deadlock/);
  });
});

testPtxas(/m64n12k16|m64n40k32|f16\.bf16/);
