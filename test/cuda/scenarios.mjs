// node scenarios.mjs NAME: runs a scenario on the CUDA backend and prints the outcome as JSON. The environment selects
// the driver and its faults. A process opens the driver only once, so every scenario runs in its own process.
import { Device, Graph, OmniModel, ops } from "caracal";

const failure = (promise) =>
  promise.then(
    () => "no error",
    ({ code, message, details }) => ({ code, message, details }),
  );
/** The device is not disposed, since the process ends with its scenario. */
const openCuda = (options = {}) => Device.open({ backend: "cuda", ...options });
const sum = (device) => {
  const x = device.tensor([1, 2, 3, 4], [4]);
  return ops.add(x, x);
};

/** The model of the directory that `CARACAL_TEST_MODEL` names. */
const loadModel = (device) => OmniModel.load(process.env.CARACAL_TEST_MODEL, { device, kvCacheTokens: 512 });
/** The text of a reply to a question. `onText` is called for each text event. */
async function textOf(model, { onText, ...options } = {}) {
  let text = "";
  for await (const event of model.generate([{ role: "user", content: "Who are you?" }], {
    maxTokens: 6,
    speech: false,
    ...options,
  })) {
    if (event.type !== "text") continue;
    text += event.text;
    onText?.();
  }
  return text;
}

const scenarios = {
  async list() {
    const { devices, why } = await Device.list();
    return { devices, why: why.map(({ code }) => code) };
  },
  open: () => failure(openCuda()),
  async auto() {
    const { backend, why } = await Device.open();
    return { backend, why: why.map(({ code }) => code) };
  },
  noSuchGpu: () => failure(openCuda({ ordinal: 7 })),
  async twoGpus() {
    const a = await openCuda({ ordinal: 0 });
    const b = await openCuda({ ordinal: 1 });
    const mixed = await failure((async () => ops.add(a.zeros([4]), b.zeros([4])))());
    return { mixed, sums: [[...(await sum(a).read())], [...(await sum(b).read())]] };
  },
  /** Two models, one on each GPU, reply at the same time. */
  async twoModels() {
    const models = await Promise.all([0, 1].map(async (ordinal) => loadModel(await openCuda({ ordinal }))));
    return await Promise.all(models.map((model) => textOf(model)));
  },
  /** A reply is aborted while its steps are replayed from a graph; the next reply is not affected. */
  async abortedReply() {
    const model = await loadModel(await openCuda());
    const first = await textOf(model);
    const abort = new AbortController();
    const aborted = await failure(textOf(model, { maxTokens: 40, signal: abort.signal, onText: () => abort.abort() }));
    return { aborted: aborted.code, same: (await textOf(model)) === first, free: model.llm.cache.freeTokens };
  },
  /** The GPU is lost during one of several replies: that reply and later ones fail, and a CPU device takes over. */
  async lostAmidReply() {
    const model = await loadModel(await openCuda());
    const next = async () => (await failure(textOf(model))).code ?? "no error";
    const replies = [await next()];
    while (replies.at(-1) === "no error" && replies.length < 10) replies.push(await next());
    replies.push(await next());
    model.dispose();
    const substitute = await loadModel(await Device.open({ backend: "cpu" }));
    return { replies: replies.slice(-2), substitute: (await textOf(substitute)).length > 0 };
  },
  /** A tensor that cannot be allocated fails, and so does a result computed from it. Later, memory is free again. */
  async outOfMemory() {
    const device = await openCuda();
    const size = 10_000_000;
    const held = device.zeros([size]);
    await held.read();
    const much = device.zeros([size]);
    const first = await failure(much.read());
    const spread = await failure(ops.add(much, held).read());
    held.dispose();
    return { first, spread, later: (await device.zeros([size]).read()).length };
  },
  /** An allocation that the driver refuses is retried after freeing the cached memory. */
  async allocationFails() {
    const device = await openCuda();
    return [...(await sum(device).read())];
  },
  async memoryLimit() {
    const device = await openCuda({ memoryLimit: 1 << 20 });
    const held = device.zeros([1 << 17]);
    await held.read();
    const error = await failure(device.zeros([1 << 18]).read());
    const never = await failure((async () => device.zeros([1 << 19]))()); // thrown at once: it exceeds the limit
    held.dispose();
    await device.synchronize();
    return { error, never, later: (await device.zeros([1 << 17]).read()).length, memory: device.memory };
  },
  /** The GPU is lost: all pending tensors and later calls fail, but the process and its CPU devices keep working. */
  async launchFails() {
    const device = await openCuda();
    const before = device.tensor([5], [1]);
    await before.read();
    const first = await failure(sum(device).read());
    const later = await failure(sum(device).read());
    device.dispose();
    const again = await failure(openCuda());
    return { first, later, again, cpu: [...(await sum(await Device.open({ backend: "cpu" })).read())] };
  },
  /** Opens a GPU and adds, until that fails; a CPU device still works. */
  async lostAtCall() {
    const work = async () => {
      const device = await openCuda();
      for (let i = 0; i < 100; i++) await sum(device).read();
    };
    return { failed: await failure(work()), cpu: [...(await sum(await Device.open({ backend: "cpu" })).read())] };
  },
  async disposedInFlight() {
    const device = await openCuda();
    const reads = Array.from({ length: 20 }, () => failure(sum(device).read()));
    device.dispose();
    return [...new Set((await Promise.all(reads)).map((r) => r.code ?? r))];
  },
  /** A fork in several rounds, as calls and as a graph in turn: the streams use shared and reused memory in order. */
  async forks() {
    const device = await openCuda();
    const size = [32, 64];
    const values = Float32Array.from({ length: 32 * 64 }, (_, i) => (i % 17) - 8);
    const x = device.tensor(values, size);
    const state = device.tensor(values, size);
    const round = () => {
      const branch = device.fork(() => ops.add(ops.mul(ops.add(x, x), x), state)); // 2x² + s
      const trunk = ops.mul(ops.add(x, device.zeros(size)), x); // x²; must not reuse memory of the branch
      ops.copyRows(state, trunk); // writes a tensor that the branch reads
      return ops.add(ops.add(trunk, branch), device.zeros(size)); // 3x² + s
    };
    const graph = Graph.capture(device, round);
    const differences = [];
    for (let i = 0; i < 6; i++) {
      if (i % 2) graph.replay();
      const y = i % 2 ? graph.result : device.scope(round);
      const expected = values.map((v) => 3 * v * v + (i === 0 ? v : v * v));
      differences.push((await y.read()).filter((v, at) => v !== expected[at]).length);
    }
    return differences;
  },
  /** A kernel of a graph's third replay fails: its result and all later ones report that. */
  async graphLaunchFails() {
    const device = await openCuda();
    const x = device.tensor([1, 2, 3, 4], [4]);
    const graph = Graph.capture(device, () => ops.add(ops.add(x, x), x));
    const outcomes = [];
    for (let i = 0; i < 4; i++) {
      graph.replay();
      outcomes.push(await failure(graph.result.read()));
    }
    return outcomes.map((outcome) => outcome.code ?? outcome);
  },
  /** A graph that cannot be allocated fails at every replay; a new graph works once memory is free. */
  async graphOutOfMemory() {
    const device = await openCuda({ memoryLimit: 1 << 20 });
    const held = device.zeros([1 << 17]);
    const x = device.zeros([1 << 15]);
    await held.read();
    const capture = () => Graph.capture(device, () => [1, 2, 3, 4].map(() => ops.add(x, x)));
    const graph = capture();
    const outcomes = [];
    for (let i = 0; i < 2; i++) {
      graph.replay();
      outcomes.push((await failure(graph.result[0].read())).code);
    }
    graph.dispose();
    held.dispose();
    await device.synchronize();
    const again = capture();
    again.replay();
    return { outcomes, later: (await again.result[3].read()).length };
  },
  /** Running out of memory frees cached memory, but not the memory that a graph keeps between two replays. */
  async graphKeepsItsMemory() {
    const device = await openCuda({ memoryLimit: 1 << 20 });
    const x = device.tensor(new Float32Array(1 << 14).fill(1), [1 << 14]);
    const graph = Graph.capture(device, () => ops.add(ops.add(ops.add(x, x), x), x));
    graph.replay();
    const before = await graph.result.read();
    const outOfMemory = await failure(device.zeros([(1 << 18) - 16]).read());
    const others = device.zeros([1 << 16]); // takes the memory that was freed
    await others.read();
    graph.replay();
    const after = await graph.result.read();
    return { outOfMemory: outOfMemory.code, right: [before, after].every((y) => y.every((v) => v === 4)) };
  },
  async graphDisposed() {
    const device = await openCuda();
    const x = device.tensor([1, 2], [2]);
    const graph = Graph.capture(device, () => ops.add(x, x));
    const reads = Array.from({ length: 20 }, () => {
      graph.replay();
      return failure(graph.result.read());
    });
    device.dispose();
    graph.dispose();
    return [...new Set((await Promise.all(reads)).map((r) => r.code ?? r))];
  },
  async bytes() {
    const device = await openCuda();
    const big = Float32Array.from({ length: 3_000_000 }, (_, i) => i % 8191); // more than the staging buffers hold
    const copied = device.tensor(big, [3, 1_000_000]);
    const back = await copied.read();
    const row = await copied.slice(1, 2).toFloat32Array();
    const half = await device.tensor([1.5, -2], [2], "bf16").toFloat32Array();
    return {
      same: back.every((v, i) => v === big[i]),
      row: row.every((v, i) => v === big[1_000_000 + i]),
      half: [...half],
      zeros: (await device.zeros([5], "i32").read()).join(),
      empty: (await device.zeros([0, 4]).read()).length,
    };
  },
};

process.stdout.write(JSON.stringify(await scenarios[process.argv[2]]()));
