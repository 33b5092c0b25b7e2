import { CaracalError } from "../errors.js";
import type { RgbImage } from "../media/image.js";
import type { Message } from "../model/prompt/messages.js";
import type { Rows } from "../model/types.js";
import { checkObject, checkOption, positiveNumber } from "../options.js";
import { Chain } from "./chain.js";
import { SessionCore } from "./core.js";
import type { LiveEvent } from "./events.js";
import type { LiveHost } from "./host.js";
import { checkedFrame, checkedSamples, checkText } from "./inputs.js";
import { Listening } from "./listening.js";
import {
  checkLiveOptions,
  checkReplyOptions,
  type LiveOptions,
  type LiveReplyOptions,
  type LiveUpdate,
  updatedOptions,
} from "./options.js";
import { Replies } from "./replies.js";

/** The sample rate of the default detector. */
const detectorRate = 16000;
/** The item of what the model is told before the conversation. */
const systemItem = "system";

/** A message that is on its way into a conversation. */
export interface AddedMessage {
  /** Its name in the conversation. */
  readonly item: string;
  /** Resolves when its media are read. @throws {CaracalError} as `OmniModel.generate`, if it cannot be a message: it is left out */
  readonly added: Promise<void>;
}

/**
 * A conversation in real time: samples and frames go in as they arrive, and what the model says comes out. A turn is
 * encoded and prefilled while the user speaks; a reply is prepared as soon as the user falls silent, on a fork of the
 * conversation, and delivered once the turn has ended. Speech of the user interrupts a reply.
 *
 * The conversation is a list of items, each a turn, a message or a reply. The session holds its rows of the KV cache until
 * it is disposed.
 */
export class LiveSession implements AsyncIterableIterator<LiveEvent>, Disposable {
  readonly #core: SessionCore;
  readonly #replies: Replies;
  readonly #listening: Listening;
  /** Voice activity. */
  readonly #hearing = new Chain();
  /** Samples that wait for it. */
  #unheard = 0;
  /** What the options were made of. */
  #given: LiveOptions;

  /** @internal Use `OmniModel.live`. */
  constructor(host: LiveHost, options: LiveOptions) {
    const checked = checkLiveOptions(options, host.frameSeconds !== undefined);
    this.#given = { ...options };
    if (!checked.detector && checked.detects) checkDetectorRate(host);
    this.#core = new SessionCore(host, checked, {
      onTake: () => this.#replies.onTake(),
      onEnd: () => this.#onEnd(),
    });
    this.#replies = new Replies(this.#core);
    this.#listening = new Listening(this.#core, this.#replies);
    if (checked.system !== undefined) this.#tell(checked.system);
  }

  /** Aborted when the session has ended. */
  get ended(): AbortSignal {
    return this.#core.ended;
  }

  /**
   * Seconds of sound that were pushed and are not encoded yet: more than a second or two in a turn means that sound comes
   * faster than the model can hear, or that the turn waits for a reply which it does not interrupt.
   */
  get waitingSeconds(): number {
    return this.#unheard / this.#core.host.sampleRate + this.#listening.waitingSeconds;
  }

  /**
   * Takes what the microphone hears, speech or not, in pieces of any length.
   * @param samples mono, in [−1, 1], at the rate of the audio encoder, 16 kHz as published
   * @returns when the samples were looked at for voice activity
   * @throws {CaracalError} `INVALID_ARGUMENT` for what is no Float32Array, `DISPOSED`
   */
  async push(samples: Float32Array): Promise<void> {
    const values = checkedSamples(samples);
    this.#core.checkOpen();
    this.#unheard += values.length;
    await this.#core.run(this.#hearing, async () => {
      await this.#listening.hear(values);
      this.#unheard -= values.length;
    });
  }

  /**
   * Takes a frame of the camera; of those it gets, the session keeps two a second while the user speaks, and one in two
   * seconds otherwise.
   * @throws {CaracalError} `INVALID_ARGUMENT` for what is no image, or for a model without vision, `MEDIA_INVALID`, `DISPOSED`
   */
  look(frame: RgbImage): void {
    const image = checkedFrame(frame);
    this.#core.checkOpen();
    if (!this.#core.host.encoders.vision)
      throw new CaracalError("INVALID_ARGUMENT", "LiveSession.look needs a model that was loaded with vision: true");
    this.#listening.look(image);
  }

  /**
   * Takes typed text: as a turn of its own, which interrupts the reply, or at the end of what the user is saying.
   * @throws {CaracalError} `INVALID_ARGUMENT` for no text, `DISPOSED`
   */
  say(text: string): void {
    checkText(text, this.#core.host.encoders.maxTokens);
    this.#core.checkOpen();
    this.#listening.say(text);
  }

  /**
   * Ends the turn that the user is in, as if it had fallen silent long ago. It is answered as any other turn.
   * @returns its item; undefined if there is no turn
   * @throws {CaracalError} `DISPOSED`
   */
  commit(): string | undefined {
    this.#core.checkOpen();
    return this.#listening.commit();
  }

  /**
   * Drops the turn that the user is in. What is said from now on may begin another one.
   * @returns whether there was a turn
   * @throws {CaracalError} `DISPOSED`
   */
  clear(): boolean {
    this.#core.checkOpen();
    return this.#listening.clear();
  }

  /**
   * Replies to the conversation as it is, without the turn that the user is in: that comes after the reply.
   * @param options for this reply alone; those that are left out are the session's
   * @returns the reply's item
   * @throws {CaracalError} `INVALID_ARGUMENT` while a reply is being delivered, or for a wrong option; `DISPOSED`
   */
  respond(options: LiveReplyOptions = {}): string {
    const where = "LiveSession.respond";
    const checked = checkReplyOptions(where, options, this.#given, this.#core.host.frameSeconds !== undefined);
    this.#core.checkOpen();
    this.#replies.checkIdle(where);
    const prepared = this.#replies.prepare(undefined, checked, this.#listening.turn);
    return this.#replies.deliver(undefined, prepared, checked);
  }

  /**
   * Adds a message that nobody answers by itself: before the turn that the user is in, and after a reply that is being
   * delivered.
   * @param message as `OmniModel.generate` takes it; of the user, with text or media, of the system, or of the assistant
   * @throws {CaracalError} `DISPOSED`
   */
  add(message: Message): AddedMessage {
    this.#core.checkOpen();
    const item = this.#core.nextItem();
    const rows = this.#core.host.encode(message, this.ended);
    const added = rows.then(() => {});
    added.catch(() => {}); // whoever waits for it sees the error
    this.#listening.forgetPrepared();
    this.#insert(item, rows, this.#listening.turn?.item).catch(() => {}); // the session has ended
    return { item, added };
  }

  /**
   * Takes an item out of the conversation. What came after it is computed again. A reply that is being delivered is
   * interrupted.
   * @returns false if there is no such item
   * @throws {CaracalError} `DISPOSED`
   */
  async remove(item: string): Promise<boolean> {
    this.#core.checkOpen();
    if (this.#listening.turn?.item === item) return this.#listening.clear();
    if (this.#replies.current === item) this.#replies.interrupt();
    this.#listening.forgetPrepared();
    return await this.#replies.change(() => this.#core.conversation.remove(item));
  }

  /**
   * Changes options of the session from now on; those that are left out stay as they are. A new `system` text takes the
   * place of the one before; all that was said since is computed again. One that the conversation has no room for ends the
   * session, as any turn would.
   * @throws {CaracalError} `INVALID_ARGUMENT`, naming the option, when one is unknown or out of range, and nothing changes;
   *   `DISPOSED`
   */
  update(options: LiveUpdate): void {
    checkObject("LiveSession.update", "options", options);
    const { host, options: before } = this.#core;
    const given = updatedOptions(this.#given, options);
    const checked = checkLiveOptions(given, host.frameSeconds !== undefined);
    this.#core.checkOpen();
    const detects = Object.hasOwn(options, "detector") ? options.detector !== null : before.detects;
    if (!checked.detector && detects) checkDetectorRate(host);
    this.#given = given;
    this.#core.options = { ...checked, detects, clock: before.clock };
    if (options.turns || detects !== before.detects) this.#listening.resetDetector();
    if (checked.system !== before.system) this.#tell(checked.system);
  }

  /** Stops the reply that is being spoken, as the user's speech does; nothing happens if there is none. */
  interrupt(): void {
    this.#core.checkOpen();
    this.#replies.interrupt();
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
    this.#core.checkOpen();
    if (this.#replies.current === item) this.#replies.interrupt(seconds);
    else if (this.#replies.inProgress) return false;
    this.#listening.forgetPrepared();
    return await this.#replies.change(() => this.#replies.truncate(item, seconds));
  }

  /** The next event. @throws {CaracalError} the error that ended the session */
  next(): Promise<IteratorResult<LiveEvent>> {
    return this.#core.events.next();
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
    this.#core.events.close();
    if (this.ended.aborted) return;
    try {
      this.#listening.dispose();
    } finally {
      this.#core.end();
    }
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /** @internal Ends the session with an error. */
  fail(error: unknown): void {
    this.#core.end({ error });
  }

  #onEnd(): void {
    this.#replies.dispose();
    try {
      this.#listening.dispose();
    } catch {} // what ended the session counts
  }

  /** Makes a text what the model is told before the conversation. */
  #tell(text: string | undefined): void {
    const { host, conversation } = this.#core;
    this.#listening.forgetPrepared();
    void this.#replies.change(async () => {
      const rows = text === undefined ? undefined : await host.encode({ role: "system", content: text }, this.ended);
      await conversation.setFirst(systemItem, rows);
    });
  }

  /** Puts a message into the conversation, unless its encoding fails. @param before the item that follows it */
  async #insert(item: string, encoding: Promise<Rows>, before: string | undefined): Promise<void> {
    let isTaken = false;
    const change = this.#replies.change(async () => {
      const rows = await encoding.catch(() => undefined);
      isTaken = true;
      if (rows) await this.#core.conversation.insert(item, rows, before);
    });
    await change.finally(() => {
      if (!isTaken) encoding.then((rows) => rows.dispose()).catch(() => {}); // the session has ended before
    });
  }
}

/** @throws {CaracalError} `UNSUPPORTED` */
function checkDetectorRate({ sampleRate }: LiveHost): void {
  if (sampleRate === detectorRate) return;
  const message = `live: voice is found at ${detectorRate} Hz, the model hears ${sampleRate}: give a detector`;
  throw new CaracalError("UNSUPPORTED", message, { sampleRate });
}
