/** The stages of preparing a prompt, in order. */
export const promptStages = ["preprocess", "audio encoder", "vision"] as const;
export type PromptStage = (typeof promptStages)[number];

/** Receives the progress of preparing a prompt. */
export interface PromptProgress {
  /** Reports that `done` of `total` units of a stage are complete: messages for `preprocess`, tokens otherwise. */
  stage(stage: PromptStage, done: number, total: number): void;
  /** Adds time, resulting tokens and seconds of audio to a stage. */
  add(stage: PromptStage, milliseconds: number, tokens: number, audioSeconds?: number): void;
}
