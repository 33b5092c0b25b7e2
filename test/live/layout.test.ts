import { describe, expect, test } from "vitest";
import { TurnLayout } from "../../lib/live/layout.js";
import { type InterleavedPiece, interleaveSequential } from "../../lib/model/prompt/interleave.js";
import { uniform } from "../support/numbers.js";

/** Runs of audio, joined: how they were cut does not matter. */
function joined(pieces: readonly InterleavedPiece[]): InterleavedPiece[] {
  const result: InterleavedPiece[] = [];
  for (const piece of pieces) {
    const last = result.at(-1);
    if (piece.type === "audio" && last?.type === "audio")
      result[result.length - 1] = { type: "audio", tokens: last.tokens + piece.tokens };
    else result.push(piece);
  }
  return result;
}

describe("the layout of a turn", () => {
  test("is that of the whole turn, however its audio arrives", () => {
    const draw = uniform(3);
    const pick = (most: number) => Math.floor(((draw() + 1) / 2) * (most + 1));
    for (let round = 0; round < 300; round++) {
      const audioTokens = 1 + pick(80);
      const units = 1 + pick(Math.ceil(audioTokens * 0.08) - 1);
      let layout = new TurnLayout();
      const pieces: InterleavedPiece[] = [];
      for (let unit = 0; unit < units; unit++) layout.addUnit(unit);
      for (let left = audioTokens; left > 0; ) {
        const count = Math.min(left, pick(20));
        pieces.push(...layout.addAudio(count));
        left -= count;
        layout = layout.fork();
      }
      pieces.push(...layout.end());
      expect(joined(pieces)).toEqual(joined(interleaveSequential({ units, audioTokens })));
      expect(layout.waitingUnits).toBe(0);
    }
  });

  test("a unit waits for its chunk, and one that comes late for the next", () => {
    const layout = new TurnLayout();
    expect(layout.addAudio(3)).toEqual([{ type: "audioStart" }, { type: "audio", tokens: 3 }]);
    layout.addUnit(0);
    layout.addUnit(2);
    expect(layout.addAudio(10)).toEqual([
      { type: "audio", tokens: 9 },
      { type: "unit", unit: 0 },
      { type: "audio", tokens: 1 },
    ]);
    const fork = layout.fork();
    expect(fork.addAudio(13).at(-2)).toEqual({ type: "unit", unit: 1 });
    expect([layout.waitingUnits, fork.waitingUnits]).toEqual([1, 0]);
    expect(layout.end()).toEqual([{ type: "audioEnd" }]);
  });

  test("of nothing is nothing", () => {
    const layout = new TurnLayout();
    expect([layout.addAudio(0), layout.end()]).toEqual([[], []]);
  });
});
