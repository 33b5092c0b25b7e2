import type { TensorEntry } from "./entry.js";
import { throwProblems } from "./fields.js";
import { quote } from "./file.js";
import type { ExpectedTensor, Layout } from "./layout.js";

/** How many tensors of each kind of problem a message names; the rest are counted. */
const named = 8;

/** Throws one `CHECKPOINT_INVALID` with everything that {@link tensorProblems} finds. */
export function checkTensors(entries: Iterable<TensorEntry>, expected: Layout, file: string): void {
  throwProblems(tensorProblems(entries, expected), file);
}

/** Every missing, unexpected, misshapen and mistyped tensor, grouped: at most four lines, however many there are. */
export function tensorProblems(entries: Iterable<TensorEntry>, expected: Layout): string[] {
  const found = new Map([...entries].map((entry) => [entry.name, entry]));
  const missing = [...expected].filter(([name, tensor]) => !found.has(name) && isRequired(tensor, found));
  const unexpected = [...found.keys()].filter((name) => !expected.has(name) || isStray(expected.get(name)!, found));
  const known = [...found.values()].filter((entry) => expected.has(entry.name));
  const misshapen = known.filter(({ name, shape }) => String(shape) !== String(expected.get(name)!.shape));
  const mistyped = known.filter(({ name, dtype }) => !expected.get(name)!.dtypes.includes(dtype));
  return [
    ...group("missing", missing, ([name, { shape }]) => `${quote(name)} [${shape}]`),
    ...group("unexpected", unexpected, quote),
    ...group("misshapen", misshapen, ({ name, shape }) => {
      return `${quote(name)} [${shape}], expected [${expected.get(name)!.shape}]`;
    }),
    ...group("of another dtype", mistyped, ({ name, dtype }) => {
      return `${quote(name)} ${dtype}, expected ${expected.get(name)!.dtypes.join(" or ")}`;
    }),
  ];
}

function isRequired({ optional, scales }: ExpectedTensor, found: ReadonlyMap<string, TensorEntry>): boolean {
  return scales === undefined ? !optional : found.get(scales)?.dtype === "f8e4m3";
}

/** Scales beside weights that are not FP8 mean that the weights are not what they seem. */
function isStray({ scales }: ExpectedTensor, found: ReadonlyMap<string, TensorEntry>): boolean {
  return scales !== undefined && found.get(scales)?.dtype !== "f8e4m3";
}

function group<T>(kind: string, items: readonly T[], describe: (item: T) => string): string[] {
  if (items.length === 0) return [];
  const first = items.slice(0, named).map(describe).join("; ");
  const rest = items.length > named ? `; and ${items.length - named} more` : "";
  return [`${items.length} tensor${items.length > 1 ? "s" : ""} ${kind}: ${first}${rest}`];
}
