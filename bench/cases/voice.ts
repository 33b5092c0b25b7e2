import { queueStep, stepFloats } from "../../lib/live/sileroVad.js";
import {
  bins,
  chunkSamples,
  contextSamples,
  convolutions,
  frameSamples,
  frameShift,
  frames,
  makeLayers,
  taps,
  units,
} from "../../lib/live/sileroWeights.js";
import { Graph } from "../../lib/tensor/graph.js";
import { type Case, defineCase, dense, random, values } from "../case.js";
import type { OnnxNode } from "../onnx.js";
import type { PeerModel } from "../peers.js";

/** A whole network, of f32 whatever the activations: a step of voice activity detection, for one stream and for many. */
export const voiceCases = (): Case[] => [1, 16].map(voiceCase);

/** Each convolution with its input channels, and the pairs of a frame before it and a frame after it that a tap joins. */
const layers = convolutions.map((layer, i) => ({
  ...layer,
  inputs: convolutions[i - 1]?.outputs ?? bins,
  pairs: [10, 5, 2, 1][i]!,
}));

function voiceCase(streams: number): Case {
  const convolution = layers.reduce((sum, { inputs, outputs, pairs }) => sum + pairs * inputs * outputs, 0);
  const lstm = 8 * units * units;
  const weights = layers.reduce(
    (sum, { inputs, outputs }) => sum + taps * inputs * outputs,
    2 * bins * frameSamples + lstm,
  );
  return defineCase({
    op: "sileroVad",
    size: `${streams === 1 ? "a chunk" : `chunks of ${streams} streams`}, f32`,
    unit: "fma",
    work: {
      bytes: 4 * (weights + streams * (contextSamples + chunkSamples + 4 * units + 1)),
      flops: 2 * streams * (frames * 2 * bins * frameSamples + convolution + lstm + units),
    },
    prepare(device) {
      const layers = makeLayers(device, (_, size) => values(size).map((v) => v * 0.1));
      const memory = random(device, [streams * stepFloats], "f32", 0.5);
      // On a CPU the detector's own form. On a GPU the benchmark captures the calls, which cannot include a replay.
      const isCaptured = device.backend === "cpu";
      const graph = isCaptured ? Graph.capture(device, () => queueStep(layers, memory, streams)) : undefined;
      return { layers, memory, graph };
    },
    run({ layers, memory, graph }) {
      if (graph) graph.replay();
      else queueStep(layers, memory, streams);
      return memory;
    },
    peer: () => voicePeer(streams),
  });
}

/** The nodes of the published file that compute at 16 kHz, but for those that only look at shapes. */
function voicePeer(streams: number): PeerModel {
  const encoder = layers.flatMap(({ stride }, i): OnnxNode[] => [
    {
      op: "Conv",
      inputs: [i === 0 ? "magnitude" : `relu${i}`, `w${i}`, `b${i}`],
      outputs: [`conv${i}`],
      attributes: { kernel_shape: [taps], pads: [1, 1], strides: [stride] },
    },
    { op: "Relu", inputs: [`conv${i}`], outputs: [`relu${i + 1}`] },
  ]);
  const node = (op: string, inputs: string[], output: string, attributes?: OnnxNode["attributes"]): OnnxNode => ({
    op,
    inputs,
    outputs: [output],
    ...(attributes && { attributes }),
  });
  const tail = frameShift * (frames - 1) + frameSamples - chunkSamples - contextSamples;
  return {
    node: [
      node("Pad", ["x", "pads"], "padded", { mode: "reflect" }),
      node("Conv", ["padded", "basis"], "stft", { kernel_shape: [frameSamples], strides: [frameShift] }),
      { op: "Split", inputs: ["stft"], outputs: ["re", "im"], attributes: { axis: 1, num_outputs: 2 } },
      node("Mul", ["re", "re"], "re2"),
      node("Mul", ["im", "im"], "im2"),
      node("Add", ["re2", "im2"], "power"),
      node("Sqrt", ["power"], "magnitude"),
      ...encoder,
      node("Transpose", [`relu${layers.length}`], "step", { perm: [2, 0, 1] }),
      {
        op: "LSTM",
        inputs: ["step", "wIh", "wHh", "bias", "", "h", "c"],
        outputs: ["y", "hn", "cn"],
        attributes: { hidden_size: units },
      },
      node("Relu", ["hn"], "hidden"),
      node("MatMul", ["hidden", "output"], "logit"),
      node("Sigmoid", ["logit"], "probability"),
    ],
    constants: {
      basis: dense(2 * bins, 1, frameSamples),
      ...Object.fromEntries(
        layers.flatMap(({ inputs, outputs }, i) => [
          [`w${i}`, dense(outputs, inputs, taps)],
          [`b${i}`, dense(outputs)],
        ]),
      ),
      wIh: dense(1, 4 * units, units),
      wHh: dense(1, 4 * units, units),
      bias: dense(1, 8 * units),
      output: dense(units, 1),
    },
    integers: { pads: [0, 0, 0, 0, 0, tail] },
    inputs: {
      x: dense(streams, 1, chunkSamples + contextSamples),
      h: dense(1, streams, units),
      c: dense(1, streams, units),
    },
    outputs: { probability: [1, streams, 1], hn: [1, streams, units], cn: [1, streams, units] },
  };
}
