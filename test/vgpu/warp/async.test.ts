// cp.async, its groups, and mbarrier.
import { expect, test } from "vitest";
import { deviceWith } from "../support/modes.js";
import { kernel, lanes, numbers, remember, run, testPtxas } from "../support/ptx.js";

const words = (n: number) => {
  const next = numbers(n);
  return Uint32Array.from({ length: n }, next);
};

/** %r10: this lane's 16 bytes of shared memory; %rd10: its 16 bytes of the input. Returns the 16 bytes. */
function copied(body: string, options: { block?: number; tail?: string } = {}) {
  const input = words(32 * 4);
  const out = new Uint32Array(32 * 4);
  run(
    `  shl.b32 %r1, %r0, 4;
  mov.u32 %r10, buffer;
  add.u32 %r10, %r10, %r1;
  mul.wide.u32 %rd3, %r1, 1;
  add.s64 %rd10, %rd1, %rd3;
  add.s64 %rd11, %rd2, %rd3;
  st.shared.v4.u32 [%r10], {0x11111111, 0x22222222, 0x33333333, 0x44444444};
${body}
  ld.shared.v4.u32 {%r20, %r21, %r22, %r23}, [%r10];
  st.global.v4.u32 [%rd11], {%r20, %r21, %r22, %r23};
${options.tail ?? ""}`,
    { block: options.block ?? 32 },
    input,
    out,
    { shared: 1024 },
  );
  return { input, out };
}
const before = [0x11111111, 0x22222222, 0x33333333, 0x44444444];
const each = (f: (lane: number, word: number) => number) =>
  Uint32Array.from({ length: 128 }, (_, i) => f(i >> 2, i & 3));

test.each([4, 8, 16])("cp.async of %i bytes", (size) => {
  for (const how of size === 16 ? ["ca", "cg", "cg.shared::cta", "cg.L2"] : ["ca"]) {
    const [level, space = "shared"] = how.split(".");
    const hint = space === "L2" ? ".L2::128B" : "";
    const { input, out } = copied(
      `  cp.async.${level}.${space === "L2" ? "shared" : space}.global${hint} [%r10], [%rd10], ${size};\n  cp.async.wait_all;`,
    );
    expect(out, how).toEqual(each((l, w) => (4 * w < size ? (input[4 * l + w] as number) : (before[w] as number))));
  }
});

test("cp.async with a cache policy", () => {
  const { input, out } = copied(
    "  mov.u64 %rd5, 0;\n  cp.async.ca.shared.global.L2::cache_hint [%r10], [%rd10], 4, %rd5;\n  cp.async.wait_all;",
  );
  expect(out).toEqual(each((l, w) => (w === 0 ? (input[4 * l] as number) : (before[w] as number))));
});

test("src-size: the remaining bytes are zeros and are not read", () => {
  // Lane l reads l % 17 bytes; the last lane has nothing to read beyond its own.
  const { input, out } = copied(`  rem.u32 %r5, %r0, 17;
  cp.async.cg.shared.global [%r10], [%rd10], 16, %r5;
  cp.async.wait_all;`);
  const bytes = new Uint8Array(input.buffer).map((x, i) => (i % 16 < (i >> 4) % 17 ? x : 0));
  expect(out).toEqual(new Uint32Array(bytes.buffer));
});

test("src-size 0 reads nothing, even outside all allocations", () => {
  const { out } = copied(
    "  mov.u64 %rd10, 0;\n  cp.async.cg.shared.global [%r10], [%rd10], 16, 0;\n  cp.async.wait_all;",
  );
  expect(out).toEqual(new Uint32Array(128));
});

test("ignore-src", () => {
  const { input, out } = copied(`  setp.lt.u32 %p1, %r0, 11;
  cp.async.cg.shared.global [%r10], [%rd10], 16, %p1;
  cp.async.wait_all;`);
  expect(out).toEqual(each((l, w) => (l < 11 ? 0 : (input[4 * l + w] as number))));
});

test("groups: a wait completes all but the last groups of each thread, and no copy completes earlier", () => {
  // Word w is copied by group w; the last group is not committed.
  const four = (commit: string) =>
    [0, 1, 2, 3]
      .map(
        (w) => `  cp.async.ca.shared.global [%r10 + ${4 * w}], [%rd10 + ${4 * w}], 4;${w < 3 ? `\n  ${commit}` : ""}`,
      )
      .join("\n");
  for (const pending of [0, 1, 2, 3]) {
    const { input, out } = copied(`${four("cp.async.commit_group;")}\n  cp.async.wait_group ${pending};`, {
      tail: "  cp.async.wait_all;",
    });
    expect(out, `${pending}`).toEqual(each((l, w) => (w < 3 - pending ? (input[4 * l + w] as number) : 0xffffffff)));
  }
  // Odd lanes commit less often, so their groups are longer.
  const odd = `  and.b32 %r5, %r0, 1;
  setp.eq.u32 %p1, %r5, 0;
  cp.async.ca.shared.global [%r10], [%rd10], 4;
  @%p1 cp.async.commit_group;
  cp.async.ca.shared.global [%r10 + 4], [%rd10 + 4], 4;
  cp.async.commit_group;
  cp.async.ca.shared.global [%r10 + 8], [%rd10 + 8], 4;
  cp.async.commit_group;
  cp.async.wait_group 1;`;
  const { input, out } = copied(odd, { tail: "  cp.async.wait_all;" });
  expect(out).toEqual(each((l, w) => (w < 2 ? (input[4 * l + w] as number) : w === 2 ? 0xffffffff : 0x44444444)));
});

test("the source is read when the copy completes", () => {
  const input = new Uint32Array([1]);
  const out = new Uint32Array(1);
  const body = `  mov.u32 %r10, buffer;
  cp.async.ca.shared.global [%r10], [%rd1], 4;
  st.global.u32 [%rd1], 2;
  cp.async.wait_all;
  ld.shared.u32 %r1, [%r10];
  st.global.u32 [%rd2], %r1;`;
  run(body, { block: 1 }, input, out);
  expect(out[0]).toBe(2);
});

test("copies that are never waited for are reported", () => {
  expect(() => copied("  cp.async.cg.shared.global [%r10], [%rd10], 16;\n  cp.async.commit_group;")).toThrow(
    /memcheck: the block ends while cp\.async copies/,
  );
});

test("the report names the block and the thread of the copies", () => {
  const body = `  mov.u32 %r10, buffer;
  mov.u32 %r1, %ctaid.x;
  mov.u32 %r2, %ctaid.y;
  mad.lo.u32 %r3, %r2, 10, %r1;
  setp.eq.u32 %p1, %r3, 12;
  setp.eq.and.u32 %p1, %r0, 37, %p1;
  cp.async.ca.shared.global [%r10], [%rd1], 4;
  @!%p1 cp.async.wait_all;`;
  const one = new Uint32Array(1);
  expect(() => run(body, { grid: [3, 2, 1], block: 64 }, one, one)).toThrow(/block \(2,1,0\).*thread \(37,0,0\)/);
});

test("cp.async is checked like any access", () => {
  expect(() => copied("  add.s64 %rd10, %rd10, 4;\n  cp.async.cg.shared.global [%r10], [%rd10], 16;")).toThrow(
    /source of cp.async is not a multiple of 16/,
  );
  expect(() => copied("  add.u32 %r10, %r10, 4;\n  cp.async.ca.shared.global [%r10], [%rd10], 8;")).toThrow(
    /not a multiple of 8/,
  );
  expect(() => copied("  add.s64 %rd10, %rd10, 64;\n  cp.async.cg.shared.global [%r10], [%rd10], 16;")).toThrow(
    /global read of 16 bytes.*thread \(28,0,0\)/s,
  );
  expect(() => copied("  add.u32 %r10, %r10, 1008;\n  cp.async.cg.shared.global [%r10], [%rd10], 16;")).toThrow(
    /shared write of 16 bytes/,
  );
  expect(() => copied("  mov.u32 %r5, 20;\n  cp.async.cg.shared.global [%r10], [%rd10], 16, %r5;")).toThrow(
    /src-size of 20/,
  );
});

/** The state of a copy after it is issued, and after its group is committed; there is no wait. */
async function unwaited(mode: Record<string, string>): Promise<string> {
  const { PtxModule } = await deviceWith(mode);
  const look = (at: number) => `  ld.shared.u32 %r1, [%r10];\n  st.global.u32 [%rd2 + ${at}], %r1;\n`;
  const ptx = kernel(`  mov.u32 %r10, buffer;
  st.shared.u32 [%r10], 5;
  cp.async.ca.shared.global [%r10], [%rd1], 4;
${look(0)}  cp.async.commit_group;
${look(4)}  cp.async.wait_all;`);
  remember(ptx, "sm_80");
  const out = new Uint32Array(2);
  new PtxModule(ptx).run("k", { block: 1 }, new Uint32Array([77]), out);
  return Array.from(out, (x) => (x === 77 ? "complete" : x === 0xffffffff ? "pending" : x)).join(", ");
}

test("copies complete early or late, as configured", async () => {
  expect(await unwaited({ CARACAL_VGPU_ASYNC: "early" })).toBe("complete, complete");
  expect(await unwaited({ CARACAL_VGPU_ASYNC: "late" })).toBe("pending, pending");
  const seen = new Set<string>();
  for (let seed = 1; seed <= 24; seed++)
    seen.add(await unwaited({ CARACAL_VGPU_ASYNC: "random", CARACAL_VGPU_SEED: `${seed}` }));
  expect([...seen].sort()).toEqual(["complete, complete", "pending, complete", "pending, pending"]);
});

// --- mbarrier ---------------------------------------------------------------------------------------------------------

/** Runs one thread and returns the words that it stores to [%rd2]. */
function alone(body: string, results = 8): number[] {
  const out = new Uint32Array(results);
  run(`  mov.u32 %r10, buffer;\n${body}`, { block: 1 }, new Uint32Array(4), out, { shared: 64 });
  return Array.from(out);
}
const test_ = (state: string, at: number) => `  mbarrier.test_wait.shared.b64 %p1, [%r10], ${state};
  selp.u32 %r1, 1, 0, %p1;
  st.global.u32 [%rd2 + ${4 * at}], %r1;`;
const parity = (p: number, at: number) => `  mbarrier.test_wait.parity.shared.b64 %p1, [%r10], ${p};
  selp.u32 %r1, 1, 0, %p1;
  st.global.u32 [%rd2 + ${4 * at}], %r1;`;

test("mbarrier: a phase completes with its last arrival", () => {
  expect(
    alone(`  mbarrier.init.shared.b64 [%r10], 2;
${parity(1, 0)}
  mbarrier.arrive.shared.b64 %rd5, [%r10];
  mbarrier.pending_count.b64 %r2, %rd5;
  st.global.u32 [%rd2 + 4], %r2;
${test_("%rd5", 2)}
  mbarrier.arrive.shared::cta.b64 %rd6, [%r10];
  mbarrier.pending_count.b64 %r2, %rd6;
  st.global.u32 [%rd2 + 12], %r2;
${test_("%rd5", 4)}
${parity(0, 5)}
${parity(1, 6)}
  mbarrier.arrive.shared.b64 %rd7, [%r10];
${test_("%rd7", 7)}`),
  ).toEqual([1, 2, 0, 1, 1, 1, 0, 0]);
});

test("mbarrier.arrive.noComplete and arrive_drop", () => {
  expect(
    alone(
      `  mbarrier.init.shared.b64 [%r10], 5;
  mbarrier.arrive.noComplete.shared.b64 %rd5, [%r10], 3;
  mbarrier.arrive_drop.shared.b64 %rd6, [%r10];
  mbarrier.pending_count.b64 %r2, %rd6;
  st.global.u32 [%rd2], %r2;
${test_("%rd5", 1)}
  mbarrier.arrive.shared.b64 _, [%r10];
${test_("%rd5", 2)}
  mbarrier.arrive.noComplete.release.cta.shared.b64 %rd7, [%r10], 3;
  mbarrier.pending_count.b64 %r2, %rd7;
  st.global.u32 [%rd2 + 12], %r2;
${test_("%rd7", 4)}
  mbarrier.arrive.shared.b64 %rd8, [%r10];
${test_("%rd7", 5)}
  mbarrier.inval.shared.b64 [%r10];`,
      6,
    ),
  ).toEqual([2, 0, 1, 4, 0, 1]); // the second phase expects one arrival fewer
});

test("misuse of an mbarrier", () => {
  const init = "  mbarrier.init.shared.b64 [%r10], 1;\n";
  expect(() => alone("  mbarrier.arrive.shared.b64 %rd5, [%r10];")).toThrow(
    /synccheck: mbarrier: no object at this address/,
  );
  expect(() => alone(`${init}  mbarrier.inval.shared.b64 [%r10];\n  mbarrier.arrive.shared.b64 %rd5, [%r10];`)).toThrow(
    /no object at this address/,
  );
  expect(() => alone("  mbarrier.init.shared.b64 [%r10], 0;")).toThrow(/count 0 is/);
  expect(() => alone("  mbarrier.init.shared.b64 [%r10], 1048576;")).toThrow(/count 1048576 is/);
  expect(() => alone(`${init}  mbarrier.arrive.noComplete.shared.b64 %rd5, [%r10], 1;`)).toThrow(
    /noComplete completes/,
  );
  expect(() => alone(`${init}  mbarrier.arrive.noComplete.shared.b64 %rd5, [%r10], 2;`)).toThrow(
    /2 arrivals, but only 1 of 1/,
  );
  expect(() => alone("  add.u32 %r10, %r10, 4;\n  mbarrier.init.shared.b64 [%r10], 1;")).toThrow(/not a multiple of 8/);
});

test.each([
  ["", 33], // the arrivals of copies do not count
  [".noinc", 64 + 1],
])("cp.async.mbarrier.arrive%s", (noinc, count) => {
  // Warp 0 copies and arrives; warp 1 waits for the data without any other synchronisation.
  const input = words(128);
  const out = new Uint32Array(128);
  run(
    `  mov.u32 %r10, buffer;
  setp.ne.u32 %p1, %r0, 0;
  @%p1 bra READY;
  mbarrier.init.shared.b64 [%r10], ${count};
READY:
  bar.sync 0;
  and.b32 %r2, %r0, 31;
  shl.b32 %r3, %r2, 4;
  add.u32 %r11, %r10, %r3;
  mul.wide.u32 %rd3, %r3, 1;
  add.s64 %rd10, %rd1, %rd3;
  add.s64 %rd11, %rd2, %rd3;
  setp.ge.u32 %p2, %r0, 32;
  @%p2 bra CONSUMER;
  cp.async.cg.shared.global [%r11 + 64], [%rd10], 16;
  cp.async.mbarrier.arrive${noinc}.shared.b64 [%r10];
  mbarrier.arrive.shared.b64 %rd5, [%r10];
  bra DONE;
CONSUMER:
  setp.ne.u32 %p3, %r2, 0;
  @%p3 bra WAIT;
  mbarrier.arrive.shared.b64 %rd5, [%r10];
WAIT:
  mbarrier.test_wait.parity.shared.b64 %p4, [%r10], 0;
  @!%p4 bra WAIT;
  ld.shared.v4.u32 {%r20, %r21, %r22, %r23}, [%r11 + 64];
  st.global.v4.u32 [%rd11], {%r20, %r21, %r22, %r23};
DONE:`,
    { block: 64 },
    input,
    out,
    { shared: 1024 },
  );
  expect(out).toEqual(input);
});

test("cp.async.mbarrier.arrive at a different object per lane", () => {
  const out = new Uint32Array(32);
  const mask = 0x2d60b105; // neighbours of active lanes are inactive
  run(
    `  mov.u32 %r10, buffer;
  mad.lo.u32 %r10, %r0, 8, %r10;
  mul.wide.u32 %rd3, %r0, 4;
  add.s64 %rd2, %rd2, %rd3;
  mbarrier.init.shared.b64 [%r10], 1;
  mov.u32 %r2, ${mask};
  shr.u32 %r2, %r2, %r0;
  and.b32 %r2, %r2, 1;
  setp.eq.u32 %p1, %r2, 1;
  @%p1 cp.async.ca.shared.global [%r10 + 256], [%rd1], 4;
  @%p1 cp.async.mbarrier.arrive.noinc.shared.b64 [%r10];
  mov.u32 %r3, 0;
WAIT:
  @%p1 mbarrier.test_wait.parity.shared.b64 %p2, [%r10], 0;
  @%p1 bra AGAIN;
  bra DONE;
AGAIN:
  @!%p2 bra WAIT;
  ld.shared.u32 %r3, [%r10 + 256];
DONE:
  bar.warp.sync -1;
  mbarrier.test_wait.parity.shared.b64 %p2, [%r10], 0;
  selp.u32 %r4, 1000, 0, %p2;
  add.u32 %r3, %r3, %r4;
  st.global.u32 [%rd2], %r3;`,
    { block: 32 },
    new Uint32Array([77]),
    out,
    { shared: 512 },
  );
  expect(out).toEqual(lanes((l) => ((mask >>> l) & 1 ? 1077 : 0)));
});

test("misuse is reported for the thread at fault", () => {
  const one = (body: string) => () =>
    run(
      `  mov.u32 %r10, buffer;
  mad.lo.u32 %r10, %r0, 8, %r10;
  mbarrier.init.shared.b64 [%r10], 9;
  setp.eq.u32 %p1, %r0, 13;
${body}`,
      { block: 32 },
      new Uint32Array(1),
      new Uint32Array(1),
      { shared: 256 },
    );
  expect(one("  selp.u32 %r1, 10, 1, %p1;\n  mbarrier.arrive.noComplete.shared.b64 %rd5, [%r10], %r1;")).toThrow(
    /10 arrivals, but only 9 of 9[\s\S]*thread \(13,0,0\)/,
  );
  const uninitialised = "  @%p1 st.shared.v2.u32 [%r10], {0, 0};\n  mbarrier.inval.shared.b64 [%r10];";
  expect(one(uninitialised)).toThrow(/no object at this address[\s\S]*thread \(13,0,0\)/);
});

test("waiting for a phase that never completes is a deadlock", () => {
  const wait = `  mbarrier.init.shared.b64 [%r10], 2;
WAIT:
  mbarrier.test_wait.parity.shared.b64 %p4, [%r10], 0;
  @!%p4 bra WAIT;`;
  expect(() => alone(wait)).toThrow(/deadlock/);
});

testPtxas();
