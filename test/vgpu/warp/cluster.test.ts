// mapa, getctarank and setmaxnreg, as defined in the PTX ISA. barrier.cluster is tested in barrier.test.ts.
import { describe, expect, test } from "vitest";
import { deviceWith } from "../support/modes.js";
import { kernel, remember, testPtxas } from "../support/ptx.js";

const blocks = 4;
const mask = 0x2d60b105; // neighbours of active lanes are inactive

/** Clusters of four blocks of one warp: %r1 is the block's rank, %r3 the thread in the grid; its word is at %rd2. */
async function onClusters(body: string, grid = 2 * blocks): Promise<Uint32Array> {
  const ptx = kernel(
    `  mov.u32 %r1, %cluster_ctarank;
  mov.u32 %r2, %ctaid.x;
  mad.lo.u32 %r3, %r2, 32, %r0;
  mul.wide.u32 %rd3, %r3, 4;
  add.s64 %rd2, %rd2, %rd3;
  mov.u32 %r10, buffer;
${body}`,
    { target: "sm_90a", shared: 128 },
  ).replace("\n{", ` .reqnctapercluster ${blocks}, 1, 1\n{`);
  remember(ptx, "sm_90a");
  const device = await deviceWith({ CARACAL_VGPU_COMPUTE: "9.0", CARACAL_VGPU_CHECK: "initcheck,racecheck" });
  const out = new Uint32Array(32 * grid);
  new device.PtxModule(ptx).run("k", { grid, block: 32 }, new Uint32Array(1), out);
  return out;
}

/** For each form: the computation of the address, its type, a load from it, and two registers for addresses. */
const forms = {
  "shared::cluster.u32": ["mov.u32 %r11, %r10;", ".shared::cluster.u32", "ld.shared::cluster.u32", "%r11", "%r12"],
  "shared::cluster.u64": [
    "cvt.u64.u32 %rd11, %r10;",
    ".shared::cluster.u64",
    "ld.shared::cluster.u32",
    "%rd11",
    "%rd12",
  ],
  "generic u64": ["cvt.u64.u32 %rd10, %r10;\n  cvta.shared.u64 %rd11, %rd10;", ".u64", "ld.u32", "%rd11", "%rd12"],
} as const;

describe.each(Object.entries(forms))("%s", (_, [address, type, load, own, mapped]) => {
  /** Lane l reads word 5 l of block 3 l + 1, after the threads of every block have stored their words. */
  const ask = (map: string) => `  shl.b32 %r4, %r0, 2;
  add.u32 %r5, %r10, %r4;
  st.shared.u32 [%r5], %r3;
  mad.lo.u32 %r6, %r0, 3, 1;
  and.b32 %r6, %r6, 3;
  mul.lo.u32 %r7, %r0, 20;
  and.b32 %r7, %r7, 127;
  add.u32 %r10, %r10, %r7;
  ${address}
  mov.b32 %r8, ${mask};
  shr.u32 %r8, %r8, %r0;
  and.b32 %r8, %r8, 1;
  setp.eq.u32 %p1, %r8, 1;
  mov.u32 %r9, 7777;
  ${own.startsWith("%rd") ? `mov.u64 ${mapped}, ${own};` : `mov.u32 ${mapped}, ${own};`}
  barrier.cluster.arrive.aligned;
  barrier.cluster.wait.aligned;
${map}
  barrier.cluster.arrive.aligned;
  barrier.cluster.wait.aligned;
  st.global.u32 [%rd2], %r9;`;
  const asked = (f: (lane: number, cluster: number, rank: number) => number) =>
    Uint32Array.from({ length: 64 * blocks }, (_, t) => f(t % 32, Math.floor(t / (32 * blocks)), (t >> 5) % blocks));
  const atWork = (lane: number) => ((mask >>> lane) & 1) === 1;
  const word = (lane: number, block: number) => 32 * block + ((5 * lane) % 32);

  test("mapa: the corresponding address in another block", async () => {
    const got = await onClusters(ask(`  @%p1 mapa${type} ${mapped}, ${own}, %r6;\n  ${load} %r9, [${mapped}];`));
    expect(got).toEqual(
      asked((l, cluster, rank) => word(l, cluster * blocks + (atWork(l) ? (3 * l + 1) % blocks : rank))),
    );
  });
  test("mapa of an address in another block", async () => {
    const twice = `  mapa${type} ${mapped}, ${own}, 2;\n  @%p1 mapa${type} ${mapped}, ${mapped}, %r6;`;
    const got = await onClusters(ask(`${twice}\n  ${load} %r9, [${mapped}];`));
    expect(got).toEqual(asked((l, cluster) => word(l, cluster * blocks + (atWork(l) ? (3 * l + 1) % blocks : 2))));
  });
  test("getctarank", async () => {
    const rank = `  mapa${type} ${mapped}, ${own}, %r6;\n  @%p1 getctarank${type} %r9, ${mapped};`;
    expect(await onClusters(ask(rank))).toEqual(asked((l) => (atWork(l) ? (3 * l + 1) % blocks : 7777)));
    const self = await onClusters(ask(`  getctarank${type} %r9, ${own};`));
    expect(self).toEqual(asked((_lane, _cluster, r) => r));
  });
  test("a rank outside the cluster is reported", async () => {
    const beyond = `  setp.eq.u32 %p2, %r0, 4;
  selp.b32 %r6, 4, 3, %p2;
  mapa${type} ${mapped}, ${own}, %r6;`;
    await expect(onClusters(ask(beyond))).rejects.toThrow(/memcheck: mapa: rank 4 of a cluster of 4[\s\S]*\(4,0,0\)/);
  });
});

test.each([
  [
    [6, 4, 6],
    [3, 2, 1],
  ],
  [
    [4, 6, 10],
    [1, 3, 2],
  ],
] as const)("special registers in a grid of %o with clusters of %o", async (grid, shape) => {
  const names = ["ctaid", "nctaid", "clusterid", "nclusterid", "cluster_ctaid", "cluster_nctaid"]
    .flatMap((name) => ["x", "y", "z"].map((d) => `%${name}.${d}`))
    .concat("%cluster_ctarank", "%cluster_nctarank");
  const ptx = kernel(
    `  mov.u32 %r1, %ctaid.x;
  mov.u32 %r2, %ctaid.y;
  mov.u32 %r3, %ctaid.z;
  mad.lo.u32 %r2, %r3, ${grid[1]}, %r2;
  mad.lo.u32 %r1, %r2, ${grid[0]}, %r1;
  mul.wide.u32 %rd3, %r1, ${4 * names.length};
  add.s64 %rd2, %rd2, %rd3;
${names.map((name, i) => `  mov.u32 %r4, ${name};\n  st.global.u32 [%rd2 + ${4 * i}], %r4;`).join("\n")}`,
    { target: "sm_90" },
  ).replace("\n{", ` .reqnctapercluster ${shape.join(", ")}\n{`);
  remember(ptx, "sm_90");
  const device = await deviceWith({ CARACAL_VGPU_COMPUTE: "9.0" });
  const out = new Uint32Array(names.length * grid[0] * grid[1] * grid[2]);
  new device.PtxModule(ptx).run("k", { grid, block: 1 }, new Uint32Array(1), out);
  for (let z = 0; z < grid[2]; z++)
    for (let y = 0; y < grid[1]; y++)
      for (let x = 0; x < grid[0]; x++) {
        const id = [x, y, z];
        const within = id.map((at, d) => at % shape[d]!);
        const cluster = id.map((at, d) => Math.floor(at / shape[d]!));
        const rank = within[0]! + shape[0] * (within[1]! + shape[1] * within[2]!);
        const first = names.length * (x + grid[0] * (y + grid[1] * z));
        expect([...out.slice(first, first + names.length)], `block ${id}`).toEqual(
          [id, grid, cluster, grid.map((n, d) => n / shape[d]!), within, shape, rank, 6].flat(),
        );
      }
});

test("setmaxnreg needs the whole warp", async () => {
  const both = (guard: string) =>
    onClusters(`  setp.lt.u32 %p1, %r0, 5;\n  ${guard}setmaxnreg.dec.sync.aligned.u32 40;`);
  await expect(both("@%p1 ")).rejects.toThrow(/synccheck: .*all 32 lanes/);
  await expect(both("")).resolves.toBeDefined();
});

testPtxas();
