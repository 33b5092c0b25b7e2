import type { LiveSession } from "../../live/session.js";
import { Turns } from "../../turns.js";
import { Refusal } from "../errors.js";
import { type AudioFormat, byteRateOf } from "./audioFormat.js";
import { AudioIn } from "./audioIn.js";

/** Seconds of sound that are decoded at a stretch. */
const sliceSeconds = 0.25;

/** The sound that a client sends, on its way to the session that hears it. */
export class InputBuffer {
  readonly #live: LiveSession;
  readonly #rate: number;
  readonly #most: number;
  readonly #onSound: (seconds: number) => void;
  #audio: AudioIn;
  #heard: Promise<unknown> = Promise.resolve();

  /**
   * @param rate of the samples that the session hears, in Hz
   * @param most seconds of sound that may wait to be heard
   * @param onSound called with seconds of sound that were taken
   */
  constructor(
    live: LiveSession,
    {
      format,
      rate,
      most,
      onSound,
    }: { format: AudioFormat; rate: number; most: number; onSound: (seconds: number) => void },
  ) {
    this.#live = live;
    this.#rate = rate;
    this.#most = most;
    this.#onSound = onSound;
    this.#audio = new AudioIn(format, rate);
  }

  /** @throws {Refusal} 429 for more sound than may wait, none of which is heard then */
  async append(bytes: Uint8Array): Promise<void> {
    const { format } = this.#audio;
    const seconds = bytes.length / byteRateOf(format);
    if (this.#live.waitingSeconds + seconds > this.#most) {
      const message = `more than ${this.#most} s of sound would wait to be heard: none of this was taken, send it later`;
      throw new Refusal({ status: 429, message, param: "audio", code: "input_audio_buffer_full" });
    }
    this.#onSound(seconds);
    const turns = new Turns("reading sound", this.#live.ended);
    const slice = 2 * Math.floor((sliceSeconds * byteRateOf(format)) / 2);
    for (let at = 0; at < bytes.length; at += slice) {
      this.#push(this.#audio.push(bytes.subarray(at, at + slice)));
      if (turns.due) await turns.next();
    }
  }

  /** Resolves when the sound that was taken is heard. */
  get heard(): Promise<unknown> {
    return this.#heard;
  }

  /** Waits until all sound was heard, to its last sample: what follows belongs to another. */
  async settle(): Promise<void> {
    this.#push(this.#audio.end());
    await this.#heard;
  }

  /** Takes sound of another format from now on; what came before has been settled. */
  read(format: AudioFormat): void {
    this.#audio = new AudioIn(format, this.#rate);
  }

  #push(samples: Float32Array): void {
    if (samples.length === 0) return;
    this.#heard = this.#live.push(samples).catch(() => {}); // it has ended the session, whose events tell
  }
}
