import { Turns } from "../turns.js";
import { invalid } from "./errors.js";
import { LongString } from "./longString.js";

/**
 * The bytes that a string of a request has in base64.
 * @param skipped the characters before the data
 * @throws {Refusal}
 */
export async function ofBase64(
  text: string | LongString,
  param: string,
  signal: AbortSignal,
  skipped = 0,
): Promise<Buffer<ArrayBuffer>> {
  const string = typeof text === "string" ? new LongString([Buffer.from(text)]) : text;
  const bytes = await new Turns("reading media", signal).during(string.decode(skipped));
  if (bytes) return bytes;
  throw invalid("it is no base64", param, "invalid_base64");
}

/** The bytes of a data URI, whose media type may be wrong: the library looks at the bytes. @throws {Refusal} */
export async function ofDataUri(
  uri: string | LongString,
  param: string,
  signal: AbortSignal,
): Promise<Buffer<ArrayBuffer>> {
  const head = typeof uri === "string" ? uri : uri.head;
  const comma = head.indexOf(",");
  if (comma < 0 || !/;base64$/i.test(head.slice(0, comma)))
    throw invalid("it must be a data: URI with base64, such as data:image/png;base64,…", param, "invalid_base64");
  return ofBase64(uri, param, signal, comma + 1);
}
