import { type Case, opcodes, type Register, rejects, rows } from "../support/opcode.js";
import {
  add,
  bf16,
  decode,
  edgesOf,
  encode,
  type Format,
  f16,
  flush,
  isNan,
  mul,
  negated,
  order,
  type Real,
  relu,
  saturate,
} from "./reference.js";

interface Kind {
  readonly type: string;
  readonly f: Format;
  readonly pair: boolean;
}
const kinds: Kind[] = [
  { type: "f16", f: f16, pair: false },
  { type: "f16x2", f: f16, pair: true },
  { type: "bf16", f: bf16, pair: false },
  { type: "bf16x2", f: bf16, pair: true },
];
const reg = (k: Kind): Register => (k.pair ? "b32" : "b16");
const low = (x: bigint) => x & 0xffffn;

/** In a pair, the second half comes from another row, so that the halves differ. */
function operands(k: Kind, count: number): bigint[][] {
  const one = k.f === f16 ? 0x3c00n : 0x3f80n;
  const near = rows(Array(count).fill([one]), Array(count).fill(k.f.mantissa + 3), 250).map((row) =>
    row.map((x) => one - (1n << BigInt(k.f.mantissa)) + x),
  );
  // products of these are subnormal
  const small = near.map((row) => row.map((x) => (one >> 1n) + (x & 0xffn)));
  const single = [...rows(Array(count).fill(edgesOf(k.f)), Array(count).fill(16), 300), ...near, ...small];
  if (!k.pair) return single;
  return single.map((row, r) => row.map((x, i) => x | (single[(7 * r + 3) % single.length]![i]! << 16n)));
}
/** Applies f to each half. */
function each(k: Kind, row: readonly bigint[], f: (...x: bigint[]) => bigint): bigint {
  const first = f(...row.map(low));
  return k.pair ? first | (f(...row.map((x) => x >> 16n)) << 16n) : first;
}

const operation: Record<string, (x: Real[]) => Real> = {
  add: ([a, b]) => add(a!, b!),
  sub: ([a, b]) => add(a!, negated(b!)),
  mul: ([a, b]) => mul(a!, b!),
  fma: ([a, b, c]) => add(mul(a!, b!), c!),
};
function arithmetic(name: string, k: Kind, modifiers: string): Case {
  const count = name === "fma" ? 3 : 2;
  const ftz = (x: bigint) => (modifiers.includes("ftz") ? flush(x, k.f) : x);
  return {
    text: `${name}${modifiers}.${k.type} %d, ${["%a", "%b", "%c"].slice(0, count).join(", ")};`,
    results: [reg(k)],
    operands: Array(count).fill(reg(k)),
    rows: operands(k, count),
    expect: (...row) =>
      each(k, row, (...x) => {
        const bits = ftz(encode(operation[name]!(x.map((v) => decode(ftz(v), k.f))), k.f));
        return modifiers.includes("sat") ? saturate(bits, k.f) : modifiers.includes("relu") ? relu(bits, k.f) : bits;
      }),
  };
}
opcodes(
  "half-precision arithmetic",
  kinds.flatMap((k) => {
    const ieee = k.f === f16;
    const plain = ieee ? ["", ".rn", ".ftz", ".sat", ".rn.ftz.sat"] : ["", ".rn"];
    const fused = ieee ? [".rn", ".rn.ftz", ".rn.sat", ".rn.ftz.sat", ".rn.relu", ".rn.ftz.relu"] : [".rn", ".rn.relu"];
    return [
      ...["add", "sub", "mul"].flatMap((name) => plain.map((m) => arithmetic(name, k, m))),
      ...fused.map((m) => arithmetic("fma", k, m)),
    ];
  }),
);

function extreme(name: "min" | "max", k: Kind, modifiers: string): Case {
  const { f } = k;
  return {
    text: `${name}${modifiers}.${k.type} %d, %a, %b;`,
    results: [reg(k)],
    operands: [reg(k), reg(k)],
    rows: operands(k, 2),
    expect: (...row) =>
      each(k, row, (...x) => {
        let [a, b] = x.map((v) => (modifiers.includes("ftz") ? flush(v, f) : v)) as [bigint, bigint];
        const xorsign = modifiers.includes("xorsign");
        const signs = (a ^ b) & 0x8000n;
        if (xorsign) [a, b] = [a & 0x7fffn, b & 0x7fffn];
        const [p, q] = [isNan(a, f), isNan(b, f)];
        if ((p && q) || (modifiers.includes("NaN") && (p || q))) return f.nan;
        let d = a;
        if (p) d = b;
        else if (!q) {
          const less = order(decode(a, f), decode(b, f)) || (a === b ? 0 : a & 0x8000n ? -1 : 1);
          d = (name === "min") === less < 0 ? a : b;
        }
        return xorsign ? (d & 0x7fffn) | signs : d;
      }),
  };
}
function sign(name: "abs" | "neg", k: Kind, ftz: boolean): Case {
  const expected = (x: bigint) => {
    const v = ftz ? flush(x, k.f) : x;
    return name === "abs" ? v & 0x7fffn : v ^ 0x8000n;
  };
  return {
    text: `${name}${ftz ? ".ftz" : ""}.${k.type} %d, %a;`,
    results: [reg(k)],
    operands: [reg(k)],
    rows: operands(k, 1),
    // The ISA only says that NaN stays NaN.
    expect: (a) => (bits) => {
      const halves = k.pair ? [0n, 16n] : [0n];
      return halves.every((at) => {
        const [x, got] = [low(a >> at), low(bits >> at)];
        return isNan(x, k.f) ? isNan(got, k.f) : got === expected(x);
      });
    },
  };
}
opcodes(
  "half-precision signs, min and max",
  kinds.flatMap((k) => [
    ...(["min", "max"] as const).flatMap((name) =>
      (k.f === f16 ? ["", ".ftz"] : [""]).flatMap((ftz) =>
        ["", ".NaN", ".xorsign.abs", ".NaN.xorsign.abs"].map((rest) => extreme(name, k, ftz + rest)),
      ),
    ),
    ...(["abs", "neg"] as const).flatMap((name) => [
      sign(name, k, false),
      ...(k.f === f16 ? [sign(name, k, true)] : []),
    ]),
  ]),
);

function value(bits: bigint, f: Format): number {
  const x = decode(bits, f);
  if (x.kind === "nan") return Number.NaN;
  if (x.kind === "inf") return x.negative ? -Infinity : Infinity;
  return ((x.negative ? -1 : 1) * Number(x.n)) / Number(x.d);
}
function approximate(head: string, k: Kind, f: (x: number) => number, error: (exact: number) => number): Case {
  const ftz = head.includes("ftz");
  const largest = value((((1n << BigInt(k.f.exponent)) - 1n) << BigInt(k.f.mantissa)) - 1n, k.f);
  const normal = value(1n << BigInt(k.f.mantissa), k.f);
  const least = value(1n, k.f);
  const good = (x: bigint, bits: bigint): boolean => {
    const exact = f(value(ftz ? flush(x, k.f) : x, k.f));
    const got = value(bits, k.f);
    if (Number.isNaN(exact)) return bits === k.f.nan;
    if (Number.isInteger(Math.log2(Math.abs(exact))) && exact >= normal && exact <= 1) return got === exact;
    if (exact === 0) return Object.is(got, exact);
    if (exact > largest) return got === Infinity || got === largest;
    if (ftz && Math.abs(exact) < normal) return got === 0 || Math.abs(exact) > normal / 2;
    return Math.abs(got - exact) <= Math.max(error(exact), least);
  };
  return {
    text: `${head}.${k.type} %d, %a;`,
    results: [reg(k)],
    operands: [reg(k)],
    rows: operands(k, 1),
    expect: (a) => (bits) => good(low(a), low(bits)) && (!k.pair || good(a >> 16n, bits >> 16n)),
  };
}
opcodes(
  "half-precision approximations",
  kinds.flatMap((k) => {
    const ieee = k.f === f16;
    return [
      approximate(
        ieee ? "ex2.approx" : "ex2.approx.ftz",
        k,
        (x) => 2 ** x,
        (exact) => 2 ** (ieee ? -9.9 : -7) * exact,
      ),
      approximate("tanh.approx", k, Math.tanh, () => 2 ** (ieee ? -10.987 : -8)),
    ];
  }),
);

rejects("half-precision instructions that do not exist", [
  "add.rz.f16 %h0, %h1, %h2;",
  "add.ftz.bf16 %h0, %h1, %h2;",
  "add.sat.bf16x2 %r0, %r1, %r2;",
  "add.f16 %r0, %r1, %r2;",
  "fma.f16 %h0, %h1, %h2, %h3;",
  "fma.rn.sat.relu.f16 %h0, %h1, %h2, %h3;",
  "fma.rn.ftz.bf16 %h0, %h1, %h2, %h3;",
  "div.rn.f16 %h0, %h1, %h2;",
  "neg.ftz.bf16 %h0, %h1;",
  "min.ftz.bf16 %h0, %h1, %h2;",
  "max.xorsign.f16 %h0, %h1, %h2;",
  "ex2.approx.ftz.f16 %h0, %h1;",
  "ex2.approx.bf16 %h0, %h1;",
  "tanh.f16 %h0, %h1;",
  "tanh.approx.ftz.f16 %h0, %h1;",
]);
