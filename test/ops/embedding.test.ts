import { describe, expect, test } from "vitest";
import {
  cast,
  concatRows,
  copyRows,
  embedding,
  gatherRows,
  maskRows,
  promptEmbedding,
  splitColumns,
  stepEmbedding,
} from "../../lib/ops/embedding.js";
import type { Device } from "../../lib/tensor/device.js";
import type { DType } from "../../lib/tensor/dtype.js";
import type { Tensor } from "../../lib/tensor/tensor.js";
import { allDevices, cuda, devices } from "../support/devices.js";
import { readGolden } from "../support/golden.js";
import { bf16, randomArray, relativeError, uniform } from "../support/numbers.js";

const error = (code: string) => expect.objectContaining({ code });

function randomIds(n: number, below: number, seed: number): Int32Array {
  const next = uniform(seed);
  return Int32Array.from({ length: n }, () => Math.floor(((next() + 1) / 2) * below));
}

describe.each(allDevices)("embedding on $name", (device) => {
  test.each([
    [1, 1, 1],
    [9, 33, 20],
    [50, 512, 7],
  ])("embedding of a [%i, %i] table with %i ids, every pair of dtypes", async (v, c, n) => {
    const values = randomArray(v * c, 1);
    const ids = randomIds(n, v, 2);
    const idTensor = device.tensor(ids, [n], "i32");
    for (const from of ["f32", "bf16"] as const)
      for (const outDtype of ["f32", "bf16"] as const) {
        const table = device.tensor(values, [v, c], from);
        const y = embedding(table, idTensor, { outDtype });
        expect([y.dtype, ...y.shape]).toEqual([outDtype, n, c]);
        const narrow = from === "bf16" || outDtype === "bf16";
        const want = Float32Array.from({ length: n * c }, (_, i) => {
          const value = values[ids[Math.floor(i / c)]! * c + (i % c)]!;
          return narrow ? bf16(value) : value;
        });
        expect(await y.toFloat32Array()).toEqual(want);
      }
  });

  test("ids of any shape; negative ids give zeros only when allowed", async () => {
    const table = device.tensor([1, 2, 3, 4, 5, 6], [3, 2]);
    const ids = device.tensor([2, -1, 0, -7], [2, 2], "i32");
    const y = embedding(table, ids, { allowNegative: true });
    expect(y.shape).toEqual([2, 2, 2]);
    expect(Array.from(await y.toFloat32Array())).toEqual([5, 6, 0, 0, 1, 2, 0, 0]);
    await expect(embedding(table, ids).read()).rejects.toThrowError(error("INDEX_OUT_OF_RANGE"));
    const past = device.tensor([0, 3], [2], "i32");
    await expect(embedding(table, past).read()).rejects.toThrowError(error("INDEX_OUT_OF_RANGE"));
    await expect(embedding(device.zeros([0, 2]), past).read()).rejects.toThrowError(error("INDEX_OUT_OF_RANGE"));
  });

  test("gatherRows takes every dtype and any rank", async () => {
    const bytes = Uint8Array.from({ length: 60 }, (_, i) => i);
    const y = gatherRows(device.tensor(bytes, [5, 3, 4], "u8"), device.tensor([4, 4, 1], [3], "i32"));
    expect(y.shape).toEqual([3, 3, 4]);
    expect(await y.read()).toEqual(
      Uint8Array.from([48, 48, 12].flatMap((s) => Array.from({ length: 12 }, (_, i) => s + i))),
    );
    const z = gatherRows(device.tensor(randomIds(8, 100, 3), [8], "i32"), device.tensor([7, 0], [2], "i32"));
    const all = randomIds(8, 100, 3);
    expect(await z.read()).toEqual(Int32Array.of(all[7]!, all[0]!));
  });

  test("the published prompt embedding", async () => {
    const golden = readGolden("omni_embedding");
    const { pad_id, audio_pad_id, image_pad_id } = golden.config as Record<string, number>;
    const table = (name: string, dtype: "f32" | "bf16") => {
      const { shape, values } = golden.tensor(`weight.${name}.weight`);
      return device.tensor(values, shape, dtype);
    };
    const books = [0, 1, 2, 3];
    for (const dtype of ["f32", "bf16"] as const)
      for (const outDtype of [undefined, "f32"] as const) {
        const y = promptEmbedding({
          textTable: table("embed_tokens", dtype),
          codecTables: books.map((k) => table(`audio_embeddings.${k}`, dtype)),
          textIds: device.tensor(golden.i32("input.input_ids"), golden.tensor("input.input_ids").shape, "i32"),
          codecIds: device.tensor(golden.i32("input.codec_ids"), golden.tensor("input.codec_ids").shape, "i32"),
          audioRows: device.tensor(golden.f32("input.audio_features"), golden.tensor("input.audio_features").shape),
          visionRows: device.tensor(golden.f32("input.vision_features"), golden.tensor("input.vision_features").shape),
          audioPadId: audio_pad_id,
          imagePadId: image_pad_id,
          padId: pad_id,
          outDtype,
        });
        const tolerance = y.dtype === "f32" ? 1e-6 : 4e-3; // one rounding to bf16
        expect(relativeError(await y.toFloat32Array(), golden.f32("expected.embeddings"))).toBeLessThan(tolerance);
      }
  });

  describe("prompt embedding of a small vocabulary", () => {
    const textTable = device.tensor(randomArray(10 * 19, 4), [10, 19]);
    const codecTables = [
      device.tensor(randomArray(6 * 19, 5), [6, 19]),
      device.tensor(randomArray(7 * 19, 6), [7, 19]),
    ];
    const prompt = (text: number[], codec: number[], rest: object = {}) =>
      promptEmbedding({
        textTable,
        codecTables,
        textIds: device.tensor(text, [text.length], "i32"),
        codecIds: device.tensor(codec, [text.length, 2], "i32"),
        ...rest,
      });

    test("faults surface on the read", async () => {
      await expect(prompt([10], [0, 0]).read()).rejects.toThrowError(error("INDEX_OUT_OF_RANGE"));
      await expect(prompt([-1], [0, 0]).read()).rejects.toThrowError(error("INDEX_OUT_OF_RANGE"));
      await expect(prompt([1], [6, 0]).read()).rejects.toThrowError(error("INDEX_OUT_OF_RANGE"));
      const audioRows = device.zeros([2, 19]);
      for (const text of [[9], [9, 9, 9], [1]])
        await expect(
          prompt(text, new Array(2 * text.length).fill(3), { audioRows, audioPadId: 9 }).read(),
        ).rejects.toThrowError(error("SHAPE_MISMATCH"));
      await expect(prompt([8], [3, 3], { imagePadId: 8 }).read()).rejects.toThrowError(error("SHAPE_MISMATCH"));
    });

    test("bad input is refused at once", () => {
      expect(() => prompt([1], [3, 3], { codecTables: [] })).toThrowError(error("SHAPE_MISMATCH"));
      expect(() => prompt([1], [3, 3], { audioRows: device.zeros([1, 18]), audioPadId: 9 })).toThrowError(
        error("SHAPE_MISMATCH"),
      );
      expect(() => prompt([1], [3, 3], { audioRows: device.zeros([1, 19]) })).toThrowError(error("INVALID_ARGUMENT"));
      expect(() => prompt([1], [3, 3], { outDtype: "f16" })).toThrowError(error("DTYPE_MISMATCH"));
      expect(() => prompt([1], [3, 3], { codecTables: [codecTables[0], device.zeros([7, 19], "bf16")] })).toThrowError(
        error("DTYPE_MISMATCH"),
      );
    });

    test("an empty prompt", async () => {
      expect((await prompt([], []).read()).length).toBe(0);
    });

    test("a step sums the ids that are not masked", async () => {
      const y = stepEmbedding({
        textTable,
        codecTables,
        textIds: device.tensor([3, -1, -1], [3], "i32"),
        codecIds: device.tensor([-1, 2, 5, 6, -1, -1], [3, 2], "i32"),
      });
      const [text, a, b] = await Promise.all([textTable, ...codecTables].map((t) => t.toFloat32Array()));
      const row = (t: Float32Array, id: number) => t.subarray(id * 19, (id + 1) * 19);
      const out = await y.toFloat32Array();
      expect(out.subarray(0, 19)).toEqual(row(text!, 3).map((v, i) => v + row(b!, 2)[i]!));
      expect(out.subarray(19, 38)).toEqual(row(a!, 5).map((v, i) => v + row(b!, 6)[i]!));
      expect(out.subarray(38)).toEqual(new Float32Array(19));
    });
  });

  test("concatRows stacks, splitColumns cuts, and they undo each other", async () => {
    const parts = [3, 0, 5].map((r, i) => device.tensor(randomArray(r * 21, 7 + i), [r, 21] as const));
    const whole = concatRows(parts);
    expect(whole.shape).toEqual([8, 21]);
    const values = await whole.toFloat32Array();
    expect(values).toEqual(
      Float32Array.from((await Promise.all(parts.map((p) => p.toFloat32Array()))).flatMap((a) => [...a])),
    );
    const pieces = splitColumns(whole, [1, 0, 16, 4]);
    expect(pieces.map((p) => p.shape)).toEqual([
      [8, 1],
      [8, 0],
      [8, 16],
      [8, 4],
    ]);
    const columns = await Promise.all(pieces.map((p) => p.toFloat32Array()));
    const rejoined = Array.from({ length: 8 }, (_, r) =>
      columns.flatMap((p, i) => [...p.subarray(r * pieces[i]!.shape[1]!, (r + 1) * pieces[i]!.shape[1]!)]),
    ).flat();
    expect(rejoined).toEqual([...values]);
  });

  test("concatRows and splitColumns refuse what does not fit", () => {
    const x = device.zeros([2, 6]);
    expect(() => concatRows([])).toThrowError(error("INVALID_ARGUMENT"));
    expect(() => concatRows([x, device.zeros([2, 5])] as never)).toThrowError(error("SHAPE_MISMATCH"));
    expect(() => concatRows([x, device.zeros([2, 6], "bf16")] as never)).toThrowError(error("DTYPE_MISMATCH"));
    expect(() => splitColumns(x, [2, 3])).toThrowError(error("SHAPE_MISMATCH"));
    expect(() => splitColumns(x, [2, 5])).toThrowError(error("INVALID_ARGUMENT"));
    expect(() => splitColumns(x, [7, -1])).toThrowError(error("INVALID_ARGUMENT"));
    expect(() => splitColumns(x, [2.5, 3.5])).toThrowError(error("INVALID_ARGUMENT"));
  });

  test("large concatRows, shared by the threads", async () => {
    const a = randomArray(300 * 1024, 10);
    const b = randomArray(77 * 1024, 11);
    const y = await concatRows([device.tensor(a, [300, 1024]), device.tensor(b, [77, 1024])]).toFloat32Array();
    expect(Buffer.compare(Buffer.from(y.buffer), Buffer.concat([Buffer.from(a.buffer), Buffer.from(b.buffer)]))).toBe(
      0,
    );
  });

  test("cast to and fro", async () => {
    const x = randomArray(1000, 12, 600);
    x.set([0, -0, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, Number.NaN, 1e-40, 65519, -65520, 448, 500], 0);
    const t = device.tensor(x, [1000]);
    for (const dtype of ["f32", "f16", "bf16", "f8e4m3"] as const) {
      const y = cast(t, dtype);
      expect(y.dtype).toBe(dtype);
      const scalar = device.tensor(x, [1000], dtype);
      expect(await y.toFloat32Array()).toEqual(await scalar.toFloat32Array());
      if (device.backend === "cpu") expect(await y.read()).toEqual(await scalar.read()); // a GPU's NaN has other bits
      expect(await cast(y, "f32").toFloat32Array()).toEqual(await y.toFloat32Array());
    }
    const ints = device.tensor([-5, 0, 16777217], [3], "i32");
    expect(Array.from(await cast(ints, "f32").read())).toEqual([-5, 0, 16777216]);
    expect(Array.from(await cast(device.tensor([0, 7, 255], [3], "u8"), "bf16").toFloat32Array())).toEqual([0, 7, 255]);
    expect(() => cast(t, "i32" as never)).toThrowError(error("DTYPE_MISMATCH"));
  });

  test("copyRows writes in place, in order with the other operations", async () => {
    const dst = device.zeros([6, 3]);
    const src = device.tensor([1, 2, 3, 4, 5, 6], [2, 3]);
    const before = gatherRows(dst, device.tensor([1], [1], "i32"));
    copyRows(dst, src, 1);
    copyRows(dst.slice(4, 6), src);
    expect(Array.from(await before.toFloat32Array())).toEqual([0, 0, 0]);
    expect(Array.from(await dst.toFloat32Array())).toEqual([0, 0, 0, 1, 2, 3, 4, 5, 6, 0, 0, 0, 1, 2, 3, 4, 5, 6]);
    copyRows(dst, dst.slice(1, 6)); // overlapping
    expect(Array.from(await dst.toFloat32Array())).toEqual([1, 2, 3, 4, 5, 6, 0, 0, 0, 1, 2, 3, 4, 5, 6, 4, 5, 6]);
    expect(() => copyRows(dst, src, 5)).toThrowError(error("INDEX_OUT_OF_RANGE"));
    expect(() => copyRows(dst, src, -1)).toThrowError(error("INDEX_OUT_OF_RANGE"));
    expect(() => copyRows(dst, device.zeros([1, 4]))).toThrowError(error("SHAPE_MISMATCH"));
    expect(() => copyRows(dst, device.zeros([1, 3], "bf16") as never)).toThrowError(error("DTYPE_MISMATCH"));
  });

  test("maskRows zeroes the padding of a batch", async () => {
    const x = randomArray(3 * 4 * 5, 13);
    const want = x.map((v, i) => (Math.floor(i / 5) % 4 < [4, 0, 3][Math.floor(i / 20)]! ? v : 0));
    expect(await maskRows(device.tensor(x, [3, 4, 5]), [4, 0, 3]).toFloat32Array()).toEqual(want);
    expect(await maskRows(device.tensor(x, [12, 5]), [4, 0, 3]).toFloat32Array()).toEqual(want);
    expect(() => maskRows(device.zeros([12, 5]), [5, 0, 3])).toThrowError(error("INVALID_ARGUMENT"));
    expect(() => maskRows(device.zeros([11, 5]), [1, 0, 3])).toThrowError(error("SHAPE_MISMATCH"));
    expect(() => maskRows(device.zeros([12, 5]), [])).toThrowError(error("INVALID_ARGUMENT"));
  });
});

describe.runIf(cuda)("embedding on CUDA alone, which is that of the CPU", () => {
  /** What `make` makes on the virtual GPU, twice, and on the CPU: the same values, zeros' signs included. */
  async function same(make: (device: Device) => Tensor | Tensor[]) {
    const read = async (device: Device) => Promise.all([make(device)].flat().map((t) => t.toFloat32Array()));
    const [once, twice, want] = [await read(cuda!), await read(cuda!), await read(devices[0]!)];
    want.forEach((values, i) => {
      for (const got of [once[i]!, twice[i]!]) {
        expect(got.length).toBe(values.length);
        expect(values.findIndex((v, j) => !Object.is(v, got[j]))).toBe(-1); // NaN may have other bits
      }
    });
  }
  const dtypes = ["f32", "f16", "bf16", "f8e4m3"] as const;

  test.each(dtypes)("every pattern of 16 bits as %s, of 8 bits in between", async (to) => {
    const patterns = Uint16Array.from({ length: 65536 }, (_, i) => i);
    const widened = new Float32Array(Uint32Array.from(patterns, (bits) => (bits << 16) | (bits & 0xff)).buffer);
    await same((device) => cast(device.tensor(widened, [65536]), to));
    await same((device) => cast(cast(device.tensor(widened, [65536]), "f16"), to));
    await same((device) => cast(cast(device.tensor(widened, [65536]), "f8e4m3"), to));
  });

  test.each([1, 3, 8, 16, 37, 2050, 4096])("views at odd addresses, rows of %i", async (c) => {
    const x = randomArray(11 * c, 20);
    const ids = randomIds(9, 10, 21);
    for (const dtype of dtypes)
      await same((device) => {
        const view = device.tensor(x, [11, c], dtype).slice(1, 11);
        const rows = device.tensor([0, ...ids], [10], "i32").slice(1, 10);
        const pieces = [c - Math.floor(c / 3), Math.floor(c / 3)];
        const out: Tensor[] = [
          gatherRows(view, rows),
          cast(view, "f32"),
          concatRows([view, device.tensor(x, [11, c], dtype)]),
          maskRows(view, [2, 0, 1, 2, 1]),
          ...splitColumns(view, pieces),
        ];
        if (dtype === "f32" || dtype === "bf16")
          out.push(
            embedding(view as Tensor<"f32" | "bf16", readonly [number, number]>, rows, {
              outDtype: dtype === "f32" ? "bf16" : "f32",
            }),
          );
        return out;
      });
  });

  test("more sequences than one launch masks", async () => {
    const lengths = Array.from({ length: 300 }, (_, i) => i % 3);
    await same((device) => maskRows(device.tensor(randomArray(600 * 5, 22), [600, 5]), lengths));
  });

  test.each([
    [1, 5, 8],
    [2500, 1, 16],
    [1100, 32, 21],
    [3, 4, 2056],
  ])("a prompt of %i positions, %i books, %i columns, with media", async (t, books, c) => {
    const text = randomIds(t, 12, 23); // 10 and 11 are the pads
    const codec = randomIds(t * books, 6, 24);
    const counts = [10, 11].map((pad) => text.filter((id) => id === pad).length);
    for (const [dtype, other] of [
      ["f32", "bf16"],
      ["bf16", "f32"],
    ] as DType[][] as ["f32" | "bf16", "f32" | "bf16"][])
      await same((device) =>
        promptEmbedding({
          textTable: device.tensor(randomArray(10 * c, 25), [10, c], dtype),
          codecTables: Array.from({ length: books }, (_, k) =>
            device.tensor(randomArray(6 * c, 26 + k), [6, c], dtype),
          ),
          textIds: device.tensor(text, [t], "i32"),
          codecIds: device.tensor(codec, [t, books], "i32"),
          audioRows: device.tensor(randomArray(counts[0]! * c, 60), [counts[0]!, c], dtype),
          visionRows: device.tensor(randomArray(counts[1]! * c, 61), [counts[1]!, c], other),
          audioPadId: 10,
          imagePadId: 11,
          outDtype: other,
        }),
      );
  });

  test("the errors are the CPU's", async () => {
    const message = async (t: Tensor) => await t.read().then(String, (e: Error) => e.message);
    const wrong = (device: Device) => {
      const table = device.zeros([4, 8]);
      const prompt = (text: number[], rest: object) =>
        promptEmbedding({
          textTable: table,
          codecTables: [device.zeros([5, 8])],
          textIds: device.tensor(text, [text.length], "i32"),
          codecIds: device.tensor(new Array(text.length).fill(1), [text.length, 1], "i32"),
          ...rest,
        });
      return [
        gatherRows(table, device.tensor([1, 2, 4, 0], [4], "i32")),
        prompt([1, -7], {}),
        prompt([3, 1, 9], { padId: 1, audioPadId: 9 }),
        prompt([9, 0, 9], { audioPadId: 9, audioRows: device.zeros([3, 8]) }),
        prompt([], { imagePadId: 9, visionRows: device.zeros([1, 8]) }),
      ];
    };
    const [mine, want] = await Promise.all([cuda!, devices[0]!].map((d) => Promise.all(wrong(d).map(message))));
    expect(mine).toEqual(want);
  });
});
