// @ts-check
// A graph: a step that is captured once and replayed with new inputs. On a GPU it is a CUDA graph with a single launch.
//   node examples/graph.mjs
import { Device, Graph, ops } from "caracal";

const device = await Device.open();
const gate = ops.packWeight(device.tensor(new Float32Array(64 * 32).fill(0.02), [64, 32]));
const up = ops.packWeight(device.tensor(new Float32Array(64 * 32).fill(0.01), [64, 32]));
const down = ops.packWeight(device.tensor(new Float32Array(32 * 64).fill(0.03), [32, 64]));
const norm = device.tensor(new Float32Array(32).fill(1), [32]);

const x = device.zeros([1, 32]);
const step = Graph.capture(device, () => {
  const hidden = ops.swiglu(ops.rmsNorm(x, norm), gate, up);
  // The fork may run beside the operations after it, on a second stream.
  const squared = device.fork(() => ops.mul(x, x));
  return ops.add(ops.linear(hidden, down, { residual: x }), squared);
});

// The graph's memory stays in place: write the input, replay, read the result.
for (const scale of [1, 2, 3]) {
  x.write(Float32Array.from({ length: 32 }, (_, i) => (scale * i) / 32));
  step.replay();
  const values = await step.result.toFloat32Array();
  console.log(`scale ${scale}: … ${values.at(-1)?.toFixed(4)}`);
}

step.dispose();
device.dispose();
