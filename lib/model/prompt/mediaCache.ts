import { concatRows } from "../../ops/rows.js";
import { disposeAll } from "../../tensor/tensor.js";
import type { Rows } from "../types.js";

/** The most bytes of rows that are kept: 10,000 rows of the published model in f32, which five large images have. */
const defaultBytes = 2 ** 28;

/**
 * The rows that encoders made of media, by a digest of the media: a conversation sends its images and sounds with every
 * turn. The least recently used go first.
 */
export class MediaCache implements Disposable {
  readonly #maxBytes: number;
  readonly #rows = new Map<string, Rows>(); // in order of use, the latest last
  #bytes = 0;
  #disposed = false;

  constructor(maxBytes = defaultBytes) {
    this.#maxBytes = maxBytes;
  }

  /** The rows of a digest, which the caller disposes; undefined if they are not kept. */
  find(digest: string): Rows | undefined {
    const rows = this.#rows.get(digest);
    if (!rows) return undefined;
    this.#rows.delete(digest);
    this.#rows.set(digest, rows);
    return rows.slice(0);
  }

  /**
   * Keeps a copy of rows, one tensor after another, once it was computed. Rows with an error are not kept, nor are those for
   * which there is no memory: whoever reads them learns of the error.
   */
  async keep(digest: string, rows: readonly Rows[]): Promise<void> {
    const bytes = rows.reduce((sum, { byteLength }) => sum + byteLength, 0);
    if (bytes > this.#maxBytes || this.#rows.has(digest)) return;
    const copy = concatRows([...rows]); // slices would keep the memory of what they are cut from
    const failed = await copy.ready().then(
      () => false,
      () => true,
    );
    if (failed || this.#disposed || this.#rows.has(digest)) return copy.dispose();
    this.#rows.set(digest, copy);
    this.#bytes += bytes;
    for (const [oldest, { byteLength }] of this.#rows) {
      if (this.#bytes <= this.#maxBytes) break;
      this.#rows.get(oldest)!.dispose();
      this.#rows.delete(oldest);
      this.#bytes -= byteLength;
    }
  }

  dispose(): void {
    this.#disposed = true;
    disposeAll([...this.#rows.values()]);
    this.#rows.clear();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}
