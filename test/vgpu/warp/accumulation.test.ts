// How a tensor core adds up is not for the ISA to say: the models that a program must get along with.
import { expect, test } from "vitest";
import { deviceWith } from "../support/modes.js";
import { kernel, lanes } from "../support/ptx.js";

// Each element is 2^24 + 15 * 1.5, where single precision holds even numbers only.
test.each([
  ["chain", "8.0", 2 ** 24 + 15 * 2], // every 1.5 rounds up to 2
  ["exact", "8.0", 2 ** 24 + 22], // 22.5, rounded once
  // A unit is 1: of every 1.5 remains 1. Of 7 remains 6 after the first 8 products; 8 more follow.
  ["truncating", "8.0", 2 ** 24 + 6 + 8],
  // A unit is 1/2, and the 16 are added at once: 22.5 cut off.
  ["truncating", "9.0", 2 ** 24 + 22],
])("%s on %s", async (model, compute, expected) => {
  const device = await deviceWith({ CARACAL_VGPU_ACCUMULATION: model, CARACAL_VGPU_COMPUTE: compute });
  // bf16: 4096 * 4096 where k is 0, which lanes 0, 4, … hold in the lower half; else 1.5 * 1.
  const [large, half, one] = [0x4580, 0x3fc0, 0x3f80];
  const ptx = kernel(`  and.b32 %r1, %r0, 3;
  setp.eq.u32 %p1, %r1, 0;
  mov.b32 %r2, ${(half << 16) | half};
  selp.b32 %r3, ${(half << 16) | large}, %r2, %p1;
  mov.b32 %r4, ${(one << 16) | one};
  selp.b32 %r5, ${(one << 16) | large}, %r4, %p1;
  mov.f32 %f1, 0f00000000;
  mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%f2, %f3, %f4, %f5}, {%r3, %r3, %r2, %r2}, {%r5, %r4}, {%f1, %f1, %f1, %f1};
  add.f32 %f2, %f2, 0fcb800000;
  cvt.rni.s32.f32 %r6, %f2;
  mul.wide.u32 %rd3, %r0, 4;
  add.s64 %rd2, %rd2, %rd3;
  st.global.u32 [%rd2], %r6;`);
  const out = new Uint32Array(32);
  new device.PtxModule(ptx).run("k", { block: 32 }, new Uint32Array(1), out);
  expect(out).toEqual(lanes(() => expected - 2 ** 24));
});

test("sums that cancel leave what is exact", async () => {
  const device = await deviceWith({ CARACAL_VGPU_ACCUMULATION: "exact" });
  // 2^120 - 2^120 + 2^-120: with a chain in this order as well, but not in the other.
  const ptx = kernel(`  and.b32 %r1, %r0, 3;
  setp.eq.u32 %p1, %r1, 0;
  setp.eq.u32 %p2, %r1, 1;
  mov.b32 %r2, 0;
  selp.b32 %r3, 0x5d800380, %r2, %p1;
  selp.b32 %r3, 0x0000dd80, %r3, %p2;
  selp.b32 %r5, 0x5d803f80, %r2, %p1;
  selp.b32 %r5, 0x00005d80, %r5, %p2;
  mov.f32 %f1, 0f00000000;
  mma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32 {%f2, %f3, %f4, %f5}, {%r3, %r3}, {%r5}, {%f1, %f1, %f1, %f1};
  mul.wide.u32 %rd3, %r0, 4;
  add.s64 %rd2, %rd2, %rd3;
  st.global.f32 [%rd2], %f2;`);
  const out = new Float32Array(32);
  new device.PtxModule(ptx).run("k", { block: 32 }, new Uint32Array(1), out);
  // 0x0380 is 2^-120, 0x5d80 is 2^60.
  expect(out).toEqual(new Float32Array(32).fill(2 ** -120));
});
