#!/usr/bin/env bash
# @openai/agents-realtime 0.20.0 can send images (`session.addImage`), but not hear of them: the server's
# `conversation.item.added` for a message with an `input_image` neither enters `session.history` nor gives `history_added`
# or `error`. A message of text does. So an application that shows its history lacks what its user showed the model.
#
# Seen with Node.js 20.20 and a server, below, that answers each `conversation.item.create` with the item that it got:
#   text:  in the history true,  history_added 1, errors 0
#   image: in the history false, history_added 0, errors 0
# Exits with 1 if the library does otherwise.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --no-save --no-audit --no-fund --loglevel=error @openai/agents-realtime@0.20.0 ws@8.23.0 zod@4.6.7 >/dev/null
cat >run.mjs <<'JS'
import { once } from "node:events";
import { setTimeout } from "node:timers/promises";
import { RealtimeAgent, RealtimeSession } from "@openai/agents-realtime";
import { WebSocketServer } from "ws";

const server = new WebSocketServer({ host: "127.0.0.1", port: 0 });
await once(server, "listening");
server.on("connection", (socket) => {
  const send = (event) => socket.send(JSON.stringify({ event_id: `event_${Math.random()}`, ...event }));
  let last = null;
  send({ type: "session.created", session: { type: "realtime", object: "realtime.session", id: "sess_1" } });
  socket.on("message", (data) => {
    const { type, item } = JSON.parse(data);
    if (type !== "conversation.item.create") return;
    const whole = { ...item, id: `item_${item.content[0].type}`, object: "realtime.item", status: "completed" };
    for (const name of ["added", "done"])
      send({ type: `conversation.item.${name}`, previous_item_id: last, item: whole });
    last = whole.id;
  });
});
const session = new RealtimeSession(new RealtimeAgent({ name: "a" }), { transport: "websocket" });
let [added, errors] = [0, 0];
session.on("history_added", () => added++);
session.on("error", () => errors++);
await session.connect({ apiKey: "none", url: `ws://127.0.0.1:${server.address().port}` });
const pixel =
  "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==";
const seen = {};
for (const [name, send] of [
  ["text", () => session.sendMessage("Hello!")],
  ["image", () => session.addImage(pixel, { triggerResponse: false })],
]) {
  [added, errors] = [0, 0];
  send();
  await setTimeout(500);
  const known = session.history.some(({ itemId }) => itemId === `item_input_${name}`);
  seen[name] = [known, added, errors];
  console.log(`${name}: in the history ${known}, history_added ${added}, errors ${errors}`);
}
process.exit(JSON.stringify(seen) === '{"text":[true,1,0],"image":[false,0,0]}' ? 0 : 1);
JS
node run.mjs
