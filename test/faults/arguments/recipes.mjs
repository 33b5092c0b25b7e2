// A valid call of every function, constructor and method of the public API that takes arguments: `() => ({ on, args })`,
// where `on` is the object of a method. Every call gets objects of its own where it changes or disposes them.
import { internal } from "./internal.mjs";
import { opsRecipes } from "./recipesOps.mjs";
import { serviceRecipes } from "./recipesService.mjs";

/** @param w what the calls use: devices, modules, a model directory */
export function recipes(w) {
  const { device, dir, llm } = w;
  const rows = (n) => device.zeros([n, llm.config.hidden_size]);
  const sequence = (length = 0) => {
    const made = w.temporary(llm.cache.sequence());
    if (length > 0) w.temporary(llm.cache.append([{ sequence: made, rows: length }]));
    return made;
  };
  const tensor = () => device.tensor([1, 2, 3, 4], [2, 2]);
  const signal = new AbortController().signal;
  const packed = { packedCache: false, onPackedCache: () => {} };
  const open = { device, signal, onProgress: () => {}, strict: false, onWarning: () => {}, ...packed };
  const samples = () => new Float32Array(4000);
  const frames = () => [
    [1, 2, 3, 4],
    [4, 3, 2, 1],
  ];
  const image = () => ({ width: 40, height: 30, data: new Uint8Array(3600) });
  const service = serviceRecipes(w, { signal, samples, image });
  const state = () => new w.caracal.SpeechState({ pauseId: 137, endId: 2, historySteps: 30 });

  const table = {
    CaracalError: { new: internal },
    Device: {
      new: internal,
      open: () => ({
        args: [{ backend: "cpu", threads: 1, isa: "scalar", ordinal: 0, memoryLimit: 1e9, cacheMemory: true }],
      }),
      tensor: () => ({ on: device, args: [[1, 2], [2], "f32"] }),
      zeros: () => ({ on: device, args: [[2, 3], "f32"] }),
      mapFile: () => ({ on: device, args: [w.file] }),
      mapped: () => ({ on: device, args: [device.mapFile(w.file), 0, [4], "u8"] }),
      scope: () => ({ on: device, args: [() => device.zeros([1])] }),
      fork: () => ({ on: device, args: [() => device.zeros([1])] }),
      outOfScope: internal,
      track: internal,
    },
    Graph: {
      new: internal,
      capture: () => ({ args: [device, () => device.zeros([1])] }),
    },
    Tensor: {
      new: internal,
      write: () => ({ on: tensor(), args: [[1, 2, 3, 4]] }),
      reshape: () => ({ on: tensor(), args: [[4, 1]] }),
      slice: () => ({ on: tensor(), args: [0, 1] }),
    },
    NativeArray: { new: internal },
    PackedWeight: { new: internal },
    disposeAll: () => ({ args: [{ a: tensor(), b: [tensor()] }] }),
    upload: () => ({ args: [device, samples(), [samples().length], "f32", { signal }] }),
    saveTensors: () => ({ args: [`${w.file}.copy`, { a: tensor() }, { metadata: { a: "b" }, signal }] }),
    loadTensors: () => ({ args: [w.entry.file, { device, names: [w.entry.name], signal }] }),
    encodeWav: () => ({ args: [samples(), 16000] }),
    inspectPath: () => ({ args: [dir, { signal, strict: false }] }),
    openCheckpoint: () => ({ args: [dir, { signal, strict: false, onWarning: () => {} }] }),
    quantizeCheckpoint: () => ({
      args: [
        dir,
        `${dir}-quantized`,
        { format: "int4", group: 64, layout: "mlx", force: true, device, signal, onProgress: () => {} },
      ],
    }),
    sliceCheckpoint: () => ({
      args: [
        dir,
        `${dir}-sliced`,
        { layers: 1, experts: 2, zeroExperts: 1, force: true, signal, onProgress: () => {} },
      ],
    }),
    verifyFile: () => ({ args: [w.golden, { device, activations: "f32" }] }),
    Weights: {
      new: internal,
      steps: internal,
      from: internal,
      of: () => ({ args: [device, { "": [], part: [w.entry] }, { signal, onProgress: () => {} }] }),
      part: () => ({ on: w.weights(), args: ["model"] }),
      has: () => ({ on: w.weights(), args: [w.entry.name] }),
      shape: () => ({ on: w.weights(), args: [w.entry.name] }),
      plain: () => ({ on: w.weights(), args: [w.entry.name, [1024, 64]] }),
      optional: () => ({ on: w.weights(), args: [w.entry.name, [1024, 64]] }),
      packed: () => ({ on: w.weights(), args: [w.entry.name, [1024, 64]] }),
      packedFloat: () => ({ on: w.weights(), args: [w.entry.name, [1024, 64]] }),
      matrix: () => ({ on: w.weights(), args: [w.entry.name, [1024, 64]] }),
      matrices: () => ({ on: w.weights(), args: [w.entry.name, [4, 256, 64]] }),
      packedStack: () => ({ on: w.weights(), args: [w.entry.name, [4, 256, 64], false] }),
      isAlike: () => ({ on: w.weights(), args: [w.entry.name, w.entry.name, [1024, 64]] }),
      linear: () => ({ on: w.weights(), args: ["lm_head"] }),
      norm: () => ({ on: w.audioWeights(), args: ["audio_encoder.fsmn_layers.0.memory_ln"] }),
      packedExperts: () => ({
        on: w.weights(),
        args: [
          [w.entry.name, w.entry.name],
          [1024, 64],
        ],
      }),
      conv1d: () => ({ on: w.codecWeights(), args: ["decoder.model.0"] }),
      convTranspose1d: () => ({ on: w.codecWeights(), args: ["decoder.model.1.block.1"] }),
      folded: () => ({ on: w.codecWeights(), args: ["decoder.model.0"] }),
      derive: () => ({ on: w.weights(), args: [() => device.zeros([1])] }),
    },
    KvCache: {
      new: () => ({ args: [device, { modules: 1, width: 4, tokens: 64, blockSize: 16, dtype: "f32" }] }),
      fits: () => ({ on: llm.cache, args: [[{ sequence: sequence(), rows: 2 }]] }),
      append: () => ({ on: llm.cache, args: [[{ sequence: sequence(), rows: 2 }], { minWidth: 1, rowByRow: false }] }),
      place: internal,
      take: internal,
    },
    KvSequence: {
      new: internal,
      reserve: () => ({ on: sequence(), args: [3] }),
      truncate: () => ({ on: sequence(), args: [0] }),
      adopt: internal,
      keep: internal,
      grow: internal,
      hold: internal,
      release: internal,
    },
    Llm: {
      new: internal,
      load: () => ({
        args: [
          w.weights(),
          llm.config,
          { activations: "f32", kvCacheTokens: 64, decodeGraphs: false, int8Rows: false },
        ],
      }),
      open: () => ({
        args: [dir, { ...open, activations: "f32", kvCacheTokens: 64, decodeGraphs: false, int8Rows: false }],
      }),
      fromCheckpoint: internal,
      embed: () => ({ on: llm, args: [[1, 2]] }),
      prefill: () => ({
        on: llm,
        args: [
          [{ sequence: sequence(), embeddings: rows(2) }],
          { chunk: 1, rows: "last", mode: "prefill", tap: () => {}, signal },
        ],
      }),
      forward: () => ({
        on: llm,
        args: [[{ sequence: sequence(), embeddings: rows(2) }], { rows: "all", mode: "decode", tap: () => {}, signal }],
      }),
      decode: () => ({ on: llm, args: [[sequence(), sequence()], rows(2)] }),
      logits: () => ({ on: llm, args: [rows(1)] }),
    },
    AudioFeatures: {
      new: () => ({ args: [device, w.features.config, w.checkpoint.audio.cmvn] }),
      open: () => ({ args: [dir, { device, signal, strict: false, onWarning: () => {} }] }),
      melFrames: () => ({ on: w.features, args: [samples()] }),
      extract: () => ({ on: w.features, args: [samples()] }),
      normalise: internal,
    },
    AudioFeatureStream: {
      new: internal,
      push: () => ({ on: w.temporary(w.features.stream()), args: [samples(), { last: true }] }),
    },
    AudioEncoder: {
      new: internal,
      load: () => ({
        args: [
          w.audioWeights(),
          w.checkpoint.audio.config,
          { activations: "f32", features: w.features.config, cmvn: w.checkpoint.audio.cmvn },
        ],
      }),
      open: () => ({ args: [dir, { ...open, activations: "f32" }] }),
      fromCheckpoint: internal,
      encode: () => ({ on: w.audio, args: [device.zeros([4, 1200]), { length: 3, tap: () => {} }] }),
      encodeSamples: () => ({ on: w.audio, args: [samples()] }),
      ctcLogits: () => ({ on: w.audio, args: [device.zeros([2, w.audio.config.hidden_size])] }),
      newMemories: internal,
      advance: internal,
    },
    AudioEncoderStream: {
      new: internal,
      push: () => ({ on: w.temporary(w.audio.stream()), args: [samples()] }),
    },
    VisionEncoder: {
      new: internal,
      load: () => ({ args: [w.visionWeights(), w.checkpoint.vision.config, { activations: "f32" }] }),
      open: () => ({ args: [dir, { ...open, activations: "f32" }] }),
      fromCheckpoint: internal,
      encode: () => ({ on: w.vision, args: [device.zeros([4, 1176]), [[1, 2, 2]], { tap: () => {} }] }),
      encodeUnits: () => ({
        on: w.vision,
        args: [
          [
            { frames: [image()], size: { height: 28, width: 56 }, tokenGrid: { height: 1, width: 1 } },
            { frames: [image(), device.zeros([28, 28, 3], "u8")], size: { height: 28, width: 28 } },
          ],
          { signal },
        ],
      }),
      resize: () => ({ on: w.vision, args: [image(), { height: 28, width: 28 }] }),
      encodeImages: () => ({ on: w.vision, args: [[image()], { signal }] }),
    },
    SpeechDecoder: {
      new: internal,
      load: () => ({ args: [w.codecWeights(), w.checkpoint.codec.config] }),
      open: () => ({ args: [dir, open] }),
      fromCheckpoint: internal,
      decode: () => ({ on: w.speech, args: [frames(), { tap: () => {} }] }),
      newState: internal,
      advance: internal,
    },
    SpeechDecoderStream: {
      new: internal,
      push: () => ({ on: w.temporary(w.speech.stream()), args: [frames()] }),
    },
    AudioHeads: {
      new: internal,
      load: () => ({ args: [w.headWeights(), { books: 4, penalty: 1.1, window: 30, allowed: [[[0, 9]]] }] }),
      open: () => ({ args: [dir, open] }),
      fromCheckpoint: internal,
      step: () => ({ on: w.heads, args: [rows(1), [[[1]], [[]], [[2, -1]], [[]]], () => {}] }),
    },
    SpeechState: {
      new: () => ({ args: [{ pauseId: 137, endId: 2, historySteps: 30 }] }),
      codecHistory: () => ({ on: state(), args: [0] }),
      step: () => ({ on: state(), args: [5, [40, 41, 42, 43]] }),
      restore: () => ({
        on: state(),
        args: [{ ...state().snapshot(), textHistory: [1], codecHistory: [[40, 41, 42, 43]] }],
      }),
    },
    OmniEmbedding: {
      new: internal,
      load: () => ({
        args: [
          w.embeddingWeights(),
          llm.textTable,
          { books: 4, audioPadId: 5, imagePadId: 6, padId: 3, activations: "f32" },
        ],
      }),
      open: () => ({ args: [dir, { ...open, activations: "f32" }] }),
      prompt: () => ({
        on: w.embedding,
        args: [{ textIds: [1, w.embedding.audioPadId ?? 7], codecIds: [3, 3, 3, 3, 3, 3, 3, 3] }, rows(0), rows(0)],
      }),
      step: () => ({ on: w.embedding, args: [[{ textId: 1, codecIds: [40, 41, 42, 43] }]] }),
    },
    OmniTokenizer: {
      new: internal,
      from: () => ({
        args: [
          {
            tokenizer: w.tokenizerJson,
            config: w.tokenizerConfig,
            source: "a file",
            chatTemplate: "{{ messages }}",
          },
          { signal },
        ],
      }),
      open: () => ({ args: [dir, { signal }] }),
      specialId: () => ({ on: w.tokenizer, args: ["</pause>"] }),
      encode: () => ({ on: w.tokenizer, args: ["a text", { signal }] }),
      decode: () => ({ on: w.tokenizer, args: [[40, 41], { signal }] }),
      encodeSteps: internal,
      tokenOf: internal,
      leastIds: internal,
      renderChat: () => ({
        on: w.tokenizer,
        args: [[{ role: "user", content: "Hi" }], { x: 1 }, { timeLimit: 1000, memoryLimit: 64, signal }],
      }),
    },
    TokenStream: {
      new: internal,
      push: () => ({ on: w.tokenizer.stream(), args: [40] }),
      restore: () => ({ on: w.tokenizer.stream(), args: [{ bytes: [200] }] }),
    },
    OmniModel: {
      new: internal,
      load: () => ({
        args: [
          dir,
          {
            ...open,
            activations: "f32",
            kvCacheTokens: 64,
            decodeGraphs: false,
            int8Rows: false,
            prefillChunk: 64,
            maxBatch: 2,
            unreadSeconds: 1,
            prefixCache: true,
          },
        ],
      }),
      live: service.live,
      generate: () => ({
        on: w.model,
        args: [
          [
            { role: "user", content: "Hi" },
            {
              role: "user",
              content: [
                { type: "text", text: "Hi" },
                { type: "audio", audio: { samples: samples(), sampleRate: 16000 } },
                { type: "image", image: image(), maxPixels: 1e6, autoOrient: true },
                {
                  type: "video",
                  video: { frames: [image()], fps: 1, audio: { samples: samples(), sampleRate: 16000 } },
                  interleaveAudio: true,
                  maxPixels: 1e6,
                  maxSeconds: 100,
                  maxFrames: 100,
                },
              ],
            },
            { role: "assistant", content: [{ type: "speech", segments: [{ text: "a", codes: [1, 2, 3, 4] }] }] },
          ],
          {
            speech: false,
            signal,
            maxTokens: 1,
            temperature: 1,
            topK: 0,
            topP: 1,
            repetitionPenalty: 1,
            seed: 0,
            limits: { audioSeconds: 30 },
            template: "omni",
          },
        ],
      }),
    },
    Generation: {
      new: internal,
    },
    ...service.classes,
    ops: opsRecipes(w),
  };
  return table;
}
