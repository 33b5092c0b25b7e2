import { CaracalError } from "../../errors.js";
import {
  checkOptions,
  type OptionRule,
  oneOf,
  optional,
  plainList,
  positiveInteger,
  positiveNumber,
  wholeNumber,
} from "../../options.js";
import { type PromptLimits, promptLimitRules } from "../prompt/limits.js";

/** Options of `OmniModel.generate`. */
export interface GenerateOptions {
  /** Whether to speak the reply as well. Default: true, if the model was loaded with speech. */
  readonly speech?: boolean | undefined;
  /** Ends the reply with `ABORTED`. Any object with `aborted` and `addEventListener` does, such as a polyfill's signal. */
  readonly signal?: AbortSignal | undefined;
  /**
   * Upper bound on the steps of the language model. Each step gives a text token, a speech frame (60 ms as published),
   * or both. Default 4096.
   */
  readonly maxTokens?: number | undefined;
  /**
   * Up to 16 strings of 1 to 256 characters. The text ends before the one that is complete first, which may span tokens;
   * white space at the beginning of the reply does not count. Text that may begin one is held back. The reply ends at
   * that step: its speech is given as far as it got, so it may lack the last words of the text.
   */
  readonly stop?: string | readonly string[] | undefined;
  /**
   * Gives the log-probability of each text token in the `text` and `end` events, with those of this many likeliest tokens,
   * 0 to 20; `true` means 0. They are those of the model's own distribution, before `temperature`, `topK`, `topP` and
   * `repetitionPenalty`. Default: none.
   */
  readonly logProbabilities?: boolean | number | undefined;
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
const isStop = (value: unknown) => typeof value === "string" && value !== "" && value.length <= 256;
const stopRule: OptionRule = {
  accepts: (value) => isStop(value) || (Array.isArray(value) && value.length <= 16 && plainList(value).every(isStop)),
  expected: "a string of 1 to 256 characters, or a list of up to 16 of them",
};
const logProbabilitiesRule: OptionRule = {
  accepts: (value) => typeof value === "boolean" || (wholeNumber.accepts(value) && (value as number) <= 20),
  expected: "true, false or a whole number from 0 to 20",
};
const generateOptions = {
  speech: optional(oneOf(true, false)),
  signal: true,
  maxTokens: optional(positiveInteger),
  stop: optional(stopRule),
  logProbabilities: optional(logProbabilitiesRule),
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

/** The options of a reply, with their defaults. */
export interface CheckedOptions extends Sampling {
  readonly speech: boolean;
  readonly maxTokens: number;
  readonly stops: readonly string[];
  /** null: no log-probabilities. */
  readonly logProbabilities: number | null;
}

/**
 * Returns the options with their defaults.
 * @throws {CaracalError} `INVALID_ARGUMENT`, naming the option, when one is unknown or out of range
 */
export function checkGenerateOptions(options: GenerateOptions): CheckedOptions {
  checkOptions("generate", options, generateOptions);
  checkOptions("generate: limits", options.limits, promptLimitRules);
  const { speech = true, maxTokens = 4096, temperature = 1, topP = 1, repetitionPenalty = 1, seed = 0 } = options;
  const { stop = [], logProbabilities: top = false } = options;
  const { topK = options.temperature === undefined && options.topP === undefined ? 1 : 0 } = options;
  if (speech && options.template === "checkpoint")
    throw new CaracalError("INVALID_ARGUMENT", 'generate: template must be "omni" unless speech is false');
  if (repetitionPenalty !== 1 && (topK === 1 || temperature === 0)) {
    const message =
      "generate: repetitionPenalty acts on sampled text only: give a temperature above 0, topP or topK, too";
    throw new CaracalError("INVALID_ARGUMENT", message, { repetitionPenalty, temperature, topK });
  }
  const stops = typeof stop === "string" ? [stop] : plainList(stop);
  const logProbabilities = top === false ? null : Number(top === true ? 0 : top);
  return { speech, maxTokens, stops, logProbabilities, temperature, topK, topP, repetitionPenalty, seed };
}
