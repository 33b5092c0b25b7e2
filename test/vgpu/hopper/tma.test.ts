// Bulk copies: boxes of tensors of 1 to 5 dimensions in both directions, to one block and to several, and reductions.
// The reference is the documentation of cuTensorMapEncodeTiled and the PTX ISA, "Tensor-mode" and "Swizzling".
import { beforeAll, describe, expect, test } from "vitest";
import type { Argument, Tensor } from "../support/device.js";
import { deviceWith } from "../support/modes.js";
import { numbers, remember, testPtxas } from "../support/ptx.js";

let device: Awaited<ReturnType<typeof deviceWith>>;
beforeAll(async () => {
  device = await deviceWith({ CARACAL_VGPU_COMPUTE: "9.0", CARACAL_VGPU_CHECK: "initcheck,racecheck" });
});

/**
 * Runs a kernel k(map, data) with `bytes` of shared memory at %r1 and an mbarrier at %r2 + 8; %r0 is one of 32 threads.
 */
function run(body: string, bytes: number, map: Argument, data: Argument, cluster = 1): void {
  const ptx = `.version 8.5
.target sm_90
.address_size 64
.visible .entry k(.param .align 64 .b8 map[128], .param .u64 data) ${cluster > 1 ? `.explicitcluster .reqnctapercluster ${cluster}, 1, 1` : ""}
{
  .reg .pred %p<4>; .reg .b16 %h<4>; .reg .b32 %r<24>; .reg .b64 %rd<16>;
  .shared .align 1024 .b8 buffer[${bytes}];
  .shared .align 16 .b8 barriers[16];
  mov.b64 %rd1, map;
  cvta.param.u64 %rd1, %rd1;
  ld.param.u64 %rd2, [data];
  mov.u32 %r0, %tid.x;
  mov.u32 %r1, buffer;
  mov.u32 %r2, barriers;
  mov.u32 %r3, %ctaid.x;
  setp.eq.u32 %p0, %r0, 0;
${body}
  ret;
}
`;
  remember(ptx, "sm_90");
  new device.PtxModule(ptx).run("k", { grid: cluster, block: 32 }, map, data);
}

const init = `  @%p0 mbarrier.init.shared::cta.b64 [%r2 + 8], 1;
  fence.mbarrier_init.release.cluster;
  bar.warp.sync -1;`;
const expectBytes = (bytes: number) => `  @%p0 mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r2 + 8], ${bytes};`;
const wait = `WAIT:
  mbarrier.try_wait.parity.shared::cta.b64 %p1, [%r2 + 8], 0;
  @!%p1 bra WAIT;`;
/** Copies between shared memory and `data`, at %rd2, with 4 bytes per thread at a time. */
const move = (bytes: number, out: boolean) => `  shl.b32 %r4, %r0, 2;
MOVE:
  setp.ge.u32 %p2, %r4, ${bytes};
  @%p2 bra MOVED;
  cvt.u64.u32 %rd4, %r4;
  add.s64 %rd5, %rd2, %rd4;
  add.u32 %r5, %r1, %r4;
  ${out ? "ld.shared.u32 %r6, [%r5]" : "ld.global.u32 %r6, [%rd5]"};
  ${out ? "st.global.u32 [%rd5], %r6" : "st.shared.u32 [%r5], %r6"};
  add.u32 %r4, %r4, 128;
  bra MOVE;
MOVED:
${out ? "" : "  fence.proxy.async.shared::cta;\n"}  bar.warp.sync -1;`;
const stored = `  @%p0 cp.async.bulk.commit_group;
  @%p0 cp.async.bulk.wait_group 0;`;

interface Box extends Omit<Tensor, "tensor" | "type"> {
  readonly type: readonly [number, number];
  readonly at: readonly number[];
}

/** The position of every element of a box in shared memory and in the tensor, or -1 outside. */
function elements({ sizes, box, steps, swizzle, type: [, bytes], at }: Box) {
  const extent = box.map((n, d) => Math.ceil(n / (d === 0 ? 1 : (steps?.[d] ?? 1))));
  const count = extent.reduce((a, b) => a * b);
  return Array.from({ length: count }, (_, i) => {
    let [rest, index, pitch, inside] = [i, 0, 1, true];
    for (const [d, n] of extent.entries()) {
      const x = (at[d] as number) + (rest % n) * (d === 0 ? 1 : (steps?.[d] ?? 1));
      inside &&= x >= 0 && x < (sizes[d] as number);
      index += x * pitch;
      pitch *= sizes[d] as number;
      rest = Math.floor(rest / n);
    }
    const packed = i * bytes;
    return { shared: packed ^ (((packed >> 7) & [0, 1, 3, 7][swizzle]!) << 4), global: inside ? index * bytes : -1 };
  });
}

const coordinates = (at: readonly number[]) => `{${at.join(", ")}}`;
const random = (bytes: number, seed: number) => {
  const next = numbers(seed);
  return Uint8Array.from({ length: bytes }, () => next() & 127);
};

const [u8, u16, f32, f64, bf16] = [
  [0, 1],
  [1, 2],
  [7, 4],
  [8, 8],
  [9, 2],
] as const;
const boxes: Box[] = [
  { type: f32, sizes: [100], box: [64], swizzle: 0, at: [50] },
  { type: u8, sizes: [640], box: [256], swizzle: 0, at: [-16] },
  { type: bf16, sizes: [72, 20], box: [64, 16], swizzle: 3, at: [8, 10] },
  { type: bf16, sizes: [72, 20], box: [32, 16], swizzle: 2, at: [-3, -1] },
  { type: bf16, sizes: [72, 20], box: [16, 16], swizzle: 1, at: [60, 0] },
  { type: u8, sizes: [160, 9], box: [128, 8], swizzle: 3, at: [32, 3] },
  { type: f64, sizes: [20, 9], box: [16, 8], swizzle: 3, at: [5, 3] },
  { type: u16, sizes: [40, 7, 5], box: [32, 4, 3], swizzle: 2, at: [8, -2, 3] },
  { type: f32, sizes: [16, 6, 5, 4], box: [8, 3, 2, 4], swizzle: 1, at: [12, 1, 4, -1] },
  { type: f32, sizes: [8, 3, 4, 5, 3], box: [4, 2, 3, 2, 3], swizzle: 0, at: [4, 2, -1, 1, 1] },
  { type: f32, sizes: [32, 30], box: [32, 15], steps: [1, 2], swizzle: 3, at: [0, 1] },
  { type: f32, sizes: [32, 9, 12], box: [8, 7, 8], steps: [4, 3, 8], swizzle: 0, at: [3, 2, 5] },
];
const name = (b: Box) =>
  [`${b.sizes.length}d of ${b.type[1]} bytes, swizzle ${b.swizzle}, steps ${b.steps ?? 1}`, b] as const;

describe("boxes", () => {
  test.each(boxes.map(name))("loads: %s", (_, b) => {
    const all = elements(b);
    const [tensor, bytes] = [
      random(
        b.sizes.reduce((x, y) => x * y, b.type[1]),
        1,
      ),
      all.length * b.type[1],
    ];
    const out = new Uint8Array(bytes);
    run(
      `${init}
${expectBytes(bytes)}
  @%p0 cp.async.bulk.tensor.${b.at.length}d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%r1], [%rd1, ${coordinates(b.at)}], [%r2 + 8];
${wait}
${move(bytes, true)}`,
      bytes,
      { ...b, tensor },
      out,
    );
    const expected = new Uint8Array(bytes);
    for (const { shared, global } of all)
      for (let i = 0; i < b.type[1]; i++) expected[shared + i] = global < 0 ? 0 : (tensor[global + i] as number);
    expect(out).toEqual(expected);
  });

  test.each(boxes.map(name))("stores: %s", (_, b) => {
    const all = elements(b);
    const bytes = all.length * b.type[1];
    const [tensor, data] = [
      random(
        b.sizes.reduce((x, y) => x * y, b.type[1]),
        2,
      ),
      random(bytes, 3),
    ];
    const expected = tensor.slice();
    for (const { shared, global } of all)
      for (let i = 0; global >= 0 && i < b.type[1]; i++) expected[global + i] = data[shared + i] as number;
    run(
      `${move(bytes, false)}
  @%p0 cp.async.bulk.tensor.${b.at.length}d.global.shared::cta.tile.bulk_group [%rd1, ${coordinates(b.at)}], [%r1];
${stored}`,
      bytes,
      { ...b, tensor },
      data,
    );
    expect(tensor).toEqual(expected);
  });

  test("NaN beyond the edge", () => {
    const tensor = new Float32Array(64).fill(1);
    const out = new Float32Array(32);
    const load = `${init}
${expectBytes(128)}
  @%p0 cp.async.bulk.tensor.1d.shared::cta.global.mbarrier::complete_tx::bytes [%r1], [%rd1, {48}], [%r2 + 8];
${wait}
${move(128, true)}`;
    run(load, 128, { tensor, sizes: [64], box: [32], swizzle: 0, fillNan: true }, out);
    expect([...out]).toEqual([...Array(16).fill(1), ...Array(16).fill(Number.NaN)]);
  });

  test.each([
    [/multiple of 128/, "[%r1 + 64]", "{0, 0}", "2d"],
    [/bytes of shared memory at/, "[%r1 + 128]", "{0, 0}", "2d"],
    [/has 2 dimensions/, "[%r1]", "{0}", "1d"],
    // the positions of such rows are not documented
    [/narrower than the swizzle/, "[%r1]", "{0, 0}", "2d", 3],
  ])("%o", (message, to, at, dimensions, swizzle = 0) => {
    const tensor = { tensor: new Float32Array(64), sizes: [8, 8], box: [8, 4], swizzle };
    const load = `${init}
  @%p0 cp.async.bulk.tensor.${dimensions}.shared::cluster.global.mbarrier::complete_tx::bytes ${to}, [%rd1, ${at}], [%r2 + 8];`;
    expect(() => run(load, 128, tensor, new Float32Array(1))).toThrow(message);
  });
});

const tensorless = { tensor: new Float32Array(4), sizes: [4], box: [4], swizzle: 0 };

test.each([true, false])("multicast: each of two blocks loads a half for both; as a box: %s", (box) => {
  const half = Float32Array.from({ length: 256 }, (_, i) => i + 1);
  const data = new Float32Array(768); // source, overwritten with what each block received
  data.set(half);
  const [to, by] = ["[%r5]", "[%r2 + 8], %h1"];
  run(
    `${init}
${expectBytes(1024)}
  barrier.cluster.arrive.release.aligned;
  barrier.cluster.wait.acquire.aligned;
  shl.b32 %r4, %r3, 9;
  add.u32 %r5, %r1, %r4;
  cvt.u64.u32 %rd4, %r4;
  add.s64 %rd6, %rd2, %rd4;
  mov.b16 %h1, 3;
  shl.b32 %r7, %r3, 2;
  @%p0 cp.async.bulk${box ? ".tensor.2d" : ""}.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster ${box ? `${to}, [%rd1, {0, %r7}], ${by}` : `${to}, [%rd6], 512, ${by}`};
${wait}
  mul.wide.u32 %rd7, %r3, 1024;
  add.s64 %rd2, %rd2, %rd7;
  add.s64 %rd2, %rd2, 1024;
${move(1024, true)}
  barrier.cluster.arrive.aligned;
  barrier.cluster.wait.aligned;`,
    1024,
    { tensor: half, sizes: [32, 8], box: [32, 4], swizzle: 0 },
    data,
    2,
  );
  expect([...data]).toEqual([...half, ...half, ...half]);
});

test("an invalid copy is reported for the thread that issues it", () => {
  const from = (lane: number, what: string) => `${init}
  setp.eq.u32 %p1, %r0, ${lane};
  @%p1 cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes ${what}, [%r2 + 8];`;
  const data = new Uint32Array(64);
  const faulty = (lane: number, what: string) => () => run(from(lane, what), 256, tensorless, data);
  expect(faulty(7, "[%r1 + 8], [%rd2], 16")).toThrow(/multiples of 16[\s\S]*thread \(7,0,0\)/);
  expect(faulty(9, "[%r1 + 1024], [%rd2], 16")).toThrow(/shared memory at 1024[\s\S]*thread \(9,0,0\)/);
  expect(faulty(21, "[%r1], [%rd2 + 256], 16")).toThrow(/global read of 16 bytes[\s\S]*thread \(21,0,0\)/);
  const box = `${init}
  setp.eq.u32 %p1, %r0, 11;
  @%p1 cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%r1], [%rd1, {0, 0}], [%r2 + 8];`;
  expect(() => run(box, 256, tensorless, data)).toThrow(/has 1 dimensions[\s\S]*thread \(11,0,0\)/);
});

test("copies at offsets to registers", () => {
  const data = Uint32Array.from({ length: 64 }, (_, i) => i);
  run(
    `${init}
${expectBytes(64)}
  @%p0 cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r1 + 32], [%rd2 + 16], 64, [%r2 + 8];
${wait}
  @%p0 cp.async.bulk.global.shared::cta.bulk_group [%rd2 + 128], [%r1 + 48], 48;
${stored}`,
    256,
    tensorless,
    data,
  );
  // 48 bytes starting at the 16th of those copied from the 16th
  expect([...data]).toEqual(Array.from(data, (_, i) => (i >= 32 && i < 44 ? i - 32 + 8 : i)));
});

describe("reductions", () => {
  const signed = [-5, 7, 2 ** 31 - 1, -(2 ** 31)];
  const unsigned = [0, 1, 7, 2 ** 32 - 1];
  const pairs = <T>(list: readonly T[]) => list.flatMap((a) => list.map((b) => [a, b] as const));
  type Words = Uint32Array | Int32Array | BigUint64Array | Float32Array | Float64Array | Uint16Array;
  const check = (operation: string, before: Words, by: Words, expected: Words) => {
    const bytes = before.byteLength;
    const all = new Uint8Array(2 * bytes);
    all.set(new Uint8Array(by.buffer));
    all.set(new Uint8Array(before.buffer), bytes);
    run(
      `${move(bytes, false)}
  @%p0 cp.reduce.async.bulk.global.shared::cta.bulk_group.${operation} [%rd2 + ${bytes}], [%r1], ${bytes};
${stored}`,
      bytes,
      tensorless,
      all,
    );
    expect([...all.subarray(bytes)]).toEqual([...new Uint8Array(expected.buffer)]);
  };
  const words: [string, readonly number[], (a: number, b: number) => number][] = [
    ["add.u32", unsigned, (a, b) => a + b],
    ["add.s32", signed, (a, b) => a + b],
    ["min.s32", signed, Math.min],
    ["max.s32", signed, Math.max],
    ["min.u32", unsigned, Math.min],
    ["max.u32", unsigned, Math.max],
    ["inc.u32", unsigned, (a, b) => (a >= b ? 0 : a + 1)],
    ["dec.u32", unsigned, (a, b) => (a === 0 || a > b ? b : a - 1)],
    ["and.b32", unsigned, (a, b) => a & b],
    ["or.b32", unsigned, (a, b) => a | b],
    ["xor.b32", unsigned, (a, b) => a ^ b],
  ];
  test.each(words)("%s", (operation, values, f) => {
    const all = pairs(values);
    const word = (g: (a: number, b: number) => number) => Uint32Array.from(all, ([a, b]) => g(a, b) >>> 0);
    check(
      operation,
      word((a) => a),
      word((_, b) => b),
      Uint32Array.from(all, ([a, b]) => Number(BigInt.asUintN(32, BigInt(f(a, b))))),
    );
  });
  test("64 bits", () => {
    const all = pairs([0n, 5n, 2n ** 63n, 2n ** 64n - 1n]);
    const long = (g: (a: bigint, b: bigint) => bigint) =>
      BigUint64Array.from(all, ([a, b]) => BigInt.asUintN(64, g(a, b)));
    const [a, b] = [long((x) => x), long((_, y) => y)];
    const asSigned = (x: bigint) => BigInt.asIntN(64, x);
    check(
      "add.u64",
      a,
      b,
      long((x, y) => x + y),
    );
    check(
      "max.u64",
      a,
      b,
      long((x, y) => [x, y].sort((p, q) => (p < q ? 1 : -1))[0] as bigint),
    );
    check(
      "min.s64",
      a,
      b,
      long((x, y) => (asSigned(x) < asSigned(y) ? x : y)),
    );
    check(
      "xor.b64",
      a,
      b,
      long((x, y) => x ^ y),
    );
  });
  test("numbers", () => {
    const [a, b] = [
      [1, 2.5, -3, 0.1],
      [2 ** -24, -2.5, 1e30, 0.2],
    ];
    const sum = a.map((x, i) => x + (b[i] as number));
    check(
      "add.f32",
      Float32Array.from(a),
      Float32Array.from(b),
      Float32Array.from(a, (x, i) => Math.fround(x) + Math.fround(b[i] as number)),
    );
    check("add.f64", Float64Array.from(a), Float64Array.from(b), Float64Array.from(sum));
    // bf16: 1 + 1 = 2, 1 + 2^-8 = 1 (a tie, to even), min(-1, 1); f16: 1 + 1 = 2, max(-1, 1)
    const eight = (x: number) => new Uint16Array(8).fill(x);
    check(
      "add.noftz.bf16",
      eight(0x3f80),
      Uint16Array.from([0x3f80, 0x3b80, 0x3f80, 0x3b80, 0, 0, 0, 0]),
      Uint16Array.from([0x4000, 0x3f80, 0x4000, 0x3f80, 0x3f80, 0x3f80, 0x3f80, 0x3f80]),
    );
    check("min.bf16", eight(0x3f80), eight(0xbf80), eight(0xbf80));
    check("add.noftz.f16", eight(0x3c00), eight(0x3c00), eight(0x4000));
    check("max.f16", eight(0xbc00), eight(0x3c00), eight(0x3c00));
  });

  test("a box is clipped at the edge", () => {
    const tensor = Int32Array.from({ length: 8 * 6 }, (_, i) => i);
    const expected = tensor.map((x, i) => {
      const [row, column] = [Math.floor(i / 8) - 4, (i % 8) - 4];
      return row >= 0 && column >= 0 ? x + 100 + row * 8 + column : x;
    });
    const data = Int32Array.from({ length: 32 }, (_, i) => 100 + i);
    run(
      `${move(128, false)}
  @%p0 cp.reduce.async.bulk.tensor.2d.global.shared::cta.add.tile.bulk_group [%rd1, {4, 4}], [%r1];
${stored}`,
      128,
      { tensor, sizes: [8, 6], box: [8, 4], swizzle: 0, type: [3, 4] },
      data,
    );
    expect(tensor).toEqual(expected);
  });

  test.each(["add.s64", "and.u32", "add.f16", "min.f32"])("%s is refused", (operation) => {
    expect(() => check(operation, new Uint32Array(4), new Uint32Array(4), new Uint32Array(4))).toThrow(/line/);
  });
});

testPtxas(/add\.s64|and\.u32|add\.f16|min\.f32/);
