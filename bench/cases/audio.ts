import type { Activations } from "../../lib/ops/call.js";
import {
  conv1d,
  convTranspose1d,
  fbank,
  fsmnMemory,
  lstm,
  packConv1d,
  packConvTranspose1d,
  snake,
} from "../../lib/ops/index.js";
import { dtypeBytes } from "../../lib/tensor/dtype.js";
import { type Case, counted, defineCase, dense, packed, random, times, turn, unitOf } from "../case.js";
import type { PeerModel } from "../peers.js";
import { audioHidden } from "./longcat.js";

/**
 * The operations of the audio encoder and the speech decoder, on rows as they come while streaming and on long pieces.
 * Weights have the activations' dtype, and bf16 beside f32 activations too where the speech decoder takes such
 * (`weightDtype`). Those of the LSTM and the convolutions are cold, as the other layers of a model leave them.
 */
export function audioCases(activations: Activations): Case[] {
  const beside = (cases: (weights: Activations) => Case[]) => (activations === "f32" ? cases("bf16") : []);
  return [
    ...[13, 125, 1000].map((rows) => fsmnCase(activations, rows, 512, 11)),
    fsmnCase(activations, 13, audioHidden, 12),
    counted(fusedFsmnCase(activations, 128, audioHidden, 11)),
    counted(snakeCase(activations, 1440, 96)),
    convCase(activations, 8, 768),
    counted(convCase(activations, 128, 768)),
    convCase(activations, 384, 768),
    counted(convCase(activations, 1440, 96)),
    ...beside((weights) => [8, 128].map((rows) => convCase(activations, rows, 768, weights))),
    convTransposeCase(activations, 1, 1536, 768, 8),
    counted(convTransposeCase(activations, 16, 1536, 768, 8)),
    convTransposeCase(activations, 48, 1536, 768, 8),
    ...beside((weights) => [1, 16].map((rows) => convTransposeCase(activations, rows, 1536, 768, 8, weights))),
    lstmCase(activations, 1, 1024),
    lstmCase(activations, 48, 1024),
    lstmCase(activations, 1, 2304),
    counted(lstmCase(activations, 4, 2304)),
    ...beside((weights) => [1, 48].map((rows) => lstmCase(activations, rows, 1024, weights))),
    ...beside((weights) => [1, 4].map((rows) => lstmCase(activations, rows, 2304, weights))),
    counted(fbankCase(10)),
  ];
}

function fsmnCase(activations: Activations, rows: number, channels: number, taps: number): Case {
  return defineCase({
    op: "fsmnMemory",
    size: `T=${rows} C=${channels} k=${taps}`,
    unit: "fma",
    work: {
      bytes: dtypeBytes[activations] * channels * (2 * rows + taps),
      flops: 2 * rows * channels * taps,
    },
    prepare: (device) => ({
      x: random(device, [rows, channels], activations),
      w: random(device, [channels, taps], activations),
    }),
    run: ({ x, w }) => fsmnMemory(x, w, { leftOrder: taps - 1 }),
    peer: () => convPeer({ rows, inputs: 1, outputs: channels, groups: channels, taps, dilation: 1 }),
  });
}

/** The memory of a layer norm's output, with the residual: the encoder's layer in one pass. */
function fusedFsmnCase(activations: Activations, rows: number, channels: number, taps: number): Case {
  return defineCase({
    op: "fsmnMemory",
    size: `T=${rows} C=${channels} k=${taps}, norm, residual`,
    unit: "scalar",
    work: {
      bytes: dtypeBytes[activations] * channels * (2 * rows + taps + 2),
      flops: (2 * taps + 5) * rows * channels,
    },
    prepare: (device) => ({
      x: random(device, [rows, channels], activations, 0.5),
      w: random(device, [channels, taps], activations, 0.5),
      norm: {
        weight: random(device, [channels], activations, 0.5),
        bias: random(device, [channels], activations, 0.5),
      },
    }),
    run: ({ x, w, norm }) => fsmnMemory(x, w, { leftOrder: taps - 1, norm, residual: x }),
  });
}

/** Names the weights' dtype in a size where it is not the activations'. */
const ofWeights = (activations: Activations, weights: Activations) =>
  weights === activations ? "" : `, ${weights} weights`;

function lstmCase(activations: Activations, rows: number, size: number, dtype = activations): Case {
  const weightBytes = dtypeBytes[dtype] * 8 * size * size;
  return defineCase({
    op: "lstm",
    size: `T=${rows} ${size}→${size}${ofWeights(activations, dtype)}`,
    unit: unitOf(activations, dtype),
    work: {
      bytes: weightBytes + dtypeBytes[activations] * 2 * rows * size,
      flops: 2 * 8 * rows * size * size,
    },
    coldBytes: weightBytes,
    prepare: (device, copies) => ({
      x: random(device, [rows, size], activations, 0.5),
      weights: times(copies, () => ({
        wIh: packed(device, 4 * size, size, dtype),
        wHh: packed(device, 4 * size, size, dtype),
      })),
      bIh: random(device, [4 * size], "f32"),
      bHh: random(device, [4 * size], "f32"),
      h: device.zeros([size]),
      c: device.zeros([size]),
    }),
    run: ({ x, weights, ...parameters }, i) => lstm(x, { ...turn(weights, i), ...parameters }),
    peer: () => ({
      node: {
        op: "LSTM",
        inputs: ["x", "w", "r", "b", "", "h", "c"],
        outputs: ["y", "hn", "cn"],
        attributes: { hidden_size: size },
      },
      constants: { w: dense(1, 4 * size, size), r: dense(1, 4 * size, size), b: dense(1, 8 * size) },
      inputs: { x: dense(rows, 1, size), h: dense(1, 1, size), c: dense(1, 1, size) },
      outputs: { y: [rows, 1, 1, size], hn: [1, 1, size], cn: [1, 1, size] },
    }),
  });
}

/** The widest dilated convolution of a residual unit. */
function convCase(activations: Activations, rows: number, channels: number, dtype = activations): Case {
  const [taps, dilation] = [7, 9];
  const weightBytes = dtypeBytes[dtype] * taps * channels * channels;
  return defineCase({
    op: "conv1d",
    size: `T=${rows} ${channels}→${channels} k=${taps} d=${dilation}${ofWeights(activations, dtype)}`,
    unit: unitOf(activations, dtype),
    work: {
      bytes: weightBytes + dtypeBytes[activations] * channels * 2 * rows,
      flops: 2 * taps * rows * channels * channels,
    },
    coldBytes: weightBytes,
    prepare(device, copies) {
      using w = random(device, [channels, channels, taps], dtype, 0.5);
      const weights = times(copies, () => packConv1d(w));
      return { x: random(device, [rows, channels], activations, 0.5), weights };
    },
    run: ({ x, weights }, i) => conv1d(x, turn(weights, i), { dilation }),
    peer: () => convPeer({ rows, inputs: channels, outputs: channels, groups: 1, taps, dilation }),
  });
}

interface ConvSizes {
  readonly rows: number;
  /** Input channels of a group. */
  readonly inputs: number;
  readonly outputs: number;
  readonly groups: number;
  readonly taps: number;
  readonly dilation: number;
}

/** A causal convolution over time; ONNX has channels before time. */
const convPeer = ({ rows, inputs, outputs, groups, taps, dilation }: ConvSizes): PeerModel => ({
  node: {
    op: "Conv",
    inputs: ["x", "w"],
    outputs: ["y"],
    attributes: { kernel_shape: [taps], group: groups, dilations: [dilation], pads: [(taps - 1) * dilation, 0] },
  },
  constants: { w: dense(outputs, inputs, taps) },
  inputs: { x: dense(1, inputs * groups, rows) },
  outputs: { y: [1, outputs, rows] },
});

function convTransposeCase(
  activations: Activations,
  rows: number,
  inputs: number,
  outputs: number,
  stride: number,
  dtype = activations,
): Case {
  const weightBytes = dtypeBytes[dtype] * stride * inputs * outputs;
  return defineCase({
    op: "convTranspose1d",
    size: `T=${rows} ${inputs}→${outputs} k=s=${stride}${ofWeights(activations, dtype)}`,
    unit: unitOf(activations, dtype),
    work: {
      bytes: weightBytes + dtypeBytes[activations] * rows * (inputs + stride * outputs),
      flops: 2 * rows * stride * inputs * outputs,
    },
    coldBytes: weightBytes,
    prepare(device, copies) {
      using w = random(device, [inputs, outputs, stride], dtype, 0.5);
      const weights = times(copies, () => packConvTranspose1d(w));
      return { x: random(device, [rows, inputs], activations, 0.5), weights };
    },
    run: ({ x, weights }, i) => convTranspose1d(x, turn(weights, i), { stride }),
    peer: () => ({
      node: {
        op: "ConvTranspose",
        inputs: ["x", "w"],
        outputs: ["y"],
        attributes: { kernel_shape: [stride], strides: [stride] },
      },
      constants: { w: dense(inputs, outputs, stride) },
      inputs: { x: dense(1, inputs, rows) },
      outputs: { y: [1, outputs, rows * stride] },
    }),
  });
}

function snakeCase(activations: Activations, rows: number, channels: number): Case {
  return defineCase({
    op: "snake",
    size: `T=${rows} C=${channels}`,
    unit: "scalar",
    work: { bytes: dtypeBytes[activations] * channels * (2 * rows + 1), flops: 25 * rows * channels },
    prepare: (device) => ({
      x: random(device, [rows, channels], activations, 0.5),
      alpha: random(device, [channels], activations, 0.5),
    }),
    run: ({ x, alpha }) => snake(x, alpha),
  });
}

function fbankCase(seconds: number): Case {
  const samples = 16000 * seconds;
  const frames = Math.floor((samples - 400) / 160) + 1;
  return defineCase({
    op: "fbank",
    size: `${seconds} s at 16 kHz, f32`,
    unit: "scalar",
    work: { bytes: 4 * (samples + 80 * frames), flops: frames * 2.5 * 512 * 9 }, // a real FFT of 512 samples
    prepare: (device) => random(device, [samples], "f32", 30000),
    run: (wave) => fbank(wave),
  });
}
