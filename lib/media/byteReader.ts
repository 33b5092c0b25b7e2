/** Reads chunks in order as if they were one array. */
export class ByteReader {
  /** The length of everything, in bytes; Infinity when it is not known in advance. */
  readonly size: number;
  readonly #chunks: AsyncIterator<Uint8Array>;
  #pending: Uint8Array = new Uint8Array(0);
  #position = 0;

  constructor(chunks: AsyncIterable<Uint8Array>, size = Number.POSITIVE_INFINITY) {
    this.#chunks = chunks[Symbol.asyncIterator]();
    this.size = size;
  }

  /** Bytes that follow. */
  get remaining(): number {
    return this.size - this.#position;
  }

  /** The next `count` bytes, or fewer at the end. */
  async read(count: number): Promise<Uint8Array> {
    const bytes = await this.peek(count);
    this.#drop(bytes.length);
    return bytes;
  }

  /** The next `count` bytes, or fewer at the end, which stay to be read. */
  async peek(count: number): Promise<Uint8Array> {
    while (this.#pending.length < count) {
      const { value, done } = await this.#chunks.next();
      if (done) break;
      this.#pending = this.#pending.length === 0 ? value : Buffer.concat([this.#pending, value]);
    }
    return this.#pending.subarray(0, count);
  }

  async skip(count: number): Promise<void> {
    for (let left = count; left > 0; ) {
      const { length } = await this.peek(1);
      if (length === 0) return;
      const dropped = Math.min(left, this.#pending.length);
      this.#drop(dropped);
      left -= dropped;
    }
  }

  /** The next `count` bytes in pieces of at most `maxUnits` whole units; an incomplete unit at the end is left out. */
  async *pieces(count: number, unit: number, maxUnits: number): AsyncGenerator<Uint8Array> {
    for (let left = count; left >= unit; ) {
      await this.peek(unit);
      const units = Math.min(maxUnits, Math.floor(Math.min(left, this.#pending.length) / unit));
      if (units === 0) return;
      const piece = this.#pending.subarray(0, units * unit);
      this.#drop(piece.length);
      left -= piece.length;
      yield piece;
    }
  }

  /** Ends the chunks early, which frees what they come from. */
  async close(): Promise<void> {
    await this.#chunks.return?.();
  }

  #drop(count: number): void {
    this.#pending = this.#pending.subarray(count);
    this.#position += count;
  }
}
