import { createHash } from "node:crypto";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { type OmniLoadOptions, OmniModel } from "../../../lib/model/omni.js";
import type { Message, Part } from "../../../lib/model/prompt/messages.js";
import type { GenerateEvent } from "../../../lib/model/reply/events.js";
import { backends } from "../../support/modelDevices.js";
import { tinyDirectory } from "../tinyModel.js";

const directory = await tinyDirectory(2);
const sample = (name: string) => fileURLToPath(new URL(`../../../samples/${name}`, import.meta.url));
const text = (words: string): Part => ({ type: "text", text: words });

/** What the user says in each turn. */
const turns: readonly (readonly Part[])[] = [
  [{ type: "image", image: sample("photo.jpg") }, text("What do you see in this picture? ".repeat(8))],
  [{ type: "audio", audio: sample("speech.wav") }],
  [text("Please say that again, and more slowly. ".repeat(4))],
  [text("Thank you")],
];

/** A reply to the bit: its ids, log-probabilities, codes and samples. */
async function answer(model: OmniModel, messages: readonly Message[], seed: number) {
  const events: GenerateEvent[] = [];
  const options = { maxTokens: 6, temperature: 0.9, topK: 20, seed, logProbabilities: 20 };
  for await (const event of model.generate(messages, options)) events.push(event);
  const hash = createHash("sha256");
  for (const event of events) if (event.type === "audio") hash.update(event.samples);
  const { type: _, usage, ...content } = events.at(-1) as GenerateEvent & { type: "end" };
  return { content, samples: hash.digest("hex"), usage };
}

type Answer = Awaited<ReturnType<typeof answer>>;

/** A conversation of all turns: each has the replies before it in its history. */
async function converse(model: OmniModel): Promise<Answer[]> {
  const messages: Message[] = [{ role: "system", content: "You are helpful, harmless and honest. ".repeat(3) }];
  const answers: Answer[] = [];
  for (const [i, content] of turns.entries()) {
    messages.push({ role: "user", content });
    const reply = await answer(model, messages, i);
    answers.push(reply);
    messages.push({ role: "assistant", content: reply.content.speech ? [reply.content.speech] : reply.content.text });
  }
  return answers;
}

describe.each(backends)("the turns of a conversation on $name", (device) => {
  test.each<OmniLoadOptions>([{ activations: "f32" }, { activations: "bf16", prefillChunk: 48 }])(
    "have the bits that they have without the prefix cache: %o",
    { timeout: 600_000 },
    async (options) => {
      const given = { device, kvCacheTokens: 2048, ...options };
      await using plain = await OmniModel.load(directory, { ...given, prefixCache: false, prefillChunk: 512 });
      const expected = await converse(plain);
      expect(expected.some(({ content }) => content.speech)).toBe(true);
      expect(plain.stats().cache.cached).toBe(0);
      await using model = await OmniModel.load(directory, given);
      const turn = await converse(model);
      const bits = (answers: readonly Answer[]) => answers.map(({ content, samples }) => ({ content, samples }));
      expect(bits(turn)).toEqual(bits(expected));
      const prompts = turn.map(({ usage }) => usage.promptTokens);
      const whole = (rows: number) => Math.floor(rows / 64) * 64;
      expect(turn.map(({ usage }) => usage.cachedTokens)).toEqual([0, ...prompts.slice(0, -1).map(whole)]);
      expect(prompts[0]).toBeGreaterThan(128);
      expect(expected.map(({ usage }) => usage.cachedTokens)).toEqual([0, 0, 0, 0]);
      for (const [i, { usage }] of turn.entries()) {
        const { stages, promptTokens, cachedTokens } = usage;
        expect(stages.prefill.tokens).toBe(promptTokens - cachedTokens);
        for (const stage of ["audio encoder", "vision", "decode", "speech decoder"] as const)
          expect(stages[stage].tokens).toBe(expected[i]!.usage.stages[stage].tokens);
      }
    },
  );
});
