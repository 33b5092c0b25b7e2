// A kernel that does not end is stopped after exactly the number of warp instructions in its budget.
import { describe, expect, test } from "vitest";
import { deviceWith } from "../support/modes.js";
import { kernel } from "../support/ptx.js";

// Four instructions precede a kernel's body, and ret follows it: each warp executes 4 + 1 + 3 * rounds + 1.
const rounds = (n: number) =>
  kernel(`  mov.u32 %r1, 0;
AGAIN:
  add.u32 %r1, %r1, 1;
  setp.lt.u32 %p1, %r1, ${n};
  @%p1 bra AGAIN;`);
const instructions = (n: number, warps: number) => warps * (6 + 3 * n);
const none = new Uint32Array(1);

describe("the instruction budget", () => {
  test.each([
    [1, 1, {}],
    [1, 3, {}],
    [5, 2, {}],
    [5, 2, { CARACAL_VGPU_THREADS: "2" }],
    [5, 2, { CARACAL_VGPU_SEED: "3" }],
    [70, 1, { CARACAL_VGPU_THREADS: "4" }],
  ])("%d blocks of %d warps: %o", async (grid, warps, mode) => {
    const n = 3000;
    const exact = instructions(n, grid * warps);
    const runWith = async (budget: number) => {
      const device = await deviceWith({ ...mode, CARACAL_VGPU_BUDGET: `${budget}` });
      new device.PtxModule(rounds(n)).run("k", { grid, block: 32 * warps }, none, none);
    };
    await expect(runWith(exact)).resolves.toBeUndefined();
    await expect(runWith(exact - 1)).rejects.toThrow(`the budget of ${exact - 1} warp instructions is spent`);
  });

  test("the report lists the position of every warp on any host thread", async () => {
    const device = await deviceWith({ CARACAL_VGPU_BUDGET: "100000", CARACAL_VGPU_THREADS: "2" });
    const ptx = kernel("AGAIN:\n  bar.sync 0;\n  bra AGAIN;");
    const run = () => new device.PtxModule(ptx).run("k", { grid: 2, block: 64 }, none, none);
    const where = [0, 1].flatMap((b) =>
      [0, 1].map((w) => `(?=[\\s\\S]*block \\(${b},0,0\\) warp ${w} lanes ffffffff at \\S+, PTX line \\d+)`),
    );
    expect(run).toThrow(new RegExp(`the warps are at:${where.join("")}`));
  });
});
