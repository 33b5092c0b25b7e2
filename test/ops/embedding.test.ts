import { describe, expect, test } from "vitest";
import { embedding, promptEmbedding, stepEmbedding } from "../../lib/ops/embedding.js";
import type { DType } from "../../lib/tensor/dtype.js";
import { allDevices, cuda } from "../support/devices.js";
import { code } from "../support/errors.js";
import { readGolden } from "../support/golden.js";
import { bf16, randomArray, randomIds, relativeError } from "../support/numbers.js";
import { expectSameAsCpu, expectSameErrors } from "../support/sameAsCpu.js";

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
    await expect(embedding(table, ids).read()).rejects.toThrowError(code("INDEX_OUT_OF_RANGE"));
    const past = device.tensor([0, 3], [2], "i32");
    await expect(embedding(table, past).read()).rejects.toThrowError(code("INDEX_OUT_OF_RANGE"));
    await expect(embedding(device.zeros([0, 2]), past).read()).rejects.toThrowError(code("INDEX_OUT_OF_RANGE"));
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
      await expect(prompt([10], [0, 0]).read()).rejects.toThrowError(code("INDEX_OUT_OF_RANGE"));
      await expect(prompt([-1], [0, 0]).read()).rejects.toThrowError(code("INDEX_OUT_OF_RANGE"));
      await expect(prompt([1], [6, 0]).read()).rejects.toThrowError(code("INDEX_OUT_OF_RANGE"));
      const audioRows = device.zeros([2, 19]);
      for (const text of [[9], [9, 9, 9], [1]])
        await expect(
          prompt(text, new Array(2 * text.length).fill(3), { audioRows, audioPadId: 9 }).read(),
        ).rejects.toThrowError(code("SHAPE_MISMATCH"));
      await expect(prompt([8], [3, 3], { imagePadId: 8 }).read()).rejects.toThrowError(code("SHAPE_MISMATCH"));
    });

    test("bad input is refused at once", () => {
      expect(() => prompt([1], [3, 3], { codecTables: [] })).toThrowError(code("SHAPE_MISMATCH"));
      expect(() => prompt([1], [3, 3], { audioRows: device.zeros([1, 18]), audioPadId: 9 })).toThrowError(
        code("SHAPE_MISMATCH"),
      );
      expect(() => prompt([1], [3, 3], { audioRows: device.zeros([1, 19]) })).toThrowError(code("INVALID_ARGUMENT"));
      expect(() => prompt([1], [3, 3], { outDtype: "f16" })).toThrowError(code("DTYPE_MISMATCH"));
      expect(() => prompt([1], [3, 3], { codecTables: [codecTables[0], device.zeros([7, 19], "bf16")] })).toThrowError(
        code("DTYPE_MISMATCH"),
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

  test("misspelt options are named", () => {
    const [table, ids] = [device.zeros([3, 2]), device.zeros([1], "i32")];
    expect(() => embedding(table, ids, { outDType: "bf16" } as never)).toThrowError(
      /"outDType": did you mean "outDtype"/,
    );
    const inputs = { textTable: table, codecTables: [], textIds: ids, codecIds: device.zeros([1, 0], "i32") };
    expect(() => promptEmbedding({ ...inputs, padid: 3 } as never)).toThrowError(/"padid": did you mean "padId"/);
    expect(() => stepEmbedding({ ...inputs, padId: 3 } as never)).toThrowError(/stepEmbedding has no option "padId"/);
  });
});

describe.runIf(cuda)("embedding on CUDA alone, compared with the CPU", () => {
  test.each([1, 3, 8, 16, 37, 2050, 4096])("tables at odd addresses, rows of %i", async (c) => {
    const x = randomArray(11 * c, 20);
    const ids = randomIds(9, 10, 21);
    for (const [dtype, outDtype] of [
      ["f32", "bf16"],
      ["bf16", "f32"],
    ] as const)
      await expectSameAsCpu((device) => {
        const view = device.tensor(x, [11, c] as const, dtype).slice(1, 11);
        const rows = device.tensor([0, ...ids], [10], "i32").slice(1, 10);
        return embedding(view, rows, { outDtype });
      });
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
      await expectSameAsCpu((device) =>
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
    await expectSameErrors((device) => {
      const prompt = (text: number[], rest: object) =>
        promptEmbedding({
          textTable: device.zeros([4, 8]),
          codecTables: [device.zeros([5, 8])],
          textIds: device.tensor(text, [text.length], "i32"),
          codecIds: device.tensor(new Array(text.length).fill(1), [text.length, 1], "i32"),
          ...rest,
        });
      return [
        prompt([1, -7], {}),
        prompt([3, 1, 9], { padId: 1, audioPadId: 9 }),
        prompt([9, 0, 9], { audioPadId: 9, audioRows: device.zeros([3, 8]) }),
        prompt([], { imagePadId: 9, visionRows: device.zeros([1, 8]) }),
      ];
    });
  });
});
