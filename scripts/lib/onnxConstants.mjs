// Reads the constants of an ONNX model. It takes little of the format (onnx.proto3, protobuf): tags, lengths, varints.

/** The fields of a message, in order: numbers for varints, bytes for everything else. */
function* fields(bytes) {
  let at = 0;
  const varint = () => {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = bytes[at++];
      value |= BigInt(byte & 127) << shift;
      if (byte < 128) return Number(BigInt.asIntN(64, value));
    }
  };
  const take = (count) => {
    at += count;
    return bytes.subarray(at - count, at);
  };
  while (at < bytes.length) {
    const tag = varint();
    const wire = tag & 7;
    if (wire === 0) yield [tag >> 3, varint()];
    else if (wire === 1) yield [tag >> 3, take(8)];
    else if (wire === 2) yield [tag >> 3, take(varint())];
    else if (wire === 5) yield [tag >> 3, take(4)];
    else throw new Error(`the ONNX file is damaged: wire type ${wire}`);
  }
}

const text = (bytes) => new TextDecoder().decode(bytes);
/** The values of all fields with an id. */
const all = (bytes, id) => Array.from(fields(bytes)).flatMap(([found, value]) => (found === id ? [value] : []));

/** TensorProto: 1 dims, 2 data_type (1 is f32), 9 raw_data. Undefined for other than raw f32. */
function tensor(bytes) {
  const raw = all(bytes, 9)[0];
  if (all(bytes, 2)[0] !== 1 || raw === undefined) return undefined;
  return { shape: all(bytes, 1), values: new Float32Array(Uint8Array.from(raw).buffer) };
}

/** GraphProto: 1 node. NodeProto: 2 output, 4 op_type, 5 attribute. AttributeProto: 5 t, 6 g. */
function* constants(graph) {
  for (const node of all(graph, 1)) {
    const attributes = all(node, 5);
    if (text(all(node, 4)[0]) === "Constant") {
      const value = attributes.flatMap((attribute) => all(attribute, 5)).map(tensor)[0];
      if (value) yield [text(all(node, 2)[0]), value];
    }
    for (const subgraph of attributes.flatMap((attribute) => all(attribute, 6))) yield* constants(subgraph);
  }
}

/** The f32 constants of a model and its subgraphs, `{ shape, values }` by name. ModelProto: 7 graph. */
export function constantsOf(model) {
  return new Map(all(model, 7).flatMap((graph) => [...constants(graph)]));
}
