import type { Activations } from "../ops/call.js";
import { concatRows, copyRows } from "../ops/rows.js";
import { Graph } from "../tensor/graph.js";
import type { Tensor } from "../tensor/tensor.js";
import type { CacheTensors } from "./kvCache.js";

type Rows = Tensor<Activations>;
type Inputs = { readonly x: Rows } & CacheTensors;

interface Captured {
  readonly inputs: Inputs;
  readonly graph: Graph<Rows>;
}

/** More would hold memory for batches that come no more. */
const kept = 8;

/** Steps of a decode as graphs: one for every batch size and width of the block table, those used last. */
export class DecodeGraphs {
  readonly #captured = new Map<string, Captured>();

  /** @param step one step for rows x; it depends on nothing else that changes from step to step */
  constructor(private readonly step: (x: Rows, rows: CacheTensors) => Rows) {}

  /** `step` for rows x, which comes to the same bits; the result is the caller's. */
  run(x: Rows, rows: CacheTensors): Rows {
    const { positions, slots, blockTable, cuSeqlens, seqLens } = rows;
    const given: Inputs = { x, positions, slots, blockTable, cuSeqlens, seqLens };
    const { inputs, graph } = this.#take(given);
    for (const name of Object.keys(given) as (keyof Inputs)[]) copyRows(inputs[name] as Tensor, given[name]);
    graph.replay();
    return concatRows([graph.result]); // the next replay overwrites it
  }

  #take(given: Inputs): Captured {
    const key = given.blockTable.shape.join("x");
    const captured = this.#captured.get(key) ?? this.#capture(given);
    this.#captured.delete(key);
    this.#captured.set(key, captured); // the last one used is the last in the map
    const [oldest] = this.#captured.keys();
    if (this.#captured.size > kept) this.#drop(oldest!);
    return captured;
  }

  #capture(given: Inputs): Captured {
    const { device } = given.x;
    return device.outOfScope(() => {
      const entries = Object.entries(given).map(([name, { shape, dtype }]) => [name, device.zeros(shape, dtype)]);
      const inputs = Object.fromEntries(entries) as Inputs;
      return { inputs, graph: Graph.capture(device, () => this.step(inputs.x, inputs)) };
    });
  }

  #drop(key: string): void {
    const { inputs, graph } = this.#captured.get(key)!;
    this.#captured.delete(key);
    graph.dispose();
    for (const tensor of Object.values(inputs)) tensor.dispose();
  }

  /** Frees them. One that failed would go on failing: what it works on has the error, or it could not be made. */
  clear(): void {
    for (const key of [...this.#captured.keys()]) this.#drop(key);
  }
}
