import { outputRate } from "./pcm.js";
import type { PlayerCommand, PlayerReport } from "./playerWorklet.js";

export interface SpeakerListener {
  /** The first sample of a reply is audible at this time of performance.now(). */
  began(id: string, time: number): void;
  /** A reply was played to its end. */
  finished(id: string): void;
  /** @param rms of the latest 32 ms; @param underruns how often the sound broke off */
  level(rms: number, underruns: number): void;
}

/** How much of a reply was played when it was stopped. */
export interface Stopped {
  readonly id: string;
  readonly milliseconds: number;
}

/** Plays replies through a jitter buffer. */
export class Speaker {
  readonly #context: AudioContext;
  readonly #node: AudioWorkletNode;
  readonly #listener: SpeakerListener;
  readonly #stopping: ((stopped: Stopped | undefined) => void)[] = [];

  private constructor(context: AudioContext, listener: SpeakerListener) {
    this.#context = context;
    this.#listener = listener;
    this.#node = new AudioWorkletNode(context, "player", { numberOfInputs: 0, outputChannelCount: [1] });
    this.#node.port.onmessage = ({ data }: MessageEvent<PlayerReport>) => this.#hear(data);
    this.#node.connect(context.destination);
  }

  /** Whether the browser can play sound for this page, which must be secure. */
  static get possible(): boolean {
    return window.isSecureContext && "audioWorklet" in AudioContext.prototype;
  }

  /** Call it where the user has clicked or typed: browsers are silent before. */
  static async open(listener: SpeakerListener): Promise<Speaker> {
    const context = new AudioContext({ sampleRate: outputRate, latencyHint: "interactive" });
    const resumed = context.resume(); // some browsers allow it only before anything is waited for
    await context.audioWorklet.addModule(new URL("playerWorklet.js", import.meta.url));
    await resumed;
    return new Speaker(context, listener);
  }

  push(id: string, samples: Float32Array<ArrayBuffer>): void {
    this.#tell({ type: "push", id, samples }, [samples.buffer]);
  }

  end(id: string): void {
    this.#tell({ type: "end", id });
  }

  /** Falls silent. @returns what was played of the reply that was played, or next */
  stop(): Promise<Stopped | undefined> {
    return new Promise((resolve) => {
      this.#stopping.push(resolve);
      this.#tell({ type: "stop" });
    });
  }

  close(): void {
    void this.#context.close();
  }

  #tell(command: PlayerCommand, transfer: Transferable[] = []): void {
    this.#node.port.postMessage(command, transfer);
  }

  #hear(report: PlayerReport): void {
    if (report.type === "began") this.#listener.began(report.id, this.#timeOf(report.time));
    else if (report.type === "finished") this.#listener.finished(report.id);
    else if (report.type === "level") this.#listener.level(report.rms, report.underruns);
    else {
      const { id, played } = report;
      const milliseconds = Math.floor((1000 * played) / outputRate);
      this.#stopping.shift()?.(id === null ? undefined : { id, milliseconds });
    }
  }

  /** When a time of the context is audible. */
  #timeOf(seconds: number): number {
    const { contextTime = 0, performanceTime = 0 } = this.#context.getOutputTimestamp();
    if (performanceTime > 0) return performanceTime + 1000 * (seconds - contextTime);
    return performance.now() + 1000 * (this.#context.outputLatency || this.#context.baseLatency);
  }
}
