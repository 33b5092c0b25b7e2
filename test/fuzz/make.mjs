// Makes the arguments of a described call on a device, with the bytes that each tensor must still have afterwards.
import { addon, guarded } from "../../dist/lib/native/addon.js";
import { operationFields } from "../../dist/lib/native/operations.js";
import { dtypeBytes, rawArray } from "../../dist/lib/tensor/dtype.js";
import { PackedWeight } from "../../dist/lib/tensor/packedWeight.js";
import { Tensor } from "../../dist/lib/tensor/tensor.js";
import { odd, product } from "./values.mjs";

/** Random elements of every dtype, from which tensors take their values. */
const poolLength = 1 << 16;
const specials = [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 3e38, -3e38, 1e-42, -0, 0];

function makePools() {
  let state = 1;
  const next = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
  const f32 = Float32Array.from({ length: poolLength }, () => next() * 2 - 1);
  const odder = f32.map((v, i) => (i % 3 === 0 ? specials[(i / 3) % specials.length] : v));
  const upper = (values) => Uint16Array.from(new Uint32Array(values.buffer), (bits) => bits >>> 16);
  const f16 = Uint16Array.from(f32, () => (next() < 0.5 ? 0x8000 : 0) | Math.floor(next() * 0x3c00));
  const f8 = Uint8Array.from(f32, () => (next() < 0.5 ? 0x80 : 0) | Math.floor(next() * 0x50));
  return {
    plain: {
      f32,
      bf16: upper(f32),
      f16,
      f8e4m3: f8,
      i32: Int32Array.from(f32, () => Math.floor(next() * 40) - 4),
      u8: Uint8Array.from(f32, () => next() * 256),
    },
    specials: {
      f32: odder,
      bf16: upper(odder),
      f16: f16.map((v, i) => (i % 3 === 0 ? [0x7e00, 0x7c00, 0xfc00, 1][(i / 3) % 4] : v)),
      f8e4m3: f8.map((v, i) => (i % 3 === 0 ? [0x7f, 0xff, 0x7e, 1][(i / 3) % 4] : v)),
      i32: new Int32Array(poolLength),
      u8: new Uint8Array(poolLength),
    },
  };
}
const pools = makePools();

/** The bytes of the file that mapped tensors are views of: the plain pools, one after another. */
export const fileBytes = Buffer.concat(Object.values(pools.plain).map((values) => Buffer.from(values.buffer)));
const fileOffsets = {};
{
  let offset = 0;
  for (const [dtype, values] of Object.entries(pools.plain)) {
    fileOffsets[dtype] = offset;
    offset += values.byteLength;
  }
}

/** `count` elements, the same for the same seed. */
function elements(dtype, count, fill, seed) {
  if (Array.isArray(fill)) {
    const values = rawArray(dtype, new ArrayBuffer(count * dtypeBytes[dtype]));
    values.set(fill);
    return values;
  }
  const pool = pools[fill === "specials" ? "specials" : "plain"][dtype];
  const start = seed % (poolLength >> 1);
  if (start + count <= poolLength) return pool.slice(start, start + count);
  const values = rawArray(dtype, new ArrayBuffer(count * dtypeBytes[dtype]));
  for (let i = 0; i < count; i++) values[i] = pool[(start + i) % poolLength];
  return values;
}

/** Makes tensors of one call. `inputs` lists each with its expected bytes; `dispose()` frees them. */
export class Maker {
  inputs = [];
  #world;
  #made = [];

  constructor(world) {
    this.#world = world;
  }

  value(description, args) {
    if (description === null || typeof description !== "object") return description;
    if (Array.isArray(description)) return description.map((d) => this.value(d, args));
    if (description.odd !== undefined) return odd[description.odd](this.#world);
    if (description.array !== undefined) return new globalThis[description.array](description.length);
    if (description.same !== undefined) return this.#same(description, args);
    const device = description.other ? this.#world.other : this.#world.device;
    const made = description.packed ? this.#packed(description, device) : this.#tensor(description, device);
    if (description.disposed) made.dispose();
    return made;
  }

  #keep(tensor) {
    this.#made.push(tensor);
    return tensor;
  }

  #tensor({ tensor: dtype, shape, fill, seed, storage }, device) {
    const count = product(shape);
    const start = seed % (poolLength >> 1);
    if (storage === "mapped" && !fill && start + count <= poolLength) {
      const offset = fileOffsets[dtype] + start * dtypeBytes[dtype];
      return this.#keep(device.mapped(this.#world.file, offset, shape, dtype));
    }
    if (storage !== "view") {
      const values = elements(dtype, count, fill, seed);
      const made = this.#keep(device.tensor(values, shape, dtype));
      this.inputs.push({ tensor: made, values, base: made });
      return made;
    }
    // A view from element `before` on, whose neighbours must stay as they are, too.
    const [before, after] = [1 + (seed % 7), seed % 5];
    const values = elements(dtype, before + count + after, undefined, seed + 1);
    values.set(elements(dtype, count, fill, seed), before);
    const base = this.#keep(device.tensor(values, [values.length], dtype));
    const made = this.#keep(new Tensor(device, addon().view(base.handle, before, shape)));
    this.inputs.push({ tensor: made, values, base, before, count });
    return made;
  }

  #packed({ packed, args }, device) {
    const native = operationFields[packed].map((field) => this.#plain(args[field], device));
    const made = guarded(() => addon()[packed](...native));
    return this.#keep(new PackedWeight(device, made));
  }
  #plain(d, device) {
    if (Array.isArray(d)) return d.map((each) => this.#plain(each, device));
    return d?.tensor ? this.#tensor(d, device).handle : d;
  }

  /** The tensor of another argument, or a view of its memory. */
  #same({ same, shape, shift }, args) {
    const source = args[same];
    if (!(source instanceof Tensor) || source.disposed) return source;
    if (!shape || product(shape) + shift > source.size) return source;
    return this.#keep(new Tensor(source.device, addon().view(source.handle, shift, shape)));
  }

  /** The arguments of a call as JavaScript values, with Tensor objects. */
  args(descriptions) {
    const args = {};
    const later = ([, d]) => d?.same !== undefined;
    const entries = Object.entries(descriptions);
    for (const [field, d] of [...entries.filter((e) => !later(e)), ...entries.filter(later)])
      args[field] = this.value(d, args);
    return args;
  }

  dispose() {
    for (const made of this.#made) made.dispose();
  }
}
