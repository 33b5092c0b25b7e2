import { argmax, sample } from "../../lib/ops/index.js";
import type { Device } from "../../lib/tensor/tensor.js";
import { type Case, counted, defineCase, random } from "../case.js";
import { vocabulary } from "./longcat.js";

export function samplingCases(): Case[] {
  const rows = 4;
  const logits = {
    unit: "scalar" as const,
    work: { bytes: 4 * rows * vocabulary },
    prepare: (device: Device) => random(device, [rows, vocabulary], "f32", 20),
  };
  const size = `B=${rows} V=${vocabulary}, f32`;
  return [
    counted(defineCase({ op: "argmax", size, ...logits, run: (x) => argmax(x) })),
    counted(
      defineCase({
        op: "sample",
        size: `${size}, top-50, top-p 0.9`,
        ...logits,
        run: (x) => sample(x, { temperature: 0.7, topK: 50, topP: 0.9, seed: 1, step: 1 }),
      }),
    ),
  ];
}
