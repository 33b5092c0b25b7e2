import type { IncomingMessage } from "node:http";
import { invalid, Refusal } from "./errors.js";
import { JsonScanner } from "./jsonScanner.js";

/**
 * The JSON in the body of a request. It is scanned while it arrives: one that is too long, or that would become too many
 * objects, is refused before it is in memory, and long strings, which are media, are not read at a stretch.
 *
 * The body is taken from Node.js's stream, which joins what has arrived: of a body in one-byte chunks, as a client may send
 * it, a web stream would give them one by one.
 * @throws {Refusal}
 */
export async function readJson(incoming: IncomingMessage, maxBytes: number): Promise<unknown> {
  const tooLong = () =>
    new Refusal({ status: 413, message: `a request has at most ${maxBytes} bytes`, code: "request_too_large" });
  if (Number(incoming.headers["content-length"]) > maxBytes) throw tooLong();
  const scanner = new JsonScanner("the body");
  let bytes = 0;
  try {
    for await (const chunk of incoming.iterator({ destroyOnReturn: false })) {
      bytes += chunk.length;
      if (bytes > maxBytes) throw tooLong();
      scanner.push(chunk);
    }
  } catch (error) {
    throw error instanceof Refusal ? error : invalid("the body was cut off", null, "invalid_json");
  }
  return scanner.end();
}
