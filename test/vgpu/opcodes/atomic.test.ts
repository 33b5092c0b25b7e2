// Atomic operations on halves, pairs and vectors of them, and atomics on several host threads.
import { expect, test } from "vitest";
import { deviceWith } from "../support/modes.js";
import { type Case, opcodes, rows } from "../support/opcode.js";
import { kernel } from "../support/ptx.js";
import { add, bf16, decode, edgesOf, encode, type Format, f16, isNan, order } from "./reference.js";

const low = (x: bigint) => x & 0xffffn;
type Result = (old: bigint, b: bigint, f: Format) => bigint;
const sum: Result = (old, b, f) => encode(add(decode(old, f), decode(b, f)), f);
/** A number wins over a NaN, and +0 is greater than -0. */
const extreme =
  (sign: number): Result =>
  (old, b, f) => {
    if (isNan(old, f) || isNan(b, f)) return isNan(old, f) ? (isNan(b, f) ? f.nan : b) : old;
    const less = order(decode(old, f), decode(b, f)) || (old === b ? 0 : old & 0x8000n ? -1 : 1);
    return sign * less > 0 ? old : b;
  };
const halves = (f: Format) => {
  const ordinary = [0x3f80n, 0x3f81n, 0xbf82n, 0x3c00n, 0x3c01n, 0xbc02n, 0x4049n, 0x3333n, 0x0003n];
  return [...edgesOf(f), ...ordinary];
};
const pairs = (f: Format) =>
  rows([halves(f), halves(f), halves(f), halves(f)], [16, 16, 16, 16]).map(([a, b, c, d]) => [
    a! | (b! << 16n),
    c! | (d! << 16n),
  ]);
const each = (result: Result, f: Format) => (a: bigint, b: bigint) =>
  result(low(a), low(b), f) | (result(a >> 16n, b >> 16n, f) << 16n);

// Each lane operates on a location of its own.
opcodes(
  "atomic operations on halves",
  [f16, bf16].flatMap((f): Case[] => {
    const type = f === f16 ? "f16" : "bf16";
    const vector = (operation: string, result: Result): Case => ({
      text:
        `.reg .b16 %x<4>; mov.b32 {%x0, %x1}, %b; atom.global.${operation}.noftz.v2.${type} {%x2, %x3}, [%in], {%x0, %x1};` +
        " mov.b32 %d, {%x2, %x3}; ld.global.b32 %e, [%in];",
      results: ["b32", "b32"],
      operands: ["b32", "b32"],
      rows: pairs(f),
      expect: (a, b) => [a, each(result, f)(a, b)],
    });
    return [
      {
        text: `atom.global.add.noftz.${type} %d, [%in], %b; ld.global.b16 %e, [%in];`,
        results: ["b16", "b16"],
        operands: ["b16", "b16"],
        rows: rows([halves(f), halves(f)], [16, 16]),
        expect: (a, b) => [a, sum(a, b, f)],
      },
      {
        text: `atom.add.noftz.${type}x2 %d, [%in], %b; ld.global.b32 %e, [%in];`,
        results: ["b32", "b32"],
        operands: ["b32", "b32"],
        rows: pairs(f),
        expect: (a, b) => [a, each(sum, f)(a, b)],
      },
      vector("add", sum),
      vector("min", extreme(-1)),
      vector("max", extreme(1)),
      {
        text: `red.global.min.noftz.v2.${type}x2 [%in], {%b, %b}; ld.global.b64 %d, [%in];`,
        results: ["b64"],
        operands: ["b64", "b32"],
        rows: rows([halves(f), halves(f)], [64, 32]).map(([a, b]) => [
          (a! * 0x0001_0001_0001_0001n) & (2n ** 64n - 1n),
          b!,
        ]),
        expect: (a, b) => {
          const one = each(extreme(-1), f);
          return one(a & 0xffffffffn, b) | (one(a >> 32n, b) << 32n);
        },
      },
    ];
  }),
);

test("inactive lanes may hold addresses of local memory", async () => {
  const device = await deviceWith({});
  const cells = new Uint32Array(1);
  const body = `  .local .b32 own;
  mov.u64 %rd5, own;
  cvta.local.u64 %rd6, %rd5;
  setp.lt.u32 %p1, %r0, 5;
  selp.b64 %rd6, %rd1, %rd6, %p1;
  @%p1 atom.add.u32 %r1, [%rd6], 1;`;
  new device.PtxModule(kernel(body)).run("k", { block: 32 }, cells, new Uint32Array(1));
  expect(cells[0]).toBe(5);
});

// Blocks run on several host threads, so an operation that reads and writes in two steps loses updates.
test.each([
  ["add.u32", "red.global.add.u32 [%rd1], 1;"],
  ["add.u64", "red.global.add.u64 [%rd1], 1;"],
  ["add.f32", "red.global.add.f32 [%rd1], 0f3f800000;"],
  [
    "cas.b32",
    "ld.relaxed.gpu.global.u32 %r3, [%rd1];\nretry:\n  mov.u32 %r4, %r3; add.u32 %r5, %r4, 1; atom.global.cas.b32 %r3, [%rd1], %r4, %r5;\n  setp.ne.u32 %p2, %r3, %r4; @%p2 bra retry;",
  ],
])("%s on two host threads", async (name, instructions) => {
  const device = await deviceWith({ CARACAL_VGPU_THREADS: "2" });
  const [blocks, threads, times] = [16, 32, 3000];
  const cells = new Uint32Array(4);
  const body = `  mov.u32 %r1, ${times};
  mov.u32 %r2, 0;
again:
  ${instructions}
  sub.u32 %r1, %r1, 1;
  setp.ne.u32 %p1, %r1, 0;
  @%p1 bra again;`;
  new device.PtxModule(kernel(body)).run("k", { grid: blocks, block: threads }, cells, new Uint32Array(1));
  const total = blocks * threads * times;
  expect(name === "add.f32" ? new Float32Array(cells.buffer)[0] : cells[0]).toBe(total);
});
