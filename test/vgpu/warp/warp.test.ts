// shfl, vote, match, redux, activemask, bar.warp and bar.red, as defined in the PTX ISA.
import { expect, test } from "vitest";
import { lanes, numbers, run, testPtxas } from "../support/ptx.js";

/** in: 32 words for %r1; returns the words that `body` leaves in %r2. */
function onWarp(body: string, input: Uint32Array<ArrayBuffer>, block = 32): Uint32Array<ArrayBuffer> {
  const out = new Uint32Array(32);
  run(
    `  mul.wide.u32 %rd3, %r0, 4;
  add.s64 %rd1, %rd1, %rd3;
  add.s64 %rd2, %rd2, %rd3;
  ld.global.u32 %r1, [%rd1];
${body}
  st.global.u32 [%rd2], %r2;`,
    { block },
    input,
    out,
  );
  return out;
}

const values = (seed: number) => {
  const next = numbers(seed);
  return lanes(next);
};

/** PTX ISA, shfl.sync: the lane to read, or -1 if it is out of range and the lane copies its own value. */
function source(mode: string, lane: number, b: number, c: number): number {
  const segment = (c >> 8) & 31;
  const clamp = c & 31;
  const bval = b & 31;
  const max = (lane & segment) | (clamp & ~segment & 31);
  const min = lane & segment;
  if (mode === "up") return lane - bval >= max ? lane - bval : -1;
  const j = mode === "down" ? lane + bval : mode === "bfly" ? lane ^ bval : min | (bval & ~segment & 31);
  return j <= max ? j : -1;
}

test.each(["up", "down", "bfly", "idx"])("shfl.sync.%s", (mode) => {
  const input = values(1);
  for (const c of mode === "up" ? [0, 0x1800, 0x1000, 0x1c00] : [0x1f, 0x181f, 0x1007, 0x1c1f, 0x0f])
    for (const b of [0, 1, 3, 7, 8, 16, 21, 31, 33]) {
      const wanted = lanes((l) => {
        const j = source(mode, l, b, c);
        return input[j < 0 ? l : j] as number;
      });
      expect(onWarp(`  shfl.sync.${mode}.b32 %r2, %r1, ${b}, ${c}, -1;`, input), `b ${b} c ${c}`).toEqual(wanted);
      const inside = lanes((l) => Number(source(mode, l, b, c) >= 0));
      expect(
        onWarp(`  shfl.sync.${mode}.b32 %r3|%p1, %r1, ${b}, ${c}, -1;\n  selp.u32 %r2, 1, 0, %p1;`, input),
        `predicate, b ${b} c ${c}`,
      ).toEqual(inside);
    }
});

test("shfl.sync with a different source lane per lane", () => {
  const input = values(2);
  expect(onWarp("  shfl.sync.idx.b32 %r2, %r0, %r1, 31, -1;", input)).toEqual(input.map((x) => x & 31));
});

test("shfl.sync in groups with different masks", () => {
  const input = values(3);
  // Each half of the warp names its own mask in a single instruction.
  const body = `  setp.lt.u32 %p1, %r0, 16;
  selp.b32 %r5, 0x0000ffff, 0xffff0000, %p1;
  shfl.sync.bfly.b32 %r2, %r1, 5, 31, %r5;`;
  expect(onWarp(body, input)).toEqual(lanes((l) => input[l ^ 5] as number));
});

test("lanes that reach a .sync at different times converge there", () => {
  const input = values(4);
  const body = `  setp.lt.u32 %p1, %r0, 7;
  mov.u32 %r4, 0;
  @%p1 bra MEET;
  mul.lo.u32 %r1, %r1, 3;
  mul.lo.u32 %r1, %r1, 5;
MEET:
  shfl.sync.down.b32 %r2, %r1, 1, 31, -1;`;
  const changed = input.map((x, l) => (l < 7 ? x : Math.imul(x, 15)));
  expect(onWarp(body, input)).toEqual(lanes((l) => changed[Math.min(l + 1, 31)] as number));
});

test("lanes may leave a loop at different times", () => {
  // Lane l runs l % 4 + 1 rounds; in each round the remaining lanes vote.
  const body = `  and.b32 %r3, %r0, 3;
  mov.u32 %r2, 0;
AGAIN:
  activemask.b32 %r4;
  vote.sync.ballot.b32 %r5, 1, %r4;
  popc.b32 %r6, %r5;
  add.u32 %r2, %r2, %r6;
  sub.u32 %r3, %r3, 1;
  setp.ge.s32 %p1, %r3, 0;
  @%p1 bra AGAIN;`;
  const still = [32, 24, 16, 8];
  expect(onWarp(body, values(5))).toEqual(lanes((l) => still.slice(0, (l & 3) + 1).reduce((a, b) => a + b)));
});

test("a lane outside its own membermask is reported", () => {
  expect(() => onWarp("  shfl.sync.idx.b32 %r2, %r1, 0, 31, 0x7fffffff;", values(6))).toThrow(
    /lane 31 is not in its own membermask/,
  );
});

test("different membermasks within a membermask are reported", () => {
  const body = "  setp.eq.u32 %p1, %r0, 3;\n  selp.b32 %r5, 8, -1, %p1;\n  vote.sync.ballot.b32 %r2, 1, %r5;";
  expect(() => onWarp(body, values(6))).toThrow(/synccheck: lanes of a membermask/);
});

test("a lane of the membermask that never arrives is a deadlock unless it has exited", () => {
  const around = (what: string) => `  setp.eq.u32 %p1, %r0, 9;
  @%p1 bra ELSEWHERE;
  vote.sync.ballot.b32 %r2, 1, -1;
  bra DONE;
ELSEWHERE:
  ${what}
DONE:`;
  expect(() => onWarp(around("mov.u32 %r2, 0;\n  bar.sync 0;"), values(7))).toThrow(/deadlock/);
  expect(onWarp(around("exit;"), values(7))).toEqual(lanes((l) => (l === 9 ? 0 : 0xfffffdff)));
});

test("vote.sync", () => {
  const input = values(8).map((x) => x & 1);
  const ballot = input.reduce((m, x, l) => (m | (x << l)) >>> 0, 0);
  const vote = (instruction: string) => onWarp(`  setp.ne.u32 %p1, %r1, 0;\n${instruction}`, input);
  expect(vote("  vote.sync.ballot.b32 %r2, %p1, -1;")).toEqual(lanes(() => ballot));
  expect(vote("  vote.sync.ballot.b32 %r2, !%p1, -1;")).toEqual(lanes(() => ~ballot));
  for (const [mode, mixed, all, none] of [
    ["all", 0, 1, 0],
    ["any", 1, 1, 0],
    ["uni", 0, 1, 1],
  ] as const) {
    const answer = (p: string) =>
      vote(`  setp.eq.u32 %p4, 0, 0;\n  vote.sync.${mode}.pred %p2, ${p}, -1;\n  selp.u32 %r2, 1, 0, %p2;`)[5];
    expect([answer("%p1"), answer("%p4"), answer("!%p4")], mode).toEqual([mixed, all, none]);
  }
});

test("match.sync", () => {
  const input = values(9).map((x) => x % 5);
  const equal = (l: number) => input.reduce((m, x, j) => (m | (Number(x === input[l]) << j)) >>> 0, 0);
  expect(onWarp("  match.any.sync.b32 %r2, %r1, -1;", input)).toEqual(lanes(equal));
  expect(onWarp("  mov.b64 %rd5, {%r0, %r1};\n  match.any.sync.b64 %r2, %rd5, -1;", input)).toEqual(
    lanes((l) => 1 << l),
  );
  const all = "  match.all.sync.b32 %r3|%p1, %r1, -1;\n  selp.u32 %r4, 1, 0, %p1;\n  xor.b32 %r2, %r3, %r4;";
  expect(onWarp(all, input)).toEqual(lanes(() => 0));
  expect(
    onWarp(
      all,
      lanes(() => 77),
    ),
  ).toEqual(lanes(() => 0xfffffffe));
});

test("redux.sync", () => {
  const input = values(10);
  const signed = Array.from(input, (x) => x | 0);
  const list = Array.from(input);
  const expected = {
    "add.u32": list.reduce((a, b) => (a + b) >>> 0),
    "add.s32": list.reduce((a, b) => (a + b) >>> 0),
    "min.u32": Math.min(...list),
    "max.u32": Math.max(...list),
    "min.s32": Math.min(...signed) >>> 0,
    "max.s32": Math.max(...signed) >>> 0,
    "and.b32": list.map((x) => x | 0x10).reduce((a, b) => a & b) >>> 0,
    "or.b32": list.map((x) => x & 0x7fff_ffff).reduce((a, b) => a | b) >>> 0,
    "xor.b32": list.reduce((a, b) => a ^ b) >>> 0,
  };
  for (const [op, result] of Object.entries(expected)) {
    const before =
      op === "and.b32" ? "  or.b32 %r1, %r1, 16;\n" : op === "or.b32" ? "  and.b32 %r1, %r1, 0x7fffffff;\n" : "";
    expect(onWarp(`${before}  redux.sync.${op} %r2, %r1, -1;`, input), op).toEqual(lanes(() => result));
  }
});

test("a partial warp participates with the lanes that it has", () => {
  const out = onWarp("  vote.sync.ballot.b32 %r2, 1, -1;", values(11), 20);
  expect(out).toEqual(lanes((l) => (l < 20 ? 0xfffff : 0)));
});

test("bar.warp.sync", () => {
  expect(onWarp("  bar.warp.sync -1;\n  add.u32 %r2, %r1, 1;", values(12))).toEqual(values(12).map((x) => x + 1));
});

test("bar.red", () => {
  const block = 96;
  const threads = Uint32Array.from({ length: block }, (_, t) => t);
  const red = (instruction: string) => {
    const out = new Uint32Array(block);
    run(
      `  mul.wide.u32 %rd3, %r0, 4;
  add.s64 %rd1, %rd1, %rd3;
  add.s64 %rd2, %rd2, %rd3;
  ld.global.u32 %r1, [%rd1];
  setp.gt.u32 %p1, %r1, 40;
${instruction}
  st.global.u32 [%rd2], %r2;`,
      { block },
      threads,
      out,
    );
    expect(new Set(out).size).toBe(1);
    return out[0];
  };
  expect(red("  bar.red.popc.u32 %r2, 0, %p1;")).toBe(55);
  expect(red("  bar.red.popc.u32 %r2, 0, !%p1;")).toBe(41);
  expect(red("  bar.red.popc.u32 %r2, 3, 96, %p1;")).toBe(55);
  expect(red("  bar.red.and.pred %p2, 0, %p1;\n  selp.u32 %r2, 1, 0, %p2;")).toBe(0);
  expect(red("  bar.red.or.pred %p2, 0, %p1;\n  selp.u32 %r2, 1, 0, %p2;")).toBe(1);
  expect(
    red("  setp.ge.u32 %p1, %r1, 0;\n  barrier.red.and.aligned.pred %p2, 0, %p1;\n  selp.u32 %r2, 1, 0, %p2;"),
  ).toBe(1);
  // Twice, since the second reduction must start from zero.
  expect(red("  bar.red.popc.u32 %r5, 0, %p1;\n  bar.red.popc.u32 %r2, 0, %p1;")).toBe(55);
});

test("the forms without .sync are refused", () => {
  for (const old of ["shfl.idx.b32 %r2, %r1, 0, 31;", "vote.ballot.b32 %r2, %p1;", "vote.all.pred %p2, %p1;"])
    expect(() => onWarp(`  ${old}`, values(1))).toThrow(/CUresult 218/);
});

// includes kernels that are meant to be refused
testPtxas(/shfl\.idx|vote\.ballot|vote\.all\.pred %p2, %p1;/);
