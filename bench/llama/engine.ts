// One of the two programs that are compared runs in a process of its own, and only while the benchmark waits for it: the
// threads of the other then sleep.
import { readFileSync } from "node:fs";
import type { Work } from "./rows.js";

/** What a process is started with, as JSON. */
export interface EngineOptions {
  /** A checkpoint directory or a GGUF file. */
  readonly model: string;
  readonly threads: number;
  /** Options of Caracal. */
  readonly int8Rows?: boolean | undefined;
  readonly packedCache?: boolean;
}

/** A program that runs models. */
export interface Engine {
  /** Loads the model, and returns once it can compute. */
  load(): Promise<void>;
  /** Makes sequences that have the context of the work. */
  prepare(work: Work): Promise<void>;
  /** Computes the work, up to logits of all its rows that the processor can read. This is timed. */
  run(work: Work): Promise<void>;
  /** Makes the sequences as they were before `run`. */
  undo(work: Work): void;
}

export type Command = { readonly load: true } | { readonly work: Work; readonly steps: number };

/** Times in milliseconds. */
export interface Reply {
  /** The wall time of each step. */
  readonly wall: readonly number[];
  /** The CPU time of each step, over all threads. */
  readonly cpu: readonly number[];
  /** CPU time that the process spent on the command, what was not timed included. */
  readonly processCpu: number;
  readonly memory: Memory;
}

/** Resident memory of a process, in bytes. */
export interface Memory {
  readonly now: number;
  /** Of `now`, what belongs to no file. */
  readonly anonymous: number;
  readonly peak: number;
}

export type Message = Reply | { readonly error: string };

/** Obeys the commands that arrive, until the benchmark closes the channel. */
export function serve(open: (options: EngineOptions) => Promise<Engine>): void {
  const options = JSON.parse(process.argv[2]!) as EngineOptions;
  let engine: Engine | undefined;
  const obey = async (command: Command): Promise<Reply> => {
    const before = process.cpuUsage();
    const times = { wall: [] as number[], cpu: [] as number[] };
    if ("work" in command) {
      const { work, steps } = command;
      await engine!.prepare(work);
      for (let i = 0; i < steps; i++) {
        await timed(times, () => engine!.run(work));
        engine!.undo(work);
      }
    } else {
      const first: Work = { kind: "decode", batch: 1, context: 0 };
      await timed(times, async () => {
        engine = await open(options);
        await engine.load();
        await engine.run(first);
      });
      engine!.undo(first);
    }
    return { ...times, processCpu: milliseconds(process.cpuUsage(before)), memory: memory() };
  };
  process.on("disconnect", () => process.exit()); // the benchmark ended, however that happened
  process.on("message", (command: Command) => {
    obey(command).then(
      (reply) => process.send!(reply),
      (error: Error) => process.send!({ error: error.message }),
    );
  });
}

async function timed(times: { wall: number[]; cpu: number[] }, run: () => Promise<void>): Promise<void> {
  const cpu = process.cpuUsage();
  const start = performance.now();
  await run();
  times.wall.push(performance.now() - start);
  times.cpu.push(milliseconds(process.cpuUsage(cpu)));
}

const milliseconds = ({ user, system }: NodeJS.CpuUsage) => (user + system) / 1000;

function memory(): Memory {
  const status = readFileSync("/proc/self/status", "utf8");
  const bytes = (name: string) => 1024 * Number(new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(status)?.[1]);
  return { now: bytes("VmRSS"), anonymous: bytes("RssAnon"), peak: bytes("VmHWM") };
}

/** Token ids that differ from row to row, in the vocabulary of every model. */
export const tokenAt = (row: number): number => 300 + ((row * 7919) % 700);
