// What AudioWorkletGlobalScope has, and the library of TypeScript lacks.

declare const sampleRate: number;
/** The frame that the block being processed begins with. */
declare const currentFrame: number;
declare function registerProcessor(name: string, processor: new () => AudioWorkletProcessor): void;

declare abstract class AudioWorkletProcessor {
  readonly port: MessagePort;
  /** @returns whether it goes on */
  abstract process(inputs: readonly Float32Array[][], outputs: readonly Float32Array[][]): boolean;
}
