import { describe, expect, it } from "vitest";
import { type SpeechInput, SpeechState, type SpeechStep } from "../../../lib/model/speech/state.js";

const pauseId = 137;
const endId = 2;
const create = () => new SpeechState({ pauseId, endId });

/** Ids of step n: semantic 1000 + n, acoustic 2000 + n, 3000 + n, 4000 + n. */
const ids = (n: number, semantic = 1000 + n) => [semantic, 2000 + n, 3000 + n, 4000 + n];
const codes = (semanticStep: number, acousticStep: number) =>
  [1000 + semanticStep, 2000 + acousticStep, 3000 + acousticStep, 4000 + acousticStep].map((id) => id - 32);

/** A second, independent implementation over whole lists: phases, masks, and frames paired at the end. */
function wholeList(samples: [number, number[]][]): { inputs: (SpeechInput | null)[]; frames: number[][] } {
  let state: "ST0" | "ST1" | "ABORT" = "ST0";
  let step = 0;
  let toAbort = false;
  const rows: number[][] = [];
  const inputs: (SpeechInput | null)[] = [];
  for (const [sampled, sampledIds] of samples) {
    if (state === "ABORT") break;
    const text = state === "ST1" ? -5000000 : sampled;
    step += 1;
    if (state === "ST0") {
      if (text === 137 || text === 2) {
        if (text === 2) toAbort = true;
        state = "ST1";
        step = 0;
      }
    } else if (sampledIds[0] === 2) {
      state = toAbort ? "ABORT" : "ST0";
      step = 0;
    }
    const row = [...sampledIds];
    if (state === "ST0" && step === 1) row.fill(-1, 1);
    rows.push(row);
    const masked = text < 0 || (state === "ST0" && step === 0) || (state === "ST1" && step > 0);
    inputs.push(state === "ABORT" ? null : { textId: masked ? null : text, codecIds: row });
  }
  const frames = rows
    .slice(0, -1)
    .flatMap((row, i) => (row[0] === 2 ? [] : [[row[0]!, ...rows[i + 1]!.slice(1)].map((id) => id - 32)]));
  return { inputs, frames };
}

describe("SpeechState", () => {
  it("steps through two segments exactly", () => {
    const state = create();
    const steps: SpeechStep[] = [
      state.step(500, ids(0)),
      state.step(501, ids(1)),
      state.step(pauseId, ids(2)),
      state.step(777, ids(3)), // phase `speech`: the text id is ignored
      state.step(null, ids(4, 2)), // end of the segment's speech
      state.step(502, ids(5)),
      state.step(endId, ids(6)),
      state.step(null, ids(7)),
      state.step(null, ids(8, 2)),
    ];
    expect(steps.map((step) => step.textId)).toEqual([500, 501, 137, null, null, 502, 2, null, null]);
    expect(steps.map((step) => step.frame)).toEqual([
      null,
      codes(0, 1),
      codes(1, 2),
      codes(2, 3),
      codes(3, 4),
      null,
      codes(5, 6),
      codes(6, 7),
      codes(7, 8),
    ]);
    expect(steps.map((step) => step.phase)).toEqual([
      "textAndSpeech",
      "textAndSpeech",
      "speech",
      "speech",
      "textAndSpeech",
      "textAndSpeech",
      "speech",
      "speech",
      "done",
    ]);
    expect(steps.map((step) => step.next)).toEqual([
      { textId: 500, codecIds: [1000, -1, -1, -1] }, // first step: there is no previous frame
      { textId: 501, codecIds: ids(1) },
      { textId: 137, codecIds: ids(2) }, // the id that ended the text is fed back
      { textId: null, codecIds: ids(3) },
      { textId: null, codecIds: [2, 2004, 3004, 4004] },
      { textId: 502, codecIds: [1005, -1, -1, -1] },
      { textId: 2, codecIds: ids(6) },
      { textId: null, codecIds: ids(7) },
      null,
    ]);
    expect(state.done).toBe(true);
    expect(() => state.step(1, ids(9))).toThrow(/complete/);
  });

  it.each([pauseId, endId])("keeps the acoustic ids when the very first text id is %i", (first) => {
    const state = create();
    const step = state.step(first, ids(0));
    expect(step).toEqual({ textId: first, frame: null, phase: "speech", next: { textId: first, codecIds: ids(0) } });
    expect(state.step(null, ids(1)).frame).toEqual(codes(0, 1));
    expect(state.step(null, ids(2, 2)).phase).toBe(first === endId ? "done" : "textAndSpeech");
  });

  it("drops the frame of a semantic end during textAndSpeech and goes on", () => {
    const state = create();
    state.step(500, ids(0));
    const end = state.step(501, ids(1, 2));
    expect(end.phase).toBe("textAndSpeech");
    expect(end.frame).toEqual(codes(0, 1));
    expect(state.step(502, ids(2)).frame).toBeNull();
    expect(state.step(503, ids(3)).frame).toEqual(codes(2, 3));
  });

  it("equals the implementation over whole lists, on random samples", () => {
    let seed = 1;
    const random = (n: number) => {
      seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
      return Math.floor((seed / 2 ** 32) * n);
    };
    for (let round = 0; round < 500; round++) {
      const samples = Array.from({ length: 1 + random(60) }, (): [number, number[]] => {
        const text = random(6) === 0 ? pauseId : random(9) === 0 ? endId : 300 + random(50);
        const semantic = random(4) === 0 ? 2 : 32 + random(8192);
        return [text, [semantic, 32 + random(8100), 32 + random(8100), 32 + random(8100)]];
      });
      const state = create();
      const steps: SpeechStep[] = [];
      for (const [text, codec] of samples) if (!state.done) steps.push(state.step(text, codec));
      const expected = wholeList(samples);
      expect(steps.map((step) => step.next)).toEqual(expected.inputs);
      expect(steps.flatMap((step) => (step.frame ? [step.frame] : []))).toEqual(expected.frames);
    }
  });

  it("keeps the last 30 steps for the penalty, end ids included, masked ids as -1", () => {
    const state = create();
    for (let n = 0; n < 40; n++) state.step(600 + n, ids(n));
    expect(state.textHistory).toEqual(Array.from({ length: 30 }, (_, i) => 610 + i));
    expect(state.codecHistory(2)).toEqual(Array.from({ length: 30 }, (_, i) => 3010 + i));
    state.step(pauseId, ids(40));
    state.step(null, ids(41, 2));
    state.step(700, ids(42));
    expect(state.textHistory.slice(-3)).toEqual([pauseId, -1, 700]);
    expect(state.codecHistory(0).slice(-3)).toEqual([1040, 2, 1042]);
    expect(state.codecHistory(1).slice(-3)).toEqual([2040, 2041, -1]);
  });

  it("rolls back: a snapshot restored from JSON continues identically", () => {
    const state = create();
    for (let n = 0; n < 5; n++) state.step(600 + n, ids(n));
    const snapshot = JSON.parse(JSON.stringify(state.snapshot()));
    const run = (from: SpeechState) => [
      from.step(pauseId, ids(5)),
      from.step(null, ids(6, 2)),
      from.step(610, ids(7)),
      from.textHistory,
    ];
    const first = run(state);
    state.restore(snapshot);
    expect(run(state)).toEqual(first);
    const other = create();
    other.restore(snapshot);
    expect(run(other)).toEqual(first);
  });

  it("refuses ids without a code, a missing text id, and unknown options", () => {
    expect(() => create().step(500, [31, 40, 40, 40])).toThrow(/codec id 31 of book 0 is reserved/);
    expect(() => create().step(500, [40, 2, 40, 40])).toThrow(/codec id 2 of book 1/);
    expect(() => create().step(500, [40, Number.NaN, 40, 40])).toThrow(/codec id NaN/);
    expect(() => create().step(500, [40, 40, 40])).toThrow(/expected 4 codec ids, got a list of 3/);
    expect(() => create().step(null, ids(0))).toThrow(/text id is due/);
    expect(() => new SpeechState({ pauseId, endId, historyStep: 3 } as never)).toThrow(/did you mean "historySteps"/);
    expect(() => new SpeechState({ pauseId, endId, historySteps: -1 })).toThrow(
      /historySteps must be a positive integer/,
    );
    expect(() => new SpeechState({ pauseId, endId: Number.NaN })).toThrow(/endId must be a whole number/);
  });
});
