import type { LiveEvent } from "../../lib/live/events.js";
import type { LiveSession } from "../../lib/live/session.js";
import type { RgbImage } from "../../lib/media/image.js";
import { everyPacket, packetSeconds } from "./microphone.js";
import { Playout, type Span } from "./playout.js";

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
  /** When the reply plays, until it ends or is interrupted: a span more for each gap. */
  readonly playing: readonly Span[];
  /** Each piece: when it arrived, and its seconds. */
  readonly pieces: readonly (readonly [at: number, seconds: number])[];
  /** The user interrupts, by speaking. */
  readonly t5: number | undefined;
  /** The session has noticed it, and the reply stops playing. */
  readonly interrupted: number | undefined;
}

export interface ConversationResult {
  /** Those whose reply was heard, if only in part. */
  readonly turns: readonly TurnMarks[];
  /** Whether the last turn was still waiting for its reply, after so long that nobody would. */
  readonly unanswered: boolean;
  readonly underruns: number;
  readonly missingSeconds: number;
  /** The largest delay of a packet of the microphone. */
  readonly latestPacket: number;
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
  /** Whether the user interrupts a reply amid it; the first one is 1. */
  readonly interrupts: (reply: number) => boolean;
  /** When it all ends, in seconds of `now`. */
  readonly end: number;
  /** The seconds of the run. */
  readonly now: () => number;
  /** What the user's camera sees, twice a second. */
  readonly frame?: RgbImage | undefined;
}

/** Seconds from the end of a reply to the user's next turn. */
const pause = 0.5;
/** Seconds from the end of a turn after which it counts as unanswered. */
const patience = 2;
const secondsPerFrame = 0.5;
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
  #frames = 0;
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
    const { now, end } = this.#script;
    using session = this.#session;
    const speaking = everyPacket(now, (time) => {
      this.#hear(time);
      return time < end;
    }).finally(() => session.dispose());
    const [latestPacket] = await Promise.all([speaking, this.#listen(session)]);
    const { t2, firstAudio } = this.#spoken ?? {};
    const unanswered = t2 !== undefined && firstAudio === undefined && end - t2 > patience;
    this.#finish(Math.min(now(), this.#playout.end));
    const { underruns, missing } = this.#playout;
    return {
      ...{ turns: this.#turns, unanswered, underruns, missingSeconds: missing, latestPacket },
      ...{ audioSeconds: this.#audioSeconds, spokenSeconds: this.#spokenSeconds },
    };
  }

  /** Whether the user speaks now. */
  get speaks(): boolean {
    return this.#speaks;
  }

  /** Whether the user hears a reply now. */
  get listens(): boolean {
    return this.#answered !== undefined && this.#script.now() < this.#playout.end;
  }

  /** The microphone hears a packet: speech or silence. */
  #hear(time: number): void {
    const { speech, sampleRate, frame } = this.#script;
    const packet = new Float32Array(Math.round(packetSeconds * sampleRate));
    if (!this.#speaks && time >= this.#speakAt) this.#begin(time);
    if (this.#speaks) {
      packet.set(speech.subarray(this.#at, this.#at + packet.length));
      this.#at += packet.length;
      this.#spokenSeconds += packetSeconds;
      if (this.#at >= speech.length) this.#fallSilent(time);
    }
    if (frame && time >= this.#frames * secondsPerFrame) {
      this.#session.look(frame);
      this.#frames = Math.floor(time / secondsPerFrame) + 1;
    }
    this.#session.push(packet).catch(() => {}); // the iteration of the events tells what ended the session
  }

  #begin(time: number): void {
    if (this.#answered && time < this.#playout.end) this.#answered.t5 = time;
    else this.#finish(this.#playout.end);
    this.#spoken = { t1: time, pieces: [] };
    this.#at = 0;
    this.#speaks = true;
  }

  #fallSilent(time: number): void {
    this.#spoken!.t2 = time;
    this.#speaks = false;
    this.#speakAt = Number.POSITIVE_INFINITY;
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
    else if (event.type === "interrupted" || (event.type === "speechStart" && this.#answered?.t5 !== undefined))
      this.#finish(Math.min(now, this.#playout.end), now);
    else if (event.type === "replyEnd" && this.#speakAt === Number.POSITIVE_INFINITY && !this.#speaks)
      this.#speakAt = Math.max(now, this.#playout.end) + pause;
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
    if (this.#script.interrupts(++this.#replies)) this.#speakAt = this.#playout.start + interruptAfter;
  }

  /** The reply has ended: it has played until then. */
  #finish(playedTo: number, interrupted?: number): void {
    const { t1, t2, t3, t4, t5, firstAudio, pieces } = this.#answered ?? {};
    this.#answered = undefined;
    if (t1 === undefined || t2 === undefined || t4 === undefined || firstAudio === undefined) return;
    const playing = this.#playout.playing(playedTo);
    this.#turns.push({ t1, t2, t3, t4, firstAudio, playing, pieces: pieces!, t5, interrupted });
  }
}
