import type { Steps } from "../../turns.js";
import { type EntryDType, elementCount } from "../entry.js";
import { invalid, quote } from "../problems.js";
import { decodeUtf8 } from "./file.js";

// Interpreted by hand rather than by a library: unpickling executes whatever the file asks for, unless the interpreter
// knows only the opcodes and callables that describe tensors, as this one does.

/** The elements in one record of a torch archive. */
export class Storage {
  readonly dtype: EntryDType;
  readonly key: string;
  readonly elements: number;

  constructor(dtype: EntryDType, key: string, elements: number) {
    this.dtype = dtype;
    this.key = key;
    this.elements = elements;
  }
}

/** The result of `torch._utils._rebuild_tensor_v2`: a strided view of a storage. Offset and strides are in elements. */
export class PickledTensor {
  readonly storage: Storage;
  readonly offset: number;
  readonly shape: readonly number[];
  readonly strides: readonly number[];

  constructor(storage: Storage, offset: number, shape: readonly number[], strides: readonly number[]) {
    this.storage = storage;
    this.offset = offset;
    this.shape = shape;
    this.strides = strides;
  }
}

/** A Python dict. Only one that is `ordered`, a `collections.OrderedDict`, may have attributes. */
export class Dict extends Map<unknown, unknown> {
  readonly ordered: boolean;

  constructor(ordered = false) {
    super();
    this.ordered = ordered;
  }
}

class List {
  readonly items: unknown[] = [];
}
class Tuple {
  readonly items: readonly unknown[];

  constructor(items: readonly unknown[]) {
    this.items = items;
  }
}
class Global {
  readonly name: string;

  constructor(name: string) {
    this.name = name;
  }
}

const storages = new Map<string, EntryDType>([
  ["torch.FloatStorage", "f32"],
  ["torch.HalfStorage", "f16"],
  ["torch.BFloat16Storage", "bf16"],
  ["torch.DoubleStorage", "f64"],
  ["torch.LongStorage", "i64"],
  ["torch.IntStorage", "i32"],
  ["torch.ShortStorage", "i16"],
  ["torch.CharStorage", "i8"],
  ["torch.ByteStorage", "u8"],
  ["torch.BoolStorage", "bool"],
]);

/** The only callables, with their implementations here. A pickle cannot make this process run anything else. */
const callables = new Map<string, (args: readonly unknown[], machine: Machine) => unknown>([
  ["collections.OrderedDict", makeOrderedDict],
  ["torch._utils._rebuild_tensor_v2", rebuildTensor],
  ["torch._utils._rebuild_parameter", ([data], machine) => machine.expect(data, PickledTensor, "a tensor")],
]);

/** `items` may follow a mark, which one opcode takes together; Python writes them in batches of 1000. */
const limits = { values: 1_000_000, marks: 256, items: 1 << 16, text: 1 << 20, rank: 64 };
const opcodesPerPause = 1000;

/**
 * Evaluates a pickle (protocol 2 to 5) that describes tensors. It can build None, booleans, numbers, strings, tuples,
 * lists, dicts and tensor descriptions. Time and memory are linear in the length of `bytes`, and bounded. It works in
 * steps, since `bytes` may be many.
 * @throws {CaracalError} `CHECKPOINT_INVALID` for any other opcode or global; the message names it and its byte
 */
export function unpickle(bytes: Buffer, file: string): Steps<unknown> {
  return new Machine(bytes, file).run();
}

class Machine {
  readonly #bytes: Buffer;
  readonly #file: string;
  #position = 0;
  #opcodeAt = 0;
  #stack: unknown[] = [];
  readonly #marks: unknown[][] = [];
  readonly #memo = new Map<number, unknown>();
  #values = 0;

  constructor(bytes: Buffer, file: string) {
    this.#bytes = bytes;
    this.#file = file;
  }

  *run(): Steps<unknown> {
    if (this.#bytes[0] !== 0x80) throw this.fail("does not begin with PROTO; expected pickle protocol 2 to 5");
    for (let count = 1; ; count++) {
      if (count % opcodesPerPause === 0) yield;
      this.#opcodeAt = this.#position;
      const opcode = this.take(1)[0]!;
      if (opcode === 0x2e) return this.#stop();
      const operation = operations.get(opcode);
      if (!operation)
        throw this.fail(`opcode ${opcodeName(opcode)} is not allowed: describing tensors does not need it`);
      operation(this);
    }
  }

  fail(problem: string) {
    return invalid(this.#file, `data.pkl, byte ${this.#opcodeAt}: ${problem}`);
  }

  expect<T>(value: unknown, type: new (...args: never[]) => T, what: string): T {
    if (value instanceof type) return value;
    throw this.fail(`expected ${what}`);
  }

  take(length: number): Buffer {
    if (length > this.#bytes.length - this.#position) throw this.fail("the pickle is truncated");
    this.#position += length;
    return this.#bytes.subarray(this.#position - length, this.#position);
  }

  push(value: unknown): void {
    if (++this.#values > limits.values) throw this.fail(`more than ${limits.values} values`);
    this.#stack.push(value);
  }

  pop(): unknown {
    if (this.#stack.length === 0) throw this.fail("pops an empty stack");
    return this.#stack.pop();
  }

  top<T>(type: new (...args: never[]) => T, what: string): T {
    return this.expect(this.#stack.at(-1), type, what);
  }

  mark(): void {
    if (this.#marks.length >= limits.marks) throw this.fail(`more than ${limits.marks} open marks`);
    this.#marks.push(this.#stack);
    this.#stack = [];
  }

  popToMark(): unknown[] {
    const items = this.#stack;
    const below = this.#marks.pop();
    if (!below) throw this.fail("pops to a mark, but none is open");
    if (items.length > limits.items) throw this.fail(`${items.length} items at once; expected at most ${limits.items}`);
    this.#stack = below;
    return items;
  }

  put(index: number): void {
    if (this.#stack.length === 0) throw this.fail("memoizes the top of an empty stack");
    if (this.#memo.size >= limits.values) throw this.fail(`more than ${limits.values} memoized values`);
    this.#memo.set(index, this.#stack.at(-1));
  }

  memoize(): void {
    this.put(this.#memo.size);
  }

  get(index: number): void {
    if (!this.#memo.has(index)) throw this.fail(`recalls value ${index}, which was never memoized`);
    this.push(this.#memo.get(index));
  }

  text(length: number): string {
    if (length > limits.text) throw this.fail(`a string of ${length} bytes; expected at most ${limits.text}`);
    return decodeUtf8(this.take(length), this.#file);
  }

  /** The 64-bit length of `BINUNICODE8` and `FRAME`, which cannot exceed the pickle. */
  length64(): number {
    const length = this.take(8).readBigUInt64LE();
    if (length > this.#bytes.length) throw this.fail("the pickle is truncated");
    return Number(length);
  }

  integer(length: number): number {
    if (length > 8) throw this.fail(`an integer of ${length} bytes; expected at most 8`);
    const value = length === 0 ? 0n : BigInt.asIntN(length * 8, littleEndian(this.take(length)));
    if (BigInt(Number(value)) !== value) throw this.fail(`the integer ${value} is too large`);
    return Number(value);
  }

  line(): string {
    const end = this.#bytes.indexOf(0x0a, this.#position);
    if (end < 0 || end - this.#position > 1000) throw this.fail("an unterminated name");
    const text = this.text(end - this.#position);
    this.#position++;
    return text;
  }

  global(module: unknown, name: unknown): void {
    const full = `${module}.${name}`;
    if (!callables.has(full) && !storages.has(full)) {
      throw this.fail(`global ${quote(full)} is not allowed: this file is only read, never executed`);
    }
    this.push(new Global(full));
  }

  reduce(): void {
    const args = this.expect(this.pop(), Tuple, "a tuple of arguments");
    const { name } = this.expect(this.pop(), Global, "a global to call");
    const callable = callables.get(name);
    if (!callable) throw this.fail(`calls ${name}, which is only allowed in a storage reference`);
    this.push(callable(args.items, this));
  }

  /** `BUILD` sets attributes. A state dict has one, `_metadata`, which no tensor needs. */
  build(): void {
    this.expect(this.pop(), Dict, "a dict of attributes");
    const { ordered } = this.top(Dict, "an OrderedDict to set attributes of");
    if (!ordered) throw this.fail("sets attributes of a plain dict");
  }

  persistentId(): void {
    const [kind, type, key, , elements] = this.expect(this.pop(), Tuple, "a storage reference").items;
    const dtype = type instanceof Global ? storages.get(type.name) : undefined;
    if (kind !== "storage" || !dtype || typeof key !== "string" || !isCount(elements)) {
      throw this.fail("expected the storage reference ('storage', type, key, location, size)");
    }
    this.push(new Storage(dtype, key, elements));
  }

  setItems(pairs: unknown[]): void {
    const dict = this.top(Dict, "a dict");
    if (pairs.length % 2) throw this.fail("a key without a value");
    for (let i = 0; i < pairs.length; i += 2) {
      const key = pairs[i];
      if (typeof key !== "string" && typeof key !== "number")
        throw this.fail("a dict key that is neither a string nor a number");
      if (dict.has(key)) throw this.fail(`duplicate key ${quote(String(key))}`);
      dict.set(key, pairs[i + 1]);
    }
  }

  #stop(): unknown {
    if (this.#stack.length !== 1 || this.#marks.length > 0) throw this.fail("ends with an unbalanced stack");
    if (this.#position !== this.#bytes.length) throw this.fail("bytes follow the end of the pickle");
    return this.#stack[0];
  }
}

/** The opcodes that `torch.save` writes with protocols 2 (its default) to 5. */
const operations = new Map<number, (machine: Machine) => void>([
  [0x80, (m) => checkProtocol(m, m.take(1)[0]!)], // PROTO
  [0x95, (m) => void m.length64()], // FRAME: only a hint for buffering
  [0x28, (m) => m.mark()], // MARK
  [0x4e, (m) => m.push(null)], // NONE
  [0x88, (m) => m.push(true)], // NEWTRUE
  [0x89, (m) => m.push(false)], // NEWFALSE
  [0x4b, (m) => m.push(m.take(1)[0])], // BININT1
  [0x4d, (m) => m.push(m.take(2).readUInt16LE())], // BININT2
  [0x4a, (m) => m.push(m.take(4).readInt32LE())], // BININT
  [0x8a, (m) => m.push(m.integer(m.take(1)[0]!))], // LONG1
  [0x47, (m) => m.push(m.take(8).readDoubleBE())], // BINFLOAT
  [0x8c, (m) => m.push(m.text(m.take(1)[0]!))], // SHORT_BINUNICODE
  [0x58, (m) => m.push(m.text(m.take(4).readUInt32LE()))], // BINUNICODE
  [0x8d, (m) => m.push(m.text(m.length64()))], // BINUNICODE8
  [0x5d, (m) => m.push(new List())], // EMPTY_LIST
  [0x61, (m) => append(m, [m.pop()])], // APPEND
  [0x65, (m) => append(m, m.popToMark())], // APPENDS
  [0x29, (m) => m.push(new Tuple([]))], // EMPTY_TUPLE
  [0x74, (m) => m.push(new Tuple(m.popToMark()))], // TUPLE
  [0x85, (m) => pushTuple(m, 1)], // TUPLE1
  [0x86, (m) => pushTuple(m, 2)], // TUPLE2
  [0x87, (m) => pushTuple(m, 3)], // TUPLE3
  [0x7d, (m) => m.push(new Dict())], // EMPTY_DICT
  [0x73, (m) => setItem(m, m.pop(), m.pop())], // SETITEM
  [0x75, (m) => m.setItems(m.popToMark())], // SETITEMS
  [0x71, (m) => m.put(m.take(1)[0]!)], // BINPUT
  [0x72, (m) => m.put(m.take(4).readUInt32LE())], // LONG_BINPUT
  [0x94, (m) => m.memoize()], // MEMOIZE
  [0x68, (m) => m.get(m.take(1)[0]!)], // BINGET
  [0x6a, (m) => m.get(m.take(4).readUInt32LE())], // LONG_BINGET
  [0x63, (m) => m.global(m.line(), m.line())], // GLOBAL
  [0x93, (m) => stackGlobal(m, m.pop(), m.pop())], // STACK_GLOBAL
  [0x52, (m) => m.reduce()], // REDUCE
  [0x62, (m) => m.build()], // BUILD
  [0x51, (m) => m.persistentId()], // BINPERSID
]);

/** Names of the refused opcodes, for the error message. */
const refused = new Map(
  `30 POP, 31 POP_MARK, 32 DUP, 46 FLOAT, 49 INT, 4c LONG, 50 PERSID, 53 STRING, 54 BINSTRING, 55 SHORT_BINSTRING,
   56 UNICODE, 42 BINBYTES, 43 SHORT_BINBYTES, 64 DICT, 67 GET, 69 INST, 6c LIST, 6f OBJ, 70 PUT, 81 NEWOBJ, 82 EXT1,
   83 EXT2, 84 EXT4, 8b LONG4, 8e BINBYTES8, 8f EMPTY_SET, 90 ADDITEMS, 91 FROZENSET, 92 NEWOBJ_EX, 96 BYTEARRAY8,
   97 NEXT_BUFFER, 98 READONLY_BUFFER`
    .split(/,\s+/)
    .map((line) => [Number.parseInt(line, 16), line.slice(3)]),
);

function opcodeName(opcode: number): string {
  return refused.get(opcode) ?? `0x${opcode.toString(16).padStart(2, "0")}`;
}

function checkProtocol(machine: Machine, version: number): void {
  if (version < 2 || version > 5) throw machine.fail(`pickle protocol ${version}; expected 2 to 5`);
}

function append(machine: Machine, items: unknown[]): void {
  const list = machine.top(List, "a list");
  for (const item of items) list.items.push(item);
}

function pushTuple(machine: Machine, length: number): void {
  const items = Array.from({ length }, () => machine.pop());
  machine.push(new Tuple(items.reverse()));
}

function setItem(machine: Machine, value: unknown, key: unknown): void {
  machine.setItems([key, value]);
}

function stackGlobal(machine: Machine, name: unknown, module: unknown): void {
  if (typeof name !== "string" || typeof module !== "string") throw machine.fail("a global whose name is not a string");
  machine.global(module, name);
}

function makeOrderedDict(args: readonly unknown[], machine: Machine): Dict {
  if (args.length > 0) throw machine.fail("OrderedDict is called with arguments; expected none");
  return new Dict(true);
}

function rebuildTensor([storage, offset, shape, strides]: readonly unknown[], machine: Machine): PickledTensor {
  const sizes = machine.expect(shape, Tuple, "a tensor's shape").items;
  const steps = machine.expect(strides, Tuple, "a tensor's strides").items;
  if (sizes.length > limits.rank)
    throw machine.fail(`a tensor with ${sizes.length} dimensions; expected at most ${limits.rank}`);
  if (!isCount(offset) || sizes.length !== steps.length || !sizes.every(isCount) || !steps.every(isCount)) {
    throw machine.fail("a tensor's offset, shape or strides are not whole numbers >= 0");
  }
  const source = machine.expect(storage, Storage, "a tensor's storage");
  // Negated so that NaN, which absurd sizes give, is refused too.
  if (!(offset + elementCount(sizes) <= source.elements)) {
    throw machine.fail(`a tensor [${quote(sizes.join(","))}] at ${offset} in a storage of ${source.elements} elements`);
  }
  return new PickledTensor(source, offset, sizes, steps);
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function littleEndian(bytes: Buffer): bigint {
  return BigInt(`0x${Buffer.from(bytes).reverse().toString("hex")}`);
}
