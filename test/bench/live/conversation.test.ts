import { expect, test } from "vitest";
import { Conversation } from "../../../bench/live/conversation.js";
import { packetSeconds } from "../../../bench/live/microphone.js";
import type { Span } from "../../../bench/live/playout.js";
import type { LiveEvent } from "../../../lib/live/events.js";
import type { LiveSession } from "../../../lib/live/session.js";
import type { RgbImage } from "../../../lib/media/image.js";

const rate = 16000;
const piece = (seconds: number): LiveEvent => {
  return { type: "audio", item: "r", samples: new Float32Array(Math.round(24000 * seconds)), sampleRate: 24000 };
};
const steps = (count: number) => ({ usage: { steps: count } as never });

/** A session that hears for a script, and tells what the script says at the time of each packet. */
class ScriptedSession {
  readonly packets: Float32Array[] = [];
  readonly frames: RgbImage[] = [];
  readonly #events: LiveEvent[] = [];
  readonly #onPacket: (packet: number, samples: Float32Array) => readonly LiveEvent[];
  #wake = () => {};
  #ended = false;

  constructor(onPacket: (packet: number, samples: Float32Array) => readonly LiveEvent[]) {
    this.#onPacket = onPacket;
  }
  async push(samples: Float32Array): Promise<void> {
    this.packets.push(samples);
    this.#events.push(...this.#onPacket(this.packets.length, samples));
    this.#wake();
  }
  look(frame: RgbImage): void {
    this.frames.push(frame);
  }
  dispose(): void {
    this.#ended = true;
    this.#wake();
  }
  [Symbol.dispose](): void {
    this.dispose();
  }
  async *[Symbol.asyncIterator](): AsyncGenerator<LiveEvent> {
    for (;;) {
      const event = this.#events.shift();
      if (event) yield event;
      else if (this.#ended) return;
      else
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
    }
  }
}

/** Runs a script in real time, which is short. */
async function talk(session: ScriptedSession, packets: number, interrupts: boolean, frame?: RgbImage) {
  const began = performance.now();
  const now = () => (performance.now() - began) / 1000;
  const conversation = new Conversation(session as unknown as LiveSession, {
    ...{ speech: new Float32Array(5 * packetSeconds * rate).fill(0.5), sampleRate: rate, delay: 0, buffer: 0 },
    ...{ interrupts: () => interrupts, end: packets * packetSeconds, now, frame },
  });
  return await conversation.run();
}

test("a turn has the times of its events, and the user speaks again after the reply", async () => {
  const events = new Map<number, readonly LiveEvent[]>([
    [8, [{ type: "speechPause", item: "t", sample: 0 }]],
    [12, [{ type: "speechEnd", item: "t", sample: 0 }]],
    [14, [piece(0.1)]],
    [16, [piece(0.1), { type: "replyEnd", item: "r", reason: "stop", text: "", ids: [], ...steps(9) }]],
  ]);
  const session = new ScriptedSession((packet) => events.get(packet) ?? []);
  const result = await talk(session, 60, false);
  expect(result.turns).toHaveLength(1);
  const [{ t1, t2, t3, t4, firstAudio, pieces, playing, t5 }] = result.turns as [(typeof result.turns)[number]];
  const times = [t1, t2, t3!, t4, firstAudio, ...playing.flat()];
  expect(times.toSorted((a, b) => a - b)).toEqual(times);
  expect(t2 - t1).toBeCloseTo(4 * packetSeconds, 9);
  expect(pieces.map(([, seconds]) => seconds)).toEqual([0.1, 0.1]);
  expect(t5).toBeUndefined();
  expect([result.underruns, result.unanswered]).toEqual([0, false]);
  expect(result.audioSeconds).toBeCloseTo(0.2, 9);
  // Speech is in the first packets, and in those after the reply and the pause.
  const loud = session.packets.map((packet) => packet.some((sample) => sample !== 0));
  expect(loud.slice(0, 6)).toEqual([true, true, true, true, true, false]);
  expect(loud.lastIndexOf(true)).toBeGreaterThan(16 + 0.5 / packetSeconds);
});

test("a user who interrupts speaks amid the reply, which ends there", async () => {
  const session = new ScriptedSession((packet, samples) => {
    if (packet === 7) return [{ type: "speechEnd", item: "t", sample: 0 }];
    if (packet === 8) return [piece(5)];
    const isLoud = samples.some((sample) => sample !== 0);
    return packet > 8 && isLoud ? [{ type: "speechStart", item: "u", sample: 0 }] : [];
  });
  const result = await talk(session, 8 + 1.4 / packetSeconds, true);
  const [turn, ...others] = result.turns;
  expect(others).toEqual([]);
  expect(turn!.t5! - turn!.playing[0]![0]).toBeGreaterThanOrEqual(1);
  expect(turn!.interrupted!).toBeGreaterThanOrEqual(turn!.t5!);
  expect(turn!.playing.at(-1)![1]).toBe(turn!.interrupted);
});

test("a turn that nobody answers is told", async () => {
  const session = new ScriptedSession((packet) => (packet === 8 ? [{ type: "speechEnd", item: "t", sample: 0 }] : []));
  const result = await talk(session, 8 + 2.2 / packetSeconds, false);
  expect([result.turns, result.unanswered]).toEqual([[], true]);
});

test("a reply that is playing at the end counts up to there", async () => {
  const session = new ScriptedSession((packet) => {
    if (packet === 7) return [{ type: "speechEnd", item: "t", sample: 0 }];
    return packet === 8 ? [piece(5)] : [];
  });
  const [turn, ...others] = (await talk(session, 20, false)).turns;
  expect(others).toEqual([]);
  const [[from, to]] = turn!.playing as [Span];
  expect(to).toBeGreaterThan(from);
  expect(to - from).toBeLessThan(5);
});

test("a camera takes two frames a second", async () => {
  const session = new ScriptedSession(() => []);
  await talk(session, 1.2 / packetSeconds, false, { width: 1, height: 1, data: new Uint8Array(3) });
  expect(session.frames).toHaveLength(3); // about 0, 0.5 and 1 s
});
