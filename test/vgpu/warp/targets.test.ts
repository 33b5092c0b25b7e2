// Instructions that a module's .target lacks must not load: for every architecture we accept the same ones as ptxas.
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { deviceWith } from "../support/modes.js";

const list = (stem: string, from: number, count: number) =>
  `{${Array.from({ length: count }, (_, i) => `%${stem}${from + i}`).join(", ")}}`;
const r = (from: number, count: number) => list("r", from, count);
const f = (from: number, count: number) => list("f", from, count);
const g = (from: number, count: number) => list("g", from, count);

const scalar = [
  ...["bf16", "bf16x2", "f16", "f16x2"].flatMap((type) => {
    const [x, y, z] = type.endsWith("x2") ? ["%r1", "%r2", "%r3"] : ["%h1", "%h2", "%h3"];
    return [
      `fma.rn.${type} ${x}, ${y}, ${z}, ${x};`,
      `fma.rn.relu.${type} ${x}, ${y}, ${z}, ${x};`,
      ...["add", "sub", "mul"].map((op) => `${op}.${type} ${x}, ${y}, ${z};`),
      ...["abs", "neg"].map((op) => `${op}.${type} ${x}, ${y};`),
      ...["min", "max.NaN", "max.xorsign.abs"].map((op) => `${op}.${type} ${x}, ${y}, ${z};`),
      `ex2.approx${type.startsWith("b") ? ".ftz" : ""}.${type} ${x}, ${y};`,
      `tanh.approx.${type} ${x}, ${y};`,
      type.endsWith("x2") ? `setp.lt.${type} %p1|%p2, ${x}, ${y};` : `setp.lt.${type} %p1, ${x}, ${y};`,
      `set.lt.u32.${type} %r5, ${x}, ${y};`,
      `set.lt.${type}.${type} ${z}, ${x}, ${y};`,
    ];
  }),
  "set.lt.bf16.f32 %h1, %f1, %f2;",
  "set.lt.and.u32.bf16 %r1, %h1, %h2, %p1;",
  "setp.lt.and.bf16 %p1, %h1, %h2, %p2;",
  "min.xorsign.abs.f32 %f1, %f2, %f3;",
  "min.NaN.f32 %f1, %f2, %f3;",
  "add.u16x2 %r1, %r2, %r3;",
  "add.s16x2 %r1, %r2, %r3;",
  "min.u16x2 %r1, %r2, %r3;",
  "max.s16x2 %r1, %r2, %r3;",
  "max.relu.s16x2 %r1, %r2, %r3;",
  "max.relu.s32 %r1, %r2, %r3;",
  "max.s32 %r1, %r2, %r3;",
  "cvt.rn.bf16.f32 %h1, %f1;",
  "cvt.rz.relu.bf16.f32 %h1, %f1;",
  "cvt.rn.bf16x2.f32 %r1, %f1, %f2;",
  "cvt.f32.bf16 %f1, %h1;",
  "cvt.rz.bf16.f32 %h1, %f1;",
  "cvt.rp.bf16.f32 %h1, %f1;",
  "cvt.ftz.f32.bf16 %f1, %h1;",
  "cvt.f64.bf16 %g1, %h1;",
  "cvt.rn.bf16.f64 %h1, %g1;",
  "cvt.rn.bf16.f16 %h1, %h2;",
  "cvt.rn.f16.bf16 %h1, %h2;",
  "cvt.rni.bf16.bf16 %h1, %h2;",
  "cvt.rzi.s32.bf16 %r1, %h2;",
  "cvt.rn.bf16.u32 %h2, %r1;",
  "cvt.rna.tf32.f32 %r1, %f1;",
  "cvt.rn.tf32.f32 %r1, %f1;",
  "cvt.rz.relu.tf32.f32 %r1, %f1;",
  "cvt.rn.satfinite.e4m3x2.f32 %h1, %f1, %f2;",
  "cvt.rn.satfinite.e5m2x2.f16x2 %h1, %r1;",
  "cvt.rn.f16x2.e4m3x2 %r1, %h1;",
  "isspacep.shared %p1, %d1;",
  "isspacep.shared::cta %p1, %d1;",
  "isspacep.shared::cluster %p1, %d1;",
];

const memory = [
  ...["st.async", "red.async"].map((op) => {
    const suffix = "shared::cluster.mbarrier::complete_tx::bytes";
    return `${op}${op === "st.async" ? ".weak" : ".relaxed.cluster"}.${suffix}${op === "st.async" ? "" : ".add"}.u32 [%r1], %r2, [%r3];`;
  }),
  "ld.shared::cta.u32 %r1, [%r2];",
  "ld.shared::cluster.u32 %r1, [%r2];",
  "st.shared::cluster.u32 [%r2], %r1;",
  "ld.acquire.gpu.u32 %r1, [%d1];",
  "ld.acquire.cluster.u32 %r1, [%d1];",
  "st.release.cluster.u32 [%d1], %r1;",
  "fence.acq_rel.gpu;",
  "fence.acq_rel.cluster;",
  "fence.sc.cluster;",
  "fence.proxy.async;",
  "fence.proxy.async.shared::cta;",
  "fence.proxy.alias;",
  "membar.proxy.alias;",
  "membar.proxy.async;",
  "fence.proxy.async::generic.acquire.sync_restrict::shared::cluster.cluster;",
  "fence.release.sync_restrict::shared::cta.cluster;",
  "fence.proxy.tensormap::generic.release.gpu;",
  "fence.proxy.tensormap::generic.acquire.gpu [%d1], 128;",
  "fence.acquire.gpu;",
  "fence.mbarrier_init.release.cluster;",
  "atom.global.add.noftz.f16 %h1, [%d1], %h2;",
  "atom.global.add.noftz.f16x2 %r1, [%d1], %r2;",
  "atom.global.add.noftz.bf16 %h1, [%d1], %h2;",
  "atom.global.add.noftz.bf16x2 %r1, [%d1], %r2;",
  "red.global.add.noftz.bf16x2 [%d1], %r2;",
  "atom.add.cluster.u32 %r1, [%d1], %r2;",
  "atom.shared::cluster.add.u32 %r1, [%r3], %r2;",
  "atom.global.cas.b16 %h1, [%d1], %h2, %h3;",
  `atom.global.add.v4.f32 ${f(0, 4)}, [%d1], ${f(4, 4)};`,
  `red.global.add.v2.f32 [%d1], ${f(4, 2)};`,
  `red.global.add.noftz.v8.bf16 [%d1], ${list("h", 0, 8)};`,
  "cp.async.ca.shared.global [%r1], [%d1], 16;",
  "cp.async.cg.shared.global [%r1], [%d1], 16, %r2;",
  "cp.async.commit_group;",
  "cp.async.wait_group 0;",
  "cp.async.wait_all;",
  "cp.async.mbarrier.arrive.shared.b64 [%r1];",
  "cp.async.mbarrier.arrive.noinc.shared.b64 [%r1];",
  "prefetch.tensormap [%d1];",
  "prefetch.global.L2 [%d1];",
  "discard.global.L2 [%d1], 128;",
  "applypriority.global.L2::evict_normal [%d1], 128;",
  "createpolicy.fractional.L2::evict_last.b64 %d1, 1.0;",
  "ld.global.L2::cache_hint.u32 %r1, [%d1], %d2;",
];

const barriers = [
  "mbarrier.init.shared.b64 [%r1], %r2;",
  "mbarrier.inval.shared.b64 [%r1];",
  "mbarrier.arrive.shared.b64 %d1, [%r1];",
  "mbarrier.arrive.shared.b64 %d1, [%r1], %r2;",
  "mbarrier.arrive.noComplete.shared.b64 %d1, [%r1], %r2;",
  "mbarrier.arrive.shared.b64 _, [%r1];",
  "mbarrier.arrive.b64 %d1, [%d2];",
  "mbarrier.arrive.release.cta.shared.b64 %d1, [%r1];",
  "mbarrier.arrive_drop.shared.b64 %d1, [%r1];",
  "mbarrier.arrive_drop.shared.b64 %d1, [%r1], %r2;",
  "mbarrier.arrive.shared::cluster.b64 _, [%r1];",
  "mbarrier.arrive.release.cluster.shared::cluster.b64 _, [%r1], %r2;",
  "mbarrier.arrive.expect_tx.shared.b64 %d1, [%r1], %r2;",
  "mbarrier.expect_tx.relaxed.cta.shared.b64 [%r1], %r2;",
  "mbarrier.complete_tx.relaxed.cluster.shared::cluster.b64 [%r1], %r2;",
  "mbarrier.test_wait.shared.b64 %p1, [%r1], %d1;",
  "mbarrier.test_wait.parity.shared.b64 %p1, [%r1], %r2;",
  "mbarrier.test_wait.acquire.cta.shared.b64 %p1, [%r1], %d1;",
  "mbarrier.try_wait.shared.b64 %p1, [%r1], %d1;",
  "mbarrier.try_wait.parity.shared.b64 %p1, [%r1], %r2;",
  "mbarrier.pending_count.b64 %r1, %d1;",
  "barrier.cluster.arrive;",
  "barrier.cluster.wait;",
  "barrier.sync 0;",
  "bar.warp.sync -1;",
  "elect.sync %r1|%p1, -1;",
  "redux.sync.add.u32 %r1, %r2, -1;",
  "match.any.sync.b32 %r1, %r2, -1;",
  "griddepcontrol.wait;",
  "griddepcontrol.launch_dependents;",
  "setmaxnreg.inc.sync.aligned.u32 128;",
  "setmaxnreg.dec.sync.aligned.u32 64;",
  "mapa.shared::cluster.u32 %r1, %r2, %r3;",
  "getctarank.shared::cluster.u32 %r1, %r2;",
  "mov.u32 %r1, %cluster_ctarank;",
  "mov.u32 %r1, %cluster_nctaid.x;",
  "mov.u32 %r1, %clusterid.x;",
  "mov.u32 %r1, %nclusterid.y;",
  "mov.u32 %r1, %aggr_smem_size;",
  "mov.u32 %r1, %total_smem_size;",
  "mov.u32 %r1, %reserved_smem_offset_begin;",
  "mov.u32 %r1, %envreg1;",
];

const bulk = "mbarrier::complete_tx::bytes";
const tensor2 = `[%d1, ${r(4, 2)}]`;
const copies = [
  `cp.async.bulk.shared::cluster.global.${bulk} [%r1], [%d1], 64, [%r3];`,
  `cp.async.bulk.shared::cluster.shared::cta.${bulk} [%r1], [%r2], 64, [%r3];`,
  "cp.async.bulk.global.shared::cta.bulk_group [%d1], [%r1], 64;",
  "cp.async.bulk.commit_group;",
  "cp.async.bulk.wait_group 0;",
  "cp.async.bulk.wait_group.read 0;",
  "cp.async.bulk.prefetch.L2.global [%d1], 64;",
  `cp.async.bulk.tensor.2d.shared::cluster.global.${bulk} [%r1], ${tensor2}, [%r3];`,
  `cp.async.bulk.tensor.2d.shared::cluster.global.${bulk}.multicast::cluster [%r1], ${tensor2}, [%r3], %h1;`,
  `cp.async.bulk.tensor.2d.global.shared::cta.bulk_group ${tensor2}, [%r1];`,
  `cp.reduce.async.bulk.tensor.2d.global.shared::cta.add.bulk_group ${tensor2}, [%r1];`,
  "cp.reduce.async.bulk.global.shared::cta.bulk_group.add.u32 [%d1], [%r1], 64;",
  `cp.async.bulk.prefetch.tensor.2d.L2.global ${tensor2};`,
];

const mma = (shape: string, types: string, d: string, a: string, b: string, c: string, how = "") =>
  `mma.sync.aligned.${shape}.row.col${how}.${types} ${d}, ${a}, ${b}, ${c};`;
const matrices = [
  `ldmatrix.sync.aligned.m8n8.x4.shared.b16 ${r(0, 4)}, [%r8];`,
  `stmatrix.sync.aligned.m8n8.x4.shared.b16 [%r8], ${r(0, 4)};`,
  "movmatrix.sync.aligned.m8n8.trans.b16 %r1, %r2;",
  mma("m16n8k8", "f32.f16.f16.f32", f(0, 4), r(0, 2), "{%r2}", f(4, 4)),
  mma("m16n8k16", "f32.f16.f16.f32", f(0, 4), r(0, 4), r(4, 2), f(4, 4)),
  mma("m16n8k16", "f16.f16.f16.f16", r(10, 2), r(0, 4), r(4, 2), r(12, 2)),
  mma("m16n8k8", "f32.bf16.bf16.f32", f(0, 4), r(0, 2), "{%r2}", f(4, 4)),
  mma("m16n8k16", "f32.bf16.bf16.f32", f(0, 4), r(0, 4), r(4, 2), f(4, 4)),
  mma("m16n8k4", "f32.tf32.tf32.f32", f(0, 4), r(0, 2), "{%r2}", f(4, 4)),
  mma("m16n8k8", "f32.tf32.tf32.f32", f(0, 4), r(0, 4), r(4, 2), f(4, 4)),
  mma("m8n8k4", "f64.f64.f64.f64", g(0, 2), "{%g4}", "{%g5}", g(2, 2)),
  mma("m16n8k4", "f64.f64.f64.f64", g(0, 4), g(4, 2), "{%g6}", g(0, 4)),
  mma("m16n8k8", "f64.f64.f64.f64", g(0, 4), g(4, 4), g(8, 2), g(0, 4)),
  mma("m16n8k16", "f64.f64.f64.f64", g(0, 4), g(4, 8), g(12, 4), g(0, 4)),
  mma("m8n8k16", "s32.s8.s8.s32", r(10, 2), "{%r0}", "{%r1}", r(12, 2)),
  mma("m16n8k16", "s32.s8.u8.s32", r(10, 4), r(0, 2), "{%r1}", r(14, 4)),
  mma("m16n8k32", "s32.s8.s8.s32", r(10, 4), r(0, 4), r(4, 2), r(14, 4), ".satfinite"),
  mma("m8n8k32", "s32.s4.s4.s32", r(10, 2), "{%r0}", "{%r1}", r(12, 2)),
  mma("m16n8k64", "s32.u4.s4.s32", r(10, 4), r(0, 4), r(4, 2), r(14, 4)),
  mma("m16n8k32", "f32.e4m3.e5m2.f32", f(0, 4), r(0, 4), r(4, 2), f(4, 4)),
  `wmma.load.a.sync.aligned.row.m16n16k16.global.f16 ${r(0, 8)}, [%d1];`,
  `wmma.load.a.sync.aligned.row.m16n16k16.global.bf16 ${r(0, 4)}, [%d1];`,
  `wmma.load.a.sync.aligned.row.m16n16k8.global.tf32 ${r(0, 4)}, [%d1];`,
  "wmma.load.a.sync.aligned.row.m8n8k4.global.f64 {%g0}, [%d1];",
  `wmma.load.a.sync.aligned.row.m16n16k16.global.s8 ${r(0, 2)}, [%d1];`,
  `wmma.mma.sync.aligned.row.col.m16n16k16.f32.bf16.bf16.f32 ${f(0, 8)}, ${r(0, 4)}, ${r(4, 4)}, ${f(8, 8)};`,
  "wgmma.fence.sync.aligned;",
  "wgmma.commit_group.sync.aligned;",
  "wgmma.wait_group.sync.aligned 0;",
  `wgmma.mma_async.sync.aligned.m64n8k16.f32.f16.f16 ${f(0, 4)}, %d1, %d2, 1, 1, 1, 0, 0;`,
];

const instructions = [...scalar, ...memory, ...barriers, ...copies, ...matrices];
const header = (target: string) => `.version 8.6\n.target ${target}\n.address_size 64\n`;
// All on one line, so that the line in a report identifies the instruction.
const kernel = (name: string, instruction: string) =>
  `.visible .entry ${name}() { .reg .pred %p<8>; .reg .b16 %h<8>; .reg .b32 %r<32>; .reg .b64 %d<8>; .reg .f32 %f<32>; .reg .f64 %g<16>; ${instruction} ret; }\n`;

const hasPtxas = spawnSync("ptxas", ["--version"]).status === 0;

/** The instructions that ptxas refuses. */
function refusedByPtxas(target: string): string[] {
  const folder = mkdtempSync(join(tmpdir(), "vgpu-targets-"));
  const file = join(folder, "all.ptx");
  writeFileSync(file, header(target) + instructions.map((text, i) => kernel(`k${i}`, text)).join(""));
  const { stderr } = spawnSync("ptxas", ["-arch", target, "-O0", "-o", "/dev/null", file], { encoding: "utf8" });
  rmSync(folder, { recursive: true });
  const lines = [...stderr.matchAll(/all\.ptx, line (\d+); error/g)].map((m) => Number(m[1]) - 4);
  return [...new Set(lines)].sort((a, b) => a - b).map((i) => instructions[i]!);
}

describe.skipIf(!hasPtxas)(`compared with ptxas${hasPtxas ? "" : " (skipped: ptxas is not on the PATH)"}`, () => {
  test.each(["sm_80", "sm_86", "sm_89", "sm_90", "sm_90a"])(
    "instructions that .target %s lacks are refused",
    async (target) => {
      const device = await deviceWith({ CARACAL_VGPU_COMPUTE: "9.0" });
      const refused = instructions.filter((text) => {
        try {
          new device.PtxModule(header(target) + kernel("k", text));
          return false;
        } catch (error) {
          const line = /PTX line 4: /.test(String(error));
          expect(line, `${text}: ${error}`).toBe(true);
          return true;
        }
      });
      const wanted = refusedByPtxas(target);
      expect({
        needlessly: refused.filter((x) => !wanted.includes(x)),
        missed: wanted.filter((x) => !refused.includes(x)),
      }).toEqual({ needlessly: [], missed: [] });
    },
  );
});

test("a kernel's clusters need sm_90", async () => {
  const device = await deviceWith({ CARACAL_VGPU_COMPUTE: "9.0" });
  const load = (target: string) => () =>
    new device.PtxModule(`${header(target)}.visible .entry k() .reqnctapercluster 2, 1, 1 { ret; }\n`);
  expect(load("sm_90")).not.toThrow();
  expect(load("sm_89")).toThrow(/PTX line 4: clusters need \.target sm_90 or higher/);
});

test("the report names the required target", async () => {
  const device = await deviceWith({ CARACAL_VGPU_COMPUTE: "9.0" });
  const load = (target: string, text: string) => () => new device.PtxModule(header(target) + kernel("k", text));
  const wait = "mbarrier.try_wait.shared.b64 %p1, [%r1], %d1;";
  expect(load("sm_80", wait)).toThrow(
    /PTX line 4: mbarrier\.try_wait\.shared\.b64: needs \.target sm_90 or higher, the module's is sm_80/,
  );
  expect(load("sm_90", "wgmma.fence.sync.aligned;")).toThrow(/wgmma\.fence\.sync\.aligned: needs \.target sm_90a/);
});
