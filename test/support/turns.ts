import { vi } from "vitest";

/**
 * The turns that the event loop has during `run`, when work gives it one wherever it can. So the count says into how
 * many slices the work is cut, whatever the speed of the machine. Waits for files count too.
 */
export async function turnsDuring(run: () => Promise<unknown>): Promise<number> {
  let now = 0;
  const clock = vi.spyOn(performance, "now").mockImplementation(() => {
    now += 1000;
    return now;
  });
  let turns = 0;
  let next = setImmediate(function turn() {
    turns++;
    next = setImmediate(turn);
  });
  try {
    await run();
  } finally {
    clearImmediate(next);
    clock.mockRestore();
  }
  return turns;
}
