import { CaracalError } from "../../errors.js";
import type { Tensor } from "../../tensor/tensor.js";
import type { KvSequence } from "../language/kvCache.js";
import type { OmniTokenizer, TokenStream } from "../prompt/tokenizer.js";
import type { SpeechFrame } from "../speech/decoder.js";
import { maskedId, type SpeechInput, SpeechState } from "../speech/state.js";
import type { Events } from "./generation.js";
import type { Sampling } from "./options.js";
import { ReplyText } from "./text.js";
import type { UsageMeter } from "./usage.js";

/** Turns speech frames into samples as they come; see `SpeechDecoderStream`. */
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
  /** Positions that the language model has. */
  readonly maxPositions: number;
  /** Codec books. */
  readonly books: number;
  readonly usage: UsageMeter;
}

/** Events that may wait for the consumer before the reply pauses. */
const bufferedEvents = 32;

/**
 * One reply while it is made: what the scheduler needs to know of it, and what its tokens become. It ends by itself
 * (`take`), by `fail`, or by `cancel`; then its sequence, speech decoder and prompt are freed at once.
 */
export class Reply {
  readonly sampling: Sampling;
  readonly usage: UsageMeter;
  /** Prompt rows in the cache. */
  prefilled = 0;
  readonly #settled = new AbortController();
  readonly #ended = new AbortController();
  readonly #state: SpeechState | undefined;
  readonly #tokens: TokenStream;
  readonly #text = new ReplyText();
  #next: SpeechInput | null = null;
  #whole = "";
  #textHistory: number[] = [];
  /** What the speech decoder was given is passed on in order, while the language model goes on. */
  #speaking: Promise<void> = Promise.resolve();

  /**
   * @param events where what it says goes
   * @param prompt embeddings [T, hidden size]; the reply owns them and `sequence`
   */
  constructor(
    readonly events: Events,
    readonly prompt: Tensor,
    readonly sequence: KvSequence,
    private readonly parts: ReplyParts,
  ) {
    this.sampling = parts.sampling;
    this.usage = parts.usage;
    this.#tokens = parts.tokenizer.stream();
    const { tokenizer, speech } = parts;
    if (speech) this.#state = new SpeechState({ pauseId: tokenizer.specialId("</pause>"), endId: tokenizer.endId });
  }

  /** Aborted when the language model has nothing more to do for this reply. */
  get settled(): AbortSignal {
    return this.#settled.signal;
  }

  /** Aborted when nothing more will happen. */
  get ended(): AbortSignal {
    return this.#ended.signal;
  }

  get paused(): boolean {
    return this.events.length >= bufferedEvents;
  }

  get speaks(): boolean {
    return this.#state !== undefined;
  }

  /** Whether the next step's text id counts. */
  get writes(): boolean {
    return this.#state?.phase !== "speech";
  }

  /** What the language model reads next. */
  get next(): SpeechInput {
    return this.#next!;
  }

  /** The last text ids, oldest first. */
  get textHistory(): readonly number[] {
    return this.#state?.textHistory ?? this.#textHistory;
  }

  codecHistory(book: number): readonly number[] {
    return this.#state?.codecHistory(book) ?? [];
  }

  /** Takes the ids chosen after a step of the language model. */
  take(textId: number, codecIds: readonly number[]): void {
    const { tokenizer, books, maxTokens, maxPositions } = this.parts;
    this.usage.step();
    let done: boolean;
    if (this.#state) {
      const step = this.#state.step(this.writes ? textId : null, codecIds);
      if (step.textId !== null) this.#write(step.textId);
      if (step.frame) this.#speak((stream) => stream.push([step.frame!]), 1);
      this.#next = step.next;
      done = this.#state.done;
    } else {
      this.#write(textId);
      this.#textHistory = [...this.#textHistory, textId].slice(-30);
      this.#next = { textId, codecIds: new Array<number>(books).fill(maskedId) };
      done = textId === tokenizer.endId;
    }
    if (done) this.#finish("stop");
    else if (this.usage.steps >= maxTokens || this.sequence.length >= maxPositions) this.#finish("length");
  }

  /** Ends with an error, unless it has ended. */
  fail(error: unknown): void {
    this.events.fail(error);
    this.#free();
    this.#end();
  }

  /** The consumer has gone. */
  cancel(): void {
    this.events.close();
    this.fail(undefined);
  }

  #write(id: number): void {
    this.usage.textTokens++;
    this.#emitText(this.#text.push(this.#tokens.push(id)));
  }

  #emitText(text: string): void {
    if (text === "") return;
    this.#whole += text;
    this.usage.text();
    this.events.push({ type: "text", text, tokens: this.usage.textTokens, step: this.usage.steps });
  }

  #speak(work: (stream: SpeechStream) => Promise<Float32Array | undefined>, frames: number): void {
    const { stream, sampleRate } = this.parts.speech!;
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

  #finish(reason: "stop" | "length"): void {
    this.#emitText(this.#text.push(this.#tokens.end()));
    this.#emitText(this.#text.end());
    const { speech, usage } = this.parts;
    if (speech) this.#speak((stream) => stream.flush(), 0);
    this.#free();
    void this.#speaking.then(() => {
      this.events.push({ type: "end", reason, text: this.#whole, usage: usage.report() });
      this.events.end();
      this.#end();
    });
  }

  #end(): void {
    this.parts.speech?.stream[Symbol.dispose]();
    this.#ended.abort();
  }

  #free(): void {
    this.sequence.dispose();
    this.prompt.dispose();
    this.#settled.abort();
  }
}

/** A speech decoder that needs the whole utterance: nothing comes out before the end. */
export class WholeUtterance implements SpeechStream {
  readonly #frames: SpeechFrame[] = [];

  constructor(private readonly decode: (frames: readonly SpeechFrame[]) => Promise<Float32Array>) {}

  async push(frames: readonly SpeechFrame[]): Promise<undefined> {
    this.#frames.push(...frames);
  }

  async flush(): Promise<Float32Array | undefined> {
    const frames = this.#frames.splice(0);
    return frames.length > 0 ? this.decode(frames) : undefined;
  }

  [Symbol.dispose](): void {
    this.#frames.length = 0;
  }
}

/** ABORTED for a reply. */
export function abortError(reason: unknown): CaracalError {
  return new CaracalError("ABORTED", "the reply was aborted", {}, { cause: reason });
}
