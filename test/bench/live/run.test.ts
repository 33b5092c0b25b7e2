import { expect, test } from "vitest";
import { memoryOf, modeHeader, modeResult, modeRow, stageHeader, stageRow } from "../../../bench/live/report.js";
import { type Phase, phases, runPhases } from "../../../bench/live/run.js";
import { measureStages, type StageShare, stageResults } from "../../../bench/live/stages.js";
import { timelineChart } from "../../../bench/live/timeline.js";
import { OmniModel } from "../../../lib/model/omni.js";
import { Device } from "../../../lib/tensor/tensor.js";
import { tinyDirectory } from "../../model/tinyModel.js";

test("users talk to a model, with and without speculation, and the stages are measured", async () => {
  await using device = await Device.open({ backend: "cpu", threads: 2 });
  await using model = await OmniModel.load(await tinyDirectory(), { device, vision: false, kvCacheTokens: 16384 });
  const options = {
    sessions: 2,
    seconds: 24,
    buffer: 50,
    speechSeconds: 1.5,
    frames: false,
    steps: 12,
    interruptEvery: 1000,
  };
  const found: Phase[] = [];
  for await (const phase of runPhases(model, options)) found.push(phase);
  expect(found.map(({ speculate }) => speculate)).toEqual(phases);
  for (const phase of found) {
    const { turns, speaking, listening, listeners, work, memory, seconds } = phase;
    expect(turns.length).toBeGreaterThan(0);
    for (const { t1, t2, t3, t4, firstAudio, playing } of turns) {
      const times = [t1, t2, t3 ?? t2, t4, firstAudio, ...playing.flat()];
      expect(times).toEqual(times.toSorted((a, b) => a - b));
    }
    expect(speaking.most).toBeGreaterThan(0);
    expect(speaking.most).toBeLessThanOrEqual(options.sessions);
    expect(listening.most).toBeGreaterThan(0);
    expect(listeners.reduce((sum, listener) => sum + listener.turns, 0)).toBe(turns.length);
    expect(work.audioSeconds).toBeGreaterThan(0);
    expect(work.spokenSeconds).toBeGreaterThan(0);
    expect(phase.others).toBeLessThan(1);
    expect(memory.at(-1)![0]).toBeLessThanOrEqual(seconds);
  }
  const modes = [true, false].map((speculate) => modeResult(found, speculate)!);
  for (const mode of modes) {
    expect(mode.afterT2.p50!).toBeGreaterThan(mode.afterT4.p50!);
    expect(modeRow(mode, 2)).toHaveLength(modeHeader.length);
  }
  expect(memoryOf(found)).toEqual({
    first: expect.any(Number),
    last: expect.any(Number),
    perMinute: expect.any(Number),
  });
  expect(JSON.stringify(timelineChart(found, ""))).toContain("first audio, t2 + ");
  const stages: StageShare[] = [];
  for await (const stage of measureStages(model, found, { sessions: 2, processors: 2 })) stages.push(stage);
  expect(stages).toHaveLength(stageResults);
  for (const stage of stages) {
    if (stage.stage !== "the rest") expect(stage.share).toBeGreaterThan(0);
    expect(stageRow(stage)).toHaveLength(stageHeader.length);
  }
  const total = (of: (phase: Phase) => number) => found.reduce((sum, phase) => sum + of(phase), 0);
  const used = total((phase) => phase.processor) / (2 * total((phase) => phase.seconds));
  expect(stages.reduce((sum, { share }) => sum + share, 0)).toBeCloseTo(used, 9);
});
