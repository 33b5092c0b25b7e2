import type { LiveEvent } from "../../lib/live/events.js";
import type { LiveSession } from "../../lib/live/session.js";
import { everyPacket, packetSeconds } from "./microphone.js";
import { Playout } from "./playout.js";

/** A turn and its reply, in seconds of the run. */
export interface TurnMarks {
  /** The user begins to speak. */
  readonly t1: number;
  /** The user falls silent. */
  readonly t2: number;
  /** The session begins to prepare the reply. */
  readonly t3: number | undefined;
  /** The session decides that the turn has ended. */
  readonly t4: number;
  /** The first piece of the reply arrives. */
  readonly firstAudio: number;
  /** When the reply begins to play, and when it ends or is interrupted. */
  readonly playing: readonly [from: number, to: number];
  /** Each piece: when it arrived, and its seconds. */
  readonly pieces: readonly (readonly [at: number, seconds: number])[];
  /** The user interrupts, by speaking. */
  readonly t5: number | undefined;
  /** The session has noticed it. */
  readonly interrupted: number | undefined;
}

export interface ConversationResult {
  readonly turns: readonly TurnMarks[];
  readonly underruns: number;
  readonly missingSeconds: number;
  /** The largest delay of a packet of the microphone. */
  readonly latestPacket: number;
  /** Steps of the language model, in replies that have ended. */
  readonly steps: number;
  /** Seconds of speech that arrived. */
  readonly audioSeconds: number;
  /** Seconds that the user spoke. */
  readonly spokenSeconds: number;
}

export interface Script {
  /** Of a turn, at `sampleRate`. */
  readonly speech: Float32Array;
  readonly sampleRate: number;
  /** The user begins so many seconds late. */
  readonly delay: number;
  /** Seconds that a listener's buffer holds before it plays. */
  readonly buffer: number;
  /** The user interrupts each reply of this number amid it: 4 is every fourth. */
  readonly interruptEvery: number;
  /** When it all ends, in seconds of `now`. */
  readonly end: number;
  /** The seconds of the run. */
  readonly now: () => number;
  /** Called as the user begins and ends to speak. */
  readonly onSpeaking: (speaks: boolean) => void;
}

/** Seconds from the end of a reply to the user's next turn. */
const pause = 0.5;
/** Seconds of a reply that a user who interrupts has heard. */
const interruptAfter = 1;

/** A turn whose reply has not ended. */
interface OpenTurn {
  readonly t1: number;
  t2?: number;
  t3?: number;
  t4?: number;
  firstAudio?: number;
  t5?: number;
  readonly pieces: [at: number, seconds: number][];
}

/** A user who speaks, listens to the reply to its end or interrupts it, and speaks again. */
export class Conversation {
  readonly #session: LiveSession;
  readonly #script: Script;
  readonly #playout: Playout;
  readonly #turns: TurnMarks[] = [];
  /** The user's last turn. */
  #spoken: OpenTurn | undefined;
  /** The turn whose reply is arriving or playing. */
  #answered: OpenTurn | undefined;
  #speaks = false;
  /** The next sample of speech. */
  #at = 0;
  /** When the user speaks next. */
  #speakAt: number;
  #replies = 0;
  #steps = 0;
  #audioSeconds = 0;
  #spokenSeconds = 0;

  constructor(session: LiveSession, script: Script) {
    this.#session = session;
    this.#script = script;
    this.#playout = new Playout(script.buffer);
    this.#speakAt = script.now() + script.delay;
  }

  /** @throws whatever ends the session */
  async run(): Promise<ConversationResult> {
    const { now, end, onSpeaking } = this.#script;
    using session = this.#session;
    const speaking = everyPacket(now, (time) => {
      this.#hear(time);
      return time < end;
    }).finally(() => session.dispose());
    const [latestPacket] = await Promise.all([speaking, this.#listen(session)]);
    if (this.#speaks) onSpeaking(false);
    const { underruns, missing } = this.#playout;
    return {
      ...{ turns: this.#turns, underruns, missingSeconds: missing, latestPacket },
      ...{ steps: this.#steps, audioSeconds: this.#audioSeconds, spokenSeconds: this.#spokenSeconds },
    };
  }

  /** The microphone hears a packet: speech or silence. */
  #hear(time: number): void {
    const { speech, sampleRate } = this.#script;
    const packet = new Float32Array(Math.round(packetSeconds * sampleRate));
    if (!this.#speaks && time >= this.#speakAt) this.#begin(time);
    if (this.#speaks) {
      packet.set(speech.subarray(this.#at, this.#at + packet.length));
      this.#at += packet.length;
      this.#spokenSeconds += packetSeconds;
      if (this.#at >= speech.length) this.#fallSilent(time);
    }
    this.#session.push(packet).catch(() => {}); // the iteration of the events tells what ended the session
  }

  #begin(time: number): void {
    if (this.#answered && time < this.#playout.end) this.#answered.t5 = time;
    else this.#finish(this.#playout.end);
    this.#spoken = { t1: time, pieces: [] };
    this.#at = 0;
    this.#speaks = true;
    this.#script.onSpeaking(true);
  }

  #fallSilent(time: number): void {
    this.#spoken!.t2 = time;
    this.#speaks = false;
    this.#speakAt = Number.POSITIVE_INFINITY;
    this.#script.onSpeaking(false);
  }

  async #listen(session: LiveSession): Promise<void> {
    for await (const event of session) this.#note(event, this.#script.now());
  }

  #note(event: LiveEvent, now: number): void {
    const spoken = this.#spoken;
    if (event.type === "speechPause" && spoken) spoken.t3 = now;
    else if (event.type === "speechResume") delete spoken?.t3;
    else if (event.type === "speechEnd" && spoken) {
      spoken.t4 = now;
      this.#answered = spoken;
      this.#playout.begin();
    } else if (event.type === "audio") this.#play(now, event.samples.length / event.sampleRate);
    else if (event.type === "interrupted") {
      this.#steps += event.usage?.steps ?? 0;
      this.#finish(Math.min(now, this.#playout.end), now);
    } else if (event.type === "replyEnd") {
      this.#steps += event.usage.steps;
      if (this.#speakAt === Number.POSITIVE_INFINITY && !this.#speaks) this.#speakAt = this.#playout.end + pause;
    }
  }

  /** A piece of the reply arrives. */
  #play(now: number, seconds: number): void {
    const turn = this.#answered;
    if (!turn) return;
    this.#playout.receive(now, seconds);
    this.#audioSeconds += seconds;
    turn.pieces.push([now, seconds]);
    if (turn.firstAudio !== undefined) return;
    turn.firstAudio = now;
    if (++this.#replies % this.#script.interruptEvery === 0) this.#speakAt = this.#playout.start + interruptAfter;
  }

  /** The reply has ended: it has played until then. */
  #finish(playedTo: number, interrupted?: number): void {
    const { t1, t2, t3, t4, t5, firstAudio, pieces } = this.#answered ?? {};
    this.#answered = undefined;
    if (t1 === undefined || t2 === undefined || t4 === undefined || firstAudio === undefined) return;
    const playing = [this.#playout.start, playedTo] as const;
    this.#turns.push({ t1, t2, t3, t4, firstAudio, playing, pieces: pieces!, t5, interrupted });
  }
}
