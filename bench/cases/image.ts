import type { Activations } from "../../lib/ops/call.js";
import { interpolateTokens, patchify } from "../../lib/ops/index.js";
import { dtypeBytes } from "../../lib/tensor/dtype.js";
import { type Case, counted, defineCase, random } from "../case.js";
import { vision } from "./longcat.js";

export const imageCases = (activations: Activations): Case[] => [
  counted(patchifyCase()),
  counted(interpolationCase(activations)),
];

function patchifyCase(): Case {
  const side = 448;
  const patch = 14;
  const options = { patch, temporal: 2, mergeSize: 2, mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5] } as const;
  return defineCase({
    op: "patchify",
    size: `${side}×${side}, patches of ${patch}`,
    unit: "scalar",
    work: { bytes: 3 * side * side + 4 * options.temporal * 3 * side * side },
    prepare: (device) => device.tensor(new Uint8Array(3 * side * side).fill(100), [side, side, 3], "u8"),
    run: (image) => patchify(image, options),
  });
}

function interpolationCase(activations: Activations): Case {
  const [from, to] = [32, 16];
  const { width } = vision;
  return defineCase({
    op: "interpolateTokens",
    size: `${from}×${from}→${to}×${to} C=${width}`,
    unit: "scalar",
    work: { bytes: dtypeBytes[activations] * width * (from * from + to * to) },
    prepare: (device) => random(device, [from * from, width], activations, 0.5),
    run: (x) => interpolateTokens(x, { from: [from, from], to: [to, to] }),
  });
}
