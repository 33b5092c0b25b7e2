import { CaracalError } from "../../errors.js";
import type { PromptLimits } from "../prompt/build.js";

export interface GenerateOptions {
  /** Speak the reply as well. Default true. */
  readonly speech?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Most steps of the language model; each gives a text token, a speech frame (60 ms as published), or both. 4096. */
  readonly maxTokens?: number | undefined;
  /** Of the text; 0 takes the likeliest. Default 1. Speech always takes the likeliest code. */
  readonly temperature?: number | undefined;
  /** Draw among this many likeliest tokens; 0 for all. Default 1, the published demo's: the likeliest. */
  readonly topK?: number | undefined;
  /** Draw among the likeliest tokens that together have this probability. Default 1: all. */
  readonly topP?: number | undefined;
  /** Divides the logit of a text token once for every time that it occurs in the last 30. Default 1: off. */
  readonly repetitionPenalty?: number | undefined;
  /** The same seed, options and messages give the same reply, whatever else the model is doing. Default 0. */
  readonly seed?: number | undefined;
  /** Of the request; those of the published demo by default. */
  readonly limits?: Partial<PromptLimits> | undefined;
  /** Text-only conversations without speech: `checkpoint` uses the checkpoint's own chat template. */
  readonly template?: "omni" | "checkpoint" | undefined;
}

/** How a reply's text is drawn. */
export interface Sampling {
  readonly temperature: number;
  readonly topK: number;
  readonly topP: number;
  readonly repetitionPenalty: number;
  readonly seed: number;
}

/** The stages of a reply, in order; the last three overlap. */
export const stages = ["preprocess", "audio encoder", "vision", "prefill", "decode", "speech decoder"] as const;
export type Stage = (typeof stages)[number];

/** What went into a stage, and the time that it took. */
export interface StageUsage {
  readonly seconds: number;
  /** Tokens that came out of it (`decode`: steps; `speech decoder`: frames). */
  readonly tokens: number;
  /** Seconds of audio that it read or wrote. */
  readonly audioSeconds: number;
}

export interface ReplyUsage {
  readonly promptTokens: number;
  readonly textTokens: number;
  /** Steps of the language model. */
  readonly steps: number;
  /** Seconds of speech in the reply. */
  readonly audioSeconds: number;
  readonly stages: Readonly<Record<Stage, StageUsage>>;
  /** Seconds from the call to the first text, the first audio (null: there was none) and the end. */
  readonly firstText: number | null;
  readonly firstAudio: number | null;
  readonly total: number;
}

/** `step`: the language model's steps done when the event became possible. */
export type GenerateEvent =
  | { readonly type: "stage"; readonly stage: Stage; readonly done: number; readonly total: number }
  | { readonly type: "text"; readonly text: string; readonly tokens: number; readonly step: number }
  | {
      readonly type: "audio";
      /** In [−1, 1]. */
      readonly samples: Float32Array;
      readonly sampleRate: number;
      readonly step: number;
    }
  | {
      readonly type: "end";
      /** `stop`: the model ended its reply; `length`: `maxTokens` or the model's positions did. */
      readonly reason: "stop" | "length";
      readonly text: string;
      readonly usage: ReplyUsage;
    };

/** The options with their defaults. @throws INVALID_ARGUMENT, naming the option */
export function checkOptions(options: GenerateOptions): Sampling & { speech: boolean; maxTokens: number } {
  const { speech = true, maxTokens = 4096, temperature = 1, topK = 1, topP = 1, repetitionPenalty = 1 } = options;
  const { seed = 0, template = "omni" } = options;
  const check = (name: string, value: unknown, ok: boolean, expected: string) => {
    if (!ok) throw new CaracalError("INVALID_ARGUMENT", `${name} must be ${expected}, got ${value}`, { name, value });
  };
  check("maxTokens", maxTokens, Number.isInteger(maxTokens) && maxTokens >= 1, "a positive integer");
  check("temperature", temperature, temperature >= 0 && Number.isFinite(temperature), "a number from 0");
  check("topK", topK, Number.isInteger(topK) && topK >= 0, "an integer from 0");
  check("topP", topP, topP > 0 && topP <= 1, "above 0 and at most 1");
  const finite = Number.isFinite(repetitionPenalty);
  check("repetitionPenalty", repetitionPenalty, finite && repetitionPenalty > 0, "a positive number");
  check("seed", seed, Number.isSafeInteger(seed) && seed >= 0, "an integer from 0");
  check("template", template, template === "omni" || (template === "checkpoint" && !speech), '"omni" with speech');
  return { speech, maxTokens, temperature, topK, topP, repetitionPenalty, seed };
}
