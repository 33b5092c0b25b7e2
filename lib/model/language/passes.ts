/** Rows `[from, to)` of one prompt in a pass. */
export interface Slice {
  /** Index of the prompt in the batch. */
  readonly index: number;
  readonly from: number;
  readonly to: number;
  /** Whether the slice ends its prompt. */
  readonly last: boolean;
}

/**
 * Packs the next pass over prompts: at most `maxRows` rows, taken in order. A prompt longer than the space left
 * continues in the next pass.
 *
 * @param prompts the length of every prompt and how many of its rows earlier passes have computed
 * @returns no slices when all prompts are complete
 */
export function nextPass(prompts: readonly { length: number; done: number }[], maxRows: number): Slice[] {
  const pass: Slice[] = [];
  let space = maxRows;
  for (const [index, { length, done }] of prompts.entries()) {
    const to = Math.min(done + space, length);
    if (to > done) pass.push({ index, from: done, to, last: to === length });
    space -= to - done;
  }
  return pass;
}
