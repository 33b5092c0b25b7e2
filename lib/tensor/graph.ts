import { addon, type GraphHandle, guarded } from "../native/addon.js";
import { type Device, disposeAll } from "./device.js";

/**
 * Operations that are captured once and replayed as a whole, with the cost of a single launch: a CUDA graph on a GPU,
 * the same calls again on a CPU. They work on the same memory every time: feed them with `Tensor.write` before a
 * replay, and read `result` after it.
 *
 * ```ts
 * using x = device.zeros([1, 512]);
 * using graph = Graph.capture(device, () => ops.linear(x, w, { activation: "silu" }));
 * x.write(values);
 * graph.replay();
 * await graph.result.read();
 * ```
 */
export class Graph<T = unknown> implements Disposable {
  /** What the captured function returned: its tensors hold the values of the last replay. They are the graph's. */
  readonly result: T;
  readonly #handle: GraphHandle;
  #disposed = false;

  private constructor(handle: GraphHandle, result: T) {
    this.#handle = handle;
    this.result = result;
  }

  /**
   * Records the operations that `fn` calls on `device`; none of them runs before the first replay. `fn` is synchronous
   * and may not read: tensors that it makes have no values yet. Tensors from JavaScript values are constants of the
   * graph; those made outside are read, or written in place, at every replay. Tensors that `fn` does not return are
   * disposed, as in `Device.scope`.
   * @throws `INVALID_ARGUMENT` within another capture on the device, or when `fn` returns a promise; `DISPOSED`
   */
  static capture<T>(device: Device, fn: () => T): Graph<T> {
    guarded(() => addon().beginRecording(device.handle));
    const end = () => guarded(() => addon().endRecording(device.handle));
    try {
      const result = device.scope(fn);
      return new Graph(end(), result);
    } catch (error) {
      addon().disposeGraph(end());
      throw error;
    }
  }

  /**
   * Queues the captured operations once more and returns at once. What goes wrong surfaces when a result is read: the
   * codes of the operations, and of tensors that they read; a graph that could not be made fails every time.
   * @throws `DISPOSED`; `INVALID_ARGUMENT` within a capture
   */
  replay(): void {
    guarded(() => addon().replay(this.#handle));
  }

  get disposed(): boolean {
    return this.#disposed;
  }

  /** Frees the graph and its result, after the replays that are queued. Safe to call twice. */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    addon().disposeGraph(this.#handle);
    disposeAll(this.result);
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}
