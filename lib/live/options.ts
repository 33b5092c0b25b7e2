import { type CheckedOptions, checkGenerateOptions, type GenerateOptions } from "../model/reply/options.js";
import { checkOptions, type OptionRule, optional, positiveInteger, positiveNumber, refuseValue } from "../options.js";
import { TurnDetector, type TurnDetectorOptions } from "./turnDetector.js";
import { detectorRule, type VoiceDetector } from "./voiceDetector.js";

/** Tells the time from any moment on. */
export interface LiveClock {
  /** The time in seconds. */
  now(): number;
}

/** The options of `OmniModel.generate` that replies in a live session take. */
type ReplyOptions = Pick<
  GenerateOptions,
  "speech" | "maxTokens" | "temperature" | "topK" | "topP" | "repetitionPenalty" | "seed"
>;

/** Options of `OmniModel.live`. */
export interface LiveOptions extends ReplyOptions {
  /** What the model is told before the conversation. Default: nothing. */
  readonly system?: string | undefined;
  /** When a turn begins and ends, for the default detector. */
  readonly turns?: TurnDetectorOptions | undefined;
  /** Finds the turns in what is pushed; the session disposes it. Default: the Silero network that comes with the library. */
  readonly detector?: VoiceDetector | undefined;
  /**
   * Whether a reply is prepared as soon as the user falls silent, and dropped if the user goes on: it is ready earlier,
   * for the price of work that is sometimes in vain. Nothing of it is delivered before the turn has ended. Default true.
   */
  readonly speculate?: boolean | undefined;
  /** The longest turn in seconds: a longer one ends there. Default 120, as the published code takes. */
  readonly maxTurnSeconds?: number | undefined;
  /** Frames of the camera kept between turns; the oldest give way. Default 16: half a minute. */
  readonly maxWaitingFrames?: number | undefined;
  /** Default: the process's own. */
  readonly clock?: LiveClock | undefined;
}
const flag: OptionRule = { accepts: (value) => typeof value === "boolean", expected: "true or false" };
const liveOptions = {
  system: optional({ accepts: (value) => typeof value === "string", expected: "text" }),
  turns: true,
  detector: optional(detectorRule),
  speculate: optional(flag),
  maxTurnSeconds: optional(positiveNumber),
  maxWaitingFrames: optional(positiveInteger),
  clock: optional({
    accepts: (value) => typeof (Object(value) as Partial<LiveClock>).now === "function",
    expected: "an object with a function now",
  }),
} satisfies Record<Exclude<keyof LiveOptions, keyof ReplyOptions>, OptionRule | true>;

const replyOptions = ["speech", "maxTokens", "temperature", "topK", "topP", "repetitionPenalty", "seed"] as const;

/** The options of a session, with their defaults. */
export interface CheckedLiveOptions {
  readonly reply: CheckedOptions;
  readonly system: string | undefined;
  readonly turns: TurnDetectorOptions;
  readonly detector: VoiceDetector | undefined;
  readonly speculate: boolean;
  readonly maxTurnSeconds: number;
  readonly maxWaitingFrames: number;
  readonly clock: LiveClock;
}

/**
 * Returns the options with their defaults.
 * @param canSpeak whether the model was loaded with speech
 * @throws {CaracalError} `INVALID_ARGUMENT`, naming the option, when one is unknown or out of range
 */
export function checkLiveOptions(options: LiveOptions, canSpeak: boolean): CheckedLiveOptions {
  const ofReplies = Object.fromEntries(replyOptions.map((name) => [name, true])) as Record<keyof ReplyOptions, true>;
  checkOptions("live", options, { ...liveOptions, ...ofReplies });
  const {
    system,
    detector,
    turns = {},
    speculate = true,
    maxTurnSeconds = 120,
    maxWaitingFrames = 16,
    ...rest
  } = options;
  const { clock: given = { now: () => performance.now() / 1000 } } = rest;
  const clock = { now: () => checkedTime(given.now()) };
  const ofReply = Object.fromEntries(replyOptions.map((name) => [name, options[name]])) as ReplyOptions;
  const reply = checkGenerateOptions({ ...ofReply, speech: ofReply.speech ?? canSpeak });
  new TurnDetector(turns); // checks them
  return { reply, system, turns, detector, speculate, maxTurnSeconds, maxWaitingFrames, clock };
}

function checkedTime(seconds: number): number {
  if (!Number.isFinite(seconds)) refuseValue("live", "clock.now()", "a number of seconds", seconds);
  return seconds;
}
