import type { Activations } from "../../lib/ops/call.js";
import { embedding } from "../../lib/ops/index.js";
import { dtypeBytes } from "../../lib/tensor/dtype.js";
import { type Case, counted, defineCase, integers, random, range } from "../case.js";
import { hidden, vocabulary } from "./longcat.js";

export const embeddingCases = (activations: Activations): Case[] => [counted(embeddingCase(activations, 512))];

function embeddingCase(activations: Activations, rows: number): Case {
  return defineCase({
    op: "embedding",
    size: `T=${rows} of ${vocabulary}, C=${hidden}`,
    unit: "scalar",
    work: { bytes: dtypeBytes[activations] * hidden * 2 * rows + 4 * rows },
    // Every fourth row of a table no larger than these ids need.
    prepare: (device) => ({
      table: random(device, [4 * rows, hidden], activations, 0.5),
      ids: integers(device, range(rows, 4), [rows]),
    }),
    run: ({ table, ids }) => embedding(table, ids),
  });
}
