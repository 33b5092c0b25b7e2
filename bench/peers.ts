import { initializer, integerInitializer, type OnnxNode, onnxModel, value } from "./onnx.js";

/** What operations are compared with: onnxruntime's CPU kernels, with as many threads, in the same run. */
export interface Peer {
  /** Name and version. */
  readonly name: string;
  /** Prepares a model; the result runs it once. `undefined` when the peer lacks the operation. */
  prepare(model: PeerModel): Promise<(() => Promise<void>) | undefined>;
}

export interface PeerModel {
  /** One node, or several in the order of their execution. */
  readonly node: OnnxNode | readonly OnnxNode[];
  readonly constants: Readonly<Record<string, { dims: readonly number[]; values: Float32Array }>>;
  readonly integers?: Readonly<Record<string, readonly number[]>>;
  readonly inputs: Readonly<Record<string, { dims: readonly number[]; values: Float32Array }>>;
  /** Output dimensions; strings are dynamic. */
  readonly outputs: Readonly<Record<string, readonly (number | string)[]>>;
}

/** Opens the peer if it is installed (it is a development dependency only), and tells what to say about it. */
export async function openPeer(threads: number): Promise<{ readonly peer?: Peer; readonly note: string }> {
  try {
    const peer = onnxRuntime(await import("onnxruntime-node"), threads);
    return { peer, note: `peer: ${peer.name}` };
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code !== "ERR_MODULE_NOT_FOUND") return { note: `no peer: onnxruntime-node does not load: ${message}` };
    return { note: "no peer: onnxruntime-node is not installed (`npm install onnxruntime-node`)" };
  }
}

function onnxRuntime(ort: typeof import("onnxruntime-node"), threads: number): Peer {
  return {
    name: `onnxruntime-node ${ort.env.versions.node}`,
    async prepare({ node, constants, integers = {}, inputs, outputs }) {
      const bytes = onnxModel(
        [node].flat(),
        [
          ...Object.entries(constants).map(([name, t]) => initializer(name, t.dims, t.values)),
          ...Object.entries(integers).map(([name, list]) => integerInitializer(name, list)),
        ],
        Object.entries(inputs).map(([name, t]) => value(name, t.dims)),
        Object.entries(outputs).map(([name, dims]) => value(name, dims)),
      );
      const session = await ort.InferenceSession.create(bytes, {
        intraOpNumThreads: threads,
        interOpNumThreads: 1,
        graphOptimizationLevel: "all",
        logSeverityLevel: 3,
      });
      const feeds = Object.fromEntries(
        Object.entries(inputs).map(([name, t]) => [name, new ort.Tensor("float32", t.values, [...t.dims])]),
      );
      return async () => {
        await session.run(feeds);
      };
    },
  };
}
