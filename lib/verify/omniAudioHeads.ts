import { Fields } from "../checkpoint/fields.js";
import { AudioHeads } from "../model/speech/heads.js";
import { cast } from "../ops/rows.js";
import { type Golden, mismatches } from "./golden.js";
import { Pieces } from "./values.js";

function parseConfig(source: unknown, file: string) {
  const f = new Fields(source);
  const config = { penalty: f.number("penalty"), window: f.integer("window") };
  f.finish(file);
  return config;
}

/** Runs the speech heads step by step, penalising the ids of earlier steps. Every id may be chosen. */
export async function verifyOmniAudioHeads(golden: Golden): Promise<void> {
  const { penalty, window } = golden.config(parseConfig);
  const hidden = golden.input("hidden", "f32");
  let books = 0;
  while (golden.weights.has(`audio_output_layers.${books}.weight`)) books++;
  const heads = await AudioHeads.load(golden.weights, { books, penalty, window });

  const history: number[][] = Array.from({ length: books }, () => []);
  const chosen: number[] = [];
  const pieces = new Pieces();
  for (let step = 0; step < hidden.shape[0]!; step++) {
    using row = cast(hidden.slice(step, step + 1), golden.activations);
    const ids = heads.step(
      row,
      history.map((ids) => [ids]),
      (book, values) => {
        if (book === 0) pieces.add("logits_book0", values);
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
  golden.compare("logits_book0", pieces.joined("logits_book0"), golden.tolerance("final"));
}
