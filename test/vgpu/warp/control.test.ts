// brx.idx, call, trap, brkpt and nanosleep, as defined in the PTX ISA ("Control Flow Instructions").
import { describe, expect, test } from "vitest";
import { PtxModule } from "../support/device.js";
import { kernel, lanes, remember, testPtxas } from "../support/ptx.js";

const functions = ["add", "mul.lo", "sub"]
  .map(
    (op, i) => `.func (.param .b32 result) f${i}(.param .b32 first, .param .b32 second) {
  .reg .b32 %x, %y;
  ld.param.b32 %x, [first];
  ld.param.b32 %y, [second];
  ${op}.u32 %x, %x, %y;
  st.param.b32 [result], %x;
  ret;
}
`,
  )
  .join("");
const values = [(a: number, b: number) => a + b, Math.imul, (a: number, b: number) => a - b] as const;

const mask = 0x2d60b105; // neighbours of active lanes are inactive
const atWork = (lane: number) => ((mask >>> lane) & 1) === 1;

/** %p1 is true in active threads, %r1 is the thread's input; returns %r2, initially 7777. */
function onWarp(body: string, input: Uint32Array<ArrayBuffer> = lanes((l) => (l * 7) % 3)): Uint32Array {
  const ptx = kernel(`  mul.wide.u32 %rd3, %r0, 4;
  add.s64 %rd1, %rd1, %rd3;
  add.s64 %rd2, %rd2, %rd3;
  ld.global.u32 %r1, [%rd1];
  mov.u32 %r2, 7777;
  mov.b32 %r3, ${mask};
  shr.u32 %r3, %r3, %r0;
  and.b32 %r3, %r3, 1;
  setp.eq.u32 %p1, %r3, 1;
${body}
  red.global.add.u32 [%rd2], %r2; // a lane that came twice would be noticed`).replace(
    ".visible",
    `${functions}.visible`,
  );
  remember(ptx, "sm_80");
  const out = new Uint32Array(32);
  new PtxModule(ptx).run("k", { block: 32 }, input, out);
  return out;
}

describe("brx.idx", () => {
  const jump = (guard: string) => `TABLE: .branchtargets A, B, C;
  ${guard}brx.idx %r1, TABLE;
  mov.u32 %r2, 1;
  bra DONE;
A:
  mov.u32 %r2, 10;
  bra DONE;
B:
  mov.u32 %r2, 11;
  bra DONE;
C:
  mov.u32 %r2, 12;
DONE:`;
  test("every lane jumps according to its own index", () => {
    expect(onWarp(jump(""))).toEqual(lanes((l) => 10 + ((l * 7) % 3)));
  });
  test("lanes masked off by the guard continue", () => {
    expect(onWarp(jump("@%p1 "))).toEqual(lanes((l) => (atWork(l) ? 10 + ((l * 7) % 3) : 1)));
  });
  test("an index outside the table is reported for lanes that jump", () => {
    const beyond = (lane: number) => lanes((l) => (l === lane ? 3 : 2));
    expect(() => onWarp(jump("@%p1 "), beyond(8))).toThrow(/index 3 in a table of 3[\s\S]*thread \(8,0,0\)/);
    expect(onWarp(jump("@%p1 "), beyond(9))).toEqual(lanes((l) => (atWork(l) ? 12 : 1)));
  });
});

describe("call", () => {
  const call = (guard: string, callee: string, prototype = "") => `  mov.u64 %rd5, f0;
  mov.u64 %rd6, f1;
  mov.u64 %rd7, f2;
  setp.eq.u32 %p2, %r1, 0;
  setp.eq.u32 %p3, %r1, 1;
  selp.b64 %rd8, %rd6, %rd7, %p3;
  selp.b64 %rd8, %rd5, %rd8, %p2;
  {
  .param .b32 a;
  .param .b32 b;
  .param .b32 r;
  add.u32 %r4, %r0, 40;
  st.param.b32 [a], %r4;
  st.param.b32 [b], %r0;
  ${prototype ? "TYPE: .callprototype (.param .b32 _) _ (.param .b32 _, .param .b32 _);" : ""}
  ${guard}call (r), ${callee}, (a, b)${prototype && ", TYPE"};
  ld.param.b32 %r4, [r];
  ${guard}mov.u32 %r2, %r4;
  }`;
  const results = (which: (lane: number) => number, called = (_: number) => true) =>
    lanes((l) => (called(l) ? values[which(l) as 0 | 1 | 2](l + 40, l) : 7777));

  test.each([0, 1, 2])("calls f%i by name and through a pointer, with all lanes and with some", (n) => {
    const pointer = `%rd${5 + n}`;
    expect(onWarp(call("", `f${n}`))).toEqual(results(() => n));
    expect(onWarp(call("", pointer, "by type"))).toEqual(results(() => n));
    expect(onWarp(call("@%p1 ", `f${n}`))).toEqual(results(() => n, atWork));
    expect(onWarp(call("@%p1 ", pointer, "by type"))).toEqual(results(() => n, atWork));
  });
  test("each lane may call a different function", () => {
    const own = (l: number) => (l * 7) % 3;
    expect(onWarp(call("", "%rd8", "by type"))).toEqual(results(own));
    expect(onWarp(call("@%p1 ", "%rd8", "by type"))).toEqual(results(own, atWork));
  });
  test.each(["0", "0x7000000000", "k"])("a call through %s, not the address of a function, is reported", (address) => {
    const wrong = call("", "%rd8", "by type").replace("{\n", `{\n  mov.u64 %rd8, ${address};\n`);
    expect(() => onWarp(wrong)).toThrow(/a pointer that is not a function/);
  });
});

test.each(["trap", "brkpt"])("%s ends the kernel unless no lane reaches it", (instruction) => {
  expect(() => onWarp(`  setp.gt.u32 %p1, %r0, 4;\n  @%p1 ${instruction};`)).toThrow(
    /CUresult 719: .*trap[\s\S]*thread \(5,0,0\)/,
  );
  expect(onWarp(`  setp.gt.u32 %p1, %r0, 31;\n  @%p1 ${instruction};`)).toEqual(lanes(() => 7777));
});

test("sleeping until an event that never happens is a deadlock", () => {
  const spin =
    "AGAIN:\n  nanosleep.u32 20;\n  ld.volatile.global.u32 %r4, [%rd1];\n  setp.ne.u32 %p2, %r4, 77;\n  @%p2 bra AGAIN;";
  expect(() => onWarp(spin)).toThrow(/deadlock/);
});

testPtxas();
