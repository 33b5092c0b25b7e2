// Bodies of requests are read as JSON.parse would, but for long strings, which are not read at a stretch.
import { randomBytes } from "node:crypto";
import type { IncomingMessage } from "node:http";
import { Readable } from "node:stream";
import { describe, expect, test } from "vitest";
import { readJson } from "../../lib/server/body.js";
import { LongString } from "../../lib/server/longString.js";
import { atOnce } from "../../lib/turns.js";

/** A request whose body comes in pieces. */
function inPieces(body: Buffer, size: number) {
  const pieces = Array.from({ length: Math.ceil(body.length / size) }, (_, i) =>
    body.subarray(i * size, (i + 1) * size),
  );
  return Object.assign(Readable.from(pieces, { objectMode: false }), { headers: {} }) as unknown as IncomingMessage;
}

const read = (text: string, size = 7) => readJson(inPieces(Buffer.from(text), size), 2 ** 24);

test.each([
  "null",
  ' {"a": [1, -2.5e3, "x", true, {}], "ä😀": "\\"\\\\\\u00e4\\/\\n"} ',
  '["\\\\", "\\\\\\"", "", "\\u0000", "\\u00007"]',
])("%s is read as JSON.parse does", async (text) => {
  for (const size of [1, 2, 3, 5, 1000]) expect(await read(text, size)).toEqual(JSON.parse(text));
});

test("long strings are kept in their spelling, and become text or bytes", async () => {
  const long = `ä"\\/${"€".repeat(40_000)}\n`;
  const bytes = randomBytes(100_001);
  const [text, data, short] = (await read(JSON.stringify([long, bytes.toString("base64"), "a"]), 1000)) as [
    LongString,
    LongString,
    string,
  ];
  expect(short).toBe("a");
  expect(text.text).toBe(long);
  expect(atOnce(data.decode())!.equals(bytes)).toBe(true);
  expect(data.head).toBe(bytes.toString("base64").slice(0, 256));
});

test("a mark of a long string that a client writes names one of its own, or is text", async () => {
  const [first, marked] = (await read(JSON.stringify(["a".repeat(20_000), "\x000"]))) as [LongString, LongString];
  expect(marked).toBe(first);
  expect(await read(JSON.stringify(["\x001"]))).toEqual(["\x001"]);
});

describe("base64", () => {
  const pieces = (text: string, size: number) => {
    const bytes = Buffer.from(text);
    return Array.from({ length: Math.ceil(bytes.length / size) }, (_, i) => bytes.subarray(i * size, (i + 1) * size));
  };
  const decode = (text: string, size: number, skipped = 0) =>
    atOnce(new LongString(pieces(text, size)).decode(skipped));

  test("is decoded in whatever pieces it comes", () => {
    for (let length = 0; length < 50; length++) {
      const bytes = randomBytes(length);
      const text = bytes.toString("base64");
      for (const spelling of [text, text.replaceAll("=", ""), text.replaceAll("/", "\\/")])
        for (const size of [1, 2, 3, 4, 5, 7, 64]) {
          expect(decode(spelling, size)!.equals(bytes), `${spelling} by ${size}`).toBe(true);
          expect(decode(`data:,${spelling}`, size, 6)!.equals(bytes)).toBe(true);
        }
    }
    const trailing = new LongString([Buffer.from("AA=="), Buffer.alloc(0)]);
    expect(atOnce(trailing.decode())).toHaveLength(1);
  });

  test.each(["A", "AAAAA", "AA A", "AA==AAAA", "====", "#", "AAA\\", "A\\nAA", "=AAA", "A===", "AAAA="])(
    "%s is refused",
    (text) => {
      for (const size of [1, 3, 64]) expect(decode(text, size)).toBeUndefined();
    },
  );
});
