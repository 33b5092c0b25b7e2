import type { LiveEvent } from "./events.js";
import type { Playback } from "./playback.js";
import type { PreparedReply } from "./preparedReply.js";

/**
 * Passes the events of a reply on, until it ends or is dropped. Nobody has taken any of them before: this is the gate that
 * opens when a turn has ended.
 * @param room resolves when the next event may be taken
 */
export async function deliver(
  prepared: PreparedReply,
  playback: Playback,
  push: (event: LiveEvent) => void,
  room: () => Promise<void>,
): Promise<void> {
  const { item } = playback;
  for (;;) {
    await room();
    const { done, value: event } = await prepared.events.next();
    if (done || prepared.dropped) return;
    if (event.type === "text") push({ type: "text", item, text: event.text, ids: event.ids });
    if (event.type === "audio") {
      playback.add(event.samples.length / event.sampleRate);
      push({ type: "audio", item, samples: event.samples, sampleRate: event.sampleRate });
    }
    if (event.type === "end") {
      const { reason, text, ids, usage } = event;
      playback.end();
      push({ type: "replyEnd", item, reason, text, ids, usage });
    }
  }
}
