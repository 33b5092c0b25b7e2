import { spawnSync } from "node:child_process";
import { mkdir, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { Command, InvalidArgumentError } from "commander";
import { CaracalError } from "../lib/errors.js";
import { Device } from "../lib/tensor/tensor.js";
import { loadMoeChart } from "./chart.js";
import { benchCounters } from "./counters/count.js";
import { CountingDevice } from "./counters/device.js";
import { kernelCompiler } from "./counters/kernels.js";
import { countedHeader, countedRow, kernelHeader, kernelRows } from "./counters/tables.js";
import { commandsIn, readDocument } from "./document.js";
import { type RoutingKind, routings } from "./layouts.js";
import { benchModel, modelHeader, modelRow } from "./model.js";
import { benchMoe, countedMoeHeader, countedMoeRow, countMoe, type MoeBenchOptions, moeHeader, moeRow } from "./moe.js";
import { activationsOn, benchOps, opHeader, opRow } from "./ops.js";
import { output, outputOptions } from "./output.js";
import { openPeer } from "./peers.js";

interface DeviceOptions {
  readonly device: "auto" | "cpu" | "cuda";
  readonly threads?: number;
}

/** `caracal bench ops|moe|model|counters` */
export function benchCommand(): Command {
  const bench = new Command("bench")
    .description("measure operations, CP/EP layouts and models on this machine")
    .option("--write <file>", "run every command whose table a document holds, and replace the tables")
    .allowExcessArguments()
    .action(runAll);
  measured(bench, "ops", "each operation beside onnxruntime and the machine's measured peaks")
    .option("--filter <regexp>", "only operations whose name and size match", ".")
    .option("--no-peer", "leave onnxruntime out")
    .action(runOps);
  measured(bench, "moe", "the grouped GEMMs that one rank of each CP/EP layout runs")
    .option("--cp <sizes>", "context-parallel sizes", wholes, [1, 2, 4])
    .option("--ep <sizes>", "expert-parallel sizes", wholes, [8, 16, 32, 64])
    .option("--seq <tokens>", "sequence length", whole, 8192)
    .option("--scale <n>", "divide the hidden sizes and the sequence by n", whole, 8)
    .option("--routing <kind>", `how rows fall on experts: ${routings.join(", ")}`, parseRouting, "balanced")
    .option("--seed <n>", "seed of the routing", Number, 1)
    .option("--svg <file>", "write a chart (needs vega and vega-lite)")
    .action(runMoe);
  measured(bench, "model", "each part of a model: tokens/s, real-time factors, peak memory")
    .requiredOption("--model <dir>", "the model directory")
    .option("--prompt <tokens>", "tokens of the prefill", whole, 256)
    .option("--steps <n>", "decoding steps", whole, 32)
    .option("--seconds <s>", "seconds of audio for the audio parts", whole, 6)
    .action(runModel);
  outputOptions(bench.command("counters"))
    .description("count what CUDA kernels do at the model's sizes, on the virtual GPU, beside what they must do")
    .option("--filter <regexp>", "only operations whose name and size match", ".")
    .action(runCounters);
  return bench;
}

const measured = (bench: Command, name: string, description: string): Command =>
  outputOptions(
    bench
      .command(name)
      .description(description)
      .option("--device <backend>", "auto, cpu or cuda", "auto")
      .option("--threads <n>", "CPU threads", whole),
  );

function whole(text: string): number {
  const n = Number(text);
  if (!Number.isInteger(n) || n < 1) throw new InvalidArgumentError("expected a positive integer");
  return n;
}

const wholes = (text: string): number[] => text.split(",").map(whole);

function parseRouting(text: string): RoutingKind {
  const kind = routings.find((r) => r === text);
  if (!kind) throw new InvalidArgumentError(`expected one of ${routings.join(", ")}`);
  return kind;
}

/** Runs each `caracal bench` of a document in a process of its own, since a process opens one CUDA driver. */
async function runAll({ write }: { write?: string }, command: Command): Promise<void> {
  const [unknown] = command.args;
  if (unknown !== undefined) command.error(`error: unknown command '${unknown}'`);
  if (write === undefined) return command.help({ error: true });
  const prefix = "caracal bench ";
  for (const line of commandsIn(await readDocument(write))) {
    if (!line.startsWith(prefix)) {
      process.stderr.write(`left as it is: ${line}\n`);
      continue;
    }
    process.stderr.write(`${line}\n`);
    const args = [...process.argv.slice(1, 2), "bench", ...line.slice(prefix.length).split(" "), "--write", write];
    const { status } = spawnSync(process.execPath, args, { stdio: "inherit" });
    if (status !== 0) process.exitCode = 1;
  }
}

async function runOps(options: DeviceOptions & { filter: string; peer: boolean }, command: Command): Promise<void> {
  await using device = await open(options);
  const { peer, note } = options.peer ? await openPeer(device.threads ?? 1) : { note: "no peer" };
  await output(
    command,
    benchOps(device, { filter: new RegExp(options.filter), peer }),
    (r) => `${r.op} ${r.size}: ${r.time.best.toFixed(3)} ms`,
    (results) => ({
      device,
      note: `${activationsOn(device)} activations; ${note}`,
      json: { results },
      tables: [{ header: opHeader, rows: results.map(opRow) }],
    }),
  );
}

async function runCounters({ filter }: { filter: string }, command: Command): Promise<void> {
  await output(
    command,
    benchCounters(new RegExp(filter)),
    (r) => `${r.op} ${r.size}: ${r.kernels.length} kernels`,
    (results) => ({
      note: `kernels compiled by nvcc ${kernelCompiler() ?? "of an unknown version"}`,
      json: { compiler: kernelCompiler(), operations: results },
      tables: [
        { header: countedHeader, rows: results.map(countedRow) },
        { header: kernelHeader, rows: results.flatMap(kernelRows) },
      ],
    }),
  );
}

type MoeOptions = DeviceOptions & Omit<MoeBenchOptions, "sequence"> & { seq: number; svg?: string };

/** Counts on a virtual GPU, which nothing else can be asked of; times on any other device. */
async function runMoe(options: MoeOptions, command: Command): Promise<void> {
  const { cp, ep, seq: sequence, scale, routing, seed, svg } = options;
  const sweep = { cp, ep, sequence, scale, routing, seed };
  const sizes = `sequence ${sequence}, ${routing} routing, sizes and sequence divided by ${scale}`;
  await using counting = options.device === "cuda" ? await CountingDevice.ifVirtual() : undefined;
  if (counting) return await outputCountedMoe(counting, sweep, sizes, command);
  const chart = svg === undefined ? undefined : await loadMoeChart();
  await using device = await open(options);
  const results = await output(
    command,
    benchMoe(device, sweep),
    (r) => `CP ${r.cp} EP ${r.ep} ${r.gemm}: ${r.milliseconds.toFixed(2)} ms`,
    (results) => ({
      device,
      note: `${sizes}; report's MFU: its GPUs, full size`,
      json: { results },
      tables: [{ header: moeHeader, rows: results.map(moeRow) }],
    }),
  );
  if (!chart || svg === undefined) return;
  await mkdir(dirname(svg), { recursive: true });
  await writeFile(svg, await chart(results, `${device.name}; sizes divided by ${scale}, ${routing} routing`));
}

async function outputCountedMoe(
  counting: CountingDevice,
  sweep: MoeBenchOptions,
  sizes: string,
  command: Command,
): Promise<void> {
  await output(
    command,
    countMoe(counting, sweep),
    (r) => r.size,
    (results) => ({
      device: counting.device,
      note: `${sizes}; counted, not timed: this is not a GPU; ≥ µs: lower bounds for GPUs`,
      json: { results },
      tables: [{ header: countedMoeHeader, rows: results.map(countedMoeRow) }],
    }),
  );
}

type ModelOptions = DeviceOptions & { model: string; prompt: number; steps: number; seconds: number };

async function runModel(options: ModelOptions, command: Command): Promise<void> {
  await using device = await open(options);
  const megabytes = (bytes: number) => `${(bytes / 2 ** 20).toFixed(0)} MB`;
  await output(
    command,
    benchModel(options.model, device, options),
    (r) => `${r.part}: ${r.seconds.toFixed(3)} s`,
    (results) => {
      const peak = megabytes(process.resourceUsage().maxRSS * 1024);
      return {
        device,
        note: `peak memory ${peak}, of which the backend ${megabytes(device.memory.peak)}`,
        json: { results },
        tables: [{ header: modelHeader, rows: results.map(modelRow) }],
      };
    },
  );
}

/**
 * Opens a device to time.
 * @throws {CaracalError} `UNSUPPORTED` for a virtual GPU; whatever `Device.open` throws
 */
async function open({ device: backend, threads }: DeviceOptions): Promise<Device> {
  const device = await Device.open({ backend, ...(threads === undefined ? {} : { threads }) });
  if (!device.virtual) return device;
  device.dispose();
  throw new CaracalError(
    "UNSUPPORTED",
    `${device.name} is not a GPU, so its times mean nothing: \`caracal bench counters\` counts what kernels do there`,
  );
}
