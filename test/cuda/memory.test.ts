// Shows that tests on the CUDA backend detect a kernel that reads past a tensor, since the virtual GPU knows its size.
import koffi from "koffi";
import { expect, test } from "vitest";
import { Device } from "../../lib/tensor/tensor.js";
import { cuda } from "../support/devices.js";

const peek = `.version 8.0
.target sm_80
.address_size 64
.visible .entry peek(.param .u64 to, .param .u64 from)
{
  .reg .b64 %d<2>;
  .reg .b32 %r;
  ld.param.u64 %d0, [to];
  ld.param.u64 %d1, [from];
  ld.global.b32 %r, [%d1];
  st.global.b32 [%d0], %r;
  ret;
}
`;

test.skipIf(!cuda)("a kernel that reads one element past a tensor is stopped", async () => {
  const { PtxModule } = await import("../vgpu/support/device.js");
  const driver = koffi.load(process.env.CARACAL_CUDA_LIBRARY as string);
  const allocate = driver.func("int cuMemAlloc_v2(_Out_ uint64_t *address, size_t bytes)");
  const range = driver.func("int cuMemGetAddressRange_v2(_Out_ uint64_t *base, _Out_ size_t *bytes, uint64_t address)");

  /** A tensor with the address and size of its allocation: the first one after memory that is allocated just before. */
  async function allocated(device: Device) {
    const [before, base, bytes] = [[0n], [0n], [0n]];
    expect(allocate(before, 256)).toBe(0);
    const x = device.tensor([1, 2, 3, 4, 5], [5]);
    expect(await x.read()).toEqual(Float32Array.of(1, 2, 3, 4, 5));
    for (let at = BigInt(before[0]!) + 256n; range(base, bytes, at) !== 0; at += 256n);
    return { x, base: BigInt(base[0]!), bytes: Number(bytes[0]) };
  }

  await using caching = await Device.open({ backend: "cuda" });
  expect((await allocated(caching)).bytes).toBe(64); // a read of the 16th element would go unnoticed
  const { base, bytes, x } = await allocated(cuda as Device);
  expect(bytes).toBe(20);
  const module = new PtxModule(peek);
  const got = new Float32Array(1);
  module.run("peek", {}, got, { u64: base + 16n });
  expect(got[0]).toBe(5);
  expect(() => module.run("peek", {}, got, { u64: base + 20n })).toThrowError(/global read of 4 bytes/);
  x.dispose();
});
