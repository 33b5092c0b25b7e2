/** What a detector of voice activity found at a sample, counted from the session's first one. */
export interface VoiceEvent {
  /**
   * `start`: the user speaks, from this sample on. `pause`: nothing was said for a while, and a reply may be prepared.
   * `resume`: it was only a pause. `end`: the turn has ended where it paused.
   */
  readonly type: "start" | "pause" | "resume" | "end";
  readonly sample: number;
}

/** Finds the turns of one speaker, in samples as the audio encoder takes them. */
export interface VoiceDetector extends Disposable {
  /** @returns what these samples decide, in order; a sample before them is where something began */
  push(samples: Float32Array): Promise<readonly VoiceEvent[]>;
}
