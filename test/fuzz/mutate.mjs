// Changes to a valid call. Each says which outcomes it allows: "ok", or error codes. They know an argument's kind from
// the contract and its value from the description, and nothing of the operation.
import { oddNames, oddNumbers, product } from "./values.mjs";

const dtypes = ["f32", "f16", "bf16", "f8e4m3", "i32", "u8"];
/** Outcomes of arguments that may or may not fit together. */
const any = ["ok", "INVALID_ARGUMENT", "SHAPE_MISMATCH", "DTYPE_MISMATCH", "INDEX_OUT_OF_RANGE", "OUT_OF_MEMORY"];

/** The first weight that is packed. */
const plainOf = ({ args }) => args.w ?? args.weights[0];
const isTensor = (value) => value?.tensor !== undefined || value?.packed !== undefined;
const isPlain = (value) => value?.tensor !== undefined;

/** Where the tensors of a call are: [object, key, path as text]. */
function tensorsOf({ args }) {
  return Object.entries(args).flatMap(([field, value]) => {
    if (isTensor(value)) return [[args, field, field]];
    return Array.isArray(value) ? value.flatMap((v, i) => (isTensor(v) ? [[value, i, `${field}[${i}]`]] : [])) : [];
  });
}
const fieldsOf = (call, contract, ...kinds) =>
  contract.fields
    .filter(({ name, kind }) => kinds.includes(kind) && call.args[name] !== undefined)
    .map(({ name }) => name);

/** Replaces a tensor of the call by what `change` makes of it. */
function replaceTensor(r, call, suits, change) {
  const places = tensorsOf(call).filter(([object, key]) => suits(object[key]));
  if (places.length === 0) return undefined;
  const [object, key, path] = r.pick(...places);
  const changed = change(structuredClone(object[key]), path);
  if (changed === undefined) return undefined;
  object[key] = changed.value;
  return { what: `${path}: ${changed.what}`, allowed: changed.allowed };
}

function otherShape(r, shape) {
  const changed = [...shape];
  const kind = r.int(0, shape.length > 0 ? 3 : 0);
  if (kind === 0) changed.splice(r.int(0, shape.length), 0, r.pick(1, 1, 2, 0));
  else if (kind === 1) changed.splice(r.int(0, shape.length - 1), 1);
  else {
    const i = r.int(0, shape.length - 1);
    changed[i] = Math.max(0, r.pick(0, 1, changed[i] - 1, changed[i] + 1, changed[i] * 2, r.dim(40)));
  }
  return changed;
}

/** Dimensions that would not take gigabytes. */
const smallNames = oddNames.filter((name) => name !== "2^31" && name !== "2^32");
const edges = [-1, -2, 2 ** 31 - 1, -(2 ** 31), 0, 1, 1000];

const mutations = {
  disposed: (r, call, contract) =>
    replaceTensor(r, call, isTensor, (value) => ({
      value: { ...value, disposed: true },
      what: "disposed",
      allowed: ["dispose", "describe"].includes(contract.name) ? ["ok"] : ["DISPOSED"],
    })),
  otherDevice: (r, call) => {
    const places = tensorsOf(call);
    if (call.aliased || places.length < 2 || places.some(([object, key]) => object[key].other || object[key].disposed))
      return undefined;
    return replaceTensor(r, call, isTensor, (value) => ({
      value: { ...value, other: true },
      what: "on another device",
      allowed: ["DEVICE_MISMATCH"],
    }));
  },
  shape: (r, call) =>
    replaceTensor(r, call, isPlain, (value) => {
      const shape = otherShape(r, value.shape);
      const fill = Array.isArray(value.fill) ? value.fill.slice(0, product(shape)) : value.fill;
      return { value: { ...value, shape, fill }, what: `shape [${shape}]`, allowed: any };
    }),
  dtype: (r, call) =>
    replaceTensor(r, call, isPlain, (value) => {
      const dtype = r.pick(...dtypes);
      return { value: { ...value, tensor: dtype, fill: undefined }, what: dtype, allowed: any };
    }),
  specials: (r, call) =>
    replaceTensor(
      r,
      call,
      (value) => isPlain(value) && value.tensor !== "i32" && value.tensor !== "u8",
      (value) => ({
        value: { ...value, fill: "specials" },
        what: "NaN, infinite and subnormal elements",
        allowed: any,
      }),
    ),
  ids: (r, call) =>
    replaceTensor(
      r,
      call,
      (value) => Array.isArray(value?.fill) && value.fill.length > 0,
      (value) => {
        const fill = [...value.fill];
        const i = r.int(0, fill.length - 1);
        fill[i] = r.pick(...edges, fill[i] + 1, fill[i] - 1) | 0;
        if (value.distinct && new Set(fill).size < fill.length) return undefined; // undefined results, as documented
        return { value: { ...value, fill }, what: `element ${i} is ${fill[i]}`, allowed: any };
      },
    ),
  readOnly: (r, call, contract) => {
    const inout = contract.fields
      .filter(({ name, inout }) => inout && [call.args[name]].flat().every(isPlain))
      .map(({ name }) => name);
    if (call.aliased || inout.length === 0) return undefined;
    const name = r.pick(...inout);
    const all = [call.args[name]].flat();
    const at = r.int(0, all.length - 1);
    const { fill, ...value } = all[at];
    if (product(value.shape) === 0) return undefined;
    all[at] = { ...value, storage: "mapped" };
    call.args[name] = Array.isArray(call.args[name]) ? all : all[0];
    return { what: `${name}: of a mapped file`, allowed: call.cuda ? any : ["INVALID_ARGUMENT"] };
  },
  odd: (r, call) =>
    replaceTensor(r, call, isTensor, (_, path) => {
      const name = r.pick(...oddNames);
      const value = path.includes("[") && (name === "undefined" || name === "null") ? "-1" : name;
      return { value: { odd: value }, what: value, allowed: any };
    }),
  unpacked: (r, call) =>
    replaceTensor(
      r,
      call,
      (value) => value?.packed,
      (value) => ({
        value: structuredClone(plainOf(value)),
        what: "not packed",
        allowed: any,
      }),
    ),
  packed: (r, call) =>
    replaceTensor(r, call, isTensor, (value) => {
      const plain = value.tensor ? value : plainOf(value);
      if (!plain || plain.fill) return undefined;
      const repacked = packedOtherwise(r, plain, value);
      return repacked && { value: repacked, what: `packed by ${repacked.packed}`, allowed: any };
    }),
  same: (r, call) => {
    const places = tensorsOf(call).filter(([object, key]) => isPlain(object[key]) && !object[key].distinct);
    if (places.length < 2) return undefined;
    const [[from, fromKey, source], [to, toKey, target]] = [r.pick(...places), r.pick(...places)];
    if (source === target || source.includes("[")) return undefined;
    const storage = from[fromKey].storage === "mapped" ? "own" : from[fromKey].storage;
    from[fromKey] = { ...from[fromKey], storage };
    to[toKey] = { same: fromKey, ...r.pick({}, { shape: to[toKey].shape, shift: r.int(0, 3) }) };
    call.aliased = true;
    return { what: `${target}: shares the memory of ${source}`, allowed: any };
  },
  number: (r, call, contract) => {
    const fields = fieldsOf(call, contract, "integer", "number", "boolean", "choice", "handle", "value");
    if (fields.length === 0) return undefined;
    const field = r.pick(...fields);
    const value = call.args[field];
    const near = typeof value === "number" ? [value + 1, value - 1, 2 * value, 0, -value] : [];
    const changed = r.chance(0.5) && near.length > 0 ? r.pick(...near) : { odd: r.pick(...oddNames) };
    call.args[field] = changed;
    return { what: `${field}: ${changed.odd ?? changed}`, allowed: any };
  },
  numbers: (r, call, contract) => {
    const fields = fieldsOf(call, contract, "integer[]", "small[]", "number[]", "tensor[]").filter((f) =>
      Array.isArray(call.args[f]),
    );
    if (fields.length === 0) return undefined;
    const field = r.pick(...fields);
    const list = call.args[field];
    const small = contract.fields.some(({ name, kind }) => name === field && kind === "small[]");
    const i = r.int(0, list.length);
    const kind = r.int(0, 3);
    if (kind === 0) call.args[field] = { odd: r.pick(...oddNames) };
    else if (kind === 1) list.splice(i, 1);
    else list.splice(i, kind === 2 ? 1 : 0, { odd: r.pick(...(small ? smallNames : [...oddNumbers, ...oddNames])) });
    return {
      what: `${field}: ${["another value", "one less", "another element", "one more"][kind]} at ${i}`,
      allowed: any,
    };
  },
  missing: (r, call) => {
    const field = r.pick(...Object.keys(call.args));
    delete call.args[field];
    return { what: `no ${field}`, allowed: any };
  },
  getter: (r, call, contract) => {
    if (call.layer !== "addon") return undefined;
    const field = r.pick(...Object.keys(call.args));
    const value = call.args[field];
    const element = Array.isArray(value) && value.length > 0 ? r.int(0, value.length - 1) : undefined;
    if (contract.positional && element === undefined) return undefined;
    const targets = tensorsOf(call).filter(([object]) => object === call.args);
    const action = r.pick("throw", "dispose", "closeDevice", ...(element === undefined ? [] : ["grow", "shrink"]));
    if (action === "dispose" && targets.length === 0) return undefined;
    call.getter = { field, element, action, ...(action === "dispose" ? { target: r.pick(...targets)[1] } : {}) };
    const allowed = { throw: ["thrown"], dispose: ["ok", "DISPOSED"], closeDevice: ["ok", "DISPOSED"] }[action];
    return { what: `reading ${field} runs ${action}`, allowed: allowed ?? any };
  },
};

/** The plain weight packed by an operation that could be taken for the right one. */
function packedOtherwise(r, plain, value) {
  const w = { ...plain, storage: "own" };
  if (w.shape.length === 3 && (w.tensor === "f32" || w.tensor === "bf16")) {
    if (value.packed !== "packConv1d") return { packed: "packConv1d", args: { w, groups: 1 } };
    return r.pick(
      { packed: "packConvTranspose1d", args: { w } },
      { packed: "packWeights", args: { weights: [w] } },
      { packed: "packConv1d", args: { w, groups: r.pick(...[1, 2, 3].filter((n) => w.shape[0] % n === 0)) } },
    );
  }
  if (w.shape.length !== 2 || !["f32", "bf16"].includes(w.tensor)) return undefined;
  const third = { ...w, shape: [...w.shape, 1] };
  return r.pick(
    { packed: "packWeight", args: { w } },
    { packed: "packWeights", args: { weights: [w] } },
    { packed: "packConv1d", args: { w: third } },
    { packed: "packConvTranspose1d", args: { w: third } },
  );
}

const names = Object.keys(mutations);

/** Changes the call. Its outcomes become those that all changes allow together. */
export function mutate(r, call, contract) {
  for (let count = r.pick(1, 1, 1, 2); count > 0; count--) {
    const change = mutations[r.pick(...names)](r, call, contract);
    if (!change) continue;
    const before = call.allowed ?? ["ok"];
    const codes = [...before, ...change.allowed].filter((outcome) => outcome !== "ok");
    const ok = before.includes("ok") && change.allowed.includes("ok");
    call.allowed = [...new Set(ok ? ["ok", ...codes] : codes), ...(contract.codes ?? [])];
    call.mutations.push(change.what);
    delete call.outputs;
    if (!ok || call.getter) return; // another change could make it valid again, or remove what the getter reads
  }
}
