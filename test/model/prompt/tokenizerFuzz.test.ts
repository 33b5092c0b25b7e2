import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test, vi } from "vitest";
import { CaracalError } from "../../../lib/errors.js";
import { OmniTokenizer } from "../../../lib/model/prompt/tokenizer.js";
import { fuzz } from "../../checkpoint/fuzz.js";
import { uniform } from "../../support/numbers.js";
import { publishedWords } from "./publishedWords.js";
import { tokenizerConfig, tokenizerJson } from "./tinyTokenizer.js";

/** How long each test looks for a failure. */
const milliseconds = 1000 * Number(process.env.CARACAL_FUZZ_SECONDS ?? 0.5);

vi.setConfig({ testTimeout: milliseconds + 30_000 });

const directory = mkdtempSync(join(tmpdir(), "caracal-tokenizer-fuzz-"));
afterAll(() => rmSync(directory, { recursive: true }));

const bytesOf = (json: unknown) => Buffer.from(JSON.stringify(json));
const merges = [["a", "b"], "ab c", ["Ġ", "a"]];
const vocab = { ...(tokenizerJson().model as { vocab: object }).vocab, ab: 600, abc: 601, Ġa: 602 };
const model = { ...(tokenizerJson().model as object), vocab, merges };
const valid = {
  "tokenizer.json": { ...tokenizerJson(), model, pre_tokenizer: publishedWords },
  "tokenizer_config.json": { ...tokenizerConfig, chat_template: [{ name: "default", template: "x" }] },
};

/** Opens the directory with one file replaced; a tokenizer that opens must work. */
function opening(file: keyof typeof valid) {
  return async (bytes: Buffer): Promise<void> => {
    for (const [name, json] of Object.entries(valid)) writeFileSync(join(directory, name), bytesOf(json));
    writeFileSync(join(directory, file), bytes);
    const tokenizer = await OmniTokenizer.open(directory).catch((error: unknown) => {
      if (error instanceof CaracalError) expect(error.message).toContain(join(directory, "tokenizer"));
      throw error;
    });
    const text = "abc ab, 你好 </longcat_s>";
    expect(await tokenizer.decode(await tokenizer.encode(text))).toBe(text);
  };
}

const values = [null, true, 0, -1, 1.5, 1e300, 137, "", "a", "</longcat_s>", "x".repeat(1000), "\uD800", [], {}, [[]]];

/** A copy of `json` in which one value, at a random place, is replaced, removed or doubled. */
function mutate(json: unknown, below: (n: number) => number): unknown {
  const copy = structuredClone(json);
  let owner = { json: copy } as Record<string, unknown>;
  let key = "json";
  for (;;) {
    const value = owner[key];
    const keys = typeof value === "object" && value !== null ? Object.keys(value) : [];
    if (keys.length === 0 || (owner !== copy && key !== "json" && below(3) === 0)) break;
    owner = value as Record<string, unknown>;
    key = keys[below(keys.length)]!;
  }
  const kind = below(4);
  if (kind === 0) delete owner[key];
  else if (kind === 1 && Array.isArray(owner)) owner.push(owner[key]);
  else if (kind === 2) owner[`${key}x`] = owner[key];
  else owner[key] = values[below(values.length)];
  return copy;
}

describe.each(["tokenizer.json", "tokenizer_config.json"] as const)(
  "%s, damaged, opens or is refused by name",
  (file) => {
    test("in its bytes", async () => {
      const counts = await fuzz([bytesOf(valid[file])], opening(file), milliseconds);
      expect(counts.refused).toBeGreaterThan(0);
    });

    test("in its values", async () => {
      const random = uniform(20261130);
      const below = (n: number) => Math.floor(((random() + 1) / 2) * n);
      const open = opening(file);
      let opened = 0;
      for (const end = performance.now() + milliseconds; performance.now() < end; ) {
        const bytes = bytesOf(mutate(valid[file], below));
        try {
          await open(bytes);
          opened++;
        } catch (error) {
          if (!(error instanceof CaracalError && error.code === "CHECKPOINT_INVALID"))
            throw new Error(`not a CHECKPOINT_INVALID, for ${bytes}`, { cause: error });
        }
      }
      expect(opened).toBeGreaterThan(0);
    });
  },
);
