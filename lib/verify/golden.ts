import { checkTensors } from "../checkpoint/checkTensors.js";
import type { TensorEntry } from "../checkpoint/entry.js";
import { openSafetensors, type SafetensorsContents } from "../checkpoint/formats/safetensors.js";
import type { Layout } from "../checkpoint/layout.js";
import { invalid } from "../checkpoint/problems.js";
import type { CaracalError } from "../errors.js";
import { Weights } from "../model/weights.js";
import type { Activations } from "../ops/call.js";
import type { DType } from "../tensor/dtype.js";
import { type Device, Tensor } from "../tensor/tensor.js";
import { type Numbers, valuesOf } from "./values.js";

/** The comparison of one tensor with its expected values. */
export interface TensorReport {
  readonly name: string;
  readonly measure: "relative error" | "mismatches" | "share of pixels off";
  readonly error: number;
  readonly tolerance: number;
  readonly passed: boolean;
  readonly note?: string;
}

/** Compares `actual` with `expected`, which have the same length. */
export type Measure = (actual: Numbers, expected: Numbers) => Omit<TensorReport, "name">;

/** ‖actual − expected‖ / ‖expected‖, or only the numerator if all expected values are zero. */
export function relativeError(tolerance: number): Measure {
  return (actual, expected) => {
    let difference = 0;
    let norm = 0;
    for (let i = 0; i < expected.length; i++) {
      difference += (actual[i]! - expected[i]!) ** 2;
      norm += expected[i]! ** 2;
    }
    const error = Math.sqrt(norm === 0 ? difference : difference / norm);
    return { measure: "relative error", error, tolerance, passed: error <= tolerance }; // NaN does not pass
  };
}

/** Lets a result fail that nobody may ever await, as when the file does not expect it or lacks what to compare it with. */
function markHandled(result: Tensor | Promise<unknown>): void {
  if (!(result instanceof Tensor)) result.catch(() => {});
}

/** The number of values that differ at all. */
export const mismatches: Measure = (actual, expected) => {
  let error = 0;
  for (let i = 0; i < expected.length; i++) if (actual[i] !== expected[i]) error++;
  return { measure: "mismatches", error, tolerance: 0, passed: error === 0 };
};

/** Largest relative errors. In bf16, per-layer results have been rounded fewer times than final ones. */
const tolerances = { f32: { final: 1e-5, layer: 1e-5 }, bf16: { final: 2e-2, layer: 1e-2 } } as const;

/**
 * A golden file: `weight.*`, `input.*` and `expected.*` tensors, and metadata with `module` and, as JSON, `config`.
 * A verifier runs the module on the inputs and passes its results to `compare`.
 */
export class Golden {
  readonly file: string;
  readonly device: Device;
  readonly activations: Activations;
  readonly module: string;
  readonly #config: string | undefined;
  readonly #entries: ReadonlyMap<string, TensorEntry>;
  readonly #tensors: Weights;
  readonly #reports: Promise<TensorReport>[] = [];
  readonly #compared = new Set<string>();

  private constructor(file: string, contents: SafetensorsContents, device: Device, activations: Activations) {
    const { entries, metadata } = contents;
    this.file = file;
    this.device = device;
    this.activations = activations;
    if (!metadata.module) throw this.invalid("its metadata does not name a module");
    this.module = metadata.module;
    this.#config = metadata.config;
    this.#entries = new Map(entries.map((entry) => [entry.name, entry]));
    if (!entries.some(({ name }) => name.startsWith("expected."))) throw this.invalid("contains no expected.* tensors");
    this.#tensors = Weights.of(device, { "": entries });
  }

  /** @throws {CaracalError} `CHECKPOINT_INVALID` when it is no safetensors file, or there is nothing to compare with */
  static async open(file: string, device: Device, activations: Activations): Promise<Golden> {
    return new Golden(file, await openSafetensors(file), device, activations);
  }

  /** The configuration of the module, parsed like its published file. */
  config<T>(parse: (source: unknown, file: string) => T): T {
    let source: unknown;
    try {
      source = JSON.parse(this.#config ?? "{}");
    } catch (error) {
      throw this.invalid(`the config in its metadata is not JSON: ${(error as Error).message}`);
    }
    return parse(source, this.file);
  }

  /** The `weight.*` tensors under their published names. */
  get weights(): Weights {
    return this.#tensors.part("weight");
  }

  /** @throws {CaracalError} `CHECKPOINT_INVALID` that lists missing, misshapen and unexpected weights of `part` */
  checkWeights(part: string, layout: Layout): void {
    const prefix = part === "" ? "weight." : `weight.${part}.`;
    const entries = [...this.#entries.values()].filter(({ name }) => name.startsWith(prefix));
    checkTensors(
      entries.map((entry) => ({ ...entry, name: entry.name.slice(prefix.length) })),
      layout,
      this.file,
    );
  }

  hasInput(name: string): boolean {
    return this.#entries.has(`input.${name}`);
  }

  /** @throws {CaracalError} `CHECKPOINT_INVALID` when there is no such input, or it has another dtype */
  input<D extends DType>(name: string, dtype: D): Tensor<D> {
    return this.#tensor(`input.${name}`, dtype);
  }

  expects(name: string): boolean {
    return this.#entries.has(`expected.${name}`);
  }

  expected<D extends DType>(name: string, dtype: D): Tensor<D> {
    return this.#tensor(`expected.${name}`, dtype);
  }

  /** The tolerance for the chosen activations. */
  tolerance(kind: "final" | "layer"): Measure {
    return relativeError(tolerances[this.activations][kind]);
  }

  /** The tolerance for modules that always compute in f32. */
  get f32(): Measure {
    return relativeError(tolerances.f32.final);
  }

  /**
   * Compares a result with `expected.<name>`, or with the tensor `reference`. Returns at once, and the result may be
   * disposed then; an error, such as a missing tensor, is thrown by `finish`.
   */
  compare(name: string, actual: Tensor | Promise<Numbers>, measure: Measure, reference = `expected.${name}`): void {
    markHandled(actual);
    const report = async (): Promise<TensorReport> => {
      const expected = this.#tensors.plain<DType>(reference);
      const pending = [actual instanceof Tensor ? valuesOf(actual) : actual, valuesOf(expected)] as const;
      const [result, values] = await Promise.all(pending);
      if (result.length !== values.length)
        throw this.invalid(`${reference} is [${expected.shape}], but the module produces ${result.length} values`);
      return { name, ...measure(result, values) };
    };
    const promise = report();
    markHandled(promise); // `finish` throws the error
    this.#reports.push(promise);
    this.#compared.add(reference);
  }

  /** Compares an intermediate result, if the file contains it. */
  compareLayer(name: string, actual: Tensor | Promise<Numbers>): void {
    markHandled(actual);
    if (this.expects(name)) this.compare(name, actual, this.tolerance("layer"));
  }

  /**
   * Waits for all comparisons. An expected tensor that the verifier did not compare is a failure.
   * @throws {CaracalError} `CHECKPOINT_INVALID` when the file lacks a tensor, or its shape is not that of the result
   */
  async finish(): Promise<TensorReport[]> {
    const reports = await Promise.all(this.#reports);
    const missing = [...this.#entries.keys()].filter(
      (name) => name.startsWith("expected.") && !this.#compared.has(name),
    );
    const failure = { measure: "relative error", error: Number.NaN, tolerance: 0, passed: false } as const;
    const note = `module ${this.module} produces no such result`;
    return [...reports, ...missing.map((name) => ({ name: name.slice("expected.".length), ...failure, note }))];
  }

  dispose(): void {
    this.#tensors.dispose();
  }

  invalid(problem: string): CaracalError {
    return invalid(this.file, problem);
  }

  #tensor<D extends DType>(name: string, dtype: D): Tensor<D> {
    const tensor = this.#tensors.plain<D>(name);
    if (tensor.dtype === dtype) return tensor;
    throw this.invalid(`tensor ${name} is ${tensor.dtype}, expected ${dtype}`);
  }
}
