import { CaracalError } from "../errors.js";
import type { CheckedOptions } from "../model/reply/options.js";
import type { ReplyUsage } from "../model/reply/usage.js";
import { concatRows } from "../ops/rows.js";
import type { SessionCore } from "./core.js";
import { CurrentReply } from "./currentReply.js";
import { deliver } from "./delivery.js";
import type { LiveEvent } from "./events.js";
import { Playback } from "./playback.js";
import { PreparedReply } from "./preparedReply.js";
import { heardSteps } from "./spokenText.js";
import type { Turn } from "./turn.js";
import { replyStart } from "./turnInput.js";

/** Events buffered for the consumer before a reply waits. */
const maxBufferedEvents = 64;

/** What the model says in a session: one reply at a time, which is prepared, delivered, interrupted, and remembered. */
export class Replies {
  readonly #core: SessionCore;
  #current: CurrentReply | undefined;
  /** Those that are no part of the conversation yet, in order. */
  readonly #unadopted: CurrentReply[] = [];
  #taken: (() => void) | undefined;

  constructor(core: SessionCore) {
    this.#core = core;
  }

  /** The item of the reply that was delivered last, or is being delivered; undefined once it was interrupted. */
  get current(): string | undefined {
    return this.#current?.item;
  }

  /** Whether a reply is being delivered. */
  get inProgress(): boolean {
    return this.#current !== undefined && !this.#current.isDone;
  }

  /** Lets a reply go on that waits for the consumer. */
  onTake(): void {
    this.#taken?.();
    this.#core.host.wake();
  }

  /**
   * Begins a reply to the conversation, and to a turn at its end as `turn.rest` has it.
   * @param later a turn that goes on meanwhile, if there is one: it is not answered, and comes after the reply
   */
  prepare(turn: Turn | undefined, options: CheckedOptions, later?: Turn): PreparedReply {
    const { host, conversation } = this.#core;
    const { encoders } = host;
    const prepared = new PreparedReply(() => host.wake());
    void this.change(async () => {
      prepared.isDue = true;
      if (prepared.dropped) return;
      if (later) conversation.park(later.item);
      if (!turn) await conversation.endReply();
      await prepared.start(async (events, onLastRow) => {
        const tail = await turn?.input.close(turn.rest, turn.texts);
        const start = await replyStart(encoders, options.speech);
        const parts = { tail, start };
        if (prepared.dropped) {
          tail?.dispose();
          start.dispose();
          return undefined;
        }
        const prompt = encoders.audioEncoder.device.scope(() => concatRows(tail ? [tail, start] : [start]));
        return { reply: host.reply({ events, prompt, sequence: conversation.fork(), options, onLastRow }), parts };
      });
    });
    if (later) void this.change(() => conversation.unpark());
    return prepared;
  }

  /** Delivers a reply that may have been prepared before. @returns its item */
  deliver(turn: Turn | undefined, prepared: PreparedReply, options: CheckedOptions): string {
    const { events, options: ofSession } = this.#core;
    const playback = new Playback(this.#core.nextItem(), ofSession.clock);
    const reply = new CurrentReply(turn, prepared, playback, options);
    this.#current = reply;
    this.#unadopted.push(reply);
    events.push({ type: "reply", item: playback.item });
    const push = (event: LiveEvent) => {
      if (event.type === "replyEnd") reply.finish(); // whoever hears it may want another one
      events.push(event);
    };
    deliver(prepared, playback, push, () => this.#room(prepared))
      .catch((error) => this.#core.end({ error }))
      .finally(() => reply.finish());
    return playback.item;
  }

  /**
   * Ends the reply that is being spoken: the conversation goes on after what was heard of it.
   * @param seconds of it that were heard, if that is known
   */
  interrupt(seconds?: number): void {
    const reply = this.#current;
    if (!reply) return;
    const heard = seconds ?? reply.playback.heard; // asks a clock that may throw: nothing has changed yet
    const isCut = seconds !== undefined || !reply.playback.finished;
    const { usage } = reply.prepared;
    reply.stop();
    this.#current = undefined;
    this.#taken?.();
    void this.change(() => (isCut ? this.#cut(reply, heard, usage) : undefined));
  }

  /**
   * Changes the conversation, after what was asked before. What was said by then is part of it: if a reply is being
   * delivered, the change waits for its end.
   */
  change<T>(work: () => Promise<T> | T): Promise<T> {
    return this.#core.write(async () => {
      for (let reply = this.#unadopted[0]; reply?.prepared.isDue; reply = this.#unadopted[0]) {
        await reply.done;
        this.#core.checkOpen();
        await this.#adopt(reply);
      }
      return await work();
    });
  }

  /**
   * Cuts the last reply to what was heard of it, as a part of a change.
   * @returns whether it is the last reply, and spoken
   */
  async truncate(item: string, seconds: number): Promise<boolean> {
    const { conversation, events } = this.#core;
    const { lastReply } = conversation;
    if (!lastReply?.spoken || lastReply.id !== item) return false;
    const kept = this.#heard(lastReply.steps, seconds);
    if (kept >= lastReply.steps.length) return true;
    const text = await conversation.cut(item, kept);
    events.push({ type: "interrupted", item, text, heardSeconds: seconds, usage: null });
    return true;
  }

  /** @throws {CaracalError} `INVALID_ARGUMENT` while a reply is being delivered */
  checkIdle(where: string): void {
    if (!this.inProgress) return;
    const message = `${where}: the reply ${this.#current!.item} is in progress: wait for its end, or interrupt it`;
    throw new CaracalError("INVALID_ARGUMENT", message, { item: this.#current!.item });
  }

  dispose(): void {
    for (const reply of this.#unadopted.splice(0)) reply.dispose();
    this.#current = undefined;
    this.#taken?.();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /** Makes a reply a part of the conversation, as far as it got. */
  async #adopt(reply: CurrentReply): Promise<void> {
    this.#unadopted.shift();
    const { conversation, host } = this.#core;
    const { turn, item, options } = reply;
    const spoken = options.speech;
    const rows = reply.takeRows();
    try {
      if (rows) {
        const { sequence, parts, steps } = rows;
        return await conversation.adopt(sequence, parts.tail, parts.start, { id: item, spoken, steps });
      }
      const tail = await turn?.input.close(turn.rest, turn.texts);
      const start = await replyStart(host.encoders, spoken);
      await conversation.adopt(undefined, tail, start, { id: item, spoken, steps: [] });
    } finally {
      turn?.dispose();
    }
  }

  /** Keeps what was heard of a reply that was interrupted. */
  async #cut({ item, options }: CurrentReply, seconds: number, usage: ReplyUsage | null): Promise<void> {
    const { conversation, events } = this.#core;
    if (conversation.lastReply?.id !== item) return; // it was taken out
    const { steps } = conversation.lastReply;
    const kept = options.speech ? this.#heard(steps, seconds) : steps.length;
    const text = await conversation.cut(item, kept);
    events.push({ type: "interrupted", item, text, heardSeconds: seconds, usage });
  }

  #heard(steps: Parameters<typeof heardSteps>[0], seconds: number): number {
    const { frameSeconds, encoders } = this.#core.host;
    return heardSteps(steps, Math.floor(seconds / (frameSeconds ?? 1) + 1e-6), encoders.tokenizer);
  }

  /** Waits until the consumer has taken enough events, or nobody wants those of this reply any more. */
  async #room(prepared: PreparedReply): Promise<void> {
    while (this.#core.events.length >= maxBufferedEvents && !prepared.dropped)
      await new Promise<void>((resolve) => {
        this.#taken = resolve;
      });
  }
}
