import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { OmniTokenizer, specialStrings } from "../../../lib/model/prompt/tokenizer.js";
import { tinyTokenizer, tokenizerConfig, tokenizerJson } from "./tinyTokenizer.js";

describe("OmniTokenizer", () => {
  const tokenizer = tinyTokenizer();

  it("maps the ten special strings onto <mask_110>…<mask_119>, ids 134…143", () => {
    expect(specialStrings.map((special) => tokenizer.specialId(special))).toEqual(
      Array.from({ length: 10 }, (_, i) => 134 + i),
    );
    expect(tokenizer.encode("<|audio|><|audio_pad|><|/audio|>")).toEqual([134, 136, 135]);
    expect(tokenizer.decode([134, 136, 135, 137, 2])).toBe("<|audio|><|audio_pad|><|/audio|></pause></longcat_s>");
  });

  it("adds no BOS or EOS, and decodes to the original text", () => {
    const text = "USER: 你好, wörld 🙂\n</pause>ok";
    const ids = tokenizer.encode(text);
    expect(ids.length).toBe(Buffer.byteLength("USER: 你好, wörld 🙂\n") + 1 + 2);
    expect(tokenizer.decode(ids)).toBe(text);
    expect(tokenizer.encode("")).toEqual([]);
    expect(tokenizer.decode([])).toBe("");
  });

  it("skips ids that have no token", () => {
    expect(tokenizer.decode([...tokenizer.encode("a"), 100000, ...tokenizer.encode("b")])).toBe("ab");
    expect(tokenizer.decode([100000])).toBe("");
  });

  it("has the end-of-text token", () => {
    expect([tokenizer.endText, tokenizer.endId]).toEqual(["</longcat_s>", 2]);
  });

  it("refuses a vocabulary with another id for </pause>, or without a mask entry", () => {
    expect(() => new OmniTokenizer(tokenizerJson(23), tokenizerConfig, "x/tokenizer.json")).toThrow(
      /x\/tokenizer.json: expected <\/pause> \(<mask_113>\) to have id 137, got 136/,
    );
    const json = tokenizerJson();
    json.added_tokens = (json.added_tokens as { content: string }[]).filter(({ content }) => content !== "<mask_118>");
    expect(() => new OmniTokenizer(json, tokenizerConfig)).toThrow(/no entry <mask_118>/);
    expect(() => new OmniTokenizer({}, tokenizerConfig)).toThrow(/not a usable tokenizer/);
  });
});

describe("TokenStream", () => {
  const tokenizer = tinyTokenizer();
  const text = "añ你🙂 </pause>.é\u0301x";

  it("never splits a character, and its pieces join to the whole text", () => {
    const stream = tokenizer.stream();
    const pieces = tokenizer.encode(text).map((id) => stream.push(id));
    expect(pieces.every((piece) => !piece.includes("\uFFFD"))).toBe(true);
    expect(pieces.join("") + stream.end()).toBe(text);
    expect(pieces[0]).toBe("a");
  });

  it("shows an incomplete character only at the end, and rolls back", () => {
    const stream = tokenizer.stream();
    const [first, ...others] = tokenizer.encode("🙂");
    expect(stream.push(first!)).toBe("");
    const snapshot = JSON.parse(JSON.stringify(stream.snapshot()));
    expect(stream.end()).toBe("\uFFFD");
    stream.restore(snapshot);
    expect(others.map((id) => stream.push(id)).join("")).toBe("🙂");
  });

  it("skips ids without a token", () => {
    const stream = tokenizer.stream();
    expect([
      stream.push(tokenizer.encode("a")[0]!),
      stream.push(99999),
      stream.push(tokenizer.encode("b")[0]!),
    ]).toEqual(["a", "", "b"]);
  });
});

describe("chat template", () => {
  const messages = [{ role: "user", content: "Hi" }];
  const template =
    "{% for m in messages %}[Round {{ loop.index0 }}] {{ m.role|upper }}:{{ m.content }} {% endfor %}" +
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}{{ eos_token }}";

  it("renders the checkpoint's own template", () => {
    const tokenizer = tinyTokenizer({ ...tokenizerConfig, chat_template: template });
    expect(tokenizer.renderChat(messages)).toBe("[Round 0] USER:Hi ASSISTANT:</longcat_s>");
    expect(tokenizer.renderChat(messages, { add_generation_prompt: false })).toBe("[Round 0] USER:Hi </longcat_s>");
    const named = tinyTokenizer({ ...tokenizerConfig, chat_template: [{ name: "default", template: "x" }] });
    expect(named.renderChat(messages)).toBe("x");
  });

  it("reports a missing or failing template", () => {
    expect(() => tinyTokenizer().renderChat(messages)).toThrow(/no chat template/);
    const broken = tinyTokenizer({ ...tokenizerConfig, chat_template: "{% for" });
    expect(() => broken.renderChat(messages)).toThrow(/chat template fails/);
  });
});

describe("OmniTokenizer.open", () => {
  let directory = "";
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), "caracal-tokenizer-"));
  });
  afterAll(() => rm(directory, { recursive: true }));

  it("reads a directory, and names missing or broken files", async () => {
    await expect(OmniTokenizer.open(directory)).rejects.toThrow(/cannot read .*tokenizer(_config)?\.json/);
    await writeFile(join(directory, "tokenizer.json"), JSON.stringify(tokenizerJson()));
    await writeFile(join(directory, "tokenizer_config.json"), "{ nonsense");
    await expect(OmniTokenizer.open(directory)).rejects.toMatchObject({ code: "CHECKPOINT_INVALID" });
    await writeFile(join(directory, "tokenizer_config.json"), JSON.stringify(tokenizerConfig));
    await writeFile(join(directory, "chat_template.jinja"), "{{ messages[0].content }}!");
    const tokenizer = await OmniTokenizer.open(directory);
    expect(tokenizer.renderChat([{ role: "user", content: "Hi" }])).toBe("Hi!");
    await expect(OmniTokenizer.open(directory, { device: 1 } as never)).rejects.toThrow(/no option "device"/);
    const signal = AbortSignal.abort();
    await expect(OmniTokenizer.open(directory, { signal })).rejects.toMatchObject({ code: "ABORTED" });
  });
});
