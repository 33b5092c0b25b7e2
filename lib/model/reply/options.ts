import { CaracalError } from "../../errors.js";
import { checkOptionNames } from "../../options.js";
import { defaultPromptLimits, type PromptLimits } from "../prompt/build.js";

export interface GenerateOptions {
  /** Whether to speak the reply as well. Default true. */
  readonly speech?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
  /**
   * Upper bound on the steps of the language model. Each step gives a text token, a speech frame (60 ms as published),
   * or both. Default 4096.
   */
  readonly maxTokens?: number | undefined;
  /** Temperature of the text; 0 takes the likeliest token. Default 1. Speech always takes the likeliest code. */
  readonly temperature?: number | undefined;
  /** Samples from this many likeliest tokens; 0 means all. Default 1, as in the published demo: the likeliest token. */
  readonly topK?: number | undefined;
  /** Samples from the likeliest tokens that together have this probability. Default 1: all tokens. */
  readonly topP?: number | undefined;
  /** Divides the logit of a text token once per occurrence in the last 30 tokens. Default 1: off. */
  readonly repetitionPenalty?: number | undefined;
  /** The same seed, options and messages give the same reply, whatever else the model computes. Default 0. */
  readonly seed?: number | undefined;
  /** Bounds on the request. Default: those of the published demo. */
  readonly limits?: Partial<PromptLimits> | undefined;
  /** `checkpoint` uses the checkpoint's own chat template, for text-only conversations without speech. */
  readonly template?: "omni" | "checkpoint" | undefined;
}
const generateOptions = {
  speech: true,
  signal: true,
  maxTokens: true,
  temperature: true,
  topK: true,
  topP: true,
  repetitionPenalty: true,
  seed: true,
  limits: true,
  template: true,
} satisfies Record<keyof GenerateOptions, true>;

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
export function checkOptions(options: GenerateOptions): Sampling & { speech: boolean; maxTokens: number } {
  checkOptionNames("generate", options, generateOptions);
  checkOptionNames("generate: limits", options.limits, defaultPromptLimits);
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
