import { expect, test } from "vitest";
import { type Case, edges, opcodes, type Register, rejects, rows } from "../support/opcode.js";

const { PtxModule } = await import("../support/device.js");

const u = BigInt.asUintN;
const reg = (bits: number): Register => (bits === 16 ? "b16" : bits === 32 ? "b32" : "b64");
const amounts = [0n, 1n, 7n, 15n, 16n, 31n, 32n, 33n, 63n, 64n, 65n, 0xffffffffn];
const operation: Record<string, (a: bigint, b: bigint) => bigint> = {
  and: (a, b) => a & b,
  or: (a, b) => a | b,
  xor: (a, b) => a ^ b,
};

opcodes("logic and shifts", [
  ...[16, 32, 64].flatMap((bits): Case[] => {
    const r = reg(bits);
    const two = (text: string, f: (a: bigint, b: bigint) => bigint): Case => ({
      text,
      results: [r],
      operands: [r, r],
      rows: rows([edges(bits), edges(bits)], [bits, bits]),
      expect: (a, b) => u(bits, f(a, b)),
    });
    const one = (text: string, f: (a: bigint) => bigint): Case => ({
      text,
      results: [r],
      operands: [r],
      rows: rows([edges(bits)], [bits]),
      expect: (a) => u(bits, f(a)),
    });
    const shift = (text: string, f: (a: bigint, n: bigint) => bigint): Case => ({
      text,
      results: [r],
      operands: [r, "b32"],
      rows: rows([edges(bits), amounts], [bits, 6]),
      expect: (a, n) => u(bits, f(a, n > BigInt(bits) ? BigInt(bits) : n)),
    });
    return [
      ...Object.entries(operation).map(([name, f]) => two(`${name}.b${bits} %d, %a, %b;`, f)),
      one(`not.b${bits} %d, %a;`, (a) => ~a),
      one(`cnot.b${bits} %d, %a;`, (a) => (a === 0n ? 1n : 0n)),
      shift(`shl.b${bits} %d, %a, %b;`, (a, n) => a << n),
      shift(`shr.b${bits} %d, %a, %b;`, (a, n) => a >> n),
      shift(`shr.u${bits} %d, %a, %b;`, (a, n) => a >> n),
      shift(`shr.s${bits} %d, %a, %b;`, (a, n) => BigInt.asIntN(bits, a) >> n),
    ];
  }),
  ...Object.entries(operation).flatMap(([name, f]) =>
    ["", "!"].map(
      (not): Case => ({
        text: `${name}.pred %d, %a, ${not}%b;`,
        results: ["pred"],
        operands: ["pred", "pred"],
        rows: rows(
          [
            [0n, 1n],
            [0n, 1n],
          ],
          [1, 1],
        ),
        expect: (a, b) => f(a, not ? 1n - b : b),
      }),
    ),
  ),
  {
    text: "not.pred %d, %a;",
    results: ["pred"],
    operands: ["pred"],
    rows: rows([[0n, 1n]], [1]),
    expect: (a) => 1n - a,
  },
]);

const table = (lut: bigint, a: bigint, b: bigint, c: bigint): bigint => {
  let d = 0n;
  for (let i = 0n; i < 32n; i++) {
    const index = (((a >> i) & 1n) << 2n) | (((b >> i) & 1n) << 1n) | ((c >> i) & 1n);
    d |= ((lut >> index) & 1n) << i;
  }
  return d;
};
const words = rows([edges(32), edges(32), edges(32)], [32, 32, 32]).slice(-97);
opcodes("lop3", [
  ...Array.from(
    { length: 256 },
    (_, lut): Case => ({
      text: `lop3.b32 %d, %a, %b, %c, ${lut};`,
      results: ["b32"],
      operands: ["b32", "b32", "b32"],
      rows: words,
      expect: (a, b, c) => table(BigInt(lut), a, b, c),
    }),
  ),
  ...["or", "and"].flatMap((op) =>
    ["", "!"].map(
      (not): Case => ({
        text: `lop3.${op}.b32 %d|%e, %a, %b, %c, 0x80, ${not}%f;`,
        results: ["b32", "pred"],
        operands: ["b32", "b32", "b32", "pred"],
        rows: rows([edges(32), edges(32), [0n, 0xffffffffn, 5n], [0n, 1n]], [32, 32, 32, 1]),
        expect: (a, b, c, f) => {
          const d = a & b & c;
          const [p, q] = [d !== 0n, (f === 1n) === (not === "")];
          return [d, (op === "or" ? p || q : p && q) ? 1n : 0n];
        },
      }),
    ),
  ),
  {
    text: "lop3.and.b32 _|%d, %a, %b, %c, 0xfe, %f;",
    results: ["pred"],
    operands: ["b32", "b32", "b32", "pred"],
    rows: rows(
      [
        [0n, 1n],
        [0n, 1n << 31n],
        [0n, 4n],
        [0n, 1n],
      ],
      [1, 1, 1, 1],
    ),
    expect: (a, b, c, f) => ((a | b | c) !== 0n && f === 1n ? 1n : 0n),
  },
]);

const prmtModes: Record<string, readonly number[]> = {
  f4e: [0x3210, 0x4321, 0x5432, 0x6543],
  b4e: [0x5670, 0x6701, 0x7012, 0x0123],
  rc8: [0x0000, 0x1111, 0x2222, 0x3333],
  ecl: [0x3210, 0x3211, 0x3222, 0x3333],
  ecr: [0x0000, 0x1110, 0x2210, 0x3210],
  rc16: [0x1010, 0x3232, 0x1010, 0x3232],
};
function permuted(a: bigint, b: bigint, selectors: bigint): bigint {
  const both = (b << 32n) | a;
  let d = 0n;
  for (let i = 0n; i < 4n; i++) {
    const selector = (selectors >> (4n * i)) & 15n;
    const byte = (both >> (8n * (selector & 7n))) & 0xffn;
    d |= (selector & 8n ? (byte >> 7n) * 0xffn : byte) << (8n * i);
  }
  return d;
}
const bytes = [0x03020100n, 0x87868584n, 0x7f80ff01n, 0x12345678n];
opcodes("prmt and shf", [
  {
    text: "prmt.b32 %d, %a, %b, %c;",
    results: ["b32"],
    operands: ["b32", "b32", "b32"],
    rows: rows([bytes, bytes, [0x3210n, 0x7654n, 0xfedcn, 0xba98n, 0xffff0123n]], [32, 32, 32], 400),
    expect: permuted,
  },
  ...Object.entries(prmtModes).map(
    ([mode, selectors]): Case => ({
      text: `prmt.b32.${mode} %d, %a, %b, %c;`,
      results: ["b32"],
      operands: ["b32", "b32", "b32"],
      rows: rows([bytes, bytes, [0n, 1n, 2n, 3n, 0xfffffffcn]], [32, 32, 32]),
      expect: (a, b, c) => permuted(a, b, BigInt(selectors[Number(c & 3n)]!)),
    }),
  ),
  ...["l", "r"].flatMap((direction) =>
    ["clamp", "wrap"].map(
      (mode): Case => ({
        text: `shf.${direction}.${mode}.b32 %d, %a, %b, %c;`,
        results: ["b32"],
        operands: ["b32", "b32", "b32"],
        rows: rows([bytes, bytes, amounts], [32, 32, 32]),
        expect: (a, b, c) => {
          const n = mode === "clamp" ? (c < 32n ? c : 32n) : c & 31n;
          const both = (b << 32n) | a;
          return direction === "l" ? u(32, (both << n) >> 32n) : u(32, both >> n);
        },
      }),
    ),
  ),
]);

const moves = (type: string, bits: number): Case => ({
  text: `mov.${type} %d, %a;`,
  results: [reg(bits)],
  operands: [reg(bits)],
  rows: rows([edges(bits)], [bits]),
  expect: (a) => a,
});
opcodes("mov", [
  ...[16, 32, 64].flatMap((bits) => ["b", "u", "s"].map((kind) => moves(kind + bits, bits))),
  moves("f32", 32),
  moves("f64", 64),
  ...["", "!"].map(
    (not): Case => ({
      text: `mov.pred %d, ${not}%a;`,
      results: ["pred"],
      operands: ["pred"],
      rows: rows([[0n, 1n]], [1]),
      expect: (a) => (not ? 1n - a : a),
    }),
  ),
  {
    text: "mov.b32 %d, {%a, %b};",
    results: ["b32"],
    operands: ["b16", "b16"],
    rows: rows([edges(16), edges(16)], [16, 16]),
    expect: (a, b) => a | (b << 16n),
  },
  {
    text: "mov.b64 %d, {%a, %b, %c, %f};",
    results: ["b64"],
    operands: ["b16", "b16", "b16", "b16"],
    rows: rows([edges(16), edges(16), edges(16), edges(16)], [16, 16, 16, 16]),
    expect: (a, b, c, f) => a | (b << 16n) | (c << 32n) | (f << 48n),
  },
  {
    text: "mov.b64 {%d, %e}, %a;",
    results: ["b32", "b32"],
    operands: ["b64"],
    rows: rows([edges(64)], [64]),
    expect: (a) => [u(32, a), a >> 32n],
  },
  {
    text: "mov.b64 {%d, %e, %g, %h}, %a;",
    results: ["b16", "b16", "b16", "b16"],
    operands: ["b64"],
    rows: rows([edges(64)], [64]),
    expect: (a) => [u(16, a), u(16, a >> 16n), u(16, a >> 32n), a >> 48n],
  },
  {
    text: "mov.b32 {_, %d}, %a;",
    results: ["b16"],
    operands: ["b32"],
    rows: rows([edges(32)], [32]),
    expect: (a) => a >> 16n,
  },
  {
    text: ".reg .b128 %q, %s; mov.b128 %q, {%a, %b}; mov.b128 %s, %q; mov.b128 {%d, %e}, %s;",
    results: ["b64", "b64"],
    operands: ["b64", "b64"],
    rows: rows([edges(64), edges(64)], [64, 64]),
    expect: (a, b) => [a, b],
  },
  // Clocks only increase.
  ...[
    ["%clock", "u32", "b32"],
    ["%clock64", "u64", "b64"],
    ["%globaltimer_lo", "u32", "b32"],
    ["%globaltimer", "u64", "b64"],
  ].map(
    ([name, type, r]): Case => ({
      text: `.reg .${r} %x, %y; mov.${type} %x, ${name}; mov.${type} %y, ${name}; setp.lt.${type} %d, %x, %y;`,
      results: ["pred"],
      operands: ["b32"],
      rows: rows([[0n]], [32], 20),
      expect: () => 1n,
    }),
  ),
]);

opcodes("addresses and caches", [
  // No other state space has a window at an address this low.
  ...["shared", "shared::cta", "shared::cluster", "local", "const", "param", "param::entry"].map(
    (space): Case => ({
      text: `isspacep.${space} %d, %a;`,
      results: ["pred"],
      operands: ["b64"],
      rows: rows([[0x1000n, 0x2000n]], [20], 20),
      expect: () => 0n,
    }),
  ),
  {
    text: ".reg .b64 %x; cvta.shared.u64 %x, %a; isspacep.shared %d, %x; isspacep.global %e, %x; cvta.to.shared.u64 %g, %x;",
    results: ["pred", "pred", "b64"],
    operands: ["b64"],
    rows: rows([[0n, 16n, 1024n]], [14], 20),
    expect: (a) => [1n, 0n, a],
  },
  {
    text: ".reg .b64 %x; cvta.local.u64 %x, %a; isspacep.local %d, %x; isspacep.shared %e, %x; cvta.to.local.u64 %g, %x;",
    results: ["pred", "pred", "b64"],
    operands: ["b64"],
    rows: rows([[0n, 16n, 1024n]], [14], 20),
    expect: (a) => [1n, 0n, a],
  },
  {
    // The window of parameters is part of global memory.
    text:
      ".reg .b64 %x, %y; mov.b64 %x, in; cvta.param.u64 %x, %x; isspacep.param %d, %x; isspacep.global %e, %x;" +
      " ld.param.b64 %x, [in]; mov.b64 %y, in; cvta.param.u64 %y, %y; ld.b64 %y, [%y]; setp.eq.b64 %g, %x, %y;",
    results: ["pred", "pred", "pred"],
    operands: ["b32"],
    rows: rows([[0n]], [32], 20),
    expect: () => [1n, 1n, 1n],
  },
  {
    text:
      "prefetch.global.L1 [%in]; prefetch.global.L2 [%in]; prefetch.global.L2::evict_last [%in]; prefetch.L2 [%in]; prefetchu.L1 [%in];" +
      " applypriority.global.L2::evict_normal [%in], 128; mov.b32 %d, %a;",
    results: ["b32"],
    operands: ["b32"],
    rows: rows([[1n, 2n]], [32], 20),
    expect: (a) => a,
  },
  {
    // The memory has an undefined value afterwards. Here all rows are in one warp, which has read its operands already.
    text: ".reg .b64 %x; and.b64 %x, %in, -256; discard.global.L2 [%x], 128; mov.b32 %d, %a;",
    results: ["b32"],
    operands: ["b32"],
    rows: rows([[1n, 2n]], [32], 12),
    expect: (a) => a,
  },
  ...[
    "createpolicy.fractional.L2::evict_last.b64 %x, 1.0;",
    "createpolicy.fractional.L2::evict_last.L2::evict_unchanged.b64 %x, 0.5;",
    "createpolicy.fractional.L2::evict_first.b64 %x;",
    "createpolicy.range.global.L2::evict_last.L2::evict_first.b64 %x, [%in], 0x1000, 0x2000;",
    "createpolicy.cvt.L2.b64 %x, 0x14f0000000000000;",
  ].map(
    (text): Case => ({
      text:
        `.reg .b64 %x; ${text} ld.global.L2::cache_hint.b32 %d, [%in], %x;` +
        " st.global.L1::no_allocate.L2::cache_hint.b32 [%out], %a, %x; ld.L1::evict_last.L2::cache_hint.L2::128B.b32 %e, [%out], %x;",
      results: ["b32", "b32"],
      operands: ["b32"],
      rows: rows([[1n, 2n]], [32], 20),
      expect: (a) => [a, a],
    }),
  ),
]);

test("discarded memory loses its contents", () => {
  // Each lane has 128 bytes; those of odd lanes are discarded.
  const ptx = `.version 8.5
.target sm_80
.address_size 64
.visible .entry k(.param .u64 in) {
  .reg .b64 %in; .reg .b32 %t; .reg .pred %p;
  ld.param.u64 %in, [in];
  mov.u32 %t, %tid.x;
  mad.wide.u32 %in, %t, 128, %in;
  and.b32 %t, %t, 1;
  setp.eq.u32 %p, %t, 1;
  @%p discard.global.L2 [%in], 128;
  ret;
}
`;
  const words = Uint32Array.from({ length: 32 * 32 }, (_, i) => i * 2654435761);
  const got = words.slice();
  new PtxModule(ptx).run("k", { block: 32 }, got);
  const kept = words.map((word, i) => Number(got[i] === word));
  expect(kept).toEqual(words.map((_, i) => ((i >> 5) % 2) ^ 1));
});

rejects("moves and logic that do not exist", [
  "and.u32 %r0, %r1, %r2;",
  "not.b8 %h0, %h1;",
  "shl.u32 %r0, %r1, %r2;",
  "lop3.b32 %r0, %r1, %r2, %r3, 256;",
  "lop3.b32 %r0, %r1, %r2, %r3, %r0;",
  "lop3.xor.b32 %r0|%p, %r1, %r2, %r3, 1, %q;",
  "shf.l.b32 %r0, %r1, %r2, %r3;",
  "shf.l.wrap.b64 %d0, %d1, %d2, %r3;",
  "prmt.b32.f8e %r0, %r1, %r2, %r3;",
  "mov.f16 %h0, %h1;",
  "mov.b32 %r0, {%h0, %h1, %h2};",
  "mov.u64 %d0, {%r1, %r2};",
  "mov.u64 %d0, %clock;",
  "isspacep.generic %p, %d0;",
  "prefetch.global.L3 [%d0];",
  "applypriority.global.L2::evict_normal [%d0], 64;",
  "discard.global.L1 [%d0], 128;",
  "ld.shared.L2::cache_hint.b32 %r0, [%r1], %d1;",
  "ld.global.L2::cache_hint.b32 %r0, [%d0];",
  "st.global.b32 [%d0], %r0, %d1;",
  "createpolicy.fractional.L2::evict_last.b32 %r0;",
]);
