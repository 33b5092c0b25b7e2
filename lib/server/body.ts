import { invalid, Refusal } from "./errors.js";

/** More brackets, commas and colons than any conversation needs; each may stand for an object of a hundred bytes. */
const maxMarks = 2 ** 18;
const isMark = new Uint8Array(256);
for (const char of "{[,:") isMark[char.charCodeAt(0)] = 1;

/**
 * The JSON in the body of a request. It is measured while it arrives: one that is too long, or that would become too
 * many objects, is refused before it is in memory.
 * @throws {Refusal}
 */
export async function readJson(request: Request, maxBytes: number): Promise<unknown> {
  const tooLong = () =>
    new Refusal({ status: 413, message: `a request has at most ${maxBytes} bytes`, code: "request_too_large" });
  if (Number(request.headers.get("content-length")) > maxBytes) throw tooLong();
  const reader = request.body?.getReader();
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  let marks = 0;
  for (;;) {
    const { value, done } = (await reader?.read()) ?? { done: true };
    if (done) break;
    bytes += value.length;
    if (bytes > maxBytes) throw tooLong();
    for (let i = 0; i < value.length; i++) marks += isMark[value[i]!]!;
    if (marks > maxMarks) throw invalid(`the body has more than ${maxMarks} brackets, commas and colons`);
    chunks.push(value);
  }
  try {
    return JSON.parse(Buffer.concat(chunks).toString());
  } catch (error) {
    throw invalid(`the body is no JSON: ${(error as Error).message}`, null, "invalid_json");
  }
}
