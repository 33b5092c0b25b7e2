import {
  conv1d,
  convTranspose1d,
  fbank,
  fsmnMemory,
  lstm,
  packConv1d,
  packConvTranspose1d,
  snake,
} from "../../ops/audio.js";
import type { Activations } from "../../ops/call.js";
import { packWeight } from "../../ops/linear.js";
import { dtypeBytes } from "../../tensor/dtype.js";
import { type OpCase, opCase, random, values } from "../case.js";

/**
 * The audio operations at the sizes of the encoder and the speech decoder, rows as they come while streaming and in
 * long pieces. Weights are of the activations' dtype, the peer's f32, and as warm as the last run left them.
 */
export function audioCases(activations: Activations): OpCase[] {
  return [
    ...[13, 125, 1000].map((rows) => fsmnCase(activations, rows, 512, 11)),
    fsmnCase(activations, 13, 1536, 12),
    ...[1, 48].map((rows) => lstmCase(activations, rows, 1024)),
    lstmCase(activations, 1, 2304),
    ...[8, 128, 384].map((rows) => convCase(activations, rows, 768, 9)),
    convCase(activations, 1440, 96, 9),
    ...[1, 16, 48].map((rows) => convTransposeCase(activations, rows, 1536, 768, 8)),
    snakeCase(activations, 1440, 96),
    fbankCase(10),
  ];
}

const dense = (...dims: number[]) => ({ dims, values: values(dims.reduce((n, d) => n * d, 1)) });

function fsmnCase(activations: Activations, rows: number, channels: number, taps: number): OpCase {
  return opCase({
    op: "fsmnMemory",
    size: `T=${rows} C=${channels} k=${taps}`,
    flops: 2 * rows * channels * taps,
    bytes: dtypeBytes[activations] * channels * (2 * rows + taps),
    prepare: (device) => ({
      z: random(device, [rows, channels], activations),
      w: random(device, [channels, taps], activations),
    }),
    run({ z, w }) {
      return fsmnMemory(z, w, { leftOrder: taps - 1 });
    },
    peer: {
      copies: 1,
      model: () => ({
        node: {
          op: "Conv",
          inputs: ["x", "w"],
          outputs: ["y"],
          attributes: { kernel_shape: [taps], group: channels, pads: [taps - 1, 0] },
        },
        constants: { w: dense(channels, 1, taps) },
        inputs: { x: dense(1, channels, rows) },
        outputs: { y: [1, channels, rows] },
      }),
    },
  });
}

function lstmCase(activations: Activations, rows: number, size: number): OpCase {
  return opCase({
    op: "lstm",
    size: `T=${rows} ${size}→${size} ${activations}`,
    flops: 2 * rows * 8 * size * size,
    matrix: activations === "bf16",
    bytes: dtypeBytes[activations] * (8 * size * size + rows * 2 * size),
    prepare(device) {
      using wIh = random(device, [4 * size, size], activations, 0.05);
      using wHh = random(device, [4 * size, size], activations, 0.05);
      const state = { h: device.zeros([size]), c: device.zeros([size]) };
      const bias = random(device, [4 * size], activations);
      return {
        x: random(device, [rows, size], activations),
        wIh: packWeight(wIh),
        wHh: packWeight(wHh),
        bias,
        ...state,
      };
    },
    run({ x, bias, ...parameters }) {
      return lstm(x, { ...parameters, bIh: bias, bHh: bias });
    },
    peer: {
      copies: 1,
      model: () => ({
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
    },
  });
}

function convCase(activations: Activations, rows: number, channels: number, dilation: number): OpCase {
  const taps = 7;
  return opCase({
    op: "conv1d",
    size: `T=${rows} ${channels}→${channels} k=${taps} d=${dilation} ${activations}`,
    flops: 2 * rows * channels * channels * taps,
    matrix: activations === "bf16",
    bytes: dtypeBytes[activations] * channels * (channels * taps + 2 * rows),
    prepare(device) {
      using w = random(device, [channels, channels, taps], activations);
      const bias = random(device, [channels], activations);
      return { x: random(device, [rows, channels], activations), w: packConv1d(w), bias };
    },
    run({ x, w, bias }) {
      return conv1d(x, w, { dilation, bias });
    },
    peer: {
      copies: 1,
      model: () => ({
        node: {
          op: "Conv",
          inputs: ["x", "w", "b"],
          outputs: ["y"],
          attributes: { kernel_shape: [taps], dilations: [dilation], pads: [(taps - 1) * dilation, 0] },
        },
        constants: { w: dense(channels, channels, taps), b: dense(channels) },
        inputs: { x: dense(1, channels, rows) },
        outputs: { y: [1, channels, rows] },
      }),
    },
  });
}

function convTransposeCase(
  activations: Activations,
  rows: number,
  inputs: number,
  outputs: number,
  stride: number,
): OpCase {
  return opCase({
    op: "convTranspose1d",
    size: `T=${rows} ${inputs}→${outputs} k=s=${stride} ${activations}`,
    flops: 2 * rows * inputs * outputs * stride,
    matrix: activations === "bf16",
    bytes: dtypeBytes[activations] * (inputs * outputs * stride + rows * (inputs + outputs * stride)),
    prepare(device) {
      using w = random(device, [inputs, outputs, stride], activations);
      const bias = random(device, [outputs], activations);
      return { x: random(device, [rows, inputs], activations), w: packConvTranspose1d(w), bias };
    },
    run({ x, w, bias }) {
      return convTranspose1d(x, w, { stride, bias });
    },
    peer: {
      copies: 1,
      model: () => ({
        node: {
          op: "ConvTranspose",
          inputs: ["x", "w", "b"],
          outputs: ["y"],
          attributes: { kernel_shape: [stride], strides: [stride] },
        },
        constants: { w: dense(inputs, outputs, stride), b: dense(outputs) },
        inputs: { x: dense(1, inputs, rows) },
        outputs: { y: [1, outputs, rows * stride] },
      }),
    },
  });
}

function snakeCase(activations: Activations, rows: number, channels: number): OpCase {
  return opCase({
    op: "snake",
    size: `T=${rows} C=${channels}`,
    flops: 25 * rows * channels, // as this library computes it
    bytes: 2 * dtypeBytes[activations] * rows * channels,
    prepare: (device) => ({
      x: random(device, [rows, channels], activations),
      alpha: random(device, [channels], activations),
    }),
    run({ x, alpha }) {
      return snake(x, alpha);
    },
  });
}

function fbankCase(seconds: number): OpCase {
  const samples = 16000 * seconds;
  const frames = Math.floor((samples - 400) / 160) + 1;
  return opCase({
    op: "fbank",
    size: `${seconds} s at 16 kHz`,
    flops: frames * 2.5 * 512 * 9, // a real transform's
    bytes: 4 * (samples + 80 * frames),
    prepare: (device) => ({ wave: random(device, [samples], "f32", 20000) }),
    run({ wave }) {
      return fbank(wave);
    },
  });
}
