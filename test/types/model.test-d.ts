// The types of the model's tensors and options.
import { expectTypeOf, test } from "vitest";
import type {
  AudioEncoder,
  AudioHeads,
  Checkpoint,
  Device,
  Llm,
  Message,
  OmniEmbedding,
  OmniModel,
  PartialCheckpoint,
  Rows,
  SpeechDecoder,
  TokenLogProbability,
  VisionEncoder,
  VisualTokens,
  Weights,
} from "../../lib/index.js";

declare const device: Device;
declare const weights: Weights;
declare const checkpoint: Checkpoint;
declare const model: OmniModel;
declare const Loadable: { llm: typeof Llm; speech: typeof SpeechDecoder; model: typeof OmniModel };

test("activations have their rank in the type", () => {
  expectTypeOf<ReturnType<Llm["embed"]>>().toEqualTypeOf<Rows>();
  expectTypeOf<Awaited<ReturnType<Llm["prefill"]>>>().toEqualTypeOf<Rows>();
  expectTypeOf<ReturnType<OmniEmbedding["prompt"]>>().toEqualTypeOf<Rows>();
  expectTypeOf<ReturnType<AudioEncoder["encodeSamples"]>>().toEqualTypeOf<Rows>();
  expectTypeOf<VisualTokens["tokens"]["shape"][0]>().toEqualTypeOf<number>();
  expectTypeOf<ReturnType<AudioHeads["step"]>[number]["shape"]>().toEqualTypeOf<readonly [number]>();
});

test("a module is loaded from the parts of a checkpoint, or opened from a directory", () => {
  expectTypeOf(Loadable.llm.load(weights, checkpoint.llm.config)).toEqualTypeOf<Promise<Llm>>();
  expectTypeOf(Loadable.speech.load(weights, checkpoint.codec.config)).toEqualTypeOf<Promise<SpeechDecoder>>();
  expectTypeOf(Loadable.llm.open("model", { device, kvCacheTokens: 64 })).toEqualTypeOf<Promise<Llm>>();
  // @ts-expect-error another module's configuration
  Loadable.llm.load(weights, checkpoint.codec.config);
  // @ts-expect-error the device is required
  Loadable.llm.open("model", {});
  // @ts-expect-error no such option
  Loadable.speech.open("model", { device, activations: "bf16" });
});

test("a model may lack parts of its checkpoint", async () => {
  const text = await Loadable.model.load("model", { vision: false, audio: false, speech: false });
  expectTypeOf(text.checkpoint).toEqualTypeOf<PartialCheckpoint>();
  expectTypeOf(text.checkpoint.llm).toEqualTypeOf<Checkpoint["llm"]>();
  expectTypeOf(text.checkpoint.vision).toEqualTypeOf<Checkpoint["vision"] | undefined>();
  expectTypeOf(text.vision).toEqualTypeOf<VisionEncoder>();
  // @ts-expect-error true or false
  Loadable.model.load("model", { vision: "no" });
});

test("messages contain only known parts", () => {
  const message: Message = { role: "user", content: [{ type: "text", text: "Hi" }] };
  model.generate([message], { maxTokens: 8 });
  // @ts-expect-error no such option
  model.generate([message], { maxtokens: 8 });
  // @ts-expect-error a text part has no image
  model.generate([{ role: "user", content: [{ type: "text", text: "Hi", image: "a.png" }] }]);
});

test("the spoken reply of an end event is a part of a message", async () => {
  for await (const event of model.generate([{ role: "user", content: "Hi" }], { stop: ["."], logProbabilities: 3 })) {
    if (event.type === "text") {
      expectTypeOf(event.ids).toEqualTypeOf<readonly number[]>();
      expectTypeOf(event.logProbabilities).toEqualTypeOf<readonly TokenLogProbability[] | null>();
    }
    if (event.type !== "end") continue;
    expectTypeOf(event.stopString).toEqualTypeOf<string | null>();
    // @ts-expect-error it may be null
    model.generate([{ role: "assistant", content: [event.speech] }]);
    if (event.speech) model.generate([{ role: "assistant", content: [event.speech] }]);
  }
  // @ts-expect-error one kind of stop strings only
  model.generate([], { stop: /x/ });
});
