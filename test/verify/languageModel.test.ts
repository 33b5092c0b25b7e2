import { describe, expect, test } from "vitest";
import { verifyFile } from "../../lib/verify/verify.js";
import { allDevices } from "../support/devices.js";
import { goldenPath } from "../support/golden.js";

describe.each(allDevices)("results of the published language model on $name", (device) => {
  const modules = [
    ["longcat_flash", 8],
    ["omni_embedding", 1],
    ["omni_audio_heads", 2],
  ] as const;
  for (const activations of ["f32", "bf16"] as const)
    test.each(modules)(`%s, ${activations} activations`, async (name, count) => {
      const report = await verifyFile(goldenPath(name), { device, activations });
      expect(report.error).toBeUndefined();
      expect(report.tensors.filter(({ passed }) => !passed)).toEqual([]);
      expect(report.tensors).toHaveLength(count);
    });
});
