// node bench/eventLoop.mjs [--write DOCUMENT] [--rounds N] [--filter REGEX]: how long the library holds the event loop.
//
// Each work is done in N rounds that alternate with those of the others. A turn is measured twice: in processor time of
// this thread, which other programs do not lengthen, and by monitorEventLoopDelay, which they do. Garbage is collected
// before each measurement; what V8 collects meanwhile counts. Of each column stands the least of all rounds, and of the
// longest turn the first round besides, when V8 has not compiled the code yet.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { setTimeout } from "node:timers/promises";
import { parseArgs } from "node:util";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { openTable } from "../dist/bench/document.js";
import { formatTable } from "../dist/lib/cli/table.js";
import { Device, encodeWav, OmniTokenizer, upload } from "../dist/lib/index.js";
import { loadAudio } from "../dist/lib/media/audio.js";
import { loadImage } from "../dist/lib/media/image.js";
import { longcatTokenizerJson } from "../test/model/prompt/longcatVocabulary.mjs";
import { longestTurn, threadTime } from "../test/support/loop.mjs";

const options = { write: { type: "string" }, rounds: { type: "string", default: "5" }, filter: { type: "string" } };
const { write, rounds, filter = "" } = parseArgs({ options }).values;
const writeTable = write === undefined ? undefined : await openTable(write, "node bench/eventLoop.mjs");

const folder = mkdtempSync(join(tmpdir(), "caracal-bench-loop-"));
process.on("exit", () => rmSync(folder, { recursive: true }));

/** Text of 2^20 UTF-16 units, at least 1 MB in UTF-8. */
const size = 2 ** 20;
const repeated = (unit) => unit.repeat(Math.ceil(size / unit.length)).slice(0, size);

let seed = 1;
/** An integer in [0, n). */
const random = (n) => {
  seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
  return Math.floor((seed / 2 ** 32) * n);
};
/** Text of random items. */
function mixed(item) {
  const items = [];
  for (let length = 0; length < size; length += items.at(-1).length) items.push(item());
  return items.join("").slice(0, size);
}
const oneOf = (list) => () => list[random(list.length)];
const character = (from, to) => () => String.fromCodePoint(from + random(to - from));
const words = (text) => oneOf(text.split(" ").map((word) => `${word} `));
const control = ["<|audio|>", "</pause>", "</longcat_s>", "<image>", "<begin-of-user>"];

const texts = {
  Chinese: mixed(oneOf(["的", "一", "是", "不", "了", "在", "人", "有", "，", "中国", "我们", "自由", "尊严", "。"])),
  "random Chinese characters": mixed(character(0x4e00, 0x9fa6)),
  English: mixed(words("all human beings are born free and equal in dignity, it's 1948 and they act so. ")),
  Arabic: mixed(words("يولد جميع الناس أحرارًا متساوين في الكرامة والحقوق.")),
  Thai: repeated("มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์และสิทธิ"),
  "one word of a letter": repeated("a"),
  "one word of random letters": mixed(character(0x61, 0x7b)),
  "one word of a Chinese character": repeated("的"),
  spaces: repeated(" "),
  newlines: repeated("\n"),
  "spaces of all kinds": mixed(oneOf([" ", "\t", "\r\n", "\u00a0", "\u3000", "\u2003"])),
  digits: mixed(character(0x30, 0x3a)),
  symbols: mixed(oneOf([..."!-/.:;?@[]{}~*&^%$#+="])),
  "emoji joined by ZWJ": repeated("👩‍👩‍👧‍👦👨🏽‍🚀🏳️‍🌈"),
  "combining marks": `a${repeated("\u0301\u0323\u0308")}`.slice(0, size),
  "random Unicode": mixed(character(0, 0x110000)),
  "halves of pairs": mixed(character(0xd800, 0xe000)),
  "names of control tokens": repeated(control.join("")),
  JSON: mixed(() => `{"id":${random(10 ** 6)},"name":"item ${random(100)}","values":[${random(10)},null,true]},\n`),
  code: mixed(
    () => `    for (int i${random(9)} = 0; i < ${random(999)}; i++) { sum += values[i] * 0x${random(4096)}; }\n`,
  ),
  base64: mixed(() => Buffer.from([random(256), random(256), random(256)]).toString("base64")),
};

const contents = { tokenizer: longcatTokenizerJson(), config: { eos_token: "</longcat_s>", chat_template: "" } };
contents.config.chat_template = "{% for m in messages %}<begin-of-user>{{ m.content }}{% endfor %}";
writeFileSync(join(folder, "tokenizer.json"), JSON.stringify(contents.tokenizer));
writeFileSync(join(folder, "tokenizer_config.json"), JSON.stringify(contents.config));
const tokenizer = await OmniTokenizer.open(folder);

const works = [];
const add = (name, run) => works.push({ name, run, results: [] });
for (const [kind, text] of Object.entries(texts)) {
  let ids;
  add(`encode ${kind}`, async () => {
    ids = await tokenizer.encode(text);
  });
  add(`decode ${kind}`, () => tokenizer.decode(ids));
}
add("encode 20,000 characters of random Chinese", () =>
  tokenizer.encode(texts["random Chinese characters"].slice(0, 20000)),
);
add("OmniTokenizer.open", () => OmniTokenizer.open(folder));
add("OmniTokenizer.from", () => OmniTokenizer.from(contents));
add("renderChat, 1 MB of English", () => tokenizer.renderChat([{ role: "user", content: texts.English }]));
add("renderChat, 1 MB of Chinese", () => tokenizer.renderChat([{ role: "user", content: texts.Chinese }]));

const { default: sharp } = await import("sharp");
const noise = Buffer.from(Uint8Array.from({ length: 4000 * 3000 * 3 }, () => random(256)));
const picture = sharp(noise, { raw: { width: 4000, height: 3000, channels: 3 } });
for (const format of ["png", "jpeg"]) {
  const file = await picture.clone().toFormat(format).toBuffer();
  add(`loadImage, ${format} of 12 MP`, () => loadImage(file));
}
const speech = readFileSync(new URL("../samples/speech.wav", import.meta.url));
add("loadAudio, the sample", () => loadAudio(speech, { sampleRate: 16000 }));
const sound = encodeWav(new Float32Array(44100 * 240).fill(0.25), 44100);
add("loadAudio, WAV of 4 min at 44.1 kHz", () => loadAudio(sound, { sampleRate: 16000 }));

add("Device.open, dispose", async () => {
  const device = await Device.open({ backend: "cpu", threads: 1 });
  await device.dispose();
});
const device = await Device.open({ backend: "cpu", threads: 1 });
const values = new Float32Array(2 ** 24).fill(0.5);
for (const dtype of ["f32", "bf16", "f16"]) {
  let tensor;
  add(`upload of 64 MiB as ${dtype}`, async () => {
    tensor?.dispose();
    tensor = await upload(device, values, [values.length], dtype);
  });
  add(`read of ${dtype}`, () => tensor.read());
  add(`toFloat32Array of ${dtype}`, () => tensor.toFloat32Array());
}

setFlagsFromString("--expose-gc");
const collectGarbage = runInNewContext("gc");
const chosen = works.filter(({ name }) => new RegExp(filter).test(name));
for (let round = 0; round < Number(rounds); round++) {
  for (const { run, results } of chosen) {
    collectGarbage();
    const delay = monitorEventLoopDelay({ resolution: 1 });
    delay.enable();
    await setTimeout(5); // the delay counts from its first tick on
    const began = threadTime();
    const turn = await longestTurn(run);
    const total = threadTime() - began;
    await setTimeout(5);
    delay.disable();
    results.push({ total, turn, delay: delay.max / 1e6 });
  }
}
const rows = chosen.map(({ name, results }) => {
  const least = (column) => Math.min(...results.map((result) => result[column])).toFixed(1);
  return [name, least("total"), least("turn"), results[0].turn.toFixed(1), least("delay")];
});
const table = formatTable(["work", "ms", "longest turn", "of the first round", "delay of the loop"], rows, true);
if (writeTable) await writeTable(table);
else process.stdout.write(`${table}\n`);
await device.dispose();
