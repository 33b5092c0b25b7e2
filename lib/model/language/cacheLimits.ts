// The limits of a KV cache, and the errors of what is beyond them.
import { CaracalError } from "../../errors.js";

/** The entries of a block table, which is made on the event loop: 256 MiB. */
const maxTable = 2 ** 26;

/** The blocks of a cache, and of one sequence, which are listed on the event loop. V8 ends the process for 2^27. */
export const maxBlocks = { cache: 2 ** 26, sequence: 2 ** 22 };

/** @throws {CaracalError} `INVALID_ARGUMENT` */
export function checkBlockTable(sequences: number, width: number): void {
  if (sequences * width <= maxTable) return;
  const message =
    `KvCache.append: the block table [${sequences}, ${width}] is too large, at most ${maxTable} entries are possible: ` +
    "append fewer sequences or rows at a time, or make the blocks larger";
  throw new CaracalError("INVALID_ARGUMENT", message, { sequences, width, limit: maxTable });
}

/** The error of a cache that has too few free blocks. */
export function cacheFull(
  { tokens, blockSize }: { readonly tokens: number; readonly blockSize: number },
  wantedBlocks: number,
  freeBlocks: number,
): CaracalError {
  return new CaracalError(
    "OUT_OF_MEMORY",
    `the KV cache of ${tokens} tokens is full: ${wantedBlocks} more blocks of ${blockSize} tokens are ` +
      `needed, ${freeBlocks} are free; end a reply or load the model with a larger kvCacheTokens`,
    { tokens, wantedBlocks, freeBlocks },
  );
}
