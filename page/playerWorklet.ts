import { JitterBuffer } from "./jitterBuffer.js";

/** What the page tells the player. */
export type PlayerCommand =
  | { readonly type: "push"; readonly id: string; readonly samples: Float32Array<ArrayBuffer> }
  | { readonly type: "end"; readonly id: string }
  | { readonly type: "stop" };

/** What the player tells the page. Times are in seconds of its context. */
export type PlayerReport =
  | { readonly type: "began"; readonly id: string; readonly time: number }
  | { readonly type: "finished"; readonly id: string }
  | { readonly type: "stopped"; readonly id: string | null; readonly played: number }
  | { readonly type: "level"; readonly rms: number; readonly underruns: number };

/** Blocks between two reports of the level: 32 ms at 24 kHz. */
const levelBlocks = 6;

/** Plays replies. */
class Player extends AudioWorkletProcessor {
  readonly #buffer = new JitterBuffer(sampleRate);
  #power = 0;
  #blocks = 0;

  constructor() {
    super();
    this.port.onmessage = ({ data }: MessageEvent<PlayerCommand>) => this.#obey(data);
  }

  process(_: readonly Float32Array[][], [output]: readonly Float32Array[][]): boolean {
    const block = output![0]!;
    const { began, finished } = this.#buffer.pull(block);
    for (const other of output!.slice(1)) other.set(block);
    if (began !== undefined) this.#report({ type: "began", id: began, time: currentFrame / sampleRate });
    if (finished !== undefined) this.#report({ type: "finished", id: finished });
    for (const sample of block) this.#power += sample * sample;
    if (++this.#blocks === levelBlocks) {
      const rms = Math.sqrt(this.#power / (levelBlocks * block.length));
      this.#report({ type: "level", rms, underruns: this.#buffer.underruns });
      this.#power = this.#blocks = 0;
    }
    return true;
  }

  #obey(command: PlayerCommand): void {
    if (command.type === "push") this.#buffer.push(command.id, command.samples);
    else if (command.type === "end") this.#buffer.end(command.id);
    else {
      const stopped = this.#buffer.clear();
      this.#report({ type: "stopped", id: stopped?.id ?? null, played: stopped?.played ?? 0 });
    }
  }

  #report(report: PlayerReport): void {
    this.port.postMessage(report);
  }
}

registerProcessor("player", Player);
