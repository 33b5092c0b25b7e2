import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { OmniTokenizer, specialStrings } from "../../../lib/model/prompt/tokenizer.js";
import { addon } from "../../../lib/native/addon.js";
import { turnsDuring } from "../../support/turns.js";
import { tinyTokenizer, tokenizerConfig, tokenizerJson } from "./tinyTokenizer.js";

const tokenizer = await tinyTokenizer();

describe("OmniTokenizer", () => {
  it("maps the ten special strings onto <mask_110>…<mask_119>, ids 134…143", async () => {
    expect(specialStrings.map((special) => tokenizer.specialId(special))).toEqual(
      Array.from({ length: 10 }, (_, i) => 134 + i),
    );
    expect(await tokenizer.decode([134, 136, 135, 137, 2])).toBe(
      "<|audio|><|audio_pad|><|/audio|></pause></longcat_s>",
    );
  });

  it("adds no BOS or EOS, and decodes to the original text", async () => {
    const text = "USER: 你好, wörld 🙂\n\uFEFFok";
    const ids = await tokenizer.encode(text);
    expect(ids.length).toBe(Buffer.byteLength(text));
    expect(await tokenizer.decode(ids)).toBe(text);
    expect(await tokenizer.encode("")).toEqual([]);
    expect(await tokenizer.decode([])).toBe("");
  });

  it("refuses text of more ids than a list may have", async () => {
    const text = "字".repeat(2 ** 24 / 3 + 1); // three ids each
    await expect(tokenizer.encode(text)).rejects.toThrow(
      /^OmniTokenizer.encode: the text has more than 16777216 ids; /,
    );
  });

  it("refuses ids of more text than a reply could hold", async () => {
    const ids = new Uint32Array(2 ** 22).fill(tokenizer.specialId("<begin-of-voice-assistant>"));
    await expect(tokenizer.decode(ids)).rejects.toThrow(/ids must be ids of at most 67108864 characters/);
  });

  it("knows control tokens by name", () => {
    expect(tokenizer.specialId("</longcat_s>")).toBe(2);
    expect(tokenizer.specialId("<mask_113>")).toBe(137);
    expect(() => tokenizer.specialId("<nonsense>")).toThrow(/no control token "<nonsense>"/);
  });

  it("skips ids that have no token", async () => {
    expect(await tokenizer.decode([...(await tokenizer.encode("a")), 100000, ...(await tokenizer.encode("b"))])).toBe(
      "ab",
    );
    expect(await tokenizer.decode([100000])).toBe("");
  });

  it("refuses what is no text or no list of ids", async () => {
    const refused = expect.objectContaining({ code: "INVALID_ARGUMENT" });
    for (const text of [null, undefined, 5, {}, ["a"]]) {
      await expect(tokenizer.encode(text as never)).rejects.toThrow(refused);
    }
    const lists = [null, undefined, 5, {}, "12", ["a"], [1.5], [Number.NaN], [null], new Array(1)];
    for (const ids of lists) await expect(tokenizer.decode(ids as never)).rejects.toThrow(refused);
    await expect(tokenizer.decode([1, "a"] as never)).rejects.toThrow('ids[1] must be an integer, got "a"');
    await expect(tokenizer.encode("a", { abort: true } as never)).rejects.toThrow(/no option "abort"/);
    expect(await tokenizer.decode([-1, 1e9])).toBe("");
    const [id] = await tokenizer.encode("a");
    let reads = 0;
    const growing = new Proxy([id!], { get: (list, key) => (key === "length" ? ++reads : Reflect.get(list, 0)) });
    expect(await tokenizer.decode(growing)).toBe("a");
    expect(await tokenizer.decode(Int32Array.from(await tokenizer.encode("ab")))).toBe("ab");
  });

  it("has the end-of-text token", () => {
    expect([tokenizer.endText, tokenizer.endId]).toEqual(["</longcat_s>", 2]);
  });

  it("refuses a vocabulary with another id for </pause>, or without a mask entry", async () => {
    const from = (tokenizer: Record<string, unknown>, others: object = {}) =>
      OmniTokenizer.from({ tokenizer, config: tokenizerConfig, ...others });
    await expect(from(tokenizerJson(23), { source: "x/tokenizer.json" })).rejects.toThrow(
      /x\/tokenizer.json: expected <\/pause> \(<mask_113>\) to have id 137, got 136/,
    );
    const json = tokenizerJson();
    json.added_tokens = (json.added_tokens as { content: string }[]).filter(({ content }) => content !== "<mask_118>");
    await expect(from(json)).rejects.toThrow(/no entry "<mask_118>"/);
    await expect(from({})).rejects.toThrow(/decoder.type is missing/);
    await expect(from(json, { sources: "x" })).rejects.toThrow(/no option "sources": did you mean "source"/);
    await expect(from(json, { chatTemplate: 5 })).rejects.toThrow(/chatTemplate must be a string, got 5/);
  });
});

describe("text is only text", () => {
  const controls = new Set(Array.from({ length: 152 }, (_, id) => id));

  it.each([...specialStrings, "<longcat_s>", "</longcat_s>", "<longcat_pad>", "<mask_113>", "<mask_118>"])(
    "%s is spelt with ordinary ids, and decodes to itself",
    async (name) => {
      const text = `see ${name}${name}!`;
      const ids = await tokenizer.encode(text);
      expect(ids.length).toBe(text.length);
      expect(ids.filter((id) => controls.has(id))).toEqual([]);
      expect(await tokenizer.decode(ids)).toBe(text);
      const stream = tokenizer.stream();
      expect(ids.map((id) => stream.push(id)).join("") + stream.end()).toBe(text);
    },
  );

  it("entries that look like control tokens, but are none, keep their ids", async () => {
    const json = tokenizerJson();
    const model = json.model as { vocab: Record<string, number>; merges: unknown[] };
    Object.assign(model.vocab, { "<?": 500, "<?>": 501 });
    model.merges = ["< ?", ["<?", ">"]];
    const withEntry = await OmniTokenizer.from({ tokenizer: json, config: tokenizerConfig });
    expect(await withEntry.encode("a<?>")).toEqual([(await tokenizer.encode("a"))[0], 501]);
    expect(await withEntry.decode([501])).toBe("<?>");
    expect(() => withEntry.specialId("<?>")).toThrow(/no control token/);
  });
});

describe("the event loop has turns while the tokenizer", () => {
  it("reads a large vocabulary", async () => {
    const json = tokenizerJson();
    const model = json.model as { vocab: Record<string, number>; merges: unknown[] };
    const entries = ["a"];
    for (let i = 1; i < 20_000; i++) {
      const merge = [entries[i >> 1]!, i % 2 ? "b" : "c"] as const;
      model.vocab[merge.join("")] = 1000 + i;
      model.merges.push(merge);
      entries.push(merge.join(""));
    }
    const opening = () => OmniTokenizer.from({ tokenizer: json, config: tokenizerConfig });
    // its entries, its entries once more, and its merges
    const turns = 2 * Math.floor(20_000 / 4096) + Math.floor(20_000 / 1024);
    expect(await turnsDuring(opening)).toBeGreaterThanOrEqual(turns);
    expect(await (await opening()).encode("abc")).toEqual([1002]);
  });

  it("encodes and decodes, and an abort ends both", async () => {
    const text = "long text ".repeat(5000);
    const ids = await tokenizer.encode(text);
    expect(await turnsDuring(() => tokenizer.encode(text))).toBeGreaterThanOrEqual(Math.floor(50_000 / 4096));
    expect(await turnsDuring(() => tokenizer.decode(ids))).toBeGreaterThan(50_000 / 4096);
    expect(await tokenizer.decode(ids)).toBe(text);
    const signal = AbortSignal.abort();
    await expect(tokenizer.encode("a", { signal })).rejects.toMatchObject({ code: "ABORTED" });
    await expect(tokenizer.decode(ids, { signal })).rejects.toMatchObject({ code: "ABORTED" });
  });
});

it.each([
  ["short words", "a 的 "],
  ["one word", "a"],
  ["spaces", " "],
  ["characters of two halves", "🙂"],
])("no step of encoding %s is long", async (_, unit) => {
  const text = unit.repeat(2 ** 18 / unit.length);
  const calls = vi.spyOn(addon(), "encodeWords");
  const steps = tokenizer.encodeSteps(text, []);
  let most = 0; // calls between two yields
  for (let done: boolean | undefined = false; !done; ) {
    const before = calls.mock.calls.length;
    done = steps.next().done;
    most = Math.max(most, calls.mock.calls.length - before);
  }
  const sizes = calls.mock.calls.map(([, limit, piece]) => Math.max(limit, piece?.length ?? 0));
  calls.mockRestore();
  expect(most).toBeLessThanOrEqual(1);
  expect(Math.max(...sizes)).toBeLessThanOrEqual(4096);
  expect(sizes.length).toBeGreaterThanOrEqual(2 ** 18 / 4096);
});

describe("TokenStream", async () => {
  const text = "añ你🙂 </pause>.é\u0301x";
  const ids = [
    ...(await tokenizer.encode("añ你🙂 ")),
    tokenizer.specialId("</pause>"),
    ...(await tokenizer.encode(".é\u0301x")),
  ];

  it("never splits a character, and its pieces join to the whole text", () => {
    const stream = tokenizer.stream();
    const pieces = ids.map((id) => stream.push(id));
    expect(pieces.every((piece) => !piece.includes("\uFFFD"))).toBe(true);
    expect(pieces.join("") + stream.end()).toBe(text);
    expect(pieces[0]).toBe("a");
  });

  it("shows an incomplete character only at the end, and rolls back", async () => {
    const stream = tokenizer.stream();
    const [first, ...others] = await tokenizer.encode("🙂");
    expect(stream.push(first!)).toBe("");
    const snapshot = JSON.parse(JSON.stringify(stream.snapshot()));
    expect(stream.end()).toBe("\uFFFD");
    stream.restore(snapshot);
    expect(others.map((id) => stream.push(id)).join("")).toBe("🙂");
  });

  it("decodes bytes that are no text like a whole, before and after a control token", async () => {
    const [e4, bd] = await tokenizer.encode("你");
    const broken = [e4!, e4!, bd!, tokenizer.specialId("</pause>"), bd!, ...(await tokenizer.encode("a")), e4!];
    const stream = tokenizer.stream();
    const pieces = broken.map((id) => stream.push(id));
    expect(pieces).toEqual(["", "\uFFFD", "", "\uFFFD</pause>", "\uFFFD", "a", ""]);
    expect(stream.end()).toBe("\uFFFD");
    expect(await tokenizer.decode(broken)).toBe("\uFFFD\uFFFD</pause>\uFFFDa\uFFFD");
  });

  it("skips ids without a token", async () => {
    const stream = tokenizer.stream();
    expect([
      stream.push((await tokenizer.encode("a"))[0]!),
      stream.push(99999),
      stream.push((await tokenizer.encode("b"))[0]!),
    ]).toEqual(["a", "", "b"]);
  });
});

describe("OmniTokenizer.open", () => {
  let directory = "";
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), "caracal-tokenizer-"));
  });
  afterAll(() => rm(directory, { recursive: true }));

  it("reads a directory, and names missing or broken files", async () => {
    await expect(OmniTokenizer.open(directory)).rejects.toThrow(/tokenizer\.json: no such file/);
    await writeFile(join(directory, "tokenizer.json"), JSON.stringify(tokenizerJson()));
    await writeFile(join(directory, "tokenizer_config.json"), "{ nonsense");
    await expect(OmniTokenizer.open(directory)).rejects.toMatchObject({
      code: "CHECKPOINT_INVALID",
      message: expect.stringContaining("tokenizer_config.json: not JSON"),
    });
    await writeFile(join(directory, "tokenizer_config.json"), JSON.stringify(tokenizerConfig));
    await writeFile(join(directory, "chat_template.jinja"), "{{ messages[0].content }}!");
    const tokenizer = await OmniTokenizer.open(directory);
    expect(await tokenizer.renderChat([{ role: "user", content: "Hi" }])).toEqual(["Hi!"]);
    await expect(OmniTokenizer.open(directory, { device: 1 } as never)).rejects.toThrow(/no option "device"/);
    const signal = AbortSignal.abort();
    await expect(OmniTokenizer.open(directory, { signal })).rejects.toMatchObject({ code: "ABORTED" });
  });
});
