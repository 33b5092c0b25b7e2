// The images and pairs of frames that enter the vision encoder, and what leaves it.
import { checkImage, type RgbImage } from "../../media/image.js";
import { checkedList, checkedObjects, positiveInteger, refuseValue } from "../../options.js";
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

/** Returns a copy of the grids. @throws {CaracalError} `INVALID_ARGUMENT` for what is no list of grids of patches */
export function checkedGrids(grids: readonly Grid[]): Grid[] {
  const where = "VisionEncoder.encode";
  return checkedList<Grid>(where, "grids", grids, "a list of [t, h, w]", maxUnits).map((grid, i): Grid => {
    const expected = "[t, h, w], three positive integers";
    if (!Array.isArray(grid) || grid.length !== 3) refuseValue(where, `grids[${i}]`, expected, grid);
    const [t, h, w] = [grid[0], grid[1], grid[2]];
    if (![t, h, w].every(positiveInteger.accepts)) refuseValue(where, `grids[${i}]`, expected, grid);
    return [t, h, w];
  });
}

/** @throws {CaracalError} `INVALID_ARGUMENT` for what is no size in pixels or tokens */
export function checkSize(where: string, argument: string, size: Size): void {
  const { height, width } = Object(size) as Partial<Size>;
  if (![height, width].every(positiveInteger.accepts))
    refuseValue(where, argument, "{ height, width }, two positive integers", size);
}

/**
 * Returns a copy of the units.
 * @throws {CaracalError} `INVALID_ARGUMENT` for what is no list of units, `MEDIA_INVALID` as `checkImage`
 */
export function checkedUnits(units: readonly VisualUnit[]): VisualUnit[] {
  const where = "VisionEncoder.encodeUnits";
  const list = checkedObjects(where, "units", units, "{ frames, size }", maxUnits);
  return list.map(({ frames, size, tokenGrid }, i) => {
    checkSize(where, `units[${i}].size`, size);
    if (tokenGrid !== undefined) checkSize(where, `units[${i}].tokenGrid`, tokenGrid);
    if (!Array.isArray(frames) || !(frames.length === 1 || frames.length === 2))
      refuseValue(where, `units[${i}].frames`, "a list of one or two frames", frames);
    const read = (frame: RgbImage | ResizedFrame) =>
      frame instanceof Tensor ? frame : checkImage(frame, `${where}: a frame of units[${i}]`);
    const first = read(frames[0]);
    return { frames: frames.length === 1 ? [first] : [first, read(frames[1])], size, tokenGrid };
  });
}
