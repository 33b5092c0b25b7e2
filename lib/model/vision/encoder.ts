import { parseVisionConfig, type VisionConfig } from "../../checkpoint/config.js";
import type { Checkpoint } from "../../checkpoint/directory.js";
import { openVision } from "../../checkpoint/parts.js";
import { CaracalError, throwIfAborted } from "../../errors.js";
import { checkImage, type RgbImage } from "../../media/image.js";
import { type Activations, activationsRule } from "../../ops/call.js";
import * as ops from "../../ops/index.js";
import { aFunction, checkedList, checkOption, checkOptions, type OptionRule, optional } from "../../options.js";
import { checkTensor } from "../../tensor/check.js";
import { type Device, disposeAll, type Tensor } from "../../tensor/tensor.js";
import { type UploadOptions, upload } from "../../tensor/upload.js";
import type { Ids, Matrix, Rows, Tap } from "../types.js";
import { loadModule, type OpenModuleOptions, openModuleOptions, type Weights, weightsRule } from "../weights.js";
import { gridTokens, type Size, tokenGrid, type VisionLimits, visionInputSize, visionLimits } from "./resize.js";
import {
  checkedGrids,
  checkedUnits,
  checkSize,
  type Grid,
  maxUnits,
  type ResizedFrame,
  type VisualTokens,
  type VisualUnit,
} from "./units.js";
import { loadVisionWeights, type VisionLayer, type VisionWeights } from "./weights.js";

type Rgb = readonly [number, number, number];

/** Options of the vision encoder. */
export interface VisionEncoderOptions {
  /** The dtype between the operations. Default f32. */
  readonly activations?: Activations | undefined;
}
const visionEncoderOptions = { activations: activationsRule } satisfies Record<keyof VisionEncoderOptions, OptionRule>;

/** Options of `VisionEncoder.encode`. */
export interface VisionEncodeOptions {
  /** Sees `patch_embeds`, `layer<i>.` + `attn.input`, `attn.output`, `output`, and `encoder`. */
  readonly tap?: Tap | undefined;
}
const encodeOptions = { tap: optional(aFunction) } satisfies Record<keyof VisionEncodeOptions, OptionRule>;

/** Options of `VisionEncoder.encodeUnits`. */
export interface EncodeUnitsOptions {
  /** Checked between groups of units. */
  readonly signal?: AbortSignal | undefined;
}
const encodeUnitsOptions = { signal: true } satisfies Record<keyof EncodeUnitsOptions, true>;

/** The packed units of one `encode`: where each begins, and the position of every patch. */
interface Sequence {
  readonly cuSeqlens: Ids;
  readonly positions: Tensor<"i32", Matrix>;
}

/** Units are packed into sequences of about this many patches: enough to fill the matrix kernels, in bounded memory. */
const packedPatches = 4096;

/** The LongCat-ViT and its projector: native resolution, 2D-RoPE, QK-norm over all heads, LayerScale, SwiGLU. */
export class VisionEncoder implements Disposable {
  readonly config: VisionConfig;
  readonly activations: Activations;
  /** The bounds on image and video sizes, from the config. */
  readonly limits: VisionLimits;
  readonly #source: Weights;
  readonly #weights: VisionWeights;

  private constructor(source: Weights, weights: VisionWeights, config: VisionConfig, activations: Activations) {
    this.config = config;
    this.activations = activations;
    this.limits = visionLimits(config);
    this.#source = source;
    this.#weights = weights;
  }

  /**
   * Loads the parts `vision_encoder` and `vision_projector` of `weights`, each under the published names. Disposing the
   * encoder disposes `weights`.
   * @throws {CaracalError} `CHECKPOINT_INVALID` when a tensor is missing or misshapen or a field of the config is wrong,
   *   `UNSUPPORTED` for a config without QK-norm, `ABORTED`, `INVALID_ARGUMENT` when an option is unknown
   */
  static async load(
    weights: Weights,
    config: VisionConfig,
    options: VisionEncoderOptions = {},
  ): Promise<VisionEncoder> {
    checkOption("VisionEncoder.load", "weights", weights, weightsRule);
    checkOptions("VisionEncoder.load", options, visionEncoderOptions);
    const checked = parseVisionConfig(config, "VisionEncoder.load: config");
    if (!checked.qk_normalization)
      throw new CaracalError("UNSUPPORTED", "the vision encoder needs qk_normalization: true, its config says false");
    const { activations = "f32" } = options;
    return new VisionEncoder(weights, await loadVisionWeights(weights, checked), checked, activations);
  }

  /**
   * Loads the encoder alone from a model directory: reads the configuration and the two `.pt` files in `vision/`, and
   * needs no other file.
   * @throws {CaracalError} as `load`, and `IO_ERROR`
   */
  static async open(directory: string, options: VisionEncoderOptions & OpenModuleOptions): Promise<VisionEncoder> {
    checkOptions("VisionEncoder.open", options, { ...openModuleOptions, ...visionEncoderOptions });
    const { activations } = options;
    return VisionEncoder.fromCheckpoint(await openVision(directory, options), options, { activations });
  }

  /** @internal Loads the encoder from an opened checkpoint. */
  static fromCheckpoint(
    { config, encoder, projector }: Checkpoint["vision"],
    options: OpenModuleOptions,
    encoderOptions: VisionEncoderOptions,
  ): Promise<VisionEncoder> {
    const parts = { vision_encoder: encoder.values(), vision_projector: projector.values() };
    return loadModule(parts, options, (weights) => VisionEncoder.load(weights, config, encoderOptions));
  }

  /** The device of the weights. */
  get device(): Device {
    return this.#source.device;
  }

  /**
   * Patches to tokens. Several units are packed into one sequence; each attends to itself only, so its tokens do not
   * depend on the other units.
   *
   * @param patches f32 or bf16 `[P, 1176]`, units one after another, in the order of `ops.patchify`
   * @param grids one per unit; P patches in total
   * @returns `[P / 2, D]` of the activations' dtype
   * @throws {CaracalError} `SHAPE_MISMATCH` when grids and patches disagree, `INVALID_ARGUMENT` for a grid that cannot
   *   be merged, or an unknown option
   */
  encode(patches: Tensor<Activations>, grids: readonly Grid[], options: VisionEncodeOptions = {}): Rows {
    checkTensor("VisionEncoder.encode", "patches", patches);
    const list = checkedGrids(grids);
    checkOptions("VisionEncoder.encode", options, encodeOptions);
    const { tap } = options;
    const rows = this.#check(patches, list);
    const { device, config } = this;
    const { patch, layers } = this.#weights;
    return device.scope(() => {
      const starts = [0];
      for (const [t, h, w] of list) starts.push(starts.at(-1)! + t * h * w);
      const sequence: Sequence = {
        cuSeqlens: device.tensor(Int32Array.from(starts), [starts.length], "i32"),
        positions: device.tensor(positionsOf(list, config.spatial_merge_size), [rows.shape[0], 2], "i32"),
      };
      const x = rows.dtype === this.activations ? rows : ops.cast(rows, this.activations);
      let y: Rows = ops.linear(x, patch.weight, { bias: patch.bias });
      tap?.("patch_embeds", y);
      layers.forEach((layer, i) => {
        y = this.#layer(y, layer, sequence, tap && ((name, value) => tap(`layer${i}.${name}`, value)));
      });
      tap?.("encoder", y);
      return this.#project(y);
    });
  }

  /**
   * Decoded pixels to tokens, unit by unit: resizes, normalises, cuts into patches, encodes and squeezes. The caller
   * disposes the tokens.
   * @throws {CaracalError} `UNSUPPORTED` for a `tokenGrid` when the config's `spatial_merge_size` is above 1, `ABORTED`,
   *   `INVALID_ARGUMENT` for a size that does not divide into patches, or an unknown option
   */
  async encodeUnits(units: readonly VisualUnit[], options: EncodeUnitsOptions = {}): Promise<VisualTokens[]> {
    const list = checkedUnits(units);
    checkOptions("VisionEncoder.encodeUnits", options, encodeUnitsOptions);
    const { signal } = options;
    if (list.some((unit) => this.#isSqueezed(unit)) && this.config.spatial_merge_size > 1)
      throw new CaracalError("UNSUPPORTED", "tokens can be interpolated in raster order only: spatial_merge_size 1");
    const encoded: VisualTokens[] = [];
    try {
      for (const group of this.#groups(list)) {
        throwIfAborted(signal, "encoding images");
        encoded.push(...(await this.#encodeGroup(group, signal)));
        await this.device.synchronize(); // so that memory holds the pixels and activations of one group only
      }
      throwIfAborted(signal, "encoding images");
    } catch (error) {
      disposeAll(encoded);
      throw error;
    }
    return encoded;
  }

  /**
   * Resizes decoded pixels as `encodeUnits` does, so that the large original need not be kept until then. The caller
   * disposes the result.
   * @throws {CaracalError} from the promise: `INVALID_ARGUMENT` for another image or size, `MEDIA_INVALID` for pixels
   *   that disagree with the image's size, `ABORTED`, or the errors of `upload` and `ops.resizeBicubic`
   */
  async resize(image: RgbImage, size: Size, options: UploadOptions = {}): Promise<ResizedFrame> {
    const { data, height, width } = checkImage(image, "VisionEncoder.resize: image");
    checkSize("VisionEncoder.resize", "size", size);
    using pixels = await upload(this.device, data, [height, width, 3], "u8", options);
    return ops.resizeBicubic(pixels, [size.height, size.width]);
  }

  /**
   * Encodes images, each at the size that the config's limits give it.
   * @throws {CaracalError} as `encodeUnits`
   */
  async encodeImages(images: readonly RgbImage[], options: EncodeUnitsOptions = {}): Promise<VisualTokens[]> {
    const where = "VisionEncoder.encodeImages";
    const list = checkedList<RgbImage>(where, "images", images, "a list of { width, height, data }", maxUnits);
    const units = list.map((given, i): VisualUnit => {
      const image = checkImage(given, `${where}: images[${i}]`);
      return { frames: [image], size: visionInputSize(image, this.limits) };
    });
    return this.encodeUnits(units, options);
  }

  /** Frees the weights. */
  dispose(): void {
    this.#source.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  #check(patches: Tensor<Activations>, grids: readonly Grid[]): Rows {
    const merge = this.config.spatial_merge_size;
    for (const grid of grids) {
      const [t, h, w] = grid;
      if (!(t >= 1 && h >= 1 && w >= 2 && h % merge === 0 && w % merge === 0 && w % 2 === 0))
        throw new CaracalError(
          "INVALID_ARGUMENT",
          `a grid needs rows and columns divisible by ${merge} and an even number of columns, got [${grid}]`,
        );
    }
    const total = grids.reduce((sum, [t, h, w]) => sum + t * h * w, 0);
    if (patches.shape.length !== 2 || patches.shape[0] !== total)
      throw new CaracalError(
        "SHAPE_MISMATCH",
        `the grids [${grids.join("], [")}] have ${total} patches; the patches are [${patches.shape.join(", ")}]`,
      );
    return patches as Rows;
  }

  #layer(y: Rows, layer: VisionLayer, sequence: Sequence, tap: Tap | undefined): Rows {
    const { num_attention_heads: heads, rope_theta: theta, layer_norm_eps: eps } = this.config;
    const { qNorm, kNorm, proj, gate, up, down } = layer;
    const n1 = ops.rmsNorm(y, layer.norm1, { eps });
    const qkv = ops.linear(n1, layer.qkv.weight, { bias: layer.qkv.bias });
    const o = ops.vitAttention(qkv, { heads, ...sequence, qNorm, kNorm, theta, eps });
    const h = ops.linear(o, proj.weight, { bias: proj.bias, layerScale: layer.ls1, residual: y });
    const n2 = ops.rmsNorm(h, layer.norm2, { eps });
    const gated = ops.swiglu(n2, gate.weight, up.weight, { gateBias: gate.bias, upBias: up.bias });
    const inner = ops.rmsNorm(gated, layer.innerNorm, { eps });
    const out = ops.linear(inner, down.weight, { bias: down.bias, layerScale: layer.ls2, residual: h });
    if (tap) {
      tap("attn.input", n1);
      tap("attn.output", ops.linear(o, proj.weight, { bias: proj.bias })); // otherwise fused with LayerScale and sum
      tap("output", out);
    }
    return out;
  }

  /** Merges pairs of horizontal neighbours, which are adjacent in either patch order, and projects them. */
  #project(y: Rows): Rows {
    const [patches, width] = y.shape;
    const merged = y.reshape([patches / 2, 2 * width]);
    const { norm, linears } = this.#weights.projector;
    const [first, second, last] = linears;
    const z0 = ops.layerNorm(merged, norm.weight, norm.bias);
    const z1 = ops.linear(z0, first.weight, { bias: first.bias, activation: "gelu" });
    const z2 = ops.linear(z1, second.weight, { bias: second.bias, activation: "gelu" });
    return ops.linear(z2, last.weight, { bias: last.bias });
  }

  /** The unit's patches. */
  #grid({ size }: VisualUnit): Size {
    const { patch_size: patch } = this.config;
    return { height: size.height / patch, width: size.width / patch };
  }

  *#groups(units: readonly VisualUnit[]): Generator<VisualUnit[]> {
    let group: VisualUnit[] = [];
    let patches = 0;
    for (const unit of units) {
      const { height, width } = this.#grid(unit);
      if (group.length > 0 && patches + height * width > packedPatches) {
        yield group;
        group = [];
        patches = 0;
      }
      group.push(unit);
      patches += height * width;
    }
    if (group.length > 0) yield group;
  }

  async #encodeGroup(units: readonly VisualUnit[], signal: AbortSignal | undefined): Promise<VisualTokens[]> {
    const resized: ResizedFrame[] = [];
    const frames: ResizedFrame[][] = [];
    try {
      for (const unit of units) {
        const own: ResizedFrame[] = [];
        for (const frame of unit.frames) {
          if ("data" in frame) resized.push(await this.resize(frame, unit.size, { signal }));
          own.push("data" in frame ? resized.at(-1)! : frame);
        }
        frames.push(own);
      }
      return this.#encodeFrames(units, frames);
    } finally {
      disposeAll(resized);
    }
  }

  /** Encodes units, each with its resized frames. */
  #encodeFrames(units: readonly VisualUnit[], frames: readonly ResizedFrame[][]): VisualTokens[] {
    const grids = units.map((unit) => this.#grid(unit));
    return this.device.scope(() => {
      const patches = ops.concatRows(units.map((unit, i) => this.#patches(frames[i]!, unit.size)));
      const all = this.encode(
        patches,
        grids.map(({ height, width }): Grid => [1, height, width]),
      );
      let start = 0;
      return grids.map((grid, i) => {
        const tokens = all.slice(start, start + gridTokens(grid));
        start += gridTokens(grid);
        return this.#squeeze({ tokens, grid }, units[i]!);
      });
    });
  }

  /** Whether the unit's tokens have to be interpolated. */
  #isSqueezed(unit: VisualUnit): boolean {
    const { height, width } = tokenGrid(this.#grid(unit));
    const target = unit.tokenGrid;
    return target !== undefined && (target.height !== height || target.width !== width);
  }

  #squeeze({ tokens, grid }: VisualTokens, unit: VisualUnit): VisualTokens {
    if (!this.#isSqueezed(unit)) return { tokens, grid };
    const from = tokenGrid(grid);
    const { height, width } = unit.tokenGrid!;
    const squeezed = ops.interpolateTokens(tokens, { from: [from.height, from.width], to: [height, width] });
    return { tokens: squeezed, grid: { height, width: 2 * width } };
  }

  #patches(frames: readonly ResizedFrame[], size: Size): Rows<"f32"> {
    const { patch_size: patch, temporal_patch_size: temporal, spatial_merge_size: mergeSize } = this.config;
    const { image_mean, image_std } = this.config;
    const image = frames.length === 1 ? frames[0]! : ops.concatRows(frames).reshape([2, size.height, size.width, 3]);
    return ops.patchify(image, { patch, temporal, mergeSize, mean: image_mean as Rgb, std: image_std as Rgb });
  }
}

/** Row and column of every patch, in the order of `ops.patchify`: `[P, 2]`. */
function positionsOf(grids: readonly Grid[], mergeSize: number): Int32Array {
  const slices = grids.flatMap(([t, h, w]) => new Array<Int32Array>(t).fill(ops.patchPositions([h, w], { mergeSize })));
  const positions = new Int32Array(slices.reduce((size, slice) => size + slice.length, 0));
  let at = 0;
  for (const slice of slices) {
    positions.set(slice, at);
    at += slice.length;
  }
  return positions;
}
