import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { checkTensors } from "../../../lib/checkpoint/checkTensors.js";
import { openSafetensors } from "../../../lib/checkpoint/formats/safetensors.js";
import { llmLayout } from "../../../lib/checkpoint/layout.js";
import { Llm } from "../../../lib/model/language/llm.js";
import { Weights } from "../../../lib/model/weights.js";
import { cast } from "../../../lib/ops/rows.js";
import { preset } from "../../../lib/synth/presets.js";
import { safetensors, scratch } from "../../checkpoint/files.js";
import { devices } from "../../support/devices.js";
import { randomArray, relativeError } from "../../support/numbers.js";

const folder = scratch();
const device = devices.at(-1)!;
// Some of the matrices have more than one block of 128 × 128.
const config = { ...preset("tiny").llm, hidden_size: 160, ffn_hidden_size: 272, num_layers: 1, vocab_size: 64 };

/** Collects tensors for a safetensors file. */
class File {
  readonly header: Record<string, unknown> = {};
  readonly parts: Uint8Array[] = [];
  #size = 0;

  add(name: string, dtype: "F32" | "F8_E4M3", shape: readonly number[], values: Float32Array | Uint8Array): void {
    const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
    this.header[name] = { dtype, shape, data_offsets: [this.#size, this.#size + bytes.length] };
    this.parts.push(bytes);
    this.#size += bytes.length;
  }

  async open(name: string) {
    writeFileSync(join(folder, name), safetensors(this.header, Buffer.concat(this.parts)));
    const { entries } = await openSafetensors(join(folder, name));
    checkTensors(entries, llmLayout(config), name);
    return entries;
  }
}

/** The same random model twice: matrices as f8e4m3 with block scales, and as the f32 values that they encode. */
async function twins() {
  const [narrow, wide] = [new File(), new File()];
  let seed = 0;
  for (const [name, { shape, dtypes, scales }] of llmLayout(config)) {
    if (scales) continue;
    const count = shape.reduce((product, size) => product * size, 1);
    const spread = shape.length === 1 ? 0.1 : 1 / Math.sqrt(shape[1]!);
    const values = randomArray(count, ++seed, 1.7 * spread).map((v) => (shape.length === 1 ? 1 + v : v));
    if (!dtypes.includes("f8e4m3")) {
      for (const file of [narrow, wide]) file.add(name, "F32", shape, values);
      continue;
    }
    const [rows, columns] = shape as [number, number];
    const blocks = [Math.ceil(rows / 128), Math.ceil(columns / 128)] as const;
    const scale = randomArray(blocks[0] * blocks[1], ++seed).map((v) => 2 ** Math.round(2 * v) / 512);
    const scaleAt = (i: number) => scale[Math.floor(i / columns / 128) * blocks[1] + Math.floor((i % columns) / 128)]!;
    using stored = cast(
      device.tensor(
        values.map((v, i) => v / scaleAt(i)),
        shape,
      ),
      "f8e4m3",
    );
    narrow.add(name, "F8_E4M3", shape, await stored.read());
    narrow.add(`${name}_scale_inv`, "F32", blocks, scale);
    wide.add(
      name,
      "F32",
      shape,
      (await stored.toFloat32Array()).map((v, i) => v * scaleAt(i)),
    );
  }
  return { narrow: await narrow.open("f8.safetensors"), wide: await wide.open("f32.safetensors") };
}

test("an FP8 checkpoint gives the results of an f32 checkpoint with the same values", async () => {
  const { narrow, wide } = await twins();
  const results: Float32Array[] = [];
  for (const entries of [narrow, wide]) {
    const llm = await Llm.load(Weights.of(device, { "": entries }), config, { kvCacheTokens: 64 });
    using sequence = llm.cache.sequence();
    using embeddings = llm.embed(Array.from({ length: 30 }, (_, i) => i));
    using hidden = await llm.prefill([{ sequence, embeddings }], { rows: "all" });
    using next = llm.embed([7]);
    using decoded = llm.decode([sequence], next);
    const both = await Promise.all([llm.logits(hidden).toFloat32Array(), llm.logits(decoded).toFloat32Array()]);
    results.push(Float32Array.from(both.flatMap((values) => [...values])));
    llm.dispose();
  }
  expect(relativeError(results[0]!, results[1]!)).toBeLessThan(1e-5);
});
