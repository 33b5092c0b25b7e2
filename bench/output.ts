// What every benchmark does with its results: a line each while it runs, then tables, JSON, or a place in a document.
import { type Command, Option } from "commander";
import { interruptible } from "../lib/cli/interrupt.js";
import { jsonOption } from "../lib/cli/options.js";
import { type Cell, formatTable } from "../lib/cli/table.js";
import { CaracalError } from "../lib/errors.js";
import { addon } from "../lib/native/addon.js";
import type { Device } from "../lib/tensor/tensor.js";
import { openTable } from "./document.js";

export interface OutputOptions {
  readonly json?: true;
  readonly markdown?: true;
  readonly write?: string;
}

export const outputOptions = (command: Command): Command =>
  command
    .addOption(jsonOption())
    .addOption(new Option("--markdown", "print Markdown tables").conflicts("json"))
    .addOption(new Option("--write <file>", "replace this command's table in a document").conflicts("json"));

export interface Benchmark<Result> {
  /** How many results there will be. */
  readonly total: number;
  run(signal: AbortSignal): AsyncIterable<Result>;
  /** A result in a line. */
  line(result: Result): string;
  /** What to print of the results. */
  summarise(results: readonly Result[]): Summary;
}

export interface Summary {
  /** The device on this machine that was measured; omitted for results that depend on neither. */
  readonly device?: Device;
  /** The conditions of the measurement. */
  readonly note: string;
  /** What a reader must know before trusting the results. */
  readonly warnings?: readonly string[];
  /** The JSON, but for what all benchmarks have. */
  readonly json: object;
  readonly tables: readonly { readonly header: readonly string[]; readonly rows: readonly (readonly Cell[])[] }[];
}

/**
 * Runs a benchmark, showing its progress on stderr, then prints or writes its results. After Ctrl-C or an error, those
 * that are there are printed, and no document is changed.
 * @param command the command that ran, as commander passes it to actions
 * @returns the results, or `undefined` if some are missing
 * @throws {CaracalError} `INVALID_ARGUMENT` or `IO_ERROR`, before anything runs, when the document has no place for them;
 *   `ABORTED` when Ctrl-C left no results; whatever the benchmark throws
 */
export async function output<Result>(
  command: Command,
  benchmark: Benchmark<Result>,
): Promise<readonly Result[] | undefined> {
  const { json, markdown, write } = command.opts<OutputOptions>();
  const writeTable = write === undefined ? undefined : await openTable(write, commandLine(command));
  const { results, missing } = await collect(benchmark);
  const { total } = benchmark;
  const complete = missing === undefined;
  const summary = benchmark.summarise(results);
  const warnings = [...(summary.warnings ?? [])];
  if (!complete) warnings.unshift(`incomplete: ${results.length} of ${total} results were measured`);
  const { device, note } = summary;
  const head = device && { command: commandLine(command), machine: machine(), device: device.name, note };
  const text = [
    head ? [head.machine, head.device, note].join("; ") : note,
    ...summary.tables.map(({ header, rows }) => formatTable(header, rows, markdown || writeTable !== undefined)),
    ...warnings.map((warning) => `Warning: ${warning}.`),
  ].join("\n\n");
  if (writeTable && complete) await writeTable(`\`${commandLine(command)}\`: ${text}`);
  else if (json) process.stdout.write(`${JSON.stringify({ ...head, complete, warnings, ...summary.json }, null, 2)}\n`);
  else process.stdout.write(`${text}\n`);
  if (complete) return results;
  if (writeTable) process.stderr.write(`${write} was left as it is\n`);
  if (missing.error !== undefined) throw missing.error;
  return undefined;
}

/** @returns the results, and why some are missing: an error, or none after Ctrl-C */
async function collect<Result>({ total, run, line }: Benchmark<Result>): Promise<{
  results: readonly Result[];
  missing?: { readonly error?: unknown };
}> {
  const results: Result[] = [];
  const start = performance.now();
  return await interruptible(async (signal) => {
    try {
      for await (const result of run(signal)) {
        results.push(result);
        const left = timeLeft(results.length, total, (performance.now() - start) / 1000);
        process.stderr.write(`[${results.length}/${total}] ${line(result)}${left && ` (${left})`}\n`);
      }
      return { results };
    } catch (error) {
      const interrupted = signal.aborted;
      if (results.length > 0) return { results, missing: interrupted ? {} : { error } };
      if (!interrupted) throw error;
      throw new CaracalError("ABORTED", "the benchmark was interrupted before it had a result", {}, { cause: error });
    }
  });
}

/** How long the rest takes if it goes on like the part that is done. */
export function timeLeft(done: number, total: number, seconds: number): string {
  if (done >= total) return "";
  const left = (seconds / done) * (total - done);
  return left < 99.5 ? `about ${Math.ceil(left)} s left` : `about ${Math.round(left / 60)} min left`;
}

/** The machine and the build that a benchmark runs on. */
const machine = (): string =>
  `${process.platform}-${process.arch}, Node ${process.versions.node}, addon ${addon().buildTool}`;

/** A command with the options that were given and bear on its results, in the order of its help. */
export function commandLine(command: Command): string {
  const names: string[] = [];
  for (let c: Command | null = command; c; c = c.parent) names.unshift(c.name());
  const given = command.options.filter(
    (option) =>
      !["json", "markdown", "write", "models"].includes(option.attributeName()) &&
      command.getOptionValueSource(option.attributeName()) === "cli",
  );
  const options = given.map((option) => {
    const value = command.getOptionValue(option.attributeName());
    if (typeof value === "boolean") return option.long;
    return `${option.long} ${value instanceof RegExp ? value.source : value}`;
  });
  return [...names, ...options].join(" ");
}
