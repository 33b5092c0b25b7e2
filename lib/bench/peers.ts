import { addon } from "../native/addon.js";
import { initializer, type OnnxNode, onnxModel, value } from "./onnx.js";

/** What is measured beside us: onnxruntime's CPU kernels, with as many threads, in the same run. */
export interface Peer {
  /** The version that answered. */
  readonly name: string;
  /** Prepares a node; the result runs it once. `undefined` when the peer lacks it. */
  prepare(model: PeerModel): Promise<(() => Promise<void>) | undefined>;
}

export interface PeerModel {
  readonly node: OnnxNode;
  readonly constants: Readonly<Record<string, { dims: readonly number[]; values: Float32Array }>>;
  readonly inputs: Readonly<Record<string, { dims: readonly number[]; values: Float32Array }>>;
  /** Output dimensions; strings are free. */
  readonly outputs: Readonly<Record<string, readonly (number | string)[]>>;
}

/** onnxruntime-node, when it is installed (it is a development dependency of this project). */
export async function openPeer(threads: number): Promise<Peer | undefined> {
  const ort = await importOnnxRuntime();
  if (!ort) return undefined;
  return {
    name: `onnxruntime-node ${ort.env.versions.node}`,
    async prepare({ node, constants, inputs, outputs }) {
      const bytes = onnxModel(
        node,
        Object.entries(constants).map(([name, t]) => initializer(name, t.dims, t.values)),
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

async function importOnnxRuntime(): Promise<typeof import("onnxruntime-node") | undefined> {
  try {
    return await import("onnxruntime-node");
  } catch {
    return undefined; // not installed: the ratio column stays empty, and the caller says why
  }
}

/** The machine and build that a benchmark ran on, for the head of its table. */
export function machine(): string {
  return `${process.platform}-${process.arch}, Node ${process.versions.node}, addon ${addon().buildTool}`;
}
