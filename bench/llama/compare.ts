// Times Caracal and llama.cpp on models that do the same work, in turns.
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { packedFolder } from "../../lib/model/packed/cache.js";
import type { PeakMeter } from "../peaks.js";
import type { Command, Memory } from "./engine.js";
import { type Answer, EngineProcess } from "./engineProcess.js";
import type { ModelFiles, ModelFolder } from "./models.js";
import { describeWork, loading, type Pair, type Selection, type Work } from "./rows.js";
import { type EngineTime, shareOfOthers, timeOf } from "./samples.js";

export interface CompareOptions {
  readonly threads: number;
  /** How often each engine has its turn. */
  readonly rounds: number;
  readonly models: ModelFolder;
  /** Measures whenever both engines rest. */
  readonly meter: PeakMeter;
  readonly signal: AbortSignal;
}

/** The times of both engines for one work. */
export interface ComparedTime {
  readonly pair: Pair;
  /** Absent for loading. */
  readonly work?: Work;
  readonly name: string;
  readonly ours: EngineTime;
  readonly theirs: EngineTime;
  /** The share of the cores that other programs took meanwhile. */
  readonly others: number;
}

/** The memory of an engine with its model loaded, and after all works. */
export interface EngineMemory {
  readonly loaded: Memory;
  readonly end: Memory;
}

export interface ComparedMemory {
  readonly pair: Pair;
  readonly name: "memory";
  readonly ours: EngineMemory;
  readonly theirs: EngineMemory;
}

export type Compared = ComparedTime | ComparedMemory;

/** The number of results that `compare` gives: of loading, each work, and memory. */
export const comparedCount = (selection: readonly Selection[]): number =>
  selection.reduce((sum, { works, loads }) => sum + (loads ? 3 : 0) + works.length + 1, 0);

/** Milliseconds that a turn takes at least: short steps are repeated. */
const shortestTurn = 200;

/** Loading is slow, and varies little. */
const mostLoads = 3;

/** Compares each pair of models, work by work. */
export async function* compare(selection: readonly Selection[], options: CompareOptions): AsyncGenerator<Compared> {
  for (const selected of selection) {
    const files = await options.models.write(selected.pair, options.signal);
    yield* comparePair(selected, files, options);
    await options.models.discard(files);
  }
}

async function* comparePair(
  { pair, works, loads }: Selection,
  files: ModelFiles,
  options: CompareOptions,
): AsyncGenerator<Compared> {
  const { signal, rounds, meter } = options;
  const engines = new Engines(pair, files, options);
  const end = () => void engines[Symbol.asyncDispose]();
  signal.addEventListener("abort", end);
  try {
    await meter.measure();
    if (loads) await rm(join(files.ours, packedFolder), { recursive: true, force: true });
    const loadOften = async (packedCache: boolean) => {
      const turns: Turn[] = [];
      for (let i = 0; i < Math.min(rounds, mostLoads); i++) turns.push(await engines.load(packedCache));
      return turns;
    };
    if (loads) yield { pair, name: loading, ...timesOf(await loadOften(false)) };
    let loaded = await engines.load(true);
    if (loads) {
      yield { pair, name: `${loading} and pack`, ...timesOf([loaded]) };
      const again = await loadOften(true);
      yield { pair, name: `${loading}, again`, ...timesOf(again) };
      loaded = again.at(-1)!;
    }
    let last = loaded;
    for (const work of works) {
      await meter.measure();
      const turns = await engines.turns(work);
      yield { pair, work, name: describeWork(work), ...timesOf(turns) };
      last = turns.at(-1)!;
    }
    const memory = (of: keyof Turn) => ({ loaded: loaded[of].memory, end: last[of].memory });
    yield { pair, name: "memory", ours: memory("ours"), theirs: memory("theirs") };
  } finally {
    signal.removeEventListener("abort", end);
    await engines[Symbol.asyncDispose]();
  }
}

/** The answers of both engines to the same command. */
interface Turn {
  readonly ours: Answer;
  readonly theirs: Answer;
}

function timesOf(turns: readonly Turn[]): Pick<ComparedTime, "ours" | "theirs" | "others"> {
  const [ours, theirs] = [turns.map((turn) => turn.ours), turns.map((turn) => turn.theirs)];
  return { ours: timeOf(ours), theirs: timeOf(theirs), others: shareOfOthers([...ours, ...theirs]) };
}

/** The processes of both engines, of which one works at a time. */
class Engines implements AsyncDisposable {
  readonly #pair: Pair;
  readonly #files: ModelFiles;
  readonly #options: CompareOptions;
  #ours: EngineProcess | undefined;
  #theirs: EngineProcess | undefined;

  constructor(pair: Pair, files: ModelFiles, options: CompareOptions) {
    this.#pair = pair;
    this.#files = files;
    this.#options = options;
  }

  /** Loads both models, in new processes. @param packedCache whether ours is mapped from packed files, and writes them */
  async load(packedCache: boolean): Promise<Turn> {
    await this[Symbol.asyncDispose]();
    const { threads, signal } = this.#options;
    signal.throwIfAborted();
    const { int8Rows } = this.#pair.ours;
    this.#ours = new EngineProcess("caracal", { model: this.#files.ours, threads, int8Rows, packedCache });
    this.#theirs = new EngineProcess("llamaCpp", { model: this.#files.theirs, threads });
    return await this.#ask({ load: true });
  }

  /** Times a work. A first run, which maps pages and prepares sequences, does not count. */
  async turns(work: Work): Promise<Turn[]> {
    const { rounds, signal } = this.#options;
    const { ours } = await this.#ask({ work, steps: 1 });
    const steps = Math.min(50, Math.ceil(shortestTurn / ours.wall[0]!));
    const turns: Turn[] = [];
    for (let round = 0; round < rounds; round++) {
      signal.throwIfAborted();
      turns.push(await this.#ask({ work, steps }, round % 2 === 1));
    }
    return turns;
  }

  async #ask(command: Command, theirsFirst = false): Promise<Turn> {
    if (!theirsFirst) return { ours: await this.#ours!.ask(command), theirs: await this.#theirs!.ask(command) };
    const theirs = await this.#theirs!.ask(command);
    return { ours: await this.#ours!.ask(command), theirs };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([this.#ours?.[Symbol.asyncDispose](), this.#theirs?.[Symbol.asyncDispose]()]);
  }
}
