import { notLoaded } from "../model/prompt/encode.js";
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
export type LiveReplyOptions = Pick<
  GenerateOptions,
  "speech" | "maxTokens" | "temperature" | "topK" | "topP" | "repetitionPenalty" | "seed"
>;

/** Options of `OmniModel.live`. */
export interface LiveOptions extends LiveReplyOptions {
  /** What the model is told before the conversation. Default: nothing. */
  readonly system?: string | undefined;
  /** When a turn begins and ends, for the default detector. */
  readonly turns?: TurnDetectorOptions | undefined;
  /**
   * Finds the turns in what is pushed; the session disposes it. Default: the Silero network that comes with the library.
   * null: a turn begins with the first sample that is pushed, and ends by `commit`.
   */
  readonly detector?: VoiceDetector | null | undefined;
  /** Whether a turn that has ended is answered by itself, and not by `respond` alone. Default true. */
  readonly answer?: boolean | undefined;
  /** Whether a turn of the user interrupts the reply. A turn that ends during a reply is not answered by itself. Default true. */
  readonly bargeIn?: boolean | undefined;
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
  detector: optional({ ...detectorRule, accepts: (value) => value === null || detectorRule.accepts(value) }),
  answer: optional(flag),
  bargeIn: optional(flag),
  speculate: optional(flag),
  maxTurnSeconds: optional(positiveNumber),
  maxWaitingFrames: optional(positiveInteger),
  clock: optional({
    accepts: (value) => typeof (Object(value) as Partial<LiveClock>).now === "function",
    expected: "an object with a function now",
  }),
} satisfies Record<Exclude<keyof LiveOptions, keyof LiveReplyOptions>, OptionRule | true>;

const replyOptions = ["speech", "maxTokens", "temperature", "topK", "topP", "repetitionPenalty", "seed"] as const;
/** What they are is checked as those of `generate`. */
const replyRules = Object.fromEntries(replyOptions.map((name) => [name, true])) as Record<keyof LiveReplyOptions, true>;

/** The options of a session, with their defaults. */
export interface CheckedLiveOptions {
  readonly reply: CheckedOptions;
  readonly system: string | undefined;
  readonly turns: TurnDetectorOptions;
  readonly detector: VoiceDetector | undefined;
  /** Whether turns are found in what is heard. */
  readonly detects: boolean;
  readonly answer: boolean;
  readonly bargeIn: boolean;
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
  checkOptions("live", options, { ...liveOptions, ...replyRules });
  const {
    system,
    detector,
    turns = {},
    answer = true,
    bargeIn = true,
    speculate = true,
    maxTurnSeconds = 120,
    maxWaitingFrames = 16,
    ...rest
  } = options;
  const { clock: given = { now: () => performance.now() / 1000 } } = rest;
  const clock = { now: () => checkedTime(given.now()) };
  const reply = checkReplyOptions("live", {}, options, canSpeak);
  new TurnDetector(turns); // checks them
  const rules = { reply, system, turns, answer, bargeIn, speculate, maxTurnSeconds, maxWaitingFrames, clock };
  return { ...rules, detector: detector ?? undefined, detects: detector !== null };
}

/** The options that `LiveSession.update` takes; what is left out stays as it is. */
export type LiveUpdate = Pick<LiveOptions, keyof LiveReplyOptions | "system" | "turns" | "answer" | "bargeIn"> & {
  /** null: turns end by `commit` alone; undefined: they are found as when the session was opened. */
  readonly detector?: null | undefined;
};
const updateRules = { ...replyRules, system: true, turns: true, answer: true, bargeIn: true, detector: true } as const;

/**
 * Returns options with changes, none of which are checked.
 * @throws {CaracalError} `INVALID_ARGUMENT` for what cannot be changed
 */
export function updatedOptions(options: LiveOptions, update: LiveUpdate): LiveOptions {
  checkOptions("LiveSession.update", update, updateRules);
  const { detector } = update;
  if (detector !== null && detector !== undefined)
    refuseValue("LiveSession.update", "detector", "null or undefined: it is chosen when a session is opened", detector);
  const { detector: _, ...changes } = update;
  return { ...options, ...changes };
}

/**
 * Returns the options of one reply, with their defaults.
 * @param defaults may have other options as well
 * @throws {CaracalError} `INVALID_ARGUMENT`
 */
export function checkReplyOptions(
  where: string,
  options: LiveReplyOptions,
  defaults: LiveReplyOptions,
  canSpeak: boolean,
): CheckedOptions {
  checkOptions(where, options, replyRules);
  const given = replyOptions.map((name) => [name, options[name] ?? defaults[name]]);
  const reply = Object.fromEntries(given) as LiveReplyOptions;
  if (reply.speech && !canSpeak) throw notLoaded(`${where}: speech`, "speech");
  return checkGenerateOptions({ ...reply, speech: reply.speech ?? canSpeak });
}

function checkedTime(seconds: number): number {
  if (!Number.isFinite(seconds)) refuseValue("live", "clock.now()", "a number of seconds", seconds);
  return seconds;
}
