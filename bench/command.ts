import { spawn } from "node:child_process";
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { Command, InvalidArgumentError, Option } from "commander";
import { checkWritable } from "../lib/cli/files.js";
import {
  fileEndingIn,
  givenModel,
  integerIn,
  listOf,
  modelOption,
  parsePositive,
  parseRegExp,
  speechDtypeOption,
} from "../lib/cli/options.js";
import { CaracalError } from "../lib/errors.js";
import { type Case, nameOf } from "./case.js";
import { loadDraw, moeChart } from "./chart.js";
import { countCases, countedCases } from "./counters/count.js";
import { CountingDevice } from "./counters/device.js";
import { kernelCompiler } from "./counters/kernels.js";
import { countedHeader, countedRow, kernelHeader, kernelRows } from "./counters/tables.js";
import { type DeviceOptions, measured, openMeasured } from "./device.js";
import { commandsIn, readDocument } from "./document.js";
import { routings } from "./layouts.js";
import { peakWarnings } from "./limits.js";
import { liveCommand } from "./live/command.js";
import { needLlamaCpp } from "./llama/binding.js";
import { compare, comparedCount } from "./llama/compare.js";
import { ModelFolder } from "./llama/models.js";
import {
  comparedLine,
  isMemory,
  isTime,
  memoryHeader,
  memoryResult,
  memoryRow,
  timeHeader,
  timeResult,
  timeRow,
  timeWarnings,
} from "./llama/report.js";
import { select } from "./llama/rows.js";
import { benchModel, modelHeader, modelResults, modelRow } from "./model.js";
import {
  countedMoeHeader,
  countedMoeRow,
  countMoe,
  moeHeader,
  moeResult,
  moeRow,
  planSweep,
  type Sweep,
  type SweepOptions,
  timeMoe,
} from "./moe.js";
import { activationsOn, opHeader, opResult, opRow, timedCases, timeOps } from "./ops.js";
import { output, outputOptions } from "./output.js";
import { measureOverhead, overheadHeader, overheadResults, overheadRow } from "./overhead.js";
import { describePeaks, PeakMeter } from "./peaks.js";
import { openPeer } from "./peers.js";

/** `caracal bench ops|moe|model|live|overhead|counters|document` */
export function benchCommand(): Command {
  const bench = new Command("bench").description("measure operations, CP/EP layouts and models on this machine");
  measured(bench, "ops", "each operation beside onnxruntime and the machine's measured peaks")
    .addOption(filterOption())
    .option("--no-peer", "leave onnxruntime out")
    .action(runOps);
  measured(bench, "moe", "the grouped GEMMs that one rank of each CP/EP layout runs")
    .addOption(sizesOption("--cp <sizes>", "context-parallel sizes", [1, 2, 4]))
    .addOption(sizesOption("--ep <sizes>", "expert-parallel sizes, multiples of the CP size", [8, 16, 32, 64]))
    .option("--seq <tokens>", "sequence length of the whole model", parsePositive, 8192)
    .option("--scale <n>", "divide the hidden sizes and the sequence by n; 1 is the model's size", parseDivisor, 8)
    .addOption(new Option("--routing <kind>", "how rows fall on experts").choices(routings).default("balanced"))
    .option("--seed <n>", "seed of the routing", integerIn({ min: 0, max: 2 ** 32 - 1 }), 1)
    .option("--svg <file>", "also draw a chart (needs vega and vega-lite)", fileEndingIn(".svg"))
    .action(runMoe);
  measured(bench, "model", "each part of a model: tokens/s, real-time factors, peak memory")
    .addOption(modelOption())
    .option("--prompt <tokens>", "tokens of the prefill", parsePositive, 256)
    .option("--steps <n>", "decoding steps", parsePositive, 32)
    .option("--seconds <s>", "seconds of audio for the audio parts", parsePositive, 6)
    .addOption(speechDtypeOption())
    .addOption(
      new Option("--peer <engine>", "instead, time random models of equal work beside another engine, on the CPU")
        .choices(["llama.cpp"])
        .conflicts(["model", "prompt", "steps", "seconds", "speechDtype"]),
    )
    .addOption(filterOption("with --peer: only models and work whose names match, such as 'fp8:.* decode'"))
    .option("--rounds <n>", "with --peer: turns of each engine", parsePositive, 5)
    .option("--models <dir>", "with --peer: folder to keep the models in (default: a temporary one)")
    .action(runModel);
  liveCommand(bench);
  measured(bench, "overhead", "the event loop's time for each queued operation, and for the decoding steps of a model")
    .addOption(modelOption())
    .action(runOverhead);
  outputOptions(bench.command("counters"))
    .description("count what CUDA kernels do at the model's sizes, on the virtual GPU, beside what they must do")
    .addOption(filterOption())
    .action(runCounters);
  bench
    .command("document")
    .description("run every `caracal bench` command whose table a document holds, and replace the tables")
    .argument("<file>", "Markdown document with marked tables, such as docs/benchmarks.md")
    .action(runDocument);
  return bench;
}

const sizesOption = (flags: string, description: string, sizes: readonly number[]) =>
  new Option(flags, description).argParser(listOf(parsePositive)).default(sizes, sizes.join(","));

/** @throws {InvalidArgumentError} for what is no divisor, such as the fraction that it stands for */
function parseDivisor(text: string): number {
  try {
    return parsePositive(text);
  } catch (error) {
    if (!(error instanceof InvalidArgumentError)) throw error;
    throw new InvalidArgumentError(`${error.message} It divides the sizes: 64 makes each a 64th.`);
  }
}

const filterOption = (description = "only operations whose name and size match, such as 'linear M=1 '") =>
  new Option("--filter <regexp>", description).argParser(parseRegExp);

/** @throws {CaracalError} `INVALID_ARGUMENT` when no case matches */
function matching(cases: readonly Case[], filter: RegExp | undefined): readonly Case[] {
  if (!filter) return cases;
  const found = cases.filter((c) => filter.test(nameOf(c)));
  if (found.length > 0) return found;
  const names = [...new Set(cases.map(({ op }) => op))].join(", ");
  const example = cases[0] && `, and names with sizes are like "${nameOf(cases[0])}"`;
  throw new CaracalError(
    "INVALID_ARGUMENT",
    `--filter ${filter.source} matches no operation. There are ${names}${example}`,
  );
}

async function runOps(
  options: DeviceOptions & { readonly filter?: RegExp; readonly peer: boolean },
  command: Command,
): Promise<void> {
  await using device = await openMeasured(options);
  const cases = matching(timedCases(device), options.filter);
  const { peer, note } = options.peer ? await openPeer(device.threads ?? 1) : { note: "no peer" };
  const meter = new PeakMeter(device);
  await output(command, {
    total: cases.length,
    run: (signal) => timeOps(device, cases, { meter, peer, signal }),
    line: ({ case: c, time }) => `${nameOf(c)}: ${time.best.toFixed(3)} ms`,
    summarise(timings) {
      const { peaks } = meter;
      const results = timings.map((timing) => opResult(timing, peaks));
      const activations = activationsOn(device);
      return {
        device,
        note: `${activations} activations; ${note}; ${describePeaks(peaks)}`,
        warnings: peakWarnings(
          peaks,
          results.map(({ ofLimit }) => ofLimit),
        ),
        json: { activations, peer: peer?.name, peaks, results },
        tables: [{ header: opHeader, rows: results.map(opRow) }],
      };
    },
  });
}

async function runCounters({ filter }: { readonly filter?: RegExp }, command: Command): Promise<void> {
  const cases = matching(countedCases(), filter);
  await output(command, {
    total: cases.length,
    run: (signal) => countCases(cases, signal),
    line: (r) => `${nameOf(r)}: ${r.kernels.length === 1 ? "1 kernel" : `${r.kernels.length} kernels`}`,
    summarise: (results) => ({
      note: `kernels compiled by nvcc ${kernelCompiler() ?? "of an unknown version"}`,
      json: { compiler: kernelCompiler(), operations: results },
      tables: [
        { header: countedHeader, rows: results.map(countedRow) },
        { header: kernelHeader, rows: results.flatMap(kernelRows) },
      ],
    }),
  });
}

type MoeOptions = DeviceOptions & SweepOptions & { readonly svg?: string };

/** Counts on a virtual GPU, which nothing else can be asked of; times on any other device. */
async function runMoe({ svg, ...options }: MoeOptions, command: Command): Promise<void> {
  const { cp, ep, seq, scale, routing, seed } = options;
  const sweep = planSweep({ cp, ep, seq, scale, routing, seed });
  await using counting = options.device === "cuda" ? await CountingDevice.ifVirtual() : undefined;
  if (counting) return await outputCountedMoe(counting, sweep, command);
  const draw = svg === undefined ? undefined : await loadDraw();
  if (svg !== undefined) await checkWritable(svg);
  await using device = await openMeasured(options);
  const meter = new PeakMeter(device);
  const timings = await output(command, {
    total: sweep.gemms.length,
    run: (signal) => timeMoe(device, sweep, { meter, signal }),
    line: ({ rank: { gemm, layout }, time }) => `CP ${layout.cp} EP ${layout.ep} ${gemm}: ${time.best.toFixed(2)} ms`,
    summarise(timings) {
      const { peaks } = meter;
      const results = timings.map((timing) => moeResult(timing, sweep, peaks));
      const shares = results.map(({ ofRoofline }) => ofRoofline);
      return {
        device,
        note: `${describeSweep(sweep)}; report's MFU: on its GPUs, at full size; ${describePeaks(peaks)}`,
        warnings: [...sweep.leftOut.map((layout) => `left out ${layout}`), ...peakWarnings(peaks, shares)],
        json: { ...sweepJson(sweep), peaks, results },
        tables: [{ header: moeHeader, rows: results.map(moeRow) }],
      };
    },
  });
  if (!draw || svg === undefined || !timings) return;
  const results = timings.map((timing) => moeResult(timing, sweep, meter.peaks));
  await writeFile(svg, await draw(moeChart(results, `${device.name}; ${describeSweep(sweep)}`)));
}

async function outputCountedMoe(counting: CountingDevice, sweep: Sweep, command: Command): Promise<void> {
  await output(command, {
    total: sweep.gemms.length,
    run: (signal) => countMoe(counting, sweep, signal),
    line: (r) => r.size,
    summarise: (results) => ({
      device: counting.device,
      note: `${describeSweep(sweep)}; counted, not timed: this is not a GPU; ≥ µs: lower bounds for GPUs`,
      warnings: sweep.leftOut.map((layout) => `left out ${layout}`),
      json: { ...sweepJson(sweep), results },
      tables: [{ header: countedMoeHeader, rows: results.map(countedMoeRow) }],
    }),
  });
}

function describeSweep({ options: { seq, scale, routing } }: Sweep): string {
  if (scale === 1) return `${routing} routing, sequence ${seq} and all sizes in full`;
  return `${routing} routing, sizes and the sequence of ${seq} divided by ${scale}`;
}

/** The options, and the sizes that were measured. */
const sweepJson = ({ options, sizes, leftOut }: Sweep) => ({
  options,
  sizes: { sequence: options.seq / options.scale, ...sizes, weights: "bf16", activations: "bf16" },
  leftOut,
});

type ModelOptions = DeviceOptions & {
  readonly model?: string;
  readonly prompt: number;
  readonly steps: number;
  readonly seconds: number;
  readonly speechDtype: "stored" | "bf16";
};

async function runModel(options: ModelOptions & ComparisonOptions, command: Command): Promise<void> {
  if (options.peer) return await runComparison(options, command);
  for (const name of ["filter", "rounds", "models"])
    if (command.getOptionValueSource(name) === "cli")
      throw new CaracalError("INVALID_ARGUMENT", `--${name} is for --peer llama.cpp, which is not given`);
  const model = givenModel(options);
  await using device = await openMeasured(options);
  const megabytes = (bytes: number) => `${(bytes / 2 ** 20).toFixed(0)} MiB`;
  await output(command, {
    total: modelResults,
    run: (signal) => benchModel(model, device, { ...options, signal }),
    line: (r) => `${r.part}: ${r.seconds.toFixed(3)} s`,
    summarise(results) {
      const { prompt, steps, seconds, speechDtype } = options;
      const [processBytes, backendBytes] = [process.resourceUsage().maxRSS * 1024, device.memory.peak];
      return {
        device,
        note: `peak memory ${megabytes(processBytes)}, of which the backend ${megabytes(backendBytes)}`,
        json: {
          options: { model, prompt, steps, seconds, speechDtype },
          peakMemory: { processBytes, backendBytes },
          results,
        },
        tables: [{ header: modelHeader, rows: results.map(modelRow) }],
      };
    },
  });
}

interface ComparisonOptions extends DeviceOptions {
  readonly peer?: "llama.cpp";
  readonly filter?: RegExp;
  readonly rounds: number;
  readonly models?: string;
}

async function runComparison(options: ComparisonOptions, command: Command): Promise<void> {
  const selection = select(options.filter);
  const { version } = needLlamaCpp();
  if (options.device === "cuda") throw new CaracalError("UNSUPPORTED", "llama.cpp is compared on the CPU only");
  await using device = await openMeasured({ ...options, device: "cpu" });
  await using models = await ModelFolder.open(options.models);
  const meter = new PeakMeter(device);
  const { rounds } = options;
  const threads = device.threads ?? 1;
  await output(command, {
    total: comparedCount(selection),
    run: (signal) => compare(selection, { threads, rounds, models, meter, signal }),
    line: comparedLine,
    summarise(compared) {
      const { peaks } = meter;
      const results = compared.filter(isTime).map((result) => timeResult(result, peaks));
      const memory = compared.filter(isMemory);
      return {
        device,
        note: `peer: llama.cpp of node-llama-cpp ${version}, as many threads; ${describePeaks(peaks)}`,
        warnings: timeWarnings(results, peaks, threads),
        json: { options: { threads, rounds }, peer: version, peaks, results, memory: memory.map(memoryResult) },
        tables: [
          { header: timeHeader, rows: results.map(timeRow) },
          { header: memoryHeader, rows: memory.map(memoryRow) },
        ],
      };
    },
  });
}

async function runOverhead(options: DeviceOptions & { readonly model?: string }, command: Command): Promise<void> {
  await using device = await openMeasured(options);
  await output(command, {
    total: overheadResults(options),
    run: (signal) => measureOverhead(device, { ...options, signal }),
    line: ({ work, queue }) => `${work}: ${queue.best.toFixed(2)} µs`,
    summarise: (results) => ({
      device,
      note: "CPU time of the main thread, for each call",
      json: { options: { model: options.model }, results },
      tables: [{ header: overheadHeader, rows: results.map(overheadRow) }],
    }),
  });
}

/** Runs each `caracal bench` of a document in a process of its own, since a process opens one CUDA driver. */
async function runDocument(file: string): Promise<void> {
  const prefix = "caracal bench ";
  const commands = commandsIn(await readDocument(file));
  if (commands.length === 0)
    throw new CaracalError("INVALID_ARGUMENT", `${file} holds no table: mark one with <!-- table: ${prefix}ops -->`);
  process.on("SIGINT", () => {}); // a Ctrl-C reaches the running command, too, whose exit code says so
  for (const [i, line] of commands.entries()) {
    if (!line.startsWith(prefix)) {
      process.stderr.write(`table ${i + 1} of ${commands.length} is left as it is: ${line}\n`);
      continue;
    }
    process.stderr.write(`table ${i + 1} of ${commands.length}: ${line}\n`);
    const args = [...process.argv.slice(1, 2), "bench", ...line.slice(prefix.length).split(" "), "--write", file];
    const [status] = await once(spawn(process.execPath, args, { stdio: "inherit" }), "exit");
    if (status !== 0) process.exitCode = status ?? 1;
    if (status === 130) return;
  }
}
