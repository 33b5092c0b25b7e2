import { Tensor } from "../tensor/tensor.js";

export type Numbers = ArrayLike<number>;

/** The values of a tensor: floats as f32, integers as they are. */
export function valuesOf(tensor: Tensor): Promise<Numbers> {
  return tensor.dtype === "i32" || tensor.dtype === "u8" ? tensor.read() : tensor.toFloat32Array();
}

/** Concatenates arrays. */
export function join(arrays: readonly Numbers[]): Float32Array {
  const joined = new Float32Array(arrays.reduce((length, array) => length + array.length, 0));
  let at = 0;
  for (const array of arrays) {
    joined.set(array, at);
    at += array.length;
  }
  return joined;
}

/** Results by name, each of which arrives in pieces: one per recording, utterance or prompt of the golden file. */
export class Pieces {
  readonly #values = new Map<string, Promise<Numbers>[]>();

  /** Adds the next piece of a result. A tensor may be disposed afterwards. */
  add(name: string, piece: Tensor | Promise<Numbers>): void {
    const values = piece instanceof Tensor ? valuesOf(piece) : piece;
    values.catch(() => {}); // if the run fails before `joined`, its error is the one to report
    this.#values.set(name, [...(this.#values.get(name) ?? []), values]);
  }

  names(): string[] {
    return [...this.#values.keys()];
  }

  /** All pieces of one result, concatenated. */
  async joined(name: string): Promise<Float32Array> {
    return join(await Promise.all(this.#values.get(name) ?? []));
  }
}
