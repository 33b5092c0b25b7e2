import { expect, test } from "vitest";
import { readText } from "../../../lib/checkpoint/formats/file.js";
import { expectInvalid, scratch, writeIn } from "../files.js";

const folder = scratch();
const piece = 2 ** 20;

test.each(["", "\u{1F408}", `${"x".repeat(piece - 1)}\u4f60`, `${"x".repeat(piece)}\u4f60`, "\u4f60".repeat(piece)])(
  "text is read whole, whatever characters its pieces divide (%#)",
  async (text) => {
    const path = writeIn(folder, "text", text);
    expect((await readText(path, 4 * piece)) === text).toBe(true);
  },
);

test.each<[string, Buffer]>([
  ["a character that ends early", Buffer.from("x\u4f60").subarray(0, -1)],
  ["one that ends early at the end of a piece", Buffer.from(`${"x".repeat(piece - 2)}\u4f60`).subarray(0, -1)],
  ["a broken byte in the second piece", Buffer.concat([Buffer.alloc(piece, "x"), Buffer.of(0xff)])],
])("text with %s is refused", async (_, bytes) => {
  await expectInvalid(readText(writeIn(folder, "text", bytes), 4 * piece), /expected UTF-8 text/);
});

test("text that is too long is refused", async () => {
  await expectInvalid(readText(writeIn(folder, "text", "abc"), 2), /has 3 bytes; expected at most 2 of text/);
});
