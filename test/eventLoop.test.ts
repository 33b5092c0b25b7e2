// The event loop keeps turning while the library works. Most of this is counted: test/support/turns.ts counts the slices
// of work. Here, the longest turn is taken in this thread's processor time, which other processes do not lengthen, and
// the bound is far above the 5 ms that work may take at a stretch, but far below what each of these takes as a whole.
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import type { IncomingMessage } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { afterAll, beforeAll, expect, test } from "vitest";
import { openSafetensors } from "../lib/checkpoint/formats/safetensors.js";
import { Device, encodeWav, OmniTokenizer, ops, upload } from "../lib/index.js";
import { loadAudio } from "../lib/media/audio.js";
import { loadImage } from "../lib/media/image.js";
import { readJson } from "../lib/server/body.js";
import type { LongString } from "../lib/server/longString.js";
import { Turns } from "../lib/turns.js";
import { longcatTokenizerJson } from "./model/prompt/longcatVocabulary.mjs";
import { longestTurn, threadTime } from "./support/loop.mjs";

/** Milliseconds of processor time. */
const bound = 150;

let directory = "";
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "caracal-loop-"));
});
afterAll(() => rm(directory, { recursive: true }));

/** Runs work of which no turn may be long. */
async function watch<T>(run: () => Promise<T>): Promise<T> {
  let result!: T;
  const longest = await longestTurn(async () => {
    result = await run();
  });
  expect(longest).toBeLessThan(bound);
  return result;
}

test("a turn that takes long is noticed", async () => {
  const busy = async () => {
    for (const end = threadTime() + bound; threadTime() < end; );
  };
  expect(await longestTurn(busy)).toBeGreaterThanOrEqual(bound);
});

test("tokenizer: 10 MB of JSON are read, and millions of characters encoded and decoded", async () => {
  await writeFile(join(directory, "tokenizer.json"), JSON.stringify(longcatTokenizerJson(), null, 2));
  await writeFile(join(directory, "tokenizer_config.json"), '{ "eos_token": "</longcat_s>" }');
  const tokenizer = await watch(() => OmniTokenizer.open(directory));
  for (const unit of ["的一是不了在人有，", "a", "the answer 42 is\n", "🙂"]) {
    const text = unit.repeat(2_000_000 / unit.length);
    const ids = await watch(() => tokenizer.encode(text));
    expect(await watch(() => tokenizer.decode(ids))).toBe(text);
  }
});

test("a checkpoint of 60,000 tensors", async () => {
  const names = Array.from({ length: 60_000 }, (_, i) => `model.layers.${i % 28}.mlp.experts.${i}.gate_proj.weight`);
  const header: Record<string, object> = {};
  for (const [i, name] of names.entries()) header[name] = { dtype: "U8", shape: [1], data_offsets: [i, i + 1] };
  const json = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  const file = "model-1.safetensors";
  await writeFile(join(directory, file), Buffer.concat([length, json, Buffer.alloc(names.length)]));
  const index = { weight_map: Object.fromEntries(names.map((name) => [name, file])) };
  await writeFile(join(directory, "model.safetensors.index.json"), JSON.stringify(index));
  const { entries } = await watch(() => openSafetensors(directory));
  expect(entries.length).toBe(names.length);
});

test("values are copied to a device and back", async () => {
  await using device = await Device.open({ backend: "cpu", threads: 1 });
  const values = new Float32Array(2 ** 26).fill(0.5);
  using tensor = await watch(() => upload(device, values, [values.length], "f16"));
  expect(await longestTurn(() => tensor.toFloat32Array())).toBeLessThan(bound);
});

test("sound is decoded and resampled", async () => {
  const file = encodeWav(new Float32Array(44100 * 240).fill(0.25), 44100);
  expect((await watch(() => loadAudio(file, { sampleRate: 16000 }))).length).toBe(16000 * 240);
});

test("a request of 32 MiB is read, and its media decoded", async () => {
  const media = Buffer.alloc(2 ** 24, 7);
  const body = Buffer.from(JSON.stringify({ a: media.toString("base64"), b: "x".repeat(2 ** 23) }));
  let at = 0;
  const incoming = new Readable({
    read() {
      const piece = at < body.length ? body.subarray(at, at + 2 ** 16) : null;
      at += 2 ** 16;
      setImmediate(() => this.push(piece)); // as a socket does
    },
  });
  const request = Object.assign(incoming, { headers: {} }) as unknown as IncomingMessage;
  const { a } = (await watch(() => readJson(request, 2 ** 25))) as { a: LongString };
  expect((await watch(() => new Turns("decoding").during(a.decode())))!.equals(media)).toBe(true);
});

test("pictures are decoded", async () => {
  const { default: sharp } = await import("sharp");
  const create = { width: 4000, height: 3000, channels: 3 as const, background: "teal" };
  const file = await sharp({ create }).png().toBuffer();
  let width = 0;
  const load = async () => {
    width = (await loadImage(file)).width;
  };
  expect(await longestTurn(load)).toBeLessThan(bound);
  expect(width).toBe(4000);
});

test("disposing a device does not wait for its running operation", async () => {
  const device = await Device.open({ backend: "cpu", threads: 1, isa: "scalar" });
  const weight = device.zeros([1536, 1536]);
  const product = ops.linear(weight, weight); // takes seconds
  const reading = product.read().catch((error: unknown) => error);
  const disposing = device.dispose().then(() => "disposed");
  const turn = new Promise((resolve) => setImmediate(resolve, "a turn"));
  expect(await Promise.race([turn, disposing])).toBe("a turn");
  expect(() => ops.linear(weight, weight)).toThrow(expect.objectContaining({ code: "DISPOSED" }));
  expect(device.dispose()).toBe(device.dispose());
  await disposing;
  expect(await reading).toMatchObject({ code: "DISPOSED" });
});
