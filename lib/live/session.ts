import { CaracalError } from "../errors.js";
import type { RgbImage } from "../media/image.js";
import { EventBuffer } from "../model/reply/events.js";
import { checkOption, positiveNumber } from "../options.js";
import { Chain } from "./chain.js";
import { Conversation, heardSteps } from "./conversation.js";
import { deliver } from "./delivery.js";
import type { LiveEvent } from "./events.js";
import { FrameSampler } from "./frames.js";
import type { LiveHost } from "./host.js";
import { checkedFrame, checkedSamples, checkText } from "./inputs.js";
import { chunkSeconds } from "./layout.js";
import { type CheckedLiveOptions, checkLiveOptions, type LiveOptions } from "./options.js";
import { Playback } from "./playback.js";
import { PreparedReply } from "./preparedReply.js";
import { Recording } from "./recording.js";
import { Turn } from "./turn.js";
import type { TurnEvent } from "./turnDetector.js";
import { type Packet, TurnInput } from "./turnInput.js";
import { TurnWriter } from "./turnWriter.js";
import { checkedEvents, SpeechTurns, type VoiceDetector } from "./voiceDetector.js";

/** Events buffered for the consumer before a reply waits. */
const maxBufferedEvents = 64;
/** The sample rate of the default detector. */
const detectorRate = 16000;
/** Seconds before the start of a turn that are remembered, in which a detector may place it. */
const rememberedSeconds = 3;

/**
 * A conversation in real time: samples and frames go in as they arrive, and what the model says comes out. A turn is
 * encoded and prefilled while the user speaks; a reply is prepared as soon as the user falls silent, on a fork of the
 * conversation, and delivered once the turn has ended. Speech of the user interrupts a reply.
 *
 * The session holds its rows of the KV cache until it is disposed.
 */
export class LiveSession implements AsyncIterableIterator<LiveEvent>, Disposable {
  readonly #host: LiveHost;
  readonly #options: CheckedLiveOptions;
  readonly #events: EventBuffer<LiveEvent>;
  readonly #ended = new AbortController();
  readonly #startTime: number;
  #detector: VoiceDetector | undefined;
  readonly #recording = new Recording();
  readonly #frames: FrameSampler;
  readonly #conversation: Conversation;
  readonly #writer: TurnWriter;
  /** Voice activity. */
  readonly #hearing = new Chain();
  /** What changes the conversation, in order. */
  readonly #writing = new Chain();
  #turn: Turn | undefined;
  #reply: { readonly turn: Turn; readonly prepared: PreparedReply; readonly playback: Playback } | undefined;
  #items = 0;
  #taken: (() => void) | undefined;

  /** @internal Use `OmniModel.live`. */
  constructor(host: LiveHost, options: LiveOptions) {
    this.#options = checkLiveOptions(options, host.frameSeconds !== undefined);
    this.#host = host;
    if (!this.#options.detector && host.sampleRate !== detectorRate) {
      const message = `live: voice is found at ${detectorRate} Hz, the model hears ${host.sampleRate}: give a detector`;
      throw new CaracalError("UNSUPPORTED", message, { sampleRate: host.sampleRate });
    }
    this.#events = new EventBuffer(() => this.#onTake());
    this.#startTime = this.#options.clock.now();
    this.#frames = new FrameSampler(this.#options.maxWaitingFrames);
    this.#conversation = new Conversation(host.sequence(), host.encoders.tokenizer);
    this.#writer = new TurnWriter(host, this.#conversation, this.#ended.signal);
    const { system } = this.#options;
    if (system !== undefined)
      this.#write(async () => this.#writer.append(await TurnInput.system(host.encoders, system)));
  }

  /** Aborted when the session has ended. */
  get ended(): AbortSignal {
    return this.#ended.signal;
  }

  /**
   * Takes what the microphone hears, speech or not, in pieces of any length.
   * @param samples mono, in [−1, 1], at the rate of the audio encoder, 16 kHz as published
   * @returns when the samples were looked at for voice activity
   * @throws {CaracalError} `INVALID_ARGUMENT` for what is no Float32Array, `DISPOSED`
   */
  async push(samples: Float32Array): Promise<void> {
    const values = checkedSamples(samples);
    this.#checkOpen();
    await this.#run(this.#hearing, () => this.#hear(values));
  }

  /**
   * Takes a frame of the camera; of those it gets, the session keeps two a second while the user speaks, and one in two
   * seconds otherwise.
   * @throws {CaracalError} `INVALID_ARGUMENT` for what is no image, or for a model without vision, `MEDIA_INVALID`, `DISPOSED`
   */
  look(frame: RgbImage): void {
    const image = checkedFrame(frame);
    this.#checkOpen();
    if (!this.#host.encoders.vision)
      throw new CaracalError("INVALID_ARGUMENT", "LiveSession.look needs a model that was loaded with vision: true");
    const turn = this.#turn;
    const spoken = turn && (this.#recording.end - turn.first) / this.#host.sampleRate;
    this.#frames.look(image, this.#now, spoken);
  }

  /**
   * Takes typed text: as a turn of its own, which is answered at once, or at the end of what the user is saying.
   * @throws {CaracalError} `INVALID_ARGUMENT` for no text, `DISPOSED`
   */
  say(text: string): void {
    checkText(text, this.#host.encoders.maxTokens);
    this.#checkOpen();
    if (this.#turn) {
      this.#turn.texts.push(text);
      return;
    }
    this.#interrupt();
    const turn = this.#begin(this.#recording.end);
    turn.texts.push(text);
    this.#answer(turn, this.#recording.end);
  }

  /** Stops the reply that is being spoken, as the user's speech does; nothing happens if there is none. */
  interrupt(): void {
    this.#checkOpen();
    this.#interrupt();
  }

  /**
   * Says how much of the last reply was played: the conversation goes on as if the reply had ended at a natural break
   * before that. To be called when a reply was interrupted, if the listener knows better than the session.
   * @param item as its `reply` event names it
   * @param seconds of its speech
   * @returns false if the item is not the last reply, or has been answered
   * @throws {CaracalError} `INVALID_ARGUMENT`, `DISPOSED`
   */
  async truncate(item: string, seconds: number): Promise<boolean> {
    checkOption("LiveSession.truncate", "seconds", seconds, {
      accepts: (value) => value === 0 || positiveNumber.accepts(value),
      expected: "a number of seconds from 0",
    });
    this.#checkOpen();
    if (this.#reply?.playback.item === item) this.#interrupt(seconds);
    return await this.#run(this.#writing, () => this.#truncate(item, seconds));
  }

  /** The next event. @throws {CaracalError} the error that ended the session */
  next(): Promise<IteratorResult<LiveEvent>> {
    return this.#events.next();
  }

  /** Ends the session, as leaving a `for await` loop does. */
  async return(): Promise<IteratorResult<LiveEvent>> {
    this.dispose();
    return { done: true, value: undefined };
  }

  /** The events themselves, for `for await`. */
  [Symbol.asyncIterator](): this {
    return this;
  }

  /** Ends the session and frees its rows of the KV cache. Safe to call twice. */
  dispose(): void {
    this.#events.close();
    if (this.#end()) this.#disposeDetector();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /** @internal Ends the session with an error. */
  fail(error: unknown): void {
    if (this.#ended.signal.aborted) return;
    this.#events.fail(error);
    this.#end();
    try {
      this.#disposeDetector();
    } catch {} // the first error counts
  }

  get #now(): number {
    return this.#options.clock.now() - this.#startTime;
  }

  #checkOpen(): void {
    if (this.#ended.signal.aborted) throw new CaracalError("DISPOSED", "the live session has ended: open another");
  }

  /** @returns whether the session had not ended */
  #end(): boolean {
    if (this.#ended.signal.aborted) return false;
    this.#ended.abort();
    this.#reply?.prepared.drop();
    for (const turn of [this.#turn, this.#reply?.turn]) turn?.dispose();
    [this.#turn, this.#reply] = [undefined, undefined];
    this.#conversation.dispose();
    this.#taken?.();
    return true;
  }

  #disposeDetector(): void {
    (this.#detector ?? this.#options.detector)?.[Symbol.dispose]();
  }

  #onTake(): void {
    this.#taken?.();
    this.#host.wake();
  }

  /** Runs work on a chain; what goes wrong ends the session. */
  async #run<T>(chain: Chain, work: () => Promise<T> | T): Promise<T> {
    try {
      return await chain.run(() => {
        this.#checkOpen();
        return work();
      });
    } catch (error) {
      this.fail(error);
      throw error;
    }
  }

  /** Lets work change the conversation, after what was asked before. @param free what is left if the session ends first */
  #write(work: () => Promise<void>, free = () => {}): void {
    this.#run(this.#writing, work).catch(free);
  }

  async #hear(samples: Float32Array): Promise<void> {
    this.#recording.push(samples);
    this.#detector ??= this.#options.detector ?? new SpeechTurns(await this.#host.voice(), this.#options.turns);
    for (const event of checkedEvents(await this.#detector.push(samples), this.#recording.end)) {
      this.#feed(event.position);
      this.#onVoice(event);
    }
    this.#feed(this.#recording.end);
    const remembered = this.#recording.end - rememberedSeconds * this.#host.sampleRate;
    this.#recording.forget(Math.min(this.#turn?.taken ?? remembered, remembered));
  }

  #onVoice(event: TurnEvent): void {
    const turn = this.#turn;
    if (event.type === "speechStarted") {
      this.#interrupt();
      if (!turn) this.#begin(event.start);
      this.#events.push({ type: "speechStart", sample: event.start });
    } else if (!turn)
      return; // it was ended for its length
    else if (event.type === "speculativeEnd") {
      const sample = event.position;
      turn.pausedAt = sample;
      if (this.#options.speculate) this.#prepare(turn, sample);
      this.#events.push({ type: "speechPause", sample });
    } else if (event.type === "speechResumed") {
      turn.pausedAt = undefined;
      turn.prepared = undefined;
      this.#events.push({ type: "speechResume", sample: event.position });
    } else this.#endTurn(turn, turn.pausedAt ?? event.position);
  }

  #begin(sample: number): Turn {
    const { encoders, sampleRate } = this.#host;
    const start = Math.max(0, this.#now - (this.#recording.end - sample) / sampleRate);
    const turn = new Turn(encoders, sample, start, this.#frames.startTurn());
    this.#turn = turn;
    this.#write(() => this.#writer.open(turn));
    return turn;
  }

  /** Gives the turn's encoder all whole packets before a sample. */
  #feed(until: number): void {
    const packet = chunkSeconds * this.#host.sampleRate;
    for (
      let turn = this.#turn;
      turn && turn.pausedAt === undefined && until - turn.taken >= packet;
      turn = this.#turn
    ) {
      this.#packet(turn, packet);
      if (turn.packets * chunkSeconds >= this.#options.maxTurnSeconds) this.#endTurn(turn, turn.taken);
    }
  }

  #packet(turn: Turn, samples: number): void {
    const packet = this.#packetOf(turn, turn.taken + samples);
    turn.taken += samples;
    turn.packets++;
    this.#write(() => this.#writer.hear(turn, packet));
  }

  /** What came after a turn's last packet, up to a sample. */
  #packetOf(turn: Turn, end: number): Packet {
    const unit = this.#frames.unit(turn.packets, turn.start);
    return { samples: this.#recording.slice(turn.taken, end), unit };
  }

  /** Begins a reply to the turn as it is at a sample. */
  #prepare(turn: Turn, sample: number): PreparedReply {
    const prepared = new PreparedReply(() => this.#host.wake());
    turn.prepared = prepared;
    turn.rest = this.#packetOf(turn, sample);
    const { reply: options } = this.#options;
    this.#write(() =>
      prepared.start(async (events, onLastRow) => {
        const prompt = await turn.input.close(turn.rest, turn.texts, options.speech);
        if (prepared.dropped) return void prompt.dispose();
        return this.#host.reply({ events, prompt, sequence: this.#conversation.sequence.fork(), options, onLastRow });
      }),
    );
    return prepared;
  }

  #endTurn(turn: Turn, sample: number): void {
    this.#events.push({ type: "speechEnd", sample });
    this.#answer(turn, sample);
  }

  #answer(turn: Turn, sample: number): void {
    if (turn.texts.length > 0) turn.prepared = undefined; // it may not have known the text
    const prepared = turn.prepared ?? this.#prepare(turn, sample);
    this.#frames.endTurn();
    this.#turn = undefined;
    const playback = new Playback(`item_${++this.#items}`, this.#options.clock);
    this.#reply = { turn, prepared, playback };
    this.#events.push({ type: "reply", item: playback.item });
    const push = (event: LiveEvent) => this.#events.push(event);
    deliver(prepared, playback, push, () => this.#room(prepared)).catch((error) => this.fail(error));
  }

  /** Waits until the consumer has taken enough events, or nobody wants those of this reply any more. */
  async #room(prepared: PreparedReply): Promise<void> {
    while (this.#events.length >= maxBufferedEvents && !prepared.dropped)
      await new Promise<void>((resolve) => {
        this.#taken = resolve;
      });
  }

  /** Ends the reply that is being spoken. @param seconds of it that were heard, if that is known */
  #interrupt(seconds?: number): void {
    const reply = this.#reply;
    if (!reply) return;
    const { turn, prepared, playback } = reply;
    const heardSeconds = seconds ?? playback.heard; // asks a clock that may throw: nothing has changed yet
    const wasCut = seconds !== undefined || !playback.finished;
    this.#reply = undefined;
    const rows = prepared.rows();
    prepared.drop();
    this.#taken?.();
    const [spoken, { item }] = [this.#options.reply.speech, playback];
    const write = async () => {
      const { tokenizer } = this.#host.encoders;
      if (rows?.sequence) this.#conversation.adopt(rows.sequence, { item, spoken, from: rows.from, steps: rows.steps });
      else await this.#writer.restore(turn, { item, spoken, steps: rows?.steps ?? [] });
      turn.dispose();
      if (!wasCut) return;
      const { steps } = this.#conversation.reply!;
      const kept = spoken ? heardSteps(steps, this.#framesIn(heardSeconds), tokenizer) : steps.length;
      const text = this.#conversation.cut(kept);
      this.#events.push({ type: "interrupted", item, text, heardSeconds });
    };
    this.#write(write, () => {
      rows?.sequence?.dispose();
      turn.dispose();
    });
  }

  async #truncate(item: string, seconds: number): Promise<boolean> {
    const { reply } = this.#conversation;
    const turn = this.#turn;
    if (!reply || reply.item !== item || !reply.spoken || this.#reply) return false;
    const steps = heardSteps(reply.steps, this.#framesIn(seconds), this.#host.encoders.tokenizer);
    if (steps >= reply.steps.length) return true;
    if (turn) turn.prepared = undefined;
    const text = await this.#writer.cut(steps, turn);
    this.#events.push({ type: "interrupted", item, text, heardSeconds: seconds });
    return true;
  }

  #framesIn(seconds: number): number {
    return Math.floor(seconds / (this.#host.frameSeconds ?? 1) + 1e-6);
  }
}
