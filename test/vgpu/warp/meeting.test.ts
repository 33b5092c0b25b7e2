// Instructions with a membermask that lanes reach from different places in the program. PTX ISA: a thread waits "until
// all non-exited threads corresponding to membermask have executed" it "with the same qualifiers and same membermask
// value".
import { describe, expect, test } from "vitest";
import { deviceWith } from "../support/modes.js";
import { kernel, lanes, numbers, run, testPtxas } from "../support/ptx.js";

const from = `  mul.wide.u32 %rd3, %r0, 4;
  add.s64 %rd1, %rd1, %rd3;
  add.s64 %rd2, %rd2, %rd3;
  ld.global.u32 %r1, [%rd1];
`;
/** Lanes below `low` run the first arm, the others the second. Returns %r2. */
const arms = (low: number, first: string, second: string) => `${from}  setp.lt.u32 %p1, %r0, ${low};
  @%p1 bra FIRST;
  ${second}
  bra DONE;
FIRST:
  ${first}
DONE:
  st.global.u32 [%rd2], %r2;`;

const input = lanes(numbers(21));
function onWarp(body: string, block = 32): Uint32Array {
  const out = new Uint32Array(32);
  run(body, { block }, input, out, { shared: 256 });
  return out;
}

const modes: Record<string, string>[] = [
  {},
  { CARACAL_VGPU_CHECK: "initcheck,racecheck" },
  ...["1", "2", "3", "4"].map((seed) => ({ CARACAL_VGPU_SEED: seed })),
];

describe("in two arms of a branch", () => {
  test("shfl.sync: value, lane and segment may differ per lane", () => {
    const got = onWarp(
      arms(
        11,
        "add.u32 %r3, %r1, 1;\n  shfl.sync.idx.b32 %r2|%p2, %r3, 20, 31, -1;\n  @%p2 add.u32 %r2, %r2, 5;",
        "mov.u32 %r4, 3;\n  shfl.sync.idx.b32 %r2, %r1, %r4, 0x1807, 0xffffffff;",
      ),
    );
    // 0x1807: segments of 8 lanes and a clamp of 7, so that lane 3 of each is in range.
    const value = (l: number) => input[l]! + Number(l < 11);
    expect(got).toEqual(lanes((l) => (l < 11 ? value(20) + 5 : value((l & 24) + 3))));
  });

  test("vote.sync: one arm may vote with the complement of a predicate", () => {
    const ballot = (low: string, high: string) =>
      onWarp(
        `  setp.lt.u32 %p3, %r0, 20;\n${arms(
          9,
          `vote.sync.ballot.b32 %r2, ${low}, -1;`,
          `vote.sync.ballot.b32 %r5, ${high}, -1;\n  mov.u32 %r2, %r5;`,
        )}`,
      );
    // The predicate holds in lanes 0 to 8, and among the others up to lane 19.
    expect(ballot("%p3", "!%p3")).toEqual(lanes(() => 0xfff001ff));
    expect(ballot("!%p3", "%p3")).toEqual(lanes(() => 0x000ffe00));
    const all = (low: string, high: string) =>
      onWarp(
        arms(
          9,
          `vote.sync.all.pred %p4, ${low}, -1;\n  selp.u32 %r2, 1, 0, %p4;`,
          `vote.sync.all.pred %p5, ${high}, -1;\n  selp.u32 %r2, 1, 0, %p5;`,
        ),
      )[3];
    expect([all("%p1", "!%p1"), all("%p1", "%p1"), all("!%p1", "!%p1")]).toEqual([1, 0, 0]);
  });

  test("match.sync, redux.sync", () => {
    const same = onWarp(
      arms(
        16,
        "and.b32 %r3, %r0, 3;\n  mov.b64 %rd5, {%r3, 1};\n  match.any.sync.b64 %r2, %rd5, -1;",
        "and.b32 %r3, %r0, 1;\n  mov.b64 %rd6, {%r3, 1};\n  match.any.sync.b64 %r2, %rd6, -1;",
      ),
    );
    const key = (l: number) => (l < 16 ? l & 3 : l & 1);
    expect(same).toEqual(
      lanes((l) => Array.from({ length: 32 }, (_, j) => Number(key(j) === key(l)) << j).reduce((a, b) => a | b)),
    );
    const sum = onWarp(arms(5, "redux.sync.add.u32 %r2, %r0, -1;", "redux.sync.add.u32 %r2, 100, -1;"));
    expect(sum).toEqual(lanes(() => 0 + 1 + 2 + 3 + 4 + 27 * 100));
  });

  test.each(modes)("bar.warp.sync orders memory: %o", async (mode) => {
    const arm = (sum: string) =>
      `${sum} %r3, %r1, 3;\n  st.shared.u32 [%r4], %r3;\n  bar.warp.sync -1;\n  ld.shared.u32 %r2, [%r5];`;
    const ptx = kernel(
      `  mov.u32 %r6, buffer;\n  shl.b32 %r7, %r0, 2;\n  add.u32 %r4, %r6, %r7;
  xor.b32 %r8, %r0, 31;\n  shl.b32 %r8, %r8, 2;\n  add.u32 %r5, %r6, %r8;\n${arms(12, arm("add.u32"), arm("xor.b32"))}`,
      { shared: 128 },
    );
    const out = new Uint32Array(32);
    const device = await deviceWith(mode);
    new device.PtxModule(ptx).run("k", { block: 32 }, input, out);
    const written = input.map((x, l) => (l < 12 ? x + 3 : x ^ 3));
    expect(out).toEqual(lanes((l) => written[l ^ 31]!));
  });

  test("lanes may arrive under a guard and its complement", () => {
    const body = `${from}  setp.lt.u32 %p1, %r0, 20;
  mov.u32 %r2, 7;
  @%p1 vote.sync.ballot.b32 %r2, 1, -1;
  @!%p1 vote.sync.ballot.b32 %r3, 0, -1;
  @!%p1 add.u32 %r2, %r3, 1;
  st.global.u32 [%rd2], %r2;`;
    expect(onWarp(body)).toEqual(lanes((l) => 0xfffff + Number(l >= 20)));
  });

  test("lanes masked off by a guard have not arrived, even if they are at the instruction", () => {
    // The upper half arrives first, while the lower half is at FIRST without having run it; its even lanes arrive
    // later.
    const got = onWarp(
      `  and.b32 %r6, %r0, 1;
  setp.eq.u32 %p3, %r6, 1;
${arms(
  16,
  "@%p3 vote.sync.ballot.b32 %r2, 1, -1;\n  @!%p3 vote.sync.ballot.b32 %r2, 0, -1;",
  "vote.sync.ballot.b32 %r2, 1, -1;",
)}`,
    );
    expect(got).toEqual(lanes(() => 0xffffaaaa));
  });

  test("a complete group continues while another group at the same instruction waits", () => {
    // Lanes 16 to 23 need no other lanes; 24 to 31 wait for lanes of the other arm, which arrive later.
    const own = "setp.gt.u32 %p2, %r0, 23;\n  selp.b32 %r3, 0xff00ffff, 0xff0000, %p2;";
    const got = onWarp(
      arms(
        16,
        "mov.u32 %r4, 1;\n  vote.sync.ballot.b32 %r2, %p1, 0xff00ffff;\n  add.u32 %r2, %r2, %r4;",
        `${own}\n  vote.sync.ballot.b32 %r2, 1, %r3;\n  add.u32 %r2, %r2, 2;\n  add.u32 %r2, %r2, 4;`,
      ),
    );
    expect(got).toEqual(lanes((l) => (l < 16 ? 0xff010000 : l < 24 ? 0xff0006 : 0xff010005)));
  });

  test("elect.sync: all lanes get the same leader", () => {
    const elect = "elect.sync %r2|%p2, -1;\n  @%p2 add.u32 %r2, %r2, 64;";
    const out = new Uint32Array(32);
    // elect.sync needs compute capability 9.0; the default of these tests is 8.0.
    return deviceWith({ CARACAL_VGPU_COMPUTE: "9.0" }).then((device) => {
      const ptx = kernel(arms(6, elect, elect), { target: "sm_90" });
      new device.PtxModule(ptx).run("k", { block: 32 }, input, out);
      expect(out.filter((x) => x >= 64).length).toBe(1);
      expect(new Set(out.map((x) => x & 31)).size).toBe(1);
      const leader = out.findIndex((x) => x >= 64);
      expect(out[leader]).toBe(64 + leader);
    });
  });
});

test.each(modes)("lanes may take different paths in each round of a loop: %o", async (mode) => {
  // In round i, lane l takes the first arm if l + i is a multiple of 3; each round adds up (l ^ i) over all lanes.
  const body = `  mov.u32 %r2, 0;
  mov.u32 %r3, 0;
AGAIN:
  add.u32 %r4, %r0, %r3;
  rem.u32 %r4, %r4, 3;
  xor.b32 %r5, %r0, %r3;
  setp.ne.u32 %p1, %r4, 0;
  @%p1 bra OTHER;
  redux.sync.add.u32 %r6, %r5, -1;
  add.u32 %r2, %r2, %r6;
  bra NEXT;
OTHER:
  mul.lo.u32 %r7, %r5, 1;
  redux.sync.add.u32 %r8, %r7, -1;
  add.u32 %r2, %r2, %r8;
  bar.warp.sync -1;
  bra ON;
NEXT:
  bar.warp.sync 0xffffffff;
ON:
  add.u32 %r3, %r3, 1;
  setp.lt.u32 %p2, %r3, 10;
  @%p2 bra AGAIN;
  mul.wide.u32 %rd3, %r0, 4;
  add.s64 %rd2, %rd2, %rd3;
  st.global.u32 [%rd2], %r2;`;
  const device = await deviceWith(mode);
  const out = new Uint32Array(32);
  new device.PtxModule(kernel(body)).run("k", { block: 32 }, input, out);
  let sum = 0;
  for (let i = 0; i < 10; i++) for (let l = 0; l < 32; l++) sum += l ^ i;
  expect(out).toEqual(lanes(() => sum));
});

describe("lanes that wait for each other in different ways are reported", () => {
  const report = /synccheck: it waits with membermask 0x[0-9a-f]+ for lane \d+, which waits for it/;
  test("different masks", () => {
    expect(() => onWarp(arms(16, "bar.warp.sync -1;", "bar.warp.sync 0xffff8000;"))).toThrow(report);
  });
  test("different modes of one instruction", () => {
    const body = arms(
      16,
      "vote.sync.any.pred %p2, 1, -1;\n  mov.u32 %r2, 1;",
      "vote.sync.all.pred %p2, 1, -1;\n  mov.u32 %r2, 1;",
    );
    expect(() => onWarp(body)).toThrow(report);
  });
  test("different instructions", () => {
    expect(() => onWarp(arms(16, "bar.warp.sync -1;\n  mov.u32 %r2, 1;", "vote.sync.ballot.b32 %r2, 1, -1;"))).toThrow(
      /for lane \d+, which waits for it with membermask 0xffffffff at (vote\.sync|bar\.warp)/,
    );
  });
  test("lanes that only wait for others are not reported", () => {
    // Lane 16 first converges with lane 17 alone, while all others already wait for the whole warp.
    const body = `${from}  setp.eq.u32 %p1, %r0, 16;
  setp.eq.or.u32 %p2, %r0, 17, %p1;
  @%p2 bra PAIR;
  vote.sync.ballot.b32 %r2, 1, -1;
  bra DONE;
PAIR:
  vote.sync.ballot.b32 %r3, 1, 0x30000;
  vote.sync.ballot.b32 %r2, 0, -1;
  xor.b32 %r2, %r2, %r3;
DONE:
  st.global.u32 [%rd2], %r2;`;
    expect(onWarp(body)).toEqual(lanes((l) => (l === 16 || l === 17 ? 0xffffffff : 0xfffcffff)));
  });
});

testPtxas();
