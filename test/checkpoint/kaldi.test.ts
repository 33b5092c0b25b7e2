import { describe, expect, it } from "vitest";
import { cmvnFromStats, readKaldiMatrix } from "../../lib/checkpoint/kaldi.js";
import { expectInvalid, scratch, writeIn } from "./files.js";

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
  it("are read as text", async () => {
    const { rows, cols, data } = await read(" [\n  1 -2.5 3e2 \n  0 .5 +7 ]\n");
    expect([rows, cols, [...data]]).toEqual([2, 3, [1, -2.5, 300, 0, 0.5, 7]]);
  });

  it.each(["FM ", "DM "] as const)("are read as binary %s", async (type) => {
    const { rows, cols, data } = await read(binary(type, 2, 3, [1, -2.5, 300, 0, 0.5, 7]));
    expect([rows, cols, [...data]]).toEqual([2, 3, [1, -2.5, 300, 0, 0.5, 7]]);
  });

  it.each<[string, Uint8Array | string, RegExp]>([
    ["no bracket", "1 2 3", /not a Kaldi matrix/],
    ["no closing bracket", "[ 1 2", /not a Kaldi matrix/],
    ["text behind", "[ 1 ] 2", /not a Kaldi matrix/],
    ["a word", "[ 1 two ]", /"two" is not a number/],
    ["hexadecimal", "[ 0x10 ]", /"0x10" is not a number/],
    ["nothing but a sign", "[ - ]", /"-" is not a number/],
    ["ragged rows", "[ 1 2\n3 ]", /row 1 has 1 numbers, row 0 has 2/],
    ["a compressed matrix", Buffer.from("\0BCM2............", "latin1"), /Kaldi type "CM2"/],
    ["a truncated matrix", binary("FM ", 2, 3, [1, 2, 3, 4, 5]), /says \[2, 3\] of 4 bytes each, but holds 20 bytes/],
    ["negative sizes", binary("FM ", -2, -3, [1, 2, 3, 4, 5, 6]), /says \[-2, -3\]/],
    ["a truncated header", Buffer.from("\0BFM \x04", "latin1"), /damaged Kaldi matrix header/],
    ["nothing", "", /not a Kaldi matrix/],
  ])("with %s are refused", (_, bytes, message) => expectInvalid(read(bytes), message));
});

describe("CMVN statistics", () => {
  const stats = (rows: number, cols: number, ...data: number[]) => ({ rows, cols, data: Float64Array.from(data) });

  it("give mean and inverse deviation", () => {
    // Four frames: 1, 3, 5, 7 (mean 4, variance 5) and always 2 (variance 0).
    const { mean, istd } = cmvnFromStats(stats(2, 3, 16, 8, 4, 84, 16, 0), "cmvn");
    expect([...mean]).toEqual([4, 2]);
    expect(istd[0]).toBeCloseTo(1 / Math.sqrt(5), 12);
    expect(istd[1]).toBe(2 ** 23);
  });

  it.each([
    ["one row", stats(1, 3, 1, 2, 3), /\[2, features \+ 1\], got \[1, 3\]/],
    ["no frames", stats(2, 2, 1, 0, 1, 0), /count above 0/],
    ["infinite sums", stats(2, 2, Infinity, 1, 1, 0), /finite/],
    ["an impossible variance", stats(2, 2, 4, 2, 1, 0), /variance of feature 0 is negative/],
  ] as const)("with %s are refused", async (_, matrix, message) => {
    await expectInvalid((async () => cmvnFromStats(matrix, "cmvn"))(), message);
  });
});
