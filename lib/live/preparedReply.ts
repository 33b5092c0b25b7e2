import type { KvSequence } from "../model/language/kvCache.js";
import { EventBuffer, type GenerateEvent } from "../model/reply/events.js";
import type { Reply } from "../model/reply/reply.js";
import type { ReplyUsage } from "../model/reply/usage.js";
import type { SpeechInput } from "../model/speech/state.js";
import type { Rows } from "../model/types.js";
import { disposeAll } from "../tensor/tensor.js";

/** The rows that a reply's prompt adds to the conversation. */
export interface PromptParts {
  /** The end of the turn that it answers, if there is one. */
  readonly tail: Rows | undefined;
  /** What a reply begins with. */
  readonly start: Rows;
}

/** Starts a reply to what its prompt ends with; undefined if nobody wants it any more. */
export type StartReply = (
  events: EventBuffer<GenerateEvent>,
  onLastRow: (sequence: KvSequence) => void,
) => Promise<{ readonly reply: Reply; readonly parts: PromptParts } | undefined>;

/** What a reply has said so far. The caller owns the parts, and the sequence. */
export interface ReplyRows {
  /** The conversation with the parts and the steps; undefined if the reply lost its room to others. */
  readonly sequence: KvSequence | undefined;
  readonly parts: PromptParts;
  readonly steps: readonly SpeechInput[];
}

/**
 * A reply that may have to vanish: it works on a fork of the conversation, and nobody takes its events before the turn has
 * ended. So dropping it leaves no trace.
 */
export class PreparedReply {
  readonly events: EventBuffer<GenerateEvent>;
  /** Whether all that it answers is part of the conversation. */
  isDue = false;
  #reply: Reply | undefined;
  #parts: PromptParts | undefined;
  /** Rows before its steps. */
  #from = 0;
  #kept: KvSequence | undefined;
  #dropped = false;

  /** @param onTake called whenever an event is requested */
  constructor(onTake: () => void) {
    this.events = new EventBuffer(onTake);
  }

  get dropped(): boolean {
    return this.#dropped;
  }

  /** What the reply took so far; null if it has not begun. */
  get usage(): ReplyUsage | null {
    return this.#reply?.usage.report() ?? null;
  }

  /** Starts the reply, unless it was dropped meanwhile. */
  async start(start: StartReply): Promise<void> {
    if (this.#dropped) return;
    const started = await start(this.events, (sequence) => {
      if (!this.#dropped) this.#kept = sequence.fork();
    });
    if (!started) return;
    const { reply } = started;
    this.#reply = reply;
    this.#from = reply.base + reply.prompt.shape[0];
    this.#parts = started.parts;
    if (this.#dropped) this.drop();
  }

  /** The rows that the reply has so far, for a conversation that goes on after them; undefined if it has none. */
  takeRows(): ReplyRows | undefined {
    const [reply, parts] = [this.#reply, this.#parts];
    if (!reply || !parts || (!reply.next && !this.#kept)) return undefined;
    const steps = [...reply.steps];
    const length = this.#from + steps.length;
    const sequence = this.#kept ?? (reply.sequence.disposed ? undefined : reply.sequence.fork()); // it may have failed
    this.#kept = undefined;
    this.#parts = undefined;
    if (!sequence || sequence.length < length) {
      sequence?.dispose();
      return { sequence: undefined, parts, steps };
    }
    sequence.truncate(length); // a step may be under way
    return { sequence, parts, steps };
  }

  /** Ends the reply, and frees what it holds. */
  drop(): void {
    this.#dropped = true;
    this.#reply?.cancel();
    this.events.close();
    this.#kept?.dispose();
    this.#kept = undefined;
    disposeAll([this.#parts?.tail, this.#parts?.start]);
    this.#parts = undefined;
  }
}
