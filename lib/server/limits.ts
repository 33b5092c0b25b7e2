import { type OptionRule, optional, positiveInteger, positiveNumber } from "../options.js";

/** Bounds on what clients may ask of a server. */
export interface ServerLimits {
  /** Bytes of a request's body. Media are in it as base64, which takes a third more. Default 2^25 (32 MiB). */
  readonly bodyBytes?: number | undefined;
  /** Messages of a conversation. Default 1024. */
  readonly messages?: number | undefined;
  /** Images and videos of a conversation. Default 32. */
  readonly images?: number | undefined;
  /** Pixels of a conversation's images together, which are in memory with 3 bytes each. Default 2^26. */
  readonly imagePixels?: number | undefined;
  /** Seconds of each part of sound. Default 120. */
  readonly audioSeconds?: number | undefined;
  /** Seconds of each video. Default 300. */
  readonly videoSeconds?: number | undefined;
  /** Choices (`n`) of a request. Default 4. */
  readonly choices?: number | undefined;
  /** Steps of the language model for each choice, also where a request does not say how many. Default 4096. */
  readonly maxTokens?: number | undefined;
  /** Choices of all requests at once, from the moment that a request's head has arrived. Default 64. */
  readonly replies?: number | undefined;
  /** Connections at once. Default 1024. */
  readonly connections?: number | undefined;
  /** Real-time sessions at once. Default 64. */
  readonly sessions?: number | undefined;
  /** Seconds of a real-time session. Default 3600. */
  readonly sessionSeconds?: number | undefined;
  /** Bytes of a message in a real-time session. Default 2^22. */
  readonly messageBytes?: number | undefined;
  /** Seconds of sound of a real-time session that may wait to be heard. Default 60. */
  readonly waitingSeconds?: number | undefined;
  /** Bytes of events that wait for a slow client before its real-time session waits for it. Default 2^20. */
  readonly unreadBytes?: number | undefined;
  /** Seconds for which a client may take nothing of what waits for it, or send nothing of its request. Default 60. */
  readonly readSeconds?: number | undefined;
  /** Seconds for which `close` lets replies go on. Default 30. */
  readonly drainSeconds?: number | undefined;
  /** Spoken replies that later turns can name, of all clients together; the oldest goes first. Default 256. */
  readonly spokenReplies?: number | undefined;
  /** Seconds for which a spoken reply can be named. Default 3600. */
  readonly spokenSeconds?: number | undefined;
}

/** The limits with their defaults. */
export type Limits = { readonly [Name in keyof ServerLimits]-?: NonNullable<ServerLimits[Name]> };

/** Seconds that a timer of Node.js can wait for. */
const waiting: OptionRule = {
  accepts: (value) => positiveNumber.accepts(value) && (value as number) <= 2_000_000,
  expected: "a positive number of seconds up to 2000000",
};

/** The values that the limits take. */
export const serverLimitRules = {
  bodyBytes: optional(positiveInteger),
  messages: optional(positiveInteger),
  images: optional(positiveInteger),
  imagePixels: optional(positiveInteger),
  audioSeconds: optional(positiveNumber),
  videoSeconds: optional(positiveNumber),
  choices: optional(positiveInteger),
  maxTokens: optional(positiveInteger),
  replies: optional(positiveInteger),
  connections: optional(positiveInteger),
  sessions: optional(positiveInteger),
  sessionSeconds: optional(waiting),
  messageBytes: optional(positiveInteger),
  waitingSeconds: optional(positiveNumber),
  unreadBytes: optional(positiveInteger),
  readSeconds: optional(waiting),
  drainSeconds: optional(waiting),
  spokenReplies: optional(positiveInteger),
  spokenSeconds: optional(waiting),
} satisfies Record<keyof ServerLimits, OptionRule>;

export const defaultLimits: Limits = {
  bodyBytes: 2 ** 25,
  messages: 1024,
  images: 32,
  imagePixels: 2 ** 26,
  audioSeconds: 120,
  videoSeconds: 300,
  choices: 4,
  maxTokens: 4096,
  replies: 64,
  connections: 1024,
  sessions: 64,
  sessionSeconds: 3600,
  messageBytes: 2 ** 22,
  waitingSeconds: 60,
  unreadBytes: 2 ** 20,
  readSeconds: 60,
  drainSeconds: 30,
  spokenReplies: 256,
  spokenSeconds: 3600,
};

/** The limits with their defaults; an undefined limit takes its default too. */
export function withDefaults(limits: ServerLimits = {}): Limits {
  const given = Object.entries(limits).filter(([, value]) => value !== undefined);
  return { ...defaultLimits, ...Object.fromEntries(given) };
}
