import type { Fields } from "./fields.js";

/** A quantised module in the affine format of MLX. */
export interface AffineFormat {
  readonly bits: (typeof affineBits)[number];
  /** The columns that share a scale and a bias. */
  readonly group_size: (typeof affineGroups)[number];
}
const affineBits = [2, 3, 4, 5, 6, 8] as const;
const affineGroups = [32, 64, 128] as const;

export const isAffineBits = (bits: number): bits is AffineFormat["bits"] => affineBits.includes(bits as never);
export const isAffineGroup = (group: number): boolean => affineGroups.includes(group as never);

/**
 * `quantization`, as mlx-lm writes it: the format of the quantised modules and, by their names, the modules that have
 * another (an object), or that are certainly quantised or not.
 */
export interface MlxQuantization extends AffineFormat {
  readonly mode?: "affine";
  readonly [module: string]: AffineFormat | boolean | number | string | undefined;
}

/** FP8 checkpoints must have one scale per block of 128×128 weights. */
export function checkFp8(quantization: Fields): void {
  quantization.fixed("quant_method", "fp8");
  const block = quantization.numbers("weight_block_size", { default: [128, 128] });
  quantization.check([], String(block) === "128,128", `weight_block_size [${block}]; expected [128, 128]`);
}

/** MLX's other modes (`mxfp4`, `mxfp8`, `nvfp4`) have no biases, and scales that are no floats. */
export function mlxQuantization(f: Fields): MlxQuantization {
  const format = affineFormat(f);
  const modules = f
    .names()
    .filter((name) => name !== "bits" && name !== "group_size" && name !== "mode" && f.has(name))
    .map((name) => [name, f.isSection(name) ? affineFormat(f.section(name)) : f.boolean(name, false)]);
  return { ...(Object.fromEntries(modules) as Record<string, AffineFormat | boolean>), ...format };
}

/** The defaults are those of MLX. */
function affineFormat(f: Fields): AffineFormat {
  f.fixed("mode", "affine");
  return { bits: f.choice("bits", affineBits, 4), group_size: f.choice("group_size", affineGroups, 64) };
}

/**
 * The format of a module, or `undefined` if it is not quantised.
 * @param hasScales decides where the configuration does not name the module
 */
export function affineFormatOf(
  quantization: MlxQuantization,
  module: string,
  hasScales: boolean,
): AffineFormat | undefined {
  const exception = Object.hasOwn(quantization, module) ? quantization[module] : undefined;
  if (typeof exception === "object") return exception;
  const { bits, group_size } = quantization;
  return (typeof exception === "boolean" ? exception : hasScales) ? { bits, group_size } : undefined;
}
