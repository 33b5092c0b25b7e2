import type { Activations } from "../../ops/call.js";
import { packWeight, packWeights } from "../../ops/linear.js";
import { moe, type Routing, router } from "../../ops/moe.js";
import type { Device } from "../../tensor/device.js";
import { dtypeBytes } from "../../tensor/dtype.js";
import { type OpCase, opCase, random, values } from "../case.js";

const hidden = 6144;
const expertHidden = 2048;
const picks = 8; // FFN experts that a token has on average; the other 4 of its 12 picks are zero experts

/** The router and the experts at the model's size: eight full-size experts, eight real picks per token. */
export function moeCases(activations: Activations): OpCase[] {
  return [
    ...[1, 64, 512].map((tokens) => routerCase(activations, tokens)),
    ...[1, 8, 64].map((tokens) => expertsCase(activations, tokens, hidden, expertHidden)),
    expertsCase(activations, 16, 256, 128),
  ];
}

function routerCase(activations: Activations, tokens: number): OpCase {
  const experts = 512;
  const zeroExperts = 256;
  const all = experts + zeroExperts;
  return opCase({
    op: "router",
    size: `T=${tokens} ${hidden}→${experts}+${zeroExperts} top-12`,
    flops: 2 * tokens * hidden * all,
    bytes: 4 * hidden * all + dtypeBytes[activations] * tokens * hidden,
    prepare(device) {
      const x = random(device, [tokens, hidden], activations);
      const classifiers = Array.from({ length: 11 }, () => {
        using w = random(device, [all, hidden], "f32");
        return packWeight(w);
      });
      const bias = random(device, [all], "f32", 1e-3);
      return { x, classifiers, bias };
    },
    run({ x, classifiers, bias }, i) {
      return router(x, classifiers[i % classifiers.length]!, bias, { topK: 12, experts, zeroExperts, scale: 6 })
        .weights;
    },
  });
}

/** Every token picks all eight experts, as in the peer's model. */
function routingToAll(device: Device, tokens: number): Routing {
  const ids = Int32Array.from({ length: tokens * picks }, (_, i) => i % picks);
  return {
    ids: device.tensor(ids, [tokens, picks], "i32"),
    weights: random(device, [tokens, picks], "f32"),
    zeroWeight: device.zeros([tokens]),
    experts: picks,
    zeroExperts: 0,
  };
}

function expertsCase(activations: Activations, tokens: number, d: number, f: number): OpCase {
  return opCase({
    op: "moe",
    size: `T=${tokens} ${picks} experts ${d}→${f} bf16`,
    flops: 2 * tokens * picks * 3 * d * f,
    matrix: activations === "bf16",
    bytes: picks * 3 * d * f * 2 + 2 * dtypeBytes[activations] * tokens * d,
    prepare(device) {
      const x = random(device, [tokens, d], activations);
      const matrices = (n: number, k: number) =>
        device.scope(() => packWeights(Array.from({ length: picks }, () => random(device, [n, k], "bf16"))));
      const experts = { gate: matrices(f, d), up: matrices(f, d), down: matrices(d, f) };
      const routing = routingToAll(device, tokens);
      return { x, experts, routing };
    },
    run({ x, experts, routing }) {
      return moe(x, experts, routing);
    },
    peer: {
      copies: 1,
      model: () => ({
        node: {
          op: "MoE",
          domain: "com.microsoft",
          inputs: ["x", "router", "w1", "", "w2"],
          outputs: ["y"],
          attributes: {
            k: picks,
            activation_type: "swiglu",
            swiglu_fusion: 1,
            activation_alpha: { float: 1 },
            activation_beta: { float: 0 },
            normalize_routing_weights: 1,
          },
        },
        constants: {
          w1: { dims: [picks, 2 * f, d], values: values(picks * 2 * f * d) },
          w2: { dims: [picks, d, f], values: values(picks * d * f) },
        },
        inputs: {
          x: { dims: [tokens, d], values: values(tokens * d) },
          router: { dims: [tokens, picks], values: values(tokens * picks) },
        },
        outputs: { y: [tokens, d] },
      }),
    },
  });
}
