// racecheck and initcheck distinguish the bytes of their 16-byte cells, and their reports name the right accesses.
import { beforeAll, describe, expect, test } from "vitest";
import { deviceWith } from "../support/modes.js";
import { kernel, remember, testPtxas } from "../support/ptx.js";

let device: Awaited<ReturnType<typeof deviceWith>>;
beforeAll(async () => {
  device = await deviceWith({ CARACAL_VGPU_CHECK: "initcheck,racecheck" });
});

/** Runs 8 warps on 2048 bytes at %rd8 in `space`; %r1 is the warp, %r2 the lane. */
function run(space: string, body: string): void {
  const ptx = kernel(
    `  shr.u32 %r1, %r0, 5;
  and.b32 %r2, %r0, 31;
  mov.u64 %rd5, buffer;
  ${space === "shared" ? "mov.u64 %rd8, %rd5" : "mov.u64 %rd8, %rd2"};
${body}`,
    { shared: 2048 },
  );
  remember(ptx, "sm_80");
  const module = new device.PtxModule(ptx);
  module.run("k", { grid: 1, block: 256 }, new Uint32Array(1), { uninitialised: 2048 });
}
/** Sets %rd9 to the address of the thread's own `bytes` bytes; those of all eight warps are next to each other. */
const own = (bytes: number) => `  mad.lo.u32 %r3, %r2, 8, %r1;
  mul.wide.u32 %rd6, %r3, ${bytes};
  add.s64 %rd9, %rd8, %rd6;
`;
const register = (bytes: number) => (bytes === 8 ? "%rd0" : bytes === 4 ? "%r0" : "%h0");
const all = ["shared", "global"].flatMap((space) => [1, 2, 4, 8].map((bytes) => ({ space, bytes })));
const store = (space: string, bytes: number, at = "%rd9") => `st.${space}.b${8 * bytes} [${at}], ${register(bytes)};\n`;
const load = (space: string, bytes: number, at = "%rd9") =>
  `ld.${space}.b${8 * bytes} ${register(bytes).replace("0", "9")}, [${at}];\n`;

describe.each(all)("accesses of $bytes bytes to $space memory", ({ space, bytes }) => {
  // A report names the first lane of a warp that accesses the cell. With single bytes a cell holds those of two lanes.
  const lane = bytes === 1 ? 2 : 3;
  const begin = `${own(bytes)}  mov.u16 %h0, 5;\n`;
  test("bytes of different warps next to each other do not race", () => {
    run(space, begin + store(space, bytes) + load(space, bytes));
  });
  /** Lets lane 3 of warp 5 access the bytes of the same lane of warp `of`. */
  const trespass = (of: number) =>
    `  setp.eq.u32 %p1, %r0, ${5 * 32 + 3};\n  add.s64 %rd7, %rd9, ${(of - 5) * bytes};\n`;
  const race = (of: number) => `${space} memory at offset ${(3 * 8 + of) * bytes} are not ordered`;
  test.each([4, 2])("a write to the bytes of another warp is reported: warp %i", (of) => {
    const second = `${trespass(of)}  @%p1 ${store(space, bytes, "%rd7")}`;
    expect(() => run(space, begin + store(space, bytes) + second)).toThrow(
      new RegExp(
        `racecheck: two writes of ${race(of)}: the first is by block 0 warp ${of} lane ${lane} at st\\.[\\s\\S]*\\(163,0,0\\)`,
      ),
    );
  });
  test("a read of the bytes of another warp is reported", () => {
    const second = `${trespass(4)}  @%p1 ${load(space, bytes, "%rd7")}`;
    expect(() => run(space, begin + store(space, bytes) + second)).toThrow(
      new RegExp(`racecheck: a write and a read of ${race(4)}: the first is by block 0 warp 4 lane ${lane} at st\\.`),
    );
  });
  test("a write to bytes that another warp has read is reported", () => {
    const first = `${begin}${store(space, bytes)}  bar.sync 0;\n  setp.ne.u32 %p2, %r1, 5;\n  @%p2 ${load(space, bytes)}`;
    expect(() => run(space, `${first}${trespass(4)}  @%p1 ${store(space, bytes, "%rd7")}`)).toThrow(
      new RegExp(`racecheck: a read and a write of ${race(4)}: the first is by block 0 warp 4 lane ${lane} at ld\\.`),
    );
  });
  test("a read of unwritten bytes between written ones is reported", () => {
    const writes = `${begin}  setp.ne.u32 %p1, %r0, ${5 * 32 + 3};\n  @%p1 ${store(space, bytes)}`;
    expect(() => run(space, `${writes}  @%p1 ${load(space, bytes)}`)).not.toThrow();
    expect(() => run(space, `${writes}  ${load(space, bytes)}`)).toThrow(
      new RegExp(
        `initcheck: ${space} read of ${bytes} bytes at offset ${(3 * 8 + 5) * bytes} of[\\s\\S]*\\(163,0,0\\)`,
      ),
    );
  });
  test("accesses ordered by a barrier do not race", () => {
    const second = `  bar.sync 0;\n${trespass(4)}  @%p1 ${store(space, bytes, "%rd7")}  @%p1 ${load(space, bytes, "%rd7")}`;
    run(space, begin + store(space, bytes) + second);
  });
});

test.each([1, 2, 4, 8])("memory ends after its last byte: accesses of %i bytes", (bytes) => {
  const access = (space: string, offset: number) => () => {
    const ptx = kernel(
      `  mov.u64 %rd8, ${space === "shared" ? "buffer" : "%rd2"};\n  ${store(space, bytes, `%rd8 + ${offset}`)}`,
      {
        shared: 3 * bytes,
      },
    );
    remember(ptx, "sm_80");
    new device.PtxModule(ptx).run("k", { block: 1 }, new Uint32Array(1), { uninitialised: 3 * bytes });
  };
  for (const space of ["shared", "global"]) {
    expect(access(space, 2 * bytes)).not.toThrow();
    expect(access(space, 3 * bytes)).toThrow(new RegExp(`memcheck: ${space} write of ${bytes} byte`));
  }
});

testPtxas();
