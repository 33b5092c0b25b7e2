import { CaracalError } from "../../errors.js";
import {
  checkOptions,
  type OptionRule,
  oneOf,
  optional,
  positiveInteger,
  positiveNumber,
  wholeNumber,
} from "../../options.js";
import { type PromptLimits, promptLimitRules } from "../prompt/build.js";

/** Options of `OmniModel.generate`. */
export interface GenerateOptions {
  /** Whether to speak the reply as well. Default true. */
  readonly speech?: boolean | undefined;
  /** Ends the reply with `ABORTED`. Any object with `aborted` and `addEventListener` does, such as a polyfill's signal. */
  readonly signal?: AbortSignal | undefined;
  /**
   * Upper bound on the steps of the language model. Each step gives a text token, a speech frame (60 ms as published),
   * or both. Default 4096.
   */
  readonly maxTokens?: number | undefined;
  /**
   * Temperature of the text; 0 takes the likeliest token. Default 1. Given without `topK`, it samples from all tokens.
   * Speech always takes the likeliest code.
   */
  readonly temperature?: number | undefined;
  /**
   * Samples from this many likeliest tokens; 0 means all. Default: 1, as in the published demo, which takes the likeliest
   * token; 0 if `temperature` or `topP` is given.
   */
  readonly topK?: number | undefined;
  /** Samples from the likeliest tokens that together have this probability. Default 1: all tokens of `topK`. */
  readonly topP?: number | undefined;
  /**
   * Divides the logit of a text token once per occurrence in the last 30 tokens. Default 1: off. Another value is refused
   * unless the text is sampled, because the published code penalises no text that it does not sample.
   */
  readonly repetitionPenalty?: number | undefined;
  /** The same seed, options and messages give the same reply, whatever else the model computes. Default 0. */
  readonly seed?: number | undefined;
  /** Bounds on the request. Default: those of the published demo. */
  readonly limits?: Partial<PromptLimits> | undefined;
  /**
   * `checkpoint` uses the checkpoint's own chat template, for text-only conversations without speech. It may come out
   * unlike Python's: see `OmniTokenizer.renderChat`.
   */
  readonly template?: "omni" | "checkpoint" | undefined;
}
const number = (accepts: (value: number) => boolean, expected: string): OptionRule => {
  return optional({ accepts: (value) => typeof value === "number" && accepts(value), expected });
};
const generateOptions = {
  speech: optional(oneOf(true, false)),
  signal: true,
  maxTokens: optional(positiveInteger),
  temperature: number((value) => value >= 0 && Number.isFinite(value), "a number from 0"),
  topK: optional(wholeNumber),
  topP: number((value) => value > 0 && value <= 1, "above 0 and at most 1"),
  repetitionPenalty: optional(positiveNumber),
  seed: optional(wholeNumber),
  limits: true,
  template: optional(oneOf("omni", "checkpoint")),
} satisfies Record<keyof GenerateOptions, OptionRule | true>;

/** How a reply's text is sampled. */
export interface Sampling {
  readonly temperature: number;
  readonly topK: number;
  readonly topP: number;
  readonly repetitionPenalty: number;
  readonly seed: number;
}

/**
 * Returns the options with their defaults.
 * @throws {CaracalError} `INVALID_ARGUMENT`, naming the option, when one is unknown or out of range
 */
export function checkGenerateOptions(options: GenerateOptions): Sampling & { speech: boolean; maxTokens: number } {
  checkOptions("generate", options, generateOptions);
  checkOptions("generate: limits", options.limits, promptLimitRules);
  const { speech = true, maxTokens = 4096, temperature = 1, topP = 1, repetitionPenalty = 1, seed = 0 } = options;
  const { topK = options.temperature === undefined && options.topP === undefined ? 1 : 0 } = options;
  if (speech && options.template === "checkpoint")
    throw new CaracalError("INVALID_ARGUMENT", 'generate: template must be "omni" unless speech is false');
  if (repetitionPenalty !== 1 && (topK === 1 || temperature === 0)) {
    const message =
      "generate: repetitionPenalty acts on sampled text only: give a temperature above 0, topP or topK, too";
    throw new CaracalError("INVALID_ARGUMENT", message, { repetitionPenalty, temperature, topK });
  }
  return { speech, maxTokens, temperature, topK, topP, repetitionPenalty, seed };
}
