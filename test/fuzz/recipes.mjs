// A valid call of every operation: its arguments, and the outputs that the contract promises.
import * as attention from "./recipesAttention.mjs";
import * as audio from "./recipesAudio.mjs";
import * as linear from "./recipesLinear.mjs";
import * as quantization from "./recipesQuantization.mjs";
import * as rest from "./recipesRows.mjs";

/** Operation → (random) → { args, outputs: [dtype, shape][], run? }; `run` calls the function of lib/ops. */
export const recipes = { ...attention, ...audio, ...linear, ...quantization, ...rest };
