import { describe, expect, test, vi } from "vitest";
import { call } from "../../lib/ops/call.js";
import { code } from "../support/errors.js";
import { allDevices } from "../support/modelDevices.js";

// The virtual GPU takes time for every multiprocessor.
vi.hoisted(() => {
  process.env.CARACAL_VGPU_SM_COUNT = "2";
});

describe.each(allDevices)("machinePeaks on $name", (device) => {
  test("returns positive numbers", async () => {
    const buffer = device.zeros([1 << 20]);
    const peaks = await call("machinePeaks", { buffer })[0]!.toFloat32Array();
    expect(peaks).toHaveLength(3);
    for (const peak of peaks) expect(peak).toBeGreaterThan(0);
  });

  test("requires an f32 buffer too large for caches", () => {
    expect(() => call("machinePeaks", { buffer: device.zeros([1024]) })).toThrowError(code("SHAPE_MISMATCH"));
    expect(() => call("machinePeaks", { buffer: device.zeros([1 << 20], "bf16") })).toThrowError(
      code("DTYPE_MISMATCH"),
    );
  });
});
