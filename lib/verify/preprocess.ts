import { readText } from "../checkpoint/formats/file.js";
import { parseJson } from "../checkpoint/formats/json.js";
import { invalid, quote } from "../checkpoint/problems.js";
import { CaracalError } from "../errors.js";
import { audioTokenCount, defaultAudioFraming } from "../model/audio/framing.js";
import { interleavedText, interleaveSequential } from "../model/prompt/interleave.js";
import { durationConditionedFrames, timestampText } from "../model/vision/frames.js";
import { postSqueeze, smartResize } from "../model/vision/resize.js";
import { isRecord } from "../options.js";
import type { TensorReport } from "./golden.js";

/** The sections of `preprocess.json`, with the type of their cases. */
export interface PreprocessCases {
  readonly smart_resize: SmartResizeCase;
  readonly frame_sampling: FrameSamplingCase;
  readonly post_squeeze: PostSqueezeCase;
  readonly interleave: InterleaveCase;
}

export interface SmartResizeCase {
  readonly height: number;
  readonly width: number;
  readonly factor: number;
  readonly min_pixels: number;
  readonly max_pixels: number;
  readonly expected: [number, number];
}

export interface FrameSamplingCase {
  readonly video_fps: number;
  readonly frame_count: number;
  readonly sample_fps: number;
  readonly max_frames: number;
  readonly max_fps: number;
  readonly min_frames: number;
  readonly expected_indices?: number[];
  readonly expected_timestamps?: string[];
  readonly error?: string;
}

export interface PostSqueezeCase {
  readonly grid_shapes: [number, number, number][];
  readonly token_counts: number[];
  readonly ratio: number;
  readonly min_tokens_video: number;
  readonly max_tokens: number;
  readonly expected_grids: [number, number][];
  readonly expected_tokens: number[];
}

export interface InterleaveCase {
  readonly video_units: number;
  readonly tokens_per_unit: number;
  readonly audio_samples: number;
  readonly sample_rate: number;
  readonly interval_seconds: number;
  readonly expected_text: string;
}

const maxBytes = 1 << 24;

type Case = PreprocessCases[keyof PreprocessCases];

/** Functions that run a case and tell whether its result is as expected. */
const sections: { readonly [S in keyof PreprocessCases]: (c: PreprocessCases[S]) => boolean } = {
  smart_resize: resizes,
  frame_sampling: samples,
  post_squeeze: squeezes,
  interleave: interleaves,
};

/** Runs the preprocessing functions on every case of a `preprocess.json` and reports the wrong results per section. */
export async function verifyPreprocess(file: string): Promise<TensorReport[]> {
  const found = await readSections(file);
  return Object.entries(found).map(([name, cases]) => {
    const passes = sections[name as keyof PreprocessCases] as (c: Case) => boolean;
    const wrong = cases.filter((c) => !passes(c));
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
  const parsed = await parseJson(await readText(file, maxBytes), file);
  if (!isRecord(parsed) || Object.keys(parsed).length === 0)
    throw invalid(file, `expected an object of sections: ${Object.keys(sections).join(", ")}`);
  for (const [name, cases] of Object.entries(parsed)) {
    if (!Object.hasOwn(sections, name))
      throw invalid(file, `unknown section ${quote(name)}; expected ${Object.keys(sections).join(", ")}`);
    if (!Array.isArray(cases) || cases.length === 0) throw invalid(file, `section ${name} contains no cases`);
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
