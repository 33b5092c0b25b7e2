import { writeFile } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { type Command, Option } from "commander";
import { checkWritable } from "../../lib/cli/files.js";
import { fileEndingIn, givenModel, integerIn, modelOption } from "../../lib/cli/options.js";
import { OmniModel } from "../../lib/model/omni.js";
import { loadDraw } from "../chart.js";
import { type DeviceOptions, measured, openMeasured } from "../device.js";
import { output } from "../output.js";
import { memoryOf, modeHeader, modeResult, modeRow, stageHeader, stageRow } from "./report.js";
import { type Phase, phases, runPhases } from "./run.js";
import { measureStages, type StageShare, stageResults } from "./stages.js";
import { timelineChart } from "./timeline.js";

type LiveCommandOptions = DeviceOptions & {
  readonly model?: string;
  readonly sessions: number;
  readonly seconds: number;
  readonly buffer: number;
  readonly steps: number;
  readonly interruptEvery: number;
  readonly kvTokens: number;
  readonly svg?: string;
};

/** Adds `caracal bench live`. */
export function liveCommand(bench: Command): void {
  measured(bench, "live", "scripted users who talk to a model in real time: first audio, gaps, event loop, memory")
    .addOption(modelOption())
    .option("--sessions <n>", "users, about half of whom speak at any time", integerIn({ min: 1, max: 1024 }), 16)
    .option(
      "--seconds <s>",
      "of all phases together, which alternate with and without speculation",
      integerIn({ min: 16, max: 86400 }),
      120,
    )
    .option("--buffer <ms>", "what a listener's buffer holds before it plays", integerIn({ min: 0, max: 10000 }), 100)
    .option("--steps <n>", "steps of a reply", integerIn({ min: 8, max: 4096 }), 60)
    .option(
      "--interrupt-every <n>",
      "which replies a user interrupts: 4 is every fourth",
      integerIn({ min: 1, max: 1000000 }),
      4,
    )
    .option(
      "--kv-tokens <n>",
      "tokens of the KV cache, for all conversations",
      integerIn({ min: 64, max: 2 ** 24 }),
      65536,
    )
    .addOption(
      new Option("--svg <file>", "also draw the timeline of a turn (needs vega and vega-lite)").argParser(
        fileEndingIn(".svg"),
      ),
    )
    .action(runLive);
}

const isPhase = (result: Phase | StageShare): result is Phase => "speculate" in result;
const round = (value: number | undefined) => value?.toFixed(0);

async function runLive(options: LiveCommandOptions, command: Command): Promise<void> {
  const directory = givenModel(options);
  const draw = options.svg === undefined ? undefined : await loadDraw();
  if (options.svg !== undefined) await checkWritable(options.svg);
  await using device = await openMeasured(options);
  await using model = await OmniModel.load(directory, { device, vision: false, kvCacheTokens: options.kvTokens });
  void model.speechDecoder; // without which there is nothing to hear
  const processors = availableParallelism();
  const { sessions, seconds, buffer, steps, interruptEvery } = options;
  const conditions = `${sessions} sessions, buffers of ${buffer} ms, ${processors} processors`;
  const results = await output(command, {
    total: phases.length + stageResults,
    async *run(signal): AsyncGenerator<Phase | StageShare> {
      const measuredPhases: Phase[] = [];
      for await (const phase of runPhases(model, { sessions, seconds, buffer, steps, interruptEvery, signal })) {
        measuredPhases.push(phase);
        yield phase;
      }
      yield* measureStages(model, measuredPhases, { sessions, processors, signal });
    },
    line: (result) =>
      isPhase(result)
        ? `${result.speculate ? "with" : "without"} speculation: ${result.turns.length} turns, ${result.underruns} gaps`
        : `${result.stage}: ${result.milliseconds.toFixed(2)} ms`,
    summarise(all) {
      const found = all.filter(isPhase);
      const stages = all.filter((result): result is StageShare => !isPhase(result));
      const modes = [true, false].flatMap((speculate) => modeResult(found, speculate) ?? []);
      const memory = memoryOf(found);
      const speaking = found.map((phase) => phase.speaking);
      const mean = speaking.reduce((sum, each) => sum + each.mean, 0) / Math.max(1, speaking.length);
      const mebibytes = (bytes: number | undefined) => (bytes === undefined ? undefined : bytes / 2 ** 20);
      return {
        device,
        note: `${conditions}; ${mean.toFixed(1)} users speak at a time on average, ${Math.max(0, ...speaking.map(({ most }) => most))} at most; resident memory ${round(mebibytes(memory.first))} MiB after the first phase, ${round(mebibytes(memory.last))} MiB at the end, ${mebibytes(memory.perMinute)?.toFixed(1)} MiB a minute between`,
        warnings: latePackets(modes.map(({ latestPacket }) => latestPacket)),
        json: {
          options: { model: directory, sessions, seconds, buffer, steps, interruptEvery },
          modes,
          memory,
          stages,
          phases: found,
        },
        tables: [
          { header: modeHeader, rows: modes.map((mode) => modeRow(mode, processors)) },
          { header: stageHeader, rows: stages.map(stageRow) },
        ],
      };
    },
  });
  if (!draw || options.svg === undefined || !results) return;
  await writeFile(options.svg, await draw(timelineChart(results.filter(isPhase), `${device.name}; ${conditions}`)));
}

/** A microphone that is late makes the figures look better or worse than they are. */
function latePackets(latest: readonly number[]): string[] {
  const most = Math.max(0, ...latest);
  return most > 40
    ? [`a microphone was ${most.toFixed(0)} ms late: the machine is too slow, or busy with something else`]
    : [];
}
