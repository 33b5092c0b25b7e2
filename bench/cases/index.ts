import type { Activations } from "../../lib/ops/call.js";
import type { Case } from "../case.js";
import { attentionCases } from "./attention.js";
import { audioCases } from "./audio.js";
import { embeddingCases } from "./embedding.js";
import { imageCases } from "./image.js";
import { linearCases } from "./linear.js";
import { moeCases } from "./moe.js";
import { normCases } from "./norm.js";
import { samplingCases } from "./sampling.js";
import { voiceCases } from "./voice.js";

/** Every case, with activations of this dtype. */
export const catalogue = (activations: Activations): Case[] => [
  ...normCases(activations),
  ...embeddingCases(activations),
  ...linearCases(activations),
  ...moeCases(activations),
  ...attentionCases(activations),
  ...audioCases(activations),
  ...imageCases(activations),
  ...samplingCases(),
  ...voiceCases(),
];
