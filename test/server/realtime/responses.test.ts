import { expect, test } from "vitest";
import { Items } from "../../../lib/server/realtime/items.js";
import { Responses } from "../../../lib/server/realtime/responses.js";
import type { ServerEvent } from "../../../lib/server/realtime/serverEvents.js";
import { defaultConfig } from "../../../lib/server/realtime/sessionConfig.js";

function recorded() {
  const events: ServerEvent[] = [];
  const context = { config: defaultConfig(true), metadata: null, conversation: "conv_1" };
  const replies = new Responses(
    new Items(9),
    (event) => events.push(event),
    () => context,
  );
  return { replies, events, types: () => events.splice(0).map(({ type }) => type) };
}
const samples = new Float32Array(2400);

test("a reply that begins before it is known what stays of the one before ends that", async () => {
  const { replies, events, types } = recorded();
  replies.on({ type: "reply", item: "item_1" });
  replies.on({ type: "text", item: "item_1", text: "One, two", ids: [1] });
  replies.on({ type: "audio", item: "item_1", samples, sampleRate: 24000 });
  const first = replies.active!;
  const stopped = replies.stop(() => {});
  types();
  replies.on({ type: "reply", item: "item_2" });
  await stopped;
  const done = events.findIndex(({ type }) => type === "response.done");
  expect(events[done]!.response).toMatchObject({ id: first.id, status: "cancelled" });
  expect(events[done + 1]).toMatchObject({ type: "response.created", response: { id: replies.active!.id } });
  types();
  replies.on({ type: "interrupted", item: "item_1", text: "One,", heardSeconds: 0.05, usage: null });
  expect([types(), first.item.content]).toEqual([
    ["conversation.item.truncated"],
    [{ type: "output_audio", transcript: "One," }],
  ]);
  replies.on({ type: "text", item: "item_1", text: "late", ids: [2] });
  expect(types()).toEqual([]);
  expect(replies.active!.item.status).toBe("in_progress");
});

test("a reply that is cut after its end stays as the cut says", () => {
  const { replies, types } = recorded();
  replies.on({ type: "reply", item: "item_1" });
  replies.on({ type: "audio", item: "item_1", samples, sampleRate: 24000 });
  const { item } = replies.active!;
  replies.close({ status: 503, code: "shutting_down", message: "it ends" });
  expect(types().at(-1)).toBe("response.done");
  replies.on({ type: "interrupted", item: "item_1", text: "", heardSeconds: 0, usage: null });
  expect([types(), item.status]).toEqual([["conversation.item.truncated"], "incomplete"]);
});
