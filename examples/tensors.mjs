// @ts-check
// Tensors, operations and errors.
//   node examples/tensors.mjs
import { CaracalError, Device, ops } from "caracal";

const device = await Device.open(); // a usable GPU, otherwise the CPU; device.why lists the reasons
console.log(`device: ${device.name}`);
for (const { backend, code, message } of device.why) console.log(`no ${backend}: ${code}: ${message}`);

// Shapes and dtypes are part of the types: x is a Tensor<"f32", readonly [4, 512]>.
const x = device.tensor(
  Float32Array.from({ length: 4 * 512 }, (_, i) => Math.sin(i)),
  [4, 512],
);
// Weights are packed once and read many times.
const w = ops.packWeight(
  device.tensor(
    Float32Array.from({ length: 256 * 512 }, (_, i) => Math.cos(i) / 16),
    [256, 512],
    "bf16",
  ),
);

// Operations are queued and return at once. The scope frees every tensor that it does not return.
const y = device.scope(() => {
  const hidden = ops.linear(x, w, { activation: "silu" });
  return ops.clamp(hidden, { low: -0.1, high: 0.1 });
});
console.log(`result: ${y.dtype} [${y.shape.join(", ")}]`);

// Only a read waits.
const values = await y.toFloat32Array();
console.log(`row 0: ${values.subarray(0, 4).join(", ")}, …`);

// The compiler rejects shapes that do not match. Without it, the call throws before anything runs.
try {
  // @ts-expect-error 512 columns and 500
  ops.linear(x, device.zeros([256, 500]));
} catch (error) {
  if (!(error instanceof CaracalError)) throw error;
  console.log(`refused: ${error.code}: ${error.message}`);
}

device.dispose();
