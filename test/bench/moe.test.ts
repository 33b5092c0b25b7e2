import { afterAll, describe, expect, test } from "vitest";
import { type MoeTiming, moeResult, planSweep, type SweepOptions, timeMoe } from "../../bench/moe.js";
import { type MachinePeaks, PeakMeter } from "../../bench/peaks.js";
import { Device } from "../../lib/tensor/tensor.js";

const options: SweepOptions = { cp: [2], ep: [32], seq: 8192, scale: 8, routing: "balanced", seed: 1 };
const layoutsOf = (changed: Partial<SweepOptions>) =>
  planSweep({ ...options, ...changed })
    .gemms.filter(({ gemm }) => gemm === "FC1")
    .map(({ layout }) => `${layout.cp}/${layout.ep}`);

describe("the sweep", () => {
  test("has both GEMMs of every layout at the scaled sizes", () => {
    const { gemms, sizes, leftOut } = planSweep({ ...options, cp: [1, 2], ep: [8, 64] });
    expect(gemms.map(({ gemm, layout }) => `${layout.cp}/${layout.ep} ${gemm}`)).toEqual(
      ["1/8", "1/64", "2/8", "2/64"].flatMap((l) => [`${l} FC1`, `${l} FC2`]),
    );
    expect(sizes).toMatchObject({ hidden: 768, expertHidden: 256, experts: 512, realPicks: 8 });
    expect(gemms.at(-1)!.layout).toMatchObject({ localExperts: 8, rows: 4096, rowsPerExpert: 512 });
    expect(leftOut).toEqual([]);
  });

  test("leaves out layouts whose EP groups would hold a part of a sequence, and says so", () => {
    const cp = [1, 4, 16];
    expect(layoutsOf({ cp, ep: [2, 8, 16] })).toEqual(["1/2", "1/8", "1/16", "4/8", "4/16", "16/16"]);
    expect(planSweep({ ...options, cp, ep: [2, 8, 16] }).leftOut).toEqual([
      expect.stringMatching(/^CP 4 EP 2: an EP group would hold 2\/4 of a sequence/),
      expect.stringMatching(/^CP 16 EP 2: /),
      expect.stringMatching(/^CP 16 EP 8: an EP group would hold 8\/16 of a sequence/),
    ]);
  });

  test.each<[string, Partial<SweepOptions>, RegExp]>([
    ["no layout that can exist", { cp: [16], ep: [8] }, /no layout can exist: CP 16 EP 8: .*--ep as multiples of --cp/],
    ["experts that cannot be divided", { ep: [24] }, /^--ep 24: the 512 experts/],
    ["hidden sizes that cannot be divided", { scale: 3 }, /^--scale 3 does not divide the hidden sizes 6144 and 2048/],
    [
      "tokens that cannot be divided",
      { seq: 100 },
      /^--seq 100 must be a multiple of 16, .*--scale 1 \(8 is the default/,
    ],
    ["tokens at full size", { seq: 101, scale: 1 }, /^--seq 101 must be a multiple of 2, CP 2 × scale 1$/],
  ])("refuses %s, in the words of the command line", (_, changed, message) => {
    expect(() => planSweep({ ...options, ...changed })).toThrowError(
      expect.objectContaining({ code: "INVALID_ARGUMENT", message: expect.stringMatching(message) }),
    );
  });
});

describe("a result", () => {
  const peak = (best: number) => ({ best, lowest: best });
  const peaks: MachinePeaks = { measurements: 1, fmaGflops: peak(1), matrixGflops: peak(200), readGBps: peak(20) };
  const timed = (changed: Partial<SweepOptions>) => {
    const sweep = planSweep({ ...options, ...changed });
    const timing: MoeTiming = { rank: sweep.gemms[0]!, time: { best: 20, median: 21, runs: 3 } };
    return moeResult(timing, sweep, peaks);
  };

  test("has its share of the best peak, and the report's figures with their rows per expert", () => {
    // 4096 rows of 768 → 512 in 16 experts
    const flops = 2 * 4096 * 768 * 512;
    const result = timed({});
    expect(result.gflops).toBeCloseTo(flops / 20e6);
    expect(result.mfu).toBeCloseTo(flops / 20e6 / 200);
    expect(result.rooflineMilliseconds).toBeCloseTo(flops / 200e6);
    expect(result.ofRoofline).toBeCloseTo(flops / 200e6 / 20);
    expect(result.rowsPerExpert).toBe(256);
    expect(result.reported).toEqual({ mfu: 0.775, rowsPerExpert: 2048 });
  });

  test("has nothing of the report where the report shows nothing", () => {
    expect(timed({ cp: [8] })).not.toHaveProperty("reported");
    expect(timed({ seq: 16384 })).not.toHaveProperty("reported");
  });
});

describe("timing", () => {
  const device = Device.open({ backend: "cpu", threads: 1 });
  afterAll(async () => (await device).dispose());

  test("measures the peaks before each layout and at the end", async () => {
    const meter = new PeakMeter(await device);
    const sweep = planSweep({ ...options, ep: [64], seq: 1024, scale: 64 });
    const timings: MoeTiming[] = [];
    for await (const timing of timeMoe(await device, sweep, { meter })) timings.push(timing);
    expect(timings.map(({ rank }) => rank.gemm)).toEqual(["FC1", "FC2"]);
    for (const { time } of timings) expect(time.best).toBeGreaterThan(0);
    expect(meter.peaks.measurements).toBe(2);
  });
});
