// Runs a described call and checks what the library promises of every call.
import { CaracalError, ops } from "caracal";
import { addon, guarded, guardedAsync } from "../../dist/lib/native/addon.js";
import { nativeErrorCodes } from "../../dist/lib/native/operations.js";
import { dtypeBytes } from "../../dist/lib/tensor/dtype.js";
import { PackedWeight } from "../../dist/lib/tensor/packedWeight.js";
import { Device, Tensor } from "../../dist/lib/tensor/tensor.js";
import { Maker } from "./make.mjs";
import { product } from "./values.mjs";

const thrown = new Error("thrown by a getter");
const handleOf = (value) => (value instanceof Tensor || value instanceof PackedWeight ? value.handle : value);

/** The arguments as the addon takes them: handles, and the getter that the call asks for. */
function nativeArgs(call, args, device) {
  const native = {};
  for (const [field, value] of Object.entries(args))
    native[field] = Array.isArray(value) ? value.map(handleOf) : handleOf(value);
  if (!call.getter) return native;
  const { field, element, action, target } = call.getter;
  const object = element === undefined ? native : native[field];
  const key = element ?? field;
  const value = object[key];
  const actions = {
    throw: () => {
      throw thrown;
    },
    dispose: () => args[target]?.dispose?.(),
    closeDevice: () => device.dispose(),
    grow: () => object.push(...new Array(1000).fill(value)),
    shrink: () => {
      object.length = Math.max(1, key);
    },
  };
  Object.defineProperty(object, key, {
    configurable: true,
    get() {
      actions[action]();
      return value;
    },
  });
  return native;
}

/** The tensors in what a function of lib/ops returned, in order. */
const tensorsIn = (result) =>
  (result instanceof Tensor || result instanceof PackedWeight ? [result] : Object.values(result ?? {})).filter(
    (value) => value instanceof Tensor || value instanceof PackedWeight,
  );

function outcomeOf(error) {
  if (error === thrown) return { code: "thrown" };
  if (error instanceof CaracalError && nativeErrorCodes.includes(error.code))
    return { code: error.code, message: error.message };
  return { code: "not a CaracalError", message: `${error?.stack ?? error}` };
}

const bytesOf = async (tensor) => {
  const result = new ArrayBuffer(tensor.byteLength);
  await guardedAsync(guarded(() => addon().read(tensor.handle, false, result)));
  return new Uint8Array(result);
};

/** Waits for outputs. Their code is "ok", or that of the first that failed. */
async function awaited(outputs, wrong) {
  const read = (t) => (t instanceof PackedWeight ? guardedAsync(guarded(() => addon().ready(t.handle))) : bytesOf(t));
  const settled = await Promise.allSettled(outputs.map(async (t) => read(t)));
  const failed = settled.find(({ status }) => status === "rejected");
  if (failed) return outcomeOf(failed.reason);
  for (const [i, t] of outputs.entries()) {
    const bytes = settled[i].value?.length;
    if (bytes !== undefined && bytes !== product(t.shape) * dtypeBytes[t.dtype])
      wrong.push(`output ${i} of ${t.dtype} [${t.shape}] has ${bytes} bytes`);
  }
  return { code: "ok", outputs: outputs.map((t, i) => ({ dtype: t.dtype, shape: t.shape, bytes: settled[i].value })) };
}

const equal = (a, b) => Buffer.compare(a, b) === 0;

/** Reads the inputs again: the bytes of those written in place, and a line for each other that changed. */
async function reread(call, contract, args, maker, wrong) {
  const written = [];
  const inout = new Set(contract.fields.filter((field) => field.inout).flatMap(({ name }) => args[name]));
  const mixed = call.aliased && inout.size > 0; // inputs may be written: whether they can be read is all that is known
  const open = maker.inputs.filter(({ tensor, base }) => !tensor.disposed && !base.disposed);
  await Promise.all(
    open.map(async ({ tensor, values, base, before = 0, count = values.length }) => {
      const bytes = await bytesOf(base);
      if (mixed) return;
      const expected = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
      const [start, end] = [before, before + count].map((n) => n * values.BYTES_PER_ELEMENT);
      if (inout.has(tensor)) written.push(bytes.slice(start, end));
      if (inout.has(tensor)) expected.set(bytes.subarray(start, end), start);
      if (!equal(bytes, expected)) wrong.push(`an input of ${tensor.dtype} [${tensor.shape}] changed`);
    }),
  );
  return written;
}

/** The functions that return a tensor. */
const makeTensors = new Set(["tensorFrom", "zeros", "view", "mapTensor"]);

/** Calls a function of the addon. */
function callAddon(call, contract, args, device) {
  const native = nativeArgs(call, args, device);
  return guarded(() => addon()[call.operation](...contract.fields.map(({ name }) => native[name])));
}

/** Calls a function of the addon that is not an operation. */
async function callFunction(call, contract, args, device) {
  const result = callAddon(call, contract, args, device);
  if (call.operation === "dispose") args.tensor?.dispose?.(); // the object knows it, too
  const value = result instanceof Promise ? await guardedAsync(result) : undefined;
  if (call.operation === "openCpu") await addon().closeDevice(value);
  return makeTensors.has(call.operation) ? [new Tensor(device, result)] : [];
}

async function outputsOf(call, contract, args, device) {
  if (contract.positional) return callFunction(call, contract, args, device);
  if (call.layer === "ops") return tensorsIn(call.run(ops, args));
  const type = call.operation.startsWith("pack") ? PackedWeight : Tensor;
  return [callAddon(call, contract, args, device)].flat().map((handle) => new type(device, handle));
}

/**
 * Runs the call once in `world`. Returns its code ("ok", or that of an error), its outputs, the bytes of the tensors
 * that it wrote in place, and a line for everything that was wrong.
 */
export async function once(call, contract, world, prepare = () => {}) {
  const closes = call.getter?.action === "closeDevice";
  const device = closes ? await Device.open({ backend: "cpu", threads: 1 }) : world.device;
  const maker = new Maker({ ...world, device });
  const wrong = [];
  try {
    let args = {};
    let outputs = [];
    let result;
    try {
      args = maker.args(call.args); // a changed weight may be refused when it is packed
      prepare(device);
      outputs = await outputsOf(call, contract, args, device);
      result = await awaited(outputs, wrong);
    } catch (error) {
      result = outcomeOf(error);
    }
    const failedLate = result.code !== "ok" && outputs.length > 0;
    // A failed operation may have written any part of the tensors that it writes in place.
    const written =
      closes || failedLate
        ? []
        : await reread(call, contract, args, maker, wrong).catch((error) => {
            if (outputs.length > 0) throw error;
            result = outcomeOf(error); // the operation has no output: its error is that of what it writes in place
            return [];
          });
    for (const t of outputs) t.dispose();
    return { ...result, written, wrong };
  } finally {
    maker.dispose();
    if (closes) device.dispose();
  }
}

/** Fills the cached memory of the outputs' sizes with a byte, so that an element left unwritten shows. */
export const poisoned = (outputs, byte) => (device) => {
  const made = (outputs ?? []).map(([dtype, shape]) => {
    const bytes = new Uint8Array(product(shape) * dtypeBytes[dtype]).fill(byte);
    return device.tensor(bytes, [bytes.length], "u8");
  });
  for (const t of made) t.dispose();
};

/** Fills cached memory of many sizes, and so what operations use in between. */
export const poisonedEverywhere = (outputs, byte) => (device) => {
  const made = [];
  for (let bytes = 64; bytes <= 1 << 17; bytes += Math.max(64, 2 ** Math.floor(Math.log2(bytes / 8))))
    made.push(device.tensor(new Uint8Array(bytes).fill(byte), [bytes], "u8"));
  for (const t of made) t.dispose();
  poisoned(outputs, byte)(device);
};

/** What was wrong with the outcome of a call, a line each. */
export function verdict(call, first, second) {
  const wrong = [...first.wrong, ...(second?.wrong ?? [])];
  const allowed = call.allowed ?? ["ok"];
  for (const { code, message } of second ? [first, second] : [first])
    if (!allowed.includes(code)) wrong.push(`${code} instead of ${allowed.join(" or ")}: ${message ?? ""}`);
  if (first.code === "ok" && call.outputs) {
    const shapes = (list) => JSON.stringify(list);
    const [promised, actual] = [shapes(call.outputs), shapes(first.outputs.map(({ dtype, shape }) => [dtype, shape]))];
    if (promised !== actual) wrong.push(`outputs ${actual} instead of ${promised}`);
  }
  if (second && second.code !== first.code) wrong.push(`${first.code} at first, then ${second.code}`);
  else if (second && first.code === "ok") {
    for (const [i, { bytes }] of first.outputs.entries())
      if (bytes && !equal(bytes, second.outputs[i].bytes)) wrong.push(`output ${i} differs when the call is repeated`);
    for (const [i, bytes] of first.written.entries())
      if (!equal(bytes, second.written[i])) wrong.push(`what is written in place differs when the call is repeated`);
  }
  return [...new Set(wrong)];
}
