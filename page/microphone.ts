import type { MicrophoneMessage } from "./microphoneWorklet.js";
import { deviceProblem, mediaDevices } from "./problem.js";

export interface MicrophoneListener {
  /** Samples at the session's rate. */
  heard(samples: Float32Array): void;
  /** The microphone is gone. */
  lost(): void;
}

/** A microphone that is open. */
export class Microphone {
  readonly #context: AudioContext;
  readonly #track: MediaStreamTrack;

  private constructor(context: AudioContext, track: MediaStreamTrack) {
    this.#context = context;
    this.#track = track;
  }

  /** @throws {Problem} */
  static async open(listener: MicrophoneListener): Promise<Microphone> {
    const audio = { channelCount: 1, echoCancellation: true, noiseSuppression: true, autoGainControl: true };
    const stream = await mediaDevices()
      .getUserMedia({ audio })
      .catch((error) => {
        throw deviceProblem(error, "microphone");
      });
    const [track] = stream.getAudioTracks() as [MediaStreamTrack];
    // The device's own rate: some browsers connect a microphone to no other.
    const microphone = new Microphone(new AudioContext({ latencyHint: "interactive" }), track);
    track.addEventListener("ended", () => listener.lost());
    try {
      await microphone.#listen(stream, listener);
    } catch (error) {
      microphone.close();
      throw error;
    }
    return microphone;
  }

  async #listen(stream: MediaStream, listener: MicrophoneListener): Promise<void> {
    const context = this.#context;
    await context.audioWorklet.addModule(new URL("microphoneWorklet.js", import.meta.url));
    const shape = { channelCount: 1, channelCountMode: "explicit", numberOfOutputs: 0 } as const;
    const node = new AudioWorkletNode(context, "microphone", shape);
    node.port.onmessage = ({ data }: MessageEvent<MicrophoneMessage>) => listener.heard(data.samples);
    context.createMediaStreamSource(stream).connect(node);
    await context.resume();
  }

  /** A muted microphone hears silence: time passes for the server as well. */
  set muted(muted: boolean) {
    this.#track.enabled = !muted;
  }

  close(): void {
    this.#track.stop();
    void this.#context.close();
  }
}
