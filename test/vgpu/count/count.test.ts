// The counters of kernels that are small enough to count by hand.
import { describe, expect, test } from "vitest";
import type { Shape } from "../support/device.js";
import { compile, hasNvcc } from "../support/nvcc.js";
import { testPtxas } from "../support/ptx.js";
import { counted, launched, linesBody, only, restart, type Sum, twoLines } from "./counted.js";

// The kernel of support/ptx.ts begins with two ld.param, mov and mul.wide, and ends with ret.
test("instructions by class", () => {
  const { total } = counted(
    `  add.u32 %r1, %r0, 1;
  xor.b32 %r1, %r1, %r0;
  setp.eq.u32 %p1, %r0, %r0;
  cvt.rn.f32.u32 %f1, %r0;
  fma.rn.f32 %f1, %f1, %f1, %f1;
  add.f16 %h1, %h0, %h0;
  selp.b32 %r2, %r0, %r1, %p1;
  ld.global.u32 %r3, [%rd1];
  st.global.u32 [%rd2], %r3;
  red.global.add.u32 [%rd2], 1;
  shfl.sync.idx.b32 %r4, %r3, 0, 31, -1;
  bar.sync 0;
  membar.gl;
  mov.u32 %r5, buffer;
  @%p1 bra on;
on:
  cp.async.ca.shared.global [%r5], [%rd1], 4;
  cp.async.wait_all;
  nanosleep.u32 1;
  mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%f2, %f3, %f4, %f5}, {%r1, %r1, %r1, %r1}, {%r1, %r1}, {%f2, %f3, %f4, %f5};`,
    { grid: 2, block: 64 },
  );
  const warps = 4;
  expect(total.classes).toEqual({
    integer: 5 * warps, // mul.wide, add, xor, setp, selp
    floating: warps,
    half: warps,
    convert: warps,
    move: 2 * warps,
    load: 3 * warps,
    store: warps,
    atomic: warps,
    control: 2 * warps, // bra, ret
    warp: warps,
    barrier: 2 * warps,
    async: 2 * warps,
    tensor: warps,
    other: warps,
  });
  const all = 24 * warps;
  expect(total).toMatchObject({ executed: all, lanes: 32 * all, atomics: warps, barriers: warps });
  expect(total).toMatchObject({ tensorInstructions: warps, tensorMultiplyAdds: 16 * 8 * 16 * warps });
  expect(total.divergences).toBeUndefined();
});

test("launch shape, a partial warp, a loop, and instructions whose guard is off", () => {
  const launch = counted(
    `  mov.u32 %r1, 5;
again:
  sub.u32 %r1, %r1, 1;
  setp.ne.u32 %p1, %r1, 0;
  @%p1 bra again;
  @%p1 mov.u32 %r2, 0;`,
    { grid: [3, 2, 1], block: [10, 4, 1], shared: 100 },
    48,
  );
  expect(launch).toMatchObject({ kernel: "k", grid: [3, 2, 1], block: [10, 4, 1], cluster: [1, 1, 1] });
  expect(launch).toMatchObject({ dynamicShared: 100 });
  expect(launch.staticShared).toBe(48);
  // 40 threads make a warp of 32 and one of 8.
  expect(only(launch, "sub")).toMatchObject({ executed: 6 * 2 * 5, lanes: 6 * 40 * 5 });
  const moves = launch.instructions.filter((i) => i.instruction.startsWith("mov"));
  expect(moves.map(({ executed, lanes }) => [executed, lanes ?? 0])).toEqual([
    [12, 240],
    [12, 240],
    [12, 0],
  ]);
});

test("divergent branches", () => {
  const launch = counted(
    `  and.b32 %r1, %r0, 1;
  setp.eq.u32 %p1, %r1, 0;
  setp.lt.u32 %p2, %r0, 40;
  @%p1 bra even;
  add.u32 %r2, %r0, 1;
even:
  @%p2 bra small;
  sub.u32 %r2, %r0, 1;
small:
  @!%p2 bra end;
  xor.b32 %r2, %r0, %r0;
end:`,
    { block: 64 },
  );
  // Both warps diverge at the first branch, only the second warp at the others.
  expect(launch.total.divergences).toBe(4);
  const branches = launch.instructions.filter((i) => i.instruction.startsWith("bra"));
  expect(branches.map((b) => b.divergences)).toEqual([2, 1, 1]);
  expect(only(launch, "add")).toMatchObject({ executed: 2, lanes: 32 });
  expect(only(launch, "sub")).toMatchObject({ executed: 1, lanes: 24 });
  expect(only(launch, "xor")).toMatchObject({ executed: 2, lanes: 40 });
});

// sectors: the 32-byte sectors that the 32 lanes touch; ideal: the sectors that their distinct bytes would fill.
describe("sectors of global memory", () => {
  test.each([
    { text: "ld.global.u32 %r4", stride: 4, offset: 0, bytes: 128, sectors: 4, ideal: 4 },
    { text: "ld.global.u32 %r4", stride: 4, offset: 16, bytes: 128, sectors: 5, ideal: 4 },
    { text: "ld.global.u32 %r4", stride: 8, offset: 0, bytes: 128, sectors: 8, ideal: 4 },
    { text: "ld.global.u32 %r4", stride: 36, offset: 0, bytes: 128, sectors: 32, ideal: 4 },
    { text: "ld.global.u32 %r4", stride: 0, offset: 0, bytes: 128, sectors: 1, ideal: 1 },
    { text: "ld.global.u8 %r4", stride: 1, offset: 0, bytes: 32, sectors: 1, ideal: 1 },
    { text: "ld.global.u8 %r4", stride: 1, offset: 30, bytes: 32, sectors: 2, ideal: 1 },
    { text: "ld.u16 %h4", stride: 2, offset: 0, bytes: 64, sectors: 2, ideal: 2 },
    { text: "ld.global.u64 %rd4", stride: 8, offset: 0, bytes: 256, sectors: 8, ideal: 8 },
    { text: "ld.global.v4.u32 {%r4, %r5, %r6, %r7}", stride: 16, offset: 0, bytes: 512, sectors: 16, ideal: 16 },
    { text: "ld.global.v2.u32 {%r4, %r5}", stride: 32, offset: 8, bytes: 256, sectors: 32, ideal: 8 },
    { text: "@%p1 ld.global.u32 %r4", stride: 4, offset: 0, bytes: 40, sectors: 2, ideal: 2 },
    { text: "st.global.u32", stride: 4, offset: 4, bytes: 128, sectors: 5, ideal: 4 },
    { text: "atom.global.add.u32 %r4", stride: 64, offset: 0, bytes: 128, sectors: 32, ideal: 4 },
  ])("$text, $stride bytes apart, starting at $offset", ({ text, stride, offset, bytes, sectors, ideal }) => {
    const address = `[%rd4 + ${offset}]`;
    const rest =
      text.startsWith("ld") || text.startsWith("@")
        ? `, ${address}`
        : text.startsWith("atom")
          ? `, ${address}, 1`
          : ` ${address}, %r0`;
    const launch = counted(
      `  setp.lt.u32 %p1, %r0, 10;\n  mul.wide.u32 %rd4, %r0, ${stride};\n  add.s64 %rd4, %rd4, %rd2;\n  ${text}${rest};`,
      { block: 32 },
    );
    expect(launch.total).toMatchObject({
      globalRequests: 1,
      globalBytes: bytes,
      globalSectors: sectors,
      globalSectorsIdeal: ideal,
    });
    const atomic = text.startsWith("atom");
    expect(launch.total.globalLoadSectors).toBe(atomic || text.startsWith("st") ? undefined : sectors);
    expect(launch.total.globalStoreSectors).toBe(text.startsWith("st") ? sectors : undefined);
    expect(launch.total.globalLoadSectorsTouched).toBe(text.startsWith("st") ? undefined : sectors);
    expect(launch.total.globalStoreSectorsTouched).toBe(atomic || text.startsWith("st") ? sectors : undefined);
  });

  test("sectors touched repeatedly, even by different blocks, count once as touched", () => {
    const launch = counted(
      `  mul.wide.u32 %rd4, %r0, 4;
  add.s64 %rd3, %rd1, %rd4;
  add.s64 %rd4, %rd2, %rd4;
  ld.global.u32 %r1, [%rd3];
  ld.global.u32 %r2, [%rd3+16];
  st.global.u32 [%rd4], %r1;
  st.global.u32 [%rd4], %r2;`,
      { grid: 3, block: 32 },
    );
    expect(launch.total).toMatchObject({
      globalLoadSectors: 3 * (4 + 5),
      globalLoadSectorsTouched: 5,
      globalStoreSectors: 3 * (4 + 4),
      globalStoreSectorsTouched: 4,
    });
  });
});

// A wavefront takes a word from each of the 32 banks. Accesses of 8 bytes are split into half-warps, of 16 into
// quarters.
describe("wavefronts of shared memory", () => {
  const quad = "v4.u32 {%r4, %r5, %r6, %r7}";
  test.each([
    { type: "u32 %r4", stride: 4, wavefronts: 1, ideal: 1 },
    { type: "u32 %r4", stride: 8, wavefronts: 2, ideal: 1 },
    { type: "u32 %r4", stride: 16, wavefronts: 4, ideal: 1 },
    { type: "u32 %r4", stride: 128, wavefronts: 32, ideal: 1 },
    { type: "u32 %r4", stride: 132, wavefronts: 1, ideal: 1 },
    { type: "u32 %r4", stride: 0, wavefronts: 1, ideal: 1 },
    { type: "u8 %r4", stride: 1, wavefronts: 1, ideal: 1 },
    { type: "u16 %h4", stride: 64, wavefronts: 16, ideal: 1 },
    { type: "u64 %rd4", stride: 8, wavefronts: 2, ideal: 2 },
    { type: "u64 %rd4", stride: 16, wavefronts: 4, ideal: 2 },
    { type: "u64 %rd4", stride: 0, wavefronts: 2, ideal: 2 },
    { type: quad, stride: 16, wavefronts: 4, ideal: 4 },
    { type: quad, stride: 32, wavefronts: 8, ideal: 4 },
    { type: quad, stride: 128, wavefronts: 32, ideal: 4 },
    { type: quad, stride: 144, wavefronts: 4, ideal: 4 },
  ])("ld.shared.$type, $stride bytes apart", ({ type, stride, wavefronts, ideal }) => {
    const body = `  mov.u32 %r1, buffer;\n  mad.lo.u32 %r1, %r0, ${stride}, %r1;\n  ld.shared.${type}, [%r1];`;
    const { total } = counted(body, { block: 32 }, 4800);
    expect(total).toMatchObject({ sharedRequests: 1, sharedWavefronts: wavefronts, sharedWavefrontsIdeal: ideal });
    expect(total.bankConflicts ?? 0).toBe(wavefronts - ideal);
    expect(total.globalRequests).toBeUndefined();
  });

  test.each([
    { pitch: 16, conflicts: 0 },
    { pitch: 128, conflicts: 4 * 7 },
    { pitch: 144, conflicts: 0 },
    { pitch: 64, conflicts: 4 * 3 },
  ])("ldmatrix.x4 with rows $pitch bytes apart", ({ pitch, conflicts }) => {
    const { total } = counted(
      `  mov.u32 %r1, buffer;
  mad.lo.u32 %r1, %r0, ${pitch}, %r1;
  ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r4, %r5, %r6, %r7}, [%r1];`,
      { block: 32 },
      4800,
    );
    expect(total).toMatchObject({ sharedWavefronts: 4 + conflicts, sharedWavefrontsIdeal: 4, sharedBytes: 512 });
    expect(total.bankConflicts ?? 0).toBe(conflicts);
  });

  test("generic accesses count under the space of each address", () => {
    const { total } = counted(
      `  mov.u64 %rd4, buffer;
  cvta.shared.u64 %rd4, %rd4;
  setp.lt.u32 %p1, %r0, 8;
  selp.b64 %rd4, %rd4, %rd2, %p1;
  mul.wide.u32 %rd5, %r0, 4;
  add.s64 %rd4, %rd4, %rd5;
  st.u32 [%rd4], %r0;`,
      { block: 32 },
      32,
    );
    expect(total).toMatchObject({ sharedRequests: 1, sharedBytes: 32, sharedWavefronts: 1 });
    expect(total).toMatchObject({ globalRequests: 1, globalBytes: 96, globalSectors: 3, globalStoreSectors: 3 });
  });
});

test("a barrier counts once, however long a warp waits", () => {
  const { total } = counted(
    `  setp.lt.u32 %p1, %r0, 32;
  @%p1 bra meet;
  mov.u32 %r1, 500;
again:
  sub.u32 %r1, %r1, 1;
  setp.ne.u32 %p2, %r1, 0;
  @%p2 bra again;
meet:
  bar.sync 0;
  @%p1 bar.arrive 1, 64;
  @!%p1 bar.sync 1, 64;
  barrier.cluster.arrive.aligned;
  barrier.cluster.wait.aligned;
  bar.warp.sync -1;
  membar.cta;`,
    { grid: 3, block: 64 },
  );
  // A warp whose guard is off executes the instruction for no lanes.
  expect(total).toMatchObject({ barriers: 3 * 2 * 5 });
  expect(total.classes).toMatchObject({ barrier: 3 * 2 * 6, warp: 3 * 2 });
});

test("bytes of asynchronous copies", () => {
  const { total } = counted(
    `  mov.u32 %r1, buffer;
  shl.b32 %r2, %r0, 4;
  add.u32 %r3, %r1, %r2;
  mul.wide.u32 %rd4, %r2, 1;
  add.s64 %rd4, %rd4, %rd1;
  setp.lt.u32 %p1, %r0, 10;
  setp.eq.u32 %p2, %r0, 0;
  cp.async.cg.shared.global [%r3], [%rd4], 16;
  @%p1 cp.async.ca.shared.global [%r3], [%rd4], 8, 0;
  cp.async.wait_all;
  @!%p2 bra end;
  mbarrier.init.shared.b64 [%r1 + 768], 1;
  add.u32 %r4, %r1, 768;
  cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r1], [%rd1], 160, [%r4];
  mbarrier.arrive.expect_tx.shared.b64 %rd5, [%r1 + 768], 160;
again:
  mbarrier.try_wait.shared.b64 %p3, [%r1 + 768], %rd5;
  @!%p3 bra again;
  fence.proxy.async;
  cp.async.bulk.global.shared::cta.bulk_group [%rd2], [%r1], 48;
  cp.async.bulk.commit_group;
  cp.async.bulk.wait_group 0;
end:`,
    { block: 32 },
    1024,
  );
  expect(total.asyncBytes).toBe(32 * 16 + 10 * 8 + 160 + 48);
  // Only bytes that are read count as loaded: 512 contiguous bytes, and none for the copy that is all zeros.
  expect(total.globalLoadSectors).toBe(16);
});

test("multiply-adds of mma, wmma and wgmma", () => {
  const c = "{%f2, %f3, %f4, %f5}";
  const eight = (type: string, first: number) => `{${Array.from({ length: 8 }, (_, i) => `%${type}${first + i}`)}}`;
  const { total } = counted(
    `  mov.b64 %rd4, 0;
  setp.eq.u32 %p1, 0, 0;
  mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 ${c}, {%r1, %r2, %r3, %r4}, {%r5, %r6}, ${c};
  mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%r1, %r2, %r3, %r4}, {%r1, %r2, %r3, %r4}, {%r5, %r6}, {%r1, %r2, %r3, %r4};
  wmma.mma.sync.aligned.row.col.m16n16k16.f32.f32 ${eight("f", 10)}, ${eight("r", 10)}, ${eight("r", 20)}, ${eight("f", 10)};
  wgmma.fence.sync.aligned;
  wgmma.mma_async.sync.aligned.m64n8k16.f32.f16.f16 ${c}, %rd4, %rd4, %p1, 1, 1, 0, 0;
  wgmma.commit_group.sync.aligned;
  wgmma.wait_group.sync.aligned 0;`,
    { block: 128 },
    1024,
  );
  // Each of the four warps does a quarter of the wgmma.
  const each = 16 * 8 * 8 + 16 * 8 * 32 + 16 * 16 * 16 + (64 * 8 * 16) / 4;
  expect(total).toMatchObject({ tensorInstructions: 4 * 4, tensorMultiplyAdds: 4 * each });
  expect(total.classes).toMatchObject({ tensor: 4 * 7 });
});

test("counts per source line are the same for any number of threads", async () => {
  const shape = { grid: 5, block: 96 };
  const launch = counted(linesBody, shape, 16, twoLines);
  const at = (line: number) => launch.lines.find((l) => l.line === line)!;
  expect(launch.lines.map((l) => [l.file, l.line])).toEqual([1, 7, 9, 10].map((n) => ["somewhere/sum.cu", n]));
  expect(at(7)).toMatchObject({ executed: 45, atomics: 15, globalLoadSectors: 15, globalSectors: 30 });
  expect(at(7).classes).toEqual({ load: 15, integer: 15, atomic: 15 });
  expect(at(9)).toMatchObject({ executed: 30, barriers: 15, globalStoreSectors: 15 });
  expect(at(9).classes).toEqual({ store: 15, barrier: 15 });
  for (const CARACAL_VGPU_THREADS of ["1", "2"]) {
    await restart({ CARACAL_VGPU_THREADS });
    expect(counted(linesBody, shape, 16, twoLines)).toEqual(launch);
  }
  await restart();
});

describe.skipIf(!hasNvcc)("a matrix product of 256 x 256 x 256 in tiles of 128 x 128 x 32", () => {
  function product(...flags: string[]): Sum {
    const half = () => new Uint16Array(256 * 256);
    const sizes = [256, 256, 256].map((u32) => ({ u32 }));
    const shape: Shape = { grid: [2, 2, 1], block: 256 };
    return launched(compile("gemm", flags), "gemm", shape, half(), half(), new Float32Array(256 * 256), ...sizes).total;
  }
  const [blocks, steps, warps] = [4, 8, 8];
  const copied = blocks * steps * 2 * 128 * 32 * 2; // bytes: A and B of every step
  const loads = blocks * steps * warps * 2 * (4 + 2); // ldmatrix.x4 for A and B, for every 16 of k

  test("has the minimal counts", () => {
    expect(product()).toMatchObject({
      tensorInstructions: 256 ** 3 / (16 * 8 * 16),
      tensorMultiplyAdds: 256 ** 3,
      asyncBytes: copied,
      globalLoadSectors: copied / 32,
      globalStoreSectors: (256 * 256 * 4) / 32,
      barriers: blocks * steps * warps,
      sharedWavefronts: copied / 128 + 4 * loads,
      sharedWavefrontsIdeal: copied / 128 + 4 * loads,
    });
  });
  test("has bank conflicts between four of eight rows without its swizzle", () => {
    const total = product("-DNO_SWIZZLE");
    expect(total).toMatchObject({ sharedWavefronts: copied / 128 + 4 * 4 * loads, bankConflicts: 3 * 4 * loads });
  });
});

testPtxas();
