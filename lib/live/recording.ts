/** The last samples of a stream, addressed by their number in it. */
export class Recording {
  #pieces: Float32Array[] = [];
  #start = 0;
  #end = 0;

  /** The number of samples so far. */
  get end(): number {
    return this.#end;
  }

  push(samples: Float32Array): void {
    if (samples.length > 0) this.#pieces.push(samples);
    this.#end += samples.length;
  }

  /** Samples `[from, to)`, of those that were not forgotten. */
  slice(from: number, to: number): Float32Array {
    const [first, last] = [Math.max(from, this.#start), Math.min(to, this.#end)];
    const result = new Float32Array(Math.max(0, last - first));
    let at = this.#start;
    for (const piece of this.#pieces) {
      const [begin, end] = [Math.max(first, at), Math.min(last, at + piece.length)];
      if (begin < end) result.set(piece.subarray(begin - at, end - at), begin - first);
      at += piece.length;
    }
    return result;
  }

  /** Forgets what comes before a sample. */
  forget(before: number): void {
    while (this.#pieces.length > 0 && this.#start + this.#pieces[0]!.length <= before)
      this.#start += this.#pieces.shift()!.length;
  }
}
