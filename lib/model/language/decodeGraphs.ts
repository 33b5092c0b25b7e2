import { concatRows, copyRows } from "../../ops/rows.js";
import { Graph } from "../../tensor/graph.js";
import { disposeAll } from "../../tensor/tensor.js";
import type { Ids, Rows } from "../types.js";
import { type CacheNumbers, type CacheTensors, cacheTensors } from "./cacheTensors.js";

interface Captured {
  readonly inputs: { readonly x: Rows; readonly numbers: Ids };
  readonly graph: Graph<Rows>;
}

/** Graphs held at a time. More would occupy memory for batch shapes that no longer occur. */
const maxGraphs = 8;

/**
 * Decode steps as captured graphs, one per batch size and block table width. The least recently used graph is dropped.
 */
export class DecodeGraphs {
  readonly #captured = new Map<string, Captured>(); // in order of use, the latest last
  readonly #step: (x: Rows, rows: CacheTensors) => Rows;

  /** @param step one decode step for rows x; its other inputs must not change between steps */
  constructor(step: (x: Rows, rows: CacheTensors) => Rows) {
    this.#step = step;
  }

  /** Runs `step` for rows x, with the same bits. The caller owns the result. */
  run(x: Rows, numbers: CacheNumbers): Rows {
    const { inputs, graph } = this.#graphFor(x, numbers);
    copyRows(inputs.x, x);
    inputs.numbers.write(numbers.values);
    graph.replay();
    return concatRows([graph.result]); // a copy: the next replay overwrites the graph's result
  }

  #graphFor(x: Rows, numbers: CacheNumbers): Captured {
    const key = `${numbers.sequences}x${numbers.width}`;
    const captured = this.#captured.get(key) ?? this.#capture(x, numbers);
    this.#captured.delete(key);
    this.#captured.set(key, captured);
    const [oldest] = this.#captured.keys();
    if (this.#captured.size > maxGraphs) this.#drop(oldest!);
    return captured;
  }

  #capture({ device, shape, dtype }: Rows, numbers: CacheNumbers): Captured {
    return device.outOfScope(() => {
      const inputs = { x: device.zeros(shape, dtype), numbers: device.zeros([numbers.values.length], "i32") };
      const step = () => this.#step(inputs.x, cacheTensors(inputs.numbers, numbers));
      return { inputs, graph: Graph.capture(device, step) };
    });
  }

  #drop(key: string): void {
    const { inputs, graph } = this.#captured.get(key)!;
    this.#captured.delete(key);
    graph.dispose();
    disposeAll(inputs);
  }

  /** Frees all graphs. A graph that failed would fail again: its memory carries the error, or it could not be made. */
  clear(): void {
    for (const key of [...this.#captured.keys()]) this.#drop(key);
  }
}
