// Warp-level features of sm_89 and sm_90: fp8 and f64 mma, stmatrix, elect, atomics on vectors, try_wait, byte counts.
import { beforeAll, expect, test } from "vitest";
import type { Argument, Shape } from "../support/device.js";
import { deviceWith } from "../support/modes.js";
import { kernel, numbers, remember, testPtxas } from "../support/ptx.js";

let device: Awaited<ReturnType<typeof deviceWith>>;
beforeAll(async () => {
  device = await deviceWith({ CARACAL_VGPU_COMPUTE: "9.0" });
});
function run(body: string, shape: Shape, input: Argument, output: Argument, shared = 16): void {
  const ptx = kernel(body, { target: "sm_90", shared });
  remember(ptx, "sm_90");
  new device.PtxModule(ptx).run("k", shape, input, output);
}

/** The value of an 8-bit format, by definition. */
const value8 = (bits: number, exponentBits: number, fractionBits: number) => {
  const bias = 2 ** (exponentBits - 1) - 1;
  const e = (bits >> fractionBits) & (2 ** exponentBits - 1);
  const f = bits & (2 ** fractionBits - 1);
  const magnitude = e === 0 ? f * 2 ** (1 - bias - fractionBits) : (1 + f / 2 ** fractionBits) * 2 ** (e - bias);
  return bits & 0x80 ? -magnitude : magnitude;
};
const fp8 = {
  e4m3: [4, 3, (b: number) => (b & 0x7f) !== 0x7f],
  e5m2: [5, 2, (b: number) => (b & 0x7f) < 0x7c],
} as const;

test.each(["e4m3", "e5m2"].flatMap((a) => ["e4m3", "e5m2"].flatMap((b) => [0, 1, 2, 3].map((j) => ({ a, b, j })))))(
  "mma m16n8k32 $a $b, k % 4 = $j",
  ({ a, b, j }) => {
    // Every value of A meets one or two of B, with one product per sum, so all sums are exact.
    const [ea, fa, finite] = fp8[a as "e4m3"];
    const one = { e4m3: 0x38, e5m2: 0x3c }[b] as number;
    const A = Array.from({ length: 16 }, (_, row) =>
      Array.from({ length: 32 }, (_, k) => {
        const bits = (row * 32 + k) & 255;
        return finite(bits) ? bits : 0;
      }),
    );
    // Column n of B selects k = 4n + j; the other elements are zeros.
    const input = new Uint32Array(32 * 6);
    for (let lane = 0; lane < 32; lane++) {
      const [g, t] = [lane >> 2, lane & 3];
      const word = (row: number, w: number) =>
        [0, 1, 2, 3].reduce((bits, e) => (bits | (((A[row] as number[])[4 * w + e] as number) << (8 * e))) >>> 0, 0);
      for (let r = 0; r < 4; r++) input[lane * 6 + r] = word(g + 8 * (r % 2), t + 4 * (r >> 1));
      for (let r = 0; r < 2; r++) input[lane * 6 + 4 + r] = t + 4 * r === g ? (one << (8 * j)) >>> 0 : 0;
    }
    const out = new Float32Array(128);
    run(
      `  mul.wide.u32 %rd3, %r0, 24;
  add.s64 %rd1, %rd1, %rd3;
  mul.wide.u32 %rd3, %r0, 16;
  add.s64 %rd2, %rd2, %rd3;
${[0, 1, 2, 3, 4, 5].map((i) => `  ld.global.u32 %r${10 + i}, [%rd1 + ${4 * i}];`).join("\n")}
  mov.f32 %f1, 0f00000000;
  mma.sync.aligned.m16n8k32.row.col.f32.${a}.${b}.f32 {%f10, %f11, %f12, %f13}, {%r10, %r11, %r12, %r13}, {%r14, %r15}, {%f1, %f1, %f1, %f1};
${[0, 1, 2, 3].map((i) => `  st.global.f32 [%rd2 + ${4 * i}], %f${10 + i};`).join("\n")}`,
      { block: 32 },
      input,
      out,
    );
    for (let lane = 0; lane < 32; lane++)
      for (let r = 0; r < 4; r++) {
        const [row, column] = [(lane >> 2) + 8 * (r >> 1), 2 * (lane & 3) + (r & 1)];
        expect(out[4 * lane + r]).toBe(value8((A[row] as number[])[4 * column + j] as number, ea, fa) + 0);
      }
  },
);

test.each([4, 8, 16])("mma m16n8k%i f64", (k) => {
  const next = numbers(k);
  const small = () => (next() % 2001) - 1000;
  const A = Array.from({ length: 16 }, () => Array.from({ length: k }, small));
  const B = Array.from({ length: 8 }, () => Array.from({ length: k }, small));
  const [na, nb] = [k / 2, k / 4];
  const n = na + nb;
  const input = new Float64Array(32 * n);
  for (let lane = 0; lane < 32; lane++) {
    for (let r = 0; r < na; r++)
      input[lane * n + r] = (A[(lane >> 2) + 8 * (r % 2)] as number[])[(lane & 3) + 4 * (r >> 1)] as number;
    for (let r = 0; r < nb; r++) input[lane * n + na + r] = (B[lane >> 2] as number[])[(lane & 3) + 4 * r] as number;
  }
  const out = new Float64Array(128);
  const list = (first: number, count: number) =>
    `{${Array.from({ length: count }, (_, i) => `%d${first + i}`).join(", ")}}`;
  run(
    `  mul.wide.u32 %rd3, %r0, ${8 * n};
  add.s64 %rd1, %rd1, %rd3;
  mul.wide.u32 %rd3, %r0, 32;
  add.s64 %rd2, %rd2, %rd3;
${Array.from({ length: n }, (_, i) => `  ld.global.f64 %d${10 + i}, [%rd1 + ${8 * i}];`).join("\n")}
  mov.f64 %d1, 0d3ff0000000000000;
  mma.sync.aligned.m16n8k${k}.row.col.f64.f64.f64.f64 {%d40, %d41, %d42, %d43}, ${list(10, na)}, ${list(10 + na, nb)}, {%d1, %d1, %d1, %d1};
${[0, 1, 2, 3].map((i) => `  st.global.f64 [%rd2 + ${8 * i}], %d${40 + i};`).join("\n")}`,
    { block: 32 },
    input,
    out,
  );
  for (let lane = 0; lane < 32; lane++)
    for (let r = 0; r < 4; r++) {
      const [row, column] = [A[(lane >> 2) + 8 * (r >> 1)] as number[], B[2 * (lane & 3) + (r & 1)] as number[]];
      expect(out[4 * lane + r]).toBe(row.reduce((s, x, i) => s + x * (column[i] as number), 1));
    }
});

test.each([1, 2, 4].flatMap((count) => [false, true].map((trans) => ({ count, trans }))))(
  "stmatrix x$count, trans $trans",
  ({ count, trans }) => {
    // Row-major matrices of halves; row i of matrix m is stored at position 5 (8m + i) % 32, 32 bytes each.
    const input = Uint16Array.from({ length: 256 }, (_, i) => i * 509);
    const out = new Uint16Array(512);
    const registers = [10, 11, 12, 13].slice(0, count).map((r) => `%r${r}`);
    run(
      `  mul.wide.u32 %rd3, %r0, 4;
  add.s64 %rd4, %rd1, %rd3;
${registers.map((r, m) => `  ld.global.u32 ${r}, [%rd4 + ${128 * m}];`).join("\n")}
  mov.u32 %r3, buffer;
  shl.b32 %r5, %r0, 5;
  add.u32 %r5, %r5, %r3;
  mov.u32 %r6, -1;
  st.shared.v4.u32 [%r5], {%r6, %r6, %r6, %r6};
  st.shared.v4.u32 [%r5 + 16], {%r6, %r6, %r6, %r6};
  bar.warp.sync -1;
  mul.lo.u32 %r4, %r0, 5;
  and.b32 %r4, %r4, 31;
  mad.lo.u32 %r4, %r4, 32, %r3;
  setp.lt.u32 %p1, %r0, ${8 * count};
  selp.b32 %r4, %r4, 1, %p1;  // the remaining addresses are unused
  stmatrix.sync.aligned.m8n8.x${count}${trans ? ".trans" : ""}.shared.b16 [%r4], {${registers.join(", ")}};
  bar.warp.sync -1;
  mul.wide.u32 %rd3, %r0, 32;
  add.s64 %rd4, %rd2, %rd3;
  ld.shared.v4.u32 {%r20, %r21, %r22, %r23}, [%r5];
  st.global.v4.u32 [%rd4], {%r20, %r21, %r22, %r23};
  ld.shared.v4.u32 {%r20, %r21, %r22, %r23}, [%r5 + 16];
  st.global.v4.u32 [%rd4 + 16], {%r20, %r21, %r22, %r23};`,
      { block: 32 },
      input,
      out,
      1024,
    );
    const expected = new Uint16Array(512).fill(0xffff);
    for (let at = 0; at < 64 * count; at++) {
      const [m, i, j] = [at >> 6, (at >> 3) & 7, at & 7];
      expected[16 * ((5 * (8 * m + i)) % 32) + j] = input[64 * m + (trans ? 8 * j + i : 8 * i + j)]!;
    }
    expect(out).toEqual(expected);
  },
);

test("elect.sync elects one", () => {
  const out = new Uint32Array(32);
  run(
    `  mov.u32 %r5, 0xfffffff0;
  setp.lt.u32 %p2, %r0, 4;
  selp.b32 %r5, 15, %r5, %p2;
  elect.sync %r1|%p1, %r5;
  selp.u32 %r2, 100, 0, %p1;
  add.u32 %r2, %r2, %r1;
  mul.wide.u32 %rd3, %r0, 4;
  add.s64 %rd2, %rd2, %rd3;
  st.global.u32 [%rd2], %r2;`,
    { block: 32 },
    new Uint32Array(1),
    out,
  );
  for (const group of [out.slice(0, 4), out.slice(4)]) {
    const leader = group[0]! % 100;
    expect(group.filter((x) => x >= 100)).toEqual(Uint32Array.of(100 + leader));
    expect(group.every((x) => x % 100 === leader)).toBe(true);
    expect(out[leader]).toBe(100 + leader);
  }
});

test("atomic operations on vectors", () => {
  const input = new Float32Array([1, 2, 3, 4, 0.5, 0.25, 8, -4]);
  const out = new Float32Array(4);
  run(
    `  atom.global.add.v4.f32 {%f1, %f2, %f3, %f4}, [%rd1], {0f3f800000, 0f40000000, 0f40400000, 0f40800000};
  st.global.v4.f32 [%rd2], {%f1, %f2, %f3, %f4};
  red.global.add.v2.f32 [%rd1 + 16], {0f3f800000, 0f3f800000};`,
    { block: 1 },
    input,
    out,
  );
  expect(Array.from(out)).toEqual([1, 2, 3, 4]);
  expect(Array.from(input)).toEqual([2, 4, 6, 8, 1.5, 1.25, 8, -4]);
  // bf16: 1 + 2 = 3, 256 + 1 = 256 (a tie, to even), and the maximum of 1 and NaN.
  const halves = new Uint32Array([0x43803f80, 0x7fc03f80]);
  run(
    `  mov.b32 %r1, 0x3f804000;
  red.global.add.noftz.bf16x2 [%rd1], %r1;
  mov.b32 {%h1, %h2}, %r1;
  red.global.max.noftz.v2.bf16 [%rd1 + 4], {%h1, %h2};`,
    { block: 1 },
    halves,
    out,
  );
  expect(Array.from(halves)).toEqual([0x43804040, 0x3f804000]);
});

test("mbarrier: counts, bytes and try_wait", () => {
  const out = new Uint32Array(4);
  const seen = (parity: number, at: number) => `  mbarrier.test_wait.parity.shared.b64 %p1, [%r10], ${parity};
  selp.u32 %r1, 1, 0, %p1;
  st.global.u32 [%rd2 + ${4 * at}], %r1;`;
  run(
    `  mov.u32 %r10, buffer;
  mbarrier.init.shared::cta.b64 [%r10], 3;
  fence.mbarrier_init.release.cluster;
  mbarrier.arrive.release.cta.shared::cta.b64 %rd5, [%r10], 2;
  mbarrier.arrive.expect_tx.shared::cta.b64 %rd6, [%r10], 256;
${seen(0, 0)}
  mbarrier.complete_tx.shared::cta.b64 [%r10], 255;
${seen(0, 1)}
  mbarrier.complete_tx.shared::cta.b64 [%r10], 1;
${seen(0, 2)}
  mbarrier.try_wait.parity.acquire.cta.shared::cta.b64 %p1, [%r10], 0, 1000;
  selp.u32 %r1, 1, 0, %p1;
  st.global.u32 [%rd2 + 12], %r1;`,
    { block: 1 },
    new Uint32Array(1),
    out,
  );
  expect(Array.from(out)).toEqual([0, 0, 1, 1]);
});

test("mbarrier: bytes are counted from -(2^20 - 1) to 2^20 - 1", () => {
  const bytes = (how: string, count: number) => `  mbarrier.${how}.relaxed.cta.shared::cta.b64 [%r10], ${count};\n`;
  const max = 2 ** 20 - 1;
  const counts = (body: string) => () =>
    run(`  mov.u32 %r10, buffer;\n  mbarrier.init.shared::cta.b64 [%r10], 1;\n${body}`, { block: 1 }, one, one);
  const one = new Uint32Array(1);
  for (const [up, down] of [
    ["expect_tx", "complete_tx"],
    ["complete_tx", "expect_tx"],
  ] as const) {
    expect(counts(bytes(up, max))).not.toThrow();
    expect(counts(bytes(up, max) + bytes(down, 1) + bytes(up, 1))).not.toThrow();
    expect(counts(bytes(up, max) + bytes(up, 1))).toThrow(/synccheck: mbarrier: the byte count exceeds its range/);
  }
});

test("a different mbarrier object per lane", () => {
  const out = new Uint32Array(32 * 8);
  const mask = 0x2d60b105; // neighbours of active lanes are inactive
  // Lane l expects l % 3 + 1 arrivals, and then some bytes.
  const seen = (at: number, address: string, state: string) => `  @%p1 mbarrier.test_wait.${address} ${state};
  @%p1 selp.u32 %r1, 1, 0, %p2;
  @%p1 st.global.u32 [%rd2 + ${4 * at}], %r1;`;
  run(
    `  mul.wide.u32 %rd3, %r0, 32;
  add.s64 %rd2, %rd2, %rd3;
  mov.u32 %r10, buffer;
  mad.lo.u32 %r10, %r0, 8, %r10;
  cvt.u64.u32 %rd4, %r10;
  cvta.shared.u64 %rd4, %rd4;
  st.shared.v2.u32 [%r10], {0x11223344, %r0};
  mov.u32 %r2, ${mask};
  shr.u32 %r2, %r2, %r0;
  and.b32 %r2, %r2, 1;
  setp.eq.u32 %p1, %r2, 1;
  rem.u32 %r3, %r0, 3;
  add.u32 %r4, %r3, 1;
  max.u32 %r5, %r3, 1;
  mad.lo.u32 %r6, %r0, 16, 16;
  mov.u64 %rd8, 0;
  @%p1 mbarrier.init.shared.b64 [%r10], %r4;
  @%p1 mbarrier.arrive.shared.b64 %rd8, [%r10];
  @%p1 mbarrier.pending_count.b64 %r7, %rd8;
  @%p1 st.global.u32 [%rd2], %r7;
${seen(1, "shared.b64 %p2, [%r10],", "%rd8")}
  @%p1 mbarrier.arrive.b64 %rd9, [%rd4], %r5;
${seen(2, "b64 %p2, [%rd4],", "%rd9")}
  @%p1 mbarrier.expect_tx.relaxed.cta.shared::cta.b64 [%r10], %r6;
  @%p1 mbarrier.arrive.shared.b64 %rd9, [%r10], %r4;
${seen(3, "shared.b64 %p2, [%r10],", "%rd9")}
  sub.u32 %r8, %r6, 16;
  @%p1 mbarrier.complete_tx.relaxed.cta.shared::cta.b64 [%r10], %r8;
${seen(4, "shared.b64 %p2, [%r10],", "%rd9")}
  @%p1 mbarrier.complete_tx.relaxed.cta.shared::cta.b64 [%r10], 16;
${seen(5, "shared.b64 %p2, [%r10],", "%rd9")}
  @%p1 mbarrier.inval.shared.b64 [%r10];
  @!%p1 ld.shared.v2.u32 {%r11, %r12}, [%r10];
  @!%p1 st.global.v2.u32 [%rd2 + 24], {%r11, %r12};`,
    { block: 32 },
    new Uint32Array(1),
    out,
    256,
  );
  for (let lane = 0; lane < 32; lane++) {
    const arrivals = (lane % 3) + 1;
    // All but 16 of the bytes do not suffice.
    const expected =
      (mask >>> lane) & 1 ? [arrivals, Number(arrivals === 1), 1, 0, 0, 1, 0, 0] : [0, 0, 0, 0, 0, 0, 0x11223344, lane];
    expect([...out.slice(8 * lane, 8 * lane + 8)], `lane ${lane}`).toEqual(expected);
  }
});

testPtxas();
