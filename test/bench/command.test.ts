import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { benchCommand } from "../../bench/command.js";
import { scratch } from "../checkpoint/files.js";
import { outputOf } from "../cli/output.js";

const folder = scratch();

/** Every one of these is refused before anything is measured. */
async function refusal(...args: string[]): Promise<string> {
  const bench = benchCommand();
  for (const command of bench.commands) command.exitOverride().configureOutput({ writeErr: () => {} });
  return await outputOf(bench, ...args).then(
    () => expect.fail(`caracal bench ${args.join(" ")} was not refused`),
    (error: Error) => error.message,
  );
}

describe("caracal bench refuses", () => {
  test.each<[string, RegExp]>([
    ["opz", /unknown command 'opz'\n\(Did you mean ops\?\)/],
    ["counters clamp", /too many arguments for 'counters'/],
    ["ops clamp", /too many arguments for 'ops'/],
    ["moe 8", /too many arguments for 'moe'/],
    ["document a b", /too many arguments for 'document'/],
    ["moe --seed x", /'--seed <n>' argument 'x' is invalid\. Expected a whole number of at least 0/],
    ["moe --seed -1", /'--seed <n>' argument '-1' is invalid\. Expected a whole number of at least 0/],
    ["moe --seed 4294967296", /at most 4294967295/],
    ["moe --cp 1,x", /'--cp <sizes>' argument '1,x' is invalid\. Item 'x' of the list: Expected a whole number/],
    ["moe --scale 1/64", /'1\/64' is invalid\. Expected a whole number of at least 1\. It divides the sizes: 64 makes/],
    ["moe --cp 0", /'--cp <sizes>' argument '0' is invalid/],
    [
      "moe --routing even",
      /'--routing <kind>' argument 'even' is invalid\. Allowed choices are balanced, multinomial, skewed/,
    ],
    ["moe --svg x.png", /'--svg <file>' argument 'x\.png' is invalid\. Expected a file name that ends in \.svg/],
    ["moe --cp 16 --ep 8", /no layout can exist/],
    ["moe --seq 100", /^--seq 100 must be a multiple of 8/],
    ["ops --threads 1025", /'--threads <n>' argument '1025' is invalid/],
    ["ops --device gpu", /'--device <backend>' argument 'gpu' is invalid\. Allowed choices are auto, cpu, cuda/],
    ["ops --filter [", /'--filter <regexp>' argument '\[' is invalid\. Expected a regular expression/],
    [
      "ops --device cpu --filter nothing",
      /^--filter nothing matches no operation\. There are .*linear, router, .*"rmsNorm T=512/,
    ],
    ["counters --filter nothing", /^--filter nothing matches no operation\. There are .*groupedGemm/],
    ["ops --json --markdown", /'--markdown' cannot be used with option '--json'/],
    ["ops --json --write x.md", /'--write <file>' cannot be used with option '--json'/],
    ["model --model x --prompt 1.5", /'--prompt <tokens>' argument '1\.5' is invalid/],
    ["model --peer onnx", /'--peer <engine>' argument 'onnx' is invalid\. Allowed choices are llama\.cpp/],
    ["model --peer llama.cpp --model x", /'--peer <engine>' cannot be used with option '--model <dir>'/],
    ["model --peer llama.cpp --filter nothing", /^--filter nothing matches nothing\. There are peer-layer bf16:bf16/],
    ["model --model x --rounds 3", /^--rounds is for --peer llama\.cpp, which is not given/],
    ["live", /--model/],
    ["live --model x --sessions 0", /'--sessions <n>' argument '0' is invalid\. Expected a whole number/],
    ["live --model x --seconds 3", /'--seconds <s>' argument '3' is invalid\. Expected a whole number of at least 60/],
    ["live --model x --svg x.png", /'--svg <file>' argument 'x\.png' is invalid/],
    ["live --model nowhere", /nowhere/],
    ["document nowhere.md", /nowhere\.md cannot be read/],
    ["document README.md", /README\.md holds no table/],
  ])("%s", async (args, message) => {
    expect(await refusal(...args.split(" "))).toMatch(message);
  });

  test("a chart in a folder that does not exist", async () => {
    const svg = join(folder, "nowhere/x.svg");
    expect(await refusal("moe", "--svg", svg)).toBe(
      `cannot write ${svg}: the folder ${join(folder, "nowhere")} does not exist`,
    );
  });
});

test("caracal bench moe --json has everything that the results depend on", async () => {
  const args = ["--device", "cpu", "--threads", "1", "--cp", "4", "--ep", "2,64", "--seq", "4096", "--scale", "64"];
  const text = await outputOf(benchCommand(), "moe", ...args, "--seed", "7", "--routing", "multinomial", "--json");
  const { command, device, complete, warnings, options, sizes, peaks, results, leftOut } = JSON.parse(text);
  expect(command).toBe(`bench moe ${args.join(" ")} --routing multinomial --seed 7`);
  expect(device).toMatch(/^cpu .* 1 thread/);
  expect(complete).toBe(true);
  expect(options).toEqual({ cp: [4], ep: [2, 64], seq: 4096, scale: 64, routing: "multinomial", seed: 7 });
  expect(sizes).toMatchObject({ sequence: 64, hidden: 96, expertHidden: 32, experts: 512, weights: "bf16" });
  for (const peak of [peaks.fmaGflops, peaks.matrixGflops, peaks.readGBps])
    expect(peak.best).toBeGreaterThanOrEqual(peak.lowest);
  expect(peaks.measurements).toBe(2);
  expect(results.map(({ cp, ep, gemm }: Record<string, unknown>) => `${cp}/${ep} ${gemm}`)).toEqual([
    "4/64 FC1",
    "4/64 FC2",
  ]);
  expect(results[0].time.median).toBeGreaterThanOrEqual(results[0].time.best);
  expect(leftOut).toHaveLength(1);
  expect(warnings).toContain(`left out ${leftOut[0]}`);
});

test("caracal bench ops --json has the peaks, and no share of a limit that was not measured", async () => {
  const args = ["ops", "--device", "cpu", "--threads", "1", "--no-peer", "--filter", "fsmnMemory T=13 C=512", "--json"];
  const { peaks, activations, results } = JSON.parse(await outputOf(benchCommand(), ...args));
  expect(activations).toBe("f32");
  expect(peaks.measurements).toBe(2);
  expect(results).toEqual([expect.objectContaining({ op: "fsmnMemory", limit: "cache" })]);
  expect(results[0]).not.toHaveProperty("ofLimit");
});
