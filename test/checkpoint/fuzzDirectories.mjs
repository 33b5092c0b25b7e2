// node fuzzDirectories.mjs DIR [NUMBER]: changes files of the synthetic model directory DIR at random, and loads and asks
// the model each time. Every change must be answered, or refused with a CaracalError, within a time limit, and the memory
// must be back afterwards. Prints one JSON document per line: each change before it is tried, then its outcome.
// CARACAL_FUZZ_SECONDS limits the time, CARACAL_FUZZ_SEED chooses the changes; NUMBER repeats a single one. Needs the
// compiled library (npx tsc).
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { CaracalError, Device, OmniModel } from "caracal";

const [directory, only] = process.argv.slice(2);
const seconds = Number(process.env.CARACAL_FUZZ_SECONDS ?? 5);
const seed = Number(process.env.CARACAL_FUZZ_SEED ?? 1);
const print = (value) => process.stdout.write(`${JSON.stringify(value)}\n`);

/** Numbers below `n`, determined by a state (mulberry32). */
let state = 0;
function below(n) {
  state = (state + 0x6d2b79f5) | 0;
  let t = Math.imul(state ^ (state >>> 15), 1 | state);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return Math.floor((((t ^ (t >>> 14)) >>> 0) / 2 ** 32) * n);
}
const pick = (list) => list[below(list.length)];

// --- changes of values -----------------------------------------------------------------------------------------------

const strangers = [0, 1, 2, 3, 7, 64, 255, 4096, 2 ** 20, 2 ** 24, 2 ** 31, 2 ** 53, -1, -0, 0.5, 1e-300, 1e300];
const others = [null, true, false, "", "x", "yarn", [], [1], {}, { a: 1 }];
function changedValue(value) {
  if (typeof value === "number" && below(2))
    return pick([value + 1, value - 1, value * 2, value / 2, -value, value * 1e3]);
  return pick(below(3) ? strangers : others);
}

/** Changes, removes or adds one field somewhere in a value, and returns its path. */
function changeField(root) {
  let [object, path] = [root, ""];
  for (;;) {
    const keys = Object.keys(object);
    const key = keys.length > 0 && below(20) ? pick(keys) : "strange";
    path += `.${key}`;
    const value = object[key];
    if (typeof value === "object" && value !== null && Object.keys(value).length > 0 && below(10)) {
      object = value;
      continue;
    }
    if (below(8) === 0 && key in object && !Array.isArray(object)) delete object[key];
    else object[key] = changedValue(value);
    return `${path.slice(1)} = ${JSON.stringify(object[key])}`;
  }
}

// --- changes of files ------------------------------------------------------------------------------------------------

const read = (file) => readFileSync(join(directory, file));
const write = (file, bytes) => writeFileSync(join(directory, file), bytes);

function changeJson(file) {
  const value = JSON.parse(read(file).toString());
  const change = changeField(value);
  write(file, JSON.stringify(value));
  return change;
}

function changeYaml(file) {
  const lines = read(file).toString().split("\n");
  const i = below(lines.length);
  const before = lines[i];
  lines[i] = before.replace(/[^ :-][^:]*$/, () =>
    JSON.stringify(changedValue(Number(before.split(":").at(-1)) || "x")),
  );
  write(file, lines.join("\n"));
  return `${before.trim()} → ${lines[i].trim()}`;
}

/** Changes the header of a safetensors file and keeps its data. */
function changeHeader(file) {
  const bytes = read(file);
  const end = 8 + Number(bytes.readBigUInt64LE());
  const header = JSON.parse(bytes.subarray(8, end).toString());
  const change = changeField(header);
  const text = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  write(file, Buffer.concat([length, text, bytes.subarray(end)]));
  return change;
}

/** Changes some bytes anywhere: of a header, a pickle, or of weights. */
function changeBytes(file) {
  const bytes = read(file);
  const [at, count] = [below(bytes.length), 1 + below(8)];
  for (let i = at; i < Math.min(at + count, bytes.length); i++) bytes[i] = pick([0, 0x7f, 0x80, 0xff, below(256)]);
  write(file, bytes);
  return `${count} bytes at ${at}`;
}

function changeLength(file) {
  const bytes = read(file);
  const length = pick([0, 1, below(bytes.length), bytes.length - 1, bytes.length + 1]);
  write(file, Buffer.concat([bytes, Buffer.alloc(1)]).subarray(0, length));
  return `${length} of ${bytes.length} bytes`;
}

function replaceFile(file) {
  rmSync(join(directory, file));
  if (below(2)) return "removed";
  mkdirSync(join(directory, file));
  return "a folder";
}

function swapFiles(file, files) {
  const other = pick(files.filter((name) => name.split(".").at(-1) === file.split(".").at(-1)));
  write(file, readFileSync(join(original, other)));
  return `the contents of ${other}`;
}

const shards = [1, 2, 3].map((i) => `model-0000${i}-of-00003.safetensors`);
const index = "model.safetensors.index.json";
const jsons = ["config.json", "vision/config.json", "audio/config.json", "audio/preprocessor_config.json"];
const archives = ["vision/vision_model.pt", "vision/vision_projector.pt", "audio/audio_encoder.pt"];
const moreArchives = ["audio/audio_projector.pt", "audio/audio_embeddings.pt", "audio/audio_output_layers.pt"];
const yaml = "audio_codec/config.yaml";
const decoder = "audio_codec/LongCatAudioCodec_decoder_24k_4codebooks.pt";
const binaries = [...archives, ...moreArchives, decoder, "audio/global_cmvn", ...shards];
const all = [...jsons, yaml, index, "tokenizer_config.json", "language_model_embedding.pt", ...binaries];

/** Makes one random change. Each returns its file and a description. */
function change() {
  const kinds = [
    ...Array(6).fill([jsons, changeJson]),
    [[yaml], changeYaml],
    [[yaml], changeYaml],
    [[index, "tokenizer_config.json"], changeJson],
    ...Array(3).fill([shards, changeHeader]),
    ...Array(3).fill([binaries, changeBytes]),
    [all, changeLength],
    [all, replaceFile],
    [all, swapFiles],
  ];
  const [files, make] = pick(kinds);
  const file = pick(files);
  return [file, make(file, files)];
}

// --- the model -------------------------------------------------------------------------------------------------------

const image = { width: 56, height: 84, data: new Uint8Array(56 * 84 * 3).fill(99) };
const audio = { samples: Float32Array.from({ length: 8000 }, (_, i) => Math.sin(i / 9) / 2), sampleRate: 16000 };
const content = [
  { type: "image", image },
  { type: "audio", audio },
  { type: "text", text: "Hello" },
];

async function ask(device) {
  const signal = AbortSignal.timeout(30_000);
  const model = await OmniModel.load(directory, { device, kvCacheTokens: 512, signal, onWarning: () => {} });
  try {
    for await (const _ of model.generate([{ role: "user", content }], { maxTokens: 4, signal }));
  } finally {
    model.dispose();
  }
}

async function attempt(device) {
  try {
    await ask(device);
    return "answered";
  } catch (error) {
    if (error instanceof CaracalError && error.code !== "ABORTED") return error.code;
    throw error;
  }
}

async function tryChange(device, number) {
  state = seed * 1_000_003 + number * 7919;
  const changes = Array.from({ length: below(5) ? 1 : 2 }, () => change().join(": "));
  print({ number, changes });
  const outcome = await attempt(device);
  await device.synchronize();
  print({ number, outcome, inUse: device.memory.inUse });
  rmSync(directory, { recursive: true });
  cpSync(original, directory, { recursive: true });
}

const original = `${directory}-original`;
cpSync(directory, original, { recursive: true });
const device = await Device.open({ backend: "cpu", threads: 2 });
const outcome = await attempt(device);
await device.synchronize();
print({ number: -1, outcome, inUse: device.memory.inUse });
if (only !== undefined) await tryChange(device, Number(only));
else {
  const end = performance.now() + 1000 * seconds;
  for (let number = 0; performance.now() < end; number++) await tryChange(device, number);
}
device.dispose();
