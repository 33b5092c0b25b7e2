import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { unpickle } from "../../../lib/checkpoint/formats/pickle.js";
import { openTorchArchive } from "../../../lib/checkpoint/formats/torch.js";
import { atOnce } from "../../../lib/turns.js";
import { turnsDuring } from "../../support/turns.js";
import { expectInvalid, scratch, writeIn, type ZipPart, zip } from "../files.js";
import { fuzz, fuzzSeconds, opening } from "../fuzz.js";

const folder = scratch();
const open = (bytes: Uint8Array) => openTorchArchive(writeIn(folder, "t.pt", bytes));
const fixture = JSON.parse(readFileSync(new URL("fixtures/state_dict.json", import.meta.url), "utf8"));
const pickles = Object.entries<string>(fixture).map(([protocol, text]) => [protocol, Buffer.from(text, "base64")]);
const reference = pickles[0]![1] as Buffer;

/** The fixture's storages: 20 floats, 2 bfloat16 and 1 int64. */
const storages = [20 * 4, 2 * 2, 8].map((bytes, i) => ({ name: `archive/data/${i}`, data: Buffer.alloc(bytes) }));
const version = { name: "archive/version", data: Buffer.from("3\n") };

function archive(pickle: Uint8Array, options: Parameters<typeof zip>[1] = {}, extra: ZipPart[] = []): Buffer {
  return zip([{ name: "archive/data.pkl", data: pickle }, ...storages, version, ...extra], options);
}

/** A pickle of protocol 2, from text and bytes. */
function pickle(...parts: (string | number[] | Buffer)[]): Buffer {
  const bytes = parts.map((part) => (typeof part === "string" ? Buffer.from(part, "latin1") : Buffer.from(part)));
  return Buffer.concat([Buffer.from("\x80\x02", "latin1"), ...bytes]);
}

const text = (value: string) => Buffer.concat([Buffer.from([0x58, value.length, 0, 0, 0]), Buffer.from(value)]);
const sizes = (values: number[]) =>
  Buffer.from(["(", ...values.map((v) => `K${String.fromCharCode(v)}`), "t"].join(""), "latin1");
const storage = (type = "torch\nFloatStorage", key = "0", elements = 20) =>
  Buffer.concat([
    Buffer.from("("),
    text("storage"),
    Buffer.from(`c${type}\n`),
    text(key),
    text("cpu"),
    Buffer.from(`K${String.fromCharCode(elements)}tQ`),
  ]);

/** `{"w": _rebuild_tensor_v2(storage, offset, shape, strides, False, None)}` */
function oneTensor(shape: number[], strides: number[], { offset = 0, from = storage() } = {}): Buffer {
  const arguments_ = [from, `K${String.fromCharCode(offset)}`, sizes(shape), sizes(strides), "\x89N"];
  return pickle("}", text("w"), "ctorch._utils\n_rebuild_tensor_v2\n(", ...arguments_, "tRs.");
}

describe("a torch archive", () => {
  test.each(pickles)("with pickle protocol %s opens, its state_dict unwrapped", async (_, bytes) => {
    const file = archive(bytes as Buffer);
    const entries = await open(file);
    const seen = entries.map(({ name, dtype, shape, byteLength }) => [name, dtype, shape, byteLength]);
    expect(seen).toEqual([
      ["linear.weight", "f32", [4, 3], 48],
      ["linear.bias", "f32", [4], 16],
      ["scale", "bf16", [], 2],
      ["steps", "i64", [1, 1], 8],
    ]);
    const [weight, bias, scale] = entries;
    expect(bias!.offset).toBe(weight!.offset + 48);
    expect(scale!.offset).toBe(file.indexOf("archive/data/1") + "archive/data/1".length + 4 + 2);
  });

  test("may be zip64, and may end in a comment", async () => {
    const described = async (file: Buffer) => (await open(file)).map(({ version: _, ...entry }) => entry);
    const plain = await described(archive(reference));
    expect(await described(archive(reference, { zip64: true }))).toEqual(plain);
    expect(await described(archive(reference, { comment: "PK\x05\x06 not the end" }))).toEqual(plain);
  });

  test("may hold tensors that begin inside their storage", async () => {
    const [entry] = await open(archive(oneTensor([2, 3], [3, 1], { offset: 5 })));
    expect(entry).toMatchObject({ name: "w", shape: [2, 3], byteLength: 24 });
  });
});

describe("the pickle reader builds only tensors, and refuses", () => {
  test.each<[string, Buffer, RegExp]>([
    ["os.system", pickle("cos\nsystem\n(", text("true"), "tR."), /byte 2: global "os\.system" is not allowed/],
    [
      "builtins.eval by protocol 4",
      Buffer.concat([
        Buffer.from([0x80, 4, 0x8c, 8]),
        Buffer.from("builtins"),
        Buffer.from([0x8c, 4]),
        Buffer.from("eval"),
        Buffer.from([0x93, 0x2e]),
      ]),
      /global "builtins\.eval" is not allowed/,
    ],
    [
      "another function of torch._utils",
      pickle("ctorch._utils\n_rebuild_sparse_tensor\n)R."),
      /_rebuild_sparse_tensor/,
    ],
    [
      "a dotted global",
      pickle("ccollections\nOrderedDict.fromkeys\n)R."),
      /global "collections\.OrderedDict\.fromkeys"/,
    ],
    [
      "REDUCE of a storage type",
      pickle("ctorch\nFloatStorage\n)R."),
      /calls torch\.FloatStorage, which is only allowed in a storage reference/,
    ],
    ["REDUCE of text", pickle(text("eval"), ")R."), /expected a global to call/],
    ["INST", pickle("(ios\nsystem\n."), /byte 3: opcode INST is not allowed/],
    ["OBJ", pickle("(o."), /byte 3: opcode OBJ is not allowed/],
    ["NEWOBJ", pickle(")\x81."), /byte 3: opcode NEWOBJ is not allowed/],
    ["EXT1", pickle("\x82\x01."), /byte 2: opcode EXT1/],
    ["PERSID", pickle("Px\n."), /opcode PERSID/],
    ["BYTEARRAY8", pickle("\x96."), /opcode BYTEARRAY8/],
    ["an opcode that does not exist", pickle("\xf0."), /opcode 0xf0/],
    ["BUILD of a plain dict", pickle("}}b."), /sets attributes of a plain dict/],
    ["BUILD of a tensor", pickle("N}b."), /expected an OrderedDict/],
    ["attributes that are not a dict", pickle("}Nb."), /expected a dict of attributes/],
    [
      "an OrderedDict with arguments",
      pickle("ccollections\nOrderedDict\n(]tR."),
      /OrderedDict is called with arguments/,
    ],
    ["protocol 0", Buffer.from("(dp0\n."), /does not begin with PROTO/],
    ["protocol 6", Buffer.from("\x80\x06N.", "latin1"), /pickle protocol 6; expected 2 to 5/],
    ["a tuple without a mark", pickle("t."), /pops to a mark, but none is open/],
    ["two values", pickle("NN."), /unbalanced stack/],
    ["an open mark", pickle("(N."), /unbalanced stack/],
    ["bytes after the end", pickle("}.N"), /bytes follow the end/],
    ["a value never memoized", pickle("h\x07."), /recalls value 7, which was never memoized/],
    ["a duplicate key", pickle("}(K\x01NK\x01Nu."), /duplicate key "1"/],
    ["a key without a value", pickle("}(Nu."), /a key without a value/],
    ["a key that is a list", pickle("}]Ns."), /a dict key that is neither a string nor a number/],
    ["text longer than the pickle", pickle("X\xff\xff\x0f\x00."), /truncated/],
    ["text of 4 GB", pickle("X\xff\xff\xff\xff."), /a string of 4294967295 bytes/],
    ["text of 2^63 bytes", pickle("\x8d\0\0\0\0\0\0\0\x80."), /truncated/],
    ["an integer of 2^62", pickle("\x8a\x08\x01\0\0\0\0\0\0\x40."), /the integer 4611686018427387905 is too large/],
    ["an integer of 255 bytes", pickle("\x8a\xff."), /an integer of 255 bytes/],
    ["a list of 65537 items", pickle("](", "N".repeat(65537), "e."), /65537 items at once; expected at most 65536/],
    ["endless nesting", pickle("(".repeat(5000), "."), /more than 256 open marks/],
    ["a value that is not a dict", pickle("N."), /contains no dict of tensors/],
  ])("%s", (_, bytes, message) => expectInvalid(open(archive(bytes)), message, /t\.pt/));

  test.each<[string, Buffer, RegExp]>([
    [
      "transposed",
      oneTensor([3, 4], [1, 3]),
      /tensor "w" \[3,4\] is not contiguous \(strides \[1,3\]\).*contiguous\(\)/,
    ],
    ["expanded", oneTensor([3, 4], [0, 1]), /not contiguous/],
    [
      "past its storage",
      oneTensor([5, 4], [4, 1], { offset: 1 }),
      /a tensor \["5,4"\] at 1 in a storage of 20 elements/,
    ],
    ["whose rank differs from that of its strides", oneTensor([5, 4], [1]), /offset, shape or strides/],
    ["of a huge rank", oneTensor(Array(65).fill(1), Array(65).fill(1)), /65 dimensions/],
    ["without a storage", oneTensor([1], [1], { from: Buffer.from("N") }), /expected a tensor's storage/],
    [
      "in a missing storage",
      oneTensor([1], [1], { from: storage(undefined, "9") }),
      /tensor "w": its storage .*9.* is missing/,
    ],
    [
      "in a storage outside the archive's data",
      oneTensor([1], [1], { from: storage(undefined, "../version") }),
      /missing/,
    ],
    [
      "in a storage of another size",
      oneTensor([1], [1], { from: storage(undefined, "1") }),
      /has 4 bytes, not 20 × f32/,
    ],
    [
      "in a storage of an unknown type",
      oneTensor([1], [1], { from: storage("torch\nComplexFloatStorage") }),
      /ComplexFloatStorage/,
    ],
    [
      "whose key is a number",
      pickle("}K\x05ctorch._utils\n_rebuild_tensor_v2\n(", storage(), "K\0))\x89NtRs."),
      /the key of a tensor is the number 5; expected a string/,
    ],
  ])("refuses a tensor %s", (_, bytes, message) => expectInvalid(open(archive(bytes)), message));

  test("more values than its limit", () => {
    return expectInvalid(open(archive(pickle(Buffer.alloc(2_000_000, "N"), "."))), /more than 1000000 values/);
  });
});

describe("the event loop has turns", () => {
  const opening = (bytes: Uint8Array) => turnsDuring(() => open(bytes));
  const counted = async (pickled: Buffer) => (await opening(archive(pickled))) - (await opening(archive(reference)));

  test("while values are unpickled, and while tensors are listed", async () => {
    const names = Array.from({ length: 3000 }, (_, i) => `w${i}`);
    const tensor = ["ctorch._utils\n_rebuild_tensor_v2\n(", storage(), "K\0", sizes([4, 3]), sizes([3, 1]), "\x89NtR"];
    const many = pickle("}", ...names.flatMap((name) => [text(name), ...tensor, "s"]), ".");
    expect(await open(archive(many))).toHaveLength(3000);
    expect(await counted(many)).toBeGreaterThan(3000); // one for each tensor, and some for their opcodes
    const values = pickle("}", text("list"), "](", "N".repeat(50_000), "es", text("w"), ...tensor, "s.");
    expect(await counted(values)).toBeGreaterThan(40); // one for a thousand opcodes
  });

  test("while the records of an archive are listed", async () => {
    const extra = Array.from({ length: 2000 }, (_, i) => ({ name: `archive/extra/${i}`, data: Buffer.alloc(0) }));
    const added = (await opening(archive(reference, {}, extra))) - (await opening(archive(reference)));
    expect(added).toBeGreaterThan(1900);
  });
});

describe("the zip reader", () => {
  const damaged = (change: (bytes: Buffer) => void) => {
    const bytes = archive(reference);
    change(bytes);
    return open(bytes);
  };
  const end = (bytes: Buffer) => bytes.length - 22;

  test.each<[string, () => Promise<unknown>, RegExp]>([
    [
      "compression",
      () => open(archive(reference, {}, [{ name: "x", data: Buffer.of(1), method: 8 }])),
      /"x" is compressed \(method 8\)/,
    ],
    [
      "encryption",
      () => open(archive(reference, {}, [{ name: "x", data: Buffer.of(1), flags: 1 }])),
      /"x" is encrypted/,
    ],
    ["a duplicate name", () => open(archive(reference, {}, [version])), /"archive\/version" appears twice/],
    [
      "70000 records",
      () => {
        const bytes = archive(reference, { zip64: true }, [{ name: "x", data: Buffer.alloc(80_000) }]);
        bytes.writeBigUInt64LE(70000n, end(bytes) - 20 - 56 + 32);
        return open(bytes);
      },
      /has 70000 zip records; expected at most 65536/,
    ],
    [
      "a directory of megabytes for few records",
      () => open(archive(reference, {}, [{ name: `archive/${"x".repeat(60_000)}`, data: Buffer.alloc(0) }])),
      /damaged zip: 6 records in 60\d+ bytes/,
    ],
    ["no data.pkl", () => open(zip([version])), /contains 0 data\.pkl/],
    [
      "two data.pkl",
      () => open(archive(reference, {}, [{ name: "b/data.pkl", data: reference }])),
      /contains 2 data\.pkl/,
    ],
    [
      "big-endian tensors",
      () => open(archive(reference, {}, [{ name: "archive/byteorder", data: Buffer.from("big") }])),
      /little-endian/,
    ],
    ["a directory past the end", () => damaged((b) => b.writeUInt32LE(0xfffffff0, end(b) + 16)), /central directory/],
    [
      "a wrong count",
      () => damaged((b) => b.writeUInt16LE(3, end(b) + 10)),
      /5 records, but the directory announces 3/,
    ],
    ["records that overlap", () => damaged((b) => b.writeUInt32LE(0, b.lastIndexOf("PK\x01\x02") + 42)), /damaged zip/],
    [
      "a record beyond its neighbour",
      () =>
        damaged((b) => {
          for (const at of [20, 24]) b.writeUInt32LE(1 << 30, b.indexOf("PK\x01\x02") + at);
        }),
      /"archive\/data\.pkl" extends past byte/,
    ],
    ["two sizes", () => damaged((b) => b.writeUInt32LE(7, b.indexOf("PK\x01\x02") + 20)), /its two sizes differ/],
    ["two names", () => damaged((b) => b.write("x", 30)), /disagree about its name/],
    ["padding into the next record", () => damaged((b) => b.writeUInt16LE(60000, 28)), /overlaps the next record/],
    [
      "the legacy torch format",
      () => open(Buffer.from("\x80\x02\x8a\x0al\xfc\x9c", "latin1")),
      /in the legacy torch format/,
    ],
    ["a file of another kind", () => open(Buffer.from("hello, this is text")), /not a torch archive/],
  ])("refuses %s", (_, run, message) => expectInvalid(run(), message));

  test("refuses every truncation", async () => {
    const bytes = archive(reference);
    for (let length = 0; length < bytes.length; length += 3) await expectInvalid(open(bytes.subarray(0, length)));
  });

  test("refuses a zip64 offset past the end", () => {
    const bytes = archive(reference, { zip64: true });
    bytes.writeBigUInt64LE(2n ** 60n, bytes.lastIndexOf("PK\x06\x06") + 48);
    return expectInvalid(open(bytes), /1152921504606846976 is beyond the file/);
  });
});

describe("random mutations", () => {
  test("of archives are survived", { timeout: 40_000 + 1000 * fuzzSeconds }, async () => {
    const whole = pickles.map(([, bytes]) => archive(bytes as Buffer, { zip64: bytes === reference }));
    const counts = await fuzz(whole, opening(join(folder, "fuzz.pt"), openTorchArchive));
    expect(counts.opened).toBeGreaterThan(0);
    expect(counts.refused).toBeGreaterThan(100);
  });

  test("of pickles are survived", { timeout: 40_000 + 1000 * fuzzSeconds }, async () => {
    const seeds = [...pickles.map(([, bytes]) => bytes as Buffer), oneTensor([2, 3], [3, 1])];
    const counts = await fuzz(seeds, (bytes) => void atOnce(unpickle(bytes, "fuzz.pt")));
    expect(counts.opened).toBeGreaterThan(0);
    expect(counts.refused).toBeGreaterThan(1000);
  });
});
