import { execFileSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { openSafetensors } from "../../../lib/checkpoint/formats/safetensors.js";
import { CaracalError } from "../../../lib/errors.js";
import { expectInvalid, safetensors, scratch, writeIn } from "../files.js";
import { fuzz, fuzzSeconds, opening } from "../fuzz.js";

const folder = scratch();
const open = (bytes: Uint8Array) => openSafetensors(writeIn(folder, "t.safetensors", bytes));
const f32 = (shape: unknown, begin: unknown, end: unknown) => ({ dtype: "F32", shape, data_offsets: [begin, end] });

const good = safetensors(
  {
    b: { dtype: "BF16", shape: [3], data_offsets: [8, 14] },
    __metadata__: { format: "pt", "with {braces}": '"quotes": \\' },
    a: f32([2, 1], 0, 8),
    empty: f32([0, 5], 14, 14),
    scalar: { dtype: "F8_E4M3", shape: [], data_offsets: [14, 15] },
  },
  Buffer.alloc(15),
);

describe("a safetensors file", () => {
  test("gives the dtype, shape and position of every tensor, and the metadata", async () => {
    const { entries, metadata } = await open(good);
    const start = good.length - 15;
    expect(metadata).toEqual({ format: "pt", "with {braces}": '"quotes": \\' });
    expect(
      entries.map(({ name, dtype, shape, offset, byteLength }) => [name, dtype, shape, offset - start, byteLength]),
    ).toEqual([
      ["a", "f32", [2, 1], 0, 8],
      ["b", "bf16", [3], 8, 6],
      ["empty", "f32", [0, 5], 14, 0],
      ["scalar", "f8e4m3", [], 14, 1],
    ]);
  });

  test.each<[string, object | string, number, RegExp]>([
    [
      "offsets past the end",
      { a: f32([4], 0, 16) },
      8,
      /tensor "a" ends at byte .*, but the file has .*; download it again/,
    ],
    ["overlapping tensors", { a: f32([2], 0, 8), b: f32([2], 4, 12) }, 12, /tensor "b" overlaps tensor "a"/],
    ["a gap", { a: f32([1], 0, 4), b: f32([1], 8, 12) }, 12, /tensor "b" leaves a gap of 4 bytes/],
    ["a gap at the start", { a: f32([1], 4, 8) }, 8, /tensor "a" leaves a gap of 4 bytes after the header/],
    ["trailing bytes", { a: f32([1], 0, 4) }, 5, /: 1 stray byte after tensor "a"/],
    [
      "a size that is not shape × dtype",
      { a: f32([3], 0, 8) },
      8,
      /tensor "a": f32 \[3\] takes 12 bytes, but .* span 8/,
    ],
    ["a negative dimension", { a: f32([-1, -2], 0, 8) }, 8, /tensor "a": shape "\[-1,-2\]"/],
    ["a fractional dimension", { a: f32([0.5], 0, 2) }, 2, /tensor "a": shape/],
    ["a dimension of 2^60", { a: f32([2 ** 60], 0, 8) }, 8, /tensor "a": shape/],
    [
      "dimensions whose product overflows",
      { a: f32(Array(40).fill(2 ** 50), 0, 8) },
      8,
      /tensor "a": shape .* too many/,
    ],
    ["a shape that is text", { a: f32("2", 0, 8) }, 8, /tensor "a": shape/],
    ["offsets in reverse", { a: f32([2], 8, 0) }, 8, /tensor "a": data_offsets/],
    ["three offsets", { a: { dtype: "F32", shape: [2], data_offsets: [0, 4, 8] } }, 8, /tensor "a": data_offsets/],
    ["a dtype that is not text", { a: { dtype: 4, shape: [], data_offsets: [0, 1] } }, 1, /dtype "4" is not a string/],
    ["half a byte", { a: { dtype: "F4", shape: [3], data_offsets: [0, 1] } }, 1, /f4 \[3\] takes 1\.5 bytes/],
    [
      "an unknown dtype with dimensions whose product overflows",
      { a: { dtype: "X", shape: Array(40).fill(2 ** 50), data_offsets: [0, 1] } },
      1,
      /too many elements/,
    ],
    ["an entry that is not an object", { a: 5 }, 0, /tensor "a": its header entry is not an object/],
    ["metadata that is not text", { __metadata__: { a: 1 } }, 0, /__metadata__ must map strings to strings/],
    ["a header that is a list", "[1]", 0, /expected the header to be a JSON object/],
    ["a header that is not JSON", "{", 0, /not JSON/],
    ["duplicate keys", '{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{}}', 1, /duplicate key "a"/],
    ["duplicate keys, one escaped", '{"\\u0061" : {}, "a":{}}', 0, /duplicate key "a"/],
    ["duplicate keys inside an entry", '{"a":{"dtype":"U8","dtype":"F32"}}', 0, /duplicate key "dtype"/],
    ["deep nesting", `{"a":{"dtype":${"[".repeat(1e5)}${"]".repeat(1e5)}}}`, 0, /nested deeper than 64 levels/],
    ["a prototype", '{"__proto__":{"dtype":"U8"}}', 0, /tensor "__proto__": shape/],
  ])("refuses %s", async (_, header, dataBytes, message) => {
    await expectInvalid(open(safetensors(header, Buffer.alloc(dataBytes))), message, /t\.safetensors/);
  });

  test.each([2n ** 60n, 2n ** 64n - 1n, BigInt(good.length - 7), 99_999_999n])(
    "refuses a header of %s bytes",
    (length) => {
      const bytes = Buffer.from(good);
      bytes.writeBigUInt64LE(length);
      return expectInvalid(open(bytes), /announces a header of .* bytes, but the file has/);
    },
  );

  test("may hold dtypes that no operation takes, and those of other software", async () => {
    const names = [
      "U32",
      "U16",
      "U64",
      "F8_E5M2",
      "F8_E8M0",
      "I8",
      "I16",
      "C64",
      "F4",
      "F6_E2M3",
      "F99",
      "constructor",
    ];
    const bytes = [8, 4, 16, 2, 2, 2, 4, 16, 1, 3, 5, 3];
    const header: Record<string, object> = {};
    let end = 0;
    for (const [i, dtype] of names.entries()) {
      const shape = dtype === "F6_E2M3" ? [4] : [2]; // so that it fills whole bytes
      header[dtype] = { dtype, shape, data_offsets: [end, end + bytes[i]!] };
      end += bytes[i]!;
    }
    const { entries } = await open(safetensors(header, Buffer.alloc(end)));
    expect(entries.map(({ name, dtype }) => [name, dtype])).toEqual([
      ["U32", "u32"],
      ["U16", "u16"],
      ["U64", "u64"],
      ["F8_E5M2", "f8e5m2"],
      ["F8_E8M0", "f8e8m0"],
      ["I8", "i8"],
      ["I16", "i16"],
      ["C64", "c64"],
      ["F4", "f4"],
      ["F6_E2M3", "f6e2m3"],
      ["F99", "F99"],
      ["constructor", "constructor"],
    ]);
    await expectInvalid(
      open(safetensors({ a: { dtype: "U32", shape: [2], data_offsets: [0, 4] } }, Buffer.alloc(4))),
      /u32 \[2\] takes 8 bytes/,
    );
  });

  test("with a long header lets the event loop turn while it is read", async () => {
    const header: Record<string, object> = {};
    for (let i = 0; i < 60_000; i++) header[`model.layers.${i}.weight`] = f32([1], 4 * i, 4 * i + 4);
    let turns = 0;
    const timer = setInterval(() => turns++, 1);
    const { entries } = await open(safetensors(header, Buffer.alloc(240_000)));
    clearInterval(timer);
    expect(entries).toHaveLength(60_000);
    expect(turns).toBeGreaterThan(5);
  });

  test("refuses text that is not UTF-8", () => {
    const bytes = Buffer.from(good);
    bytes[12] = 0xff;
    return expectInvalid(open(bytes), /expected UTF-8 text/);
  });

  test("refuses every truncation", async () => {
    for (let length = 0; length < good.length; length++) await expectInvalid(open(good.subarray(0, length)));
  });

  test("refuses a missing file, and a path that is not a regular file", async () => {
    await expectInvalid(openSafetensors(join(folder, "missing.safetensors")), /no such file/);
    mkdirSync(join(folder, "folder.safetensors"));
    await expectInvalid(
      openSafetensors(join(folder, "folder.safetensors")),
      /contains neither model\.safetensors\.index\.json nor a \.safetensors file/,
    );
    await expectInvalid(openSafetensors("/dev/zero"), /expected a regular file/);
    execFileSync("mkfifo", [join(folder, "fifo.safetensors")]);
    await expectInvalid(openSafetensors(join(folder, "fifo.safetensors")), /expected a regular file/);
  });

  test("stops when aborted", async () => {
    const path = writeIn(folder, "t.safetensors", good);
    const error = await openSafetensors(path, { signal: AbortSignal.abort("enough") }).catch((e) => e);
    expect(error).toBeInstanceOf(CaracalError);
    expect(error).toMatchObject({ code: "ABORTED", cause: "enough" });
  });

  test("survives random mutations", { timeout: 30_000 + 1000 * fuzzSeconds }, async () => {
    const open = opening(join(folder, "fuzz.safetensors"), async (file) => (await openSafetensors(file)).entries);
    const counts = await fuzz([good], open);
    expect(counts.opened).toBeGreaterThan(0);
    expect(counts.refused).toBeGreaterThan(100);
  });
});

describe("a sharded checkpoint", () => {
  const one = (name: string) => safetensors({ [name]: f32([1], 0, 4) }, Buffer.alloc(4));
  let next = 0;
  function directory(weightMap: unknown, shards: Record<string, Uint8Array>): string {
    const path = join(folder, `sharded-${next++}`);
    mkdirSync(path);
    for (const [name, bytes] of Object.entries(shards)) writeIn(path, name, bytes);
    writeIn(path, "model.safetensors.index.json", JSON.stringify({ metadata: {}, weight_map: weightMap }));
    return path;
  }

  test("is read as a whole, by its directory or its index", async () => {
    const shards = { "1.safetensors": one("a"), "2.safetensors": one("b") };
    const path = directory({ a: "1.safetensors", b: "2.safetensors" }, shards);
    for (const from of [path, join(path, "model.safetensors.index.json")]) {
      const { entries } = await openSafetensors(from);
      expect(entries.map(({ name, file }) => [name, file])).toEqual([
        ["a", join(path, "1.safetensors")],
        ["b", join(path, "2.safetensors")],
      ]);
    }
  });

  test.each<[string, unknown, Record<string, Uint8Array>, RegExp]>([
    ["a missing shard", { a: "1.safetensors" }, {}, /1\.safetensors: no such file/],
    [
      "a tensor that its shard does not contain",
      { a: "1.safetensors", x: "1.safetensors" },
      { "1.safetensors": one("a") },
      /tensor "x"/,
    ],
    [
      "a tensor in another shard",
      { a: "1.safetensors", b: "1.safetensors" },
      { "1.safetensors": one("a"), "2.safetensors": one("b") },
      /maps tensor "b" to "1\.safetensors", which does not contain it/,
    ],
    [
      "the same tensor in two shards",
      { a: "1.safetensors", b: "2.safetensors" },
      { "1.safetensors": one("a"), "2.safetensors": one("a") },
      /2\.safetensors: tensor "a" is in 1\.safetensors as well/,
    ],
    ["a path outside the folder", { a: "../t.safetensors" }, {}, /names the shard "\.\.\/t\.safetensors"/],
    ["an absolute path", { a: "/etc/x.safetensors" }, {}, /names the shard/],
    ["a shard name that is a number", { a: 5 }, {}, /names the shard "5"/],
    ["a weight map that is a list", [], {}, /expected an object with a `weight_map`/],
  ])("with %s is refused", (_, weightMap, shards, message) => {
    return expectInvalid(openSafetensors(directory(weightMap, shards)), message);
  });
});
