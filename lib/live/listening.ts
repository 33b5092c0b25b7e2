import type { RgbImage } from "../media/image.js";
import type { SessionCore } from "./core.js";
import { FrameSampler } from "./frames.js";
import { chunkSeconds } from "./layout.js";
import { Recording } from "./recording.js";
import type { Replies } from "./replies.js";
import { Turn } from "./turn.js";
import type { TurnEvent } from "./turnDetector.js";
import type { Packet } from "./turnInput.js";
import { checkedEvents, SpeechTurns, type VoiceDetector } from "./voiceDetector.js";

/** Seconds before the start of a turn that are remembered, in which a detector may place it. */
const rememberedSeconds = 3;

/** What a session hears and sees: it finds the turns of the user, and writes them into the conversation while they last. */
export class Listening {
  readonly #core: SessionCore;
  readonly #replies: Replies;
  readonly #recording = new Recording();
  readonly #frames: FrameSampler;
  /** The default detector. */
  #detector: SpeechTurns | undefined;
  /** Whether it is to be made anew before the next turn. */
  #isStale = false;
  #turn: Turn | undefined;
  #waitingPackets = 0;
  #isDisposed = false;

  constructor(core: SessionCore, replies: Replies) {
    this.#core = core;
    this.#replies = replies;
    this.#frames = new FrameSampler(core.options.maxWaitingFrames);
  }

  /** The turn that the user is in. */
  get turn(): Turn | undefined {
    return this.#turn;
  }

  /** Seconds of sound that wait to be encoded, apart from the last one of a turn, which is not complete. */
  get waitingSeconds(): number {
    return this.#waitingPackets * chunkSeconds;
  }

  async hear(samples: Float32Array): Promise<void> {
    const detector = this.#core.options.detects ? await this.#detectorOf() : undefined;
    this.#recording.push(samples);
    if (detector)
      for (const event of checkedEvents(await detector.push(samples), this.#recording.end)) {
        this.#feed(event.position);
        this.#onVoice(event);
      }
    else if (!this.#turn && samples.length > 0) this.#start(this.#recording.end - samples.length);
    this.#feed(this.#recording.end);
    const remembered = this.#recording.end - rememberedSeconds * this.#core.host.sampleRate;
    this.#recording.forget(Math.min(this.#turn?.taken ?? remembered, remembered));
  }

  look(frame: RgbImage): void {
    const turn = this.#turn;
    const spoken = turn && (this.#recording.end - turn.first) / this.#core.host.sampleRate;
    this.#frames.look(frame, this.#core.now, spoken);
  }

  /** Adds text to the user's turn, or makes it a turn, which has ended at once. */
  say(text: string): void {
    if (this.#turn) {
      this.#turn.texts.push(text);
      return;
    }
    this.#replies.interrupt();
    const turn = this.#begin(this.#recording.end);
    turn.texts.push(text);
    this.#answer(turn, this.#recording.end);
  }

  /** Ends the user's turn now. @returns its item */
  commit(): string | undefined {
    const turn = this.#turn;
    if (!turn) return undefined;
    this.#endTurn(turn, turn.pausedAt ?? this.#recording.end);
    this.resetDetector();
    return turn.item;
  }

  /** Drops the user's turn. @returns whether there was one */
  clear(): boolean {
    const turn = this.#turn;
    if (!turn) return false;
    this.#close(turn);
    this.resetDetector();
    void this.#core.write(async () => {
      turn.dispose();
      await this.#core.conversation.remove(turn.item);
    });
    return true;
  }

  /** Forgets that a reply to the user's turn is being prepared: the conversation before it changes. */
  forgetPrepared(): void {
    if (this.#turn) this.#turn.prepared = undefined;
  }

  /** Lets the default detector begin anew, with the options of the session. */
  resetDetector(): void {
    this.#isStale = true;
  }

  /** Ends the hearing. Safe to call twice. */
  dispose(): void {
    this.#turn?.dispose();
    this.#turn = undefined;
    const { detector } = this.#core.options;
    if (!this.#isDisposed) {
      this.#isDisposed = true;
      detector?.[Symbol.dispose]();
    }
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  async #detectorOf(): Promise<VoiceDetector> {
    const { host, options } = this.#core;
    if (options.detector) return options.detector;
    if (this.#isStale && !this.#turn) this.#detector = undefined;
    this.#isStale &&= this.#turn !== undefined;
    const first = this.#recording.end;
    this.#detector ??= new SpeechTurns(await host.voice(), options.turns, first);
    return this.#detector;
  }

  #onVoice(event: TurnEvent): void {
    const { events, options } = this.#core;
    const turn = this.#turn;
    if (event.type === "speechStarted") {
      if (options.bargeIn) this.#replies.interrupt();
      if (!turn) this.#start(event.start);
    } else if (!turn)
      return; // it was ended for its length, or dropped
    else if (event.type === "speculativeEnd") {
      const sample = event.position;
      turn.pausedAt = sample;
      if (options.speculate && this.#isAnswered) this.#prepare(turn, sample);
      events.push({ type: "speechPause", item: turn.item, sample });
    } else if (event.type === "speechResumed") {
      turn.pausedAt = undefined;
      turn.prepared = undefined;
      events.push({ type: "speechResume", item: turn.item, sample: event.position });
    } else this.#endTurn(turn, turn.pausedAt ?? event.position);
  }

  /** Whether a turn that ends now is answered by itself. */
  get #isAnswered(): boolean {
    return this.#core.options.answer && !this.#replies.inProgress;
  }

  /** The user begins to speak. */
  #start(sample: number): void {
    if (this.#core.options.bargeIn) this.#replies.interrupt();
    const { item } = this.#begin(sample);
    this.#core.events.push({ type: "speechStart", item, sample });
  }

  #begin(sample: number): Turn {
    const core = this.#core;
    const { encoders, sampleRate } = core.host;
    const start = Math.max(0, core.now - (this.#recording.end - sample) / sampleRate);
    const turn = new Turn(encoders, core.nextItem(), sample, start, this.#frames.startTurn());
    this.#turn = turn;
    void this.#replies.change(async () => {
      await core.conversation.begin(turn.item);
      await core.conversation.append(await turn.input.open(turn.seen));
    });
    return turn;
  }

  /** Gives the turn's encoder all whole packets before a sample. */
  #feed(until: number): void {
    const packet = chunkSeconds * this.#core.host.sampleRate;
    for (
      let turn = this.#turn;
      turn && turn.pausedAt === undefined && until - turn.taken >= packet;
      turn = this.#turn
    ) {
      this.#packet(turn, packet);
      if (turn.packets * chunkSeconds < this.#core.options.maxTurnSeconds) continue;
      this.#endTurn(turn, turn.taken);
      this.resetDetector(); // who speaks on is in another turn
    }
  }

  #packet(turn: Turn, samples: number): void {
    const packet = this.#packetOf(turn, turn.taken + samples);
    turn.taken += samples;
    turn.packets++;
    this.#waitingPackets++;
    void this.#core.write(async () => {
      const rows = await turn.input.hear(packet);
      if (rows) await this.#core.conversation.append(rows);
      this.#waitingPackets--;
    });
  }

  /** What came after a turn's last packet, up to a sample. */
  #packetOf(turn: Turn, end: number): Packet {
    const unit = this.#frames.unit(turn.packets, turn.start);
    return { samples: this.#recording.slice(turn.taken, end), unit };
  }

  /** Begins a reply to the turn as it is at a sample. */
  #prepare(turn: Turn, sample: number): void {
    turn.rest = this.#packetOf(turn, sample);
    turn.prepared = this.#replies.prepare(turn, this.#core.options.reply);
  }

  #endTurn(turn: Turn, sample: number): void {
    this.#core.events.push({ type: "speechEnd", item: turn.item, sample });
    if (this.#isAnswered) this.#answer(turn, sample);
    else this.#keep(turn, sample);
  }

  #answer(turn: Turn, sample: number): void {
    if (turn.texts.length > 0) turn.prepared = undefined; // it may not have known the text
    if (!turn.prepared) this.#prepare(turn, sample);
    this.#frames.endTurn();
    this.#turn = undefined;
    this.#replies.deliver(turn, turn.prepared!, this.#core.options.reply);
  }

  /** Makes the turn, as it is, a part of the conversation, which nobody answers by itself. */
  #keep(turn: Turn, sample: number): void {
    const rest = this.#packetOf(turn, sample);
    this.#close(turn);
    void this.#core.write(async () => {
      await this.#core.conversation.append(await turn.input.close(rest, turn.texts));
      turn.dispose();
    });
  }

  /** The user is in no turn any more. */
  #close(turn: Turn): void {
    turn.prepared = undefined;
    this.#frames.endTurn();
    this.#turn = undefined;
  }
}
