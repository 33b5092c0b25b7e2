// What every benchmark does with its results: a line each while it runs, then tables, JSON, or a place in a document.
import type { Command } from "commander";
import { type Cell, formatTable } from "../lib/cli/table.js";
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
    .option("--json", "print JSON")
    .option("--markdown", "print Markdown tables")
    .option("--write <file>", "replace this command's table in a document");

export interface Results {
  /** The device on this machine that was measured; omitted for results that depend on neither. */
  readonly device?: Device;
  /** The conditions of the measurement. */
  readonly note: string;
  /** The JSON, but for machine, device and note. */
  readonly json: object;
  readonly tables: readonly { readonly header: readonly string[]; readonly rows: readonly (readonly Cell[])[] }[];
}

/**
 * Collects the results of a benchmark, showing `progress` of each on stderr, then prints or writes them.
 * @param command the command that ran, as commander passes it to actions
 * @param summarise what to output, asked when all results are there
 * @throws {CaracalError} `INVALID_ARGUMENT` or `IO_ERROR`, before anything runs, when the document has no place for them
 */
export async function output<Result>(
  command: Command,
  results: AsyncIterable<Result>,
  progress: (result: Result) => string,
  summarise: (results: readonly Result[]) => Results,
): Promise<Result[]> {
  const { json, markdown, write } = command.optsWithGlobals<OutputOptions>(); // `bench` itself takes --write, too
  const writeTable = write === undefined ? undefined : await openTable(write, commandLine(command));
  const collected: Result[] = [];
  for await (const result of results) {
    collected.push(result);
    process.stderr.write(`${progress(result)}\n`);
  }
  const { device, note, json: content, tables } = summarise(collected);
  const head = device && { machine: machine(), device: device.name, note };
  const text = [
    head ? Object.values(head).join("; ") : note,
    ...tables.map(({ header, rows }) => formatTable(header, rows, markdown || writeTable !== undefined)),
  ].join("\n\n");
  if (writeTable) await writeTable(`\`${commandLine(command)}\`: ${text}`);
  else process.stdout.write(`${json ? JSON.stringify({ ...head, ...content }, null, 2) : text}\n`);
  return collected;
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
      !["json", "markdown", "write"].includes(option.attributeName()) &&
      command.getOptionValueSource(option.attributeName()) === "cli",
  );
  const options = given.map((option) => {
    const value = command.getOptionValue(option.attributeName());
    return typeof value === "boolean" ? option.long : `${option.long} ${value}`;
  });
  return [...names, ...options].join(" ");
}
