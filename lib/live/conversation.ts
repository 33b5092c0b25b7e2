import { CaracalError } from "../errors.js";
import type { KvSequence } from "../model/language/kvCache.js";
import type { SpeechInput } from "../model/speech/state.js";
import type { Rows } from "../model/types.js";
import { concatRows } from "../ops/rows.js";
import { disposeAll } from "../tensor/tensor.js";
import type { LiveHost } from "./host.js";
import { textOf } from "./spokenText.js";
import { replyEnd } from "./turnInput.js";

/** What a reply has said, by the inputs of its steps: a row each. */
export interface GivenReply {
  readonly id: string;
  readonly spoken: boolean;
  readonly steps: readonly SpeechInput[];
}

/** A turn, a message or a reply: rows of the KV cache that belong together. */
interface Item {
  readonly id: string;
  /** The row that it begins with. */
  from: number;
  /** Its rows, for a conversation that must be written again; of a reply those before its steps. */
  readonly rows: Rows[];
  reply?: { spoken: boolean; steps: readonly SpeechInput[]; ended: boolean };
}

/** The most rows that are joined to be written again: as many as a pass of the language model may take. */
const rowsAtATime = 512;

/**
 * What was said so far, as items, which are rows of the KV cache. One call at a time. If one fails, the conversation is
 * over.
 */
export class Conversation implements Disposable {
  readonly #host: LiveHost;
  readonly #signal: AbortSignal;
  readonly #items: Item[] = [];
  #sequence: KvSequence;
  #parked: Item | undefined;
  #disposed = false;

  /** @param signal ends the writing */
  constructor(host: LiveHost, signal: AbortSignal) {
    this.#host = host;
    this.#signal = signal;
    this.#sequence = host.sequence();
  }

  /** A sequence that goes on after the conversation; the caller owns it. */
  fork(): KvSequence {
    return this.#sequence.fork();
  }

  /** The last reply, whatever followed it. */
  get lastReply(): GivenReply | undefined {
    const { id, reply } = this.#items.findLast((item) => item.reply) ?? {};
    return reply && { id: id!, ...reply };
  }

  /** Ends a reply that came last: something follows. */
  async endReply(): Promise<void> {
    this.#check();
    await this.#endReply(this.#items.at(-1));
    this.#check();
  }

  /** Begins an item at the end. */
  async begin(id: string): Promise<void> {
    await this.endReply();
    this.#items.push({ id, from: this.#sequence.length, rows: [] });
  }

  /** Appends rows, which it takes, to the last item. */
  async append(rows: Rows): Promise<void> {
    this.#check(rows);
    this.#items.at(-1)!.rows.push(rows.slice(0, rows.shape[0]));
    await this.#write(rows);
  }

  /** Puts an item's rows, which it takes, before another item, or at the end. */
  async insert(id: string, rows: Rows, before?: string): Promise<void> {
    this.#check(rows);
    const at = before === undefined ? -1 : this.#indexOf(before);
    if (at < 0) {
      await this.begin(id);
      return this.append(rows);
    }
    this.#items.splice(at, 0, { id, from: this.#items[at]!.from, rows: [rows] });
    await this.#rewrite(at);
  }

  /** Makes rows, which it takes, the first item, in the place of one with the same name; undefined: there is none then. */
  async setFirst(id: string, rows: Rows | undefined): Promise<void> {
    this.#check(rows);
    const before = this.#items[0]?.id === id ? this.#items.shift() : undefined;
    disposeAll(before?.rows);
    if (rows) this.#items.unshift({ id, from: 0, rows: [rows] });
    else if (this.#items[0]) this.#items[0].from = 0;
    else this.#sequence.truncate(0);
    await this.#rewrite(0);
  }

  /** Takes an item out. @returns false if there is none */
  async remove(id: string): Promise<boolean> {
    const at = this.#indexOf(id);
    if (at < 0) return false;
    const [{ from, rows }] = this.#items.splice(at, 1) as [Item];
    disposeAll(rows);
    if (this.#items[at]) this.#items[at].from = from;
    else this.#sequence.truncate(from);
    await this.#rewrite(at);
    return true;
  }

  /**
   * A reply has been given on a fork of the conversation.
   * @param sequence the rows of both, if there are; the conversation takes it
   * @param tail rows that the last item has got there, and `start` those before the reply's steps; it takes both
   */
  async adopt(sequence: KvSequence | undefined, tail: Rows | undefined, start: Rows, reply: GivenReply): Promise<void> {
    if (this.#disposed) {
      sequence?.dispose();
      disposeAll([tail, start]);
    }
    this.#check();
    const { id, ...given } = reply;
    const item = { id, from: 0, rows: [start], reply: { ...given, ended: false } };
    if (tail) this.#items.at(-1)?.rows.push(tail);
    this.#items.push(item);
    if (sequence) {
      this.#sequence.dispose();
      this.#sequence = sequence;
    } else if (tail) await this.#write(tail.slice(0, tail.shape[0]));
    const written = sequence ? start.shape[0] + reply.steps.length : 0;
    item.from = this.#sequence.length - written;
    if (!sequence) await this.#writeItem(item);
  }

  /** Takes the last item out for a while, if it is the given one: something comes before it. */
  park(id: string): void {
    if (this.#items.at(-1)?.id !== id) return;
    this.#parked = this.#items.pop()!;
    this.#sequence.truncate(this.#parked.from);
  }

  /** Puts the item that was parked back at the end. */
  async unpark(): Promise<void> {
    if (!this.#parked) return;
    this.#parked.from = this.#sequence.length;
    this.#items.push(this.#parked);
    this.#parked = undefined;
    await this.#rewrite(this.#items.length - 1);
  }

  /** Removes what follows the first steps of a reply. @returns the text that stays */
  async cut(id: string, steps: number): Promise<string> {
    const at = this.#indexOf(id);
    const { from, rows, reply } = this.#items[at]!;
    const kept = reply!.steps.slice(0, steps);
    this.#items[at]!.reply = { ...reply!, steps: kept, ended: false };
    this.#sequence.truncate(from + rows[0]!.shape[0] + steps);
    await this.#rewrite(at + 1);
    return textOf(kept, this.#host.encoders.tokenizer);
  }

  dispose(): void {
    this.#disposed = true;
    this.#sequence.dispose();
    disposeAll([this.#parked?.rows, this.#items.splice(0).map(({ rows }) => rows)]);
    this.#parked = undefined;
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /** @param rows that nobody will own if the conversation is over */
  #check(rows?: Rows): void {
    if (!this.#disposed) return;
    rows?.dispose();
    throw new CaracalError("DISPOSED", "the conversation is over");
  }

  #indexOf(id: string): number {
    return this.#items.findIndex((item) => item.id === id);
  }

  #write(rows: Rows): Promise<void> {
    return this.#host.append(this.#sequence, rows, this.#signal);
  }

  /** Writes an item and those after it again: what comes before has changed. */
  async #rewrite(first: number): Promise<void> {
    const at = this.#items[first]?.from;
    if (at === undefined) return;
    if (at < this.#sequence.length) this.#sequence.truncate(at);
    for (let i = first; i < this.#items.length; i++) {
      await this.#endReply(this.#items[i - 1]);
      await this.#writeItem(this.#items[i]!);
    }
  }

  async #writeItem(item: Item): Promise<void> {
    item.from = this.#sequence.length;
    if (item.reply) item.reply.ended = false;
    for (let i = 0; i < item.rows.length; ) {
      const group = [item.rows[i++]!];
      let count = group[0]!.shape[0];
      while (i < item.rows.length && count + item.rows[i]!.shape[0] <= rowsAtATime) {
        count += item.rows[i]!.shape[0];
        group.push(item.rows[i++]!);
      }
      await this.#write(group.length > 1 ? concatRows(group) : group[0]!.slice(0, count));
    }
    if (item.reply && item.reply.steps.length > 0)
      await this.#write(this.#host.encoders.embedding.step(item.reply.steps));
  }

  /** What comes after a reply needs the rows that end it. */
  async #endReply(item: Item | undefined): Promise<void> {
    const { reply } = item ?? {};
    if (!reply || reply.ended) return;
    const { encoders } = this.#host;
    reply.ended = true;
    const textEnded = reply.steps.some(({ textId }) => textId === encoders.tokenizer.endId);
    await this.#write(await replyEnd(encoders, reply.spoken, textEnded));
  }
}
