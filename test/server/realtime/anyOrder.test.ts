// Clients that send events in any order: each is answered, and every response ends.
import { expect, test, vi } from "vitest";
import { pcm16 } from "../../../lib/media/wav.js";
import { speech } from "../../live/speech.js";
import { metricsOf, sample, served, tinyModel } from "../served.js";
import { RealtimeClient } from "./client.js";

const model = await tinyModel();
const sound = Buffer.from(pcm16(speech()));
const photo = `data:image/jpeg;base64,${sample("photo.jpg")}`;

/** Numbers in [0, 1), the same for the same seed. */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state * 1103515245 + 12345) % 2 ** 31;
    return state / 2 ** 31;
  };
}

/** Any event, right or wrong, about one of these items. */
function anyEvent(next: () => number, items: readonly string[]): unknown {
  const pick = <T>(list: readonly T[]): T => list[Math.floor(next() * list.length)]!;
  const message = (role: string, part: object) => ({
    ...{ type: "conversation.item.create", item: { type: "message", role, content: [part] } },
  });
  const respond = (response: object) => ({ type: "response.create", response: { max_output_tokens: 40, ...response } });
  const update = (input: object) => ({ type: "session.update", session: { audio: { input } } });
  const append = (bytes: Buffer) => ({ type: "input_audio_buffer.append", audio: bytes.toString("base64") });
  const item_id = pick([...items, "nothing"]);
  const from = Math.floor(next() * sound.length);
  const vad = { type: "server_vad", silence_duration_ms: 200 };
  return pick([
    ...[append(sound.subarray(from)), append(sound.subarray(from)), append(Buffer.alloc(48_000)), append(sound)],
    ...[{ type: "input_audio_buffer.commit" }, { type: "input_audio_buffer.clear" }, { type: "response.cancel" }],
    message("user", { type: "input_text", text: "Hello!" }),
    message("user", { type: "input_image", image_url: pick([photo, "data:image/png;base64,AAAA"]) }),
    message("assistant", { type: "output_text", text: "Hi" }),
    { type: "input_video_frame.append", image: photo },
    ...[
      respond({ temperature: 2, seed: 2, max_output_tokens: 300 }),
      respond({ instructions: "Be loud." }),
      respond({}),
    ],
    respond({ output_modalities: ["text"] }),
    respond({ conversation: "none", input: [message("user", { type: "input_text", text: "Hm?" }).item] }),
    { type: "conversation.item.truncate", item_id, content_index: 0, audio_end_ms: Math.floor(next() * 1000) },
    ...[
      { type: "conversation.item.delete", item_id },
      { type: "conversation.item.retrieve", item_id },
    ],
    update({
      turn_detection: pick([null, vad, { ...vad, interrupt_response: false }, { ...vad, create_response: false }]),
    }),
    update({ format: pick([{ type: "audio/pcmu" }, { type: "audio/pcm" }, { type: "audio/pcm", rate: 16000 }]) }),
    { type: "session.update", session: { instructions: pick(["", "Be brief."]) } },
    ...["{", { type: "nothing" }],
  ]);
}

test.each([1, 2, 3])("ten clients send events in any order (seed %i)", async (seed) => {
  const onError = (error: unknown) => expect.unreachable(String(error));
  const { server } = await served(model, { onError });
  const next = random(seed);
  const converse = async () => {
    const client = await RealtimeClient.open(server);
    for (let i = 0; i < 30; i++) {
      const items = client.events.flatMap(({ item }) => (item ? [item.id] : []));
      client.send(anyEvent(next, items.slice(-4)));
      if (next() < 0.2) await new Promise((resolve) => setTimeout(resolve, 100 * next()));
    }
    client.send({ type: "conversation.item.retrieve", item_id: "the last", event_id: "last" });
    const of = (type: string) => client.events.filter((event) => event.type === type);
    await vi.waitFor(() => {
      expect(of("error").at(-1)?.error.event_id).toBe("last");
      expect(of("response.done").length).toBe(of("response.created").length);
    }, 60_000);
    await client.close();
  };
  await Promise.all(Array.from({ length: 10 }, converse));
  await vi.waitFor(() => expect(model.stats()).toMatchObject({ active: 0, waiting: 0, cache: { used: 0 } }), 10_000);
  expect((await metricsOf(server)).caracal_realtime_sessions).toBe(0);
});
