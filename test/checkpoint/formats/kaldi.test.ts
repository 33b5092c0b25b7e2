import { describe, expect, test } from "vitest";
import { readKaldiMatrix } from "../../../lib/checkpoint/formats/kaldi.js";
import { expectInvalid, scratch, writeIn } from "../files.js";

const folder = scratch();
const read = (bytes: Uint8Array | string) => readKaldiMatrix(writeIn(folder, "cmvn", bytes));

function binary(type: "FM " | "DM ", rows: number, cols: number, values: readonly number[]): Buffer {
  const head = Buffer.from(`\0B${type}\x04....\x04....`, "latin1");
  head.writeInt32LE(rows, 6);
  head.writeInt32LE(cols, 11);
  const data = type === "FM " ? Float32Array.from(values) : Float64Array.from(values);
  return Buffer.concat([head, Buffer.from(data.buffer)]);
}

describe("Kaldi matrices", () => {
  test("are read as text", async () => {
    const { rows, cols, data } = await read(" [\n  1 -2.5 3e2 \n  0 .5 +7 ]\n");
    expect([rows, cols, [...data]]).toEqual([2, 3, [1, -2.5, 300, 0, 0.5, 7]]);
  });

  test.each(["FM ", "DM "] as const)("are read as binary %s", async (type) => {
    const { rows, cols, data } = await read(binary(type, 2, 3, [1, -2.5, 300, 0, 0.5, 7]));
    expect([rows, cols, [...data]]).toEqual([2, 3, [1, -2.5, 300, 0, 0.5, 7]]);
  });

  test.each<[string, Uint8Array | string, RegExp]>([
    ["no bracket", "1 2 3", /not a Kaldi matrix/],
    ["no closing bracket", "[ 1 2", /not a Kaldi matrix/],
    ["text after the bracket", "[ 1 ] 2", /not a Kaldi matrix/],
    ["a word", "[ 1 two ]", /"two" is not a number/],
    ["hexadecimal", "[ 0x10 ]", /"0x10" is not a number/],
    ["nothing but a sign", "[ - ]", /"-" is not a number/],
    ["ragged rows", "[ 1 2\n3 ]", /row 1 has 1 number, row 0 has 2/],
    ["a compressed matrix", Buffer.from("\0BCM2............", "latin1"), /Kaldi type "CM2"/],
    ["a truncated matrix", binary("FM ", 2, 3, [1, 2, 3, 4, 5]), /says \[2, 3\] of 4 bytes each, but 20 bytes follow/],
    ["negative sizes", binary("FM ", -2, -3, [1, 2, 3, 4, 5, 6]), /says \[-2, -3\]/],
    ["a large file", Buffer.alloc(70_000, " "), /has 70000 bytes; expected a matrix of at most 65536/],
    ["a truncated header", Buffer.from("\0BFM \x04", "latin1"), /damaged Kaldi matrix header/],
    ["no content", "", /not a Kaldi matrix/],
  ])("with %s are refused", (_, bytes, message) => expectInvalid(read(bytes), message));
});
