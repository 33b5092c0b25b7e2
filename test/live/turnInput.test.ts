import { describe, expect, test } from "vitest";
import type { SeenUnit } from "../../lib/live/frames.js";
import { TurnInput } from "../../lib/live/turnInput.js";
import { OmniModel } from "../../lib/model/omni.js";
import { interleaveSequential } from "../../lib/model/prompt/interleave.js";
import type { Rows } from "../../lib/model/types.js";
import { timestampText } from "../../lib/model/vision/frames.js";
import { visionInputSize } from "../../lib/model/vision/resize.js";
import { concatRows } from "../../lib/ops/rows.js";
import { tinyDirectory } from "../model/tinyModel.js";
import { backends } from "../support/modelDevices.js";
import { randomArray } from "../support/numbers.js";

const directory = await tinyDirectory();
const rate = 16000;

const image = (shade: number) => ({ width: 60, height: 40, data: new Uint8Array(60 * 40 * 3).fill(shade) });

describe.each(backends)("a turn on $name", (device) => {
  test("that arrives in packets has the rows of the prompt that has it whole", async () => {
    await using model = await OmniModel.load(directory, { device, kvCacheTokens: 64 });
    const { tokenizer, embedding, audioEncoder, vision } = model;
    const encoders = { tokenizer, embedding, audioEncoder, vision, maxTokens: 1000 };
    const samples = randomArray(Math.round(2.7 * rate), 8, 0.2);
    const seen: SeenUnit[] = [{ frames: [image(9)], seconds: 4 }];
    const units: SeenUnit[] = [
      { frames: [image(50), image(99)], seconds: 7.5 },
      { frames: [image(150)], seconds: 8.5 },
      { frames: [image(250), image(1)], seconds: 9.5 },
    ];

    using input = new TurnInput(encoders);
    const streamed: Rows[] = [await input.open(seen)];
    const packets = units.map((unit, second) => ({
      unit,
      samples: samples.subarray(second * rate, (second + 1) * rate),
    }));
    const rest = packets.pop()!; // 0.7 s
    for (const packet of packets) {
      for (let i = 0; i < 3; i++) {
        const part = { ...packet, samples: packet.samples.subarray(0, 7000 * i) };
        (await input.close(part, [])).dispose(); // in vain
      }
      const rows = await input.hear(packet);
      if (rows) streamed.push(rows);
    }
    streamed.push(await input.close(rest, ["And?"]));
    using all = concatRows(streamed);

    const ids: number[] = [];
    const write = async (text: string) => ids.push(...(await tokenizer.encode(text)));
    const encoded: Rows[] = [];
    const see = async ({ frames, seconds }: SeenUnit) => {
      await write(timestampText(seconds));
      const [unit] = await vision.encodeUnits([
        { frames, size: visionInputSize(frames[0], vision.limits, { units: 32 }) },
      ]);
      encoded.push(unit!.tokens);
      for (let i = 0; i < unit!.tokens.shape[0]; i++) ids.push(tokenizer.specialId("<|image_pad|>"));
    };
    using audio = audioEncoder.encodeSamples(samples);
    await write("USER:");
    for (const unit of seen) await see(unit);
    for (const piece of interleaveSequential({ units: units.length, audioTokens: audio.shape[0] })) {
      if (piece.type === "unit") await see(units[piece.unit]!);
      else if (piece.type === "audio")
        for (let i = 0; i < piece.tokens; i++) ids.push(tokenizer.specialId("<|audio_pad|>"));
      else ids.push(tokenizer.specialId(piece.type === "audioStart" ? "<|audio|>" : "<|/audio|>"));
    }
    for (const text of ["And?", "\n"]) await write(text);
    using whole = embedding.prompt({ textIds: ids }, audio, concatRows(encoded));
    expect(all.shape).toEqual(whole.shape);
    expect(await all.toFloat32Array()).toEqual(await whole.toFloat32Array());
  });
});
