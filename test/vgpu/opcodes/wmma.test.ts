// wmma.load, mma and store: every shape in every layout, with strides longer than the rows.
import { expect, test } from "vitest";
import { numbers, run, testPtxas } from "../support/ptx.js";
import { encode, f16, real } from "./reference.js";

type Layout = "row" | "col";
const layouts: Layout[] = ["row", "col"];
const shapes = [
  { m: 16, n: 16, k: 16 },
  { m: 32, n: 8, k: 16 },
  { m: 8, n: 32, k: 16 },
];
const types = {
  f16: { sum: "f32", bytes: 2, register: "r", least: -8, most: 8 },
  s8: { sum: "s32", bytes: 1, register: "r", least: -128, most: 127 },
  u8: { sum: "s32", bytes: 1, register: "r", least: 0, most: 255 },
} as const;
type Type = keyof typeof types;

const cases = shapes.flatMap((shape) =>
  (Object.keys(types) as Type[]).flatMap((type) =>
    layouts.flatMap((a) => layouts.flatMap((b) => layouts.map((c) => ({ ...shape, type, a, b, c })))),
  ),
);

test.each(cases)("wmma m$m n$n k$k $type: a by $a, b by $b, c by $c", ({ m, n, k, type, a, b, c }) => {
  const { sum, bytes, least, most } = types[type];
  const next = numbers(m + (a === "row" ? 1 : 0) + (b === "row" ? 2 : 0));
  const matrix = (rows: number, columns: number, low: number, high: number) =>
    Array.from({ length: rows }, () => Array.from({ length: columns }, () => low + (next() % (high - low + 1))));
  const [A, B, C] = [matrix(m, k, least, most), matrix(k, n, least, most), matrix(m, n, -1000, 1000)];
  // Each line of the layout is followed by a gap of 16 bytes; a, b and c are 4096 bytes apart.
  const bits = (x: number) => Number(encode(real(x < 0, BigInt(Math.abs(x))), f16));
  const input = new DataView(new ArrayBuffer(3 * 4096));
  const gap = 16 / bytes;
  const place = (
    values: number[][],
    layout: Layout,
    at: number,
    put: (at: number, x: number) => void,
    size: number,
    skip: number,
  ) => {
    const line = (layout === "row" ? values[0]!.length : values.length) + skip;
    for (const [i, row] of values.entries())
      for (const [j, x] of row.entries()) put(at + size * (layout === "row" ? i * line + j : j * line + i), x);
    return line;
  };
  const put = (at: number, x: number) =>
    type === "f16" ? input.setUint16(at, bits(x), true) : input.setUint8(at, x & 255);
  const putSum = (at: number, x: number) =>
    sum === "f32" ? input.setFloat32(at, x, true) : input.setInt32(at, x, true);
  const strideA = place(A, a, 0, put, bytes, gap);
  const strideB = place(B, b, 4096, put, bytes, gap);
  const strideC = place(C, c, 8192, putSum, 4, 4);
  const turned: Layout = c === "row" ? "col" : "row";
  const strideD = (turned === "row" ? n : m) + 8;
  const registers = (first: number, count: number, kind = "r") =>
    `{${Array.from({ length: count }, (_, i) => `%${kind}${first + i}`).join(", ")}}`;
  const words = (elements: number) => (type === "f16" ? 8 : (elements * bytes) / 128);
  const [ra, rb] = [registers(10, words(m * k)), registers(30, words(k * n))];
  const kind = sum === "f32" ? "f" : "r";
  const [rc, rd] = [registers(40, 8, kind), registers(50, 8, kind)];
  const shape = `m${m}n${n}k${k}`;
  const output = new Uint32Array(2048);
  run(
    `  wmma.load.a.sync.aligned.${a}.${shape}.global.${type} ${ra}, [%rd1], ${strideA};
  mov.u32 %r1, ${strideB};
  wmma.load.b.sync.aligned.${b}.${shape}.${type} ${rb}, [%rd1 + 4096], %r1;
  wmma.load.c.sync.aligned.${c}.${shape}.global.${sum} ${rc}, [%rd1 + 8192], ${strideC};
  wmma.mma.sync.aligned.${a}.${b}.${shape}.${type === "f16" ? "f32.f32" : `s32.${type}.${type}.s32`} ${rd}, ${ra}, ${rb}, ${rc};
  wmma.store.d.sync.aligned.${turned}.${shape}.global.${sum} [%rd2], ${rd}, ${strideD};`,
    { block: 32 },
    new Uint8Array(input.buffer),
    output,
  );
  const expected = new Uint32Array(2048);
  const word = (x: number) => (sum === "f32" ? new Uint32Array(Float32Array.of(x).buffer)[0]! : x);
  for (let i = 0; i < m; i++)
    for (let j = 0; j < n; j++) {
      const value = A[i]!.reduce((s, x, l) => s + x * B[l]![j]!, C[i]![j]!);
      expected[turned === "row" ? i * strideD + j : j * strideD + i] = word(value);
    }
  expect(output).toEqual(expected);
});

testPtxas();
