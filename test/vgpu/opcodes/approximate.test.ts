// With CARACAL_VGPU_APPROXIMATE=1 approximate instructions err by nearly as much as the PTX ISA allows and never by
// more, which exposes code that relies on more accuracy.
import { beforeAll, describe, expect, test } from "vitest";
import { deviceWith } from "../support/modes.js";
import { numbers } from "../support/ptx.js";
import { bf16, decode, encode, type Format, f16, f32, type Real } from "./reference.js";

type Device = Awaited<ReturnType<typeof deviceWith>>;
const device: Record<"exact" | "one" | "same" | "other", Device> = {} as never;
beforeAll(async () => {
  const compute = { CARACAL_VGPU_COMPUTE: "9.0" };
  const approximate = { ...compute, CARACAL_VGPU_APPROXIMATE: "1" };
  device.exact = await deviceWith(compute);
  device.one = await deviceWith({ ...approximate, CARACAL_VGPU_SEED: "1" });
  device.same = await deviceWith({ ...approximate, CARACAL_VGPU_SEED: "1" });
  device.other = await deviceWith({ ...approximate, CARACAL_VGPU_SEED: "2" });
});

const number = (x: Real): number =>
  x.kind === "nan" ? Number.NaN : (x.negative ? -1 : 1) * (x.kind === "inf" ? Infinity : Number(x.n) / Number(x.d));
const numberOf = (bits: number, f: Format) => number(decode(BigInt(bits), f));
/** The bits of a dyadic number in the format. */
function bitsOf(x: number, f: Format): number {
  const scale = 2 ** 60;
  return Number(encode({ kind: "number", negative: x < 0, n: BigInt(Math.abs(x) * scale), d: BigInt(scale) }, f));
}

interface Instruction {
  readonly text: string;
  readonly format: Format;
  readonly f: (x: number, y: number) => number;
  /** The largest allowed distance of the result from the exact value. */
  readonly bound: (exact: number, x: number) => number;
  /** The bits of the operands, two for each result. */
  readonly operands: () => number[];
}

const ulp = (x: number, f: Format) =>
  2 ** (Math.max(Math.floor(Math.log2(Math.abs(x))), 2 - 2 ** (f.exponent - 1)) - f.mantissa);
const ulps = (n: number) => (exact: number) => n * ulp(exact, f32);
const relative = (e: number) => (exact: number) => e * Math.abs(exact);
const count = 2048;

/** Values of both signs (or only positive ones) between two powers of 2, equally many in each binade. */
function spread(low: number, high: number, f: Format, positive = false): () => number[] {
  const next = numbers(7);
  return () =>
    Array.from({ length: 2 * count }, () => {
      const exponent = low + (next() % (high - low));
      const magnitude = bitsOf(1, f) + exponent * 2 ** f.mantissa + (next() % 2 ** f.mantissa);
      return positive || next() % 2 ? magnitude : magnitude + 2 ** (f.exponent + f.mantissa);
    });
}
/** Values distributed evenly over an interval. */
function within(low: number, high: number, f: Format): () => number[] {
  const next = numbers(8);
  return () => Array.from({ length: 2 * count }, () => bitsOf(low + (high - low) * (next() / 2 ** 32), f));
}

const single = (text: string, f: Instruction["f"], bound: Instruction["bound"], operands: Instruction["operands"]) =>
  ["", ".ftz"]
    .filter((ftz) => ftz === "" || !text.startsWith("tanh"))
    .map((ftz): Instruction => ({ text: `${text}${ftz}.f32`, format: f32, f, bound, operands }));
const half = (text: string, f: Instruction["f"], bounds: [f16: (x: number) => number, bf16: (x: number) => number]) =>
  [f16, bf16].flatMap((format, i) =>
    ["", "x2"].map(
      (pair): Instruction => ({
        text: `${text}${text.startsWith("ex2") && i === 1 ? ".ftz" : ""}.${["f16", "bf16"][i]}${pair}`,
        format,
        f,
        bound: bounds[i]!,
        operands: within(-6, 6, format),
      }),
    ),
  );
const quotient = (x: number, y: number) => x / y;
const tau = 2 * Math.PI;

const instructions: Instruction[] = [
  ...single("rcp.approx", (x) => 1 / x, ulps(1), spread(-120, 120, f32)),
  ...single("sqrt.approx", Math.sqrt, relative(2 ** -23), spread(-120, 120, f32, true)),
  ...single("rsqrt.approx", (x) => 1 / Math.sqrt(x), relative(2 ** -22.9), spread(-120, 120, f32, true)),
  ...single("sin.approx", Math.sin, () => 2 ** -20.5, within(-tau, tau, f32)),
  ...single("cos.approx", Math.cos, () => 2 ** -20.5, within(-tau, tau, f32)),
  ...single("sin.approx", Math.sin, () => 2 ** -14.7, within(tau, 50 * tau, f32)),
  ...single("cos.approx", Math.cos, () => 2 ** -14.7, within(-50 * tau, -tau, f32)),
  ...single("lg2.approx", Math.log2, () => 2 ** -22, within(0.5001, 1.9999, f32)),
  ...single("lg2.approx", Math.log2, relative(2 ** -22), spread(1, 120, f32, true)),
  ...single("lg2.approx", Math.log2, relative(2 ** -22), spread(-120, -1, f32, true)),
  ...single("ex2.approx", (x) => 2 ** x, ulps(2), within(-120, 120, f32)),
  // values just below 1, above which an ulp is twice as large
  ...single(
    "ex2.approx",
    (x) => 2 ** x,
    ulps(2),
    () => Array.from({ length: 2 * count }, (_, i) => bitsOf(-(i + 1) / 2 ** 36, f32)),
  ),
  ...single("tanh.approx", Math.tanh, relative(2 ** -11), within(-4, 4, f32)),
  ...single("div.approx", quotient, ulps(2), spread(-60, 60, f32)),
  ...single("div.full", quotient, ulps(2), spread(-60, 60, f32)),
  ...half("ex2.approx", (x) => 2 ** x, [relative(2 ** -9.9), relative(2 ** -7)]),
  ...half("tanh.approx", Math.tanh, [() => 2 ** -10.987, () => 2 ** -8]),
];

/** Results of the instruction on `d` for the operands; a pair instruction gives two results per thread. */
function results(d: Device, { text, format }: Instruction, operands: readonly number[]): number[] {
  const pair = text.endsWith("x2");
  const [type, bytes] = format === f32 || pair ? (["b32", 4] as const) : (["b16", 2] as const);
  const divides = text.startsWith("div");
  const ptx = `.version 8.5
.target sm_90
.address_size 64
.visible .entry k(.param .u64 in, .param .u64 out) {
  .reg .b32 %i, %n; .reg .b64 %in, %out, %at; .reg .${type} %a, %b, %d;
  ld.param.u64 %in, [in];
  ld.param.u64 %out, [out];
  mov.u32 %i, %ctaid.x;
  mov.u32 %n, %tid.x;
  mad.lo.u32 %i, %i, 128, %n;
  mul.wide.u32 %at, %i, ${bytes};
  add.u64 %in, %in, %at;
  add.u64 %out, %out, %at;
  ld.global.${type} %a, [%in];
  ${divides ? `ld.global.${type} %b, [%in + ${count * bytes}];` : ""}
  ${text} %d, %a${divides ? ", %b" : ""};
  st.global.${type} [%out], %d;
  ret;
}
`;
  const Words = format === f32 ? Uint32Array : Uint16Array;
  const out = new Words(operands.length);
  new d.PtxModule(ptx).run("k", { grid: count / 128, block: 128 }, Words.from(operands), out);
  return [...out.slice(0, pair ? 2 * count : count)];
}

describe.each(instructions.map((i, n) => ({ ...i, name: `${i.text} (${n})` })))("$name", (instruction) => {
  const { text, format, f, bound } = instruction;
  const operands = instruction.operands();
  const exact = (i: number) =>
    f(numberOf(operands[i]!, format), text.startsWith("div") ? numberOf(operands[count + i]!, format) : 0);

  test("errs by nearly the bound, but not by more", () => {
    const plain = results(device.exact, instruction, operands);
    const got = results(device.one, instruction, operands);
    let most = 0;
    for (const [i, bits] of got.entries()) {
      const want = exact(i);
      const allowed = bound(want, numberOf(operands[i]!, format));
      const error = Math.abs(numberOf(bits, format) - want);
      // If the format has no value within the bound, the result must be the nearest one.
      if (error > allowed) expect(bits, `of ${numberOf(operands[i]!, format)}`).toBe(plain[i]);
      most = Math.max(most, error / allowed);
    }
    expect(most).toBeGreaterThan(0.7);
    expect(got.filter((bits, i) => bits !== plain[i]).length).toBeGreaterThan(count / 100);
  });

  test("errs the same way for the same seed only", () => {
    const got = results(device.one, instruction, operands);
    expect(results(device.same, instruction, operands)).toEqual(got);
    expect(results(device.other, instruction, operands)).not.toEqual(got);
  });
});

test("zeros, ones, infinities and NaN stay exact", () => {
  const special: [string, number[], number[]][] = [
    ["ex2.approx.f32", [0, -Infinity, Infinity, Number.NaN], [1, 0, Infinity, Number.NaN]],
    ["lg2.approx.f32", [1, 0, Infinity, -1], [0, -Infinity, Infinity, Number.NaN]],
    ["sqrt.approx.f32", [1, -0, Infinity, -1], [1, -0, Infinity, Number.NaN]],
    ["rcp.approx.f32", [0, -0, -Infinity, Number.NaN], [Infinity, -Infinity, -0, Number.NaN]],
    ["tanh.approx.f32", [0, -0, Infinity, -Infinity], [0, -0, 1, -1]],
  ];
  for (const [text, from, to] of special) {
    const bits = [...new Uint32Array(Float32Array.from({ length: 2 * count }, (_, i) => from[i % 4]!).buffer)];
    const got = results(device.one, { text, format: f32 } as Instruction, bits).slice(0, 4);
    expect([...new Float32Array(Uint32Array.from(got).buffer)], text).toEqual(to);
  }
});
