import { readFileSync } from "node:fs";

export interface SmartResizeCase {
  height: number;
  width: number;
  factor: number;
  min_pixels: number;
  max_pixels: number;
  expected: [number, number];
}
export interface FrameSamplingCase {
  video_fps: number;
  frame_count: number;
  sample_fps: number;
  max_frames: number;
  max_fps: number;
  min_frames: number;
  expected_indices?: number[];
  expected_timestamps?: string[];
  error?: string;
}
export interface PostSqueezeCase {
  grid_shapes: [number, number, number][];
  token_counts: number[];
  ratio: number;
  min_tokens_video: number;
  max_tokens: number;
  expected_grids: [number, number][];
  expected_tokens: number[];
}
export interface InterleaveCase {
  video_units: number;
  tokens_per_unit: number;
  audio_samples: number;
  sample_rate: number;
  interval_seconds: number;
  expected_text: string;
}

/** Answers of LongCat-Flash-Omni's published preprocessing functions. */
export const preprocess: {
  smart_resize: SmartResizeCase[];
  frame_sampling: FrameSamplingCase[];
  post_squeeze: PostSqueezeCase[];
  interleave: InterleaveCase[];
} = JSON.parse(readFileSync(new URL("../golden/preprocess.json", import.meta.url), "utf8"));
