import { createHash } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { open } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import {
  dequantizeAffine,
  foldWeightNorm,
  packConv1d,
  packConvTranspose1d,
  packWeight,
  packWeights,
} from "../../lib/ops/index.js";
import { movePacked, packedForm, packedLayoutVersion } from "../../lib/tensor/packedFile.js";
import type { Device, NativeArray } from "../../lib/tensor/tensor.js";
import { devices } from "../support/devices.js";

const folder = mkdtempSync(join(tmpdir(), "caracal-layout-"));
afterAll(() => rmSync(folder, { recursive: true }));

/** The bytes of a packed weight, whose memory is given up. */
async function bytesOf(weight: NativeArray): Promise<Buffer> {
  const { bytes } = packedForm(weight);
  const handle = await open(join(folder, "weight"), "w+");
  try {
    await movePacked(weight, handle.fd, 0);
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(bytes + 1), 0, bytes + 1, 0);
    expect(bytesRead).toBe(bytes);
    return buffer.subarray(0, bytes);
  } finally {
    await handle.close();
  }
}

/** Bytes that are finite numbers in every dtype, all rows and columns different. */
const codes = (n: number) => Uint8Array.from({ length: n }, (_, i) => (i * 31 + (i >> 7) * 7) % 113);
const words = (n: number) => new Uint16Array(codes(2 * n).buffer);
const floats = (n: number) => new Float32Array(codes(4 * n).buffer);

/**
 * A weight of every kind, with rows and columns that do not fill their panels, and those that are computed before they are
 * packed.
 */
const weights: Readonly<Record<string, (device: Device) => NativeArray>> = {
  f32: (d) => packWeight(d.tensor(floats(21 * 7), [21, 7])),
  bf16: (d) => packWeight(d.tensor(words(21 * 7), [21, 7], "bf16")),
  f8e4m3: (d) => packWeight(d.tensor(codes(130 * 133), [130, 133], "f8e4m3"), { scale: d.tensor(floats(4), [2, 2]) }),
  q4: (d) =>
    packWeight(d.tensor(codes(21 * 32), [21, 32], "u8"), { bits: 4, scale: d.tensor(words(42), [21, 2], "bf16") }),
  q4of3: (d) => packWeight(d.tensor(codes(21 * 24), [21, 24], "u8"), { bits: 3, scale: d.tensor(floats(42), [21, 2]) }),
  q8: (d) =>
    packWeight(d.tensor(codes(21 * 64), [21, 64], "u8"), {
      bits: 8,
      scale: d.tensor(words(42), [21, 2], "f16"),
      bias: d.tensor(words(42), [21, 2], "f16"),
    }),
  experts: (d) =>
    packWeights([
      d.tensor(floats(5 * 3), [5, 3]),
      d.tensor(
        floats(15).map((v) => -v),
        [5, 3],
      ),
    ]),
  folded: (d) => packConv1d(foldWeightNorm(d.tensor(floats(60), [5, 4, 3]), d.tensor(floats(5), [5]))),
  dequantized: (d) =>
    packWeight(
      dequantizeAffine(d.tensor(codes(21 * 24), [21, 24], "u8"), {
        ...{ bits: 3, outDtype: "bf16" as const },
        ...{ scale: d.tensor(floats(42), [21, 2]), bias: d.tensor(floats(42), [21, 2]) },
      }),
    ),
  conv1d: (d) => packConv1d(d.tensor(floats(6 * 4 * 3), [6, 4, 3]), { groups: 2 }),
  convTranspose1d: (d) => packConvTranspose1d(d.tensor(floats(6 * 4 * 3), [6, 4, 3])),
};

/**
 * The layout of version 1. If this fails because the layout was changed on purpose, give `kPackedLayoutVersion` in
 * native/cpu/gemm_panels.h another number and record the new digests: files of packed weights bear it.
 */
const layout: Readonly<Record<string, string>> = {
  f32: "72c15327ba90bdd5",
  bf16: "181cead570731771",
  f8e4m3: "1b265eced068db74",
  q4: "0a7e371375695d08",
  q4of3: "42a2cde695da6b57",
  q8: "69f68dc83d216466",
  folded: "16ed1c708084019a",
  dequantized: "2501e9a39e130afb",
  experts: "b8f221e4cf0080a3",
  conv1d: "d642d632c88dcb14",
  convTranspose1d: "5d09996bbea37705",
};

describe.each(devices)("packed weights on $isa", (device) => {
  test("have the bytes that the version of their layout stands for", async () => {
    const digests: Record<string, string> = {};
    for (const [name, pack] of Object.entries(weights)) {
      const bytes = await bytesOf(device.scope(() => pack(device)));
      digests[name] = createHash("sha256").update(bytes).digest("hex").slice(0, 16);
    }
    expect({ version: packedLayoutVersion(), ...digests }).toEqual({ version: 1, ...layout });
  });

  test("are of no use once they were moved to a file", async () => {
    using weight = device.scope(() => packWeight(device.zeros([3, 4])));
    await weight.ready();
    const before = device.memory.inUse;
    await bytesOf(weight);
    expect(device.memory.inUse).toBeLessThan(before);
    await expect(weight.ready()).rejects.toThrow(/moved to a file/);
  });
});
