// A valid call of every function and class of `ops`, as recipes.mjs describes.
export function opsRecipes({ device, ops, temporary }) {
  const f32 = (...shape) => device.zeros(shape);
  const i32 = (values, shape = [values.length]) => device.tensor(values, shape, "i32");
  const experts = (...shape) => ops.packWeights([f32(...shape), f32(...shape)]);
  const codes = (...shape) => device.zeros(shape, "u8");
  const q4 = (n, k) => ops.packWeight(codes(n, k / 2), { bits: 4, scale: f32(n, k / 32) });
  const q8 = (n, k) =>
    ops.packWeights([codes(n, k), codes(n, k)], { bits: 8, scales: [f32(n, k / 32), f32(n, k / 32)] });
  const routing = () => ({
    ids: i32([0, 1], [2, 1]),
    weights: f32(2, 1),
    zeroWeight: f32(2),
    experts: 2,
    zeroExperts: 1,
  });
  const moeArguments = () => ({ gate: experts(16, 8), up: experts(16, 8), down: experts(8, 16) });
  const mla = () => ({
    q: f32(1, 2, 12),
    wKvB: f32(32, 16),
    cache: f32(2, 4, 20),
    blockTable: i32([0, 1], [1, 2]),
    seqLens: i32([1]),
    heads: 2,
    nopeDim: 8,
    ropeDim: 4,
    vDim: 8,
    scale: 1,
  });
  const tables = () => ({
    textTable: f32(9, 4),
    codecTables: [f32(9, 4), f32(9, 4)],
    textIds: i32([1, 2]),
    codecIds: i32([1, 2, 3, 4], [2, 2]),
    outDtype: "f32",
  });
  const fbank = {
    sampleRate: 16000,
    frameLength: 400,
    frameShift: 160,
    fftSize: 512,
    melBins: 80,
    lowHz: 40,
    highHz: -200,
    preemphasis: 0.9,
    removeDc: false,
    window: "povey",
  };
  const splice = { left: 1, right: 1, stride: 1 };
  const norm = () => ({ weight: f32(4), bias: f32(4), eps: 1e-5 });
  const fsmn = () => ({ leftOrder: 1, rightOrder: 1, leftStride: 1, rightStride: 1, norm: norm() });
  const conv = () => ({ dilation: 1, groups: 1, stride: 1, padding: [1, 1], bias: f32(3), activation: "relu" });
  const transposed = () => ({ stride: 2, padding: 1, outputPadding: 1, bias: f32(3) });
  const last = { last: false };
  const of = (...args) => args;
  const calls = {
    activation: () => of(f32(2, 4), "relu"),
    add: () => of(f32(2, 4), f32(4)),
    addRmsNorm: () => of(f32(2, 4), f32(2, 4), f32(4), { eps: 1e-6 }),
    argmax: () => of(f32(2, 4), { allowed: [[0, 2]] }),
    attention: () => of(f32(2, 1, 8), f32(2, 1, 8), f32(2, 1, 8), { cuSeqlens: i32([0, 2]), causal: true, scale: 1 }),
    cast: () => of(f32(2, 4), "bf16"),
    clamp: () => of(f32(2, 4), { low: 0, high: 1 }),
    cmvn: () => of(f32(2, 4), f32(4), f32(4)),
    codecEmbedding: () =>
      of({
        semantic: i32([0, 1]),
        acoustic: i32([0, 1, 2, 3], [2, 2]),
        semanticTable: f32(4, 3),
        tableA: f32(2, 2, 3),
        tableB: f32(2, 2, 3),
      }),
    combine: () => of(f32(2, 8), f32(2, 8), routing(), { slotOf: i32([0, 1], [2, 1]) }, { residual: f32(2, 8) }),
    concatRows: () => of([f32(2, 4), f32(1, 4)]),
    conv1d: () => of(f32(4, 2), f32(3, 2, 3), { ...conv(), residual: f32(4, 3) }),
    convTranspose1d: () => of(f32(4, 2), f32(2, 3, 4), { ...transposed(), last: false }),
    copyRows: () => of(f32(3, 4), f32(1, 4), 1),
    dequantizeAffine: () =>
      of(device.zeros([2, 32], "u8"), { bits: 4, scale: f32(2, 1), bias: f32(2, 1), outDtype: "bf16" }),
    dequantizeFp8: () => of(device.zeros([2, 32], "f8e4m3"), { scale: f32(1, 1), outDtype: "bf16" }),
    embedding: () => of(f32(9, 4), i32([1, 2]), { outDtype: "bf16", allowNegative: true }),
    fbank: () => of(f32(800), fbank),
    foldWeightNorm: () => of(f32(2, 3, 4), f32(2)),
    fsmnMemory: () => of(f32(3, 4), f32(4, 3), { ...fsmn(), residual: f32(3, 4), last: false }),
    gatherRows: () => of(f32(3, 4), i32([1, 2])),
    groupedGemm: () => of(f32(3, 32), q8(16, 32), i32([0, 1, 2]), { gather: i32([0, 1]), int8Rows: false }),
    groupedSwiglu: () => of(f32(3, 8), experts(16, 8), experts(16, 8), i32([0, 1, 2]), { gather: i32([0, 1]) }),
    interpolateTokens: () => of(f32(6, 4), { from: [2, 3], to: [1, 2] }),
    layerNorm: () => of(f32(2, 4), f32(4), f32(4), { eps: 1e-5 }),
    linear: () =>
      of(f32(2, 32), q4(3, 32), {
        bias: f32(3),
        activation: "silu",
        layerScale: f32(3),
        residual: f32(2, 3),
        outDtype: "f32",
      }),
    lstm: () => of(f32(2, 4), { wIh: f32(8, 4), wHh: f32(8, 2), bIh: f32(8), bHh: f32(8), h: f32(2), c: f32(2) }),
    magnitude: () => of(f32(2, 4)),
    maskRows: () => of(f32(4, 2), [1, 2]),
    mlaCacheWrite: () =>
      of({
        kv: f32(1, 20),
        normWeight: f32(16),
        positions: i32([0]),
        slots: i32([0]),
        cache: f32(2, 4, 20),
        eps: 1e-6,
        scale: 1,
        theta: 1e4,
      }),
    mlaDecode: () => of(mla()),
    mlaPrefill: () => of({ ...mla(), cuSeqlens: i32([0, 1]) }),
    moe: () => of(f32(2, 8), moeArguments(), routing(), { residual: f32(2, 8), int8Rows: false }),
    mul: () => of(f32(2, 4), f32(4)),
    packConv1d: () => of(f32(4, 2, 3), { groups: 2 }),
    packConvTranspose1d: () => of(f32(2, 3, 4)),
    packWeight: () => of(codes(3, 32), { bits: 8, scale: f32(3, 1), bias: f32(3, 1) }),
    packWeights: () =>
      of([codes(3, 12), codes(3, 12)], {
        bits: 3,
        scales: [f32(3, 1), f32(3, 1)],
        biases: [f32(3, 1), f32(3, 1)],
      }),
    patchPositions: () => of([2, 4], { mergeSize: 2 }),
    patchify: () =>
      of(device.zeros([28, 28, 3], "u8"), {
        patch: 14,
        temporal: 2,
        mergeSize: 1,
        mean: [0.5, 0.5, 0.5],
        std: [0.2, 0.2, 0.2],
      }),
    permutation: () => of(routing()),
    promptEmbedding: () =>
      of({ ...tables(), audioRows: f32(0, 4), visionRows: f32(0, 4), audioPadId: 7, imagePadId: 8, padId: 3 }),
    quantizeAffine: () => of(f32(2, 64), { bits: 4, group: 64 }),
    quantizeFp8: () => of(f32(2, 64)),
    repetitionPenalty: () => of(f32(2, 4), i32([1, -1], [2, 1]), 1.1),
    resizeBicubic: () => of(device.zeros([4, 4, 3], "u8"), [2, 2]),
    rmsNorm: () => of(f32(2, 4), f32(4), { eps: 1e-6 }),
    rope: () => of(f32(2, 1, 8), i32([0, 1]), { theta: 1e4, ropeDim: 4 }),
    router: () =>
      of(f32(2, 4), f32(3, 4), f32(3), {
        topK: 1,
        experts: 2,
        zeroExperts: 1,
        scale: 1,
        renormalize: true,
        scaleZeroExperts: true,
      }),
    sample: () => of(f32(2, 4), { temperature: 1, topK: 2, topP: 0.5, seed: [1, 2], step: 0, allowed: [[0, 3]] }),
    snake: () => of(f32(2, 4), f32(4)),
    splice: () => of(f32(3, 4), splice),
    splitColumns: () => of(f32(2, 4), [1, 3]),
    stepEmbedding: () => of(tables()),
    swiglu: () => of(f32(2, 4), f32(3, 4), f32(3, 4), { gateBias: f32(3), upBias: f32(3), int8Rows: false }),
    transpose: () => of(f32(2, 4)),
    vitAttention: () =>
      of(f32(4, 24), {
        heads: 1,
        cuSeqlens: i32([0, 4]),
        positions: i32([0, 0, 0, 1, 1, 0, 1, 1], [4, 2]),
        qNorm: f32(8),
        kNorm: f32(8),
        theta: 1e4,
        eps: 1e-6,
      }),
  };
  const fsmnStream = () => new ops.FsmnMemoryStream(f32(4, 3), fsmn());
  const streams = {
    FbankStream: {
      new: () => ({ args: [device, fbank] }),
      push: () => ({ on: new ops.FbankStream(device), args: [new Float32Array(800)] }),
    },
    SpliceStream: {
      new: () => ({ args: [device, 4, { ...splice, dtype: "f32" }] }),
      push: () => ({ on: temporary(new ops.SpliceStream(device, 4, splice)), args: [f32(3, 4), last] }),
    },
    FsmnMemoryStream: {
      new: () => ({ args: [f32(4, 3), { ...fsmn(), dtype: "f32", residual: true }] }),
      push: () => ({ on: temporary(fsmnStream()), args: [f32(3, 4), f32(3, 4), last] }),
    },
    Conv1dStream: {
      new: () => ({ args: [f32(3, 2, 3), { ...conv(), dtype: "f32" }] }),
      push: () => ({ on: temporary(new ops.Conv1dStream(f32(3, 2, 3), conv())), args: [f32(4, 2), last] }),
      pushAll: () => {
        const w = f32(3, 2, 3);
        const { bias: _, ...shared } = conv();
        const both = [0, 1].map(() => temporary(new ops.Conv1dStream(w, shared)));
        return { on: ops.Conv1dStream, args: [both, f32(4, 2), last] };
      },
    },
    ConvTranspose1dStream: {
      new: () => ({ args: [f32(2, 3, 4), transposed()] }),
      push: () => ({
        on: temporary(new ops.ConvTranspose1dStream(f32(2, 3, 4), transposed())),
        args: [f32(4, 2), last],
      }),
    },
  };
  const functions = Object.fromEntries(
    Object.entries(calls).map(([name, args]) => [name, () => ({ on: ops, args: args() })]),
  );
  return { ...functions, ...streams };
}
