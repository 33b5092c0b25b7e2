import { addon, type GraphHandle, guarded } from "../native/addon.js";
import { aFunction, checkOption } from "../options.js";
import { deviceRule } from "./check.js";
import { endedBy } from "./scopes.js";
import { type Device, disposeAll } from "./tensor.js";

/**
 * Operations that are captured once and replayed as a whole: on a GPU as a CUDA graph with the cost of a single launch,
 * on a CPU by running them again. Every replay uses the same memory: pass inputs with `Tensor.write` before a replay,
 * and read `result` after it.
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
  /** The result of the captured function. The graph owns its tensors, which hold the values of the last replay. */
  readonly result: T;
  readonly #handle: GraphHandle;
  #disposed = false;

  private constructor(handle: GraphHandle, result: T) {
    this.#handle = handle;
    this.result = result;
  }

  /**
   * Records the operations that `fn` calls on `device`. None of them runs before the first replay. `fn` is synchronous
   * and cannot read tensors, since they have no values yet. Tensors that it creates from JavaScript values are
   * constants of the graph; tensors from outside are read, or written in place, at every replay. Tensors that `fn` does
   * not return are disposed, as in `Device.scope`.
   * @throws {CaracalError} `INVALID_ARGUMENT` within another capture on the device, when `fn` is no function or returns a promise;
   *   `DISPOSED` when the device was disposed
   */
  static capture<T>(device: Device, fn: () => T): Graph<T> {
    checkOption("Graph.capture", "device", device, deviceRule);
    checkOption("Graph.capture", "fn", fn, aFunction);
    guarded(() => addon().beginRecording(device.handle));
    let handle: GraphHandle | undefined;
    const end = () => {
      handle = guarded(() => addon().endRecording(device.handle));
    };
    try {
      const result = endedBy(() => device.scope(fn), end);
      return new Graph(handle!, result);
    } catch (error) {
      if (handle) addon().disposeGraph(handle);
      throw error;
    }
  }

  /**
   * Queues the captured operations again and returns at once. Errors of the operations and of the tensors that they
   * read surface when a result is read. On a GPU, the error of a tensor that the graph reads may fail all of its results,
   * even those that do not depend on that tensor, and a graph whose operations check their data (ids, offsets) waits for
   * its previous replay, whose errors would otherwise not be told from the next one's. If the graph could not be
   * created, all of its replays fail.
   * @throws {CaracalError} `DISPOSED` when the graph or its device was disposed, `INVALID_ARGUMENT` within a capture
   */
  replay(): void {
    guarded(() => addon().replay(this.#handle));
  }

  /** Whether the graph was disposed. */
  get disposed(): boolean {
    return this.#disposed;
  }

  /** Frees the graph and its result after the queued replays. Later calls do nothing. */
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
