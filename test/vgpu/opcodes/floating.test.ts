import { type Case, opcodes, type Register, rejects, rows } from "../support/opcode.js";
import {
  add,
  decode,
  div,
  edgesOf,
  encode,
  type Format,
  f32,
  f64,
  flush,
  isNan,
  type Mode,
  modes,
  mul,
  negated,
  order,
  type Real,
  real,
  saturate,
  sqrt,
  width,
} from "./reference.js";

const reg = (f: Format): Register => (f === f32 ? "b32" : "b64");
const operation: Record<string, (x: Real[], mode: Mode) => Real> = {
  add: ([a, b], mode) => add(a!, b!, mode),
  sub: ([a, b], mode) => add(a!, negated(b!), mode),
  mul: ([a, b]) => mul(a!, b!),
  fma: ([a, b, c], mode) => add(mul(a!, b!), c!, mode),
  mad: ([a, b, c], mode) => add(mul(a!, b!), c!, mode),
  div: ([a, b]) => div(a!, b!),
  rcp: ([a]) => div(real(false, 1n), a!),
  sqrt: ([a]) => sqrt(a!),
};

/** Edge cases, and ordinary operands close to each other, so that sums cancel and late bits decide the rounding. */
function operands(f: Format, count: number): bigint[][] {
  const w = width(f);
  const edge = edgesOf(f);
  const list = rows(Array(count).fill(edge), Array(count).fill(w), f === f32 ? 250 : 120);
  const one = (BigInt(2 ** (f.exponent - 1) - 1) << BigInt(f.mantissa)) >> 0n;
  const near = rows(Array(count).fill([one]), Array(count).fill(f.mantissa + 2), f === f32 ? 250 : 120);
  return [
    ...list,
    ...near.map((row) =>
      row.map((x, i) => (one - (1n << BigInt(f.mantissa)) + x) | (i === 1 && x % 2n ? 1n << BigInt(w - 1) : 0n)),
    ),
  ];
}

/** NaN results are canonical in single precision; the ISA leaves double-precision ones open. */
const same = (want: bigint, f: Format) => (f === f64 && isNan(want, f) ? (bits: bigint) => isNan(bits, f) : want);

function arithmetic(name: string, f: Format, mode: Mode | "", modifiers: { ftz?: boolean; sat?: boolean } = {}): Case {
  const count = name === "fma" || name === "mad" ? 3 : name === "rcp" || name === "sqrt" ? 1 : 2;
  const { ftz = false, sat = false } = modifiers;
  const head = [name, mode, ftz ? "ftz" : "", sat ? "sat" : "", f === f32 ? "f32" : "f64"].filter(Boolean).join(".");
  const flushed = (x: bigint) => (ftz ? flush(x, f) : x);
  return {
    text: `${head} %d, ${["%a", "%b", "%c"].slice(0, count).join(", ")};`,
    results: [reg(f)],
    operands: Array(count).fill(reg(f)),
    rows: operands(f, count),
    expect: (...row) => {
      const exact = operation[name]!(
        row.map((x) => decode(flushed(x), f)),
        mode || "rn",
      );
      const bits = flushed(encode(exact, f, mode || "rn"));
      return same(sat ? saturate(bits, f) : bits, f);
    },
  };
}

const flags = [{}, { ftz: true }, { sat: true }, { ftz: true, sat: true }];
opcodes("single precision", [
  ...["add", "sub", "mul"].flatMap((name) => [
    arithmetic(name, f32, ""),
    ...modes.flatMap((mode) => flags.map((flag) => arithmetic(name, f32, mode, flag))),
  ]),
  ...["fma", "mad"].flatMap((name) => modes.flatMap((mode) => flags.map((flag) => arithmetic(name, f32, mode, flag)))),
  ...["div", "rcp", "sqrt"].flatMap((name) =>
    modes.flatMap((mode) => [arithmetic(name, f32, mode), arithmetic(name, f32, mode, { ftz: true })]),
  ),
]);
opcodes("double precision", [
  ...["add", "sub", "mul"].map((name) => arithmetic(name, f64, "")),
  ...["add", "sub", "mul", "fma", "mad", "div", "rcp", "sqrt"].flatMap((name) =>
    modes.map((mode) => arithmetic(name, f64, mode)),
  ),
]);

function extreme(name: "min" | "max", f: Format, flag: { ftz?: boolean; nan?: boolean; xorsign?: boolean } = {}): Case {
  const { ftz = false, nan = false, xorsign = false } = flag;
  const sign = 1n << BigInt(width(f) - 1);
  const type = f === f32 ? "f32" : "f64";
  const head = [name, ftz ? "ftz" : "", nan ? "NaN" : "", xorsign ? "xorsign.abs" : "", type].filter(Boolean).join(".");
  return {
    text: `${head} %d, %a, %b;`,
    results: [reg(f)],
    operands: [reg(f), reg(f)],
    rows: operands(f, 2),
    expect: (...row) => {
      let [a, b] = row.map((x) => (ftz ? flush(x, f) : x)) as [bigint, bigint];
      const signs = (a ^ b) & sign;
      if (xorsign) [a, b] = [a & (sign - 1n), b & (sign - 1n)];
      const [x, y] = [isNan(a, f), isNan(b, f)];
      if ((x && y) || (nan && (x || y))) return same(f.nan, f);
      let d = a;
      if (x) d = b;
      else if (!y) {
        // +0 is greater than -0.
        const less = order(decode(a, f), decode(b, f)) || (a === b ? 0 : a & sign ? -1 : 1);
        d = (name === "min") === less < 0 ? a : b;
      }
      return xorsign ? (d & (sign - 1n)) | signs : d;
    },
  };
}
const choices = [false, true];
opcodes("min and max", [
  extreme("min", f64),
  extreme("max", f64),
  ...(["min", "max"] as const).flatMap((name) =>
    choices.flatMap((ftz) =>
      choices.flatMap((nan) => choices.map((xorsign) => extreme(name, f32, { ftz, nan, xorsign }))),
    ),
  ),
]);

const unsigned = (f: Format) => (1n << BigInt(width(f) - 1)) - 1n;
function sign(name: "abs" | "neg", f: Format, ftz: boolean): Case {
  return {
    text: `${name}${ftz ? ".ftz" : ""}.${f === f32 ? "f32" : "f64"} %d, %a;`,
    results: [reg(f)],
    operands: [reg(f)],
    rows: operands(f, 1),
    expect: (a) => {
      const x = ftz ? flush(a, f) : a;
      if (isNan(x, f)) return (bits) => isNan(bits, f);
      return name === "abs" ? x & unsigned(f) : x ^ (unsigned(f) + 1n);
    },
  };
}
const tests: Record<string, (x: bigint, f: Format) => boolean> = {
  finite: (x, f) => decode(x, f).kind === "number",
  infinite: (x, f) => decode(x, f).kind === "inf",
  number: (x, f) => !isNan(x, f),
  notanumber: (x, f) => isNan(x, f),
  normal: (x, f) => decode(x, f).kind === "number" && flush(x, f) === x && (x & unsigned(f)) !== 0n,
  subnormal: (x, f) => flush(x, f) !== x,
};
opcodes("signs and tests", [
  ...(["abs", "neg"] as const).flatMap((name) => [
    sign(name, f32, false),
    sign(name, f32, true),
    sign(name, f64, false),
  ]),
  ...[f32, f64].flatMap((f): Case[] => [
    {
      text: `copysign.${f === f32 ? "f32" : "f64"} %d, %a, %b;`,
      results: [reg(f)],
      operands: [reg(f), reg(f)],
      rows: operands(f, 2),
      expect: (a, b) => (a & (unsigned(f) + 1n)) | (b & unsigned(f)),
    },
    ...Object.entries(tests).map(
      ([name, test]): Case => ({
        text: `testp.${name}.${f === f32 ? "f32" : "f64"} %d, %a;`,
        results: ["pred"],
        operands: [reg(f)],
        rows: operands(f, 1),
        expect: (a) => (test(a, f) ? 1n : 0n),
      }),
    ),
  ]),
]);

// --- approximate: within the documented error, exact at the documented points
// ------------------------------------------

const view = new DataView(new ArrayBuffer(8));
const float = (bits: bigint): number => {
  view.setUint32(0, Number(bits));
  return view.getFloat32(0);
};
const double = (bits: bigint): number => {
  view.setBigUint64(0, bits);
  return view.getFloat64(0);
};
const bitsOf = (x: number): bigint => {
  view.setFloat32(0, x);
  return BigInt(view.getUint32(0));
};
const ulp = (x: number) => 2 ** (Math.max(Math.floor(Math.log2(Math.abs(x))), -126) - 23);

type Error = (exact: number, x: number) => number;
const ulps =
  (n: number): Error =>
  (exact) =>
    n * ulp(exact);
const relative =
  (e: number): Error =>
  (exact) =>
    e * Math.abs(exact);
const sine: Error = (_, x) =>
  Math.abs(x) <= 2 * Math.PI ? 2 ** -20.5 : Math.abs(x) <= 100 * Math.PI ? 2 ** -14.7 : Infinity;

/** Accepts the exact value if it is 0, an infinity or NaN; otherwise values within the error bound. */
function near(exact: number, error: number): (bits: bigint) => boolean {
  return (bits) => {
    const got = float(bits);
    if (Number.isNaN(exact)) return bits === f32.nan;
    if (!Number.isFinite(exact)) return Object.is(got, exact);
    // Overflow gives an infinity, and underflow a zero.
    if (Math.abs(exact) > 2 ** 128 - 2 ** 103)
      return got === Math.sign(exact) * Infinity || Math.abs(got - exact) <= error;
    if (exact === 0) return Object.is(got, exact);
    return Math.abs(got - exact) <= Math.max(error, 2 ** -149);
  };
}
const ordinary = [
  0.1,
  -0.1,
  0.5,
  0.75,
  1,
  -1,
  1.5,
  2,
  3.25,
  10,
  -20,
  100,
  1e5,
  1e-5,
  1e30,
  1e-30,
  Math.PI,
  6.25,
  -5,
  88,
  -88,
].map(bitsOf);
function approximate(head: string, f: (x: number) => number, error: Error): Case[] {
  return (head === "tanh.approx" ? [false] : [false, true]).map((ftz) => ({
    text: `${head}${ftz ? ".ftz" : ""}.f32 %d, %a;`,
    results: ["b32"],
    operands: ["b32"],
    rows: [...rows([[...edgesOf(f32), ...ordinary]], [32], 300)],
    expect: (a) => {
      const x = float(ftz ? flush(a, f32) : a);
      const exact = f(x);
      if (ftz && Math.abs(exact) < 2 ** -126)
        return near(Math.abs(exact) < 2 ** -127 ? 0 * Math.sign(exact) : exact, 2 ** -126);
      return near(exact, error(exact, x));
    },
  }));
}

function quotient(head: string, ftz: boolean): Case {
  return {
    text: `${head}${ftz ? ".ftz" : ""}.f32 %d, %a, %b;`,
    results: ["b32"],
    operands: ["b32", "b32"],
    rows: rows(
      [
        [...edgesOf(f32), ...ordinary],
        [...edgesOf(f32), ...ordinary, bitsOf(2 ** 127), bitsOf(-(2 ** 126) * 1.5)],
      ],
      [32, 32],
      300,
    ),
    expect: (...row) => {
      const [x, y] = row.map((v) => float(ftz ? flush(v, f32) : v)) as [number, number];
      const large = head === "div.approx" && Math.abs(y) > 2 ** 126 && Number.isFinite(y);
      // 1 / y underflows: an infinite x gives NaN, any other x a zero with the quotient's sign.
      const exact = large ? x * (Math.sign(y) * 0) : x / y;
      // The bound does not cover |y| < 2^-126.
      if (head === "div.approx" && Math.abs(y) < 2 ** -126 && y !== 0) return () => true;
      if (ftz && Math.abs(exact) < 2 ** -126)
        return (bits) =>
          Math.abs(float(bits)) <= 2 ** -126 && (float(bits) === 0 || exact > 2 ** -127 || exact < -(2 ** -127));
      return near(exact, 2 * ulp(exact));
    },
  };
}

const upper = (f: (x: number) => number, head: string): Case => ({
  text: `${head}.approx.ftz.f64 %d, %a;`,
  results: ["b64"],
  operands: ["b64"],
  rows: operands(f64, 1),
  expect: (a) => {
    const exact = f(double(flush((a >> 32n) << 32n, f64)));
    if (Number.isNaN(exact)) return 0x7fffffff00000000n;
    return (bits) => {
      const got = double(bits);
      if ((bits & 0xffffffffn) !== 0n) return false;
      if (!Number.isFinite(exact) || exact === 0) return Object.is(got, exact);
      if (Math.abs(exact) < 2 ** -1022) return Object.is(got, 0 * Math.sign(exact));
      return Math.abs(got - exact) <= Math.abs(exact) * 2 ** -20;
    };
  },
});

opcodes("approximations", [
  ...approximate("rcp.approx", (x) => 1 / x, ulps(1)),
  ...approximate("sqrt.approx", Math.sqrt, relative(2 ** -23)),
  ...approximate("rsqrt.approx", (x) => 1 / Math.sqrt(x), relative(2 ** -22.9)),
  ...approximate("sin.approx", Math.sin, sine),
  ...approximate("cos.approx", Math.cos, sine),
  ...approximate("lg2.approx", Math.log2, (exact, x) => (x > 0.5 && x < 2 ? 2 ** -22 : 2 ** -22 * Math.abs(exact))),
  ...approximate("ex2.approx", (x) => 2 ** x, ulps(2)),
  ...approximate("tanh.approx", Math.tanh, relative(2 ** -11)),
  ...["div.approx", "div.full"].flatMap((head) => [quotient(head, false), quotient(head, true)]),
  upper((x) => 1 / x, "rcp"),
  upper((x) => 1 / Math.sqrt(x), "rsqrt"),
  {
    text: "rsqrt.approx.f64 %d, %a;",
    results: ["b64"],
    operands: ["b64"],
    rows: operands(f64, 1),
    expect: (a) => {
      const exact = 1 / Math.sqrt(double(a));
      return (bits) => {
        const got = double(bits);
        return Object.is(got, exact) || (Number.isFinite(exact) && Math.abs(got - exact) <= Math.abs(exact) * 2 ** -50);
      };
    },
  },
]);

rejects("floating-point instructions that do not exist", [
  "add.rna.f32 %r0, %r1, %r2;",
  "add.ftz.f64 %d0, %d1, %d2;",
  "add.sat.ftz.f32 %r0, %r1, %r2;",
  "add.sat.f64 %d0, %d1, %d2;",
  "fma.f32 %r0, %r1, %r2, %r3;",
  "mad.f32 %r0, %r1, %r2, %r3;",
  "div.f32 %r0, %r1, %r2;",
  "div.rn.sat.f32 %r0, %r1, %r2;",
  "div.approx.f64 %d0, %d1, %d2;",
  "rcp.f32 %r0, %r1;",
  "rcp.approx.f64 %d0, %d1;",
  "sqrt.approx.f64 %d0, %d1;",
  "rsqrt.rn.f32 %r0, %r1;",
  "sin.f32 %r0, %r1;",
  "sin.approx.f64 %d0, %d1;",
  "tanh.approx.ftz.f32 %r0, %r1;",
  "min.xorsign.f32 %r0, %r1, %r2;",
  "min.NaN.f64 %d0, %d1, %d2;",
  "abs.ftz.f64 %d0, %d1;",
  "copysign.ftz.f32 %r0, %r1, %r2;",
  "testp.zero.f32 %p, %r1;",
]);
