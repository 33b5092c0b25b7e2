import { type Case, edges, opcodes, type Register, rejects, rows } from "../support/opcode.js";
import {
  bf16,
  decode,
  e4m3,
  e5m2,
  edgesOf,
  encode,
  type Format,
  f16,
  f32,
  f64,
  flush,
  integer,
  isNan,
  type Mode,
  modes,
  type Real,
  real,
  relu,
  rounded,
  saturate,
  tf32,
  width,
} from "./reference.js";

const u = BigInt.asUintN;
const reg = (bits: number): Register => (bits <= 16 ? "b16" : bits === 32 ? "b32" : "b64");

interface Integer {
  readonly name: string;
  readonly bits: number;
  readonly signed: boolean;
}
const integers: Integer[] = [8, 16, 32, 64].flatMap((bits) => [
  { name: `u${bits}`, bits, signed: false },
  { name: `s${bits}`, bits, signed: true },
]);
// With .bf16, ptxas accepts no 8-bit integer in a 16-bit register.
const integersFor = (f: Format) => integers.filter((t) => f !== bf16 || t.bits > 8);
const formats: Record<string, Format> = { f16, bf16, f32, f64 };
const least = (t: Integer) => (t.signed ? -(1n << BigInt(t.bits - 1)) : 0n);
const most = (t: Integer) => (1n << BigInt(t.bits - (t.signed ? 1 : 0))) - 1n;
const clamp = (x: bigint, t: Integer) => (x < least(t) ? least(t) : x > most(t) ? most(t) : x);
const signedOf = (x: bigint, t: Integer) => (t.signed ? BigInt.asIntN(t.bits, x) : u(t.bits, x));

// Registers may be wider than the type: upper bits of the source are ignored, and the result is extended.
const wider = (bits: number) => [16, 32, 64].filter((w) => w >= bits);
const noise = (x: bigint, bits: number, w: number) => u(w, x | (0xa5a5a5a5a5a5a5a5n << BigInt(bits)));

opcodes(
  "cvt of integers",
  integers.flatMap((to) =>
    integers.flatMap((from) =>
      [false, true]
        .filter((sat) => !sat || least(from) < least(to) || most(from) > most(to))
        .flatMap((sat) =>
          wider(to.bits).flatMap((tw) =>
            wider(from.bits).map(
              (fw): Case => ({
                text: `cvt${sat ? ".sat" : ""}.${to.name}.${from.name} %d, %a;`,
                results: [reg(tw)],
                operands: [reg(fw)],
                rows: rows([edges(from.bits)], [from.bits], 40).map(([x]) => [noise(x!, from.bits, fw)]),
                expect: (a) => {
                  const x = signedOf(a, from);
                  return u(tw, signedOf(sat ? clamp(x, to) : x, to));
                },
              }),
            ),
          ),
        ),
    ),
  ),
);

const plain: Record<string, Mode> = { rni: "rn", rzi: "rz", rmi: "rm", rpi: "rp" };
/** Values near the rounding boundaries of integers of up to 64 bits. */
function floatsNear(f: Format): bigint[] {
  const halves = [
    1n,
    3n,
    5n,
    7n,
    255n,
    256n,
    257n,
    511n,
    513n,
    65535n,
    65537n,
    0xffffffffn,
    0xfffffffen,
    1n << 32n,
  ].flatMap((n) => [real(false, n, 2n), real(true, n, 2n), real(false, n), real(true, n)]);
  const powers = [7, 8, 15, 16, 31, 32, 63, 64].flatMap((n) =>
    [0n, -1n, 1n, -(1n << BigInt(Math.max(n - 24, 0)))].flatMap((d) => [
      integer((1n << BigInt(n)) + d),
      integer(-(1n << BigInt(n)) - d),
    ]),
  );
  return [...edgesOf(f), ...[...halves, ...powers].map((x) => encode(x, f, "rz"))];
}

function toInteger(x: Real, to: Integer, from: Format, mode: Mode): bigint {
  if (x.kind === "nan") return from !== f64 && to.bits !== 64 ? 0n : to.signed ? least(to) : 1n << BigInt(to.bits - 1);
  if (x.kind === "inf") return x.negative ? least(to) : most(to);
  const n = rounded(x.n, x.d, x.negative, mode);
  return clamp(x.negative ? -n : n, to);
}
opcodes(
  "cvt of floats to integers",
  Object.entries(formats).flatMap(([name, f]) =>
    integersFor(f).flatMap((to) =>
      Object.entries(plain).flatMap(([rounding, mode]) =>
        (f === f32 ? ["", ".ftz", ".sat"] : [""]).map(
          (modifier): Case => ({
            text: `cvt.${rounding}${modifier}.${to.name}.${name} %d, %a;`,
            results: [reg(to.bits)],
            operands: [reg(width(f))],
            rows: rows([floatsNear(f)], [width(f)], 60),
            expect: (a) => {
              const x = decode(modifier === ".ftz" ? flush(a, f) : a, f);
              return u(reg(to.bits) === "b16" ? 16 : to.bits, toInteger(x, to, f, mode));
            },
          }),
        ),
      ),
    ),
  ),
);
opcodes(
  "cvt of integers to floats",
  Object.entries(formats).flatMap(([name, f]) =>
    integersFor(f).flatMap((from) =>
      modes.map(
        (mode): Case => ({
          text: `cvt.${mode}.${name}.${from.name} %d, %a;`,
          results: [reg(width(f))],
          operands: [reg(from.bits)],
          rows: [
            ...rows([edges(from.bits)], [from.bits], 60),
            ...floatsNear(f64)
              .map((x) => toInteger(decode(x, f64), from, f64, "rz"))
              .map((x) => [u(reg(from.bits) === "b16" ? 16 : from.bits, x)]),
          ],
          expect: (a) => encode(integer(signedOf(a, from)), f, mode),
        }),
      ),
    ),
  ),
);

// Exact values around the rounding boundaries of a narrower format: the last bit, half of it, and slightly less and
// more.
function narrowing(from: Format, to: Format): bigint[] {
  const shift = from.mantissa - to.mantissa;
  const extra =
    shift > 0
      ? [
          0n,
          1n,
          1n << BigInt(shift - 1),
          (1n << BigInt(shift - 1)) - 1n,
          (1n << BigInt(shift - 1)) + 1n,
          (1n << BigInt(shift)) - 1n,
        ]
      : [0n];
  const converted = edgesOf(to).map((x) => encode(decode(x, to), from, "rz"));
  const top = (1n << BigInt(width(from) - 1)) - 1n;
  return [
    ...edgesOf(from),
    ...converted
      .flatMap((x) => [...extra.map((d) => x + d), ...extra.map((d) => x - d)])
      .filter((x) => x >= 0n && (x & top) <= top && x < 2n * (top + 1n)),
  ];
}
const sameNan = (want: bigint, f: Format) => (isNan(want, f) ? (bits: bigint) => isNan(bits, f) : want);
opcodes(
  "cvt between floats",
  Object.entries(formats).flatMap(([toName, to]) =>
    Object.entries(formats).flatMap(([fromName, from]) => {
      const exact = to === from || width(to) > width(from);
      const single = to === f32 || from === f32;
      const modifiers = [
        "",
        ...(to !== bf16 && from !== bf16 ? [".sat"] : []),
        ...(single && to !== bf16 ? [".ftz"] : []),
      ];
      return [...(exact ? [""] : modes), ...(to === from ? Object.keys(plain) : [])].flatMap((rounding) =>
        modifiers.map((modifier): Case => {
          const ftz = (x: bigint, f: Format) => (modifier === ".ftz" && f === f32 ? flush(x, f) : x);
          return {
            text: `cvt${rounding ? `.${rounding}` : ""}${modifier}.${toName}.${fromName} %d, %a;`,
            results: [reg(width(to))],
            operands: [reg(width(from))],
            rows: rows([[...narrowing(from, to), ...(to === from ? floatsNear(from) : [])]], [width(from)], 100),
            expect: (a) => {
              let x = decode(ftz(a, from), from);
              if (plain[rounding] && x.kind === "number")
                x = real(x.negative, rounded(x.n, x.d, x.negative, plain[rounding]));
              const bits = ftz(
                encode(x, to, (modes as readonly string[]).includes(rounding) ? (rounding as Mode) : "rn"),
                to,
              );
              return modifier === ".sat" ? saturate(bits, to) : sameNan(bits, to);
            },
          };
        }),
      );
    }),
  ),
);

// --- narrow formats, with .relu and .satfinite --------------------------------------------------------------------------

function narrowed(bits: bigint, from: Format, to: Format, mode: Mode, relus: boolean, finite: boolean): bigint {
  const r = encode(decode(bits, from), to, mode, finite);
  return relus ? relu(r, to) : r;
}
const spread = (list: readonly bigint[], count: number) =>
  list.map((_, r) => Array.from({ length: count }, (_, i) => list[(r * (i ? 7 : 1) + 3 * i) % list.length]!));
const saturations = ["", ".relu", ".satfinite", ".relu.satfinite"];
opcodes("cvt to narrow floats", [
  ...[f16, bf16].flatMap((f) =>
    ["rn", "rz"].flatMap((mode) =>
      saturations.flatMap((s): Case[] => {
        const name = f === f16 ? "f16" : "bf16";
        const one = (x: bigint) => narrowed(x, f32, f, mode as Mode, s.includes("relu"), s.includes("finite"));
        const list = narrowing(f32, f);
        return [
          {
            text: `cvt.${mode}${s}.${name}.f32 %d, %a;`,
            results: ["b16"],
            operands: ["b32"],
            rows: rows([list], [32]),
            expect: one,
          },
          {
            text: `cvt.${mode}${s}.${name}x2.f32 %d, %a, %b;`,
            results: ["b32"],
            operands: ["b32", "b32"],
            rows: [...spread(list, 2), ...rows([[0n], [0n]], [32, 32])],
            expect: (a, b) => (one(a) << 16n) | one(b),
          },
        ];
      }),
    ),
  ),
  // .satfinite needs a later architecture with .rn and .rz, but not with .rna
  ...["rna", "rna.satfinite", "rn", "rz", "rn.relu", "rz.relu"].map(
    (modifiers): Case => ({
      text: `cvt.${modifiers}.tf32.f32 %d, %a;`,
      results: ["b32"],
      operands: ["b32"],
      rows: rows([narrowing(f32, tf32)], [32], 300),
      // The ISA leaves the lower bits of a tf32 register open; in practice nothing else is written.
      expect: (a) => {
        const want = narrowed(
          a,
          f32,
          tf32,
          modifiers.split(".")[0] as Mode,
          modifiers.includes("relu"),
          modifiers.includes("finite"),
        );
        return isNan(want, tf32) ? (bits) => isNan(bits >> 13n, tf32) : want << 13n;
      },
    }),
  ),
  ...[e4m3, e5m2].flatMap((f) => {
    const name = f === e4m3 ? "e4m3x2" : "e5m2x2";
    const bytes = Array.from({ length: 256 }, (_, i) => BigInt(i));
    const half = narrowing(f16, f);
    const halfPairs = half.map((x, i) => [x | (half[(i * 7 + 3) % half.length]! << 16n)]);
    return ["", ".relu"].flatMap((r): Case[] => {
      const one = (x: bigint, from: Format) => narrowed(x, from, f, "rn", r !== "", true);
      const wide = (x: bigint) => {
        const bits = encode(decode(x, f), f16);
        return r ? relu(bits, f16) : bits;
      };
      return [
        {
          text: `cvt.rn.satfinite${r}.${name}.f32 %d, %a, %b;`,
          results: ["b16"],
          operands: ["b32", "b32"],
          rows: [...spread(narrowing(f32, f), 2), ...rows([[0n], [0n]], [32, 32])],
          expect: (a, b) => (one(a, f32) << 8n) | one(b, f32),
        },
        {
          text: `cvt.rn.satfinite${r}.${name}.f16x2 %d, %a;`,
          results: ["b16"],
          operands: ["b32"],
          rows: [...halfPairs, ...rows([[0n]], [32])],
          expect: (a) => (one(a >> 16n, f16) << 8n) | one(a & 0xffffn, f16),
        },
        {
          text: `cvt.rn${r}.f16x2.${name} %d, %a;`,
          results: ["b32"],
          operands: ["b16"],
          rows: bytes.map((x) => [x | (u(8, x * 7n + 3n) << 8n)]),
          expect: (a) => (wide(a >> 8n) << 16n) | wide(a & 0xffn),
        },
      ];
    });
  }),
]);

opcodes(
  "cvt.pack",
  [16, 8, 4, 2].flatMap((bits) =>
    [false, true].map((signed): Case => {
      const t = { name: `${signed ? "s" : "u"}${bits}`, bits, signed };
      const part = (x: bigint) => u(bits, clamp(BigInt.asIntN(32, x), t));
      const n = BigInt(bits);
      const values = [
        ...edges(32),
        0xffn,
        0x80n,
        0x7fn,
        0xffffff80n,
        0xffffff7fn,
        3n,
        0xfffffffen,
        0x8000n,
        0xffff8000n,
      ];
      return {
        text: `cvt.pack.sat.${t.name}.s32${bits < 16 ? ".b32" : ""} %d, %a, %b${bits < 16 ? ", %c" : ""};`,
        results: ["b32"],
        operands: bits < 16 ? ["b32", "b32", "b32"] : ["b32", "b32"],
        rows: rows([values, values, ...(bits < 16 ? [[0n, 0x12345678n]] : [])], bits < 16 ? [32, 32, 32] : [32, 32]),
        expect: (a, b, c = 0n) => u(32, (part(a) << n) | part(b) | (c << (2n * n))),
      };
    }),
  ),
);

rejects("conversions that do not exist", [
  "cvt.s32.f32 %r0, %r1;",
  "cvt.rn.s32.f32 %r0, %r1;",
  "cvt.f32.s32 %r0, %r1;",
  "cvt.rni.f32.s32 %r0, %r1;",
  "cvt.f16.f32 %h0, %r1;",
  "cvt.rn.f32.f16 %r0, %h1;",
  "cvt.rni.f32.f64 %r0, %d1;",
  "cvt.rn.s32.s32 %r0, %r1;",
  "cvt.sat.s32.s16 %r0, %h1;",
  "cvt.ftz.s32.s16 %r0, %h1;",
  "cvt.rn.ftz.f16.f64 %h0, %d1;",
  "cvt.rn.sat.bf16.f32 %h0, %r1;",
  "cvt.sat.f32.bf16 %r0, %h1;",
  "cvt.u64.u64 %r0, %d1;",
  "cvt.u64.u64 %d0, %r1;",
  "cvt.rn.relu.f32.f64 %r0, %d1;",
  "cvt.rm.relu.f16.f32 %h0, %r1;",
  "cvt.rn.f16x2.f32 %r0, %r1;",
  "cvt.f16x2.f32 %r0, %r1, %r2;",
  "cvt.rna.f16.f32 %h0, %r1;",
  "cvt.rna.relu.tf32.f32 %r0, %r1;",
  "cvt.rn.e4m3x2.f32 %h0, %r1, %r2;",
  "cvt.rz.satfinite.e4m3x2.f32 %h0, %r1, %r2;",
  "cvt.rn.satfinite.f16x2.e4m3x2 %r0, %h1;",
  "cvt.rn.f16x2.f16x2 %r0, %r1;",
  "cvt.pack.u16.s32 %r0, %r1, %r2;",
  "cvt.pack.sat.u8.s32 %r0, %r1, %r2;",
]);
