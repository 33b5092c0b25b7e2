// ld and st: values in memory in wider registers, and registers stored to narrower memory, in every state space.
import { expect, test } from "vitest";
import { type Case, edges, opcodes, type Register, random, rejects, rows } from "../support/opcode.js";

const { PtxModule } = await import("../support/device.js");

const u = BigInt.asUintN;
const widths = [16, 32, 64];
const types = ["b8", "u8", "s8", "b16", "u16", "s16", "b32", "u32", "s32", "f32", "b64", "u64", "s64", "f64"].map(
  (type) => ({ type, bits: Number(type.slice(1)), signed: type.startsWith("s") }),
);
type Type = (typeof types)[number];
const named = (type: string) => types.find((t) => t.type === type)!;
/** The allowed register widths of a type: its own width or wider. */
const registers = ({ bits }: Type) => widths.filter((w) => w >= bits);
const reg = (bits: number) => `b${bits}` as Register;
const results = ["%d", "%e", "%g", "%h"];

/** The value of a type at a byte offset in the 16 bytes b:a. */
const at = (a: bigint, b: bigint, offset: number, { bits }: Type) => u(bits, ((b << 64n) | a) >> BigInt(8 * offset));
/** The contents of a register of `width` bits after a load. */
const extended = (x: bigint, { bits, signed }: Type, width: number) => u(width, signed ? BigInt.asIntN(bits, x) : x);

const shared =
  ".shared .align 16 .b8 array[1024]; .reg .b32 %x, %y; mov.u32 %x, %tid.x; shl.b32 %x, %x, 4; mov.u32 %y, array; add.u32 %x, %x, %y;";
const local = ".local .align 16 .b8 own[16];";
/**
 * For each state space, instructions that compute an address of 16 bytes per lane, the address, and the suffix of the
 * space.
 */
const places = [
  { setup: "", address: "%in", space: ".global" },
  { setup: "", address: "%in", space: "" },
  { setup: shared, address: "%x", space: ".shared" },
  { setup: `${shared} .reg .b64 %z; cvt.u64.u32 %z, %x; cvta.shared.u64 %z, %z;`, address: "%z", space: "" },
  { setup: local, address: "own", space: ".local" },
  { setup: `${local} .reg .b64 %z; mov.u64 %z, own; cvta.local.u64 %z, %z;`, address: "%z", space: "" },
];
const values = rows([edges(64), edges(64)], [64, 64], 40);

function loads(t: Type, width: number, count: number, place: (typeof places)[number], how = ""): Case {
  const bytes = t.bits / 8;
  const first = count === 1 ? 16 - bytes : 0; // the last element of the 16 bytes, to test an offset
  const list = results.slice(0, count).join(", ");
  const vector = count === 1 ? "" : `.v${count}`;
  return {
    text:
      `${place.setup} st${place.space}.b64 [${place.address}], %a; st${place.space}.b64 [${place.address} + 8], %b;` +
      ` ld${how}${place.space}${vector}.${t.type} ${count === 1 ? list : `{${list}}`}, [${place.address} + ${first}];`,
    results: Array(count).fill(reg(width)),
    operands: ["b64", "b64"],
    rows: values,
    expect: (a, b) => Array.from({ length: count }, (_, i) => extended(at(a, b, first + i * bytes, t), t, width)),
  };
}

/** Stores over a background of ones, so that bytes that are not written show. */
function stores(t: Type, width: number, count: number, place: (typeof places)[number], how = ""): Case {
  const bits = BigInt(t.bits);
  const first = count === 1 ? 128n - bits : 0n;
  const list = ["%f", "%c", "%b", "%a"].slice(-count).reverse().join(", ");
  const vector = count === 1 ? "" : `.v${count}`;
  return {
    text:
      `${place.setup} st${place.space}.b64 [${place.address}], -1; st${place.space}.b64 [${place.address} + 8], -1;` +
      ` st${how}${place.space}${vector}.${t.type} [${place.address} + ${first / 8n}], ${count === 1 ? list : `{${list}}`};` +
      ` ld${place.space}.b64 %d, [${place.address}]; ld${place.space}.b64 %e, [${place.address} + 8];`,
    results: ["b64", "b64"],
    operands: Array(count === 1 ? 2 : Math.max(count, 2)).fill(reg(width)),
    rows: rows(Array(Math.max(count, 2)).fill(edges(width)), Array(Math.max(count, 2)).fill(width), 40),
    expect: (...row) => {
      let memory = (1n << 128n) - 1n;
      for (let i = 0; i < count; i++) {
        const to = first + BigInt(i) * bits;
        memory = (memory & ~(((1n << bits) - 1n) << to)) | (u(t.bits, row[i]!) << to);
      }
      return [u(64, memory), memory >> 64n];
    },
  };
}

opcodes(
  "loads and stores of one value",
  types.flatMap((t) =>
    registers(t).flatMap((width) => [loads(t, width, 1, places[0]!), stores(t, width, 1, places[0]!)]),
  ),
);
opcodes(
  "loads and stores of vectors",
  types.flatMap((t) =>
    [2, 4]
      .filter((count) => count * t.bits <= 128)
      .flatMap((count) => {
        const width = registers(t).at(-1)!;
        return [loads(t, width, count, places[0]!), stores(t, width, count, places[0]!)];
      }),
  ),
);
opcodes(
  "loads and stores in every state space",
  places.flatMap((place) =>
    [named("s8"), named("u16"), named("b64")].flatMap((t) => [
      loads(t, 64, 1, place),
      stores(t, 64, 1, place),
      loads(t, 64, 2, place),
      stores(t, 64, 2, place),
    ]),
  ),
);
opcodes(
  "ordered loads and stores",
  [
    [".weak", ".weak"],
    [".volatile", ".volatile"],
    [".relaxed.cta", ".release.cta"],
    [".acquire.gpu", ".release.sys"],
    [".acquire.cluster", ".relaxed.cluster"],
  ].flatMap(([load, store]) => [
    loads(named("s16"), 32, 1, places[0]!, load),
    stores(named("u8"), 32, 1, places[2]!, store),
  ]),
);
// Kernel parameters: the test's `lanes` parameter is also in a register.
opcodes(
  "loads of parameters",
  ["u8", "s8", "u16", "s16"].flatMap((type) =>
    [0, 2].map((offset): Case => {
      const { bits, signed } = named(type);
      return {
        text:
          `.reg .b32 %x, %y; ld.param.${type} %x, [lanes + ${offset}];` +
          ` bfe.${signed ? "s" : "u"}32 %y, %lanes, ${8 * offset}, ${bits}; setp.eq.u32 %d, %x, %y;` +
          " .reg .b64 %z, %w; .reg .b16 %q<4>; ld.param.b64 %z, [in]; ld.param.v4.b16 {%q0, %q1, %q2, %q3}, [in];" +
          " mov.b64 %w, {%q0, %q1, %q2, %q3}; setp.eq.u64 %e, %z, %w;",
        results: ["pred", "pred"],
        operands: ["b32"],
        rows: rows([[0n]], [32], 20),
        expect: () => [1n, 1n],
      };
    }),
  ),
);

test("arguments and results of functions", () => {
  // The function receives b:a and returns parts of it: extended to 64 bits, truncated, and as vectors.
  const ptx = `.version 8.5
.target sm_80
.address_size 64
.func (.param .align 16 .b8 out[32]) parts(.param .align 16 .b8 in[16]) {
  .reg .b64 %x, %y, %z; .reg .b16 %h<4>;
  ld.param.s8 %x, [in + 15];
  st.param.b64 [out], %x;
  ld.param.u16 %y, [in + 2];
  st.param.v2.b32 [out + 8], {%y, %x};
  ld.param.v2.b64 {%x, %y}, [in];
  st.param.b64 [out + 16], %y;
  ld.param.v4.b16 {%h0, %h1, %h2, %h3}, [in];
  st.param.v4.b16 [out + 24], {%h3, %h2, %h1, %h0};
  st.param.b8 [out + 31], %x;
  ret;
}
.visible .entry k(.param .u64 in, .param .u64 out) {
  .reg .b64 %in, %out, %at, %a, %b, %r<4>; .reg .b32 %t; .reg .pred %p;
  ld.param.u64 %in, [in];
  ld.param.u64 %out, [out];
  mov.u32 %t, %tid.x;
  mul.wide.u32 %at, %t, 16;
  add.u64 %in, %in, %at;
  mul.wide.u32 %at, %t, 32;
  add.u64 %out, %out, %at;
  ld.global.v2.b64 {%a, %b}, [%in];
  and.b32 %t, %t, 3;
  setp.eq.u32 %p, %t, 3;
  @%p bra end;
  {
    .param .align 16 .b8 argument[16];
    .param .align 16 .b8 result[32];
    st.param.v2.b64 [argument], {%a, %b};
    call (result), parts, (argument);
    ld.param.v2.b64 {%r0, %r1}, [result];
    ld.param.b64 %r2, [result + 16];
    ld.param.b64 %r3, [result + 24];
  }
  st.global.v2.b64 [%out], {%r0, %r1};
  st.global.v2.b64 [%out + 16], {%r2, %r3};
end:
  ret;
}
`;
  const next = random(5n);
  const input = BigUint64Array.from({ length: 128 }, next);
  const out = new BigUint64Array(256);
  new PtxModule(ptx).run("k", { block: 64 }, input, out);
  for (let thread = 0; thread < 64; thread++) {
    const [a, b] = [input[2 * thread]!, input[2 * thread + 1]!];
    const top = BigInt.asIntN(8, b >> 56n);
    const halves = [48n, 32n, 16n, 0n].map((n) => (a >> n) & 0xffffn);
    const turned = halves.reduce((all, half, i) => all | (half << BigInt(16 * i)), 0n);
    const expected = [u(64, top), ((a >> 16n) & 0xffffn) | (u(32, top) << 32n), b, u(56, turned) | (u(8, a) << 56n)];
    expect([...out.slice(4 * thread, 4 * thread + 4)]).toEqual(thread % 4 === 3 ? [0n, 0n, 0n, 0n] : expected);
  }
});

rejects("loads and stores that do not exist", [
  "ld.global.f32 %h0, [%d1];",
  "ld.global.u64 %r0, [%d1];",
  "ld.global.f16 %h0, [%d1];",
  "ld.global.v3.u32 {%r0, %r1, %r2}, [%d1];",
  "ld.global.v4.u64 {%d0, %d1, %d2, %d3}, [%d1];",
  "ld.global.v2.u32 {%r0, %r1, %r2}, [%d1];",
  "ld.global.v2.u32 %r0, [%d1];",
  "ld.release.gpu.global.u32 %r0, [%d1];",
  "ld.relaxed.global.u32 %r0, [%d1];",
  "ld.global.wb.u32 %r0, [%d1];",
  "ld.global.u32 %r0, %d1;",
  "ld.global.u32 [%d1], %r0;",
  "st.global.u32 %r0, [%d1];",
  "st.acquire.gpu.global.u32 [%d1], %r0;",
  "st.global.nc.u32 [%d1], %r0;",
  "st.const.u32 [%d1], %r0;",
  "st.global.u32 [%p], %r0;",
  "st.global.pred [%d1], %p;",
]);
