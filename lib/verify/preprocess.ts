import { readFile } from "node:fs/promises";
import { CaracalError } from "../errors.js";
import { audioTokenCount, defaultAudioFraming } from "../model/audio/framing.js";
import { interleavedText, interleaveSequential } from "../model/prompt/interleave.js";
import { durationConditionedFrames, timestampText } from "../model/vision/frames.js";
import { postSqueeze, smartResize } from "../model/vision/resize.js";
import type { TensorReport } from "./golden.js";

/** A case of each section, as `preprocess.json` holds them. */
export interface PreprocessCases {
  smart_resize: SmartResizeCase;
  frame_sampling: FrameSamplingCase;
  post_squeeze: PostSqueezeCase;
  interleave: InterleaveCase;
}

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

type Case = Readonly<Record<string, unknown>>;

/** Whether a case comes out as it should. */
const sections: Readonly<Record<string, (c: never) => boolean>> = {
  smart_resize: resizes,
  frame_sampling: samples,
  post_squeeze: squeezes,
  interleave: interleaves,
};

/** Runs the preprocessing functions on every case of a `preprocess.json`; per section, how many come out wrong. */
export async function verifyPreprocess(file: string): Promise<TensorReport[]> {
  const parsed = await readSections(file);
  return Object.entries(parsed).map(([name, cases]) => {
    const passes = sections[name]!;
    const wrong = cases.filter((c) => !passes(c as never));
    const first = wrong[0] && { note: `first: ${JSON.stringify(wrong[0]).slice(0, 200)}` };
    return {
      name,
      measure: "mismatches",
      error: wrong.length,
      tolerance: 0,
      passed: wrong.length === 0,
      note: `${cases.length} cases`,
      ...first,
    };
  });
}

async function readSections(file: string): Promise<Record<string, Case[]>> {
  const invalid = (problem: string) => new CaracalError("CHECKPOINT_INVALID", `${file}: ${problem}`, { file });
  let parsed: unknown;
  try {
    parsed = JSON.parse(await readFile(file, "utf8"));
  } catch (error) {
    throw invalid(`cannot be read as JSON: ${(error as Error).message}`);
  }
  if (typeof parsed !== "object" || parsed === null || Array.isArray(parsed) || Object.keys(parsed).length === 0)
    throw invalid(`expected an object of sections: ${Object.keys(sections).join(", ")}`);
  for (const [name, cases] of Object.entries(parsed)) {
    if (!Object.hasOwn(sections, name))
      throw invalid(`unknown section ${name}; there are ${Object.keys(sections).join(", ")}`);
    if (!Array.isArray(cases) || cases.length === 0) throw invalid(`section ${name} holds no cases`);
  }
  return parsed as Record<string, Case[]>;
}

const same = (a: unknown, b: unknown): boolean => JSON.stringify(a) === JSON.stringify(b);

function resizes(c: SmartResizeCase): boolean {
  const limits = { factor: c.factor, minPixels: c.min_pixels, maxPixels: c.max_pixels };
  const { height, width } = smartResize(c.height, c.width, limits);
  return same([height, width], c.expected);
}

function samples(c: FrameSamplingCase): boolean {
  try {
    const units = durationConditionedFrames({
      fps: c.video_fps,
      frameCount: c.frame_count,
      sampleFps: c.sample_fps,
      maxFrames: c.max_frames,
      maxFps: c.max_fps,
      minFrames: c.min_frames,
    });
    return (
      same(
        units.flatMap(({ frames }) => frames),
        c.expected_indices,
      ) &&
      same(
        units.map(({ seconds }) => timestampText(seconds)),
        c.expected_timestamps,
      )
    );
  } catch (error) {
    if (!(error instanceof CaracalError)) throw error;
    return c.error !== undefined;
  }
}

function squeezes(c: PostSqueezeCase): boolean {
  const grids = c.grid_shapes.map(([, height, width]) => ({ height, width }));
  const limits = { ratio: c.ratio, minTokensVideo: c.min_tokens_video, maxTokens: c.max_tokens };
  const squeezed = postSqueeze(grids, limits);
  return (
    same(
      squeezed.map(({ grid }) => [grid.height, grid.width]),
      c.expected_grids,
    ) &&
    same(
      squeezed.map(({ tokens }) => tokens),
      c.expected_tokens,
    )
  );
}

function interleaves(c: InterleaveCase): boolean {
  const audioTokens = audioTokenCount(c.audio_samples, { ...defaultAudioFraming, sampleRate: c.sample_rate });
  const pieces = interleaveSequential({ units: c.video_units, audioTokens, intervalSeconds: c.interval_seconds });
  const units = Array.from({ length: c.video_units }, (_, seconds) => ({ seconds, tokens: c.tokens_per_unit }));
  return interleavedText(pieces, units) === c.expected_text;
}
