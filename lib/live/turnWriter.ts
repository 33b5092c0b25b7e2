import type { Rows } from "../model/types.js";
import type { Conversation, SpokenReply } from "./conversation.js";
import type { LiveHost } from "./host.js";
import type { Turn } from "./turn.js";
import type { Packet } from "./turnInput.js";

/** Writes turns into a conversation: one call at a time. */
export class TurnWriter {
  readonly #host: LiveHost;
  readonly #conversation: Conversation;
  readonly #signal: AbortSignal;

  /** @param signal ends the writing */
  constructor(host: LiveHost, conversation: Conversation, signal: AbortSignal) {
    this.#host = host;
    this.#conversation = conversation;
    this.#signal = signal;
  }

  /** Appends rows, which it takes. */
  append(rows: Rows): Promise<void> {
    return this.#host.append(this.#conversation.sequence, rows, this.#signal);
  }

  /** The beginning of a turn. */
  async open(turn: Turn): Promise<void> {
    turn.opened = true;
    await this.append(await turn.input.open(this.#conversation.ended, turn.seen));
  }

  /** The next packet of a turn. */
  async hear(turn: Turn, packet: Packet): Promise<void> {
    const rows = await turn.input.hear(packet);
    if (!rows) return;
    turn.rows.push(rows.slice(0, rows.shape[0]));
    await this.append(rows);
  }

  /** The end of a turn and what was said to it, if the reply had no rows yet, or has lost them. */
  async restore(turn: Turn, reply: Omit<SpokenReply, "from">): Promise<void> {
    await this.append(await turn.input.close(turn.rest, turn.texts, reply.spoken));
    const { sequence } = this.#conversation;
    const from = sequence.length;
    if (reply.steps.length > 0) await this.append(this.#host.encoders.embedding.step(reply.steps));
    this.#conversation.adopt(sequence.fork(), { ...reply, from });
  }

  /**
   * Cuts the last reply to its first steps, and writes the turn after it again.
   * @returns the text that stays
   */
  async cut(steps: number, turn: Turn | undefined): Promise<string> {
    const text = this.#conversation.cut(steps);
    if (!turn?.opened) return text;
    await this.open(turn);
    for (const rows of turn.rows) await this.append(rows.slice(0, rows.shape[0]));
    return text;
  }
}
