import { type Case, edges, opcodes, type Register, rejects, rows } from "../support/opcode.js";
import { bf16, decode, edgesOf, type Format, f16, f32, f64, flush, order } from "./reference.js";

const reg = (bits: number): Register => (bits === 16 ? "b16" : bits === 32 ? "b32" : "b64");
const ordered: Record<string, (o: number) => boolean> = {
  eq: (o) => o === 0,
  ne: (o) => o !== 0,
  lt: (o) => o < 0,
  le: (o) => o <= 0,
  gt: (o) => o > 0,
  ge: (o) => o >= 0,
};
/** True if the comparison holds; `o` is undefined when an operand is NaN. */
function holds(name: string, o: number | undefined): boolean {
  if (name === "num") return o !== undefined;
  if (name === "nan") return o === undefined;
  if (name.length === 3) return o === undefined || ordered[name.slice(0, 2)]!(o);
  return o !== undefined && ordered[name]!(o);
}
const floats = [...Object.keys(ordered), "equ", "neu", "ltu", "leu", "gtu", "geu", "num", "nan"];
const combine: Record<string, (t: bigint, c: bigint) => bigint> = {
  and: (t, c) => t & c,
  or: (t, c) => t | c,
  xor: (t, c) => t ^ c,
};

interface Operands {
  readonly type: string;
  readonly bits: number;
  readonly values: readonly bigint[];
  readonly names: readonly string[];
  /** Compares the operands as the type defines, or as unsigned integers. */
  compare(a: bigint, b: bigint, ftz: boolean): number | undefined;
  readonly ftz: boolean;
}
const sign = (x: bigint): number => (x < 0n ? -1 : x > 0n ? 1 : 0);
const integers: Operands[] = [16, 32, 64].flatMap((bits) =>
  ["u", "s", "b"].map((kind) => ({
    type: kind + bits,
    bits,
    values: edges(bits),
    names:
      kind === "b"
        ? ["eq", "ne"]
        : kind === "u"
          ? [...Object.keys(ordered), "lo", "ls", "hi", "hs"]
          : Object.keys(ordered),
    compare: (a, b) => (kind === "s" ? sign(BigInt.asIntN(bits, a) - BigInt.asIntN(bits, b)) : sign(a - b)),
    ftz: false,
  })),
);
const floating = (type: string, bits: number, f: Format, ftz: boolean): Operands => ({
  type,
  bits,
  values: edgesOf(f),
  names: floats,
  compare: (a, b, flushes) => order(decode(flushes ? flush(a, f) : a, f), decode(flushes ? flush(b, f) : b, f)),
  ftz,
});
const scalars = [
  ...integers,
  floating("f32", 32, f32, true),
  floating("f64", 64, f64, false),
  floating("f16", 16, f16, true),
  floating("bf16", 16, bf16, false),
];
const plainName = (name: string) => ({ lo: "lt", ls: "le", hi: "gt", hs: "ge" })[name] ?? name;
const flushings = (o: Operands) => (o.ftz ? [false, true] : [false]);

opcodes(
  "setp",
  scalars.flatMap((o) => {
    const isHalf = o.type.endsWith("f16");
    return flushings(o).flatMap((ftz) =>
      o.names.flatMap((name): Case[] => {
        const t = (a: bigint, b: bigint) => (holds(plainName(name), o.compare(a, b, ftz)) ? 1n : 0n);
        const end = `${ftz ? ".ftz" : ""}.${o.type}`;
        const base = {
          operands: [reg(o.bits), reg(o.bits)],
          rows: rows([o.values, o.values], [o.bits, o.bits]),
        } as const;
        const plain: Case = {
          ...base,
          text: `setp.${name}${end} %d, %a, %b;`,
          results: ["pred"],
          expect: (a, b) => t(a, b),
        };
        if (isHalf) return [plain];
        return [
          plain,
          {
            ...base,
            text: `setp.${name}${end} %d|%e, %a, %b;`,
            results: ["pred", "pred"],
            expect: (a, b) => [t(a, b), 1n - t(a, b)],
          },
        ];
      }),
    );
  }),
);
opcodes(
  "setp with a predicate",
  ["s32", "u64", "f32", "f64", "f16", "bf16"].flatMap((type) => {
    const o = scalars.find((x) => x.type === type)!;
    return Object.entries(combine).flatMap(([op, f]) =>
      ["", "!"].map((not): Case => {
        const two = !type.endsWith("f16");
        return {
          text: `setp.lt.${op}.${type} ${two ? "%d|%e" : "%d"}, %a, %b, ${not}%c;`,
          results: two ? ["pred", "pred"] : ["pred"],
          operands: [reg(o.bits), reg(o.bits), "pred"],
          rows: rows([o.values, o.values, [0n, 1n]], [o.bits, o.bits, 1]),
          expect: (a, b, c) => {
            const t = holds("lt", o.compare(a, b, false)) ? 1n : 0n;
            const p = not ? 1n - c : c;
            return two ? [f(t, p), f(1n - t, p)] : f(t, p);
          },
        };
      }),
    );
  }),
);

const halves = (x: bigint): [bigint, bigint] => [x & 0xffffn, x >> 16n];
function pairRows(f: Format): bigint[][] {
  const single = rows([edgesOf(f), edgesOf(f)], [16, 16]);
  return single.map((row, r) => row.map((x, i) => x | (single[(11 * r + 5) % single.length]![i]! << 16n)));
}
function pairs(type: string, f: Format, ftz: boolean): Case[] {
  const o = floating(type, 16, f, ftz);
  const end = `${ftz ? ".ftz" : ""}.${type}`;
  const t = (name: string, a: bigint, b: bigint): [bigint, bigint] => {
    const [p, q] = [0, 1].map((i) => (holds(name, o.compare(halves(a)[i]!, halves(b)[i]!, ftz)) ? 1n : 0n));
    return [p!, q!];
  };
  const base = { operands: ["b32", "b32"], rows: pairRows(f) } as const;
  return floats.flatMap((name): Case[] => [
    { ...base, text: `setp.${name}${end} %d|%e, %a, %b;`, results: ["pred", "pred"], expect: (a, b) => t(name, a, b) },
    {
      text: `setp.${name}.xor${end} %d|%e, %a, %b, !%c;`,
      results: ["pred", "pred"],
      operands: ["b32", "b32", "pred"],
      rows: base.rows.map((row, i) => [...row, BigInt(i % 2)]),
      expect: (a, b, c) => t(name, a, b).map((x) => x ^ (1n - c)),
    },
    ...["u32", "s32", type].map(
      (d): Case => ({
        ...base,
        text: `set.${name}${ftz ? ".ftz" : ""}.${d}.${type} %d, %a, %b;`,
        results: ["b32"],
        expect: (a, b) => {
          const yes = d !== type ? 0xffffn : f === f16 ? 0x3c00n : 0x3f80n;
          const [p, q] = t(name, a, b);
          return (p * yes) | ((q * yes) << 16n);
        },
      }),
    ),
  ]);
}
opcodes("comparisons of pairs", [
  ...pairs("f16x2", f16, false),
  ...pairs("f16x2", f16, true),
  ...pairs("bf16x2", bf16, false),
]);

const yes: Record<string, bigint> = {
  u16: 0xffffn,
  s16: 0xffffn,
  u32: 0xffffffffn,
  s32: 0xffffffffn,
  f32: 0x3f800000n,
  f16: 0x3c00n,
  bf16: 0x3f80n,
};
opcodes(
  "set",
  scalars.flatMap((o) => {
    const isHalf = o.type.endsWith("f16");
    const results = isHalf ? ["u16", "s16", "u32", "s32", o.type] : ["u32", "s32", "f32", "f16", "bf16"];
    return results.flatMap((d) =>
      flushings(o).flatMap((ftz) => {
        if (ftz && d === "bf16") return [];
        const width = d.endsWith("16") ? "b16" : "b32";
        const names = o.names.filter((_, i) => (d === "u32" ? true : i % 3 === 0));
        return names.map((name): Case => {
          const combined = name === "eq";
          return {
            text: `set.${name}${combined ? ".and" : ""}${ftz ? ".ftz" : ""}.${d}.${o.type} %d, %a, %b${combined ? ", !%c" : ""};`,
            results: [width],
            operands: combined ? [reg(o.bits), reg(o.bits), "pred"] : [reg(o.bits), reg(o.bits)],
            rows: rows(
              [o.values, o.values, ...(combined ? [[0n, 1n]] : [])],
              [o.bits, o.bits, ...(combined ? [1] : [])],
            ),
            expect: (a, b, c) => {
              const t = holds(plainName(name), o.compare(a!, b!, ftz));
              return t && (!combined || c === 0n) ? yes[d]! : 0n;
            },
          };
        });
      }),
    );
  }),
);

const selectable = [16, 32, 64].flatMap((bits) =>
  ["b", "u", "s", ...(bits > 16 ? ["f"] : [])].map((kind) => ({ type: kind + bits, bits })),
);
opcodes(
  "selp and slct",
  selectable.flatMap(({ type, bits }): Case[] => {
    const values = [0n, 1n, 0x5aa5n];
    const r = reg(bits);
    const nonNegative = (c: bigint, ftz: boolean) => {
      const o = order(decode(ftz ? flush(c, f32) : c, f32), decode(0n, f32));
      return o !== undefined && o >= 0;
    };
    return [
      ...["", "!"].map(
        (not): Case => ({
          text: `selp.${type} %d, %a, %b, ${not}%c;`,
          results: [r],
          operands: [r, r, "pred"],
          rows: rows([values, values, [0n, 1n]], [bits, bits, 1]),
          expect: (a, b, c) => ((c === 1n) === (not === "") ? a : b),
        }),
      ),
      {
        text: `slct.${type}.s32 %d, %a, %b, %c;`,
        results: [r],
        operands: [r, r, "b32"],
        rows: rows([values, values, edges(32)], [bits, bits, 32]),
        expect: (a, b, c) => (BigInt.asIntN(32, c) >= 0n ? a : b),
      },
      ...[false, true].map(
        (ftz): Case => ({
          text: `slct${ftz ? ".ftz" : ""}.${type}.f32 %d, %a, %b, %c;`,
          results: [r],
          operands: [r, r, "b32"],
          rows: rows([values, values, edgesOf(f32)], [bits, bits, 32]),
          expect: (a, b, c) => (nonNegative(c, ftz) ? a : b),
        }),
      ),
    ];
  }),
);

rejects("comparisons that do not exist", [
  "setp.equ.s32 %p, %r1, %r2;",
  "setp.lo.s32 %p, %r1, %r2;",
  "setp.lt.b32 %p, %r1, %r2;",
  "setp.hi.f32 %p, %r1, %r2;",
  "setp.eq.ftz.f64 %p, %d1, %d2;",
  "setp.eq.ftz.bf16 %p, %h1, %h2;",
  "setp.eq.f16x2 %p, %r1, %r2;",
  "setp.eq.f16 %p|%q, %h1, %h2;",
  "setp.eq.and.s32 %p, %r1, %r2;",
  "setp.eq.s32 %p, %r1, %r2, %q;",
  "set.eq.s32 %r0, %r1, %r2;",
  "set.eq.u64.s32 %d0, %r1, %r2;",
  "set.eq.u16.s32 %h0, %r1, %r2;",
  "set.eq.f32.f16 %r0, %h1, %h2;",
  "set.eq.ftz.bf16.f32 %h0, %r1, %r2;",
  "selp.f16 %h0, %h1, %h2, %p;",
  "slct.ftz.b32.s32 %r0, %r1, %r2, %r3;",
]);
