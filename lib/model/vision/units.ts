// The images and pairs of frames that enter the vision encoder, and what leaves it.
import { checkImage, type RgbImage } from "../../media/image.js";
import { checkObjects, positiveInteger, refuseValue } from "../../options.js";
import { Tensor } from "../../tensor/tensor.js";
import type { Rows } from "../types.js";
import type { Size } from "./resize.js";

/** The patches of one image or pair of frames: time slices (1), rows, columns. */
export type Grid = readonly [t: number, h: number, w: number];

/** The pixels of an image or frame at its unit's size, on the encoder's device: `[height, width, 3]`. */
export type ResizedFrame = Tensor<"u8", readonly [number, number, number]>;

/** One input of the ViT: an image, or two frames of a video. What is resized already stays the caller's. */
export interface VisualUnit {
  readonly frames: readonly [RgbImage | ResizedFrame] | readonly [RgbImage | ResizedFrame, RgbImage | ResizedFrame];
  /** The size in pixels at which the unit enters the ViT. */
  readonly size: Size;
  /** The post-squeeze: the grid of tokens to interpolate the projected tokens to. Default: no interpolation. */
  readonly tokenGrid?: Size | undefined;
}

/** The projected tokens of one unit, `[height · width / 2, D]`. The grid counts patches; a token is 1×2 patches. */
export interface VisualTokens {
  readonly tokens: Rows;
  readonly grid: Size;
}

/** More images and frame pairs than any prompt has tokens. */
export const maxUnits = 2 ** 17;

/** @throws {CaracalError} `INVALID_ARGUMENT` for what is no grid of patches */
export function checkGrid(argument: string, grid: Grid): void {
  const isGrid = Array.isArray(grid) && grid.length === 3 && grid.every(positiveInteger.accepts);
  if (!isGrid) refuseValue("VisionEncoder.encode", argument, "[t, h, w], three positive integers", grid);
}

/** @throws {CaracalError} `INVALID_ARGUMENT` for what is no size in pixels or tokens */
export function checkSize(where: string, argument: string, size: Size): void {
  const { height, width } = Object(size) as Partial<Size>;
  if (![height, width].every(positiveInteger.accepts))
    refuseValue(where, argument, "{ height, width }, two positive integers", size);
}

/** @throws {CaracalError} `INVALID_ARGUMENT` for what is no list of units, `MEDIA_INVALID` as `checkImage` */
export function checkUnits(units: readonly VisualUnit[]): void {
  const where = "VisionEncoder.encodeUnits";
  checkObjects(where, "units", units, "{ frames, size }", maxUnits);
  for (const [i, { frames, size, tokenGrid }] of units.entries()) {
    checkSize(where, `units[${i}].size`, size);
    if (tokenGrid !== undefined) checkSize(where, `units[${i}].tokenGrid`, tokenGrid);
    if (!Array.isArray(frames) || !(frames.length === 1 || frames.length === 2))
      refuseValue(where, `units[${i}].frames`, "a list of one or two frames", frames);
    for (const frame of frames) if (!(frame instanceof Tensor)) checkImage(frame, `${where}: a frame of units[${i}]`);
  }
}
