import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test, vi } from "vitest";
import type { LiveSession } from "../../lib/live/session.js";
import { OmniModel } from "../../lib/model/omni.js";
import { tinyDirectory } from "../model/tinyModel.js";
import { at, interruption, liveModel, oneTurn, push, Script, speech } from "./listener.js";

const live = await liveModel();
const { listen } = live;

describe("a session", () => {
  test("has ended once it is disposed, and then takes nothing", async () => {
    const script = new Script(oneTurn);
    const session = live.model.live({ detector: script });
    const next = session.next();
    session.dispose();
    session.dispose();
    expect(await next).toEqual({ done: true, value: undefined });
    expect([script.disposed, session.ended.aborted]).toEqual([true, true]);
    await expect(session.push(new Float32Array(1))).rejects.toMatchObject({ code: "DISPOSED" });
    expect(() => session.say("x")).toThrow(expect.objectContaining({ code: "DISPOSED" }));
  });

  test("that ends takes what is under way with it, which says so", async () => {
    const { session } = listen([], { system: "a b c d ".repeat(400) });
    const under = [session.remove("item_1"), session.truncate("item_1", 0)];
    const ends = Promise.allSettled(under);
    await vi.waitFor(() => expect(live.model.stats().cache.used).toBeGreaterThan(0), { interval: 1 });
    session.dispose();
    const reason = expect.objectContaining({ code: "DISPOSED" });
    expect(await ends).toEqual(under.map(() => ({ status: "rejected", reason })));
  });

  test("ends at any moment, and gives its memory back", async () => {
    for (let end = 0; end < 40; end++) {
      const listener = listen(interruption, { maxTokens: 60 });
      for (let piece = 0; piece < 2 * end; piece++) {
        await listener.session.push(speech.subarray(at(piece / 10), at((piece + 1) / 10)));
        if (piece % 7 === end % 7) await live.model.device.synchronize();
      }
      listener.session.dispose();
    }
    await vi.waitFor(
      () => expect(live.model.stats()).toMatchObject({ active: 0, waiting: 0, cache: { used: 0 } }),
      20_000,
    );
  });

  test("ends with the error of its detector, and no other session does", async () => {
    const other = listen(oneTurn);
    const detector = new Script([]);
    detector.push = () => Promise.reject(new Error("deaf"));
    const session = live.model.live({ detector });
    const next = session.next();
    await expect(session.push(new Float32Array(1))).rejects.toThrow("deaf");
    await expect(next).rejects.toThrow("deaf");
    expect(session.ended.aborted).toBe(true);
    await push(other.session, speech.subarray(0, at(4)));
    await other.until("replyEnd");
    other.session.dispose();
  });

  test("refuses what is too much for any conversation, and goes on", async () => {
    const listener = listen(oneTurn, { speech: false });
    const { session } = listener;
    await expect(session.push(new Float32Array(2 ** 24 + 1))).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    for (const value of [Number.NaN, 1e9])
      await expect(session.push(Float32Array.of(0, value))).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    const data = new Uint8Array(3 * 2 ** 25 + 3);
    expect(() => session.look({ width: 1, height: data.length / 3, data })).toThrow(/at most 33554432 pixels/);
    expect(() => session.say("a".repeat(2 ** 22))).toThrow(/more tokens than the KV cache holds, 8192/);
    session.say("Hi");
    await listener.until("replyEnd");
    session.dispose();
  });

  test("ends with the error of text that turns out to be too much", async () => {
    const session = live.model.live({ detector: new Script([]), system: "a b ".repeat(2 ** 16) });
    await expect(session.next()).rejects.toThrow(/at least \d+ tokens .*, the model has 8192 positions/);
    expect(session.ended.aborted).toBe(true);
  });

  test("ends with its first error, also if the detector's end fails", async () => {
    const detector = new Script(oneTurn);
    detector[Symbol.dispose] = () => {
      throw new Error("stuck");
    };
    let now = 0;
    const clock = { now: () => now };
    const session = live.model.live({ detector, clock, maxTokens: 4 });
    const listening = (async () => {
      for await (const _ of session);
    })();
    await push(session, speech.subarray(0, at(3.4)));
    now = Number.NaN; // the next event of the reply asks for the time
    session.push(speech.subarray(0, at(1))).catch(() => {});
    await expect(listening).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    expect(() => live.model.live({ detector }).dispose()).toThrow("stuck");
  });

  test("goes on when its clock fails in a call, and gives its memory back", async () => {
    let fails = false;
    const clock = {
      now: () => {
        if (fails) throw new Error("stopped");
        return 1;
      },
    };
    const listener = listen(oneTurn, { clock, maxTokens: 60 });
    await push(listener.session, speech.subarray(0, at(4)));
    await listener.until("audio");
    fails = true;
    expect(() => listener.session.interrupt()).toThrow("stopped");
    fails = false;
    listener.session.interrupt();
    listener.session.dispose(); // before the conversation has got what was said
    await vi.waitFor(() => expect(live.model.stats().cache.used).toBe(0), 20_000);
  });

  test("goes on after an interruption of a reply that has lost its room to others", async () => {
    await using own = await OmniModel.load(live.directory, {
      device: live.model.device,
      kvCacheTokens: 256,
      unreadSeconds: 0,
    });
    const session = own.live({ detector: new Script([]), maxTokens: 400, temperature: 2, seed: 5 });
    session.say("hello there");
    await vi.waitFor(() => expect(own.stats().unread).toBe(1), 20_000); // nobody takes its events
    const long = [{ role: "user", content: "hello ".repeat(40) }] as const;
    const other = own.generate(long, { maxTokens: 20, speech: false });
    await other.next();
    await vi.waitFor(() => expect(own.stats().preemptions).toBe(1), 20_000);
    session.interrupt();
    await other.return();
    session.say("And now?");
    const items: string[] = [];
    for await (const event of session) {
      if (event.type === "interrupted" || event.type === "replyEnd") items.push(`${event.type} ${event.item}`);
      if (event.type === "replyEnd") break;
    }
    expect(items).toEqual(["interrupted item_2", "replyEnd item_4"]);
    await vi.waitFor(() => expect(own.stats().cache.used).toBe(0), 20_000);
  });

  test("drops a reply for which its detector has another one prepared", async () => {
    const again = [...oneTurn.slice(0, 2), [3.4, "pause"], [3.5, "pause"], oneTurn[2]] as const;
    const listener = listen(again, { maxTokens: 60 });
    await push(listener.session, speech.subarray(0, at(4)));
    await listener.until("replyEnd");
    expect(live.model.stats()).toMatchObject({ active: 0, unread: 0 });
    listener.session.dispose();
    await vi.waitFor(() => expect(live.model.stats().cache.used).toBe(0), 20_000);
  });

  test("ends alone when its conversation is longer than the model's positions", async () => {
    const short = await tinyDirectory();
    const config = JSON.parse(readFileSync(join(short, "config.json"), "utf8"));
    writeFileSync(join(short, "config.json"), JSON.stringify({ ...config, max_position_embeddings: 48 }));
    await using own = await OmniModel.load(short, { device: live.model.device, kvCacheTokens: 512 });
    const ask = async () => {
      const events = own.generate([{ role: "user", content: "Hello!" }], { maxTokens: 8, speech: false });
      for await (const event of events) if (event.type === "end") return event.ids;
    };
    const alone = await ask();
    const before = own.live({ detector: new Script([]), system: "a b c d ".repeat(20) });
    const amid = own.live({ detector: new Script([]) });
    amid.say("a b c d ".repeat(20)); // the end of the turn is the reply's prompt
    const drain = async (session: LiveSession) => {
      for await (const _ of session);
    };
    const ends = Promise.allSettled([drain(before), drain(amid)]);
    expect(await ask()).toEqual(alone);
    const message = expect.stringMatching(/has .*\d+ tokens.*, the model (has )?48 positions/);
    const reason = expect.objectContaining({ code: "INVALID_ARGUMENT", message });
    expect(await ends).toEqual([
      { status: "rejected", reason },
      { status: "rejected", reason },
    ]);
  });

  test("ends when its model is disposed", async () => {
    const own = await OmniModel.load(live.directory, { device: live.model.device });
    const session = own.live({ detector: new Script(oneTurn) });
    const events = (async () => {
      for await (const _ of session);
    })();
    await session.push(speech.subarray(0, at(2)));
    own.dispose();
    await expect(events).rejects.toMatchObject({ code: "DISPOSED" });
  });
});
