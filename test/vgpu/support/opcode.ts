// Tests of single instructions. Every case becomes a kernel that loads its operands, one thread per row of values, runs
// the instruction and stores its results. All kernels of a suite form one module.
import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";

// The library reads this when it is loaded; the device must support all instructions.
process.env.CARACAL_VGPU_COMPUTE = "9.0";
const { PtxModule } = await import("./device.js");

export type Register = "b16" | "b32" | "b64" | "pred";
/** The expected bits, or a predicate on the actual ones. */
export type Expected = bigint | ((bits: bigint) => boolean);

export interface Case {
  /** One or several instructions: results are %d and %e, operands %a, %b, %c, %f in this order. */
  readonly text: string;
  readonly results: readonly Register[];
  readonly operands: readonly Register[];
  /** Bits of the operands, one row per thread. */
  readonly rows: readonly (readonly bigint[])[];
  expect(...row: bigint[]): Expected | Expected[];
}

const resultNames = ["%d", "%e", "%g", "%h"];
const operandNames = ["%a", "%b", "%c", "%f"];
/** The initial values of results, which lanes that do not run the instruction keep. */
const untouched: Record<Register, bigint> = { b16: 0xbeefn, b32: 0xdeadbeefn, b64: 0xdeadbeefcafef00dn, pred: 1n };

/** Puts a guard before each instruction of a text. */
function guarded(text: string): string {
  return text
    .split(";")
    .map((part) => part.trim())
    .filter((part) => part !== "")
    .map((part) => (part.startsWith(".") ? `${part};` : `@%run ${part};`))
    .join("\n  ");
}

function kernel(name: string, c: Case): string {
  const results = c.results.map((type, i) => ({ type, name: resultNames[i]!, at: 8 * i }));
  const operands = c.operands.map((type, i) => ({ type, name: operandNames[i]!, at: 8 * i }));
  const hex = (x: bigint) => `0x${x.toString(16)}`;
  return `.visible .entry ${name}(.param .u64 out, .param .u64 in, .param .u32 count, .param .u32 lanes) {
  .reg .pred %over, %run;
  .reg .b32 %i, %n, %t, %lanes;
  .reg .b64 %out, %in, %at;
  ${[...results, ...operands].map((r) => `.reg .${r.type} ${r.name};`).join(" ")}
  ld.param.u64 %out, [out];
  ld.param.u64 %in, [in];
  ld.param.u32 %n, [count];
  ld.param.u32 %lanes, [lanes];
  mov.u32 %i, %ctaid.x;
  mov.u32 %t, %ntid.x;
  mul.lo.u32 %i, %i, %t;
  mov.u32 %t, %tid.x;
  add.u32 %i, %i, %t;
  setp.ge.u32 %over, %i, %n;
  @%over bra done;
  mul.wide.u32 %at, %i, ${8 * results.length};
  add.u64 %out, %out, %at;
  mul.wide.u32 %at, %i, ${8 * operands.length};
  add.u64 %in, %in, %at;
${operands.map((o) => (o.type === "pred" ? `  ld.global.b32 %t, [%in + ${o.at}];\n  setp.ne.b32 ${o.name}, %t, 0;` : `  ld.global.${o.type} ${o.name}, [%in + ${o.at}];`)).join("\n")}
${results.map((r) => (r.type === "pred" ? `  setp.eq.u32 ${r.name}, 0, 0;` : `  mov.${r.type} ${r.name}, ${hex(untouched[r.type])};`)).join("\n")}
  mov.u32 %t, %laneid;
  shr.u32 %t, %lanes, %t;
  and.b32 %t, %t, 1;
  setp.ne.u32 %run, %t, 0;
  ${guarded(c.text)}
${results.map((r) => (r.type === "pred" ? `  selp.b32 %t, 1, 0, ${r.name};\n  st.global.b32 [%out + ${r.at}], %t;` : `  st.global.${r.type} [%out + ${r.at}], ${r.name};`)).join("\n")}
done:
  ret;
}
`;
}

const header = ".version 8.8\n.target sm_90\n.address_size 64\n";
const folder = fileURLToPath(new URL("../../../build/vgpu-opcodes/", import.meta.url));
const noPtxas = spawnSync("ptxas", ["--version"]).status !== 0;

/** Runs the cases with all lanes and with some, and lets ptxas, if available, check the instructions. */
export function opcodes(name: string, cases: readonly Case[]): void {
  describe(name, () => {
    const ptx = header + cases.map((c, i) => kernel(`k${i}`, c)).join("");
    let module: InstanceType<typeof PtxModule> | undefined;
    const loaded = () => {
      module ??= new PtxModule(ptx);
      return module;
    };

    it.each(cases.map((c, i) => ({ c, i, text: c.text })))("$text", ({ c, i }) => {
      expect(c.rows.length).toBeGreaterThan(0);
      const want = c.rows.map((row) => [c.expect(...row)].flat());
      for (const [lanes, count] of [
        [0xffffffff, c.rows.length],
        [0xa5c3f10e, c.rows.length - 1],
      ] as const) {
        // Fresh for each run: the kernel's arrays are copied back.
        const values = BigUint64Array.from(c.rows.flat());
        const out = new BigUint64Array(c.rows.length * c.results.length);
        loaded().run(
          `k${i}`,
          { grid: Math.ceil(c.rows.length / 64), block: 64 },
          out,
          values,
          { u32: count },
          { u32: lanes },
        );
        const wrong: string[] = [];
        for (let r = 0; r < count; r++)
          for (let k = 0; k < c.results.length; k++) {
            const got = out[r * c.results.length + k]!;
            const runs = ((lanes >>> (r % 32)) & 1) === 1;
            const expected = runs ? want[r]![k]! : untouched[c.results[k]!];
            if (typeof expected === "bigint" ? got === expected : expected(got)) continue;
            const shown = typeof expected === "bigint" ? `0x${expected.toString(16)}` : "another value";
            wrong.push(
              `(${c.rows[r]!.map((x) => `0x${x.toString(16)}`).join(", ")}) -> ${k}: 0x${got.toString(16)}, not ${shown}` +
                (runs ? "" : " (lane not at work)"),
            );
          }
        expect(wrong.slice(0, 5), `${wrong.length} of ${count} rows`).toEqual([]);
      }
    });

    it.skipIf(noPtxas)("ptxas accepts these instructions (skipped without ptxas)", () => {
      mkdirSync(folder, { recursive: true });
      const path = `${folder}${name.replace(/\W+/g, "-")}.ptx`;
      writeFileSync(path, ptx);
      execFileSync("ptxas", ["-arch=sm_90", "-O0", "-o", "/dev/null", path], { stdio: "pipe" });
    });
  });
}

/** Checks that these invalid instructions do not load. Registers: %p, %q; %h0 ..; %r0 ..; %d0 .. (64 bits). */
export function rejects(name: string, texts: readonly string[]): void {
  const module = (text: string) =>
    `${header}.visible .entry k() {\n.reg .pred %p, %q;\n.reg .b16 %h<4>;\n.reg .b32 %r<4>;\n.reg .b64 %d<4>;\n${text}\nret;\n}\n`;
  describe(name, () => {
    it.each(texts)("%s does not load", (text) => {
      expect(() => new PtxModule(module(text))).toThrow(/PTX line 9:/);
    });
  });
}

// --- values -------------------------------------------------------------------------------------------------------

/** A repeatable source of 64 random bits. */
export function random(seed = 1n): () => bigint {
  let state = seed;
  return () => {
    state = BigInt.asUintN(64, state + 0x9e3779b97f4a7c15n);
    let z = state;
    z = BigInt.asUintN(64, (z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n);
    z = BigInt.asUintN(64, (z ^ (z >> 27n)) * 0x94d049bb133111ebn);
    return z ^ (z >> 31n);
  };
}

/** Every combination of the values, `more` random rows of them, and as many rows of random bits. */
export function rows(values: readonly (readonly bigint[])[], bits: readonly number[], more = 150): bigint[][] {
  let all: bigint[][] = [[]];
  const product = values.reduce((n, v) => n * v.length, 1);
  if (product <= 900) for (const list of values) all = all.flatMap((row) => list.map((v) => [...row, v]));
  else all = [];
  const next = random();
  const extra = product <= 900 ? more : 900;
  for (let i = 0; i < extra; i++) all.push(values.map((list) => list[Number(next() % BigInt(list.length))]!));
  for (let i = 0; i < extra; i++) all.push(bits.map((n) => BigInt.asUintN(n, next())));
  if (all.length % 32 === 0) all.push(all[0]!);
  return all;
}

/** Integers at the limits of a width. */
export function edges(bits: number): bigint[] {
  const top = 1n << BigInt(bits - 1);
  return [0n, 1n, 2n, 7n, top - 1n, top, top + 1n, 2n * top - 2n, 2n * top - 1n, (2n * top - 1n) / 3n];
}
