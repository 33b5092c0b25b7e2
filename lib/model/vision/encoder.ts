import type { VisionConfig } from "../../checkpoint/config.js";
import { CaracalError, throwIfAborted } from "../../errors.js";
import type { RgbImage } from "../../media/image.js";
import type { Activations } from "../../ops/call.js";
import * as ops from "../../ops/index.js";
import { type Device, disposeAll } from "../../tensor/device.js";
import type { Tensor } from "../../tensor/tensor.js";
import type { Affine, Norm, Tap, Weights } from "../weights.js";
import { gridTokens, type Size, type VisionLimits, visionInputSize, visionLimits } from "./resize.js";

type Vector = Tensor<Activations>;
type Tokens = Tensor<Activations, readonly [number, number]>;
type Rgb = readonly [number, number, number];

/** The patches of one image or pair of frames: time slices (1), rows, columns. */
export type Grid = readonly [t: number, h: number, w: number];

/** What the ViT sees at a time: an image, or two frames of a video. */
export interface VisualUnit {
  readonly frames: readonly [RgbImage] | readonly [RgbImage, RgbImage];
  /** The size in pixels that it enters the ViT with. */
  readonly size: Size;
  /** The post-squeeze: the grid of tokens (half as wide as that of patches) that they are interpolated to. */
  readonly tokenGrid?: Size | undefined;
}

/** The projected tokens of one unit, `[height · width / 2, D]`. The grid counts patches; a token is 1×2 of them. */
export interface VisualTokens {
  readonly tokens: Tensor<Activations>;
  readonly grid: Size;
}

interface Layer {
  readonly norm1: Vector;
  readonly qkv: Affine;
  readonly qNorm: Vector;
  readonly kNorm: Vector;
  readonly proj: Affine;
  readonly ls1: Vector;
  readonly norm2: Vector;
  readonly gate: Affine;
  readonly up: Affine;
  readonly innerNorm: Vector;
  readonly down: Affine;
  readonly ls2: Vector;
}

interface Projector {
  readonly norm: Norm;
  readonly linears: readonly [Affine, Affine, Affine];
}

/** Units are packed into one sequence up to about this many patches: enough for the matrix kernels, bounded memory. */
const packedPatches = 4096;

/** The LongCat-ViT and its projector: native resolution, 2D-RoPE, QK-norm over all heads, LayerScale, SwiGLU. */
export class VisionEncoder {
  readonly limits: VisionLimits;

  private constructor(
    readonly device: Device,
    readonly config: VisionConfig,
    readonly activations: Activations,
    private readonly patch: Affine,
    private readonly layers: readonly Layer[],
    private readonly projector: Projector,
  ) {
    this.limits = visionLimits({ ...config });
  }

  /**
   * @param weights with the parts `vision_encoder` and `vision_projector`, each under the published names; it owns
   *   what is loaded here
   * @param options `activations`: the dtype between the operations
   * @throws `CHECKPOINT_INVALID`, `ABORTED`; `UNSUPPORTED` without QK-norm
   */
  static async load(
    weights: Weights,
    config: VisionConfig,
    { activations = "f32" }: { activations?: Activations } = {},
  ): Promise<VisionEncoder> {
    if (!config.qk_normalization)
      throw new CaracalError("UNSUPPORTED", "the vision encoder needs qk_normalization: true, its config says false");
    const encoder = weights.part("vision_encoder");
    const embedding = "embeddings.patch_embedding";
    const patchSize = config.num_channels * config.temporal_patch_size * config.patch_size ** 2;
    const patch: Affine = {
      weight: encoder.packed(`${embedding}.weight`, [config.hidden_size, patchSize]),
      bias: encoder.optional(`${embedding}.bias`),
    };
    const layers: Layer[] = [];
    for (let i = 0; i < config.num_hidden_layers; i++) {
      layers.push(loadLayer(encoder.part(`encoder.layers.${i}`)));
      await weights.settle();
    }
    const projector = loadProjector(weights.part("vision_projector"));
    await weights.settle();
    return new VisionEncoder(weights.device, config, activations, patch, layers, projector);
  }

  /**
   * Patches to tokens. Several units are packed into one sequence; each attends to itself only, so its tokens are
   * those that it has alone.
   *
   * @param patches f32 or bf16 `[P, 1176]`, units one after another, in the order that `ops.patchify` gives
   * @param grids one per unit; together P patches
   * @returns `[P / 2, D]` of the activations' dtype
   * @throws `SHAPE_MISMATCH`, `INVALID_ARGUMENT` (a grid that cannot be merged)
   */
  encode(patches: Tensor<Activations>, grids: readonly Grid[], { tap }: { tap?: Tap } = {}): Tensor<Activations> {
    this.#check(patches, grids);
    const { device, config } = this;
    const count = patches.shape[0]!;
    return device.scope(() => {
      const starts = [0];
      for (const [t, h, w] of grids) starts.push(starts.at(-1)! + t * h * w);
      const sequence: Sequence = {
        cuSeqlens: device.tensor(Int32Array.from(starts), [starts.length], "i32"),
        positions: device.tensor(positionsOf(grids, config.spatial_merge_size), [count, 2], "i32"),
      };
      const x = patches.dtype === this.activations ? patches : ops.cast(patches, this.activations);
      let y: Tensor<Activations> = ops.linear(x, this.patch.weight, { bias: this.patch.bias });
      tap?.("patch_embeds", y);
      this.layers.forEach((layer, i) => {
        y = this.#layer(y, layer, sequence, tap && ((name, value) => tap(`layer${i}.${name}`, value)));
      });
      tap?.("encoder", y);
      return this.#project(y);
    });
  }

  /**
   * Decoded pixels to tokens, unit by unit: resize, normalise, cut into patches, encode, squeeze. The caller disposes
   * the tokens.
   * @throws `ABORTED`, `INVALID_ARGUMENT`; `UNSUPPORTED` for a `tokenGrid` where tokens are not in raster order
   */
  async encodeUnits(
    units: readonly VisualUnit[],
    { signal }: { signal?: AbortSignal | undefined } = {},
  ): Promise<VisualTokens[]> {
    const encoded: VisualTokens[] = [];
    try {
      for (const group of this.#groups(units)) {
        throwIfAborted(signal, "encoding images");
        encoded.push(...this.#encodeGroup(group));
        await this.device.synchronize(); // so that only one group's pixels and activations stand in memory
      }
      throwIfAborted(signal, "encoding images");
    } catch (error) {
      disposeAll(encoded);
      throw error;
    }
    return encoded;
  }

  /** Images, each at the size that the config's limits give it. */
  encodeImages(images: readonly RgbImage[], options: { signal?: AbortSignal | undefined } = {}) {
    const units = images.map((image): VisualUnit => ({ frames: [image], size: visionInputSize(image, this.limits) }));
    return this.encodeUnits(units, options);
  }

  #check(patches: Tensor<Activations>, grids: readonly Grid[]): void {
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
  }

  #layer(y: Tensor<Activations>, layer: Layer, sequence: Sequence, tap: Tap | undefined): Tensor<Activations> {
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
      tap("attn.output", ops.linear(o, proj.weight, { bias: proj.bias })); // elsewhere fused with what follows it
      tap("output", out);
    }
    return out;
  }

  /** Merges horizontal neighbours, which follow each other in either patch order, and projects. */
  #project(y: Tensor<Activations>): Tensor<Activations> {
    const [patches, width] = y.shape as readonly [number, number];
    const merged = y.reshape([patches / 2, 2 * width]);
    const { norm, linears } = this.projector;
    const [first, second, last] = linears;
    const z0 = ops.layerNorm(merged, norm.weight, norm.bias);
    const z1 = ops.linear(z0, first.weight, { bias: first.bias, activation: "gelu" });
    const z2 = ops.linear(z1, second.weight, { bias: second.bias, activation: "gelu" });
    return ops.linear(z2, last.weight, { bias: last.bias });
  }

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

  #encodeGroup(units: readonly VisualUnit[]): VisualTokens[] {
    const grids = units.map((unit) => this.#grid(unit));
    return this.device.scope(() => {
      const patches = ops.concatRows(units.map((unit) => this.#patches(unit)));
      const all = this.encode(
        patches,
        grids.map(({ height, width }): Grid => [1, height, width]),
      );
      let start = 0;
      return grids.map((grid, i) => {
        const tokens = all.slice(start, start + gridTokens(grid)) as Tokens;
        start += gridTokens(grid);
        return this.#squeeze({ tokens, grid }, units[i]!.tokenGrid);
      });
    });
  }

  #squeeze({ tokens, grid }: { tokens: Tokens; grid: Size }, to: Size | undefined): VisualTokens {
    const from = { height: grid.height, width: grid.width / 2 };
    if (!to || (to.height === from.height && to.width === from.width)) return { tokens, grid };
    if (this.config.spatial_merge_size > 1)
      throw new CaracalError("UNSUPPORTED", "tokens can be interpolated in raster order only: spatial_merge_size 1");
    const sizes = { from: [from.height, from.width], to: [to.height, to.width] } as const;
    return { tokens: ops.interpolateTokens(tokens, sizes), grid: { height: to.height, width: 2 * to.width } };
  }

  #patches({ frames, size }: VisualUnit): Tensor<"f32"> {
    const { patch_size: patch, temporal_patch_size: temporal, spatial_merge_size: mergeSize } = this.config;
    const { image_mean, image_std } = this.config;
    const resized = frames.map(({ data, height, width }) =>
      ops.resizeBicubic(this.device.tensor(data, [height, width, 3], "u8"), [size.height, size.width]),
    );
    const image = resized.length === 1 ? resized[0]! : ops.concatRows(resized).reshape([2, size.height, size.width, 3]);
    return ops.patchify(image, { patch, temporal, mergeSize, mean: image_mean as Rgb, std: image_std as Rgb });
  }
}

interface Sequence {
  readonly cuSeqlens: Tensor<"i32">;
  readonly positions: Tensor<"i32">;
}

function loadLayer(w: Weights): Layer {
  return {
    norm1: w.plain("norm1.weight"),
    qkv: w.linear("attn.qkv"),
    qNorm: w.plain("attn.q_norm.weight"),
    kNorm: w.plain("attn.k_norm.weight"),
    proj: w.linear("attn.proj"),
    ls1: w.plain("ls1"),
    norm2: w.plain("norm2.weight"),
    gate: w.linear("mlp.fc1"),
    up: w.linear("mlp.fc3"),
    innerNorm: w.plain("mlp.norm.weight"),
    down: w.linear("mlp.fc2"),
    ls2: w.plain("ls2"),
  };
}

function loadProjector(w: Weights): Projector {
  return {
    norm: w.norm("p0.0"),
    linears: [w.linear("p0.1"), w.linear("p0.3"), w.linear("proj")],
  };
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
