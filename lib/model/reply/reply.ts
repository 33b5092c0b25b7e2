import type { CaracalError } from "../../errors.js";
import { Turns } from "../../turns.js";
import type { KvSequence } from "../language/kvCache.js";
import type { BlockKeys } from "../prompt/blockKeys.js";
import type { OmniTokenizer } from "../prompt/tokenizer.js";
import type { TokenStream } from "../prompt/tokenStream.js";

import { maskedId, type SpeechFrame, type SpeechInput, SpeechState } from "../speech/state.js";
import type { Rows } from "../types.js";
import type { PrefillTask } from "./continuation.js";
import type { Events, GenerateEvent } from "./events.js";
import { SpokenHistory } from "./history.js";
import type { TokenLogProbability } from "./logProbabilities.js";
import type { Sampling } from "./options.js";
import { ReplyPrefix } from "./prefix.js";
import { ReplyText } from "./text.js";
import type { UsageMeter } from "./usage.js";

/** Turns speech frames into samples as they arrive; see `SpeechDecoderStream`. */
export interface SpeechStream extends Disposable {
  push(frames: readonly SpeechFrame[]): Promise<Float32Array | undefined>;
  flush(): Promise<Float32Array | undefined>;
}

export interface ReplyParts {
  readonly tokenizer: OmniTokenizer;
  /** null: the reply is text only. */
  readonly speech: { readonly stream: SpeechStream; readonly sampleRate: number } | null;
  readonly sampling: Sampling;
  readonly maxTokens: number;
  /** Strings that end the text. */
  readonly stops: readonly string[];
  /** How many likeliest tokens are reported with the log-probability of each token; null: no log-probabilities. */
  readonly logProbabilities: number | null;
  /** Positions of the language model. */
  readonly maxPositions: number;
  /** Codec books. */
  readonly books: number;
  readonly usage: UsageMeter;
  /** The keys of the prompt's rows; null: they are shared with nobody. Only for an empty sequence. */
  readonly keys: BlockKeys | null;
  /** Receives the sequence once no rows will follow, before it is disposed, unless the reply failed. */
  readonly onLastRow?: (sequence: KvSequence) => void;
}

/** Events buffered for the consumer before the reply pauses. */
const maxBufferedEvents = 32;
/** Steps that the repetition penalty of text looks back. */
export const textWindow = 30;

/**
 * One reply in progress: the state that the scheduler reads, and the conversion of its tokens to events. It ends by
 * itself (`take`), by `fail`, or by `cancel`; its sequence, speech decoder and prompt are then freed at once.
 */
export class Reply implements PrefillTask {
  readonly events: Events;
  readonly prompt: Rows;
  readonly sequence: KvSequence;
  readonly base: number;
  readonly sampling: Sampling;
  readonly usage: UsageMeter;
  readonly #prefix: ReplyPrefix | undefined;
  /** Prompt rows that have been in the cache, even if a preemption removed them. */
  #prefilled = 0;
  readonly #steps: SpeechInput[] = [];
  readonly #parts: ReplyParts;
  readonly #settled = new AbortController();
  readonly #ended = new AbortController();
  readonly #state: SpeechState | undefined;
  readonly #tokens: TokenStream;
  readonly #text: ReplyText;
  readonly #history: SpokenHistory;
  #next: SpeechInput | null = null;
  #wholeText = "";
  readonly #ids: number[] = [];
  readonly #logProbabilities: TokenLogProbability[] = [];
  /** The number of ids that text events have reported. */
  #reported = 0;
  #textHistory: number[] = [];
  /** Resolves when the speech of all frames so far was passed on, in order; the language model does not wait for it. */
  #speaking: Promise<void> = Promise.resolve();

  /**
   * @param events receives the reply's events
   * @param prompt embeddings `[T, hidden size]`; the reply owns them and `sequence`
   * @param sequence empty, or a conversation's that the prompt continues
   */
  constructor(events: Events, prompt: Rows, sequence: KvSequence, parts: ReplyParts) {
    this.events = events;
    this.prompt = prompt;
    this.sequence = sequence;
    this.base = sequence.length;
    this.sampling = parts.sampling;
    this.usage = parts.usage;
    this.#parts = parts;
    const { tokenizer, speech, stops, keys } = parts;
    if (keys) this.#prefix = new ReplyPrefix(sequence, keys);
    this.#tokens = tokenizer.stream();
    this.#text = new ReplyText(stops);
    this.#history = new SpokenHistory(tokenizer);
    if (speech) this.#state = new SpeechState({ pauseId: tokenizer.specialId("</pause>"), endId: tokenizer.endId });
  }

  /** Aborted when the language model has no more work for this reply. */
  get settled(): AbortSignal {
    return this.#settled.signal;
  }

  /** Aborted after the last event. */
  get ended(): AbortSignal {
    return this.#ended.signal;
  }

  /** Whether the reply waits for its events to be read. */
  get paused(): boolean {
    return this.events.length >= maxBufferedEvents;
  }

  /** Whether its sequence is a live conversation's, which keeps its room. */
  get inConversation(): boolean {
    return this.#parts.onLastRow !== undefined;
  }

  get speaks(): boolean {
    return this.#state !== undefined;
  }

  /** Whether the next step's text id is used. */
  get writes(): boolean {
    return this.#state?.phase !== "speech";
  }

  /** How many likeliest tokens to report with the next text id's log-probability; null: none is wanted. */
  get logProbabilities(): number | null {
    return this.writes ? this.#parts.logProbabilities : null;
  }

  /** The next input of the language model; null before the prompt's end was computed. */
  get next(): SpeechInput | null {
    return this.#next;
  }

  /** The inputs of the steps so far, whose rows follow the prompt's in the cache. */
  get steps(): readonly SpeechInput[] {
    return this.#steps;
  }

  /** Rows that the cache must hold before the next step. */
  get rows(): number {
    return this.base + this.prompt.shape[0] + this.#steps.length;
  }

  /** The last text ids, oldest first. */
  get textHistory(): readonly number[] {
    return this.#state?.textHistory ?? this.#textHistory;
  }

  codecHistory(book: number): readonly number[] {
    return this.#state?.codecHistory(book) ?? [];
  }

  /** The number of rows that come next and that other sequences hold: they take no room. */
  get heldRows(): number {
    return this.#prefix?.heldRows(this.#reusable) ?? 0;
  }

  /** Goes on with the next rows as far as the cache has them already. */
  reuse(): void {
    const before = Math.max(this.sequence.length, this.#prefilled);
    this.#prefix?.reuse(this.#reusable);
    const reused = Math.min(this.sequence.length, this.prompt.shape[0]);
    if (reused <= before) return;
    this.usage.cachedTokens += reused - before;
    this.#prefilled = reused;
  }

  /** The rows that the cache may have: but for the prompt's last one, whose hidden state is needed once. */
  get #reusable(): number {
    return this.#next ? this.rows : this.prompt.shape[0] - 1;
  }

  /** Notes that rows `[from, to)` of the prompt are in the cache. */
  prefill(from: number, to: number, milliseconds: number): void {
    this.#prefix?.keep();
    const added = Math.max(0, to - Math.max(from, this.#prefilled));
    this.recompute(to - from - added, 0);
    this.usage.add("prefill", milliseconds, added);
    if (added === 0) return;
    this.#prefilled = to;
    this.events.push({ type: "stage", stage: "prefill", done: to, total: this.prompt.shape[0] });
  }

  /** Notes that rows that a preemption removed are in the cache again. */
  recompute(rows: number, milliseconds: number): void {
    this.usage.add("prefill", milliseconds, 0);
    this.usage.recomputedTokens += rows;
  }

  /**
   * Gives up the reply's own rows in the cache, so that others may have the room. With those that are left then, and the
   * rest computed again from `prompt` and `steps`, the reply goes on as if nothing had happened: all its other state is kept.
   */
  preempt(): void {
    this.usage.preemptions++;
    this.#prefix?.leave(this.#steps);
    this.sequence.truncate(this.base);
  }

  /** Takes the ids sampled after a step of the language model, and the text id's log-probability if it is wanted. */
  take(textId: number, codecIds: readonly number[], logProbability: TokenLogProbability | null): void {
    const { tokenizer, books, maxTokens, maxPositions } = this.#parts;
    this.usage.step();
    if (this.#next) this.#steps.push(this.#next);
    if (logProbability) this.#logProbabilities.push(logProbability);
    let done: boolean;
    if (this.#state) {
      const step = this.#state.step(this.writes ? textId : null, codecIds);
      if (step.textId !== null) this.#write(step.textId);
      this.#history.add(step);
      if (step.frame) this.#speak((stream) => stream.push([step.frame!]), 1);
      this.#next = step.next;
      done = this.#state.done;
    } else {
      this.#write(textId);
      this.#textHistory = [...this.#textHistory, textId].slice(-textWindow);
      this.#next = { textId, codecIds: new Array<number>(books).fill(maskedId) };
      done = textId === tokenizer.endId;
    }
    if (done || this.#text.stopString !== null) this.#finish("stop");
    else if (this.usage.steps >= maxTokens || this.sequence.length >= maxPositions) this.#finish("length");
  }

  /** Ends for want of room: with what it has said so far, or with the error if it has said nothing. */
  endFull(error: CaracalError): void {
    if (this.#next) this.#finish("length");
    else this.fail(error);
  }

  /** Ends with an error, unless it has already ended. */
  fail(error: unknown): void {
    this.events.fail(error);
    this.#free();
    this.#end();
  }

  /** Ends without further events, because the consumer has left. */
  cancel(): void {
    this.events.close();
    this.fail(undefined);
  }

  #write(id: number): void {
    this.usage.textTokens++;
    this.#ids.push(id);
    this.#emitText(this.#text.push(this.#tokens.push(id)));
  }

  #emitText(text: string): void {
    if (text === "") return;
    this.#wholeText += text;
    this.usage.text();
    const { textTokens: tokens, steps: step } = this.usage;
    this.events.push({ type: "text", text, tokens, ...this.#tokensFrom(this.#reported), step });
    this.#reported = this.#ids.length;
  }

  #tokensFrom(first: number): Pick<GenerateEvent & { type: "text" }, "ids" | "logProbabilities"> {
    const wanted = this.#parts.logProbabilities !== null;
    return { ids: this.#ids.slice(first), logProbabilities: wanted ? this.#logProbabilities.slice(first) : null };
  }

  #speak(work: (stream: SpeechStream) => Promise<Float32Array | undefined>, frames: number): void {
    const { stream, sampleRate } = this.#parts.speech!;
    const step = this.usage.steps;
    const start = performance.now();
    const pending = work(stream);
    this.#speaking = Promise.all([this.#speaking, pending])
      .then(([, samples]) => {
        this.usage.speech(start, frames, (samples?.length ?? 0) / sampleRate);
        if (samples) this.events.push({ type: "audio", samples, sampleRate, step });
      })
      .catch((error) => this.fail(error));
  }

  #finish(end: "stop" | "length"): void {
    this.#emitText(this.#text.push(this.#tokens.end()));
    this.#emitText(this.#text.end());
    const { stopString } = this.#text;
    const reason = stopString === null ? end : "stop";
    if (this.speaks) this.#speak((stream) => stream.flush(), 0);
    this.#parts.onLastRow?.(this.sequence);
    this.#free();
    const report = async () => {
      await this.#speaking;
      const speech = await new Turns("ending a reply").during(this.#history.partSteps());
      const usage = this.usage.report();
      const text = this.#wholeText;
      this.events.push({ type: "end", reason, stopString, text, ...this.#tokensFrom(0), speech, usage });
      this.events.end();
      this.#end();
    };
    report().catch((error) => this.fail(error));
  }

  #end(): void {
    this.#parts.speech?.stream[Symbol.dispose]();
    this.#ended.abort();
  }

  #free(): void {
    this.sequence.dispose();
    this.prompt.dispose();
    this.#settled.abort();
  }
}

/** The stream of a speech decoder that needs the whole utterance: all samples come at the end. */
export class WholeUtterance implements SpeechStream {
  readonly #frames: SpeechFrame[] = [];
  readonly #decode: (frames: readonly SpeechFrame[]) => Promise<Float32Array>;

  constructor(decode: (frames: readonly SpeechFrame[]) => Promise<Float32Array>) {
    this.#decode = decode;
  }

  async push(frames: readonly SpeechFrame[]): Promise<undefined> {
    this.#frames.push(...frames);
  }

  async flush(): Promise<Float32Array | undefined> {
    const frames = this.#frames.splice(0);
    return frames.length > 0 ? this.#decode(frames) : undefined;
  }

  [Symbol.dispose](): void {
    this.#frames.length = 0;
  }
}
