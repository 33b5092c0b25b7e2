// shfl.sync, vote, match and redux with different operands in each lane, for whole and partial warps.
import { expect, test } from "vitest";
import { numbers, run, testPtxas } from "../support/ptx.js";

const masks = [0xffffffff, 0xa5c3f10e, 0x00000001, 0x7ffffffe];
const inside = (mask: number, lane: number) => ((mask >>> lane) & 1) === 1;
const all = Array.from({ length: 32 }, (_, lane) => lane);

/** Every lane in the mask runs the body on %r10, %r11 and %r12; the results are %r20 and %r21, initially ~0. */
function perLane(body: string, mask: number, operands: readonly (readonly number[])[]): number[][] {
  const input = Uint32Array.from(all.flatMap((lane) => [0, 1, 2, 3].map((i) => operands[i]?.[lane] ?? 0)));
  const out = new Uint32Array(128);
  run(
    `  shl.b64 %rd0, %rd0, 1;
  add.s64 %rd1, %rd1, %rd0;
  add.s64 %rd2, %rd2, %rd0;
  ld.global.v4.u32 {%r10, %r11, %r12, %r13}, [%rd1];
  mov.u32 %r20, -1;
  mov.u32 %r21, -1;
  mov.u32 %r1, ${mask};
  shr.u32 %r2, %r1, %r0;
  and.b32 %r2, %r2, 1;
  setp.ne.u32 %p1, %r2, 0;
  setp.ne.u32 %p3, %r13, 0;
  @!%p1 bra END;
${body}
END:
  st.global.v2.u32 [%rd2], {%r20, %r21};`,
    { block: 32 },
    input,
    out,
  );
  return all.map((lane) => [out[4 * lane]!, out[4 * lane + 1]!]);
}
const untouched = [0xffffffff, 0xffffffff];

// The pseudocode of the PTX ISA: the lane from which `lane` takes its value, and whether it is in range.
const source: Record<string, (lane: number, b: number, segment: number, last: number, first: number) => number> = {
  up: (lane, b) => lane - b,
  down: (lane, b) => lane + b,
  bfly: (lane, b) => lane ^ b,
  idx: (_, b, segment, __, first) => first | (b & ~segment),
};
test.each(Object.keys(source))("shfl.sync.%s", (mode) => {
  for (const [n, mask] of [...masks, ...masks].entries()) {
    const next = numbers(n + 1);
    const a = all.map(() => next() >>> 1);
    const b = all.map(() => next() & 31);
    const segments = [0, 0x10, 0x18, 0x1c, 0x1e, 0x1f, 0x15];
    const c = all.map(
      () => (segments[next() % segments.length]! << 8) | ((mode === "up" ? next() & 3 : next() | 0x10) & 31),
    );
    const got = perLane(
      `  shfl.sync.${mode}.b32 %r20|%p2, %r10, %r11, %r12, ${mask};\n  selp.b32 %r21, 1, 0, %p2;`,
      mask,
      [a, b, c],
    );
    for (const lane of all) {
      if (!inside(mask, lane)) {
        expect(got[lane]).toEqual(untouched);
        continue;
      }
      const segment = (c[lane]! >> 8) & 31;
      const last = (lane & segment) | (c[lane]! & 31 & ~segment);
      const j = source[mode]!(lane, b[lane]!, segment, last, lane & segment);
      const good = mode === "up" ? j >= last : j <= last;
      expect(got[lane]![1], `lane ${lane}`).toBe(Number(good));
      // The value of a lane outside the mask is undefined.
      const from = good ? j : lane;
      if (inside(mask, from)) expect(got[lane]![0], `lane ${lane}`).toBe(a[from]);
    }
  }
});

test("vote.sync, match.sync", () => {
  for (const [n, mask] of [...masks, ...masks].entries()) {
    const next = numbers(n + 20);
    const [values, flags] = [all.map(() => next() % 3), all.map(() => (n < 4 ? next() & 1 : 1))];
    const members = all.filter((lane) => inside(mask, lane));
    const bits = (f: (lane: number) => boolean) => members.reduce((m, l) => (f(l) ? (m | (1 << l)) >>> 0 : m), 0);
    const got = perLane(`  vote.sync.ballot.b32 %r20, %p3, ${mask};\n  match.any.sync.b32 %r21, %r10, ${mask};`, mask, [
      values,
      [],
      [],
      flags,
    ]);
    const ballot = bits((l) => flags[l] === 1);
    expect(got).toEqual(
      all.map((lane) => (inside(mask, lane) ? [ballot, bits((l) => values[l] === values[lane])] : untouched)),
    );
    const votes = perLane(
      `  vote.sync.all.pred %p4, %p3, ${mask};
  vote.sync.any.pred %p5, !%p3, ${mask};
  selp.b32 %r20, 1, 0, %p4;
  selp.b32 %r21, 1, 0, %p5;`,
      mask,
      [values, [], [], flags],
    );
    const every = members.every((l) => flags[l] === 1);
    expect(votes).toEqual(all.map((lane) => (inside(mask, lane) ? [Number(every), Number(!every)] : untouched)));
  }
});

const reductions: Record<string, (a: number, b: number) => number> = {
  "add.u32": (a, b) => (a + b) >>> 0,
  "min.u32": (a, b) => Math.min(a, b),
  "max.u32": (a, b) => Math.max(a, b),
  "min.s32": (a, b) => Math.min(a | 0, b | 0) >>> 0,
  "max.s32": (a, b) => Math.max(a | 0, b | 0) >>> 0,
  "and.b32": (a, b) => (a & b) >>> 0,
  "or.b32": (a, b) => (a | b) >>> 0,
  "xor.b32": (a, b) => (a ^ b) >>> 0,
};
test.each(Object.keys(reductions))("redux.sync.%s", (name) => {
  for (const [n, mask] of masks.entries()) {
    const next = numbers(n + 40);
    const values = all.map(() => next());
    const got = perLane(`  redux.sync.${name} %r20, %r10, ${mask};`, mask, [values]);
    const of = all.filter((lane) => inside(mask, lane)).map((lane) => values[lane]!);
    const result = of.reduce(reductions[name]!);
    expect(got).toEqual(all.map((lane) => (inside(mask, lane) ? [result, 0xffffffff] : untouched)));
  }
});

testPtxas();
