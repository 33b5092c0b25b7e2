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
import { type Count, type Phase, phases, runPhases } from "./run.js";
import { measureStages, type StageShare, stageResults } from "./stages.js";
import { timelineChart } from "./timeline.js";

type LiveCommandOptions = DeviceOptions & {
  readonly model?: string;
  readonly sessions: number;
  readonly seconds: number;
  readonly buffer: number;
  readonly speech: number;
  readonly frames?: true;
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
      integerIn({ min: 60, max: 86400 }),
      120,
    )
    .option("--buffer <ms>", "what a listener's buffer holds before it plays", integerIn({ min: 0, max: 10000 }), 100)
    .option("--speech <ms>", "length of a user's turn", integerIn({ min: 500, max: 60000 }), 4500)
    .option("--frames", "users also have a camera, which takes two frames a second")
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

async function runLive(options: LiveCommandOptions, command: Command): Promise<void> {
  const directory = givenModel(options);
  const draw = options.svg === undefined ? undefined : await loadDraw();
  if (options.svg !== undefined) await checkWritable(options.svg);
  await using device = await openMeasured(options);
  await using model = await OmniModel.load(directory, {
    device,
    vision: options.frames === true,
    kvCacheTokens: options.kvTokens,
  });
  void model.speechDecoder; // without which there is nothing to hear
  const processors = availableParallelism();
  const { sessions, seconds, buffer, speech, frames = false, steps, interruptEvery } = options;
  const bench = { sessions, seconds, buffer, speechSeconds: speech / 1000, frames, steps, interruptEvery };
  const conditions = `${sessions} sessions, buffers of ${buffer} ms, ${processors} processors`;
  const results = await output(command, {
    total: phases.length + stageResults,
    async *run(signal): AsyncGenerator<Phase | StageShare> {
      const measuredPhases: Phase[] = [];
      for await (const phase of runPhases(model, { ...bench, signal })) {
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
      return {
        device,
        note: `${conditions}; ${describeUsers(found)}; ${describeMemory(memory)}`,
        warnings: [...otherPrograms(found), ...latePackets(found), ...unanswered(found)],
        json: {
          options: { model: directory, ...bench },
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

function otherPrograms(found: readonly Phase[]): string[] {
  const most = Math.max(0, ...found.map(({ others }) => others));
  return most > 0.05
    ? [`other programs took up to ${Math.round(100 * most)} % of the cores during a phase: run it on an idle machine`]
    : [];
}

/** A microphone that is late makes the figures look better or worse than they are. */
function latePackets(found: readonly Phase[]): string[] {
  const most = Math.max(0, ...found.map(({ latestPacket }) => latestPacket));
  return most > 40
    ? [`a microphone was ${most.toFixed(0)} ms late: the machine is too slow, or busy with something else`]
    : [];
}

/** The figures have only turns that were answered. */
function unanswered(found: readonly Phase[]): string[] {
  const turns = found.reduce((sum, phase) => sum + phase.unanswered, 0);
  return turns > 0 ? [`${turns} turns still waited for their replies when their phases ended`] : [];
}

function describeUsers(found: readonly Phase[]): string {
  const describe = (counts: readonly Count[]) => {
    const mean = counts.reduce((sum, count) => sum + count.mean, 0) / counts.length;
    return `${mean.toFixed(1)} on average and ${Math.max(...counts.map(({ most }) => most))} at most`;
  };
  const [speaking, listening] = [found.map((phase) => phase.speaking), found.map((phase) => phase.listening)];
  return `users who speak at a time: ${describe(speaking)}, who hear a reply: ${describe(listening)}`;
}

function describeMemory({ first, last, perMinute }: ReturnType<typeof memoryOf>): string {
  if (first === undefined || last === undefined || perMinute === undefined) return "memory of one phase only";
  const [from, to, slope] = [first, last, perMinute].map((bytes) => bytes / 2 ** 20) as [number, number, number];
  return `resident memory ${from.toFixed(0)} MiB after the first phase, ${to.toFixed(0)} MiB at the end, ${slope.toFixed(1)} MiB a minute between`;
}
