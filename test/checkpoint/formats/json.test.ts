import { expect, test } from "vitest";
import { parseJson } from "../../../lib/checkpoint/formats/json.js";
import { uniform } from "../../support/numbers.js";
import { expectInvalid } from "../files.js";

const valid = [
  "null",
  " true\n",
  "-0",
  "1.5e-3",
  "1E+2",
  '""',
  '"a\\"b\\\\"',
  '"\\u0041\\ud83d\\ude00\\n"',
  "[]",
  "[ ]",
  "{}",
  '[1, [2, {}], {"a": [null, false]}]',
  '{"__proto__": {"x": 1}, "constructor": 2, "": 3}',
  '\t{ "a" : [ 1 , 2 ] ,\r\n"b":{"c":"\\\\"} }',
];
const broken = [
  "",
  " ",
  "{",
  "[1,]",
  "[,1]",
  "[1 2]",
  '{"a":1,}',
  '{,"a":1}',
  '{"a" 1}',
  '{"a":}',
  "{a:1}",
  "{1:1}",
  "01",
  "1.",
  ".5",
  "+1",
  "NaN",
  "tru",
  "nul",
  '"\n"',
  '"\\x"',
  '"abc',
  '"abc\\"',
  "[1]]",
  "[1}",
  '{"a":1]',
  "1 1",
  "\u00a0 1",
];

test.each(valid)("%j is read as by JSON.parse", async (text) => {
  const value = await parseJson(text, "file");
  expect(JSON.stringify(value)).toBe(JSON.stringify(JSON.parse(text)));
  expect(Object.getPrototypeOf(Object(value))).toBe(Object.getPrototypeOf(Object(JSON.parse(text))));
});

test("a string of megabytes is refused", async () => {
  expect(await parseJson(`["${"x".repeat(2 ** 20 - 1)}"]`, "file")).toHaveLength(1);
  await expectInvalid(parseJson(`["${"x".repeat(2 ** 20)}"]`, "file"), /a string of more than 1048576 characters/);
});

test.each(broken)("%j is refused, as by JSON.parse", async (text) => {
  expect(() => JSON.parse(text)).toThrow();
  await expectInvalid(parseJson(text, "file"), /^file: not JSON: expected .* at character \d+, found/);
});

test("what JSON.parse takes is taken, and nothing else, after random edits", async () => {
  const random = uniform(7);
  const at = (length: number) => Math.floor(((random() + 1) / 2) * length);
  const alphabet = '{}[]",:\\ \n0123456789.eE+-truefalsn\u0001';
  let taken = 0;
  for (let i = 0; i < 5000; i++) {
    let text = valid[at(valid.length)]!;
    for (let n = at(3); n >= 0; n--) {
      const position = at(text.length + 1);
      text = text.slice(0, position) + (at(2) ? alphabet[at(alphabet.length)] : "") + text.slice(position + at(2));
    }
    let expected: string | undefined;
    try {
      expected = JSON.stringify(JSON.parse(text));
    } catch {}
    const value = await parseJson(text, "file").then(JSON.stringify, (error: Error) => error);
    if (value instanceof Error && /duplicate key/.test(value.message)) continue;
    if (expected === undefined) expect(value).toMatchObject({ code: "CHECKPOINT_INVALID" });
    else expect(value).toBe(expected);
    taken += Number(expected !== undefined);
  }
  expect(taken).toBeGreaterThan(500);
});
