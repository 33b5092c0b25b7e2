import { concatRows, copyRows } from "../../ops/rows.js";
import { Graph } from "../../tensor/graph.js";
import type { Tensor } from "../../tensor/tensor.js";
import type { Rows } from "../types.js";
import type { CacheTensors } from "./kvCache.js";

type Inputs = { readonly x: Rows } & CacheTensors;

interface Captured {
  readonly inputs: Inputs;
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
  run(x: Rows, rows: CacheTensors): Rows {
    const { positions, slots, blockTable, cuSeqlens, seqLens } = rows;
    const values: Inputs = { x, positions, slots, blockTable, cuSeqlens, seqLens };
    const { inputs, graph } = this.#graphFor(values);
    for (const name of Object.keys(values) as (keyof Inputs)[]) copyRows(inputs[name] as Tensor, values[name]);
    graph.replay();
    return concatRows([graph.result]); // a copy: the next replay overwrites the graph's result
  }

  #graphFor(values: Inputs): Captured {
    const key = values.blockTable.shape.join("x");
    const captured = this.#captured.get(key) ?? this.#capture(values);
    this.#captured.delete(key);
    this.#captured.set(key, captured);
    const [oldest] = this.#captured.keys();
    if (this.#captured.size > maxGraphs) this.#drop(oldest!);
    return captured;
  }

  #capture(values: Inputs): Captured {
    const { device } = values.x;
    return device.outOfScope(() => {
      const entries = Object.entries(values).map(([name, { shape, dtype }]) => [name, device.zeros(shape, dtype)]);
      const inputs = Object.fromEntries(entries) as Inputs;
      return { inputs, graph: Graph.capture(device, () => this.#step(inputs.x, inputs)) };
    });
  }

  #drop(key: string): void {
    const { inputs, graph } = this.#captured.get(key)!;
    this.#captured.delete(key);
    graph.dispose();
    for (const tensor of Object.values(inputs)) tensor.dispose();
  }

  /** Frees all graphs. A graph that failed would fail again: its memory carries the error, or it could not be made. */
  clear(): void {
    for (const key of [...this.#captured.keys()]) this.#drop(key);
  }
}
