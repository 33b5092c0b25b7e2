import { type Case, edges, opcodes, type Register, random, rejects, rows } from "../support/opcode.js";

const reg = (bits: number): Register => (bits === 16 ? "b16" : bits === 32 ? "b32" : "b64");
const u = BigInt.asUintN;
const s = BigInt.asIntN;
const value = (bits: number, signed: boolean, x: bigint) => (signed ? s(bits, x) : u(bits, x));
const clamp = (x: bigint, least: bigint, most: bigint) => (x < least ? least : x > most ? most : x);
const saturated32 = (x: bigint) => u(32, clamp(x, -(1n << 31n), (1n << 31n) - 1n));
const abs = (x: bigint) => (x < 0n ? -x : x);

const integers = [16, 32, 64].flatMap((bits) =>
  [false, true].map((signed) => ({ bits, signed, type: `${signed ? "s" : "u"}${bits}` })),
);

function unary(text: string, bits: number, to: number, f: (a: bigint) => bigint): Case {
  return {
    text,
    results: [reg(to)],
    operands: [reg(bits)],
    rows: rows([edges(bits)], [bits]),
    expect: (a) => u(to, f(a)),
  };
}
function binary(text: string, bits: number, to: number, f: (a: bigint, b: bigint) => bigint, second = bits): Case {
  return {
    text,
    results: [reg(to)],
    operands: [reg(bits), reg(second)],
    rows: rows([edges(bits), edges(second)], [bits, second]),
    expect: (a, b) => u(to, f(a, b)),
  };
}
function ternary(text: string, bits: number, to: number, f: (a: bigint, b: bigint, c: bigint) => bigint): Case {
  return {
    text,
    results: [reg(to)],
    operands: [reg(bits), reg(bits), reg(to)],
    rows: rows([edges(bits), edges(bits), edges(to)], [bits, bits, to]),
    expect: (a, b, c) => u(to, f(a, b, c)),
  };
}

opcodes(
  "integer arithmetic",
  integers.flatMap(({ bits, signed, type }) => {
    const v = (x: bigint) => value(bits, signed, x);
    const n = BigInt(bits);
    return [
      binary(`add.${type} %d, %a, %b;`, bits, bits, (a, b) => a + b),
      binary(`sub.${type} %d, %a, %b;`, bits, bits, (a, b) => a - b),
      binary(`mul.lo.${type} %d, %a, %b;`, bits, bits, (a, b) => a * b),
      binary(`mul.hi.${type} %d, %a, %b;`, bits, bits, (a, b) => (v(a) * v(b)) >> n),
      ternary(`mad.lo.${type} %d, %a, %b, %c;`, bits, bits, (a, b, c) => a * b + c),
      ternary(`mad.hi.${type} %d, %a, %b, %c;`, bits, bits, (a, b, c) => ((v(a) * v(b)) >> n) + c),
      ...(bits < 64
        ? [
            binary(`mul.wide.${type} %d, %a, %b;`, bits, 2 * bits, (a, b) => v(a) * v(b)),
            ternary(`mad.wide.${type} %d, %a, %b, %c;`, bits, 2 * bits, (a, b, c) => v(a) * v(b) + c),
          ]
        : []),
      ternary(`sad.${type} %d, %a, %b, %c;`, bits, bits, (a, b, c) => c + abs(v(a) - v(b))),
      binary(`min.${type} %d, %a, %b;`, bits, bits, (a, b) => (v(a) < v(b) ? a : b)),
      binary(`max.${type} %d, %a, %b;`, bits, bits, (a, b) => (v(a) > v(b) ? a : b)),
      // The result of a division by zero is unspecified, but it must not stop the program.
      ...(["div", "rem"] as const).map(
        (op): Case => ({
          text: `${op}.${type} %d, %a, %b;`,
          results: [reg(bits)],
          operands: [reg(bits), reg(bits)],
          rows: rows([edges(bits), edges(bits)], [bits, bits]),
          expect: (a, b) => (b === 0n ? () => true : u(bits, op === "div" ? v(a) / v(b) : v(a) % v(b))),
        }),
      ),
      ...(signed
        ? [
            unary(`neg.${type} %d, %a;`, bits, bits, (a) => -a),
            unary(`abs.${type} %d, %a;`, bits, bits, (a) => abs(v(a))),
          ]
        : []),
    ];
  }),
);

const s32 = (x: bigint) => s(32, x);
const pairs = (f: (a: bigint, b: bigint) => bigint) => (a: bigint, b: bigint) =>
  u(16, f(a & 0xffffn, b & 0xffffn)) | (u(16, f(a >> 16n, b >> 16n)) << 16n);
const low = (a: bigint, b: bigint) => (a < b ? a : b);
const high = (a: bigint, b: bigint) => (a > b ? a : b);
const relu = (x: bigint) => (x < 0n ? 0n : x);
const s16 = (f: (a: bigint, b: bigint) => bigint) => (a: bigint, b: bigint) => f(s(16, a), s(16, b));

opcodes("saturating, packed and 24-bit integers", [
  binary("add.sat.s32 %d, %a, %b;", 32, 32, (a, b) => saturated32(s32(a) + s32(b))),
  binary("sub.sat.s32 %d, %a, %b;", 32, 32, (a, b) => saturated32(s32(a) - s32(b))),
  ternary("mad.hi.sat.s32 %d, %a, %b, %c;", 32, 32, (a, b, c) => saturated32(((s32(a) * s32(b)) >> 32n) + s32(c))),
  binary(
    "add.u16x2 %d, %a, %b;",
    32,
    32,
    pairs((a, b) => a + b),
  ),
  binary(
    "add.s16x2 %d, %a, %b;",
    32,
    32,
    pairs((a, b) => a + b),
  ),
  binary("min.u16x2 %d, %a, %b;", 32, 32, pairs(low)),
  binary("max.u16x2 %d, %a, %b;", 32, 32, pairs(high)),
  binary("min.s16x2 %d, %a, %b;", 32, 32, pairs(s16(low))),
  binary("max.s16x2 %d, %a, %b;", 32, 32, pairs(s16(high))),
  binary("min.relu.s16x2 %d, %a, %b;", 32, 32, pairs(s16((a, b) => relu(low(a, b))))),
  binary("max.relu.s16x2 %d, %a, %b;", 32, 32, pairs(s16((a, b) => relu(high(a, b))))),
  binary("min.relu.s32 %d, %a, %b;", 32, 32, (a, b) => relu(low(s32(a), s32(b)))),
  binary("max.relu.s32 %d, %a, %b;", 32, 32, (a, b) => relu(high(s32(a), s32(b)))),
  ...(["u32", "s32"] as const).flatMap((type) => {
    const v = (x: bigint) => value(24, type === "s32", x);
    return [
      binary(`mul24.lo.${type} %d, %a, %b;`, 32, 32, (a, b) => v(a) * v(b)),
      binary(`mul24.hi.${type} %d, %a, %b;`, 32, 32, (a, b) => (v(a) * v(b)) >> 16n),
      ternary(`mad24.lo.${type} %d, %a, %b, %c;`, 32, 32, (a, b, c) => v(a) * v(b) + c),
      ternary(`mad24.hi.${type} %d, %a, %b, %c;`, 32, 32, (a, b, c) => ((v(a) * v(b)) >> 16n) + c),
    ];
  }),
  ternary("mad24.hi.sat.s32 %d, %a, %b, %c;", 32, 32, (a, b, c) =>
    saturated32(s32((s(24, a) * s(24, b)) >> 16n) + s32(c)),
  ),
]);

// Two words: the lower sets the carry and the upper uses it. A third word shows the carry out of the upper one.
function chains(bits: number, type: string): Case[] {
  const n = BigInt(bits);
  const signed = type.startsWith("s");
  const both = (low: bigint, high: bigint) => low | (high << n);
  const split = (x: bigint) => [u(bits, x), u(bits, x >> n), u(bits, x >> (2n * n))];
  const r = reg(bits);
  const four = rows([edges(bits), edges(bits), edges(bits), edges(bits)], [bits, bits, bits, bits]);
  const chain = (text: string, expect: Case["expect"]): Case => ({
    text,
    results: [r, r, r],
    operands: [r, r, r, r],
    rows: four,
    expect,
  });
  return [
    chain(`add.cc.${type} %d, %a, %b; addc.cc.${type} %e, %c, %f; addc.${type} %g, 0, 0;`, (a, b, c, f) =>
      split(both(a, c) + both(b, f)),
    ),
    chain(`sub.cc.${type} %d, %a, %b; subc.cc.${type} %e, %c, %f; subc.${type} %g, 0, 0;`, (a, b, c, f) =>
      split(both(a, c) - both(b, f)),
    ),
    // (a + b) sets the carry, which c * f + a adds and passes on.
    ...(["lo", "hi"] as const).flatMap((part) => {
      const v = (x: bigint) => value(bits, signed, x);
      const product = (x: bigint, y: bigint) => u(bits, part === "lo" ? x * y : (v(x) * v(y)) >> n);
      return [
        chain(
          `mad.${part}.cc.${type} %d, %a, %b, %c; madc.${part}.cc.${type} %e, %b, %c, %f; addc.${type} %g, 0, 0;`,
          (a, b, c, f) => {
            const first = product(a, b) + c;
            const second = product(b, c) + f + (first >> n);
            return [u(bits, first), u(bits, second), second >> n];
          },
        ),
        chain(
          `add.cc.${type} %d, %a, %b; madc.${part}.${type} %e, %c, %f, %a; addc.${type} %g, 0, 0;`,
          (a, b, c, f) => {
            const carry = (a + b) >> n;
            return [u(bits, a + b), u(bits, product(c, f) + a + carry), carry];
          },
        ),
      ];
    }),
  ];
}
opcodes(
  "extended precision",
  ["u32", "s32", "u64", "s64"].flatMap((type) => chains(Number(type.slice(1)), type)),
);

const popcount = (x: bigint) => BigInt([...x.toString(2)].filter((c) => c === "1").length);
const top = (x: bigint) => (x === 0n ? -1n : BigInt(x.toString(2).length - 1));
const reversed = (x: bigint, bits: number) => BigInt(`0b${[...x.toString(2).padStart(bits, "0")].reverse().join("")}`);

// Positions and lengths in range, at the edges, and beyond the low byte.
const places = [0n, 1n, 5n, 8n, 31n, 32n, 33n, 63n, 64n, 100n, 255n, 256n, 260n, 0xffffff07n];
const fields = (bits: number) => {
  const next = random(7n);
  return [0n, 1n, 1n << BigInt(bits - 1), u(bits, -1n), 0x0123456789abcdefn & u(bits, -1n), u(bits, next())];
};

opcodes(
  "bits and bit fields",
  [32, 64].flatMap((bits) => {
    const r = reg(bits);
    const msb = BigInt(bits - 1);
    const bfe = (signed: boolean): Case => ({
      text: `bfe.${signed ? "s" : "u"}${bits} %d, %a, %b, %c;`,
      results: [r],
      operands: [r, "b32", "b32"],
      rows: rows([fields(bits), places, places], [bits, 6, 6], 300),
      expect: (a, b, c) => {
        const [pos, len] = [b & 0xffn, c & 0xffn];
        const last = pos + len - 1n < msb ? pos + len - 1n : msb;
        const sign = !signed || len === 0n ? 0n : (a >> last) & 1n;
        let d = 0n;
        for (let i = 0n; i <= msb; i++) d |= (i < len && pos + i <= msb ? (a >> (pos + i)) & 1n : sign) << i;
        return d;
      },
    });
    return [
      unary(`popc.b${bits} %d, %a;`, bits, 32, popcount),
      unary(`clz.b${bits} %d, %a;`, bits, 32, (a) => msb - top(a)),
      unary(`brev.b${bits} %d, %a;`, bits, bits, (a) => reversed(a, bits)),
      ...[false, true].flatMap((signed) => {
        const found = (a: bigint) => top(signed && a >> msb === 1n ? u(bits, ~a) : a);
        const type = `${signed ? "s" : "u"}${bits}`;
        return [
          unary(`bfind.${type} %d, %a;`, bits, 32, found),
          unary(`bfind.shiftamt.${type} %d, %a;`, bits, 32, (a) => (found(a) < 0n ? -1n : msb - found(a))),
        ];
      }),
      bfe(false),
      bfe(true),
      {
        text: `bfi.b${bits} %d, %a, %b, %c, %f;`,
        results: [r],
        operands: [r, r, "b32", "b32"],
        rows: rows([fields(bits).slice(2, 4), fields(bits).slice(3), places, places], [bits, bits, 6, 6], 300),
        expect: (a, b, c, f) => {
          const [pos, len] = [c & 0xffn, f & 0xffn];
          let d = b;
          for (let i = 0n; i < len && pos + i <= msb; i++)
            d = (d & ~(1n << (pos + i))) | (((a >> i) & 1n) << (pos + i));
          return d;
        },
      },
    ];
  }),
);

const ones = 0xffffffffn;
function bmsk(mode: string, a: bigint, b: bigint): bigint {
  const from = a & 31n;
  const sum = from + (b & 31n);
  let mask0 = u(32, ones << from);
  let mask1 = u(32, ones << sum);
  const over = sum >= 32n || (mode === "clamp" && (a >= 32n || b >= 32n));
  if (mode === "clamp" && a >= 32n) mask0 = 0n;
  if (over) mask1 = 0n;
  else if ((b & 31n) === 0n) mask1 = ones;
  return mask0 & ~mask1;
}
function szext(mode: string, type: string, a: bigint, b: bigint): bigint {
  const n = b & 31n;
  const large = b >= 32n && mode === "clamp";
  const mask = large ? 0n : u(32, ones << n);
  const sign = !(n === 0n || large || type !== "s32") && ((a >> (n - 1n)) & 1n) === 1n;
  return (a & ~mask & ones) | (sign ? mask : 0n);
}
function fns(mask: bigint, base: bigint, offset: bigint): bigint {
  const bit = (i: bigint) => (mask >> i) & 1n;
  if (offset === 0n) return bit(base) === 1n ? base : ones;
  let count = abs(offset) - 1n;
  for (let pos = base; pos >= 0n && pos < 32n; pos += offset > 0n ? 1n : -1n)
    if (bit(pos) === 1n && count-- === 0n) return pos;
  return ones;
}
const bytes = (x: bigint, type: string) => [0n, 8n, 16n, 24n].map((i) => value(8, type === "s32", x >> i));
const halves = (x: bigint, type: string) => [0n, 16n].map((i) => value(16, type === "s32", x >> i));
const dot = (x: bigint[], y: bigint[], c: bigint) => x.reduce((sum, v, i) => sum + v * y[i]!, c);

opcodes("masks and dot products", [
  ...["clamp", "wrap"].flatMap((mode): Case[] => [
    {
      text: `bmsk.${mode}.b32 %d, %a, %b;`,
      results: ["b32"],
      operands: ["b32", "b32"],
      rows: rows([places, places], [6, 6]),
      expect: (a, b) => bmsk(mode, a, b),
    },
    ...["u32", "s32"].map(
      (type): Case => ({
        text: `szext.${mode}.${type} %d, %a, %b;`,
        results: ["b32"],
        operands: ["b32", "b32"],
        rows: rows([fields(32), places], [32, 6]),
        expect: (a, b) => szext(mode, type, a, b),
      }),
    ),
  ]),
  {
    text: "fns.b32 %d, %a, %b, %c;",
    results: ["b32"],
    operands: ["b32", "b32", "b32"],
    rows: rows([fields(32), [0n, 1n, 15n, 31n], [0n, 1n, 2n, 5n, ones, ones - 4n, 1n << 31n]], [32, 5, 3], 200),
    expect: (a, b, c) => fns(a, b, s32(c)),
  },
  ...["u32", "s32"].flatMap((ta) =>
    ["u32", "s32"].flatMap((tb) => [
      ternary(`dp4a.${ta}.${tb} %d, %a, %b, %c;`, 32, 32, (a, b, c) => dot(bytes(a, ta), bytes(b, tb), c)),
      ternary(`dp2a.lo.${ta}.${tb} %d, %a, %b, %c;`, 32, 32, (a, b, c) => dot(halves(a, ta), bytes(b, tb), c)),
      ternary(`dp2a.hi.${ta}.${tb} %d, %a, %b, %c;`, 32, 32, (a, b, c) => dot(halves(a, ta), bytes(b, tb).slice(2), c)),
    ]),
  ),
]);

rejects("integer instructions that do not exist", [
  "add.sat.u32 %r0, %r1, %r2;",
  "add.sat.s64 %d0, %d1, %d2;",
  "add.rn.s32 %r0, %r1, %r2;",
  "add.s32 %r0, %r1;",
  "add.s32 %r0, %d1, %r2;",
  "sub.u16x2 %r0, %r1, %r2;",
  "mul.s32 %r0, %r1, %r2;",
  "mul.wide.s64 %d0, %d1, %d2;",
  "mad.lo.sat.s32 %r0, %r1, %r2, %r3;",
  "addc.cc.u16 %h0, %h1, %h2;",
  "madc.cc.u32 %r0, %r1, %r2, %r3;",
  "mul24.wide.u32 %r0, %r1, %r2;",
  "min.relu.u32 %r0, %r1, %r2;",
  "min.relu.u16x2 %r0, %r1, %r2;",
  "neg.u32 %r0, %r1;",
  "popc.u32 %r0, %r1;",
  "clz.b16 %r0, %h1;",
  "bfe.b32 %r0, %r1, %r2, %r3;",
  "bfi.b32 %r0, %r1, %r2, %r3;",
  "dp2a.u32.u32 %r0, %r1, %r2, %r3;",
  "rem.f32 %r0, %r1, %r2;",
]);
