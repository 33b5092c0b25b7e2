// Written by scripts/lib/contracts.mjs from the contracts in native/ops; `npm run build` keeps it up to date.

/** Element types of a tensor. `f8e4m3` is the OCP E4M3 format without infinities (torch `float8_e4m3fn`). */
export const dtypes = ["f32", "f16", "bf16", "f8e4m3", "i32", "u8"] as const;
export type DType = (typeof dtypes)[number];

/** `gelu` is the exact erf form; `relu6` is min(max(x, 0), 6). */
export const activations = ["none", "relu", "relu6", "gelu", "silu", "tanh", "sigmoid"] as const;
export type Activation = (typeof activations)[number];

/** The error codes that native code throws. */
export const nativeErrorCodes = ["INVALID_ARGUMENT", "SHAPE_MISMATCH", "DTYPE_MISMATCH", "DEVICE_MISMATCH", "INDEX_OUT_OF_RANGE", "DISPOSED", "OUT_OF_MEMORY", "ABORTED", "IO_ERROR", "NO_DRIVER", "DRIVER_TOO_OLD", "NO_DEVICE", "ARCH_UNSUPPORTED", "DEVICE_FAULT", "UNSUPPORTED"] as const;

/** The arguments of every native operation; Handle is whatever stands for a tensor. */
export interface Operations<Handle> {
  activation: {
    x: Handle;
    kind?: Activation | undefined;
  };
  argmax: {
    logits: Handle;
    allowed?: readonly number[] | undefined;
  };
  attention: {
    q: Handle;
    k: Handle;
    v: Handle;
    cuSeqlens: Handle;
    causal?: boolean | undefined;
    scale?: number | undefined;
  };
  binary: {
    kind?: "add" | "mul" | undefined;
    a: Handle;
    b: Handle;
  };
  cast: {
    x: Handle;
    dtype?: DType | undefined;
  };
  clamp: {
    x: Handle;
    low?: number | undefined;
    high?: number | undefined;
  };
  cmvn: {
    x: Handle;
    mean: Handle;
    inverseStd: Handle;
  };
  codecEmbedding: {
    semantic: Handle;
    acoustic: Handle;
    semanticTable: Handle;
    tableA: Handle;
    tableB: Handle;
  };
  combine: {
    y: Handle;
    x: Handle;
    weights: Handle;
    slotOf: Handle;
    zeroWeight: Handle;
    residual?: Handle | undefined;
  };
  concatRows: {
    x?: readonly Handle[] | undefined;
  };
  conv1d: {
    x: Handle;
    w: Handle;
    bias?: Handle | undefined;
    snake?: Handle | undefined;
    residual?: Handle | undefined;
    /** Written in place. */
    state?: Handle | undefined;
    dilation?: number | undefined;
    groups?: number | undefined;
    stride?: number | undefined;
    padLeft?: number | undefined;
    padRight?: number | undefined;
    first?: number | undefined;
    activation?: Activation | undefined;
  };
  convTranspose1d: {
    x: Handle;
    w: Handle;
    bias?: Handle | undefined;
    /** Written in place. */
    state?: Handle | undefined;
    stride?: number | undefined;
    padding?: number | undefined;
    outputPadding?: number | undefined;
    last?: boolean | undefined;
  };
  copyRows: {
    /** Written in place. */
    dst: Handle;
    src: Handle;
    dstRow?: number | undefined;
  };
  fbank: {
    wave: Handle;
    sampleRate?: number | undefined;
    lowHz?: number | undefined;
    highHz?: number | undefined;
    preemphasis?: number | undefined;
    frameLength?: number | undefined;
    frameShift?: number | undefined;
    fftSize?: number | undefined;
    melBins?: number | undefined;
    removeDc?: boolean | undefined;
    window?: "povey" | "hann" | "hamming" | undefined;
  };
  foldWeightNorm: {
    v: Handle;
    g: Handle;
  };
  fsmnMemory: {
    x: Handle;
    weight: Handle;
    "norm.weight"?: Handle | undefined;
    "norm.bias"?: Handle | undefined;
    "norm.eps"?: number | undefined;
    residual?: Handle | undefined;
    /** Written in place. */
    state?: Handle | undefined;
    /** Written in place. */
    pending?: Handle | undefined;
    leftOrder?: number | undefined;
    rightOrder?: number | undefined;
    leftStride?: number | undefined;
    rightStride?: number | undefined;
    last?: boolean | undefined;
  };
  gatherRows: {
    x: Handle;
    rows: Handle;
    allowNegative?: boolean | undefined;
    outDtype?: DType | undefined;
  };
  groupedGemm: {
    x: Handle;
    w: Handle;
    offsets: Handle;
    gather?: Handle | undefined;
  };
  groupedSwiglu: {
    x: Handle;
    gate: Handle;
    up: Handle;
    offsets: Handle;
    gather?: Handle | undefined;
  };
  interpolateTokens: {
    x: Handle;
    height?: number | undefined;
    width?: number | undefined;
    toHeight?: number | undefined;
    toWidth?: number | undefined;
  };
  layerNorm: {
    x: Handle;
    weight: Handle;
    bias?: Handle | undefined;
    eps?: number | undefined;
  };
  linear: {
    x: Handle;
    w: Handle;
    bias?: Handle | undefined;
    residual?: Handle | undefined;
    layerScale?: Handle | undefined;
    activation?: Activation | undefined;
    outDtype?: DType | undefined;
  };
  lstm: {
    x: Handle;
    wIh: Handle;
    wHh: Handle;
    bIh?: Handle | undefined;
    bHh?: Handle | undefined;
    /** Written in place. */
    h: Handle;
    /** Written in place. */
    c: Handle;
  };
  machinePeaks: {
    buffer: Handle;
  };
  maskRows: {
    x: Handle;
    lengths?: readonly number[] | undefined;
  };
  mlaCacheWrite: {
    kv: Handle;
    normWeight: Handle;
    positions: Handle;
    slots: Handle;
    /** Written in place. */
    cache: Handle;
    eps?: number | undefined;
    scale?: number | undefined;
    theta?: number | undefined;
  };
  mlaDecode: {
    q: Handle;
    wKvB: Handle;
    cache: Handle;
    blockTable: Handle;
    seqLens: Handle;
    heads?: number | undefined;
    nopeDim?: number | undefined;
    ropeDim?: number | undefined;
    vDim?: number | undefined;
    scale?: number | undefined;
  };
  mlaPrefill: {
    q: Handle;
    wKvB: Handle;
    cache: Handle;
    blockTable: Handle;
    cuSeqlens: Handle;
    seqLens: Handle;
    heads?: number | undefined;
    nopeDim?: number | undefined;
    ropeDim?: number | undefined;
    vDim?: number | undefined;
    scale?: number | undefined;
  };
  packConv1d: {
    w: Handle;
    groups?: number | undefined;
  };
  packConvTranspose1d: {
    w: Handle;
  };
  packWeight: {
    weights?: readonly Handle[] | undefined;
    scales?: readonly Handle[] | undefined;
    stack?: boolean | undefined;
  };
  patchify: {
    frames: Handle;
    patch?: number | undefined;
    temporal?: number | undefined;
    mergeSize?: number | undefined;
    mean?: readonly number[] | undefined;
    std?: readonly number[] | undefined;
  };
  permutation: {
    ids: Handle;
    experts?: number | undefined;
    zeroExperts?: number | undefined;
  };
  promptEmbedding: {
    textTable: Handle;
    codecTables?: readonly Handle[] | undefined;
    textIds: Handle;
    codecIds: Handle;
    audioRows?: Handle | undefined;
    visionRows?: Handle | undefined;
    audioPadId?: number | undefined;
    imagePadId?: number | undefined;
    padId?: number | undefined;
    outDtype?: DType | undefined;
  };
  repetitionPenalty: {
    logits: Handle;
    history: Handle;
    penalty?: number | undefined;
  };
  resizeBicubic: {
    image: Handle;
    height?: number | undefined;
    width?: number | undefined;
  };
  rmsNorm: {
    x: Handle;
    weight: Handle;
    residual?: Handle | undefined;
    eps?: number | undefined;
  };
  rope: {
    x: Handle;
    positions: Handle;
    theta?: number | undefined;
    ropeDim?: number | undefined;
  };
  router: {
    x: Handle;
    classifier: Handle;
    correctionBias?: Handle | undefined;
    topK?: number | undefined;
    experts?: number | undefined;
    zeroExperts?: number | undefined;
    scale?: number | undefined;
    renormalize?: boolean | undefined;
    scaleZeroExperts?: boolean | undefined;
  };
  sample: {
    logits: Handle;
    temperature?: readonly number[] | undefined;
    topK?: readonly number[] | undefined;
    topP?: readonly number[] | undefined;
    seed?: readonly number[] | undefined;
    step?: readonly number[] | undefined;
    allowed?: readonly number[] | undefined;
  };
  snake: {
    x: Handle;
    alpha: Handle;
  };
  splice: {
    x: Handle;
    /** Written in place. */
    state?: Handle | undefined;
    left?: number | undefined;
    right?: number | undefined;
    stride?: number | undefined;
    first?: number | undefined;
    rows?: number | undefined;
    known?: number | undefined;
  };
  splitColumns: {
    x: Handle;
    widths?: readonly number[] | undefined;
  };
  swiglu: {
    x: Handle;
    gate: Handle;
    up: Handle;
    gateBias?: Handle | undefined;
    upBias?: Handle | undefined;
  };
  vitAttention: {
    qkv: Handle;
    cuSeqlens: Handle;
    positions: Handle;
    qNorm: Handle;
    kNorm: Handle;
    heads?: number | undefined;
    theta?: number | undefined;
    eps?: number | undefined;
  };
}

/** The names of the arguments, in the contracts' order. */
export const operationFields = {
  activation: ["x", "kind"],
  argmax: ["logits", "allowed"],
  attention: ["q", "k", "v", "cuSeqlens", "causal", "scale"],
  binary: ["kind", "a", "b"],
  cast: ["x", "dtype"],
  clamp: ["x", "low", "high"],
  cmvn: ["x", "mean", "inverseStd"],
  codecEmbedding: ["semantic", "acoustic", "semanticTable", "tableA", "tableB"],
  combine: ["y", "x", "weights", "slotOf", "zeroWeight", "residual"],
  concatRows: ["x"],
  conv1d: ["x", "w", "bias", "snake", "residual", "state", "dilation", "groups", "stride", "padLeft", "padRight", "first", "activation"],
  convTranspose1d: ["x", "w", "bias", "state", "stride", "padding", "outputPadding", "last"],
  copyRows: ["dst", "src", "dstRow"],
  fbank: ["wave", "sampleRate", "lowHz", "highHz", "preemphasis", "frameLength", "frameShift", "fftSize", "melBins", "removeDc", "window"],
  foldWeightNorm: ["v", "g"],
  fsmnMemory: ["x", "weight", "norm.weight", "norm.bias", "norm.eps", "residual", "state", "pending", "leftOrder", "rightOrder", "leftStride", "rightStride", "last"],
  gatherRows: ["x", "rows", "allowNegative", "outDtype"],
  groupedGemm: ["x", "w", "offsets", "gather"],
  groupedSwiglu: ["x", "gate", "up", "offsets", "gather"],
  interpolateTokens: ["x", "height", "width", "toHeight", "toWidth"],
  layerNorm: ["x", "weight", "bias", "eps"],
  linear: ["x", "w", "bias", "residual", "layerScale", "activation", "outDtype"],
  lstm: ["x", "wIh", "wHh", "bIh", "bHh", "h", "c"],
  machinePeaks: ["buffer"],
  maskRows: ["x", "lengths"],
  mlaCacheWrite: ["kv", "normWeight", "positions", "slots", "cache", "eps", "scale", "theta"],
  mlaDecode: ["q", "wKvB", "cache", "blockTable", "seqLens", "heads", "nopeDim", "ropeDim", "vDim", "scale"],
  mlaPrefill: ["q", "wKvB", "cache", "blockTable", "cuSeqlens", "seqLens", "heads", "nopeDim", "ropeDim", "vDim", "scale"],
  packConv1d: ["w", "groups"],
  packConvTranspose1d: ["w"],
  packWeight: ["weights", "scales", "stack"],
  patchify: ["frames", "patch", "temporal", "mergeSize", "mean", "std"],
  permutation: ["ids", "experts", "zeroExperts"],
  promptEmbedding: ["textTable", "codecTables", "textIds", "codecIds", "audioRows", "visionRows", "audioPadId", "imagePadId", "padId", "outDtype"],
  repetitionPenalty: ["logits", "history", "penalty"],
  resizeBicubic: ["image", "height", "width"],
  rmsNorm: ["x", "weight", "residual", "eps"],
  rope: ["x", "positions", "theta", "ropeDim"],
  router: ["x", "classifier", "correctionBias", "topK", "experts", "zeroExperts", "scale", "renormalize", "scaleZeroExperts"],
  sample: ["logits", "temperature", "topK", "topP", "seed", "step", "allowed"],
  snake: ["x", "alpha"],
  splice: ["x", "state", "left", "right", "stride", "first", "rows", "known"],
  splitColumns: ["x", "widths"],
  swiglu: ["x", "gate", "up", "gateBias", "upBias"],
  vitAttention: ["qkv", "cuSeqlens", "positions", "qNorm", "kNorm", "heads", "theta", "eps"],
} as const satisfies { readonly [Name in keyof Operations<never>]: readonly (keyof Operations<never>[Name])[] };
