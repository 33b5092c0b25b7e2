import { CaracalError } from "../../errors.js";
import { type OptionRule, optional, positiveInteger, positiveNumber } from "../../options.js";
import { type AudioFraming, audioTokenCount } from "../audio/framing.js";
import { unitCount, type VisionSource } from "../vision/plan.js";
import type { LoadedPart } from "./messages.js";

/** Upper bounds on a request: positive, and those of tokens and pixels whole. */
export interface PromptLimits {
  /** Tokens of the whole prompt. */
  readonly sequenceTokens: number;
  /** Visual tokens: all images and videos together are squeezed to fit. */
  readonly visionTokens: number;
  /** Pixels of all images together, which are in memory at the same time, with 3 bytes each. */
  readonly imagePixels: number;
  /** Length of each audio part in seconds. */
  readonly audioSeconds: number;
}

/** @internal The values that the limits take. */
export const promptLimitRules = {
  sequenceTokens: optional(positiveInteger),
  visionTokens: optional(positiveInteger),
  imagePixels: optional(positiveInteger),
  audioSeconds: optional(positiveNumber),
} satisfies Record<keyof PromptLimits, OptionRule>;

/** The limits of the published demo, which has none of pixels. */
export const defaultPromptLimits: PromptLimits = {
  sequenceTokens: 34816,
  visionTokens: 28672,
  imagePixels: 2 ** 28,
  audioSeconds: 120,
};

/** The limits with their defaults; an undefined limit takes its default too. */
export function withDefaults(limits: Partial<PromptLimits> = {}): PromptLimits {
  const given = Object.entries(limits).filter(([, value]) => value !== undefined);
  return { ...defaultPromptLimits, ...Object.fromEntries(given) };
}

/** Adds up the decoded media of a prompt: small files may hold so much that their sum must be limited while they are read. */
export class MediaBudget {
  readonly #limits: PromptLimits;
  readonly #framing: AudioFraming;
  #pixels = 0;
  #units = 0;
  #audioTokens = 0;

  constructor(limits: PromptLimits, framing: AudioFraming) {
    this.#limits = limits;
    this.#framing = framing;
  }

  /** @throws {CaracalError} `INVALID_ARGUMENT` when the media so far exceed a limit of the prompt */
  add(part: LoadedPart, name: string): void {
    const { imagePixels, sequenceTokens } = this.#limits;
    if (part.type === "image") this.#pixels += part.image.width * part.image.height;
    if (this.#pixels > imagePixels)
      throw exceeded(
        `with ${name}, the images have ${this.#pixels} pixels, at most ${imagePixels} are possible together; ` +
          "scale them down, or raise limits.imagePixels",
        { pixels: this.#pixels, limit: imagePixels },
      );
    const source = visionSource(part);
    if (source) this.#units += unitCount(source);
    if (this.#units > sequenceTokens)
      throw exceeded(
        `with ${name}, there are ${this.#units} images and frame pairs of videos, each of at least one token, and the ` +
          `whole prompt has at most ${sequenceTokens} (limits.sequenceTokens); send fewer`,
        { units: this.#units, limit: sequenceTokens },
      );
    const samples = part.type === "audio" || part.type === "video" ? part.samples : null;
    if (samples) this.#audioTokens += audioTokenCount(samples.length, this.#framing);
    if (this.#audioTokens > sequenceTokens)
      throw exceeded(
        `with ${name}, the sound has ${this.#audioTokens} tokens, the whole prompt at most ${sequenceTokens} ` +
          "(limits.sequenceTokens); shorten the conversation or its media",
        { tokens: this.#audioTokens, limit: sequenceTokens },
      );
  }
}

/** An image or video as the vision encoder's planning takes it; undefined for other parts. */
export function visionSource(part: LoadedPart): VisionSource | undefined {
  if (part.type === "image") return part;
  if (part.type === "video") return { type: "video", video: part.video, interleaved: part.samples !== null };
  return undefined;
}

const exceeded = (message: string, details: object): CaracalError =>
  new CaracalError("INVALID_ARGUMENT", `prompt: ${message}`, { ...details });
