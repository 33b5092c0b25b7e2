// bar and barrier, as defined in the PTX ISA ("bar, barrier" and "exit").
import { describe, expect, test } from "vitest";
import { deviceWith } from "../support/modes.js";
import { kernel, run, testPtxas } from "../support/ptx.js";

const from = `  mul.wide.u32 %rd3, %r0, 4;
  add.s64 %rd2, %rd2, %rd3;
  shr.u32 %r1, %r0, 5;
  and.b32 %r3, %r0, 31;
  mov.u32 %r2, 0;
  setp.eq.u32 %p10, %r1, 0;
  setp.eq.u32 %p11, %r1, 1;
  setp.eq.u32 %p12, %r1, 2;
`;
const store = "\n  st.global.u32 [%rd2], %r2;";
/**
 * %r1 is the warp, %p10, %p11, %p12 say whether it is warp 0, 1, 2, and %r3 is the lane; returns %r2 of each thread.
 */
function onBlock(body: string, block: number): Uint32Array {
  const out = new Uint32Array(block);
  run(`${from}${body}${store}`, { block }, new Uint32Array(1), out, { shared: 1024 });
  return out;
}
const perWarp = (values: readonly number[]) => Uint32Array.from(values.flatMap((v) => Array<number>(32).fill(v)));

/** Two phases of barrier 1 with 64 threads: first warps 0 and 1, then 1 and 2. */
const phases = (reduce: (result: string, limit: number) => string) => `  @%p12 bra THIRD;
  ${reduce("%r4", 9)}
  add.u32 %r2, %r2, %r4;
  @%p10 bra DONE;
  bar.arrive 2, 64;
  ${reduce("%r5", 21)}
  mad.lo.u32 %r2, %r5, 1000, %r2;
  bra DONE;
THIRD:
  bar.sync 2, 64;
  ${reduce("%r6", 21)}
  mul.lo.u32 %r2, %r6, 1000;
DONE:`;
const population = (result: string, limit: number) =>
  `setp.lt.u32 %p1, %r3, ${limit};\n  bar.red.popc.u32 ${result}, 1, 64, %p1;`;
const whether = (mode: string) => (result: string, limit: number) =>
  `setp.lt.u32 %p1, %r3, ${limit === 9 ? 40 : 20};\n  bar.red.${mode}.pred %p2, 1, 64, %p1;\n  selp.u32 ${result}, 1, 0, %p2;`;

describe("bar.red", () => {
  test("a late warp sees the result of its own phase", () => {
    expect(onBlock(phases(population), 96)).toEqual(perWarp([18, 42_018, 42_000]));
    // All lanes are below 40, but not all are below 20.
    expect(onBlock(phases(whether("and")), 96)).toEqual(perWarp([1, 1, 0]));
    expect(onBlock(phases(whether("or")), 96)).toEqual(perWarp([1, 1001, 1000]));
  });
  test.each(["1", "2", "3"])("passes racecheck in any order of warps: seed %s", async (seed) => {
    const device = await deviceWith({ CARACAL_VGPU_SEED: seed, CARACAL_VGPU_CHECK: "racecheck" });
    const out = new Uint32Array(96);
    const module = new device.PtxModule(kernel(`${from}${phases(population)}${store}`));
    module.run("k", { block: 96 }, new Uint32Array(1), out);
    expect(out).toEqual(perWarp([18, 42_018, 42_000]));
  });
  test("exited threads do not vote", () => {
    const body = `  setp.gt.u32 %p1, %r3, 24;
  @%p1 exit;
  setp.lt.u32 %p2, %r3, 32;
  bar.red.popc.u32 %r4, 0, %p2;
  bar.red.and.pred %p3, 0, %p2;
  selp.u32 %r5, 100, 0, %p3;
  add.u32 %r2, %r4, %r5;`;
    expect(onBlock(body, 64)).toEqual(Uint32Array.from({ length: 64 }, (_, t) => (t % 32 > 24 ? 0 : 150)));
  });
  test("mixing with bar.sync at one barrier is reported", () => {
    const body =
      "  setp.eq.u32 %p1, %r3, 0;\n  @%p10 bra A;\n  bar.sync 3;\n  bra DONE;\nA:\n  bar.red.popc.u32 %r2, 3, %p1;\nDONE:";
    expect(() => onBlock(body, 64)).toThrow(/synccheck: barrier 3 is used by bar\.red and otherwise/);
  });
});

describe("barrier.sync", () => {
  // Each thread stores its number and after the barrier reads that of the thread 32 further on.
  const exchange = (barriers: string) => `  mov.u32 %r10, buffer;
  shl.b32 %r11, %r0, 2;
  add.u32 %r12, %r10, %r11;
  st.shared.u32 [%r12], %r0;
${barriers}
  add.u32 %r13, %r11, 128;
  and.b32 %r13, %r13, 255;
  add.u32 %r13, %r13, %r10;
  ld.shared.u32 %r2, [%r13];`;
  const exchanged = Uint32Array.from({ length: 64 }, (_, t) => (t + 32) % 64);

  test("lanes of a warp may arrive from different places", () => {
    const arms = `  setp.lt.u32 %p1, %r3, 13;
  @%p1 bra FIRST;
  barrier.sync 4;
  bra MET;
FIRST:
  barrier.cta.sync 4, 64;
MET:`;
    expect(onBlock(exchange(arms), 64)).toEqual(exchanged);
  });
  test("lanes may arrive under a guard and its complement", () => {
    const guarded = "  setp.lt.u32 %p1, %r3, 13;\n  @%p1 barrier.sync 4;\n  @!%p1 barrier.sync 4;";
    expect(onBlock(exchange(guarded), 64)).toEqual(exchanged);
  });
  test("the barrier is that of the arriving lanes", () => {
    const guarded = `  setp.lt.u32 %p1, %r3, 13;
  selp.b32 %r4, 4, 99, %p1;
  @%p1 barrier.sync %r4;
  mov.u32 %r4, 4;
  @!%p1 barrier.sync %r4;`;
    expect(onBlock(exchange(guarded), 64)).toEqual(exchanged);
    expect(() => onBlock("  and.b32 %r4, %r3, 7;\n  bar.sync %r4;", 64)).toThrow(/synccheck: the barrier differs/);
  });
  test("lanes of a warp at different barriers deadlock", () => {
    const body =
      "  setp.lt.u32 %p1, %r3, 13;\n  @%p1 bra FIRST;\n  barrier.sync 4;\n  bra MET;\nFIRST:\n  barrier.sync 5;\nMET:";
    expect(() => onBlock(body, 64)).toThrow(/deadlock[\s\S]*barrier\.sync/);
  });
  test("threads are counted by whole warps", () => {
    // 16 lanes of each of four warps are 64 threads, but no warp has arrived.
    const body = "  setp.lt.u32 %p1, %r3, 16;\n  @%p1 barrier.sync 4, 64;\n  @!%p1 barrier.sync 5, 64;";
    expect(() => onBlock(body, 128)).toThrow(/deadlock/);
  });
  test("a warp arrives when the last of its other threads exits", () => {
    const body = `  setp.lt.u32 %p1, %r3, 16;
  @%p1 bra WAIT;
  exit;
WAIT:
  barrier.sync 4, 64;
  mov.u32 %r2, 1;`;
    expect(onBlock(body, 64)).toEqual(Uint32Array.from({ length: 64 }, (_, t) => Number(t % 32 < 16)));
  });
});

describe("bar.sync", () => {
  test("exited warps are not waited for", () => {
    expect(onBlock("  @%p11 exit;\n  bar.sync 0;\n  mov.u32 %r2, 1;", 96)).toEqual(perWarp([1, 0, 1]));
  });
  test("exited warps do not count toward an explicit number of threads", () => {
    expect(() => onBlock("  @%p11 exit;\n  bar.sync 0, 96;\n  mov.u32 %r2, 1;", 96)).toThrow(/deadlock/);
  });
  test("a short warp counts as a whole one", () => {
    expect(onBlock("  bar.sync 1, 64;\n  mov.u32 %r2, 1;", 40)).toEqual(new Uint32Array(40).fill(1));
  });
  test("a second arrival before the barrier is complete is reported", () => {
    const body = "  @!%p10 bra OTHER;\n  bar.arrive 1, 64;\n  bar.sync 1, 64;\nOTHER:";
    expect(() => onBlock(body, 64)).toThrow(/synccheck: barrier 1: lanes arrive again before it is complete/);
  });
  test("a guard that differs between lanes of a warp is reported", () => {
    const body = "  setp.lt.u32 %p1, %r3, 13;\n  @%p1 bar.sync 0;\n  mov.u32 %r2, 1;";
    expect(() => onBlock(body, 64)).toThrow(/synccheck: an \.aligned barrier has a guard/);
    expect(onBlock("  @!%p11 bar.sync 1, 64;\n  mov.u32 %r2, 1;", 96)).toEqual(perWarp([1, 1, 1]));
  });
  test("different numbers of threads are reported", () => {
    const body = "  @%p10 bra FIRST;\n  bar.sync 1, 64;\n  bra DONE;\nFIRST:\n  bar.sync 1, 96;\nDONE:";
    expect(() => onBlock(body, 96)).toThrow(/synccheck: barrier 1 is used with (96 and with 64|64 and with 96)/);
  });
});

describe("barrier.cluster", () => {
  /** A cluster of two blocks of one warp; %r1 is the block, %r3 the lane. Returns %r2 of each thread. */
  const cluster = (body: string) =>
    kernel(
      `  mov.u32 %r1, %cluster_ctarank;
  mad.lo.u32 %r4, %r1, 32, %r0;
  mul.wide.u32 %rd3, %r4, 4;
  add.s64 %rd2, %rd2, %rd3;
  mov.u32 %r3, %r0;
  mov.u32 %r2, 0;
${body}
  st.global.u32 [%rd2], %r2;`,
      { target: "sm_90", shared: 256 },
    ).replace("\n{", " .reqnctapercluster 2, 1, 1\n{");
  const run2 = async (body: string, mode: Record<string, string> = {}) => {
    const device = await deviceWith({ CARACAL_VGPU_COMPUTE: "9.0", CARACAL_VGPU_CHECK: "racecheck", ...mode });
    const out = new Uint32Array(64);
    new device.PtxModule(cluster(body)).run("k", { grid: 2, block: 32 }, new Uint32Array(1), out);
    return out;
  };

  test("a thread that has arrived and exited does not replace another one", async () => {
    // Lane 0 of the first block exits; lane 31 of the second arrives late, and its write must be visible.
    const body = `  mov.u32 %r10, buffer;
  setp.eq.u32 %p1, %r4, 0;
  @%p1 bra FIRST;
  setp.eq.u32 %p2, %r4, 63;
  @%p2 bra LATE;
  barrier.cluster.arrive;
MEET:
  barrier.cluster.wait;
  mapa.shared::cluster.u32 %r11, %r10, 1;
  ld.shared::cluster.u32 %r2, [%r11];
  barrier.cluster.arrive;
  barrier.cluster.wait;
  bra DONE;
FIRST:
  barrier.cluster.arrive;
  exit;
LATE:
  st.shared.u32 [%r10], 77;
  barrier.cluster.arrive;
  bra MEET;
DONE:`;
    for (const seed of ["0", "1", "2", "3"])
      expect(await run2(body, { CARACAL_VGPU_SEED: seed })).toEqual(
        Uint32Array.from({ length: 64 }, (_, t) => (t === 0 ? 0 : 77)),
      );
  });

  test.each(["0", "1", "2", "3", "4", "5"])("consecutive phases in two arms of a branch: seed %s", async (seed) => {
    // In every round lane 0 of each block writes a value, and all lanes add up the other block's values.
    const body = `  mov.u32 %r10, buffer;
  xor.b32 %r11, %r1, 1;
  mapa.shared::cluster.u32 %r12, %r10, %r11;
  mov.u32 %r5, 0;
ROUND:
  mad.lo.u32 %r6, %r1, 100, %r5;
  setp.eq.u32 %p1, %r3, 0;
  @%p1 st.shared.u32 [%r10], %r6;
  and.b32 %r7, %r3, 1;
  setp.eq.u32 %p2, %r7, 0;
  @%p2 bra EVEN;
  barrier.cluster.arrive.release;
  barrier.cluster.wait.acquire;
  ld.shared::cluster.u32 %r8, [%r12];
  barrier.cluster.arrive;
  barrier.cluster.wait;
  bra NEXT;
EVEN:
  barrier.cluster.arrive;
  barrier.cluster.wait;
  ld.shared::cluster.u32 %r8, [%r12];
  barrier.cluster.arrive;
  barrier.cluster.wait;
NEXT:
  add.u32 %r2, %r2, %r8;
  add.u32 %r5, %r5, 1;
  setp.lt.u32 %p3, %r5, 4;
  @%p3 bra ROUND;`;
    expect(await run2(body, { CARACAL_VGPU_SEED: seed })).toEqual(
      Uint32Array.from({ length: 64 }, (_, t) => (t < 32 ? 406 : 6)),
    );
  });
});

testPtxas();
