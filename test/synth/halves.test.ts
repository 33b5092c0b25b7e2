// MLX directories whose small tensors are f16, beside the same numbers in f32.
import { cpSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import type { TensorEntry } from "../../lib/checkpoint/entry.js";
import * as ops from "../../lib/ops/index.js";
import { quantizeCheckpoint } from "../../lib/synth/quantize.js";
import { writeShards } from "../../lib/synth/safetensors.js";
import { Progress } from "../../lib/synth/writer.js";
import { Device } from "../../lib/tensor/tensor.js";
import { scratch } from "../checkpoint/files.js";
import { tinyDirectory } from "../model/tinyModel.js";
import { bytesOf, logitsOf, openLlmOf, valuesOf, writeWideModel } from "./quantized.js";

const folder = scratch();
const tiny = await tinyDirectory(3);
const wide = join(folder, "wide-source");
await writeWideModel(wide);
const device = await Device.open({ backend: "cpu", threads: 2 });
afterAll(() => device.dispose());

/** The value of a half. */
function halfValue(half: number): number {
  const [exponent, fraction] = [(half >> 10) & 31, half & 1023];
  const magnitude = exponent === 0 ? fraction * 2 ** -24 : (1024 + fraction) * 2 ** (exponent - 25);
  return half & 0x8000 ? -magnitude : magnitude;
}

test.each([
  ["tiny", tiny, 32],
  ["wide", wide, 64],
] as const)(
  "of a %s model, all that is not quantised may be f16: norms, biases and matrices",
  async (name, source, group) => {
    const { directory } = await quantizeCheckpoint(source, join(folder, name), {
      format: "int4",
      layout: "mlx",
      group,
      device,
    });
    const { tensors } = await openLlmOf(directory);
    const halves = new Map<string, Uint16Array>();
    for (const entry of tensors.values()) {
      if (entry.dtype === "u32" || /\.(scales|biases)$/.test(entry.name)) continue;
      using half = ops.cast(device.tensor(valuesOf(entry), entry.shape), "f16");
      halves.set(entry.name, await half.read());
    }
    expect([...halves.keys()].some((tensor) => tensor.includes("layernorm"))).toBe(true);
    expect([...halves.keys()].some((tensor) => tensor.includes("kv_b_proj") || tensor.includes("embed_q"))).toBe(
      name === "tiny",
    );
    const logits = [];
    for (const dtype of ["f16", "f32"] as const) {
      const target = join(folder, `${name}-${dtype}`);
      mkdirSync(target);
      cpSync(join(directory, "config.json"), join(target, "config.json"));
      const entries = [...tensors.values()].map((entry) => (halves.has(entry.name) ? { ...entry, dtype } : entry));
      const read = (entry: TensorEntry) => {
        const values = halves.get(entry.name);
        if (!values) return [bytesOf(entry)];
        return [new Uint8Array((dtype === "f16" ? values : Float32Array.from(values, halfValue)).buffer)];
      };
      await writeShards(target, entries, read, new Progress(0));
      logits.push(await logitsOf(target, device, [1, 300, 512, 77, 801]));
    }
    expect(logits[0]).toEqual(logits[1]);
    expect(logits[0]!.some((value) => value !== 0)).toBe(true);
  },
);
