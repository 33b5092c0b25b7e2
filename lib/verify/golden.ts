import { checkTensors } from "../checkpoint/checkTensors.js";
import type { TensorEntry } from "../checkpoint/entry.js";
import { openSafetensors } from "../checkpoint/formats/safetensors.js";
import type { Layout } from "../checkpoint/layout.js";
import { CaracalError } from "../errors.js";
import { Weights } from "../model/weights.js";
import type { Activations } from "../ops/call.js";
import type { Device } from "../tensor/device.js";
import type { DType } from "../tensor/dtype.js";
import { Tensor } from "../tensor/tensor.js";

/** How one tensor compares with what it should be. */
export interface TensorReport {
  readonly name: string;
  readonly measure: "relative error" | "mismatches" | "share of pixels off";
  readonly error: number;
  readonly tolerance: number;
  readonly passed: boolean;
  readonly note?: string;
}

type Numbers = ArrayLike<number>;

/** Measures `actual` against `expected`; both have the same length. */
export type Measure = (actual: Numbers, expected: Numbers) => Omit<TensorReport, "name">;

/** ‖actual − expected‖ / ‖expected‖ (the numerator alone where the expected values are all zero). */
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

/** Values that differ at all. */
export const mismatches: Measure = (actual, expected) => {
  let error = 0;
  for (let i = 0; i < expected.length; i++) if (actual[i] !== expected[i]) error++;
  return { measure: "mismatches", error, tolerance: 0, passed: error === 0 };
};

/** Largest relative errors. Per-layer results of bf16 activations have gone through fewer roundings than final ones. */
const tolerances = { f32: { final: 1e-5, layer: 1e-5 }, bf16: { final: 2e-2, layer: 1e-2 } } as const;

/**
 * A golden file: `weight.*`, `input.*` and `expected.*` tensors, and metadata with `module` and, as JSON, `config`.
 * A verifier runs the module on the inputs and hands its results to `compare`.
 */
export class Golden {
  readonly #reports: Promise<TensorReport>[] = [];
  readonly #compared = new Set<string>();

  private constructor(
    readonly file: string,
    readonly device: Device,
    readonly activations: Activations,
    readonly metadata: Readonly<Record<string, string>>,
    private readonly entries: ReadonlyMap<string, TensorEntry>,
    private readonly all: Weights,
  ) {}

  /** @throws `CHECKPOINT_INVALID` when it is no safetensors file, or holds nothing to compare with */
  static async open(file: string, device: Device, activations: Activations): Promise<Golden> {
    const { entries, metadata } = await openSafetensors(file);
    const byName = new Map(entries.map((entry) => [entry.name, entry]));
    const golden = new Golden(file, device, activations, metadata, byName, Weights.of(device, { "": entries }));
    if (!metadata.module) throw golden.invalid("its metadata name no module");
    if (![...byName.keys()].some((name) => name.startsWith("expected."))) throw golden.invalid("no expected.* tensors");
    return golden;
  }

  get module(): string {
    return this.metadata.module!;
  }

  /** The module's configuration, through the reader of its published file. */
  config<T>(parse: (source: unknown, file: string) => T): T {
    let source: unknown;
    try {
      source = JSON.parse(this.metadata.config ?? "{}");
    } catch (error) {
      throw this.invalid(`its metadata's config is not JSON: ${(error as Error).message}`);
    }
    return parse(source, this.file);
  }

  /** The `weight.*` tensors under their published names. */
  get weights(): Weights {
    return this.all.part("weight");
  }

  /** @throws `CHECKPOINT_INVALID` naming every weight of `part` that is missing, misshapen or unknown */
  checkWeights(part: string, layout: Layout): void {
    const prefix = part === "" ? "weight." : `weight.${part}.`;
    const entries = [...this.entries.values()].filter(({ name }) => name.startsWith(prefix));
    checkTensors(
      entries.map((entry) => ({ ...entry, name: entry.name.slice(prefix.length) })),
      layout,
      this.file,
    );
  }

  hasInput(name: string): boolean {
    return this.entries.has(`input.${name}`);
  }

  /** @throws `CHECKPOINT_INVALID` when there is no such input, or of another dtype */
  input<D extends DType>(name: string, dtype: D): Tensor<D> {
    return this.#tensor(`input.${name}`, dtype);
  }

  expects(name: string): boolean {
    return this.entries.has(`expected.${name}`);
  }

  expected<D extends DType>(name: string, dtype: D): Tensor<D> {
    return this.#tensor(`expected.${name}`, dtype);
  }

  /** The tolerance of the chosen activations. */
  tolerance(kind: "final" | "layer"): Measure {
    return relativeError(tolerances[this.activations][kind]);
  }

  /** The tolerance of modules that compute in f32 whatever the activations. */
  get f32(): Measure {
    return relativeError(tolerances.f32.final);
  }

  /**
   * Compares a result with `expected.<name>`, or with the tensor `reference`. Returns at once; the result may be
   * disposed afterwards.
   * @throws `CHECKPOINT_INVALID` when the file has no such tensor
   */
  compare(name: string, actual: Tensor | Promise<Numbers>, measure: Measure, reference = `expected.${name}`): void {
    const report = async (): Promise<TensorReport> => {
      const expected = this.all.plain<DType>(reference);
      const pending = [actual instanceof Tensor ? numbersOf(actual) : actual, numbersOf(expected)] as const;
      const [result, values] = await Promise.all(pending);
      if (result.length !== values.length)
        throw this.invalid(`${reference} is [${expected.shape}], the module gives ${result.length} values`);
      return { name, ...measure(result, values) };
    };
    const promise = report();
    promise.catch(() => {}); // `finish` throws it
    this.#reports.push(promise);
    this.#compared.add(reference);
  }

  /** Compares an intermediate result, if the file has it. */
  compareLayer(name: string, actual: Tensor | Promise<Numbers>): void {
    if (this.expects(name)) this.compare(name, actual, this.tolerance("layer"));
  }

  /** Waits for all comparisons. An expected tensor that the verifier did not compare is a failure. */
  async finish(): Promise<TensorReport[]> {
    const reports = await Promise.all(this.#reports);
    const unknown = [...this.entries.keys()].filter(
      (name) => name.startsWith("expected.") && !this.#compared.has(name),
    );
    const failure = { measure: "relative error", error: Number.NaN, tolerance: 0, passed: false } as const;
    const note = `module ${this.module} gives no such result`;
    return [...reports, ...unknown.map((name) => ({ name: name.slice("expected.".length), ...failure, note }))];
  }

  dispose(): void {
    this.all.dispose();
  }

  invalid(problem: string): CaracalError {
    return new CaracalError("CHECKPOINT_INVALID", `${this.file}: ${problem}`, { file: this.file, problem });
  }

  #tensor<D extends DType>(name: string, dtype: D): Tensor<D> {
    const tensor = this.all.plain<D>(name);
    if (tensor.dtype === dtype) return tensor;
    throw this.invalid(`tensor ${name} is ${tensor.dtype}, expected ${dtype}`);
  }
}

/** Floats as f32, integers as they are. */
function numbersOf(tensor: Tensor): Promise<Numbers> {
  return tensor.dtype === "i32" || tensor.dtype === "u8" ? tensor.read() : tensor.toFloat32Array();
}
