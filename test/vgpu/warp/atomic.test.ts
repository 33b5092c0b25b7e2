// atom, red and fences: the effect of each operation on a value, and that no update is lost.
import { expect, test } from "vitest";
import { PtxModule } from "../support/device.js";
import { kernel, run, testPtxas } from "../support/ptx.js";

const u32 = (x: bigint) => BigInt.asUintN(32, x);
const u64 = (x: bigint) => BigInt.asUintN(64, x);
const s32 = (x: bigint) => BigInt.asIntN(32, x);
const s64 = (x: bigint) => BigInt.asIntN(64, x);
const less = (a: bigint, b: bigint) => (a < b ? a : b);
const more = (a: bigint, b: bigint) => (a > b ? a : b);

/** PTX ISA, atom: the new value as bits. */
const integer: Record<string, (old: bigint, b: bigint) => bigint> = {
  "add.u32": (old, b) => u32(old + b),
  "add.s32": (old, b) => u32(old + b),
  "add.u64": (old, b) => u64(old + b),
  "min.u32": less,
  "max.u32": more,
  "min.u64": less,
  "max.u64": more,
  "min.s32": (old, b) => u32(less(s32(old), s32(b))),
  "max.s32": (old, b) => u32(more(s32(old), s32(b))),
  "min.s64": (old, b) => u64(less(s64(old), s64(b))),
  "max.s64": (old, b) => u64(more(s64(old), s64(b))),
  "inc.u32": (old, b) => (old >= b ? 0n : old + 1n),
  "dec.u32": (old, b) => (old === 0n || old > b ? b : old - 1n),
  "and.b32": (old, b) => old & b,
  "or.b32": (old, b) => old | b,
  "xor.b32": (old, b) => old ^ b,
  "and.b64": (old, b) => old & b,
  "or.b64": (old, b) => old | b,
  "xor.b64": (old, b) => old ^ b,
  "exch.b32": (_, b) => b,
  "exch.b64": (_, b) => b,
};

const interesting = [
  0n,
  1n,
  5n,
  0x7fffffffn,
  0x80000000n,
  0xffffffffn,
  0x7fffffffffffffffn,
  0x8000000000000000n,
  0xfffffffffffffffan,
];
const pairs = (wide: boolean) => {
  const list = interesting.map((x) => (wide ? x : u32(x)));
  return list.flatMap((a) => list.map((b) => [a, b] as const));
};

/**
 * Runs `instruction` with the old value at [%rd4] and b in %rd6 / %r6; the result is %rd7 / %r7. Returns [new,
 * returned].
 */
function apply(
  instruction: string,
  wide: boolean,
  values: (readonly [bigint, bigint])[],
  space: string,
): (readonly [bigint, bigint])[] {
  const input = BigUint64Array.from(values.flat());
  const output = new BigUint64Array(values.length * 2);
  const bits = wide ? "64" : "32";
  const r = wide ? "rd" : "r";
  const shared = space.startsWith(".shared");
  const address = shared
    ? `  mov.u32 %r4, buffer;
  shl.b32 %r5, %r0, 3;
  add.u32 %r4, %r4, %r5;
  ld.global.u64 %rd8, [%rd1];
  st.shared.u64 [%r4], %rd8;`
    : "  ld.global.u64 %rd8, [%rd1];\n  st.global.u64 [%rd2], %rd8;\n  mov.u64 %rd4, %rd2;";
  run(
    `  shl.b64 %rd0, %rd0, 1;
  add.s64 %rd1, %rd1, %rd0;
  add.s64 %rd2, %rd2, %rd0;
${address}
  ld.global.u${bits} %${r}6, [%rd1 + 8];
  mov.u64 %rd7, 0;
  mov.u32 %r7, 0;
  ${instruction.replace("ADDRESS", shared ? "%r4" : "%rd4")}
  ${shared ? "ld.shared.u64 %rd9, [%r4];\n  st.global.u64 [%rd2], %rd9;" : ""}
  st.global.u${bits} [%rd2 + 8], %${r}7;`,
    { block: values.length },
    input,
    output,
    { shared: 8 * values.length },
  );
  const cut = wide ? u64 : u32;
  return values.map((_, i) => [cut(output[2 * i] as bigint), output[2 * i + 1] as bigint]);
}

test.each(Object.keys(integer))("atom.%s and red", (op) => {
  const f = integer[op] as (old: bigint, b: bigint) => bigint;
  const wide = op.endsWith("64");
  const values = pairs(wide);
  const r = wide ? "%rd" : "%r";
  for (const space of [".global", ".shared", ""]) {
    const got = apply(`atom${space}.${op} ${r}7, [ADDRESS], ${r}6;`, wide, values, space);
    expect(got, space).toEqual(values.map(([old, b]) => [f(old, b), old]));
    if (op.startsWith("exch")) continue;
    const reduced = apply(`red${space}.${op} [ADDRESS], ${r}6;`, wide, values, space);
    expect(reduced, `red ${space}`).toEqual(values.map(([old, b]) => [f(old, b), 0n]));
  }
});

test("orders, scopes and cache hints", () => {
  const values = pairs(false);
  const expected = values.map(([old, b]) => [u32(old + b), old]);
  for (const how of ["relaxed.cta", "acquire.gpu", "release.sys", "acq_rel.gpu", "gpu"])
    expect(apply(`atom.${how}.global.add.u32 %r7, [ADDRESS], %r6;`, false, values, ".global"), how).toEqual(expected);
  expect(
    apply(
      "mov.u64 %rd10, 0;\n  atom.global.add.L2::cache_hint.u32 %r7, [ADDRESS], %r6, %rd10;",
      false,
      values,
      ".global",
    ),
  ).toEqual(expected);
});

test.each(["b16", "b32", "b64"])("atom.cas.%s", (type) => {
  const wide = type === "b64";
  const values = pairs(wide);
  const put = 0x1234n;
  const mask = type === "b16" ? 0xffffn : wide ? 0xffffffffffffffffn : 0xffffffffn;
  const r = wide ? "%rd" : "%r";
  const code =
    type === "b16"
      ? "mov.b32 {%h1, %h9}, %r6;\n  mov.u16 %h2, 0x1234;\n  atom.global.cas.b16 %h3, [ADDRESS], %h1, %h2;\n  mov.u16 %h8, 0;\n  mov.b32 %r7, {%h3, %h8};"
      : `atom.global.cas.${type} ${r}7, [ADDRESS], ${r}6, 0x1234;`;
  const got = apply(code, wide, values, ".global");
  expect(got).toEqual(values.map(([old, b]) => [(old & mask) === (b & mask) ? (old & ~mask) | put : old, old & mask]));
});

const f32 = (x: number) => BigInt(new Uint32Array(new Float32Array([x]).buffer)[0] as number);
const f64 = (x: number) => new BigUint64Array(new Float64Array([x]).buffer)[0] as bigint;

test("atom.add.f32 flushes subnormals in global memory only", () => {
  const tiny = 2 ** -130;
  const numbers = [1.5, 2 ** -24, tiny, -tiny, 2 ** -126, 16777216];
  const values = numbers.flatMap((a) => numbers.map((b) => [f32(a), f32(b)] as const));
  const flush = (x: number) => (Math.abs(x) < 2 ** -126 ? Math.sign(x) * 0 : x);
  const sums = (f: (x: number) => number) =>
    numbers.flatMap((a) => numbers.map((b) => [f32(f(Math.fround(f(a) + f(b)))), f32(a)]));
  const body = "mov.b32 %f1, %r6;\n  atom.SPACE.add.f32 %f2, [ADDRESS], %f1;\n  mov.b32 %r7, %f2;";
  expect(apply(body.replace("SPACE", "global"), false, values, ".global")).toEqual(sums(flush));
  expect(apply(body.replace("SPACE", "shared"), false, values, ".shared")).toEqual(sums((x) => x));
});

test("atom.add.f64", () => {
  const numbers = [1 / 3, -5e-324, 1e300, 2 ** 53];
  const values = numbers.flatMap((a) => numbers.map((b) => [f64(a), f64(b)] as const));
  const got = apply(
    "mov.b64 %d1, %rd6;\n  atom.global.add.f64 %d2, [ADDRESS], %d1;\n  mov.b64 %rd7, %d2;",
    true,
    values,
    ".global",
  );
  expect(got).toEqual(numbers.flatMap((a) => numbers.map((b) => [f64(a + b), f64(a)])));
});

test("atom.add.noftz on halves", () => {
  // 1.5 + 0.25; 2048 + 1 (a tie, to even); twice the smallest subnormal; infinity - infinity.
  const half = [
    [0x3e00, 0x3400, 0x3f00],
    [0x6800, 0x3c00, 0x6800],
    [0x0001, 0x0001, 0x0002],
    [0x7c00, 0xfc00, 0x7fff],
  ];
  const both = half.flatMap((low) => half.map((high) => [low, high] as const));
  const packed = (i: number) => both.map(([low, high]) => BigInt((low[i] as number) + (high[i] as number) * 65536));
  const [old, b, sum] = [packed(0), packed(1), packed(2)];
  const values = old.map((x, i) => [x, b[i] as bigint] as const);
  const pair = apply("atom.global.add.noftz.f16x2 %r7, [ADDRESS], %r6;", false, values, ".global");
  expect(pair).toEqual(values.map(([x], i) => [sum[i], x]));
  const code =
    "mov.b32 {%h1, %h9}, %r6;\n  atom.global.add.noftz.f16 %h3, [ADDRESS], %h1;\n  mov.u16 %h8, 0;\n  mov.b32 %r7, {%h3, %h8};";
  const low = apply(code, false, values, ".global");
  expect(low).toEqual(values.map(([x], i) => [((x >> 16n) << 16n) | ((sum[i] as bigint) & 0xffffn), x & 0xffffn]));
});

test("no update is lost between the blocks of a grid", () => {
  const counter = new Uint32Array(3);
  const seen = new Uint32Array(64 * 128);
  const ptx = kernel(`  atom.global.add.u32 %r1, [%rd1], 1;
  red.global.add.u32 [%rd1 + 4], %r0;
  atom.global.max.u32 %r3, [%rd1 + 8], %r1;
  mul.wide.u32 %rd3, %r1, 4;
  add.s64 %rd2, %rd2, %rd3;
  st.global.u32 [%rd2], 1;`);
  new PtxModule(ptx).run("k", { grid: 64, block: 128 }, counter, seen);
  expect(Array.from(counter)).toEqual([8192, (64 * 127 * 128) / 2, 8191]);
  expect(seen.every((x) => x === 1)).toBe(true); // every thread received a different number
});

test("a lock that lanes of warps acquire one after the other", () => {
  const cells = new Uint32Array(2);
  const body = `  mov.u32 %r9, 0;
AGAIN:
  atom.global.cas.b32 %r1, [%rd1], 0, 1;
  setp.ne.u32 %p1, %r1, 0;
  @%p1 bra AGAIN;
  ld.volatile.global.u32 %r2, [%rd1 + 4];
  add.u32 %r2, %r2, 1;
  st.volatile.global.u32 [%rd1 + 4], %r2;
  membar.gl;
  atom.global.exch.b32 %r3, [%rd1], 0;`;
  run(body, { grid: 4, block: 96 }, cells, new Uint32Array(1));
  expect(Array.from(cells)).toEqual([0, 384]);
});

test("atomic operations are checked like any access", () => {
  const one = new Uint32Array(1);
  expect(() => run("  atom.global.add.u32 %r1, [%rd1 + 2], 1;", { block: 1 }, one, one)).toThrow(/not a multiple of 4/);
  expect(() => run("  atom.global.add.u32 %r1, [%rd1 + 4], 1;", { block: 1 }, one, one)).toThrow(
    /global atomic access of 4 bytes/,
  );
  expect(() =>
    run(
      "  .local .b32 own;\n  mov.u64 %rd5, own;\n  cvta.local.u64 %rd6, %rd5;\n  atom.add.u32 %r1, [%rd6], 1;",
      { block: 1 },
      one,
      one,
    ),
  ).toThrow(/local or parameter memory/);
});

test("fences", () => {
  const out = new Uint32Array(1);
  const unused = new Uint32Array(1);
  const fences = [
    "membar.cta",
    "membar.gl",
    "membar.sys",
    "fence.sc.cta",
    "fence.acq_rel.gpu",
    "fence.sc.sys",
    "fence.gpu",
    "fence.proxy.alias",
  ];
  run(`${fences.map((f) => `  ${f};`).join("\n")}\n  st.global.u32 [%rd2], 7;`, { block: 32 }, unused, out);
  expect(out[0]).toBe(7);
});

test("invalid forms are refused", () => {
  for (const wrong of [
    "atom.global.sub.u32 %r1, [%rd1], 1;",
    "atom.global.min.b32 %r1, [%rd1], 1;",
    "atom.global.add.b32 %r1, [%rd1], 1;",
    "atom.local.add.u32 %r1, [%rd1], 1;",
    "atom.global.inc.s32 %r1, [%rd1], 1;",
    "red.global.exch.b32 [%rd1], 1;",
    "atom.shared.add.v2.f32 {%f1, %f2}, [%r1], {%f1, %f2};",
  ])
    expect(() => new PtxModule(kernel(`  ${wrong}`)), wrong).toThrow(/CUresult 218/);
});

testPtxas();
