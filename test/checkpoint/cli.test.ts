import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, describe, expect, it, vi } from "vitest";
import { inspectCommand } from "../../lib/cli/inspect.js";
import { synthCommand } from "../../lib/cli/synth.js";
import { safetensors, scratch } from "./files.js";

const folder = scratch();
const model = join(folder, "model");

async function run(command: ReturnType<typeof synthCommand>, ...args: string[]): Promise<string> {
  const log = vi
    .spyOn(console, "log")
    .mockImplementation(() => {})
    .mockClear();
  await command.exitOverride().parseAsync(args, { from: "user" });
  return log.mock.calls.flat().join("\n");
}

afterEach(() => {
  vi.restoreAllMocks();
  process.exitCode = undefined;
});

describe("caracal synth and inspect", () => {
  it("write a checkpoint and show it", async () => {
    const result = JSON.parse(await run(synthCommand(), model, "--json", "--seed", "3"));
    expect(result).toMatchObject({ preset: "tiny", seed: 3, directory: model });
    const text = await run(inspectCommand(), model);
    expect(text).toMatch(/^language model +\d+ shards +\d+ +\d+ k +bf16 f32/m);
    expect(text).toMatch(/^speech decoder +audio_codec\/LongCatAudioCodec_decoder_24k_4codebooks\.pt +174 /m);
    expect(text).toMatch(/^total .* 1\.\d+ M /m);
    expect(text).toContain("Complete: it can be loaded.");
    expect(process.exitCode).toBeUndefined();
  });

  it("show as JSON what the tables show", async () => {
    const found = JSON.parse(await run(inspectCommand(), model, "--json"));
    expect(found).toMatchObject({ kind: "directory", problems: [], configs: { llm: { num_layers: 2 } } });
    expect(found.parts).toHaveLength(9);
    const file = JSON.parse(await run(inspectCommand(), join(model, "audio/audio_projector.pt"), "--json"));
    expect(file).toMatchObject({ kind: "file", total: { tensors: 4, dtypes: ["bf16"] } });
    expect(file.tensors[0]).toMatchObject({ name: "0.weight", shape: [64, 96], file: "audio_projector.pt" });
  });

  it("say what is wrong, and exit with 1", async () => {
    writeFileSync(join(model, "vision/config.json"), '{"hidden_size": 72}');
    const text = await run(inspectCommand(), model);
    expect(text).toMatch(/1 problems?:\n {2}- vision\/config\.json: hidden_size 72 is not a multiple of 4 × 16 heads/);
    expect(process.exitCode).toBe(1);
  });

  it("print no control characters of a hostile file", async () => {
    const header = { "\u001b[31mred\u009b0m": { dtype: "U8", shape: [1], data_offsets: [0, 1] } };
    const file = join(folder, "hostile.safetensors");
    writeFileSync(file, safetensors(header, Buffer.alloc(1)));
    const text = await run(inspectCommand(), file);
    expect(text).toContain("\uFFFD[31mred");
    expect(text).not.toMatch(/(?!\n)\p{Cc}/u);
  });

  it("refuse what is not there, and wrong options", async () => {
    await expect(run(inspectCommand(), join(folder, "missing"))).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    const command = synthCommand().configureOutput({ writeErr: () => {} });
    await expect(run(command, join(folder, "x"), "--seed", "one")).rejects.toMatchObject({ exitCode: 1 });
  });
});
