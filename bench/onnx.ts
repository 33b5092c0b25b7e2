// Writes ONNX models of a few nodes, for the peer. By hand, since they need little of the format (onnx.proto3): tags, lengths
// and varints.

type Attribute = number | string | readonly number[] | { readonly float: number };
export type OnnxType = "float" | "int64" | "int32";

const elementType: Record<OnnxType, number> = { float: 1, int32: 6, int64: 7 };

function varint(value: number): Buffer {
  const bytes: number[] = [];
  let n = BigInt.asUintN(64, BigInt(value));
  do {
    const low = Number(n & 0x7fn);
    n >>= 7n;
    bytes.push(n ? low | 0x80 : low);
  } while (n);
  return Buffer.from(bytes);
}

const field = (id: number, wire: number) => varint((id << 3) | wire);
const int = (id: number, value: number) => Buffer.concat([field(id, 0), varint(value)]);
const bytes = (id: number, value: Uint8Array) => Buffer.concat([field(id, 2), varint(value.length), value]);
const text = (id: number, value: string) => bytes(id, Buffer.from(value));

function float(id: number, value: number): Buffer {
  const buffer = Buffer.alloc(4);
  buffer.writeFloatLE(value);
  return Buffer.concat([field(id, 5), buffer]);
}

/** A constant tensor of the model. */
export function initializer(name: string, dims: readonly number[], values: Float32Array): Buffer {
  const raw = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  return Buffer.concat([...dims.map((d) => int(1, d)), int(2, elementType.float), text(8, name), bytes(9, raw)]);
}

/** A constant list of integers, such as the pads of `Pad`. */
export function integerInitializer(name: string, values: readonly number[]): Buffer {
  const raw = new Uint8Array(BigInt64Array.from(values, BigInt).buffer);
  return Buffer.concat([int(1, values.length), int(2, elementType.int64), text(8, name), bytes(9, raw)]);
}

/** A named input or output. A dimension given as a string is dynamic. */
export function value(name: string, dims: readonly (number | string)[], type: OnnxType = "float"): Buffer {
  const shape = Buffer.concat(dims.map((d) => bytes(1, typeof d === "number" ? int(1, d) : text(2, d))));
  const tensor = Buffer.concat([int(1, elementType[type]), bytes(2, shape)]);
  return Buffer.concat([text(1, name), bytes(2, bytes(1, tensor))]);
}

function attribute(name: string, v: Attribute): Buffer {
  const head = text(1, name);
  if (typeof v === "string") return Buffer.concat([head, text(4, v), int(20, 3)]);
  if (typeof v === "number") return Buffer.concat([head, int(3, v), int(20, 2)]);
  if ("float" in v) return Buffer.concat([head, float(2, v.float), int(20, 1)]);
  return Buffer.concat([head, ...v.map((i) => int(8, i)), int(20, 7)]);
}

export interface OnnxNode {
  readonly op: string;
  readonly domain?: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes?: Readonly<Record<string, Attribute>>;
}

const body = (node: OnnxNode, name: string): Buffer =>
  Buffer.concat([
    ...node.inputs.map((i) => text(1, i)),
    ...node.outputs.map((o) => text(2, o)),
    text(3, name),
    text(4, node.op),
    ...Object.entries(node.attributes ?? {}).map(([k, v]) => bytes(5, attribute(k, v))),
    ...(node.domain ? [text(7, node.domain)] : []),
  ]);

/** A model of nodes in the order of their execution. */
export function onnxModel(
  nodes: readonly OnnxNode[],
  initializers: readonly Buffer[],
  inputs: readonly Buffer[],
  outputs: readonly Buffer[],
): Uint8Array {
  const graph = Buffer.concat([
    ...nodes.map((node, i) => bytes(1, body(node, `node${i}`))),
    text(2, "graph"),
    ...initializers.map((t) => bytes(5, t)),
    ...inputs.map((i) => bytes(11, i)),
    ...outputs.map((o) => bytes(12, o)),
  ]);
  const opset = (domain: string, version: number) => bytes(8, Buffer.concat([text(1, domain), int(2, version)]));
  return Buffer.concat([
    int(1, 10),
    text(2, "caracal bench"),
    bytes(7, graph),
    opset("", 21),
    opset("com.microsoft", 1),
  ]);
}
