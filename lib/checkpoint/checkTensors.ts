import { atOnce, type Steps } from "../turns.js";
import type { TensorEntry, TensorMap } from "./entry.js";
import type { ExpectedTensor, Layout } from "./layout.js";
import { plural, quote, throwProblems } from "./problems.js";

/** The number of tensors that a message names for each kind of problem; the others are only counted. */
const maxNamed = 8;

/** @throws {CaracalError} `CHECKPOINT_INVALID` with everything that {@link compareTensors} finds */
export const checkTensors = (entries: Iterable<TensorEntry>, layout: Layout, file: string): void =>
  atOnce(checkTensorsSteps(entries, layout, file));

/** Like {@link checkTensors}, in steps. */
export function* checkTensorsSteps(entries: Iterable<TensorEntry>, layout: Layout, file: string): Steps<void> {
  const { problems, unknown } = yield* compareSteps(byName(entries), layout);
  throwProblems([...problems, ...unexpected(unknown)], file);
}

/** What distinguishes the tensors of a file from those that it should hold. */
export interface TensorDifferences {
  /** Missing tensors, wrong shapes and dtypes, and scales of a weight that has none, one line per kind. */
  readonly problems: readonly string[];
  /** The names of tensors that the layout does not contain. */
  readonly unknown: readonly string[];
}

export const compareTensors = (entries: Iterable<TensorEntry>, layout: Layout): TensorDifferences =>
  atOnce(compareSteps(byName(entries), layout));

const byName = (entries: Iterable<TensorEntry>): TensorMap =>
  new Map(Array.from(entries, (entry) => [entry.name, entry]));

/** Like {@link compareTensors}, in steps, since a large model has a hundred thousand tensors. */
export function* compareSteps(found: TensorMap, layout: Layout): Steps<TensorDifferences> {
  const missing: (readonly [string, ExpectedTensor])[] = [];
  for (const [name, tensor] of layout) {
    if (!found.has(name) && isRequired(tensor, found)) missing.push([name, tensor]);
    yield;
  }
  const unknown: string[] = [];
  const strayScales: string[] = [];
  const misshapen: TensorEntry[] = [];
  const mistyped: TensorEntry[] = [];
  for (const entry of found.values()) {
    const expected = layout.get(entry.name);
    if (expected === undefined) unknown.push(entry.name);
    else {
      if (isStrayScale(expected, found)) strayScales.push(entry.name);
      if (!isSame(entry.shape, expected.shape)) misshapen.push(entry);
      if (!expected.dtypes.includes(entry.dtype)) mistyped.push(entry);
    }
    yield;
  }
  const problems = [
    ...group("missing", missing, ([name, { shape }]) => `${quote(name)} [${shape}]`),
    ...unexpected(strayScales),
    ...group("misshapen", misshapen, ({ name, shape }) => {
      return `${quote(name)} [${shape}], expected [${layout.get(name)!.shape}]`;
    }),
    ...group("of the wrong dtype", mistyped, ({ name, dtype }) => {
      return `${quote(name)} ${dtype}, expected ${layout.get(name)!.dtypes.join(" or ")}`;
    }),
  ];
  return { problems, unknown };
}

const isSame = (a: readonly number[], b: readonly number[]): boolean =>
  a.length === b.length && a.every((size, i) => size === b[i]);

/** A line that names unexpected tensors; none if there are none. */
export function unexpected(names: readonly string[]): string[] {
  return group("unexpected", names, quote);
}

function isRequired({ optional, scales }: ExpectedTensor, found: TensorMap): boolean {
  return scales === undefined ? !optional : found.get(scales)?.dtype === "f8e4m3";
}

/** Scales beside a weight that is not FP8 mean that the weight is not what it seems to be. */
function isStrayScale({ scales }: ExpectedTensor, found: TensorMap): boolean {
  return scales !== undefined && found.get(scales)?.dtype !== "f8e4m3";
}

function group<T>(kind: string, items: readonly T[], describe: (item: T) => string): string[] {
  if (items.length === 0) return [];
  const first = items.slice(0, maxNamed).map(describe).join("; ");
  const more = items.length > maxNamed ? `; and ${items.length - maxNamed} more` : "";
  return [`${plural(items.length, "tensor")} ${kind}: ${first}${more}`];
}
