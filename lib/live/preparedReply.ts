import type { KvSequence } from "../model/language/kvCache.js";
import { EventBuffer, type GenerateEvent } from "../model/reply/events.js";
import type { Reply } from "../model/reply/reply.js";
import type { SpeechInput } from "../model/speech/state.js";

/** Starts a reply to what its prompt ends with. */
export type StartReply = (
  events: EventBuffer<GenerateEvent>,
  onLastRow: (sequence: KvSequence) => void,
) => Promise<Reply | undefined>;

/** What a reply has said so far. */
export interface ReplyRows {
  /** A sequence of the conversation and the reply, which the caller takes; undefined if the reply lost its room to others. */
  readonly sequence: KvSequence | undefined;
  readonly from: number;
  readonly steps: readonly SpeechInput[];
}

/**
 * A reply that may have to vanish: it works on a fork of the conversation, and nobody takes its events before the turn has
 * ended. So dropping it leaves no trace.
 */
export class PreparedReply {
  readonly events: EventBuffer<GenerateEvent>;
  #reply: Reply | undefined;
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

  /** Starts the reply, unless it was dropped meanwhile. */
  async start(start: StartReply): Promise<void> {
    if (this.#dropped) return;
    const reply = await start(this.events, (sequence) => {
      if (!this.#dropped) this.#kept = sequence.fork();
    });
    if (!reply) return;
    this.#reply = reply;
    this.#from = reply.base + reply.prompt.shape[0];
    if (this.#dropped) reply.cancel();
  }

  /** The rows that the reply has so far, for a conversation that goes on after them; undefined if it has none. */
  rows(): ReplyRows | undefined {
    const reply = this.#reply;
    if (!reply?.next && !this.#kept) return undefined;
    const steps = [...reply!.steps];
    const [from, length] = [this.#from, this.#from + steps.length];
    const sequence = this.#kept ?? reply!.sequence.fork();
    this.#kept = undefined;
    if (sequence.length < length) {
      sequence.dispose();
      return { sequence: undefined, from, steps };
    }
    sequence.truncate(length); // a step may be under way
    return { sequence, from, steps };
  }

  /** Ends the reply, and frees what it holds. */
  drop(): void {
    this.#dropped = true;
    this.#reply?.cancel();
    this.events.close();
    this.#kept?.dispose();
    this.#kept = undefined;
  }
}
