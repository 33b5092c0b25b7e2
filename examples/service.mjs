// @ts-check
// A service: one model in one process, which answers over HTTP with lines of JSON.
//   mkdir -p models && npx caracal synth models/mini --preset mini && node examples/service.mjs models/mini 8080
//   curl -N localhost:8080/reply -d '{"text": "Hello!"}'
import { once } from "node:events";
import { createServer } from "node:http";
import { CaracalError, OmniModel } from "caracal";

const [directory, port = "8080"] = process.argv.slice(2);
if (!directory) throw new Error("usage: node examples/service.mjs MODEL_DIRECTORY [PORT]");

const mostBytes = 2 ** 20; // of a request
const mostWaiting = 32; // replies that have no room in the KV cache yet
const model = await OmniModel.load(directory);
const stopping = new AbortController();
const counts = { answered: 0, left: 0, failed: 0 };

/** @param {import("node:http").IncomingMessage} request */
async function textOf(request) {
  let body = "";
  for await (const piece of request.setEncoding("utf8")) {
    body += piece;
    if (body.length > mostBytes) throw new CaracalError("INVALID_ARGUMENT", `a request has at most ${mostBytes} bytes`);
  }
  try {
    return JSON.parse(body).text;
  } catch (cause) {
    throw new CaracalError("INVALID_ARGUMENT", 'the body must be JSON such as {"text": "Hello!"}', {}, { cause });
  }
}

/**
 * Writes a reply as fast as the client reads: the model pauses it when its events are not taken.
 * @param {import("node:http").IncomingMessage} request
 * @param {import("node:http").ServerResponse} response
 */
async function reply(request, response) {
  const gone = new AbortController();
  response.once("close", () => gone.abort());
  const signal = AbortSignal.any([gone.signal, stopping.signal]);
  const content = await textOf(request);
  for await (const event of model.generate([{ role: "user", content }], { speech: false, maxTokens: 512, signal })) {
    if (event.type !== "text" && event.type !== "end") continue;
    if (!response.write(`${JSON.stringify(event)}\n`)) await once(response, "drain", { signal });
  }
  response.end();
}

/** The status of an error that a reply had before its first line. @param {unknown} error */
function statusOf(error) {
  if (!(error instanceof CaracalError)) return 500;
  return { INVALID_ARGUMENT: 400, MEDIA_INVALID: 400, OUT_OF_MEMORY: 503, ABORTED: 503 }[String(error.code)] ?? 500;
}

/** What a monitoring system collects. */
function metrics() {
  const { cache, ...replies } = model.stats();
  const values = {
    ...counts,
    ...replies,
    cacheTokens: cache.tokens,
    cacheUsed: cache.used,
    memory: model.device.memory.inUse,
  };
  return Object.entries(values).map(([name, value]) => `caracal_${name} ${value}\n`);
}

const server = createServer(async (request, response) => {
  response.once("close", () => server.listening || server.closeIdleConnections()); // they would delay the end
  const { preparing, waiting } = model.stats();
  if (request.url === "/metrics") response.end(metrics().join(""));
  else if (request.url !== "/reply" || request.method !== "POST") response.writeHead(404).end();
  else if (preparing + waiting >= mostWaiting) response.writeHead(503, { "Retry-After": "1" }).end();
  else {
    try {
      await reply(request, response);
      counts.answered++;
    } catch (error) {
      counts[response.destroyed ? "left" : "failed"]++;
      if (response.destroyed) return; // the client has left
      const message = error instanceof CaracalError ? error.message : "the reply failed";
      if (!response.headersSent) response.writeHead(statusOf(error));
      response.end(`${JSON.stringify({ type: "error", message })}\n`);
    }
  }
});
server.listen(Number(port), () => {
  const address = server.address();
  console.log(`listening on port ${typeof address === "object" && address?.port}`);
});

// The replies in progress may end, but within ten seconds.
for (const name of ["SIGINT", "SIGTERM"])
  process.once(name, () => {
    const deadline = setTimeout(() => stopping.abort(), 10_000);
    server.close(() => {
      clearTimeout(deadline);
      model.dispose();
    });
  });
