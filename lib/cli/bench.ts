import { mkdir, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { Command, InvalidArgumentError } from "commander";
import { moeChart } from "../bench/chart.js";
import {
  benchCounters,
  type CountedOp,
  CountingDevice,
  opHeader as countedHeader,
  opRow as countedRow,
  kernelCompiler,
  kernelHeader,
  kernelRows,
} from "../bench/counters/count.js";
import { type RoutingKind, routings } from "../bench/layouts.js";
import { benchModel, type ModelResult, modelHeader, modelRow } from "../bench/model.js";
import {
  benchMoe,
  countedHeader as countedMoeHeader,
  countedRow as countedMoeRow,
  countMoe,
  type MoeCounted,
  type MoeResult,
  moeHeader,
  moeRow,
} from "../bench/moe.js";
import { benchOps, type OpResult, opHeader, opRow } from "../bench/ops.js";
import { machine, openPeer } from "../bench/peers.js";
import { formatTable } from "../bench/table.js";
import { CaracalError } from "../errors.js";
import { Device } from "../tensor/device.js";

interface Common {
  device: "auto" | "cpu" | "cuda";
  threads?: number;
  json?: boolean;
  markdown?: boolean;
}

const whole = (text: string) => {
  const n = Number(text);
  if (!Number.isInteger(n) || n < 1) throw new InvalidArgumentError("expected a positive integer");
  return n;
};
const wholes = (text: string) => text.split(",").map(whole);

/** `caracal bench ops|moe|model|counters` */
export function benchCommand(): Command {
  const bench = new Command("bench").description("measure operations, CP/EP layouts and models on this machine");
  common(bench.command("ops").description("each operation beside onnxruntime and the machine's measured peaks"))
    .option("--filter <regexp>", "only operations whose name and size match", ".")
    .option("--no-peer", "leave onnxruntime out")
    .action(runOps);
  common(bench.command("moe").description("the grouped GEMMs that one rank of each CP/EP layout runs"))
    .option("--cp <sizes>", "context-parallel sizes", wholes, [1, 2, 4])
    .option("--ep <sizes>", "expert-parallel sizes", wholes, [8, 16, 32, 64])
    .option("--seq <tokens>", "sequence length", whole, 8192)
    .option("--scale <n>", "divide the hidden sizes and the sequence by n", whole, 8)
    .option("--routing <kind>", `how rows fall on experts: ${routings.join(", ")}`, parseRouting, "balanced")
    .option("--seed <n>", "seed of the routing", Number, 1)
    .option("--svg <file>", "write a chart")
    .action(runMoe);
  common(bench.command("model").description("each part of a model: tokens/s, real-time factors, peak memory"))
    .requiredOption("--model <dir>", "the model directory")
    .option("--prompt <tokens>", "tokens of the prefill", whole, 256)
    .option("--steps <n>", "steps of the decode", whole, 32)
    .option("--seconds <s>", "seconds of sound for the audio parts", whole, 6)
    .action(runModel);
  bench
    .command("counters")
    .description("what CUDA kernels do at the model's sizes, counted on the virtual GPU beside what must be done")
    .option("--filter <regexp>", "only operations whose name and size match", ".")
    .option("--json", "print JSON")
    .option("--markdown", "print Markdown tables")
    .action(runCounters);
  return bench;
}

function common(command: Command): Command {
  return command
    .option("--device <backend>", "auto, cpu or cuda", "auto")
    .option("--threads <n>", "CPU threads", whole)
    .option("--json", "print JSON")
    .option("--markdown", "print a Markdown table");
}

function parseRouting(text: string): RoutingKind {
  const kind = routings.find((r) => r === text);
  if (!kind) throw new InvalidArgumentError(`expected one of ${routings.join(", ")}`);
  return kind;
}

async function runOps(options: Common & { filter: string; peer: boolean }): Promise<void> {
  await using device = await open(options);
  const peer = options.peer ? await openPeer(device.threads ?? 1) : undefined;
  const note = peer ? `peer: ${peer.name}` : options.peer ? "peer: onnxruntime-node is not installed" : "no peer";
  const results: OpResult[] = [];
  for await (const r of benchOps(device, { filter: new RegExp(options.filter), peer })) {
    results.push(r);
    process.stderr.write(`${r.op} ${r.size}: ${r.time.best.toFixed(3)} ms\n`);
  }
  print(options, device, note, results, opHeader, results.map(opRow));
}

async function runCounters({ filter, json, markdown }: { filter: string; json?: boolean; markdown?: boolean }) {
  const results: CountedOp[] = [];
  for await (const r of benchCounters(new RegExp(filter))) {
    results.push(r);
    process.stderr.write(`${r.op} ${r.size}: ${r.kernels.length} kernels\n`);
  }
  if (json)
    return void process.stdout.write(
      `${JSON.stringify({ compiler: kernelCompiler(), operations: results }, null, 1)}\n`,
    );
  const tables = [
    formatTable(countedHeader, results.map(countedRow), markdown),
    formatTable(kernelHeader, results.flatMap(kernelRows), markdown),
  ];
  process.stdout.write(`${machine()}\n\n${tables.join("\n\n")}\n`);
}

async function runMoe(
  options: Common & {
    cp: number[];
    ep: number[];
    seq: number;
    scale: number;
    routing: RoutingKind;
    seed: number;
    svg?: string;
  },
): Promise<void> {
  const { cp, ep, seq: sequence, scale, routing, seed } = options;
  const sweep = { cp, ep, sequence, scale, routing, seed };
  const divided = `sequence ${sequence}, ${routing} routing, sizes and sequence divided by ${scale}`;
  await using counting = options.device === "cuda" ? await CountingDevice.ifVirtual() : undefined;
  if (counting) {
    const counted: MoeCounted[] = [];
    for await (const r of countMoe(counting, sweep)) {
      counted.push(r);
      process.stderr.write(`${r.size}\n`);
    }
    const note = `${divided}; counted, not timed: this is no GPU; ≥ µs: no such GPU can be faster`;
    print(options, counting.device, note, counted, countedMoeHeader, counted.map(countedMoeRow));
    return;
  }
  await using device = await open(options);
  const results: MoeResult[] = [];
  for await (const r of benchMoe(device, sweep)) {
    results.push(r);
    process.stderr.write(`CP ${r.cp} EP ${r.ep} ${r.gemm}: ${r.milliseconds.toFixed(2)} ms\n`);
  }
  const note = `${divided}; report's MFU: its GPUs, full size`;
  print(options, device, note, results, moeHeader, results.map(moeRow));
  if (!options.svg) return;
  await mkdir(dirname(options.svg), { recursive: true });
  await writeFile(
    options.svg,
    await moeChart(results, `${device.name}; sizes divided by ${scale}, ${routing} routing`),
  );
}

async function runModel(
  options: Common & { model: string; prompt: number; steps: number; seconds: number },
): Promise<void> {
  await using device = await open(options);
  const results: ModelResult[] = [];
  for await (const r of benchModel(options.model, device, options)) {
    results.push(r);
    process.stderr.write(`${r.part}: ${r.seconds.toFixed(3)} s\n`);
  }
  const peak = process.resourceUsage().maxRSS / 1024;
  const note = `peak memory ${peak.toFixed(0)} MB, of which the backend ${(device.memory.peak / 2 ** 20).toFixed(0)} MB`;
  print(options, device, note, results, modelHeader, results.map(modelRow));
}

/** A device to time. @throws `UNSUPPORTED` for one that only stands in for a GPU */
async function open({ device: backend, threads }: Common): Promise<Device> {
  const device = await Device.open({ backend, ...(threads === undefined ? {} : { threads }) });
  if (!device.virtual) return device;
  device.dispose();
  throw new CaracalError(
    "UNSUPPORTED",
    `${device.name} is no GPU, so nothing is timed on it: \`caracal bench counters\` counts what kernels do there`,
  );
}

function print(
  options: Common,
  device: Device,
  note: string,
  results: readonly unknown[],
  header: readonly string[],
  rows: readonly (readonly (string | number | undefined)[])[],
): void {
  const head = { machine: machine(), device: device.name, note };
  if (options.json) process.stdout.write(`${JSON.stringify({ ...head, results }, null, 2)}\n`);
  else
    process.stdout.write(
      `${head.machine}; ${head.device}; ${note}\n\n${formatTable(header, rows, options.markdown)}\n`,
    );
}
