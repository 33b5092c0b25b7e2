import type { KvSequence } from "../model/language/kvCache.js";
import type { Message } from "../model/prompt/messages.js";
import type { EventBuffer, GenerateEvent } from "../model/reply/events.js";
import type { CheckedOptions } from "../model/reply/options.js";
import type { Reply } from "../model/reply/reply.js";
import type { Rows } from "../model/types.js";
import type { TurnEncoders } from "./turnInput.js";
import type { VoiceActivityDetector } from "./voiceActivity.js";

/** What a session needs of a model. */
export interface LiveHost {
  readonly encoders: TurnEncoders;
  /** Of the samples that are pushed, in Hz. */
  readonly sampleRate: number;
  /** Seconds of a frame of speech; undefined for a model without. */
  readonly frameSeconds: number | undefined;
  /** The network that finds speech, which the model shares among its sessions. */
  voice(): Promise<VoiceActivityDetector>;
  /** The rows of a message. @throws {CaracalError} as `OmniModel.generate`, for what cannot be one */
  encode(message: Message, signal: AbortSignal): Promise<Rows>;
  /** A new sequence in the KV cache. */
  sequence(): KvSequence;
  /** Appends embeddings, which it takes, to a sequence. */
  append(sequence: KvSequence, rows: Rows, signal: AbortSignal): Promise<void>;
  /** Starts a reply whose prompt, which it takes, ends a sequence, which it takes. */
  reply(request: ReplyRequest): Reply;
  /** Lets paused replies go on. */
  wake(): void;
}

export interface ReplyRequest {
  readonly events: EventBuffer<GenerateEvent>;
  readonly prompt: Rows;
  readonly sequence: KvSequence;
  readonly options: CheckedOptions;
  readonly onLastRow?: (sequence: KvSequence) => void;
}
