// Random programs of operations, writes, invalid rows, forks and replays, compared with what each step means when all
// run one after another. CARACAL_TEST_ROUNDS=1000 runs more programs than the few of the test suite.
import { describe, expect, test } from "vitest";
import * as ops from "../../lib/ops/index.js";
import { Graph } from "../../lib/tensor/graph.js";
import type { Device, Tensor } from "../../lib/tensor/tensor.js";
import { allDevices } from "../support/devices.js";
import { uniform } from "../support/numbers.js";

const [rows, width] = [3, 2];
const rounds = Number(process.env.CARACAL_TEST_ROUNDS ?? 40);
type Rows = Tensor<"f32", readonly [3, 2]>;

/** A tensor, and what it must hold: its values, or the error that has reached it. */
interface Cell {
  readonly tensor: Rows;
  holds: readonly number[] | "INDEX_OUT_OF_RANGE";
}

type Values = Cell["holds"];
const valid = (inputs: readonly Values[], compute: (...values: (readonly number[])[]) => readonly number[]): Values =>
  inputs.find((input) => typeof input === "string") ?? compute(...(inputs as (readonly number[])[]));
/** Sums stay small integers, so that they are exact. */
const bounded = (v: number) => Math.min(50, Math.max(-50, v));
const added = (a: Rows, b: Rows) => ops.clamp(ops.add(a, b), { low: -50, high: 50 }) as Rows;
const addedValues = (a: Values, b: Values) => valid([a, b], (x, y) => x.map((v, i) => bounded(v + y[i]!)));
const gatheredValues = (from: Values, ids: readonly number[]) =>
  ids.every((id) => id < rows)
    ? valid([from], (v) => ids.flatMap((id) => v.slice(id * width, (id + 1) * width)))
    : "INDEX_OUT_OF_RANGE";

/** A graph, what it reads besides cells, and what a replay does to the cells. */
interface Captured {
  readonly graph: Graph;
  readonly ids: Tensor<"i32", readonly [3]>;
  readonly replayed: (ids: readonly number[]) => void;
}

class Program {
  readonly #next: () => number;
  readonly #device: Device;
  readonly #cells: Cell[] = [];
  readonly #graphs: Captured[] = [];
  readonly #reads: { got: Promise<Values>; expected: Values }[] = [];

  constructor(device: Device, seed: number) {
    this.#device = device;
    this.#next = uniform(seed);
    for (let i = 0; i < 4; i++) this.#fill();
    for (let i = 0; i < 2; i++) this.#capture();
  }

  /** From 0 to n - 1. */
  #int = (n: number) => Math.min(n - 1, Math.floor(((this.#next() + 1) / 2) * n));
  #pick = <T>(from: readonly T[]): T => from[this.#int(from.length)]!;
  #values = (count = rows * width) => Array.from({ length: count }, () => this.#int(9) - 4);
  /** Of rows, one in thirty of them invalid. */
  #ids = () => Array.from({ length: rows }, () => (this.#int(30) === 0 ? rows + this.#int(3) : this.#int(rows)));
  #cell = () => this.#pick(this.#cells);
  #make = (tensor: Tensor<"f32">, holds: Values) => this.#cells.push({ tensor: tensor as Rows, holds });

  #fill = () => {
    const values = this.#values();
    this.#make(this.#device.tensor(values, [rows, width]), values);
  };
  #add = () => {
    const [a, b] = [this.#cell(), this.#cell()];
    this.#make(added(a.tensor, b.tensor), addedValues(a.holds, b.holds));
  };
  #gather = () => {
    const [from, ids] = [this.#cell(), this.#ids()];
    using rowIds = this.#device.tensor(ids, [rows], "i32");
    this.#make(ops.gatherRows(from.tensor, rowIds), gatheredValues(from.holds, ids));
  };
  #copy = () => {
    const [to, from, row] = [this.#cell(), this.#cell(), this.#int(rows)];
    using last = from.tensor.slice(rows - 1);
    ops.copyRows(to.tensor, last, row);
    to.holds = valid([to.holds, from.holds], (old, v) => old.toSpliced(row * width, width, ...v.slice(-width)));
  };
  #write = () => {
    const [cell, values] = [this.#cell(), this.#values()];
    cell.tensor.write(values);
    cell.holds = values;
  };
  #writeRow = () => {
    const [cell, values, row] = [this.#cell(), this.#values(width), this.#int(rows)];
    using view = cell.tensor.slice(row, row + 1);
    view.write(values);
    cell.holds = valid([cell.holds], (old) => old.toSpliced(row * width, width, ...values));
  };
  #read = ({ tensor, holds } = this.#cell()) => {
    const got = tensor.read().then(
      (values) => [...values],
      (error) => error.code,
    );
    this.#reads.push({ got, expected: holds });
  };
  #replay = ({ graph, ids, replayed } = this.#pick(this.#graphs)) => {
    const rowIds = this.#ids();
    ids.write(rowIds);
    graph.replay();
    replayed(rowIds);
  };

  /** A graph that adds rows of x to a sum, and doubles it on the second stream. All that it writes depends on all it reads. */
  #capture() {
    const [x, sum] = this.#cells.splice(0, 2) as [Cell, Cell];
    const ids = this.#device.zeros([rows], "i32") as Captured["ids"];
    const graph = Graph.capture(this.#device, () => {
      const total = added(sum.tensor, ops.gatherRows(x.tensor, ids) as Rows);
      const double = this.#device.fork(() => added(total, total));
      ops.copyRows(sum.tensor, total);
      return double;
    });
    const result: Cell = { tensor: graph.result, holds: [] };
    const replayed = (rowIds: readonly number[]) => {
      sum.holds = addedValues(sum.holds, gatheredValues(x.holds, rowIds));
      result.holds = addedValues(sum.holds, sum.holds);
    };
    const captured = { graph, ids, replayed };
    const replay = () => this.#replay(captured); // the result has no values before
    if (this.#int(2) === 0) this.#device.fork(replay);
    else replay();
    this.#graphs.push(captured);
    this.#cells.push(x, sum, result);
  }

  #steps = [this.#fill, this.#add, this.#add, this.#gather, this.#gather, this.#copy, this.#copy, this.#write];
  #step = () => this.#pick([...this.#steps, this.#writeRow, this.#replay, this.#replay, this.#read])();

  run() {
    for (let i = 0; i < 60; i++) {
      if (this.#int(6) > 0) this.#step();
      else this.#device.fork(() => Array.from({ length: 1 + this.#int(4) }, this.#step));
    }
    for (const cell of this.#cells) this.#read(cell);
    for (const { graph } of this.#graphs) graph.dispose();
    return this.#reads;
  }
}

describe.each(allDevices)("random programs on $name", (device) => {
  test("compute the values and errors that their steps imply", async () => {
    for (let seed = 1; seed <= rounds; seed++) {
      let reads: ReturnType<Program["run"]> = [];
      device.scope(() => {
        reads = new Program(device, seed).run();
      });
      const got = await Promise.all(reads.map((read) => read.got));
      expect(got, `seed ${seed}`).toEqual(reads.map((read) => read.expected));
    }
  });
});
