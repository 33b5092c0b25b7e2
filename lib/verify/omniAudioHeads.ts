import { Fields } from "../checkpoint/fields.js";
import { AudioHeads } from "../model/audioHeads.js";
import { cast } from "../ops/rows.js";
import { type Golden, mismatches } from "./golden.js";

function parseConfig(source: unknown, file: string) {
  const f = new Fields(source);
  const config = { penalty: f.number("penalty"), window: f.integer("window") };
  f.finish(file);
  return config;
}

/** The speech heads step by step, each penalised by what the steps before chose. Every id may be chosen. */
export async function verifyOmniAudioHeads(golden: Golden): Promise<void> {
  const { penalty, window } = golden.config(parseConfig);
  const hidden = golden.input("hidden", "f32");
  let books = 0;
  while (golden.weights.has(`audio_output_layers.${books}.weight`)) books++;
  const heads = await AudioHeads.load(golden.weights, { books, penalty, window });

  const history: number[][] = Array.from({ length: books }, () => []);
  const chosen: number[] = [];
  const logits: Promise<Float32Array>[] = [];
  for (let step = 0; step < hidden.shape[0]!; step++) {
    using row = cast(hidden.slice(step, step + 1), golden.activations);
    const ids = heads.step(
      row,
      history.map((ids) => [ids]),
      (book, values) => {
        if (book === 0) logits.push(values.toFloat32Array());
      },
    );
    for (const [book, tensor] of ids.entries()) {
      const [id] = await tensor.read();
      tensor.dispose();
      history[book]!.push(id!);
      chosen.push(id!);
    }
  }
  golden.compare("ids", Promise.resolve(chosen), mismatches);
  golden.compare("logits_book0", join(logits), golden.tolerance("final"));
}

async function join(rows: readonly Promise<Float32Array>[]): Promise<Float32Array> {
  return Float32Array.from((await Promise.all(rows)).flatMap((row) => [...row]));
}
